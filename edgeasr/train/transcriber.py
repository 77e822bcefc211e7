"""Speech recognisers behind one small interface, so that bundles and peers are fed and measured alike.

Peers are the systems that people would use otherwise, where they are installed: sherpa-onnx with the transducer in
the data folder (`EDGEASR_DATA/teacher`), and pocketsphinx with the US English model that its package carries.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgeasr.errors import ConfigError, MissingDependencyError
from edgeasr.train.clips import resample
from edgeasr.waveform import Waveform

if TYPE_CHECKING:
    from edgeasr.recognizer import Recognizer

logger = logging.getLogger(__name__)

PEER_SAMPLE_RATE = 16_000
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


# Loads a system. A plain function or a `functools.partial` of one travels to another process.
Loader = Callable[[], Transcriber]


class BundleTranscriber:
    """A bundle of edgeasr."""

    def __init__(self, recognizer: Recognizer) -> None:
        """Wraps a recogniser."""
        bundle, decoder, context = recognizer.bundle, recognizer.decoder, recognizer.context
        beam = f" {decoder.beam.beam_size}" if decoder.mode == "beam" else ""
        lm = " + LM" if context is not None and context.lm else ""
        self.name = f"{bundle.name} {bundle.model.precision} {decoder.mode}{beam}{lm}"
        self.recognizer = recognizer

    def transcribe(self, waveform: Waveform, sample_rate: int) -> str:
        return self.recognizer.transcribe(waveform, sample_rate=sample_rate).text


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
        stream = self._recognizer.create_stream()
        stream.accept_waveform(PEER_SAMPLE_RATE, resample(waveform, sample_rate, PEER_SAMPLE_RATE))
        stream.accept_waveform(PEER_SAMPLE_RATE, np.zeros(round(TRANSDUCER_TAIL_S * PEER_SAMPLE_RATE), np.float32))
        stream.input_finished()
        while self._recognizer.is_ready(stream):
            self._recognizer.decode_stream(stream)
        return str(self._recognizer.get_result(stream))


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
        samples = np.clip(np.round(resample(waveform, sample_rate, PEER_SAMPLE_RATE) * 32768), -32768, 32767)
        if not len(samples):
            return ""
        self._decoder.start_utt()
        # With `full_utt`, means are those of the utterance itself: it is recognised as if it came first.
        self._decoder.process_raw(samples.astype("<i2").tobytes(), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return str(hypothesis.hypstr) if hypothesis is not None else ""


def load_bundle(
    model: str | Path | None = None,
    *,
    decoder: str | None = None,
    beam_size: int | None = None,
    lm: str | Path | None = None,
    num_threads: int = 1,
) -> Transcriber:
    """Loads a bundle; the arguments are those of `Recognizer`."""
    from edgeasr.recognizer import Recognizer  # here, so that a peer's process does not load ONNX Runtime for nothing

    return BundleTranscriber(Recognizer(model, decoder=decoder, beam_size=beam_size, lm=lm, num_threads=num_threads))


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
