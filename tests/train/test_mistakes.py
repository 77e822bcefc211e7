"""What is wrong with a recipe, a manifest or a clip is said in one sentence that names it."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch")

from edgeasr.cli import main  # noqa: E402
from edgeasr.errors import AudioFormatError, ConfigError  # noqa: E402
from edgeasr.train.clips import ClipStore  # noqa: E402
from edgeasr.train.loop import make_dataset  # noqa: E402
from edgeasr.train.manifest import read_manifest  # noqa: E402
from edgeasr.train.recipe import read_recipe  # noqa: E402

MANIFEST = "speech/tones.train.jsonl"
GOOD = '{"id": "x", "audio": "x.flac", "duration_s": 1, "text": "a"}'


@pytest.fixture
def data(tone_data, tmp_path):
    """A copy of the tones, to break."""
    return shutil.copytree(tone_data, tmp_path / "data")


@pytest.fixture
def change(data):
    """Changes a row of the manifest."""

    def changed(place, **fields):
        path = data / MANIFEST
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows[place].update(fields)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    return changed


def dataset(recipe, data, tmp_path, **changes):
    text = recipe.read_text()
    for old, new in changes.items():
        text = text.replace(f"{old} = ", f"{new}\n{old} = ", 1)
    recipe.write_text(text)
    return make_dataset(read_recipe(recipe), data, tmp_path / "cache")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"bad\.jsonl:2: not a manifest entry: Expecting property name"),
        ("", r"bad\.jsonl:2: not a manifest entry: Expecting value"),
        ("[1]", r"bad\.jsonl:2: .* expected an object, got \[1\]"),
        ('{"audio": "x.flac", "duration_s": 1, "text": "a"}', r"bad\.jsonl:2: .* it has no 'id'"),
        ('{"id": "x", "audio": "x.flac", "duration_s": 1}', r"bad\.jsonl:2: .* it has no 'text'"),
        (GOOD.replace('"a"', "3"), r"bad\.jsonl:2: .* 'text' must be a string, or null where it is unknown, got 3"),
        (GOOD.replace(" 1,", ' "1",'), r"bad\.jsonl:2: .* 'duration_s' must be a number of seconds, got '1'"),
        (GOOD.replace(" 1,", " NaN,"), r"bad\.jsonl:2: .* 'duration_s' must be 0 or more, got nan"),
        (GOOD.replace("}", ', "age": "young"}'), r"bad\.jsonl:2: .* 'age' must be .*, got 'young'"),
        (GOOD.replace('"a"', '"\udcff"'), r"bad\.jsonl:2: .* 'utf-8' codec can't decode"),
    ],
)
def test_a_line_of_a_manifest(tmp_path, line, message):
    path = tmp_path / "bad.jsonl"
    path.write_bytes("\n".join([GOOD, line, GOOD]).encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=message):
        read_manifest(path)


def test_a_text_may_hold_any_character_that_ends_a_line_elsewhere(tmp_path):
    path = tmp_path / "good.jsonl"
    path.write_text(GOOD.replace('"a"', '"a\u2028b"') + "\n", encoding="utf-8")
    assert [u.text for u in read_manifest(path)] == ["a\u2028b"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dim = 24", "dimm = 24", r"tones\.toml: student: unknown key 'dimm'; known are .*dim,"),
        ("vocab_size = 5", "vocab_size = 6", r"tones\.toml: student\.vocab_size is 6, but there are 5 tokens"),
        ("vocab_size = 5", "vocab_size = 5\nnum_mel_bins = 40", r"student\.num_mel_bins is 40, but frontend\.num_mel"),
        ('"b", "c"]', '"b", "b"]', r"tokens: tokens has 'b' more than once"),
        ('"b", "c"]', '"b", "c"]\nblank_id = 5', r"tokens: blank_id must be one of 0\.\.4, got 5"),
        ('"|", ', '"_", ', r"tokens: tokens has no word_delimiter '\|'"),
        ("steps = 8", "steps = 0", r"optimizer: steps must be at least 1, got 0"),
        ("every_steps = 4", "every_steps = 0", r"evaluation: every_steps must be at least 1, got 0"),
        ("log_every_steps = 1", "log_every_steps = 0", r"log_every_steps must be at least 1, got 0"),
        ("sources = [{ manifest", "sources = [] # [{ manifest", r"data\.sources is empty"),
        ('name = "tones"', 'name = "\udcff"', r"tones\.toml is not valid TOML: 'utf-8' codec"),
    ],
)
def test_a_recipe(tone_recipe, old, new, message):
    text = tone_recipe.read_text()
    assert old in text
    tone_recipe.write_bytes(text.replace(old, new, 1).encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=message):
        read_recipe(tone_recipe)


def test_a_character_that_the_token_table_lacks(tone_recipe, data, change, tmp_path):
    change(4, text="ab d", duration_s=1.0)
    (data / "speech" / "5.flac").unlink()  # found out only later
    with pytest.raises(ConfigError, match=r"tones\.train\.jsonl: clip 'tones-4': text 'ab d' has the character 'd'"):
        dataset(tone_recipe, data, tmp_path)


def test_an_empty_manifest_and_one_without_a_clip_to_train_on(tone_recipe, data, tmp_path):
    path = data / MANIFEST
    text = path.read_text()
    path.write_text(text.replace('"text": "', '"text": null, "said": "'))
    with pytest.raises(ConfigError, match=r"no clip to train on in speech/tones\.train\.jsonl"):
        dataset(tone_recipe, data, tmp_path)
    path.write_text("")
    with pytest.raises(ConfigError, match=r"tones\.train\.jsonl has no entries"):
        dataset(tone_recipe, data, tmp_path)


def test_a_missing_manifest_and_missing_noise(tone_recipe, data, tmp_path):
    with pytest.raises(ConfigError, match=r"noise_dir .*noise has no recordings"):
        dataset(tone_recipe, data, tmp_path, batch_s='noise_dir = "noise"')
    (data / MANIFEST).unlink()
    with pytest.raises(ConfigError, match=r"manifest .*tones\.train\.jsonl not found"):
        dataset(tone_recipe, data, tmp_path)


@pytest.mark.parametrize("skip", [False, True])
def test_unreadable_clips_end_a_run_or_are_left_out(tone_recipe, data, change, tmp_path, skip):
    change(3, audio="nowhere.flac", duration_s=1.0)
    change(5, duration_s=1.0)
    change(6, duration_s=1.0)
    (data / "speech" / "5.flac").write_bytes(b"no sound")
    (data / "speech" / "6.flac").write_bytes(b"")
    if not skip:
        for _ in range(2):  # the cache holds nothing after an error
            with pytest.raises(AudioFormatError, match=r"clip .*nowhere\.flac cannot be read: No such file.*skip_unr"):
                dataset(tone_recipe, data, tmp_path)
        return
    rows = [json.loads(line) for line in (data / MANIFEST).read_text().splitlines()]
    first = dataset(tone_recipe, data, tmp_path, batch_s="skip_unreadable = true")
    again = dataset(tone_recipe, data, tmp_path)
    num_good = sum(row["duration_s"] >= 0.3 for row in rows) - 3
    for found in (first, again):
        reasons = {path.name: reason for path, reason in found.store.unreadable.items()}
        assert list(reasons) == ["nowhere.flac", "5.flac", "6.flac"]
        assert reasons["nowhere.flac"] == "No such file or directory"
        assert "sound file" in reasons["5.flac"] and "empty" in reasons["6.flac"]
        assert len(found.clips) == len(found.utterances) == len(found.token_ids) == len(found.repeats) == num_good
        assert all(clip.size for clip in found.clips)
    # So is noise.
    (data / "noise" / "a.opus").write_bytes(b"")
    noisy = dataset(tone_recipe, data, tmp_path, batch_s='noise_dir = "noise"')
    assert noisy.noise == [] and data / "noise" / "a.opus" in noisy.store.unreadable
    # A cache that was filled when clips might be left out does not hide them later.
    tone_recipe.write_text(tone_recipe.read_text().replace("skip_unreadable = true", ""))
    with pytest.raises(AudioFormatError, match=r"nowhere\.flac cannot be read: No such file"):
        dataset(tone_recipe, data, tmp_path)


def test_a_folder_of_nothing_but_unreadable_clips(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    store = ClipStore(tmp_path / "cache", 16000)
    assert [clip.size for clip in store.load("x", [tmp_path / "a.wav"], skip_unreadable=True)] == [0]
    assert list(store.unreadable) == [tmp_path / "a.wav"]


def test_on_the_command_line_it_is_one_line(tone_recipe, data, change, tmp_path, capsys):
    change(0, audio="nowhere.flac", duration_s=1.0)
    places = ["--data", str(data), "--cache", str(tmp_path / "cache"), "--run-dir", str(tmp_path / "run")]
    assert main(["train", str(tone_recipe), *places]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1].startswith("edgeasr: clip ") and "nowhere.flac cannot be read" in errors[-1]
    assert not any("Traceback" in line for line in errors)
