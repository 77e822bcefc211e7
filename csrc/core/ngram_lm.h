// N-gram language models with backoff (Katz 1987), orders 1 to 6, over words or over tokens. Scores are natural
// logarithms.
//
// A model is one block of memory, which is the file's content: a file is mapped, not read, so that opening takes
// milliseconds and processes share it; csrc/core/ngram_image.h describes it. What an ARPA file says is written into
// such a block first.
//
// The n-grams stand in reverse, last word first: "a b c" is a child of "b c", which is a child of "c". One walk from
// the new word back through its context finds the longest n-gram that the model has, and on the way the backoff weights
// that the next word may need; they are carried in the state.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/ngram_image.h"

namespace edgeasr {

class NgramLm {
 public:
  static constexpr int kMaxOrder = kMaxNgramOrder;
  static constexpr WordId kUnknown = 0;  // <unk>, in every model

  // The words before the next one, the last one first, as many of them as can matter to it.
  struct State {
    std::array<WordId, kMaxOrder - 1> words{};
    std::array<float, kMaxOrder - 1> backoffs{};  // of the last word, of the last two, ...
    std::uint8_t length = 0;

    // States with the same words have the same future.
    friend bool operator==(const State& a, const State& b) {
      if (a.length != b.length) return false;
      for (std::size_t place = 0; place < a.length; ++place) {
        if (a.words[place] != b.words[place]) return false;
      }
      return true;
    }
    friend bool operator!=(const State& a, const State& b) { return !(a == b); }
    std::uint64_t hash() const {
      std::uint64_t value = length;
      for (std::size_t place = 0; place < length; ++place) {
        value = (value ^ words[place]) * 0x9E3779B97F4A7C15U;
        value ^= value >> 29;
      }
      return value;
    }
  };

  // A model in this package's format, which is mapped, or an ARPA file, which is read. Throws LanguageModelError naming
  // the file, and of an ARPA file the line. Of the binary format everything is checked that a query relies on except
  // the n-grams themselves: a file whose body is damaged gives wrong scores, never an access outside of it; see
  // verify().
  static std::shared_ptr<const NgramLm> open(const std::string& path);
  // A model in memory, in this package's format; `name` is what errors call it.
  static std::shared_ptr<const NgramLm> from_image(std::vector<std::uint64_t> image, const std::string& name);

  int order() const { return view_.order; }
  // Words, with <unk> and, where the model has them, <s> and </s>. Word ids are smaller.
  std::size_t vocab_size() const { return view_.vocab_size; }
  // The number of n-grams of this length.
  std::uint64_t num_ngrams(int length) const { return view_.counts[static_cast<std::size_t>(length - 1)]; }
  // kUnknown for a word that the model does not have.
  WordId find(std::string_view word) const { return view_.find(word); }
  // Throws InputError for an id that is no word's.
  std::string_view word(WordId id) const;
  // <s> and </s>; kUnknown where the model has none.
  WordId begin_word() const { return view_.begin_word; }
  WordId end_word() const { return view_.end_word; }

  // The state at the start of a sentence: after <s>, or no words where the model has no <s>.
  const State& begin_state() const { return begin_state_; }
  // No words before.
  State empty_state() const { return State{}; }
  // log p(word | state), and the state after the word, which may be the same object as `state`, or null. An id that is
  // no word's counts as kUnknown.
  double score(const State& state, WordId word, State* next) const;
  // Of the sentence's end; 0 where the model has no </s>.
  double score_end(const State& state) const;
  // log p(word), without context.
  double unigram(WordId word) const;

  // Compares the checksum of the whole file; throws LanguageModelError when the file is damaged.
  void verify() const;
  // The block of memory, and its properties.
  const NgramImageView& image() const { return view_; }
  const std::string& name() const { return name_; }

 private:
  NgramLm() = default;

  std::string name_;
  std::shared_ptr<const void> memory_;
  NgramImageView view_;
  State begin_state_;
};

}  // namespace edgeasr
