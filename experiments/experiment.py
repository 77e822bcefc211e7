"""Experiments: arms that differ in a few settings of a recipe, trained one after another from one start, and measured.

An experiment is a TOML file beside this one: what each arm changes, and with which seeds. A scale (`scales/`) is what
the arms have in common: the data, the size of the student, how long it learns. What a run has found is a line in a
file; a second start does only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from edgeasr.errors import ConfigError
from edgeasr.train.evaluation.conditions import CLEAN, Condition
from edgeasr.train.evaluation.evaluate import Result, find_sets, measure, normaliser
from edgeasr.train.loop import make_dataset, train
from edgeasr.train.manifest import data_dir
from edgeasr.train.recipe import Recipe, build
from edgeasr.train.run_log import read_sessions
from edgeasr.train.teachers.teacher import CHECKPOINT
from edgeasr.train.teachers.transcriber import StudentTranscriber

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
SCALES = FOLDER / "scales"
# In the path of a scale's teacher: the run that all arms start from.
START = "{start}"

Table = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One of the things that are compared.

    Attributes:
        name: What tables call it; short.
        about: What it is, where the name does not tell.
        recipe: What it changes in the scale's recipe.
        teacher: Whether it has the scale's teacher; what is learnt from it stands in its `recipe.losses`.
        hours: So much of the speech has transcripts, the same in all arms and part of any larger amount; None for all.
        unlabelled: Whether the rest is heard without its transcripts. It is left out otherwise.
        against: The arm that it is compared with; the first one if empty.
    """

    name: str
    about: str = ""
    recipe: Table = field(default_factory=dict)
    teacher: bool = False
    hours: float | None = None
    unlabelled: bool = False
    against: str = ""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question and the arms that answer it.

    Attributes:
        name: That of its file.
        title: The heading.
        question: What is asked, and how.
        arms: Two or more; the first is the base.
        recipe: What it changes in the scale's recipe for all arms, but not for their start.
        seeds: Each arm is trained once with each.
        start_hours: So much transcribed speech has the run from which all arms start; None for all there is.
        conditions: How the sets are heard: `clean`, `10dB`, ...
        chart: What the chart's horizontal axis is: `arms`, `hours` or `conditions`.
    """

    name: str
    title: str
    question: str
    arms: tuple[Arm, ...]
    recipe: Table = field(default_factory=dict)
    seeds: tuple[int, ...] = (1,)
    start_hours: float | None = None
    conditions: tuple[str, ...] = (CLEAN,)
    chart: str = "arms"

    def __post_init__(self) -> None:
        """Checks the names."""
        names = [arm.name for arm in self.arms]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ConfigError(f"{self.name}: an experiment has two arms or more, with different names, got {names}")
        for arm in self.arms:
            if arm.against and arm.against not in names:
                raise ConfigError(f"{self.name}: {arm.name} is compared with {arm.against!r}, which is no arm")
        if self.chart not in ("arms", "hours", "conditions"):
            raise ConfigError(f"{self.name}: chart must be arms, hours or conditions, got {self.chart!r}")

    def base_of(self, arm: Arm) -> Arm | None:
        """The arm that an arm is compared with; None for the base itself."""
        base = next((other for other in self.arms if other.name == arm.against), self.arms[0])
        return None if base is arm else base


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What all arms have in common.

    Attributes:
        name: That of its file.
        sets: What is measured on.
        hours_factor: An experiment's hours are multiplied by it.
        limit: So many clips of each set, evenly spread; None for all.
        seeds: At most so many of an experiment's seeds; None for all.
        tones: Whether the data is made of tones, and made now.
        teacher: The `[teacher]` of those arms that have one.
        recipe: The recipe.
        start: What the run from which all arms start changes in it.
    """

    name: str
    sets: tuple[str, ...]
    hours_factor: float = 1.0
    limit: int | None = None
    seeds: int | None = None
    tones: bool = False
    teacher: Table
    recipe: Table
    start: Table


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What was counted in one clip."""

    set_name: str
    condition: str
    id: str
    errors: int
    words: int
    character_errors: int
    characters: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """An arm, trained with one seed and measured.

    Attributes:
        arm: Its name.
        seed: The seed.
        key: Of the recipe and the start; another one is another run.
        updates: How many.
        wall_s: Seconds on the clock that training took, all its sessions together.
        cpu_s: CPU time of it.
        heard_h: Hours of sound that it heard.
        prepare_s: Seconds on the clock before it: clips were decoded and the teacher listened, if that was new.
        transcribed_h: So much of what it heard has transcripts, in hours.
        clips: What was counted.
    """

    arm: str
    seed: int
    key: str
    updates: int
    wall_s: float
    cpu_s: float
    heard_h: float
    prepare_s: float
    transcribed_h: float
    clips: tuple[Clip, ...]


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are.

    Attributes:
        data: The data folder.
        work: Gets the runs, subsets of manifests, and what was found.
        cache: Gets decoded clips and what teachers say.
    """

    data: Path
    work: Path
    cache: Path


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run to be made."""

    arm: Arm
    seed: int
    recipe: Recipe
    key: str


def experiment_names() -> list[str]:
    """The experiments that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_experiment(name: str) -> Experiment:
    """Reads the description of an experiment.

    Raises:
        ConfigError: There is none of this name, or it is not what it should be.
    """
    return build(Experiment, {"name": name, **_read(FOLDER / f"{name}.toml", experiment_names())}, where=name)


def read_scale(name: str) -> Scale:
    """Reads a scale.

    Raises:
        ConfigError: There is none of this name, or it is not what it should be.
    """
    known = sorted(path.stem for path in SCALES.glob("*.toml"))
    return build(Scale, {"name": name, **_read(SCALES / f"{name}.toml", known)}, where=name)


def overlay(base: Table, over: Table) -> Table:
    """A table with the values of another one laid over it; tables in them likewise."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = overlay(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def find_places(scale: Scale, work: Path, cache: Path, data: Path | None = None) -> Places:
    """The folders of a scale; data of tones is made now."""
    if scale.tones:
        from tones import write_tones

        data = work / "tones"
        write_tones(data)
    return Places(data=data or data_dir(), work=work, cache=cache)


def start_recipe(experiment: Experiment, scale: Scale, places: Places) -> Recipe:
    """The recipe of the run from which all arms start."""
    table = overlay(scale.recipe, {"name": "start", **scale.start})
    return build(
        Recipe, _with_sources(table, experiment.start_hours, False, scale, places), where=f"{scale.name}: start"
    )


def plan(experiment: Experiment, scale: Scale, places: Places, start: Path) -> list[Plan]:
    """All runs of an experiment, seed by seed, so that those to be compared come one after the other.

    Raises:
        ConfigError: An arm makes a recipe that cannot be.
    """
    plans = []
    teacher = {
        key: value.replace(START, str(start.parent)) if key == "path" else value for key, value in scale.teacher.items()
    }
    for seed in experiment.seeds[: scale.seeds]:
        for arm in experiment.arms:
            table = overlay(scale.recipe, experiment.recipe)
            table = overlay(table, {"teacher": teacher} if arm.teacher else {})
            table = overlay(table, {**arm.recipe, "name": f"{experiment.name}, {arm.name}", "seed": seed})
            table = _with_sources(table, arm.hours, arm.unlabelled, scale, places)
            recipe = build(Recipe, table, where=f"{experiment.name}: {arm.name}")
            plans.append(Plan(arm=arm, seed=seed, recipe=recipe, key=_key(recipe, experiment.conditions, scale)))
    return plans


def results_path(experiment: Experiment, scale: Scale, places: Places) -> Path:
    """Where what was found is kept: a line for each run."""
    return places.work / f"{experiment.name}.{scale.name}.jsonl"


def read_runs(path: Path) -> list[Run]:
    """What was found so far; a last line that was cut short is found again."""
    runs = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        runs.append(Run(**{**row, "clips": tuple(Clip(**clip) for clip in row["clips"])}))
    return runs


def run(
    experiment: Experiment,
    scale: Scale,
    places: Places,
    *,
    start: Path | None = None,
    num_threads: int | None = None,
    on_run: Callable[[str], None] = logger.info,
) -> list[Run]:
    """Makes the runs that are missing, one after the other.

    Args:
        experiment: What to do.
        scale: How big.
        places: Where.
        start: A checkpoint that all arms start from; None to train it first, if it is not there.
        num_threads: Of torch; its own default if None.
        on_run: Told what is done next.

    Returns:
        The runs that the experiment now consists of.
    """
    places.work.mkdir(parents=True, exist_ok=True)
    learn = partial(train, data_dir=places.data, cache_dir=places.cache, num_threads=num_threads)
    if start is None:
        recipe = start_recipe(experiment, scale, places)
        start_dir = places.work / f"start-{_key(recipe, (), scale)}"
        start = start_dir / CHECKPOINT
        done = start_dir / "done"
        if not done.is_file():
            on_run(f"the start of all arms, {recipe.optimizer.steps} updates")
            learn(recipe, run_dir=start_dir)
            done.touch()
    found_path = results_path(experiment, scale, places)
    found = {(one.arm, one.seed, one.key): one for one in read_runs(found_path)}
    sets, normalise = None, normaliser(build(Recipe, scale.recipe, where=scale.name).release.language)
    plans = plan(experiment, scale, places, start)
    for number, planned in enumerate(plans, 1):
        key = _start_key(planned.key, start)
        place = (planned.arm.name, planned.seed, key)
        if place in found:
            continue
        on_run(f"{experiment.name}: {planned.arm.name}, seed {planned.seed} ({number} of {len(plans)})")
        run_dir = places.work / "runs" / f"{_slug(experiment.name)}-{_slug(planned.arm.name)}-{planned.seed}-{key}"
        begun_s = time.monotonic()
        make_dataset(planned.recipe, places.data, places.cache)
        prepare_s = time.monotonic() - begun_s
        learn(planned.recipe, run_dir=run_dir, initial=start)
        sessions = read_sessions(run_dir)
        sets = sets or find_sets(places.data, scale.sets, normalise, limit=scale.limit)
        conditions = [Condition.parse(text) for text in experiment.conditions]
        measured = measure(
            partial(StudentTranscriber, run_dir), sets, normalise, conditions=conditions, data=places.data
        )
        found[place] = Run(
            arm=planned.arm.name,
            seed=planned.seed,
            key=key,
            updates=planned.recipe.optimizer.steps,
            wall_s=round(sum(session["wall_s"] for session in sessions), 1),
            cpu_s=round(sum(session["cpu_s"] for session in sessions), 1),
            heard_h=round(sum(session["heard_s"] for session in sessions) / 3600, 3),
            prepare_s=round(prepare_s, 1),
            transcribed_h=round(_transcribed_h(planned.recipe, places.data), 3),
            clips=tuple(map(_count, measured.results)),
        )
        with found_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found[place])) + "\n")
    return [found[planned.arm.name, planned.seed, _start_key(planned.key, start)] for planned in plans]


def _read(path: Path, known: Sequence[str]) -> Table:
    if not path.is_file():
        raise ConfigError(f"there is no {path.stem!r}; there are {', '.join(known)}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _with_sources(table: Table, hours: float | None, unlabelled: bool, scale: Scale, places: Places) -> Table:
    """The table with sources of which only some hours have transcripts; the files of such are written now."""
    if hours is None:
        return table
    hours *= scale.hours_factor
    rows = list(_transcribed_rows(table["data"]["sources"], places.data))
    # By the hash of its sound's path a clip is always drawn before or after another: a subset is part of a larger one.
    rows.sort(key=lambda row: hashlib.sha256(row["audio"].encode()).digest())
    total_s = 0.0
    known: list[Table] = []
    rest: list[Table] = []
    for row in rows:
        (known if total_s < 3600 * hours else rest).append(row)
        total_s += row["duration_s"]
    parts = {f"transcribed-{hours:g}h": known}
    if unlabelled and rest:
        parts[f"beyond-{hours:g}h"] = [{**row, "text": None} for row in rest]
    folder = (places.work / "subsets").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for name, part in parts.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.jsonl"
        path.write_text(text, encoding="utf-8")
        sources.append({"manifest": str(path)})
    return overlay(table, {"data": {"sources": sources}})


def _transcribed_rows(sources: Sequence[Table], data: Path) -> Iterator[Table]:
    for source in sources:
        path = data / source["manifest"]
        if source.get("optional") and not path.is_file():
            continue
        if not path.is_file():
            raise ConfigError(f"manifest {path} not found")
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["text"]:
                yield {**row, "audio": str((path.parent / row["audio"]).resolve())}


def _transcribed_h(recipe: Recipe, data: Path) -> float:
    rows = [row for source in recipe.data.sources for row in _transcribed_rows([asdict(source)], data)]
    return sum(float(row["duration_s"]) for row in rows) / 3600


def _key(recipe: Recipe, conditions: Sequence[str], scale: Scale) -> str:
    what = [asdict(recipe), list(conditions), list(scale.sets), scale.limit]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]


def _start_key(key: str, start: Path) -> str:
    with start.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").digest()
    return hashlib.sha256(key.encode() + content).hexdigest()[:8]


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def _count(result: Result) -> Clip:
    return Clip(
        set_name=result.set_name,
        condition=result.condition,
        id=result.utterance.id,
        errors=result.words.errors,
        words=result.words.reference,
        character_errors=result.characters.errors,
        characters=result.characters.reference,
    )
