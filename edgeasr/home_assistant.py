"""The import of Home Assistant's sentence templates: from their YAML or JSON to a grammar of ours.

The two languages of templates are nearly the same, so that a grammar that was imported reads like what it came from.
What differs is the file around them, names, symbols and numbers that have to be spoken, and values that are there only
in some contexts; a list or rule that means different things in different places becomes several.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeasr import _core
from edgeasr.errors import ConfigError, MissingDependencyError
from edgeasr.grammar import Grammar, Skipped

SayNumber = Callable[[float], Sequence[str]]

# How symbols are said, by language.
SYMBOLS = {"en": {"%": " percent ", "°": " degrees ", "&": " and ", "+": " plus ", "½": " half "}}

_FRACTIONS = {"halves": 2, "tenths": 10}

# A template is references, brackets and what else means something, and text.
_PARTS = re.compile(r"\{[^{}]*\}|<[^<>]*>|\\.|[()\[\]|;]|[^{}<>()\[\]|;\\]+|.", re.DOTALL)
_TEMPLATE = re.compile(r"[(){}<>\[\]|;]")
_PUNCTUATION = frozenset(".,!?:\"¡¿«»“”„…،؟、。'\u2018\u2019-_ \t\u2010\u2011\u2012\u2013\u2014\u2015\xa0")


class _Unfit(Exception):  # noqa: N818 - a reason to leave a part out, not an error
    """Says why a part cannot be imported."""


@dataclass
class _Scope:
    """What names mean for one block of sentences."""

    rules: Mapping[str, str]
    lists: Mapping[str, Mapping[str, Any]]
    requires: Mapping[str, Any] = field(default_factory=dict)
    excludes: Mapping[str, Any] = field(default_factory=dict)
    open_rules: tuple[str, ...] = ()


def import_sentences(
    sentences: Mapping[str, Any] | str | Path | Iterable[str | Path],
    lists: Mapping[str, Any],
    intents: Iterable[str] | None,
    say_number: SayNumber | None,
) -> tuple[str, list[Skipped], str]:
    """Turns Home Assistant's templates into the text of a grammar.

    Args:
        sentences: See `Grammar.from_home_assistant`, for the other arguments too.
        lists: More lists.
        intents: The intents that are wanted.
        say_number: How numbers are said.

    Returns:
        The text, what was left out, and a name for it.

    Raises:
        ConfigError: It is not that format, or nothing could be imported.
        MissingDependencyError: A file in YAML, and PyYAML is not installed.
        OSError: A file cannot be read.
    """
    if isinstance(sentences, Mapping):
        data, name = dict(sentences), "<home assistant>"
    else:
        paths = [sentences] if isinstance(sentences, (str, Path)) else list(sentences)
        files = [file for path in paths for file in _files(Path(path))]
        data = {}
        for file in files:
            _merge(data, _mapping(_read(file), str(file)), str(file))
        name = str(files[0]) if len(files) == 1 else str(paths[0])
    importer = _Importer(data, name, say_number)
    text = importer.run(lists, None if intents is None else set(intents))
    return text, importer.skipped, name


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in {".yaml", ".yml", ".json"})
    if not found:
        raise ConfigError(f"{path} holds no .yaml, .yml or .json file")
    return found


def _read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix in {".yaml", ".yml"}:
        try:
            import yaml
        except ImportError as error:
            raise MissingDependencyError(f"{path} is in YAML: pip install pyyaml") from error
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is {_short(value)}, expected a mapping")
    return value


def _sequence(value: Any, where: str) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise ConfigError(f"{where} is {_short(value)}, expected a list")
    return value


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where} is {_short(value)}, expected a string")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _merge(base: dict[str, Any], more: Mapping[str, Any], where: str) -> None:
    """Adds one file to those before it: mappings are joined, lists are appended."""
    for key, value in more.items():
        old = base.get(key)
        if isinstance(old, Mapping):
            joined = dict(old)
            _merge(joined, _mapping(value, f"{where}: {key}"), where)
            base[key] = joined
        elif isinstance(old, list):
            base[key] = [*old, *_sequence(value, f"{where}: {key}")]
        else:
            base[key] = value


class _Importer:
    def __init__(self, data: Mapping[str, Any], name: str, say_number: SayNumber | None) -> None:
        self.data = data
        self.name = name
        self.skipped: list[Skipped] = []
        language = str(data.get("language") or "en").replace("_", "-").partition("-")[0].lower()
        self.english = language == "en"
        self.symbols = SYMBOLS.get(language, {})
        self.say_number = say_number
        # The definitions of the grammar: kind and body to name.
        self.definitions: dict[tuple[str, str, str], str] = {}
        self.names: set[str] = set()
        self.bodies: list[str] = []
        # Lines of the text that may be left out when they turn out to be wrong: what each says and where it is from.
        self.origins: dict[str, tuple[str, str]] = {}

    def run(self, lists: Mapping[str, Any], wanted: set[str] | None) -> str:
        if _mapping(self.data.get("settings"), "settings").get("ignore_whitespace"):
            raise ConfigError(f"{self.name}: templates of a language without spaces cannot be imported")
        rules = {
            str(name): _string(body, f"expansion_rules.{name}")
            for name, body in _mapping(self.data.get("expansion_rules"), "expansion_rules").items()
        }
        known = self._lists(self.data.get("lists"), "lists") | self._lists(lists, "lists")
        blocks: list[str] = []
        intents = _mapping(self.data.get("intents"), "intents")
        if wanted is not None and not wanted <= set(map(str, intents)):
            unknown = ", ".join(sorted(wanted - set(map(str, intents))))
            raise ConfigError(f"{self.name} has no intent {unknown}")
        for intent, description in intents.items():
            if wanted is not None and intent not in wanted:
                continue
            where = f"intents.{intent}"
            for number, block in enumerate(_sequence(_mapping(description, where).get("data"), f"{where}.data")):
                blocks += self._block(str(intent), _mapping(block, where), f"{where}.data[{number}]", rules, known)
        if not blocks:
            reasons = f": {self.skipped[0]}" if self.skipped else ""
            raise ConfigError(f"{self.name}: no sentence could be imported{reasons}")
        skip = self._skip_words(_Scope(rules, known))
        header = [f"# Imported from {Path(self.name).name}: templates of Home Assistant's intents.", ""]
        return self._compilable("\n".join([*header, *blocks, *skip, *self.bodies]))

    def _lists(self, value: Any, where: str) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for name, description in _mapping(value, where).items():
            if isinstance(description, Sequence) and not isinstance(description, (str, bytes)):
                description = {"values": description}
            found[str(name)] = _mapping(description, f"{where}.{name}")
        return found

    def _block(
        self, intent: str, block: Mapping[str, Any], where: str, rules: Mapping[str, str], lists: Mapping[str, Any]
    ) -> list[str]:
        local_rules = {
            str(name): _string(body, f"{where}.expansion_rules.{name}")
            for name, body in _mapping(block.get("expansion_rules"), f"{where}.expansion_rules").items()
        }
        scope = _Scope(
            rules={**rules, **local_rules},
            lists={**lists, **self._lists(block.get("lists"), f"{where}.lists")},
            requires=_mapping(block.get("requires_context"), f"{where}.requires_context"),
            excludes=_mapping(block.get("excludes_context"), f"{where}.excludes_context"),
        )
        lines = []
        for number, sentence in enumerate(_sequence(block.get("sentences"), f"{where}.sentences")):
            place = f"{where}.sentences[{number}]"
            template = _string(sentence, place)
            try:
                line = "  " + self._template(template, scope)
            except _Unfit as reason:
                self.skipped.append(Skipped(place, template, str(reason)))
                continue
            self.origins[line] = (place, template)
            lines.append(line)
        if not lines:
            return []
        slots = []
        for slot, value in _mapping(block.get("slots"), f"{where}.slots").items():
            try:
                slots.append(f"  {_name(str(slot))} = {_one_line(value)}")
            except _Unfit as reason:
                self.skipped.append(Skipped(f"{where}.slots.{slot}", _short(value), str(reason)))
        return [f"intent {_name(intent)}:", *slots, *lines, ""]

    def _skip_words(self, scope: _Scope) -> list[str]:
        phrases = []
        for number, phrase in enumerate(_sequence(self.data.get("skip_words"), "skip_words")):
            place = f"skip_words[{number}]"
            try:
                phrases.append(self._template(_string(phrase, place), scope))
            except _Unfit as reason:
                self.skipped.append(Skipped(place, str(phrase), str(reason)))
        if not phrases:
            return []
        # Theirs may follow each other; two of ours may.
        rule = self._define("rule", "skip_words", "".join(f"\n  {phrase}" for phrase in phrases))
        return [f"skip: <{rule}> [<{rule}>]", ""]

    # --- Templates. ---

    def _template(self, template: str, scope: _Scope) -> str:
        parts = []
        depth: list[str] = []
        for part in _PARTS.findall(" ".join(template.split("\n"))):
            if part[0] == "{" and len(part) > 1:
                parts.append(self._list_reference(part[1:-1].strip(), scope))
            elif part[0] == "<" and len(part) > 1:
                parts.append(f"<{self._rule(part[1:-1].strip(), scope)}>")
            elif part in "([":
                depth.append(")" if part == "(" else "]")
                parts.append(part)
            elif part in ")]":
                if not depth or depth.pop() != part:
                    raise _Unfit(f"'{part}' closes nothing")
                parts.append(part)
            elif part in "|;":
                parts.append(part)
            elif part in "{}<>":
                raise _Unfit(f"'{part}' is not balanced")
            else:
                parts.append(self._literal(part[1:] if part[0] == "\\" else part))
        if depth:
            raise _Unfit(f"'{depth[-1]}' is missing")
        return re.sub(r"  +", " ", "".join(parts)).strip()

    def _literal(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        for symbol, said in self.symbols.items():
            text = text.replace(symbol, said)
        if self.english and re.search(r"\d", text):
            text = re.sub(r"(?<![\d/.,])\d{1,9}(?![\d/.,])", lambda digits: _in_english(int(digits[0])), text)
        for character in text:
            if character not in _PUNCTUATION and unicodedata.category(character)[0] not in "LM":
                raise _Unfit(f"{character!r} is not said as it is written")
        return text

    def _list_reference(self, reference: str, scope: _Scope) -> str:
        name, _, slot = (part.strip() for part in reference.partition(":"))
        defined = self._list(name, scope)
        slot = _name(slot or name)
        return f"{{{defined}}}" if slot == defined else f"{{{defined}:{slot}}}"

    def _rule(self, name: str, scope: _Scope) -> str:
        body = scope.rules.get(name)
        if body is None:
            raise _Unfit(f"there is no rule <{name}>")
        if name in scope.open_rules:
            raise _Unfit(f"the rule <{name}> refers to itself")
        inner = _Scope(scope.rules, scope.lists, scope.requires, scope.excludes, (*scope.open_rules, name))
        try:
            return self._define("rule", name, " " + self._template(body, inner))
        except _Unfit as reason:
            raise _Unfit(f"in the rule <{name}>: {reason}") from None

    # --- Lists. ---

    def _list(self, name: str, scope: _Scope) -> str:
        description = scope.lists.get(name)
        if description is None:
            raise _Unfit(f"there is no list {{{name}}}; it can be given in `lists`")
        if description.get("wildcard"):
            raise _Unfit(f"{{{name}}} is a wildcard, which a grammar cannot hold")
        if "range" in description:
            return self._range(name, _mapping(description["range"], f"lists.{name}.range"))
        if "values" not in description:
            raise ConfigError(f"{self.name}: the list {name} has neither values nor range nor wildcard")
        lines = list(self._values(name, description["values"], scope))
        if not lines:
            raise _Unfit(f"no value of {{{name}}} fits")
        return self._define("list", name, "".join(f"\n  {line}" for line in lines))

    def _values(self, name: str, values: Any, scope: _Scope) -> Iterator[str]:
        for number, value in enumerate(_sequence(values, f"lists.{name}.values")):
            place = f"lists.{name}.values[{number}]"
            if isinstance(value, Mapping):
                said, out = _string(value.get("in"), f"{place}.in"), value.get("out")
                if not _fits(_mapping(value.get("context"), f"{place}.context"), scope):
                    continue
            else:
                said, out = str(value), None if _TEMPLATE.search(str(value)) else value
            try:
                line = self._template(said, scope)
                if not line:
                    raise _Unfit("nothing is said")
                out = None if out is None else _one_line(out)
            except _Unfit as reason:
                skipped = Skipped(place, said, str(reason))
                if skipped not in self.skipped:
                    self.skipped.append(skipped)
                continue
            if out is not None and (_TEMPLATE.search(line) or out != _core.normalise_text(line, "lower")):
                line += f" -> {out}"
            self.origins["  " + line] = (place, said)
            yield line

    def _range(self, name: str, description: Mapping[str, Any]) -> str:
        try:
            first, last = int(description["from"]), int(description["to"])
            step = int(description.get("step") or 1)
            times = float(1 if description.get("multiplier") is None else description["multiplier"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{self.name}: the range {name} is {_short(description)}: {error!r}") from error
        parts = _FRACTIONS.get(str(description.get("fractions")), 1)
        words_language = str(description.get("words_language") or "").partition("-")[0].lower()
        if not (words_language == "en" if words_language else self.english):
            return self._range_in_words(name, first, last, step, times, parts)
        body = f" {first} to {last}"
        if parts > 1:
            if step != 1:
                raise _Unfit(f"the range {{{name}}} has fractions and a step")
            body += f" step {1 / parts:g}"
        elif step != 1:
            body += f" step {step}"
        if times != 1.0:
            body += f" times {times:g}"
        return self._define("range", name, body)

    def _range_in_words(self, name: str, first: int, last: int, step: int, times: float, parts: int) -> str:
        if self.say_number is None:
            raise _Unfit(f"the numbers of {{{name}}} are not English; `say_number` can say them")
        lines = []
        for whole in range(first, last + 1, step):
            for part in range(parts if whole < last else 1):
                number = whole + part / parts
                for said in self.say_number(int(number) if number.is_integer() else number):
                    lines.append(f"{said} -> {number * times:g}")
        if not lines:
            raise _Unfit(f"the range {{{name}}} is empty")
        return self._define("list", name, "".join(f"\n  {line}" for line in lines))

    # --- The grammar's text. ---

    def _define(self, kind: str, name: str, body: str) -> str:
        """The name of a definition: the same for the same body, and one of its own for another."""
        base = _name(name)
        known = self.definitions.get((kind, base, body))
        if known is not None:
            return known
        chosen, count = base, 1
        while chosen in self.names:
            count += 1
            chosen = f"{base}_{count}"
        self.names.add(chosen)
        self.definitions[kind, base, body] = chosen
        self.bodies.append(f"{kind} {chosen}:{body}" + ("\n" if body.startswith("\n") else ""))
        return chosen

    def _compilable(self, text: str) -> str:
        """Leaves out sentences and values that the compiler refuses, such as those that can be empty."""
        lines = text.split("\n")
        while True:
            try:
                Grammar("\n".join(lines) + "\n", name=self.name)
            except ConfigError as error:
                place = re.match(r":(\d+):\d+: (.*)", str(error).removeprefix(self.name), re.DOTALL)
                number = int(place[1]) - 1 if place else -1
                origin = self.origins.get(lines[number]) if place else None
                if place is None or origin is None:
                    raise
                self.skipped.append(Skipped(*origin, place[2]))
                del lines[number]
            else:
                return "\n".join(lines) + "\n"


def _name(name: str) -> str:
    return re.sub(r"\W+", "_", name) or "_"


def _in_english(number: int) -> str:
    return f" {_core.say_number(1000 * number)[0]} "


def _one_line(value: Any) -> str:
    """A value as the grammar writes it."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        text = ", ".join(map(str, value))
    elif isinstance(value, Mapping):
        raise _Unfit("a mapping is no value of a slot")
    else:
        text = str(value).strip()
    if not text or "\n" in text or re.search(r"(^|\s)#", text):
        raise _Unfit("a value is one line, and no comment")
    return text


def _fits(context: Mapping[str, Any], scope: _Scope) -> bool:
    """Whether a value may stand in sentences with these conditions; what it says nothing about does not matter."""
    for wanted, conditions in ((True, scope.requires), (False, scope.excludes)):
        for key, condition in conditions.items():
            if key not in context:
                continue
            if isinstance(condition, Mapping):
                condition = condition.get("value")
            if condition is None:
                continue
            actual = context[key]
            if isinstance(actual, Mapping):
                actual = actual.get("value")
            several = isinstance(condition, Sequence) and not isinstance(condition, str)
            if (actual in condition if several else actual == condition) != wanted:
                return False
    return True
