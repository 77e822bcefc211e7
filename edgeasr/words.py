"""From rows of log-probs to words with times and confidences: the decoder, and what is made of its tokens.

The decoder is read whenever another chunk of rows is complete, counted from the start of the stream. What is read then,
and so every word with its confidence, does not depend on how the rows arrived.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edgeasr import _core
from edgeasr.confidence import Calibration, Evidence, probability
from edgeasr.tokens import SpelledWord, TokenTable, WordTiming
from edgeasr.types import Alternative, Word

if TYPE_CHECKING:
    from edgeasr.decoder import Hypothesis, Lexicon

FloatArray = npt.NDArray[np.float32]

# Hypotheses that shares of the beam are counted over, and the least that one must have of what the best one has: what
# is left out holds few per cent of the probability, and each costs time at every chunk.
NUM_HYPOTHESES = 8
LEAST_WEIGHT = 0.003
# Frames beside a word that count as its own: up to the next word, but not further than this. It is beyond what a
# convolution or a boundary needs, and a word is not to answer for the noise of a long pause.
CONTEXT_S = 0.64
# Frames that are remembered. What a decoder commits within 2 s fits with a word of 8 s.
REMEMBERED_S = 10.0
# `rows_per_read` of a decoder that is read at its end alone: one that commits nothing before, of short utterances.
AT_THE_END = 1 << 62
REMEMBERED_TO_THE_END_S = 60.0


class Decoder(Protocol):
    """From rows of log-probs to hypotheses, the best one first."""

    def accept(self, log_probs: FloatArray, /) -> None:
        """Takes the next rows."""

    def take_committed(self) -> Hypothesis:
        """Moves the tokens out that will not change any more."""

    def partial(self, *, bare: bool = False) -> list[Hypothesis]:
        """Returns what follows the tokens that were taken out, as it stands; `bare`: tokens and scores suffice."""

    def finish(self) -> list[Hypothesis]:
        """Ends the stream; returns what follows the tokens that were taken out."""

    def reset(self) -> None:
        """Goes back to the start of a stream."""


class _Tokens(NamedTuple):
    """Tokens of a hypothesis: ids, first frames, frames after their last ones, and posteriors."""

    ids: list[int]
    starts: list[int]
    ends: list[int]
    posteriors: list[float]

    def followed_by(self, hypothesis: Hypothesis) -> _Tokens:
        """These tokens and those of a hypothesis."""
        return _Tokens(
            [*self.ids, *hypothesis.token_ids],
            [*self.starts, *hypothesis.token_start_frames],
            [*self.ends, *hypothesis.token_end_frames],
            [*self.posteriors, *hypothesis.token_posteriors],
        )

    def part(self, begin: int, end: int | None = None) -> _Tokens:
        """The tokens `begin <= place < end`."""
        return _Tokens(self.ids[begin:end], self.starts[begin:end], self.ends[begin:end], self.posteriors[begin:end])

    def place(self, word: SpelledWord) -> _Place:
        """The frames of a word."""
        return _Place(word.text, self.starts[word.begin], self.ends[word.end - 1])


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
        >>> best = words.finish()
        >>> [(word.text, word.start, word.end, round(word.confidence, 2)) for word in words.committed]
        [('hi', 0.0, 0.04, 0.49)]
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
        lexicon: Lexicon | None = None,
        keep_evidence: bool = False,
    ) -> None:
        """Starts a stream.

        Args:
            decoder: The search; it is this machine's alone.
            tokens: What its tokens spell.
            timing: How token frames become word times.
            rows_per_read: The decoder is read after every so many rows; `AT_THE_END` for one that commits nothing.
            logits: The rows are not normalised.
            calibration: What makes probabilities of the evidence for a word; None if nothing was fitted.
            min_confidence: Words below this are not accepted.
            nbest: How many alternatives to keep at the end; 1 for none.
            lexicon: Tells how a word is written that is spelled so; None where that is the same.
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
        self._lexicon = lexicon
        self._context_frames = max(1, round(CONTEXT_S / timing.frame_s))
        remembered_s = REMEMBERED_TO_THE_END_S if rows_per_read == AT_THE_END else REMEMBERED_S
        remembered = max(1, round(remembered_s / timing.frame_s))
        self._meter = _core.CtcEvidenceMeter(len(tokens), tokens.blank_id, remembered, logits=logits)
        self._start()

    def _start(self, *, start_s: float = 0.0, first_row: int = 0, earliest: float = 0.0) -> None:
        self._start_s = start_s
        self._first_row = first_row
        self._earliest = earliest
        self._num_rows = 0
        # Complete words, then the tokens of the next word that will not change, then words that may.
        self._committed: list[Word] = []
        self._open = _Tokens([], [], [], [])
        self._tail: tuple[Word, ...] = ()
        # Between the last letter of the last complete word and the open tokens: word delimiters.
        self._delimiters = _Tokens([], [], [], [])
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
            end = begin + self._rows_per_read - (self._first_row + self._num_rows) % self._rows_per_read
            block = log_probs[begin:end]
            self.decoder.accept(block)
            self._meter.accept(block)
            self._num_rows += len(block)
            begin += len(block)
            if (self._first_row + self._num_rows) % self._rows_per_read == 0:
                self._read()

    def finish(self) -> Hypothesis:
        """Ends the stream: all words are committed. Returns the decoder's best hypothesis."""
        hypotheses = self.decoder.finish()
        self._beam = self._read_beam(hypotheses)
        if self._nbest > 1:
            self._alternatives = tuple(self._alternative(hypothesis) for hypothesis in hypotheses[: self._nbest])
        tokens = self._open.followed_by(hypotheses[0])
        self._commit(tokens, self._tokens.words(tokens.ids))
        self._open = _Tokens([], [], [], [])
        self._tail = ()
        return hypotheses[0]

    def reset(self) -> None:
        """Goes back to the start of a stream."""
        self.decoder.reset()
        self._meter.reset()
        self._start()

    @property
    def earliest(self) -> float:
        """Where in the stream the next word may begin, in seconds: where the one before has ended."""
        return self._committed[-1].end if self._committed else self._earliest

    def begin_utterance(self, *, start_s: float, first_row: int, earliest: float) -> None:
        """Starts anew with another utterance of the same stream.

        Args:
            start_s: Where in the stream the model began to hear, in seconds.
            first_row: How many rows it has given since then. The decoder is read at the ends of the model's chunks,
                wherever in a chunk the utterance begins.
            earliest: Where in the stream the first word may begin, in seconds.
        """
        self.decoder.reset()
        self._meter.reset()
        self._start(start_s=start_s, first_row=first_row, earliest=earliest)

    def seconds(self, row: int) -> float:
        """Where in the stream a row of the utterance begins."""
        return self._start_s + (self._first_row + row) * self._timing.frame_s

    def _read(self) -> None:
        """Takes committed tokens out of the decoder and makes words of them and of those that may still change."""
        self._open = self._open.followed_by(self.decoder.take_committed())
        hypotheses = self.decoder.partial(bare=True)
        num_complete = self._tokens.num_complete(self._open.ids)
        if num_complete:
            # Words that are complete now have alternatives only in the beam as it was read before.
            tokens = self._open.followed_by(hypotheses[0])
            words = self._tokens.words(tokens.ids)
            num_words = sum(word.end <= num_complete for word in words)
            self._commit(tokens, words, num_words)
            if num_words:
                last = words[num_words - 1].end
                self._letters_end = tokens.ends[last - 1]
                self._delimiters = tokens.part(last, num_complete)
            else:
                self._delimiters = _Tokens(*map(operator.add, self._delimiters, tokens.part(0, num_complete)))
            self._open = self._open.part(num_complete)
        self._beam = self._read_beam(hypotheses)
        tokens = self._open.followed_by(hypotheses[0])
        self._tail = tuple(word for word, _ in self._words(tokens, self._tokens.words(tokens.ids)))

    def _read_beam(self, hypotheses: Sequence[Hypothesis]) -> _Beam:
        """Shares of the probability and words of the hypotheses; of a single one nothing is to be known."""
        scale = 1.0 if self.calibration is None else self.calibration.score_scale
        weights = [math.exp(scale * (hypothesis.score - hypotheses[0].score)) for hypothesis in hypotheses]
        weights = [weight for weight in weights[:NUM_HYPOTHESES] if weight >= LEAST_WEIGHT]
        if len(weights) < 2:
            return _Beam(self._num_rows, [])
        total = sum(weights)
        beam = []
        for weight, hypothesis in zip(weights, hypotheses, strict=False):
            tokens = self._open.followed_by(hypothesis)
            beam.append((weight / total, [tokens.place(word) for word in self._tokens.words(tokens.ids)]))
        return _Beam(self._num_rows, beam)

    def _commit(self, tokens: _Tokens, words: Sequence[SpelledWord], num_words: int | None = None) -> None:
        for word, evidence in self._words(tokens, words, num_words):
            self._committed.append(word)
            if self.keep_evidence:
                self.evidence.append(evidence)

    def _alternative(self, hypothesis: Hypothesis) -> Alternative:
        tokens = self._open.followed_by(hypothesis)
        words = (*self._committed, *(word for word, _ in self._words(tokens, self._tokens.words(tokens.ids))))
        return Alternative(" ".join(word.text for word in words), words, hypothesis.score)

    def _words(
        self, tokens: _Tokens, spelled: Sequence[SpelledWord], num_words: int | None = None
    ) -> list[tuple[Word, Evidence]]:
        """The first `num_words` words, or all; the words after them tell where their frames end."""
        words: list[tuple[Word, Evidence]] = []
        earliest = self.earliest
        timing = self._timing
        for number, word in enumerate(spelled[:num_words]):
            evidence = self._measure(tokens, spelled, number)
            start_row, end_row = tokens.starts[word.begin], tokens.ends[word.end - 1]
            start = max(self.seconds(start_row) + timing.start_offset_s, earliest)
            end = max(self.seconds(end_row) + timing.end_offset_s, start)
            # Whole milliseconds: a frame lasts longer, and 0.36 reads better than 0.36000000000000004.
            start, end = round(start, 3), round(end, 3)
            confidence = probability(evidence, self.calibration)
            text = word.text if self._lexicon is None else self._lexicon.written(word.text) or word.text
            words.append((Word(text, start, end, confidence, confidence >= self._min_confidence), evidence))
            earliest = end
        return words

    def _measure(self, tokens: _Tokens, spelled: Sequence[SpelledWord], number: int) -> Evidence:
        """The evidence for a word, from the frames that have been heard and the beam as it was read last."""
        word = spelled[number]
        at = tokens.place(word)
        if number:
            earlier = spelled[number - 1].end
            before = tokens.part(earlier, word.begin)
            begin = tokens.ends[earlier - 1]
        else:
            before = _Tokens(*map(operator.add, self._delimiters, tokens.part(0, word.begin)))
            begin = self._letters_end
        if number + 1 < len(spelled):
            later = spelled[number + 1].begin
            after = tokens.part(word.end, later)
            end = tokens.starts[later]
        else:
            after = tokens.part(word.end)
            end = self._num_rows
        # A delimiter beyond the word's frames, or across their border, bounds them.
        begin = max(begin, at.start_frame - self._context_frames)
        end = min(end, at.end_frame + self._context_frames)
        while before.ids and before.starts[0] < begin:
            begin = max(begin, before.ends[0])
            before = before.part(1)
        while after.ids and after.ends[-1] > end:
            end = min(end, after.starts[-1])
            after = after.part(0, -1)
        token_ids = before.ids + tokens.ids[word.begin : word.end] + after.ids
        log_posterior, doubt = self._meter.measure(token_ids, begin, end, at.start_frame, at.end_frame)
        posteriors = tokens.posteriors[word.begin : word.end]
        return Evidence(
            log_posterior=log_posterior,
            share=self._beam.share(at),
            weakest=min(posteriors),
            posterior_product=math.prod(posteriors),
            doubt=doubt,
            num_letters=len(word.text),
            duration_s=(at.end_frame - at.start_frame) * self._timing.frame_s,
        )
