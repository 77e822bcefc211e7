"""Words as users would list them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeasr.config import LmBuildConfig
from edgeasr.errors import ConfigError
from edgeasr.lm import LanguageModel
from edgeasr.tokens import TokenTable
from edgeasr.train.evaluation.evaluate import normaliser
from edgeasr.train.evaluation.hotwords import choose_hotwords, model_vocabulary, text_vocabulary, texts_elsewhere


def test_hotwords_are_rare_words_said_and_not_said() -> None:
    vocabulary = [f"frequent{i}" for i in range(50)] + [f"rarer{i}" for i in range(50)]
    said = ["frequent3 rarer7 the rarer9 unheard"]
    present, absent = choose_hotwords(said, ["unheard elsewhere rarer1"], vocabulary, 3)
    assert present == ["unheard", "rarer9", "rarer7"]
    # As new as these, and as rare.
    assert absent[0] == "elsewhere" and len(set(absent)) == 3 and not {"rarer7", "rarer9"} & set(absent)
    assert all(word.startswith("rarer") for word in absent[1:])


def test_at_most_half_are_new_where_known_words_are_said() -> None:
    vocabulary = [f"known{i}" for i in range(100)]
    new = [f"{letter}unknown" for letter in "abcdefghij"]
    for count, num_new in ((10, 5), (11, 6), (30, 10)):
        present, absent = choose_hotwords([*new, *vocabulary[:50]], (f"{word}s" for word in new), vocabulary, count)
        for words in (present, absent):
            assert len(words) == len(set(words)) == count
            assert len(set(words) - set(vocabulary)) == num_new
    # Nothing is said that is known, and nothing is said elsewhere.
    present, absent = choose_hotwords(new, [], vocabulary, 8)
    assert set(present) < set(new) and present != sorted(new)[:8]
    assert len(absent) == 8 and set(absent) < set(vocabulary)


def test_there_are_as_many_of_both_and_fewer_where_there_are_not_so_many() -> None:
    vocabulary = [f"known{i}" for i in range(500)]
    references = [" ".join(vocabulary[100:400])]
    for count, num_present, num_absent in ((1, 1, 1), (150, 150, 150), (250, 250, 200), (1000, 300, 200)):
        present, absent = choose_hotwords(references, [], vocabulary, count)
        assert (len(present), len(absent)) == (num_present, num_absent)
        assert len({*present, *absent}) == num_present + num_absent
    with pytest.raises(ConfigError, match="nothing is said that could be a hotword"):
        choose_hotwords(["the cat"], [], vocabulary, 5)


def test_vocabularies_begin_with_frequent_words() -> None:
    assert text_vocabulary(["b a c", "b a", "b"]) == ["b", "a", "c"]
    model = LanguageModel.build(lines=["the cat sat", "the cat", "the naïve unk"], config=LmBuildConfig(order=1))
    table = TokenTable(["<blank>", "|", *"abcdefghijklmnopqrstuvwxyz"], blank_id=0, word_delimiter="|")
    words = model_vocabulary(model, table)
    assert words[:2] == ["the", "cat"] and set(words) == {"the", "cat", "sat", "unk"}


def test_texts_elsewhere_are_those_of_training_and_words_of_dictionaries(tmp_path: Path) -> None:
    assert texts_elsewhere(tmp_path, normaliser("en")) == []
    (tmp_path / "speech").mkdir()
    for name, texts in (("a.train", ["It's so.", None]), ("b.train", ["No!"]), ("b.dev", ["not this"])):
        rows = [{"id": f"{i}", "audio": "x.flac", "duration_s": 1.0, "text": text} for i, text in enumerate(texts)]
        (tmp_path / "speech" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "some.dict").write_text("'bout B AW1 T\naachen AA1 K AH0 N\n")
    assert texts_elsewhere(tmp_path, normaliser("en")) == ["it's so", "no", "'bout", "aachen"]
