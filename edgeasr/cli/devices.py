"""`edgeasr devices`: the microphones that there are, and how loud it is at one of them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from edgeasr.cli.common import fail, positive

if TYPE_CHECKING:
    from edgeasr.microphone import Microphone
    from edgeasr.waveform import Waveform

DEFAULT = "default"
REFRESH_S = 0.1
# Without a terminal, a line for each of these.
LINE_S = 1.0
BAR_CHARS = 40
# Of the meter. Speech at a well set microphone peaks at -20 to -6 dB.
QUIETEST_DB = -60.0
CLIPPING_DB = -0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument(
        "--meter",
        nargs="?",
        const=DEFAULT,
        metavar="DEVICE",
        help="show how loud it is at the default microphone, or at this one (number, name or a part of it)",
    )
    parser.add_argument("--channel", type=positive, metavar="N", help="meter channel N alone, counted from 1")
    parser.add_argument("--seconds", type=float, metavar="S", help="stop after S seconds instead of at Ctrl-C")


def run(args: argparse.Namespace) -> int:
    """Lists or meters."""
    from edgeasr.microphone import Microphone, list_devices

    if args.meter is not None:
        device = None if args.meter == DEFAULT else args.meter
        with Microphone(device, channel=args.channel) as microphone:
            return meter(microphone, args.seconds)
    devices = list_devices()
    for device in devices:
        print(device)
    return 0 if devices else fail("there is no microphone: plug one in; `edgeasr doctor` helps if it does not show")


def meter(microphone: Microphone, seconds: float | None) -> int:
    """Draws the level until Ctrl-C, or for so many seconds of sound."""
    import numpy as np

    terminal = sys.stdout.isatty()
    every_s = REFRESH_S if terminal else LINE_S
    print(f"{microphone.device}; Ctrl-C stops.", file=sys.stderr)
    heard_s, window, window_s = 0.0, [], 0.0
    try:
        for block in microphone.blocks():
            if not isinstance(block, np.ndarray):
                print(f"{chr(10) if terminal else ''}{type(block).__name__} at {block.time_s:.1f} s", flush=True)
                continue
            window.append(block)
            window_s += len(block) / microphone.sample_rate
            heard_s += len(block) / microphone.sample_rate
            done = seconds is not None and heard_s >= seconds
            if window_s >= every_s or done:
                line = level_line(np.concatenate(window))
                print(f"\r\x1b[K{line}" if terminal else line, end="" if terminal else "\n", flush=True)
                window, window_s = [], 0.0
            if done:
                break
    except KeyboardInterrupt:
        pass
    if terminal:
        print()
    return 0


def level_line(waveform: Waveform) -> str:
    """The level of a stretch of sound: a bar for its loudness, and figures for loudness and peak in dB of full scale.

    Example:
        >>> level_line(np.array([0.5, -0.5], np.float32))
        '[####################################    ]   -6 dB, peak   -6 dB'
    """
    from edgeasr.waveform import loudness_db

    rms_db, peak_db = loudness_db(waveform, floor_db=QUIETEST_DB)
    filled = min(BAR_CHARS, round(BAR_CHARS * (1 - rms_db / QUIETEST_DB)))
    note = " clipping: turn the gain down" if peak_db > CLIPPING_DB else ""
    if peak_db <= QUIETEST_DB:
        note = " nothing: is it muted?"
    return f"[{'#' * filled}{' ' * (BAR_CHARS - filled)}] {rms_db:4.0f} dB, peak {peak_db:4.0f} dB{note}"
