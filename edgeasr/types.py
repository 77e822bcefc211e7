"""What a recogniser answers: words, segments, transcripts and partial results. All of them are immutable.

Times are seconds from the start of the stream, confidences lie between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

# What stands for words that the recogniser is not confident enough of.
UNSURE_MARK = "[?]"


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word.

    Attributes:
        text: The word as the model writes it.
        start: Where the word begins, in seconds from the start of the stream.
        end: Where the word ends, in seconds from the start of the stream.
        confidence: The probability that the word is right, where the transcript is `calibrated`. Otherwise the product
            of the posteriors of the word's tokens: the model's own belief, which says more about the order of words
            than about how many of them are right.
        accepted: Whether the confidence is at least the `min_confidence` that was asked for.
    """

    text: str
    start: float
    end: float
    confidence: float
    accepted: bool = True


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of the n-best readings of an utterance.

    Attributes:
        text: The words, separated by spaces.
        words: The words, with times and confidences of the same definition as in the best reading.
        score: Natural log, of the decoder's hypothesis for the whole utterance.
    """

    text: str
    words: tuple[Word, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech: consecutive words, the first one's start and the last one's end, in seconds.

    Attributes:
        text: The words, with a mark in place of those that are not accepted.
        start: Where the first word begins, in seconds from the start of the stream.
        end: Where the last word ends, in seconds from the start of the stream.
        words: All words, those that are not accepted included.
        accepted: Whether `confidence` is at least the `min_segment_confidence` that was asked for.
        alternatives: Of a stream with endpoints: the n-best readings, best first, where more than one was asked for.
    """

    text: str
    start: float
    end: float
    words: tuple[Word, ...]
    accepted: bool = True
    alternatives: tuple[Alternative, ...] = ()

    @property
    def confidence(self) -> float:
        """The share of its words that is expected to be right: the mean of their confidences; 0 without words.

        An expectation is linear, so it is as honest as the words' confidences are, however words depend on each other.
        """
        return mean_confidence(self.words) or 0.0


@dataclass(frozen=True, slots=True)
class Transcript:
    """The final result of a stream.

    Attributes:
        segments: The stretches of speech in order; none where no word was recognised.
        duration: Length of the audio in seconds.
        warnings: What the reader of the audio has to say about it, such as damage in a file; one line each.
        calibrated: Whether confidences are calibrated probabilities: whether the bundle has a calibration for the way
            of decoding that was used.
        unsure_mark: What stands in texts for words that are not accepted; empty where they are left out.
        alternatives: Of a stream that is one utterance: the n-best readings, best first, where more than one was asked
            for. Those of a stream with endpoints stand in its segments.

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
    calibrated: bool = False
    unsure_mark: str = UNSURE_MARK
    alternatives: tuple[Alternative, ...] = ()

    @property
    def text(self) -> str:
        """The words of all segments, separated by spaces."""
        return " ".join(segment.text for segment in self.segments if segment.text)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments, accepted or not."""
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def shown_words(self) -> tuple[Word, ...]:
        """The words as texts and captions show them: what is not accepted is one marked word, or left out."""
        return tuple(
            word
            for segment in self.segments
            for word in shown(segment.words, self.unsure_mark, accepted=segment.accepted)
        )

    @property
    def confidence(self) -> float | None:
        """The share of all words that is expected to be right; None where no word was recognised."""
        return mean_confidence(self.words)


class Partial:
    """What a stream has understood so far. Immutable: any thread may read it while the stream goes on.

    No later audio changes the committed words; the tentative ones may still change. Making a partial costs the
    same however long the stream has run; the words are put together when they are read. Of a stream with endpoints, it
    is about the utterance that is being spoken.

    Example:
        >>> partial = Partial([Word("good", 0.1, 0.3, 0.9)], (Word("mor", 0.4, 0.5, 0.6),), 0.8)
        >>> partial.text, partial.num_committed_words
        ('good mor', 1)
        >>> match partial:
        ...     case Partial(committed, tentative):
        ...         print([word.text for word in tentative])
        ['mor']
    """

    __slots__ = ("_calibrated", "_committed", "_num_committed_words", "_tentative", "_time_s", "_unsure_mark")
    __match_args__ = ("committed", "tentative")

    def __init__(
        self,
        committed: Sequence[Word],
        tentative: tuple[Word, ...],
        time_s: float,
        *,
        calibrated: bool = False,
        unsure_mark: str = UNSURE_MARK,
    ) -> None:
        """Keeps the list of committed words, which may grow at its end but must not change otherwise."""
        self._committed = committed
        self._num_committed_words = len(committed)
        self._tentative = tentative
        self._time_s = time_s
        self._calibrated = calibrated
        self._unsure_mark = unsure_mark

    @property
    def time_s(self) -> float:
        """Seconds of audio that the stream had been given."""
        return self._time_s

    @property
    def num_committed_words(self) -> int:
        """How many of the first words are final (but for an end that lies behind the end of the sound)."""
        return self._num_committed_words

    @property
    def calibrated(self) -> bool:
        """Whether confidences are calibrated probabilities, as for a `Transcript`."""
        return self._calibrated

    @property
    def unsure_mark(self) -> str:
        """What stands in texts for words that are not accepted; empty where they are left out."""
        return self._unsure_mark

    @property
    def words(self) -> tuple[Word, ...]:
        """All words so far, the committed ones first, accepted or not."""
        return (*self.committed, *self._tentative)

    @property
    def committed(self) -> tuple[Word, ...]:
        """The words that are final."""
        return tuple(islice(self._committed, self._num_committed_words))

    @property
    def tentative(self) -> tuple[Word, ...]:
        """The words that may still change."""
        return self._tentative

    @property
    def text(self) -> str:
        """All words so far, separated by spaces, with a mark in place of those that are not accepted."""
        return text_of(self.words, self._unsure_mark)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Partial):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return (self.committed, self._tentative, self._time_s, self._calibrated, self._unsure_mark)

    def __repr__(self) -> str:
        return f"Partial({self.text!r}, time_s={self._time_s})"


def shown(words: Iterable[Word], unsure_mark: str, *, accepted: bool = True) -> list[Word]:
    """The words as texts show them: a run of words that are not accepted is one word that reads `unsure_mark`.

    Args:
        words: In their order.
        unsure_mark: Empty leaves such words out.
        accepted: False when none of them is.
    """
    result: list[Word] = []
    for word in words:
        if accepted and word.accepted:
            result.append(word)
        elif not unsure_mark:
            continue
        elif result and not result[-1].accepted:
            before = result[-1]
            result[-1] = Word(unsure_mark, before.start, word.end, max(before.confidence, word.confidence), False)
        else:
            result.append(Word(unsure_mark, word.start, word.end, word.confidence, False))
    return result


def text_of(words: Iterable[Word], unsure_mark: str, *, accepted: bool = True) -> str:
    """The words as one line; see `shown`."""
    return " ".join(word.text for word in shown(words, unsure_mark, accepted=accepted))


def mean_confidence(words: Sequence[Word]) -> float | None:
    """The share of words that is expected to be right; None without words."""
    return sum(word.confidence for word in words) / len(words) if words else None
