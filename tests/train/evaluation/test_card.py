"""The model card: what an evaluation measured stands in the bundle, for programs and for people."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from bundles import TINY

from edgeasr.bundle import update_bundle, verify_bundle
from edgeasr.cli import main
from edgeasr.errors import BundleError
from edgeasr.train.evaluation.card import write_card

RATE = 16000
TRAINING = {"parameters": 1234, "updates": 7, "trained_on": "tones", "sets": {"tones.dev": "three tones"}}


@pytest.fixture
def data(tmp_path):
    """A data folder with one set of three clips."""
    folder = tmp_path / "data" / "speech"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = []
    for i, gender in enumerate("fmf"):
        soundfile.write(folder / f"{i}.flac", 0.1 * rng.standard_normal(RATE // 2), RATE)
        entry = {"id": str(i), "audio": f"{i}.flac", "duration_s": 0.5, "text": "some words", "gender": gender}
        lines.append(json.dumps(entry))
    (folder / "tones.dev.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "data"


@pytest.fixture
def bundle_dir(tmp_path):
    shutil.copytree(TINY, tmp_path / "bundle")
    update_bundle(tmp_path / "bundle", card=TRAINING)
    return tmp_path / "bundle"


def test_an_evaluation_goes_into_the_bundle(data, bundle_dir):
    arguments = ["evaluate", "dev", "--data", str(data), "--model", str(bundle_dir), "--decoder", "greedy"]
    assert main([*arguments, "--card", str(bundle_dir)]) == 0
    bundle = verify_bundle(bundle_dir)
    system = bundle.card["evaluation"]["systems"][0]
    figures = system["sets"]["tones.dev"]
    assert figures["clips"] == 3
    assert bundle.card["updates"] == 7
    text = (bundle_dir / "README.md").read_text()
    assert "| tones.dev: three tones | 3 |" in text
    assert f"{figures['cer_percent']['value']:.1f} (" in text
    assert "tones; 7 updates." in text
    assert "### By gender" in text
    assert "--model bundle --decoder greedy" in text


def test_a_card_tells_how_commands_fare(data, bundle_dir):
    manifest = data / "speech" / "tones.dev.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    labelled = [row | {"text": text, "label": text} for row, text in zip(rows, ("on", "off", "on"), strict=True)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in labelled))
    arguments = ["evaluate", "dev", "--data", str(data), "--model", str(bundle_dir), "--closed"]
    assert main([*arguments, "--card", str(bundle_dir)]) == 0
    figures = verify_bundle(bundle_dir).card["evaluation"]["systems"][0]["labels"]["tones.dev"]
    text = (bundle_dir / "README.md").read_text()
    assert f"| tones.dev | tiny int8 closed | {figures['accuracy_percent']['value']:.1f} (" in text
    assert "labels" not in figures and text.count("### Commands") == 1


def test_an_evaluation_of_another_bundle_is_refused(bundle_dir):
    before = (bundle_dir / "config.json").read_bytes()
    with pytest.raises(BundleError, match="no figures"):
        write_card(bundle_dir, {"systems": [{"name": "other int8 greedy"}]}, "command")
    assert (bundle_dir / "config.json").read_bytes() == before
