"""Distillation: the losses beside CTC on transcripts, and the heads that they need beside the student.

The heads learn with the student, are kept in checkpoints, and are left behind at the export.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeasr.errors import ConfigError
from edgeasr.train.dataset import Batch, Lesson
from edgeasr.train.losses import (
    consistency_loss,
    feature_loss,
    guided_ctc_loss,
    n_best_ctc_loss,
    self_distillation_loss,
    shifted_soft_label_loss,
)
from edgeasr.train.student import STEM_STRIDE, State, Student, log_softmax

if TYPE_CHECKING:
    from edgeasr.train.teachers.targets import Targets
    from edgeasr.train.teachers.teacher import TeacherConfig

DISTANCES = ("cosine", "l1")


@dataclass(frozen=True, kw_only=True)
class Weight:
    """The weight of a loss, and how it changes.

    Attributes:
        weight: What the loss is multiplied by.
        final_weight: What the weight becomes, step by step, until the last one; unchanged if None.
        start_step: Before it the weight is 0.
        rise_steps: After it the weight rises from 0 for so many steps.
    """

    weight: float
    final_weight: float | None = None
    start_step: int = 0
    rise_steps: int = 0

    def __post_init__(self) -> None:
        if self.weight < 0 or (self.final_weight or 0.0) < 0:
            raise ConfigError(f"a loss has a weight of 0 or more, got {self.weight} and {self.final_weight}")

    def at(self, step: int, steps: int) -> float:
        """The weight at a step of so many."""
        if step < self.start_step:
            return 0.0
        rise = min(1.0, (step - self.start_step + 1) / (self.rise_steps + 1))
        final = self.weight if self.final_weight is None else self.final_weight
        return rise * (self.weight + (final - self.weight) * step / max(1, steps))


@dataclass(frozen=True, kw_only=True)
class TokenLoss(Weight):
    """The teacher's token posteriors (`losses.shifted_soft_label_loss`).

    If the teacher's tokens are the student's, they are matched by its own log-probs; else by a head of their own on the
    last block.

    Attributes:
        temperature: Flattens both.
        shifts: How many frames the student's may come before (negative) and after the teacher's: the first and the last
            shift. (0, 0) compares frame with frame.
        softness: Of the minimum over the shifts; 0 for a hard one.
        spike_weight: Frames count 1 + this * (1 - p(blank)).
    """

    temperature: float = 1.0
    # Nine in ten words of `en-small` on the development sets come within these: tools/measure_spikes.py.
    shifts: tuple[int, int] = (-4, 2)
    softness: float = 0.0
    spike_weight: float = 4.0

    def __post_init__(self) -> None:
        """Checks the values."""
        super().__post_init__()
        if self.shifts[0] > self.shifts[1]:
            raise ConfigError(f"shifts must be the first and the last one, got {self.shifts}")
        if self.temperature <= 0 or self.softness < 0 or self.spike_weight < 0:
            raise ConfigError(
                "temperature must be above 0, softness and spike_weight 0 or more, got "
                f"{self.temperature}, {self.softness} and {self.spike_weight}"
            )


@dataclass(frozen=True, kw_only=True)
class FeatureLoss(Weight):
    """The features of the teacher's encoder, matched by projections of the student's blocks (`losses.feature_loss`).

    Attributes:
        distance: `cosine` or `l1`.
        blocks: Those that are matched, counted from 1, each by a projection of its own; the last one if none is named.
    """

    distance: str = "cosine"
    blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Checks the values."""
        super().__post_init__()
        if self.distance not in DISTANCES:
            raise ConfigError(f"distance must be one of {', '.join(DISTANCES)}, got {self.distance!r}")
        if min(self.blocks, default=1) < 1 or len(set(self.blocks)) < len(self.blocks):
            raise ConfigError(f"losses: features.blocks must be different numbers from 1 on, got {self.blocks}")


@dataclass(frozen=True, kw_only=True)
class SelfLoss(Weight):
    """The student's own posteriors in a better place (`losses.self_distillation_loss`).

    Attributes:
        temperature: Flattens both.
        spike_weight: Frames count 1 + this * (1 - p(blank)).
    """

    temperature: float = 1.0
    spike_weight: float = 4.0

    def __post_init__(self) -> None:
        """Checks the values."""
        super().__post_init__()
        if self.temperature <= 0 or self.spike_weight < 0:
            raise ConfigError(
                f"temperature must be above 0, spike_weight 0 or more: {self.temperature}, {self.spike_weight}"
            )


@dataclass(frozen=True, kw_only=True)
class Sifted:
    """What filters leave of the clips whose readings could be learnt from.

    Attributes:
        clips: How many there are.
        faults: Those that are left out, and why: `unsure` or `disagreed`.
    """

    clips: int
    faults: dict[int, str]

    def __str__(self) -> str:
        """How many clips are kept, and how many each filter drops."""
        dropped = Counter(self.faults.values())
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
        return f"readings of {self.clips - len(self.faults)} of {self.clips} clips" + (reasons and f" ({reasons})")


@dataclass(frozen=True, kw_only=True)
class ReadingLoss(Weight):
    """CTC on the teacher's readings (`losses.n_best_ctc_loss`).

    Attributes:
        n_best: How many, if the teacher has as many.
        transcribed: Those of clips that have a transcript, too.
        minimum_confidence: Clips are left out if the teacher's best reading has a lower probability per character (the
            geometric mean).
        maximum_disagreement: Clips are left out if two members of an ensemble read them more differently (character
            error rate).
    """

    n_best: int = 1
    transcribed: bool = False
    minimum_confidence: float = 0.0
    maximum_disagreement: float = 1.0

    def sift(self, targets: Targets, transcribed: Sequence[bool]) -> Sifted:
        """Tells which clips' readings are learnt from.

        Args:
            targets: What the teacher says.
            transcribed: Of each clip whether it has a transcript.
        """
        asked = [clip for clip, known in enumerate(transcribed) if self.transcribed or not known]
        faults = {clip: fault for clip in asked if (fault := self.fault(targets, clip))}
        return Sifted(clips=len(asked), faults=faults)

    def fault(self, targets: Targets, clip: int) -> str | None:
        """Why a clip's readings are not learnt from, `unsure` or `disagreed`; None if they are."""
        if self.maximum_disagreement < 1 and targets.disagreement(clip) > self.maximum_disagreement:
            return "disagreed"
        texts, scores = targets.readings(clip)
        return "unsure" if math.exp(scores[0] / max(1, len(texts[0]))) < self.minimum_confidence else None


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The losses that are added to CTC, with their weights; those that are not named are left out.

    Attributes:
        tokens: The teacher's token posteriors.
        guided: The places of its spikes (`losses.guided_ctc_loss`), in the same head.
        features: Its features.
        readings: Its readings.
        consistency: Two views of each clip, which should get the same posteriors (`losses.consistency_loss`). Needs no
            teacher. A batch has twice the rows then.
        average: What the running average of the student's own weights makes of the clean clip. Needs no teacher, but
            another forward pass.
        inner: What the last head says, for the head of the inner block. Needs no teacher, and next to no time.
    """

    tokens: TokenLoss | None = None
    guided: Weight | None = None
    features: FeatureLoss | None = None
    readings: ReadingLoss | None = None
    consistency: Weight | None = None
    average: SelfLoss | None = None
    inner: SelfLoss | None = None

    @property
    def taught(self) -> tuple[str, ...]:
        """The names of the losses that need a teacher."""
        return tuple(name for name in ("tokens", "guided", "features", "readings") if getattr(self, name))

    def check(self, teacher: TeacherConfig | None) -> None:
        """Compares with what the teacher is to give.

        Raises:
            ConfigError: A loss needs what there is not, or no loss needs the teacher.
        """
        if teacher is None:
            if self.taught:
                raise ConfigError(f"losses: {', '.join(self.taught)} need a [teacher]")
            return
        if not self.taught:
            raise ConfigError("nothing in [losses] needs the [teacher]: tokens, guided, features or readings would")
        if (self.tokens or self.guided) and not teacher.gives_posteriors:
            raise ConfigError("losses: tokens and guided need a teacher with posteriors (not kind text, top_k above 0)")
        if self.features and not teacher.gives_features:
            raise ConfigError("losses: features need a teacher with features (not of kind text)")
        if self.readings and self.readings.maximum_disagreement < 1 and not teacher.members:
            raise ConfigError("losses: readings.maximum_disagreement needs an ensemble: one teacher agrees with itself")
        if self.readings and self.readings.n_best > teacher.n_best:
            raise ConfigError(f"losses: readings.n_best is {self.readings.n_best}, but the teacher's {teacher.n_best}")


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What the student makes of a batch.

    Attributes:
        log_probs: As of the student.
        intermediate: Those of the intermediate head.
        token_log_probs: Of the teacher's tokens in each block frame, if there is a head for them.
        projected: The outputs of blocks, each projected to the size of the teacher's features, if these are matched.
    """

    log_probs: Tensor
    intermediate: Tensor
    token_log_probs: Tensor | None
    projected: tuple[Tensor, ...]


class Distiller(nn.Module):
    """A student with the heads beside it that its teacher needs; without a teacher there are none."""

    def __init__(self, student: Student, losses: LossConfig, targets: Targets | None, tokens: tuple[str, ...]) -> None:
        """Makes the heads.

        Args:
            student: Who learns.
            losses: The losses of the recipe.
            targets: What the teacher says, if there is one.
            tokens: The student's.
        """
        super().__init__()
        self.student = student
        self.heads = nn.ModuleDict()
        dim = student.config.dim
        if targets is not None and (losses.tokens or losses.guided) and targets.tokens != tokens:
            self.heads["tokens"] = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, len(targets.tokens)))
        # Of the blocks whose outputs are matched, the numbers by the names of their projections.
        self.matched: dict[str, int] = {}
        if targets is not None and losses.features:
            last = student.config.num_blocks
            if max(losses.features.blocks, default=last) > last:
                raise ConfigError(f"losses: features.blocks are {losses.features.blocks}, but there are {last} blocks")
            self.matched = {f"features_{block}": block for block in losses.features.blocks} or {"features": last}
            for name in self.matched:
                self.heads[name] = nn.Linear(dim, targets.feature_dim)

    def forward(self, features_BFM: Tensor, state: State) -> Heard:
        """Runs whole chunks."""
        blocks: list[Tensor] = []
        hidden_BTD, intermediate, _ = self.student.encode(features_BFM, state, blocks)
        return Heard(
            log_probs=log_softmax(self.student.head(hidden_BTD).float()),
            intermediate=intermediate,
            token_log_probs=(log_softmax(self.heads["tokens"](hidden_BTD).float()) if "tokens" in self.heads else None),
            projected=tuple(self.heads[name](blocks[block - 1]).float() for name, block in self.matched.items()),
        )


def make_lesson(
    losses: LossConfig,
    targets: Targets | None,
    distiller: Distiller,
    hop_s: float,
    left_out: Collection[int] = (),
) -> Lesson:
    """What the dataset has to bring for these losses.

    Args:
        losses: Those of the recipe.
        targets: What the teacher says, if there is one.
        distiller: The student and its heads.
        hop_s: Seconds from one frame of features to the next.
        left_out: Clips whose readings are not learnt from.
    """
    views = 2 if losses.consistency else 1
    if targets is None:
        return Lesson(views=views, clean=losses.average is not None)
    own_frames = distiller.student.config.subsampling_factor
    token_frames = STEM_STRIDE if "tokens" in distiller.heads else own_frames
    return Lesson(
        views=views,
        clean=losses.average is not None,
        token_frame_s=token_frames * hop_s if losses.tokens or losses.guided else None,
        feature_frame_s=STEM_STRIDE * hop_s if losses.features else None,
        readings=losses.readings.n_best if losses.readings else 0,
        read_all=bool(losses.readings and losses.readings.transcribed),
        left_out=frozenset(left_out),
    )


def side_losses(
    losses: LossConfig,
    heard: Heard,
    batch: Batch,
    lengths: Tensor,
    *,
    blank_id: int,
    teacher_blank_id: int,
    step: int,
    steps: int,
    average_log_probs: Tensor | None = None,
) -> dict[str, tuple[float, Tensor]]:
    """The losses beside CTC on transcripts: for each name the weight at this step, and the value.

    Args:
        losses: Those of the recipe.
        heard: What the student makes of the batch.
        batch: The batch, on the student's device.
        lengths: Valid rows of log-probs (batch,).
        blank_id: The student's blank.
        teacher_blank_id: The teacher's.
        step: The update that they are for.
        steps: The number of updates of the run.
        average_log_probs: What the average of the weights says of the clean clips, if that is learnt from.
    """
    values: dict[str, tuple[float, Tensor]] = {}
    teacher = batch.teacher
    if teacher is not None:
        matched = heard.log_probs if heard.token_log_probs is None else heard.token_log_probs
        if losses.tokens and teacher.soft_labels is not None:
            tokens = losses.tokens
            values["tokens"] = (
                tokens.at(step, steps),
                shifted_soft_label_loss(
                    matched,
                    teacher.soft_labels,
                    shifts=tokens.shifts,
                    softness=tokens.softness,
                    temperature=tokens.temperature,
                    spike_weight=tokens.spike_weight,
                ),
            )
        if losses.guided and teacher.soft_labels is not None and teacher.token_ids is not None:
            said_BT = teacher.soft_labels.said
            guided = guided_ctc_loss(matched, teacher.token_ids, said_BT, blank_id=teacher_blank_id)
            values["guided"] = losses.guided.at(step, steps), guided
        if losses.features and heard.projected and teacher.features is not None:
            features, shown = losses.features, teacher.features
            each = [feature_loss(projected, *shown, distance=features.distance) for projected in heard.projected]
            values["features"] = features.at(step, steps), torch.stack(each).mean()
        if losses.readings and teacher.readings is not None and len(teacher.readings.rows):
            readings = teacher.readings
            values["readings"] = (
                losses.readings.at(step, steps),
                n_best_ctc_loss(
                    heard.log_probs,
                    lengths,
                    readings.rows,
                    readings.token_ids,
                    readings.token_lengths,
                    readings.weights,
                    blank_id=blank_id,
                ),
            )
    if losses.consistency:
        values["consistency"] = losses.consistency.at(step, steps), consistency_loss(heard.log_probs, lengths)
    for name, own, learner, target in (
        ("average", losses.average, heard.log_probs, average_log_probs),
        ("inner", losses.inner, heard.intermediate, heard.log_probs),
    ):
        if own is not None and target is not None:
            values[name] = (
                own.at(step, steps),
                self_distillation_loss(
                    learner,
                    target,
                    lengths,
                    blank_id=blank_id,
                    temperature=own.temperature,
                    spike_weight=own.spike_weight,
                ),
            )
    return values
