"""`edgeasr label`: transcripts for speech that has none, by a teacher."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from edgeasr.errors import ConfigError

SUFFIXES = {".flac", ".mp3", ".ogg", ".opus", ".wav"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.description = (
        "Write a manifest for training from recordings without transcripts: a teacher listens. What it heard is kept "
        "beside the manifest, so that a second run goes on where the first was interrupted."
    )
    parser.add_argument("folder", type=Path, help="folder of recordings, searched with its subfolders")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the manifest (JSON Lines)")
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--model", metavar="NAME|PATH", help="the teacher is this bundle (default: sherpa-onnx)")
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
    parser.add_argument("--language", default="en", metavar="TAG", help="how texts are normalised (default: en)")


def run(args: argparse.Namespace) -> int:
    """Labels and reports."""
    from edgeasr.cli.progress import ProgressBar
    from edgeasr.train.evaluate import find_sets, normaliser
    from edgeasr.train.label import SentenceIndex, label
    from edgeasr.train.manifest import data_dir
    from edgeasr.train.transcriber import load_bundle, peer_loader

    data = args.data or data_dir()
    paths = sorted(path for path in args.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ConfigError(f"{args.folder} has no recordings ({', '.join(sorted(SUFFIXES))})")
    normalise = normaliser(args.language)
    kept_apart = find_sets(data, args.leave_out or ["dev", "test"], normalise)
    vocabulary = {word for path in args.vocabulary or () for line in _lines(path) for word in normalise(line).split()}
    progress = ProgressBar("label")
    labelled, readable = label(
        partial(load_bundle, args.model) if args.model else peer_loader("sherpa-onnx", data),
        paths,
        args.output,
        normalise=normalise,
        left_out=SentenceIndex(normalise(u.text or "") for s in kept_apart for u in s.utterances),
        vocabulary=vocabulary or None,
        maximum_unknown_share=args.maximum_unknown,
        on_progress=progress.update,
    )
    progress.clear()
    print(f"{args.output}: {labelled} of {len(paths)} clips have a transcript; {len(paths) - readable} cannot be read")
    return 0


def _lines(path: Path) -> list[str]:
    import lzma

    with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as file:
        return file.read().splitlines()
