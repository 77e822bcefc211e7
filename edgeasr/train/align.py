"""When each word of a transcript is said: a student listens, and its CTC path along the transcript tells.

A student's tokens tell where a word is, not where it begins and ends. Two words are parted where the sound between
their tokens is quietest; where there is a pause, the bundle's own times of words are taken.
"""

from __future__ import annotations

import numpy as np

from edgeasr.recognizer import Recognizer
from edgeasr.train.augmentation.transform import FloatArray
from edgeasr.train.evaluation.log_probs import log_probs
from edgeasr.train.manifest import TimedWord
from edgeasr.waveform import Waveform

# What lies between two words' times is a pause from here on.
PAUSE_S = 0.1
# The quietest place is looked for in steps of 5 ms, and so far beyond the times where these touch or overlap.
STEP_S = 0.005
REACH_S = 0.03


def align_tokens(rows: FloatArray, token_ids: list[int], blank_id: int) -> tuple[list[tuple[int, int]], float] | None:
    """The best CTC path along a sequence of tokens, by the Viterbi algorithm (Graves et al. 2006, section 4.1).

    Args:
        rows: (num_rows, vocab_size) log-probs.
        token_ids: The tokens, without blanks.
        blank_id: The blank.

    Returns:
        The first row of each token and the one after its last, and the path's log-prob; None if there are too few rows.
    """
    num_rows, num_states = len(rows), 2 * len(token_ids) + 1
    labels = np.full(num_states, blank_id)
    labels[1::2] = token_ids
    # From a token to the next without a blank between: not if they are the same.
    skips = np.zeros(num_states, bool)
    skips[3::2] = labels[3::2] != labels[1:-2:2]
    scores = np.full(num_states, -np.inf)
    scores[0] = 0.0
    came = np.zeros((num_rows, num_states), np.int8)
    for number, row in enumerate(rows):
        stay = scores
        step = np.concatenate([[-np.inf], scores[:-1]])
        skip = np.where(skips, np.concatenate([[-np.inf, -np.inf], scores[:-2]])[:num_states], -np.inf)
        if number == 0:
            # A path begins with a blank or with the first token.
            stay = np.full(num_states, -np.inf)
            stay[:2] = 0.0
            step, skip = np.full(num_states, -np.inf), np.full(num_states, -np.inf)
        choices = np.stack([stay, step, skip])
        came[number] = choices.argmax(axis=0)
        scores = choices.max(axis=0) + row[labels]
    ends = [num_states - 1, num_states - 2] if token_ids else [0]
    state = max(ends, key=lambda end: scores[end])
    score = float(scores[state])
    if not num_rows or not np.isfinite(score):
        return None
    spans = [(num_rows, 0)] * len(token_ids)
    for number in range(num_rows - 1, -1, -1):
        if state % 2:
            first, last = spans[state // 2]
            spans[state // 2] = (min(first, number), max(last, number + 1))
        if number:
            state -= int(came[number, state])
    return spans, score


def align_words(recognizer: Recognizer, waveform: Waveform, text: str) -> tuple[tuple[TimedWord, ...], float] | None:
    """When the words of a transcript are said.

    Args:
        recognizer: With a student of characters.
        waveform: (num_samples,) float32 at its sample rate.
        text: The words, separated by single spaces, in characters of its token table.

    Returns:
        The words, and the path's log-prob per row: the nearer to 0, the surer is the student that this was said; None
        if the text has other characters, or no path is so short.
    """
    bundle, timing = recognizer.bundle, recognizer.timing
    tokens = {name: number for number, name in enumerate(bundle.tokens.names)}
    letters = text.replace(" ", bundle.tokens.word_delimiter)
    if not letters or any(letter not in tokens for letter in letters):
        return None
    rows = log_probs(recognizer, waveform)
    found = align_tokens(rows.astype(np.float64), [tokens[letter] for letter in letters], bundle.tokens.blank_id)
    if found is None:
        return None
    spans, score = found
    level = _levels(waveform, round(STEP_S * bundle.sample_rate))
    duration_s = len(waveform) / bundle.sample_rate
    words: list[TimedWord] = []
    place = 0
    for word in text.split(" "):
        first, last = spans[place][0], spans[place + len(word) - 1][1]
        start_s = float(np.clip(first * timing.frame_s + timing.start_offset_s, 0, duration_s))
        end_s = float(np.clip(last * timing.frame_s + timing.end_offset_s, start_s, duration_s))
        if words and start_s - words[-1].end_s < PAUSE_S:
            low, high = sorted((words[-1].end_s, start_s))
            cut_s = _quietest(level, max(low - REACH_S, words[-1].start_s), min(high + REACH_S, end_s))
            words[-1] = words[-1]._replace(end_s=cut_s)
            start_s = cut_s
        words.append(TimedWord(word, start_s, max(start_s, end_s)))
        place += len(word) + 1
    rounded = tuple(TimedWord(word.text, round(word.start_s, 3), round(word.end_s, 3)) for word in words)
    return rounded, score / len(rows)


def _levels(waveform: Waveform, step: int) -> FloatArray:
    """Energies of four steps around each step."""
    energies = np.square(waveform[: len(waveform) // step * step], dtype=np.float64).reshape(-1, step).sum(axis=1)
    smoothed: FloatArray = np.convolve(energies, np.ones(5), "same")[: len(energies)]
    return smoothed


def _quietest(levels: FloatArray, low_s: float, high_s: float) -> float:
    """The middle of the quietest step between two times."""
    first, last = int(np.ceil(low_s / STEP_S)), int(high_s / STEP_S)
    between = levels[first:last]
    if not between.size:
        return (low_s + max(low_s, high_s)) / 2
    return (first + int(between.argmin()) + 0.5) * STEP_S
