"""Teachers: models that know more than the student, and what they say of a clip.

A teacher's tokens and frames are rarely the student's. What it says therefore stays in its own terms: features of its
encoder, posteriors of its tokens, the token that each frame emits, and readings of the whole clip; the times of its
frames say where they belong. `targets.py` keeps all that on disk and lays it along what the student hears.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeasr.errors import ConfigError
from edgeasr.features import log_mel
from edgeasr.train.clips import resample
from edgeasr.waveform import Waveform

if TYPE_CHECKING:
    from edgeasr.train.recipe import TokensConfig
    from edgeasr.train.teachers.transcriber import Transcriber

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

KINDS = ("transducer", "ctc", "student", "text", "ensemble")
PATHS = ("best", "reference")
CHECKPOINT = "checkpoint.pt"
PEER = "sherpa-onnx"
# Of what is kept: another one makes teachers listen anew.
VERSION = 1
# Of a token that a model lacks, for the search.
LEAST_LOG_PROB = np.float32(-1e4)


@dataclass(frozen=True, kw_only=True)
class View:
    """How a teacher hears a clip. What it says alike of two views is rarely wrong by chance.

    Attributes:
        speed: How much faster than it was recorded, in hundredths.
        snr_db: With noise that falls by 3 dB an octave, at this signal-to-noise ratio; None for none.
    """

    speed: float = 1.0
    snr_db: float | None = None

    def __post_init__(self) -> None:
        """Checks the values."""
        if not 0.5 <= self.speed <= 2.0:
            raise ConfigError(f"view: speed must lie in 0.5..2, got {self.speed}")

    def of(self, waveform: Waveform) -> Waveform:
        """What is heard of a clip (num_samples,); the same each time."""
        from edgeasr.train.augmentation.augment import coloured_noise, root_mean_square

        if self.speed != 1.0:
            # At another rate it is shorter or longer, and higher or deeper.
            waveform = resample(waveform, round(100 * self.speed), 100)
        if self.snr_db is not None:
            noise = coloured_noise(waveform.size, 1.0, np.random.default_rng(waveform.size))
            scale = root_mean_square(waveform) / max(root_mean_square(noise), 1e-6) * 10 ** (-self.snr_db / 20)
            waveform = waveform + np.float32(scale) * noise
        return waveform


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Who teaches, and what of it is kept.

    Attributes:
        kind: `transducer` (`OnnxTransducer`), `ctc` (`HuggingFaceCtc`), `student` (`StudentTeacher`), `text` (any
            recogniser: `TextTeacher`) or `ensemble` (`EnsembleTargets` of its `members`).
        path: The teacher's folder, relative to the data folder. For `text` the name or folder of a bundle, or
            `sherpa-onnx`, which runs the transducer in the folder `teacher`.
        top_k: How many posteriors of each frame are kept, the largest; 0 for none.
        features: Whether features are kept.
        posteriors: A transducer's posteriors depend on the tokens before: those of its `best` path, or of the
            `reference` where there is a transcript.
        n_best: How many readings of the whole clip are kept, which are looked for with a beam as wide; `text` has one.
        view: How the teacher hears the clips.
        members: Of an ensemble. Its `top_k`, `features` and `n_best` say what is made of what they keep.
        weight: What it counts as a member.
    """

    kind: str
    path: str = ""
    top_k: int = 8
    features: bool = True
    posteriors: str = "best"
    n_best: int = 1
    view: View = View()
    members: tuple[TeacherConfig, ...] = ()
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.kind not in KINDS:
            raise ConfigError(f"teacher: kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.posteriors not in PATHS:
            raise ConfigError(f"teacher: posteriors must be one of {', '.join(PATHS)}, got {self.posteriors!r}")
        if self.kind == "ensemble":
            if len(self.members) < 2 or any(member.members for member in self.members) or self.path:
                raise ConfigError("teacher: an ensemble has at least two members that are none themselves, and no path")
            if self.view != View():
                raise ConfigError("teacher: each member of an ensemble has a view of its own")
        elif self.members or not self.path:
            raise ConfigError(f"teacher: kind {self.kind!r} needs a path, and only an ensemble has members")
        if self.weight <= 0:
            raise ConfigError(f"teacher: the weight of a member must be above 0, got {self.weight}")
        if self.top_k < 0 or self.n_best < 1:
            raise ConfigError(f"teacher: top_k must be 0 or more and n_best 1 or more: {self.top_k}, {self.n_best}")

    @property
    def gives_posteriors(self) -> bool:
        """Whether there are posteriors to learn from."""
        if self.members:
            return self.top_k > 0 and any(member.gives_posteriors for member in self.members)
        return self.kind != "text" and self.top_k > 0

    @property
    def gives_features(self) -> bool:
        """Whether there are features to learn from."""
        if self.members:
            return self.features and any(member.gives_features for member in self.members)
        return self.kind != "text" and self.features


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The times of frames, in seconds: frame j is centred at `first_s + j * step_s`."""

    first_s: float
    step_s: float


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a teacher says of a clip; a teacher that has no features or posteriors has no frames of them.

    Attributes:
        features: (num_feature_frames, dim) of its encoder.
        log_probs: (num_frames, vocab_size), the natural log of the posteriors of its tokens.
        token_ids: (num_frames,) the token that each frame emits, or the blank.
        readings: Texts of the whole clip as the teacher writes them, the best first.
        scores: The natural log of each one's probability; 0 where the teacher does not tell.
    """

    features: FloatArray
    log_probs: FloatArray
    token_ids: IntArray
    readings: tuple[str, ...]
    scores: tuple[float, ...]


class Teacher(Protocol):
    """A model that tells what it makes of a clip.

    Attributes:
        tokens: Its tokens.
        blank_id: The one that stands for nothing.
        token_frames: The times of its posteriors.
        feature_dim: The size of its features.
        feature_frames: Their times.
    """

    tokens: tuple[str, ...]
    blank_id: int
    token_frames: Frames
    feature_dim: int
    feature_frames: Frames

    def hear(self, waveform: Waveform, sample_rate: int, text: str | None) -> Said:
        """Listens to a clip.

        Args:
            waveform: (num_samples,) float32 in [-1, 1].
            sample_rate: Hz.
            text: What is said in it, where that is known: a teacher whose posteriors depend on the tokens before may
                follow it.
        """


class StudentTeacher:
    """A student of this project, mostly a bigger one, as a teacher: the averaged weights of a run's checkpoint."""

    def __init__(self, run_dir: Path, *, n_best: int = 1) -> None:
        """Loads the checkpoint in a run's folder.

        Args:
            run_dir: The folder.
            n_best: How many readings to look for.

        Raises:
            ConfigError: There is none.
        """
        import torch

        from edgeasr.config import LogMelConfig
        from edgeasr.train.student import STEM_STRIDE, Student, StudentConfig

        checkpoint = torch.load(_existing(run_dir / CHECKPOINT), map_location="cpu", weights_only=True)
        recipe = checkpoint["recipe"]
        self._frontend = LogMelConfig(**recipe["frontend"])
        self._student = Student(StudentConfig(**recipe["student"]))
        self._student.load_state_dict(checkpoint["average"])
        self._student.eval()
        self.word_delimiter = recipe["tokens"]["word_delimiter"]
        self.tokens = tuple(recipe["tokens"]["tokens"])
        self.blank_id = int(recipe["tokens"]["blank_id"])
        config = self._student.config
        self._n_best = n_best
        hop_s = self._frontend.hop_length / self._frontend.sample_rate
        self.token_frames = centred(hop_s * config.subsampling_factor)
        self.feature_dim = config.dim
        self.feature_frames = centred(hop_s * STEM_STRIDE)

    def hear(self, waveform: Waveform, sample_rate: int, text: str | None) -> Said:
        import torch

        config = self._student.config
        sound = resample(waveform, sample_rate, self._frontend.sample_rate)
        frames = log_mel(sound, self._frontend)
        pad = -len(frames) % config.chunk_feature_frames
        padded = np.pad(frames, ((0, pad), (0, 0)), constant_values=np.log(self._frontend.log_floor))
        with torch.no_grad():
            batch = torch.from_numpy(padded.astype(np.float32))[None]
            hidden_BTD, _, _ = self._student.encode(batch, self._student.initial_state(1))
            log_probs = self._student.head(hidden_BTD).float().log_softmax(-1)[0].numpy()
        count = -(-len(frames) // config.subsampling_factor)
        return ctc_said(
            hidden_BTD[0, : -(-count // config.emissions_per_frame)].numpy(),
            log_probs[:count],
            self.tokens,
            self.blank_id,
            self.word_delimiter,
            self._n_best,
        )


class TextTeacher:
    """A recogniser that gives texts alone."""

    tokens: tuple[str, ...] = ()
    blank_id = 0
    feature_dim = 0
    token_frames = feature_frames = Frames(first_s=0.0, step_s=1.0)

    def __init__(self, transcriber: Transcriber) -> None:
        """Wraps a recogniser."""
        self._transcriber = transcriber

    def hear(self, waveform: Waveform, sample_rate: int, text: str | None) -> Said:
        nothing = np.zeros((0, 0), np.float32)
        heard = self._transcriber.transcribe(waveform, sample_rate)
        return Said(
            features=nothing, log_probs=nothing, token_ids=np.zeros(0, np.int64), readings=(heard,), scores=(0.0,)
        )


class Viewing:
    """A teacher that hears clips in some view; the times of its frames are those of the clips."""

    def __init__(self, teacher: Teacher, view: View) -> None:
        """Wraps a teacher."""
        self._teacher, self._view = teacher, view
        self.tokens, self.blank_id, self.feature_dim = teacher.tokens, teacher.blank_id, teacher.feature_dim
        self.token_frames, self.feature_frames = (
            Frames(first_s=frames.first_s * view.speed, step_s=frames.step_s * view.speed)
            for frames in (teacher.token_frames, teacher.feature_frames)
        )

    def hear(self, waveform: Waveform, sample_rate: int, text: str | None) -> Said:
        return self._teacher.hear(self._view.of(waveform), sample_rate, text)


def ctc_said(
    features: FloatArray,
    log_probs: FloatArray,
    tokens: tuple[str, ...],
    blank_id: int,
    delimiter: str,
    n_best: int = 1,
) -> Said:
    """What a CTC model says whose tokens are characters: its greedy path, where a repeated token emits once.

    Several readings are those of a prefix beam search, with the summed probabilities of their alignments.
    """
    best = log_probs.argmax(1).astype(np.int64)
    token_ids = np.where(np.diff(best, prepend=blank_id) != 0, best, blank_id)
    text = "".join(tokens[i] for i in token_ids if i != blank_id).replace(delimiter, " ")
    readings: tuple[str, ...] = (" ".join(text.split()),)
    scores: tuple[float, ...] = (float(log_probs.max(1).sum()) if len(log_probs) else 0.0,)
    if n_best > 1 and len(log_probs):
        from edgeasr.config import CtcBeamConfig
        from edgeasr.decoder import CtcBeamDecoder

        beam = CtcBeamConfig(beam_size=n_best, nbest=n_best, blank_id=blank_id)
        found = CtcBeamDecoder(tokens, beam, word_delimiter=delimiter).decode(np.maximum(log_probs, LEAST_LOG_PROB))
        readings, scores = tuple(h.text for h in found), tuple(h.score for h in found)
    return Said(features=features, log_probs=log_probs, token_ids=token_ids, readings=readings, scores=scores)


def centred(step_s: float) -> Frames:
    """Frames that lie side by side from the start of the clip."""
    return Frames(first_s=step_s / 2, step_s=step_s)


def load_teacher(config: TeacherConfig, data: Path, tokens: TokensConfig) -> Teacher:
    """Loads a teacher that is no ensemble.

    Args:
        config: Which.
        data: The data folder.
        tokens: The student's, which a `ctc` teacher's are mapped onto.

    Raises:
        ConfigError: A file is missing, or is not what it should be.
        MissingDependencyError: A package is missing.
    """
    if config.view != View():
        return Viewing(load_teacher(replace(config, view=View()), data, tokens), config.view)
    folder = find_teacher(config, data)
    if config.kind == "transducer":
        from edgeasr.train.teachers.transducer import OnnxTransducer

        return OnnxTransducer(folder, follow_text=config.posteriors == "reference", n_best=config.n_best)
    if config.kind == "ctc":
        from edgeasr.train.teachers.hugging_face import HuggingFaceCtc

        return HuggingFaceCtc(folder, tokens, n_best=config.n_best)
    if config.kind == "student":
        return StudentTeacher(folder, n_best=config.n_best)
    from edgeasr.train.teachers.transcriber import load_bundle, peer_loader

    return TextTeacher(peer_loader(PEER, data)() if config.path == PEER else load_bundle(folder))


def find_teacher(config: TeacherConfig, data: Path) -> Path:
    """The folder of a teacher's files.

    Raises:
        ConfigError: There is none.
        BundleError: The bundle is not there.
    """
    if config.members:
        raise ConfigError("an ensemble has no files of its own: its members are loaded and asked one by one")
    if config.kind == "text":
        from edgeasr.bundle import find_bundle

        return data / "teacher" if config.path == PEER else find_bundle(config.path)
    folder = data / config.path
    if not folder.is_dir():
        raise ConfigError(f"{folder} holds no teacher: there is no such folder")
    return folder


def fingerprint(config: TeacherConfig, data: Path, tokens: TokensConfig) -> str:
    """Tells teachers apart by the content of their files, and by all else that what is kept of them depends on."""
    folder = find_teacher(config, data)
    if config.kind == "student":
        files = [_existing(folder / CHECKPOINT)]
    else:
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".md")
    settings = {
        "version": VERSION,
        **{name: value for name, value in asdict(config).items() if name not in ("view", "members", "weight")},
        "path": None,
        "tokens": asdict(tokens) if config.kind == "ctc" else None,
    }
    if config.n_best > 1 and config.kind in ("ctc", "student"):
        settings["search"] = "prefix beam"  # there was a time when these kept one reading
    if config.view != View():
        settings["view"] = asdict(config.view)
    digest = hashlib.sha256(json.dumps(settings).encode())
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def log_softmax(logits: npt.NDArray[Any]) -> FloatArray:
    """The logarithm of the softmax over the last dimension, in float32."""
    shifted = logits - logits.max(-1, keepdims=True)
    result: FloatArray = (shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))).astype(np.float32)
    return result


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(f"no teacher at {path}")
    return path
