"""The bundle: a folder with everything that a result depends on; found, read, written and verified here.

A bundle holds `config.json`, the ONNX model, `tokens.txt` and a `README.md`, the model card. `config.json`
*describes* the model's contract (its input, chunks, states and output), so that no other file of the runtime
knows any model. Reading checks the schema, and of each file the size and how it begins: milliseconds.
`verify_bundle` computes the SHA-256 of every file as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from edgeasr.confidence import FEATURES, MODES, Calibration
from edgeasr.config import CommandConfig, CtcBeamConfig, LogMelConfig
from edgeasr.errors import BundleError, ConfigError
from edgeasr.files import write_whole
from edgeasr.tokens import TokenTable

FORMAT = "edgeasr-bundle"
SCHEMA_VERSION = 1
DEFAULT_MODEL = "en-small"
CONFIG_FILE = "config.json"
TOKENS_FILE = "tokens.txt"
README_FILE = "README.md"
LANGUAGE_MODEL_FILE = "lm.bin"

LAYOUTS = ("BTF", "BFT")
OUTPUT_KINDS = ("log_probs", "logits")
DECODER_MODES = ("beam", "greedy")

STATE_DTYPES = ("float32", "float16", "int32", "int64")

# An ONNX file is a protobuf message whose first field is the version of the format: field 1, a varint.
_ONNX_FIRST_BYTE = b"\x08"

_Config = TypeVar("_Config", LogMelConfig, CtcBeamConfig, CommandConfig)


@dataclass(frozen=True, kw_only=True)
class StateConfig:
    """One state tensor, which the model takes in and gives out changed at every step.

    Attributes:
        name: The input's name.
        output_name: The output that becomes the next step's input.
        shape: Its fixed shape, batch of one included.
        dtype: `float32`, `float16`, `int32` or `int64`.
        initial_value: What fills it at the start of a stream.
    """

    name: str
    output_name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    initial_value: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The contract of the acoustic model: what one step takes and gives.

    A step sees a window of `left_context_frames + chunk_frames + lookahead_frames` feature frames, advances
    by `chunk_frames`, and gives `chunk_frames / subsampling_factor` rows of output.

    Attributes:
        file: Name of the ONNX file.
        precision: What it computes in, such as `float32` or `int8`; for people to read.
        input_name: Name of the feature input.
        layout: `BTF` (1, frames, bins) or `BFT` (1, bins, frames).
        chunk_frames: Feature frames by which a step advances.
        left_context_frames: Feature frames before the chunk that the window repeats.
        lookahead_frames: Feature frames after the chunk that the window holds.
        pad_value: The feature value before the first and after the last frame.
        subsampling_factor: Feature frames to a row of output.
        output_name: Name of the output, (1, rows, vocab_size).
        output_kind: `log_probs` (natural logarithm, normalised) or `logits`.
        states: The state tensors, in any order.
        weights_file: Name of the file with the weights, where they lie beside the graph (external data, in ONNX's
            words) and are mapped into memory; None where the ONNX file holds them.
    """

    file: str
    precision: str
    input_name: str = "features"
    layout: str = "BTF"
    chunk_frames: int
    left_context_frames: int = 0
    lookahead_frames: int = 0
    pad_value: float
    subsampling_factor: int
    output_name: str = "log_probs"
    output_kind: str = "log_probs"
    states: tuple[StateConfig, ...] = ()
    weights_file: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the model's files."""
        return (self.file,) if self.weights_file is None else (self.file, self.weights_file)

    @property
    def window_frames(self) -> int:
        """Feature frames that a step sees."""
        return self.left_context_frames + self.chunk_frames + self.lookahead_frames

    @property
    def rows_per_chunk(self) -> int:
        """Rows of output that a step gives."""
        return self.chunk_frames // self.subsampling_factor


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """How the bundle wants its log-probs decoded: `greedy`, or `beam` with the options of the beam search.

    `command` is how commands are told from dictation, where there are commands.
    """

    mode: str = "beam"
    beam: CtcBeamConfig = field(default_factory=CtcBeamConfig)
    command: CommandConfig = field(default_factory=CommandConfig)


@dataclass(frozen=True, kw_only=True)
class TimingConfig:
    """Shifts in seconds from token frames to word times, fitted on recordings with known word boundaries."""

    word_start_offset_s: float = 0.0
    word_end_offset_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class BundleFile:
    """What a file of the bundle must be."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle that has been read and validated. Immutable.

    Attributes:
        path: The folder.
        name: Short name, such as `en-small`.
        version: The bundle's own version.
        language: Language tag, such as `en`.
        licence: SPDX licence identifier.
        description: One line for people.
        sample_rate: What the model hears, in Hz.
        frontend: The log-mel frontend.
        tokens: The token table.
        model: The acoustic model's contract.
        decoder: Decoder defaults.
        timing: Shifts of word times.
        calibration: Confidence calibration by decoding mode (`confidence.MODES`); a mode that is not there is not
            calibrated.
        card: Measured figures.
        files: Size and SHA-256 of each file, by name.
        language_model: Name of the n-gram language model's file; None if the bundle has none.
    """

    path: Path
    name: str
    version: str
    language: str
    licence: str
    description: str
    sample_rate: int
    frontend: LogMelConfig
    tokens: TokenTable
    model: ModelConfig
    decoder: DecoderConfig
    timing: TimingConfig
    calibration: Mapping[str, Calibration]
    card: Mapping[str, Any]
    files: Mapping[str, BundleFile]
    language_model: str | None = None

    @property
    def language_model_path(self) -> Path | None:
        """The language model's file, if there is one."""
        return None if self.language_model is None else self.path / self.language_model

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.path / self.model.file

    @property
    def frame_s(self) -> float:
        """Seconds from one row of the model's output to the next."""
        return self.frontend.hop_length * self.model.subsampling_factor / self.sample_rate


def models_dirs() -> list[Path]:
    """The folders that may hold the bundles which ship with the package."""
    import edgeasr

    # All entries of the package's path: an editable install keeps the sources and the installed data apart.
    return [Path(entry) / "models" for entry in edgeasr.__path__]


def list_bundles() -> dict[str, Path]:
    """The bundles that ship with the package: their folders, by name; of one name the first on the package's path."""
    folders = [config.parent for models in reversed(models_dirs()) for config in models.glob(f"*/{CONFIG_FILE}")]
    return dict(sorted({folder.name: folder for folder in folders}.items()))


def find_bundle(model: str | Path | None) -> Path:
    """Finds a bundle's folder.

    Args:
        model: A folder, the name of a bundle that ships with the package, or None for the default one.

    Raises:
        BundleError: There is no such folder and no such name.
    """
    if model is not None and (isinstance(model, Path) or "/" in model or Path(model).is_dir()):
        return Path(model)
    name = model or DEFAULT_MODEL
    bundles = list_bundles()
    if name not in bundles:
        known = ", ".join(bundles) or "none"
        raise BundleError(f"no bundle is named {name!r} (the package has: {known}); give a name or a bundle's folder")
    return bundles[name]


def read_bundle(path: str | Path) -> Bundle:
    """Reads and validates a bundle's description; the model itself is not loaded.

    Args:
        path: The bundle's folder.

    Raises:
        BundleError: The bundle is missing, damaged, foreign or of a newer version; the message names the file.
    """
    path = Path(path)
    config = _Section(path / CONFIG_FILE, "", _read_json(path))
    _check_format(config)
    try:
        bundle = _parse(path, config)
    except ConfigError as error:
        raise BundleError(f"{path / CONFIG_FILE}: {error}") from error
    _check_files(bundle)
    return bundle


def verify_bundle(path: str | Path) -> Bundle:
    """Reads a bundle and compares the SHA-256 of every file with the one in its `config.json`.

    Raises:
        BundleError: As `read_bundle`, or a file's content is not what it was when the bundle was written.
    """
    bundle = read_bundle(path)
    for name, file in bundle.files.items():
        found = _sha256(bundle.path / name)
        if found != file.sha256:
            raise BundleError(
                f"{bundle.path / name} is damaged: its SHA-256 is {found[:12]}..., "
                f"expected {file.sha256[:12]}...; copy the bundle anew"
            )
    return bundle


def write_bundle(
    path: str | Path,
    *,
    name: str,
    version: str,
    language: str,
    licence: str,
    description: str,
    frontend: LogMelConfig,
    tokens: TokenTable,
    model: ModelConfig,
    model_path: str | Path,
    readme: str,
    decoder: DecoderConfig | None = None,
    timing: TimingConfig | None = None,
    calibration: Mapping[str, Calibration] | None = None,
    card: Mapping[str, Any] | None = None,
) -> Bundle:
    """Writes a bundle; one that is there already is overwritten.

    Args:
        path: The bundle's folder; made when missing.
        name: Short name, such as `en-small`.
        version: The bundle's own version.
        language: Language tag, such as `en`.
        licence: SPDX licence identifier.
        description: One line for people.
        frontend: What makes the model's features; its `sample_rate` is the bundle's.
        tokens: The token table.
        model: The model's contract; `model.file` is its name inside the bundle.
        model_path: The ONNX file to copy; the weights' file, if the model has one, lies beside it.
        readme: Text of the model card, `README.md`.
        decoder: Decoder defaults; their `beam.blank_id` must be that of `tokens`.
        timing: Shifts of word times.
        calibration: Confidence calibration by decoding mode.
        card: Measured figures.

    Returns:
        The bundle, read back.

    Raises:
        BundleError: What was given makes no valid bundle.
        OSError: A file cannot be read or written.
    """
    from shutil import copyfile

    path = Path(path)
    decoder = decoder or DecoderConfig(beam=CtcBeamConfig(blank_id=tokens.blank_id))
    if decoder.beam.blank_id != tokens.blank_id:
        raise BundleError(
            f"decoder.beam.blank_id is {decoder.beam.blank_id}, expected {tokens.blank_id} as in the tokens"
        )
    path.mkdir(parents=True, exist_ok=True)
    sources = [Path(model_path), *(Path(model_path).with_name(name) for name in model.files[1:])]
    for source, file in zip(sources, model.files, strict=True):
        if (path / file).resolve() != source.resolve():
            copyfile(source, path / file)
    tokens.write(path / TOKENS_FILE)
    (path / README_FILE).write_text(readme, encoding="utf-8")
    config = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "version": version,
        "language": language,
        "licence": licence,
        "description": description,
        "sample_rate": frontend.sample_rate,
        "frontend": asdict(frontend),
        "tokens": {"file": TOKENS_FILE, "blank_id": tokens.blank_id, "word_delimiter": tokens.word_delimiter},
        "model": _model_json(model),
        "decoder": _decoder_json(decoder),
        "timing": asdict(timing or TimingConfig()),
        "calibration": _calibration_json(calibration or {}),
        "card": dict(card or {}),
        "files": {name: _describe_file(path / name) for name in (*model.files, TOKENS_FILE, README_FILE)},
    }
    _write_json(path, config)
    return read_bundle(path)


def update_bundle(
    path: str | Path,
    *,
    decoder: DecoderConfig | None = None,
    timing: TimingConfig | None = None,
    calibration: Mapping[str, Calibration] | None = None,
    card: Mapping[str, Any] | None = None,
    readme: str | None = None,
    language_model: str | Path | None = None,
) -> Bundle:
    """Replaces what is fitted or measured after the export; what is not given stays.

    Args:
        path: The bundle's folder.
        decoder: Decoder defaults.
        timing: Shifts of word times.
        calibration: Confidence calibration by decoding mode.
        card: Measured figures.
        readme: Text of the model card.
        language_model: File of an n-gram model, which is copied into the bundle.

    Returns:
        The bundle, read back.

    Raises:
        BundleError: The bundle cannot be read, or would no longer be valid.
        OSError: A file cannot be read or written.
    """
    path = Path(path)
    read_bundle(path)
    config = _read_json(path)
    if decoder is not None:
        config["decoder"] = _decoder_json(decoder)
    if timing is not None:
        config["timing"] = asdict(timing)
    if calibration is not None:
        config["calibration"] = _calibration_json(calibration)
    if card is not None:
        config["card"] = dict(card)
    if readme is not None:
        write_whole(path / README_FILE, readme)
        config["files"][README_FILE] = _describe_file(path / README_FILE)
    if language_model is not None:
        from shutil import copyfile

        copyfile(language_model, path / LANGUAGE_MODEL_FILE)
        config["language_model"] = {"file": LANGUAGE_MODEL_FILE}
        config["files"][LANGUAGE_MODEL_FILE] = _describe_file(path / LANGUAGE_MODEL_FILE)
    _write_json(path, config)
    return read_bundle(path)


class _Section:
    """An object of the JSON file: its values are taken out one by one and checked; leftovers are refused."""

    def __init__(self, file: Path, name: str, value: object) -> None:
        self.file = file
        self.name = name
        if not isinstance(value, dict):
            raise BundleError(f"{file}: {name or 'the file'} is {_shown(value)}, expected an object")
        self._values = dict(value)

    def where(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def refuse(self, key: str, value: object, expected: str) -> BundleError:
        return BundleError(f"{self.file}: {self.where(key)} is {_shown(value)}, expected {expected}")

    def take(self, key: str) -> object:
        if key not in self._values:
            raise BundleError(f"{self.file}: {self.where(key)} is missing")
        return self._values.pop(key)

    def has(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str, choices: Sequence[str] = ()) -> str:
        value = self.take(key)
        if not isinstance(value, str) or (choices and value not in choices):
            raise self.refuse(key, value, f"one of {', '.join(choices)}" if choices else "a string")
        return value

    def file_name(self, key: str) -> str:
        value = self.text(key)
        if not _is_plain_name(value):
            raise self.refuse(key, value, "the name of a file in the bundle's folder")
        return value

    def integer(self, key: str, minimum: int) -> int:
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise self.refuse(key, value, f"a whole number of at least {minimum}")
        return value

    def number(self, key: str) -> float:
        value = self.take(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise self.refuse(key, value, "a finite number")
        return float(value)

    def items(self, key: str) -> list[object]:
        value = self.take(key)
        if not isinstance(value, list):
            raise self.refuse(key, value, "a list")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.take(key)
        if not isinstance(value, dict):
            raise self.refuse(key, value, "an object")
        return value

    def section(self, key: str) -> _Section:
        return _Section(self.file, self.where(key), self.take(key))

    def config(self, cls: type[_Config], **given: int) -> _Config:
        """Takes the fields of a dataclass; a field that is not there keeps its default."""
        values: dict[str, Any] = dict(given)
        for entry in fields(cls):
            if entry.name in self._values and entry.name not in given:
                values[entry.name] = self._typed(entry.name, entry.default)
        return cls(**values)

    def _typed(self, key: str, default: object) -> object:
        if isinstance(default, bool):
            value = self.take(key)
            if not isinstance(value, bool):
                raise self.refuse(key, value, "true or false")
            return value
        if isinstance(default, int):
            return self.integer(key, 0)
        if isinstance(default, float):
            return self.number(key)
        return self.text(key)

    def done(self) -> None:
        """Refuses what was not taken: it might change results in a way that this version does not know of."""
        if self._values:
            names = ", ".join(self.where(key) for key in self._values)
            raise BundleError(f"{self.file}: unknown entries: {names}")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise BundleError(f"there is no bundle at {path}: no such folder")
    file = path / CONFIG_FILE
    if not file.is_file():
        raise BundleError(f"{path} is not a bundle: it has no {CONFIG_FILE}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{file} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise BundleError(f"{file} is not the description of a bundle: it holds {_shown(config)}")
    return config


def _write_json(path: Path, config: Mapping[str, Any]) -> None:
    try:
        text = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise BundleError(f"{path / CONFIG_FILE} cannot be written: {error}") from error
    write_whole(path / CONFIG_FILE, text + "\n")


def _check_format(config: _Section) -> None:
    if config.take("format") != FORMAT:
        raise BundleError(f"{config.file} does not describe an edgeasr bundle: its format is not {FORMAT!r}")
    version = config.integer("schema_version", 1)
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"{config.file} has schema version {version}, newer than the {SCHEMA_VERSION} that this edgeasr "
            "knows; update it: pip install --upgrade edgeasr"
        )


def _parse(path: Path, config: _Section) -> Bundle:
    tokens = config.section("tokens")
    tokens_file, blank_id = tokens.file_name("file"), tokens.integer("blank_id", 0)
    word_delimiter = tokens.text("word_delimiter")
    tokens.done()
    frontend_section = config.section("frontend")
    frontend = frontend_section.config(LogMelConfig)
    frontend_section.done()
    sample_rate = config.integer("sample_rate", 1)
    if frontend.sample_rate != sample_rate:
        raise config.refuse("sample_rate", sample_rate, f"frontend.sample_rate, {frontend.sample_rate}")
    model = _parse_model(config.section("model"))
    files = {name: _parse_file(config, name, value) for name, value in config.mapping("files").items()}
    language_model = None
    if config.has("language_model"):
        section = config.section("language_model")
        language_model = section.file_name("file")
        section.done()
    for name in (*model.files, tokens_file, *([] if language_model is None else [language_model])):
        if name not in files:
            raise BundleError(f"{config.file}: files has no entry for {name}")
    bundle = Bundle(
        path=path,
        name=config.text("name"),
        version=config.text("version"),
        language=config.text("language"),
        licence=config.text("licence"),
        description=config.text("description"),
        sample_rate=sample_rate,
        frontend=frontend,
        tokens=TokenTable.read(path / tokens_file, blank_id=blank_id, word_delimiter=word_delimiter),
        model=model,
        decoder=_parse_decoder(config.section("decoder"), blank_id),
        timing=_parse_timing(config.section("timing")),
        calibration=_parse_calibration(config, config.mapping("calibration")),
        card=config.mapping("card"),
        files=files,
        language_model=language_model,
    )
    config.done()
    return bundle


def _parse_model(section: _Section) -> ModelConfig:
    feature_input, output = section.section("input"), section.section("output")
    feature_input.text("kind", ["features"])
    model = ModelConfig(
        file=section.file_name("file"),
        precision=section.text("precision"),
        input_name=feature_input.text("name"),
        layout=feature_input.text("layout", LAYOUTS),
        chunk_frames=section.integer("chunk_frames", 1),
        left_context_frames=section.integer("left_context_frames", 0),
        lookahead_frames=section.integer("lookahead_frames", 0),
        pad_value=section.number("pad_value"),
        subsampling_factor=section.integer("subsampling_factor", 1),
        output_name=output.text("name"),
        output_kind=output.text("kind", OUTPUT_KINDS),
        states=tuple(
            _parse_state(_Section(section.file, f"model.states[{place}]", value))
            for place, value in enumerate(section.items("states"))
        ),
        weights_file=section.file_name("weights_file") if section.has("weights_file") else None,
    )
    for part in (feature_input, output, section):
        part.done()
    if model.chunk_frames % model.subsampling_factor:
        raise section.refuse("chunk_frames", model.chunk_frames, f"a multiple of {model.subsampling_factor}")
    return model


def _parse_state(section: _Section) -> StateConfig:
    shape = section.items("shape")
    sizes = tuple(size for size in shape if isinstance(size, int) and not isinstance(size, bool) and size > 0)
    if len(sizes) != len(shape):
        raise section.refuse("shape", shape, "positive whole numbers")
    state = StateConfig(
        name=section.text("name"),
        output_name=section.text("output_name"),
        shape=sizes,
        dtype=section.text("dtype", STATE_DTYPES),
        initial_value=section.number("initial_value") if section.has("initial_value") else 0.0,
    )
    section.done()
    return state


def _parse_decoder(section: _Section, blank_id: int) -> DecoderConfig:
    mode = section.text("mode", DECODER_MODES)
    beam = section.config(CtcBeamConfig, blank_id=blank_id)
    command = CommandConfig()
    if section.has("command"):
        part = section.section("command")
        command = part.config(CommandConfig)
        part.done()
    section.done()
    return DecoderConfig(mode=mode, beam=beam, command=command)


def _parse_timing(section: _Section) -> TimingConfig:
    timing = TimingConfig(
        word_start_offset_s=section.number("word_start_offset_s"),
        word_end_offset_s=section.number("word_end_offset_s"),
    )
    section.done()
    return timing


def _parse_calibration(config: _Section, modes: Mapping[str, object]) -> dict[str, Calibration]:
    unknown = sorted(modes.keys() - set(MODES))
    if unknown:
        raise config.refuse("calibration", unknown, f"decoding modes: {', '.join(MODES)}")
    calibration = {}
    for mode, value in modes.items():
        section = _Section(config.file, f"calibration.{mode}", value)
        weights = section.section("weights")
        calibration[mode] = Calibration(
            bias=section.number("bias"),
            weights={name: weights.number(name) for name in FEATURES},
            score_scale=section.number("score_scale"),
            knots=_parse_knots(section) if section.has("knots") else (),
            fit=section.mapping("fit") if section.has("fit") else {},
        )
        weights.done()
        section.done()
    return calibration


def _parse_knots(section: _Section) -> tuple[tuple[float, float], ...]:
    knots = []
    for place, item in enumerate(section.items("knots")):
        if not isinstance(item, list) or len(item) != 2:
            raise section.refuse(f"knots[{place}]", item, "a pair of numbers")
        pair = _Section(section.file, section.where(f"knots[{place}]"), {"x": item[0], "y": item[1]})
        knots.append((pair.number("x"), pair.number("y")))
    return tuple(knots)


def _parse_file(config: _Section, name: str, value: object) -> BundleFile:
    if not _is_plain_name(name):
        raise config.refuse("files", name, "names of files in the bundle's folder")
    section = _Section(config.file, f"files[{name!r}]", value)
    file = BundleFile(bytes=section.integer("bytes", 0), sha256=section.text("sha256"))
    section.done()
    return file


def _check_files(bundle: Bundle) -> None:
    for name, file in bundle.files.items():
        path = bundle.path / name
        if not path.is_file():
            raise BundleError(f"{path} is missing; copy the bundle anew")
        size = path.stat().st_size
        if size != file.bytes:
            raise BundleError(f"{path} is damaged: it has {size} bytes, expected {file.bytes}; copy the bundle anew")
    with bundle.model_path.open("rb") as model:
        if model.read(1) != _ONNX_FIRST_BYTE:
            raise BundleError(f"{bundle.model_path} is not an ONNX file")


def _model_json(model: ModelConfig) -> dict[str, Any]:
    return {
        "file": model.file,
        **({} if model.weights_file is None else {"weights_file": model.weights_file}),
        "precision": model.precision,
        "input": {"name": model.input_name, "kind": "features", "layout": model.layout},
        "chunk_frames": model.chunk_frames,
        "left_context_frames": model.left_context_frames,
        "lookahead_frames": model.lookahead_frames,
        "pad_value": model.pad_value,
        "subsampling_factor": model.subsampling_factor,
        "output": {"name": model.output_name, "kind": model.output_kind},
        "states": [asdict(state) for state in model.states],
    }


def _decoder_json(decoder: DecoderConfig) -> dict[str, Any]:
    beam = asdict(decoder.beam)
    del beam["blank_id"]  # stands with the tokens
    return {"mode": decoder.mode, **beam, "command": asdict(decoder.command)}


def _calibration_json(calibration: Mapping[str, Calibration]) -> dict[str, Any]:
    return {mode: asdict(model) for mode, model in calibration.items()}


def _describe_file(path: Path) -> dict[str, Any]:
    return asdict(BundleFile(bytes=path.stat().st_size, sha256=_sha256(path)))


def _sha256(path: Path) -> str:
    from hashlib import file_digest

    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _is_plain_name(name: str) -> bool:
    return Path(name).name == name and name not in ("", ".", "..")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
