"""Cut and join: sentences made of the words of other sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeasr.errors import ConfigError
from edgeasr.train.augmentation.transform import check_positive, check_share
from edgeasr.train.manifest import TimedWord
from edgeasr.waveform import Waveform

# Sound beside the times of a word that is taken along, if no other word is in it: times are right to some hundredths
# of a second.
MARGIN_S = 0.05
# Pieces are brought to the level of the first one, but not made louder than this.
MOST_GAIN = 10.0
# So many pieces in a row may not fit before a sentence is left as it is.
TRIES = 4


@dataclass(frozen=True, kw_only=True)
class Splice:
    """Replaces a clip by a sentence of runs of words from other clips (Lam et al. 2021, aligned data augmentation).

    The new sentence is no longer than what it replaces, and its transcript is that of its words. The clips are of one
    speaker, or of anybody. What is said in it makes no sense, so that the student has to listen.
    """

    probability: float = 0.1
    maximum_words: int = 4
    same_speaker: bool = True
    crossfade_ms: float = 10.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability")
        check_positive(self, "maximum_words", "crossfade_ms")
        if self.crossfade_ms / 1000 > MARGIN_S:
            raise ConfigError(f"Splice: crossfade_ms is {self.crossfade_ms}, expected at most {1000 * MARGIN_S:g}")

    def __call__(
        self,
        num_samples: int,
        sources: Sequence[SpliceSource],
        sound: Callable[[int], Waveform],
        sample_rate: int,
        rng: np.random.Generator,
    ) -> tuple[Waveform, str] | None:
        """Makes a sentence.

        Args:
            num_samples: The most that it may have.
            sources: Clips to cut words from.
            sound: The waveform of a clip by its number.
            sample_rate: In Hz.
            rng: For all draws.

        Returns:
            The waveform and its words, separated by spaces; None if it is not to be, or no words are short enough.
        """
        if rng.random() >= self.probability:
            return None
        crossfade = max(1, round(self.crossfade_ms / 1000 * sample_rate))
        first = sources[int(rng.integers(len(sources)))]
        if self.same_speaker and first.speaker is not None:
            sources = [source for source in sources if source.speaker == first.speaker]
        output = np.zeros(0, np.float32)
        texts: list[str] = []
        level = 0.0
        failures = 0
        while failures < TRIES:
            source = first if not texts else sources[int(rng.integers(len(sources)))]
            count = int(rng.integers(1, min(self.maximum_words, len(source.words)) + 1))
            begin = int(rng.integers(0, len(source.words) - count + 1))
            piece = source.cut(sound(source.clip), begin, begin + count, sample_rate)
            overlap = crossfade if texts else 0
            if piece.size <= 2 * crossfade or output.size + piece.size - overlap > num_samples:
                failures += 1
                continue
            loudness = float(np.sqrt(np.mean(np.square(piece))))
            if texts:
                piece = piece * np.float32(min(MOST_GAIN, level / max(loudness, 1e-6)))
                rising = (np.arange(overlap, dtype=np.float32) + 1) / (overlap + 1)
                seam = output[-overlap:] * (1 - rising) + piece[:overlap] * rising
                output = np.concatenate([output[:-overlap], seam, piece[overlap:]])
            else:
                output, level = piece, loudness
            texts += [word.text for word in source.words[begin : begin + count]]
        return (output, " ".join(texts)) if texts else None


@dataclass(frozen=True, kw_only=True)
class SpliceSource:
    """A clip with word times, by its number, and who speaks in it."""

    clip: int
    words: tuple[TimedWord, ...]
    speaker: str | None = None

    def cut(self, waveform: Waveform, begin: int, end: int, sample_rate: int) -> Waveform:
        """The sound of the words `begin <= place < end`, with a little on either side up to half of a gap."""
        start_s, end_s = self.words[begin].start_s, self.words[end - 1].end_s
        before_s = self.words[begin - 1].end_s if begin else start_s - 2 * MARGIN_S
        after_s = self.words[end].start_s if end < len(self.words) else end_s + 2 * MARGIN_S
        first = start_s - min(MARGIN_S, (start_s - before_s) / 2)
        last = end_s + min(MARGIN_S, (after_s - end_s) / 2)
        return waveform[max(0, round(first * sample_rate)) : max(0, round(last * sample_rate))]
