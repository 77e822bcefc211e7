"""Compares the import of Home Assistant's templates with hassil, the parser that they are written for.

    pip install hassil home-assistant-intents
    python tools/check_home_assistant.py sentences.txt        # one sentence a line, .xz or not

Both understand every sentence with the English templates and a home of eight names, four areas and two floors; hassil
is told that the microphone is in the kitchen, which a grammar does not know. Exits with 1 where they differ.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
import time
from pathlib import Path
from typing import Any

from edgeasr.cli.common import fail
from edgeasr.errors import EdgeAsrError, MissingDependencyError
from edgeasr.grammar import Grammar

NAMES = {
    "overhead light": "light",
    "bedroom lamp": "light",
    "sliding door": "cover",
    "front door": "lock",
    "tv": "media_player",
    "ceiling fan": "fan",
    "roborock": "vacuum",
    "shopping": "todo",
}
AREAS = ["kitchen", "living room", "bedroom", "garage"]
FLOORS = ["first", "ground"]
SHOWN = 10

Meaning = tuple[str, dict[str, str]]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentences", type=Path)
    args = parser.parse_args(argv)
    try:
        open_text = lzma.open if args.sentences.suffix == ".xz" else open
        with open_text(args.sentences, "rt", encoding="utf-8") as lines:
            sentences = [line.strip() for line in lines if line.strip()]
        return compare(sentences)
    except (EdgeAsrError, OSError) as error:
        return fail(error)


def compare(sentences: list[str]) -> int:
    """Has both understand the sentences, and shows where they differ."""
    try:
        import home_assistant_intents
        from hassil.intents import Intents, TextSlotList
        from hassil.recognize import recognize_all
    except ImportError as error:
        raise MissingDependencyError("pip install hassil home-assistant-intents") from error
    path = Path(home_assistant_intents.__file__).parent / "data" / "en.json"
    templates = json.loads(path.read_text(encoding="utf-8"))
    values = [{"in": name, "out": name, "context": {"domain": domain}} for name, domain in NAMES.items()]

    start = time.process_time()
    grammar = Grammar.from_home_assistant(templates, lists={"name": values, "area": AREAS, "floor": FLOORS})
    imported_s = time.process_time() - start
    start = time.process_time()
    Grammar.from_text(grammar.text)
    compiled_s = time.process_time() - start
    start = time.process_time()
    ours = [grammar.parse(sentence) for sentence in sentences]
    ours_s = time.process_time() - start

    intents = Intents.from_dict(templates)
    lists = {
        "name": TextSlotList.from_tuples([(n, n, {"domain": d}) for n, d in NAMES.items()], name="name"),
        "area": TextSlotList.from_strings(AREAS, name="area"),
        "floor": TextSlotList.from_strings(FLOORS, name="floor"),
    }
    start = time.process_time()
    theirs: list[list[Meaning]] = []
    for sentence in sentences:
        found: Any = recognize_all(
            sentence, intents, slot_lists=lists, intent_context={"area": AREAS[0]}, language="en"
        )
        theirs.append(
            [
                (one.intent.name, {name: written(entity.value) for name, entity in one.entities.items()})
                for one in found
                if not any(entity.is_wildcard for entity in one.entities.values())
            ]
        )
    theirs_s = time.process_time() - start

    differences = []
    for sentence, mine, meanings in zip(sentences, ours, theirs, strict=True):
        if (mine is None) != (not meanings):
            differences.append(f"{sentence}: {'hassil' if mine is None else 'the grammar'} alone understands it")
        elif mine is not None:
            slots = {name: written(value) for name, value in mine.slots.items()}
            known = [entities for intent, entities in meanings if intent == mine.intent]
            without_area = [{k: v for k, v in entities.items() if k != "area"} for entities in known]
            if slots not in known and slots not in without_area:
                differences.append(f"{sentence}: {mine.intent} {slots}, hassil: {meanings}")
    num_templates = sum(len(b["sentences"]) for intent in templates["intents"].values() for b in intent["data"])
    print(f"{num_templates} templates, {grammar.num_sentences} imported; {grammar.num_nodes} nodes")
    print(f"imported in {1e3 * imported_s:.0f} ms, compiled again in {1e3 * compiled_s:.0f} ms of CPU time")
    print(f"{len(sentences)} sentences, understood: {sum(map(bool, ours))}, by hassil: {sum(map(bool, theirs))}")
    per_sentence = 1e3 / max(1, len(sentences))
    print(f"a sentence takes {ours_s * per_sentence:.2f} ms, with hassil {theirs_s * per_sentence:.2f} ms")
    print(f"{len(differences)} differences", *differences[:SHOWN], sep="\n")
    return 1 if differences else 0


def written(value: object) -> str:
    """A value as text, whole numbers without a point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


if __name__ == "__main__":
    sys.exit(main())
