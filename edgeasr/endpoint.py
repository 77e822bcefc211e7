"""Where speech begins and ends: an energy gate ahead of the model, and the rules that end an utterance behind it.

Both decide by index alone, of a sample or of a row of log-probs, never by the clock or by how the sound was cut.

`EnergyGate` looks at the level of every 10 ms. While nothing rises above the background, nothing goes on to the
frontend and the model. When it opens, the sound of a moment before goes on first, so that no onset is lost.

`Endpointer` looks at the rows that come out of the model. An utterance ends when the model has heard nothing for a
while: soon if the level agrees that it is quiet, later if there is noise. It also ends when it is too long, and then
between two words. ``docs/live.md`` has the figures that the defaults come from.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgeasr.errors import ConfigError
from edgeasr.tokens import TokenTable
from edgeasr.waveform import Waveform

FloatArray = npt.NDArray[np.float32]

# Frames of the level: short beside a syllable, and long enough to hold a period of a low voice.
LEVEL_FRAME_S = 0.01
# A frame counts as loud when most of the last five lie above the threshold: a click of 20 ms does not open the gate.
VOTES, NUM_VOTERS = 3, 5
# The background is the least level of the last four seconds, kept as minima of half a second. Nobody speaks for four
# seconds without a gap, and after four seconds a fan that was switched on is background.
FLOOR_BLOCK_S, FLOOR_BLOCKS = 0.5, 8
# Minima are taken of levels that are smoothed over about five frames; a single frame of noise may be very quiet.
SMOOTHING = 0.2
# The first difference of the sound: hum and rumble have most of their power where speech has little.
PREEMPHASIS = np.float32(0.97)
# The most that there may be of either silence that ends an utterance.
LONGEST_SILENCE_S = 60.0
# How much later than its sound the model may still be writing a word's last letters.
LAST_LETTER_S = 0.24
# An utterance that is too long ends at the next word boundary, or this much later if there is none.
BOUNDARY_WITHIN_S = 3.0


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """When sound is loud enough to be listened to.

    Example:
        >>> GateConfig(pre_roll_s=0.3).close_after_s
        1.5

    Attributes:
        open_db: Sound that is louder than the background by so many decibels opens the gate.
        close_db: While it is open, sound that is louder by so many decibels keeps it open; at most `open_db`.
        min_level_dbfs: Sound below this is never loud, however quiet the background is; decibels below full scale, of
            the sound after a first-order difference that takes hum and rumble out.
        pre_roll_s: So much sound from before it opened goes on to the model first.
        close_after_s: The gate closes when nothing has been loud for so long.

    Raises:
        ConfigError: A value that cannot work; the message names it and says what is allowed.
    """

    open_db: float = 9.0
    close_db: float = 6.0
    min_level_dbfs: float = -80.0
    pre_roll_s: float = 0.5
    close_after_s: float = 1.5

    def __post_init__(self) -> None:
        """Checks the values."""
        if not 0 < self.close_db <= self.open_db < math.inf:
            raise ConfigError(
                f"close_db is {self.close_db} and open_db is {self.open_db}, expected 0 < close_db <= open_db"
            )
        if not -200 <= self.min_level_dbfs <= 0:
            raise ConfigError(f"min_level_dbfs is {self.min_level_dbfs}, expected -200 to 0")
        _check_seconds("pre_roll_s", self.pre_roll_s, least=0.0, most=10.0)
        _check_seconds("close_after_s", self.close_after_s, least=0.05, most=60.0)


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """When an utterance ends.

    Example:
        >>> EndpointConfig(min_silence_s=0.8).longest_utterance_s
        30.0

    Attributes:
        min_silence_s: An utterance ends when nothing was said for so long: it is quiet, and the model hears nothing.
        min_silence_in_noise_s: The same where it does not become quiet, and the model alone has to tell; at least
            `min_silence_s`.
        longest_utterance_s: An utterance that is longer than this ends at the next boundary between words.
        start_timeout_s: When nothing was said for so long, the decoder starts anew: it does not carry doubts about old
            noise along.
        gate: When sound is loud enough to be listened to; it stays open for at least `min_silence_s`. None to listen to
            all of it; how quiet it is does not count then.

    Raises:
        ConfigError: A value that cannot work; the message names it and says what is allowed.
    """

    min_silence_s: float = 0.65
    min_silence_in_noise_s: float = 0.8
    longest_utterance_s: float = 30.0
    start_timeout_s: float = 10.0
    gate: GateConfig | None = field(default_factory=GateConfig)

    def __post_init__(self) -> None:
        """Checks the values."""
        _check_seconds("min_silence_s", self.min_silence_s, least=0.05, most=LONGEST_SILENCE_S)
        _check_seconds(
            "min_silence_in_noise_s", self.min_silence_in_noise_s, least=self.min_silence_s, most=LONGEST_SILENCE_S
        )
        _check_seconds("longest_utterance_s", self.longest_utterance_s, least=0.05, most=3600.0)
        _check_seconds("start_timeout_s", self.start_timeout_s, least=0.05, most=3600.0)


class Stretch(NamedTuple):
    """Sound that passed the gate.

    Attributes:
        start: Its first sample, counted from the start of the stream.
        waveform: (num_samples,) float32.
        quiet_frames: For how many frames it had been quiet, at the end of each frame of the waveform.
        opens: The gate has opened: this does not follow on what passed before.
        closes: The gate has closed behind it.
    """

    start: int
    waveform: Waveform
    quiet_frames: list[int]
    opens: bool = False
    closes: bool = False


class EnergyGate:
    """Lets sound pass while it is louder than the background. An accept / finish / reset machine, exact for any cut.

    A stream begins with an open gate, as nothing is known about its background yet.

    Example:
        >>> gate = EnergyGate(GateConfig(close_after_s=1.0), sample_rate=16000)
        >>> [(stretch.start, len(stretch.waveform), stretch.closes) for stretch in gate.accept(np.zeros(32000, "f"))]
        [(0, 16000, True)]
    """

    def __init__(self, config: GateConfig, *, sample_rate: int) -> None:
        """Starts a stream of sound at a sample rate in Hz."""
        self.frame_samples = max(1, round(sample_rate * LEVEL_FRAME_S))
        self._open_ratio = 10 ** (config.open_db / 10)
        self._close_ratio = 10 ** (config.close_db / 10)
        # A background below this would make sound loud that is below `min_level_dbfs`.
        self._least_floor = self.frame_samples * 10 ** ((config.min_level_dbfs - config.close_db) / 10)
        self._pre_roll_frames = round(config.pre_roll_s / LEVEL_FRAME_S)
        self._close_after_frames = round(config.close_after_s / LEVEL_FRAME_S)
        self._floor_frames = round(FLOOR_BLOCK_S / LEVEL_FRAME_S)
        self.reset()

    @property
    def is_open(self) -> bool:
        """Whether sound passes."""
        return self._open

    def reset(self) -> None:
        """Goes back to the start of a stream."""
        self._rest: Waveform = np.empty(0, np.float32)  # less than a frame
        self._last_sample = np.float32(0)
        # Frames that did not pass, and may yet go on as pre-roll.
        self._held: Waveform = np.empty(0, np.float32)
        self._held_quiet: list[int] = []
        self._open = True
        self._num_frames = 0
        self._smoothed = 0.0
        self._minima: deque[float] = deque([math.inf], FLOOR_BLOCKS)
        self._above: deque[bool] = deque([False] * NUM_VOTERS, NUM_VOTERS)
        self._quiet = 0

    def accept(self, waveform: Waveform) -> list[Stretch]:
        """Takes the next samples, (num_samples,) float32; returns what passes of the frames that are complete."""
        sound = np.concatenate([self._rest, waveform])
        num_samples = len(sound) - len(sound) % self.frame_samples
        self._rest = sound[num_samples:].copy()
        if not num_samples:
            return []
        was_open = self._open
        changes: list[int] = []
        quiet: list[int] = []
        for frame, energy in enumerate(self._energies(sound[:num_samples])):
            if self._changes(energy):
                changes.append(frame)
            quiet.append(self._quiet)
        return self._cut(sound[:num_samples], quiet, changes, is_open=was_open)

    def finish(self) -> list[Stretch]:
        """Ends the stream; returns the last samples, too few for a frame, if they pass."""
        rest, self._rest = self._rest, self._rest[:0]
        if not self._open or not len(rest):
            return []
        return [Stretch(self._num_frames * self.frame_samples, rest, [])]

    def _energies(self, sound: Waveform) -> list[float]:
        """The energy of each frame, of the differences between samples."""
        difference = sound.copy()
        difference[0] -= PREEMPHASIS * self._last_sample
        difference[1:] -= PREEMPHASIS * sound[:-1]
        self._last_sample = sound[-1]
        power = np.square(difference, dtype=np.float64).reshape(-1, self.frame_samples)
        energies: list[float] = power.sum(axis=1).tolist()
        return energies

    def _changes(self, energy: float) -> bool:
        """Takes the next frame; whether the gate opens at it or closes behind it."""
        if self._num_frames == 0:
            self._smoothed = energy
        elif self._num_frames % self._floor_frames == 0:
            self._minima.append(math.inf)
        self._num_frames += 1
        self._smoothed += SMOOTHING * (energy - self._smoothed)
        self._minima[-1] = min(self._minima[-1], self._smoothed)
        floor = max(min(self._minima), self._least_floor)
        self._above.append(energy > floor * (self._close_ratio if self._open else self._open_ratio))
        loud = sum(self._above) >= VOTES
        self._quiet = 0 if loud else self._quiet + 1
        was_open = self._open
        self._open = self._quiet < self._close_after_frames if was_open else loud
        return self._open != was_open

    def _cut(self, sound: Waveform, quiet: list[int], changes: list[int], *, is_open: bool) -> list[Stretch]:
        """What passes of whole frames, given those at which the gate opens or behind which it closes."""
        size = self.frame_samples
        first = self._num_frames - len(quiet)
        stretches: list[Stretch] = []
        begin = 0
        for frame in changes:
            if is_open:
                end = frame + 1
                stretches.append(
                    Stretch((first + begin) * size, sound[begin * size : end * size], quiet[begin:end], closes=True)
                )
            else:
                end = frame
                self._hold(sound[begin * size : end * size], quiet[begin:end])
                start = (first + end) * size - len(self._held)
                stretches.append(Stretch(start, self._held, self._held_quiet, opens=True))
                self._held, self._held_quiet = self._held[:0], []
            begin, is_open = end, not is_open
        if not is_open:
            self._hold(sound[begin * size :], quiet[begin:])
        elif begin < len(quiet):
            stretches.append(Stretch((first + begin) * size, sound[begin * size :], quiet[begin:]))
        return stretches

    def _hold(self, sound: Waveform, quiet: list[int]) -> None:
        """Keeps the last frames as pre-roll."""
        kept = min(len(self._held_quiet) + len(quiet), self._pre_roll_frames)
        sound = np.concatenate([self._held, sound])
        self._held = sound[len(sound) - kept * self.frame_samples :]
        self._held_quiet = [*self._held_quiet, *quiet][-kept:] if kept else []


class Endpointer:
    """Ends utterances, from the rows of log-probs and from how quiet it is. A pure machine: rows in, cuts out.

    Example:
        >>> table = TokenTable(["<blank>", "|", "h", "i"], blank_id=0, word_delimiter="|")
        >>> config = EndpointConfig(min_silence_s=0.06, min_silence_in_noise_s=0.06)
        >>> endpointer = Endpointer(config, tokens=table, frame_s=0.02)
        >>> said = np.log(np.full((6, 4), 0.01) + 0.96 * np.eye(4)[[2, 3, 0, 0, 0, 0]]).astype(np.float32)
        >>> endpointer.accept(said, [0, 0, 1, 2, 3, 4])
        5
    """

    def __init__(self, config: EndpointConfig, *, tokens: TokenTable, frame_s: float, logits: bool = False) -> None:
        """Starts a stream.

        Args:
            config: The rules.
            tokens: What the columns of the rows stand for.
            frame_s: Seconds from one row to the next.
            logits: The rows are not normalised.
        """

        def rows(seconds: float) -> int:
            return max(1, math.ceil(seconds / frame_s - 1e-6))

        # In frames of the gate.
        self.min_silence_frames = max(1, math.ceil(config.min_silence_s / LEVEL_FRAME_S - 1e-6))
        self._logits = logits
        self._silent_ids = list(tokens.silent_ids)
        self._boundary_ids = frozenset(tokens.boundary_ids)
        self._min_silence = rows(config.min_silence_s)
        self._last_letter = rows(LAST_LETTER_S)
        self._min_blank = max(self._min_silence - self._last_letter, self._last_letter // 2, 1)
        self._min_blank_in_noise = rows(config.min_silence_in_noise_s)
        self._longest = rows(config.longest_utterance_s)
        self._longest_without_boundary = self._longest + rows(BOUNDARY_WITHIN_S)
        self._start_timeout = rows(config.start_timeout_s)
        self.reset()

    @property
    def spoken(self) -> bool:
        """Whether the model has heard a letter in this utterance."""
        return self._spoken

    def reset(self) -> None:
        """Begins another utterance."""
        self._num_rows = 0
        self._num_blank = 0
        self._spoken = False

    def accept(self, log_probs: FloatArray, quiet_rows: Sequence[int]) -> int | None:
        """Takes the next rows.

        Args:
            log_probs: (num_rows, vocab_size) float32.
            quiet_rows: For how many rows it had been quiet at the end of each.

        Returns:
            None, or how many of the rows belong to the utterance, which ends with them; the next call is about the
            rows after these, and another utterance.
        """
        best = log_probs.argmax(axis=1).tolist()
        silent = self._silence(log_probs)
        for row, (token_id, is_silent, quiet) in enumerate(zip(best, silent, quiet_rows, strict=True)):
            at_boundary = token_id in self._boundary_ids
            if self._num_rows >= self._longest and (at_boundary or self._num_rows >= self._longest_without_boundary):
                self.reset()
                return row
            self._num_rows += 1
            self._num_blank = self._num_blank + 1 if is_silent else 0
            self._spoken = self._spoken or not is_silent
            if self._ends(quiet):
                self.reset()
                return row + 1
        return None

    def ends_in_quiet(self, rows_since: int) -> bool:
        """Whether the utterance ends now that it has been quiet for long enough, before more rows come.

        The model works in chunks: waiting for the end of the next one would take up to a chunk longer. If it ends, the
        rows that come are about another utterance.

        Args:
            rows_since: How many of the rows that were taken are of the quiet. They have to be enough for the last
                letters that the model may still write.
        """
        late = rows_since - self._last_letter
        if not self._spoken or late < 0 or self._num_blank < max(late, self._last_letter // 2):
            return False
        self.reset()
        return True

    def _ends(self, quiet: int) -> bool:
        """Whether the utterance ends with the row that was taken last."""
        if not self._spoken:
            return self._num_rows >= self._start_timeout
        if quiet >= self._min_silence and self._num_blank >= self._min_blank:
            return True
        return self._num_blank >= self._min_blank_in_noise

    def _silence(self, log_probs: FloatArray) -> list[bool]:
        """For each row, whether the model hears no letter: blank and word delimiters have most of the probability."""
        total = 1.0
        if self._logits:
            log_probs = log_probs - log_probs.max(axis=1, keepdims=True)
            total = np.exp(log_probs).sum(axis=1)
        silent = np.exp(log_probs[:, self._silent_ids]).sum(axis=1) >= 0.5 * total
        result: list[bool] = silent.tolist()
        return result


def _check_seconds(name: str, value: float, *, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name} is {value}, expected {least} to {most} seconds")
