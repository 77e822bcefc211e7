"""A tiny language for training tests: each letter is a tone, a word is a sequence of tones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 16000
LETTER_HZ = {"a": 400.0, "b": 900.0, "c": 1800.0}
WORDS = ("ab", "ba", "cab", "bc", "a", "ca")

TEACHER = """
[teacher]
kind = "transducer"
path = "teacher"
top_k = 3
n_best = 2
[losses.tokens]
weight = 0.3
[losses.guided]
weight = 0.1
[losses.features]
weight = 0.3
distance = "l1"
[losses.readings]
weight = 0.5
n_best = 2
[losses.consistency]
weight = 0.2
rise_steps = 2
"""


def speak(text: str, rng: np.random.Generator) -> np.ndarray:
    parts = []
    for letter in text:
        time_s = np.arange(int(rng.uniform(0.10, 0.14) * RATE)) / RATE
        hz = LETTER_HZ.get(letter)
        parts.append(0.1 * np.sin(2 * np.pi * hz * time_s) if hz else 0 * time_s)
    clip = np.concatenate(parts) + 0.001 * rng.standard_normal(sum(p.size for p in parts))
    return clip.astype(np.float32)


@pytest.fixture(scope="session")
def tone_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 40 transcribed clips in `speech/tones.train.jsonl` and two noises."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    (root / "speech").mkdir()
    (root / "noise").mkdir()
    lines = []
    for i in range(40):
        text = " ".join(rng.choice(WORDS, rng.integers(1, 4)))
        clip = speak(text, rng)
        soundfile.write(root / "speech" / f"{i}.flac", clip, RATE)
        entry = {"id": f"tones-{i}", "audio": f"{i}.flac", "duration_s": clip.size / RATE, "text": text}
        lines.append(json.dumps(entry))
    (root / "speech" / "tones.train.jsonl").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def tone_recipe(tone_data: Path, tmp_path: Path) -> Path:
    """A recipe for a student of a few thousand parameters."""
    path = tmp_path / "tones.toml"
    path.write_text(
        """
name = "tones"
checkpoint_every_steps = 3
log_every_steps = 1
[data]
sources = [{ manifest = "speech/tones.train.jsonl" }]
batch_s = 8.0
[tokens]
tokens = ["<blank>", "|", "a", "b", "c"]
[student]
vocab_size = 5
dim = 24
num_blocks = 2
num_heads = 2
feedforward_dim = 48
kernel_size = 5
stem_channels = 8
left_context_frames = 20
intermediate_block = 1
[optimizer]
steps = 8
warmup_steps = 3
[evaluation]
manifests = ["speech/tones.train.jsonl"]
clips_per_manifest = 4
every_steps = 4
"""
    )
    return path


@pytest.fixture
def taught_data(tone_data: Path, tmp_path: Path) -> Path:
    """The tones, two of them without a transcript, and a teacher."""
    from transducers import write_transducer

    data = tmp_path / "data"
    shutil.copytree(tone_data, data)
    manifest = data / "speech" / "tones.train.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    (data / "speech" / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:4]))
    for row in rows[::5]:
        row["text"] = None
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_transducer(data / "teacher")
    return data


@pytest.fixture
def taught_recipe(tone_recipe: Path) -> Path:
    """The recipe with that teacher, and a loss for each thing that it says."""
    text = tone_recipe.read_text().replace(
        'manifests = ["speech/tones.train.jsonl"]', 'manifests = ["speech/dev.jsonl"]'
    )
    tone_recipe.write_text(text + TEACHER)
    return tone_recipe
