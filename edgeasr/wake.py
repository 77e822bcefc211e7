"""Wake phrases: a phrase is searched in the model's rows of log-probs, without the decoder and without training.

The phrase is spelled in the model's tokens, and a path of alignment (Viterbi, with CTC's blanks) may begin at every
row. A path is measured against the best that each row has to offer: a row costs as much as its token is less probable
than the most probable one. A phrase that is said clearly costs next to nothing, whatever the sound is like; another one
costs some nats for every letter that differs. What a letter may cost on average is the threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeasr.errors import ConfigError
from edgeasr.tokens import TokenTable

FloatArray = npt.NDArray[np.float32]

# What it costs to begin or end amid a word. Less would find phrases inside of longer words, more would miss those that
# the model has run together with their neighbours.
AMID_A_WORD_COST = 3.0
# A detection is told when no cheaper one has come for so long.
SETTLED_S = 0.24


@dataclass(frozen=True, kw_only=True)
class WakeConfig:
    """A wake phrase, and how sure one must be of it.

    Attributes:
        phrase: Words in the model's letters.
        max_letter_cost: What a letter may cost on average, in nats; more finds more and raises more false alarms. See
            ``docs/live.md`` for what a value means.
        awake_s: For how long utterances are listened to after the phrase, unless more is said.

    Raises:
        ConfigError: A value that cannot work.

    Example:
        >>> WakeConfig(phrase="hey computer").max_letter_cost > 0
        True
    """

    phrase: str
    max_letter_cost: float = 1.2
    awake_s: float = 8.0

    def __post_init__(self) -> None:
        """Checks the values."""
        if not self.phrase.split():
            raise ConfigError(f"the wake phrase {self.phrase!r} has no letters")
        if not 0 < self.max_letter_cost < math.inf:
            raise ConfigError(f"max_letter_cost is {self.max_letter_cost}, expected a number above 0")
        if not 0 < self.awake_s < math.inf:
            raise ConfigError(f"awake_s is {self.awake_s}, expected a number above 0")


@dataclass(frozen=True, kw_only=True)
class Detection:
    """A place where the phrase may have been said.

    Attributes:
        start_row: The first row of its first letter.
        end_row: The row after its last letter.
        letter_cost: What a letter costs on average, in nats; 0 when every row prefers the phrase to all else.
    """

    start_row: int
    end_row: int
    letter_cost: float


class KeywordSpotter:
    """Searches a phrase in rows of log-probs. An accept / reset machine, exact for any cut of the rows.

    Attributes:
        config: The phrase.
        settled_rows: How many rows after its end a phrase is found.
        num_rows: How many rows have been taken.

    Example:
        >>> table = TokenTable(["<blank>", "|", "h", "i"], blank_id=0, word_delimiter="|")
        >>> spotter = KeywordSpotter(WakeConfig(phrase="hi"), tokens=table, frame_s=0.1)
        >>> rows = np.full((6, 4), -5.0, np.float32)
        >>> rows[range(6), [0, 2, 3, 0, 0, 0]] = -0.1
        >>> [(found.start_row, found.end_row) for found in spotter.accept(rows)]
        [(1, 3)]
    """

    def __init__(self, config: WakeConfig, *, tokens: TokenTable, frame_s: float) -> None:
        """Prepares.

        Args:
            config: The phrase.
            tokens: The model's tokens: letters, and a word delimiter of its own.
            frame_s: Seconds from one row to the next.

        Raises:
            ConfigError: The tokens cannot spell the phrase letter by letter.
        """
        places = {name: token for token, name in enumerate(tokens.names)}
        words = config.phrase.split()
        if not all(letter in places for word in words for letter in word):
            words = [word.lower() for word in words]
        letters = [*tokens.word_delimiter.join(words)]
        missing = sorted({letter for letter in (*letters, tokens.word_delimiter) if letter not in places})
        missing += [tokens.word_delimiter] if any(tokens.word_delimiter in word for word in words) else []
        if missing:
            raise ConfigError(
                f"the model's tokens cannot spell the wake phrase {config.phrase!r} letter by letter: they lack "
                f"{', '.join(map(repr, missing))}"
            )
        self.config = config
        self._max_cost = config.max_letter_cost * len(letters)
        self._num_letters = len(letters)
        self._blank, self._delimiter = tokens.blank_id, places[tokens.word_delimiter]
        # A state for each letter, and one for the blanks between two of them. A letter may follow at once if it is
        # another one than that before.
        spelled = np.array([places[letter] for letter in letters])
        self._tokens = np.full(2 * len(letters) - 1, tokens.blank_id)
        self._tokens[::2] = spelled
        self._may_skip = np.zeros(len(self._tokens), bool)
        self._may_skip[2::2] = np.diff(spelled) != 0
        self.settled_rows = max(1, round(SETTLED_S / frame_s))
        self.reset()

    def reset(self) -> None:
        """Goes back to the start of a stream."""
        self.num_rows = 0
        self._cost = np.full(len(self._tokens), np.inf)
        self._start = np.zeros(len(self._tokens), np.int64)
        # What the most probable tokens spell: the last one, and the last one that is not blank.
        self._top = self._written = self._blank
        self._found: Detection | None = None
        self._amid_a_word = False

    def accept(self, log_probs: FloatArray) -> list[Detection]:
        """Takes rows of log-probs, (num_rows, vocab_size).

        Returns:
            Where the phrase was found, as soon as that is settled.
        """
        found = [self._step(row) for row in log_probs.astype(np.float64)]
        return [detection for detection in found if detection is not None]

    def _step(self, row: npt.NDArray[np.float64]) -> Detection | None:
        """Takes a row; one step of the Viterbi algorithm."""
        begin_cost = 0.0 if self._written in (self._blank, self._delimiter) else AMID_A_WORD_COST
        came = np.stack([self._cost, np.roll(self._cost, 1), np.roll(self._cost, 2)])
        came[1, 0] = begin_cost
        came[2, ~self._may_skip] = np.inf
        choice = came.argmin(0)
        start = self._start[np.arange(len(choice)) - choice]
        if choice[0] == 1:
            start[0] = self.num_rows
        self._start = start
        top = int(row.argmax())
        self._cost = came.min(0) + (row[top] - row[self._tokens])
        if top != self._top and top != self._blank:
            if self._found is not None and self.num_rows >= self._found.end_row and top != self._delimiter:
                self._amid_a_word = self._amid_a_word or self._written != self._delimiter
            self._written = top
        self._top = top
        self.num_rows += 1
        return self._settle()

    def _settle(self) -> Detection | None:
        """Remembers the cheapest end of the phrase; returns it when it has been that for a while."""
        cost = self._cost[-1] / self._num_letters
        if self._cost[-1] <= self._max_cost and (self._found is None or cost < self._found.letter_cost):
            self._found = Detection(start_row=int(self._start[-1]), end_row=self.num_rows, letter_cost=float(cost))
            self._amid_a_word = False
        found = self._found
        if found is None or self.num_rows < found.end_row + self.settled_rows:
            return None
        self._found = None
        total = found.letter_cost * self._num_letters + (AMID_A_WORD_COST if self._amid_a_word else 0.0)
        if total > self._max_cost:
            return None
        # The same sound is not to be found again.
        self._cost = np.full(len(self._tokens), np.inf)
        return found
