// Phrases to listen for, as an automaton over the bytes of the text (Aho and Corasick 1975, "Efficient string
// matching"), so that thousands of phrases cost a step of the search no more than one.
//
// Every occurrence of a phrase, from the start of a word to the end of a word, adds its boost to the text's score;
// occurrences may overlap. While a phrase is being said the text already has a share of the boost, as large as the
// share of the phrase's bytes that are there, and loses it when the phrase is not said to its end: a finished text has
// the boosts of its phrases and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/lexicon.h"

namespace edgeasr {

class Hotwords {
 public:
  using State = std::uint32_t;
  // Within a word, and nothing of any phrase is there.
  static constexpr State kIdle = 1;
  // The boost of a phrase that has none of its own.
  static constexpr double kDefaultBoost = std::numeric_limits<double>::quiet_NaN();

  struct Phrase {
    std::string text;  // words joined by one space
    double boost;      // natural log; NaN: the default
  };

  // What the states are worth for one default boost.
  struct Values {
    std::vector<double> done;     // boosts of the phrases that end on entering the state
    std::vector<double> partial;  // share of the boost for what is there of a phrase
    double largest_step = 0.0;    // the most that one byte can add
  };

  // Throws ConfigError for a phrase without letters, with spaces at its ends or more than one between words, with a
  // line break, and for a boost that is infinite.
  explicit Hotwords(std::vector<Phrase> phrases);

  Values values(double default_boost) const;

  // At the start of a text or after the space behind a word.
  State start() const { return 0; }
  State advance(State state, char byte) const;

  std::size_t num_phrases() const { return phrases_.size(); }
  std::size_t num_states() const { return nodes_.size(); }
  const std::vector<Phrase>& phrases() const { return phrases_; }

  // The words of the phrases. A search that knows a list of words lets them in, too.
  const Lexicon& words() const { return *words_; }
  std::shared_ptr<const Lexicon> shared_words() const { return words_; }

 private:
  // Nodes are numbered by depth, so that a node comes after its parent and after the one it falls back to.
  struct Node {
    std::uint32_t first_edge = 0;
    std::uint32_t num_edges = 0;
    State fail = kIdle;  // the longest other state that the text ends with
    State parent = kIdle;
    std::uint32_t depth = 0;
  };
  struct Edge {
    unsigned char label;
    State to;
  };
  // Where a phrase ends: in phrases_ and in nodes_.
  struct End {
    State state;
    std::uint32_t phrase;
  };

  void link();

  std::vector<Phrase> phrases_;
  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::vector<End> ends_;
  std::shared_ptr<const Lexicon> words_;
};

}  // namespace edgeasr
