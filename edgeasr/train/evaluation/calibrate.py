"""Calibration: what the evidence for a word is worth, fitted on transcribed clips and measured on others.

Clips are recognised in each way of decoding, clean and with noise, from log-probs that are computed once. A word is
right if it is matched along a shortest edit path to the reference.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgeasr.bundle import Bundle
from edgeasr.command import COMMAND, CommandRecognizer
from edgeasr.confidence import FEATURES, MONOTONE, Calibration, Evidence, features
from edgeasr.decoder import Hotwords, Lexicon
from edgeasr.errors import ConfigError
from edgeasr.grammar import Grammar
from edgeasr.lm import LanguageModel
from edgeasr.recognizer import NO_LM, Recognizer
from edgeasr.train.evaluation.bootstrap import FloatArray
from edgeasr.train.evaluation.evaluate import EvaluationSet, Normaliser
from edgeasr.train.evaluation.hotwords import choose_hotwords, model_vocabulary, text_vocabulary
from edgeasr.train.evaluation.log_probs import HeardClip
from edgeasr.train.evaluation.reliability import IntArray, Judged, Reliability, measure
from edgeasr.train.evaluation.score import matches
from edgeasr.words import WordDecoder

FOLDS = 5
# Candidates for `Calibration.score_scale`: what a hypothesis is worth beside another one is a matter of how often the
# frames' errors are the same, for CTC takes them to be independent.
SCORE_SCALES = (1.0, 0.5, 0.3, 0.2, 0.1)
# Keeps weights finite where a feature separates all words, or never changes. In units of a standard deviation.
RIDGE = 1e-4
# Of a lexicon where none is given: as many as people's lexicons have, and not all that the language model knows, for
# that would be decoding without a lexicon.
LEXICON_WORDS = 10_000
# Longer sentences are no commands.
COMMAND_WORDS = 8
# Values of a slot.
SLOT_VALUES = 16
# Words without which no seven numbers can be fitted.
LEAST_WORDS = 200
# What the regression gets wrong is put right at so many places at most, each the mean of at least so many words.
MOST_KNOTS = 20
WORDS_PER_KNOT = 200


class WayOfDecoding(Protocol):
    """A `Recognizer`, or a `CommandRecognizer` of which only the words of commands count."""

    @property
    def bundle(self) -> Bundle:
        """The bundle whose model hears."""

    @property
    def mode(self) -> str:
        """The way of decoding, one of `confidence.MODES`."""

    def word_decoder(self, *, hotwords: Hotwords | None = None, keep_evidence: bool = False) -> WordDecoder:
        """Starts what makes words of rows of the model's output."""


def ways_of_decoding(
    greedy: Recognizer,
    sets: Sequence[EvaluationSet],
    normalise: Normaliser,
    modes: Sequence[str] | None = None,
    lexicon: Path | None = None,
    grammar: Path | None = None,
) -> dict[str, WayOfDecoding]:
    """Each way of decoding that the bundle has what it takes for, by its mode.

    Args:
        greedy: A recogniser with the bundle.
        sets: Every other short sentence of these makes the grammar where none is given.
        normalise: Of the language.
        modes: Only these; None for all.
        lexicon: The words that decoding with a lexicon knows; None for the most frequent ones of the language model.
        grammar: The commands.

    Raises:
        ConfigError: A mode that was asked for is not there.
    """
    folder = greedy.bundle.path
    beam, default = Recognizer(folder, decoder="beam", lm=NO_LM), Recognizer(folder, decoder="beam")
    ways: dict[str, WayOfDecoding] = {way.mode: way for way in (greedy, beam, default)}
    models = default.context.lm if default.context is not None else ()
    if lexicon is not None or models:
        words = (
            Lexicon.read(lexicon)
            if lexicon is not None
            else Lexicon(model_vocabulary(models[0][0], greedy.bundle.tokens)[:LEXICON_WORDS])
        )
        ways["lexicon"] = Recognizer(folder, decoder="beam", lexicon=words)
    if grammar is not None:
        ways["grammar"] = CommandRecognizer(default, Grammar.from_file(grammar))
    elif has_short_sentences(sets, normalise):
        ways["grammar"] = CommandRecognizer(default, sentence_grammar(sets, normalise))
    unknown = [mode for mode in modes or () if mode not in ways]
    if unknown:
        raise ConfigError(f"mode {unknown[0]!r} is not one that {folder} can decode with: {', '.join(ways)}")
    return {mode: way for mode, way in ways.items() if not modes or mode in modes}


def takes_hotwords(mode: str) -> bool:
    """Whether hotwords make a difference."""
    return mode not in ("greedy", "grammar")


def clips_for(
    way: WayOfDecoding, clips: Sequence[HeardClip], normalise: Normaliser, most_words: int | None = COMMAND_WORDS
) -> list[HeardClip]:
    """The clips that a way of decoding is for: with a grammar those that are taken for a command.

    Only commands have confidences of the grammar's search, and of other clips it makes worse than of these.

    Args:
        way: How to decode.
        clips: What is there.
        normalise: Of the language.
        most_words: With a grammar longer clips are left out unheard: they are not what it is for. None: any length.
    """
    if not isinstance(way, CommandRecognizer):
        return list(clips)
    decoder = way.decoder()
    return [
        clip
        for clip in clips
        if (most_words is None or len(normalise(clip.utterance.text or "").split()) <= most_words)
        and decoder.decode(clip.rows).kind == COMMAND
    ]


@dataclass(frozen=True, kw_only=True)
class JudgedWord:
    """A recognised word, what is known of it, and whether it was right."""

    evidence: Evidence
    confidence: float
    right: bool


@dataclass(frozen=True, kw_only=True)
class JudgedClip:
    """A clip as it was recognised: its words. Times are of no interest here."""

    set_name: str
    condition: str
    clip: str
    speaker: str | None
    words: tuple[JudgedWord, ...]

    @property
    def unit(self) -> str:
        """What must not be in two folds: the speaker, or the clip where that is unknown."""
        return self.speaker or self.clip


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A calibration, and how it and the uncalibrated confidences do on words that it was not fitted on.

    Attributes:
        calibration: Fitted on all words.
        before: Uncalibrated, by condition; all conditions together under the empty name.
        after: Calibrated, each word by a calibration that was fitted without its speaker.
    """

    calibration: Calibration
    before: Mapping[str, Reliability]
    after: Mapping[str, Reliability]


def judge(
    recognizer: WayOfDecoding,
    clips: Iterable[HeardClip],
    normalise: Normaliser,
    calibration: Calibration | None,
    *,
    hotwords: Hotwords | None = None,
) -> list[JudgedClip]:
    """Decodes clips and compares their words with the references.

    Args:
        recognizer: How to decode.
        clips: Heard by the recogniser's bundle.
        normalise: Of the language.
        calibration: What makes confidences; None leaves them uncalibrated.
        hotwords: Phrases to listen for; None for those of the recogniser, if it has any.
    """
    judged = []
    for clip in clips:
        words = recognizer.word_decoder(hotwords=hotwords, keep_evidence=True)
        words.calibration = calibration
        words.accept(clip.rows)
        words.finish()
        # A word may be none to the normaliser, or several.
        parts = [normalise(word.text).split() for word in words.committed]
        place = [number for number, part in enumerate(parts) for _ in part]
        hypothesis = [word for part in parts for word in part]
        matched = {j for _, j in matches(normalise(clip.utterance.text or "").split(), hypothesis)}
        wrong = {place[j] for j in range(len(hypothesis)) if j not in matched}
        judged.append(
            JudgedClip(
                set_name=clip.set_name,
                condition=clip.condition.name,
                clip=clip.utterance.id,
                speaker=clip.utterance.speaker,
                words=tuple(
                    JudgedWord(evidence=evidence, confidence=word.confidence, right=number not in wrong)
                    for number, (word, evidence) in enumerate(zip(words.committed, words.evidence, strict=True))
                    if parts[number]
                ),
            )
        )
    return judged


def fit(recognizer: WayOfDecoding, clips: Sequence[HeardClip], normalise: Normaliser) -> Fit:
    """Fits the calibration of the recogniser's way of decoding.

    Args:
        recognizer: How to decode.
        clips: What to fit on; by clips of about `FOLDS` speakers at least, so that it can be cross-validated.
        normalise: Of the language.

    Raises:
        ConfigError: There are too few words, or not both right and wrong ones.
    """
    best: tuple[float, Calibration, FloatArray, list[JudgedClip]] | None = None
    scales = SCORE_SCALES if recognizer.mode != "greedy" else SCORE_SCALES[:1]
    for scale in scales:
        # Weights of zero: only the scale is at work while evidence is collected.
        neutral = Calibration(bias=0.0, weights=dict.fromkeys(FEATURES, 0.0), score_scale=scale)
        judged = judge(recognizer, clips, normalise, neutral)
        table = np.array([features(word.evidence) for clip in judged for word in clip.words])
        right = np.array([word.right for clip in judged for word in clip.words], np.float64)
        if len(right) < LEAST_WORDS or not 0 < right.sum() < len(right):
            raise ConfigError(
                f"{len(right)} words were recognised, {int(right.sum())} of them right: too few to fit a calibration "
                f"on (expected {LEAST_WORDS}, right and wrong ones)"
            )
        weight = set_weights(judged)
        confidence = cross_validated(table, right, weight, fold_numbers(judged))
        loss = log_loss(confidence, right)
        if best is not None and loss >= best[0]:
            break  # there is one best scale, and each one that is tried decodes everything
        best = (loss, replace(fit_calibration(table, right, weight), score_scale=scale), confidence, judged)
    assert best is not None
    _, calibration, confidence, judged = best
    products = np.array([word.evidence.posterior_product for clip in judged for word in clip.words])
    before, after = by_condition(judged, products), by_condition(judged, confidence)
    return Fit(
        calibration=replace(calibration, fit=_summary(judged, before[""], after[""])), before=before, after=after
    )


def fit_calibration(table: FloatArray, right: FloatArray, weight: FloatArray) -> Calibration:
    """Fits the regression, and then the knots on what it says.

    Args:
        table: (num_words, num_features) as `confidence.features` gives them.
        right: (num_words,) 1 or 0.
        weight: (num_words,) what each word counts; 1 on average.
    """
    regression = fit_regression(table, right, weight)
    return replace(regression, knots=fit_knots(apply(regression, table), right, weight))


def fit_regression(table: FloatArray, right: FloatArray, weight: FloatArray) -> Calibration:
    """Logistic regression in which evidence cannot count against a word; arguments as for `fit_calibration`."""
    mean, deviation = table.mean(axis=0), table.std(axis=0)
    used = deviation > 1e-9  # a feature that never changes, such as the share of a beam of one, tells nothing
    weights = np.zeros(len(FEATURES))
    while True:
        # Newton's method on the features in units of their deviation; one that comes out with the wrong sign is of no
        # use beside the others, and goes.
        columns = np.flatnonzero(used)
        scaled = np.column_stack([(table[:, columns] - mean[columns]) / deviation[columns], np.ones(len(table))])
        solution = _newton(scaled, right, weight)
        wrong = [c for c, w in zip(columns, solution, strict=False) if w < 0 and FEATURES[c] in MONOTONE]
        if not wrong:
            break
        used[wrong] = False
    weights[columns] = solution[:-1] / deviation[columns]
    bias = solution[-1] - float(weights @ mean)
    # Rounded as they are written: the calibration in the bundle is the one that was measured.
    return Calibration(
        bias=round(bias, 5),
        weights={name: round(float(value), 5) for name, value in zip(FEATURES, weights, strict=True)},
    )


def _newton(scaled: FloatArray, right: FloatArray, weight: FloatArray, *, steps: int = 50) -> FloatArray:
    penalty = np.full(scaled.shape[1], RIDGE)
    penalty[-1] = 0.0
    solution = np.zeros(scaled.shape[1])
    for _ in range(steps):
        probability = _logistic(scaled @ solution)
        gradient = scaled.T @ (weight * (probability - right)) / len(right) + penalty * solution
        curvature = (scaled.T * (weight * probability * (1 - probability))) @ scaled / len(right)
        step = np.linalg.solve(curvature + np.diag(penalty + 1e-9), gradient)
        solution = solution - np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    return solution


def fit_knots(said: FloatArray, right: FloatArray, weight: FloatArray) -> tuple[tuple[float, float], ...]:
    """Isotonic regression on the means of bins of equal weight (pool adjacent violators; Zadrozny and Elkan 2002).

    Args:
        said: (num_words,) what the regression says.
        right: (num_words,) 1 or 0.
        weight: (num_words,) what each word counts.

    Returns:
        The knots of a calibration; none where there are too few words.
    """
    num_bins = min(MOST_KNOTS, len(said) // WORDS_PER_KNOT)
    if num_bins < 2:
        return ()
    order = np.argsort(said, kind="stable")
    passed = np.cumsum(weight[order])
    number = np.minimum((passed / passed[-1] * num_bins).astype(np.int64), num_bins - 1)
    total = np.bincount(number, weight[order], num_bins)
    x = np.bincount(number, (weight * said)[order], num_bins)
    # Half a right and half a wrong word more keep the ends off 0 and 1.
    y = np.bincount(number, (weight * right)[order], num_bins) + 0.5
    blocks: list[tuple[float, float, float]] = []  # sums of weights, of what is said, and of what is right
    for block in zip(total.tolist(), x.tolist(), y.tolist(), strict=True):
        blocks.append(block)
        # Neighbours that would be one knot when they are written down are pooled, too.
        while len(blocks) > 1 and (
            _share(blocks[-2]) >= _share(blocks[-1]) or _said(blocks[-1]) - _said(blocks[-2]) < 2e-5
        ):
            last, before = blocks.pop(), blocks.pop()
            blocks.append((before[0] + last[0], before[1] + last[1], before[2] + last[2] - 0.5))
    return tuple((round(_said(block), 5), round(_share(block), 5)) for block in blocks)


def _said(block: tuple[float, float, float]) -> float:
    return block[1] / block[0]


def _share(block: tuple[float, float, float]) -> float:
    return block[2] / (block[0] + 1)


def set_weights(judged: Sequence[JudgedClip]) -> FloatArray:
    """(num_words,) what each word counts, 1 on average: all sets the same together, however large they are."""
    names = np.array([clip.set_name for clip in judged for _ in clip.words])
    counts = {name: int((names == name).sum()) for name in set(names.tolist())}
    return np.array([len(names) / len(counts) / counts[name] for name in names.tolist()])


def fold_numbers(judged: Sequence[JudgedClip]) -> IntArray:
    """(num_words,) the fold of each word: speakers are dealt to folds by their number of words, the largest first."""
    words: dict[str, int] = {}
    for clip in judged:
        words[clip.unit] = words.get(clip.unit, 0) + len(clip.words)
    if len(words) < 2:
        raise ConfigError("the clips are of one speaker: a calibration cannot be cross-validated on them")
    sizes = [0] * min(FOLDS, len(words))
    fold: dict[str, int] = {}
    for unit in sorted(words, key=lambda unit: (-words[unit], unit)):
        fold[unit] = sizes.index(min(sizes))
        sizes[fold[unit]] += words[unit]
    return np.array([fold[clip.unit] for clip in judged for _ in clip.words])


def cross_validated(table: FloatArray, right: FloatArray, weight: FloatArray, folds: IntArray) -> FloatArray:
    """(num_words,) the confidence of each word by a calibration that was fitted on the other folds."""
    confidence = np.zeros(len(right))
    for number in np.unique(folds):
        out = folds == number
        confidence[out] = apply(fit_calibration(table[~out], right[~out], weight[~out]), table[out])
    return confidence


def apply(calibration: Calibration, table: FloatArray) -> FloatArray:
    """(num_words,) what `Calibration.probability` says of words with these features (num_words, num_features)."""
    weights = np.array([calibration.weights[name] for name in FEATURES])
    said = _logistic(np.clip(table @ weights + calibration.bias, -10, 10))
    corners = np.array([(0.0, 0.0), *calibration.knots, (1.0, 1.0)])
    return np.asarray(np.interp(said, corners[:, 0], corners[:, 1]))


def log_loss(confidence: FloatArray, right: FloatArray) -> float:
    """Mean negative natural log of the probability of what came out."""
    return float(-np.mean(np.log(np.where(right > 0, confidence, 1 - confidence))))


def by_condition(judged: Sequence[JudgedClip], confidence: FloatArray) -> dict[str, Reliability]:
    """The reliability of the words of each condition, and of all under the empty name."""
    words = gather(judged, confidence)
    conditions = np.array([clip.condition for clip in judged for _ in clip.words])
    chosen = {"": np.ones(len(words), bool)} | {name: conditions == name for name in dict.fromkeys(conditions.tolist())}
    found = {name: measure(part(words, mask)) for name, mask in chosen.items()}
    return {name: reliability for name, reliability in found.items() if reliability is not None}


def gather(judged: Sequence[JudgedClip], confidence: FloatArray | None = None) -> Judged:
    """The words of clips in one table, with their own confidences or with others."""
    words = [(word, number) for number, clip in enumerate(judged) for word in clip.words]
    own = np.array([word.confidence for word, _ in words], np.float64)
    return Judged(
        confidence=own if confidence is None else confidence,
        right=np.array([word.right for word, _ in words], np.float64),
        clip=np.array([number for _, number in words], np.int64),
    )


def part(words: Judged, mask: Any) -> Judged:
    """Some of the words."""
    return Judged(confidence=words.confidence[mask], right=words.right[mask], clip=words.clip[mask])


@dataclass(frozen=True, kw_only=True)
class SegmentError:
    """How far the confidence of whole clips, the share of their words expected to be right, is from that share.

    Attributes:
        clips: Clips with at least one word.
        bias: Mean of expected minus true.
        error: Mean of the absolute difference.
        guess: The same error for somebody who always states the mean share of right words.
    """

    clips: int
    bias: float
    error: float
    guess: float


def segment_error(judged: Sequence[JudgedClip]) -> SegmentError:
    """See `SegmentError`."""
    pairs = [
        (np.mean([word.confidence for word in clip.words]), np.mean([word.right for word in clip.words]))
        for clip in judged
        if clip.words
    ]
    expected, true = np.array(pairs, np.float64).reshape(-1, 2).T
    if not len(true):
        return SegmentError(clips=0, bias=0.0, error=0.0, guess=0.0)
    return SegmentError(
        clips=len(true),
        bias=float(np.mean(expected - true)),
        error=float(np.mean(np.abs(expected - true))),
        guess=float(np.mean(np.abs(true.mean() - true))),
    )


@dataclass(frozen=True, kw_only=True)
class Abstention:
    """What `min_confidence` does to words.

    Attributes:
        min_confidence: The threshold.
        kept: The share of words that are accepted.
        right_among_kept: The share of these that is right; 1 where there are none.
        right_kept: The share of right words that are accepted.
        wrong_kept: The share of wrong words that are accepted.
    """

    min_confidence: float
    kept: float
    right_among_kept: float
    right_kept: float
    wrong_kept: float


def abstention(words: Judged, thresholds: Sequence[float] = (0.3, 0.5, 0.7, 0.9)) -> list[Abstention]:
    """What some thresholds do to words that are both right and wrong."""
    rows = []
    for least in thresholds:
        kept = words.confidence >= least
        rows.append(
            Abstention(
                min_confidence=least,
                kept=float(kept.mean()),
                right_among_kept=float(words.right[kept].mean()) if kept.any() else 1.0,
                right_kept=float(kept[words.right > 0].mean()),
                wrong_kept=float(kept[words.right == 0].mean()),
            )
        )
    return rows


@dataclass(frozen=True, kw_only=True)
class Report:
    """A way of decoding, measured on the clips of one condition.

    Attributes:
        system: What tables call it: the mode, and whether there were hotwords.
        condition: How the clips were heard.
        before: With uncalibrated confidences; None where no word was recognised, or none wrong or right.
        after: With the bundle's calibration; None also where there is none.
        segments: Of the confidences of whole clips; as `after`.
        abstention: What `min_confidence` does; as `after`.
        uncalibrated: The words with uncalibrated confidences, for pictures.
        calibrated: The words with calibrated ones; None where there is no calibration.
    """

    system: str
    condition: str
    before: Reliability | None
    after: Reliability | None
    segments: SegmentError | None
    abstention: list[Abstention] = field(default_factory=list)
    uncalibrated: Judged
    calibrated: Judged | None


def report(
    recognizer: WayOfDecoding, clips: Sequence[HeardClip], normalise: Normaliser, *, hotwords: Hotwords | None = None
) -> Report:
    """Measures the recogniser's confidences as they are, and as they would be without calibration.

    Args:
        recognizer: How to decode; its bundle's calibration is used.
        clips: All of one condition.
        normalise: Of the language.
        hotwords: Phrases to listen for.
    """
    calibration = recognizer.bundle.calibration.get(recognizer.mode)
    judged = judge(recognizer, clips, normalise, calibration, hotwords=hotwords)
    products = np.array([word.evidence.posterior_product for clip in judged for word in clip.words])
    uncalibrated = gather(judged, products)
    calibrated = None if calibration is None else gather(judged)
    after = None if calibrated is None else measure(calibrated)
    return Report(
        system=recognizer.mode + (", hotwords" if hotwords is not None else ""),
        condition=clips[0].condition.name if clips else "",
        before=measure(uncalibrated),
        after=after,
        segments=None if after is None else segment_error(judged),
        abstention=[] if after is None or calibrated is None else abstention(calibrated),
        uncalibrated=uncalibrated,
        calibrated=calibrated,
    )


def report_hotwords(
    bundle: Bundle, said: Sequence[EvaluationSet], unsaid: Sequence[EvaluationSet], normalise: Normaliser, count: int
) -> Hotwords:
    """Rare words that are said, and as many that are not.

    Args:
        bundle: The words that its language model has are the known ones.
        said: What is measured.
        unsaid: Other sets, for words that are not said; they are the known ones where there is no language model.
        normalise: Of the language.
        count: Of each kind; fewer where there are not so many.

    Raises:
        ConfigError: None is said.
    """
    references, others = ([normalise(u.text or "") for s in sets for u in s.utterances] for sets in (said, unsaid))
    if bundle.language_model_path is not None:
        vocabulary = model_vocabulary(LanguageModel.open(bundle.language_model_path), bundle.tokens)
    else:
        vocabulary = text_vocabulary(others)
    present, absent = choose_hotwords(references, others, vocabulary, count)
    return Hotwords([*present, *absent])


def sentence_grammar(sets: Sequence[EvaluationSet], normalise: Normaliser) -> Grammar:
    """A grammar of every other short sentence of the sets, so that half of what is said is no command.

    Every third word is a slot with some values, as in grammars for commands: beside the word that is said there are
    others that could be said in its place, and errors within a command are possible.
    """
    sentences = sorted({text for s in sets for u in s.utterances if is_short(text := normalise(u.text or ""))})[::2]
    words = sorted({word for text in sentences for word in text.split()}, key=lambda word: zlib.crc32(word.encode()))
    lists = [words[begin : begin + SLOT_VALUES] for begin in range(0, len(words), SLOT_VALUES)]
    slot = {word: f"{{words{number}}}" for number, values in enumerate(lists) for word in values}
    lines = ["intent sentence:"]
    for text in sentences:
        parts = [slot[word] if place % 3 == 1 else word for place, word in enumerate(text.split())]
        lines.append(f"  {' '.join(parts)}")
    for number, values in enumerate(lists):
        lines += [f"list words{number}:", *(f"  {word}" for word in values)]
    return Grammar.from_text("\n".join(lines) + "\n")


def has_short_sentences(sets: Sequence[EvaluationSet], normalise: Normaliser) -> bool:
    """Whether there is anything to make a grammar of."""
    return any(is_short(normalise(u.text or "")) for s in sets for u in s.utterances)


def is_short(text: str) -> bool:
    """Whether a text has as many words as a command may have."""
    return 0 < len(text.split()) <= COMMAND_WORDS


def _summary(judged: Sequence[JudgedClip], before: Reliability, after: Reliability) -> dict[str, Any]:
    return {
        "sets": list(dict.fromkeys(clip.set_name for clip in judged)),
        "conditions": list(dict.fromkeys(clip.condition for clip in judged)),
        "clips": len({clip.clip for clip in judged}),
        "speakers": len({clip.unit for clip in judged}),
        "words": after.words,
        "right": round(after.right, 4),
        "cross_validated": {
            "ece": round(after.ece.value, 4),
            "nce": round(after.nce, 4),
            "ece_uncalibrated": round(before.ece.value, 4),
            "nce_uncalibrated": round(before.nce, 4),
        },
    }


def _logistic(values: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-values)))
