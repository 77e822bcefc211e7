"""The acoustic model follows the bundle's description, exactly for any cut of the features."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from bundles import TINY, WINDOWED
from hypothesis import given
from hypothesis import strategies as st

from edgeasr.bundle import Bundle, StateConfig, read_bundle
from edgeasr.errors import BundleError, ConfigError, InputError
from edgeasr.model import AcousticModel

FloatArray = npt.NDArray[np.float32]
MODELS = {path: AcousticModel(read_bundle(path)) for path in (TINY, WINDOWED)}


def features(num_frames: int) -> FloatArray:
    return np.random.default_rng(num_frames).normal(-6, 4, (num_frames, 80)).astype(np.float32)


def run(path: Path, frames: FloatArray, cuts: list[int]) -> FloatArray:
    stream = MODELS[path].start()
    return np.concatenate([*(stream.accept(piece) for piece in np.split(frames, cuts)), stream.finish()])


@given(path=st.sampled_from([TINY, WINDOWED]), num_frames=st.integers(0, 150), data=st.data())
def test_exact_for_any_cut(path: Path, num_frames: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, num_frames), max_size=8)))
    assert np.array_equal(run(path, features(num_frames), cuts), run(path, features(num_frames), []))


@pytest.mark.parametrize(("path", "factor"), [(TINY, 2), (WINDOWED, 4)])
def test_no_row_is_lost_and_none_is_surplus(path: Path, factor: int) -> None:
    for num_frames in range(100):
        assert len(run(path, features(num_frames), [])) == -(-num_frames // factor)


def test_padding_changes_no_complete_chunk() -> None:
    for path, complete in ((TINY, 20), (WINDOWED, 8)):
        whole = run(path, features(90), [])
        assert np.array_equal(run(path, features(90)[:45], [])[:complete], whole[:complete])


def test_states_carry_over_from_chunk_to_chunk() -> None:
    frames = features(40)
    twice = run(TINY, np.concatenate([frames, frames]), [])
    assert not np.allclose(twice[:20], twice[20:])


def test_windows_overlap_as_the_bundle_says() -> None:
    """Four frames before each chunk of 32, eight after it, and padding beyond both ends."""
    model, frames = MODELS[WINDOWED], features(100)
    padded = np.pad(frames, ((4, 100), (0, 0)), constant_values=model.config.pad_value)
    windows = [padded[start : start + 44].T[np.newaxis] for start in range(0, 100, 32)]
    logits = np.concatenate([model.session.run(None, {"audio_signal": window})[0][0] for window in windows])
    assert np.array_equal(run(WINDOWED, frames, [33, 70]), logits[:25])


@pytest.mark.parametrize("path", [TINY, WINDOWED])
def test_reset_starts_anew(path: Path) -> None:
    stream = MODELS[path].start()
    expected = run(path, features(77), [])
    for _ in range(3):
        found = np.concatenate([stream.accept(features(77)), stream.finish()])
        assert np.array_equal(found, expected)
        stream.reset()
        stream.accept(features(55))
        stream.reset()


def test_streams_do_not_disturb_each_other() -> None:
    first, second = MODELS[TINY].start(), MODELS[TINY].start()
    found: list[FloatArray] = []
    for start in range(0, 120, 40):
        found.append(first.accept(features(120)[start : start + 40]))
        second.accept(features(99)[:40])
    assert np.array_equal(np.concatenate(found), run(TINY, features(120), []))


def test_what_is_no_features_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(3, 40\), expected \(num_frames, 80\)"):
        MODELS[TINY].start().accept(np.zeros((3, 40), np.float32))


def test_threads() -> None:
    two = AcousticModel(read_bundle(TINY), num_threads=2).start()
    assert np.allclose(two.accept(features(40)), run(TINY, features(40), []), atol=1e-4)
    with pytest.raises(ConfigError, match="num_threads is 0"):
        AcousticModel(read_bundle(TINY), num_threads=0)


def changed(bundle: Bundle, **changes: object) -> Bundle:
    return replace(bundle, model=replace(bundle.model, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_name": "x"}, "config.json does not describe the inputs"),
        ({"chunk_frames": 20}, r"input 'features' is tensor\(float\) \[1, 40, 80\], config.json says .* \[1, 20, 80\]"),
        ({"layout": "BFT"}, r"\[1, 80, 40\]"),
        ({"subsampling_factor": 4}, r"output 'log_probs' .* \[1, 10, 29\]"),
        ({"output_name": "y"}, "has no output 'y'"),
        ({"states": ()}, r"does not describe the inputs \['frames', 'keys'\]"),
        ({"states": (StateConfig(name="keys", output_name="new_keys", shape=(1, 30, 24)),)}, r"\['frames'\]"),
    ],
)
def test_models_that_are_not_the_one_described(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        AcousticModel(changed(read_bundle(TINY), **changes))


def test_states_that_are_not_the_ones_described() -> None:
    bundle = read_bundle(TINY)
    keys, frames = bundle.model.states
    for state, message in (
        (replace(keys, shape=(1, 30, 25)), r"input 'keys'.*\[1, 30, 25\]"),
        (replace(keys, dtype="int64"), r"tensor\(int64\)"),
        (replace(keys, output_name="old_keys"), "no output 'old_keys'"),
    ):
        with pytest.raises(BundleError, match=message):
            AcousticModel(changed(bundle, states=(state, frames)))
