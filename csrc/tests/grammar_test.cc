// Grammars against a slow reference: all sentences of small random grammars, enumerated from their trees.
#include "core/grammar.h"

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/errors.h"
#include "core/number_words.h"
#include "tests/test.h"

namespace edgeasr {
namespace {

using GrammarPtr = std::shared_ptr<const Grammar>;
using Texts = std::set<std::string>;

GrammarPtr compile(const std::string& text) { return Grammar::compile(text, "test.grammar"); }

// --- The reference: texts with a mark where a word ends. ---

constexpr char kMark = '\x01';

std::string tidy(const std::string& marked) {
  std::string text;
  bool gap = false;
  for (const char c : marked) {
    if (c == kMark) {
      gap = true;
      continue;
    }
    if (gap && !text.empty()) text.push_back(' ');
    gap = false;
    text.push_back(c);
  }
  return text;
}

Texts product(const Texts& fronts, const Texts& backs) {
  Texts all;
  for (const std::string& front : fronts) {
    for (const std::string& back : backs) all.insert(front + back);
  }
  return all;
}

Texts united(Texts a, const Texts& b) {
  a.insert(b.begin(), b.end());
  return a;
}

// A random template and all that it says.
struct Template {
  std::string text;
  Texts says;
};

class Writer {
 public:
  explicit Writer(unsigned seed) : random_(seed) {
    for (int i = 0; i < 3; ++i) {
      rules_.push_back(choice(2));
      rule_text_ += "rule r" + std::to_string(i) + ": " + rules_.back().text + "\n";
    }
    for (int i = 0; i < 2; ++i) {
      Texts says;
      list_text_ += "list l" + std::to_string(i) + ":\n";
      const int count = 1 + pick(4);
      for (int k = 0; k < count; ++k) {
        Template value = sequence(1);
        if (value.says.count("") > 0 || tidy(*value.says.begin()).empty() || has_empty(value.says)) {
          value = {"b a", {std::string("b") + kMark + "a"}};
        }
        list_text_ += "  " + value.text + "\n";
        // Spaces at the ends of a value do not count, but those of a permutation do.
        const bool permutation = value.text.find(';') != std::string::npos;
        for (const std::string& marked : value.says) says.insert(permutation ? marked : trimmed(marked));
      }
      lists_.push_back(says);
    }
    if (pick(2) == 0) {
      skip_text_ = "skip: b | [a]ab\n";
      skip_ = {"b", "ab", "aab"};
    }
  }

  // A grammar of a few sentences; those that can be empty are left out.
  bool write(std::string& text, Texts& says) {
    text = rule_text_ + list_text_ + skip_text_ + "intent one:\n";
    says.clear();
    bool any = false;
    for (int i = 0; i < 3; ++i) {
      inside_sentence_ = true;
      const Template sentence = choice(3);
      if (has_empty(sentence.says)) continue;
      any = true;
      text += "  " + sentence.text + "\n";
      Texts all = sentence.says;
      if (!skip_.empty()) {
        const Texts before = united({""}, product(skip_, {std::string(1, kMark)}));
        const Texts after = united({""}, product({std::string(1, kMark)}, skip_));
        all = product(product(before, all), after);
      }
      for (const std::string& marked : all) says.insert(tidy(marked));
    }
    return any && says.size() < 1000;
  }

 private:
  static std::string trimmed(const std::string& marked) {
    const std::size_t begin = marked.find_first_not_of(kMark);
    return marked.substr(begin, marked.find_last_not_of(kMark) + 1 - begin);
  }

  static bool has_empty(const Texts& says) {
    return std::any_of(says.begin(), says.end(), [](const std::string& marked) { return tidy(marked).empty(); });
  }

  int pick(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  // Rules that are used in sentences let phrases be skipped between words.
  Texts gap() const {
    const std::string mark(1, kMark);
    if (skip_.empty() || !inside_sentence_) return {mark};
    return united({mark}, product(product({mark}, skip_), {mark}));
  }

  // What says too much for a test is replaced.
  static Template small(const Template& whole) { return whole.says.size() > 24 ? Template{"ab", {"ab"}} : whole; }

  Template item(int depth) { return small(any_item(depth)); }

  Template any_item(int depth) {
    switch (depth == 0 ? pick(2) : pick(9)) {
      case 0: return {"a", {"a"}};
      case 1: return {"b", {"b"}};
      case 2: {
        const Template inner = choice(depth - 1);
        return {"(" + inner.text + ")", inner.says};
      }
      case 3: {
        Template inner = choice(depth - 1);
        inner.says.insert("");
        return {"[" + inner.text + "]", inner.says};
      }
      case 4: {
        const Template x = sequence(depth - 1);
        const Template y = sequence(depth - 1);
        const Texts g = gap();
        const Texts xs = product(product(g, x.says), g);
        const Texts ys = product(product(g, y.says), g);
        // One gap stands between the parts, not two.
        const Texts xy = product(product(product(product(g, x.says), g), y.says), g);
        const Texts yx = product(product(product(product(g, y.says), g), x.says), g);
        return {"(" + x.text + ";" + y.text + ")", united(xy, yx)};
      }
      case 5: {
        if (!inside_sentence_ || rules_.empty() || !skip_.empty()) return {"ab", {"ab"}};
        const auto i = static_cast<std::size_t>(pick(static_cast<int>(rules_.size())));
        return {"<r" + std::to_string(i) + ">", rules_[i].says};
      }
      case 6: {
        if (!inside_sentence_) return {"ba", {"ba"}};
        const auto i = static_cast<std::size_t>(pick(static_cast<int>(lists_.size())));
        return {"{l" + std::to_string(i) + ":s}", lists_[i]};
      }
      case 7: return {"a b", product(product({"a"}, gap()), {"b"})};
      default: return {"b", {"b"}};
    }
  }

  Template sequence(int depth) {
    Template all = item(depth);
    for (int more = pick(3); more > 0; --more) {
      const Template next = item(depth);
      if (pick(2) == 0) {
        all.text += " " + next.text;
        all.says = product(product(all.says, gap()), next.says);
      } else {
        all.text += next.text;
        all.says = product(all.says, next.says);
      }
      all = small(all);
    }
    return all;
  }

  Template choice(int depth) {
    Template all = sequence(depth);
    for (int more = pick(3); more > 0; --more) {
      const Template next = sequence(depth);
      all.text += "|" + next.text;
      all.says.insert(next.says.begin(), next.says.end());
      all = small(all);
    }
    return all;
  }

  std::mt19937 random_;
  bool inside_sentence_ = false;
  std::vector<Template> rules_;
  std::vector<Texts> lists_;
  Texts skip_;
  std::string rule_text_;
  std::string list_text_;
  std::string skip_text_;
};

// All texts that the automaton accepts; and that it never leads into a dead end.
void collect(const Grammar& grammar, TextAcceptor::State state, const std::string& text, Texts& all, bool& dead_end) {
  if (text.size() > 400) {
    dead_end = true;
    return;
  }
  bool any = grammar.is_final(state);
  if (any) all.insert(text);
  for (const char byte : {'a', 'b', ' ', 'c'}) {
    const TextAcceptor::State next = grammar.advance(state, byte);
    if (next == TextAcceptor::kNone) continue;
    any = true;
    collect(grammar, next, text + byte, all, dead_end);
  }
  dead_end = dead_end || !any;
}

}  // namespace

TEST(the_automaton_accepts_what_the_templates_say) {
  int compared = 0;
  for (unsigned seed = 0; seed < 400; ++seed) {
    Writer writer(seed);
    std::string text;
    Texts expected;
    if (!writer.write(text, expected)) continue;
    ++compared;
    const GrammarPtr grammar = compile(text);
    Texts found;
    bool dead_end = false;
    collect(*grammar, grammar->start(), "", found, dead_end);
    CHECK(!dead_end);
    if (!CHECK(found == expected)) std::fprintf(stderr, "seed %u:\n%s", seed, text.c_str());
    CHECK(grammar->num_readings() >= static_cast<double>(expected.size()));
    GrammarParse parse;
    for (const std::string& sentence : expected) CHECK(grammar->parse(sentence, parse) && parse.intent == "one");
    for (unsigned i = 0; i < 20; ++i) CHECK(expected.count(grammar->sample(i)) == 1);
    CHECK(!grammar->parse("c", parse));
    CHECK(!grammar->parse(*expected.begin() + " c", parse));
  }
  CHECK(compared > 200);
}

TEST(a_parse_finds_slots_and_their_words) {
  const GrammarPtr grammar = compile(
      "# Lights.\n"
      "intent turn_on:\n"
      "  domain = light   # a comment\n"
      "  brightness = 255\n"
      "  [please] turn on [the] {room} light[s] [to {brightness} percent]\n"
      "list room:\n"
      "  living room\n"
      "  (kitchen|cook room) -> Kitchen!\n"
      "range brightness: 0 to 100 step 5\n");
  GrammarParse parse;
  REQUIRE(grammar->parse("turn on the living room lights", parse));
  CHECK_EQ(parse.intent, "turn_on");
  CHECK_EQ(parse.line, 5U);
  REQUIRE(parse.slots.size() == 3);
  CHECK_EQ(parse.slots[0].name, "room");
  CHECK_EQ(parse.slots[0].value, "living room");
  CHECK_EQ(parse.slots[0].first_word, 3);
  CHECK_EQ(parse.slots[0].end_word, 5);
  CHECK_EQ(parse.slots[1].name, "domain");
  CHECK_EQ(parse.slots[1].value, "light");
  CHECK_EQ(parse.slots[2].value, "255");
  CHECK(!parse.slots[2].is_number);
  REQUIRE(grammar->parse(" Turn on  Cook Room light to forty-five percent.", parse));
  REQUIRE(parse.slots.size() == 3);
  CHECK_EQ(parse.slots[0].value, "Kitchen!");
  CHECK_EQ(parse.slots[0].text, "cook room");
  CHECK_EQ(parse.slots[1].name, "brightness");
  CHECK_EQ(parse.slots[1].value, "45");
  CHECK_EQ(parse.slots[1].text, "forty five");
  CHECK(parse.slots[1].is_number);
  CHECK_EQ(parse.slots[1].first_word, 6);
  CHECK_EQ(parse.slots[1].end_word, 8);
  CHECK(!grammar->parse("turn on kitchen light to forty four percent", parse));
}

TEST(what_can_be_read_in_several_ways_is_read_in_the_stated_one) {
  const GrammarPtr grammar = compile(
      "intent first: play {what} [{what:rest}]\n"
      "intent second: play jazz | play jazz loud | play {other}\n"
      "list what:\n  jazz -> 1\n  jazz loud -> 2\n  loud -> 3\n  jazz -> 4\n"
      "list other:\n  (rock) -> 1\n  rock -> 2\n  pop -> 3\n");
  GrammarParse parse;
  REQUIRE(grammar->parse("play jazz", parse));
  CHECK_EQ(parse.intent, "first");
  CHECK_EQ(parse.slots[0].value, "1");  // of equal values the first
  REQUIRE(grammar->parse("play jazz loud", parse));
  REQUIRE(parse.slots.size() == 1);
  CHECK_EQ(parse.slots[0].value, "2");  // the longest
  REQUIRE(grammar->parse("play rock", parse));
  CHECK_EQ(parse.intent, "second");
  CHECK_EQ(parse.slots[0].value, "1");
  const GrammarPtr optional = compile("intent i: go [{x}] [{y}]\nlist x: far\nlist y: far\n");
  REQUIRE(optional->parse("go far", parse));
  CHECK_EQ(parse.slots[0].name, "x");  // an optional part is taken rather than left out
}

TEST(text_is_normalised_alike_in_templates_and_in_what_is_said) {
  const GrammarPtr grammar = compile("\xEF\xBB\xBFintent i:\r\n\tWhat\xE2\x80\x99s the wi-fi, \xC3\x84pfel?\r\n");
  CHECK(grammar->accepts("what's the WI FI \xC3\xA4pfel"));
  CHECK_EQ(grammar->sample(0), "what's the wi fi \xC3\xA4pfel");
  const GrammarPtr upper = Grammar::compile("intent i: go \xC3\xA4 {n}\nrange n: 1 to 1\n", "x", LetterCase::kUpper);
  CHECK_EQ(upper->sample(0), "GO \xC3\x84 ONE");
  CHECK_EQ(Grammar::compile("intent i: gO\n", "x", LetterCase::kKeep)->sample(0), "gO");
  CHECK_THROWS_WITH(grammar->accepts("\xFF"), InputError, "UTF-8");
}

TEST(numbers_are_said_as_people_say_them) {
  const auto says = [](std::int64_t thousandths, const std::string& text) {
    const std::vector<std::string> ways = say_number(thousandths);
    const std::set<std::string> distinct(ways.begin(), ways.end());
    CHECK_EQ(distinct.size(), ways.size());
    if (!CHECK(distinct.count(text) == 1)) std::fprintf(stderr, "%s\n", text.c_str());
  };
  says(0, "zero");
  says(21'000, "twenty one");
  says(105'000, "one hundred and five");
  says(105'000, "a hundred five");
  says(1'000'000, "a thousand");
  says(2'700'000, "two thousand seven hundred");
  says(2'700'000, "twenty seven hundred");
  says(6'005'000, "six thousand and five");
  says(123'456'000, "one hundred twenty three thousand four hundred fifty six");
  says(1'000'001'000, "one million and one");
  says(20'500, "twenty point five");
  says(20'500, "twenty and a half");
  says(500, "half");
  says(-3'000, "minus three");
  says(50, "zero point zero five");
  for (const std::int64_t number : {0, 5, -20'500, 999'999'999, -1'000, 120'000, 125}) {
    std::int64_t back = -1;
    CHECK(read_number(write_number(number), back));
    CHECK_EQ(back, number);
  }
  std::int64_t unused = 0;
  for (const char* text :
       {"", "-", "1.", ".5", "1.2345", "1000000000", "1e3", "--1", "1.2.3", "99999999999999999999"}) {
    CHECK(!read_number(text, unused));
  }
  // All numbers up to a thousand are said in different ways.
  std::set<std::string> all;
  std::size_t count = 0;
  for (std::int64_t n = 0; n <= 1000; ++n) {
    for (const std::string& way : say_number(n * kThousandths)) {
      all.insert(way);
      ++count;
    }
  }
  CHECK_EQ(all.size(), count);
}

TEST(a_range_multiplies_and_steps) {
  const GrammarPtr grammar =
      compile("intent i: {t} {d:down}\nrange t: -1 to 1 step 0.5\nrange d: 2 to 10 step 4 times -1\n");
  GrammarParse parse;
  REQUIRE(grammar->parse("minus one six", parse));
  CHECK_EQ(parse.slots[0].value, "-1");
  CHECK_EQ(parse.slots[1].value, "-6");
  REQUIRE(grammar->parse("half ten", parse));
  CHECK_EQ(parse.slots[0].value, "0.5");
  CHECK(!grammar->accepts("two six"));
  CHECK(!grammar->accepts("one three"));
}

TEST(errors_name_file_line_and_column) {
  const struct {
    const char* text;
    const char* message;
  } cases[] = {
      {"", "test.grammar: the grammar is empty"},
      {"# nothing\n\n", "the grammar is empty"},
      {"rule a: x\n", "the grammar is empty"},
      {"intent i:\n", "test.grammar:1:1: intent \"i\" has no sentence"},
      {"intent i:\n  x = 1\n", "1:1: intent \"i\" has no sentence"},
      {"intent i: <a>\nrule a: x <b>\nrule b:\n  y\n  z [<a>]\n", "5:6: a loop: <a> -> <b> -> <a>"},
      {"intent i: x\nrule a: <a>\n", "2:9: a loop: <a> -> <a>"},
      {"intent i: {l}\nlist l: a <r>\nrule r: {l}\n", "a loop: "},
      {"intent i: turn <on>\n", "1:16: there is no rule \"on\""},
      {"intent i: turn {on}\nrule on: x\n", "1:16: there is no list or range \"on\", but a rule of that name"},
      {"intent i: x\nrule r: {none}\n", "2:9: there is no list or range \"none\""},
      {"intent i: turn (on\n", "1:16: '(' is not closed by ')'"},
      {"intent i:\n  a\n  turn [on)\n", "3:11: ')' where ']' should close the bracket of column 8"},
      {"intent i: turn on)\n", "1:18: ')' closes nothing"},
      {"intent i: turn {on\n", "1:16: '{' is not closed by '}'"},
      {"intent i: turn {o-n}\n", "1:18: '-' in a name"},
      {"intent i: turn {}\n", "1:16: the name of the list is missing"},
      {"intent i: turn {a:}\n", "the name of the slot is missing"},
      {"intent i: <a\n", "'<' is not closed by '>'"},
      {"intent i: a}\n", "1:12: '}' closes nothing"},
      {"intent i: a ()\n", "1:14: nothing stands between the brackets"},
      {"intent i: (a|b;c)\n", "1:15: | and ; are mixed"},
      {"intent i: a = b\n  c d = e\n", "2:7: '=' in a template"},
      {"intent i: [a] [b]\n", "1:11: the sentence can be empty"},
      {"intent i: <a>\nrule a: [b]\n", "1:11: the sentence can be empty"},
      {"intent i: {l}\nlist l:\n  a\n  [b]\n", "4:3: the value can be empty"},
      {"intent i: x\nlist l:\n", "2:1: list \"l\" is empty"},
      {"intent i: x\nlist l: a ->\n", "2:11: no value follows ->"},
      {"intent i: x\nskip: [a]\n", "2:7: the phrase to skip can be empty"},
      {"intent i: x\nrange r: 10 to 1\n", "2:10: the range is upside down: it goes from 10 to 1"},
      {"intent i: x\nrange r: 1 to 10 step 0\n", "2:23: the step is not more than 0"},
      {"intent i: x\nrange r: 1 to\n", "a number is missing"},
      {"intent i: x\nrange r: 1 until 2\n", "2:12: expected \"to\""},
      {"intent i: x\nrange r: one to 2\n", "2:10: \"one\" where a number should stand"},
      {"intent i: x\nrange r: 1 to 2 step 1 step 2\n", "2:24: \"step\" where"},
      {"intent i: x\nrange r:\n  1 to 2\n  3 to 4\n", "4:3: a second line in a range"},
      {"intent i: x\nrange r: 1 to 1000000\n", "2:10: the range has 1000000 values, expected at most max_range_values"},
      {"intent i: x\nrange r: 1 to 900000000 times 900000000\n", "out of bounds"},
      {"intent i: x\nrange r: 0.001 to 1 times 0.5\n", "more than three decimals"},
      {"intent i: x\nrule a: x\nrule a: y\n", "3:1: the rule \"a\" is defined a second time; the first is in line 2"},
      {"intent i: x\nlist a: x\nrange a: 1 to 2\n", "3:1: the list or range \"a\" is defined a second time"},
      {"intent i: x\nskip: x\nskip: y\n", "3:1: \"skip\" is defined a second time"},
      {"intent i: x\n  a = 1\n  a = 2\n", "3:3: the slot \"a\" has a fixed value already"},
      {"intent i: x\n  a =\n", "2:3: the value of the slot \"a\" is missing"},
      {"  x\n", "1:3: an indented line before the first"},
      {"turn on\n",
       "1:1: a line that is not indented begins with intent, list, range, rule or skip; this one with \"turn\""},
      {"Intent i: x\n", "this one with 'I'"},
      {"intent: x\n", "1:7: a name of letters, digits and _ should follow \"intent\""},
      {"intent i x\n", "1:10: a colon should follow the name"},
      {"skip a: x\n", "\"skip\" has no name"},
      {"intent i: a\\\n", "1:12: nothing follows the backslash"},
      {"intent i: \xC3\xA9 \xFF\n", "1:13: the text is not UTF-8"},
      {"intent i: (a;b;c;d;e;f;g;h;i)\n", "a permutation of 9 parts"},
  };
  for (const auto& [text, message] : cases) {
    try {
      compile(text);
      CHECK_EQ(std::string(text), "an error");
    } catch (const ConfigError& error) {
      const std::string what = error.what();
      CHECK(what.rfind("test.grammar:", 0) == 0);
      if (!CHECK(what.find(message) != std::string::npos)) std::fprintf(stderr, "%s\n%s\n", text, error.what());
    }
  }
  std::string deep = "intent i: " + std::string(100, '(') + "a" + std::string(100, ')') + "\n";
  CHECK_THROWS_WITH(compile(deep), ConfigError, "nested deeper than 64");
  deep = "intent i: <r0>\n";
  for (int i = 0; i < 200; ++i) deep += "rule r" + std::to_string(i) + ": <r" + std::to_string(i + 1) + ">\n";
  CHECK_THROWS_WITH(compile(deep + "rule r200: x\n"), ConfigError, "deeper than 100");
}

TEST(a_grammar_that_explodes_says_so) {
  GrammarLimits limits;
  limits.max_nodes = 1000;
  std::string many = "intent i:\n";
  for (int i = 0; i < 300; ++i) many += "  word" + std::to_string(i) + "x" + std::to_string(i * 7919) + "\n";
  CHECK_THROWS_WITH(Grammar::compile(many, "g", LetterCase::kLower, limits), ConfigError, "more than max_nodes, 1000");
  std::string nested = "a";
  for (int i = 0; i < 6; ++i) nested = "(" + nested + ";b;c;d;e;f;g;h)";
  CHECK_THROWS_WITH(compile("intent i: " + nested + "\n"), ConfigError, "max_nodes");
  // Each rule can go through the one below in two places: 2^40 of them at once.
  std::string places = "intent i: x <r40>\nrule r0: [a]\n";
  for (int i = 1; i <= 40; ++i) {
    const std::string below = "[<r" + std::to_string(i - 1) + ">]";
    places += "rule r" + std::to_string(i) + ": " + below + " " + below + "\n";
  }
  const GrammarPtr ambiguous = compile(places);
  CHECK_THROWS_WITH(ambiguous->accepts("x a"), ConfigError, "too ambiguous");
  limits = GrammarLimits();
  limits.max_states = 10;
  const GrammarPtr small = Grammar::compile("intent i: abcdefghijklmnop\n", "g", LetterCase::kLower, limits);
  CHECK(!small->accepts("abcd"));
  CHECK_THROWS_WITH(small->accepts("abcdefghijklmnop"), ConfigError, "more than max_states, 10");
  CHECK_THROWS_WITH(small->accepts("abcdefghijklmnop"), ConfigError, "max_states");
  CHECK_EQ(small->num_states(), std::size_t{10});
  CHECK_EQ(small->renewed()->num_states(), std::size_t{1});
  GrammarParse parse;
  CHECK(small->parse("abcdefghijklmnop", parse));
  CHECK_THROWS_WITH(small->parse(std::string(5000, 'a'), parse), InputError, "5000 bytes");
  limits.max_states = 0;
  CHECK_THROWS_WITH(Grammar::compile("intent i: a\n", "g", LetterCase::kLower, limits), ConfigError, "max_states is 0");
}

TEST(words_that_the_tokens_cannot_spell_are_named) {
  const GrammarPtr grammar = compile("intent i:\n  turn light[s] on\n  set {n} \xC2\xB0\nrange n: 1 to 3\n");
  std::vector<std::string> letters;
  for (char c = 'a'; c <= 'z'; ++c) letters.emplace_back(1, c);
  letters.emplace_back(" ");
  CHECK_THROWS_WITH(grammar->check_spelling(letters), ConfigError,
                    "test.grammar:3:11: the tokens cannot spell \"\xC2\xB0\"");
  letters.emplace_back("\xC2\xB0");
  grammar->check_spelling(letters);
  const std::vector<std::string> pieces = {" turn", " light", " lights", "on", " ", " set", " one", " two"};
  CHECK_THROWS_WITH(grammar->check_spelling(pieces), ConfigError, "the tokens cannot spell");
}

TEST(thousands_of_values_share_one_graph) {
  std::string text = "intent i:\n";
  for (int i = 0; i < 50; ++i) text += "  do " + say_number(i * kThousandths)[0] + " with {name} in {name:other}\n";
  text += "list name:\n";
  for (int i = 0; i < 5000; ++i) text += "  " + say_number((i * 997 + 13) * kThousandths)[0] + " x\n";
  const GrammarPtr grammar = compile(text);
  CHECK(grammar->num_nodes() < 200'000);
  CHECK(grammar->num_readings() == 50.0 * 5000.0 * 5000.0);
  CHECK(grammar->num_states() == 1);
  CHECK(grammar->accepts("do five with thirteen x in one thousand ten x"));
  CHECK(grammar->num_states() < 50);
}

TEST(threads_share_a_grammar) {
  const std::string text = "intent i: {n} {m} [{k}]\nrange n: 0 to 300\nrange m: 0 to 300\nrange k: 0 to 300\n";
  const GrammarPtr grammar = compile(text);
  std::vector<std::string> sentences;
  for (unsigned i = 0; i < 300; ++i) sentences.push_back(grammar->sample(i));
  std::vector<std::vector<TextAcceptor::State>> ends(4);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < ends.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < sentences.size(); ++i) {
        TextAcceptor::State state = grammar->start();
        for (const char byte : sentences[(i + 70 * t) % sentences.size()]) state = grammar->advance(state, byte);
        ends[t].push_back(state);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t t = 0; t < ends.size(); ++t) {
    for (std::size_t i = 0; i < sentences.size(); ++i) {
      const TextAcceptor::State state = ends[t][i];
      REQUIRE(state != TextAcceptor::kNone);
      CHECK(grammar->is_final(state));
      CHECK_EQ(state, ends[0][(i + 70 * t) % sentences.size()]);
    }
  }
}

}  // namespace edgeasr

TEST_MAIN()
