"""N-gram language models: opened, estimated from text, mixed, made smaller, and asked.

The models are in the C++ core (`csrc/core/ngram_lm.h`). A file in this package's binary format is mapped into memory;
ARPA files, plain or compressed with gzip or xz, are read. Scores are natural logarithms.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from edgeasr import _core
from edgeasr.config import LmBuildConfig
from edgeasr.errors import ConfigError, InputError, LanguageModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeasr.tokens import TokenTable

__all__ = ["LanguageModel", "LmBuildReport", "LmInfo", "Perplexity", "WordScore", "fit_weights", "read_lines"]

STDIN = "-"
FLOAT_BITS = 32
DEFAULT_BITS = 8
MEGABYTE = 1_000_000

_GZIP = b"\x1f\x8b"
_XZ = b"\xfd7zXZ\x00"
_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class WordScore:
    """A word's part in the score of a sentence.

    Attributes:
        word: The word; ``</s>`` for the end of the sentence.
        log_prob: Natural logarithm of its probability after the words before.
        known: Whether the model has the word; one that it does not have is scored as ``<unk>``.
    """

    word: str
    log_prob: float
    known: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Perplexity:
    """How well a model predicts a text.

    Attributes:
        num_sentences: Lines with words in them.
        num_words: Words, without ends of sentences.
        num_unknown: Words that the model does not have.
        perplexity: e to the mean negative log-prob of words and ends of sentences, unknown words as ``<unk>``.
        perplexity_known: The same without the unknown words.
    """

    num_sentences: int
    num_words: int
    num_unknown: int
    perplexity: float
    perplexity_known: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LmInfo:
    """What a model is.

    Attributes:
        order: Words of the longest n-grams.
        vocab_size: Words, ``<unk>``, ``<s>`` and ``</s>`` included.
        num_ngrams: N-grams of each order from 1.
        bits: Of a score: 32 (float32) or the bits of its code.
        num_bytes: Size in this package's format.
    """

    order: int
    vocab_size: int
    num_ngrams: tuple[int, ...]
    bits: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LmBuildReport:
    """What was found in the text that a model was estimated from.

    Attributes:
        num_words: Words, without ends of sentences.
        num_sentences: Lines with words in them.
        num_unknown: Words outside of the model's vocabulary.
        num_types: Different words.
        num_distinct: Different n-grams of each order from 1.
        discounts: Of each order, what is taken from n-grams that were counted once, twice and more often.
        usual_discounts: Of each order, whether there was too little text to tell and the discounts are 0.5, 1 and 1.5.
    """

    num_words: int
    num_sentences: int
    num_unknown: int
    num_types: int
    num_distinct: tuple[int, ...]
    discounts: tuple[tuple[float, float, float], ...]
    usual_discounts: tuple[bool, ...]


class LanguageModel:
    """An n-gram language model. Immutable; may be shared between threads.

    Example:
        >>> model = LanguageModel.build(lines=["turn on the light", "turn off the radio"])
        >>> model.order, "radio" in model, "stove" in model
        (3, True, False)
        >>> model.score("turn on the radio") > model.score("the on radio turn")
        True
    """

    def __init__(self, core: _core.NgramLm, *, report: LmBuildReport | None = None) -> None:
        """Wraps a model of the C++ core; use `open`, `build` or `mix`.

        Args:
            core: The model.
            report: What was found in the text, if it was estimated just now.
        """
        self.core = core
        self.report = report

    @classmethod
    def open(cls, path: str | Path) -> LanguageModel:
        """Opens a model: this package's format, or ARPA, which may be compressed with gzip or xz.

        Args:
            path: The file. Its content decides what it is, not its name.

        Raises:
            LanguageModelError: It is missing, damaged, foreign, or of a newer version; the message names the file, and
                of an ARPA file the line.
        """
        path = Path(path)
        with _reported(path), path.open("rb") as file:
            start = file.read(len(_XZ))
        if not start.startswith((_GZIP, _XZ)):
            return cls(_core.NgramLm.open(str(path)))
        reader = _core.ArpaReader(str(path))
        with _reported(path):
            for piece in _pieces(path):
                reader.accept(piece)
        return cls(reader.finish(str(path)))

    @classmethod
    def build(
        cls,
        files: Iterable[str | Path] = (),
        *,
        lines: Iterable[str] = (),
        config: LmBuildConfig | None = None,
        vocabulary: Sequence[str] | None = None,
        tokens: TokenTable | None = None,
    ) -> LanguageModel:
        """Estimates a model from text: interpolated modified Kneser-Ney smoothing.

        The algorithm is that of Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for Language
        Modeling"; the results are those of KenLM's lmplz. The model in memory has scores in float32.

        Args:
            files: Text files in UTF-8, plain or compressed with gzip or xz, a sentence a line, words with white space
                between; `-` for standard input. Letters are taken as they are: give the text in the spelling that is to
                be recognised.
            lines: Sentences.
            config: The options; the defaults if not given.
            vocabulary: The words of the model, whether the text has them or not; others are ``<unk>``.
            tokens: Makes a model over these tokens instead of words: each sentence, with the table's word delimiter for
                spaces, is cut into tokens, from left to right the longest one that fits.

        Raises:
            InputError: There is no text, it is not UTF-8, or it holds ``<s>`` or ``</s>``; the message names file and
                line.
            LanguageModelError: A file cannot be read.
        """
        config = LmBuildConfig() if config is None else config
        if tokens is not None and vocabulary is not None:
            raise ConfigError("vocabulary and tokens were both given; a model is over words or over tokens")
        if tokens is not None:
            names = [name for token_id, name in enumerate(tokens.names) if token_id != tokens.blank_id]
            builder = _core.LmBuilder(config, tokens=names, delimiter=tokens.word_delimiter)
        else:
            builder = _core.LmBuilder(config, vocabulary=None if vocabulary is None else list(vocabulary))
        builder.next_file("lines")
        for line in lines:
            builder.accept(line.encode() + b"\n")
        for name in files:
            shown = "standard input" if name == STDIN else str(name)
            builder.next_file(shown)
            with _reported(shown):
                for piece in _pieces(name):
                    builder.accept(piece)
        core = builder.finish()
        return cls(core, report=_read_report(builder.report()))

    @classmethod
    def mix(cls, models: Sequence[LanguageModel], weights: Sequence[float], *, threads: int = 1) -> LanguageModel:
        """One model with the n-grams of several, their probabilities interpolated linearly.

        Args:
            models: The models.
            weights: Of each, above 0; divided by their sum. `fit_weights` finds those that suit a text.
            threads: Threads for the work.

        Raises:
            ConfigError: Not a weight for each model, or one that is not above 0.
        """
        return cls(_core.NgramLm.mix([model.core for model in models], list(weights), threads))

    @property
    def order(self) -> int:
        """Words of the longest n-grams."""
        return self.core.order

    @property
    def vocab_size(self) -> int:
        """Words, ``<unk>``, ``<s>`` and ``</s>`` included."""
        return self.core.vocab_size

    @property
    def info(self) -> LmInfo:
        """What the model is."""
        return LmInfo(
            order=self.core.order,
            vocab_size=self.core.vocab_size,
            num_ngrams=tuple(self.core.num_ngrams),
            bits=self.core.bits,
            num_bytes=self.core.num_bytes,
        )

    def words(self) -> list[str]:
        """All words, in the order of their ids: ``<unk>`` first."""
        return self.core.words()

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and (self.core.find(word) != 0 or word == "<unk>")

    def score(self, sentence: str, *, begin: bool = True, end: bool = True) -> float:
        """Natural logarithm of a sentence's probability.

        Args:
            sentence: Words with white space between.
            begin: The first word begins a sentence.
            end: The last word ends a sentence.
        """
        return float(self.core.score_words(sentence, begin, end)[0].sum())

    def score_words(self, sentence: str, *, begin: bool = True, end: bool = True) -> list[WordScore]:
        """The parts of `score`, word by word; with `end` the last one is ``</s>``."""
        scores, known = self.core.score_words(sentence, begin, end)
        words = [*sentence.split(), *(["</s>"] if end else [])]
        return [
            WordScore(word=word, log_prob=float(score), known=is_known)
            for word, score, is_known in zip(words, scores, known, strict=True)
        ]

    def perplexity(self, lines: Iterable[str | bytes]) -> Perplexity:
        """How well the model predicts sentences, one an entry; those without words do not count.

        Raises:
            InputError: There is no sentence.
        """
        num_sentences = num_words = num_unknown = 0
        total = total_unknown = 0.0
        for line in lines:
            scores, known = self.core.score_words(line)
            if len(known) == 1:
                continue
            num_sentences += 1
            num_words += len(known) - 1
            total += float(scores.sum())
            if not all(known):
                unknown = [score for score, is_known in zip(scores, known, strict=True) if not is_known]
                num_unknown += len(unknown)
                total_unknown += float(sum(unknown))
        if num_sentences == 0:
            raise InputError("there is no text to measure the perplexity on")
        num_events = num_words + num_sentences
        return Perplexity(
            num_sentences=num_sentences,
            num_words=num_words,
            num_unknown=num_unknown,
            perplexity=math.exp(-total / num_events),
            perplexity_known=math.exp(-(total - total_unknown) / (num_events - num_unknown)),
        )

    def probabilities(self, context: Sequence[str] = (), *, begin: bool = False) -> NDArray[np.float64]:
        """Natural logarithms of the probabilities of all words after a context.

        Args:
            context: The words before.
            begin: The context begins a sentence.

        Returns:
            ``(vocab_size,)``, by word id.
        """
        return self.core.probabilities(list(context), begin)

    def pruned(self, threshold: float) -> LanguageModel:
        """The model without n-grams whose loss raises the perplexity by less than `threshold`, relatively.

        Stolcke 1998, "Entropy-based Pruning of Backoff Language Models".
        """
        return LanguageModel(self.core.pruned(threshold))

    def resized(self, max_mb: float, *, bits: int = DEFAULT_BITS) -> LanguageModel:
        """The model, pruned as far as it takes to have at most `max_mb` million bytes with scores of so many bits.

        Raises:
            InputError: The words alone take more.
        """
        return LanguageModel(self.core.pruned_to_size(int(max_mb * MEGABYTE), bits))

    def quantised(self, bits: int = DEFAULT_BITS) -> LanguageModel:
        """The model with scores of 2 to 8 bits (codebooks trained for each order), or in float32 (32)."""
        return LanguageModel(self.core.quantised(bits))

    def save(self, path: str | Path) -> None:
        """Writes the model: ARPA when the name ends in ``.arpa``, ``.arpa.gz`` or ``.arpa.xz``, else the binary format.

        The file is there as a whole or not at all: processes that have the old one mapped go on with it.

        Raises:
            LanguageModelError: It cannot be written.
        """
        path = Path(path)
        part = path.with_name(f".{path.name}.part")
        with _reported(path):
            try:
                with part.open("wb") as file:
                    if ".arpa" in path.suffixes[-2:]:
                        with _compressed(file, path.suffix) as out:
                            self.core.write_arpa(out.write)
                    else:
                        file.write(self.core.image().data)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def verify(self) -> None:
        """Compares the checksum of the whole model, which opening it does not.

        Raises:
            LanguageModelError: The file is damaged.
        """
        self.core.verify()


def fit_weights(
    models: Sequence[LanguageModel], texts: Sequence[Iterable[str | bytes]]
) -> tuple[tuple[float, ...], float]:
    """The weights with which a mixture of models predicts held-out text best.

    Expectation and maximisation (Jelinek and Mercer 1980, "Interpolated Estimation of Markov Source Parameters from
    Sparse Data"). A word that a model does not have gets its probability from the others; one that none has does not
    count.

    Args:
        models: The models.
        texts: Sentences that no model was estimated from, in one or several texts that count the same, however long.

    Returns:
        The weights, and the mixture's perplexity on the texts without unknown words.

    Raises:
        InputError: There is no text with known words.
    """
    import numpy as np

    rows: list[NDArray[np.float64]] = []
    word_weights: list[NDArray[np.float64]] = []
    for text in texts:
        of_text = []
        for line in text:
            scored = [model.core.score_words(line) for model in models]
            if len(scored[0][1]) > 1:
                of_text.append(np.stack([np.where(known, np.exp(scores), 0.0) for scores, known in scored], axis=1))
        if of_text:
            joined = np.concatenate(of_text)
            joined = joined[joined.sum(axis=1) > 0.0]
            rows.append(joined)
            word_weights.append(np.full(len(joined), 1.0 / max(1, len(joined))))
    if not rows:
        raise InputError("there is no held-out text to fit the weights on")
    weights, perplexity = _core.fit_lm_weights(np.concatenate(rows), np.concatenate(word_weights))
    return tuple(weights), perplexity


def read_lines(name: str | Path) -> Iterator[bytes]:
    """The lines of a text file, plain or compressed with gzip or xz, without their ends; `-` for standard input.

    Raises:
        LanguageModelError: The file cannot be read.
    """
    rest = b""
    with _reported(name):
        for piece in _pieces(name):
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
    if rest:
        yield rest


@contextmanager
def _reported(name: str | Path) -> Iterator[None]:
    import lzma
    import zlib

    try:
        yield
    except LanguageModelError:
        raise
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        what = getattr(error, "strerror", None) or error
        raise LanguageModelError(f"{name}: {what}") from error


def _pieces(name: str | Path) -> Iterator[bytes]:
    """The decompressed content of a file; the next piece is read while the last one is used."""
    with _opened(name) as file, ThreadPoolExecutor(max_workers=1) as pool:
        piece = file.read(_PIECE)
        while piece:
            following = pool.submit(file.read, _PIECE)
            yield piece
            piece = following.result()


@contextmanager
def _opened(name: str | Path) -> Iterator[BinaryIO]:
    import gzip
    import lzma

    if name == STDIN:
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as file:
        start = file.read(len(_XZ))
        file.seek(0)
        if start.startswith(_GZIP):
            with gzip.open(file) as content:
                yield cast(BinaryIO, content)
        elif start.startswith(_XZ):
            with lzma.open(file) as content:
                yield cast(BinaryIO, content)
        else:
            yield file


@contextmanager
def _compressed(file: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    import gzip
    import lzma

    if suffix == ".gz":
        with gzip.open(file, "wb") as out:
            yield cast(BinaryIO, out)
    elif suffix == ".xz":
        with lzma.open(file, "wb") as out:
            yield cast(BinaryIO, out)
    else:
        yield file


def _read_report(values: dict[str, Any]) -> LmBuildReport:
    return LmBuildReport(
        num_words=values["num_words"],
        num_sentences=values["num_sentences"],
        num_unknown=values["num_unknown"],
        num_types=values["num_types"],
        num_distinct=tuple(values["num_distinct"]),
        discounts=tuple((first, second, more) for first, second, more in values["discounts"]),
        usual_discounts=tuple(values["usual_discounts"]),
    )
