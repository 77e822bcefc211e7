"""Log-probs of a bundle on sets of clips, clean or with noise added, kept on disk.

Whatever is fitted behind the acoustic model (confidences, weights of a language model) decodes the same clips again and
again; the network needs to hear them only once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeasr.recognizer import Recognizer
from edgeasr.train.clips import read_audio, resample
from edgeasr.train.evaluation.conditions import Condition, damage, noise_paths
from edgeasr.train.evaluation.evaluate import EvaluationSet
from edgeasr.train.manifest import Utterance
from edgeasr.waveform import Waveform

FloatArray = npt.NDArray[np.float32]

# Told how many seconds of sound have been heard, and how many there are.
Progress = Callable[[float, float], None]


@dataclass(frozen=True, kw_only=True)
class HeardClip:
    """A clip and what the model made of it.

    Attributes:
        set_name: The set that it is of.
        condition: How it was heard.
        utterance: The clip.
        rows: (num_rows, vocab_size) float32, log-probs or logits as the bundle says.
    """

    set_name: str
    condition: Condition
    utterance: Utterance
    rows: FloatArray


class LogProbs:
    """The output of a bundle's network on clips, computed once."""

    def __init__(self, recognizer: Recognizer, data: Path, cache_dir: Path) -> None:
        """Prepares.

        Args:
            recognizer: Its bundle's model is used; how it decodes does not matter.
            data: The data folder; its `noise` holds the recorded noise.
            cache_dir: Where to keep the output.
        """
        self.recognizer = recognizer
        self.data = data
        self.cache_dir = cache_dir

    def load(
        self, evaluation_set: EvaluationSet, condition: Condition, on_progress: Progress | None = None
    ) -> Iterator[HeardClip]:
        """The clips of a set, one after the other, in their order.

        Raises:
            ConfigError: There is no noise where noise is asked for.
            AudioFormatError: A clip cannot be read.
        """
        path = self.cache_dir / f"{self._key(evaluation_set, condition)}.npz"
        if not path.exists():
            self._compute(path, evaluation_set.utterances, condition, on_progress)
        with np.load(path) as stored:
            rows, ends = stored["rows"], stored["ends"]
        for utterance, begin, end in zip(evaluation_set.utterances, [0, *ends[:-1]], ends, strict=True):
            yield HeardClip(
                set_name=evaluation_set.name, condition=condition, utterance=utterance, rows=rows[begin:end]
            )

    def _key(self, evaluation_set: EvaluationSet, condition: Condition) -> str:
        """Names what the output depends on: the network and the frontend, the clips, and the noise."""
        bundle = self.recognizer.bundle
        clips = [[u.id, str(u.audio.resolve())] for u in evaluation_set.utterances]
        noise = [] if condition.snr_db is None else [path.name for path in noise_paths(self.data, odd=condition.odd)]
        room = [] if condition.rt60_s is None else [condition.rt60_s]
        network = [bundle.files[name].sha256 for name in bundle.model.files]
        identity = [network, repr(bundle.frontend), repr(bundle.model), clips, noise]
        digest = hashlib.sha256(json.dumps([*identity, condition.snr_db, *room]).encode()).hexdigest()[:16]
        return f"{bundle.name}-{evaluation_set.name}-{condition.name.replace(' ', '')}-{digest}"

    def _compute(
        self, path: Path, utterances: Sequence[Utterance], condition: Condition, on_progress: Progress | None
    ) -> None:
        total_s = sum(utterance.duration_s for utterance in utterances)
        done_s = 0.0
        outputs = []
        for utterance in utterances:
            outputs.append(self._hear(utterance, condition))
            done_s += utterance.duration_s
            if on_progress is not None:
                on_progress(done_s, total_s)
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(unfinished, rows=np.concatenate(outputs), ends=np.cumsum([len(rows) for rows in outputs]))
        unfinished.replace(path)

    def _hear(self, utterance: Utterance, condition: Condition) -> FloatArray:
        sample_rate = self.recognizer.bundle.sample_rate
        waveform = resample(*read_audio(utterance.audio), sample_rate)
        waveform = damage(waveform, sample_rate, condition, clip=utterance.id, data=self.data)
        return log_probs(self.recognizer, waveform)


def log_probs(recognizer: Recognizer, waveform: Waveform) -> FloatArray:
    """What the model makes of a whole waveform at its own sample rate: (num_rows, vocab_size) float32."""
    stages = recognizer.stream().stages
    outputs = [
        stages.acoustic.accept(stages.frontend.accept(waveform)),
        stages.acoustic.accept(stages.frontend.finish()),
        stages.acoustic.finish(),
    ]
    return np.concatenate(outputs)
