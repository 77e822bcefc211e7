"""The recogniser: a bundle made ready to work. It makes streams, and transcribes files and arrays with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgeasr.bundle import DECODER_MODES, Bundle, DecoderConfig, find_bundle, read_bundle
from edgeasr.confidence import decoding_mode
from edgeasr.decoder import CtcBeamDecoder, CtcGreedyDecoder, DecodingContext, Hotwords, Lexicon
from edgeasr.endpoint import EndpointConfig, Endpointer, EnergyGate
from edgeasr.errors import ConfigError, EdgeAsrError, InputError
from edgeasr.features import LogMelFrontend
from edgeasr.model import AcousticModel
from edgeasr.stream import RowTiming, Stages, Stream
from edgeasr.tokens import WordTiming
from edgeasr.types import UNSURE_MARK, Transcript
from edgeasr.wake import KeywordSpotter, WakeConfig
from edgeasr.waveform import Resampler, check_sample_rate
from edgeasr.words import AT_THE_END, NUM_HYPOTHESES, Decoder, WordDecoder

if TYPE_CHECKING:
    from edgeasr.command import CommandDecoder
    from edgeasr.grammar import Grammar
    from edgeasr.listener import Listener, Source
    from edgeasr.lm import LanguageModel
    from edgeasr.profile import Profile, ProfileWatcher

logger = logging.getLogger(__name__)

# What stands in place of a language model's file for none.
NO_LM = "none"

# When utterances end while one listens, where nothing else is asked for.
DEFAULT_ENDPOINT = EndpointConfig()
# For files, where nobody waits for the text: a decoder that starts anew amid a sentence has lost what the language
# model knew of its beginning. docs/live.md has the figures.
FILE_ENDPOINT = EndpointConfig(min_silence_s=2.0, min_silence_in_noise_s=2.0)
# Utterances below this are rejected while one listens; docs/live.md has the figures.
LISTENING_CONFIDENCE = 0.25

# Told how many seconds have been recognised, and how many there are; None where the source does not tell.
Progress = Callable[[float, float | None], None]


class Recognizer:
    """Speech recognition with one bundle. Immutable: threads may share it, each with streams of its own.

    Example:
        >>> from edgeasr import Recognizer
        >>> recognizer = Recognizer()
        >>> transcript = recognizer.transcribe("samples/austen-0880.flac")
        >>> isinstance(transcript.text, str)
        True
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        decoder: str | None = None,
        beam_size: int | None = None,
        nbest: int | None = None,
        lm: LanguageModel | str | Path | None = None,
        lm_weight: float | None = None,
        word_bonus: float | None = None,
        lexicon: Lexicon | None = None,
        hotwords: Hotwords | None = None,
        hotword_boost: float | None = None,
        profile: Profile | None = None,
        num_threads: int = 1,
        min_confidence: float = 0.0,
        min_segment_confidence: float = 0.0,
        unsure_mark: str = UNSURE_MARK,
    ) -> None:
        """Loads a bundle.

        Args:
            model: A bundle's folder, the name of one that ships with the package, or None for the default.
            decoder: `greedy` or `beam`; None for what the bundle wants.
            beam_size: How many texts the beam search keeps; None for what the bundle wants.
            nbest: How many readings transcripts have as `alternatives`; None for what the bundle wants.
            lm: A language model, or the file of one; ``"none"`` for none; None for the bundle's own, if it has one.
            lm_weight: Of the language model; None for what the bundle wants, like the other weights.
            word_bonus: Added to the score for each word.
            lexicon: The words that are known; None for those of the language model.
            hotwords: Phrases to listen for; a stream may have its own.
            hotword_boost: Added to the score for each hotword that has no boost of its own.
            profile: What a user has taught, which is known besides all that.
            num_threads: Threads for one step of the model.
            min_confidence: Words below this, in 0..1, are not accepted: texts show `unsure_mark` for a run of them, the
                words themselves are kept and flagged. See `calibrated` for what the number means.
            min_segment_confidence: The same for whole segments: of one below this, texts show the mark alone.
            unsure_mark: What stands in texts for what is not accepted; empty to leave it out.

        Raises:
            BundleError: The bundle is missing, damaged, foreign or of a newer version.
            ConfigError: A value that cannot work.
            InputError: The language model cannot be read, or is none.
        """
        self._bundle = read_bundle(find_bundle(model))
        wishes = {
            "beam_size": beam_size,
            "nbest": nbest,
            "lm_weight": lm_weight,
            "word_bonus": word_bonus,
            "hotword_boost": hotword_boost,
        }
        knowledge = {
            "lm": None if lm == NO_LM else lm,
            "lexicon": lexicon,
            "hotwords": hotwords,
            "profile": profile or None,
        }
        self._decoder = _choose_decoder(self._bundle.decoder, decoder, wishes, knowledge)
        self._untaught = (
            None if self._decoder.mode == "greedy" else self._make_context(lm, lexicon=lexicon, hotwords=hotwords)
        )
        self._context = self._untaught if profile is None else profile.context(self._untaught)
        _check_confidence("min_confidence", min_confidence)
        _check_confidence("min_segment_confidence", min_segment_confidence)
        self._min_confidence = min_confidence
        self._min_segment_confidence = min_segment_confidence
        self._unsure_mark = unsure_mark
        self._model = AcousticModel(self._bundle, num_threads=num_threads)
        self._timing = WordTiming(
            frame_s=self._bundle.frame_s,
            start_offset_s=self._bundle.timing.word_start_offset_s,
            end_offset_s=self._bundle.timing.word_end_offset_s,
        )
        self.stream()  # a stage that cannot be built is an error now, not at the first stream

    @property
    def bundle(self) -> Bundle:
        """The bundle that this recogniser has loaded."""
        return self._bundle

    @property
    def decoder(self) -> DecoderConfig:
        """How log-probs are decoded."""
        return self._decoder

    @property
    def mode(self) -> str:
        """The way of decoding, one of `confidence.MODES`: what its confidences are calibrated for."""
        return self._mode_with(self._context)

    @property
    def context(self) -> DecodingContext | None:
        """What the beam search knows besides the sound; None if that is nothing."""
        return self._context

    @property
    def calibrated(self) -> bool:
        """Whether the bundle has a calibration for this way of decoding, so that confidences are probabilities."""
        return self.mode in self._bundle.calibration

    @property
    def min_confidence(self) -> float:
        """Words below this are not accepted."""
        return self._min_confidence

    @property
    def min_segment_confidence(self) -> float:
        """Segments below this are not accepted."""
        return self._min_segment_confidence

    @property
    def unsure_mark(self) -> str:
        """What stands in texts for what is not accepted."""
        return self._unsure_mark

    @property
    def timing(self) -> WordTiming:
        """How token frames become word times."""
        return self._timing

    def stream(
        self,
        *,
        sample_rate: int | None = None,
        hotwords: Hotwords | None = None,
        endpoint: EndpointConfig | None = None,
        min_segment_confidence: float | None = None,
        commands: CommandDecoder | None = None,
        wake: WakeConfig | None = None,
        keep_events: bool = False,
    ) -> Stream:
        """Starts a stream.

        Args:
            sample_rate: Of the waveform that the stream will be given, in Hz; None for the model's own.
            hotwords: Phrases for this stream instead of the recogniser's; they cost nothing but themselves.
            endpoint: When an utterance ends; None for one utterance until `finish`.
            min_segment_confidence: Instead of the recogniser's own.
            commands: Tells commands from dictation in the events; see `CommandRecognizer.decoder`.
            wake: A phrase without which nothing is listened to.
            keep_events: Collect events for `Stream.take_events`.

        Raises:
            ConfigError: A sample rate or a confidence that cannot work, or hotwords for a greedy decoder.
        """
        bundle = self._bundle
        least = self._min_segment_confidence if min_segment_confidence is None else min_segment_confidence
        _check_confidence("min_segment_confidence", least)
        sample_rate = bundle.sample_rate if sample_rate is None else check_sample_rate(sample_rate)
        gate = None if endpoint is None else endpoint.gate
        if gate is not None and endpoint is not None:
            # A gate that closes ends the utterance.
            gate = replace(gate, close_after_s=max(gate.close_after_s, endpoint.min_silence_s))
        stages = Stages(
            resampler=Resampler(sample_rate, bundle.sample_rate),
            gate=None if gate is None else EnergyGate(gate, sample_rate=bundle.sample_rate),
            frontend=LogMelFrontend(bundle.frontend),
            acoustic=self._model.start(),
            words=self.word_decoder(hotwords=hotwords),
            rows=RowTiming(
                sample_rate=bundle.sample_rate,
                samples_per_row=bundle.frontend.hop_length * bundle.model.subsampling_factor,
                rows_per_chunk=bundle.model.rows_per_chunk,
                lookahead_samples=bundle.frontend.hop_length * bundle.model.lookahead_frames,
            ),
            endpointer=None if endpoint is None else self._start_endpointer(endpoint),
            commands=commands,
            wake=None if wake is None else KeywordSpotter(wake, tokens=bundle.tokens, frame_s=bundle.frame_s),
        )
        return Stream(
            stages,
            sample_rate=sample_rate,
            min_segment_confidence=least,
            unsure_mark=self._unsure_mark,
            keep_events=keep_events,
        )

    def listen(
        self,
        source: Source,
        *,
        sample_rate: int | None = None,
        endpoint: EndpointConfig | None = DEFAULT_ENDPOINT,
        min_segment_confidence: float | None = None,
        hotwords: Hotwords | None = None,
        grammar: Grammar | None = None,
        profile: ProfileWatcher | None = None,
        wake: WakeConfig | None = None,
    ) -> Listener:
        """Listens: sound goes in, events come out.

        Args:
            source: A `Microphone`, any other object with `sample_rate` and `blocks()`, or an iterable of arrays as
                `Stream.accept` takes them. Device events among them are passed on.
            sample_rate: Of the sound, in Hz; None for what the source says, or the model's own.
            endpoint: When an utterance ends; None for one utterance.
            min_segment_confidence: Utterances below this are `Rejected`. None for the recogniser's own, or if that is
                0 and confidences are calibrated, for 0.25: noise sounds like few words, and none is believable.
            hotwords: Phrases instead of the recogniser's.
            grammar: Commands; an utterance that is one is a `Command` instead of a `Final`.
            profile: What the user has taught, instead of what the recogniser was given. Changes are taken up at once,
                or when what is being said has ended.
            wake: A phrase that has to be said first, each time: one utterance is listened to after it.

        Raises:
            ConfigError: A sample rate or a confidence that cannot work, hotwords or a profile for a greedy decoder, or
                the model cannot spell a word of the grammar.

        Example:
            >>> from edgeasr.audio import open_audio
            >>> from edgeasr.events import Final
            >>> recognizer = Recognizer()
            >>> with open_audio("samples/austen-0880.flac", 16000) as file:
            ...     finals = [event for event in recognizer.listen(file) if isinstance(event, Final)]
            >>> len(finals) > 0
            True
        """
        from edgeasr.listener import Listener

        if sample_rate is None:
            sample_rate = getattr(source, "sample_rate", None)
        least = self._min_segment_confidence if min_segment_confidence is None else min_segment_confidence
        if min_segment_confidence is None and least == 0.0 and self.calibrated:
            least = LISTENING_CONFIDENCE
        commands = None
        if grammar is not None:
            from edgeasr.command import CommandRecognizer

            commands = CommandRecognizer(self, grammar).decoder(min_confidence=min_segment_confidence)
        stream = self.stream(
            sample_rate=sample_rate,
            hotwords=hotwords,
            endpoint=endpoint,
            min_segment_confidence=least,
            commands=commands,
            wake=wake,
            keep_events=True,
        )
        if profile is None:
            return Listener(stream, source)
        stream.use_words(self.word_decoder(hotwords=hotwords, profile=profile.profile))

        def take_up(stream: Stream) -> None:
            changed = profile.changed()
            if changed is None:
                return
            for warning in changed.warnings:
                logger.warning("%s", warning)
            try:
                stream.use_words(self.word_decoder(hotwords=hotwords, profile=changed))
            except EdgeAsrError as error:
                logger.warning("what was taught cannot be taken up: %s", error)

        return Listener(stream, source, every_second=take_up)

    def word_decoder(
        self, *, hotwords: Hotwords | None = None, profile: Profile | None = None, keep_evidence: bool = False
    ) -> WordDecoder:
        """Starts the last stage of a stream by itself: rows of the model's output go in, words come out.

        Args:
            hotwords: Phrases for this stream instead of the recogniser's.
            profile: What a user has taught, instead of what the recogniser was given.
            keep_evidence: Collect what the confidence of each word was made of.

        Raises:
            ConfigError: Hotwords or a profile for a greedy decoder.
        """
        context = self._context if profile is None else profile.context(self._untaught)
        if hotwords is not None:
            context = DecodingContext(hotwords=hotwords) if context is None else context.replace(hotwords=hotwords)
        return self.words_of(
            self._start_decoder(context), context=context, mode=self._mode_with(context), keep_evidence=keep_evidence
        )

    def words_of(
        self, decoder: Decoder, *, context: DecodingContext | None, mode: str, keep_evidence: bool = False
    ) -> WordDecoder:
        """Makes words, with their times and confidences, of the tokens of any decoder of the bundle's log-probs.

        Args:
            decoder: The search.
            context: What it knows.
            mode: Whose calibration to use. A search with a grammar commits nothing and is read at its end alone.
            keep_evidence: See `word_decoder`.
        """
        return WordDecoder(
            decoder,
            tokens=self._bundle.tokens,
            timing=self._timing,
            rows_per_read=AT_THE_END if mode == "grammar" else self._bundle.model.rows_per_chunk,
            logits=self._bundle.model.output_kind == "logits",
            calibration=self._bundle.calibration.get(mode),
            min_confidence=self._min_confidence,
            nbest=self._decoder.beam.nbest if self._decoder.mode == "beam" else 1,
            lexicon=None if context is None else context.lexicon,
            keep_evidence=keep_evidence,
        )

    def transcribe(
        self,
        audio: str | Path | BinaryIO | npt.NDArray[np.float32],
        *,
        sample_rate: int | None = None,
        endpoint: EndpointConfig | None = FILE_ENDPOINT,
        on_progress: Progress | None = None,
    ) -> Transcript:
        """Recognises a file or an array, in memory that does not grow with its length (but for the text).

        Args:
            audio: Path of a sound file, a binary file object that holds one, or a waveform (num_samples,) or
                (num_samples, num_channels), floating point in [-1, 1] or int16.
            sample_rate: Of a waveform, in Hz. Only for waveforms: a file knows its own.
            endpoint: What cuts speech into segments; None for one segment.
            on_progress: Called now and then with the seconds recognised and the length in seconds, if known.

        Returns:
            The transcript. Of a file that is damaged it holds the text up to the damage, and a warning.

        Raises:
            AudioFormatError: The file is empty or not one of sound.
            InputError: A waveform of another shape or dtype, NaN or infinite samples, a waveform without a sample
                rate, or a file with one.
            OSError: There is no such file, or it must not be read.
        """
        if isinstance(audio, np.ndarray):
            if sample_rate is None:
                raise InputError("sample_rate is missing: a waveform does not tell its own")
            stream = self.stream(sample_rate=sample_rate, endpoint=endpoint)
            stream.accept(audio)
            return stream.finish()
        if sample_rate is not None:
            raise InputError("sample_rate is for waveforms; a file knows its own")
        from edgeasr.audio import open_audio

        with open_audio(audio, self._bundle.sample_rate) as reader:
            stream = self.stream(sample_rate=reader.sample_rate, endpoint=endpoint)
            for block in reader.blocks():
                partial = stream.accept(block)
                if on_progress is not None:
                    on_progress(partial.time_s, reader.duration)
            transcript = stream.finish()
            return replace(transcript, warnings=(reader.damage,)) if reader.damage else transcript

    def _make_context(
        self, lm: LanguageModel | str | Path | None, *, lexicon: Lexicon | None, hotwords: Hotwords | None
    ) -> DecodingContext | None:
        """What the beam search knows: the caller's choice, or the bundle's own language model."""
        if lm is None:
            lm = self._bundle.language_model_path
        if isinstance(lm, (str, Path)):
            lm = None if lm == NO_LM else _open_lm(lm)
        if lm is None and lexicon is None and hotwords is None:
            return None
        return DecodingContext(lm=lm, lexicon=lexicon, hotwords=hotwords)

    def _start_endpointer(self, config: EndpointConfig) -> Endpointer:
        return Endpointer(
            config,
            tokens=self._bundle.tokens,
            frame_s=self._bundle.frame_s,
            logits=self._bundle.model.output_kind == "logits",
        )

    def _mode_with(self, context: DecodingContext | None) -> str:
        return decoding_mode(
            self._decoder.mode,
            lm=context is not None and bool(context.lm),
            lexicon=context is not None and context.lexicon is not None,
        )

    def _start_decoder(self, context: DecodingContext | None) -> Decoder:
        logits = self._bundle.model.output_kind == "logits"
        tokens = self._bundle.tokens
        if self._decoder.mode == "greedy":
            if context is not None:
                raise ConfigError("hotwords and profiles need the beam search, but the decoder is greedy")
            return CtcGreedyDecoder(len(tokens), tokens.blank_id, logits=logits)
        # Confidences need the alternatives, whether they are shown or not.
        beam = replace(self._decoder.beam, nbest=max(self._decoder.beam.nbest, NUM_HYPOTHESES))
        return CtcBeamDecoder(tokens.names, beam, context=context, logits=logits, word_delimiter=tokens.word_delimiter)


def _check_confidence(name: str, least: float) -> None:
    if not 0 <= least <= 1:
        raise ConfigError(f"{name} is {least}, expected a probability, 0 to 1")


def _open_lm(path: str | Path) -> LanguageModel:
    from edgeasr.lm import LanguageModel  # here, because not every recogniser has one

    return LanguageModel.open(path)


def _choose_decoder(
    default: DecoderConfig, mode: str | None, wishes: Mapping[str, float | None], knowledge: Mapping[str, object]
) -> DecoderConfig:
    """The bundle's decoder with the caller's wishes; any wish alone that only the beam search can meet means it."""
    changes: dict[str, Any] = {name: value for name, value in wishes.items() if value is not None}
    needs_beam = [*changes, *(name for name, value in knowledge.items() if value is not None)]
    if mode is None:
        mode = "beam" if needs_beam else default.mode
    if mode not in DECODER_MODES:
        raise ConfigError(f"decoder is {mode!r}, expected one of {', '.join(DECODER_MODES)}")
    if mode == "greedy" and needs_beam:
        raise ConfigError(f"the greedy decoder has no {needs_beam[0]}; it is for the beam search")
    return replace(default, mode=mode, beam=replace(default.beam, **changes))
