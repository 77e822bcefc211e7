"""Speech recognisers behind one small interface, so that bundles, PyTorch models and peers are fed and measured alike.

Peers are the systems that people would use otherwise, where they are installed: sherpa-onnx with the transducer in
the data folder (`EDGEASR_DATA/teacher`), and pocketsphinx with the US English model that its package carries.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from edgeasr.errors import ConfigError, MissingDependencyError
from edgeasr.train.clips import resample
from edgeasr.waveform import Waveform

if TYPE_CHECKING:
    from edgeasr.command import CommandRecognizer
    from edgeasr.grammar import Grammar
    from edgeasr.recognizer import Recognizer
    from edgeasr.stream import Stream
    from edgeasr.types import Transcript, Word

logger = logging.getLogger(__name__)

# What names of systems say that can hear a few sentences only.
CLOSED = "closed"
PEER_SAMPLE_RATE = 16_000
# What live sound comes at.
LIVE_SAMPLE_RATE = 16_000
# The transducer gives its last words only after some silence; its authors' examples add about this much.
TRANSDUCER_TAIL_S = 0.64


class Transcriber(Protocol):
    """A speech recogniser, loaded.

    Attributes:
        name: What tables call it: the model, and how it is run.
    """

    name: str

    def transcribe(self, waveform: Waveform, sample_rate: int) -> str:
        """Recognises a waveform (num_samples,) float32 in [-1, 1] as one utterance."""


@runtime_checkable
class WordTranscriber(Transcriber, Protocol):
    """A recogniser that says how sure it is of each word.

    Attributes:
        calibrated: Whether its confidences claim to be probabilities.
    """

    calibrated: bool

    def transcribe_words(self, waveform: Waveform, sample_rate: int) -> Sequence[Word]:
        """The same as `transcribe`, as words with confidences."""


class Live(Protocol):
    """One utterance that is heard piece by piece."""

    def accept(self, piece: Waveform, /) -> str:
        """Hears a piece (num_samples,) at `LIVE_SAMPLE_RATE`; returns what has been understood so far."""

    def finish(self) -> str:
        """Ends the utterance; returns what was understood."""


@runtime_checkable
class LiveTranscriber(Transcriber, Protocol):
    """A recogniser that hears while somebody speaks."""

    def listen(self) -> Live:
        """Starts an utterance."""


# Loads a system. A plain function or a `functools.partial` of one travels to another process.
Loader = Callable[[], Transcriber]


class BundleTranscriber:
    """A bundle of edgeasr."""

    def __init__(self, recognizer: Recognizer, sentences: Sequence[str] = ()) -> None:
        """Wraps a recogniser.

        Args:
            recognizer: The recogniser.
            sentences: All that can be said, normalised; empty for anything.

        Raises:
            ConfigError: The tokens cannot spell a sentence.
        """
        bundle, decoder, context = recognizer.bundle, recognizer.decoder, recognizer.context
        beam = f" {decoder.beam.beam_size}" if decoder.mode == "beam" else ""
        lm = " + LM" if context is not None and context.lm else ""
        self.recognizer = recognizer
        self._commands: CommandRecognizer | None = None
        if sentences:
            from edgeasr.command import CommandRecognizer

            self._commands = CommandRecognizer(recognizer, closed_grammar(sentences))
        way = f"{decoder.mode}{beam}{lm}" if self._commands is None else CLOSED
        self.name = f"{bundle.name} {bundle.model.precision} {way}"
        self.calibrated = (recognizer.mode if self._commands is None else self._commands.mode) in bundle.calibration

    def transcribe(self, waveform: Waveform, sample_rate: int) -> str:
        return self._hear(waveform, sample_rate).text

    def transcribe_words(self, waveform: Waveform, sample_rate: int) -> Sequence[Word]:
        return self._hear(waveform, sample_rate).words

    def listen(self) -> Live:
        return _LiveStream(self._stream(LIVE_SAMPLE_RATE))

    def _hear(self, waveform: Waveform, sample_rate: int) -> Transcript:
        if self._commands is None:
            return self.recognizer.transcribe(waveform, sample_rate=sample_rate)
        stream = self._stream(sample_rate)
        stream.accept(waveform)
        return stream.finish()

    def _stream(self, sample_rate: int) -> Stream:
        stream = self.recognizer.stream(sample_rate=sample_rate)
        if self._commands is not None:
            stream.use_words(self._commands.word_decoder())
        return stream


def closed_grammar(sentences: Iterable[str]) -> Grammar:
    """A grammar of some sentences, normalised, and nothing else."""
    from edgeasr.grammar import Grammar

    lines = "".join(f"  {sentence}\n" for sentence in sorted(set(sentences)))
    return Grammar.from_text(f"intent sentence:\n{lines}", name="the sentences of the sets")


class StudentTranscriber:
    """The student of a training run in PyTorch: the averaged weights in float32, each clip as a whole.

    A beam search is that of the runtime, on the student's log-probs.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        decoder: str | None = None,
        beam_size: int | None = None,
        lm: str | Path | None = None,
        lm_weight: float | None = None,
        word_bonus: float | None = None,
        num_threads: int = 1,
        sentences: Sequence[str] = (),
    ) -> None:
        """Loads the checkpoint in a run's folder.

        Args:
            run_dir: Holds `checkpoint.pt`.
            decoder: `greedy` or `beam`; None for greedy, but beam where anything is asked for that only it can do.
            beam_size: How many texts the search keeps.
            lm: The file of a language model; None or ``"none"`` for none.
            lm_weight: Of the language model.
            word_bonus: Added to the score for each word.
            num_threads: Of PyTorch.
            sentences: All that can be said, normalised; empty for anything.

        Raises:
            ConfigError: There is no checkpoint, the tokens cannot spell a sentence, or greedy decoding is asked for
                with what it cannot do.
            InputError: The language model cannot be read, or is none.
        """
        _checkpoint(run_dir)
        import torch

        from edgeasr.command import closed_decoder
        from edgeasr.config import CommandConfig, CtcBeamConfig
        from edgeasr.decoder import CtcBeamDecoder, DecodingContext
        from edgeasr.lm import LanguageModel
        from edgeasr.recognizer import NO_LM
        from edgeasr.train.teachers.teacher import StudentTeacher

        torch.set_num_threads(num_threads)
        self._student = StudentTeacher(run_dir)
        tokens, blank_id, delimiter = self._student.tokens, self._student.blank_id, self._student.word_delimiter
        wishes = {"beam_size": beam_size, "lm_weight": lm_weight, "word_bonus": word_bonus}
        changes: dict[str, Any] = {name: value for name, value in wishes.items() if value is not None}
        lm = None if lm == NO_LM else lm
        if decoder == "greedy" and (changes or lm is not None):
            raise ConfigError(f"the greedy decoder has no {next(iter(changes), 'lm')}; it is for the beam search")
        self._decoder: CtcBeamDecoder | None = None
        way = "greedy"
        if sentences:
            grammar = closed_grammar(sentences)
            grammar.check_spelling(tokens, delimiter)
            self._decoder = closed_decoder(
                tokens, grammar, CommandConfig(), blank_id=blank_id, nbest=1, word_delimiter=delimiter
            )
            way = CLOSED
        elif decoder == "beam" or (decoder is None and (changes or lm is not None)):
            config = CtcBeamConfig(blank_id=blank_id, **changes)
            context = None if lm is None else DecodingContext(lm=LanguageModel.open(lm))
            self._decoder = CtcBeamDecoder(tokens, config, context=context, word_delimiter=delimiter)
            way = f"beam {config.beam_size}{'' if lm is None else ' + LM'}"
        self.name = f"{run_dir.resolve().name} PyTorch float32 {way}"

    def transcribe(self, waveform: Waveform, sample_rate: int) -> str:
        said = self._student.hear(waveform, sample_rate, None)
        return said.readings[0] if self._decoder is None else self._decoder.decode(said.log_probs)[0].text


class _LiveStream:
    """A stream of edgeasr."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def accept(self, piece: Waveform, /) -> str:
        return self._stream.accept(piece).text

    def finish(self) -> str:
        return self._stream.finish().text


class SherpaOnnxTranscriber:
    """sherpa-onnx with a streaming transducer, greedy search, one thread."""

    def __init__(self, folder: Path) -> None:
        """Loads the transducer.

        Args:
            folder: Holds `encoder.int8.onnx`, `decoder.onnx`, `joiner.int8.onnx` and `tokens.txt`.

        Raises:
            MissingDependencyError: sherpa-onnx is not installed.
            ConfigError: A file is missing.
        """
        try:
            import sherpa_onnx
        except ImportError as error:
            raise _missing("sherpa-onnx") from error
        files = {
            "encoder": folder / "encoder.int8.onnx",
            "decoder": folder / "decoder.onnx",
            "joiner": folder / "joiner.int8.onnx",
            "tokens": folder / "tokens.txt",
        }
        for path in files.values():
            if not path.is_file():
                raise ConfigError(f"{path} not found: sherpa-onnx is run with the transducer in the data folder")
        self.name = f"sherpa-onnx {version('sherpa-onnx')} transducer greedy"
        self._recognizer: Any = sherpa_onnx.OnlineRecognizer.from_transducer(
            **{key: str(path) for key, path in files.items()},
            num_threads=1,
            sample_rate=PEER_SAMPLE_RATE,
            feature_dim=80,
            decoding_method="greedy_search",
        )

    def transcribe(self, waveform: Waveform, sample_rate: int) -> str:
        live = self.listen()
        live.hear(resample(waveform, sample_rate, PEER_SAMPLE_RATE))
        return live.finish()

    def listen(self) -> _LiveTransducer:
        return _LiveTransducer(self._recognizer)


class _LiveTransducer:
    """A stream of sherpa-onnx."""

    def __init__(self, recognizer: Any) -> None:
        self._recognizer = recognizer
        self._stream = recognizer.create_stream()

    def hear(self, piece: Waveform) -> None:
        self._stream.accept_waveform(PEER_SAMPLE_RATE, piece)

    def accept(self, piece: Waveform, /) -> str:
        self.hear(piece)
        return self._text()

    def finish(self) -> str:
        self.hear(np.zeros(round(TRANSDUCER_TAIL_S * PEER_SAMPLE_RATE), np.float32))
        self._stream.input_finished()
        return self._text()

    def _text(self) -> str:
        while self._recognizer.is_ready(self._stream):
            self._recognizer.decode_stream(self._stream)
        return str(self._recognizer.get_result(self._stream))


class PocketSphinxTranscriber:
    """pocketsphinx with the US English acoustic and language models of its package."""

    name: str

    def __init__(self) -> None:
        """Loads the models.

        Raises:
            MissingDependencyError: pocketsphinx is not installed.
        """
        try:
            import pocketsphinx
        except ImportError as error:
            raise _missing("pocketsphinx") from error
        self.name = f"pocketsphinx {version('pocketsphinx')} en-us"
        self._decoder: Any = pocketsphinx.Decoder(samprate=float(PEER_SAMPLE_RATE), loglevel="FATAL")

    def transcribe(self, waveform: Waveform, sample_rate: int) -> str:
        if not len(waveform):
            return ""
        live = self.listen()
        # With `full_utt`, means are those of the utterance itself: it is recognised as if it came first.
        live.hear(resample(waveform, sample_rate, PEER_SAMPLE_RATE), full_utt=True)
        return live.finish()

    def listen(self) -> _LivePocketSphinx:
        return _LivePocketSphinx(self._decoder)


class _LivePocketSphinx:
    """An utterance of pocketsphinx."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        decoder.start_utt()

    def hear(self, piece: Waveform, *, full_utt: bool) -> None:
        samples = np.clip(np.round(piece * 32768), -32768, 32767)
        self._decoder.process_raw(samples.astype("<i2").tobytes(), full_utt=full_utt)

    def accept(self, piece: Waveform, /) -> str:
        self.hear(piece, full_utt=False)
        return self._text()

    def finish(self) -> str:
        self._decoder.end_utt()
        return self._text()

    def _text(self) -> str:
        hypothesis = self._decoder.hyp()
        return str(hypothesis.hypstr) if hypothesis is not None else ""


def load_bundle(
    model: str | Path | None = None,
    *,
    decoder: str | None = None,
    beam_size: int | None = None,
    lm: str | Path | None = None,
    lm_weight: float | None = None,
    word_bonus: float | None = None,
    num_threads: int = 1,
    sentences: Sequence[str] = (),
) -> Transcriber:
    """Loads a bundle; the arguments are those of `Recognizer` and `BundleTranscriber`."""
    from edgeasr.recognizer import Recognizer  # here, so that a peer's process does not load ONNX Runtime for nothing

    recognizer = Recognizer(
        model,
        decoder=decoder,
        beam_size=beam_size,
        lm=lm,
        lm_weight=lm_weight,
        word_bonus=word_bonus,
        num_threads=num_threads,
    )
    return BundleTranscriber(recognizer, sentences)


def run_language(run_dir: Path) -> str:
    """The language of a training run's recipe.

    Raises:
        ConfigError: There is no checkpoint.
    """
    path = _checkpoint(run_dir)
    import torch

    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return str(checkpoint["recipe"]["release"]["language"])


def _checkpoint(run_dir: Path) -> Path:
    from edgeasr.train.teachers.teacher import CHECKPOINT

    path = run_dir / CHECKPOINT
    if not path.is_file():
        raise ConfigError(f"no checkpoint at {path}; train first")
    return path


PEERS = ("sherpa-onnx", "pocketsphinx")


def peer_loader(name: str, data: Path) -> Loader:
    """What loads a peer.

    Args:
        name: One of `PEERS`.
        data: The data folder, which holds the transducer for sherpa-onnx.
    """
    if name == "sherpa-onnx":
        return partial(SherpaOnnxTranscriber, data / "teacher")
    return PocketSphinxTranscriber


def _missing(package: str) -> MissingDependencyError:
    return MissingDependencyError(f"{package} is not installed; it is an optional peer: pip install {package}")
