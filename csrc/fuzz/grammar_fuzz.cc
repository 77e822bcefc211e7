// The grammar compiler, and everything that a grammar is asked. The input is a grammar, and after the first zero byte a
// text. Whatever the compiler accepts must hold what it promises: sentences that it makes up are sentences, the
// automaton has no dead ends, and a parse and the automaton agree.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/errors.h"
#include "core/grammar.h"
#include "fuzz/require.h"

namespace {

void ask(const edgeasr::Grammar& grammar, const std::string& text) {
  edgeasr::GrammarParse parse;
  const bool parsed = grammar.parse(text, parse);
  require(parsed == grammar.accepts(text));
  if (!parsed) return;
  require(!parse.intent.empty() && parse.line > 0);
  for (const edgeasr::GrammarSlot& slot : parse.slots) require(slot.first_word <= slot.end_word);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using edgeasr::LetterCase;
  const std::string input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  const std::string text = input.substr(0, end);
  edgeasr::GrammarLimits limits;
  limits.max_nodes = 3000;
  limits.max_range_values = 30;
  limits.max_states = 300;
  constexpr LetterCase kCases[] = {LetterCase::kLower, LetterCase::kLower, LetterCase::kUpper, LetterCase::kKeep};
  std::shared_ptr<const edgeasr::Grammar> grammar;
  try {
    grammar = edgeasr::Grammar::compile(text, "fuzz.grammar", kCases[size % 4], limits);
  } catch (const edgeasr::ConfigError& error) {
    require(std::string_view(error.what()).rfind("fuzz.grammar", 0) == 0);
    return 0;
  }
  const std::string sentence = grammar->sample(size);
  require(!sentence.empty());
  try {
    grammar->check_spelling({"a", "b", " ", " to"});
  } catch (const edgeasr::ConfigError& error) {
    require(std::string_view(error.what()).rfind("fuzz.grammar", 0) == 0);
  }
  try {
    if (sentence.size() <= edgeasr::Grammar::max_parse_bytes()) {
      edgeasr::GrammarParse parse;
      require(grammar->parse(sentence, parse));
      require(grammar->accepts(sentence));
    }
    if (end != std::string::npos) ask(*grammar->renewed(), input.substr(end + 1));
    ask(*grammar, text.substr(0, 60));
  } catch (const edgeasr::ConfigError&) {
    return 0;  // the automaton finds no room
  } catch (const edgeasr::InputError&) {
    return 0;  // the text is not UTF-8
  }
  return 0;
}
