"""The student: a streaming conformer with CTC over characters.

Log-mel frames of 10 ms pass a convolutional stem that keeps every fourth (40 ms), a stack of conformer blocks
(Gulati et al. 2020) that run at 40 ms, and a head that emits two characters' worth of log-probs per block frame
(20 ms). The blocks are cheap at 40 ms, while characters, which come at 15 a second and more in bursts, have room
at 20 ms.

There is one forward function. It takes features and the state left by the audio before them; training calls it on
whole utterances with the initial state, the exported graph calls it on one chunk. Attention sees the chunk and a
fixed number of frames to its left (cached keys and values), convolutions see their past (cached inputs). Nothing is
masked by length: what lies before the start is the initial state (zeros), what lies after the end is features of
digital silence, in training and at run time alike.

A student that only teaches need not stream: with `full_attention` and `centred_convolutions` it hears the whole clip at
once, in the same forward function and with the same names of its weights.

Shape suffixes: B batch, T block frames, F feature frames, M mel bins, D model width, H heads, K head width,
V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeasr.errors import ConfigError

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """Sizes of the student; frames are block frames (40 ms with a hop of 10 ms).

    Attributes:
        full_attention: Each frame sees the whole clip; `left_context_frames` is not used, and `chunk_frames` only says
            to what length clips are padded.
        centred_convolutions: Those of the blocks see as much after a frame as before it.
    """

    num_mel_bins: int = 80
    vocab_size: int = 29
    dim: int = 192
    num_blocks: int = 8
    num_heads: int = 3
    feedforward_dim: int = 768
    kernel_size: int = 15
    stem_channels: int = 64
    chunk_frames: int = 10
    left_context_frames: int = 50
    emissions_per_frame: int = 2
    intermediate_block: int = 5
    full_attention: bool = False
    centred_convolutions: bool = False

    def __post_init__(self) -> None:
        if self.dim % (2 * self.num_heads):
            raise ConfigError(f"dim must be a multiple of twice num_heads ({2 * self.num_heads}), got {self.dim}")
        if self.num_mel_bins % 4:
            raise ConfigError(f"num_mel_bins must be a multiple of 4, got {self.num_mel_bins}")
        if self.centred_convolutions and self.kernel_size % 2 == 0:
            raise ConfigError(f"kernel_size must be odd for centred_convolutions, got {self.kernel_size}")
        if not 0 < self.intermediate_block < self.num_blocks:
            raise ConfigError(f"intermediate_block must lie in 1..{self.num_blocks - 1}, got {self.intermediate_block}")

    @property
    def streams(self) -> bool:
        """Whether it can go on from a state: nothing that it says depends on later chunks."""
        return not (self.full_attention or self.centred_convolutions)

    @property
    def past_frames(self) -> int:
        """Frames before the first that a convolution needs."""
        return self.kernel_size // 2 if self.centred_convolutions else self.kernel_size - 1

    @property
    def chunk_feature_frames(self) -> int:
        """Feature frames in one chunk."""
        return STEM_STRIDE * self.chunk_frames

    @property
    def subsampling_factor(self) -> int:
        """Feature frames per row of log-probs."""
        return STEM_STRIDE // self.emissions_per_frame


STEM_STRIDE = 4
STEM_CONTEXT = 3  # feature frames before the first of a chunk that the stem needs
ROPE_BASE = 10_000.0
HIDDEN_SCORE = -1e4


class Stem(nn.Module):
    """Two 3x3 convolutions of stride 2: features (B, F, M) -> (B, F / 4, D), causal in time."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        channels = config.stem_channels
        self.conv1 = nn.Conv2d(1, channels // 2, 3, stride=2, padding=(0, 1))
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, stride=2, padding=(0, 1))
        self.project = nn.Linear(channels * config.num_mel_bins // 4, config.dim)

    def forward(self, features_BFM: Tensor, cache_BFM: Tensor) -> tuple[Tensor, Tensor]:
        x_BFM = torch.cat([cache_BFM, features_BFM], dim=1)
        x = F.silu(self.conv1(x_BFM.unsqueeze(1)))
        x = F.silu(self.conv2(x))
        x_BTD = self.project(x.permute(0, 2, 1, 3).flatten(2))
        return x_BTD, x_BFM[:, -STEM_CONTEXT:]


class FeedForward(nn.Module):
    """Pre-norm feed-forward half step."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.up = nn.Linear(config.dim, config.feedforward_dim)
        self.down = nn.Linear(config.feedforward_dim, config.dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.down(F.silu(self.up(self.norm(x_BTD))))
        return 0.5 * y_BTD


class Attention(nn.Module):
    """Self-attention over chunk and left context, or over the whole clip, with rotary positions (Su et al. 2021).

    Keys are cached before rotation, so that positions are counted from the start of the cache and a stream of any
    length uses the same few.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.norm = nn.LayerNorm(config.dim)
        self.query_key_value = nn.Linear(config.dim, 3 * config.dim)
        self.output = nn.Linear(config.dim, config.dim)

    def forward(
        self, x_BTD: Tensor, key_BHTK: Tensor, value_BHTK: Tensor, rotary: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, frames, dim = x_BTD.shape
        left = key_BHTK.shape[2]
        qkv = self.query_key_value(self.norm(x_BTD)).view(batch, frames, 3, self.num_heads, -1)
        query, new_key, new_value = qkv.permute(2, 0, 3, 1, 4)
        key = torch.cat([key_BHTK.to(new_key.dtype), new_key], dim=2)
        value = torch.cat([value_BHTK.to(new_value.dtype), new_value], dim=2)
        query = rotate(query, rotary[:, left:]) * query.shape[-1] ** -0.5
        score = torch.matmul(query, rotate(key, rotary).transpose(-1, -2))
        if bias is not None:
            score = score + bias.to(score.dtype)
        # Written out: on the short windows here it trains three times faster on a CPU than the fused kernel.
        attended = torch.matmul(softmax(score), value)
        y_BTD = self.output(attended.transpose(1, 2).reshape(batch, frames, dim))
        return y_BTD, key[:, :, -left:], value[:, :, -left:]


class Convolution(nn.Module):
    """The conformer's convolution module with a causal or centred kernel; the cache holds its past inputs."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.gate = nn.Linear(config.dim, 2 * config.dim)
        self.depthwise = nn.Conv1d(config.dim, config.dim, config.kernel_size, groups=config.dim)
        self.inner_norm = nn.LayerNorm(config.dim)
        self.output = nn.Linear(config.dim, config.dim)
        self.future_frames = config.kernel_size - 1 - config.past_frames

    def forward(self, x_BTD: Tensor, cache_BDT: Tensor) -> tuple[Tensor, Tensor]:
        gated_BDT = F.glu(self.gate(self.norm(x_BTD)), dim=-1).transpose(1, 2)
        padded_BDT = torch.cat([cache_BDT.to(gated_BDT.dtype), gated_BDT], dim=2)
        if self.future_frames:
            padded_BDT = F.pad(padded_BDT, (0, self.future_frames))
        y_BTD = self.depthwise(padded_BDT).transpose(1, 2)
        return self.output(F.silu(self.inner_norm(y_BTD))), padded_BDT[:, :, -cache_BDT.shape[2] :]


class ConformerBlock(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward; each added to its input."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.feedforward1 = FeedForward(config)
        self.attention = Attention(config)
        self.convolution = Convolution(config)
        self.feedforward2 = FeedForward(config)

    def forward(
        self, x_BTD: Tensor, key: Tensor, value: Tensor, past: Tensor, rotary: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x_BTD = x_BTD + self.feedforward1(x_BTD)
        y_BTD, key, value = self.attention(x_BTD, key, value, rotary, bias)
        x_BTD = x_BTD + y_BTD
        y_BTD, past = self.convolution(x_BTD, past)
        x_BTD = x_BTD + y_BTD
        return x_BTD + self.feedforward2(x_BTD), key, value, past


class CtcHead(nn.Module):
    """Normalises, projects and splits each block frame into its emissions: (B, T, D) -> logits (B, T * E, V)."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.project = nn.Linear(config.dim, config.emissions_per_frame * config.vocab_size)
        self.emissions_per_frame = config.emissions_per_frame

    def forward(self, x_BTD: Tensor) -> Tensor:
        logits: Tensor = self.project(self.norm(x_BTD))
        batch, frames, width = logits.shape
        return logits.view(batch, frames * self.emissions_per_frame, width // self.emissions_per_frame)


class Student(nn.Module):
    """The streaming CTC student.

    Example:
        >>> student = Student(StudentConfig(dim=32, num_blocks=2, intermediate_block=1, feedforward_dim=64))
        >>> log_probs, _, state = student(torch.zeros(1, 40, 80), student.initial_state(1))
        >>> tuple(log_probs.shape)
        (1, 20, 29)
    """

    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        # Features are normalised by statistics of the training set; they travel with the weights.
        self.register_buffer("feature_mean", torch.zeros(config.num_mel_bins))
        self.register_buffer("feature_scale", torch.ones(config.num_mel_bins))
        self.stem = Stem(config)
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.num_blocks))
        self.intermediate_head = CtcHead(config)
        self.condition = nn.Linear(config.emissions_per_frame * config.vocab_size, config.dim)
        self.head = CtcHead(config)

    def initial_state(self, batch_size: int) -> State:
        """The state before any audio: zeros. Names and order are those of the exported graph."""
        c = self.config
        left = 0 if c.full_attention else c.left_context_frames
        head_dim = c.dim // c.num_heads
        shapes: dict[str, tuple[int, ...]] = {"stem": (batch_size, STEM_CONTEXT, c.num_mel_bins)}
        for i in range(c.num_blocks):
            shapes[f"key_{i}"] = (batch_size, c.num_heads, left, head_dim)
            shapes[f"value_{i}"] = (batch_size, c.num_heads, left, head_dim)
            shapes[f"past_{i}"] = (batch_size, c.dim, c.past_frames)
        device = self.feature_mean.device
        return {name: torch.zeros(shape, device=device) for name, shape in shapes.items()}

    def forward(self, features_BFM: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Runs whole chunks.

        Args:
            features_BFM: log-mel features, whole chunks (a multiple of `config.chunk_feature_frames`).
            state: as left by the chunks before, or `initial_state`.

        Returns:
            log_probs (B, F / subsampling_factor, V), those of the intermediate head, and the new state: that which was
            given, where the student does not stream.
        """
        x_BTD, intermediate, new_state = self.encode(features_BFM, state)
        return log_softmax(self.head(x_BTD).float()), intermediate, new_state

    def encode(
        self, features_BFM: Tensor, state: State, blocks: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor, State]:
        """Like `forward`, but gives what the last block makes, (B, T, D), instead of log-probs.

        Where there is a list `blocks`, what each block makes is added to it.
        """
        c = self.config
        frames = features_BFM.shape[1] // STEM_STRIDE
        device = features_BFM.device
        left = 0 if c.full_attention else c.left_context_frames
        rotary = rotary_table(left + frames, c.dim // c.num_heads, device)
        bias = None if c.full_attention else chunk_bias(frames, c.chunk_frames, left, device)
        normalised = (features_BFM - self.feature_mean) * self.feature_scale
        x_BTD, new_features = self.stem(normalised, state["stem"])
        new_state = {"stem": new_features}
        intermediate = x_BTD
        for i, block in enumerate(self.blocks):
            x_BTD, new_state[f"key_{i}"], new_state[f"value_{i}"], new_state[f"past_{i}"] = block(
                x_BTD, state[f"key_{i}"], state[f"value_{i}"], state[f"past_{i}"], rotary, bias
            )
            if i + 1 == c.intermediate_block:
                # Self-conditioning on the intermediate prediction (Nozaki and Komatsu 2021).
                intermediate = log_softmax(self.intermediate_head(x_BTD).float())
                prediction = intermediate.exp().reshape(x_BTD.shape[0], frames, -1)
                x_BTD = x_BTD + self.condition(prediction)
            if blocks is not None:
                blocks.append(x_BTD)
        return x_BTD, intermediate, new_state if c.streams else state


def softmax(x: Tensor) -> Tensor:
    """Softmax over the last dimension; in an exported graph spelled out.

    Of all operators of the graph, ONNX Runtime's Softmax and LogSoftmax alone round differently on processors with and
    without AVX-512. Quantised activations make visible differences of the last bit; the operators that softmax is made
    of give the same bits on both.
    """
    if not torch.onnx.is_in_onnx_export():
        return x.softmax(-1)
    weight = (x - x.amax(-1, keepdim=True)).exp()
    return weight / weight.sum(-1, keepdim=True)


def log_softmax(x: Tensor) -> Tensor:
    """Logarithm of the softmax over the last dimension; in an exported graph spelled out like `softmax`."""
    if not torch.onnx.is_in_onnx_export():
        return x.log_softmax(-1)
    x = x - x.amax(-1, keepdim=True)
    return x - x.exp().sum(-1, keepdim=True).log()


def rotary_table(length: int, head_dim: int, device: torch.device) -> Tensor:
    """Cosines and sines for `length` positions: (2, length, head_dim / 2)."""
    frequency = ROPE_BASE ** (-torch.arange(head_dim // 2, device=device) / (head_dim // 2))
    angle = torch.arange(length, device=device)[:, None] * frequency
    return torch.stack([angle.cos(), angle.sin()])


def rotate(x_BHTK: Tensor, rotary: Tensor) -> Tensor:
    """Rotates each pair (k, k + K / 2) of the head width by its position's angle."""
    cos, sin = rotary.to(x_BHTK.dtype)
    a, b = x_BHTK.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def chunk_bias(frames: int, chunk: int, left: int, device: torch.device) -> Tensor | None:
    """What is added to the attention scores (frames, left + frames): 0 where a query sees a key, else very little.

    A query sees its own chunk and `left` frames before the chunk. None for a single chunk, which sees all there is.
    """
    if frames == chunk:
        return None
    chunk_start = torch.arange(frames, device=device)[:, None] // chunk * chunk
    key = torch.arange(left + frames, device=device)
    seen = (key >= chunk_start) & (key < chunk_start + left + chunk)
    return torch.zeros(seen.shape, device=device).masked_fill(~seen, HIDDEN_SCORE)
