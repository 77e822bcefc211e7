"""`edgeasr label`: transcripts for speech that has none, by a teacher."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edgeasr.errors import ConfigError

if TYPE_CHECKING:
    from edgeasr.train.label import SecondHearer

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
        "Write a manifest for training from recordings without transcripts: a teacher listens, and if wanted a second "
        "hearer. What they heard is kept beside the manifest, so that a second run goes on where the first stopped."
    )
    parser.add_argument("folder", type=Path, help="folder of recordings, searched with its subfolders")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the manifest (JSON Lines)")
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument(
        "--model",
        default=PEER,
        metavar="NAME|PATH",
        help="the teacher: a bundle, the folder of a training run, or %(default)s (default)",
    )
    parser.add_argument("--lm", type=Path, metavar="FILE", help="the teacher's language model, if not the bundle's own")
    parser.add_argument(
        "--vocabulary",
        type=Path,
        action="append",
        metavar="FILE",
        help="text with the words that there are (also .xz); clips with too many others are left out",
    )
    parser.add_argument(
        "--maximum-unknown",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="how many of a clip's words may be others (default: 0.1)",
    )
    parser.add_argument(
        "--leave-out",
        action="append",
        metavar="SET",
        help="no clip whose sentence is in this set, such as dev or test (default: dev and test)",
    )
    parser.add_argument(
        "--agree-with",
        metavar="NAME|PATH",
        help="a second hearer, as --model (default with --second-view: the teacher itself); clips that it hears "
        "differently are left out",
    )
    parser.add_argument("--second-lm", type=Path, metavar="FILE", help="the second hearer's language model")
    parser.add_argument(
        "--second-view",
        choices=sorted(VIEWS),
        help="how the second hearer hears the clips: noisy is 10 dB, the others 10 %%",
    )
    parser.add_argument(
        "--maximum-disagreement",
        type=float,
        default=0.1,
        metavar="RATE",
        help="character error rate between both readings up to which clips are kept (default: %(default)s)",
    )
    parser.add_argument("--language", default="en", metavar="TAG", help="how texts are normalised (default: en)")


def run(args: argparse.Namespace) -> int:
    """Labels and reports."""
    from edgeasr.cli.progress import ProgressBar
    from edgeasr.train.evaluate import find_sets, normaliser
    from edgeasr.train.label import SentenceIndex, hearer, label
    from edgeasr.train.manifest import data_dir

    data = args.data or data_dir()
    paths = sorted(path for path in args.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ConfigError(f"{args.folder} has no recordings ({', '.join(sorted(SUFFIXES))})")
    normalise = normaliser(args.language)
    kept_apart = find_sets(data, args.leave_out or ["dev", "test"], normalise)
    vocabulary = {word for path in args.vocabulary or () for line in _lines(path) for word in normalise(line).split()}
    progress = ProgressBar("label")
    labelled = label(
        hearer(args.model, data, lm=args.lm)[1],
        paths,
        args.output,
        normalise=normalise,
        left_out=SentenceIndex(normalise(u.text or "") for s in kept_apart for u in s.utterances),
        vocabulary=vocabulary or None,
        maximum_unknown_share=args.maximum_unknown,
        second=_second_hearer(args, data),
        on_progress=progress.update,
    )
    progress.clear()
    print(f"{args.output}: {labelled}")
    return 0


def _second_hearer(args: argparse.Namespace, data: Path) -> SecondHearer | None:
    from edgeasr.train.label import SecondHearer, hearer, hearer_key
    from edgeasr.train.teacher import View

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


def _lines(path: Path) -> list[str]:
    import lzma

    with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as file:
        return file.read().splitlines()
