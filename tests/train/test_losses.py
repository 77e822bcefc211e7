"""Losses: CTC against a sum over all alignments, the others by hand."""

import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from edgeasr.train.losses import (  # noqa: E402
    SoftLabels,
    consistency_loss,
    ctc_loss,
    feature_loss,
    guided_ctc_loss,
    n_best_ctc_loss,
    self_distillation_loss,
    shifted_soft_label_loss,
    soft_label_loss,
)


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


def test_clips_in_which_nobody_speaks_are_all_blank():
    log_probs = torch.randn(2, 4, 3).log_softmax(-1)
    nothing = torch.tensor([], dtype=torch.int64)
    loss = ctc_loss(log_probs, torch.tensor([4, 3]), nothing, torch.tensor([0, 0]), blank_id=0)
    expected = -(log_probs[0, :, 0].sum() + log_probs[1, :3, 0].sum())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_target_that_does_not_fit_adds_nothing():
    log_probs = torch.randn(1, 2, 3).log_softmax(-1).requires_grad_()
    loss = ctc_loss(log_probs, torch.tensor([2]), torch.tensor([1, 1]), torch.tensor([2]), blank_id=0)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(log_probs.grad).all()


def log(probs):
    return torch.tensor(probs).log()


def labels(probs, *, said=None):
    """Soft labels of one row with two tokens, of which the first is the blank."""
    log_probs = log([probs])
    return SoftLabels(
        top_ids=torch.tensor([[[0, 1]] * len(probs)]),
        top_log_probs=log_probs,
        blank_log_probs=log_probs[..., 0],
        said=torch.tensor([said or [True] * len(probs)]),
    )


def divergence(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


SURE, NONE, HALF = (0.1, 0.9), (0.9, 0.1), (0.5, 0.5)


def test_soft_labels_are_the_divergence_in_each_frame_that_is_said():
    student = log([[HALF, SURE, NONE]])
    loss = soft_label_loss(student, labels([SURE, NONE, NONE], said=[True, True, False]))
    expected = (divergence(SURE, HALF) + divergence(NONE, SURE)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert soft_label_loss(student, labels([HALF, SURE, NONE])).item() == pytest.approx(0, abs=1e-6)


def test_frames_count_by_what_is_not_blank():
    student = log([[HALF, HALF]])
    loss = soft_label_loss(student, labels([SURE, NONE]), spike_weight=4.0)
    weights = 1 + 4 * 0.9, 1 + 4 * 0.1
    expected = (weights[0] * divergence(SURE, HALF) + weights[1] * divergence(NONE, HALF)) / sum(weights)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_temperature_flattens_both():
    # With T = 2 a probability becomes its square root, scaled: (0.1, 0.9) -> (1/4, 3/4).
    student = log([[(0.8, 0.2)]])
    loss = soft_label_loss(student, labels([SURE]), temperature=2.0)
    assert loss.item() == pytest.approx(4 * divergence((0.25, 0.75), (2 / 3, 1 / 3)), rel=1e-5)


def test_tokens_that_were_not_kept_share_nothing():
    targets = SoftLabels(
        top_ids=torch.tensor([[[2]]]),
        top_log_probs=log([[[0.6]]]),
        blank_log_probs=log([[0.2]]),
        said=torch.tensor([[True]]),
    )
    # What was kept counts as all there is.
    assert soft_label_loss(log([[(0.25, 0.25, 0.5)]]), targets).item() == pytest.approx(-math.log(0.5))


def test_a_spike_that_comes_later_is_found_within_the_window():
    teacher = labels([NONE, SURE, NONE, NONE])
    later = log([[NONE, NONE, NONE, SURE]])
    assert shifted_soft_label_loss(later, teacher, shifts=(-1, 2)).item() == pytest.approx(0, abs=1e-6)
    # Too late by a frame: the first and third frame match, the second does not, nor does the last, which is the spike.
    apart = divergence(SURE, NONE) + divergence(NONE, SURE)
    assert shifted_soft_label_loss(later, teacher, shifts=(0, 1)).item() == pytest.approx(apart / 4, rel=1e-5)
    assert shifted_soft_label_loss(later, teacher, shifts=(-2, 1)).item() == pytest.approx(
        divergence(SURE, NONE) / 4, rel=1e-5
    )


def test_the_soft_minimum_is_one_over_shifts():
    teacher, student = labels([SURE, SURE]), log([[HALF, NONE]])
    costs = divergence(SURE, HALF), divergence(SURE, NONE)
    # The second frame has none behind it and is compared with itself twice.
    soft = [-0.3 * math.log((math.exp(-costs[0] / 0.3) + math.exp(-costs[1] / 0.3)) / 2), costs[1]]
    loss = shifted_soft_label_loss(student, teacher, shifts=(0, 1), softness=0.3)
    assert loss.item() == pytest.approx(sum(soft) / 2, rel=1e-5)


def test_self_distillation_is_the_divergence_from_a_fixed_target_in_valid_frames():
    learner = log([[HALF, SURE, NONE], [HALF, NONE, NONE]]).requires_grad_()
    target = log([[SURE, NONE, NONE], [NONE, SURE, SURE]]).requires_grad_()
    lengths = torch.tensor([2, 1])
    loss = self_distillation_loss(learner, target, lengths, blank_id=0)
    expected = divergence(SURE, HALF) + divergence(NONE, SURE) + divergence(NONE, HALF)
    assert loss.item() == pytest.approx(expected / 3, rel=1e-5)
    loss.backward()
    assert target.grad is None
    assert learner.grad[0, :2].abs().min() > 0 and not learner.grad[0, 2].any()
    # Frames count 1 + 4 p(not blank), the first 4.6 times; flattened by 2, (0.1, 0.9) is (1/4, 3/4).
    spiky = self_distillation_loss(learner, target, lengths, blank_id=0, spike_weight=4.0, temperature=2.0)
    flat = divergence((0.25, 0.75), HALF), divergence((0.75, 0.25), (0.25, 0.75)), divergence((0.75, 0.25), HALF)
    expected = 4 * (4.6 * flat[0] + 1.4 * flat[1] + 1.4 * flat[2]) / (4.6 + 1.4 + 1.4)
    assert spiky.item() == pytest.approx(expected, rel=1e-5)
    assert self_distillation_loss(learner, learner, lengths, blank_id=0).item() == 0


def test_guided_ctc_looks_at_spikes_alone():
    student = log([[(0.7, 0.2, 0.1), (0.2, 0.5, 0.3), (0.1, 0.1, 0.8)]])
    path = torch.tensor([[0, 1, 2]])
    said = torch.tensor([[True, True, True]])
    assert guided_ctc_loss(student, path, said, blank_id=0).item() == pytest.approx(1 - (0.5 + 0.8) / 2)
    said = torch.tensor([[True, True, False]])
    assert guided_ctc_loss(student, path, said, blank_id=0).item() == pytest.approx(0.5)
    assert guided_ctc_loss(student, path * 0, said, blank_id=0).item() == 0


def test_features_are_compared_by_angle_or_after_normalisation():
    student = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [5.0, 5.0]]])
    teacher = torch.tensor([[[0.0, 2.0], [3.0, 3.0], [-1.0, 1.0]]])
    said = torch.tensor([[True, True, False]])
    assert feature_loss(student, teacher, said).item() == pytest.approx((1 + 0) / 2)
    # Normalised: (1, -1) against (-1, 1), and (0, 0) against itself.
    assert feature_loss(student, teacher, said, distance="l1").item() == pytest.approx((2 + 0) / 2, rel=1e-3)
    assert feature_loss(student, teacher, ~said & False).item() == 0


def test_two_views_learn_from_each_other():
    views = log([[SURE, HALF], [HALF, NONE]]).requires_grad_()
    loss = consistency_loss(views, torch.tensor([1, 1]))
    assert loss.item() == pytest.approx((divergence(SURE, HALF) + divergence(HALF, SURE)) / 2, rel=1e-5)
    loss.backward()
    # Half the target of the other view in each frame that counts, and nothing in the others.
    assert views.grad[:, 0].tolist() == [[-0.25, -0.25], [pytest.approx(-0.05), pytest.approx(-0.45)]]
    assert views.grad[:, 1].abs().sum() == 0


def test_readings_count_by_their_weights():
    torch.manual_seed(0)
    log_probs = torch.randn(2, 4, 3).log_softmax(-1)
    readings = [(1, (1, 2)), (1, (2,)), (0, (1, 1))]
    weights = [0.75, 0.25, 1.0]
    lengths = [3, 4]
    total = sum(
        weight * brute_force(log_probs[row, : lengths[row]], ids)
        for weight, (row, ids) in zip(weights, readings, strict=True)
    )
    loss = n_best_ctc_loss(
        log_probs,
        torch.tensor(lengths),
        torch.tensor([row for row, _ in readings]),
        torch.tensor([i for _, ids in readings for i in ids]),
        torch.tensor([len(ids) for _, ids in readings]),
        torch.tensor(weights),
        blank_id=0,
    )
    assert loss.item() == pytest.approx(total / (0.75 * 2 + 0.25 + 2), rel=1e-5)


def test_no_rows_have_no_loss():
    empty = torch.tensor([], dtype=torch.int64)
    log_probs = torch.zeros(0, 4, 3, requires_grad=True)
    assert ctc_loss(log_probs, empty, empty, empty, blank_id=0).item() == 0
