"""The recogniser: one for all threads, files and arrays alike."""

import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bundles import CALIBRATION, TINY, WINDOWED

from edgeasr import BundleError, ConfigError, InputError, Recognizer
from edgeasr.bundle import read_bundle, update_bundle
from edgeasr.config import CommandConfig, CtcBeamConfig


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


def test_what_is_not_wished_for_stays_the_bundles(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(TINY, folder)
    command = CommandConfig(min_llr=-1.25)
    update_bundle(folder, decoder=replace(read_bundle(folder).decoder, command=command))
    decoder = Recognizer(folder, beam_size=3).decoder
    assert (decoder.command, decoder.beam.beam_size) == (command, 3)


def test_impossible_wishes(recognizer: Recognizer) -> None:
    for message, wishes in {
        "decoder is 'fast'": {"decoder": "fast"},
        "greedy decoder has no beam_size": {"decoder": "greedy", "beam_size": 4},
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


def test_abstention(samples_dir: Path) -> None:
    path = samples_dir / "austen-0890.flac"
    everything = Recognizer(TINY).transcribe(path)
    least = sorted(word.confidence for word in everything.words)[len(everything.words) // 2]
    some = Recognizer(TINY, min_confidence=least).transcribe(path)
    assert [replace(word, accepted=True) for word in some.words] == list(everything.words)
    assert {word.accepted for word in some.words} == {True, False}
    assert "[?]" in some.text
    assert some.text.count("[?] [?]") == 0
    short = Recognizer(TINY, min_confidence=least, unsure_mark="").transcribe(path)
    assert short.text == " ".join(word.text for word in some.words if word.accepted)
    nothing = Recognizer(TINY, min_segment_confidence=1.0).transcribe(path)
    assert nothing.text == "[?]"
    assert not nothing.segments[0].accepted
    assert all(word.accepted for word in nothing.words)


def test_thresholds_are_probabilities() -> None:
    for name in ("min_confidence", "min_segment_confidence"):
        with pytest.raises(ConfigError, match=f"{name} is 1.5, expected a probability"):
            Recognizer(TINY, **{name: 1.5})


def test_a_result_says_whether_its_mode_is_calibrated(tmp_path: Path, samples_dir: Path) -> None:
    copy = Path(shutil.copytree(TINY, tmp_path / "copy"))
    update_bundle(copy, calibration={"greedy": CALIBRATION})
    path = samples_dir / "austen-0880.flac"
    for mode in ("greedy", "beam"):
        recognizer = Recognizer(copy, decoder=mode)
        stream = recognizer.stream()
        assert recognizer.mode == mode
        assert recognizer.calibrated == recognizer.transcribe(path).calibrated == stream.partial.calibrated
        assert recognizer.calibrated == (mode == "greedy")
    assert recognizer.transcribe(path) == Recognizer(TINY).transcribe(path)
