"""Configurations: frozen keyword-only dataclasses, validated once, when they are built.

`LogMelConfig` and `CtcBeamConfig` mirror the C++ structs of the same names, field by field, with the same defaults.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LogMelConfig:
    """The log-mel frontend: how a waveform becomes features. The defaults are Kaldi's fbank with 80 bins."""

    sample_rate: int = 16000
    n_fft: int = 512
    win_length: int = 400
    hop_length: int = 160
    num_mel_bins: int = 80
    low_hz: float = 20.0
    high_hz: float = 7600.0
    window: str = "povey"
    mel_scale: str = "kaldi"
    mel_norm: str = "none"
    preemphasis: float = 0.97
    remove_dc_offset: bool = True
    padding: str = "kaldi"
    log_floor: float = 1.1920928955078125e-07


@dataclass(frozen=True, kw_only=True)
class CtcBeamConfig:
    """The CTC prefix beam search: how log-probs become hypotheses."""

    beam_size: int = 8
    blank_id: int = 0
    nbest: int = 1
    beam_threshold: float = 20.0
    token_threshold: float = 10.0
    max_tokens_per_frame: int = 40
    blank_skip_threshold: float = 0.999
    max_commit_delay_frames: int = 1500
