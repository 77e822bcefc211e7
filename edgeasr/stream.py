"""One source of sound on its way through the stages: resampler, gate, frontend, acoustic model, decoder with words.

All stages are accept / finish / reset machines that are exact for any cut of their input, so the stream is too.
Offline transcription is the same stream.

With endpoints a stream is a sequence of utterances. Behind an endpoint the decoder starts anew while the model's states
go on: the rows that follow are what they would have been. Only when the gate has closed the model is flushed, and it
starts anew when the gate opens.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgeasr.command import COMMAND, REJECTED, CommandDecoder, CommandResult
from edgeasr.endpoint import Endpointer, EnergyGate, Stretch
from edgeasr.errors import StreamStateError
from edgeasr.events import Command, Event, Final, Rejected, SpeechStarted, Woken
from edgeasr.types import UNSURE_MARK, Partial, Segment, Transcript, Word, text_of
from edgeasr.wake import KeywordSpotter
from edgeasr.waveform import as_waveform
from edgeasr.words import WordDecoder

FloatArray = npt.NDArray[np.float32]


class Stage(Protocol):
    """A stage from samples or frames to samples or frames."""

    def accept(self, block: FloatArray, /) -> FloatArray:
        """Takes the next block; returns what is ready."""

    def finish(self) -> FloatArray:
        """Ends the stream; returns the rest."""

    def reset(self) -> None:
        """Goes back to the start of a stream."""


@dataclass(frozen=True, kw_only=True)
class RowTiming:
    """How the model's rows follow from samples at its sample rate.

    Attributes:
        sample_rate: Of the model, in Hz.
        samples_per_row: From one row to the next.
        rows_per_chunk: What a step of the model gives.
        lookahead_samples: How far behind its last row a step hears.
    """

    sample_rate: int
    samples_per_row: int
    rows_per_chunk: int
    lookahead_samples: int = 0


@dataclass(frozen=True, kw_only=True)
class Stages:
    """The stages that the sound of one stream goes through, in this order; the last three may be left out.

    Attributes:
        resampler: To the model's sample rate.
        frontend: From samples to features.
        acoustic: From features to rows of log-probs.
        words: From rows to words.
        rows: How rows follow from samples.
        gate: Stands before the frontend.
        endpointer: Ends utterances; a stream without it is one utterance.
        commands: Hears the same rows as `words`, and tells whether an utterance is a command.
        wake: Hears the rows first, and lets nothing go on until the wake phrase has been said.
    """

    resampler: Stage
    frontend: Stage
    acoustic: Stage
    words: WordDecoder
    rows: RowTiming
    gate: EnergyGate | None = None
    endpointer: Endpointer | None = None
    commands: CommandDecoder | None = None
    wake: KeywordSpotter | None = None


class Stream:
    """Recognises one source of sound. `Recognizer.stream` makes one.

    A stream has one owner at a time: a call while another call is at work raises `StreamStateError`. Any
    thread may read `partial` at any time.

    Example:
        >>> import numpy as np
        >>> from edgeasr import Recognizer
        >>> stream = Recognizer().stream(sample_rate=8000)
        >>> for start in range(0, 8000, 800):
        ...     partial = stream.accept(np.zeros(800, np.float32))
        >>> stream.finish().text
        ''
    """

    def __init__(
        self,
        stages: Stages,
        *,
        sample_rate: int,
        min_segment_confidence: float = 0.0,
        unsure_mark: str = UNSURE_MARK,
        keep_events: bool = False,
    ) -> None:
        """Starts a stream.

        Args:
            stages: What the sound goes through; they are the stream's alone.
            sample_rate: Of the waveform that `accept` takes, in Hz.
            min_segment_confidence: Segments below this are not accepted.
            unsure_mark: What stands in texts for words that are not accepted.
            keep_events: Collect events for `take_events`.
        """
        self.stages = stages
        self.sample_rate = sample_rate
        self._min_segment_confidence = min_segment_confidence
        self._unsure_mark = unsure_mark
        self._keep_events = keep_events
        self._busy = threading.Lock()
        self._next_words: WordDecoder | None = None
        self._start()

    def _start(self) -> None:
        self._num_samples = 0
        self._finished = False
        self._segments: list[Segment] = []
        self._events: list[Event] = []
        self._heard_s = 0.0
        self._awake, self._awake_until_s = self.stages.wake is None, math.inf
        self._begin_run(0)
        self._partial = self._make_partial()

    @property
    def partial(self) -> Partial:
        """What has been understood so far; after `finish()` the final words. Any thread may read it.

        With endpoints it is about the utterance that is being spoken; those before it are segments.
        """
        return self._partial

    def accept(self, waveform: npt.ArrayLike) -> Partial:
        """Takes the next stretch of sound; how it is cut makes no difference.

        Args:
            waveform: (num_samples,) or (num_samples, num_channels), floating point in [-1, 1] or int16, at
                the stream's sample rate; of any length, none included.

        Returns:
            What has been understood so far.

        Raises:
            InputError: Another shape or dtype, or a NaN or infinite sample; the stream is as it was before.
            StreamStateError: After `finish()`, or while another call is at work.
        """
        with self._owned():
            if self._finished:
                raise StreamStateError("accept() after finish(): the stream has ended; call reset() to start anew")
            samples = as_waveform(waveform, offset=self._num_samples)
            # A second at a time, so that features take little memory however long the waveform is.
            for start in range(0, len(samples), self.sample_rate):
                self._hear(self.stages.resampler.accept(samples[start : start + self.sample_rate]))
            self._num_samples += len(samples)
            self._partial = self._make_partial()
            return self._partial

    def finish(self) -> Transcript:
        """Ends the stream and returns its final result: the segments that were not taken out before.

        Raises:
            StreamStateError: A second time, or while another call is at work.
        """
        with self._owned():
            if self._finished:
                raise StreamStateError("finish() after finish(): the stream has ended; call reset() to start anew")
            self._finished = True
            self._hear(self.stages.resampler.finish())
            duration = self._duration()
            if self.stages.gate is not None:
                for stretch in self.stages.gate.finish():
                    self._feed(stretch.waveform)
            final: Sequence[Word] = ()
            if self._running:
                final = self._end_run(duration)
            self._partial = self._make_partial(final)
            alternatives = () if self.stages.endpointer else self.stages.words.alternatives
            return Transcript(
                segments=self._take_segments(),
                duration=duration,
                calibrated=self._partial.calibrated,
                unsure_mark=self._unsure_mark,
                alternatives=tuple(replace(other, words=clipped(other.words, duration)) for other in alternatives),
            )

    def take_segments(self) -> tuple[Segment, ...]:
        """Moves out what has been said in the utterances that have ended: one segment for each that has words.

        Segments are kept until they are taken, or until `finish` returns them.

        Raises:
            StreamStateError: While another call is at work.
        """
        with self._owned():
            return self._take_segments()

    def take_events(self) -> list[Event]:
        """Moves out what has happened since the last call, if the stream was asked to keep that.

        Raises:
            StreamStateError: While another call is at work.
        """
        with self._owned():
            events, self._events = self._events, []
            return events

    def use_words(self, words: WordDecoder) -> None:
        """Decodes with another decoder, such as one that has been taught something.

        If nothing is being said it is used at once, otherwise from the next utterance on.

        Args:
            words: From `Recognizer.word_decoder`; it is the stream's alone.

        Raises:
            StreamStateError: While another call is at work.
        """
        with self._owned():
            self._next_words = words
            endpointer, current = self.stages.endpointer, self.stages.words
            if not (current.committed or current.tail or (endpointer is not None and endpointer.spoken)):
                self._begin_utterance()

    def reset(self) -> None:
        """Drops everything that was heard and starts anew, at time zero.

        Raises:
            StreamStateError: While another call is at work.
        """
        with self._owned():
            if self._next_words is not None:
                self.stages, self._next_words = replace(self.stages, words=self._next_words), None
            stages = self.stages
            for stage in (stages.resampler, stages.frontend, stages.acoustic, stages.words):
                stage.reset()
            for optional in (stages.gate, stages.endpointer, stages.commands, stages.wake):
                if optional is not None:
                    optional.reset()
            self._start()

    @contextmanager
    def _owned(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise StreamStateError("the stream is in use by another thread: a stream has one owner at a time")
        try:
            yield
        finally:
            self._busy.release()

    def _hear(self, waveform: FloatArray) -> None:
        """Takes samples at the model's rate through the stages."""
        gate = self.stages.gate
        if gate is None:
            self._feed(waveform)
            return
        for stretch in gate.accept(waveform):
            if stretch.opens:
                self._begin_run(stretch.start)
                self._begin_utterance()
            self._listen_to(stretch, gate)
            if stretch.closes:
                self._end_run(self._seconds(stretch.start + len(stretch.waveform)))
                self._begin_utterance()

    def _listen_to(self, stretch: Stretch, gate: EnergyGate) -> None:
        """Feeds what has passed the gate; where it has been quiet for long enough, the utterance may end at once."""
        endpointer = self.stages.endpointer
        size, begin = gate.frame_samples, 0
        for frame, quiet in enumerate(stretch.quiet_frames, start=1):
            self._quiet_frames.append(quiet)
            if endpointer is None or quiet != endpointer.min_silence_frames:
                continue
            self._feed(stretch.waveform[begin * size : frame * size])
            begin = frame
            heard = stretch.start + frame * size
            quiet_since = heard - quiet * size - self._run_start
            if endpointer.ends_in_quiet(self._num_rows - quiet_since // self.stages.rows.samples_per_row):
                self._heard_s = self._seconds(heard)
                self._end_utterance()
                self._begin_utterance()
        self._feed(stretch.waveform[begin * size :])

    def _feed(self, waveform: FloatArray) -> None:
        """Takes samples that the model is to hear."""
        self._decode(self.stages.acoustic.accept(self.stages.frontend.accept(waveform)))

    def _begin_run(self, start: int) -> None:
        """The model begins to hear at a sample of its own rate, with nothing before."""
        self._running = True
        self._run_start = start
        self._run_end_s = math.inf
        self._num_rows = 0
        self._num_quiet_taken = 0
        self._quiet_frames: deque[int] = deque()
        self._speaking = False
        self._announced: tuple[int, tuple[str, ...]] = (0, ())
        if self.stages.wake is not None and (not self._awake or self._seconds(start) > self._awake_until_s):
            self._sleep()

    def _end_run(self, end_s: float) -> tuple[Word, ...]:
        """The model stops where the sound ends: what it still holds is decoded. Returns the words of the utterance."""
        stages = self.stages
        self._run_end_s = end_s
        self._decode(stages.acoustic.accept(stages.frontend.finish()))
        self._decode(stages.acoustic.finish())
        self._heard_s = end_s
        final = self._end_utterance()
        stages.frontend.reset()
        stages.acoustic.reset()
        self._running = False
        return final

    def _decode(self, log_probs: FloatArray) -> None:
        """Takes rows, up to the end of a chunk at a time."""
        timing = self.stages.rows
        begin = 0
        while begin < len(log_probs):
            end = begin + timing.rows_per_chunk - self._num_rows % timing.rows_per_chunk
            chunk = log_probs[begin:end]
            begin += len(chunk)
            rows_heard = self._num_rows - self._num_rows % timing.rows_per_chunk + timing.rows_per_chunk
            samples_heard = rows_heard * timing.samples_per_row + timing.lookahead_samples
            self._heard_s = min(self._seconds(self._run_start + samples_heard), self._run_end_s)
            self._decode_chunk(chunk)
            self._announce()

    def _decode_chunk(self, log_probs: FloatArray) -> None:
        """Takes rows of one chunk; utterances may end between them."""
        endpointer = self.stages.endpointer
        quiet_rows = [0] * len(log_probs) if endpointer is None else self._take_quiet_rows(len(log_probs))
        while True:
            if not self._awake:
                log_probs, quiet_rows = self._await_phrase(log_probs, quiet_rows)
            if not len(log_probs):
                break
            end = None if endpointer is None else endpointer.accept(log_probs, quiet_rows)
            self._decode_rows(log_probs[:end])
            if end is None:
                break
            self._end_utterance()
            self._begin_utterance()
            log_probs, quiet_rows = log_probs[end:], quiet_rows[end:]
        words = self.stages.words
        if self._awake and self._heard_s > self._awake_until_s and not (words.committed or words.tail):
            self._sleep()

    def _sleep(self) -> None:
        """From here on nothing is listened to but the wake phrase."""
        wake = self.stages.wake
        assert wake is not None
        wake.reset()
        self._awake = False
        # The last rows, which lie behind the phrase when it is found, and how quiet it was.
        self._asleep: deque[tuple[FloatArray, int]] = deque(maxlen=wake.settled_rows)

    def _await_phrase(self, log_probs: FloatArray, quiet_rows: list[int]) -> tuple[FloatArray, list[int]]:
        """Searches the wake phrase in rows; returns those behind it."""
        wake = self.stages.wake
        assert wake is not None
        for place, (row, quiet) in enumerate(zip(log_probs, quiet_rows, strict=True), 1):
            self._asleep.append((row, quiet))
            self._num_rows += 1
            for found in wake.accept(row[np.newaxis]):
                origin = self._num_rows - wake.num_rows
                behind = [*self._asleep][len(self._asleep) - (wake.num_rows - found.end_row) :]
                self._num_rows -= len(behind)
                self._awake, self._awake_until_s = True, self._heard_s + wake.config.awake_s
                self._begin_utterance()
                self._tell(
                    Woken(
                        time_s=self._heard_s,
                        phrase=wake.config.phrase,
                        start=self._row_s(origin + found.start_row),
                        end=self._row_s(origin + found.end_row),
                        letter_cost=found.letter_cost,
                    )
                )
                rows = np.array([heard for heard, _ in behind], np.float32).reshape(-1, log_probs.shape[1])
                return np.concatenate([rows, log_probs[place:]]), [*(q for _, q in behind), *quiet_rows[place:]]
        return log_probs[:0], []

    def _decode_rows(self, log_probs: FloatArray) -> None:
        self.stages.words.accept(log_probs)
        if self.stages.commands is not None:
            self.stages.commands.accept(log_probs)
        self._num_rows += len(log_probs)

    def _take_quiet_rows(self, num_rows: int) -> list[int]:
        """For how many rows it had been quiet at the end of each of the next rows; zeros without a gate."""
        gate, samples_per_row = self.stages.gate, self.stages.rows.samples_per_row
        if gate is None:
            return [0] * num_rows
        quiet_rows = []
        for row in range(self._num_rows + 1, self._num_rows + num_rows + 1):
            # The last frame that ends with the row or before it. Rows of a flush may reach beyond the last frame.
            frame = row * samples_per_row // gate.frame_samples - 1
            while self._num_quiet_taken < frame and len(self._quiet_frames) > 1:
                self._quiet_frames.popleft()
                self._num_quiet_taken += 1
            quiet = self._quiet_frames[0] if self._quiet_frames else 0
            quiet_rows.append(quiet * gate.frame_samples // samples_per_row)
        return quiet_rows

    def _begin_utterance(self) -> None:
        start_s, earliest = self._seconds(self._run_start), self.stages.words.earliest
        if self._next_words is not None:
            self.stages, self._next_words = replace(self.stages, words=self._next_words), None
        self.stages.words.begin_utterance(start_s=start_s, first_row=self._num_rows, earliest=earliest)
        if self.stages.endpointer is not None:
            self.stages.endpointer.reset()
        if self.stages.commands is not None:
            self.stages.commands.reset()

    def _end_utterance(self) -> tuple[Word, ...]:
        """Commits the words of the utterance, up to the end of the sound, and tells of it."""
        words = self.stages.words
        words.finish()
        result = None if self.stages.commands is None else self.stages.commands.finish()
        final = clipped(words.committed, self._run_end_s)
        segment = self._make_segment(final) if final else None
        if segment is not None:
            self._segments.append(segment)
        event = self._outcome(segment, result)
        if event is not None:
            if not self._speaking:
                self._tell(SpeechStarted(time_s=self._heard_s, start=_start_of(event)))
            self._tell(event)
            if self.stages.wake is not None:
                self._sleep()
        self._speaking = False
        self._announced = (0, ())
        return final

    def _outcome(self, segment: Segment | None, result: CommandResult | None) -> Final | Command | Rejected | None:
        """What to tell of an utterance that has ended; nothing if nothing was said."""
        if result is not None and result.kind == COMMAND and result.command is not None and result.intent is not None:
            said = result.command.words
            return Command(
                time_s=self._heard_s,
                text=result.text,
                intent=result.intent,
                slots=result.slots,
                spans=result.spans,
                start=min(self.stages.words.seconds(said[0].start_frame), self._run_end_s),
                end=min(self.stages.words.seconds(said[-1].end_frame), self._run_end_s),
                llr=result.llr,
                score=result.command_score,
                confidence=result.confidence,
            )
        if segment is None:
            return Rejected(time_s=self._heard_s) if self._speaking else None
        if segment.accepted and (result is None or result.kind != REJECTED):
            return Final(time_s=self._heard_s, segment=segment)
        return Rejected(time_s=self._heard_s, segment=segment)

    def _announce(self) -> None:
        """Tells of words that are new since the last time."""
        words = self.stages.words
        found = (len(words.committed), tuple(word.text for word in words.tail))
        if not self._keep_events or found == self._announced:
            return
        partial = self._make_partial(time_s=self._heard_s)
        if not self._speaking:
            self._speaking = True
            self._tell(SpeechStarted(time_s=self._heard_s, start=partial.words[0].start))
        self._announced = found
        self._tell(partial)

    def _tell(self, event: Event) -> None:
        if self._keep_events:
            self._events.append(event)

    def _make_partial(self, final: Sequence[Word] | None = None, *, time_s: float | None = None) -> Partial:
        words = self.stages.words
        return Partial(
            words.committed if final is None else final,
            words.tail,
            self._duration() if time_s is None else time_s,
            calibrated=words.calibration is not None,
            unsure_mark=self._unsure_mark,
        )

    def _make_segment(self, words: tuple[Word, ...]) -> Segment:
        alternatives = () if self.stages.endpointer is None else self.stages.words.alternatives
        segment = Segment("", words[0].start, words[-1].end, words, alternatives=alternatives)
        accepted = segment.confidence >= self._min_segment_confidence
        text = text_of(words, self._unsure_mark, accepted=accepted)
        return replace(segment, text=text, accepted=accepted)

    def _take_segments(self) -> tuple[Segment, ...]:
        segments, self._segments = tuple(self._segments), []
        return segments

    def _row_s(self, row: int) -> float:
        """Where in the stream a row of the run begins."""
        return self._seconds(self._run_start + row * self.stages.rows.samples_per_row)

    def _seconds(self, sample: int) -> float:
        """Where in the stream a sample at the model's rate lies."""
        return sample / self.stages.rows.sample_rate

    def _duration(self) -> float:
        return self._num_samples / self.sample_rate


def clipped(words: Sequence[Word], duration: float) -> tuple[Word, ...]:
    """Ends words with the sound: the last chunk is padded, and a fitted offset may reach further."""
    return tuple(
        word if word.end <= duration else replace(word, start=min(word.start, duration), end=duration) for word in words
    )


def _start_of(event: Final | Command | Rejected) -> float:
    """Where an utterance begins that has words."""
    if isinstance(event, Rejected):
        return event.segment.start if event.segment is not None else event.time_s
    return event.start
