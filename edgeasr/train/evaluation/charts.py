"""Small pictures of figures as SVG: curves over a measure, and bars with their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from edgeasr.train.evaluation.bootstrap import Interval

COLOURS = ("#b0561f", "#1f6fb0", "#3a8a3a", "#7a4fa3", "#c2a024", "#4b9aa0", "#a33b5e", "#666666")
# About as wide is a letter of 12 points.
LETTER = 6.5
LEFT, TOP, BOTTOM = 64, 44, 48


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points in the order in which they are joined.

    Attributes:
        name: What the legend calls it.
        points: x and y of each.
        labels: What stands beside each point; empty for none.
        marked: The place of the point that is in use, if there is one.
    """

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()
    marked: int | None = None


def curves(title: str, x_label: str, y_label: str, shown: Sequence[Curve]) -> str:
    """Draws curves; both axes begin at 0.

    Args:
        title: What is shown.
        x_label: What the x axis is, with its unit.
        y_label: The same of the y axis.
        shown: The curves, eight at most.
    """
    width, height = 420, 280
    x_ticks = ticks(max((x for curve in shown for x, _ in curve.points), default=0.0))
    y_ticks = ticks(max((y for curve in shown for _, y in curve.points), default=0.0))

    def x(value: float) -> float:
        return round(LEFT + width * value / x_ticks[-1], 1)

    def y(value: float) -> float:
        return round(TOP + height * (1 - value / y_ticks[-1]), 1)

    parts = _frame(title, LEFT + width + 24, TOP + height + BOTTOM)
    for tick in x_ticks:
        parts += [
            f'<path d="M{x(tick)} {TOP}V{TOP + height}" stroke="#dddddd"/>',
            f'<text x="{x(tick)}" y="{TOP + height + 16}" text-anchor="middle">{tick:g}</text>',
        ]
    parts += _rows(y_ticks, y, LEFT + width)
    parts += [
        f'<text x="{LEFT + width / 2}" y="{TOP + height + 38}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(16 {TOP + height / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
    ]
    for number, curve in enumerate(shown):
        colour = COLOURS[number]
        places = [(x(a), y(b)) for a, b in curve.points]
        line = "L".join(f"{a} {b}" for a, b in places)
        parts += [f'<path d="M{line}" stroke="{colour}" stroke-width="2" fill="none"/>'] if places else []
        if curve.labels:
            parts += [f'<circle cx="{a}" cy="{b}" r="3" fill="{colour}"/>' for a, b in places]
            parts += [
                f'<text x="{a + 5}" y="{b + 14}" font-size="10" fill="{colour}">{escape(label)}</text>'
                for (a, b), label in zip(places, curve.labels, strict=True)
            ]
        if curve.marked is not None:
            a, b = places[curve.marked]
            parts.append(f'<circle cx="{a}" cy="{b}" r="6" stroke="{colour}" stroke-width="2" fill="none"/>')
        legend = TOP + height - 12 - 16 * (len(shown) - 1 - number)
        parts.append(
            f'<text x="{LEFT + width - 8}" y="{legend}" text-anchor="end" fill="{colour}">{escape(curve.name)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def bars(title: str, y_label: str, groups: Mapping[str, Mapping[str, Interval]]) -> str:
    """Draws bars side by side, each with its interval.

    Args:
        title: What is shown.
        y_label: What the height is, with its unit.
        groups: The bars of each group by their names, which are the same in all groups; eight at most.
    """
    names = list(next(iter(groups.values()), {}))
    bar, gap, height = 40, 28, 220
    column = max([len(names) * bar, *(LETTER * len(group) for group in groups)]) + gap
    width = max([len(groups) * column, *(LETTER * len(name) for name in (title, *names))])
    y_ticks = ticks(
        max((i.value if i.high is None else i.high for g in groups.values() for i in g.values()), default=0)
    )

    def y(value: float) -> float:
        return round(TOP + height * (1 - value / y_ticks[-1]), 1)

    parts = _frame(title, LEFT + width + 24, TOP + height + BOTTOM + 16 * len(names))
    parts += _rows(y_ticks, y, LEFT + width)
    parts.append(
        f'<text transform="translate(16 {TOP + height / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )
    for place, (group, members) in enumerate(groups.items()):
        centre = LEFT + column * (place + 0.5)
        parts.append(f'<text x="{centre}" y="{TOP + height + 16}" text-anchor="middle">{escape(group)}</text>')
        for number, name in enumerate(names):
            found, middle = members[name], centre + bar * (number + 0.5 - len(names) / 2)
            parts.append(
                f'<rect x="{middle - bar / 2 + 2}" y="{y(found.value)}" width="{bar - 4}" '
                f'height="{round(TOP + height - y(found.value), 1)}" fill="{COLOURS[number]}"/>'
            )
            if found.low is not None and found.high is not None:
                parts.append(f'<path d="M{middle} {y(found.low)}V{y(found.high)}" stroke="black"/>')
            parts.append(
                f'<text x="{middle}" y="{TOP + height - 6}" text-anchor="middle" fill="white" font-size="11">'
                f"{found.value:.1f}</text>"
            )
    for number, name in enumerate(names):
        parts.append(
            f'<text x="{LEFT}" y="{TOP + height + 38 + 16 * number}" fill="{COLOURS[number]}">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def matrix(title: str, rows: Sequence[str], columns: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Draws counts as fields: the darker, the larger the share of its row; what is not on the diagonal in red.

    Args:
        title: What is shown.
        rows: The names of the rows.
        columns: The names of the columns; the first ones are those of the rows.
        counts: The numbers of each row.
    """
    size = 22
    left = 24 + LETTER * max(map(len, rows), default=0)
    top = TOP + LETTER * max(map(len, columns), default=0)
    width = max(left + size * len(columns) + 16, LETTER * len(title) + 32)
    parts = _frame(title, width, top + size * len(rows) + 16)
    for place, name in enumerate(columns):
        x = left + size * (place + 0.5) + 4
        parts.append(f'<text transform="translate({x} {top - 6}) rotate(-90)">{escape(name)}</text>')
    for place, (name, numbers) in enumerate(zip(rows, counts, strict=True)):
        y = top + size * place
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        for other, count in enumerate(numbers):
            if count == 0:
                continue
            share = count / sum(numbers)
            colour = COLOURS[1] if place == other else COLOURS[0]
            x = left + size * other
            parts += [
                f'<rect x="{x + 1}" y="{y + 1}" width="{size - 2}" height="{size - 2}" fill="{colour}" '
                f'fill-opacity="{round(0.15 + 0.85 * share, 3)}"/>',
                f'<text x="{x + size / 2}" y="{y + 15}" text-anchor="middle" font-size="10" '
                f'fill="{"white" if share > 0.5 else "black"}">{count}</text>',
            ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(largest: float) -> list[float]:
    """Round numbers from 0 to at least `largest`, five steps at most."""
    if not largest > 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(largest / 5))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor * 5 >= largest * (1 - 1e-9))
    return [round(step * number, 10) for number in range(math.ceil(largest / step - 1e-9) + 1)]


def _frame(title: str, width: float, height: float) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="16" y="22" font-size="14">{escape(title)}</text>',
    ]


def _rows(y_ticks: Sequence[float], y: Callable[[float], float], right: float) -> list[str]:
    parts = []
    for tick in y_ticks:
        parts += [
            f'<path d="M{LEFT} {y(tick)}H{right}" stroke="#dddddd"/>',
            f'<text x="{LEFT - 6}" y="{y(tick) + 4}" text-anchor="end">{tick:g}</text>',
        ]
    return parts
