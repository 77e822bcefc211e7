"""Words as users would list them."""

from __future__ import annotations

import numpy as np
import pytest

from edgeasr.config import LmBuildConfig
from edgeasr.errors import ConfigError
from edgeasr.lm import LanguageModel
from edgeasr.tokens import TokenTable
from edgeasr.train.hotwords import choose_hotwords, model_vocabulary, text_vocabulary


def test_hotwords_are_rare_words_said_and_not_said() -> None:
    vocabulary = [f"frequent{i}" for i in range(50)] + [f"rarer{i}" for i in range(50)]
    present, absent = choose_hotwords(["frequent3 rarer7 the rarer9 unheard"], vocabulary, 3)
    assert present == ["unheard", "rarer9", "rarer7"]
    assert len(set(absent)) == 3 and not {"frequent3", "rarer7", "rarer9"} & set(absent)
    assert all(word.startswith("rarer") for word in absent[:2])


def test_there_are_as_many_of_both_and_fewer_where_there_are_not_so_many() -> None:
    vocabulary = [f"known{i}" for i in range(500)]
    references = [" ".join(vocabulary[100:400])]
    for count, num_present, num_absent in ((1, 1, 1), (150, 150, 150), (250, 250, 200), (1000, 300, 200)):
        present, absent = choose_hotwords(references, vocabulary, count)
        assert (len(present), len(absent)) == (num_present, num_absent)
        assert len({*present, *absent}) == num_present + num_absent
    with pytest.raises(ConfigError, match="nothing is said that could be a hotword"):
        choose_hotwords(["the cat"], vocabulary, 5)


def test_unknown_words_are_not_chosen_by_their_letters() -> None:
    unknown = [f"{letter}unknown" for letter in "abcdefghijklmnopqrstuvwxyz"]
    present, _ = choose_hotwords(unknown, [f"known{i}" for i in range(100)], 8)
    assert present != sorted(unknown)[:8] and set(present) < set(unknown)


def test_vocabularies_begin_with_frequent_words() -> None:
    assert text_vocabulary(["b a c", "b a", "b"]) == ["b", "a", "c"]
    model = LanguageModel.build(lines=["the cat sat", "the cat", "the naïve unk"], config=LmBuildConfig(order=1))
    table = TokenTable(["<blank>", "|", *"abcdefghijklmnopqrstuvwxyz"], blank_id=0, word_delimiter="|")
    words = model_vocabulary(model, table)
    assert words[:2] == ["the", "cat"] and set(words) == {"the", "cat", "sat", "unk"}
    assert np.all(np.diff([model.probabilities()[model.words().index(word)] for word in words]) <= 0)
