// What is known about texts, whatever was heard: a language model, a list of words, hotwords, a grammar. The search
// multiplies its weight into the probability of a text.
//
// The weight of a text depends on the text alone (or, with a language model over tokens, on the tokens), never on how
// it was found. It is the sum of
//
//   lm_weight * log p_LM + word_bonus * words + boosts of hotwords - costs of unknown words   (natural logarithms)
//
// For the word that is not finished yet it has a look-ahead in place of the language model's probability: that of the
// most probable word that starts like this, without context ("smearing": Ortmanns et al. 1996, "Language-model
// look-ahead for large vocabulary speech recognition"). At the word's end the true one takes its place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/hotwords.h"
#include "core/lexicon.h"
#include "core/lm_mixture.h"
#include "core/text_acceptor.h"
#include "core/token_spellings.h"

namespace edgeasr {

// A lexicon, or the words of a language model, with what the language model says about each.
class KnownWords {
 public:
  // `lm` may be null.
  KnownWords(std::shared_ptr<const Lexicon> lexicon, const LmMixture* lm);
  // The words of the model itself.
  explicit KnownWords(const LmMixture& lm);

  const Lexicon& lexicon() const { return *lexicon_; }
  WordId lm_id(std::int32_t word) const { return lm_ids_.empty() ? 0 : lm_ids_[static_cast<std::size_t>(word)]; }
  // The largest unigram log-prob of a word whose spelling goes through the node.
  double lookahead(std::int32_t node) const {
    return lookahead_.empty() ? 0.0 : static_cast<double>(lookahead_[static_cast<std::size_t>(node)]);
  }

 private:
  void look_up(const LmMixture& lm);

  std::shared_ptr<const Lexicon> lexicon_;
  std::vector<WordId> lm_ids_;
  std::vector<float> lookahead_;
};

// The words of a lexicon that these tokens cannot spell, in none of their spellings; sorted.
std::vector<std::string> unspellable(const Lexicon& lexicon, const TokenSpellings& tokens);

// What a decoder may know besides the log-probs. Immutable, and shared between streams; any part may be missing.
struct DecodingContext {
  std::shared_ptr<const LmMixture> lm;
  bool lm_of_tokens = false;                // the model's words are the tokens
  std::shared_ptr<const KnownWords> words;  // null: any word will do
  std::shared_ptr<const Hotwords> hotwords;
  std::shared_ptr<const TextAcceptor> grammar;

  bool empty() const { return lm == nullptr && words == nullptr && hotwords == nullptr && grammar == nullptr; }
};

struct TextWeights {
  double lm_weight = 1.0;
  double word_bonus = 0.0;
  double oov_cost = 0.0;       // infinite: no unknown words
  double oov_char_cost = 0.0;  // for each character of an unknown word
  double hotword_boost = 0.0;
};

// What a text's weight is made of.
struct TextParts {
  double lm = 0.0;     // log-prob of the words, without lm_weight
  double boost = 0.0;  // of hotwords
  double oov = 0.0;    // costs of unknown words
  std::int64_t num_words = 0;
  double weight = 0.0;  // all of it
  bool complete = true;
};

// Scores the texts of one stream. Language model states live in an arena here and are counted.
class TextScorer {
 public:
  struct State {
    double lm = 0.0;         // of the finished words
    double lookahead = 0.0;  // of the unfinished one
    double boost = 0.0;      // of phrases that are there
    double partial = 0.0;    // for a phrase that is being said
    double oov = 0.0;
    double open_oov = 0.0;  // of the unfinished word
    double weight = 0.0;
    std::int64_t num_words = 0;  // with the unfinished one
    std::int32_t node = Lexicon::kNone;
    std::int32_t hotword_node = Lexicon::kNone;  // in the hotwords' own list of words
    std::int32_t num_letters = 0;                // of the unfinished word
    std::int32_t context = kNone;
    Hotwords::State hotword = 0;
    TextAcceptor::State grammar = 0;
    bool between_words = true;  // nothing follows the last space, or there is nothing at all
    bool owes_space = false;    // the grammar has not seen the last space yet
    // What happens at the end of the unfinished word, once it is asked for.
    enum class Ending : std::uint8_t { kUnasked, kImpossible, kKnown };
    mutable Ending ending = Ending::kUnasked;
    mutable std::int32_t ending_context = kNone;
    mutable double ending_lm = 0.0;
    mutable double ending_oov = 0.0;
  };
  static constexpr std::int32_t kNone = -1;

  // `spellings` must outlive the scorer. Throws ConfigError for weights that are no numbers, and for a model of tokens
  // that has none of the names.
  TextScorer(std::shared_ptr<const DecodingContext> context, const TextWeights& weights,
             const TokenSpellings& spellings, const std::vector<std::string>& token_names);

  // Frees all states.
  void clear();
  // Of the empty text.
  State start();
  // The state after a token; false when that text is not possible. A state that is kept has to be retained, one that is
  // not, discarded.
  bool advance(const State& from, std::int32_t token, State& to);
  void retain(const State& state);
  void release(const State& state);
  void discard(const State& state);

  // What the text's weight is made of, as it stands.
  TextParts parts(const State& state) const;
  // The same for the text that ends here.
  TextParts finish(const State& state);

  // How a token treats words: it stays in one, or first ends the one before, or also has a space further on.
  enum Way : std::uint8_t { kStays, kStarts, kSpans };
  Way way(std::int32_t token) const { return ways_[static_cast<std::size_t>(token)]; }
  bool has_way(std::size_t way) const { return has_way_[way]; }
  // The most that a token may add to the weight of a text, for each way: `fixed`, and `for_byte` for each of its bytes.
  struct Gains {
    double fixed[3];
    double for_byte[3];
  };
  Gains gains(const State& state) const;
  double num_bytes(std::int32_t token) const { return num_bytes_[static_cast<std::size_t>(token)]; }

  // Whether gain() can tell what advance() would add to the weight, which is much quicker.
  bool knows_gain(Way way) const { return quick_ && way != kSpans; }
  // Finds out how the unfinished word may end, if that is not known; says whether it was not. gain() needs it for
  // tokens that start a word.
  bool ask(const State& from) {
    if (from.between_words || from.ending != State::Ending::kUnasked) return false;
    ask_ending(from);
    return true;
  }
  // -infinity where the text is not possible.
  double gain(const State& from, std::int32_t token) const {
    if (!closed_ || from.between_words || spellings_.starts_word(token)) return any_gain(from, token);
    // The usual case: a word of the list goes on.
    std::int32_t node = from.node;
    for (const char byte : spellings_.body(token)) {
      node = words_->lexicon().child(node, byte);
      if (node == Lexicon::kNone) return -std::numeric_limits<double>::infinity();
    }
    return of_words_ ? weights_.lm_weight * (words_->lookahead(node) - from.lookahead) : 0.0;
  }

  std::size_t num_contexts() const { return num_contexts_; }

 private:
  // What an unfinished word weighs: where it stands in the lists of words, and how many characters it has.
  struct OpenWord {
    double lookahead;
    double oov;
    bool possible;
  };
  OpenWord open_word(std::int32_t node, std::int32_t hotword_node, std::int32_t num_letters) const;
  double weight_of(const OpenWord& word) const {
    return word.possible ? weights_.lm_weight * word.lookahead - word.oov : -std::numeric_limits<double>::infinity();
  }
  double any_gain(const State& from, std::int32_t token) const;
  bool add_letter(State& state, char byte);
  bool add_space(State& state);
  void ask_ending(const State& state);
  void weigh(State& state) const;
  std::int32_t allocate_context();
  void free_context(std::int32_t context);
  NgramLm::State* context_states(std::int32_t context) {
    return contexts_.data() + static_cast<std::size_t>(context) * num_models_;
  }

  std::shared_ptr<const DecodingContext> context_;
  TextWeights weights_;
  const TokenSpellings& spellings_;
  const KnownWords* words_;
  const LmMixture* lm_;
  const Hotwords* hotwords_;
  const TextAcceptor* grammar_;
  bool open_ = true;  // words outside of the list are possible
  bool has_hotwords_ = false;
  Hotwords::Values values_;
  std::vector<Way> ways_;
  bool has_way_[3] = {};
  std::vector<double> num_bytes_;
  bool quick_ = false;
  bool closed_ = false;            // there are no words but those of the list
  bool of_words_ = false;          // the language model is over words
  std::vector<double> starts_;     // what a token adds at the start of a word, if there are no hotwords
  std::vector<WordId> token_ids_;  // of the language model, by token
  double unknown_unigram_ = 0.0;
  double start_gain_ = 0.0;  // the most that the first letter of a word can add

  std::size_t num_models_ = 0;
  std::size_t num_contexts_ = 0;
  std::vector<NgramLm::State> contexts_;
  std::vector<std::int32_t> references_;
  std::vector<std::int32_t> free_contexts_;
};

}  // namespace edgeasr
