"""The loop: it learns, and a run that was killed goes on as if it had not been."""

import json

import pytest

torch = pytest.importorskip("torch")

from edgeasr.errors import ConfigError  # noqa: E402
from edgeasr.train.checkpoint import differences  # noqa: E402
from edgeasr.train.loop import learning_rate, train  # noqa: E402
from edgeasr.train.recipe import OptimizerConfig, read_recipe  # noqa: E402
from edgeasr.train.run_log import CHECKPOINT, METRICS  # noqa: E402


def metrics(run_dir):
    lines = [json.loads(line) for line in (run_dir / METRICS).read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}, lines


def test_it_learns(tone_recipe, tone_data, tmp_path):
    text = tone_recipe.read_text().replace("steps = 8", "steps = 60").replace("every_steps = 4", "every_steps = 60")
    tone_recipe.write_text(text.replace("checkpoint_every_steps = 3", "checkpoint_every_steps = 60"))
    train(read_recipe(tone_recipe), run_dir=tmp_path, data_dir=tone_data, cache_dir=tmp_path / "cache", num_threads=1)
    losses, _ = metrics(tmp_path)
    assert losses[60] < 0.5 * losses[1]


def test_a_checkpoint_of_another_student_is_refused(tone_recipe, tone_data, tmp_path):
    places = {"run_dir": tmp_path, "data_dir": tone_data, "cache_dir": tmp_path / "cache", "num_threads": 1}
    tone_recipe.write_text(tone_recipe.read_text().replace("steps = 8", "steps = 1"))
    train(read_recipe(tone_recipe), **places)
    assert (tmp_path / CHECKPOINT).exists()
    tone_recipe.write_text(tone_recipe.read_text().replace("dim = 24", "dim = 16"))
    with pytest.raises(ConfigError, match="another shape"):
        train(read_recipe(tone_recipe), **places)


def test_a_recipe_that_has_changed_since_is_told(tone_recipe, tone_data, tmp_path, caplog):
    places = {"run_dir": tmp_path, "data_dir": tone_data, "cache_dir": tmp_path / "cache", "num_threads": 1}
    text = tone_recipe.read_text()
    tone_recipe.write_text(text.replace("steps = 8", "steps = 1"))
    train(read_recipe(tone_recipe), **places)
    tone_recipe.write_text(
        text.replace("steps = 8", "steps = 2").replace('train.jsonl" }', 'train.jsonl", repeat = 2 }')
    )
    train(read_recipe(tone_recipe), **places)
    assert (
        "the recipe has changed since step 1: data.sources[0].repeat was 1.0, is 2.0; optimizer.steps was 1, is 2"
        in (caplog.text)
    )
    # Keys that have come since do not count.
    assert list(differences({"a": ({"b": 1},)}, {"a": ({"b": 1, "c": 2},), "d": 3})) == []


def test_a_damaged_checkpoint_is_told(tone_recipe, tone_data, tmp_path):
    places = {"run_dir": tmp_path, "data_dir": tone_data, "cache_dir": tmp_path / "cache", "num_threads": 1}
    (tmp_path / CHECKPOINT).write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ConfigError, match=r"checkpoint\.pt is damaged"):
        train(read_recipe(tone_recipe), **places)


def test_the_schedule_warms_up_stays_and_falls_along_half_a_cosine():
    config = OptimizerConfig(steps=1000, warmup_steps=100, decay_share=0.4, learning_rate=1.0, final_learning_rate=0.1)
    assert learning_rate(config, 49) == pytest.approx(0.5)
    assert learning_rate(config, 100) == learning_rate(config, 600) == pytest.approx(1.0)
    assert learning_rate(config, 800) == pytest.approx(0.55)
    assert learning_rate(config, 1000) == pytest.approx(0.1)
