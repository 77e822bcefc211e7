"""Words as users would list them as hotwords: rare ones that are said, and others as rare that nobody says."""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgeasr.errors import ConfigError
from edgeasr.lm import LanguageModel, read_lines
from edgeasr.tokens import TokenTable
from edgeasr.train.evaluation.evaluate import Normaliser
from edgeasr.train.manifest import read_manifest

# Shorter words are hidden in others too often to be anybody's hotwords.
LEAST_LETTERS = 5


def model_vocabulary(lm: LanguageModel, tokens: TokenTable) -> list[str]:
    """The words of a language model that the letters of the tokens spell, the frequent ones first."""
    words = lm.words()
    letters = set("".join(name for name in tokens.names if not name.startswith("<")))  # <blank> spells nothing
    order = lm.probabilities().argsort(kind="stable")[::-1]
    return [words[place] for place in order.tolist() if set(words[place]) <= letters]


def text_vocabulary(texts: Iterable[str]) -> list[str]:
    """The words of texts, the frequent ones first; for a bundle without a language model."""
    counts = Counter(word for text in texts for word in text.split())
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def texts_elsewhere(data: Path, normalise: Normaliser) -> list[str]:
    """What is said elsewhere, or may be: transcripts of the training sets of a data folder, and words of dictionaries.

    Dictionaries are files `text/*.dict*` of lines `WORD PRONUNCIATION`.
    """
    manifests = sorted((data / "speech").glob("*.train.jsonl"))
    texts = [normalise(u.text) for manifest in manifests for u in read_manifest(manifest) if u.text]
    dictionaries = sorted((data / "text").glob("*.dict*"))
    return texts + [normalise(line.split(b" ", 1)[0].decode()) for path in dictionaries for line in read_lines(path)]


def choose_hotwords(
    references: Iterable[str], elsewhere: Iterable[str], vocabulary: Sequence[str], count: int
) -> tuple[list[str], list[str]]:
    """Rare words to listen for: some that are said, and as many that nobody says.

    Up to half of each are not in the vocabulary, such as names; the others are the rarest that are.

    Args:
        references: What is said.
        elsewhere: What is said elsewhere: of this are the absent words that are not in the vocabulary.
        vocabulary: Known words, the frequent ones first: absent ones are as rare as the present ones.
        count: How many of each; fewer where there are not so many.

    Returns:
        The present words and the absent words, those that are not in the vocabulary first.

    Raises:
        ConfigError: None is said.
    """
    rank = {word: place for place, word in enumerate(vocabulary)}
    said, others = _long_words(references), _long_words(elsewhere)
    if not said:
        raise ConfigError(f"nothing is said that could be a hotword: no word of {LEAST_LETTERS} letters")
    known = sorted(said & rank.keys(), key=lambda word: -rank[word])
    # In an order that has nothing to do with their letters.
    new, new_absent = (
        sorted(words - rank.keys(), key=lambda word: zlib.crc32(word.encode())) for words in (said, others - said)
    )
    num_new = min(len(new), max((count + 1) // 2, count - len(known)))
    known = known[: count - num_new]
    present = [*new[:num_new], *known]
    absent = new_absent[:num_new]
    candidates = [word for word in vocabulary if len(word) >= LEAST_LETTERS and word not in said]
    wanted_ranks = [rank[word] for word in known] or [len(vocabulary) - 1]
    free = list(range(len(candidates)))
    for number in range(min(len(present) - len(absent), len(candidates))):
        # The unused candidate nearest to the rank of a present word.
        wanted = wanted_ranks[number % len(wanted_ranks)] * len(candidates) // len(vocabulary)
        place = bisect_left(free, wanted)
        nearest = min(range(max(0, place - 1), min(place + 1, len(free))), key=lambda i: abs(free[i] - wanted))
        absent.append(candidates[free.pop(nearest)])
    return present, absent


def _long_words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in text.split() if len(word) >= LEAST_LETTERS}
