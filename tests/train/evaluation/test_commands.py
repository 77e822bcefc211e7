"""Commands on recorded clips: orders that are right, thresholds, and what they would do."""

from __future__ import annotations

import numpy as np
import pytest

from edgeasr.command import CommandResult
from edgeasr.config import CommandConfig
from edgeasr.decoder import Hypothesis, ScoreParts
from edgeasr.errors import ConfigError
from edgeasr.grammar import Grammar
from edgeasr.train.evaluation.commands import (
    Order,
    choose_thresholds,
    compare_measures,
    is_right,
    judge_orders,
    judge_others,
    operating_points,
)

GRAMMAR = Grammar.from_text("intent light: turn the {room} light (on|off)\nlist room: kitchen | hall\n")


def result(kind: str, text: str, llr: float = 0.0, command_score: float = -0.1, score: float = -0.1) -> CommandResult:
    parse = GRAMMAR.parse(text) if kind == "command" else None
    places = tuple(range(len(text)))
    hypothesis = Hypothesis(
        token_ids=places,
        token_start_frames=places,
        token_end_frames=tuple(place + 1 for place in places),
        token_posteriors=tuple(1.0 for _ in places),
        score=-0.1 * len(text),
        text=text,
        parts=ScoreParts(acoustic=-0.1 * len(text)),
    )
    return CommandResult(
        kind=kind,
        text=text,
        intent=None if parse is None else parse.intent,
        slots={} if parse is None else parse.slots,
        spans=(),
        llr=llr,
        command_score=command_score,
        score=score,
        command=hypothesis if GRAMMAR.accepts(text) else None,
        dictation=hypothesis,
    )


def test_orders_are_right_with_all_slots_and_no_others() -> None:
    results = [
        result("command", "turn the hall light on"),
        result("command", "turn the hall light on"),
        result("dictation", "turn the hall light on"),
        result("rejected", "hello"),
    ]
    wanted = [
        Order(intent="light", slots={"room": "hall"}),
        Order(intent="light", slots={"room": "hall", "level": "1"}),
        Order(intent="light", slots={"room": "hall"}),
        Order(intent="light", slots={}),
    ]
    figures = judge_orders(GRAMMAR, results, wanted)
    assert (figures.num_clips, figures.right, figures.dictation, figures.rejected) == (4, 0.25, 0.25, 0.25)
    assert (figures.right_slots, figures.found) == (0.5, 0.5)
    others = judge_others(results)
    assert (others.commands, others.rejected) == (0.5, 0.25)


def test_thresholds_lie_between_orders_and_others() -> None:
    def results(llr: float, score: float) -> list[CommandResult]:
        return [result("dictation", "hello", llr + 0.01 * i, score, score) for i in range(20)]

    config = choose_thresholds(
        orders=results(-1.0, -1.0), others=results(-3.0, -1.0), clean_speech=results(-3.0, -0.4), base=CommandConfig()
    )
    assert -2.8 < config.min_llr < -1.0
    assert config.min_command_score < -1.0
    assert config.min_score == -0.4
    config = choose_thresholds(
        orders=results(-1.0, -1.0), others=results(-1.0, -3.0), clean_speech=results(-3.0, -0.4), base=CommandConfig()
    )
    assert -3.0 < config.min_command_score <= -1.0
    with pytest.raises(ConfigError, match="no thresholds"):
        choose_thresholds(orders=[], others=results(0.0, 0.0), clean_speech=[], base=CommandConfig())


def test_a_measure_loses_what_it_ranks_below_the_others() -> None:
    orders = [result("command", "turn the hall light on", llr) for llr in (-1.0, -2.0, -3.0, -4.0)]
    others = [result("dictation", "hello", llr) for llr in np.linspace(-9.0, -2.5, 101)]
    lost = compare_measures(orders, others)
    assert lost["ratio / token of the order"] == 0.5
    # Of the others nothing is known but that they are no orders: no command was found.
    assert lost["ratio / frame"] == lost["ratio"] == 0.0


def test_other_thresholds_are_tried_without_decoding() -> None:
    orders = [result("command", "turn the hall light on", llr, score) for llr, score in ((-1, -1), (-2, -1), (-1, -9))]
    wanted = [Order(intent="light", slots={"room": "hall"})] * 3
    assert [is_right(GRAMMAR, order, want) for order, want in zip(orders, wanted, strict=True)] == [True] * 3
    others = [result("dictation", "hello", llr) for llr in (-3.0, -np.inf)]
    points = operating_points(GRAMMAR, CommandConfig(min_command_score=-3.0), orders, wanted, others, (-4.0, -1.5, 0.0))
    assert [(point.right, point.commands) for point in points] == [
        (pytest.approx(2 / 3), 0.5),
        (pytest.approx(1 / 3), 0.0),
        (0.0, 0.0),
    ]
