"""Tunes the weights of the beam search on transcribed clips: which weight and bonus make the fewest word errors.

The network hears each clip once; what is tried again and again is the search alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from edgeasr.config import CtcBeamConfig
from edgeasr.decoder import CtcBeamDecoder, DecodingContext, Hotwords
from edgeasr.tokens import TokenTable
from edgeasr.train.evaluation.evaluate import Normaliser
from edgeasr.train.evaluation.log_probs import HeardClip
from edgeasr.train.evaluation.score import ErrorCounts, count_errors


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A field of `CtcBeamConfig` and the values to try."""

    field: str
    values: tuple[float, ...]

    def around(self, value: float) -> Axis:
        """Values half a step to both sides of one."""
        step = min((b - a for a, b in itertools.pairwise(self.values)), default=0.0) / 2
        near = {round(value + step * i, 6) for i in (-1, 0, 1)}
        return Axis(field=self.field, values=tuple(sorted(v for v in near if v >= min(0.0, *self.values))))


@dataclass(frozen=True, kw_only=True)
class Point:
    """A configuration and its errors in words, by set."""

    config: CtcBeamConfig
    words: dict[str, ErrorCounts]

    @property
    def mean_rate(self) -> float:
        """The mean of the sets' error rates: a large set counts no more than a small one."""
        return sum(counts.rate for counts in self.words.values()) / len(self.words)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Error rates over two fields."""

    x: Axis
    y: Axis
    points: tuple[Point, ...]

    @property
    def best(self) -> Point:
        """The point with the lowest mean error rate, the first of equals."""
        return min(self.points, key=lambda point: point.mean_rate)


class TuningClips:
    """Transcribed clips that were heard once, to be decoded many times."""

    def __init__(self, clips: Sequence[HeardClip], tokens: TokenTable, normalise: Normaliser, *, logits: bool) -> None:
        """Keeps the clips with their transcripts."""
        self.clips = clips
        self.references = [normalise(clip.utterance.text or "") for clip in clips]
        self.tokens = tokens
        self.normalise = normalise
        self.logits = logits

    def decode(self, config: CtcBeamConfig, context: DecodingContext | None) -> Iterator[str]:
        """The text of each clip."""
        decoder = CtcBeamDecoder(
            self.tokens.names,
            replace(config, nbest=1, blank_id=self.tokens.blank_id),
            context=context,
            logits=self.logits,
            word_delimiter=self.tokens.word_delimiter,
        )
        for clip in self.clips:
            yield self.normalise(decoder.decode(clip.rows)[0].text)

    def measure(self, config: CtcBeamConfig, context: DecodingContext | None) -> Point:
        """Counts the errors in words."""
        words: dict[str, ErrorCounts] = {}
        for clip, reference, text in zip(self.clips, self.references, self.decode(config, context), strict=True):
            counts = words.get(clip.set_name, ErrorCounts())
            words[clip.set_name] = counts + count_errors(reference, text, unit="word")
        return Point(config=config, words=words)


def scan(
    measure: Callable[[CtcBeamConfig], Point],
    start: CtcBeamConfig,
    x: Axis,
    y: Axis,
    on_point: Callable[[int, int], None] | None = None,
) -> Surface:
    """Tries all pairs of values, then those half a step around the best.

    Args:
        measure: Counts errors.
        start: All other fields.
        x: One field.
        y: Another field.
        on_point: Told how many points have been tried, and how many there are at most.
    """
    tried: dict[tuple[float, float], Point] = {}
    total = len(x.values) * len(y.values) + 8

    def try_all(xs: Axis, ys: Axis) -> Surface:
        for pair in itertools.product(xs.values, ys.values):
            if pair not in tried:
                changes: dict[str, Any] = {x.field: pair[0], y.field: pair[1]}
                tried[pair] = measure(replace(start, **changes))
                if on_point is not None:
                    on_point(len(tried), total)
        return Surface(x=x, y=y, points=tuple(tried[pair] for pair in sorted(tried)))

    best = try_all(x, y).best.config
    return try_all(x.around(getattr(best, x.field)), y.around(getattr(best, y.field)))


@dataclass(frozen=True, kw_only=True)
class HotwordCounts:
    """How often hotwords were said, found, and found where nobody said them.

    Attributes:
        boost: What each occurrence added to the score.
        said: Occurrences of the present hotwords in the transcripts.
        found: Those of them that were found.
        false_present: Occurrences of present hotwords beyond those said.
        false_absent: Occurrences of hotwords that nobody says.
        hours: Of sound.
        words: Errors in all words.
    """

    boost: float
    said: int
    found: int
    false_present: int
    false_absent: int
    hours: float
    words: ErrorCounts

    @property
    def recall(self) -> float:
        """Share of what was said that was found."""
        return self.found / max(1, self.said)


def measure_hotwords(
    clips: TuningClips,
    config: CtcBeamConfig,
    context: DecodingContext,
    present: Sequence[str],
    absent: Sequence[str],
) -> HotwordCounts:
    """Decodes with all hotwords at once, with `config.hotword_boost`, and counts them."""
    said = found = false_present = false_absent = 0
    words = ErrorCounts()
    boosted = context.replace(hotwords=Hotwords([*present, *absent]) if config.hotword_boost else None)
    for reference, text in zip(clips.references, clips.decode(config, boosted), strict=True):
        words += count_errors(reference, text, unit="word")
        spoken, written = reference.split(), text.split()
        for word in present:
            expected, got = spoken.count(word), written.count(word)
            said += expected
            found += min(expected, got)
            false_present += max(0, got - expected)
        false_absent += sum(written.count(word) for word in absent)
    return HotwordCounts(
        boost=config.hotword_boost,
        said=said,
        found=found,
        false_present=false_present,
        false_absent=false_absent,
        hours=sum(clip.utterance.duration_s for clip in clips.clips) / 3600,
        words=words,
    )


def picture(title: str, surface: Surface) -> str:
    """The surface as SVG: error rates as numbers in coloured fields; the best is framed.

    Args:
        title: What is shown.
        surface: Error rates; only points on the grid of its axes are drawn, and the best one.
    """
    best = surface.best
    xs = sorted({getattr(point.config, surface.x.field) for point in surface.points})
    ys = sorted({getattr(point.config, surface.y.field) for point in surface.points})
    rates = [point.mean_rate for point in surface.points]
    low, high = min(rates), max(rates)
    cell_width, cell_height, left, top = 54, 26, 84, 44
    width, height = left + cell_width * len(xs) + 16, top + cell_height * len(ys) + 52
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="16" y="22" font-size="14">{escape(title)}</text>',
    ]
    bottom = top + cell_height * len(ys)
    for point in surface.points:
        column = xs.index(getattr(point.config, surface.x.field))
        row = len(ys) - 1 - ys.index(getattr(point.config, surface.y.field))
        x, y = left + cell_width * column, top + cell_height * row
        share = (point.mean_rate - low) / (high - low) if high > low else 0.0
        red, green, blue = (round(a + (b - a) * share**0.5) for a, b in ((31, 245), (111, 236), (176, 222)))
        frame = ' stroke="#b0561f" stroke-width="3"' if point is best else ""
        ink = "white" if share < 0.35 else "black"
        parts += [
            f'<rect x="{x + 1}" y="{y + 1}" width="{cell_width - 2}" height="{cell_height - 2}" '
            f'fill="rgb({red},{green},{blue})"{frame}/>',
            f'<text x="{x + cell_width / 2}" y="{y + 17}" text-anchor="middle" fill="{ink}">'
            f"{100 * point.mean_rate:.1f}</text>",
        ]
    for column, value in enumerate(xs):
        middle = left + cell_width * (column + 0.5)
        parts.append(f'<text x="{middle}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
    for row, value in enumerate(reversed(ys)):
        parts.append(f'<text x="{left - 8}" y="{top + cell_height * row + 17}" text-anchor="end">{value:g}</text>')
    parts += [
        f'<text x="{left + cell_width * len(xs) / 2}" y="{height - 12}" text-anchor="middle">{surface.x.field}</text>',
        f'<text transform="translate(18 {(top + bottom) / 2}) rotate(-90)" text-anchor="middle">'
        f"{surface.y.field}</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
