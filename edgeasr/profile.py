"""What a user has taught on the device: words, phrases and sentences, as three small text files in a folder.

    words.txt      WORD, or WORD<TAB>SPELLING<TAB>SPELLING..., as a lexicon has them
    phrases.txt    PHRASE, or PHRASE<TAB>BOOST, as hotwords have them
    sentences.txt  a sentence a line

Files are replaced whole, by renaming, so that a reader never sees half of one, and an interrupted writer loses nothing.
A line that cannot be understood is left out, with a warning, and kept in the file when others are added.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeasr.errors import ConfigError, InputError
from edgeasr.files import write_whole

if TYPE_CHECKING:
    from edgeasr.decoder import DecodingContext

WORDS_FILE = "words.txt"
PHRASES_FILE = "phrases.txt"
SENTENCES_FILE = "sentences.txt"
FILES = (WORDS_FILE, PHRASES_FILE, SENTENCES_FILE)
# Names another folder than the usual one.
ENVIRONMENT = "EDGEASR_PROFILE"
# Share of the user's sentences beside the language model that is there. Sentences that were taught are expected to be
# said often, but a model of a few sentences is sure of much that is not so.
LM_SHARE = 0.2
# Words of language models that nobody says.
SENTENCE_MARKS = frozenset(("<unk>", "<s>", "</s>"))

T = TypeVar("T")

# Times of change and sizes of the files, as far as there are any.
Stamp = tuple[tuple[int, int] | None, ...]


def profile_dir() -> Path:
    """The folder of the user's profile: `EDGEASR_PROFILE`, or `edgeasr/profile` in the user's data folder (XDG)."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not base.is_absolute():  # the specification has relative paths ignored
        base = Path.home() / ".local" / "share"
    return base / "edgeasr" / "profile"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What has been taught. Immutable; `read_profile` reads it, the functions below change the files.

    Attributes:
        words: Words and the other spellings of each.
        phrases: Phrases and their own boosts, None for the decoder's.
        sentences: Sentences, each once.
        warnings: What could not be understood, and where; one line each.

    Example:
        >>> profile = Profile(words={"edgeasr": ()}, phrases={"lava lamp": None})
        >>> context = profile.context(None)
        >>> list(context.hotwords.phrases), len(context.lm)
        (['lava lamp'], 1)
    """

    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    phrases: Mapping[str, float | None] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything has been taught."""
        return bool(self.words or self.phrases or self.sentences)

    def context(self, base: DecodingContext | None) -> DecodingContext | None:
        """A decoding context that knows all that another one knows, and what has been taught.

        Phrases are hotwords. Sentences, and each word as a sentence of its own, are a second language model with a
        share of `LM_SHARE`. Words with other spellings make a lexicon of all known words.

        Args:
            base: What is known besides; None for nothing.
        """
        if not self:
            return base
        from edgeasr.decoder import DecodingContext, Hotwords, Lexicon
        from edgeasr.lm import LanguageModel

        base = DecodingContext() if base is None else base
        changes: dict[str, Any] = {}
        if self.phrases:
            known = {} if base.hotwords is None else base.hotwords.phrases
            changes["hotwords"] = Hotwords({**known, **self.phrases})
        if base.lm_of_tokens or not (self.words or self.sentences):
            return base.replace(**changes)
        own = LanguageModel.build(lines=[*self.sentences, *self.words])
        total = sum(weight for _, weight in base.lm)
        share = LM_SHARE if base.lm else 1.0
        changes["lm"] = [*((model, weight / total * (1 - share)) for model, weight in base.lm), (own, share)]
        if base.lexicon is not None or any(self.words.values()):
            entries: dict[str, tuple[str, ...]] = {}
            if base.lexicon is not None:
                entries |= base.lexicon.entries
            else:
                for model, _ in base.lm:
                    entries |= dict.fromkeys(model.words(), ())
            for word in own.words():
                entries[word] = (*entries.get(word, ()), *self.words.get(word, ()))
            for word in SENTENCE_MARKS:
                entries.pop(word, None)
            changes["lexicon"] = Lexicon(entries)
        return base.replace(**changes)


def read_profile(folder: str | Path | None = None) -> Profile:
    """Reads what has been taught; nothing, where there is no such folder.

    Args:
        folder: The profile's folder; None for `profile_dir()`.

    Raises:
        InputError: A file cannot be read or is not UTF-8.
    """
    folder = profile_dir() if folder is None else Path(folder)
    warnings: list[str] = []
    words = {word: spellings for word, *spellings in _entries(folder / WORDS_FILE, _parse_word, warnings)}
    phrases = dict(_entries(folder / PHRASES_FILE, _parse_phrase, warnings))
    sentences = dict.fromkeys(_entries(folder / SENTENCES_FILE, _parse_sentence, warnings))
    return Profile(
        words={word: tuple(spellings) for word, spellings in words.items()},
        phrases=phrases,
        sentences=tuple(sentences),
        warnings=tuple(warnings),
    )


class ProfileWatcher:
    """Tells when a profile has been changed, so that whoever listens takes it up. One look costs three `stat` calls.

    Example:
        >>> watcher = ProfileWatcher("/no/such/folder")
        >>> watcher.changed() is None, bool(watcher.profile)
        (True, False)
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        """Reads the profile.

        Raises:
            InputError: As `read_profile`.
        """
        self.folder = profile_dir() if folder is None else Path(folder)
        self._stamp = self._look()
        self.profile = read_profile(self.folder)

    def changed(self) -> Profile | None:
        """The profile, if it has been changed since the last call; else None.

        A profile that cannot be read leaves the one before as it is, with a warning that says why.
        """
        stamp = self._look()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            self.profile = read_profile(self.folder)
        except InputError as error:
            self.profile = replace(self.profile, warnings=(f"{error}; what was taught before goes on",))
        return self.profile

    def _look(self) -> Stamp:
        return tuple(_stamp(self.folder / name) for name in FILES)


def add_word(word: str, spellings: Sequence[str] = (), *, folder: str | Path | None = None) -> None:
    """Teaches a word: it is known from now on, and so are its spellings if the model spells it otherwise.

    Raises:
        ConfigError: The word or a spelling is not one word.
        InputError: The profile cannot be read.
        OSError: It cannot be written.
    """
    line = "\t".join((word, *spellings))
    _parse_word(line)
    _add(WORDS_FILE, {word: line}, _parse_word, folder)


def add_phrases(phrases: Mapping[str, float | None], *, folder: str | Path | None = None) -> None:
    """Teaches phrases to listen for, each with its boost; None for the decoder's.

    Raises:
        ConfigError: A phrase has no letters, or a boost is no finite number.
        InputError: The profile cannot be read.
        OSError: It cannot be written.
    """
    lines = {}
    for phrase, boost in phrases.items():
        line = phrase if boost is None else f"{phrase}\t{boost}"
        lines[_parse_phrase(line)[0]] = line
    _add(PHRASES_FILE, lines, _parse_phrase, folder)


def add_sentences(sentences: Iterable[str], *, folder: str | Path | None = None) -> None:
    """Teaches sentences as they will be said.

    Raises:
        ConfigError: A sentence has no words, or holds a mark of the language model.
        InputError: The profile cannot be read.
        OSError: It cannot be written.
    """
    _add(SENTENCES_FILE, {_parse_sentence(sentence): sentence for sentence in sentences}, _parse_sentence, folder)


def remove(texts: Iterable[str], *, folder: str | Path | None = None) -> list[str]:
    """Forgets words, phrases and sentences, wherever they stand.

    Returns:
        Those that were not there.

    Raises:
        InputError: The profile cannot be read.
        OSError: It cannot be written.
    """
    wanted = {_squeezed(text) for text in texts}
    found: set[str] = set()
    for name, parse in zip(FILES, PARSERS, strict=True):
        with _changing(name, folder) as lines:
            for line in [line for line in lines if _key(line, parse) in wanted]:
                found.add(_squeezed(_key(line, parse)))
                lines.remove(line)
    return sorted(wanted - found)


def _add(name: str, added: Mapping[str, str], parse: Callable[[str], object], folder: str | Path | None) -> None:
    """Puts lines at the end of a file, in place of those about the same."""
    with _changing(name, folder) as lines:
        lines[:] = [*(line for line in lines if _key(line, parse) not in added), *added.values()]


@contextmanager
def _changing(name: str, folder: str | Path | None) -> Iterator[list[str]]:
    """Gives the lines of a file to change; writes them if they were. Other writers wait."""
    import fcntl

    folder = profile_dir() if folder is None else Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = _lines(folder / name)
        lines = list(before)
        yield lines
        if lines != before:
            write_whole(folder / name, "".join(f"{line}\n" for line in lines))


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from error
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def _entries(path: Path, parse: Callable[[str], T], warnings: list[str]) -> Iterator[T]:
    for number, line in enumerate(_lines(path), 1):
        try:
            if line.strip():
                yield parse(line)
        except ConfigError as error:
            warnings.append(f"{path}:{number}: {error}; the line is left out")


def _key(line: str, parse: Callable[[str], object]) -> str:
    """What a line is about."""
    try:
        entry = parse(line)
    except ConfigError:
        return _squeezed(line)
    return str(entry[0] if isinstance(entry, tuple) else entry)


def _parse_word(line: str) -> tuple[str, ...]:
    parts = tuple(line.split("\t"))
    for part in parts:
        if not part or part != part.strip() or len(part.split()) != 1 or part in SENTENCE_MARKS:
            raise ConfigError(f"{part!r} is not one word")
    return parts


def _parse_phrase(line: str) -> tuple[str, float | None]:
    phrase, tab, value = line.partition("\t")
    if not phrase.split():
        raise ConfigError(f"the phrase {phrase!r} has no letters")
    try:
        boost = float(value) if tab else None
    except ValueError:
        boost = math.nan
    if boost is not None and not math.isfinite(boost):
        raise ConfigError(f"the boost of {phrase!r} is {value!r}, expected a number")
    return _squeezed(phrase), boost


def _parse_sentence(line: str) -> str:
    words = line.split()
    if not words or not SENTENCE_MARKS.isdisjoint(words):
        raise ConfigError(f"{line!r} is no sentence of words")
    return " ".join(words)


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


PARSERS: tuple[Callable[[str], object], ...] = (_parse_word, _parse_phrase, _parse_sentence)
