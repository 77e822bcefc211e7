"""From rows of log-probs to words with times and confidences: the decoder, and what is made of its tokens.

The decoder is read whenever another chunk of rows is complete, counted from the start of the stream. What is read then,
and so every word with its confidence, does not depend on how the rows arrived.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edgeasr import _core
from edgeasr.confidence import Calibration, Evidence, probability
from edgeasr.tokens import DecodedToken, SpelledWord, TokenTable, WordTiming
from edgeasr.types import Alternative, Word

if TYPE_CHECKING:
    from edgeasr.decoder import Hypothesis

FloatArray = npt.NDArray[np.float32]

# Hypotheses that shares of the beam are counted over, the decoder willing. More of them changed nothing that
# calibration could see: the rest of a beam holds few per cent of its probability.
NUM_HYPOTHESES = 8
# Frames beside a word that count as its own: up to the next word, but not further than this. It is beyond what a
# convolution or a boundary needs, and a word is not to answer for the noise of a long pause.
CONTEXT_S = 0.64
# Frames that are remembered. What a decoder commits within 2 s fits with a word of 8 s.
REMEMBERED_S = 10.0


class Decoder(Protocol):
    """From rows of log-probs to hypotheses, the best one first."""

    def accept(self, log_probs: FloatArray, /) -> None:
        """Takes the next rows."""

    def take_committed(self) -> Hypothesis:
        """Moves the tokens out that will not change any more."""

    def partial(self) -> list[Hypothesis]:
        """Returns what follows the tokens that were taken out, as it stands."""

    def finish(self) -> list[Hypothesis]:
        """Ends the stream; returns what follows the tokens that were taken out."""

    def reset(self) -> None:
        """Goes back to the start of a stream."""


class _Place(NamedTuple):
    """A word of a hypothesis and its frames."""

    text: str
    start_frame: int
    end_frame: int


class _Beam(NamedTuple):
    """The hypotheses as they were after some rows: their shares of the probability, and their words."""

    num_rows: int
    hypotheses: list[tuple[float, list[_Place]]]

    def share(self, word: _Place) -> float:
        """Share of the probability on hypotheses with this word on some of the same frames, in 0..1.

        A word that was not complete then has no alternatives left: it was committed before the beam was read again.
        """
        if len(self.hypotheses) < 2 or word.end_frame > self.num_rows:
            return 1.0
        total = 0.0
        for share, places in self.hypotheses:
            for text, start, end in places:
                if text == word.text and start < word.end_frame and word.start_frame < end:
                    total += share
                    break
        return min(total, 1.0)


class WordDecoder:
    """A decoder whose tokens become words: a machine like the stages before it, with rows of log-probs going in.

    Example:
        >>> import numpy as np
        >>> from edgeasr.decoder import CtcGreedyDecoder
        >>> table = TokenTable(["<blank>", "|", "h", "i"], blank_id=0, word_delimiter="|")
        >>> words = WordDecoder(CtcGreedyDecoder(4), tokens=table, timing=WordTiming(frame_s=0.02), rows_per_read=20)
        >>> words.accept(np.log([[0.1, 0.1, 0.7, 0.1], [0.1, 0.1, 0.1, 0.7]]).astype(np.float32))
        >>> words.finish()
        >>> words.committed
        [Word(text='hi', start=0.0, end=0.04, confidence=0.49, accepted=True)]
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        tokens: TokenTable,
        timing: WordTiming,
        rows_per_read: int,
        logits: bool = False,
        calibration: Calibration | None = None,
        min_confidence: float = 0.0,
        nbest: int = 1,
        keep_evidence: bool = False,
    ) -> None:
        """Starts a stream.

        Args:
            decoder: The search; it is this machine's alone.
            tokens: What its tokens spell.
            timing: How token frames become word times.
            rows_per_read: The decoder is read after every so many rows.
            logits: The rows are not normalised.
            calibration: What makes probabilities of the evidence for a word; None if nothing was fitted.
            min_confidence: Words below this are not accepted.
            nbest: How many alternatives to keep at the end; 1 for none.
            keep_evidence: Collect what the confidence of each committed word was made of, in `evidence`.
        """
        self.decoder = decoder
        self.calibration = calibration
        self.keep_evidence = keep_evidence
        self.evidence: list[Evidence] = []
        self._tokens = tokens
        self._timing = timing
        self._rows_per_read = rows_per_read
        self._min_confidence = min_confidence
        self._nbest = nbest
        self._context_frames = max(1, round(CONTEXT_S / timing.frame_s))
        remembered = max(1, round(REMEMBERED_S / timing.frame_s))
        self._meter = _core.CtcEvidenceMeter(len(tokens), tokens.blank_id, remembered, logits=logits)
        self._start()

    def _start(self) -> None:
        self._num_rows = 0
        # Complete words, then the tokens of the next word that will not change, then words that may.
        self._committed: list[Word] = []
        self._open: list[DecodedToken] = []
        self._tail: tuple[Word, ...] = ()
        # Between the last letter of the last complete word and the open tokens: word delimiters.
        self._delimiters: list[DecodedToken] = []
        self._letters_end = 0
        self._beam = _Beam(0, [])
        self.evidence = []
        self._alternatives: tuple[Alternative, ...] = ()

    @property
    def committed(self) -> list[Word]:
        """The words that will not change any more; the list grows until `reset` begins a new one."""
        return self._committed

    @property
    def tail(self) -> tuple[Word, ...]:
        """The words after the committed ones, as they stand."""
        return self._tail

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """After `finish`: the `nbest` readings of the stream, best first; none if only one was asked for."""
        return self._alternatives

    def accept(self, log_probs: FloatArray) -> None:
        """Takes the next rows of log-probs, (num_rows, vocab_size) float32."""
        log_probs = np.ascontiguousarray(log_probs)
        begin = 0
        while begin < len(log_probs):
            end = begin + self._rows_per_read - self._num_rows % self._rows_per_read
            block = log_probs[begin:end]
            self.decoder.accept(block)
            self._meter.accept(block)
            self._num_rows += len(block)
            begin += len(block)
            if self._num_rows % self._rows_per_read == 0:
                self._read()

    def finish(self) -> None:
        """Ends the stream: all words are committed."""
        hypotheses = self.decoder.finish()
        readings = [self._open + _decoded(hypothesis) for hypothesis in hypotheses]
        self._beam = self._read_beam(hypotheses, readings)
        if self._nbest > 1:
            self._alternatives = tuple(
                self._alternative(tokens, hypothesis.score)
                for tokens, hypothesis in zip(readings[: self._nbest], hypotheses, strict=False)
            )
        self._commit(readings[0], self._tokens.words(readings[0]))
        self._open = []
        self._tail = ()

    def reset(self) -> None:
        """Goes back to the start of a stream."""
        self.decoder.reset()
        self._meter.reset()
        self._start()

    def _read(self) -> None:
        """Takes committed tokens out of the decoder and makes words of them and of those that may still change."""
        self._open += _decoded(self.decoder.take_committed())
        hypotheses = self.decoder.partial()
        num_complete = self._tokens.num_complete(self._open)
        tokens = self._open + _decoded(hypotheses[0])
        words = self._tokens.words(tokens)
        num_words = sum(word.end <= num_complete for word in words)
        # Words that are complete now have alternatives only in the beam as it was read before.
        num_words = sum(word.end <= num_complete for word in words)
        self._commit(tokens, words, num_words)
        if num_words:
            last = words[num_words - 1].end
            self._letters_end = tokens[last - 1].end_frame
            self._delimiters = tokens[last:num_complete]
        else:
            self._delimiters += tokens[:num_complete]
        self._open = self._open[num_complete:]
        readings = [self._open + _decoded(hypothesis) for hypothesis in hypotheses]
        self._beam = self._read_beam(hypotheses, readings)
        self._tail = tuple(word for word, _ in self._words(readings[0], self._tokens.words(readings[0])))

    def _read_beam(self, hypotheses: Sequence[Hypothesis], readings: Sequence[Sequence[DecodedToken]]) -> _Beam:
        """Shares of the probability and words of the hypotheses; of a single one nothing is to be known."""
        count = min(len(hypotheses), NUM_HYPOTHESES)
        if count < 2:
            return _Beam(self._num_rows, [])
        scale = 1.0 if self.calibration is None else self.calibration.score_scale
        weights = [math.exp(scale * (hypothesis.score - hypotheses[0].score)) for hypothesis in hypotheses[:count]]
        total = sum(weights)
        return _Beam(
            self._num_rows,
            [
                (weight / total, [_place(tokens, word) for word in self._tokens.words(tokens)])
                for weight, tokens in zip(weights, readings, strict=False)
            ],
        )

    def _commit(
        self, tokens: Sequence[DecodedToken], words: Sequence[SpelledWord], num_words: int | None = None
    ) -> None:
        for word, evidence in self._words(tokens, words, num_words):
            self._committed.append(word)
            if self.keep_evidence:
                self.evidence.append(evidence)

    def _alternative(self, tokens: Sequence[DecodedToken], score: float) -> Alternative:
        words = (*self._committed, *(word for word, _ in self._words(tokens, self._tokens.words(tokens))))
        return Alternative(" ".join(word.text for word in words), words, score)

    def _words(
        self, tokens: Sequence[DecodedToken], spelled: Sequence[SpelledWord], num_words: int | None = None
    ) -> list[tuple[Word, Evidence]]:
        """The first `num_words` words, or all; the words after them tell where their frames end."""
        words: list[tuple[Word, Evidence]] = []
        earliest = self._committed[-1].end if self._committed else 0.0
        timing = self._timing
        for place, word in enumerate(spelled[:num_words]):
            evidence = self._measure(tokens, spelled, place)
            start = tokens[word.begin].start_frame * timing.frame_s + timing.start_offset_s
            end = tokens[word.end - 1].end_frame * timing.frame_s + timing.end_offset_s
            start = max(start, earliest)
            confidence = probability(evidence, self.calibration)
            # Whole milliseconds: a frame lasts longer, and 0.36 reads better than 0.36000000000000004.
            start, end = round(start, 3), round(max(start, end), 3)
            words.append((Word(word.text, start, end, confidence, confidence >= self._min_confidence), evidence))
            earliest = end
        return words

    def _measure(self, tokens: Sequence[DecodedToken], spelled: Sequence[SpelledWord], place: int) -> Evidence:
        """The evidence for a word, from the frames that have been heard and the beam as it was read last."""
        word = spelled[place]
        at = _place(tokens, word)
        if place:
            before = tokens[spelled[place - 1].end : word.begin]
            begin = tokens[spelled[place - 1].end - 1].end_frame
        else:
            before = [*self._delimiters, *tokens[: word.begin]]
            begin = self._letters_end
        if place + 1 < len(spelled):
            after = tokens[word.end : spelled[place + 1].begin]
            end = tokens[spelled[place + 1].begin].start_frame
        else:
            after = tokens[word.end :]
            end = self._num_rows
        # A delimiter beyond the word's frames, or across their border, bounds them.
        begin = max(begin, at.start_frame - self._context_frames)
        end = min(end, at.end_frame + self._context_frames)
        begin = max([begin, *(token.end_frame for token in before if token.start_frame < begin)])
        end = min([end, *(token.start_frame for token in after if token.end_frame > end)])
        letters = tokens[word.begin : word.end]
        token_ids = [token.token_id for token in before if token.start_frame >= begin]
        token_ids += [token.token_id for token in letters]
        token_ids += [token.token_id for token in after if token.end_frame <= end]
        log_posterior, doubt = self._meter.measure(token_ids, begin, end, at.start_frame, at.end_frame)
        posteriors = [token.posterior for token in letters]
        return Evidence(
            log_posterior=log_posterior,
            share=self._beam.share(at),
            weakest=min(posteriors),
            posterior_product=math.prod(posteriors),
            doubt=doubt,
            num_letters=len(word.text),
            duration_s=(at.end_frame - at.start_frame) * self._timing.frame_s,
        )


def _place(tokens: Sequence[DecodedToken], word: SpelledWord) -> _Place:
    return _Place(word.text, tokens[word.begin].start_frame, tokens[word.end - 1].end_frame)


def _decoded(hypothesis: Hypothesis) -> list[DecodedToken]:
    return [
        DecodedToken(*token)
        for token in zip(
            hypothesis.token_ids,
            hypothesis.token_start_frames,
            hypothesis.token_end_frames,
            hypothesis.token_posteriors,
            strict=True,
        )
    ]
