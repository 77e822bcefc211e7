"""Recorded sessions: what was heard comes back exactly, and damage is told."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeasr.errors import InputError
from edgeasr.events import DeviceLost, DeviceRestored, Final, Overflow, SpeechStarted
from edgeasr.session import FILES, SessionRecorder, event_record, first_difference, read_session
from edgeasr.types import Partial, Segment, Word

HEAD = b'{"format": "edgeasr-session", "version": 1, "sample_rate": %s}'
WORD = Word("hello", 0.1, 0.5, 0.25)
EVENTS = (
    SpeechStarted(time_s=0.4, start=0.1),
    Partial([WORD], (Word("wor", 0.5, 0.6, 1 / 3),), 0.8),
    Final(time_s=1.2, segment=Segment("hello", 0.1, 0.5, (WORD,))),
)


def heard() -> list[Any]:
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal(640).astype(np.float32),
        Overflow(time_s=0.08, lost_s=0.04),
        rng.standard_normal(1).astype(np.float32),
        np.zeros(0, np.float32),
        DeviceLost(time_s=0.1, message="unplugged"),
        DeviceRestored(time_s=0.3, name="Mikrofön", lost_s=0.2),
        rng.standard_normal(10_000).astype(np.float32),
    ]


def record(path: Path) -> list[Any]:
    blocks = heard()
    with SessionRecorder(path, {"sample_rate": 16000, "options": {"beam_size": 8}}) as recorder:
        for place, block in enumerate(recorder.blocks(blocks)):
            assert block is blocks[place]
            if place < len(EVENTS):
                recorder.tell(EVENTS[place])
    assert recorder.problem is None
    return blocks


def test_what_was_heard_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "session.zip"
    expected = record(path)
    session = read_session(path)
    found = list(session.blocks())
    assert len(found) == len(expected)
    for block, other in zip(found, expected, strict=True):
        if isinstance(other, np.ndarray):
            assert block.dtype == np.float32
            np.testing.assert_array_equal(block, other)
        else:
            assert block == other
    assert session.sample_rate == 16000
    assert session.description["options"] == {"beam_size": 8}
    assert set(session.description["versions"]) == {"python", "edgeasr", "numpy", "onnxruntime", "soxr"}
    assert list(session.arrivals) == sorted(session.arrivals)
    assert first_difference(session.events, map(event_record, EVENTS)) is None
    assert session.events[1]["words"][1]["confidence"] == 1 / 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["session.zip"]


def test_the_first_difference_is_found() -> None:
    records = [event_record(event) for event in EVENTS]
    other = [*records[:2], {**records[2], "time_s": 1.3}]
    assert first_difference(records, other) == (2, records[2], other[2])
    assert first_difference(records[:1], records) == (1, None, records[1])


def test_a_session_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "session.zip"
    record(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError), SessionRecorder(path, {"sample_rate": 16000}):
        pass
    assert path.read_bytes() == before


def test_a_full_disk_ends_the_recording_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "session.zip"
    blocks = heard()
    with SessionRecorder(path, {"sample_rate": 16000}) as recorder:
        passed = recorder.blocks(blocks)
        next(passed)
        recorder._files["sound.f32"].close()
        recorder._files["sound.f32"] = open("/dev/full", "wb", buffering=0)  # noqa: PTH123, SIM115
        assert len(list(passed)) == len(blocks) - 1
        recorder.tell(EVENTS[0])
    assert recorder.problem is not None
    assert "breaks off" in caplog.text
    assert caplog.text.count("breaks off") == 1
    assert not path.exists()
    assert (tmp_path / "session.zip.part" / "blocks.jsonl").exists()


def test_ctrl_c_while_packing_leaves_what_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "session.zip"
    writing = zipfile.ZipFile.write

    def interrupted(archive: zipfile.ZipFile, file: Path, name: str) -> None:
        writing(archive, file, name)
        if name == "sound.f32":
            raise KeyboardInterrupt

    monkeypatch.setattr(zipfile.ZipFile, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        record(path)
    assert not path.exists()
    assert {file.name for file in (tmp_path / "session.zip.part").iterdir()} == set(FILES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"session.json": b"{}"}, "is not a session"),
        ({"session.json": b"{"}, "session.json is damaged"),
        ({"session.json": b'{"format": "edgeasr-session", "version": 99}'}, "of version 99"),
        ({"session.json": b'{"format": "edgeasr-session", "version": 1}'}, "no sample rate"),
        ({"session.json": HEAD % b'"16000"'}, "no sample rate"),
        ({"session.json": HEAD % b"0"}, "no sample rate"),
        ({"session.json": HEAD % b'1, "versions": null'}, "versions is None"),
        ({"session.json": HEAD % b'1, "bundle": []'}, r"bundle is \[\]"),
        ({"blocks.jsonl": b'{"at_s": 0, "num_samples": "x"}\n'}, r"blocks\.jsonl:1: num_samples is 'x'"),
        ({"blocks.jsonl": b'{"at_s": 0, "num_samples": -1}\n'}, r"blocks\.jsonl:1: num_samples is -1"),
        ({"blocks.jsonl": b'{"at_s": 0}\n'}, "num_samples"),
        ({"blocks.jsonl": b'{"at_s": 0, "event": "Overflow", "time_s": 1, "lost_s": null}\n'}, "lost_s is None"),
        ({"blocks.jsonl": b"[]\n"}, r"blocks\.jsonl:1: expected an object"),
        ({"events.jsonl": b"{}\n{\n"}, r"events\.jsonl:2"),
        ({"events.jsonl": None}, "damaged"),
    ],
)
def test_damage_is_told(tmp_path: Path, change: dict[str, bytes | None], message: str) -> None:
    path, damaged = tmp_path / "session.zip", tmp_path / "damaged.zip"
    record(path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(damaged, "w") as target:
        for name in archive.namelist():
            content = change.get(name, archive.read(name))
            if content is not None:
                target.writestr(name, content)
    with pytest.raises(InputError, match=message):
        list(read_session(damaged).blocks())


def test_missing_sound_is_told(tmp_path: Path) -> None:
    path, damaged = tmp_path / "session.zip", tmp_path / "damaged.zip"
    record(path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(damaged, "w") as target:
        for name in archive.namelist():
            content = archive.read(name)
            target.writestr(name, content[:-4] if name == "sound.f32" else content)
    with pytest.raises(InputError, match=r"sound\.f32 is shorter"):
        list(read_session(damaged).blocks())
    truncated = tmp_path / "truncated.zip"
    truncated.write_bytes(path.read_bytes()[:-100])
    for other in (truncated, tmp_path / "text.zip"):
        (tmp_path / "text.zip").write_text(json.dumps({}))
        with pytest.raises(InputError, match="is not a session"):
            read_session(other)
