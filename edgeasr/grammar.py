"""Grammars: what may be said, as templates; and what a text that was said means.

A grammar constrains the beam search to its sentences, and `Grammar.parse` finds the intent and the slots of a text.
The language is described in ``docs/grammar.md``; the templates of Home Assistant's intents can be imported. Compiling
is done in the C++ core (``csrc/core/grammar.h``), in milliseconds, and needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgeasr import _core
from edgeasr.config import GrammarLimits
from edgeasr.errors import InputError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Grammar", "Parse", "Skipped", "Slot"]

SlotValue = str | int | float


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot that a text fills.

    Attributes:
        name: The slot.
        value: A number for number ranges, else a string.
        text: What was said; empty for a value that the intent fixes.
        first_word: The first of the words that say it, counted from zero.
        end_word: The word after the last of them; equal to `first_word` for a value that the intent fixes.
    """

    name: str
    value: SlotValue
    text: str = ""
    first_word: int = 0
    end_word: int = 0


@dataclass(frozen=True, slots=True)
class Parse:
    """What a text means.

    Attributes:
        intent: The intent that it expresses.
        slots: The value of each slot. Of a slot that was said twice it is the first.
        spans: All slots with the words that say them, in order; those that the intent fixes come last.
        line: The line of the sentence in the grammar.
    """

    intent: str
    slots: Mapping[str, SlotValue]
    spans: tuple[Slot, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A part of an imported grammar that was left out.

    Attributes:
        where: The part, such as ``intents.HassTurnOn.data[2].sentences[0]``.
        text: What it says.
        reason: Why it was left out.
    """

    where: str
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}: {self.text}"


class Grammar:
    """A compiled grammar. Immutable as far as anybody can see: threads and decoders may share it.

    While it is used, an automaton grows in it, up to ``limits.max_states`` states; `renewed` starts another one. It is
    pickled as its text.

    Example:
        >>> grammar = Grammar.from_text('''
        ... intent set_light:
        ...   (set|turn) [the] {room} light[s] to {level} percent
        ... list room:
        ...   living room
        ...   (kitchen|cook room) -> kitchen
        ... range level: 0 to 100 step 5
        ... ''')
        >>> parse = grammar.parse("set the cook room lights to forty five percent")
        >>> parse.intent, dict(parse.slots)
        ('set_light', {'room': 'kitchen', 'level': 45})
        >>> grammar.parse("what time is it") is None
        True
    """

    def __init__(
        self,
        text: str,
        *,
        name: str = "<grammar>",
        letters: str = "lower",
        limits: GrammarLimits | None = None,
        skipped: Sequence[Skipped] = (),
    ) -> None:
        """Compiles a grammar.

        Args:
            text: The grammar, in the language of ``docs/grammar.md``.
            name: What messages call it: the name of its file.
            letters: How the model's tokens write letters: ``lower``, ``upper``, or ``keep`` for as they stand.
            limits: What it may not exceed; the defaults if not given.
            skipped: What an import left out; it is only kept.

        Raises:
            ConfigError: An error in the grammar, with its file, line and column, or a grammar beyond the limits.
        """
        self._text = text
        self._name = name
        self._letters = letters
        self._limits = GrammarLimits() if limits is None else limits
        self._skipped = tuple(skipped)
        self._core = _core.Grammar(_to_bytes(text), name, letters, self._limits)

    @classmethod
    def from_text(
        cls, text: str, *, name: str = "<grammar>", letters: str = "lower", limits: GrammarLimits | None = None
    ) -> Grammar:
        """Compiles a grammar from its text; see the constructor."""
        return cls(text, name=name, letters=letters, limits=limits)

    @classmethod
    def from_file(cls, path: str | Path, *, letters: str = "lower", limits: GrammarLimits | None = None) -> Grammar:
        """Compiles a grammar from a file in UTF-8.

        Args:
            path: The file.
            letters: See the constructor.
            limits: See the constructor.

        Raises:
            ConfigError: See the constructor.
            OSError: The file cannot be read.
        """
        data = Path(path).read_bytes()
        # What is not UTF-8 is left to the compiler, which names line and column.
        return cls(data.decode("utf-8", "surrogateescape"), name=str(path), letters=letters, limits=limits)

    @classmethod
    def from_home_assistant(
        cls,
        sentences: Mapping[str, Any] | str | Path | Iterable[str | Path],
        *,
        lists: Mapping[str, Any] | None = None,
        intents: Iterable[str] | None = None,
        say_number: Callable[[float], Sequence[str]] | None = None,
        letters: str = "lower",
        limits: GrammarLimits | None = None,
    ) -> Grammar:
        """Imports sentence templates in the format of Home Assistant's intents.

        What cannot be imported (wildcards, lists that are not there, text that cannot be spoken) is left out, and
        `skipped` says what and why; `text` is the grammar that the templates became.

        Args:
            sentences: The templates as a dictionary, or a file of them in JSON or YAML, or a folder of such files, or
                several files and folders.
            lists: More lists, such as the ``name`` and ``area`` of a home, in the same format or as sequences of
                values; they take precedence.
            intents: Only these intents; all if not given.
            say_number: How numbers are said: texts for a number. English needs none; without one the number ranges of
                other languages are left out.
            letters: See the constructor.
            limits: See the constructor.

        Raises:
            ConfigError: It is not that format, nothing could be imported, or the grammar is beyond the limits.
            MissingDependencyError: A file in YAML, and PyYAML is not installed.
            OSError: A file cannot be read.
        """
        from edgeasr.home_assistant import import_sentences

        text, skipped, name = import_sentences(sentences, lists or {}, intents, say_number)
        return cls(text, name=name, letters=letters, limits=limits, skipped=skipped)

    def parse(self, text: str) -> Parse | None:
        """Finds out what a text means.

        Where a text can be read in several ways the first counts: of sentences and alternatives the one that is written
        first, an optional part taken rather than left out, of a list's values the longest, and of equal ones that which
        is written first.

        Args:
            text: What was said; letters, punctuation and spaces are normalised as those of the templates are.

        Returns:
            The meaning, or None for a text that is no sentence of the grammar.

        Raises:
            InputError: A text of more than 4096 bytes.
        """
        found = self._core.parse(_encodable(text))
        if found is None:
            return None
        intent, slots, line = found
        spans = tuple(
            Slot(name, _number(value) if is_number else value, said, first_word, end_word)
            for name, value, is_number, said, first_word, end_word in slots
        )
        values: dict[str, SlotValue] = {}
        for slot in spans:
            values.setdefault(slot.name, slot.value)
        return Parse(intent, MappingProxyType(values), spans, line)

    def accepts(self, text: str) -> bool:
        """Whether a text is a sentence of the grammar; quicker than `parse`, and of any length."""
        return self._core.accepts(_encodable(text))

    def sample(self, rng: Random | np.random.Generator) -> str:
        """Makes up a sentence: each sentence of the grammar is equally likely, and so are alternatives and values.

        Phrases to skip are left out.

        Args:
            rng: Where the chance comes from: ``random.Random`` or ``numpy.random.Generator``. Equal chance gives equal
                sentences everywhere.
        """
        seed = rng.getrandbits(63) if isinstance(rng, Random) else int(rng.integers(2**63))
        return self._core.sample(seed)

    def check_spelling(self, tokens: Sequence[str], word_delimiter: str = "▁") -> None:
        """Makes sure that tokens can spell all words of the grammar.

        Args:
            tokens: The tokens of a model.
            word_delimiter: What stands for a space in them.

        Raises:
            ConfigError: A word that they cannot spell; the message names its file, line and column.
        """
        self._core.check_spelling([token.replace(word_delimiter, " ") for token in tokens])

    def renewed(self) -> Grammar:
        """The same grammar without the states that its automaton has grown; it is not compiled again."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._core = self._core.renewed()
        return other

    @property
    def core(self) -> _core.Grammar:
        """What a decoder is given."""
        return self._core

    @property
    def text(self) -> str:
        """The grammar's text."""
        return self._text

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._name

    @property
    def limits(self) -> GrammarLimits:
        """What it may not exceed."""
        return self._limits

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What an import left out."""
        return self._skipped

    @property
    def intents(self) -> tuple[str, ...]:
        """The names of the intents, in the order in which they are written."""
        return tuple(self._core.intents)

    @property
    def num_sentences(self) -> int:
        """How many sentences are written in the grammar."""
        return self._core.num_sentences

    @property
    def num_nodes(self) -> int:
        """How many nodes the compiled graph has."""
        return self._core.num_nodes

    @property
    def num_readings(self) -> float:
        """How many ways there are through the graph: at least as many as different texts."""
        return self._core.num_readings

    @property
    def num_states(self) -> int:
        """How many states the automaton has grown so far."""
        return self._core.num_states

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._text, self._name, self._letters, self._limits, self._skipped)

    def __repr__(self) -> str:
        return f"<Grammar {self._name}: {len(self.intents)} intents, {self.num_sentences} sentences>"


def _rebuild(text: str, name: str, letters: str, limits: GrammarLimits, skipped: tuple[Skipped, ...]) -> Grammar:
    return Grammar(text, name=name, letters=letters, limits=limits, skipped=skipped)


def _number(digits: str) -> int | float:
    return float(digits) if "." in digits else int(digits)


def _to_bytes(text: str) -> bytes:
    """A grammar's text in UTF-8; what is none stays none, so that the compiler can name its place."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _encodable(text: str) -> str:
    """Refuses lone surrogates, which no UTF-8 has."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the text holds a character that is none: {error}") from error
    return text
