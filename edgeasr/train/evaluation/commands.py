"""Commands on recorded clips: how many orders are understood, and how much else is taken for one.

An order is right when the intent and every slot equal the label, with none missing and none added.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeasr.command import COMMAND, DICTATION, REJECTED, CommandRecognizer, CommandResult
from edgeasr.config import CommandConfig
from edgeasr.decoder import Hypothesis
from edgeasr.errors import ConfigError
from edgeasr.grammar import Grammar, SlotValue
from edgeasr.train.evaluation.bootstrap import FloatArray
from edgeasr.train.evaluation.conditions import NOISE_FOLDER
from edgeasr.train.evaluation.evaluate import EvaluationSet
from edgeasr.train.evaluation.log_probs import HeardClip
from edgeasr.train.manifest import Utterance, read_manifest

# Share of other speech, and of noise, that may be taken for an order: what `tune` keeps to.
MAX_FALSE_COMMANDS = 0.005
# Share of other clean speech that may be rejected.
MAX_REJECTED_SPEECH = 0.02


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a clip asks for."""

    intent: str
    slots: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class OrderFigures:
    """How orders fared. Shares of all orders, or of all slots of all orders.

    Attributes:
        num_clips: Orders.
        right: Taken as a command with the right intent and exactly the right slots.
        right_slots: Slots that a command has, with the right value.
        dictation: Orders that were taken for dictation.
        rejected: Orders that were rejected.
        found: Orders whose meaning the grammar's best sentence has, whatever the thresholds made of it.
    """

    num_clips: int
    right: float
    right_slots: float
    dictation: float
    rejected: float
    found: float


@dataclass(frozen=True, kw_only=True)
class OtherFigures:
    """How everything else fared, in shares of all clips."""

    num_clips: int
    commands: float
    rejected: float


def noise_clips(data: Path, *, odd: bool, limit: int | None = None) -> EvaluationSet:
    """Recordings of noise by itself: a quarter of all, and never the same for tuning and for a report.

    Raises:
        ConfigError: There are none.
    """
    paths = sorted((data / NOISE_FOLDER).glob("*.opus"))[int(odd) :: 4][:limit]
    if not paths:
        raise ConfigError(f"{data / NOISE_FOLDER} holds no recordings of noise")
    utterances = [Utterance(id=path.stem, audio=path, duration_s=5.0, text="", corpus="noise") for path in paths]
    return EvaluationSet(name=f"noise{int(odd)}", utterances=tuple(utterances))


def understand(commands: CommandRecognizer, clips: Iterable[HeardClip]) -> list[CommandResult]:
    """Every clip as it is understood."""
    decoder = commands.decoder()
    return [decoder.decode(clip.rows) for clip in clips]


def some_clips(manifest: Path, limit: int | None = None) -> EvaluationSet:
    """A set of clips, with a transcript or without; the first ones of it if there is a limit."""
    return EvaluationSet(name=manifest.stem, utterances=tuple(read_manifest(manifest)[:limit]))


def read_orders(manifest: Path) -> list[Order]:
    """What the clips of a manifest ask for.

    Raises:
        ConfigError: A clip has no intent.
    """
    orders = []
    for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        if not isinstance(row.get("intent"), str) or not isinstance(row.get("slots"), dict):
            raise ConfigError(f"{manifest}:{number} has no intent and slots")
        orders.append(Order(intent=row["intent"], slots={str(k): str(v) for k, v in row["slots"].items()}))
    return orders


def is_right(grammar: Grammar, result: CommandResult, order: Order) -> bool:
    """Whether the grammar's best sentence means what was asked for, whatever the thresholds make of it."""
    parse = None if result.command is None else grammar.parse(result.command.text)
    if parse is None:
        return False
    return parse.intent == order.intent and _slots(parse.slots) == order.slots


def _slots(slots: Mapping[str, SlotValue]) -> dict[str, str]:
    return {name: str(value) for name, value in slots.items()}


def judge_orders(grammar: Grammar, results: Sequence[CommandResult], wanted: Sequence[Order]) -> OrderFigures:
    """Compares what was understood with what was asked for."""
    right = found = right_slots = num_slots = 0
    for result, order in zip(results, wanted, strict=True):
        slots = _slots(result.slots)
        right_slots += sum(slots.get(name) == value for name, value in order.slots.items())
        num_slots += len(order.slots)
        meant = is_right(grammar, result, order)
        found += meant
        right += meant and result.kind == COMMAND
    kinds = [result.kind for result in results]
    return OrderFigures(
        num_clips=len(results),
        right=right / len(results),
        right_slots=right_slots / max(1, num_slots),
        dictation=kinds.count(DICTATION) / len(results),
        rejected=kinds.count(REJECTED) / len(results),
        found=found / len(results),
    )


def judge_others(results: Sequence[CommandResult]) -> OtherFigures:
    """Counts what was taken for an order, and what was rejected."""
    kinds = [result.kind for result in results]
    return OtherFigures(
        num_clips=len(results),
        commands=kinds.count(COMMAND) / len(results),
        rejected=kinds.count(REJECTED) / len(results),
    )


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """What one value of `CommandConfig.min_llr` does, the other thresholds as they are.

    Attributes:
        min_llr: The threshold.
        right: Share of orders that are understood, with exactly the right slots.
        commands: Share of everything else that is taken for an order.
    """

    min_llr: float
    right: float
    commands: float


def operating_points(
    grammar: Grammar,
    config: CommandConfig,
    orders: Sequence[CommandResult],
    wanted: Sequence[Order],
    others: Sequence[CommandResult],
    min_llrs: Iterable[float],
) -> list[OperatingPoint]:
    """What other thresholds would do; results hold all measures, so that nothing is decoded again.

    Args:
        grammar: The commands.
        config: The other thresholds.
        orders: What was understood of orders.
        wanted: What they ask for.
        others: What was understood of everything else.
        min_llrs: The thresholds to try.
    """

    def passing(results: Iterable[CommandResult]) -> FloatArray:
        """The ratio of each result whose score passes; minus infinity for the others."""
        return np.array([r.llr if r.command_score >= config.min_command_score else -np.inf for r in results])

    llrs, other_llrs = passing(orders), passing(others)
    right = np.array([is_right(grammar, result, order) for result, order in zip(orders, wanted, strict=True)])
    return [
        OperatingPoint(
            min_llr=least, right=float(np.mean(right & (llrs >= least))), commands=float(np.mean(other_llrs >= least))
        )
        for least in min_llrs
    ]


def choose_thresholds(
    *,
    orders: Sequence[CommandResult],
    others: Sequence[CommandResult],
    clean_speech: Sequence[CommandResult],
    base: CommandConfig,
) -> CommandConfig:
    """The thresholds that lose the fewest orders while few of the others are taken for one.

    Of thresholds that do equally well those are taken that leave the most room: the middle of their range.
    """
    llrs = np.array([result.llr for result in orders])
    scores = np.array([result.command_score for result in orders])
    other_llrs = np.array([result.llr for result in others])
    other_scores = np.array([result.command_score for result in others])
    grid = np.arange(-6.0, 0.0, 0.05)
    best: list[tuple[float, float]] = []
    fewest = np.inf
    for least_llr in grid:
        for least_score in grid:
            taken = np.mean((other_llrs >= least_llr) & (other_scores >= least_score))
            if taken > MAX_FALSE_COMMANDS:
                continue
            lost = np.mean((llrs < least_llr) | (scores < least_score))
            if lost < fewest:
                fewest, best = float(lost), []
            if lost == fewest:
                best.append((least_llr, least_score))
    if not best:
        raise ConfigError("no thresholds keep other speech from being taken for orders: the grammar allows too much")
    middle = np.median(np.array(best), axis=0)
    min_llr, min_command_score = min(best, key=lambda pair: float(np.abs(np.array(pair) - middle).sum()))
    # Where there is no text, the score is minus infinity.
    speech = np.maximum([result.score for result in clean_speech], -20.0)
    return replace(
        base,
        min_llr=round(float(min_llr), 2),
        min_command_score=round(float(min_command_score), 2),
        # Below it is the lowest share of clean speech, and room for what sounds otherwise: as much as to the median.
        min_score=round(float(2 * np.quantile(speech, MAX_REJECTED_SPEECH) - np.median(speech)), 2),
    )


def compare_measures(orders: Sequence[CommandResult], others: Sequence[CommandResult]) -> dict[str, float]:
    """How many orders each measure by itself loses, in shares, where it takes 1 % of everything else for an order."""

    def ratio(result: CommandResult, divisor: Callable[[Hypothesis, Hypothesis], float]) -> float:
        if result.command is None:
            return -np.inf
        difference = result.command.parts.acoustic - result.dictation.parts.acoustic
        return difference / max(1.0, divisor(result.command, result.dictation))

    measures: dict[str, Callable[[CommandResult], float]] = {
        "ratio": lambda result: ratio(result, lambda command, text: 1.0),
        "ratio / frame": lambda result: ratio(result, lambda command, text: command.token_end_frames[-1]),
        "ratio / token of the text": lambda result: ratio(result, lambda command, text: len(text.token_ids)),
        "ratio / token of the order": lambda result: result.llr,
        "order / token": lambda result: result.command_score,
    }
    lost = {}
    for name, measure in measures.items():
        values = sorted((measure(result) for result in others), reverse=True)
        threshold = values[int(0.01 * len(values))]
        lost[name] = float(np.mean([measure(result) <= threshold for result in orders]))
    return lost
