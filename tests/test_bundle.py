"""Bundles: found, read, written, verified, and refused with a message that names the file."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from bundles import CALIBRATION, TINY, WINDOWED

from edgeasr import bundle as bundle_module
from edgeasr.bundle import (
    Bundle,
    DecoderConfig,
    StateConfig,
    TimingConfig,
    find_bundle,
    list_bundles,
    read_bundle,
    update_bundle,
    verify_bundle,
    write_bundle,
)
from edgeasr.config import CtcBeamConfig
from edgeasr.errors import BundleError
from edgeasr.recognizer import Recognizer


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "copy"))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(json.dumps(config))


def rewrite(bundle: Bundle, path: Path, **changes: Any) -> Bundle:
    values: dict[str, Any] = {
        "name": bundle.name,
        "version": bundle.version,
        "language": bundle.language,
        "licence": bundle.licence,
        "description": bundle.description,
        "frontend": bundle.frontend,
        "tokens": bundle.tokens,
        "model": bundle.model,
        "model_path": bundle.model_path,
        "readme": (bundle.path / "README.md").read_text(),
        "decoder": bundle.decoder,
        "timing": bundle.timing,
        "calibration": bundle.calibration,
        "card": bundle.card,
    }
    return write_bundle(path, **(values | changes))


def test_the_description_is_read() -> None:
    bundle = read_bundle(TINY)
    assert (bundle.name, bundle.language, bundle.sample_rate) == ("tiny", "en", 16000)
    assert bundle.model.window_frames == 40
    assert bundle.model.rows_per_chunk == 20
    assert bundle.frame_s == 0.02
    assert bundle.model.states[1] == StateConfig(
        name="frames", output_name="new_frames", shape=(1, 24, 4), initial_value=0.5
    )
    assert len(bundle.tokens) == 29
    assert bundle.decoder == DecoderConfig(mode="beam", beam=CtcBeamConfig(blank_id=0))
    windowed = read_bundle(WINDOWED)
    assert (windowed.model.window_frames, windowed.model.layout, windowed.model.output_kind) == (44, "BFT", "logits")
    assert windowed.decoder.beam.blank_id == windowed.tokens.blank_id == 16


@pytest.mark.parametrize("path", [TINY, WINDOWED])
def test_what_is_written_is_what_was_read(path: Path, tmp_path: Path) -> None:
    bundle = read_bundle(path)
    again = rewrite(bundle, tmp_path / "again")
    assert replace(again, path=path, tokens=bundle.tokens) == bundle
    assert again.tokens.names == bundle.tokens.names
    verify_bundle(again.path)
    for file in path.iterdir():
        assert (again.path / file.name).read_bytes() == file.read_bytes()


def test_weights_may_lie_beside_the_graph(copy: Path, tmp_path: Path) -> None:
    bundle = read_bundle(copy)
    (copy / "model.weights").write_bytes(b"weights")
    again = rewrite(bundle, tmp_path / "again", model=replace(bundle.model, weights_file="model.weights"))
    assert again.model.files == ("model.int8.onnx", "model.weights")
    assert (again.path / "model.weights").read_bytes() == b"weights"
    verify_bundle(again.path)
    (again.path / "model.weights").write_bytes(b"weight")
    with pytest.raises(BundleError, match=r"model\.weights is damaged: it has 6 bytes, expected 7"):
        read_bundle(again.path)
    edit(again.path, lambda config: config["files"].pop("model.weights"))
    with pytest.raises(BundleError, match=r"files has no entry for model\.weights"):
        read_bundle(again.path)


def test_a_bundle_may_be_written_in_place(copy: Path) -> None:
    bundle = read_bundle(copy)
    assert rewrite(bundle, copy, version="2").version == "2"
    verify_bundle(copy)


def test_what_is_fitted_later_is_updated(copy: Path) -> None:
    before = read_bundle(copy)
    decoder = DecoderConfig(mode="beam", beam=CtcBeamConfig(beam_size=4, blank_id=0))
    timing = TimingConfig(word_start_offset_s=-0.1)
    after = update_bundle(
        copy, decoder=decoder, timing=timing, card={"wer": 0.1}, calibration={"beam": CALIBRATION}, readme="# Other\n"
    )
    assert (after.decoder, after.timing, after.card) == (decoder, timing, {"wer": 0.1})
    assert after.calibration == {"beam": CALIBRATION}
    assert after.model == before.model
    verify_bundle(copy)
    assert update_bundle(copy, card={}).timing == timing


def test_a_description_that_cannot_be_written_leaves_the_one_before(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (copy / "config.json").read_bytes()
    names = sorted(path.name for path in copy.iterdir())

    def full(path: Path, text: str, **_: object) -> None:
        path.write_bytes(text[:10].encode())
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            update_bundle(copy, card={"wer": 0.5})
    assert (copy / "config.json").read_bytes() == before
    assert sorted(path.name for path in copy.iterdir()) == names


def test_impossible_values_are_not_written(tmp_path: Path) -> None:
    bundle = read_bundle(TINY)
    with pytest.raises(BundleError, match="blank_id is 3, expected 0"):
        rewrite(bundle, tmp_path / "a", decoder=DecoderConfig(beam=CtcBeamConfig(blank_id=3)))
    with pytest.raises(BundleError, match=r"config\.json cannot be written"):
        rewrite(bundle, tmp_path / "b", card={"wer": float("nan")})
    with pytest.raises(BundleError, match="chunk_frames is 39, expected a multiple of 2"):
        rewrite(bundle, tmp_path / "c", model=replace(bundle.model, chunk_frames=39))


def test_missing_bundles(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such folder"):
        read_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"has no config\.json"):
        read_bundle(tmp_path)


@pytest.mark.parametrize("text", ["", '{"format": "edgeasr-b', "\x00\x01", "[1, 2]", "7"])
def test_damaged_descriptions(copy: Path, text: str) -> None:
    (copy / "config.json").write_text(text)
    with pytest.raises(BundleError, match=r"config\.json"):
        read_bundle(copy)


def set_to(*keys: str | int, value: object) -> Callable[[dict[str, Any]], object]:
    def change(config: dict[str, Any]) -> None:
        inner: Any = config
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return change


def set_calibration(*keys: str, value: object) -> Callable[[dict[str, Any]], object]:
    def change(config: dict[str, Any]) -> None:
        config["calibration"] = {"beam": asdict(CALIBRATION)}
        set_to("calibration", "beam", *keys, value=value)(config)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_to("format", value="other"), "not describe an edgeasr bundle"),
        (lambda config: config.pop("format"), "format is missing"),
        (set_to("schema_version", value=2), "schema version 2, newer than the 1"),
        (set_to("schema_version", value="1"), "schema_version is '1', expected a whole number"),
        (lambda config: config.pop("language"), "language is missing"),
        (set_to("sample_rate", value=8000), "sample_rate is 8000, expected frontend.sample_rate, 16000"),
        (set_to("frontend", "num_mel_bins", value=True), "frontend.num_mel_bins is True"),
        (set_to("frontend", "window", value="square"), "window"),
        (set_to("frontend", "colour", value=1), "unknown entries: frontend.colour"),
        (
            set_to("model", "input", "kind", value="waveform"),
            "model.input.kind is 'waveform', expected one of features",
        ),
        (set_to("model", "input", "layout", value="TBF"), "model.input.layout is 'TBF'"),
        (set_to("model", "file", value="../model.onnx"), "model.file is '../model.onnx', expected the name of a file"),
        (set_to("model", "chunk_frames", value=0), "model.chunk_frames is 0, expected a whole number of at least 1"),
        (set_to("model", "chunk_frames", value=39), "model.chunk_frames is 39, expected a multiple of 2"),
        (set_to("model", "pad_value", value=None), "model.pad_value is None, expected a finite number"),
        (set_to("model", "output", "kind", value="probs"), "model.output.kind is 'probs'"),
        (set_to("model", "states", value={}), "model.states is {}, expected a list"),
        (set_to("model", "states", 0, "shape", value=[1, -1]), r"model.states\[0\].shape is \[1, -1\]"),
        (set_to("model", "states", 1, "dtype", value="bool"), r"model.states\[1\].dtype is 'bool'"),
        (set_to("model", "lookbehind", value=1), "unknown entries: model.lookbehind"),
        (set_to("tokens", "blank_id", value=29), "blank_id is 29"),
        (set_to("tokens", value=[]), r"tokens is \[\], expected an object"),
        (set_to("decoder", "mode", value="fast"), "decoder.mode is 'fast', expected one of beam, greedy"),
        (set_to("decoder", "beam_size", value=0), "beam_size"),
        (set_to("timing", "word_start_offset_s", value="x"), "timing.word_start_offset_s is 'x'"),
        (set_to("calibration", value=[]), r"calibration is \[\], expected an object"),
        (
            set_to("calibration", value={"fast": {}}),
            r"calibration is \['fast'\], expected decoding modes: greedy, beam",
        ),
        (set_to("calibration", value={"beam": 1}), "calibration.beam is 1, expected an object"),
        (set_calibration("bias", value="x"), "calibration.beam.bias is 'x', expected a finite number"),
        (set_calibration("score_scale", value=0), "score_scale is 0.0, expected more than 0"),
        (set_calibration("weights", value={}), "calibration.beam.weights.posterior is missing"),
        (set_calibration("weights", "luck", value=1), "unknown entries: calibration.beam.weights.luck"),
        (set_calibration("weights", "share", value=-1), "the weight of share is -1.0, expected at least 0"),
        (
            set_calibration("knots", value=[[0.1, "x"]]),
            r"calibration.beam.knots\[0\].y is 'x', expected a finite number",
        ),
        (set_calibration("knots", value=[[0.1]]), r"calibration.beam.knots\[0\] is \[0.1\], expected a pair"),
        (set_calibration("knots", value=[[0.5, 0.4], [0.2, 0.6]]), "do not rise"),
        (set_calibration("bend", value=[]), "unknown entries: calibration.beam.bend"),
        (set_to("files", "model.int8.onnx", "bytes", value=-1), "bytes is -1"),
        (lambda config: config["files"].pop("tokens.txt"), "files has no entry for tokens.txt"),
        (set_to("files", "../x", value={}), "names of files in the bundle's folder"),
        (set_to("extra", value=1), "unknown entries: extra"),
    ],
)
def test_foreign_descriptions(copy: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    edit(copy, change)
    with pytest.raises(BundleError, match=message) as caught:
        read_bundle(copy)
    assert "config.json" in str(caught.value) or "tokens.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.int8.onnx", "tokens.txt", "README.md"])
def test_missing_and_truncated_files(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1])
    with pytest.raises(BundleError, match=rf"{name} is damaged: it has {len(content) - 1} bytes"):
        read_bundle(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name):
        read_bundle(copy)


def test_a_changed_byte_is_found_by_verification_alone(copy: Path) -> None:
    content = bytearray((copy / "model.int8.onnx").read_bytes())
    content[5000] ^= 1
    (copy / "model.int8.onnx").write_bytes(content)
    read_bundle(copy)
    with pytest.raises(BundleError, match=r"model\.int8\.onnx is damaged: its SHA-256"):
        verify_bundle(copy)


def test_a_file_that_is_no_model(copy: Path) -> None:
    size = (copy / "model.int8.onnx").stat().st_size
    (copy / "model.int8.onnx").write_bytes(b"x" * size)
    with pytest.raises(BundleError, match="not an ONNX file"):
        read_bundle(copy)
    (copy / "model.int8.onnx").write_bytes(b"\x08" + b"x" * (size - 1))
    with pytest.raises(BundleError, match=r"model\.int8\.onnx cannot be loaded"):
        Recognizer(copy)


def test_names_and_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "models_dirs", lambda: [TINY.parent])
    assert list_bundles() == {"tiny": TINY, "windowed": WINDOWED}
    assert find_bundle("tiny") == TINY
    assert find_bundle(str(TINY)) == find_bundle(TINY) == TINY
    with pytest.raises(BundleError, match=r"no bundle is named 'huge' \(the package has: tiny, windowed\)"):
        find_bundle("huge")
    monkeypatch.setattr(bundle_module, "DEFAULT_MODEL", "windowed")
    assert find_bundle(None) == WINDOWED
