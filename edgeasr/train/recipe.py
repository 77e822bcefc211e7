"""Recipes: TOML files read into frozen dataclasses; an unknown key is refused."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Union

from edgeasr.config import LogMelConfig
from edgeasr.errors import ConfigError
from edgeasr.train.dataset import DataConfig
from edgeasr.train.distil import LossConfig
from edgeasr.train.student import StudentConfig
from edgeasr.train.teachers.label import LabelConfig
from edgeasr.train.teachers.teacher import TeacherConfig

T = TypeVar("T")

ENGLISH_TOKENS = ("<blank>", "|", "'", *"abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, kw_only=True)
class TokensConfig:
    """The token table; `tokens[blank_id]` is CTC's blank."""

    tokens: tuple[str, ...] = ENGLISH_TOKENS
    blank_id: int = 0
    word_delimiter: str = "|"

    def __post_init__(self) -> None:
        """Checks the values."""
        twice = sorted({token for token in self.tokens if self.tokens.count(token) > 1})
        if twice:
            raise ConfigError(f"tokens has {', '.join(map(repr, twice))} more than once")
        if not 0 <= self.blank_id < len(self.tokens):
            raise ConfigError(f"blank_id must be one of 0..{len(self.tokens) - 1}, got {self.blank_id}")
        if self.word_delimiter not in self.tokens:
            raise ConfigError(f"tokens has no word_delimiter {self.word_delimiter!r}")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW for everything else, one schedule.

    Muon's updates are scaled to the size that AdamW's have (Liu et al. 2025), so that both share a learning rate. It
    rises over `warmup_steps`, stays, and falls to the final rate over the last `decay_share` of the steps (Hägele et
    al. 2024): until it falls, a run can be made longer by raising `steps`, and no step was planned for the old end.
    """

    steps: int = 10_000
    warmup_steps: int = 300
    decay_share: float = 0.25
    learning_rate: float = 2e-3
    final_learning_rate: float = 2e-5
    weight_decay: float = 0.02
    muon_momentum: float = 0.95
    adam_betas: tuple[float, float] = (0.9, 0.98)
    gradient_clip: float = 1.0
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        """Checks the numbers of steps."""
        _at_least_one(steps=self.steps, warmup_steps=self.warmup_steps)
        if not 0 < self.decay_share <= 1:
            raise ConfigError(f"decay_share must be above 0 and at most 1, got {self.decay_share}")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What the loop measures while it trains: greedy CER of the averaged weights on a few clips of each manifest."""

    manifests: tuple[str, ...] = ()
    clips_per_manifest: int = 60
    every_steps: int = 500

    def __post_init__(self) -> None:
        """Checks the numbers."""
        _at_least_one(clips_per_manifest=self.clips_per_manifest, every_steps=self.every_steps)


@dataclass(frozen=True, kw_only=True)
class ReleaseConfig:
    """What the bundle of this recipe's student says of itself; its name is the recipe's if none is given."""

    name: str = ""
    version: str = "1"
    language: str = "en"
    licence: str = "Apache-2.0"
    description: str = ""
    trained_on: str = ""
    # What the evaluation sets are, for the model card.
    sets: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a training run depends on."""

    name: str
    seed: int = 0
    intermediate_weight: float = 0.3
    checkpoint_every_steps: int = 500
    log_every_steps: int = 20
    # Metrics for TensorBoard, too, in the run's folder.
    tensorboard: bool = False
    data: DataConfig
    frontend: LogMelConfig = field(default_factory=LogMelConfig)
    tokens: TokensConfig = field(default_factory=TokensConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    release: ReleaseConfig = field(default_factory=ReleaseConfig)
    teacher: TeacherConfig | None = None
    losses: LossConfig = field(default_factory=LossConfig)
    label: LabelConfig = field(default_factory=LabelConfig)

    def __post_init__(self) -> None:
        """Refuses parts that do not fit each other: sizes, and losses that the teacher has nothing for."""
        _at_least_one(checkpoint_every_steps=self.checkpoint_every_steps, log_every_steps=self.log_every_steps)
        if not self.data.sources:
            raise ConfigError("data.sources is empty: there is nothing to train on")
        if self.student.vocab_size != len(self.tokens.tokens):
            raise ConfigError(
                f"student.vocab_size is {self.student.vocab_size}, but there are {len(self.tokens.tokens)} tokens"
            )
        if self.student.num_mel_bins != self.frontend.num_mel_bins:
            raise ConfigError(
                f"student.num_mel_bins is {self.student.num_mel_bins}, but frontend.num_mel_bins "
                f"{self.frontend.num_mel_bins}"
            )
        if self.label.maximum_disagreement < 1 and (self.teacher is None or not self.teacher.members):
            raise ConfigError("label.maximum_disagreement needs an ensemble: one teacher agrees with itself")
        # A teacher may be there to label alone.
        if self.losses.taught or not any(source.labels for source in self.data.sources):
            self.losses.check(self.teacher)

    @property
    def pad_value(self) -> float:
        """The feature value of digital silence, which fills the last chunk of a clip."""
        return math.log(self.frontend.log_floor)


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ConfigError(f"{name} must be at least 1, got {number}")


RECIPES_DIR = Path(__file__).parent / "recipes"


def find_recipe(name: str) -> Path:
    """A recipe's file: a path, or the name of a recipe that ships with the package."""
    shipped = RECIPES_DIR / f"{name}.toml"
    return shipped if shipped.is_file() else Path(name)


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe.

    Raises:
        ConfigError: the file is missing, not TOML, has an unknown, missing or wrongly typed key, or values that do not
            fit each other.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"recipe {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"recipe {path} is not valid TOML: {error}") from error
    return build(Recipe, table, where=str(path))


def build(cls: type[T], table: dict[str, Any], where: str) -> T:
    """Builds a dataclass from a table, its nested dataclasses from nested tables."""
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; known are {', '.join(sorted(known))}")
    for name, f in known.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in table:
            raise ConfigError(f"{where}: key {name!r} is missing")
    values = {key: convert(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def convert(hint: Any, value: Any, where: str) -> Any:
    """Converts a TOML value to the type of its field."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, Union):  # an optional part: `false` turns it off, `true` on with its defaults
        if value is False:
            return None
        part = next(a for a in arguments if a is not type(None))
        return convert(part, {} if value is True and dataclasses.is_dataclass(part) else value, where)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return build(typing.cast("type[Any]", hint), value, where)
    if origin is tuple and isinstance(value, list):
        item_hints = [arguments[0]] * len(value) if arguments[-1] is ... else arguments
        if len(item_hints) != len(value):
            raise ConfigError(f"{where}: expected {len(item_hints)} values, got {len(value)}")
        return tuple(convert(h, v, where) for h, v in zip(item_hints, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {key: convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{where}: expected {getattr(hint, '__name__', hint)}, got {value!r}")
