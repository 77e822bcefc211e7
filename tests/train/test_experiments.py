"""Experiments: what arms have in common, that a second start does what is missing, and comparisons by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from experiment import (
    Arm,
    Clip,
    Experiment,
    Run,
    experiment_names,
    find_places,
    overlay,
    plan,
    read_experiment,
    read_scale,
    start_recipe,
)
from findings import compare, draw, interval, rate, section, write_section

from edgeasr.errors import ConfigError
from edgeasr.train.manifest import read_manifest

TINY = read_scale("tiny")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def places(work):
    return find_places(TINY, work, work / "cache")


@pytest.mark.parametrize("name", experiment_names())
def test_each_experiment_makes_recipes_that_can_be(name, places):
    experiment = read_experiment(name)
    plans = plan(experiment, TINY, places, places.work / "start" / "checkpoint.pt")
    assert len(plans) == len(experiment.arms) * min(2, len(experiment.seeds))
    by_seed = [[p for p in plans if p.seed == seed] for seed in experiment.seeds[:2]]
    for runs in by_seed:
        # Arms differ in what they are to differ in; all else is the base's.
        base = runs[0].recipe
        assert len({p.key for p in runs}) == len(runs)
        for planned in runs:
            recipe = planned.recipe
            assert (recipe.student, recipe.optimizer, recipe.seed) == (base.student, base.optimizer, planned.seed)
            assert (recipe.teacher is not None) == planned.arm.teacher
            if recipe.teacher is not None:
                assert recipe.teacher.path == str(places.work / "start")
    start = start_recipe(experiment, TINY, places)
    assert start.teacher is None and start.student == plans[0].recipe.student


@pytest.mark.parametrize("name", experiment_names())
def test_the_default_scale_makes_recipes_that_can_be(name, tmp_path):
    experiment, scale = read_experiment(name), read_scale("default")
    experiment = replace(experiment, arms=tuple(replace(arm, hours=None, unlabelled=False) for arm in experiment.arms))
    places = find_places(scale, tmp_path, tmp_path / "cache", tmp_path)
    plans = plan(experiment, scale, places, tmp_path / "checkpoint.pt")
    assert len(plans) == len(experiment.arms) * len(experiment.seeds)
    assert plans[0].recipe.data.curriculum_epochs == 0


def test_subsets_are_part_of_larger_ones(places):
    experiment = read_experiment("samples")
    plans = plan(experiment, replace(TINY, hours_factor=0.02), places, places.work / "checkpoint.pt")
    few, taught, more = (
        [read_manifest(Path(source.manifest)) for source in planned.recipe.data.sources] for planned in plans[:3]
    )
    seconds = [sum(u.duration_s for u in part[0]) for part in (few, more)]
    assert 12 <= seconds[0] < 14 and seconds[0] < seconds[1]
    assert {u.id for u in few[0]} < {u.id for u in more[0]}
    # The taught one hears all, with the same transcripts.
    assert taught[0] == few[0]
    assert {u.text for u in taught[1]} == {None}
    assert len(taught[0]) + len(taught[1]) == 32
    assert all(u.audio.is_file() for u in taught[1])


def test_a_second_start_does_what_is_missing(work, capsys):
    program = __import__("run")
    arguments = ["noise", "--scale", "tiny", "--work", str(work), "--cache", str(work / "cache"), "--threads", "1"]
    assert program.main(arguments) == 0
    told = capsys.readouterr().out
    assert told.count("seed 1") == 3 and "the start of all arms" in told
    page = (work / "experiments.tiny.md").read_text()
    assert "## Noise" in page and "| … against without |" in page and "experiments.tiny/noise.svg" in page
    assert (work / "experiments.tiny" / "noise.svg").read_text().startswith("<svg")
    # The last run's line is cut short: it is made again, from its checkpoint; the start and the others are not.
    lines = (work / "noise.tiny.jsonl").read_text().splitlines()
    assert len(lines) == 3
    (work / "noise.tiny.jsonl").write_text("\n".join(lines[:2]) + "\n" + lines[2][:100] + "\n")
    assert program.main(arguments) == 0
    assert capsys.readouterr().out.count("seed 1") == 1
    again = [json.loads(line) for line in (work / "noise.tiny.jsonl").read_text().splitlines()[3:]]
    assert [row["clips"] for row in again] == [json.loads(lines[2])["clips"]]
    assert again[0]["heard_h"] > 0 and again[0]["wall_s"] > 0
    clips = again[0]["clips"]
    assert {clip["condition"] for clip in clips} == {"clean", "20 dB", "10 dB", "5 dB", "0 dB"}
    assert len(clips) == 5 * 4


def clips(errors, words=10, condition="clean"):
    return tuple(
        Clip(
            set_name=name, condition=condition, id=str(number), errors=count, words=words,
            character_errors=count, characters=4 * words,
        )
        for name, counts in errors.items()
        for number, count in enumerate(counts)
    )  # fmt: skip


def one(arm, seed, errors, **options):
    return Run(
        arm=arm, seed=seed, key="k", updates=1000, wall_s=90.0, cpu_s=150.0, heard_h=30.0, prepare_s=60.0,
        transcribed_h=options.pop("transcribed_h", 1.0), clips=clips(errors, **options),
    )  # fmt: skip


def test_arms_are_compared_clip_by_clip_over_the_seeds_that_both_have():
    many = {"a": [4, 5, 6, 5] * 10, "b": [3] * 10}
    fewer = {"a": [3, 4, 5, 4] * 10, "b": [4] * 10}
    base = [one("base", seed, many) for seed in (1, 2)]
    ours = [one("ours", seed, fewer) for seed in (1, 2, 3)]
    assert rate(base, "clean") == pytest.approx(230 / 500)
    assert rate(base, "clean", "b") == pytest.approx(0.3)
    change = compare(ours, base, "clean")
    assert change.relative.value == pytest.approx(200 / 230 - 1)
    assert change.relative.low < change.relative.value < change.relative.high < 0
    assert change.p < 0.01
    assert change.worse == ("b",)
    found = interval(base, "clean")
    assert found.low < 0.46 < found.high
    same = compare(base, base, "clean")
    assert same.relative.value == 0 and same.p == 1.0
    assert compare(ours, [one("base", 1, {"a": [0] * 40, "b": [0] * 10})], "clean").relative is None


def experiment(**options):
    return Experiment(name="x", title="Title", question="Why?", arms=(Arm(name="base"), Arm(name="ours")), **options)


def test_sections_tell_what_came_out():
    base = [one("base", seed, {"a": [5] * 20, "b": [3] * 20}) for seed in (1, 2)]
    better = [one("ours", seed, {"a": [4] * 20, "b": [3 - seed % 2] * 20}) for seed in (1, 2)]
    text = section(experiment(), TINY, base + better, "python x", {"Title": "x.svg"})
    assert "| base | 50.0 (50.0 to 50.0) | 30.0 (30.0 to 30.0) | 40.0 (40.0 to 40.0) |  | 30.0 | 1.5 |" in text
    assert "| ours | 40.0 (40.0 to 40.0) | 25.0 (20.0 to 30.0) | 32.5 (30.0 to 35.0) | base: -18.8 %" in text
    assert "- **ours** against base: 18.8 % fewer word errors, and more in no set." in text
    assert "4 runs of 1,000 updates" in text and "2 seeds" in text and "4.0 minutes for all runs" in text
    rng = np.random.default_rng(0)
    alike = [one("ours", 1, {"a": rng.permutation([4, 6] * 10).tolist(), "b": [3] * 20})]
    assert "no difference that these sets could show" in section(experiment(), TINY, base + alike, "x", {})
    worse = [one("ours", 1, {"a": [6] * 20, "b": [3] * 20})]
    assert "12.5 % **more** word errors" in section(experiment(), TINY, base + worse, "x", {})
    none = [one("base", 1, {"a": [0, 0]}), one("ours", 1, {"a": [0, 1]})]
    assert "too little to compare" in section(experiment(), TINY, none, "x", {})


def test_charts_show_arms_hours_and_conditions():
    runs = [one("base", 1, {"a": [5, 5]}, transcribed_h=0.5), one("ours", 1, {"a": [4, 4]}, transcribed_h=2.0)]
    assert "ours" in draw(experiment(), runs)["Title"]
    assert "transcribed speech (h)" in draw(experiment(chart="hours"), runs)["Title"]
    noisy = [replace(run, clips=run.clips + clips({"a": [6, 6]}, condition="10 dB")) for run in runs]
    drawn = draw(experiment(chart="conditions", conditions=("clean", "10dB")), noisy)["Title"]
    assert "signal-to-noise ratio (dB)" in drawn and "60" in drawn


def test_sections_are_written_in_their_place(tmp_path):
    page = tmp_path / "docs" / "page.md"
    for name, text in (("one", "first"), ("two", "second"), ("one", "third")):
        write_section(page, name, text)
    text = page.read_text()
    assert text.startswith("# Experiments")
    assert "first" not in text and text.index("third") < text.index("second")
    write_section(page, "two", "second")
    assert page.read_text() == text


def test_tables_are_laid_over_each_other():
    assert overlay({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}, "d": {"e": 5}}) == {
        "a": {"b": 1, "c": 4},
        "d": {"e": 5},
    }


def test_mistakes_are_named(places):
    with pytest.raises(ConfigError, match="there is no 'nothing'; there are augmentation"):
        read_experiment("nothing")
    with pytest.raises(ConfigError, match="there is no 'huge'; there are default, tiny"):
        read_scale("huge")
    with pytest.raises(ConfigError, match="two arms or more, with different names"):
        Experiment(name="x", title="", question="", arms=(Arm(name="a"), Arm(name="a")))
    with pytest.raises(ConfigError, match="'c', which is no arm"):
        Experiment(name="x", title="", question="", arms=(Arm(name="a"), Arm(name="b", against="c")))
    with pytest.raises(ConfigError, match="chart must be"):
        experiment(chart="pie")
    wrong = replace(experiment(), arms=(Arm(name="a"), Arm(name="b", recipe={"optimiser": {}})))
    with pytest.raises(ConfigError, match="x: b: unknown key 'optimiser'"):
        plan(wrong, TINY, places, places.work / "checkpoint.pt")
