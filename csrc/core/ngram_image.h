// The binary format of language models, as a block of memory with 64-bit words, little-endian.
//
//   header      magic, version, sizes, the place of each section, checksums of the body and of the header
//   vocabulary  the words, each ended by a NUL: <unk> (id 0), then the others, ordered by the hash of their letters.
//               Words are found through buckets, one for each value of the hash's first bits: the first word's id and
//               place.
//   order 1     for each word a score and a backoff weight
//   order n     the set of (parent * vocab_size + word), as a SortedSet: an n-gram's parent is the n-gram without its
//               first word, known by its place in the set of order n - 1, and `word` is the first word. The place in
//               the set is the place of the score and the backoff weight (not in the highest order).
//   codebooks   for each order, where scores are quantised: the values that the codes of scores and weights stand for
//
// Scores and weights are natural logarithms, float32 or codes of 1 to 8 bits; codes of the scores of order 1, which are
// few and where most of a coarse code's error would come from, are 4 bits wider. A weight of -0.0 marks an n-gram that
// no n-gram of the model goes on from: it need not be remembered.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "core/bits.h"

namespace edgeasr {

using WordId = std::uint32_t;

constexpr int kMaxNgramOrder = 6;
constexpr int kFloatBits = 32;
constexpr int kMaxCodeBits = 8;
constexpr int kExtraWordBits = 4;

// Whether the backoff weight is that of an n-gram which others go on from.
inline bool is_context(float backoff) { return backoff != 0.0F || !std::signbit(backoff); }

// A view of a block that has been checked.
struct NgramImageView {
  // Places and sizes of the sections, in bytes.
  struct Section {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
  };
  struct Level {
    SortedSet set;
    PackedArray entries;  // the score, and above it the backoff weight
    int score_bits = kFloatBits;
    std::vector<float> scores;
    std::vector<float> backoffs;
  };

  const std::uint8_t* data = nullptr;
  std::uint64_t size = 0;
  int order = 0;
  int score_bits = kFloatBits;
  int backoff_bits = kFloatBits;
  std::uint64_t vocab_size = 0;
  WordId begin_word = 0;
  WordId end_word = 0;
  std::array<std::uint64_t, kMaxNgramOrder> counts{};
  std::array<Level, kMaxNgramOrder> levels;

  const std::uint8_t* word_text = nullptr;
  std::uint64_t text_size = 0;
  const std::uint32_t* bucket_ids = nullptr;
  const std::uint32_t* bucket_places = nullptr;
  int bucket_bits = 0;

  bool quantised() const { return score_bits != kFloatBits; }
  WordId find(std::string_view word) const;
  // Of an id below vocab_size; empty where the memory is damaged.
  std::string_view word(WordId id) const;

  std::uint64_t entry(std::size_t level, std::uint64_t place) const { return levels[level].entries[place]; }
  float score(std::size_t level, std::uint64_t entry) const {
    if (!quantised()) return to_float(static_cast<std::uint32_t>(entry));
    return levels[level].scores[entry & ((std::uint64_t{1} << levels[level].score_bits) - 1)];
  }
  float backoff(std::size_t level, std::uint64_t entry) const {
    if (!quantised()) return to_float(static_cast<std::uint32_t>(entry >> 32));
    return levels[level].backoffs[entry >> levels[level].score_bits];
  }

  static float to_float(std::uint32_t bits) {
    float value = 0.0F;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
};

struct NgramTable;

// How scores are stored.
struct NgramImageOptions {
  // kFloatBits, or 1 to kMaxCodeBits.
  int score_bits = kFloatBits;
  int backoff_bits = kFloatBits;
};

// The hash that orders words.
std::uint64_t word_hash(std::string_view word);

// Writes a model as a block.
std::vector<std::uint64_t> write_image(const NgramTable& table, const NgramImageOptions& options);
// The size in bytes of what write_image would give, for a table, or for so many n-grams of each order and so many bytes
// of words, each counted with a NUL.
std::uint64_t image_size(const NgramTable& table, const NgramImageOptions& options);
std::uint64_t image_size(const std::vector<std::uint64_t>& counts, std::uint64_t text_size,
                         const NgramImageOptions& options);
// The checksum that the header holds of itself and of the body.
std::uint64_t image_checksum(const std::uint8_t* data, std::uint64_t size);

// Checks a block and gives access to it. `data` is aligned to 8 bytes and must outlive the view. Throws
// LanguageModelError naming `name`.
NgramImageView view_image(const std::uint8_t* data, std::uint64_t size, const std::string& name);
// Compares the checksum of the body, and checks that its n-grams can be those of a model. Throws LanguageModelError
// naming `name`.
void verify_image(const NgramImageView& view, const std::string& name);
// The n-grams of a block, which is verified first: what is made of them relies on their order.
NgramTable read_image(const NgramImageView& view, const std::string& name);
// Whether a file that begins like this is meant to be in the format: at least 8 bytes.
bool is_image(const std::uint8_t* data, std::uint64_t size);

}  // namespace edgeasr
