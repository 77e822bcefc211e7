"""Multiplies the speakers of a manifest: its clips once more, in other voices, and a manifest to train on.

    python tools/change_voices.py speech/commonvoice.train.jsonl -o voices --copies 2

Needs pyworld (pip install 'edgeasr[voices]'). Each speaker becomes as many new ones as there are copies, each with a
pitch, formants and a melody of its own (`edgeasr.train.augmentation.voice`); a clip of an unknown speaker gets a voice
for itself. Ages and genders are left out, as they are no longer true; word times stay.

The output folder gets the clips and `NAME.SPLIT.jsonl`. The same seed gives the same voices, and a higher --copies only
adds to them. A run that was stopped goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from os import cpu_count
from pathlib import Path
from zlib import crc32

import numpy as np
import soundfile

from edgeasr.cli.common import fail, positive
from edgeasr.cli.progress import ProgressBar
from edgeasr.errors import ConfigError, EdgeAsrError
from edgeasr.train.augmentation.voice import Voice, VoiceChange, change_voice, load_world
from edgeasr.train.clips import read_audio, resample, write_clip
from edgeasr.train.manifest import Utterance, read_manifest

SAMPLE_RATE = 16_000
# Louder clips are brought down to this peak.
PEAK = 0.95


@dataclass(frozen=True)
class Clip:
    """A clip to make."""

    utterance: Utterance
    path: Path
    copy: int
    voice: Voice


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="the clips")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of clips and manifest")
    parser.add_argument("--name", help="of the corpus (default: that of the manifest, and -voices)")
    parser.add_argument("--copies", type=positive, default=1, metavar="N", help="new voices for each speaker (1)")
    parser.add_argument("--format", choices=("opus", "flac"), default="opus", help="of the clips (default: opus)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=positive, default=cpu_count() or 1, metavar="N", help="at once (default: cores)")
    args = parser.parse_args(argv)
    try:
        return change_voices(args)
    except KeyboardInterrupt:
        return fail("stopped; the same command goes on from here")
    except (EdgeAsrError, OSError) as error:
        return fail(error)


def change_voices(args: argparse.Namespace) -> int:
    load_world()
    utterances = read_manifest(args.manifest)
    corpus, _, split = args.manifest.name.removesuffix(".jsonl").partition(".")
    name: str = args.name or f"{corpus}-voices"
    folder: Path = args.output / name
    folder.mkdir(parents=True, exist_ok=True)
    keep_settings(folder / "settings.json", args)
    clips = plan(folder, utterances, args.copies, args.seed, args.format)

    progress = ProgressBar("speaking")
    manifest, seconds = [], 0.0
    for number, (clip, duration_s) in enumerate(zip(clips, make(clips, args.jobs), strict=True), start=1):
        progress.update(number, len(clips))
        seconds += duration_s
        manifest.append(json.dumps(entry(clip, args.output, duration_s), ensure_ascii=False) + "\n")
    progress.clear()
    path = args.output / f"{name}.{split or 'train'}.jsonl"
    path.write_text("".join(manifest), encoding="utf-8")
    print(f"{path}: {len(manifest)} clips, {seconds / 3600:.2f} h")
    return 0


def keep_settings(path: Path, args: argparse.Namespace) -> None:
    """Writes down what the clips depend on.

    Raises:
        ConfigError: The folder has clips that were made with other settings.
    """
    settings = {
        "manifest": str(args.manifest.resolve()),
        "seed": args.seed,
        "format": args.format,
        "voices": asdict(VoiceChange()),
    }
    if path.exists() and json.loads(path.read_text()) != settings:
        raise ConfigError(f"{path.parent} has clips of another manifest or seed; use another --output or --name")
    path.write_text(json.dumps(settings, indent=1))


def plan(folder: Path, utterances: Sequence[Utterance], copies: int, seed: int, suffix: str) -> list[Clip]:
    """Which clip is spoken in which voices."""
    clips = []
    for copy in range(1, copies + 1):
        for utterance in utterances:
            speaker = f"speaker {utterance.speaker}" if utterance.speaker is not None else f"clip {utterance.id}"
            random = np.random.default_rng([seed, copy, crc32(speaker.encode())])
            path = folder / str(copy) / f"{utterance.id.replace('/', '_')}.{suffix}"
            clips.append(Clip(utterance, path, copy, VoiceChange().draw(random)))
    return clips


def make(clips: Sequence[Clip], jobs: int) -> Iterator[float]:
    """Makes the clips in several processes; yields their lengths in seconds."""
    if jobs == 1:
        yield from map(speak, clips)
        return
    with ProcessPoolExecutor(jobs) as pool:
        try:
            yield from pool.map(speak, clips)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def speak(clip: Clip) -> float:
    """Makes a clip, unless it is there already; returns its length in seconds."""
    if not clip.path.exists():
        waveform = resample(*read_audio(clip.utterance.audio), SAMPLE_RATE)
        changed = change_voice(waveform, SAMPLE_RATE, clip.voice)
        peak = float(np.abs(changed).max(initial=PEAK))
        write_clip(clip.path, changed * np.float32(PEAK / peak), SAMPLE_RATE)
    return float(soundfile.info(clip.path).duration)


def entry(clip: Clip, output: Path, duration_s: float) -> dict[str, object]:
    """The line of a clip in the manifest."""
    utterance = clip.utterance
    row: dict[str, object] = {
        "id": f"{utterance.id}~{clip.copy}",
        "audio": str(clip.path.relative_to(output)),
        "duration_s": round(duration_s, 3),
        "text": utterance.text,
    }
    if utterance.speaker is not None:
        row["speaker"] = f"{utterance.speaker}~{clip.copy}"
    if utterance.label is not None:
        row["label"] = utterance.label
    if utterance.words is not None:
        row["words"] = utterance.words
    return row


if __name__ == "__main__":
    sys.exit(main())
