"""The dataset: plans, joins and batches follow from seed and number alone."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgeasr.errors import AudioFormatError, ConfigError  # noqa: E402
from edgeasr.train.augmentation.augment import Augmentation, Tempo, one_transform  # noqa: E402
from edgeasr.train.clips import ClipStore, to_float  # noqa: E402
from edgeasr.train.dataset import Dataset, Source, encode_text  # noqa: E402
from edgeasr.train.loop import BatchStream, make_dataset  # noqa: E402
from edgeasr.train.manifest import data_dir, read_manifest  # noqa: E402
from edgeasr.train.recipe import read_recipe  # noqa: E402


@pytest.fixture
def dataset(tone_recipe, tone_data, tmp_path) -> Dataset:
    return make_dataset(read_recipe(tone_recipe), tone_data, tmp_path / "cache")


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def equal(a, b) -> bool:
    return torch.equal(a.features, b.features) and torch.equal(a.token_ids, b.token_ids)


def test_starting_later_gives_the_same_batches(dataset):
    per_epoch = len(dataset.plan(0))
    straight = take(dataset.batches(0), per_epoch + 4)
    later = take(dataset.batches(per_epoch + 1), 3)
    assert all(equal(a, b) for a, b in zip(straight[per_epoch + 1 :], later, strict=True))


def test_processes_share_the_batches_between_them(dataset):
    straight = take(dataset.batches(2), 4)
    first = take(iter(BatchStream(dataset, 1, rank=0, world_size=2)), 2)
    second = take(iter(BatchStream(dataset, 1, rank=1, world_size=2)), 2)
    assert equal(first[0], straight[0])
    assert equal(second[0], straight[1])
    assert equal(first[1], straight[2])
    assert equal(second[1], straight[3])


def test_every_clip_is_heard_once_an_epoch_and_batches_keep_their_size(dataset):
    for epoch in (0, 1):
        plan = dataset.plan(epoch)
        heard = sorted(clip for batch in plan for item in batch for clip in item)
        assert heard == list(range(len(dataset.clips)))
        for batch in plan:
            longest = max(dataset.durations_s[item].sum() for item in batch)
            assert len(batch) == 1 or longest * len(batch) <= dataset.config.batch_s
    first = [dataset.durations_s[batch[0]].sum() for batch in dataset.plan(0)]
    assert first == sorted(first)
    assert any(len(item) > 1 for batch in dataset.plan(1) for item in batch)


def test_without_a_curriculum_the_first_epoch_is_shuffled_too(dataset):
    sorted_s = [dataset.durations_s[batch[0]].sum() for batch in dataset.plan(0)]
    dataset.config = replace(dataset.config, curriculum_epochs=0)
    assert [dataset.durations_s[batch[0]].sum() for batch in dataset.plan(0)] != sorted_s


def test_a_batch_is_padded_with_silence_to_whole_chunks(dataset):
    batch = dataset.collate([[0], [1, 2]], np.random.default_rng(0))
    rows, frames, bins = batch.features.shape
    assert (rows, frames % dataset.chunk_frames, bins) == (2, 0, 80)
    for row, length in zip(batch.features, batch.feature_lengths, strict=True):
        assert (row[length:] == pytest.approx(math.log(dataset.frontend.log_floor))) if length < frames else True
        assert (row[:length] != row[0, 0]).any()
    assert batch.token_lengths.sum() == batch.token_ids.numel()


def test_joined_clips_have_a_delimiter_between_their_words(dataset):
    waveform, ids, starts_s = dataset.join([3, 4], np.random.default_rng(0))
    assert ids == [*dataset.token_ids[3], 1, *dataset.token_ids[4]]
    assert waveform.size >= dataset.clips[3].size + dataset.clips[4].size
    assert starts_s == [0.0, (waveform.size - dataset.clips[4].size) / 16000]


def test_the_clip_store_decodes_once_and_notices_other_clips(tone_data, tmp_path):
    utterances = read_manifest(tone_data / "speech" / "tones.train.jsonl")
    store = ClipStore(tmp_path, 16000)
    paths = [u.audio for u in utterances[:3]]
    first = store.load("x", paths)
    written = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    again = store.load("x", paths)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == written
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert [c.size / 16000 for c in first] == pytest.approx([u.duration_s for u in utterances[:3]])
    assert np.abs(to_float(first[0])).max() <= 1
    assert len(store.load("x", paths[:2])) == 2


def test_mistakes_are_named(tone_data, tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.jsonl not found"):
        read_manifest(tmp_path / "missing.jsonl")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "x", "audio": "x.flac", "duration_s": 1, "text": "a"}\n{"id": 3}\n')
    with pytest.raises(ConfigError, match=r"bad\.jsonl:2"):
        read_manifest(bad)
    bad.write_text("")
    with pytest.raises(ConfigError, match="no entries"):
        read_manifest(bad)
    with pytest.raises(ConfigError, match="'x'"):
        encode_text("ax", ["<blank>", "|", "a"], "|")
    noise = tmp_path / "noise.flac"
    noise.write_bytes(b"not sound")
    with pytest.raises(AudioFormatError, match=r"noise\.flac"):
        ClipStore(tmp_path / "cache", 16000).load("y", [noise])


def test_the_data_folder_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEASR_DATA", str(tmp_path))
    assert data_dir() == tmp_path


def test_an_optional_source_may_be_missing(tone_recipe, tone_data, tmp_path, caplog):
    recipe = read_recipe(tone_recipe)
    there = make_dataset(recipe, tone_data, tmp_path)
    missing = Source(manifest="speech/not.there.jsonl", optional=True)
    data = replace(recipe.data, sources=(*recipe.data.sources, missing))
    assert len(make_dataset(replace(recipe, data=data), tone_data, tmp_path).clips) == len(there.clips)
    assert "not.there.jsonl is not there" in caplog.text
    data = replace(recipe.data, sources=(replace(missing, optional=False),))
    with pytest.raises(ConfigError, match="not found"):
        make_dataset(replace(recipe, data=data), tone_data, tmp_path)


def test_with_all_augmentation_on_batches_follow_from_their_numbers_alone(tone_recipe, tone_data, tmp_path):
    names = [field.name for field in fields(Augmentation) if field.name != "voice"]  # which needs an optional package
    transforms = {name: getattr(one_transform(name), name) for name in names}
    recipe = read_recipe(tone_recipe)
    data = replace(recipe.data, augmentation=Augmentation(**transforms), noise_dir=None, join_probability=0.0)
    damaged = make_dataset(replace(recipe, data=data), tone_data, tmp_path)
    straight = take(damaged.batches(0), 3)
    assert equal(straight[2], take(damaged.batches(2), 1)[0])
    assert all(batch.features.isfinite().all() for batch in straight)
    # Where nothing else moves sounds, a clip is as much shorter as speed and tempo make it.
    only = replace(
        data, augmentation=Augmentation(tempo=Tempo(probability=1.0, minimum=1.25, maximum=1.25), speed=None)
    )
    fast, plain = (
        make_dataset(replace(recipe, data=chosen), tone_data, tmp_path).collate([[0]], np.random.default_rng(0))
        for chosen in (only, replace(only, augmentation=replace(only.augmentation, tempo=None)))
    )
    assert fast.audio_s == pytest.approx(plain.audio_s / 1.25, abs=0.02)
