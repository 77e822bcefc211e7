#include "core/ngram_table.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/errors.h"

namespace edgeasr {

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
