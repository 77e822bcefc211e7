"""The import of Home Assistant's sentence templates."""

from __future__ import annotations

import json
import pickle
import random
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from edgeasr.errors import ConfigError, MissingDependencyError
from edgeasr.grammar import Grammar

SENTENCES: dict[str, Any] = {
    "language": "en",
    "intents": {
        "TurnOn": {
            "data": [
                {
                    "sentences": ["<turn> on [<the>] {name}", "light up [<the>] {area}"],
                    "requires_context": {"domain": ["light", "fan"]},
                    "slots": {"domain": "light"},
                },
                {"sentences": ["open [<the>] {name}"], "requires_context": {"domain": "cover"}},
                {"sentences": ["[<the>] {name} on"], "excludes_context": {"domain": ["cover"]}},
            ]
        },
        "SetBrightness": {"data": [{"sentences": ["set [<the>] {name} to {brightness:level}[([ ]%)| percent]"]}]},
        "Say": {"data": [{"sentences": ["(say|announce) {message}", "[please]", "<missing> x", "room 12"]}]},
        "Timer": {
            "data": [
                {
                    "sentences": ["{unit} timer", "a <local> timer"],
                    "lists": {"unit": {"values": ["Egg", {"in": "tea|(green|black) tea", "out": 3}, "1/2", "a # b"]}},
                    "expansion_rules": {"local": "(long|short)"},
                },
                {"sentences": ["a <local> nap"], "expansion_rules": {"local": "tiny"}},
            ]
        },
    },
    "lists": {
        "brightness": {"range": {"type": "percentage", "from": 0, "to": 100, "step": 10}},
        "down": {"range": {"from": 1, "to": 3, "multiplier": -1}},
        "degrees": {"range": {"from": 10, "to": 12, "fractions": "halves"}},
        "message": {"wildcard": True},
    },
    "expansion_rules": {"turn": "(turn|switch)", "the": "(the|my)"},
    "skip_words": ["please", "could you"],
    "responses": {"errors": {}},
}

HOME = {
    "area": ["kitchen", "living room"],
    "name": [
        {"in": "desk lamp", "out": "light.desk", "context": {"domain": "light"}},
        {"in": "[ceiling] fan", "out": "fan.one", "context": {"domain": {"value": "fan"}}},
        {"in": "garage door", "out": "cover.garage", "context": {"domain": "cover"}},
        "radio",
    ],
}


def meaning(grammar: Grammar, text: str) -> tuple[str, dict[str, object]] | None:
    found = grammar.parse(text)
    return None if found is None else (found.intent, dict(found.slots))


def test_templates_lists_rules_and_contexts_are_imported() -> None:
    grammar = Grammar.from_home_assistant(SENTENCES, lists=HOME)
    assert meaning(grammar, "turn on the desk lamp") == ("TurnOn", {"name": "light.desk", "domain": "light"})
    assert meaning(grammar, "switch on my ceiling fan") == ("TurnOn", {"name": "fan.one", "domain": "light"})
    assert meaning(grammar, "light up the living room") == ("TurnOn", {"area": "living room", "domain": "light"})
    assert meaning(grammar, "open the garage door") == ("TurnOn", {"name": "cover.garage"})
    # Values stand only where their context fits; what they say nothing about does not matter.
    assert meaning(grammar, "turn on the garage door") is None
    assert meaning(grammar, "open the fan") is None
    assert meaning(grammar, "garage door on") is None
    assert meaning(grammar, "open radio") == ("TurnOn", {"name": "radio"})
    assert meaning(grammar, "set the fan to thirty percent") == ("SetBrightness", {"name": "fan.one", "level": 30})
    assert meaning(grammar, "set the fan to thirty five") is None
    assert meaning(grammar, "room twelve") == ("Say", {})
    assert meaning(grammar, "egg timer") == ("Timer", {"unit": "Egg"})
    assert meaning(grammar, "black tea timer") == ("Timer", {"unit": "3"})
    # A rule that is local to sentences means something else elsewhere.
    assert meaning(grammar, "a short timer") == meaning(grammar, "a tiny nap") == ("Timer", {})
    assert meaning(grammar, "a short nap") is None


def test_phrases_to_skip_may_stand_between_words_but_not_within_values() -> None:
    grammar = Grammar.from_home_assistant(SENTENCES, lists=HOME)
    for text in ("please turn on the fan", "could you please turn on the fan please", "turn please on the please fan"):
        assert meaning(grammar, text) == ("TurnOn", {"name": "fan.one", "domain": "light"})
    assert meaning(grammar, "turn on the ceiling please fan") is None
    assert meaning(grammar, "please") is None


def test_what_cannot_be_imported_is_reported() -> None:
    grammar = Grammar.from_home_assistant(SENTENCES, lists=HOME)
    skipped = {entry.where: entry for entry in grammar.skipped}
    assert set(skipped) == {
        "intents.Say.data[0].sentences[0]",
        "intents.Say.data[0].sentences[1]",
        "intents.Say.data[0].sentences[2]",
        "lists.unit.values[2]",
        "lists.unit.values[3]",
    }
    assert "wildcard" in skipped["intents.Say.data[0].sentences[0]"].reason
    assert "can be empty" in skipped["intents.Say.data[0].sentences[1]"].reason
    assert "no rule <missing>" in skipped["intents.Say.data[0].sentences[2]"].reason
    assert skipped["lists.unit.values[2]"].text == "1/2"
    assert str(skipped["lists.unit.values[3]"]).startswith("lists.unit.values[3]: '#'")
    without = Grammar.from_home_assistant(SENTENCES)
    reasons = {entry.reason for entry in without.skipped}
    assert "there is no list {name}; it can be given in `lists`" in reasons
    assert meaning(without, "turn on the desk lamp") is None and meaning(without, "egg timer") is not None


def test_the_imported_text_is_a_grammar() -> None:
    grammar = Grammar.from_home_assistant(SENTENCES, lists=HOME)
    again = Grammar.from_text(grammar.text)
    chance = random.Random(1)
    for _ in range(200):
        text = grammar.sample(chance)
        assert again.parse(text) == grammar.parse(text) is not None
    copy = pickle.loads(pickle.dumps(grammar))
    assert copy.skipped == grammar.skipped


def test_only_some_intents() -> None:
    grammar = Grammar.from_home_assistant(SENTENCES, lists=HOME, intents=["SetBrightness"])
    assert grammar.intents == ("SetBrightness",)
    with pytest.raises(ConfigError, match="has no intent Dance"):
        Grammar.from_home_assistant(SENTENCES, intents=["Dance"])


def test_ranges() -> None:
    sentences = {
        "intents": {"I": {"data": [{"sentences": ["lower by {down}", "heat to {degrees}"]}]}},
        "lists": SENTENCES["lists"],
    }
    grammar = Grammar.from_home_assistant(sentences)
    assert meaning(grammar, "lower by two") == ("I", {"down": -2})
    assert meaning(grammar, "heat to ten and a half") == ("I", {"degrees": 10.5})
    german = {**sentences, "language": "de"}
    with pytest.raises(ConfigError, match=r"no sentence could be imported.*not English"):
        Grammar.from_home_assistant(german)
    numbers = {
        1: "eins",
        2: "zwei",
        3: "drei",
        10: "zehn",
        10.5: "zehneinhalb",
        11: "elf",
        11.5: "elfeinhalb",
        12: "zwölf",
    }
    grammar = Grammar.from_home_assistant(german, say_number=lambda number: [numbers[number]])
    assert meaning(grammar, "lower by zwei") == ("I", {"down": "-2"})
    assert meaning(grammar, "heat to zehneinhalb") == ("I", {"degrees": "10.5"})


def test_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "en.json"
    path.write_text(json.dumps(SENTENCES))
    whole = Grammar.from_home_assistant(path, lists=HOME)
    assert whole.name == str(path)
    # JSON is YAML, so that this stands for any reader of it.
    reader = types.ModuleType("yaml")
    reader.safe_load = json.loads  # type: ignore[attr-defined]
    reader.YAMLError = ValueError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yaml", reader)
    folder = tmp_path / "sentences"
    (folder / "more").mkdir(parents=True)
    for intent, description in SENTENCES["intents"].items():
        (folder / "more" / f"{intent}.yaml").write_text(json.dumps({"intents": {intent: description}}))
    (folder / "_common.yml").write_text(json.dumps({k: v for k, v in SENTENCES.items() if k != "intents"}))
    parts = Grammar.from_home_assistant(folder, lists=HOME)
    chance = random.Random(1)
    assert all(parts.accepts(whole.sample(chance)) for _ in range(100))
    assert parts.num_sentences == whole.num_sentences
    (folder / "bad.yaml").write_text("{")
    with pytest.raises(ConfigError, match=r"bad\.yaml is not YAML"):
        Grammar.from_home_assistant(folder)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingDependencyError, match="pip install pyyaml"):
        Grammar.from_home_assistant(folder)
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"en\.json is not JSON"):
        Grammar.from_home_assistant(str(path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no"):
        Grammar.from_home_assistant(tmp_path / "empty")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intents": []}, r"intents is \[\], expected a mapping"),
        ({"intents": {}}, "no sentence could be imported"),
        ({"intents": {"I": {"data": {}}}}, r"intents.I.data is {}, expected a list"),
        ({"intents": {"I": {"data": [{"sentences": "x"}]}}}, r"intents.I.data\[0\].sentences is 'x', expected a list"),
        ({"intents": {"I": {"data": [{"sentences": [1]}]}}}, r"sentences\[0\] is 1, expected a string"),
        ({"intents": {"I": {"data": [{"sentences": ["a (b"]}]}}}, r"no sentence could be imported.*'\)' is missing"),
        ({"intents": {"I": {"data": [{"sentences": ["a b]"]}]}}}, "']' closes nothing"),
        ({"intents": {"I": {"data": [{"sentences": ["a {b"]}]}}}, "'{' is not balanced"),
        ({"expansion_rules": {"turn": 1}}, r"expansion_rules.turn is 1, expected a string"),
        ({"lists": {"brightness": {"range": {"from": 1}}}}, "the range brightness is"),
        ({"lists": {"brightness": {}}}, "the list brightness has neither values nor range nor wildcard"),
        ({"settings": {"ignore_whitespace": True}}, "a language without spaces"),
    ],
)
def test_what_is_not_that_format_is_an_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Grammar.from_home_assistant({**SENTENCES, **change}, lists=HOME)


def test_a_rule_that_refers_to_itself_is_reported() -> None:
    sentences = {
        "intents": {"I": {"data": [{"sentences": ["a <r>", "b"]}]}},
        "expansion_rules": {"r": "x <s>", "s": "[<r>]"},
    }
    grammar = Grammar.from_home_assistant(sentences)
    assert [entry.reason for entry in grammar.skipped] == [
        "in the rule <r>: in the rule <s>: the rule <r> refers to itself"
    ]
    assert grammar.accepts("b")
