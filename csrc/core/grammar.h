// Grammars: what may be said, written as templates, compiled to a graph that constrains a search and that finds the
// slots in a text. docs/grammar.md describes the language.
//
// The graph is shared: a rule and a list are compiled once, and equal ends of sentences are one. An automaton over
// bytes is made of it lazily: its states are sets of places in the graph, each place with the rules that it will return
// to, and a state is made when a search first comes to it (the subset construction, on demand). So thousands of values
// compile in milliseconds, and memory goes to what is really said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/grammar_text.h"
#include "core/text_acceptor.h"

namespace edgeasr {

// A slot that a text fills.
struct GrammarSlot {
  std::string name;
  std::string value;
  bool is_number = false;  // the value is a number in digits
  // What was said, and which words those are: first_word <= i < end_word. Empty for a value that the intent fixes.
  std::string text;
  std::int32_t first_word = 0;
  std::int32_t end_word = 0;
};

// What a text means.
struct GrammarParse {
  std::string intent;
  // Those that were said, in order, then those that the intent fixes and that were not said.
  std::vector<GrammarSlot> slots;
  std::uint32_t line = 0;  // of the sentence in the grammar
};

class Grammar final : public TextAcceptor {
 public:
  // Compiles a grammar; `name` is that of its file, for messages. Throws ConfigError naming file, line and column.
  static std::shared_ptr<const Grammar> compile(const std::string& text, const std::string& name,
                                                LetterCase letters = LetterCase::kLower,
                                                const GrammarLimits& limits = GrammarLimits());

  ~Grammar() override;

  State start() const override;
  // Throws ConfigError when the automaton would need more than max_states states.
  State advance(State state, char byte) const override;
  bool is_final(State state) const override;

  // Whether the text is a sentence of the grammar; it is normalised before. Throws InputError when it is not UTF-8.
  bool accepts(const std::string& text) const;

  // What the text means; false when it is no sentence of the grammar. Where it can be read in several ways the first
  // counts: of sentences and alternatives the one that is written first, an optional part taken rather than left out,
  // of a list's values the longest, and of equal ones that which is written first (a value that says more than 64
  // texts, or holds a permutation or a slot of its own, comes after the others). Throws InputError when the text is not
  // UTF-8 or longer than a sentence can be (max_parse_bytes()).
  bool parse(const std::string& text, GrammarParse& found) const;
  static constexpr std::size_t max_parse_bytes() { return 4096; }

  // A random sentence: each sentence of the grammar is equally likely, and so are the alternatives where there is a
  // choice and the values of a list; no phrases to skip. Equal seeds give equal sentences everywhere.
  std::string sample(std::uint64_t seed) const;

  // Throws ConfigError naming the place of the first word that these tokens cannot spell, and how many there are. In
  // the tokens a space stands for the word delimiter.
  void check_spelling(const std::vector<std::string>& tokens) const;

  // A grammar that shares the graph with this one, and has none of its states.
  std::shared_ptr<const Grammar> renewed() const;

  const std::vector<std::string>& intents() const;  // each once, in order
  std::size_t num_sentences() const;
  std::size_t num_nodes() const;
  // How many ways through the graph there are: at least as many as texts.
  double num_readings() const;
  std::size_t num_states() const;
  std::size_t max_states() const;

 private:
  struct Graph;
  class Compiler;
  class Automaton;

  explicit Grammar(std::shared_ptr<const Graph> graph);

  std::shared_ptr<const Graph> graph_;
  std::unique_ptr<Automaton> automaton_;
};

}  // namespace edgeasr
