"""Training losses."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


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
        The summed loss of the batch divided by its number of target tokens; rows too short for their targets add
        nothing.
    """
    total = F.ctc_loss(
        log_probs_BTV.transpose(0, 1),
        token_ids,
        lengths,
        token_lengths,
        blank=blank_id,
        reduction="sum",
        zero_infinity=True,
    )
    return total / token_lengths.sum()
