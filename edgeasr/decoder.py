"""CTC decoding: from log-probs to token sequences with scores, times and posteriors.

Works by itself on anybody's log-probs from NumPy; it needs no bundle, no ONNX and no audio. The search is in the C++
core (`csrc/core/ctc_beam.h`, `csrc/core/ctc_greedy.h`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeasr import _core
from edgeasr.config import CtcBeamConfig
from edgeasr.errors import ConfigError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CtcBeamDecoder", "CtcGreedyDecoder", "Hypothesis"]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One token sequence and its evidence. The tuples have one element for each token.

    The times come from the best single alignment of the tokens that the decoder has seen: token ``i`` is emitted on the
    frames ``token_start_frames[i] <= t < token_end_frames[i]``. Blank frames between two tokens belong to neither.

    Attributes:
        token_ids: The tokens.
        token_start_frames: First frame of each token, counted from the start of the stream.
        token_end_frames: The frame after each token's last one.
        token_posteriors: The largest probability, in 0..1, that the model gives the token on its frames. The definition
            is the same for greedy and beam search, for partial and final results, and for all of an n-best.
        score: Natural log, of the whole stream. Beam search: of the probability of the token sequence, summed over all
            of its alignments that the search kept. Greedy: of the one alignment of each frame's best token.
        tokens: What the tokens are called; empty when the decoder knows only their number.
        text: The tokens joined, with spaces for the word delimiter; empty when the decoder knows only their number.
    """

    token_ids: tuple[int, ...]
    token_start_frames: tuple[int, ...]
    token_end_frames: tuple[int, ...]
    token_posteriors: tuple[float, ...]
    score: float
    tokens: tuple[str, ...] = ()
    text: str = ""


class _CtcDecoder:
    """What greedy and beam search have in common: the machine around the search."""

    _search: _core.CtcBeamDecoder | _core.CtcGreedyDecoder

    def __init__(self, tokens: Sequence[str] | int, word_delimiter: str) -> None:
        if isinstance(tokens, str):
            raise ConfigError(f"tokens is the string {tokens!r}, expected a sequence of tokens or their number")
        self._names = None if isinstance(tokens, int) else tuple(tokens)
        self._word_delimiter = word_delimiter
        self.vocab_size = tokens if isinstance(tokens, int) else len(tokens)

    def accept(self, log_probs: NDArray[np.float32]) -> None:
        """Takes the next frames; how a stream is cut into calls changes nothing about its results.

        Args:
            log_probs: ``(num_frames, vocab_size)``, float32, natural log of probabilities that sum to one in each row
                (within 1 %; for scores that do not, build the decoder with ``logits=True``). No frames are fine.

        Raises:
            InputError: Another dtype or shape, a NaN, or a row that does not sum to one. Nothing of the block was used.
            StreamStateError: After `finish`, or while another thread is inside.
        """
        if not isinstance(log_probs, np.ndarray):
            raise InputError(f"log_probs is a {type(log_probs).__name__}, expected a NumPy array of float32")
        if log_probs.ndim == 2:
            log_probs = np.ascontiguousarray(log_probs)
        self._search.accept(log_probs)

    def partial(self) -> list[Hypothesis]:
        """The hypotheses so far, best first; changes nothing.

        Returns:
            At least one hypothesis. Ties are ordered by token ids.

        Raises:
            StreamStateError: While another thread is inside.
        """
        return [self._dress(found) for found in self._search.partial()]

    def finish(self) -> list[Hypothesis]:
        """Ends the stream and returns its hypotheses, best first.

        Raises:
            StreamStateError: When called twice, or while another thread is inside.
        """
        return [self._dress(found) for found in self._search.finish()]

    def reset(self) -> None:
        """Forgets everything and starts another stream.

        Raises:
            StreamStateError: While another thread is inside.
        """
        self._search.reset()

    def decode(self, log_probs: NDArray[np.float32]) -> list[Hypothesis]:
        """Decodes a whole utterance: `reset`, `accept` and `finish` in one.

        Args:
            log_probs: As for `accept`.

        Returns:
            The hypotheses, best first.

        Raises:
            InputError: See `accept`.
            StreamStateError: While another thread is inside.
        """
        self.reset()
        self.accept(log_probs)
        return self.finish()

    @property
    def num_committed(self) -> int:
        """How many tokens at the front of every hypothesis will never change any more, nor their times."""
        return self._search.num_committed

    def take_committed(self) -> Hypothesis:
        """Moves the committed tokens out: later results hold only the tokens after them.

        A stream whose committed tokens are taken needs the same memory however long it runs. The score is that of the
        best hypothesis for the whole stream so far.

        Raises:
            StreamStateError: While another thread is inside.
        """
        return self._dress(self._search.take_committed())

    @property
    def num_frames(self) -> int:
        """How many frames have been accepted since the start of the stream."""
        return self._search.num_frames

    def _dress(self, found: _core.Hypothesis) -> Hypothesis:
        token_ids = tuple(found.token_ids)
        names = () if self._names is None else tuple(self._names[token_id] for token_id in token_ids)
        return Hypothesis(
            token_ids=token_ids,
            token_start_frames=tuple(found.token_start_frames),
            token_end_frames=tuple(found.token_end_frames),
            token_posteriors=tuple(found.token_posteriors),
            score=found.score,
            tokens=names,
            text="".join(names).replace(self._word_delimiter, " ").strip(),
        )


class CtcBeamDecoder(_CtcDecoder):
    """CTC prefix beam search: the most probable token sequences, each summed over its alignments.

    Incremental, in bounded memory, and exact: the results do not depend on how the frames were cut, bit for bit. The
    algorithm is that of Hannun et al. 2014, "First-Pass Large Vocabulary Continuous Speech Recognition using
    Bi-Directional Recurrent DNNs", algorithm 1, without its language model; CTC is Graves et al. 2006, "Connectionist
    Temporal Classification". What is done differently, and why, stands in ``csrc/core/ctc_beam.h``.

    Give each thread a decoder of its own; the search runs without the interpreter's lock.

    Example:
        >>> import numpy as np
        >>> probabilities = [[0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.2, 0.1, 0.7]]
        >>> decoder = CtcBeamDecoder(["<blank>", "h", "i"], CtcBeamConfig(nbest=2))
        >>> decoder.accept(np.log(probabilities).astype(np.float32))
        >>> best, second = decoder.finish()
        >>> best.text, best.token_start_frames, best.token_end_frames
        ('hi', (0, 2), (1, 3))
        >>> second.text, round(float(np.exp(second.score)), 3)
        ('h', 0.156)
    """

    def __init__(
        self,
        tokens: Sequence[str] | int,
        config: CtcBeamConfig | None = None,
        *,
        logits: bool = False,
        word_delimiter: str = "▁",
    ) -> None:
        """Starts a stream.

        Args:
            tokens: The vocabulary in the order of the columns of ``log_probs``, blank included, or only its size.
            config: The search; the defaults if not given.
            logits: The rows given to `accept` are not normalised; the decoder does it.
            word_delimiter: What stands for a space in `tokens`: SentencePiece's mark, or ``"|"``.

        Raises:
            ConfigError: A vocabulary of fewer than two tokens, or a ``blank_id`` outside it.
        """
        super().__init__(tokens, word_delimiter)
        self.config = CtcBeamConfig() if config is None else config
        self._search: _core.CtcBeamDecoder = _core.CtcBeamDecoder(self.config, self.vocab_size, logits=logits)


class CtcGreedyDecoder(_CtcDecoder):
    """CTC greedy decoding: the best token of each frame, then repeats and blanks removed.

    "Best path decoding" of Graves et al. 2006, "Connectionist Temporal Classification", section 3.2. The same machine
    as `CtcBeamDecoder`; there is always one hypothesis. Of tokens with equal log-probs the lowest id is taken.

    Example:
        >>> import numpy as np
        >>> probabilities = [[0.1, 0.8, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]]
        >>> decoder = CtcGreedyDecoder(["<blank>", "h", "i"])
        >>> decoder.decode(np.log(probabilities).astype(np.float32))[0].text
        'hi'
    """

    def __init__(
        self,
        tokens: Sequence[str] | int,
        blank_id: int = 0,
        *,
        logits: bool = False,
        word_delimiter: str = "▁",
    ) -> None:
        """Starts a stream.

        Args:
            tokens: The vocabulary in the order of the columns of ``log_probs``, blank included, or only its size.
            blank_id: The column of the blank.
            logits: The rows given to `accept` are not normalised; the decoder does it.
            word_delimiter: What stands for a space in `tokens`: SentencePiece's mark, or ``"|"``.

        Raises:
            ConfigError: A vocabulary of fewer than two tokens, or a ``blank_id`` outside it.
        """
        super().__init__(tokens, word_delimiter)
        self._search: _core.CtcGreedyDecoder = _core.CtcGreedyDecoder(self.vocab_size, blank_id, logits=logits)
