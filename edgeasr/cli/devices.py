"""`edgeasr devices`: the microphones that there are, and how loud it is at one of them."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import TYPE_CHECKING

from edgeasr.cli.common import duration, fail, positive, quiet_libraries

if TYPE_CHECKING:
    from edgeasr.events import DeviceEvent
    from edgeasr.microphone import Microphone
    from edgeasr.waveform import Waveform

DEFAULT = "default"
REFRESH_S = 0.1
# Without a terminal, a line for each of these.
LINE_S = 1.0
LINE_CHARS = 80
MAX_BAR_CHARS = 50
# Of the meter. Speech at a well set microphone peaks at -20 to -6 dB.
QUIETEST_DB = -60.0
CLIPPING_DB = -0.1

# To the beginning of the line, which is emptied.
CLEAR = "\r\x1b[K"


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
    parser.add_argument("--seconds", type=duration, metavar="S", help="stop after S seconds instead of at Ctrl-C")


def run(args: argparse.Namespace) -> int:
    """Lists or meters."""
    from edgeasr.microphone import Microphone, list_devices

    if args.meter is not None:
        device = None if args.meter == DEFAULT else args.meter
        with quiet_libraries(), Microphone(device, channel=args.channel) as microphone:
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
                print(f"{CLEAR if terminal else ''}{told(block)}", flush=True)
                continue
            window.append(block)
            window_s += len(block) / microphone.sample_rate
            heard_s += len(block) / microphone.sample_rate
            done = seconds is not None and heard_s >= seconds
            if window_s >= every_s or done:
                columns = shutil.get_terminal_size().columns if terminal else LINE_CHARS
                line = level_line(np.concatenate(window), columns)
                print(f"{CLEAR}{line}" if terminal else line, end="" if terminal else "\n", flush=True)
                window, window_s = [], 0.0
            if done:
                break
    except KeyboardInterrupt:
        pass
    if terminal:
        print()
    return 0


def told(event: DeviceEvent) -> str:
    """What has happened to the microphone, for people."""
    from edgeasr.events import DeviceLost, DeviceRestored

    if isinstance(event, DeviceLost):
        return event.message
    if isinstance(event, DeviceRestored):
        return f"{event.name} is there again, after {event.lost_s:.1f} s"
    return f"{event.lost_s:.2f} s of sound were lost"


def level_line(waveform: Waveform, columns: int) -> str:
    """The level of a stretch of sound: figures for loudness and peak in dB of full scale, and a bar for its loudness.

    Example:
        >>> import numpy as np
        >>> level_line(np.array([0.5, -0.5], np.float32), 40)
        ' -6 dB, peak  -6 dB [####### ]'
    """
    from edgeasr.waveform import loudness_db

    rms_db, peak_db = loudness_db(waveform, floor_db=QUIETEST_DB)
    note = ""
    if peak_db > CLIPPING_DB:
        note = " clipping"
    elif peak_db <= QUIETEST_DB:
        note = " muted?"
    figures = f"{rms_db:3.0f} dB, peak {peak_db:3.0f} dB"
    # One column is left free: a terminal would begin a new line behind the last one.
    bar_chars = max(0, min(MAX_BAR_CHARS, columns - len(figures) - len(" clipping") - 4))
    filled = min(bar_chars, round(bar_chars * (1 - rms_db / QUIETEST_DB)))
    return f"{figures} [{'#' * filled}{' ' * (bar_chars - filled)}]{note}"[: columns - 1]
