"""The report on the decoder, on a small data folder: every part of it, twice the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from bundles import TINY
from tool_modules import load_tool

from edgeasr import LanguageModel, Recognizer
from edgeasr.bundle import update_bundle

GRAMMAR = "intent say:\n  {what}\nlist what:\n  yes\n  no\n  stop now\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, samples_dir: Path) -> Path:
    """A data folder whose truth is partly what the tiny bundle hears."""
    root = tmp_path_factory.mktemp("data")
    for folder in ("speech", "noise"):
        (root / folder).mkdir()
    speech, sample_rate = soundfile.read(samples_dir / "austen-0880.flac", dtype="float32")
    recognizer = Recognizer(TINY)
    rows = []
    for number, clip in enumerate(np.array_split(speech, 6)):
        soundfile.write(root / "speech" / f"{number}.flac", clip, sample_rate, subtype="PCM_16")
        heard = recognizer.transcribe(root / "speech" / f"{number}.flac").text.split()
        words = [word if place % 3 else "stopped" for place, word in enumerate(heard)][:6] or ["nothing"]
        rows.append(
            {
                "id": f"c{number}",
                "audio": f"{number}.flac",
                "duration_s": len(clip) / sample_rate,
                "text": " ".join(words),
                "speaker": f"s{number}",
                "intent": "say",
                "slots": {"what": "yes"},
            }
        )
        noise = np.random.default_rng(number).normal(0, 0.1, 48_000).astype(np.float32)
        soundfile.write(root / "noise" / f"{number}.opus", noise, 48_000, format="OGG", subtype="OPUS")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    for corpus in ("librispeech", "commonvoice", "speechocean"):
        for split in ("dev", "test"):
            (root / "speech" / f"{corpus}.{split}.jsonl").write_text(lines)
    (root / "speech" / "coffee.test.jsonl").write_text(lines)
    (root / "test.grammar").write_text(GRAMMAR)
    return root


def test_the_report_has_every_part(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool = load_tool("report_decoder")
    bundle = Path(shutil.copytree(TINY, tmp_path / "bundle"))
    arguments = ["--model", str(bundle), "-o", str(tmp_path), "--data", str(data), "--cache", str(tmp_path / "cache")]
    arguments += ["--grammar", str(data / "test.grammar"), "--limit", "4"]
    assert tool.main(arguments) == 2
    assert "has no language model" in capsys.readouterr().err
    lines = [json.loads(line)["text"] for line in (data / "speech" / "librispeech.dev.jsonl").read_text().splitlines()]
    LanguageModel.build(lines=[*lines, "some other words"]).save(tmp_path / "lm.bin")
    update_bundle(bundle, language_model=tmp_path / "lm.bin")
    assert tool.main(arguments) == 0
    document = (tmp_path / "decoder-figures.md").read_text()
    assert [line for line in document.splitlines() if line.startswith("## ")] == [
        *("## Words", "## Hotwords", "## Commands", "## Confidence")
    ]
    assert "python tools/report_decoder.py --model bundle -o docs --limit 4" in document
    assert str(tmp_path) not in document
    for start in ("| librispeech.dev | 4 |", "| all sets | 12 |", "| 8 |", "| coffee.test, 10 dB | 4 |", "| lexicon |"):
        assert f"\n{start}" in document, start
    pictures = [line.split("(")[1].rstrip(")") for line in document.splitlines() if line.startswith("![")]
    assert {"words.svg", "hotwords.svg", "commands.svg"} < {Path(picture).name for picture in pictures}
    for picture in pictures:
        ElementTree.fromstring((tmp_path / picture).read_text())
    # Again, from the cache: all is the same but CPU times.
    assert tool.main(arguments) == 0

    def figures(text: str) -> list[str]:
        return [line.rpartition("|")[0].rpartition("|")[0] for line in text.splitlines() if line.startswith("|")]

    assert figures((tmp_path / "decoder-figures.md").read_text()) == figures(document)
