"""Measures how much sooner or later a student emits its words than a recipe's teacher.

    python tools/measure_spikes.py en-small-distilled librispeech.dev commonvoice.dev --limit 60 --cache cache

A word that both have heard is emitted where its last token is. Printed are quantiles of the student's time less the
teacher's, in frames of the student's blocks: the recipe's `losses.tokens.shifts` should reach over most of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeasr.cli.common import add_recognizer_arguments, fail, load_recognizer, positive
from edgeasr.diagnosis import align
from edgeasr.errors import ConfigError, EdgeAsrError
from edgeasr.train.clips import read_audio
from edgeasr.train.evaluation.conditions import Condition
from edgeasr.train.evaluation.evaluate import find_sets, normaliser
from edgeasr.train.evaluation.log_probs import LogProbs
from edgeasr.train.manifest import data_dir
from edgeasr.train.recipe import find_recipe, read_recipe
from edgeasr.train.student import STEM_STRIDE
from edgeasr.train.teachers.teacher import FloatArray, Frames, Said, Teacher, load_teacher
from edgeasr.train.teachers.transducer import WORD_START

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a recipe with a teacher")
    parser.add_argument("sets", nargs="+", metavar="SET", help="sets such as librispeech.dev, or manifests")
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only N clips of each set, evenly spread")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="log-probs are kept here (%(default)s)")
    add_recognizer_arguments(parser)
    args = parser.parse_args(argv)
    try:
        data = args.data or data_dir()
        recipe = read_recipe(find_recipe(args.recipe))
        if recipe.teacher is None:
            raise ConfigError(f"the recipe {recipe.name} has no [teacher]")
        teacher = load_teacher(recipe.teacher, data, recipe.tokens)
        recognizer = load_recognizer(args)
        log_probs = LogProbs(recognizer, data, args.cache)
        bundle = recognizer.bundle
        frame_s = recipe.frontend.hop_length / recipe.frontend.sample_rate
        for chosen in find_sets(data, args.sets, normaliser(bundle.language), limit=args.limit):
            apart: list[float] = []
            for clip in log_probs.load(chosen, Condition()):
                row_s = frame_s * bundle.model.subsampling_factor
                student = student_words(clip.rows, bundle.tokens.names, bundle.tokens.blank_id, row_s)
                said = teacher.hear(*read_audio(clip.utterance.audio), clip.utterance.text)
                apart += differences(student, teacher_words(said, teacher), STEM_STRIDE * frame_s)
            quantiles = zip(QUANTILES, np.quantile(apart, QUANTILES), strict=True)
            values = "  ".join(f"{share:.0%} {value:+.1f}" for share, value in quantiles)
            print(f"{chosen.name}, {len(apart)} words: {values}")
    except (EdgeAsrError, OSError) as error:
        return fail(error)
    return 0


def student_words(rows: FloatArray, tokens: Sequence[str], blank_id: int, row_s: float) -> list[tuple[str, float]]:
    """The words of the greedy path, each with the time at which its last character is first emitted."""
    best = rows.argmax(1)
    emitted = [
        (tokens[token], (row + 0.5) * row_s)
        for row, token in enumerate(best.tolist())
        if token != blank_id and (row == 0 or best[row - 1] != token)
    ]
    return _words(emitted, "|")


def teacher_words(said: Said, teacher: Teacher) -> list[tuple[str, float]]:
    """The words of the teacher's path, each with the time of its last token."""
    times: Frames = teacher.token_frames
    return _words(
        [
            (teacher.tokens[token].replace(WORD_START, "|").lower(), times.first_s + frame * times.step_s)
            for frame, token in enumerate(said.token_ids.tolist())
            if token != teacher.blank_id
        ],
        "|",
    )


def _words(emitted: Sequence[tuple[str, float]], delimiter: str) -> list[tuple[str, float]]:
    words: list[tuple[str, float]] = []
    current = ""
    for token, time_s in emitted:
        if token.startswith(delimiter):
            current = ""
        letters = token.removeprefix(delimiter)
        if letters and current:
            words[-1] = (current + letters, time_s)
        elif letters:
            words.append((letters, time_s))
        current += letters
    return words


def differences(
    student: Sequence[tuple[str, float]], teacher: Sequence[tuple[str, float]], frame_s: float
) -> list[float]:
    """The student's time less the teacher's for each word that both have, in frames."""
    pairs = align([word for word, _ in teacher], [word for word, _ in student])
    return [
        (student[there][1] - teacher[here][1]) / frame_s
        for here, there in sorted(pairs.items())
        if student[there][0] == teacher[here][0]
    ]


if __name__ == "__main__":
    sys.exit(main())
