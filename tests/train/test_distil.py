"""Distillation: a run with a teacher, beside what a run without one has always been."""

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgeasr.cli import main  # noqa: E402
from edgeasr.errors import ConfigError  # noqa: E402
from edgeasr.train import loop  # noqa: E402
from edgeasr.train.dataset import Lesson  # noqa: E402
from edgeasr.train.distil import LossConfig, ReadingLoss, Weight  # noqa: E402
from edgeasr.train.export import load_student  # noqa: E402
from edgeasr.train.loop import Average, learning_rate, make_dataset, make_optimizers, train  # noqa: E402
from edgeasr.train.losses import ctc_loss  # noqa: E402
from edgeasr.train.recipe import read_recipe  # noqa: E402
from edgeasr.train.run_log import CHECKPOINT, METRICS  # noqa: E402
from edgeasr.train.student import Student  # noqa: E402


def metrics(run_dir):
    return [json.loads(line) for line in (run_dir / METRICS).read_text().splitlines()]


def without_speed(lines):
    return [{key: value for key, value in line.items() if key != "speed"} for line in lines]


def test_without_a_teacher_nothing_has_changed(tone_recipe, tone_data, tmp_path):
    """The loop as it was before there were teachers, written out."""
    recipe = read_recipe(tone_recipe)
    places = {"data_dir": tone_data, "cache_dir": tmp_path / "cache"}
    trained = train(recipe, run_dir=tmp_path / "run", num_threads=1, **places)

    torch.manual_seed(recipe.seed)
    dataset = make_dataset(recipe, *places.values())
    student = Student(recipe.student)
    mean, deviation = dataset.feature_statistics()
    student.feature_mean.copy_(torch.from_numpy(mean))
    student.feature_scale.copy_(torch.from_numpy(1 / deviation))
    average = Average(student, recipe.optimizer.ema_decay)
    optimizers = make_optimizers(student, torch.nn.ModuleDict(), recipe.optimizer)
    assert len(optimizers) == 2
    batches = dataset.batches(0)
    for step in range(recipe.optimizer.steps):
        batch = next(batches)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            log_probs, intermediate, _ = student(batch.features, student.initial_state(len(batch.features)))
        targets = (-(-batch.feature_lengths // 2), batch.token_ids, batch.token_lengths)
        loss = 0.7 * ctc_loss(log_probs, *targets, blank_id=0) + 0.3 * ctc_loss(intermediate, *targets, blank_id=0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), recipe.optimizer.gradient_clip)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe.optimizer, step)
            optimizer.step()
            optimizer.zero_grad()
        average.update(student)
    for name, value in average.student.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name]), name


def test_a_killed_run_with_a_teacher_goes_on_bit_for_bit(taught_recipe, taught_data, tmp_path, monkeypatch):
    recipe = read_recipe(taught_recipe)
    places = {"data_dir": taught_data, "cache_dir": tmp_path / "cache", "num_threads": 1}
    straight = train(recipe, run_dir=tmp_path / "straight", **places)

    def killed_at_step_five(config, step):
        if step == 5:
            raise KeyboardInterrupt
        return learning_rate(config, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "learning_rate", killed_at_step_five)
        train(recipe, run_dir=tmp_path / "killed", **places)
    resumed = train(recipe, run_dir=tmp_path / "killed", **places)
    by_step = {line["step"]: line for line in without_speed(metrics(tmp_path / "killed")) if "loss" in line}
    lines = [line for line in without_speed(metrics(tmp_path / "straight")) if "loss" in line]
    assert [by_step[line["step"]] for line in lines] == lines
    names = ("tokens", "guided", "features", "readings", "consistency")
    assert all(np.isfinite(line[f"{name}_loss"]) for line in lines for name in names if f"{name}_loss" in line)
    assert {f"{name}_loss" for name in names} <= {key for line in lines for key in line}
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    heads = [torch.load(tmp_path / run / CHECKPOINT, weights_only=True)["heads"] for run in ("straight", "killed")]
    assert heads[0] and all(torch.equal(value, heads[1][name]) for name, value in heads[0].items())
    # The heads stay behind.
    student, step = load_student(tmp_path / "straight" / CHECKPOINT, recipe)
    assert step == 8
    assert sum(p.numel() for p in student.parameters()) == sum(p.numel() for p in straight.parameters())


def test_clips_without_transcripts_come_with_what_the_teacher_says(taught_recipe, taught_data, tmp_path):
    recipe = read_recipe(taught_recipe)
    dataset = make_dataset(recipe, taught_data, tmp_path / "cache")
    assert dataset.transcribed.count(False) == 3
    assert all(len({dataset.transcribed[c] for c in item}) == 1 for batch in dataset.plan(1) for item in batch)
    dataset.lesson = Lesson(token_frame_s=0.04, feature_frame_s=0.04, readings=2)
    unknown = dataset.transcribed.index(False)
    batch = dataset.collate([[unknown], [1]], np.random.default_rng(0))
    assert batch.transcribed.tolist() == [False, True]
    assert batch.token_lengths[0] == 0
    assert set(batch.teacher.readings.rows.tolist()) <= {0}
    assert batch.teacher.readings.weights.sum() == pytest.approx(1.0)
    texts, scores = dataset.targets.readings(unknown)
    confidence = np.exp(scores[0] / len(texts[0]))
    for minimum, count in ((0.999 * confidence, 1), (1.001 * confidence, 0)):
        fault = ReadingLoss(weight=1, minimum_confidence=minimum).fault(dataset.targets, unknown)
        assert fault == (None if count else "unsure")
        dataset.lesson = Lesson(readings=1, left_out=frozenset([unknown] if fault else []))
        sure = dataset.collate([[unknown], [1]], np.random.default_rng(0))
        assert len(sure.teacher.readings.rows) == count
    rows, frames = batch.teacher.soft_labels.said.shape
    assert (rows, frames) == (2, batch.features.shape[1] // 4)
    assert batch.teacher.features[0].shape == (2, frames, 4)
    for row, length in enumerate(-(-batch.feature_lengths // 4)):
        assert batch.teacher.soft_labels.said[row, :length].float().mean() > 0.7
        assert not batch.teacher.soft_labels.said[row, length:].any()
    assert dataset.encode_reading("AB d CA") == [2, 3, 1, 4, 2]


def test_two_views_differ_and_have_the_same_words(taught_recipe, taught_data, tmp_path):
    dataset = make_dataset(read_recipe(taught_recipe), taught_data, tmp_path / "cache")
    dataset.lesson = Lesson(views=2)
    batch = dataset.collate([[1], [2, 3]], np.random.default_rng(0))
    assert len(batch.features) == 4
    assert batch.feature_lengths[:2].tolist() == batch.feature_lengths[2:].tolist()
    ids = batch.token_ids.tolist()
    assert ids[: len(ids) // 2] == ids[len(ids) // 2 :]
    assert not torch.equal(batch.features[:2], batch.features[2:])


def test_a_student_teaches_the_student_in_its_own_tokens(tone_recipe, tone_data, tmp_path):
    """Its log-probs are matched frame by frame; there is no head beside. It starts where its teacher is."""
    data = tmp_path / "data"
    shutil.copytree(tone_data, data)
    tone_recipe.write_text(tone_recipe.read_text().replace("steps = 8", "steps = 2"))
    places = {"data_dir": data, "cache_dir": tmp_path / "cache", "num_threads": 1}
    train(read_recipe(tone_recipe), run_dir=data / "big", **places)
    lesson = '[teacher]\nkind = "student"\npath = "big"\ntop_k = 5\n[losses.tokens]\nweight = 1\nshifts = [0, 0]\n'
    augmentation = (
        "[data.augmentation]\nspeed = false\nroom = false\nnoise = false\ngain = false\nspec_augment = false\n"
    )
    tone_recipe.write_text(tone_recipe.read_text() + augmentation + lesson)
    train(read_recipe(tone_recipe), run_dir=tmp_path / "run", initial=data / "big" / CHECKPOINT, **places)
    checkpoint = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    assert not checkpoint["heads"]
    first = metrics(tmp_path / "run")[0]
    # What is left is half precision on both sides, and clips that are padded with silence.
    assert first["tokens_loss"] < 0.01
    with pytest.raises(ConfigError, match="no checkpoint"):
        train(read_recipe(tone_recipe), run_dir=tmp_path / "new", initial=tmp_path / "missing.pt", **places)


OWN = """
[losses.average]
weight = 0.5
start_step = 1
[losses.inner]
weight = 0.2
temperature = 2
"""


def test_a_student_teaches_itself_without_transcripts(taught_recipe, taught_data, tmp_path):
    text = taught_recipe.read_text().replace("steps = 8", "steps = 2")
    taught_recipe.write_text(text[: text.index("[teacher]")] + OWN)
    dataset = make_dataset(read_recipe(taught_recipe), taught_data, tmp_path / "cache")
    assert dataset.transcribed.count(False) == 3
    places = {"data_dir": taught_data, "cache_dir": tmp_path / "cache", "num_threads": 1}
    train(read_recipe(taught_recipe), run_dir=tmp_path / "run", **places)
    assert all(np.isfinite(line["norm"]) for line in metrics(tmp_path / "run") if "loss" in line)


def test_a_student_teaches_itself(tone_recipe, tone_data, tmp_path):
    """By the average of its weights, which hears the clean clips, and by its last head; no teacher, nothing kept."""
    tone_recipe.write_text(tone_recipe.read_text().replace("steps = 8", "steps = 3") + OWN)
    recipe = read_recipe(tone_recipe)
    places = {"data_dir": tone_data, "cache_dir": tmp_path / "cache"}
    train(recipe, run_dir=tmp_path / "run", num_threads=1, **places)
    lines = [line for line in metrics(tmp_path / "run") if "loss" in line]
    assert ["average_loss" in line for line in lines] == [False, True, True]
    assert all(line["average_loss"] >= 0 for line in lines[1:]) and all(line["inner_loss"] > 0 for line in lines)
    assert not torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["heads"]
    # What the average hears is the same clip at the same speed, without noise, room and masks; the rest is as ever.
    dataset = make_dataset(recipe, **places)
    before = dataset.collate([[1], [2, 3]], np.random.default_rng(0))
    dataset.lesson = Lesson(clean=True)
    batch = dataset.collate([[1], [2, 3]], np.random.default_rng(0))
    assert before.clean is None and torch.equal(before.features, batch.features)
    assert batch.clean.shape == batch.features.shape and not torch.equal(batch.clean, batch.features)


def test_features_of_several_blocks_are_matched(taught_recipe, taught_data, tmp_path):
    text = taught_recipe.read_text().replace("steps = 8", "steps = 1")
    places = {"data_dir": taught_data, "cache_dir": tmp_path / "cache", "num_threads": 1}
    taught_recipe.write_text(text.replace('distance = "l1"', 'distance = "l1"\nblocks = [1, 2]'))
    train(read_recipe(taught_recipe), run_dir=tmp_path / "run", **places)
    heads = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["heads"]
    assert {name.split(".")[0] for name in heads} == {"tokens", "features_1", "features_2"}
    taught_recipe.write_text(text.replace('distance = "l1"', "blocks = [3]"))
    with pytest.raises(ConfigError, match="there are 2 blocks"):
        train(read_recipe(taught_recipe), run_dir=tmp_path / "other", **places)


def test_projections_see_the_blocks_that_they_are_named_for(taught_recipe):
    recipe = read_recipe(taught_recipe)
    student = Student(recipe.student)
    inside: list = []
    features = torch.randn(1, 40, 80)
    hidden, _, _ = student.encode(features, student.initial_state(1), inside)
    assert len(inside) == 2 and torch.equal(inside[-1], hidden) and not torch.equal(inside[0], hidden)


def test_a_checkpoint_without_the_heads_is_refused(taught_recipe, taught_data, tmp_path):
    places = {"run_dir": tmp_path / "run", "data_dir": taught_data, "cache_dir": tmp_path / "cache", "num_threads": 1}
    text = taught_recipe.read_text().replace("steps = 8", "steps = 1")
    taught_recipe.write_text(text.partition("[teacher]")[0])
    train(read_recipe(taught_recipe), **places)
    taught_recipe.write_text(text)
    with pytest.raises(ConfigError, match="student or heads of another shape"):
        train(read_recipe(taught_recipe), **places)


def test_the_command_asks_the_teacher_once(taught_recipe, taught_data, tmp_path, capsys):
    arguments = ["distil", str(taught_recipe), "--data", str(taught_data), "--cache", str(tmp_path / "cache")]
    assert main(arguments) == 0
    assert "27 clips" in capsys.readouterr().out
    shutil.move(taught_data / "teacher" / "joiner.onnx", tmp_path)
    assert main(arguments) == 2
    taught_recipe.write_text(taught_recipe.read_text().partition("[teacher]")[0])
    assert main(arguments) == 2
    assert "has no [teacher]" in capsys.readouterr().err


def test_weights_rise_and_fall():
    weight = Weight(weight=0.4, final_weight=0.2, start_step=10, rise_steps=3)
    assert [weight.at(step, 100) for step in (0, 9)] == [0, 0]
    assert weight.at(10, 100) == pytest.approx(0.25 * 0.38)
    assert weight.at(50, 100) == pytest.approx(0.3)
    assert weight.at(100, 100) == pytest.approx(0.2)
    assert Weight(weight=0.3).at(77, 100) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "transducer"', 'kind = "text"', "need a teacher with posteriors"),
        ("top_k = 3", "features = false", "need a teacher with features"),
        ("top_k = 3", "top_k = 0", "need a teacher with posteriors"),
        ("n_best = 2\n[losses.tokens]", "[losses.tokens]", "readings.n_best is 2, but the teacher's 1"),
        ("rise_steps = 2", "rise_step = 2", "consistency: unknown key 'rise_step'"),
        ('distance = "l1"', 'distance = "l2"', "distance must be one of cosine"),
        ("weight = 0.3\n", "weight = -0.3\n", "weight of 0 or more"),
        ("[losses.tokens]\n", "[losses.tokens]\nshifts = [2, 1]\n", "shifts must be the first and the last"),
        ("[losses.tokens]\n", "[losses.tokens]\ntemperature = 0\n", "temperature must be above 0"),
        ("[losses.tokens]\n", "[losses.inner]\nweight = 1\ntemperature = 0\n[losses.tokens]\n", "temperature must be"),
        ('distance = "l1"', "blocks = [0]", "different numbers from 1 on"),
    ],
)
def test_mistakes_are_named(taught_recipe, old, new, message):
    text = taught_recipe.read_text()
    assert old in text
    taught_recipe.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        read_recipe(taught_recipe)


def test_losses_and_teacher_need_each_other(taught_recipe):
    text = taught_recipe.read_text()
    begin, losses = text.index("[teacher]"), text.index("[losses.tokens]")
    taught_recipe.write_text(text[:begin] + text[losses:])
    with pytest.raises(ConfigError, match=r"tokens, guided, features, readings need a \[teacher\]"):
        read_recipe(taught_recipe)
    taught_recipe.write_text(text[:losses])
    with pytest.raises(ConfigError, match=r"nothing in \[losses\] needs the \[teacher\]"):
        read_recipe(taught_recipe)
    assert LossConfig(consistency=Weight(weight=0.1)).check(None) is None
