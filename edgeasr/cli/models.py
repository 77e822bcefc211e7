"""`edgeasr models`: which bundles there are, what is in them, and whether they are whole."""

from __future__ import annotations

import argparse
import json

from edgeasr.bundle import DEFAULT_MODEL, Bundle, find_bundle, list_bundles, read_bundle, verify_bundle
from edgeasr.cli.common import fail
from edgeasr.errors import BundleError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the actions of this command."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="list the bundles that ship with the package")
    info = actions.add_parser("info", help="show what a bundle is, and its measured card")
    info.add_argument("model", nargs="?", metavar="NAME|PATH", help=f"a bundle (default: {DEFAULT_MODEL})")
    verify = actions.add_parser("verify", help="check the SHA-256 of every file of a bundle")
    verify.add_argument("models", nargs="*", metavar="NAME|PATH", help="bundles (default: all that ship)")


def run(args: argparse.Namespace) -> int:
    """Does what is asked."""
    if args.action == "list":
        return list_models()
    if args.action == "info":
        return show(read_bundle(find_bundle(args.model)))
    return verify(args.models or sorted(list_bundles()))


def list_models() -> int:
    """Prints a line for each bundle of the package."""
    for name, path in sorted(list_bundles().items()):
        bundle = read_bundle(path)
        default = " (default)" if name == DEFAULT_MODEL else ""
        print(f"{name}{default}\t{bundle.language}\t{_megabytes(bundle)}\t{bundle.description}")
    return 0


def show(bundle: Bundle) -> int:
    """Prints what a bundle says of itself."""
    model, decoder = bundle.model, bundle.decoder
    chunk_s = model.chunk_frames * bundle.frontend.hop_length / bundle.sample_rate
    lookahead_s = model.lookahead_frames * bundle.frontend.hop_length / bundle.sample_rate
    beam = f", beam size {decoder.beam.beam_size}" if decoder.mode == "beam" else ""
    entries = {
        "name": f"{bundle.name} {bundle.version}",
        "description": bundle.description,
        "folder": bundle.path,
        "language": bundle.language,
        "licence": bundle.licence,
        "size": _megabytes(bundle),
        "model": f"{model.file}, {model.precision}, {len(model.states)} states",
        "tokens": len(bundle.tokens),
        "sample rate": f"{bundle.sample_rate} Hz",
        "chunk": f"{chunk_s * 1000:.0f} ms and {lookahead_s * 1000:.0f} ms of look-ahead",
        "decoder": f"{decoder.mode}{beam}",
        "calibrated": ", ".join(bundle.calibration) or "no",
    }
    for key, value in entries.items():
        print(f"{key + ':':13} {value}")
    if bundle.card:
        print("card:", json.dumps(bundle.card, indent=2, ensure_ascii=False))
    return 0


def verify(models: list[str]) -> int:
    """Prints for each bundle whether it is whole."""
    status = 0
    for model in models:
        try:
            bundle = verify_bundle(find_bundle(model))
        except BundleError as error:
            status = fail(error)
        else:
            print(f"{model}: ok, {len(bundle.files)} files")
    return status


def _megabytes(bundle: Bundle) -> str:
    num_bytes = sum(file.bytes for file in bundle.files.values())
    return f"{num_bytes / 1e6:.1f} MB"
