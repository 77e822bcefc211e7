"""Configurations: frozen keyword-only dataclasses, validated once, when they are built.

`LogMelConfig`, `CtcBeamConfig` and `LmBuildConfig` mirror the C++ structs of the same names, field by field, with the
same defaults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeasr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LogMelConfig:
    """The log-mel frontend: how a waveform becomes features. The defaults are Kaldi's fbank with 80 bins.

    Other conventions, for models of other origin:

    - librosa >= 0.10: ``n_fft=512, win_length=512, window="hann", periodic_window=True, mel_scale="slaney",
      mel_norm="slaney", preemphasis=0.0, remove_dc_offset=False, padding="center_zero", low_hz=0.0, high_hz=8000.0``
    - torch.stft with its default padding, as in Whisper: the same with ``padding="center"`` and its 400-point FFT.

    Example:
        >>> LogMelConfig(num_mel_bins=40).hop_length
        160

    Attributes:
        sample_rate: Hz.
        n_fft: FFT length in samples: even, at most 65536, without prime factors above 5. Frames are filled up with
            zeros to this length.
        win_length: Frame length in samples, 2 to ``n_fft``.
        hop_length: Samples from one frame to the next.
        num_mel_bins: Number of mel bands; each must hold at least one FFT bin.
        low_hz: Lower edge of the lowest band in Hz.
        high_hz: Upper edge of the highest band in Hz, at most half of ``sample_rate``.
        window: ``"povey"`` (Kaldi's default, a Hann window to the power of 0.85), ``"hann"`` or ``"hamming"``.
        periodic_window: Periodic windows (librosa, torch) instead of symmetric ones (Kaldi).
        mel_scale: ``"kaldi"``: 1127 ln(1 + f / 700), triangles drawn over mel; ``"slaney"``: linear to 1 kHz, then
            logarithmic, triangles drawn over Hz (librosa).
        mel_norm: ``"none"``: triangles of height 1; ``"slaney"``: of area 1 over Hz.
        preemphasis: Coefficient of x[i] - p x[i-1] within each frame, 0 to 1; 0 turns it off.
        remove_dc_offset: Subtract each frame's mean before anything else.
        padding: ``"kaldi"`` (snip_edges=False): frame t is centred at (t + 1/2) hops, both ends mirrored with the edge
            sample repeated, (n + hop_length // 2) // hop_length frames. ``"snip"`` (snip_edges=True): only frames
            wholly inside. ``"center"``: frame t is centred at t hops, mirrored about the edge sample as torch.stft
            does, n // hop_length + 1 frames. ``"center_zero"``: the same with zeros beyond the ends (librosa).
        log_floor: Power below which the logarithm is not taken: Kaldi's 2**-23.

    Raises:
        ConfigError: A value that cannot work; the message names it and says what is allowed.
    """

    sample_rate: int = 16000
    n_fft: int = 512
    win_length: int = 400
    hop_length: int = 160
    num_mel_bins: int = 80
    low_hz: float = 20.0
    high_hz: float = 7600.0
    window: str = "povey"
    periodic_window: bool = False
    mel_scale: str = "kaldi"
    mel_norm: str = "none"
    preemphasis: float = 0.97
    remove_dc_offset: bool = True
    padding: str = "kaldi"
    log_floor: float = 1.1920928955078125e-07

    def __post_init__(self) -> None:
        """Lets the C++ core check the values, so that one place knows what it can do."""
        from edgeasr import _core

        _core.validate_log_mel_config(self)


@dataclass(frozen=True, kw_only=True)
class GrammarLimits:
    """What a grammar may not exceed; one that does is refused with an error that names the limit.

    Example:
        >>> GrammarLimits(max_states=100_000).max_range_values
        20000

    Attributes:
        max_text_bytes: Bytes of the grammar's text.
        max_nodes: Nodes of the compiled graph, about 32 bytes each.
        max_range_values: Values of one number range.
        max_states: States of the automaton that are made while it is used, about 200 bytes each.

    Raises:
        ConfigError: A limit below 1 or above 2**28.
    """

    max_text_bytes: int = 16 * 1024 * 1024
    max_nodes: int = 1_000_000
    max_range_values: int = 20_000
    max_states: int = 262_144

    def __post_init__(self) -> None:
        """Lets the C++ core check the values, so that one place knows what it can do."""
        from edgeasr import _core

        _core.validate_grammar_limits(self)


@dataclass(frozen=True, kw_only=True)
class CtcBeamConfig:
    """The CTC prefix beam search: how log-probs become hypotheses.

    All decisions are taken frame by frame. ``beam_threshold=math.inf, token_threshold=math.inf,
    max_tokens_per_frame=0, blank_skip_threshold=1.0, max_commit_delay_frames=0`` turns all pruning but the beam's size
    off; a beam as large as the number of possible texts is then exact. The last five fields are for decoders with a
    `edgeasr.decoder.DecodingContext`.

    Example:
        >>> CtcBeamConfig(beam_size=16, nbest=5).blank_id
        0

    Attributes:
        beam_size: Texts kept after each frame, at least 1.
        blank_id: The column of the CTC blank.
        nbest: Hypotheses returned at most, at least 1; there are never more than ``beam_size``.
        beam_threshold: A text is dropped when its score is further than this below the best one's (natural log,
            more than 0; 600 is the most that the arithmetic distinguishes).
        token_threshold: A token whose log-prob is further than this below that of the frame's best token starts no new
            text on the frame (natural log, more than 0).
        max_tokens_per_frame: At most so many of the frame's best tokens start new texts; 0: no limit.
        blank_skip_threshold: A frame whose blank probability is above this starts no new texts. Those that there
            are get their exact share of the frame all the same. In (0, 1]; 1: no frame is skipped.
        max_commit_delay_frames: Every so many frames (16) what the best text has held for longer than this is
            committed, and texts that disagree are dropped: it bounds delay and memory, and it frees the beam from
            old alternatives that crowd out new ones. An n-best then differs only in its last part; 0, no limit, keeps
            alternatives from the whole utterance. With a language model or a lexicon, and where tokens have several
            letters, whole words are committed, or after four times as long what there is of one.
        lm_weight: Of the language model's log-probs, at least 0.
        word_bonus: Added for each word (natural log).
        oov_cost: What a word costs that is not known, at least 0 (natural log): one that is neither in the lexicon nor,
            where there is none, in the language model, nor in a hotword. ``math.inf``: there are no such words.
        oov_char_cost: What each of its characters costs in addition, at least 0.
        hotword_boost: Added for each occurrence of a hotword that has no boost of its own (natural log).

    Raises:
        ConfigError: A value that cannot work; the message names it and says what is allowed.
    """

    beam_size: int = 8
    blank_id: int = 0
    nbest: int = 1
    beam_threshold: float = 20.0
    token_threshold: float = 10.0
    max_tokens_per_frame: int = 40
    blank_skip_threshold: float = 0.999
    max_commit_delay_frames: int = 64
    lm_weight: float = 1.0
    word_bonus: float = 0.0
    oov_cost: float = 5.0
    oov_char_cost: float = 1.0
    hotword_boost: float = 8.0

    def __post_init__(self) -> None:
        """Lets the C++ core check the values, so that one place knows what it can do."""
        from edgeasr import _core

        _core.validate_ctc_beam_config(self)


@dataclass(frozen=True, kw_only=True)
class CommandConfig:
    """How commands are told from dictation, and dictation from what cannot be believed.

    Example:
        >>> CommandConfig(min_llr=-1.0).beam_size
        512

    Attributes:
        beam_size: Texts that the search for commands keeps.
        beam_threshold: It drops a text whose score is further than this below the best one's (natural log).
        min_llr: A command is returned when the log-likelihood ratio of the grammar's best sentence against the best
            text at all, for each token of the sentence (natural log), is at least this, and
        min_command_score: the log-probability of the sentence, for each of its tokens, is at least this. Higher: fewer
            false commands.
        min_score: Else dictation is returned when the log-probability of the best text, for each of its tokens, is at
            least this; and what was heard is rejected otherwise. Higher: more is rejected.

    Raises:
        ConfigError: A value that cannot work.
    """

    beam_size: int = 512
    beam_threshold: float = 40.0
    min_llr: float = -2.5
    min_command_score: float = -3.0
    min_score: float = -1.2

    def __post_init__(self) -> None:
        """Checks the values; those of the beam are checked where they are used, too."""
        if self.beam_size < 1:
            raise ConfigError(f"beam_size is {self.beam_size}, expected at least 1")
        for name in ("beam_threshold", "min_llr", "min_command_score", "min_score"):
            if math.isnan(getattr(self, name)):
                raise ConfigError(f"{name} is {getattr(self, name)}, expected a number")
        if self.beam_threshold <= 0:
            raise ConfigError(f"beam_threshold is {self.beam_threshold}, expected more than 0")


@dataclass(frozen=True, kw_only=True)
class LmBuildConfig:
    """How a language model is estimated from text.

    Attributes:
        order: Words of the longest n-grams, 1 to 6.
        prune: N-grams that occur at most so often in the text are left out: a number for each order from 1, the last
            one also for the orders above. They must not fall, and the first is 0.
        vocab_size: Only so many of the most frequent words; the others become ``<unk>``. 0: all words.
        memory_bytes: About how much the estimation holds in memory, apart from the words and the finished model; what
            is more goes to temporary files.
        threads: Threads for sorting.
        temp_folder: For temporary files; empty: the one that ``TMPDIR`` names, or ``/tmp``.

    Raises:
        ConfigError: A value that cannot work; the message names it and says what is allowed.
    """

    order: int = 3
    prune: tuple[int, ...] = ()
    vocab_size: int = 0
    memory_bytes: int = 1_000_000_000
    threads: int = 1
    temp_folder: str = ""

    def __post_init__(self) -> None:
        """Lets the C++ core check the values, so that one place knows what it can do."""
        from edgeasr import _core

        _core.validate_lm_build_config(self)
