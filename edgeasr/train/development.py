"""The development sets of a run: what the student makes of their clips while it trains, and at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeasr.errors import ConfigError
from edgeasr.features import log_mel
from edgeasr.train.clips import ClipStore, to_float
from edgeasr.train.evaluation.evaluate import Result, make_result, split
from edgeasr.train.evaluation.score import ErrorCounts
from edgeasr.train.manifest import Utterance, read_manifest
from edgeasr.train.recipe import Recipe
from edgeasr.train.student import Student


@dataclass(frozen=True, kw_only=True)
class DevelopmentSet:
    """The transcribed clips of a manifest, decoded."""

    name: str
    utterances: tuple[Utterance, ...]
    clips: tuple[NDArray[np.int16], ...]


def development_sets(recipe: Recipe, data_dir: Path, store: ClipStore) -> list[DevelopmentSet]:
    """The sets that a recipe wants to be measured on; their clips are decoded now, if the store does not have them yet.

    Raises:
        ConfigError: A manifest is missing or damaged, or has no transcripts.
        AudioFormatError: A clip cannot be read, and the recipe does not say to skip such clips.
    """
    sets = []
    for manifest in recipe.evaluation.manifests:
        listed = [u for u in read_manifest(data_dir / manifest) if u.text]
        name = Path(manifest).stem
        clips = store.load(name, [u.audio for u in listed], skip_unreadable=recipe.data.skip_unreadable)
        good = [(u, clip) for u, clip in zip(listed, clips, strict=True) if clip.size]
        if not good:
            raise ConfigError(f"{data_dir / manifest} has no transcripts to measure on")
        sets.append(
            DevelopmentSet(name=name, utterances=tuple(u for u, _ in good), clips=tuple(clip for _, clip in good))
        )
    return sets


@torch.no_grad()
def evaluate(
    student: Student, recipe: Recipe, sets: Sequence[DevelopmentSet], *, limit: int | None = None
) -> list[Result]:
    """Lets a student transcribe clips, greedily, in float32.

    Args:
        student: The student, mostly with averaged weights.
        recipe: Its recipe.
        sets: The sets.
        limit: Of each set only about so many clips, evenly spread; None for all.
    """
    results = []
    for dev in sets:
        stride = 1 if limit is None else max(1, len(dev.utterances) // limit)
        for utterance, clip in zip(dev.utterances[::stride], dev.clips[::stride], strict=True):
            features = torch.from_numpy(log_mel(to_float(clip), recipe.frontend))
            text = transcribe(student, features, recipe)
            results.append(make_result(dev.name, utterance, reference=utterance.text or "", hypothesis=text, cpu_s=0.0))
    return results


def error_rates(results: Sequence[Result]) -> dict[str, float]:
    """The error rates of each set in percent: `cer NAME` and `wer NAME`."""
    rates = {}
    for name, members in split(results, lambda result: result.set_name).items():
        rates[f"cer {name}"] = 100 * sum((result.characters for result in members), ErrorCounts()).rate
        rates[f"wer {name}"] = 100 * sum((result.words for result in members), ErrorCounts()).rate
    return rates


def transcribe(student: Student, features_FM: Tensor, recipe: Recipe) -> str:
    """Greedy text of one clip, all chunks in one call."""
    frames = features_FM.shape[0]
    pad = -frames % student.config.chunk_feature_frames
    padded = nn.functional.pad(features_FM, (0, 0, 0, pad), value=recipe.pad_value)
    device = student.feature_mean.device
    log_probs, _, _ = student(padded.unsqueeze(0).to(device), student.initial_state(1))
    best = log_probs[0, : -(-frames // student.config.subsampling_factor)].argmax(-1)
    ids = [i for i in torch.unique_consecutive(best).tolist() if i != recipe.tokens.blank_id]
    text = "".join(recipe.tokens.tokens[i] for i in ids)
    return " ".join(text.replace(recipe.tokens.word_delimiter, " ").split())
