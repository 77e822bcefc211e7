#include "core/ngram_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/errors.h"

namespace edgeasr {

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xC2 ? 0
                               : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3
                               : lead < 0xF5 ? 4
                                             : 0;
    if (length == 0 || at + length > text.size()) return false;
    std::uint32_t code = length == 1 ? lead : lead & (0x7FU >> length);
    for (std::size_t more = 1; more < length; ++more) {
      const auto byte = static_cast<unsigned char>(text[at + more]);
      if ((byte & 0xC0U) != 0x80U) return false;
      code = (code << 6U) | (byte & 0x3FU);
    }
    constexpr std::array<std::uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
    if (code < kLeast[length] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
    at += length;
  }
  return true;
}

std::uint32_t WordIndex::add(std::string_view word) {
  if (slots_.size() < 2 * (words_.size() + 1)) grow();
  const std::uint64_t hash = word_hash(word);
  const std::size_t mask = slots_.size() - 1;
  const auto check = static_cast<std::uint32_t>(hash >> 32);
  for (std::size_t place = hash & mask;; place = (place + 1) & mask) {
    Slot& slot = slots_[place];
    if (slot.number == kNone) {
      if (words_.size() >= std::numeric_limits<std::uint32_t>::max() - 1) throw InputError("too many different words");
      slot = {check, static_cast<std::uint32_t>(words_.size())};
      words_.add(word);
      return slot.number;
    }
    if (slot.check == check && words_[slot.number] == word) return slot.number;
  }
}

std::uint32_t WordIndex::find(std::string_view word, std::uint64_t hash) const {
  if (slots_.empty()) return kNone;
  const std::size_t mask = slots_.size() - 1;
  const auto check = static_cast<std::uint32_t>(hash >> 32);
  for (std::size_t place = hash & mask;; place = (place + 1) & mask) {
    const Slot& slot = slots_[place];
    if (slot.number == kNone) return kNone;
    if (slot.check == check && words_[slot.number] == word) return slot.number;
  }
}

void WordIndex::grow() {
  std::vector<Slot> slots(std::max<std::size_t>(1024, slots_.size() * 2));
  const std::size_t mask = slots.size() - 1;
  for (std::uint32_t number = 0; number < words_.size(); ++number) {
    const std::uint64_t hash = word_hash(words_[number]);
    std::size_t place = hash & mask;
    while (slots[place].number != kNone) place = (place + 1) & mask;
    slots[place] = {static_cast<std::uint32_t>(hash >> 32), number};
  }
  slots_.swap(slots);
}

void NgramTable::ngram(std::size_t level, std::size_t place, WordId* reversed) const {
  for (std::size_t at = level + 1; at-- > 0;) {
    reversed[at] = levels[at].words[place];
    if (at > 0) place = levels[at].parents[place];
  }
}

NgramSet::NgramSet(const NgramTable& table, std::size_t level)
    : NgramSet(table.levels[level].size(), table.levels[level - 1].size() * table.words.size(),
               [&](std::uint64_t place) {
                 return table.levels[level].parents[place] * std::uint64_t{table.words.size()} +
                        table.levels[level].words[place];
               }) {}

std::vector<std::uint32_t> find_contexts(const NgramTable& table, std::size_t level,
                                         const std::vector<std::uint32_t>& contexts_below, const NgramSet* below) {
  const NgramTable::Level& own = table.levels[level];
  if (level == 1) return own.words;
  // The context of "a b c" is "a b", a child of "b", which is the context of "b c", the parent.
  std::vector<std::uint32_t> contexts(own.size());
  for (std::size_t place = 0; place < own.size(); ++place) {
    const std::uint64_t key = contexts_below[own.parents[place]] * std::uint64_t{table.words.size()};
    const std::uint64_t context = below->find(key + own.words[place]);
    if (context == SortedSet::kNotFound) {
      throw LanguageModelError("the language model is damaged: an n-gram lacks its beginning; copy or build it anew");
    }
    contexts[place] = static_cast<std::uint32_t>(context);
  }
  return contexts;
}

std::vector<std::vector<std::uint32_t>> find_contexts(const NgramTable& table) {
  std::vector<std::vector<std::uint32_t>> contexts(table.levels.size());
  for (std::size_t level = 1; level < table.levels.size(); ++level) {
    if (level == 1) {
      contexts[level] = find_contexts(table, level, {}, nullptr);
    } else {
      const NgramSet below(table, level - 1);
      contexts[level] = find_contexts(table, level, contexts[level - 1], &below);
    }
  }
  return contexts;
}

void normalise(NgramTable& table, const std::vector<std::vector<std::uint32_t>>& contexts,
               const std::vector<std::vector<bool>>* only) {
  // Less than this is what the rounding of so many floats makes of nothing.
  constexpr double kNothing = 1e-6;
  constexpr float kLowestWeight = -227.955924206F;  // -99 in log10
  for (std::size_t number = 1; number < table.levels.size(); ++number) {
    const NgramTable::Level& level = table.levels[number];
    NgramTable::Level& below = table.levels[number - 1];
    std::vector<double> left(below.size(), 1.0);        // by the n-grams of the context to the other words
    std::vector<double> left_below(below.size(), 1.0);  // the same by the lower order
    std::vector<bool> used(below.size(), false);
    for (std::size_t place = 0; place < level.size(); ++place) {
      const std::uint32_t context = contexts[number][place];
      const std::uint32_t parent = level.parents[place];
      used[context] = true;
      left[context] -= std::exp(static_cast<double>(level.scores[place]));
      left_below[context] -= std::exp(static_cast<double>(below.scores[parent]));
    }
    for (std::size_t place = 0; place < below.size(); ++place) {
      if (only != nullptr && !(*only)[number - 1][place]) continue;
      if (!used[place]) {
        below.backoffs[place] = -0.0F;
      } else if (left_below[place] < kNothing) {
        below.backoffs[place] = 0.0F;  // the context's n-grams are all that there are
      } else if (left[place] <= 0.0) {
        below.backoffs[place] = kLowestWeight;
      } else {
        below.backoffs[place] = static_cast<float>(std::log(left[place] / left_below[place])) + 0.0F;
      }
    }
  }
}

std::vector<std::uint32_t> order_words(const WordList& words, std::uint32_t unknown) {
  std::vector<std::uint64_t> hashes(words.size());
  for (std::size_t number = 0; number < words.size(); ++number) hashes[number] = word_hash(words[number]);
  std::vector<std::uint32_t> order(words.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    if ((a == unknown) != (b == unknown)) return a == unknown;
    return hashes[a] != hashes[b] ? hashes[a] < hashes[b] : words[a] < words[b];
  });
  return order;
}

}  // namespace edgeasr
