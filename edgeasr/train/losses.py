"""Training losses.

Shape suffixes: B batch, T frames, V vocabulary, K posteriors of a frame that were kept, D feature dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SoftLabels:
    """A teacher's posteriors in the student's frames.

    Attributes:
        top_ids: (B, T, K) the tokens with the largest posteriors.
        top_log_probs: (B, T, K) the natural log of these; their probabilities are scaled to a sum of 1.
        blank_log_probs: (B, T) that of the blank.
        said: (B, T) whether the teacher says something of the frame.
    """

    top_ids: Tensor
    top_log_probs: Tensor
    blank_log_probs: Tensor
    said: Tensor


def ctc_loss(
    log_probs_BTV: Tensor, lengths: Tensor, token_ids: Tensor, token_lengths: Tensor, *, blank_id: int
) -> Tensor:
    """Connectionist temporal classification (Graves et al. 2006), per target token.

    Args:
        log_probs_BTV: natural log, normalised (batch, frames, vocab_size).
        lengths: valid frames of each row (batch,).
        token_ids: targets, one row's after the other's (sum of token_lengths,).
        token_lengths: (batch,).
        blank_id: the token that stands for nothing.

    Returns:
        The summed loss of the batch divided by its number of target tokens, at least one; rows too short for their
        targets add nothing.
    """
    if not len(lengths):
        return log_probs_BTV.sum()
    total = F.ctc_loss(
        log_probs_BTV.transpose(0, 1),
        token_ids,
        lengths,
        token_lengths,
        blank=blank_id,
        reduction="sum",
        zero_infinity=True,
    )
    return total / token_lengths.sum().clamp(min=1)


def soft_label_loss(
    log_probs_BTV: Tensor, targets: SoftLabels, *, temperature: float = 1.0, spike_weight: float = 0.0
) -> Tensor:
    """The teacher's posteriors as labels of each frame (Hinton et al. 2015, section 2).

    Args:
        log_probs_BTV: The student's, natural log.
        targets: The teacher's.
        temperature: Both are flattened by it, and the loss is multiplied by its square, so that its gradients keep
            their size.
        spike_weight: Frames count 1 + this * (1 - p(blank)): most frames are blank, and say little.

    Returns:
        The weighted mean over frames of the Kullback-Leibler divergence of the student from the teacher, in nats.
    """
    return shifted_soft_label_loss(
        log_probs_BTV, targets, shifts=(0, 0), temperature=temperature, spike_weight=spike_weight
    )


def shifted_soft_label_loss(
    log_probs_BTV: Tensor,
    targets: SoftLabels,
    *,
    shifts: tuple[int, int],
    softness: float = 0.0,
    temperature: float = 1.0,
    spike_weight: float = 0.0,
) -> Tensor:
    """Soft labels for a student whose spikes come some frames earlier or later than the teacher's.

    Each frame of the teacher is compared with the student's frames around it, and the best match counts: a student
    that looks less far ahead cannot know a token as soon as its teacher does. (That the spikes of two models rarely
    agree in time, and what this does to soft labels: Kurata and Audhkhasi 2019. Here no alignment of the two is
    computed, the minimum over a window stands for it.)

    Args:
        log_probs_BTV: The student's, natural log.
        targets: The teacher's.
        shifts: The first and the last shift that is tried: the student's frame less the teacher's.
        softness: 0 takes the minimum over the shifts; above it the soft minimum -s log mean exp(-x / s), in which
            shifts that are nearly as good count as well.
        temperature: As in `soft_label_loss`.
        spike_weight: As in `soft_label_loss`.

    Returns:
        The weighted mean over frames of the (soft) minimum over shifts of the divergence, in nats.
    """
    teacher_BTK = (targets.top_log_probs / temperature).log_softmax(-1)
    probs_BTK = teacher_BTK.exp()
    entropy_BT = -(probs_BTK * teacher_BTK).sum(-1)
    student_BTV = log_probs_BTV if temperature == 1.0 else (log_probs_BTV / temperature).log_softmax(-1)
    frames = student_BTV.shape[1]
    place = torch.arange(frames, device=student_BTV.device)
    divergences = []
    for shift in range(shifts[0], shifts[1] + 1):
        # At the ends there is no frame to shift to, the last one stands for it.
        shifted_BTV = student_BTV[:, (place + shift).clamp(0, frames - 1)] if shift else student_BTV
        chosen_BTK = shifted_BTV.gather(2, targets.top_ids)
        divergences.append(-(probs_BTK * chosen_BTK).sum(-1) - entropy_BT)
    stacked = torch.stack(divergences)
    if softness:
        best_BT = -softness * ((-stacked / softness).logsumexp(0) - math.log(len(divergences)))
    else:
        best_BT = stacked.amin(0)
    weight_BT = targets.said * (1 + spike_weight * -torch.expm1(targets.blank_log_probs))
    return temperature**2 * (weight_BT * best_BT).sum() / weight_BT.sum().clamp(min=1)


def guided_ctc_loss(log_probs_BTV: Tensor, token_ids_BT: Tensor, said_BT: Tensor, *, blank_id: int) -> Tensor:
    """Guides the student's spikes to the teacher's (guided CTC: Kurata and Audhkhasi 2019).

    Where the teacher's best path emits a token, the student's posterior of that token should be large; blank frames say
    nothing, so that CTC is free to shape the rest.

    Args:
        log_probs_BTV: The student's, natural log.
        token_ids_BT: The token that each frame emits, or the blank.
        said_BT: Whether the teacher says something of the frame.
        blank_id: The blank.

    Returns:
        One less the mean posterior: 0 where the student is sure of every spike, 1 where it sees none.
    """
    spikes_BT = said_BT & (token_ids_BT != blank_id)
    posterior_BT = log_probs_BTV.gather(2, token_ids_BT.unsqueeze(-1)).squeeze(-1).exp()
    return (spikes_BT * (1 - posterior_BT)).sum() / spikes_BT.sum().clamp(min=1)


def feature_loss(projected_BTD: Tensor, teacher_BTD: Tensor, said_BT: Tensor, *, distance: str = "cosine") -> Tensor:
    """How far the student's projected features are from the teacher's (hints: Romero et al. 2015).

    Args:
        projected_BTD: The student's features, projected to the teacher's size.
        teacher_BTD: The teacher's in the same frames.
        said_BT: Whether there are any.
        distance: `cosine`: 1 less the cosine of their angle; `l1`: the mean absolute difference after layer
            normalisation, so that dimensions of large variance do not decide all.

    Returns:
        The mean over frames.
    """
    if distance == "cosine":
        distance_BT = 1 - F.cosine_similarity(projected_BTD, teacher_BTD, dim=-1)
    else:
        size = teacher_BTD.shape[-1:]
        distance_BT = (F.layer_norm(projected_BTD, size) - F.layer_norm(teacher_BTD, size)).abs().mean(-1)
    return (said_BT * distance_BT).sum() / said_BT.sum().clamp(min=1)


def consistency_loss(log_probs_BTV: Tensor, lengths: Tensor) -> Tensor:
    """How far the posteriors of two views of the same clips are apart (CR-CTC: Yao et al. 2024, section 3.2).

    Each view learns from the other, which counts as a fixed target.

    Args:
        log_probs_BTV: Natural log; the second half of the batch are the other views of the first half, frame by frame.
        lengths: Valid frames of each row (batch,).

    Returns:
        Half the sum of both divergences, the mean over frames, in nats.
    """
    a_BTV, b_BTV = log_probs_BTV.chunk(2)
    frames = torch.arange(log_probs_BTV.shape[1], device=log_probs_BTV.device)
    said_BT = frames < lengths[: len(a_BTV), None]
    apart_BT = 0.5 * (_divergence(b_BTV.detach(), a_BTV) + _divergence(a_BTV.detach(), b_BTV))
    return (said_BT * apart_BT).sum() / said_BT.sum().clamp(min=1)


def self_distillation_loss(
    log_probs_BTV: Tensor,
    target_BTV: Tensor,
    lengths: Tensor,
    *,
    blank_id: int,
    temperature: float = 1.0,
    spike_weight: float = 0.0,
) -> Tensor:
    """How far posteriors are from those of the same network in a better place, which count as a fixed target.

    That place may be the running average of its weights (mean teacher: Tarvainen and Valpola 2017), or, for the head of
    an inner block, the last one (Zhang et al. 2019). Both have the same frames: nothing has to be tolerated in time.

    Args:
        log_probs_BTV: Those that learn, natural log.
        target_BTV: Those that are learnt from, natural log; no gradient flows back.
        lengths: Valid frames of each row (batch,).
        blank_id: The blank.
        temperature: As in `soft_label_loss`.
        spike_weight: As in `soft_label_loss`.

    Returns:
        The weighted mean over frames of the Kullback-Leibler divergence from the target, in nats.
    """
    target_BTV = target_BTV.detach()
    frames = torch.arange(target_BTV.shape[1], device=target_BTV.device)
    weight_BT = (frames < lengths[:, None]) * (1 + spike_weight * -torch.expm1(target_BTV[..., blank_id]))
    if temperature != 1.0:
        target_BTV = (target_BTV / temperature).log_softmax(-1)
        log_probs_BTV = (log_probs_BTV / temperature).log_softmax(-1)
    apart_BT = _divergence(target_BTV, log_probs_BTV)
    return temperature**2 * (weight_BT * apart_BT).sum() / weight_BT.sum().clamp(min=1)


def n_best_ctc_loss(
    log_probs_BTV: Tensor,
    lengths: Tensor,
    rows: Tensor,
    token_ids: Tensor,
    token_lengths: Tensor,
    weights: Tensor,
    *,
    blank_id: int,
) -> Tensor:
    """CTC on several readings of each clip, by their weights.

    Sequence-level distillation (Kim and Rush 2016), for CTC with n-best lists (Takashima et al. 2019).

    Args:
        log_probs_BTV: The student's, natural log.
        lengths: Valid frames of each row (batch,).
        rows: The row of the batch that each reading belongs to (num_readings,).
        token_ids: Readings, one's tokens after the other's.
        token_lengths: (num_readings,).
        weights: Of the readings; those of a clip add up to 1 (num_readings,).
        blank_id: The blank.

    Returns:
        The weighted sum of the losses divided by the weighted number of tokens; readings that do not fit add nothing.
    """
    each = F.ctc_loss(
        log_probs_BTV[rows].transpose(0, 1),
        token_ids,
        lengths[rows],
        token_lengths,
        blank=blank_id,
        reduction="none",
        zero_infinity=True,
    )
    return (weights * each).sum() / (weights * token_lengths).sum().clamp(min=1)


def _divergence(target_BTV: Tensor, log_probs_BTV: Tensor) -> Tensor:
    """The Kullback-Leibler divergence from the target in each frame (B, T)."""
    return (target_BTV.exp() * (target_BTV - log_probs_BTV)).sum(-1)
