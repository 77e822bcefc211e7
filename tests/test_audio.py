"""Sound files: every format, damage, and what is no sound at all."""

import io
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from edgeasr.audio import AudioReader, open_audio
from edgeasr.errors import AudioFormatError

MODEL_RATE = 16000
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_24"),
}


@pytest.fixture(scope="module")
def speech(samples_dir: Path) -> npt.NDArray[np.float32]:
    waveform, _ = soundfile.read(samples_dir / "austen-0890.flac", dtype="float32")
    return np.asarray(waveform)


@pytest.fixture
def no_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def fake_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An ffmpeg that runs the Python lines written to the file that is returned."""
    script = tmp_path / "script.py"
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    return script


def write(path: Path, waveform: npt.ArrayLike, sample_rate: int = MODEL_RATE) -> Path:
    file_format, subtype = FORMATS[path.name.partition(".")[2]]
    soundfile.write(path, np.asarray(waveform), sample_rate, format=file_format, subtype=subtype)
    return path


def read(source: Path | BinaryIO) -> tuple[npt.NDArray[np.float32], AudioReader]:
    with open_audio(source, MODEL_RATE) as reader:
        blocks = list(reader.blocks())
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    return np.concatenate([np.empty(0, np.float32), *blocks]), reader


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats(suffix: str, speech: npt.NDArray[np.float32], tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{suffix}", speech)
    waveform, reader = read(path)
    assert reader.damage is None
    assert reader.sample_rate == MODEL_RATE
    assert reader.duration == pytest.approx(len(waveform) / MODEL_RATE)
    assert len(waveform) == len(speech)
    assert np.corrcoef(waveform, speech)[0, 1] > 0.9


def test_mp3_does_not_depend_on_the_size_of_the_blocks(
    speech: npt.NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.mp3", speech)
    waveform, _ = read(path)
    monkeypatch.setattr("edgeasr.audio.BLOCKS_PER_SECOND", 31)
    assert np.array_equal(read(path)[0], waveform)


@pytest.mark.parametrize("sample_rate", [8000, 11025, 44100, 96000])
def test_rates_and_channels_of_the_file(sample_rate: int, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (sample_rate, 5))
    waveform, reader = read(write(tmp_path / "a.flac", samples, sample_rate))
    assert reader.sample_rate == sample_rate
    assert np.allclose(waveform, samples.mean(axis=1), atol=1e-4)


@pytest.mark.parametrize("suffix", ["wav", "float.wav", "ogg", "aiff"])
def test_no_samples(suffix: str, tmp_path: Path) -> None:
    waveform, reader = read(write(tmp_path / f"a.{suffix}", np.zeros(0)))
    assert (len(waveform), reader.duration, reader.damage) == (0, 0.0, None)


def test_flac_without_samples(tmp_path: Path) -> None:
    # The header alone, as the flac program writes it for no input; soundfile would write an empty file.
    stream_info = b"\x10\x00\x10\x00" + bytes(6) + (16000 << 44 | 15 << 36).to_bytes(8, "big") + bytes(16)
    path = tmp_path / "a.flac"
    path.write_bytes(b"fLaC\x80\x00\x00\x22" + stream_info)
    waveform, reader = read(path)
    assert (len(waveform), reader.duration, reader.damage) == (0, None, None)


@pytest.mark.parametrize("share", [0.3, 0.777])
def test_truncated_flac_is_read_up_to_the_damage(share: float, speech: npt.NDArray[np.float32], tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", speech)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    waveform, reader = read(path)
    assert reader.damage is not None
    assert "damaged after" in reader.damage
    # To the last frame of FLAC that is whole: libsndfile's are of 4,096 samples.
    assert share * len(speech) - 16000 < len(waveform) < len(speech)
    assert len(waveform) % 4096 == 0
    assert np.array_equal(waveform, speech[: len(waveform)])


@pytest.mark.parametrize("suffix", ["wav", "mp3"])
def test_other_truncated_files_are_noticed(suffix: str, speech: npt.NDArray[np.float32], tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{suffix}", speech)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    waveform, reader = read(path)
    assert reader.damage is not None
    assert 1 < len(waveform) < 0.6 * len(speech)


def test_wav_of_unknown_length_is_whole(speech: npt.NDArray[np.float32], tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", speech)
    data = bytearray(path.read_bytes())
    data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    waveform, reader = read(path)
    assert reader.damage is None
    assert np.array_equal(waveform, speech)


@pytest.mark.usefixtures("no_ffmpeg")
@pytest.mark.parametrize("name", ["a.wav", "a.raw", "a.txt", "a"])
@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b"no sound\n" * 99, "install the ffmpeg program")]
)
def test_what_is_no_sound(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioFormatError, match=message):
        open_audio(path, MODEL_RATE)


def test_missing_and_forbidden_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_audio(tmp_path / "a.wav", MODEL_RATE)
    with pytest.raises(IsADirectoryError):
        open_audio(tmp_path, MODEL_RATE)


def test_file_objects(speech: npt.NDArray[np.float32], tmp_path: Path) -> None:
    waveform, _ = read(io.BytesIO(write(tmp_path / "a.flac", speech).read_bytes()))
    assert np.array_equal(waveform, speech)


def test_pipes(speech: npt.NDArray[np.float32], tmp_path: Path) -> None:
    data = write(tmp_path / "a.opus", speech).read_bytes()
    read_end, write_end = os.pipe()
    assert os.write(write_end, data) == len(data)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        waveform, _ = read(pipe)
    assert len(waveform) == len(speech)


SEND = "import sys, struct; sys.stdout.buffer.write(struct.pack('<20000f', *range(20000)))\n"


@pytest.mark.parametrize(
    ("script", "num_samples", "damage"),
    [
        (SEND, 20000, None),
        ("", 0, None),
        (
            SEND + "print('one\\n[mov,mp4 @ 0x5a0] corrupt packet', file=sys.stderr)",
            20000,
            "ffmpeg read 1.2 s (corrupt packet)",
        ),
        (SEND + "sys.exit(3)", 20000, "exit status 3"),
    ],
)
def test_ffmpeg(fake_ffmpeg: Path, tmp_path: Path, script: str, num_samples: int, damage: str | None) -> None:
    fake_ffmpeg.write_text(script)
    path = tmp_path / "a.m4a"
    path.write_bytes(b"something else")
    waveform, reader = read(path)
    assert waveform.tolist() == list(range(num_samples))
    assert reader.sample_rate == MODEL_RATE
    assert (reader.damage is None) == (damage is None)
    assert damage is None or damage in str(reader.damage)


def test_ffmpeg_is_told_what_to_do(fake_ffmpeg: Path, tmp_path: Path) -> None:
    fake_ffmpeg.write_text(f"import sys; open({str(tmp_path / 'args')!r}, 'w').write(chr(10).join(sys.argv[1:]))")
    path = tmp_path / "-a: b.m4a"
    path.write_bytes(b"something else")
    read(path)
    arguments = (tmp_path / "args").read_text().split("\n")
    assert arguments[arguments.index("-i") + 1] == f"file:{path}"
    assert arguments[arguments.index("-protocol_whitelist") + 1] == "file"


def test_ffmpeg_reads_standard_input_too(fake_ffmpeg: Path) -> None:
    fake_ffmpeg.write_text(
        "import sys; sys.stdout.buffer.write(open(sys.argv[sys.argv.index('-i') + 1][5:], 'rb').read())"
    )
    assert read(io.BytesIO(np.arange(100, dtype="<f4").tobytes()))[0].tolist() == list(range(100))


def test_ffmpeg_that_cannot_read_it_either(fake_ffmpeg: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_text("no sound")
    fake_ffmpeg.write_text(f"import sys; sys.exit('file:{path}: Invalid data found')")
    with pytest.raises(AudioFormatError, match=r"\(ffmpeg: Invalid data found\)"):
        read(path)


def test_ffmpeg_ends_with_the_reader(fake_ffmpeg: Path, tmp_path: Path) -> None:
    fake_ffmpeg.write_text("import sys\nwhile True: sys.stdout.buffer.write(bytes(65536))")
    path = tmp_path / "a.m4a"
    path.write_bytes(b"something else")
    with open_audio(path, MODEL_RATE) as reader:
        assert len(next(iter(reader.blocks()))) == MODEL_RATE // 2
