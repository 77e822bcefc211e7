"""One source of sound on its way through the stages: resampler, frontend, acoustic model, decoder with words.

All stages are accept / finish / reset machines that are exact for any cut of their input, so the stream is too.
Offline transcription is the same stream.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgeasr.errors import StreamStateError
from edgeasr.types import UNSURE_MARK, Alternative, Partial, Segment, Transcript, Word, text_of
from edgeasr.waveform import as_waveform
from edgeasr.words import WordDecoder

FloatArray = npt.NDArray[np.float32]


class Stage(Protocol):
    """A stage from samples or frames to samples or frames."""

    def accept(self, block: FloatArray, /) -> FloatArray:
        """Takes the next block; returns what is ready."""

    def finish(self) -> FloatArray:
        """Ends the stream; returns the rest."""

    def reset(self) -> None:
        """Goes back to the start of a stream."""


@dataclass(frozen=True, kw_only=True)
class Stages:
    """The stages that the sound of one stream goes through, in this order."""

    resampler: Stage
    frontend: Stage
    acoustic: Stage
    words: WordDecoder


class Stream:
    """Recognises one source of sound. `Recognizer.stream` makes one.

    A stream has one owner at a time: a call while another call is at work raises `StreamStateError`. Any
    thread may read `partial` at any time.

    Example:
        >>> import numpy as np
        >>> from edgeasr import Recognizer
        >>> stream = Recognizer().stream(sample_rate=8000)
        >>> for start in range(0, 8000, 800):
        ...     partial = stream.accept(np.zeros(800, np.float32))
        >>> stream.finish().text
        ''
    """

    def __init__(
        self,
        stages: Stages,
        *,
        sample_rate: int,
        min_segment_confidence: float = 0.0,
        unsure_mark: str = UNSURE_MARK,
    ) -> None:
        """Starts a stream.

        Args:
            stages: What the sound goes through; they are the stream's alone.
            sample_rate: Of the waveform that `accept` takes, in Hz.
            min_segment_confidence: Segments below this are not accepted.
            unsure_mark: What stands in texts for words that are not accepted.
        """
        self.stages = stages
        self.sample_rate = sample_rate
        self._min_segment_confidence = min_segment_confidence
        self._unsure_mark = unsure_mark
        self._busy = threading.Lock()
        self._num_samples = 0
        self._finished = False
        self._partial = self._make_partial()

    @property
    def partial(self) -> Partial:
        """What has been understood so far; after `finish()` the final words. Any thread may read it."""
        return self._partial

    def accept(self, waveform: npt.ArrayLike) -> Partial:
        """Takes the next stretch of sound; how it is cut makes no difference.

        Args:
            waveform: (num_samples,) or (num_samples, num_channels), floating point in [-1, 1] or int16, at
                the stream's sample rate; of any length, none included.

        Returns:
            What has been understood so far.

        Raises:
            InputError: Another shape or dtype, or a NaN or infinite sample; the stream is as it was before.
            StreamStateError: After `finish()`, or while another call is at work.
        """
        with self._owned():
            if self._finished:
                raise StreamStateError("accept() after finish(): the stream has ended; call reset() to start anew")
            samples = as_waveform(waveform, offset=self._num_samples)
            # A second at a time, so that features take little memory however long the waveform is.
            for start in range(0, len(samples), self.sample_rate):
                self._hear(self.stages.resampler.accept(samples[start : start + self.sample_rate]))
            self._num_samples += len(samples)
            self._partial = self._make_partial()
            return self._partial

    def finish(self) -> Transcript:
        """Ends the stream and returns its final result.

        Raises:
            StreamStateError: A second time, or while another call is at work.
        """
        with self._owned():
            if self._finished:
                raise StreamStateError("finish() after finish(): the stream has ended; call reset() to start anew")
            self._finished = True
            self._hear(self.stages.resampler.finish())
            words = self.stages.words
            words.accept(self.stages.acoustic.accept(self.stages.frontend.finish()))
            words.accept(self.stages.acoustic.finish())
            words.finish()
            duration = self._duration()
            final = _clipped(words.committed, duration)
            self._partial = self._make_partial(final)
            return Transcript(
                segments=self._one_segment(final),
                duration=duration,
                calibrated=self._partial.calibrated,
                unsure_mark=self._unsure_mark,
                alternatives=tuple(
                    Alternative(other.text, _clipped(other.words, duration), other.score)
                    for other in words.alternatives
                ),
            )

    def reset(self) -> None:
        """Drops everything that was heard and starts anew, at time zero.

        Raises:
            StreamStateError: While another call is at work.
        """
        with self._owned():
            for stage in (self.stages.resampler, self.stages.frontend, self.stages.acoustic, self.stages.words):
                stage.reset()
            self._num_samples = 0
            self._finished = False
            self._partial = self._make_partial()

    @contextmanager
    def _owned(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise StreamStateError("the stream is in use by another thread: a stream has one owner at a time")
        try:
            yield
        finally:
            self._busy.release()

    def _hear(self, waveform: FloatArray) -> None:
        """Takes samples at the model's rate through the stages."""
        self.stages.words.accept(self.stages.acoustic.accept(self.stages.frontend.accept(waveform)))

    def _make_partial(self, final: tuple[Word, ...] | None = None) -> Partial:
        words = self.stages.words
        return Partial(
            words.committed if final is None else final,
            words.tail,
            self._duration(),
            calibrated=words.calibration is not None,
            unsure_mark=self._unsure_mark,
        )

    def _one_segment(self, words: tuple[Word, ...]) -> tuple[Segment, ...]:
        if not words:
            return ()
        segment = Segment("", words[0].start, words[-1].end, words)
        accepted = segment.confidence >= self._min_segment_confidence
        text = text_of(words, self._unsure_mark, accepted=accepted)
        return (replace(segment, text=text, accepted=accepted),)

    def _duration(self) -> float:
        return self._num_samples / self.sample_rate


def _clipped(words: Sequence[Word], duration: float) -> tuple[Word, ...]:
    """Ends words with the sound: the last chunk is padded, and a fitted offset may reach further."""
    return tuple(
        word if word.end <= duration else replace(word, start=min(word.start, duration), end=duration) for word in words
    )
