"""Command or dictation: one pass over the log-probs tells orders from everything else.

Two searches run side by side over the same log-probs: one hears only the sentences of a grammar, the other one
anything. How much less probable the best sentence of the grammar is than the best text at all, their likelihood ratio,
tells whether an order was given; how probable the best text is tells whether anything was said that can be believed.
``docs/grammar.md`` has the definitions and figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from edgeasr.confidence import decoding_mode
from edgeasr.config import CommandConfig, CtcBeamConfig
from edgeasr.decoder import CtcBeamDecoder, DecodingContext, Hotwords, Hypothesis
from edgeasr.errors import ConfigError, InputError, StreamStateError
from edgeasr.grammar import Grammar, Slot, SlotValue
from edgeasr.types import Word, mean_confidence
from edgeasr.words import NUM_HYPOTHESES, Decoder, FloatArray, WordDecoder

if TYPE_CHECKING:
    from edgeasr.bundle import Bundle
    from edgeasr.recognizer import Progress, Recognizer

__all__ = ["CommandDecoder", "CommandPartial", "CommandRecognizer", "CommandResult", "CommandStream"]

COMMAND = "command"
DICTATION = "dictation"
REJECTED = "rejected"

# Makes words of the tokens of a decoder, which knows the context.
WordsOf = Callable[[Decoder, DecodingContext | None], WordDecoder]

_NO_SLOTS: Mapping[str, SlotValue] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CommandPartial:
    """What has been heard so far.

    Attributes:
        text: As dictation.
        command: The best beginning of a sentence of the grammar; empty if there is none.
        llr: As in `CommandResult`, of these two.
    """

    text: str
    command: str
    llr: float


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What was heard.

    Attributes:
        kind: ``command``: a sentence of the grammar was said. ``dictation``: something else was said. ``rejected``:
            nothing that can be believed.
        text: The sentence of the grammar, or the dictated text. Of what was rejected the dictated text, for the record.
        intent: Of a command, else None.
        slots: Of a command: the value of each slot.
        spans: Of a command: the slots with the words that say them.
        llr: Log-likelihood ratio of the grammar's best sentence against the best text at all, for each token of the
            former: natural log, about 0 when they are the same text, minus infinity when no sentence was found.
        command_score: Natural log of the probability of the grammar's best sentence, for each of its tokens.
        score: Natural log of the probability of the best text, for each of its tokens; minus infinity for no text.
        command: The grammar's best sentence, if one was found; with its tokens and times.
        dictation: The best text; with its tokens and times.
        words: Those of the text, with times and confidences, where it was heard with a bundle.
        calibrated: Whether these confidences are calibrated probabilities: whether the bundle has a calibration for
            decoding with a grammar, or for that of dictation.
        warnings: What is wrong with the sound, for instance that the file is damaged and was heard up to the damage.
    """

    kind: str
    text: str
    intent: str | None
    slots: Mapping[str, SlotValue]
    spans: tuple[Slot, ...]
    llr: float
    command_score: float
    score: float
    command: Hypothesis | None
    dictation: Hypothesis
    words: tuple[Word, ...] = ()
    calibrated: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def confidence(self) -> float | None:
        """The share of the words that is expected to be right; None without words."""
        return mean_confidence(self.words)


class CommandDecoder:
    """Decodes log-probs to a command or to dictated text. Incremental and exact, as `CtcBeamDecoder` is.

    Example:
        >>> import numpy as np
        >>> grammar = Grammar.from_text("intent greet: hi")
        >>> decoder = CommandDecoder(["<blank>", "h", "i"], grammar)
        >>> probabilities = [[0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.2, 0.1, 0.7]]
        >>> result = decoder.decode(np.log(probabilities).astype(np.float32))
        >>> result.kind, result.intent, result.llr
        ('command', 'greet', 0.0)
    """

    def __init__(
        self,
        tokens: Sequence[str],
        grammar: Grammar,
        config: CommandConfig | None = None,
        *,
        beam: CtcBeamConfig | None = None,
        context: DecodingContext | None = None,
        logits: bool = False,
        word_delimiter: str = "▁",
        words_of: WordsOf | None = None,
        min_confidence: float = 0.0,
    ) -> None:
        """Starts a stream.

        Args:
            tokens: The vocabulary in the order of the columns of ``log_probs``, blank included.
            grammar: The commands.
            config: How to tell commands from other speech; the defaults if not given.
            beam: The search for dictated text; the defaults if not given.
            context: What is known about dictated text: a language model, hotwords.
            logits: The rows given to `accept` are not normalised; the decoder does it.
            word_delimiter: What stands for a space in `tokens`.
            words_of: Makes words with times and confidences of the tokens of a decoder; None for results without.
            min_confidence: What has words of which fewer than this share are expected to be right is rejected.

        Raises:
            ConfigError: The tokens cannot spell a word of the grammar, or a value that cannot work.
        """
        self.config = CommandConfig() if config is None else config
        self._tokens = tuple(tokens)
        self._word_delimiter = word_delimiter
        self._grammar = self._checked(grammar)
        beam = CtcBeamConfig() if beam is None else beam
        nbest = 1 if words_of is None else NUM_HYPOTHESES
        # What hears anything, and what hears sentences of the grammar alone.
        self._open = _Search(
            CtcBeamDecoder(
                self._tokens, replace(beam, nbest=nbest), context=context, logits=logits, word_delimiter=word_delimiter
            ),
            words_of,
        )
        self._closed = _Search(
            closed_decoder(
                self._tokens,
                self._grammar,
                self.config,
                blank_id=beam.blank_id,
                nbest=nbest,
                logits=logits,
                word_delimiter=word_delimiter,
            ),
            words_of,
        )
        self._min_confidence = min_confidence
        self._busy = Lock()

    @property
    def grammar(self) -> Grammar:
        """The commands."""
        return self._grammar

    @property
    def num_frames(self) -> int:
        """How many frames have been accepted since the start of the stream."""
        return self._open.decoder.num_frames

    def accept(self, log_probs: npt.NDArray[np.float32]) -> None:
        """Takes the next frames; how a stream is cut into calls changes nothing about its results.

        Args:
            log_probs: ``(num_frames, vocab_size)``, as for `CtcBeamDecoder.accept`.

        Raises:
            InputError: See `CtcBeamDecoder.accept`. Nothing of the block was used.
            StreamStateError: After `finish`, or while another thread is inside.
        """
        with self._owned():
            # The first one refuses a block as a whole, and what it takes the other one takes, too.
            self._closed.accept(log_probs)
            self._open.accept(log_probs)

    def partial(self) -> CommandPartial:
        """What has been heard so far; changes nothing.

        Raises:
            StreamStateError: While another thread is inside.
        """
        with self._owned():
            dictation, command = self._open.partial(), self._closed.partial()
        return CommandPartial(dictation.text, command.text, _llr(command, dictation))

    def finish(self) -> CommandResult:
        """Ends the stream and says what was heard.

        Raises:
            StreamStateError: When called twice, or while another thread is inside.
        """
        with self._owned():
            dictation, command = self._open.finish(), self._closed.finish()
        found = command if command.complete and command.text else None
        score = _score(dictation)
        command_score = -math.inf if found is None else _score(found)
        llr = -math.inf if found is None else _llr(found, dictation)
        believed = self._closed
        if found is not None and llr >= self.config.min_llr and command_score >= self.config.min_command_score:
            kind = COMMAND
        else:
            kind, believed = DICTATION if score >= self.config.min_score else REJECTED, self._open
        confidence = mean_confidence(believed.words)
        if confidence is not None and confidence < self._min_confidence:
            kind, believed = REJECTED, self._open
        text = found.text if kind == COMMAND and found is not None else dictation.text
        meaning = self._grammar.parse(text) if kind == COMMAND else None
        return CommandResult(
            kind=kind,
            text=text,
            intent=None if meaning is None else meaning.intent,
            slots=_NO_SLOTS if meaning is None else meaning.slots,
            spans=() if meaning is None else meaning.spans,
            llr=llr,
            command_score=command_score,
            score=score,
            command=found,
            dictation=dictation,
            words=believed.words,
            calibrated=believed.calibrated,
        )

    def reset(self, *, grammar: Grammar | None = None) -> None:
        """Forgets everything and starts another stream.

        Args:
            grammar: Other commands for it; the same as before if not given.

        Raises:
            ConfigError: The tokens cannot spell a word of the grammar.
            StreamStateError: While another thread is inside.
        """
        with self._owned():
            if grammar is not None:
                self._grammar = self._checked(grammar)
            elif 2 * self._grammar.num_states > self._grammar.limits.max_states:
                self._grammar = self._grammar.renewed()
            self._open.reset()
            self._closed.reset()
            self._closed.decoder.reset(context=DecodingContext(grammar=self._grammar))

    def decode(self, log_probs: npt.NDArray[np.float32]) -> CommandResult:
        """Decodes a whole utterance: `reset`, `accept` and `finish` in one.

        Args:
            log_probs: As for `accept`.

        Raises:
            InputError: See `accept`.
            StreamStateError: While another thread is inside.
        """
        self.reset()
        self.accept(log_probs)
        return self.finish()

    def _checked(self, grammar: Grammar) -> Grammar:
        grammar.check_spelling(self._tokens, self._word_delimiter)
        return grammar

    @contextmanager
    def _owned(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise StreamStateError("the decoder is in use by another thread: give each thread its own")
        try:
            yield
        finally:
            self._busy.release()


class _Kept:
    """A decoder that remembers the tokens that are taken out of it."""

    def __init__(self, decoder: CtcBeamDecoder) -> None:
        self.decoder = decoder
        self.taken: list[Hypothesis] = []

    def accept(self, log_probs: FloatArray, /) -> None:
        self.decoder.accept(log_probs)

    def take_committed(self) -> Hypothesis:
        part = self.decoder.take_committed()
        if part.token_ids:
            self.taken.append(part)
        return part

    def partial(self, *, bare: bool = False) -> list[Hypothesis]:
        return self.decoder.partial(bare=bare)

    def finish(self) -> list[Hypothesis]:
        return self.decoder.finish()

    def reset(self) -> None:
        self.taken.clear()
        self.decoder.reset()


class _Search:
    """A search, and the words of what it finds if they are wanted; its hypotheses are of the whole utterance."""

    def __init__(self, decoder: CtcBeamDecoder, words_of: WordsOf | None) -> None:
        self.decoder = decoder
        self._kept = _Kept(decoder)
        self._words = None if words_of is None else words_of(self._kept, decoder.context)

    @property
    def words(self) -> tuple[Word, ...]:
        """After `finish`: the words of the best hypothesis."""
        return () if self._words is None else tuple(self._words.committed)

    @property
    def calibrated(self) -> bool:
        """Whether their confidences are probabilities."""
        return self._words is not None and self._words.calibration is not None

    def accept(self, log_probs: FloatArray) -> None:
        (self.decoder if self._words is None else self._words).accept(log_probs)

    def partial(self) -> Hypothesis:
        return self._whole(self.decoder.partial()[0])

    def finish(self) -> Hypothesis:
        return self._whole(self.decoder.finish()[0] if self._words is None else self._words.finish())

    def reset(self) -> None:
        (self.decoder if self._words is None else self._words).reset()

    def _whole(self, rest: Hypothesis) -> Hypothesis:
        return self.decoder.joined(self._kept.taken, rest) if self._kept.taken else rest


def closed_decoder(
    tokens: Sequence[str],
    grammar: Grammar,
    config: CommandConfig,
    *,
    blank_id: int,
    nbest: int = NUM_HYPOTHESES,
    logits: bool = False,
    word_delimiter: str = "▁",
) -> CtcBeamDecoder:
    """The search that hears only the sentences of a grammar; the arguments are those of `CommandDecoder`."""
    # A command ends with the utterance, so nothing has to be committed before; and a word that the grammar wants may be
    # far from what the frames like best. Confidences need the alternatives.
    beam = CtcBeamConfig(
        beam_size=config.beam_size,
        blank_id=blank_id,
        nbest=nbest,
        beam_threshold=config.beam_threshold,
        token_threshold=math.inf,
        max_tokens_per_frame=0,
        blank_skip_threshold=1.0,
        max_commit_delay_frames=0,
    )
    return CtcBeamDecoder(
        tokens, beam, context=DecodingContext(grammar=grammar), logits=logits, word_delimiter=word_delimiter
    )


def _score(hypothesis: Hypothesis) -> float:
    """The log-probability of a text, by token: long ones have more room for small doubts."""
    return hypothesis.parts.acoustic / len(hypothesis.token_ids) if hypothesis.token_ids else -math.inf


def _llr(command: Hypothesis, dictation: Hypothesis) -> float:
    """How much less probable the command is than the best text, by token of the command."""
    return (command.parts.acoustic - dictation.parts.acoustic) / max(1, len(command.token_ids))


class CommandStream:
    """Hears one utterance after the other from one source of sound. `CommandRecognizer.stream` makes one.

    A stream has one owner at a time: a call while another call is at work raises `StreamStateError`.
    """

    def __init__(self, recognizer: Recognizer, decoder: CommandDecoder, sample_rate: int | None) -> None:
        """Starts a stream.

        Args:
            recognizer: Whose model hears.
            decoder: The stream's alone.
            sample_rate: Of the waveform that `accept` takes, in Hz; None for the model's own.
        """
        stream = recognizer.stream(sample_rate=sample_rate)
        self.sample_rate = stream.sample_rate
        self._stages = stream.stages
        self._decoder = decoder
        self._num_samples = 0
        self._finished = False
        self._busy = Lock()

    @property
    def duration(self) -> float:
        """Seconds that have been heard."""
        return self._num_samples / self.sample_rate

    @property
    def decoder(self) -> CommandDecoder:
        """The last stage."""
        return self._decoder

    def accept(self, waveform: npt.ArrayLike) -> CommandPartial:
        """Takes the next stretch of sound; how it is cut makes no difference.

        Args:
            waveform: See `Stream.accept`.

        Raises:
            InputError: See `Stream.accept`.
            StreamStateError: After `finish`, or while another call is at work.
        """
        from edgeasr.waveform import as_waveform

        with self._owned():
            if self._finished:
                raise StreamStateError("accept() after finish(): the stream has ended; call reset() to start anew")
            samples = as_waveform(waveform, offset=self._num_samples)
            for start in range(0, len(samples), self.sample_rate):
                self._hear(self._stages.resampler.accept(samples[start : start + self.sample_rate]))
            self._num_samples += len(samples)
            return self._decoder.partial()

    def finish(self) -> CommandResult:
        """Ends the utterance and says what was heard.

        Raises:
            StreamStateError: A second time, or while another call is at work.
        """
        with self._owned():
            if self._finished:
                raise StreamStateError("finish() after finish(): the stream has ended; call reset() to start anew")
            from edgeasr.stream import clipped

            self._finished = True
            self._hear(self._stages.resampler.finish())
            self._decoder.accept(self._stages.acoustic.accept(self._stages.frontend.finish()))
            self._decoder.accept(self._stages.acoustic.finish())
            result = self._decoder.finish()
            return replace(result, words=clipped(result.words, self.duration))

    def reset(self, *, grammar: Grammar | None = None) -> None:
        """Drops everything that was heard and starts anew, with other commands if they are given.

        Raises:
            ConfigError: The tokens cannot spell a word of the grammar.
            StreamStateError: While another call is at work.
        """
        with self._owned():
            self._decoder.reset(grammar=grammar)
            for stage in (self._stages.resampler, self._stages.frontend, self._stages.acoustic):
                stage.reset()
            self._num_samples = 0
            self._finished = False

    def _hear(self, waveform: npt.NDArray[np.float32]) -> None:
        self._decoder.accept(self._stages.acoustic.accept(self._stages.frontend.accept(waveform)))

    @contextmanager
    def _owned(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise StreamStateError("the stream is in use by another thread: a stream has one owner at a time")
        try:
            yield
        finally:
            self._busy.release()


class CommandRecognizer:
    """Recognises commands, and dictation beside them, with a bundle. Threads may share it, each with its own streams.

    Example:
        >>> from edgeasr import Recognizer
        >>> commands = CommandRecognizer(Recognizer(), Grammar.from_file("examples/coffee.grammar"))
        >>> commands.recognize("samples/austen-0880.flac").kind != "command"
        True
    """

    def __init__(
        self,
        recognizer: Recognizer,
        grammar: Grammar,
        config: CommandConfig | None = None,
        *,
        context: DecodingContext | None = None,
    ) -> None:
        """Puts the parts together.

        Args:
            recognizer: Whose model hears, and whose beam search dictates.
            grammar: The commands.
            config: How to tell commands from other speech; None for what the bundle wants.
            context: What is known about dictated text; None for what the recogniser knows.

        Raises:
            ConfigError: The tokens cannot spell a word of the grammar.
        """
        self._recognizer = recognizer
        self._grammar = grammar
        self._config = recognizer.bundle.decoder.command if config is None else config
        self._context = recognizer.context if context is None else context
        self.decoder()  # what cannot work is an error now, not at the first stream

    @property
    def config(self) -> CommandConfig:
        """How commands are told from other speech."""
        return self._config

    @property
    def bundle(self) -> Bundle:
        """The bundle whose model hears."""
        return self._recognizer.bundle

    @property
    def mode(self) -> str:
        """The way of decoding that confidences are calibrated for: ``grammar``."""
        return decoding_mode("beam", grammar=True)

    def word_decoder(self, *, hotwords: Hotwords | None = None, keep_evidence: bool = False) -> WordDecoder:
        """Starts the search for commands alone, and what makes words of its tokens; see `Recognizer.word_decoder`.

        Raises:
            ConfigError: Hotwords: a grammar knows its words.
        """
        if hotwords is not None:
            raise ConfigError("hotwords are for dictation; a grammar has its own words")
        bundle = self._recognizer.bundle
        decoder = closed_decoder(
            bundle.tokens.names,
            self._grammar,
            self._config,
            blank_id=bundle.tokens.blank_id,
            logits=bundle.model.output_kind == "logits",
            word_delimiter=bundle.tokens.word_delimiter,
        )
        return self._words_of(decoder, decoder.context, keep_evidence=keep_evidence)

    def decoder(self, *, min_confidence: float | None = None) -> CommandDecoder:
        """Starts the last stage by itself: rows of the model's output go in.

        Args:
            min_confidence: Results below this are rejected; None for the recogniser's `min_segment_confidence`.
        """
        bundle = self._recognizer.bundle
        if min_confidence is None:
            min_confidence = self._recognizer.min_segment_confidence
        return CommandDecoder(
            bundle.tokens.names,
            self._grammar,
            self._config,
            beam=self._recognizer.decoder.beam,
            context=self._context,
            logits=bundle.model.output_kind == "logits",
            word_delimiter=bundle.tokens.word_delimiter,
            words_of=self._words_of,
            min_confidence=min_confidence,
        )

    def _words_of(
        self, decoder: Decoder, context: DecodingContext | None, *, keep_evidence: bool = False
    ) -> WordDecoder:
        mode = decoding_mode(
            "beam",
            lm=context is not None and bool(context.lm),
            lexicon=context is not None and context.lexicon is not None,
            grammar=context is not None and context.grammar is not None,
        )
        return self._recognizer.words_of(decoder, context=context, mode=mode, keep_evidence=keep_evidence)

    def stream(self, *, sample_rate: int | None = None) -> CommandStream:
        """Starts a stream.

        Args:
            sample_rate: Of the waveform that the stream will be given, in Hz; None for the model's own.

        Raises:
            ConfigError: A sample rate that cannot work.
        """
        return CommandStream(self._recognizer, self.decoder(), sample_rate)

    def recognize(
        self,
        audio: str | Path | BinaryIO | npt.NDArray[np.float32],
        *,
        sample_rate: int | None = None,
        on_progress: Progress | None = None,
    ) -> CommandResult:
        """Recognises one utterance, from a file or an array.

        Args:
            audio: See `Recognizer.transcribe`.
            sample_rate: Of a waveform, in Hz. Only for waveforms: a file knows its own.
            on_progress: Called now and then with the seconds heard and the length in seconds, if known.

        Returns:
            What was heard; of a file that is damaged up to the damage, and with a warning.

        Raises:
            AudioFormatError: The file is empty or not one of sound.
            InputError: A waveform of another shape or dtype, without a sample rate, or a file with one.
            OSError: There is no such file, or it must not be read.
        """
        if isinstance(audio, np.ndarray):
            if sample_rate is None:
                raise InputError("sample_rate is missing: a waveform does not tell its own")
            stream = self.stream(sample_rate=sample_rate)
            stream.accept(audio)
            return stream.finish()
        if sample_rate is not None:
            raise InputError("sample_rate is for waveforms; a file knows its own")
        from edgeasr.audio import open_audio

        with open_audio(audio, self._recognizer.bundle.sample_rate) as reader:
            stream = self.stream(sample_rate=reader.sample_rate)
            for block in reader.blocks():
                stream.accept(block)
                if on_progress is not None:
                    on_progress(stream.duration, reader.duration)
            result = stream.finish()
            return replace(result, warnings=(reader.damage,)) if reader.damage else result
