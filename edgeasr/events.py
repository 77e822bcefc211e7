"""What happens while one listens: the events that `Recognizer.listen` yields. All of them are immutable.

Every event has `time_s`: how much sound had been heard when it was known, in seconds from the start of the stream. It
is counted in samples, so the same sound gives the same events with the same times, however it was cut and however
quickly it came. `start` and `end` are where in the sound a thing was said.

Every `SpeechStarted` is followed, after any number of `Partial`, by exactly one `Final`, `Command` or `Rejected`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeasr.types import Partial, Segment, Word

if TYPE_CHECKING:
    from edgeasr.grammar import Slot, SlotValue

__all__ = [
    "Command",
    "DeviceEvent",
    "DeviceLost",
    "DeviceRestored",
    "Event",
    "Final",
    "Overflow",
    "Partial",
    "Rejected",
    "SpeechStarted",
    "Woken",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Woken:
    """The wake phrase has been heard. What is said next is listened to.

    Attributes:
        time_s: When that was known.
        phrase: The phrase.
        start: Where it begins.
        end: Where it ends.
        letter_cost: How unsure that is; see `edgeasr.wake.Detection`.
    """

    time_s: float
    phrase: str
    start: float
    end: float
    letter_cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStarted:
    """The first word of an utterance has been heard; it may still change.

    Attributes:
        time_s: When that was known.
        start: Where the word begins.
    """

    time_s: float
    start: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """An utterance has ended, and this is its text.

    Attributes:
        time_s: When that was known.
        segment: The utterance: text, words with times and confidences.
    """

    time_s: float
    segment: Segment

    @property
    def text(self) -> str:
        """The words, with a mark in place of those that are not accepted."""
        return self.segment.text

    @property
    def words(self) -> tuple[Word, ...]:
        """All words, accepted or not."""
        return self.segment.words

    @property
    def start(self) -> float:
        """Where the first word begins."""
        return self.segment.start

    @property
    def end(self) -> float:
        """Where the last word ends."""
        return self.segment.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An utterance has ended, and it is a sentence of the grammar.

    Attributes:
        time_s: When that was known.
        text: The sentence.
        intent: What it asks for.
        slots: The value of each slot.
        spans: The slots with the words that say them.
        start: Where its first word begins.
        end: Where its last word ends.
        llr: How much less probable the sentence is than the best text at all; see `edgeasr.command.CommandResult`.
        score: How probable the sentence is, likewise.
        confidence: The share of its words that is expected to be right; None where that is not known.
    """

    time_s: float
    text: str
    intent: str
    slots: Mapping[str, SlotValue]
    spans: tuple[Slot, ...]
    start: float
    end: float
    llr: float
    score: float
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An utterance has ended, and nothing in it can be believed.

    Attributes:
        time_s: When that was known.
        segment: What it sounded like, for the record; None when not even a word was left in the end.
    """

    time_s: float
    segment: Segment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overflow:
    """Sound was lost, because nobody took it in time. Silence of the same length stands for it, so times stay true.

    Attributes:
        time_s: Where the gap ends.
        lost_s: How long it is.
    """

    time_s: float
    lost_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLost:
    """The microphone is gone: unplugged, or taken away. It is waited for.

    Attributes:
        time_s: Where the sound breaks off.
        message: What happened, for people.
    """

    time_s: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRestored:
    """A microphone is there again, and the sound goes on.

    Attributes:
        time_s: Where the sound goes on.
        name: What the device is called.
        lost_s: How long there was no sound. Silence stands for it.
    """

    time_s: float
    name: str
    lost_s: float


# What a source of sound may mix into its blocks.
DeviceEvent = Overflow | DeviceLost | DeviceRestored

Event = Woken | SpeechStarted | Partial | Final | Command | Rejected | DeviceEvent
