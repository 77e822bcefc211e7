"""Utterances kept while one listens: a FLAC file each, and a manifest that training reads."""

from __future__ import annotations

import io
import json
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeasr.endpoint import BOUNDARY_WITHIN_S, EndpointConfig
from edgeasr.events import Command, DeviceEvent, Final
from edgeasr.waveform import as_waveform

logger = logging.getLogger(__name__)

MANIFEST_FILE = "utterances.jsonl"
# Sound on either side of the words. Their times are right to some hundredths of a second, and training wants to hear
# a little silence.
MARGIN_S = 0.3
# How long after its end an utterance may be told of, at most.
TOLD_WITHIN_S = 5.0

Block = npt.NDArray[Any] | DeviceEvent


class UtteranceSaver:
    """Keeps the sound of the last utterance, and writes what is told of.

    A line of the manifest has `id`, `audio`, `duration_s` and `text`, as training reads them, `confidence`, when it was
    `recorded`, and `words` with times in the file.

    Example:
        >>> import tempfile
        >>> from edgeasr.types import Segment, Word
        >>> words = (Word("hello", 0.5, 0.9, 0.8),)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     saver = UtteranceSaver(folder, EndpointConfig(), sample_rate=16000)
        ...     blocks = list(saver.blocks([np.zeros(32000, np.float32)]))
        ...     path = saver.save(Final(time_s=2.0, segment=Segment("hello", 0.5, 0.9, words)))
        ...     path.suffix, (Path(folder) / MANIFEST_FILE).is_file()
        ('.flac', True)
    """

    def __init__(self, folder: str | Path, endpoint: EndpointConfig, *, sample_rate: int) -> None:
        """Makes the folder.

        Args:
            folder: Where utterances go; there may be some already.
            endpoint: How long an utterance may be.
            sample_rate: Of the blocks, in Hz.

        Raises:
            OSError: It cannot be made.
        """
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sample_rate = sample_rate
        longest_s = endpoint.longest_utterance_s + BOUNDARY_WITHIN_S + endpoint.min_silence_in_noise_s
        self._num_kept = round((longest_s + TOLD_WITHIN_S + MARGIN_S) * sample_rate)
        self._kept: deque[npt.NDArray[np.int16]] = deque()
        self._begin = self._end = 0
        self._problem: OSError | None = None

    @property
    def problem(self) -> OSError | None:
        """Why the last utterance was not saved; None if it was."""
        return self._problem

    def blocks(self, source: Iterable[Block]) -> Iterator[Block]:
        """Passes on what a source gives, and keeps as much of it as an utterance may need."""
        for block in source:
            if isinstance(block, np.ndarray):
                samples = np.round(as_waveform(block) * 32767)
                self._kept.append(np.clip(samples, -32768, 32767).astype(np.int16))
                self._end += len(block)
                while self._end - self._begin - len(self._kept[0]) >= self._num_kept:
                    self._begin += len(self._kept.popleft())
            yield block

    def save(self, event: Final | Command) -> Path | None:
        """Writes an utterance whose sound has passed through `blocks`.

        A full disk is logged once and leaves no half-written file; the next utterance is tried again.

        Returns:
            The FLAC file; None if it could not be written.
        """
        begin = max(self._begin, round((event.start - MARGIN_S) * self._sample_rate))
        end = min(self._end, round((event.end + MARGIN_S) * self._sample_rate))
        sound = np.concatenate([*self._kept, np.zeros(0, np.int16)])[begin - self._begin : end - self._begin]
        now = datetime.now().astimezone()
        path = self._free_path(now)
        entry: dict[str, Any] = {
            "id": path.stem,
            "audio": path.name,
            "duration_s": round(len(sound) / self._sample_rate, 3),
            "text": event.text if isinstance(event, Command) else " ".join(word.text for word in event.words),
            "confidence": event.confidence if isinstance(event, Command) else event.segment.confidence,
            "recorded": now.isoformat(timespec="seconds"),
        }
        if isinstance(event, Final):
            shift_s = begin / self._sample_rate
            entry["words"] = [
                {
                    "text": word.text,
                    "start": round(max(0.0, word.start - shift_s), 3),
                    "end": round(word.end - shift_s, 3),
                    "confidence": round(word.confidence, 4),
                }
                for word in event.words
            ]
        try:
            self._write(path, _flac(sound, self._sample_rate), json.dumps(entry, ensure_ascii=False) + "\n")
        except OSError as error:
            if self._problem is None:
                logger.warning("%s: utterances cannot be saved: %s", self.folder, error.strerror or error)
            self._problem = error
            return None
        self._problem = None
        return path

    def _free_path(self, now: datetime) -> Path:
        stem = f"{now:%Y%m%d-%H%M%S}"
        number = 1
        while (path := self.folder / f"{stem}-{number}.flac").exists():
            number += 1
        return path

    def _write(self, path: Path, flac: bytes, line: str) -> None:
        """Writes both or neither."""
        manifest = self.folder / MANIFEST_FILE
        size = manifest.stat().st_size if manifest.exists() else 0
        try:
            path.write_bytes(flac)
            with manifest.open("a", encoding="utf-8") as lines:
                lines.write(line)
        except OSError:
            path.unlink(missing_ok=True)
            if manifest.exists():
                os.truncate(manifest, size)
            raise


def _flac(sound: npt.NDArray[np.int16], sample_rate: int) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, sound, sample_rate, format="FLAC")
    return file.getvalue()
