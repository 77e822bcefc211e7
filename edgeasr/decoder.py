"""CTC decoding: from log-probs to texts with scores, times and posteriors.

Works by itself on anybody's log-probs from NumPy; it needs no bundle, no ONNX and no audio. The search is in the C++
core (`csrc/core/ctc_beam.h`, `csrc/core/ctc_greedy.h`). What it may know besides the log-probs is a `DecodingContext`:
language models, a lexicon, hotwords, a grammar.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeasr import _core
from edgeasr.config import CtcBeamConfig
from edgeasr.errors import ConfigError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeasr.grammar import Grammar
    from edgeasr.lm import LanguageModel

__all__ = [
    "CtcBeamDecoder",
    "CtcGreedyDecoder",
    "DecodedWord",
    "DecodingContext",
    "HiddenSpelling",
    "Hotwords",
    "Hypothesis",
    "Lexicon",
    "ScoreParts",
]

_SHOWN = 10  # of a list in a message


@dataclass(frozen=True, slots=True)
class ScoreParts:
    """What a score is made of; natural logarithms.

    ``score == acoustic + lm_weight * lm + word_bonus * num_words + boost - oov``, to rounding.

    Attributes:
        acoustic: Of the log-probs: the summed probability of the text's alignments that the search kept.
        lm: Log-prob of the words in the language model, without its weight. In a partial result the unfinished word
            counts with its look-ahead; a final result has the end of the sentence, too.
        num_words: Words that the bonus is for.
        boost: Of hotwords.
        oov: What words cost that are not known.
    """

    acoustic: float = 0.0
    lm: float = 0.0
    num_words: int = 0
    boost: float = 0.0
    oov: float = 0.0


@dataclass(frozen=True, slots=True)
class DecodedWord:
    """A word of a hypothesis.

    Attributes:
        text: The word, as it was spelled.
        start_frame: First frame of its first token.
        end_frame: The frame after its last token's last one.
        token_ids: Its tokens.
        posterior: The product of its tokens' posteriors, in 0..1: not calibrated.
    """

    text: str
    start_frame: int
    end_frame: int
    token_ids: tuple[int, ...]
    posterior: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One text and its evidence. The tuples have one element for each token.

    Tokens and times come from the best single alignment of the text that the decoder has seen: token ``i`` is emitted
    on the frames ``token_start_frames[i] <= t < token_end_frames[i]``. Blank frames between two tokens belong to
    neither.

    Attributes:
        token_ids: The tokens.
        token_start_frames: First frame of each token, counted from the start of the stream.
        token_end_frames: The frame after each token's last one.
        token_posteriors: The largest probability, in 0..1, that the model gives the token on its frames. The definition
            is the same for greedy and beam search, for partial and final results, and for all of an n-best.
        score: Natural log, of the whole stream. Beam search: of the probability of the text, summed over all of its
            alignments that the search kept, and of its weight. Greedy: of the one alignment of each frame's best token.
        tokens: What the tokens are called; empty when the decoder knows only their number.
        text: Words joined by one space, as the lexicon writes them; empty when the decoder knows only the number of its
            tokens.
        parts: What the score is made of (beam search).
        complete: Whether the text may end here. A final result is incomplete only when no text of the beam is complete:
            what was said is then none of what the lexicon or the grammar allows.
        words: The words with their tokens and times; empty when the decoder knows only the number of its tokens.
    """

    token_ids: tuple[int, ...]
    token_start_frames: tuple[int, ...]
    token_end_frames: tuple[int, ...]
    token_posteriors: tuple[float, ...]
    score: float
    tokens: tuple[str, ...] = ()
    text: str = ""
    parts: ScoreParts = ScoreParts()
    complete: bool = True
    words: tuple[DecodedWord, ...] = ()


@dataclass(frozen=True, slots=True)
class HiddenSpelling:
    """A spelling of a lexicon that stands for an earlier word already.

    Attributes:
        line: Where it is, counted from 1: the line of the file, or the number of the word.
        word: The word that it was to stand for.
        spelling: How that is spelled.
        earlier: The word that is found.
        earlier_line: Where that one is.
    """

    line: int
    word: str
    spelling: str
    earlier: str
    earlier_line: int

    def __str__(self) -> str:
        earlier = f"which is {self.earlier!r} of line {self.earlier_line}"
        return f"line {self.line}: {self.word!r} as {self.spelling!r}, {earlier}"


class Lexicon:
    """The words that a search may find, with their spellings. Immutable; may be shared between threads.

    Any cut of a word into tokens is accepted: a lexicon knows letters, not tokens. A word is spelled as it is written;
    extra spellings are for words that the model spells otherwise, such as foreign names and abbreviations. A word may
    be there several times, with other spellings. Of several words with one spelling, only the first of the list is
    found: a search does not know which one is meant.

    Example:
        >>> lexicon = Lexicon({"nguyen": ["wen", "winn"], "calls": []})
        >>> len(lexicon), "nguyen" in lexicon, lexicon.written("wen")
        (2, True, 'nguyen')
    """

    def __init__(self, words: Iterable[str] | Mapping[str, Sequence[str]]) -> None:
        """Builds a lexicon.

        Args:
            words: The words, or the extra spellings of each word.

        Raises:
            InputError: A word or a spelling is empty or has a space, a tab or a line break inside.

        Warns:
            UserWarning: A spelling stands for an earlier word already.
        """
        if isinstance(words, str):
            raise ConfigError(f"words is the string {words!r}, expected words one by one")
        items: Iterable[tuple[str, Sequence[str]]] = (
            words.items() if isinstance(words, Mapping) else ((word, ()) for word in words)
        )
        lines = []
        for word, spellings in items:
            for part in (word, *spellings):
                if not part or "\t" in part or "\n" in part:
                    raise InputError(f"the word {word!r} has the spelling {part!r}, expected letters")
            lines.append("\t".join((word, *spellings)))
        self._build("\n".join(lines).encode(), "words")

    @classmethod
    def read(cls, path: str | Path) -> Lexicon:
        """Reads a lexicon: UTF-8, a line for each word, ``WORD`` or ``WORD<TAB>SPELLING<TAB>SPELLING...``.

        Raises:
            InputError: The file cannot be read or has a line that is no word; the message names file and line.

        Warns:
            UserWarning: A spelling stands for an earlier word already; the message names file and line.
        """
        lexicon = cls.__new__(cls)
        lexicon._build(_read_text(path).encode(), str(path))
        return lexicon

    def _build(self, text: bytes, name: str, *, silent: bool = False) -> None:
        self._text = text
        self._name = name
        self._core = _core.Lexicon(text, name)
        self._skipped: dict[tuple[tuple[str, ...], str, int], tuple[str, ...]] = {}
        hidden = [] if silent else self.hidden
        if hidden:
            more = f"; and {len(hidden) - _SHOWN} more" if len(hidden) > _SHOWN else ""
            warnings.warn(
                f"{len(hidden)} spellings stand for earlier words of {name}, which count: "
                f"{'; '.join(map(str, hidden[:_SHOWN]))}{more}",
                stacklevel=3,
            )

    def __len__(self) -> int:
        return len({line.split(b"\t")[0] for line in self._text.split(b"\n") if line.strip(b"\r")})

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and self._core.find(word) is not None

    @property
    def entries(self) -> dict[str, tuple[str, ...]]:
        """The words and the extra spellings of each."""
        entries: dict[str, tuple[str, ...]] = {}
        for line in self._text.decode().split("\n"):
            word, *spellings = line.removesuffix("\r").split("\t")
            if word:
                entries[word] = (*entries.get(word, ()), *spellings)
        return entries

    def __reduce__(self) -> tuple[Any, ...]:
        return (_load_lexicon, (self._text, self._name))

    def written(self, spelling: str) -> str | None:
        """The word that a spelling stands for; of several words the first one of the list."""
        return self._core.find(spelling)

    @property
    def hidden(self) -> list[HiddenSpelling]:
        """The spellings that stand for an earlier word already, and are of no use to theirs."""
        if self._core.num_hidden == 0:
            return []
        found: list[HiddenSpelling] = []
        first: dict[str, tuple[str, int]] = {}
        for line, entry in enumerate(self._text.decode().split("\n"), 1):
            word, *spellings = entry.removesuffix("\r").split("\t")
            for spelling in (word, *spellings):
                earlier, earlier_line = first.setdefault(spelling, (word, line))
                if earlier != word:
                    found.append(HiddenSpelling(line, word, spelling, earlier, earlier_line))
        return found

    def unspellable(self, tokens: Sequence[str], *, word_delimiter: str = "▁", blank_id: int = 0) -> tuple[str, ...]:
        """The words that no sequence of these tokens spells, sorted."""
        key = (tuple(tokens), word_delimiter, blank_id)
        if key not in self._skipped:
            self._skipped[key] = tuple(self._core.unspellable(list(tokens), word_delimiter, blank_id))
        return self._skipped[key]


class Hotwords:
    """Phrases to listen for. Immutable; may be shared between threads.

    Each occurrence of a phrase in a text, as whole words, adds its boost to the text's score (natural log). While a
    phrase is being said it has earned its share already; what is not said to its end is paid back. Words of phrases are
    let in by a lexicon that does not have them; a language model that does not have them scores them as ``<unk>``.

    Example:
        >>> hotwords = Hotwords({"kitchen light": None, "edgeasr": 12.0})
        >>> len(hotwords), hotwords.phrases["edgeasr"]
        (2, 12.0)
    """

    def __init__(self, phrases: Iterable[str] | Mapping[str, float | None]) -> None:
        """Builds the phrases.

        Args:
            phrases: The phrases, or the boost of each; None for the decoder's ``hotword_boost``. White space within a
                phrase counts as one space.

        Raises:
            ConfigError: A phrase has no letters, or its boost is no finite number.
        """
        if isinstance(phrases, str):
            raise ConfigError(f"phrases is the string {phrases!r}, expected phrases one by one")
        items: Iterable[tuple[str, float | None]] = (
            phrases.items() if isinstance(phrases, Mapping) else ((phrase, None) for phrase in phrases)
        )
        self._build([(phrase, boost, "") for phrase, boost in items])

    @classmethod
    def read(cls, path: str | Path) -> Hotwords:
        """Reads phrases: UTF-8, a line for each, ``PHRASE`` or ``PHRASE<TAB>BOOST``; empty lines do not count.

        Raises:
            InputError: The file cannot be read.
            ConfigError: A line is no phrase; the message names file and line.
        """
        items: list[tuple[str, float | None, str]] = []
        for number, line in enumerate(_read_text(path).split("\n"), 1):
            line = line.removesuffix("\r")
            if not line:
                continue
            phrase, tab, value = line.partition("\t")
            where = f"{path}:{number}: "
            try:
                boost = float(value) if tab else None
            except ValueError:
                raise ConfigError(f"{where}the boost is {value!r}, expected a number") from None
            items.append((phrase, boost, where))
        hotwords = cls.__new__(cls)
        hotwords._build(items)
        return hotwords

    def _build(self, items: Iterable[tuple[str, float | None, str]]) -> None:
        phrases: dict[str, float | None] = {}
        for phrase, boost, where in items:
            text = " ".join(phrase.split())
            if not text:
                raise ConfigError(f"{where}the hotword {phrase!r} has no letters")
            if boost is not None and not math.isfinite(boost):
                raise ConfigError(f"{where}the hotword {phrase!r} has the boost {boost}, expected a finite number")
            phrases[text] = boost
        self._phrases = phrases
        self._core = _core.Hotwords(
            [(phrase, math.nan if boost is None else float(boost)) for phrase, boost in phrases.items()]
        )

    @property
    def phrases(self) -> Mapping[str, float | None]:
        """The phrases and their own boosts."""
        return dict(self._phrases)

    def __len__(self) -> int:
        return len(self._phrases)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Hotwords, (self._phrases,))

    def unspellable(self, tokens: Sequence[str], *, word_delimiter: str = "▁", blank_id: int = 0) -> tuple[str, ...]:
        """The words of phrases that no sequence of these tokens spells, sorted."""
        return tuple(self._core.words.unspellable(list(tokens), word_delimiter, blank_id))


class DecodingContext:
    """What a decoder may know besides the log-probs. Immutable; may be shared between threads and streams.

    The words that are known are those of the lexicon or, without one, of the language model, and those of hotwords.
    Other words cost ``oov_cost`` and ``oov_char_cost`` (`edgeasr.config.CtcBeamConfig`), or are impossible.

    Example:
        >>> context = DecodingContext(hotwords=Hotwords(["kitchen light"]))
        >>> context.replace(hotwords=None).hotwords is None
        True
    """

    def __init__(
        self,
        *,
        lm: LanguageModel | Sequence[tuple[LanguageModel, float]] | None = None,
        lm_of_tokens: bool = False,
        lexicon: Lexicon | None = None,
        hotwords: Hotwords | None = None,
        grammar: Grammar | None = None,
    ) -> None:
        """Puts the parts together.

        Args:
            lm: A language model, or several with the weights of their linear interpolation.
            lm_of_tokens: The model's words are the decoder's tokens.
            lexicon: The words that are known; without one those of the language model, if it is over words.
            hotwords: Phrases to listen for.
            grammar: The texts that are possible.

        Raises:
            ConfigError: Weights that cannot work.
        """
        models = () if lm is None else tuple(lm) if isinstance(lm, Sequence) else ((lm, 1.0),)
        self.lm = models
        self.lm_of_tokens = lm_of_tokens
        self.lexicon = lexicon
        self.hotwords = hotwords
        self.grammar = grammar
        self._core = _core.DecodingContext(
            [(model.core, float(weight)) for model, weight in models],
            lm_of_tokens,
            None if lexicon is None else lexicon._core,
            None if hotwords is None else hotwords._core,
            None if grammar is None else grammar.core,
        )

    def replace(self, **changes: Any) -> DecodingContext:
        """The same context with other parts, named as for the constructor.

        Other hotwords or another grammar cost nothing but themselves.
        """
        parts: dict[str, Any] = {
            "lm": self.lm or None,
            "lm_of_tokens": self.lm_of_tokens,
            "lexicon": self.lexicon,
            "hotwords": self.hotwords,
            "grammar": self.grammar,
        }
        unknown = sorted(set(changes) - set(parts))
        if unknown:
            raise ConfigError(f"a decoding context has no {', '.join(unknown)}; it has {', '.join(parts)}")
        parts.update(changes)
        if not set(changes) <= {"hotwords", "grammar"}:
            return DecodingContext(**parts)
        context = DecodingContext.__new__(DecodingContext)
        context.lm = self.lm
        context.lm_of_tokens = self.lm_of_tokens
        context.lexicon = self.lexicon
        context.hotwords = parts["hotwords"]
        context.grammar = parts["grammar"]
        context._core = self._core.with_phrases(
            None if context.hotwords is None else context.hotwords._core,
            None if context.grammar is None else context.grammar.core,
        )
        return context

    @property
    def num_known_words(self) -> int | None:
        """Spellings of the lexicon, or words of the language model; None when any word will do."""
        return self._core.num_known_words

    def __reduce__(self) -> tuple[Any, ...]:
        return (_load_context, (self.lm or None, self.lm_of_tokens, self.lexicon, self.hotwords, self.grammar))

    def unspellable(self, tokens: Sequence[str], *, word_delimiter: str = "▁", blank_id: int = 0) -> tuple[str, ...]:
        """The words of lexicon and hotwords that no sequence of these tokens spells, and that cannot be found."""
        found: set[str] = set()
        for part in (self.lexicon, self.hotwords):
            if part is not None:
                found.update(part.unspellable(tokens, word_delimiter=word_delimiter, blank_id=blank_id))
        return tuple(sorted(found))


def _load_lexicon(text: bytes, name: str) -> Lexicon:
    lexicon = Lexicon.__new__(Lexicon)
    lexicon._build(text, name, silent=True)  # it was told when the lexicon was first built
    return lexicon


def _load_context(
    lm: Any, lm_of_tokens: bool, lexicon: Lexicon | None, hotwords: Hotwords | None, grammar: Grammar | None
) -> DecodingContext:
    return DecodingContext(lm=lm, lm_of_tokens=lm_of_tokens, lexicon=lexicon, hotwords=hotwords, grammar=grammar)


def _read_text(path: str | Path) -> str:
    try:
        return Path(path).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from error


class _Same:
    """Says that nothing was given."""


_SAME = _Same()


def _as_rows(log_probs: NDArray[np.float32]) -> NDArray[np.float32]:
    if not isinstance(log_probs, np.ndarray):
        raise InputError(f"log_probs is a {type(log_probs).__name__}, expected a NumPy array of float32")
    return np.ascontiguousarray(log_probs) if log_probs.ndim == 2 else log_probs


def _bare(found: _core.Hypothesis) -> Hypothesis:
    return Hypothesis(
        tuple(found.token_ids),
        tuple(found.token_start_frames),
        tuple(found.token_end_frames),
        tuple(found.token_posteriors),
        found.score,
    )


class _CtcDecoder:
    """What greedy and beam search have in common: the machine around the search."""

    _search: _core.CtcBeamDecoder | _core.CtcGreedyDecoder

    def __init__(self, tokens: Sequence[str] | int, word_delimiter: str) -> None:
        if isinstance(tokens, str):
            raise ConfigError(f"tokens is the string {tokens!r}, expected a sequence of tokens or their number")
        self._names = None if isinstance(tokens, int) else tuple(tokens)
        self._word_delimiter = word_delimiter
        # What each token spells between the spaces in it.
        self._pieces = [
            (name.replace(word_delimiter, " ") if word_delimiter else name).split(" ") for name in self._names or ()
        ]
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
        self._search.accept(_as_rows(log_probs))

    def partial(self, *, bare: bool = False) -> list[Hypothesis]:
        """The hypotheses so far, best first; changes nothing.

        Args:
            bare: Leave out names, words and the parts of scores, for a caller that makes words of the tokens itself:
                this is called for every chunk of a stream.

        Returns:
            At least one hypothesis; their texts differ. Ties are ordered by token ids.

        Raises:
            StreamStateError: While another thread is inside.
        """
        return [_bare(found) if bare else self._dress(found) for found in self._search.partial()]

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

    def joined(self, taken: Sequence[Hypothesis], rest: Hypothesis) -> Hypothesis:
        """A hypothesis as it would be if no tokens had been taken out before it.

        Args:
            taken: What `take_committed` has returned since the start of the stream.
            rest: A hypothesis of `partial` or `finish` after that.
        """
        parts = (*taken, rest)
        ids, starts, ends, posteriors = (
            tuple(itertools.chain.from_iterable(getattr(part, name) for part in parts))
            for name in ("token_ids", "token_start_frames", "token_end_frames", "token_posteriors")
        )
        words = () if self._names is None else self._words(ids, starts, ends, posteriors)
        return replace(
            rest,
            token_ids=ids,
            token_start_frames=starts,
            token_end_frames=ends,
            token_posteriors=posteriors,
            tokens=() if self._names is None else tuple(self._names[token_id] for token_id in ids),
            text=" ".join(self._written(word.text) for word in words),
            words=words,
        )

    def _written(self, word: str) -> str:
        """How a word is written that is spelled so."""
        return word

    def _dress(self, found: _core.Hypothesis) -> Hypothesis:
        token_ids = tuple(found.token_ids)
        starts = tuple(found.token_start_frames)
        ends = tuple(found.token_end_frames)
        posteriors = tuple(found.token_posteriors)
        if self._names is None:
            return Hypothesis(
                token_ids,
                starts,
                ends,
                posteriors,
                found.score,
                parts=ScoreParts(*found.parts),
                complete=found.complete,
            )
        names = tuple(self._names[token_id] for token_id in token_ids)
        words = self._words(token_ids, starts, ends, posteriors)
        return Hypothesis(
            token_ids=token_ids,
            token_start_frames=starts,
            token_end_frames=ends,
            token_posteriors=posteriors,
            score=found.score,
            tokens=names,
            text=found.text or " ".join(word.text for word in words),
            parts=ScoreParts(*found.parts),
            complete=found.complete,
            words=words,
        )

    def _words(
        self, ids: tuple[int, ...], starts: tuple[int, ...], ends: tuple[int, ...], posteriors: tuple[float, ...]
    ) -> tuple[DecodedWord, ...]:
        """The words that the tokens spell. A token with a space inside belongs to the word that it begins."""
        words: list[DecodedWord] = []
        places: list[int] = []
        letters = ""

        def close() -> None:
            nonlocal letters
            if letters:
                words.append(
                    DecodedWord(
                        letters,
                        starts[places[0]],
                        ends[places[-1]],
                        tuple(ids[place] for place in places),
                        math.prod(posteriors[place] for place in places),
                    )
                )
            letters = ""
            places.clear()

        for place, token_id in enumerate(ids):
            first, *more = self._pieces[token_id]
            if first:
                letters += first
                places.append(place)
            for piece in more:
                close()
                if piece:
                    letters = piece
                    places.append(place)
        close()
        return tuple(words)


class CtcBeamDecoder(_CtcDecoder):
    """CTC prefix beam search: the most probable texts, each summed over its alignments and its cuts into tokens.

    Incremental, in bounded memory, and exact: the results do not depend on how the frames were cut, bit for bit. The
    algorithm is that of Hannun et al. 2014, "First-Pass Large Vocabulary Continuous Speech Recognition using
    Bi-Directional Recurrent DNNs", algorithm 1; CTC is Graves et al. 2006, "Connectionist Temporal Classification".
    What is done differently, and why, stands in ``csrc/core/ctc_beam.h``. With a `DecodingContext` it searches for what
    language models, a lexicon, hotwords and a grammar make of the log-probs.

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
        context: DecodingContext | None = None,
        logits: bool = False,
        word_delimiter: str = "▁",
    ) -> None:
        """Starts a stream.

        Args:
            tokens: The vocabulary in the order of the columns of ``log_probs``, blank included, or only its size.
            config: The search; the defaults if not given.
            context: What is known besides the log-probs; it needs the names of the tokens.
            logits: The rows given to `accept` are not normalised; the decoder does it.
            word_delimiter: What stands for a space in `tokens`: SentencePiece's mark, or ``"|"``.

        Raises:
            ConfigError: A vocabulary of fewer than two tokens, a ``blank_id`` outside it, or a context without names of
                the tokens.

        Warns:
            UserWarning: Words of the lexicon or of hotwords that the tokens cannot spell, and that are never found.
        """
        super().__init__(tokens, word_delimiter)
        self.config = CtcBeamConfig() if config is None else config
        self._logits = logits
        self._search: _core.CtcBeamDecoder
        if self._names is None:
            self._search = _core.CtcBeamDecoder(self.config, self.vocab_size, logits=logits)
            if context is not None:
                self._search.reset_context(context._core)
        else:
            self._search = self._new_search(context)
        self.context = context
        self._warn()

    def _new_search(self, context: DecodingContext | None) -> _core.CtcBeamDecoder:
        core = None if context is None else context._core
        return _core.CtcBeamDecoder(
            self.config, list(self._names or ()), self._word_delimiter, core, logits=self._logits
        )

    def _written(self, word: str) -> str:
        lexicon = None if self.context is None else self.context.lexicon
        return word if lexicon is None else lexicon.written(word) or word

    @property
    def unspellable(self) -> tuple[str, ...]:
        """Words of the lexicon or of hotwords that the tokens cannot spell; they are never found."""
        if self.context is None or self._names is None:
            return ()
        return self.context.unspellable(self._names, word_delimiter=self._word_delimiter, blank_id=self.config.blank_id)

    def _warn(self) -> None:
        words = self.unspellable
        if words:
            more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
            warnings.warn(
                f"the tokens cannot spell {len(words)} of the words to be found, which are skipped: "
                f"{', '.join(words[:_SHOWN])}{more}",
                stacklevel=3,
            )

    def reset(self, *, context: DecodingContext | _Same | None = _SAME) -> None:
        """Forgets everything and starts another stream.

        Args:
            context: Other knowledge for it; the same as before if not given.

        Raises:
            ConfigError: A context, but the decoder knows only the number of its tokens.
            StreamStateError: While another thread is inside.

        Warns:
            UserWarning: See the constructor.
        """
        if isinstance(context, _Same) or context is self.context:
            self._search.reset()
            return
        self._search.reset_context(None if context is None else context._core)
        self.context = context
        self._warn()

    @property
    def largest_commit_delay_frames(self) -> int:
        """The most frames that have passed, in this stream, from the end of a token until it was committed."""
        return self._search.largest_commit_delay

    def decode_batch(
        self, log_probs: Iterable[NDArray[np.float32]], *, num_threads: int | None = None
    ) -> list[list[Hypothesis]]:
        """Decodes whole utterances, each as `decode` would, several at a time. This decoder's own stream is untouched.

        Args:
            log_probs: The utterances, each as for `accept`.
            num_threads: Threads at most; None: one for each processor.

        Returns:
            The hypotheses of each utterance, best first.

        Raises:
            InputError: See `accept`; the message names the utterance.
        """
        if num_threads is not None and num_threads < 1:
            raise ConfigError(f"num_threads is {num_threads}, expected at least 1")
        utterances = list(log_probs)
        local = threading.local()

        def work(item: tuple[int, NDArray[np.float32]]) -> list[_core.Hypothesis]:
            index, rows = item
            if not hasattr(local, "search"):
                if self._names is None:
                    local.search = _core.CtcBeamDecoder(self.config, self.vocab_size, logits=self._logits)
                else:
                    local.search = self._new_search(self.context)
            try:
                found: list[_core.Hypothesis] = local.search.decode(_as_rows(rows))
            except InputError as error:
                raise InputError(f"utterance {index}: {error}") from error
            return found

        num_threads = min(num_threads or os.cpu_count() or 1, max(1, len(utterances)))
        if num_threads == 1:
            results = [work(item) for item in enumerate(utterances)]
        else:
            with ThreadPoolExecutor(num_threads) as pool:
                results = list(pool.map(work, enumerate(utterances)))
        return [[self._dress(found) for found in hypotheses] for hypotheses in results]

    def __reduce__(self) -> tuple[Any, ...]:
        tokens = self.vocab_size if self._names is None else self._names
        return (_load_decoder, (tokens, self.config, self.context, self._logits, self._word_delimiter))


def _load_decoder(
    tokens: Sequence[str] | int,
    config: CtcBeamConfig,
    context: DecodingContext | None,
    logits: bool,
    word_delimiter: str,
) -> CtcBeamDecoder:
    return CtcBeamDecoder(tokens, config, context=context, logits=logits, word_delimiter=word_delimiter)


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
