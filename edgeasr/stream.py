"""One source of sound on its way through the stages: resampler, frontend, acoustic model, decoder, words.

All stages are accept / finish / reset machines that are exact for any cut of their input, so the stream is too.
Offline transcription is the same stream.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from edgeasr.errors import StreamStateError
from edgeasr.tokens import DecodedToken, TokenTable, WordTiming
from edgeasr.types import Partial, Segment, Transcript, Word
from edgeasr.waveform import as_waveform

if TYPE_CHECKING:
    from edgeasr.decoder import Hypothesis

FloatArray = npt.NDArray[np.float32]


class Stage(Protocol):
    """A stage from samples or frames to samples or frames."""

    def accept(self, block: FloatArray, /) -> FloatArray:
        """Takes the next block; returns what is ready."""

    def finish(self) -> FloatArray:
        """Ends the stream; returns the rest."""

    def reset(self) -> None:
        """Goes back to the start of a stream."""


class Decoder(Protocol):
    """The last stage: from rows of log-probs to hypotheses, the best one first."""

    def accept(self, log_probs: FloatArray, /) -> None:
        """Takes the next rows."""

    def take_committed(self) -> Hypothesis:
        """Moves the tokens out that will not change any more."""

    def partial(self) -> list[Hypothesis]:
        """Returns what follows the tokens that were taken out, as it stands."""

    def finish(self) -> list[Hypothesis]:
        """Ends the stream; returns what follows the tokens that were taken out."""

    def reset(self) -> None:
        """Goes back to the start of a stream."""


@dataclass(frozen=True, kw_only=True)
class Stages:
    """The stages that the sound of one stream goes through, in this order."""

    resampler: Stage
    frontend: Stage
    acoustic: Stage
    decoder: Decoder


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

    def __init__(self, stages: Stages, *, sample_rate: int, tokens: TokenTable, timing: WordTiming) -> None:
        """Starts a stream.

        Args:
            stages: What the sound goes through; they are the stream's alone.
            sample_rate: Of the waveform that `accept` takes, in Hz.
            tokens: What the decoder's tokens spell.
            timing: How token frames become word times.
        """
        self.stages = stages
        self.sample_rate = sample_rate
        self._tokens = tokens
        self._timing = timing
        self._busy = threading.Lock()
        self._num_samples = 0
        self._finished = False
        # Complete words, then the tokens of the next word that will not change, then words that may.
        self._committed: list[Word] = []
        self._open_tokens: list[DecodedToken] = []
        self._tail: tuple[Word, ...] = ()
        self._partial = Partial((), (), 0.0)

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
            num_rows = 0
            for start in range(0, len(samples), self.sample_rate):
                num_rows += self._hear(self.stages.resampler.accept(samples[start : start + self.sample_rate]))
            self._num_samples += len(samples)
            if num_rows:
                self._read_decoder()
            self._partial = Partial(self._committed, self._tail, self._duration())
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
            self._decode(self.stages.acoustic.accept(self.stages.frontend.finish()))
            self._decode(self.stages.acoustic.finish())
            tokens = self._open_tokens + _decoded(self.stages.decoder.finish()[0])
            self._commit(tokens)
            duration = self._duration()
            words = tuple(_clip(word, duration) for word in self._committed)
            self._partial = Partial(words, (), duration)
            return Transcript(segments=_one_segment(words), duration=duration)

    def reset(self) -> None:
        """Drops everything that was heard and starts anew, at time zero.

        Raises:
            StreamStateError: While another call is at work.
        """
        with self._owned():
            for stage in (self.stages.resampler, self.stages.frontend, self.stages.acoustic, self.stages.decoder):
                stage.reset()
            self._num_samples = 0
            self._finished = False
            # A new list: partials that were given out keep the old one.
            self._committed = []
            self._open_tokens = []
            self._tail = ()
            self._partial = Partial((), (), 0.0)

    @contextmanager
    def _owned(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise StreamStateError("the stream is in use by another thread: a stream has one owner at a time")
        try:
            yield
        finally:
            self._busy.release()

    def _hear(self, waveform: FloatArray) -> int:
        """Takes samples at the model's rate through the stages; returns the number of new rows of log-probs."""
        return self._decode(self.stages.acoustic.accept(self.stages.frontend.accept(waveform)))

    def _decode(self, log_probs: FloatArray) -> int:
        self.stages.decoder.accept(log_probs)
        return len(log_probs)

    def _read_decoder(self) -> None:
        """Takes committed tokens out of the decoder and makes words of them and of those that may still change."""
        self._open_tokens += _decoded(self.stages.decoder.take_committed())
        num_complete = self._tokens.num_complete(self._open_tokens)
        self._commit(self._open_tokens[:num_complete])
        self._open_tokens = self._open_tokens[num_complete:]
        self._tail = self._words(self._open_tokens + _decoded(self.stages.decoder.partial()[0]))

    def _commit(self, tokens: list[DecodedToken]) -> None:
        self._committed += self._words(tokens)

    def _words(self, tokens: list[DecodedToken]) -> tuple[Word, ...]:
        not_before = self._committed[-1].end if self._committed else 0.0
        return tuple(self._tokens.words(tokens, self._timing, not_before=not_before))

    def _duration(self) -> float:
        return self._num_samples / self.sample_rate


def _decoded(hypothesis: Hypothesis) -> list[DecodedToken]:
    return [
        DecodedToken(*token)
        for token in zip(
            hypothesis.token_ids,
            hypothesis.token_start_frames,
            hypothesis.token_end_frames,
            hypothesis.token_posteriors,
            strict=True,
        )
    ]


def _clip(word: Word, duration: float) -> Word:
    """Ends a word with the sound: the last chunk is padded, and a fitted offset may reach further."""
    if word.end <= duration:
        return word
    return Word(word.text, min(word.start, duration), duration, word.confidence)


def _one_segment(words: tuple[Word, ...]) -> tuple[Segment, ...]:
    if not words:
        return ()
    text = " ".join(word.text for word in words)
    return (Segment(text, words[0].start, words[-1].end, words),)
