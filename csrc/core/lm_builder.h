// Estimates an n-gram language model from text: interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998, "An
// empirical study of smoothing techniques for language modeling", sections 3 and 4.1.6), with the text streamed and the
// n-grams sorted in bounded memory (after Heafield, Pouzyrevsky, Clark and Koehn 2013, "Scalable modified Kneser-Ney
// language model estimation", whose lmplz gives the same models).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/external_sort.h"
#include "core/ngram_table.h"

namespace edgeasr {

// Mirrored by edgeasr.config.LmBuildConfig.
struct LmBuildConfig {
  // 1 to 6.
  std::int32_t order = 3;
  // N-grams that occur at most so often in the text are left out: one number for each order from 1, the last one also
  // for the orders above; not falling, the first 0.
  std::vector<std::uint64_t> prune;
  // Only so many of the most frequent words; the others are <unk>. 0: all words.
  std::uint64_t vocab_size = 0;
  // About how much the estimation holds in memory, apart from the words and from the finished model, in bytes.
  std::uint64_t memory_bytes = 1000000000;
  std::int32_t threads = 1;
  // For temporary files; empty: the one that TMPDIR names, or /tmp.
  std::string temp_folder;
};

// Throws ConfigError naming the field when a value cannot work.
void validate(const LmBuildConfig& config);

// What the estimation found.
struct LmBuildReport {
  std::uint64_t num_words = 0;  // of text, without ends of sentences
  std::uint64_t num_sentences = 0;
  std::uint64_t num_unknown = 0;                             // words of text that are <unk>
  std::uint64_t num_types = 0;                               // different words in the text
  std::vector<std::array<double, 3>> discounts;              // by order, of n-grams counted once, twice, more often
  std::vector<bool> usual_discounts;                         // by order: too little text to tell, so 0.5, 1, 1.5
  std::array<std::uint64_t, kMaxNgramOrder> num_distinct{};  // n-grams in the text, by order
};

class LmBuilder {
 public:
  // All words are taken from the text.
  explicit LmBuilder(const LmBuildConfig& config);
  // The words are those of `vocabulary`, whether the text has them or not; others are <unk>.
  LmBuilder(const LmBuildConfig& config, const std::vector<std::string>& vocabulary);
  // The model is over tokens: the words of each line are joined by `delimiter` and cut into tokens, from left to right
  // the longest one that fits.
  LmBuilder(const LmBuildConfig& config, const std::vector<std::string>& tokens, const std::string& delimiter);

  // Takes text in pieces of any size: a sentence a line, words with white space between; empty lines count nothing.
  // Throws InputError naming the line for <s> and </s>, which a text cannot hold.
  void accept(const char* text, std::size_t size);
  // Ends a file: `name` is what errors call the next one.
  void next_file(const std::string& name);
  // Estimates the model. Throws InputError when there was no text. Once.
  NgramTable finish();
  const LmBuildReport& report() const { return report_; }

 private:
  struct Count {
    std::uint64_t adjusted = 0;
    std::uint64_t raw = 0;
  };

  void start();
  void take_line(std::string_view line);
  void take_word(std::string_view word);
  void take_tokens(std::string_view line);
  void end_sentence();
  [[noreturn]] void refuse(const std::string& what) const;
  void choose_words(NgramTable& table);
  template <class Key>
  void estimate(NgramTable& table);

  LmBuildConfig config_;
  std::string file_ = "the text";
  std::uint64_t line_ = 0;
  std::string rest_;
  bool closed_ = false;  // the vocabulary was given
  bool finished_ = false;
  std::string delimiter_;  // not empty: a model over tokens
  std::size_t longest_token_ = 0;
  std::string joined_;
  bool sentence_is_empty_ = true;
  WordIndex index_;
  std::vector<std::uint64_t> counts_;    // of words, by number
  SpillVector<std::uint32_t> sequence_;  // the text as numbers of words
  std::vector<WordId> ids_;              // by number
  std::uint64_t threshold(std::size_t level) const;
  LmBuildReport report_;
};

}  // namespace edgeasr
