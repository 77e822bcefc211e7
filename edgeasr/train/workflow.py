"""The steps from speech to a bundle, as the commands of these names run them: label, distil, train, evaluate, export.

Each takes a recipe - read, or as a file or a name - and goes on where it was interrupted. With the defaults a run lies
in `runs/NAME`, and what can be made again in `cache`.

Example:
    >>> from edgeasr.train.workflow import evaluate, export, train  # doctest: +SKIP
    >>> train("my-recipe.toml")  # doctest: +SKIP
    >>> evaluate("my-recipe.toml").rate_table(0)  # doctest: +SKIP
    >>> export("my-recipe.toml").path  # doctest: +SKIP
    PosixPath('runs/my-recipe/bundle')
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from os.path import relpath
from pathlib import Path
from typing import Any, Literal

from edgeasr.bundle import Bundle
from edgeasr.errors import ConfigError
from edgeasr.files import write_whole
from edgeasr.train import loop
from edgeasr.train.clips import ClipStore
from edgeasr.train.dataset import Dataset, Source
from edgeasr.train.distil import ReadingLoss
from edgeasr.train.evaluation.conditions import CLEAN, Condition
from edgeasr.train.evaluation.evaluate import find_sets, measure, normaliser
from edgeasr.train.evaluation.evaluation_report import Evaluation
from edgeasr.train.evaluation.labels import label_texts
from edgeasr.train.export import export_bundle, load_student
from edgeasr.train.manifest import data_dir as default_data_dir
from edgeasr.train.manifest import read_manifest
from edgeasr.train.recipe import Recipe, find_recipe, read_recipe
from edgeasr.train.run_log import CHECKPOINT
from edgeasr.train.student import Student
from edgeasr.train.teachers.ensemble import ask_teacher
from edgeasr.train.teachers.label import UNREADABLE, Labelled, SentenceIndex, fault_of, read_vocabulary
from edgeasr.train.teachers.teacher import load_teacher
from edgeasr.train.teachers.transcriber import StudentTranscriber

RUNS = Path("runs")
CACHE = Path("cache")
BUNDLE = "bundle"


# Why a clip gets no transcript, besides the reasons of `edgeasr.train.teachers.label`.
FAULTS = {"unsure": "of which the teacher is not sure", "disagreed": "on which the teachers disagree"}
OTHER_CHARACTERS = "with characters that the token table lacks"


def open_recipe(recipe: Recipe | Path | str) -> Recipe:
    """A recipe: one that was read already, a file, or the name of one that ships with the package."""
    return recipe if isinstance(recipe, Recipe) else read_recipe(find_recipe(str(recipe)))


def run_folder(recipe: Recipe, run_dir: Path | None = None) -> Path:
    """Where a recipe's run lies."""
    return RUNS / recipe.name if run_dir is None else run_dir


def label(
    recipe: Recipe | Path | str,
    *,
    data_dir: Path | None = None,
    cache_dir: Path = CACHE,
    on_progress: loop.Progress | None = None,
) -> dict[Path, Labelled]:
    """Has a recipe's teacher transcribe the clips without a transcript in the sources that name a file for `labels`.

    What the teacher says of a clip is kept in the cache, where `distil` and `train` find it, too. Which of its readings
    become transcripts is told by the recipe's `[label]`.

    Args:
        recipe: The recipe.
        data_dir: Where its manifests are; None for the folder of the environment.
        cache_dir: Gets the decoded clips, and what the teacher says of them.
        on_progress: Told how many seconds of sound the teacher has heard, of how many of a source that are new to it.

    Returns:
        For each of these files what became of the clips.

    Raises:
        ConfigError: There is no teacher, or no source to label.
        AudioFormatError: A clip cannot be read, and the recipe does not say to skip such clips.
    """
    recipe, data = open_recipe(recipe), data_dir or default_data_dir()
    if recipe.teacher is None:
        raise ConfigError(f"the recipe {recipe.name} has no [teacher] to label with")
    sources = [source for source in recipe.data.sources if source.labels is not None]
    if not sources:
        raise ConfigError(f"no source of the recipe {recipe.name} names a file for its labels")
    normalise = normaliser(recipe.release.language)
    kept_apart = [str(data / manifest) for manifest in recipe.evaluation.manifests] + list(recipe.label.leave_out)
    sentences = find_sets(data, kept_apart, normalise) if kept_apart else []
    left_out = SentenceIndex(normalise(u.text or "") for s in sentences for u in s.utterances)
    vocabulary = read_vocabulary([data / path for path in recipe.label.vocabulary], normalise)
    return {
        data / (source.labels or ""): _label_source(
            recipe, source, data, cache_dir, normalise, left_out, vocabulary or None, on_progress
        )
        for source in sources
    }


def _label_source(
    recipe: Recipe,
    source: Source,
    data: Path,
    cache_dir: Path,
    normalise: Callable[[str], str],
    left_out: SentenceIndex,
    vocabulary: set[str] | None,
    on_progress: loop.Progress | None,
) -> Labelled:
    if recipe.teacher is None or source.labels is None:
        raise ConfigError("labels need a [teacher], and a source that names a file for them")
    config, sample_rate = recipe.data, recipe.frontend.sample_rate
    listed = [
        u
        for u in read_manifest(data / source.manifest)
        if u.text is None and config.minimum_s <= u.duration_s <= config.maximum_s
    ]
    store = ClipStore(cache_dir, sample_rate)
    clips = store.load(
        f"{Path(source.manifest).stem}.unlabelled", [u.audio for u in listed], skip_unreadable=config.skip_unreadable
    )
    heard = [(u, clip) for u, clip in zip(listed, clips, strict=True) if clip.size]
    targets = ask_teacher(
        recipe.teacher,
        [clip for _, clip in heard],
        [None] * len(heard),
        sample_rate,
        tokens=recipe.tokens,
        load=partial(load_teacher, data=data, tokens=recipe.tokens),
        data=data,
        cache_dir=cache_dir,
        on_progress=on_progress,
    )
    believed = ReadingLoss(
        weight=1.0,
        minimum_confidence=recipe.label.minimum_confidence,
        maximum_disagreement=recipe.label.maximum_disagreement,
    )
    characters = {*recipe.tokens.tokens, " "}
    manifest = data / source.labels
    dropped = Counter({UNREADABLE: len(listed) - len(heard)})
    rows: list[dict[str, Any]] = []
    for place, (utterance, _) in enumerate(heard):
        text = normalise(targets.readings(place)[0][0])
        fault = fault_of(
            text,
            left_out=left_out,
            vocabulary=vocabulary,
            maximum_unknown_share=recipe.label.maximum_unknown_share,
        )
        if fault is None and not characters.issuperset(text):
            fault = OTHER_CHARACTERS
        if fault is None and (doubt := believed.fault(targets, place)):
            fault = FAULTS[doubt]
        if fault is not None:
            dropped[fault] += 1
            continue
        known = {"speaker": utterance.speaker, "age": utterance.age, "gender": utterance.gender}
        rows.append(
            {
                "id": utterance.id,
                "audio": relpath(utterance.audio, manifest.parent),
                "duration_s": utterance.duration_s,
                "text": text,
                **{key: value for key, value in known.items() if value is not None},
            }
        )
    manifest.parent.mkdir(parents=True, exist_ok=True)
    write_whole(manifest, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return Labelled(clips=len(listed), kept=len(rows), dropped=dict(dropped))


def distil(
    recipe: Recipe | Path | str,
    *,
    data_dir: Path | None = None,
    cache_dir: Path = CACHE,
    on_progress: loop.Progress | None = None,
) -> Dataset:
    """Has a recipe's teacher listen to all clips that are new to it; training does the same at its start.

    Args:
        recipe: The recipe.
        data_dir: Where its manifests are; None for the folder of the environment.
        cache_dir: Gets the decoded clips, and what the teacher says of them.
        on_progress: Told how many seconds of sound the teacher has heard, of how many that are new to it.

    Returns:
        The clips with what the teacher says (`targets`).

    Raises:
        ConfigError: There is no teacher, or a file is missing or damaged.
        AudioFormatError: A clip cannot be read, and the recipe does not say to skip such clips.
    """
    recipe = open_recipe(recipe)
    if recipe.teacher is None or not recipe.losses.taught:
        raise ConfigError(f"the recipe {recipe.name} has no [teacher] that a loss learns from")
    return loop.make_dataset(recipe, data_dir or default_data_dir(), cache_dir, on_progress)


def train(
    recipe: Recipe | Path | str,
    *,
    run_dir: Path | None = None,
    data_dir: Path | None = None,
    cache_dir: Path = CACHE,
    num_threads: int | None = None,
    initial: Path | None = None,
    on_progress: loop.Progress | None = None,
    on_step: Callable[[loop.StepReport], None] | None = None,
) -> Student:
    """Trains a student, or goes on with it; see `loop.train`, whose arguments these are.

    Args:
        recipe: The recipe.
        run_dir: The run's folder; None for `runs/NAME`.
        data_dir: Where the manifests are; None for the folder of the environment.
        cache_dir: Gets the decoded clips, and what the teacher says of them.
        num_threads: Of torch; None for its own default.
        initial: A new run starts from the averaged weights of this checkpoint.
        on_progress: Told how many seconds of sound the teacher has heard, of how many that are new to it.
        on_step: Told of each update.
    """
    recipe = open_recipe(recipe)
    return loop.train(
        recipe,
        run_dir=run_folder(recipe, run_dir),
        data_dir=data_dir or default_data_dir(),
        cache_dir=cache_dir,
        num_threads=num_threads,
        initial=initial,
        on_progress=on_progress,
        on_step=on_step,
    )


def evaluate(
    recipe: Recipe | Path | str,
    sets: Sequence[str] = (),
    *,
    run_dir: Path | None = None,
    data_dir: Path | None = None,
    decoder: str | None = None,
    lm: Path | None = None,
    closed: bool = False,
    conditions: Sequence[str] = (CLEAN,),
    num_threads: int = 1,
    on_progress: loop.Progress | None = None,
) -> Evaluation:
    """Measures the student of a recipe's run, in PyTorch; the command measures other systems beside it.

    Args:
        recipe: The recipe that it is trained with.
        sets: Names of sets, or paths of manifests; none for the recipe's evaluation sets.
        run_dir: The run's folder; None for `runs/NAME`.
        data_dir: Where the manifests are; None for the folder of the environment.
        decoder: `greedy` or `beam`; None for greedy, without a language model.
        lm: The file of a language model for the beam search.
        closed: Only the sentences of the sets can be said.
        conditions: How clips are heard, such as `10dB`: see `Condition.parse`.
        num_threads: Of torch.
        on_progress: Told how many seconds of sound are done, of how many.

    Returns:
        Error rates with intervals, labels, confusions: tables, JSON, and sections of a page. Its memory and times are
        those of this process, whatever else it has done.

    Raises:
        ConfigError: There is no checkpoint, no set, or no such condition.
        AudioFormatError: A clip cannot be read.
    """
    recipe, data = open_recipe(recipe), data_dir or default_data_dir()
    names = list(sets) or [str(data / manifest) for manifest in recipe.evaluation.manifests]
    if not names:
        raise ConfigError(f"the recipe {recipe.name} has no evaluation manifests: name the sets to evaluate on")
    heard = [Condition.parse(name, odd=True) for name in conditions]
    normalise = normaliser(recipe.release.language)
    chosen = find_sets(data, names, normalise)
    utterances = [utterance for s in chosen for utterance in s.utterances]
    load = partial(
        StudentTranscriber,
        run_folder(recipe, run_dir),
        decoder=decoder,
        lm=lm,
        num_threads=num_threads,
        sentences=sorted({normalise(utterance.text or "") for utterance in utterances}) if closed else (),
    )
    system = measure(load, chosen, normalise, on_progress, conditions=heard, data=data)
    return Evaluation([system], labels=label_texts(utterances, normalise))


def export(
    recipe: Recipe | Path | str,
    output: Path | None = None,
    *,
    run_dir: Path | None = None,
    precision: Literal["int8", "float32"] = "int8",
) -> Bundle:
    """Writes the bundle of the student in a run's checkpoint, also while the run goes on.

    Args:
        recipe: The recipe that it is trained with.
        output: The bundle's folder; None for `bundle` in the run's folder.
        run_dir: The run's folder; None for `runs/NAME`.
        precision: Of the matrices.

    Returns:
        The bundle, read back; its card has the number of `updates`.

    Raises:
        ConfigError: There is no checkpoint, or it is of another student than the recipe's.
    """
    recipe = open_recipe(recipe)
    folder = run_folder(recipe, run_dir)
    student, step = load_student(folder / CHECKPOINT, recipe)
    return export_bundle(
        student, recipe, folder / BUNDLE if output is None else output, precision=precision, card={"updates": step}
    )
