"""The student: training and streaming are one function."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from edgeasr.errors import ConfigError  # noqa: E402
from edgeasr.train.student import Convolution, Student, StudentConfig, chunk_bias  # noqa: E402

SMALL = StudentConfig(
    num_mel_bins=16, vocab_size=7, dim=24, num_blocks=3, num_heads=2, feedforward_dim=32, kernel_size=5,
    stem_channels=8, chunk_frames=4, left_context_frames=8, intermediate_block=1,
)  # fmt: skip


def make_student(config: StudentConfig = SMALL) -> Student:
    torch.manual_seed(0)
    return Student(config).eval()


@torch.no_grad()
def test_chunk_by_chunk_equals_whole_utterance():
    student = make_student()
    features = torch.randn(2, 9 * SMALL.chunk_feature_frames, SMALL.num_mel_bins)
    whole, intermediate, last = student(features, student.initial_state(2))
    state, rows, middle = student.initial_state(2), [], []
    for chunk in features.split(SMALL.chunk_feature_frames, dim=1):
        log_probs, side, state = student(chunk, state)
        rows.append(log_probs)
        middle.append(side)
    torch.testing.assert_close(torch.cat(rows, dim=1), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat(middle, dim=1), intermediate, atol=1e-5, rtol=0)
    for name, value in last.items():
        torch.testing.assert_close(state[name], value, atol=1e-5, rtol=0, msg=name)


@torch.no_grad()
def test_no_frame_sees_a_later_chunk():
    student = make_student()
    features = torch.randn(1, 3 * SMALL.chunk_feature_frames, SMALL.num_mel_bins)
    changed = features.clone()
    changed[:, 2 * SMALL.chunk_feature_frames :] += 1.0
    before, _, _ = student(features, student.initial_state(1))
    after, _, _ = student(changed, student.initial_state(1))
    seen = 2 * SMALL.chunk_feature_frames // SMALL.subsampling_factor
    assert torch.equal(before[:, :seen], after[:, :seen])
    assert not torch.allclose(before[:, seen:], after[:, seen:])


@torch.no_grad()
def test_rows_of_a_batch_do_not_touch_each_other():
    student = make_student()
    features = torch.randn(3, 2 * SMALL.chunk_feature_frames, SMALL.num_mel_bins)
    together, _, _ = student(features, student.initial_state(3))
    for i in range(3):
        alone, _, _ = student(features[i : i + 1], student.initial_state(1))
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=0)


@torch.no_grad()
def test_log_probs_are_normalised_and_rows_are_as_many_as_promised():
    student = make_student()
    log_probs, _, _ = student(torch.randn(1, 32, 16), student.initial_state(1))
    assert log_probs.shape == (1, 32 // SMALL.subsampling_factor, SMALL.vocab_size)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(1, 16))


@torch.no_grad()
@pytest.mark.parametrize("option", ["full_attention", "centred_convolutions"])
def test_a_student_that_need_not_stream_hears_what_comes(option):
    config = replace(SMALL, **{option: True}, chunk_frames=2)
    student = make_student(config)
    features = torch.randn(1, 12 * config.chunk_feature_frames, SMALL.num_mel_bins)
    state = student.initial_state(1)
    before, _, after = student(features, state)
    assert after is state and not config.streams and SMALL.streams
    changed = features.clone()
    changed[:, -config.chunk_feature_frames :] += 1.0
    differs = (student(changed, state)[0] != before).any(-1)[0].nonzero()[:, 0]
    if option == "full_attention":
        assert differs[0] == 0
    else:
        # Two frames ahead in each of three blocks, and as far as the chunk reaches that the first of them is in.
        assert 12 <= differs[0] // 2 < 22
    assert before.shape == (1, 12 * config.chunk_frames * SMALL.emissions_per_frame, SMALL.vocab_size)


@torch.no_grad()
def test_centred_convolutions_see_as_much_after_a_frame_as_before_it():
    config = replace(SMALL, centred_convolutions=True)
    convolution = Convolution(config).eval()
    x = torch.zeros(1, 11, SMALL.dim, requires_grad=False)
    x[:, 5] = torch.randn(SMALL.dim)
    past = torch.zeros(1, SMALL.dim, config.past_frames)
    silent = convolution(torch.zeros_like(x), past)[0]
    heard = ((convolution(x, past)[0] - silent).abs().sum(-1) > 1e-6)[0]
    assert heard.nonzero()[:, 0].tolist() == [3, 4, 5, 6, 7]


def test_weights_are_drawn_and_named_as_in_a_student_that_streams():
    streaming, whole = make_student(), make_student(replace(SMALL, full_attention=True, centred_convolutions=True))
    assert list(streaming.state_dict()) == list(whole.state_dict())
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in streaming.state_dict().items())


def test_chunk_bias_by_hand():
    bias = chunk_bias(4, 2, 2, torch.device("cpu"))
    seen = (bias == 0).int().tolist()
    assert seen == [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("field", "value"), [("dim", 25), ("num_mel_bins", 78), ("intermediate_block", 0), ("intermediate_block", 3)]
)
def test_sizes_that_cannot_work_are_refused(field, value):
    values = {"dim": 24, "num_heads": 2, "num_blocks": 3, "num_mel_bins": 16, "intermediate_block": 1, field: value}
    with pytest.raises(ConfigError, match=field):
        StudentConfig(**values)


def test_centred_kernels_are_odd():
    with pytest.raises(ConfigError, match="kernel_size must be odd"):
        replace(SMALL, kernel_size=4, centred_convolutions=True)
