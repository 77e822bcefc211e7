"""The recogniser: one for all threads, files and arrays alike."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bundles import TINY, WINDOWED

from edgeasr import BundleError, ConfigError, InputError, Recognizer
from edgeasr.config import CtcBeamConfig


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(TINY)


def test_files_arrays_and_file_objects_give_the_same(recognizer: Recognizer, samples_dir: Path) -> None:
    path = samples_dir / "austen-0890.flac"
    waveform, sample_rate = soundfile.read(path, dtype="float32")
    transcript = recognizer.transcribe(path)
    assert transcript.duration == 5.3
    assert len(transcript.words) > 5
    assert (transcript.segments[0].start, transcript.segments[0].end) == (
        transcript.words[0].start,
        transcript.words[-1].end,
    )
    assert recognizer.transcribe(str(path)) == transcript
    assert recognizer.transcribe(io.BytesIO(path.read_bytes())) == transcript
    assert recognizer.transcribe(waveform, sample_rate=sample_rate) == transcript
    stream = recognizer.stream(sample_rate=sample_rate)
    for start in range(0, len(waveform), 1234):
        stream.accept(waveform[start : start + 1234])
    assert stream.finish() == transcript


def test_threads_share_a_recogniser(recognizer: Recognizer, samples_dir: Path) -> None:
    paths = sorted(samples_dir.glob("*.flac")) * 3
    expected = [recognizer.transcribe(path) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(recognizer.transcribe, paths)) == expected


def test_several_streams_at_once(recognizer: Recognizer, samples_dir: Path) -> None:
    paths = sorted(samples_dir.glob("*.flac"))
    waveforms = [soundfile.read(path, dtype="float32")[0] for path in paths]
    streams = [recognizer.stream() for _ in paths]
    for start in range(0, max(map(len, waveforms)), 800):
        for stream, waveform in zip(streams, waveforms, strict=True):
            stream.accept(waveform[start : start + 800])
    assert [stream.finish() for stream in streams] == [recognizer.transcribe(path) for path in paths]


def test_progress_is_told(recognizer: Recognizer, samples_dir: Path) -> None:
    told: list[tuple[float, float | None]] = []
    recognizer.transcribe(samples_dir / "austen-0880.flac", on_progress=lambda *seconds: told.append(seconds))
    assert told[-1] == (2.99, 2.99)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_damage_is_a_warning(recognizer: Recognizer, samples_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes((samples_dir / "austen-0870.flac").read_bytes()[:70_000])
    transcript = recognizer.transcribe(path)
    (warning,) = transcript.warnings
    assert "damaged after" in warning
    whole, _ = soundfile.read(samples_dir / "austen-0870.flac", dtype="float32")
    heard = whole[: round(transcript.duration * 16000)]
    assert transcript.segments == recognizer.transcribe(heard, sample_rate=16000).segments


def test_the_decoder_is_the_bundles_unless_told() -> None:
    assert Recognizer(TINY).decoder.mode == "beam"
    assert Recognizer(WINDOWED).decoder.mode == "greedy"
    assert Recognizer(TINY, decoder="greedy").decoder.mode == "greedy"
    wide = Recognizer(WINDOWED, beam_size=16).decoder
    assert (wide.mode, wide.beam) == ("beam", CtcBeamConfig(beam_size=16, blank_id=16))


def test_impossible_wishes(recognizer: Recognizer) -> None:
    for message, wishes in {
        "decoder is 'fast'": {"decoder": "fast"},
        "greedy decoder has no beam": {"decoder": "greedy", "beam_size": 4},
        "beam_size": {"beam_size": 0},
        "num_threads is 0": {"num_threads": 0},
    }.items():
        with pytest.raises(ConfigError, match=message):
            Recognizer(TINY, **wishes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="sample_rate"):
        recognizer.stream(sample_rate=16)
    with pytest.raises(InputError, match="sample_rate is missing"):
        recognizer.transcribe(np.zeros(10, np.float32))
    with pytest.raises(InputError, match="a file knows its own"):
        recognizer.transcribe("a.wav", sample_rate=16000)
    with pytest.raises(BundleError, match="no bundle is named 'missing'"):
        Recognizer("missing")
    with pytest.raises(FileNotFoundError):
        recognizer.transcribe("missing.wav")
