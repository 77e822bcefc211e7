"""Evaluation: error rates with intervals, and speed, of any systems on the same transcribed clips.

Nothing here needs torch; a PyTorch model is one more system (`transcriber.py`).
"""

from __future__ import annotations

import json
import logging
import re
import resource
import time
import unicodedata
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeasr.errors import ConfigError
from edgeasr.train.clips import read_audio, resample
from edgeasr.train.evaluation.bootstrap import FloatArray, Interval, p_value, relative_change, resampled_sums
from edgeasr.train.evaluation.conditions import CLEAN, Condition, damage
from edgeasr.train.evaluation.score import ErrorCounts, count_errors
from edgeasr.train.manifest import Utterance, read_manifest
from edgeasr.train.teachers.transcriber import LIVE_SAMPLE_RATE, LiveTranscriber, Loader, Transcriber, WordTranscriber

logger = logging.getLogger(__name__)

SPLITS = ("train", "dev", "test")
AGE_BANDS = (0, 12, 18, 30, 45, 60)
POOLED = "all sets"
UNKNOWN = "unknown"
# Damaged clips are made at this rate for all systems: what noise there is must not depend on how a clip is stored.
DAMAGED_SAMPLE_RATE = 16_000
# As microphones deliver it.
LIVE_PIECE_S = 0.1

Normaliser = Callable[[str], str]
# Told how many seconds of sound have been recognised, and how many there are.
Progress = Callable[[float, float], None]


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """Clips of one manifest that have a transcript, under the manifest's name such as `librispeech.dev`."""

    name: str
    utterances: tuple[Utterance, ...]


@dataclass(frozen=True, kw_only=True)
class Result:
    """One clip, recognised by one system.

    Attributes:
        set_name: The set that the clip is of.
        utterance: The clip.
        reference: What is said, normalised.
        hypothesis: What was recognised, normalised.
        words: Errors in words.
        characters: Errors in characters, spaces included.
        cpu_s: CPU time from the compressed file to the text; 0 if it was not measured.
        condition: The name of the condition that the clip was heard in.
        confidences: Of each word of the hypothesis, in 0..1; None where the system gives none.
    """

    set_name: str
    utterance: Utterance
    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts
    cpu_s: float
    condition: str = CLEAN
    confidences: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class LiveClip:
    """One clip, fed as a microphone would feed it.

    Attributes:
        set_name: The set that the clip is of.
        final_s: From its last sample to the final text, on the clock.
        first_text_s: From its start to the first text of a partial result, on the clock of somebody who listens; None
            where there was no text before the end.
    """

    set_name: str
    final_s: float
    first_text_s: float | None


@dataclass(frozen=True, kw_only=True)
class SystemResult:
    """All that was measured of one system.

    Attributes:
        name: The system.
        results: One for each clip and condition.
        load_cpu_s: CPU time to import and load it; None if it was measured in an earlier run.
        peak_memory_mb: Most memory that the process had in use, in MiB, with clips as they are; None as above.
        calibrated: Whether its confidences claim to be probabilities; None where it gives none.
        live: What was fed piece by piece.
    """

    name: str
    results: tuple[Result, ...]
    load_cpu_s: float | None = None
    peak_memory_mb: float | None = None
    calibrated: bool | None = None
    live: tuple[LiveClip, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """Error rates of a system on a set, or on one group of speakers of it.

    Attributes:
        set_name: The set, or `POOLED`.
        grouping: `gender`, `age` or `speaker`; empty for the whole set.
        group: Which of these.
        utterances: How many clips.
        speakers: How many speakers of them are known.
        audio_s: How long they are.
        words: Errors in words.
        characters: Errors in characters.
        wer: Word error rate.
        cer: Character error rate.
        real_time_factor: CPU time per second of sound, decoding of the compressed file included; None if unknown.
        condition: The name of the condition that the clips were heard in.
    """

    set_name: str
    grouping: str = ""
    group: str = ""
    utterances: int
    speakers: int
    audio_s: float
    words: ErrorCounts
    characters: ErrorCounts
    wer: Interval
    cer: Interval
    real_time_factor: float | None
    condition: str = CLEAN


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Error rates of a system beside those of another on the same clips, drawn together (Bisani and Ney 2004).

    Attributes:
        set_name: The set, or `POOLED`.
        condition: The name of the condition that the clips were heard in.
        wer: Word error rate, minus that of the other.
        cer: Character error rate, minus that of the other.
        relative_wer: The first as a share of the other's rate; None where the other has no errors.
        relative_cer: The same of characters.
        wer_p: Two-sided p value of the difference; None where there is nothing to draw from.
        cer_p: The same of characters.
    """

    set_name: str
    condition: str = CLEAN
    wer: Interval
    cer: Interval
    relative_wer: Interval | None
    relative_cer: Interval | None
    wer_p: float | None
    cer_p: float | None


def normaliser(language: str) -> Normaliser:
    """How texts of a language are made comparable.

    English: lower case, hyphens split, accents dropped, only a-z and apostrophes stay. Other languages: lower case,
    hyphens split, only letters with their marks, digits and apostrophes stay.
    """
    return _normalise_english if language.lower().split("-")[0] == "en" else _normalise_any


def _normalise_english(text: str) -> str:
    text = unicodedata.normalize("NFKD", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    text = "".join(c for c in text if not unicodedata.combining(c))
    return _joined(re.sub(r"[^a-z']", " ", text))


def _normalise_any(text: str) -> str:
    text = unicodedata.normalize("NFKC", text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    return _joined("".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in text))


def _joined(text: str) -> str:
    return " ".join(word for word in text.split() if word.strip("'"))


def find_sets(
    data: Path, names: Sequence[str], normalise: Normaliser, *, limit: int | None = None
) -> list[EvaluationSet]:
    """Finds the sets to evaluate on.

    Args:
        data: The data folder, with manifests `speech/<corpus>.<split>.jsonl`.
        names: Sets such as `librispeech.dev`, paths of manifests, or a split such as `dev` for all sets of it that
            have transcripts in this language.
        normalise: Of the language.
        limit: Keep only this many clips of each set, evenly spread.

    Raises:
        ConfigError: There is no such set, a manifest is damaged, or a set that was named has no transcripts.
    """
    folder = data / "speech"
    sets: dict[str, EvaluationSet] = {}
    for name in names:
        whole_split = name in SPLITS
        if whole_split:
            paths = sorted(folder.glob(f"*.{name}.jsonl"))
            if not paths:
                raise ConfigError(f"no manifest {folder}/*.{name}.jsonl (the folder of the data is {data})")
        else:
            paths = [_find_manifest(folder, name)]
        for path in paths:
            utterances = [u for u in read_manifest(path) if u.text and normalise(u.text)]
            if utterances:
                found = EvaluationSet(name=path.stem, utterances=tuple(utterances))
                sets[path.stem] = found if limit is None else evenly(found, limit)
            elif whole_split:
                logger.warning("%s is left out: it has no transcripts in the language of this evaluation", path.stem)
            else:
                raise ConfigError(f"{path} has no transcripts in the language of this evaluation (see --language)")
    if not sets:
        raise ConfigError(f"{folder} has no set with transcripts for {' '.join(names)}")
    return list(sets.values())


def _find_manifest(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.jsonl", Path(name)):
        if path.is_file():
            return path
    known = sorted(path.stem for path in folder.glob("*.jsonl"))
    raise ConfigError(f"no set {name!r}: {folder} has {', '.join(known) or 'no manifests'}")


def evenly(evaluation_set: EvaluationSet, limit: int) -> EvaluationSet:
    """Some of the clips of a set, at equal distances."""
    clips = evaluation_set.utterances
    count = min(limit, len(clips))
    return replace(evaluation_set, utterances=tuple(clips[i * len(clips) // count] for i in range(count)))


def measure(
    load: Loader,
    sets: Sequence[EvaluationSet],
    normalise: Normaliser,
    on_progress: Progress | None = None,
    *,
    conditions: Sequence[Condition] = (Condition(),),
    data: Path = Path(),
    live_clips: int = 0,
) -> SystemResult:
    """Loads a system and lets it recognise every clip, in every condition.

    Memory is that of the whole process: measure each system in a process of its own if it matters. Speed and memory
    are measured with clips as they are.

    Args:
        load: Loads the system.
        sets: The clips.
        normalise: Of the language.
        on_progress: Told how far it is.
        conditions: How the clips are heard.
        data: The data folder, which has the recorded noise.
        live_clips: So many clips of each set, evenly spread, are also fed piece by piece, if the system can take that.

    Raises:
        EdgeAsrError: The system cannot be loaded, or a clip cannot be read.
    """
    begun_s = time.process_time()
    transcriber = load()
    load_cpu_s = time.process_time() - begun_s
    live_sets = [evenly(s, live_clips) for s in sets] if live_clips and isinstance(transcriber, LiveTranscriber) else []
    total_s = sum(u.duration_s for s in [*live_sets, *(len(conditions) * [*sets])] for u in s.utterances)
    done_s = 0.0

    def advance(utterance: Utterance) -> None:
        nonlocal done_s
        done_s += utterance.duration_s
        if on_progress is not None:
            on_progress(done_s, total_s)

    results = []
    memory_mb: float | None = None
    for condition in sorted(conditions, key=lambda condition: condition.name != CLEAN):
        for evaluation_set in sets:
            for utterance in evaluation_set.utterances:
                results.append(_recognise(transcriber, evaluation_set.name, utterance, condition, normalise, data))
                advance(utterance)
        if memory_mb is None:
            memory_mb = peak_memory_mb()
    live = []
    if isinstance(transcriber, LiveTranscriber):
        for evaluation_set in live_sets:
            for utterance in evaluation_set.utterances:
                live.append(feed(transcriber, evaluation_set.name, utterance))
                advance(utterance)
    return SystemResult(
        name=transcriber.name,
        results=tuple(results),
        load_cpu_s=load_cpu_s,
        peak_memory_mb=memory_mb,
        calibrated=transcriber.calibrated if isinstance(transcriber, WordTranscriber) else None,
        live=tuple(live),
    )


def _recognise(
    transcriber: Transcriber,
    set_name: str,
    utterance: Utterance,
    condition: Condition,
    normalise: Normaliser,
    data: Path,
) -> Result:
    begun_s = time.process_time()
    waveform, sample_rate = read_audio(utterance.audio)
    clean = condition.name == CLEAN
    if not clean:
        waveform = resample(waveform, sample_rate, DAMAGED_SAMPLE_RATE)
        sample_rate = DAMAGED_SAMPLE_RATE
        waveform = damage(waveform, sample_rate, condition, clip=utterance.id, data=data)
    confidences = None
    if isinstance(transcriber, WordTranscriber):
        words = transcriber.transcribe_words(waveform, sample_rate)
        # A word may be none to the normaliser, or several.
        parts = [(part, word.confidence) for word in words for part in normalise(word.text).split()]
        hypothesis = " ".join(part for part, _ in parts)
        confidences = tuple(confidence for _, confidence in parts)
    else:
        hypothesis = normalise(transcriber.transcribe(waveform, sample_rate))
    return make_result(
        set_name,
        utterance,
        reference=normalise(utterance.text or ""),
        hypothesis=hypothesis,
        cpu_s=time.process_time() - begun_s if clean else 0.0,
        condition=condition.name,
        confidences=confidences,
    )


def feed(transcriber: LiveTranscriber, set_name: str, utterance: Utterance) -> LiveClip:
    """Feeds a clip in pieces of `LIVE_PIECE_S`, one after the other has been dealt with, and looks at the clock.

    What is measured is what a listener waits for if the system keeps up with the sound.

    Raises:
        EdgeAsrError: The clip cannot be read.
    """
    waveform = resample(*read_audio(utterance.audio), LIVE_SAMPLE_RATE)
    size = round(LIVE_PIECE_S * LIVE_SAMPLE_RATE)
    live = transcriber.listen()
    first_text_s = None
    taken_s = 0.0
    for begin in range(0, len(waveform), size):
        piece = waveform[begin : begin + size]
        begun_s = time.perf_counter()
        text = live.accept(piece)
        taken_s = time.perf_counter() - begun_s
        if text and first_text_s is None:
            first_text_s = (begin + len(piece)) / LIVE_SAMPLE_RATE + taken_s
    begun_s = time.perf_counter()
    live.finish()
    return LiveClip(set_name=set_name, final_s=taken_s + time.perf_counter() - begun_s, first_text_s=first_text_s)


def make_result(
    set_name: str,
    utterance: Utterance,
    *,
    reference: str,
    hypothesis: str,
    cpu_s: float = 0.0,
    condition: str = CLEAN,
    confidences: tuple[float, ...] | None = None,
) -> Result:
    """Counts the errors of a clip."""
    return Result(
        set_name=set_name,
        utterance=utterance,
        reference=reference,
        hypothesis=hypothesis,
        words=count_errors(reference, hypothesis, unit="word"),
        characters=count_errors(reference, hypothesis, unit="character"),
        cpu_s=cpu_s,
        condition=condition,
        confidences=confidences,
    )


def peak_memory_mb() -> float:
    """The most memory that this process has had in use so far, in MiB."""
    # Not `ru_maxrss` where it can be helped: Linux starts that at what the parent process had in use.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def summarise(
    results: Sequence[Result], *, groupings: Sequence[str] = (), by_speaker: bool = False, seed: int = 0
) -> list[Row]:
    """Error rates of each set, of the groups of speakers in it, and of all sets together, condition by condition.

    Args:
        results: Of one system.
        groupings: Of `gender`, `age` and `speaker`. A set in which nobody's is known has no such rows.
        by_speaker: Intervals for other speakers, not only for other utterances of the same ones.
        seed: Of the resampling.
    """
    rows = []
    for heard in split(results, lambda result: result.condition).values():
        by_set = split(heard, lambda result: result.set_name)
        for name, members in by_set.items():
            rows.append(_row(members, set_name=name, by_speaker=by_speaker, seed=seed))
            for grouping in groupings:
                rows += _group_rows(members, set_name=name, grouping=grouping, by_speaker=by_speaker, seed=seed)
        if len(by_set) > 1:
            rows.append(_row(heard, set_name=POOLED, by_speaker=by_speaker, seed=seed))
    return rows


def _group_rows(results: Sequence[Result], *, set_name: str, grouping: str, by_speaker: bool, seed: int) -> list[Row]:
    groups = split(results, lambda result: group_of(result.utterance, grouping))
    if set(groups) == {UNKNOWN}:
        return []
    rows = []
    for group in sorted(groups, key=_group_order):
        row = _row(groups[group], set_name=set_name, by_speaker=by_speaker, seed=seed)
        rows.append(replace(row, grouping=grouping, group=group))
    return rows


def extreme_speakers(rows: Sequence[Row], most: int, *, least_words: int = 20) -> tuple[list[Row], list[Row]]:
    """The speakers who are understood best and those who are understood worst, of all sets of one condition.

    Args:
        rows: Of one system and condition, with the grouping `speaker`; others are passed over.
        most: How many of each, at most; nobody is both.
        least_words: Speakers who say fewer words are passed over: theirs would be chance.

    Returns:
        The best, the very best first, and the worst, the very worst first.
    """
    known = [r for r in rows if r.grouping == "speaker" and r.group != UNKNOWN and r.words.reference >= least_words]
    known.sort(key=lambda row: (row.wer.value, row.set_name, row.group))
    most = min(most, len(known) // 2)
    return known[:most], known[::-1][:most]


def group_of(utterance: Utterance, grouping: str) -> str:
    """The group of speakers that a clip belongs to.

    Raises:
        ConfigError: There is no such grouping.
    """
    if grouping == "gender":
        return utterance.gender or UNKNOWN
    if grouping == "speaker":
        return utterance.speaker or UNKNOWN
    if grouping == "age":
        return UNKNOWN if utterance.age is None else age_band(utterance.age)
    raise ConfigError(f"no grouping {grouping!r}: expected gender, age or speaker")


def age_band(age: int) -> str:
    """The band of an age in years: `0-11`, `12-17` ... `60+`."""
    place = max(i for i, lowest in enumerate(AGE_BANDS) if lowest <= max(age, 0))
    if place == len(AGE_BANDS) - 1:
        return f"{AGE_BANDS[place]}+"
    return f"{AGE_BANDS[place]}-{AGE_BANDS[place + 1] - 1}"


def _group_order(group: str) -> tuple[bool, int, str]:
    """Age bands by age, names by the alphabet, what is unknown last."""
    number = re.match(r"\d+", group)
    return (group == UNKNOWN, int(number[0]) if number else 0, group)


def split(results: Sequence[Result], key: Callable[[Result], str]) -> dict[str, list[Result]]:
    """The results of each key, in the order in which the keys appear."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups


def _row(results: Sequence[Result], *, set_name: str, by_speaker: bool, seed: int) -> Row:
    words, characters = _words(results), _characters(results)
    audio_s = sum(result.utterance.duration_s for result in results)
    cpu_s = sum(result.cpu_s for result in results)
    sums = resampled_sums(_strata([results], by_speaker), seed=seed)
    return Row(
        set_name=set_name,
        utterances=len(results),
        speakers=len({result.utterance.speaker for result in results} - {None}),
        audio_s=audio_s,
        words=words,
        characters=characters,
        wer=Interval.of(words.rate, None if sums is None else sums[:, 0] / sums[:, 1]),
        cer=Interval.of(characters.rate, None if sums is None else sums[:, 2] / sums[:, 3]),
        real_time_factor=cpu_s / audio_s if audio_s > 0 and cpu_s > 0 else None,
        condition=results[0].condition,
    )


def _words(results: Sequence[Result]) -> ErrorCounts:
    return sum((result.words for result in results), ErrorCounts())


def _characters(results: Sequence[Result]) -> ErrorCounts:
    return sum((result.characters for result in results), ErrorCounts())


def _strata(systems: Sequence[Sequence[Result]], by_speaker: bool) -> list[FloatArray]:
    """For each set (num_units, 4 x num_systems): word errors, words, character errors, characters of each unit.

    A unit is a clip or a speaker; a clip of an unknown speaker is a unit of its own. All systems have the same clips
    in the same order.
    """
    strata: dict[str, dict[Hashable, FloatArray]] = {}
    for results in zip(*systems, strict=True):
        utterance, units = results[0].utterance, strata.setdefault(results[0].set_name, {})
        unit = (utterance.speaker,) if by_speaker and utterance.speaker else utterance.id
        counts = [count for r in results for c in (r.words, r.characters) for count in (c.errors, c.reference)]
        units[unit] = units.get(unit, 0) + np.array(counts, np.float64)
    return [np.stack(list(units.values())) for units in strata.values()]


def compare(system: SystemResult, base: SystemResult, *, by_speaker: bool = False, seed: int = 0) -> list[Difference]:
    """The differences of two systems on each set and on all together, clip by clip: `system` beside `base`.

    They are compared in the conditions that both have heard.

    Raises:
        ConfigError: They did not recognise the same clips, or not in the same condition.
    """
    ours, theirs_by_condition = (split(s.results, lambda result: result.condition) for s in (system, base))
    by_clip = {_clip(result): result for heard in theirs_by_condition.values() for result in heard}
    shared = [condition for condition in ours if condition in theirs_by_condition]
    for condition in shared or ours:
        heard = theirs_by_condition.get(condition, [])
        clips = {_clip(result) for result in heard}
        if len(clips) != len(heard) or clips != {_clip(result) for result in ours[condition]}:
            raise ConfigError(f"{system.name} and {base.name} cannot be compared: they recognised different clips")
    differences = []
    for condition in shared:
        heard = ours[condition]
        by_set = split(heard, lambda result: result.set_name)
        if len(by_set) > 1:
            by_set[POOLED] = heard
        for name, mine in by_set.items():
            theirs = [by_clip[_clip(result)] for result in mine]
            strata = _strata([mine, theirs], by_speaker)
            sums = resampled_sums(strata, seed=seed)
            units = np.concatenate(strata)
            differing = [int(np.count_nonzero(units[:, column] != units[:, column + 4])) for column in (0, 2)]
            in_words, in_characters = (None, None) if sums is None else (sums[:, [0, 1, 4, 5]], sums[:, [2, 3, 6, 7]])
            wer, relative_wer, wer_p = _paired(_words(mine), _words(theirs), in_words, differing[0])
            cer, relative_cer, cer_p = _paired(_characters(mine), _characters(theirs), in_characters, differing[1])
            differences.append(
                Difference(
                    set_name=name,
                    condition=condition,
                    wer=wer,
                    cer=cer,
                    relative_wer=relative_wer,
                    relative_cer=relative_cer,
                    wer_p=wer_p,
                    cer_p=cer_p,
                )
            )
    return differences


def _clip(result: Result) -> tuple[str, str, str]:
    return result.condition, result.set_name, result.utterance.id


def _paired(
    ours: ErrorCounts, theirs: ErrorCounts, sums: FloatArray | None, num_units: int
) -> tuple[Interval, Interval | None, float | None]:
    """Difference, relative difference and p value of two error rates.

    Args:
        ours: Of one system.
        theirs: Of the other.
        sums: (resamples, 4) errors and length of the one, errors and length of the other.
        num_units: Clips, or speakers, on which they differ.
    """
    if sums is None:
        return (
            Interval(value=ours.rate - theirs.rate),
            relative_change(ours.rate, theirs.rate, None),
            None,
        )
    rates = np.stack([sums[:, 0] / sums[:, 1], sums[:, 2] / sums[:, 3]], axis=1)
    difference = rates[:, 0] - rates[:, 1]
    return (
        Interval.of(ours.rate - theirs.rate, difference),
        relative_change(ours.rate, theirs.rate, rates),
        p_value(difference, num_units),
    )


def write_hypotheses(path: Path, systems: Sequence[SystemResult]) -> None:
    """Writes what every system recognised in every clip, as JSON Lines."""
    with path.open("w", encoding="utf-8") as file:
        for system in systems:
            for result in system.results:
                row = {
                    "system": system.name,
                    "set": result.set_name,
                    "id": result.utterance.id,
                    "reference": result.reference,
                    "hypothesis": result.hypothesis,
                    "duration_s": result.utterance.duration_s,
                    "condition": result.condition,
                    "cpu_s": round(result.cpu_s, 6),
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_hypotheses(path: Path, sets: Sequence[EvaluationSet]) -> list[SystemResult]:
    """Reads the systems of an earlier run, as far as they recognised clips of these sets.

    Raises:
        ConfigError: The file is missing or damaged, or a system has not recognised just the clips of these sets.
    """
    clips = {(s.name, utterance.id): utterance for s in sets for utterance in s.utterances}
    systems: dict[str, list[Result]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"hypotheses {path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            utterance = clips.get((row["set"], row["id"]))
            if utterance is not None:
                result = make_result(
                    row["set"],
                    utterance,
                    reference=row["reference"],
                    hypothesis=row["hypothesis"],
                    cpu_s=float(row["cpu_s"]),
                    condition=str(row.get("condition", CLEAN)),
                )
                systems.setdefault(row["system"], []).append(result)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path}:{number}: not a line of hypotheses: {error!r}") from error
    if not systems:
        raise ConfigError(f"{path} has no clip of {', '.join(s.name for s in sets)}")
    for name, results in systems.items():
        for condition, heard in split(results, lambda result: result.condition).items():
            if len(heard) != len(clips):  # told now: clips that others lack cannot be compared
                raise ConfigError(
                    f"{path}: {name!r} ({condition}) has {len(heard)} results for the {len(clips)} clips of "
                    f"{', '.join(s.name for s in sets)}"
                )
    return [SystemResult(name=name, results=tuple(results)) for name, results in systems.items()]
