"""Words as users would list them as hotwords: rare ones that are said, and others as rare that nobody says."""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

from edgeasr.errors import ConfigError
from edgeasr.lm import LanguageModel
from edgeasr.tokens import TokenTable

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


def choose_hotwords(references: Iterable[str], vocabulary: Sequence[str], count: int) -> tuple[list[str], list[str]]:
    """Rare words to listen for: some that are said, and as many that nobody says.

    Args:
        references: What is said.
        vocabulary: Known words, the frequent ones first: the absent ones are as rare as the present ones.
        count: How many of each; fewer where there are not so many.

    Returns:
        The present words, those that are not known first and then from the rarest on, and the absent words.

    Raises:
        ConfigError: None is said.
    """
    rank = {word: place for place, word in enumerate(vocabulary)}
    said = {word for reference in references for word in reference.split() if len(word) >= LEAST_LETTERS}
    candidates = [word for word in vocabulary if len(word) >= LEAST_LETTERS and word not in said]
    if not said:
        raise ConfigError(f"nothing is said that could be a hotword: no word of {LEAST_LETTERS} letters")
    # Those of equal rank in an order that has nothing to do with their letters.
    present = sorted(said, key=lambda word: (-rank.get(word, len(rank)), zlib.crc32(word.encode())))[:count]
    known = [rank[word] for word in present if word in rank] or [len(vocabulary) - 1]
    free = list(range(len(candidates)))
    absent = []
    for number in range(min(len(present), len(candidates))):
        # The unused candidate nearest to the rank of a present word.
        wanted = known[number % len(known)] * len(candidates) // len(vocabulary)
        place = bisect_left(free, wanted)
        nearest = min(range(max(0, place - 1), min(place + 1, len(free))), key=lambda i: abs(free[i] - wanted))
        absent.append(candidates[free.pop(nearest)])
    return present, absent
