"""Events are values: immutable, comparable, and told apart by their class."""

import dataclasses

import pytest

from edgeasr.events import Command, DeviceLost, DeviceRestored, Event, Final, Overflow, Partial, Rejected, SpeechStarted
from edgeasr.types import Segment, Word

WORDS = (Word("good", 0.1, 0.3, 0.9), Word("morning", 0.4, 0.8, 0.7))
SEGMENT = Segment("good morning", 0.1, 0.8, WORDS)
EVENTS: list[Event] = [
    SpeechStarted(time_s=0.8, start=0.1),
    Partial([WORDS[0]], (WORDS[1],), 0.8),
    Final(time_s=1.6, segment=SEGMENT),
    Command(time_s=1.6, text="go", intent="go", slots={}, spans=(), start=0.1, end=0.4, llr=0.0, score=-0.1),
    Rejected(time_s=1.6, segment=SEGMENT),
    Overflow(time_s=2.0, lost_s=0.5),
    DeviceLost(time_s=2.0, message="unplugged"),
    DeviceRestored(time_s=3.0, name="microphone", lost_s=1.0),
]


def test_a_final_shows_its_segment() -> None:
    final = Final(time_s=1.6, segment=SEGMENT)
    assert (final.text, final.words, final.start, final.end) == ("good morning", WORDS, 0.1, 0.8)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_are_immutable_values(event: Event) -> None:
    assert event.time_s > 0
    with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
        event.time_s = 9.0  # type: ignore[misc]
    assert [other for other in EVENTS if other == event] == [event]
