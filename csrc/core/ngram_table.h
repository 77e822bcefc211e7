// A language model while it is made: plain arrays of n-grams, which are read from ARPA, estimated, pruned, mixed, and
// at last written in the binary format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/ngram_image.h"

namespace edgeasr {

// Strings one after the other in one piece of memory.
class WordList {
 public:
  std::size_t size() const { return ends_.size(); }
  std::string_view operator[](std::size_t index) const {
    const std::size_t begin = index == 0 ? 0 : ends_[index - 1];
    return std::string_view(text_).substr(begin, ends_[index] - begin);
  }
  void add(std::string_view word) {
    text_ += word;
    ends_.push_back(text_.size());
  }

 private:
  std::string text_;
  std::vector<std::size_t> ends_;
};

// Whether the text is UTF-8 (RFC 3629), as a word has to be to be shown.
bool is_utf8(std::string_view text);

// From strings to their numbers in a WordList: open addressing.
class WordIndex {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;

  // The number of a word, kNone when it is not there.
  std::uint32_t find(std::string_view word) const { return find(word, word_hash(word)); }
  // The number of a word, which is added when it is new.
  std::uint32_t add(std::string_view word);
  const WordList& words() const { return words_; }
  std::size_t size() const { return words_.size(); }

 private:
  struct Slot {
    std::uint32_t check = 0;
    std::uint32_t number = kNone;
  };

  std::uint32_t find(std::string_view word, std::uint64_t hash) const;
  void grow();

  WordList words_;
  std::vector<Slot> slots_;
};

// All n-grams of a model. Those of each order stand in the order of their words from the last to the first; word ids
// are those of the binary format. Scores and weights are natural logarithms.
struct NgramTable {
  struct Level {
    std::vector<std::uint32_t>
        parents;                // place of the n-gram without its first word, in the order below; not in order 1
    std::vector<WordId> words;  // first word; in order 1 the word itself
    std::vector<float> scores;
    std::vector<float> backoffs;  // -0.0: not a context; empty in the highest order

    std::size_t size() const { return words.size(); }
  };

  WordList words;  // by id; <unk> first
  WordId begin_word = 0;
  WordId end_word = 0;
  std::vector<Level> levels;

  int order() const { return static_cast<int>(levels.size()); }
  // The words of an n-gram, last one first.
  void ngram(std::size_t level, std::size_t place, WordId* reversed) const;
};

// The n-grams of one order, to look them up while a model is made.
class NgramSet {
 public:
  // The n-grams of a level from the second on.
  NgramSet(const NgramTable& table, std::size_t level);
  // at(place) gives the keys, parent * vocab_size + word, ascending; all are below `universe`.
  template <class At>
  NgramSet(std::uint64_t size, std::uint64_t universe, At&& at) {
    const SortedSet::Shape shape(size, universe);
    memory_.resize((shape.high_bytes() + shape.sample_bytes() + shape.low_bytes()) / 8);
    auto* high = reinterpret_cast<std::uint8_t*>(memory_.data());
    std::uint8_t* samples = high + shape.high_bytes();
    std::uint8_t* low = samples + shape.sample_bytes();
    SortedSet::write(shape, high, samples, low, at);
    set_ = SortedSet(shape, high, samples, low);
  }

  // A place in the level, or SortedSet::kNotFound.
  std::uint64_t find(std::uint64_t key) const { return set_.find(key); }

 private:
  std::vector<std::uint64_t> memory_;
  SortedSet set_;
};

// For each n-gram of a level from the second on, the place of its context, the n-gram without its last word, in the
// order below. `contexts_below` are those of that order (not for the second level), `below` its set.
std::vector<std::uint32_t> find_contexts(const NgramTable& table, std::size_t level,
                                         const std::vector<std::uint32_t>& contexts_below, const NgramSet* below);
// The same for all levels; the first list is empty.
std::vector<std::vector<std::uint32_t>> find_contexts(const NgramTable& table);

// Gives contexts the backoff weights with which the probabilities of all words sum to one; n-grams that are no contexts
// are marked as such. With `only`, in each level but the highest those for which only[level][place] is true.
void normalise(NgramTable& table, const std::vector<std::vector<std::uint32_t>>& contexts,
               const std::vector<std::vector<bool>>* only = nullptr);

// What order words have in a model: their old numbers by new id. `words` holds <unk> where `unknown` says.
std::vector<std::uint32_t> order_words(const WordList& words, std::uint32_t unknown);

}  // namespace edgeasr
