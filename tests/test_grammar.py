"""Grammars: against all sentences of small random grammars, what texts mean, and errors."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeasr import _core
from edgeasr.config import GrammarLimits
from edgeasr.errors import ConfigError, InputError
from edgeasr.grammar import Grammar, Parse

COFFEE = Path(__file__).parents[1] / "examples" / "coffee.grammar"

LIGHTS = """
intent set_light:
  domain = light
  (set|turn) [the] {room} light[s] to {level} percent
  {room} lights {level}

list room:
  living room
  (kitchen|cook room) -> kitchen

range level: 0 to 100 step 5
"""


# --- All sentences of a template, by its definition. A space stands where a word ends; spaces are put in order at the
# end. ---

Texts = frozenset[str]
Tree = tuple[str, Texts]  # a template, and all that it says

words = st.sampled_from(["a", "b", "ab"]).map(lambda word: (word, frozenset([word])))


def tidy(texts: Texts) -> Texts:
    return frozenset(" ".join(text.split()) for text in texts)


def joined(*parts: Texts) -> Texts:
    return frozenset("".join(choice) for choice in itertools.product(*parts))


def in_a_row(trees: list[Tree], separators: list[str]) -> Tree:
    text, says = trees[0]
    for separator, (more_text, more) in zip(separators, trees[1:], strict=False):
        text, says = text + separator + more_text, joined(says, frozenset([separator]), more)
    return text, says


def one_of(trees: list[Tree], optional: bool) -> Tree:
    says = frozenset().union(*(tree[1] for tree in trees))
    text = "|".join(tree[0] for tree in trees)
    return (f"[{text}]", says | {""}) if optional else (f"({text})", says)


def any_order(trees: list[Tree]) -> Tree:
    orders = itertools.permutations([tree[1] for tree in trees])
    says = frozenset().union(
        *(joined(*([frozenset([" "])] + [p for x in order for p in (x, frozenset([" "]))])) for order in orders)
    )
    return "(" + ";".join(tree[0] for tree in trees) + ")", says


def grow(trees: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    several = st.lists(trees, min_size=1, max_size=3)
    separators = st.lists(st.sampled_from(["", " "]), min_size=2, max_size=2)
    return st.one_of(
        st.builds(in_a_row, several, separators),
        st.builds(one_of, several, st.booleans()),
        st.builds(any_order, st.lists(trees, min_size=2, max_size=3)),
    ).filter(lambda tree: len(tree[1]) <= 80)


templates = st.recursive(words, grow, max_leaves=8)


@given(st.lists(templates, min_size=1, max_size=3), templates, st.integers(0, 2**32))
def test_a_grammar_accepts_what_its_templates_say(sentences: list[Tree], rule: Tree, seed: int) -> None:
    wanted = [(f"{text} <rule>", joined(says, frozenset([" "]), rule[1])) for text, says in sentences]
    wanted = [(text, tidy(says)) for text, says in wanted if "" not in tidy(says)]
    if not wanted:
        return
    body = "".join(f"  {text}\n" for text, _ in wanted)
    grammar = Grammar.from_text(f"intent one:\n{body}rule rule: {rule[0]}\n")
    expected = frozenset().union(*(says for _, says in wanted))
    chance = random.Random(seed)
    for text in expected:
        assert grammar.accepts(text)
        found = grammar.parse(text)
        assert found is not None
        # The first sentence that can be read so.
        assert found.line == 2 + next(number for number, (_, says) in enumerate(wanted) if text in says)
    for text in list(expected)[:20]:
        place = chance.randrange(len(text))
        for other in (
            text[:place] + text[place + 1 :],
            text[:place] + chance.choice("ab ") + text[place:],
            text + " a",
        ):
            tidied = " ".join(other.split())
            assert grammar.accepts(other) == (tidied in expected)
            assert (grammar.parse(other) is not None) == (tidied in expected)
    assert all(grammar.sample(chance) in expected for _ in range(10))
    assert grammar.num_readings >= len(expected)


def test_a_parse_has_intent_slots_and_their_words() -> None:
    grammar = Grammar.from_text(LIGHTS)
    found = grammar.parse("Set the cook room lights to forty-five percent.")
    assert isinstance(found, Parse)
    assert found.intent == "set_light"
    assert dict(found.slots) == {"room": "kitchen", "level": 45, "domain": "light"}
    assert isinstance(found.slots["level"], int)
    room, level, domain = found.spans
    assert (room.text, room.first_word, room.end_word) == ("cook room", 2, 4)
    assert (level.text, level.first_word, level.end_word) == ("forty five", 6, 8)
    assert (domain.text, domain.first_word, domain.end_word) == ("", 0, 0)
    assert found.line == 4
    assert grammar.parse("set the attic lights to ten percent") is None
    assert grammar.parse("") is None
    with pytest.raises(TypeError):
        found.slots["room"] = "attic"  # type: ignore[index]


def test_a_slot_that_is_said_twice_counts_the_first_time() -> None:
    grammar = Grammar.from_text("intent i: {n} and {n}\nrange n: 0 to 1 step 0.5\n")
    found = grammar.parse("half and one")
    assert found is not None
    assert dict(found.slots) == {"n": 0.5}
    assert [slot.value for slot in found.spans] == [0.5, 1]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_sampled_is_parsed_with_the_words_of_its_slots(seed: int) -> None:
    grammar = Grammar.from_file(COFFEE)
    rng = np.random.default_rng(seed)
    texts = [grammar.sample(rng) for _ in range(100)]
    for text in texts:
        found = grammar.parse(text)
        assert found is not None and grammar.accepts(text)
        for slot in found.spans:
            assert " ".join(text.split()[slot.first_word : slot.end_word]) == slot.text == slot.value
    rng = np.random.default_rng(seed)
    assert texts == [grammar.sample(rng) for _ in range(100)]
    assert len(set(texts)) > 60


def test_the_coffee_grammar_knows_what_an_order_may_say() -> None:
    grammar = Grammar.from_file(COFFEE)
    assert grammar.intents == ("orderDrink",)
    found = grammar.parse(
        "may i have a triple shot twenty ounce light roast drip coffee with lots of brown sugar and cream"
    )
    assert found is not None
    assert dict(found.slots) == {
        "numberOfShots": "triple shot",
        "size": "twenty ounce",
        "roast": "light roast",
        "coffeeDrink": "drip coffee",
        "sugarAmount": "lots of brown sugar",
        "milkAmount": "cream",
    }
    for text in ("a latte", "brew a small small latte", "get me a latte with", "brew a latte with milk and cream"):
        assert not grammar.accepts(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "my.grammar: the grammar is empty"),
        ("intent i: <a>\nrule a: x <b>\nrule b: [<a>]\n", "my.grammar:3:10: a loop: <a> -> <b> -> <a>"),
        ("intent i: go <home>\n", 'my.grammar:1:14: there is no rule "home"'),
        ("intent i:\n  go {home}\n", 'my.grammar:2:6: there is no list or range "home"'),
        ("intent i: go (home\n", "my.grammar:1:14: '(' is not closed by ')'"),
        ("intent i: {n}\nrange n: 9 to 1\n", "my.grammar:2:10: the range is upside down: it goes from 9 to 1"),
        ("intent i: [a]\n", "my.grammar:1:11: the sentence can be empty"),
        ("intent i: a\n\udcff\n", "my.grammar:2:1: the text is not UTF-8"),
        ("intent i: a\n\ud800\n", "my.grammar:2:1: the text is not UTF-8"),
    ],
)
def test_errors_name_file_line_and_column(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Grammar.from_text(text, name="my.grammar")
    assert str(error.value).startswith(message)


def test_a_file_is_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "my.grammar"
    path.write_bytes(b"intent i:\n  caf\xe9\n")
    with pytest.raises(ConfigError, match=r"my\.grammar:2:6: the text is not UTF-8"):
        Grammar.from_file(path)
    path.write_bytes(b"intent i:\n  caf\xc3\xa9\n")
    assert Grammar.from_file(path).accepts("CAFÉ")
    with pytest.raises(FileNotFoundError):
        Grammar.from_file(tmp_path / "none.grammar")


def test_words_that_the_tokens_cannot_spell_are_an_error() -> None:
    grammar = Grammar.from_text("intent i:\n  go to room 7\n", name="my.grammar")
    letters = [*"abcdefghijklmnopqrstuvwxyz'", "|"]
    with pytest.raises(ConfigError, match=r'my\.grammar:2:14: the tokens cannot spell "7"'):
        grammar.check_spelling(letters, "|")
    grammar.check_spelling([*letters, "7"], "|")
    pieces = ["▁go", "▁to", "▁ro", "om", "▁7"]
    grammar.check_spelling(pieces)
    with pytest.raises(ConfigError, match=r'2:9: the tokens cannot spell "room"'):
        grammar.check_spelling([piece for piece in pieces if piece != "om"])


def test_letters_are_written_as_the_tokens_write_them() -> None:
    text = "intent i: Play Über {n}\nrange n: 1 to 1\n"
    assert Grammar.from_text(text).sample(random.Random(0)) == "play über one"
    upper = Grammar.from_text(text, letters="upper")
    assert upper.sample(random.Random(0)) == "PLAY ÜBER ONE"
    assert upper.parse("play über one") is not None
    with pytest.raises(ConfigError, match='letters is "title", expected lower, upper or keep'):
        Grammar.from_text(text, letters="title")


def test_texts_that_are_none_are_refused() -> None:
    grammar = Grammar.from_text("intent i: a\n")
    with pytest.raises(InputError, match="5000 bytes"):
        grammar.parse("a" * 5000)
    assert not grammar.accepts("a" * 5000)
    for call in (grammar.parse, grammar.accepts):
        with pytest.raises(InputError):
            call("\ud800")


def test_a_grammar_is_pickled_as_its_text() -> None:
    grammar = Grammar.from_text(LIGHTS, name="lights", limits=GrammarLimits(max_states=500))
    copy = pickle.loads(pickle.dumps(grammar))
    assert (copy.text, copy.name, copy.limits) == (grammar.text, grammar.name, grammar.limits)
    assert copy.parse("kitchen lights ten") == grammar.parse("kitchen lights ten")
    assert repr(copy) == "<Grammar lights: 1 intents, 2 sentences>"


def test_the_automaton_grows_up_to_its_limit_and_can_be_renewed() -> None:
    grammar = Grammar.from_text("intent i: abcdefgh\n", limits=GrammarLimits(max_states=5))
    assert grammar.num_states == 1
    assert not grammar.accepts("abc")
    assert grammar.num_states == 4
    with pytest.raises(ConfigError, match="more than max_states, 5"):
        grammar.accepts("abcdefgh")
    renewed = grammar.renewed()
    assert (renewed.num_states, grammar.num_states) == (1, 5)
    assert renewed.text == grammar.text


def test_threads_share_a_grammar() -> None:
    grammar = Grammar.from_text("intent i: {n} {n} [{n}]\nrange n: 0 to 200\n")
    texts = [grammar.sample(random.Random(seed)) for seed in range(200)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: (grammar.accepts(text), grammar.parse(text)), texts * 4))
    assert together == [(True, grammar.parse(text)) for text in texts] * 4


def test_thousands_of_values_compile_to_one_list() -> None:
    names = [f"{'abcdefghij'[i % 10]}{i}x" for i in range(5000)]
    body = "".join(f"  go to {{place}} and {{place:other}} {i}\n" for i in range(100))
    grammar = Grammar.from_text("intent i:\n" + body + "list place:\n" + "".join(f"  {name}\n" for name in names))
    assert grammar.num_nodes < 40_000
    found = grammar.parse(f"go to {names[17]} and {names[4999]} 99")
    assert found is not None and found.slots["other"] == names[4999]


def test_limits_are_those_of_the_core() -> None:
    assert dataclasses.asdict(GrammarLimits()) == _core.grammar_limits_defaults()
    with pytest.raises(ConfigError, match="max_nodes is 0"):
        GrammarLimits(max_nodes=0)
    with pytest.raises(ConfigError, match=r"max_text_bytes is 1\.5, expected an int"):
        GrammarLimits(max_text_bytes=1.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_text_bytes, 10"):
        Grammar.from_text("intent i: abc\n", limits=GrammarLimits(max_text_bytes=10))
