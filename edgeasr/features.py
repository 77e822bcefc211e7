"""The log-mel frontend: from a waveform to features, for streams and for whole clips.

The arithmetic is in the C++ core (`csrc/core/log_mel.h`); the runtime and the training side both use it through this
module, so there is one definition of a feature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeasr import _core
from edgeasr.config import LogMelConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LogMelFrontend", "log_mel"]


class LogMelFrontend:
    """Streaming log-mel features, the same bits for any cut of the waveform.

    Each frame goes the way of Kaldi's fbank: mean removal, preemphasis, window, zero-padded FFT, power, mel bands,
    floor, natural logarithm (Kaldi, feat/feature-fbank.cc; Young et al., The HTK Book, section 5.4). The values do not
    depend on how the waveform was cut, on how many frames were computed together, or on the instruction set.

    Memory is bounded: what is kept between calls is less than a few frames of samples.

    Example:
        >>> import numpy as np
        >>> frontend = LogMelFrontend()
        >>> waveform = np.zeros(16000, dtype=np.float32)
        >>> first = frontend.accept(waveform[:1600])
        >>> rest = frontend.accept(waveform[1600:])
        >>> tail = frontend.finish()
        >>> np.concatenate([first, rest, tail]).shape
        (100, 80)
    """

    def __init__(self, config: LogMelConfig | None = None) -> None:
        """Starts a stream.

        Args:
            config: The features' definition; the defaults if not given.
        """
        self.config = LogMelConfig() if config is None else config
        self._frontend = _core.LogMelFrontend(self.config)

    def accept(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes the next samples and returns the frames that are complete now.

        Args:
            waveform: ``(num_samples,)``, float32 in [-1, 1], of any length.

        Returns:
            The new features ``(num_frames, num_mel_bins)``, float32, natural logarithm of power.

        Raises:
            InputError: Another dtype or shape, or samples that are not finite; the stream stays as it was.
            StreamStateError: After `finish`, or while another thread is inside.
        """
        return self._frontend.accept(waveform)

    def finish(self) -> NDArray[np.float32]:
        """Ends the stream and returns its last frames, those that reach over the end of the waveform.

        Returns:
            The last features ``(num_frames, num_mel_bins)``, float32.

        Raises:
            StreamStateError: When called twice.
        """
        return self._frontend.finish()

    def reset(self) -> None:
        """Forgets everything and starts another stream."""
        self._frontend.reset()


def log_mel(waveform: NDArray[Any], config: LogMelConfig | None = None) -> NDArray[np.float32]:
    """The log-mel features of a whole clip.

    Args:
        waveform: ``(num_samples,)``, floating point in [-1, 1]; anything but contiguous float32 is converted.
        config: The features' definition; the defaults if not given.

    Returns:
        Features ``(num_frames, num_mel_bins)``, float32, natural logarithm of power: what `LogMelFrontend` gives for
        the same samples. An empty waveform gives no frames.

    Raises:
        InputError: Integers, another shape, or samples that are not finite.

    Example:
        >>> import numpy as np
        >>> log_mel(np.zeros(16000, dtype=np.float32)).shape
        (100, 80)
    """
    # Integers are not converted: whether their range is +-1 or +-32768 would be a guess.
    if np.issubdtype(waveform.dtype, np.floating):
        waveform = np.ascontiguousarray(waveform, dtype=np.float32)
    return _core.log_mel(waveform, LogMelConfig() if config is None else config)
