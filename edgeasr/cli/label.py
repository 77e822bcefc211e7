"""`edgeasr label`: transcripts for speech that has none, by a teacher: for a folder of recordings, or by a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edgeasr.errors import ConfigError

if TYPE_CHECKING:
    from edgeasr.cli.progress import ProgressBar
    from edgeasr.train.teachers.label import SecondHearer

PEER = "sherpa-onnx"
# How a second hearer may hear the clips: speed, and signal-to-noise ratio in dB.
VIEWS: dict[str, tuple[float, float | None]] = {
    "clean": (1.0, None),
    "noisy": (1.0, 10.0),
    "slower": (0.9, None),
    "faster": (1.1, None),
}
SUFFIXES = {".flac", ".mp3", ".ogg", ".opus", ".wav"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.description = (
        "Let a teacher, and if wanted a second hearer, transcribe recordings. Of a folder a manifest for training is "
        "written. With a recipe, its teacher transcribes what has no transcript in the sources that name a file for "
        "`labels`, and the recipe's [label] tells what to believe; the options of a folder are not for it. What was "
        "heard is kept, so that a second run goes on where the first stopped."
    )
    parser.add_argument(
        "source",
        metavar="FOLDER|RECIPE",
        help="a folder of recordings, searched with its subfolders; or a recipe, a TOML file or a shipped name",
    )
    parser.add_argument(
        "--cache", type=Path, default=Path("cache"), help="with a recipe: the same as of train (%(default)s)"
    )
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    folder = parser.add_argument_group("of a folder")
    folder.add_argument("-o", "--output", type=Path, metavar="FILE", help="the manifest to write (JSON Lines)")
    folder.add_argument(
        "--model",
        default=PEER,
        metavar="NAME|PATH",
        help="the teacher: a bundle, the folder of a training run, or %(default)s (default)",
    )
    folder.add_argument("--lm", type=Path, metavar="FILE", help="the teacher's language model, if not the bundle's own")
    folder.add_argument(
        "--vocabulary",
        type=Path,
        action="append",
        metavar="FILE",
        help="text with the words that there are (also .xz); clips with too many others are left out",
    )
    folder.add_argument(
        "--maximum-unknown",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="how many of a clip's words may be others (default: 0.1)",
    )
    folder.add_argument(
        "--leave-out",
        action="append",
        metavar="SET",
        help="no clip whose sentence is in this set, such as dev or test (default: dev and test)",
    )
    folder.add_argument(
        "--agree-with",
        metavar="NAME|PATH",
        help="a second hearer, as --model (default with --second-view: the teacher itself); clips that it hears "
        "differently are left out",
    )
    folder.add_argument("--second-lm", type=Path, metavar="FILE", help="the second hearer's language model")
    folder.add_argument(
        "--second-view",
        choices=sorted(VIEWS),
        help="how the second hearer hears the clips: noisy is 10 dB, the others 10 %%",
    )
    folder.add_argument(
        "--maximum-disagreement",
        type=float,
        default=0.1,
        metavar="RATE",
        help="character error rate between both readings up to which clips are kept (default: %(default)s)",
    )
    folder.add_argument("--language", default="en", metavar="TAG", help="how texts are normalised (default: en)")


def run(args: argparse.Namespace) -> int:
    """Labels and reports."""
    from edgeasr.cli.progress import ProgressBar

    progress = ProgressBar("label")
    try:
        return _label_folder(args, progress) if Path(args.source).is_dir() else _label_recipe(args, progress)
    finally:
        progress.clear()


def _label_recipe(args: argparse.Namespace, progress: ProgressBar) -> int:
    from edgeasr.cli.common import require_torch

    mine = (args.output, args.lm, args.vocabulary, args.leave_out, args.agree_with, args.second_lm, args.second_view)
    if any(mine) or args.model != PEER:
        raise ConfigError(f"{args.source} is no folder, and what a recipe labels, and how, stands in the recipe")
    require_torch()
    from edgeasr.train.workflow import label

    done = label(args.source, data_dir=args.data, cache_dir=args.cache, on_progress=progress.update)
    progress.clear()
    for manifest, labelled in done.items():
        print(f"{manifest}: {labelled}")
    return 0


def _label_folder(args: argparse.Namespace, progress: ProgressBar) -> int:
    from edgeasr.train.evaluation.evaluate import find_sets, normaliser
    from edgeasr.train.manifest import data_dir
    from edgeasr.train.teachers.label import SentenceIndex, hearer, label, read_vocabulary

    if args.output is None:
        raise ConfigError("labelling a folder needs --output, the manifest to write")
    data = args.data or data_dir()
    paths = sorted(path for path in Path(args.source).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ConfigError(f"{args.source} has no recordings ({', '.join(sorted(SUFFIXES))})")
    normalise = normaliser(args.language)
    kept_apart = find_sets(data, args.leave_out or ["dev", "test"], normalise)
    labelled = label(
        hearer(args.model, data, lm=args.lm)[1],
        paths,
        args.output,
        normalise=normalise,
        left_out=SentenceIndex(normalise(u.text or "") for s in kept_apart for u in s.utterances),
        vocabulary=read_vocabulary(args.vocabulary or (), normalise) or None,
        maximum_unknown_share=args.maximum_unknown,
        second=_second_hearer(args, data),
        on_progress=progress.update,
    )
    progress.clear()
    print(f"{args.output}: {labelled}")
    return 0


def _second_hearer(args: argparse.Namespace, data: Path) -> SecondHearer | None:
    from edgeasr.train.teachers.label import SecondHearer, hearer, hearer_key
    from edgeasr.train.teachers.teacher import View

    if args.agree_with is None and args.second_view is None:
        return None
    model, lm = (args.agree_with, args.second_lm) if args.agree_with else (args.model, args.second_lm or args.lm)
    speed, snr_db = VIEWS[args.second_view or "clean"]
    view = View(speed=speed, snr_db=snr_db)
    folder, load = hearer(model, data, lm=lm)
    if view == View() and lm == args.lm and folder == hearer(args.model, data, lm=lm)[0]:
        raise ConfigError("the second hearer is the teacher itself: give it a --second-view, or name another")
    return SecondHearer(
        key=hearer_key(folder, lm, view),
        load=load,
        view=view,
        maximum_disagreement=args.maximum_disagreement,
    )
