"""Token ids and what they spell: the table of a bundle, and decoded tokens put together to words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgeasr.errors import BundleError


@dataclass(frozen=True, kw_only=True, slots=True)
class WordTiming:
    """How token frames become word times.

    Attributes:
        frame_s: Seconds from one row of log-probs to the next.
        start_offset_s: Added to the start of a word's first token.
        end_offset_s: Added to the end of a word's last token.
    """

    frame_s: float
    start_offset_s: float = 0.0
    end_offset_s: float = 0.0


class SpelledWord(NamedTuple):
    """A word that the tokens `begin <= place < end` of a sequence spell."""

    text: str
    begin: int
    end: int


class _Spelling(NamedTuple):
    """The letters of a token, and whether a word boundary lies before or after them."""

    text: str
    boundary_before: bool
    boundary_after: bool


class TokenTable:
    """The tokens of a model, by id. Immutable.

    The word delimiter may be a token of its own (characters: `h i | y o u`) or begin or end tokens (subwords:
    `▁hi ▁you`).

    Example:
        >>> table = TokenTable(["<blank>", "|", "h", "i"], blank_id=0, word_delimiter="|")
        >>> len(table), table.names[2]
        (4, 'h')
    """

    def __init__(self, names: Sequence[str], *, blank_id: int, word_delimiter: str) -> None:
        """Builds the table.

        Args:
            names: The tokens; a token's place is its id.
            blank_id: Id of the CTC blank, which spells nothing.
            word_delimiter: The string that separates words.

        Raises:
            BundleError: A token is empty or there twice, the blank is not in the table, or no token has the
                word delimiter at its start or end.
        """
        if not 0 <= blank_id < len(names):
            raise BundleError(f"blank_id is {blank_id}, expected the place of one of the {len(names)} tokens")
        if not word_delimiter:
            raise BundleError("the word delimiter is empty, expected a string such as '|' or '▁'")
        places: dict[str, int] = {}
        for token_id, name in enumerate(names):
            if not name or name != name.strip():
                raise BundleError(f"token {token_id} is {name!r}, expected no spaces around it")
            if name in places:
                raise BundleError(f"tokens {places[name]} and {token_id} are both {name!r}")
            places[name] = token_id
        self.names = tuple(names)
        self.blank_id = blank_id
        self.word_delimiter = word_delimiter
        self._spellings = tuple(self._spell(token_id, name) for token_id, name in enumerate(names))
        if not any(spelling.boundary_before or spelling.boundary_after for spelling in self._spellings):
            raise BundleError(f"no token begins or ends with the word delimiter {word_delimiter!r}")

    @property
    def silent_ids(self) -> tuple[int, ...]:
        """The tokens without letters: the blank, and delimiters of their own."""
        return tuple(token_id for token_id, spelling in enumerate(self._spellings) if not spelling.text)

    @property
    def boundary_ids(self) -> tuple[int, ...]:
        """The tokens that have a word boundary before them."""
        return tuple(token_id for token_id, spelling in enumerate(self._spellings) if spelling.boundary_before)

    @classmethod
    def read(cls, path: Path, *, blank_id: int, word_delimiter: str) -> TokenTable:
        """Reads a table from a UTF-8 text file with one token a line; the line number, from zero, is the id.

        Raises:
            BundleError: The file cannot be read or holds no valid table; the message names the file.
        """
        try:
            # Only line feeds end a line here; str.splitlines() would also split at tokens such as U+2028.
            lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
            return cls(lines, blank_id=blank_id, word_delimiter=word_delimiter)
        except (OSError, UnicodeDecodeError, BundleError) as error:
            raise BundleError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        """Writes the table as `read` expects it."""
        path.write_text("".join(f"{name}\n" for name in self.names), encoding="utf-8")

    def __len__(self) -> int:
        return len(self.names)

    def _spell(self, token_id: int, name: str) -> _Spelling:
        if token_id == self.blank_id:
            return _Spelling("", False, False)
        delimiter = self.word_delimiter
        text = name.removeprefix(delimiter).removesuffix(delimiter)
        if delimiter in text:
            raise BundleError(f"token {token_id}, {name!r}, has the word delimiter {delimiter!r} inside")
        return _Spelling(text, name.startswith(delimiter), name.endswith(delimiter))

    def num_complete(self, token_ids: Sequence[int]) -> int:
        """How many of the first tokens belong to words that no later token can lengthen."""
        for place in range(len(token_ids), 0, -1):
            spelling = self._spellings[token_ids[place - 1]]
            if spelling.boundary_after:
                return place
            if spelling.boundary_before:
                return place - 1
        return 0

    def words(self, token_ids: Sequence[int]) -> list[SpelledWord]:
        """Splits tokens at the word delimiter. The last word may be unfinished.

        Args:
            token_ids: In their order, beginning at a word boundary.

        Returns:
            The words. Each depends on its own tokens alone, so that they are the same however the tokens arrive.
        """
        words: list[SpelledWord] = []
        text = ""
        begin = end = 0
        for place, token_id in enumerate(token_ids):
            letters, boundary_before, boundary_after = self._spellings[token_id]
            if boundary_before and text:
                words.append(SpelledWord(text, begin, end))
                text = ""
            if letters:
                if not text:
                    begin = place
                text += letters
                end = place + 1
            if boundary_after and text:
                words.append(SpelledWord(text, begin, end))
                text = ""
        if text:
            words.append(SpelledWord(text, begin, end))
        return words
