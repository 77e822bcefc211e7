"""Recipes: read into dataclasses; what is wrong in them is named."""

from pathlib import Path

import pytest

from edgeasr.errors import ConfigError

pytest.importorskip("torch")

from edgeasr.train.recipe import RECIPES_DIR, find_recipe, read_recipe

MINIMAL = 'name = "x"\n[data]\nsources = [{ manifest = "a.jsonl" }]\n'


def read(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return read_recipe(path)


def test_shipped_recipes_read():
    names = [path.stem for path in RECIPES_DIR.glob("*.toml")]
    assert "en-small" in names
    for name in names:
        assert read_recipe(find_recipe(name)).name == name


def test_defaults_and_nested_values(tmp_path):
    recipe = read(tmp_path, MINIMAL + "[data.augmentation]\nroom = false\n[data.augmentation.speed]\nminimum = 1\n")
    assert recipe.data.sources[0].repeat == 1.0
    assert recipe.data.augmentation.room is None
    assert recipe.data.augmentation.speed.minimum == 1.0
    assert recipe.frontend.num_mel_bins == 80


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "[optimizer]\nstpes = 3\n", "optimizer: unknown key 'stpes'"),
        (MINIMAL + "[optimizer]\nsteps = 1.5\n", "optimizer: steps: expected int, got 1.5"),
        (MINIMAL + "[optimizer]\nadam_betas = [0.9]\n", "adam_betas: expected 2 values, got 1"),
        ("[data]\nsources = []\n", "key 'name' is missing"),
        ('name = "x"\n', "key 'data' is missing"),
        ("name = \n", "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        read(tmp_path, text)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read"):
        read_recipe(tmp_path / "nowhere.toml")


def test_the_weights_of_the_bundled_student_fit_its_recipe():
    from edgeasr.train.checkpoint import load_weights
    from edgeasr.train.student import Student

    student = Student(read_recipe(find_recipe("en-small-distilled")).student)
    before = student.head.project.weight.clone()
    load_weights(Path(__file__).parents[2] / "models" / "en-small.pt", student)
    assert student.head.project.weight.dtype == before.dtype
    assert not before.equal(student.head.project.weight)
