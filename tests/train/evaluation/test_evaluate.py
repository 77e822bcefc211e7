"""Evaluation: sets, counts, groups, comparisons and files; with systems that cheat, and with a real bundle."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bundles import TINY

from edgeasr.bundle import update_bundle, verify_bundle
from edgeasr.cli import main
from edgeasr.cli.evaluate import _find_system
from edgeasr.errors import AudioFormatError, ConfigError
from edgeasr.train.evaluation.conditions import Condition
from edgeasr.train.evaluation.evaluate import (
    POOLED,
    age_band,
    compare,
    extreme_speakers,
    find_sets,
    measure,
    normaliser,
    read_hypotheses,
    summarise,
    write_hypotheses,
)
from edgeasr.types import Word

ENGLISH = normaliser("en")
RATE = 16000
# Level of a clip -> what is said in it; a system that cheats reads it off.
TEXTS = ["one two three", "four five", "six", "seven eight nine ten", "don't stop", "he's well-read"]


def entry(number: int, **more: object) -> dict[str, object]:
    return {
        "id": f"c{number}",
        "audio": f"clips/{number}.flac",
        "duration_s": 0.1,
        "text": TEXTS[number].replace("-", " "),
        **more,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two English sets, one without transcripts, and one in Arabic."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "speech"
    (folder / "clips").mkdir(parents=True)
    for number in range(len(TEXTS)):
        soundfile.write(folder / "clips" / f"{number}.flac", np.full(RATE // 10, (number + 1) / 16), RATE)
    (root / "noise").mkdir()
    for number in range(2):
        soundfile.write(
            root / "noise" / f"{number}.opus", 0.1 * np.sin(np.arange(RATE)), RATE, format="OGG", subtype="OPUS"
        )
    manifests = {
        "books.dev": [
            entry(0, speaker="a", gender="f", age=7),
            entry(1, speaker="a", gender="f", age=7),
            entry(2, speaker="b", gender="m", age=30),
            entry(3, speaker="c", gender="m"),
        ],
        "calls.dev": [entry(4), entry(5)],
        "orders.dev": [entry(0) | {"text": None}],
        "arabic.dev": [entry(0) | {"text": "خلف"}, entry(1) | {"text": "أمام"}],
    }
    for name, rows in manifests.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


class Cheat:
    """Knows the texts by the level of the clip, and changes them."""

    def __init__(self, name="cheat", change=lambda text: text):
        self.name = name
        self.change = change

    def transcribe(self, waveform, sample_rate):
        assert waveform.dtype == np.float32 and sample_rate == RATE
        return self.change(TEXTS[round(float(waveform[0]) * 16) - 1])


def measured(data, change=lambda text: text, *, names=("books.dev", "calls.dev"), name="cheat"):
    return measure(lambda: Cheat(name, change), find_sets(data, names, ENGLISH), ENGLISH)


def test_english_normalisation():
    assert ENGLISH("MR QUILTER'S Well-Known café, 3 o\u2019clock ' !") == "mr quilter's well known cafe o'clock"
    assert normaliser("en-GB")("Don't") == "don't"


def test_other_languages_keep_their_letters():
    normalise = normaliser("ar")
    assert normalise("خَلْف،  أمام") == "خَلْف أمام"
    assert normaliser("de")("Straße-Über 3!") == "strasse über 3"


def test_a_split_leaves_out_sets_that_cannot_be_scored(data, caplog):
    sets = find_sets(data, ["dev"], ENGLISH)
    assert [s.name for s in sets] == ["books.dev", "calls.dev"]
    assert "arabic.dev is left out" in caplog.text and "orders.dev is left out" in caplog.text
    assert {s.name for s in find_sets(data, ["dev"], normaliser("ar"))} == {"arabic.dev", "books.dev", "calls.dev"}


def test_sets_by_name_path_and_limit(data):
    by_path = find_sets(data, [str(data / "speech" / "books.dev.jsonl")], ENGLISH)
    assert by_path == find_sets(data, ["books.dev", "books.dev"], ENGLISH)
    limited = find_sets(data, ["books.dev"], ENGLISH, limit=2)
    assert [u.id for u in limited[0].utterances] == ["c0", "c2"]
    assert len(find_sets(data, ["books.dev"], ENGLISH, limit=99)[0].utterances) == 4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nonsense"], "no set 'nonsense': .* has arabic.dev, books.dev, calls.dev, orders.dev"),
        (["orders.dev"], "orders.dev.jsonl has no transcripts"),
        (["arabic.dev"], "--language"),
        (["test"], r"no manifest .*\*\.test\.jsonl"),
    ],
)
def test_sets_that_are_not_there(data, names, message):
    with pytest.raises(ConfigError, match=message):
        find_sets(data, names, ENGLISH)


def test_a_system_that_knows_everything(data):
    system = measured(data)
    rows = {row.set_name: row for row in summarise(system.results)}
    assert list(rows) == ["books.dev", "calls.dev", POOLED]
    assert rows[POOLED].words.reference == 15 and rows[POOLED].words.errors == rows[POOLED].characters.errors == 0
    assert rows[POOLED].wer.low == rows[POOLED].wer.high == 0
    assert rows["books.dev"].audio_s == pytest.approx(0.4) and rows["books.dev"].speakers == 3
    assert system.load_cpu_s >= 0 and system.peak_memory_mb > 1


def test_counts_of_sets_and_groups(data):
    system = measured(
        data, lambda text: text.replace("two", "too").replace("ten", "") + (" x" if text == "six" else "")
    )
    rows = {
        (row.set_name, row.grouping, row.group): row for row in summarise(system.results, groupings=("gender", "age"))
    }
    assert list(rows) == [
        ("books.dev", "", ""),
        ("books.dev", "gender", "f"),
        ("books.dev", "gender", "m"),
        ("books.dev", "age", "0-11"),
        ("books.dev", "age", "30-44"),
        ("books.dev", "age", "unknown"),
        ("calls.dev", "", ""),
        (POOLED, "", ""),
    ]
    books = rows["books.dev", "", ""]
    assert (books.words.substitutions, books.words.insertions, books.words.deletions) == (1, 1, 1)
    assert books.wer.value == 3 / 10
    assert books.wer.low < 0.3 < books.wer.high
    assert rows["books.dev", "gender", "f"].wer.value == 1 / 5
    one_clip = rows["books.dev", "age", "30-44"]
    assert one_clip.wer.value == 1 and one_clip.wer.low is None
    assert rows[POOLED, "", ""].words.errors == 3


def test_intervals_by_speaker(data):
    # All errors are of one speaker: whether she is drawn matters more than which of her clips.
    system = measured(data, lambda text: "" if text in TEXTS[:2] else text, names=["books.dev"])
    (by_utterance,) = summarise(system.results)
    (by_speaker,) = summarise(system.results, by_speaker=True)
    assert by_utterance.wer.value == by_speaker.wer.value == 0.5
    assert (by_speaker.wer.low, by_speaker.wer.high) == (0, 1)
    assert summarise(system.results) == [by_utterance]


def test_age_bands():
    assert [age_band(age) for age in (0, 11, 12, 29, 44, 59, 60, 101)] == [
        *("0-11", "0-11", "12-17", "18-29", "30-44", "45-59", "60+", "60+")
    ]


def test_paired_differences(data):
    good = measured(data, lambda text: text.replace("two", "too"), name="good")
    bad = measured(data, lambda text: text + " um", name="bad")
    differences = {d.set_name: d for d in compare(bad, good)}
    assert differences["books.dev"].wer.value == pytest.approx((4 - 1) / 10)
    assert differences[POOLED].wer.value == pytest.approx((6 - 1) / 15)
    assert differences[POOLED].wer.low > 0
    same = compare(good, good)
    assert all((d.wer.value, d.wer.low, d.cer.high) == (0, 0, 0) for d in same)
    back = {d.set_name: d for d in compare(good, bad)}
    assert back[POOLED].wer.low == pytest.approx(-differences[POOLED].wer.high)


def test_p_values_by_utterance_and_by_speaker(data):
    # Every clip has one error more than the other system makes.
    base = measured(data, lambda text: text.replace("t", "d"), name="base", names=["books.dev"])
    worse = measured(data, lambda text: text.replace("t", "d") + " um", name="worse", names=["books.dev"])
    assert [r.words.errors for r in base.results] == [2, 0, 0, 2]
    (difference,) = compare(worse, base)
    assert difference.wer.value == pytest.approx(4 / 10)
    assert difference.relative_wer.value == 1.0
    assert difference.wer_p == 2 / 2**4  # no resample turns it around, but there are four clips only
    assert difference.relative_wer.low is None  # but in some the other one has no errors at all
    (by_speaker,) = compare(worse, base, by_speaker=True)
    assert by_speaker.wer.value == difference.wer.value and by_speaker.wer != difference.wer
    assert by_speaker.wer_p == 2 / 2**3
    (same,) = compare(base, base)
    assert same.wer_p == same.cer_p == 1 and same.relative_wer.value == 0
    perfect = measured(data, names=["books.dev"])
    assert compare(base, perfect)[0].relative_wer is None


def test_conditions_are_apart(data):
    heard = []

    class Listener(Cheat):
        def transcribe(self, waveform, sample_rate):
            heard.append(waveform)
            return "six"

    sets = find_sets(data, ["books.dev", "calls.dev"], ENGLISH)
    conditions = [Condition.parse(text, odd=True) for text in ("10dB", "room0.3", "clean")]
    system = measure(Listener, sets, ENGLISH, conditions=conditions, data=data)
    rows = summarise(system.results)
    assert [(r.condition, r.set_name) for r in rows] == [
        (condition, name)
        for condition in ("clean", "10 dB", "room 0.3 s")
        for name in ("books.dev", "calls.dev", POOLED)
    ]
    # Speed is that of clips as they are.
    assert all((row.real_time_factor is None) == (row.condition != "clean") for row in rows)
    assert len(heard) == 18
    for clean, *damaged in zip(heard[:6], heard[6:12], heard[12:], strict=True):
        assert all(len(clean) == len(other) and not np.array_equal(clean, other) for other in damaged)
    differences = compare(system, system)
    assert [(d.condition, d.set_name) for d in differences] == [(r.condition, r.set_name) for r in rows]


def test_hypotheses_know_their_condition(data, tmp_path):
    sets = find_sets(data, ["books.dev"], ENGLISH)
    system = measure(Cheat, sets, ENGLISH, conditions=[Condition()])
    results = [*system.results, *(replace(result, condition="10 dB") for result in system.results)]
    write_hypotheses(tmp_path / "h.jsonl", [replace(system, results=tuple(results))])
    (again,) = read_hypotheses(tmp_path / "h.jsonl", sets)
    assert [r.condition for r in again.results] == ["clean"] * 4 + ["10 dB"] * 4


def test_the_best_and_the_worst_speakers(data):
    system = measured(data, lambda text: text.replace("seven", "eleven").replace("two", "too"), names=["books.dev"])
    rows = summarise(system.results, groupings=["speaker", "gender"])
    best, worst = extreme_speakers(rows, 2, least_words=1)
    assert [(r.group, r.wer.value) for r in best] == [("b", 0.0)]
    assert [(r.group, r.wer.value) for r in worst] == [("c", 0.25)]
    assert extreme_speakers(rows, 2) == ([], [])


class Slow(Cheat):
    """Says one word more with every third piece of a second's tenth."""

    def listen(self):
        return SlowStream()


class SlowStream:
    def __init__(self):
        self.pieces = []

    def accept(self, piece):
        self.pieces.append(len(piece))
        return "one" if len(self.pieces) > 2 else ""

    def finish(self):
        assert self.pieces == [1600, 1600, 1600, 800]
        return "one"


def test_latency_of_clips_that_are_fed_piece_by_piece(data, tmp_path):
    soundfile.write(tmp_path / "long.flac", np.full(5600, 1 / 16), RATE)
    row = entry(0) | {"audio": "long.flac", "duration_s": 0.35}
    (tmp_path / "long.dev.jsonl").write_text(json.dumps(row) + "\n")
    sets = find_sets(data, [str(tmp_path / "long.dev.jsonl")], ENGLISH)
    system = measure(Slow, sets, ENGLISH, live_clips=3)
    (live,) = system.live
    assert live.set_name == "long.dev"
    assert 0.3 <= live.first_text_s < 0.35 and 0 <= live.final_s < 0.05
    assert measure(Cheat, sets, ENGLISH, live_clips=3).live == ()


def test_confidences_go_with_the_words_of_the_hypothesis(data):
    class Sure(Cheat):
        calibrated = True

        def transcribe_words(self, waveform, sample_rate):
            return [Word("Well-known", 0, 1, 0.9), Word("!", 1, 2, 0.1), Word("six", 2, 3, 0.5)]

    system = measure(Sure, find_sets(data, ["books.dev"], ENGLISH), ENGLISH)
    assert system.calibrated
    assert system.results[0].hypothesis == "well known six"
    assert system.results[0].confidences == (0.9, 0.9, 0.5)


def test_other_clips_cannot_be_compared(data):
    with pytest.raises(ConfigError, match="recognised different clips"):
        compare(measured(data), measured(data, names=["books.dev"]))


def test_systems_are_compared_in_the_conditions_that_both_have_heard(data):
    clean = measured(data, names=["books.dev"])
    noisy = replace(clean, results=tuple(replace(r, condition="10 dB") for r in clean.results))
    both = replace(clean, results=clean.results + noisy.results)
    for system, base in ((both, clean), (clean, both), (both, noisy)):
        assert len(compare(system, base)) == 1
    assert compare(both, noisy)[0].condition == "10 dB"
    with pytest.raises(ConfigError, match="recognised different clips"):
        compare(clean, noisy)


def test_hypotheses_of_fewer_clips_are_told_before_anything_is_measured(data, tmp_path):
    system = measured(data, names=["books.dev"])
    write_hypotheses(tmp_path / "h.jsonl", [replace(system, results=system.results[1:])])
    with pytest.raises(ConfigError, match=r"'cheat' \(clean\) has 3 results for the 4 clips of books\.dev"):
        read_hypotheses(tmp_path / "h.jsonl", find_sets(data, ["books.dev"], ENGLISH))


def test_hypotheses_are_kept(data, tmp_path):
    system = measured(data, lambda text: text.upper() + "!")
    write_hypotheses(tmp_path / "h.jsonl", [system])
    (again,) = read_hypotheses(tmp_path / "h.jsonl", find_sets(data, ["dev"], ENGLISH))
    assert [(r.reference, r.hypothesis) for r in again.results] == [(r.reference, r.hypothesis) for r in system.results]
    assert compare(system, again)[0].wer.value == 0
    (part,) = read_hypotheses(tmp_path / "h.jsonl", find_sets(data, ["calls.dev"], ENGLISH))
    assert [r.hypothesis for r in part.results] == ["don't stop", "he's well read"]


@pytest.mark.parametrize("line", ["{", "[]", '{"set": "books.dev", "id": "c0"}', "5"])
def test_damaged_hypotheses(data, tmp_path, line):
    path = tmp_path / "h.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ConfigError, match=r"h\.jsonl:1: not a line of hypotheses"):
        read_hypotheses(path, find_sets(data, ["books.dev"], ENGLISH))


def test_hypotheses_of_other_clips(data, tmp_path):
    (tmp_path / "h.jsonl").write_text("")
    with pytest.raises(ConfigError, match=r"no clip of books\.dev"):
        read_hypotheses(tmp_path / "h.jsonl", find_sets(data, ["books.dev"], ENGLISH))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_hypotheses(tmp_path / "nothing", find_sets(data, ["books.dev"], ENGLISH))


def test_a_damaged_clip_is_named(data, tmp_path):
    (tmp_path / "bad.flac").write_text("no sound")
    row = entry(0) | {"audio": "bad.flac"}
    (tmp_path / "bad.dev.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(AudioFormatError, match=r"bad\.flac: "):
        measured(data, names=[str(tmp_path / "bad.dev.jsonl")])


def test_the_command(data, tmp_path, capfd):
    files = {name: tmp_path / name for name in ("r.json", "r.md", "h.jsonl")}
    arguments = [
        *("evaluate", "dev", "--data", str(data), "--model", str(TINY), "--decoder", "greedy", "--decoder", "beam"),
        *("--json", str(files["r.json"]), "--markdown", str(files["r.md"]), "--hypotheses", str(files["h.jsonl"])),
        *("--group", "gender"),
    ]
    assert main(arguments) == 0
    printed = capfd.readouterr()
    assert "tiny int8 greedy: loaded in" in printed.out and "gender m" in printed.out
    assert "\r" not in printed.err
    report = json.loads(files["r.json"].read_text())
    greedy, beam = report["systems"]
    assert beam["name"].startswith("tiny int8 beam")
    books = greedy["sets"]["books.dev"]
    assert books["words"]["reference"] == 10 and books["age"]["0-11"]["clips"] == 2
    errors = sum(books["words"][kind] for kind in ("substitutions", "insertions", "deletions"))
    assert books["wer_percent"]["value"] == pytest.approx(10 * errors)
    assert books["wer_percent"]["low"] <= books["wer_percent"]["value"] <= books["wer_percent"]["high"]
    assert books["real_time_factor"] > 0 and math.isfinite(greedy["peak_memory_mb"])
    assert report["differences"][0]["minus"] == "tiny int8 greedy"
    assert files["r.md"].read_text().count("### ") == 3
    assert len(files["h.jsonl"].read_text().splitlines()) == 12

    assert (
        main(["evaluate", "books.dev", "--data", str(data), "--model", str(TINY), "--against", str(files["h.jsonl"])])
        == 0
    )
    assert "(of an earlier run)" in capfd.readouterr().out


@pytest.fixture(scope="module")
def commands(data):
    """A set of commands beside the others."""
    texts = ["one two three", "four five", "six", "seven eight nine ten"]
    rows = [entry(n, speaker="ab"[n % 2]) | {"label": f"c{n}", "text": text} for n, text in enumerate(texts)]
    path = data / "speech" / "commands.test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_command_with_commands_conditions_latency_and_a_report(data, commands, tmp_path, capfd):
    files = {name: tmp_path / name for name in ("r.json", "r.html")}
    arguments = [
        *("evaluate", "commands.test", "--data", str(data), "--model", str(TINY), "--closed", "--limit", "3"),
        *("--condition", "clean", "--condition", "5dB", "--latency", "2", "--confusions", "3"),
        *("--json", str(files["r.json"]), "--report", str(files["r.html"])),
    ]
    assert main(arguments) == 0
    printed = capfd.readouterr().out
    assert "tiny int8 closed: loaded in" in printed and "5 dB" in printed
    (system,) = json.loads(files["r.json"].read_text())["systems"]
    labels = system["labels"]["commands.test"]
    # What it hears is always one of the commands, also of those that the three clips do not have.
    assert len(labels["labels"]) == 4 and labels["none_percent"] == 0
    assert labels["accuracy_percent"]["value"] in (0, 33.333, 66.667, 100)
    assert "labels" in system["conditions"]["5 dB"] and system["latency"]["clips"] == 2
    assert "commands\n" in printed and "cost\n" in printed
    page = files["r.html"].read_text()
    assert "edgeasr evaluate commands.test" in page and "--closed" in page and "<svg" in page


def test_pairs_are_chosen_by_number_and_by_name(data, tmp_path, capfd):
    hypotheses = tmp_path / "h.jsonl"
    sets = find_sets(data, ["books.dev"], ENGLISH)
    earlier = [
        measured(data, lambda text: text + "s", name="plural", names=["books.dev"]),
        measured(data, name="cheat"),
    ]
    write_hypotheses(hypotheses, [replace(s, results=s.results[:4]) for s in earlier])
    assert [s.name for s in read_hypotheses(hypotheses, sets)] == ["plural", "cheat"]
    command = ["evaluate", "books.dev", "--data", str(data), "--model", str(TINY), "--against", str(hypotheses)]
    report = tmp_path / "r.json"
    assert main([*command, "--json", str(report), "--compare", "plural", "3", "--compare", "tiny", "cheat"]) == 0
    differences = json.loads(report.read_text())["differences"]
    assert [(d["system"], d["minus"]) for d in differences] == [("plural", "cheat"), ("tiny int8 beam 8", "cheat")]
    assert differences[0]["sets"]["books.dev"]["wer_percent"]["value"] == 40
    assert differences[0]["sets"]["books.dev"]["relative_wer_percent"] is None
    systems = [replace(earlier[0], name=name) for name in ("a b", "a c", "a")]
    assert _find_system(systems, "a").name == "a" and _find_system(systems, "c").name == "a c"
    for wanted, message in (("0", "no system"), ("4", "no system"), (" ", "more than one"), ("z", "no system")):
        with pytest.raises(ConfigError, match=f"means {message} .*1 'a b', 2 'a c', 3 'a'"):
            _find_system(systems, wanted)


def test_a_recipe_means_its_student_and_its_sets(tone_recipe, tone_data, tmp_path, capfd):
    torch = pytest.importorskip("torch")
    from edgeasr.train.recipe import read_recipe
    from edgeasr.train.student import Student

    recipe = read_recipe(tone_recipe)
    (tmp_path / "run").mkdir()
    checkpoint = {"step": 3, "recipe": asdict(recipe), "average": Student(recipe.student).state_dict()}
    torch.save(checkpoint, tmp_path / "run" / "checkpoint.pt")
    report = tmp_path / "r.json"
    command = ["evaluate", "--data", str(tone_data), "--run-dir", str(tmp_path / "run"), "--limit", "2"]
    assert main([*command, str(tone_recipe), "--decoder", "greedy", "--decoder", "beam", "--json", str(report)]) == 0
    greedy, beam = json.loads(report.read_text())["systems"]
    assert (greedy["name"], beam["name"]) == ("run PyTorch float32 greedy", "run PyTorch float32 beam 8")
    assert list(greedy["sets"]) == ["tones.train"] and greedy["sets"]["tones.train"]["clips"] == 2
    assert greedy["confidence"] == {} and greedy["latency"] is None
    assert main([*command, "tones.train", "--json", str(report)]) == 0
    assert [s["name"] for s in json.loads(report.read_text())["systems"]] == ["run PyTorch float32 greedy"]
    tone_recipe.write_text(tone_recipe.read_text().replace('manifests = ["speech/tones.train.jsonl"]', ""))
    assert main([*command, str(tone_recipe)]) == 2
    assert "has no evaluation manifests" in capfd.readouterr().err


def test_the_card_has_what_was_measured_now_but_no_speakers(data, tmp_path):
    bundle, hypotheses = tmp_path / "bundle", tmp_path / "h.jsonl"
    shutil.copytree(TINY, bundle)
    update_bundle(bundle, card={"parameters": 9000, "trained_on": "nothing", "updates": 0})
    command = ["evaluate", "books.dev", "--data", str(data), "--model", str(bundle)]
    assert main([*command, "--hypotheses", str(hypotheses)]) == 0
    assert main([*command, "--against", str(hypotheses), "--card", str(bundle)]) == 0
    (system,) = verify_bundle(bundle).card["evaluation"]["systems"]
    assert system["name"] == "tiny int8 beam 8" and system["load_cpu_s"] > 0
    assert "age" in system["sets"]["books.dev"] and "speaker" not in system["sets"]["books.dev"]
    assert "books.dev" in (bundle / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "no set 'nonsense'"),
        (["--json", "/nowhere/r.json"], "there is no folder /nowhere"),
        (["--model", "/nowhere"], "/nowhere"),
        (["books.dev", "--peer", "sherpa-onnx"], "teacher"),
        (["--report", "r.pdf"], "ends with .md or .html"),
        (["--condition", "loud"], "no condition 'loud'"),
        (["--closed", "--decoder", "beam"], "goes without --decoder"),
        (["books.dev", "--run-dir", "/nowhere"], "no checkpoint at /nowhere/checkpoint.pt"),
        (["a.toml", "b.toml"], "one recipe at a time"),
    ],
)
def test_errors_are_one_line(data, arguments, message, capfd, monkeypatch):
    command = ["evaluate", *arguments, "--data", str(data)]
    if "--model" not in arguments and "--peer" not in arguments:
        command += ["--model", str(TINY)]
    if "--peer" in arguments:
        message = "sherpa"  # either the package or its model is missing; both say so
    assert main(command) == 2
    error = capfd.readouterr().err
    assert message in error and error.count("\n") == 1


def test_torch_is_not_needed(data):
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from edgeasr.cli import main\n"
        "import edgeasr.train.evaluation.joined\n"
        f"assert main(['models', 'info', {str(TINY)!r}]) == 0\n"
        "from edgeasr.cli import evaluate\n"
        "from edgeasr.train.evaluation.evaluate import find_sets, measure, normaliser, summarise\n"
        "from edgeasr.train.teachers.transcriber import load_bundle\n"
        "from pathlib import Path\n"
        f"sets = find_sets(Path({str(data)!r}), ['calls.dev'], normaliser('en'))\n"
        f"print(summarise(measure(lambda: load_bundle({str(TINY)!r}), sets, normaliser('en')).results))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
