"""One source of sound on its way through the stages: resampler, frontend, acoustic model, decoder, words.

All stages are accept / finish / reset machines that are exact for any cut of their input, so the stream is
too. Offline transcription is the same stream.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgeasr.decoder import CtcBeamDecoder, CtcGreedyDecoder, Hypothesis
from edgeasr.errors import StreamStateError
from edgeasr.tokens import DecodedToken, TokenTable, WordTiming
from edgeasr.types import Partial, Segment, Transcript, Word
from edgeasr.waveform import as_waveform

FloatArray = npt.NDArray[np.float32]
CtcDecoder = CtcBeamDecoder | CtcGreedyDecoder


class Stage(Protocol):
    """A stage from samples or frames to samples or frames."""

    def accept(self, block: FloatArray, /) -> FloatArray:
        """Takes the next block; returns what is ready."""

    def finish(self) -> FloatArray:
        """Ends the stream; returns the rest."""

    def reset(self) -> None:
        """Goes back to the start of a stream."""


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
        *,
        sample_rate: int,
        resampler: Stage,
        frontend: Stage,
        acoustic: Stage,
        decoder: CtcDecoder,
        tokens: TokenTable,
        timing: WordTiming,
    ) -> None:
        """Puts the stages together.

        Args:
            sample_rate: Of the waveform that `accept` takes, in Hz.
            resampler: From there to the model's rate.
            frontend: From waveform to features.
            acoustic: From features to log-probs.
            decoder: From log-probs to tokens.
            tokens: What the tokens spell.
            timing: How token frames become word times.
        """
        self.sample_rate = sample_rate
        self._resampler = resampler
        self._frontend = frontend
        self._acoustic = acoustic
        self._decoder = decoder
        self._tokens = tokens
        self._timing = timing
        self._busy = threading.Lock()
        self._start()

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
            samples = as_waveform(waveform)
            # A second at a time, so that features take little memory however long the waveform is.
            num_rows = 0
            for start in range(0, len(samples), self.sample_rate):
                num_rows += self._hear(self._resampler.accept(samples[start : start + self.sample_rate]))
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
            self._hear(self._resampler.finish())
            self._decode(self._acoustic.accept(self._frontend.finish()))
            self._decode(self._acoustic.finish())
            tokens = self._open_tokens + _decoded(self._decoder.finish()[0])
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
            for stage in (self._resampler, self._frontend, self._acoustic, self._decoder):
                stage.reset()
            self._start()

    def _start(self) -> None:
        self._num_samples = 0
        self._finished = False
        # Tokens that will not change, of the word that may still go on; before them, words that are complete.
        self._open_tokens: list[DecodedToken] = []
        self._committed: list[Word] = []
        self._tail: tuple[Word, ...] = ()
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
        return self._decode(self._acoustic.accept(self._frontend.accept(waveform)))

    def _decode(self, log_probs: FloatArray) -> int:
        self._decoder.accept(log_probs)
        return len(log_probs)

    def _read_decoder(self) -> None:
        """Takes committed tokens out of the decoder and makes words of them and of those that may still change."""
        self._open_tokens += _decoded(self._decoder.take_committed())
        num_complete = self._tokens.num_complete(self._open_tokens)
        self._commit(self._open_tokens[:num_complete])
        self._open_tokens = self._open_tokens[num_complete:]
        self._tail = self._words(self._open_tokens + _decoded(self._decoder.partial()[0]))

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
