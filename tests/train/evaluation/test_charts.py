"""Pictures of figures: every value is there, and they are well-formed."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import pytest

from edgeasr.train.evaluation.bootstrap import Interval
from edgeasr.train.evaluation.charts import Curve, bars, curves, matrix, ticks


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (0.0, [0, 1]),
        (1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (7.3, [0, 2, 4, 6, 8]),
        (24.0, [0, 5, 10, 15, 20, 25]),
        (100.0, [0, 20, 40, 60, 80, 100]),
        (0.012, [0, 0.0025, 0.005, 0.0075, 0.01, 0.0125]),
    ],
)
def test_ticks_are_round_and_reach_the_largest_value(largest: float, expected: list[float]) -> None:
    assert ticks(largest) == pytest.approx(expected)


def test_curves_have_labels_a_mark_and_a_legend() -> None:
    shown = [
        Curve(name="a < b", points=[(0.0, 1.0), (2.0, 4.0)], labels=["first", "second"], marked=1),
        Curve(name="c", points=[]),
    ]
    svg = curves("title", "x & x", "y", shown)
    texts = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"title", "x & x", "y", "a < b", "c", "first", "second"} <= set(texts)
    assert svg.count('r="6"') == 1


def test_bars_have_values_and_intervals() -> None:
    groups = {
        "one": {"a": Interval(value=10.0, low=8.0, high=13.0), "b": Interval(value=5.0)},
        "two": {"a": Interval(value=20.0, low=8.0, high=23.0), "b": Interval(value=0.0)},
    }
    svg = bars("title", "%", groups)
    ElementTree.fromstring(svg)
    assert all(f">{value}<" in svg for value in ("10.0", "5.0", "20.0", "0.0", "one", "two", "a", "b"))
    assert svg.count('stroke="black"') == 2
    ElementTree.fromstring(bars("title", "%", {}))


def test_long_names_do_not_lie_over_one_another() -> None:
    groups = {f"a set with a long name {n}": {"one": Interval(value=1.0)} for n in range(3)}
    root = ElementTree.fromstring(bars("title", "%", groups))
    places = sorted(float(e.get("x", 0)) for e in root.iter() if (e.text or "").startswith("a set"))
    assert all(b - a > 6 * len("a set with a long name 0") for a, b in itertools.pairwise(places))
    assert float(root.get("width", 0)) > places[-1]


def test_a_matrix_has_its_counts_and_marks_the_diagonal() -> None:
    svg = matrix("title", ["a", "<b>"], ["a", "<b>", "(none)"], [[3, 1, 0], [0, 0, 2]])
    root = ElementTree.fromstring(svg)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["title", "a", "<b>", "(none)", "a", "3", "1", "<b>", "2"]
    fields = [(e.get("fill"), e.get("fill-opacity")) for e in root.iter() if e.get("fill-opacity")]
    assert fields[0] == ("#1f6fb0", "0.787") and [colour for colour, _ in fields[1:]] == ["#b0561f"] * 2
    ElementTree.fromstring(matrix("title", [], [], []))
