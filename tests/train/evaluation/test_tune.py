"""Tuning: the surface, its best point, and hotwords that are said or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeasr.cli.tune import best_boost
from edgeasr.config import CtcBeamConfig
from edgeasr.decoder import DecodingContext
from edgeasr.lm import LanguageModel
from edgeasr.tokens import TokenTable
from edgeasr.train.evaluation.conditions import Condition
from edgeasr.train.evaluation.evaluate import normaliser
from edgeasr.train.evaluation.log_probs import HeardClip
from edgeasr.train.evaluation.score import ErrorCounts
from edgeasr.train.evaluation.tune import (
    Axis,
    HotwordCounts,
    Point,
    Surface,
    TuningClips,
    measure_hotwords,
    picture,
    scan,
)
from edgeasr.train.manifest import Utterance

TABLE = TokenTable(["<blank>", "|", *"abcdefghijklmnopqrstuvwxyz"], blank_id=0, word_delimiter="|")


def say(text: str, unsure: str = "", probability: float = 0.9) -> np.ndarray:
    """Log-probs of a text, a letter every other frame; letters in `unsure` are as likely as their neighbours."""
    rows = np.full((2 * len(text) + 1, len(TABLE)), 1e-4)
    rows[:, 0] = 0.9
    for place, letter in enumerate(text):
        token = TABLE.names.index("|" if letter == " " else letter)
        rows[2 * place + 1] = 1e-4
        rows[2 * place + 1, token] = probability
        if letter in unsure:
            rows[2 * place + 1, token + 1] = 1.1 * probability
    return np.log(rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def clips() -> TuningClips:
    heard = [
        HeardClip(
            set_name="said",
            condition=Condition(),
            utterance=Utterance(id=text, audio=Path(text), duration_s=36.0, text=text, corpus="said"),
            rows=say(text, unsure="t"),
        )
        for text in ("the cat sat", "a cat ate the hat")
    ]
    return TuningClips(heard, TABLE, normaliser("en"), logits=False)


@pytest.fixture
def context() -> DecodingContext:
    return DecodingContext(lm=LanguageModel.build(lines=["the cat sat", "a cat ate the hat", "the hat"]))


def test_the_best_weights_make_the_fewest_errors(clips, context):
    def measure(config: CtcBeamConfig) -> Point:
        return clips.measure(config, context)

    start = CtcBeamConfig(beam_size=32)
    without = measure(CtcBeamConfig(beam_size=32, lm_weight=0.0, oov_cost=0.0, oov_char_cost=0.0))
    surface = scan(
        measure, start, Axis(field="lm_weight", values=(0.0, 1.0)), Axis(field="word_bonus", values=(0.0, 2.0))
    )
    assert surface.best.mean_rate == 0.0 < without.mean_rate
    weights = {point.config.lm_weight for point in surface.points}
    assert {0.0, 0.5, 1.0} <= weights  # half a step beside the best one was tried, too


def test_the_picture_has_every_point():
    points = tuple(
        Point(
            config=CtcBeamConfig(lm_weight=x, word_bonus=y),
            words={"a": ErrorCounts(reference=10, substitutions=round(10 * x))},
        )
        for x in (0.1, 0.3)
        for y in (0.0, 1.0)
    )
    svg = picture(
        "a < b",
        Surface(
            x=Axis(field="lm_weight", values=(0.1, 0.3)), y=Axis(field="word_bonus", values=(0.0, 1.0)), points=points
        ),
    )
    assert svg.count(">10.0<") == 2 and svg.count(">30.0<") == 2
    assert "a &lt; b" in svg and svg.count('stroke-width="3"') == 1


def test_an_axis_is_refined_by_half_its_step():
    assert Axis(field="lm_weight", values=(0.5, 1.0, 1.5)).around(1.0).values == (0.75, 1.0, 1.25)
    assert Axis(field="oov_cost", values=(0.0, 2.0)).around(0.0).values == (0.0, 1.0)


def test_a_boost_finds_hotwords(clips):
    context = DecodingContext(lm=LanguageModel.build(lines=["a dog", "the cau sau"]))
    counts = [
        measure_hotwords(clips, CtcBeamConfig(beam_size=32, hotword_boost=boost), context, ["cat"], ["dog"])
        for boost in (0.0, 8.0)
    ]
    assert [c.said for c in counts] == [2, 2] and [c.found for c in counts] == [0, 2]
    assert counts[1].false_absent == 0 and counts[0].hours == pytest.approx(0.02)
    assert best_boost(counts) is counts[1]


def test_a_boost_that_makes_more_errors_than_it_mends_is_not_taken():
    measured = [
        HotwordCounts(
            boost=boost,
            said=10,
            found=found,
            false_present=0,
            false_absent=0,
            hours=1.0,
            words=ErrorCounts(reference=100, substitutions=errors),
        )
        for boost, found, errors in ((0.0, 1, 20), (2.0, 6, 18), (4.0, 8, 20), (8.0, 10, 21))
    ]
    assert best_boost(measured).boost == 4.0
    assert best_boost(measured[:1]).boost == 0.0
