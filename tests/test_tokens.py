"""Token tables, and tokens put together to words."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeasr.errors import BundleError
from edgeasr.tokens import SpelledWord, TokenTable

CHARACTERS = TokenTable(["<blank>", "|", "a", "b", "c"], blank_id=0, word_delimiter="|")
SUBWORDS = TokenTable(["▁", "▁a", "▁b", "a", "b", "<blank>"], blank_id=5, word_delimiter="▁")
SUFFIXES = TokenTable(["<blank>", "a</w>", "a", "b</w>", "b"], blank_id=0, word_delimiter="</w>")


def texts(words: list[SpelledWord]) -> list[str]:
    return [word.text for word in words]


@pytest.mark.parametrize(
    ("table", "token_ids", "expected"),
    [
        (CHARACTERS, (), []),
        (CHARACTERS, (1, 1), []),
        (CHARACTERS, (2, 3, 1, 4), ["ab", "c"]),
        (CHARACTERS, (1, 2, 1, 1, 3, 1), ["a", "b"]),
        (SUBWORDS, (1, 3, 2, 0, 4), ["aa", "b", "b"]),
        (SUBWORDS, (3, 1), ["a", "a"]),
        (SUFFIXES, (2, 1, 3, 4), ["aa", "b", "b"]),
    ],
)
def test_tokens_are_split_at_the_delimiter(table: TokenTable, token_ids: tuple[int, ...], expected: list[str]) -> None:
    assert texts(table.words(token_ids)) == expected


def test_words_know_their_tokens() -> None:
    assert CHARACTERS.words((1, 2, 3, 1, 1, 4)) == [SpelledWord("ab", 1, 3), SpelledWord("c", 5, 6)]
    assert SUBWORDS.words((0, 3, 2)) == [SpelledWord("a", 1, 2), SpelledWord("b", 2, 3)]


@given(st.sampled_from([CHARACTERS, SUBWORDS, SUFFIXES]), st.lists(st.integers(0, 4), max_size=30), st.data())
def test_words_are_the_same_however_tokens_arrive(table: TokenTable, token_ids: list[int], data: st.DataObject) -> None:
    words: list[str] = []
    waiting: list[int] = []
    arrived = 0
    while arrived < len(token_ids):
        count = data.draw(st.integers(1, len(token_ids) - arrived))
        waiting += token_ids[arrived : arrived + count]
        arrived += count
        complete = table.num_complete(waiting)
        words += texts(table.words(waiting[:complete]))
        waiting = waiting[complete:]
    words += texts(table.words(waiting))
    assert words == texts(table.words(token_ids))


@pytest.mark.parametrize(
    ("names", "blank_id", "delimiter", "message"),
    [
        (["<blank>", "|"], 2, "|", "blank_id is 2"),
        (["<blank>", "|"], 0, "", "delimiter is empty"),
        (["<blank>", "|", "a", "a"], 0, "|", "tokens 2 and 3 are both 'a'"),
        (["<blank>", "|", ""], 0, "|", "token 2 is ''"),
        (["<blank>", "|", "a "], 0, "|", "token 2 is 'a '"),
        (["<blank>", "a"], 0, "|", "no token begins or ends"),
        (["<blank>", "|", "a|b"], 0, "|", "inside"),
    ],
)
def test_bad_tables_are_refused(names: list[str], blank_id: int, delimiter: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        TokenTable(names, blank_id=blank_id, word_delimiter=delimiter)


def test_tables_survive_a_file(tmp_path: Path) -> None:
    names = ["<blank>", "|", "é", "a\u2028x", "ß"]
    path = tmp_path / "tokens.txt"
    TokenTable(names, blank_id=0, word_delimiter="|").write(path)
    assert TokenTable.read(path, blank_id=0, word_delimiter="|").names == tuple(names)


def test_unreadable_tables_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    with pytest.raises(BundleError, match=r"tokens\.txt"):
        TokenTable.read(path, blank_id=0, word_delimiter="|")
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BundleError, match=r"tokens\.txt"):
        TokenTable.read(path, blank_id=0, word_delimiter="|")
