"""The bundled student of forty Arabic commands: small, whole, and right on speakers that it has never heard."""

from __future__ import annotations

import json
from pathlib import Path

from edgeasr import CommandRecognizer, Grammar, Recognizer
from edgeasr.bundle import find_bundle, verify_bundle
from edgeasr.train.evaluation.score import count_errors

GRAMMAR = Path(__file__).parents[1] / "examples" / "arabic.grammar"
# A share of the clips that must be understood, of every ninth one.
LIMIT = 0.94


def test_the_bundle_is_whole_and_below_a_megabyte():
    bundle = verify_bundle(find_bundle("ar-commands"))
    files = sum(path.stat().st_size for path in bundle.path.iterdir() if path.name not in ("README.md", "config.json"))
    assert files < 1_000_000
    assert bundle.language == "ar"


def test_the_grammar_has_what_the_card_has_measured():
    bundle = find_bundle("ar-commands")
    card = json.loads((bundle / "config.json").read_text())["card"]
    commands = card["evaluation"]["systems"][0]["labels"]
    assert commands["arabic-commands.test"]["accuracy_percent"]["value"] >= 97
    assert len(Grammar.from_file(GRAMMAR).intents) == 40


def test_it_understands_speakers_that_it_has_never_heard(data_dir):
    rows = [json.loads(line) for line in (data_dir / "speech" / "arabic-commands.dev.jsonl").read_text().splitlines()]
    commands = CommandRecognizer(Recognizer("ar-commands"), Grammar.from_file(GRAMMAR))
    right = 0
    some = rows[::9]
    for row in some:
        result = commands.recognize(data_dir / "speech" / row["audio"])
        assert result.command is not None
        right += count_errors(row["text"], result.command.text, unit="character").rate == 0
    assert right >= LIMIT * len(some)
