"""A language of tones, for trying experiments in seconds: each letter is a tone, a word is a sequence of tones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
LETTER_HZ = {"a": 400.0, "b": 900.0, "c": 1800.0}
WORDS = ("ab", "ba", "cab", "bc", "a", "ca")
CLIPS = {"train": 32, "dev": 8}


def write_tones(folder: Path) -> None:
    """Writes a data folder with `speech/tones.train.jsonl`, `speech/tones.dev.jsonl` and noise, if it is not there."""
    if (folder / "speech" / "tones.dev.jsonl").is_file():
        return
    (folder / "speech").mkdir(parents=True, exist_ok=True)
    (folder / "noise").mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(2):
        noise = rng.normal(0, 0.05, RATE).astype(np.float32)
        soundfile.write(folder / "noise" / f"{number}.opus", noise, RATE, format="OGG", subtype="OPUS")
    for split, count in CLIPS.items():
        lines = []
        for number in range(count):
            text = " ".join(rng.choice(WORDS, rng.integers(1, 4)))
            waveform = _speak(text, rng)
            name = f"{split}-{number}.flac"
            soundfile.write(folder / "speech" / name, waveform, RATE)
            entry = {"id": f"{split}-{number}", "audio": name, "duration_s": waveform.size / RATE, "text": text}
            lines.append(json.dumps(entry))
        (folder / "speech" / f"tones.{split}.jsonl").write_text("\n".join(lines) + "\n")


def _speak(text: str, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    parts = []
    for letter in text:
        time_s = np.arange(int(rng.uniform(0.10, 0.14) * RATE)) / RATE
        hz = LETTER_HZ.get(letter)
        parts.append(0.1 * np.sin(2 * np.pi * hz * time_s) if hz else 0 * time_s)
    clip = np.concatenate(parts)
    return (clip + 0.001 * rng.standard_normal(clip.size)).astype(np.float32)
