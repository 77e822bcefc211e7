"""What a recogniser answers: words, segments, transcripts and partial results. All of them are immutable.

Times are seconds from the start of the stream, confidences lie between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word.

    Attributes:
        text: The word as the model writes it.
        start: Where the word begins, in seconds from the start of the stream.
        end: Where the word ends, in seconds from the start of the stream.
        confidence: The product of the posteriors of the word's tokens. CTC takes the frames of a recording to be
            independent of each other, so the product is the model's own probability that every token is right.
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech: consecutive words, the first one's start and the last one's end, in seconds."""

    text: str
    start: float
    end: float
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    """The final result of a stream.

    Attributes:
        segments: The stretches of speech in order; none where no word was recognised.
        duration: Length of the audio in seconds.
        warnings: What the reader of the audio has to say about it, such as damage in a file; one line each.

    Example:
        >>> word = Word("hello", start=0.2, end=0.6, confidence=0.9)
        >>> transcript = Transcript((Segment("hello", 0.2, 0.6, (word,)),), duration=1.0)
        >>> transcript.text
        'hello'
        >>> transcript.words[0].start
        0.2
    """

    segments: tuple[Segment, ...]
    duration: float
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The words of all segments, separated by spaces."""
        return " ".join(segment.text for segment in self.segments)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments."""
        return tuple(word for segment in self.segments for word in segment.words)


class Partial:
    """What a stream has understood so far. Immutable: any thread may read it while the stream goes on.

    The first `num_committed_words` words are final: no later audio changes them. Making a partial costs the
    same however long the stream has run; `words` and `text` are put together when they are read.

    Example:
        >>> partial = Partial([Word("good", 0.1, 0.3, 0.9)], (Word("mor", 0.4, 0.5, 0.6),), duration=0.8)
        >>> partial.text, partial.num_committed_words
        ('good mor', 1)
    """

    __slots__ = ("_committed", "_duration", "_num_committed_words", "_tail")

    def __init__(self, committed: Sequence[Word], tail: tuple[Word, ...], duration: float) -> None:
        """Keeps the list of committed words, which may grow at its end but must not change otherwise."""
        self._committed = committed
        self._num_committed_words = len(committed)
        self._tail = tail
        self._duration = duration

    @property
    def duration(self) -> float:
        """Seconds of audio that the stream had been given."""
        return self._duration

    @property
    def num_committed_words(self) -> int:
        """How many of the first words are final (but for an end that lies behind the end of the sound)."""
        return self._num_committed_words

    @property
    def words(self) -> tuple[Word, ...]:
        """All words so far, the committed ones first."""
        return (*islice(self._committed, self._num_committed_words), *self._tail)

    @property
    def tail(self) -> tuple[Word, ...]:
        """The words that may still change."""
        return self._tail

    @property
    def text(self) -> str:
        """All words so far, separated by spaces."""
        return " ".join(word.text for word in self.words)

    def __repr__(self) -> str:
        return f"Partial({self.text!r}, duration={self.duration})"
