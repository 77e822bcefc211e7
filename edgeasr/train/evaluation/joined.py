"""Measurements on joined clips: what a long stream costs in accuracy, and how far word times are from the truth.

Word times need a truth. Clips are joined with silences between them, and the sound of each clip itself says where its
first word starts and its last word ends: where its level rises from the background for good, and where it falls back
to it (`find_speech`). Words inside a clip have no known boundaries and are not used, nor are words that were
recognised wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgeasr.bundle import TimingConfig
from edgeasr.errors import ConfigError
from edgeasr.recognizer import Recognizer
from edgeasr.train.clips import read_audio, resample
from edgeasr.train.evaluation.bootstrap import FloatArray, Interval, relative_change, resampled_sums
from edgeasr.train.evaluation.evaluate import Normaliser, Progress
from edgeasr.train.evaluation.score import ErrorCounts, count_errors, matches
from edgeasr.train.manifest import Utterance
from edgeasr.train.teachers.transcriber import Transcriber
from edgeasr.waveform import Waveform

SAMPLE_RATE = 16_000

# Silences between clips, in seconds; of random length, so that words meet the model's chunks at every phase.
PAUSE_S = (0.5, 1.5)
# Streams of joined clips are about this long.
STREAM_S = 60.0

# `find_speech`: levels are those of 10 ms frames in dB. The background is the quietest 5 % of them, the voice the
# loudest 5 %, and speech is where 5 of 6 frames in a row lie above a threshold between the two. A boundary counts as
# clear when a threshold at a quarter of the way and one at half of it agree: no breath, no click, no slow decay. On
# 66 clips of librispeech.dev and commonvoice.dev, clear starts lie 40 ms and clear ends 50 ms (medians) from those
# of a forced alignment by pocketsphinx, which sets starts 30 ms earlier and ends 40 ms later.
LEVEL_FRAME_S = 0.01
LOW_THRESHOLD, HIGH_THRESHOLD = 0.25, 0.5
LOUD_FRAMES, WINDOW_FRAMES = 5, 6
CLEAR_WITHIN_S = 0.1
LEAST_RANGE_DB = 25.0


@dataclass(frozen=True, kw_only=True)
class LongForm:
    """Word errors of one speaker's clips, recognised one by one and as one long stream."""

    speaker: str
    clips: int
    duration_s: float
    apart: ErrorCounts
    joined: ErrorCounts


def measure_long_form(
    transcriber: Transcriber,
    utterances: Sequence[Utterance],
    normalise: Normaliser,
    on_progress: Progress | None = None,
) -> list[LongForm]:
    """Recognises the clips of each speaker one by one, and joined in their order without pauses.

    Raises:
        ConfigError: No speaker is known.
        AudioFormatError: A clip cannot be read.
    """
    speakers: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        if utterance.speaker is not None and utterance.text:
            speakers.setdefault(utterance.speaker, []).append(utterance)
    if not speakers:
        raise ConfigError("no clip has both a speaker and a transcript: there is nothing to join")
    total_s = 2 * sum(u.duration_s for clips in speakers.values() for u in clips)
    done_s = 0.0
    comparisons = []
    for speaker, clips in speakers.items():
        references, waveforms, apart = [], [], ErrorCounts()
        for clip in clips:
            waveform = _read(clip)
            reference = normalise(clip.text or "")
            hypothesis = normalise(transcriber.transcribe(waveform, SAMPLE_RATE))
            apart += count_errors(reference, hypothesis, unit="word")
            references.append(reference)
            waveforms.append(waveform)
            done_s += clip.duration_s
            if on_progress is not None:
                on_progress(done_s, total_s)
        stream = np.concatenate(waveforms)
        hypothesis = normalise(transcriber.transcribe(stream, SAMPLE_RATE))
        done_s += len(stream) / SAMPLE_RATE
        if on_progress is not None:
            on_progress(done_s, total_s)
        comparisons.append(
            LongForm(
                speaker=speaker,
                clips=len(clips),
                duration_s=len(stream) / SAMPLE_RATE,
                apart=apart,
                joined=count_errors(" ".join(references), hypothesis, unit="word"),
            )
        )
    return comparisons


def relative_difference(comparisons: Sequence[LongForm], *, seed: int = 0) -> Interval:
    """WER of the long streams over that of the clips, minus one; the interval is for other speakers."""
    counts = np.array([[c.joined.errors, c.apart.errors] for c in comparisons], np.float64)
    joined, apart = counts.sum(axis=0)
    change = relative_change(float(joined), float(apart), resampled_sums([counts], seed=seed))
    return Interval(value=0.0 if joined == 0 else float("inf")) if change is None else change


@dataclass(frozen=True, kw_only=True)
class WordTimeErrors:
    """How far recognised word boundaries lie from the true ones, in seconds; positive is late.

    Attributes:
        starts: Of first words of clips, (num_starts,).
        ends: Of last words of clips, (num_ends,).
        clear_boundaries: How many boundaries have a clear truth; the words of the others were recognised wrongly.
        boundaries: Two for each clip.
    """

    starts: FloatArray
    ends: FloatArray
    clear_boundaries: int
    boundaries: int

    @property
    def median_error_s(self) -> float:
        """Median of the absolute errors of starts and ends together."""
        return float(np.median(np.abs(np.concatenate([self.starts, self.ends]))))


@dataclass(frozen=True, kw_only=True)
class JoinedClip:
    """A clip in a stream: its words, and where they start and end in the stream, None where that is unclear."""

    words: tuple[str, ...]
    start_s: float | None
    end_s: float | None


def measure_word_times(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    normalise: Normaliser,
    *,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> WordTimeErrors:
    """Joins clips with silences of random lengths and compares the times of words at their edges with the truth.

    Raises:
        ConfigError: No boundary is clear with its word recognised right.
        AudioFormatError: A clip cannot be read.
    """
    random = np.random.default_rng(seed)
    transcribed = [u for u in utterances if u.text]
    total_s = sum(u.duration_s for u in transcribed)
    done_s = 0.0
    starts: list[float] = []
    ends: list[float] = []
    clear = 0
    for group in _groups(transcribed):
        stream, clips = join_with_pauses(
            [(_read(u), tuple(normalise(u.text or "").split())) for u in group], lambda: random.uniform(*PAUSE_S)
        )
        words = recognizer.transcribe(stream, sample_rate=SAMPLE_RATE).words
        reference = [word for clip in clips for word in clip.words]
        right = dict(matches(reference, [normalise(word.text) for word in words]))
        place = 0
        for clip in clips:
            first, last = place, place + len(clip.words) - 1
            place += len(clip.words)
            clear += (clip.start_s is not None) + (clip.end_s is not None)
            if clip.start_s is not None and first in right:
                starts.append(words[right[first]].start - clip.start_s)
            if clip.end_s is not None and last in right:
                ends.append(words[right[last]].end - clip.end_s)
        done_s += sum(u.duration_s for u in group)
        if on_progress is not None:
            on_progress(done_s, total_s)
    if not starts or not ends:
        raise ConfigError("no word with a clear start, or none with a clear end, was recognised right")
    return WordTimeErrors(
        starts=np.array(starts), ends=np.array(ends), clear_boundaries=clear, boundaries=2 * len(transcribed)
    )


def fit_timing(timing: TimingConfig, errors: WordTimeErrors) -> TimingConfig:
    """The bundle's timing, moved so that the median of the signed errors becomes zero."""
    return replace(
        timing,
        word_start_offset_s=round(timing.word_start_offset_s - float(np.median(errors.starts)), 3),
        word_end_offset_s=round(timing.word_end_offset_s - float(np.median(errors.ends)), 3),
    )


def join_with_pauses(
    clips: Sequence[tuple[Waveform, tuple[str, ...]]], draw_pause_s: Callable[[], float]
) -> tuple[Waveform, list[JoinedClip]]:
    """Joins clips at 16 kHz, with digital silence before, between and after them.

    Args:
        clips: Waveforms and words.
        draw_pause_s: Length of the next silence in seconds.

    Returns:
        The stream, and where the words of each clip start and end in it.
    """
    parts: list[Waveform] = []
    joined = []
    num_samples = 0
    for waveform, words in clips:
        pause = np.zeros(round(draw_pause_s() * SAMPLE_RATE), np.float32)
        begin_s = (num_samples + len(pause)) / SAMPLE_RATE
        start_s, end_s = find_speech(waveform)
        joined.append(
            JoinedClip(
                words=words,
                start_s=None if start_s is None else begin_s + start_s,
                end_s=None if end_s is None else begin_s + end_s,
            )
        )
        parts += [pause, waveform]
        num_samples += len(pause) + len(waveform)
    parts.append(np.zeros(round(draw_pause_s() * SAMPLE_RATE), np.float32))
    return np.concatenate(parts), joined


def find_speech(waveform: Waveform) -> tuple[float | None, float | None]:
    """Where speech starts and ends in a clip at 16 kHz, in seconds by its level; None where that is not clear."""
    frame = round(LEVEL_FRAME_S * SAMPLE_RATE)
    num_frames = len(waveform) // frame
    if num_frames < WINDOW_FRAMES:
        return None, None
    power = np.mean(np.square(waveform[: num_frames * frame].reshape(num_frames, frame), dtype=np.float64), axis=1)
    levels_db = 10 * np.log10(power + 1e-10)
    background, voice = np.percentile(levels_db, [5, 95])
    if voice - background < LEAST_RANGE_DB:
        return None, None
    low, high = (
        _loud_stretch(levels_db > background + share * (voice - background))
        for share in (LOW_THRESHOLD, HIGH_THRESHOLD)
    )
    if low is None or high is None:
        return None, None
    start, end = ((a if abs(a - b) * LEVEL_FRAME_S <= CLEAR_WITHIN_S else None) for a, b in zip(low, high, strict=True))
    return None if start is None else start * LEVEL_FRAME_S, None if end is None else end * LEVEL_FRAME_S


def _loud_stretch(loud: npt.NDArray[np.bool_]) -> tuple[int, int] | None:
    """First and last frame (exclusive) of the stretch between the first and the last window that is mostly loud."""
    counts = np.convolve(loud, np.ones(WINDOW_FRAMES), "valid")
    starts = np.flatnonzero((counts >= LOUD_FRAMES) & loud[: len(counts)])
    ends = np.flatnonzero((counts >= LOUD_FRAMES) & loud[WINDOW_FRAMES - 1 :])
    if not len(starts) or not len(ends):
        return None
    return int(starts[0]), int(ends[-1]) + WINDOW_FRAMES


def _groups(utterances: Sequence[Utterance]) -> Iterator[list[Utterance]]:
    """Clips in their order, about `STREAM_S` seconds at a time."""
    group: list[Utterance] = []
    for utterance in utterances:
        group.append(utterance)
        if sum(u.duration_s for u in group) >= STREAM_S:
            yield group
            group = []
    if group:
        yield group


def _read(utterance: Utterance) -> Waveform:
    waveform, sample_rate = read_audio(utterance.audio)
    return resample(waveform, sample_rate, SAMPLE_RATE)
