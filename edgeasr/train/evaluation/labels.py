"""Commands by their labels: accuracy, precision, recall, F1 and the confusion matrix.

For sets whose clips have a `label` in the manifest: each label stands for one sentence, or for several. What a system
recognised is the label whose sentence it is, letter by letter after normalisation, or none.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeasr.errors import ConfigError
from edgeasr.train.evaluation.bootstrap import FloatArray, Interval, resampled_sums
from edgeasr.train.evaluation.evaluate import Normaliser, Result
from edgeasr.train.manifest import Utterance

IntArray = npt.NDArray[np.int64]

# What stands in place of a label where a text is no command's.
NONE = "(none)"


@dataclass(frozen=True, kw_only=True)
class LabelFigures:
    """How one label fared.

    Attributes:
        label: The label.
        clips: How many clips have it.
        found: How many clips were recognised as it.
        right: How many of both.
    """

    label: str
    clips: int
    found: int
    right: int

    @property
    def precision(self) -> float:
        """Share of what was recognised as it that is it; 0 where nothing was."""
        return self.right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Share of its clips that were recognised as it; 0 where there is none."""
        return self.right / self.clips if self.clips else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        return 2 * self.right / (self.clips + self.found) if self.clips + self.found else 0.0


@dataclass(frozen=True, kw_only=True)
class LabelScores:
    """How the labels of a set fared.

    Attributes:
        accuracy: Share of clips with the right label.
        macro_f1: The mean F1 of the labels that are said or recognised: a rare one counts as much as a frequent one.
        macro_precision: The same of precision.
        macro_recall: The same of recall.
        none: Share of clips whose text is no command's.
        labels: The figures of each label, in the order of the alphabet.
        matrix: (num_labels, num_labels + 1) clips by their label and by the one that was recognised; the last column
            is that of `NONE`.
    """

    accuracy: Interval
    macro_f1: Interval
    macro_precision: float
    macro_recall: float
    none: float
    labels: tuple[LabelFigures, ...]
    matrix: IntArray

    @property
    def confused(self) -> list[tuple[str, str, int]]:
        """Clips by their label and the wrong one that was recognised, the most frequent first."""
        names = [*(figures.label for figures in self.labels), NONE]
        wrong = [
            (names[i], names[j], int(count)) for (i, j), count in np.ndenumerate(self.matrix) if i != j and count > 0
        ]
        return sorted(wrong, key=lambda item: (-item[2], item[:2]))


def label_texts(utterances: Iterable[Utterance], normalise: Normaliser) -> dict[str, str]:
    """The label that each normalised sentence stands for.

    Raises:
        ConfigError: One sentence has two labels: no recogniser of words could tell them apart.
    """
    labels: dict[str, str] = {}
    for utterance in utterances:
        if utterance.label is not None and utterance.text:
            text = normalise(utterance.text)
            if labels.setdefault(text, utterance.label) != utterance.label:
                raise ConfigError(
                    f"{utterance.id}: {text!r} has the label {utterance.label!r}, but {labels[text]!r} in other clips"
                )
    return labels


def score_labels(
    results: Sequence[Result], labels: Mapping[str, str], *, by_speaker: bool = False, seed: int = 0
) -> LabelScores | None:
    """Compares labels with the texts that were recognised.

    Args:
        results: Of one system on one set; clips without a label are left out.
        labels: See `label_texts`.
        by_speaker: Intervals for other speakers, not only for other clips of the same ones.
        seed: Of the resampling.

    Returns:
        The figures; None where no clip has a label.
    """
    names = sorted({*labels.values(), *(r.utterance.label for r in results if r.utterance.label is not None)})
    number = {name: place for place, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names) + 1), np.int64)
    # For each unit of the resampling: clips with each label, recognised as it, both; all clips.
    units: dict[Hashable, FloatArray] = {}
    for result in results:
        utterance = result.utterance
        if utterance.label is None:
            continue
        wanted = number[utterance.label]
        label = labels.get(result.hypothesis)
        found = len(names) if label is None else number[label]
        matrix[wanted, found] += 1
        unit = (utterance.speaker,) if by_speaker and utterance.speaker else utterance.id
        sums = units.setdefault(unit, np.zeros(3 * len(names) + 1))
        sums[wanted] += 1
        if label is not None:
            sums[len(names) + found] += 1
            sums[2 * len(names) + found] += wanted == found
        sums[-1] += 1
    if not units:
        return None
    total = np.sum(list(units.values()), axis=0)
    resampled = resampled_sums([np.stack(list(units.values()))], seed=seed)
    accuracy, macro_f1 = _rates(total[None])
    intervals = (None, None) if resampled is None else _rates(resampled)
    clips, found_as, right = (part.astype(int).tolist() for part in np.split(total[:-1], 3))
    figures = tuple(
        LabelFigures(label=name, clips=clips[i], found=found_as[i], right=right[i]) for name, i in number.items()
    )
    met = [f for f in figures if f.clips or f.found]
    return LabelScores(
        accuracy=Interval.of(float(accuracy[0]), intervals[0]),
        macro_f1=Interval.of(float(macro_f1[0]), intervals[1]),
        macro_precision=float(np.mean([f.precision for f in met])),
        macro_recall=float(np.mean([f.recall for f in met])),
        none=float(matrix[:, -1].sum() / matrix.sum()),
        labels=figures,
        matrix=matrix,
    )


def _rates(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Accuracy and macro F1 of sums (num_rows, 3 x num_labels + 1); a label that a row lacks does not count in it."""
    clips, found, right = np.split(sums[:, :-1], 3, axis=1)
    both = clips + found
    f1 = np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0)
    return right.sum(axis=1) / sums[:, -1], f1.sum(axis=1) / np.maximum(1, (both > 0).sum(axis=1))
