// The text of a grammar, read into trees. docs/grammar.md describes the language.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace edgeasr {

// A place in the text, counted from one; columns count characters.
struct GrammarPosition {
  std::uint32_t line = 1;
  std::uint32_t column = 1;
};

// How the letters of texts are written: as the tokens of the model write them.
enum class LetterCase { kLower, kUpper, kKeep };

// Limits that a grammar may not exceed; beyond them it is refused with an error that names the limit. Mirrored by
// edgeasr.config.GrammarLimits.
struct GrammarLimits {
  // Bytes of the grammar's text.
  std::int32_t max_text_bytes = 16 * 1024 * 1024;
  // Nodes of the compiled graph, about 32 bytes each.
  std::int32_t max_nodes = 1'000'000;
  // Values of one number range.
  std::int32_t max_range_values = 20'000;
  // States of the automaton that are made while it is used, about 200 bytes each.
  std::int32_t max_states = 262'144;
};

// Throws ConfigError naming the field when a limit cannot work.
void validate(const GrammarLimits& limits);

// A part of a template.
struct GrammarExpression {
  enum class Kind {
    kText,          // `text`, within a word
    kGap,           // the end of one word and the start of the next
    kSequence,      // `items` one after the other
    kAlternatives,  // one of `items`
    kPermutation,   // all `items`, in any order
    kRule,          // the rule named `text`
    kList,          // a value of the list or range named `text`, for the slot `slot`
  };
  Kind kind = Kind::kSequence;
  GrammarPosition at;
  std::string text;
  std::string slot;
  std::vector<GrammarExpression> items;
};

struct GrammarValue {
  GrammarExpression expression;
  std::string out;
  bool has_out = false;  // else the value is what was said
};

struct GrammarRange {
  std::int64_t from = 0;  // these three in thousandths
  std::int64_t to = 0;
  std::int64_t step = 0;
  std::int64_t times = 0;  // what a value is multiplied with; in thousandths too
};

// One list or number range.
struct GrammarList {
  GrammarPosition at;
  std::vector<GrammarValue> values;
  GrammarRange range;
  bool is_range = false;
};

struct GrammarRule {
  GrammarPosition at;
  GrammarExpression expression;
};

// The sentences of one block, and the slots that they set without naming them.
struct GrammarIntent {
  GrammarPosition at;
  std::string name;
  std::vector<GrammarExpression> sentences;
  std::vector<std::pair<std::string, std::string>> slots;
};

struct GrammarText {
  std::vector<GrammarIntent> intents;
  std::map<std::string, GrammarList> lists;
  std::map<std::string, GrammarRule> rules;
  GrammarRule skip;
  bool has_skip = false;
};

// Reads a grammar; `name` is that of its file, for messages. Throws ConfigError naming file, line and column.
GrammarText read_grammar(const std::string& text, const std::string& name, LetterCase letters,
                         const GrammarLimits& limits);

// Throws ConfigError: "name:line:column: message".
[[noreturn]] void fail_at(const std::string& name, GrammarPosition at, const std::string& message);

// A text as a grammar holds it: letters in the given case, apostrophes straight, punctuation left out, and words
// separated by one space. Throws InputError when it is not UTF-8.
std::string normalise_text(const std::string& text, LetterCase letters);

}  // namespace edgeasr
