"""Several teachers as one, and how far they agree.

Each member listens for itself, and what it says is kept for itself (`targets.py`): an ensemble is put together in the
frames of the student, so that members may have frames of different lengths, and another mix costs nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeasr.train.evaluation.score import disagreement
from edgeasr.train.teachers.targets import FeatureTargets, Part, Targets, TokenTargets, ask
from edgeasr.train.teachers.teacher import Teacher, TeacherConfig

if TYPE_CHECKING:
    from edgeasr.train.recipe import TokensConfig

# The logarithm of what has no probability, and of readings on which nobody agrees; as small as half precision can be.
LOG_NOTHING = float(np.finfo(np.float16).min)


class EnsembleTargets:
    """What several teachers said, put together (`targets.Targets`).

    Posteriors are the weighted mean of those members whose tokens are the leader's: the heaviest member that has any.
    Of spikes that members put into different frames a mean makes several smaller ones (Kurata and Audhkhasi 2019); the
    shifts that a loss allows, and members of one kind, help. Path and features are those of one member: the leader, and
    the heaviest that has features. Readings are ranked by what all members read (`rank`).
    """

    def __init__(
        self, members: Sequence[Targets], weights: Sequence[float], *, top_k: int, n_best: int, features: bool
    ) -> None:
        """Puts members together.

        Args:
            members: What each said of the same clips.
            weights: What each counts.
            top_k: How many posteriors of a frame are given, at most.
            n_best: How many readings are given, at most.
            features: Whether features are given.
        """
        self._members, self._weights, self._n_best = list(members), list(weights), n_best
        heaviest = sorted(zip(members, weights, strict=True), key=lambda pair: -pair[1])
        leader = next((m for m, _ in heaviest if m.top_k), members[0])
        self._alike = [
            (m, w) for m, w in heaviest if m.top_k and (m.tokens, m.blank_id) == (leader.tokens, leader.blank_id)
        ]
        self._shower = next((m for m, _ in heaviest if m.feature_dim and features), None)
        self.tokens, self.blank_id = leader.tokens, leader.blank_id
        self.top_k = min(top_k, len(self.tokens)) if self._alike else 0
        self.feature_dim = self._shower.feature_dim if self._shower else 0
        self._ranked: dict[int, list[tuple[str, float]]] = {}

    @property
    def folders(self) -> list[Path]:
        """Where it is kept: a folder for each member."""
        return [folder for member in self._members for folder in member.folders]

    def readings(self, clip: int) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """All readings, ranked; as the log of its probability, that of its agreement times its number of characters.

        So the confidence per character of which `ReadingLoss` speaks is here how far all members agree.
        """
        if clip not in self._ranked:
            votes = []
            for member, weight in zip(self._members, self._weights, strict=True):
                texts, scores = member.readings(clip)
                probs = np.exp(np.array(scores) - max(scores))
                votes += [(_plain(t), weight * p) for t, p in zip(texts, (probs / probs.sum()).tolist(), strict=True)]
            self._ranked[clip] = rank(votes)[: self._n_best]
        ranked = self._ranked[clip]
        logs = [math.log(share) if share > 0 else LOG_NOTHING for _, share in ranked]
        texts = tuple(text for text, _ in ranked)
        return texts, tuple(max(1, len(text)) * log for text, log in zip(texts, logs, strict=True))

    def disagreement(self, clip: int) -> float:
        """The largest character error rate between the best readings of two members."""
        best = [_plain(member.readings(clip)[0][0]) for member in self._members]
        return max(disagreement(a, b) for a, b in itertools.combinations(best, 2))

    def tokens_along(self, parts: Sequence[Part], num_frames: int, frame_s: float) -> TokenTargets:
        """Mean posteriors for each of the student's frames, of those members that say something of it."""
        probs = np.zeros((num_frames, len(self.tokens)), np.float32)
        blank, total = np.zeros(num_frames, np.float32), np.zeros(num_frames, np.float32)
        rows = np.arange(num_frames)[:, None]
        path = np.full(num_frames, self.blank_id, np.int64)
        for place, (member, weight) in enumerate(self._alike):
            along = member.tokens_along(parts, num_frames, frame_s)
            kept = np.exp(along.top_log_probs)
            share = np.where(along.said, np.float32(weight), np.float32(0))
            probs[rows, along.top_ids] += share[:, None] * kept / np.maximum(kept.sum(1, keepdims=True), 1e-9)
            blank += share * np.exp(along.blank_log_probs)
            total += share
            path = along.token_ids if place == 0 else path
        said = total > 0
        scale = np.where(said, total, 1)
        top = np.argsort(-probs, axis=1, kind="stable")[:, : self.top_k]
        with np.errstate(divide="ignore"):
            top_log_probs = np.log(np.take_along_axis(probs, top, 1) / scale[:, None])
            blank_log_probs = np.log(blank / scale)
        return TokenTargets(
            top_ids=top,
            top_log_probs=np.maximum(top_log_probs, LOG_NOTHING),
            blank_log_probs=np.maximum(blank_log_probs, LOG_NOTHING),
            token_ids=path,
            said=said,
        )

    def features_along(self, parts: Sequence[Part], num_frames: int, frame_s: float) -> FeatureTargets:
        """The features of the member that gives them."""
        if self._shower is None:
            return FeatureTargets(features=np.zeros((num_frames, 0), np.float32), said=np.zeros(num_frames, bool))
        return self._shower.features_along(parts, num_frames, frame_s)


def rank(votes: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Readings by minimum Bayes risk: first the one nearest to all others (Goel and Byrne 2000).

    Args:
        votes: Readings of one clip, and the weight of each.

    Returns:
        Each different reading with its agreement: 1 less the weighted mean of its distances to all votes, its own among
        them. Of equals the one that was first in the votes comes first.
    """
    total = sum(weight for _, weight in votes)
    weights: dict[str, float] = {}
    for text, weight in votes:
        weights[text] = weights.get(text, 0.0) + weight / total
    agreement = {
        text: 1 - sum(weight * disagreement(text, other) for other, weight in weights.items()) for text in weights
    }
    return sorted(agreement.items(), key=lambda item: -item[1])


def ask_teacher(
    config: TeacherConfig,
    clips: Sequence[NDArray[np.int16]],
    texts: Sequence[str | None],
    sample_rate: int,
    *,
    tokens: TokensConfig,
    load: Callable[[TeacherConfig], Teacher],
    data: Path,
    cache_dir: Path,
    on_progress: Callable[[float, float], None] | None = None,
) -> Targets:
    """What a teacher says of the clips, or what the members of an ensemble say, one after the other.

    Args:
        config: Who, and what to keep.
        clips: 16-bit samples.
        texts: Their transcripts, None where there is none.
        sample_rate: Of the clips in Hz.
        tokens: The student's.
        load: Loads a teacher; called for those that have not heard all clips.
        data: The data folder, where the teachers' files are.
        cache_dir: Gets a folder for each teacher.
        on_progress: Told how many seconds of sound a teacher has heard, of how many that are new to it.
    """
    found = [
        ask(
            member,
            clips,
            texts,
            sample_rate,
            tokens=tokens,
            load=lambda member=member: load(member),  # type: ignore[misc]
            data=data,
            cache_dir=cache_dir,
            on_progress=on_progress,
        )
        for member in config.members or (config,)
    ]
    if not config.members:
        return found[0]
    weights = [member.weight for member in config.members]
    return EnsembleTargets(found, weights, top_k=config.top_k, n_best=config.n_best, features=config.features)


def _plain(text: str) -> str:
    """Teachers write in capitals or not."""
    return " ".join(text.lower().split())
