"""Measures a bundle on joined clips: long streams, and word times.

    python tools/measure_joined.py long-form                  # WER of one stream per speaker against clip by clip
    python tools/measure_joined.py word-times                 # median error of word starts and ends
    python tools/measure_joined.py fit-timing --write         # fits the bundle's timing on train clips

`edgeasr/train/evaluation/joined.py` says how the true word boundaries are found.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgeasr.bundle import update_bundle
from edgeasr.cli.common import add_recognizer_arguments, fail, load_recognizer, positive
from edgeasr.cli.progress import ProgressBar
from edgeasr.errors import EdgeAsrError
from edgeasr.train.evaluation.bootstrap import FloatArray
from edgeasr.train.evaluation.evaluate import find_sets, normaliser
from edgeasr.train.evaluation.joined import (
    WordTimeErrors,
    fit_timing,
    measure_long_form,
    measure_word_times,
    relative_difference,
)
from edgeasr.train.evaluation.score import ErrorCounts
from edgeasr.train.manifest import data_dir
from edgeasr.train.teachers.transcriber import PEERS, BundleTranscriber, peer_loader

DEFAULT_SETS = {
    "long-form": ["librispeech.dev"],
    "word-times": ["librispeech.dev", "commonvoice.dev"],
    "fit-timing": ["librispeech.train", "commonvoice.train"],
}
# Medians over this many clips of each train set no longer move by a frame.
FIT_CLIPS = 300


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", choices=tuple(DEFAULT_SETS))
    parser.add_argument("sets", nargs="*", metavar="SET", help="sets such as librispeech.dev, or manifests")
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only N clips of each set, evenly spread")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--peer", choices=PEERS, help="long-form: measure this instead of a bundle")
    parser.add_argument("--write", action="store_true", help="fit-timing: write the shifts into the bundle")
    add_recognizer_arguments(parser)
    args = parser.parse_args(argv)
    try:
        report = long_form(args) if args.measurement == "long-form" else word_times(args)
    except (EdgeAsrError, OSError) as error:
        return fail(error)
    print(json.dumps(report) if args.json else "\n".join(f"{key:24} {value}" for key, value in report.items()))
    return 0


def long_form(args: argparse.Namespace) -> dict[str, Any]:
    data = args.data or data_dir()
    if args.peer:
        transcriber, language = peer_loader(args.peer, data)(), "en"
    else:
        recognizer = load_recognizer(args)
        transcriber, language = BundleTranscriber(recognizer), recognizer.bundle.language
    normalise = normaliser(language)
    sets = find_sets(data, args.sets or DEFAULT_SETS["long-form"], normalise, limit=args.limit)
    progress = ProgressBar(transcriber.name)
    speakers = measure_long_form(transcriber, [u for s in sets for u in s.utterances], normalise, progress.update)
    progress.clear()
    apart = sum((speaker.apart for speaker in speakers), ErrorCounts())
    joined = sum((speaker.joined for speaker in speakers), ErrorCounts())
    difference = relative_difference(speakers)
    report: dict[str, Any] = {
        "system": transcriber.name,
        "sets": " ".join(s.name for s in sets),
        "clips": sum(speaker.clips for speaker in speakers),
        "streams": len(speakers),
        "longest_stream_s": round(max(speaker.duration_s for speaker in speakers), 1),
        "words": apart.reference,
        "wer_clips_percent": round(100 * apart.rate, 2),
        "wer_streams_percent": round(100 * joined.rate, 2),
        "difference_relative_percent": round(100 * difference.value, 2),
    }
    if difference.low is not None and difference.high is not None:
        report["interval_by_speaker"] = [round(100 * difference.low, 2), round(100 * difference.high, 2)]
    return report


def word_times(args: argparse.Namespace) -> dict[str, Any]:
    recognizer = load_recognizer(args)
    normalise = normaliser(recognizer.bundle.language)
    fitting = args.measurement == "fit-timing"
    sets = find_sets(
        args.data or data_dir(),
        args.sets or DEFAULT_SETS[args.measurement],
        normalise,
        limit=args.limit or (FIT_CLIPS if fitting else None),
    )
    progress = ProgressBar(recognizer.bundle.name)
    errors = measure_word_times(
        recognizer, [u for s in sets for u in s.utterances], normalise, on_progress=progress.update
    )
    progress.clear()
    report = {
        "system": BundleTranscriber(recognizer).name,
        "sets": " ".join(s.name for s in sets),
        **describe(errors),
        "timing": asdict(recognizer.bundle.timing),
    }
    if fitting:
        timing = fit_timing(recognizer.bundle.timing, errors)
        report["fitted_timing"] = asdict(timing)
        if args.write:
            update_bundle(recognizer.bundle.path, timing=timing)
    return report


def describe(errors: WordTimeErrors) -> dict[str, Any]:
    return {
        "boundaries": errors.boundaries,
        "clear_boundaries": errors.clear_boundaries,
        "starts": len(errors.starts),
        "ends": len(errors.ends),
        "median_error_ms": round(1000 * errors.median_error_s),
        "start_error_ms": _quantiles(errors.starts),
        "end_error_ms": _quantiles(errors.ends),
    }


def _quantiles(errors: FloatArray) -> dict[str, int]:
    """The signed median, and the median and the 90th percentile of the sizes, in milliseconds."""
    sizes = np.abs(errors)
    values = {"signed_median": np.median(errors), "median": np.median(sizes), "p90": np.percentile(sizes, 90)}
    return {key: round(1000 * float(value)) for key, value in values.items()}


if __name__ == "__main__":
    sys.exit(main())
