"""The CTC loss against a sum over all alignments."""

import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from edgeasr.train.losses import ctc_loss  # noqa: E402


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def brute_force(log_probs, target: tuple[int, ...]) -> float:
    frames, vocab_size = log_probs.shape
    total = 0.0
    for path in itertools.product(range(vocab_size), repeat=frames):
        if collapse(path) == target:
            total += math.exp(sum(log_probs[t, token].item() for t, token in enumerate(path)))
    return -math.log(total)


def test_equals_the_sum_over_all_alignments_per_token():
    torch.manual_seed(0)
    log_probs = torch.randn(2, 4, 3).log_softmax(-1)
    targets, lengths = [(1, 1), (2,)], [4, 3]
    expected = sum(brute_force(log_probs[i, : lengths[i]], targets[i]) for i in range(2)) / 3
    loss = ctc_loss(log_probs, torch.tensor(lengths), torch.tensor([1, 1, 2]), torch.tensor([2, 1]), blank_id=0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_target_that_does_not_fit_adds_nothing():
    log_probs = torch.randn(1, 2, 3).log_softmax(-1).requires_grad_()
    loss = ctc_loss(log_probs, torch.tensor([2]), torch.tensor([1, 1]), torch.tensor([2]), blank_id=0)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(log_probs.grad).all()
