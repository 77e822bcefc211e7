"""`edgeasr doctor`: looks for what keeps it from working here, and says what to do.

Exit status: 0 when all is well, 1 with warnings, 2 when something does not work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeasr.cli.common import (
    add_recognizer_arguments,
    duration,
    load_recognizer,
    positive,
    printable,
    quiet_libraries,
)
from edgeasr.doctor import (
    FAILURE,
    OK,
    WARNING,
    Finding,
    carry_out,
    check_bundle,
    check_cpu,
    check_devices,
    check_governor,
    check_memory,
    check_recording,
    check_speed,
    check_throttling,
    check_versions,
    worst,
)

if TYPE_CHECKING:
    from edgeasr.recognizer import Recognizer

EXIT_STATUS = {OK: 0, WARNING: 1, FAILURE: 2}
COLOURS = {OK: 32, WARNING: 33, FAILURE: 31}
CHECK_CHARS = 10
TRY_ANOTHER = "plug it in again, or try another one: `edgeasr devices` lists them, --device chooses"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.description = (
        "Check processor, memory, installation, model and microphone, and say what to do about what is wrong. "
        "Speak while it records. Exit status: 0 all is well, 1 warnings, 2 something does not work."
    )
    parser.add_argument("--device", metavar="NUMBER|NAME", help="the microphone (default: the system's)")
    parser.add_argument("--channel", type=positive, metavar="N", help="its channel N alone, counted from 1")
    parser.add_argument("--seconds", type=duration, default=4.0, metavar="S", help="record for S seconds (%(default)s)")
    parser.add_argument("--no-microphone", action="store_true", help="leave the microphone out")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_recognizer_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Checks and prints."""
    findings = []
    with quiet_libraries():
        for finding in examine(args, Path("/")):
            findings.append(finding)
            if not args.json:
                show(finding)
    status = worst(findings)
    if args.json:
        print(json.dumps({"status": status, "findings": [asdict(f) for f in findings]}, ensure_ascii=False))
    else:
        counts = {kind: sum(finding.status == kind for finding in findings) for kind in (WARNING, FAILURE)}
        told = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count]
        print(" and ".join(told) or "all is well")
    return EXIT_STATUS[status]


def examine(args: argparse.Namespace, root: Path) -> Iterator[Finding]:
    """All findings, one after the other."""
    num_cores = len(os.sched_getaffinity(0))
    yield from check_versions()
    yield from check_cpu(root, machine=platform.machine(), num_cores=num_cores)
    yield from check_memory(root)
    yield from check_governor(root)
    bundle = list(check_bundle(args.model))
    yield from bundle
    recognizer = None
    if worst(bundle) == OK:
        try:
            recognizer = load_recognizer(args)
        except Exception as error:  # whatever it is that onnxruntime does not like here
            yield Finding(
                "model", FAILURE, f"the model does not load: {error}", "look at the options, or install again"
            )
        else:
            yield from check_speed(recognizer)
    if not args.no_microphone:
        devices = list(check_devices(root, args.device))
        yield from devices
        if recognizer is not None and worst(devices) == OK:
            yield from carry_out("recording", partial(record, args, recognizer), TRY_ANOTHER)
    # Last, after the work: that is when a board grows hot.
    yield from check_throttling(root)


def record(args: argparse.Namespace, recognizer: Recognizer) -> Iterable[Finding]:
    """Records while somebody speaks."""
    from edgeasr.microphone import Microphone

    microphone = Microphone(args.device, channel=args.channel, reconnect=False)
    print(f"recording for {args.seconds:g} s: please speak ...", file=sys.stderr)
    return check_recording(microphone, recognizer, seconds=args.seconds)


def show(finding: Finding) -> None:
    """Prints a finding for people."""
    status = f"{finding.status:8}"
    if sys.stdout.isatty():
        status = f"\x1b[{COLOURS[finding.status]}m{status}\x1b[0m"
    print(f"{status} {finding.check:{CHECK_CHARS}} {printable(finding.message)}")
    if finding.advice:
        print(f"{'':8} {'':{CHECK_CHARS}} -> {finding.advice}")
    sys.stdout.flush()
