"""Speaks text with synthetic voices: clips and a manifest to train on.

    python tools/synthesise_speech.py sentences.txt -o synthetic --count 1000

The text has one sentence a line, or tab-separated lines that end in what to speak and how to write it (`... It's 3
pm. TAB it's three p m`); `.xz` files are read as they are. Sentences are drawn at random. A speaker is a voice of one
of the programs flite, espeak-ng and festival, with a rate, a pitch, and a factor for all frequencies (which stands
for the size of the head); each sentence varies its speaker's rate a little.

The output folder gets `NAME.train.jsonl`, a manifest like those of recorded speech, and the clips. The same seed gives
the same speech, and a higher --count only adds to it. A run that was stopped goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from os import cpu_count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from edgeasr.cli.common import fail, positive
from edgeasr.cli.progress import ProgressBar
from edgeasr.errors import ConfigError, EdgeAsrError, MissingDependencyError
from edgeasr.train.clips import write_clip
from edgeasr.train.evaluation.evaluate import normaliser
from edgeasr.waveform import Waveform

SAMPLE_RATE = 16_000
PEAK = 0.7

# kal16's mean pitch in Hz; the other voices of flite take a factor.
KAL_PITCH_HZ = 95.0
ESPEAK_ACCENTS = (
    *("en-us", "en-us", "en-us", "en-us-nyc", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan"),
    *("en-gb-x-gbcwmd", "en-029"),
)
# Those of espeak-ng's variants that sound like people, without the ones of which a transducer trained on people gets
# six of ten characters wrong or more; of these it gets about half, of flite's voices one in ten.
ESPEAK_VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f5", "klatt", "klatt2", "klatt3", "Alex"),
    *("Andrea", "Gene", "Jacky", "Lee", "Mario", "Michael", "Mike", "adam", "anika", "antonio", "belinda"),
    *("benjamin", "caleb", "david", "ed", "edward", "iven", "john", "linda", "marcelo", "max", "pablo", "paul"),
    *("pedro", "quincy", "rob", "robert", "sandro", "victor", "zac"),
)
VOICES = {
    "flite": ("awb", "rms", "slt", "kal16"),
    "espeak-ng": ESPEAK_VARIANTS,
    "festival": ("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts"),
}
PROGRAMS = {"flite": "flite", "espeak-ng": "espeak-ng", "festival": "text2wave"}
PACKAGES = {
    "flite": "flite",
    "espeak-ng": "espeak-ng",
    "festival": "festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts",
}


class Sentence(NamedTuple):
    """What is spoken, and how it is written in the manifest."""

    spoken: str
    written: str


@dataclass(frozen=True)
class Speaker:
    """A synthetic voice with habits of its own.

    Attributes:
        name: For the manifest.
        engine: The program.
        voice: A voice of it.
        rate: Of speaking; 1 is the voice's own.
        pitch: Likewise.
        scale: Factor of all frequencies: above 1 for a smaller head.
    """

    name: str
    engine: str
    voice: str
    rate: float
    pitch: float
    scale: float


@dataclass(frozen=True)
class Clip:
    """A sentence to speak, and where to."""

    id: str
    path: Path
    sentence: Sentence
    speaker: Speaker
    rate: float


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help="text or .tsv files, .xz or not")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of clips and manifest")
    parser.add_argument("--name", default="synthetic", help="of the corpus (default: %(default)s)")
    parser.add_argument("--count", type=positive, metavar="N", help="sentences to speak (default: all)")
    parser.add_argument("--max-words", type=positive, default=30, metavar="N", help="longer ones are left out (30)")
    parser.add_argument("--speakers", type=positive, default=200, metavar="N", help="how many (default: 200)")
    parser.add_argument(
        "--engine",
        action="append",
        choices=tuple(VOICES),
        help="a program to speak with; may be repeated, speakers are shared evenly (default: flite and espeak-ng)",
    )
    parser.add_argument("--format", choices=("opus", "flac"), default="opus", help="of the clips (default: opus)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=positive, default=cpu_count() or 1, metavar="N", help="at once (default: cores)")
    args = parser.parse_args(argv)
    try:
        return synthesise(args)
    except KeyboardInterrupt:
        return fail("stopped; the same command goes on from here")
    except (EdgeAsrError, OSError) as error:
        return fail(error)


def synthesise(args: argparse.Namespace) -> int:
    engines: list[str] = list(dict.fromkeys(args.engine or ("flite", "espeak-ng")))
    check_programs(engines)
    sentences = read_sentences(args.texts, args.max_words)
    folder: Path = args.output / args.name
    folder.mkdir(parents=True, exist_ok=True)
    speakers = make_speakers(engines, args.speakers, args.seed)
    keep_settings(folder / "settings.json", args, sentences, speakers)
    clips = plan(folder, args, sentences, speakers)

    progress = ProgressBar("speaking")
    manifest, failures, seconds = [], 0, 0.0
    with ThreadPoolExecutor(args.jobs) as pool:  # the work is done by other programs
        try:
            for number, (clip, duration_s) in enumerate(zip(clips, pool.map(speak, clips), strict=True), start=1):
                progress.update(number, len(clips))
                if duration_s is None:
                    failures += 1
                    continue
                seconds += duration_s
                entry = {
                    "id": clip.id,
                    "audio": str(clip.path.relative_to(args.output)),
                    "duration_s": round(duration_s, 3),
                    "text": clip.sentence.written,
                    "speaker": clip.speaker.name,
                }
                manifest.append(json.dumps(entry, ensure_ascii=False) + "\n")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    progress.clear()
    path = args.output / f"{args.name}.train.jsonl"
    path.write_text("".join(manifest), encoding="utf-8")
    print(f"{path}: {len(manifest)} clips, {seconds / 3600:.2f} h, {failures} sentences that gave no sound")
    return 0


def check_programs(engines: Sequence[str]) -> None:
    """Checks that the programs are there.

    Raises:
        MissingDependencyError: One is not; the message names the command that installs it.
    """
    for engine in engines:
        if shutil.which(PROGRAMS[engine]) is None:
            raise MissingDependencyError(
                f"the program {PROGRAMS[engine]} is not installed: apt-get install {PACKAGES[engine]}"
            )


def read_sentences(paths: Sequence[Path], max_words: int) -> list[Sentence]:
    """Reads texts; lines with digits in their written form, or with no words or too many, are left out.

    Raises:
        ConfigError: A file cannot be read, or no sentence is left.
    """
    normalise = normaliser("en")
    sentences: dict[str, Sentence] = {}
    for path in paths:
        try:
            with (
                lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as file
            ):
                lines = file.read().split("\n")
        except (OSError, UnicodeDecodeError, lzma.LZMAError) as error:
            raise ConfigError(f"text {path} cannot be read: {error}") from error
        for line in lines:
            fields = line.split("\t")
            written = normalise(fields[-1])
            if re.search(r"\d", fields[-1]) or not 1 <= len(written.split()) <= max_words:
                continue
            spoken = " ".join((fields[-2] if len(fields) > 1 else fields[-1]).split())
            sentences.setdefault(written, Sentence(spoken, written))
    if not sentences:
        raise ConfigError(f"no sentence of at most {max_words} words in {', '.join(map(str, paths))}")
    return list(sentences.values())


def make_speakers(engines: Sequence[str], count: int, seed: int) -> list[Speaker]:
    """Invents speakers, in turn for each program."""
    speakers = []
    for number in range(count):
        engine = engines[number % len(engines)]
        random = np.random.default_rng([seed, 0, number])
        voice = str(random.choice(VOICES[engine]))
        if engine == "espeak-ng":
            voice = f"{random.choice(ESPEAK_ACCENTS)}+{voice}"
        speakers.append(
            Speaker(
                name=f"{engine}-{number:04}",
                engine=engine,
                voice=voice,
                rate=round(float(random.uniform(0.8, 1.3)), 3),
                pitch=round(float(random.uniform(0.8, 1.25)), 3),
                scale=round(float(random.uniform(0.9, 1.15)), 3),
            )
        )
    return speakers


def keep_settings(
    path: Path, args: argparse.Namespace, sentences: Sequence[Sentence], speakers: Sequence[Speaker]
) -> None:
    """Writes down what the clips depend on.

    Raises:
        ConfigError: The folder has clips that were made with other settings.
    """
    text = "\n".join("\t".join(sentence) for sentence in sentences)
    settings = {
        "seed": args.seed,
        "format": args.format,
        "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "speakers": [asdict(speaker) for speaker in speakers],
    }
    if path.exists() and json.loads(path.read_text()) != settings:
        raise ConfigError(f"{path.parent} has clips of other texts, speakers or seed; use another --output or --name")
    path.write_text(json.dumps(settings, indent=1))


def plan(
    folder: Path, args: argparse.Namespace, sentences: Sequence[Sentence], speakers: Sequence[Speaker]
) -> list[Clip]:
    """Which sentence is spoken by whom, and how fast."""
    order = np.random.default_rng([args.seed, 1]).permutation(len(sentences))[: args.count]
    clips = []
    for number, place in enumerate(order):
        random = np.random.default_rng([args.seed, 2, number])
        speaker = speakers[int(random.integers(len(speakers)))]
        clips.append(
            Clip(
                id=f"{args.name}-{number:06}",
                path=folder / f"{number // 1000:03}" / f"{number:06}.{args.format}",
                sentence=sentences[place],
                speaker=speaker,
                rate=speaker.rate * float(random.uniform(0.93, 1.07)),
            )
        )
    return clips


def speak(clip: Clip) -> float | None:
    """Makes a clip, unless it is there already; returns its length in seconds, None if nothing came out."""
    if clip.path.exists():
        return float(soundfile.info(clip.path).duration)
    with tempfile.TemporaryDirectory(prefix="edgeasr-speak-") as folder:
        wav = Path(folder) / "speech.wav"
        # Frequencies are scaled by playing at another speed, which the voice has to make up for.
        command, standard_input = engine_command(
            clip.speaker, clip.rate / clip.speaker.scale, clip.sentence.spoken, wav
        )
        finished = subprocess.run(command, input=standard_input, capture_output=True, text=True, check=False)
        if finished.returncode or not wav.exists():
            return None
        try:
            samples, sample_rate = soundfile.read(wav, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            return None
        waveform: Waveform = soxr.resample(samples[:, 0], sample_rate * clip.speaker.scale, SAMPLE_RATE)
        peak = float(np.abs(waveform).max(initial=0.0))
        if peak < 1e-3:
            return None
        write_clip(clip.path, waveform * (PEAK / peak), SAMPLE_RATE)
    return float(soundfile.info(clip.path).duration)


def engine_command(speaker: Speaker, rate: float, text: str, wav: Path) -> tuple[list[str], str]:
    """The command that speaks a sentence into a file, and what it reads from standard input.

    festival has no one setting for the pitch of all its voices; there, `Speaker.scale` alone moves it.
    """
    if speaker.engine == "flite":
        pitch = (
            ["f0_shift", speaker.pitch]
            if speaker.voice != "kal16"
            else ["int_f0_target_mean", KAL_PITCH_HZ * speaker.pitch]
        )
        command = ["flite", "-voice", speaker.voice, "--setf", f"duration_stretch={1 / rate:.4f}"]
        return [*command, "--setf", f"{pitch[0]}={pitch[1]:.4f}", "-t", text, "-o", str(wav)], ""
    if speaker.engine == "espeak-ng":
        speed, pitch_number = round(170 * rate), round(np.clip(50 + 100 * (speaker.pitch - 1), 0, 99))
        return (
            ["espeak-ng", "-v", speaker.voice, "-s", str(speed), "-p", str(pitch_number), "--stdin", "-w", str(wav)],
            text,
        )
    stretch = f"(Parameter.set 'Duration_Stretch {1 / rate:.4f})"
    return ["text2wave", "-eval", f"(voice_{speaker.voice})", "-eval", stretch, "-o", str(wav)], text


if __name__ == "__main__":
    sys.exit(main())
