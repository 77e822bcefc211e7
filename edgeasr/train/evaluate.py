"""Evaluation: error rates with intervals, and speed, of bundles and peers on sets of transcribed clips.

Nothing here needs torch: what is measured is what people run.
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
from edgeasr.train.bootstrap import FloatArray, Interval, resampled_sums
from edgeasr.train.clips import read_audio
from edgeasr.train.manifest import Utterance, read_manifest
from edgeasr.train.score import ErrorCounts, count_errors
from edgeasr.train.transcriber import Loader

logger = logging.getLogger(__name__)

SPLITS = ("train", "dev", "test")
AGE_BANDS = (0, 12, 18, 30, 45, 60)
POOLED = "all sets"
UNKNOWN = "unknown"

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
        cpu_s: CPU time from the compressed file to the text.
    """

    set_name: str
    utterance: Utterance
    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts
    cpu_s: float


@dataclass(frozen=True, kw_only=True)
class SystemResult:
    """All that was measured of one system.

    Attributes:
        name: The system.
        results: One for each clip.
        load_cpu_s: CPU time to import and load it; None if it was measured in an earlier run.
        peak_memory_mb: Most memory that the process had in use, in MiB; None as above.
    """

    name: str
    results: tuple[Result, ...]
    load_cpu_s: float | None = None
    peak_memory_mb: float | None = None


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


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Error rates of a system minus those of another on the same clips."""

    set_name: str
    wer: Interval
    cer: Interval


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
                chosen = utterances if limit is None else _spread(utterances, limit)
                sets[path.stem] = EvaluationSet(name=path.stem, utterances=tuple(chosen))
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


def _spread(utterances: list[Utterance], limit: int) -> list[Utterance]:
    """Some of the clips, at equal distances."""
    count = min(limit, len(utterances))
    return [utterances[i * len(utterances) // count] for i in range(count)]


def measure(
    load: Loader, sets: Sequence[EvaluationSet], normalise: Normaliser, on_progress: Progress | None = None
) -> SystemResult:
    """Loads a system and lets it recognise every clip.

    Memory is that of the whole process: measure each system in a process of its own if it matters.

    Raises:
        EdgeAsrError: The system cannot be loaded, or a clip cannot be read.
    """
    begun_s = time.process_time()
    transcriber = load()
    load_cpu_s = time.process_time() - begun_s
    total_s = sum(utterance.duration_s for s in sets for utterance in s.utterances)
    done_s = 0.0
    results = []
    for evaluation_set in sets:
        for utterance in evaluation_set.utterances:
            begun_s = time.process_time()
            waveform, sample_rate = read_audio(utterance.audio)
            text = transcriber.transcribe(waveform, sample_rate)
            cpu_s = time.process_time() - begun_s
            results.append(
                make_result(
                    evaluation_set.name,
                    utterance,
                    reference=normalise(utterance.text or ""),
                    hypothesis=normalise(text),
                    cpu_s=cpu_s,
                )
            )
            done_s += utterance.duration_s
            if on_progress is not None:
                on_progress(done_s, total_s)
    return SystemResult(
        name=transcriber.name, results=tuple(results), load_cpu_s=load_cpu_s, peak_memory_mb=peak_memory_mb()
    )


def make_result(set_name: str, utterance: Utterance, *, reference: str, hypothesis: str, cpu_s: float = 0.0) -> Result:
    """Counts the errors of a clip."""
    return Result(
        set_name=set_name,
        utterance=utterance,
        reference=reference,
        hypothesis=hypothesis,
        words=count_errors(reference, hypothesis, unit="word"),
        characters=count_errors(reference, hypothesis, unit="character"),
        cpu_s=cpu_s,
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
    """Error rates of each set, of the groups of speakers in it, and of all sets together.

    Args:
        results: Of one system.
        groupings: Of `gender`, `age` and `speaker`. A set in which nobody's is known has no such rows.
        by_speaker: Intervals for other speakers, not only for other utterances of the same ones.
        seed: Of the resampling.
    """
    rows = []
    by_set = split(results, lambda result: result.set_name)
    for name, members in by_set.items():
        rows.append(_row(members, set_name=name, by_speaker=by_speaker, seed=seed))
        for grouping in groupings:
            rows += _group_rows(members, set_name=name, grouping=grouping, by_speaker=by_speaker, seed=seed)
    if len(by_set) > 1:
        rows.append(_row(results, set_name=POOLED, by_speaker=by_speaker, seed=seed))
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
    """The differences of two systems on each set and on all together: `system` minus `base`, clip by clip.

    Raises:
        ConfigError: They did not recognise the same clips.
    """
    by_clip = {(result.set_name, result.utterance.id): result for result in base.results}
    if len(by_clip) != len(base.results) or by_clip.keys() != {(r.set_name, r.utterance.id) for r in system.results}:
        raise ConfigError(f"{system.name} and {base.name} cannot be compared: they recognised different clips")
    by_set = split(system.results, lambda result: result.set_name)
    if len(by_set) > 1:
        by_set[POOLED] = list(system.results)
    differences = []
    for name, mine in by_set.items():
        theirs = [by_clip[result.set_name, result.utterance.id] for result in mine]
        sums = resampled_sums(_strata([mine, theirs], by_speaker), seed=seed)
        differences.append(
            Difference(
                set_name=name,
                wer=Interval.of(
                    _words(mine).rate - _words(theirs).rate,
                    None if sums is None else sums[:, 0] / sums[:, 1] - sums[:, 4] / sums[:, 5],
                ),
                cer=Interval.of(
                    _characters(mine).rate - _characters(theirs).rate,
                    None if sums is None else sums[:, 2] / sums[:, 3] - sums[:, 6] / sums[:, 7],
                ),
            )
        )
    return differences


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
                    "cpu_s": round(result.cpu_s, 6),
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_hypotheses(path: Path, sets: Sequence[EvaluationSet]) -> list[SystemResult]:
    """Reads the systems of an earlier run, as far as they recognised clips of these sets.

    Raises:
        ConfigError: The file is missing or damaged, or has no clip of these sets.
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
                )
                systems.setdefault(row["system"], []).append(result)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path}:{number}: not a line of hypotheses: {error!r}") from error
    if not systems:
        raise ConfigError(f"{path} has no clip of {', '.join(s.name for s in sets)}")
    return [SystemResult(name=name, results=tuple(results)) for name, results in systems.items()]
