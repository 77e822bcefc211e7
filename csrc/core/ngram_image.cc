#include "core/ngram_image.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/errors.h"
#include "core/ngram_table.h"

namespace edgeasr {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian, and read as it is");

constexpr char kMagic[9] = "edgeLM\r\n";
constexpr std::uint32_t kVersion = 2;
constexpr std::size_t kSectionsPerLevel = 4;

using Section = NgramImageView::Section;

struct Header {
  std::array<char, 8> magic{};
  std::uint32_t version = kVersion;
  std::uint32_t header_size = 0;
  std::uint32_t order = 0;
  std::uint32_t score_bits = 0;
  std::uint32_t backoff_bits = 0;
  std::uint32_t bucket_bits = 0;
  std::uint32_t begin_word = 0;
  std::uint32_t end_word = 0;
  std::uint64_t vocab_size = 0;
  std::uint64_t file_size = 0;
  std::array<std::uint64_t, kMaxNgramOrder> counts{};
  Section text;
  Section bucket_ids;
  Section bucket_places;
  Section codebooks;
  std::array<std::array<Section, kSectionsPerLevel>, kMaxNgramOrder> levels{};  // high bits, samples, low bits, entries
  std::uint64_t body_checksum = 0;
  std::uint64_t header_checksum = 0;
};
static_assert(sizeof(Header) == 8 + 8 * 4 + 2 * 8 + 6 * 8 + 4 * 16 + 24 * 16 + 2 * 8, "no padding");

constexpr std::size_t kHigh = 0;
constexpr std::size_t kSamples = 1;
constexpr std::size_t kLow = 2;
constexpr std::size_t kEntries = 3;

// How many bits the score of an n-gram has; no more than it takes to give each word a code.
std::uint32_t score_bits(const Header& header, std::size_t level) {
  if (level > 0 || header.score_bits == kFloatBits) return header.score_bits;
  const auto enough = static_cast<std::uint32_t>(std::max(1, bit_width(header.vocab_size - 1)));
  return std::max(header.score_bits, std::min(header.score_bits + kExtraWordBits, enough));
}

int entry_bits(const Header& header, std::size_t level) {
  const bool highest = level + 1 == header.order;
  return static_cast<int>(score_bits(header, level) + (highest ? 0 : header.backoff_bits));
}

std::uint64_t codebook_floats(const Header& header, std::size_t level) {
  if (header.score_bits == kFloatBits) return 0;
  const bool highest = level + 1 == header.order;
  return (std::uint64_t{1} << score_bits(header, level)) + (highest ? 0 : std::uint64_t{1} << header.backoff_bits);
}

SortedSet::Shape level_shape(const Header& header, std::size_t level) {
  return {header.counts[level], header.counts[level - 1] * header.vocab_size};
}

// Gives each section its place; the counts, the bits and the size of the text are set.
void lay_out(Header& header, std::uint64_t text_size) {
  std::uint64_t offset = sizeof(Header);
  const auto place = [&](Section& section, std::uint64_t size) {
    section = {offset, size};
    offset += (size + 7) / 8 * 8;
  };
  const std::uint64_t num_buckets = std::uint64_t{1} << header.bucket_bits;
  place(header.text, text_size);
  place(header.bucket_ids, (num_buckets + 1) * 4);
  place(header.bucket_places, (num_buckets + 1) * 4);
  std::uint64_t floats = 0;
  for (std::size_t level = 0; level < header.order; ++level) floats += codebook_floats(header, level);
  place(header.codebooks, floats * 4);
  for (std::size_t level = 0; level < header.order; ++level) {
    auto& sections = header.levels[level];
    if (level > 0) {
      const SortedSet::Shape shape = level_shape(header, level);
      place(sections[kHigh], shape.high_bytes());
      place(sections[kSamples], shape.sample_bytes());
      place(sections[kLow], shape.low_bytes());
    }
    place(sections[kEntries], PackedArray::num_bytes(header.counts[level], entry_bits(header, level)));
  }
  header.file_size = offset;
}

Header make_header(const std::vector<std::uint64_t>& counts, std::uint64_t text_size,
                   const NgramImageOptions& options) {
  Header header;
  std::memcpy(header.magic.data(), kMagic, header.magic.size());
  header.header_size = sizeof(Header);
  header.order = static_cast<std::uint32_t>(counts.size());
  header.score_bits = static_cast<std::uint32_t>(options.score_bits);
  header.backoff_bits = static_cast<std::uint32_t>(options.backoff_bits);
  header.vocab_size = counts[0];
  // About four words to a bucket.
  header.bucket_bits = static_cast<std::uint32_t>(std::max(0, bit_width(header.vocab_size) - 2));
  std::copy(counts.begin(), counts.end(), header.counts.begin());
  lay_out(header, text_size);
  return header;
}

std::uint64_t text_size_of(const NgramTable& table) {
  std::uint64_t size = 0;
  for (std::size_t id = 0; id < table.words.size(); ++id) size += table.words[id].size() + 1;
  return size;
}

std::vector<std::uint64_t> counts_of(const NgramTable& table) {
  std::vector<std::uint64_t> counts;
  counts.reserve(table.levels.size());
  for (const NgramTable::Level& level : table.levels) counts.push_back(level.size());
  return counts;
}

[[noreturn]] void refuse(const std::string& name, const std::string& what) {
  throw LanguageModelError(name + ": " + what);
}

}  // namespace

std::uint64_t image_checksum(const std::uint8_t* data, std::uint64_t size) {
  // Four independent lanes, so that it runs at the speed of memory.
  std::array<std::uint64_t, 4> lanes = {1, 2, 3, 4};
  const auto mix = [](std::uint64_t lane, std::uint64_t word) {
    lane = (lane ^ word) * 0x9E3779B97F4A7C15U;
    return lane ^ (lane >> 32);
  };
  std::uint64_t at = 0;
  for (; at + 32 <= size; at += 32) {
    for (std::size_t lane = 0; lane < 4; ++lane) lanes[lane] = mix(lanes[lane], load64(data + at + 8 * lane));
  }
  std::uint64_t value = size;
  for (; at < size; ++at) value = mix(value, data[at]);
  for (const std::uint64_t lane : lanes) value = mix(value, lane);
  return value;
}

std::uint64_t word_hash(std::string_view word) {
  std::uint64_t value = 0xCBF29CE484222325U;
  for (const char letter : word) value = (value ^ static_cast<std::uint8_t>(letter)) * 0x100000001B3U;
  // FNV-1a leaves the first bits, which order the words, little mixed.
  value ^= value >> 32;
  value *= 0x9E3779B97F4A7C15U;
  value ^= value >> 29;
  value *= 0xBF58476D1CE4E5B9U;
  return value ^ (value >> 32);
}

WordId NgramImageView::find(std::string_view word) const {
  if (word.empty()) return 0;
  const std::uint64_t bucket = bucket_bits == 0 ? 0 : word_hash(word) >> (64 - bucket_bits);
  const std::uint64_t end = std::min<std::uint64_t>(bucket_ids[bucket + 1], vocab_size);
  std::uint64_t place = bucket_places[bucket];
  for (std::uint64_t id = bucket_ids[bucket]; id < end && place < text_size; ++id) {
    const auto* text = reinterpret_cast<const char*>(word_text + place);
    const std::uint64_t left = text_size - place;
    if (left > word.size() && std::memcmp(text, word.data(), word.size()) == 0 && text[word.size()] == '\0') {
      return static_cast<WordId>(id);
    }
    const void* nul = std::memchr(text, '\0', left);
    if (nul == nullptr) break;
    place += static_cast<std::uint64_t>(static_cast<const char*>(nul) - text) + 1;
  }
  return 0;
}

std::string_view NgramImageView::word(WordId id) const {
  const std::uint32_t* first = bucket_ids;
  const std::uint32_t* last = bucket_ids + (std::uint64_t{1} << bucket_bits);
  std::uint64_t place = 0;
  std::uint64_t skip = id;
  if (id > 0) {
    // The last bucket that begins at this id or before it.
    const std::uint32_t* after = std::upper_bound(first, last + 1, id);
    const auto bucket = static_cast<std::uint64_t>(after - first) - (after == first ? 0 : 1);
    place = bucket_places[bucket];
    skip = id - std::min<std::uint64_t>(id, bucket_ids[bucket]);
  }
  while (place < text_size) {
    const auto* text = reinterpret_cast<const char*>(word_text + place);
    const void* nul = std::memchr(text, '\0', text_size - place);
    if (nul == nullptr) break;
    const auto length = static_cast<std::uint64_t>(static_cast<const char*>(nul) - text);
    if (skip == 0) return {text, length};
    --skip;
    place += length + 1;
  }
  return {};
}

std::uint64_t image_size(const std::vector<std::uint64_t>& counts, std::uint64_t text_size,
                         const NgramImageOptions& options) {
  return make_header(counts, text_size, options).file_size;
}

std::uint64_t image_size(const NgramTable& table, const NgramImageOptions& options) {
  return image_size(counts_of(table), text_size_of(table), options);
}

namespace {

// The values that codes stand for (Lloyd 1982, "Least squares quantization in PCM"), in ascending order.
std::vector<float> train_codebook(const std::vector<float>& values, std::size_t size) {
  constexpr std::size_t kBins = 1U << 16U;
  std::vector<float> distinct;
  for (const float value : values) {
    const auto place = std::lower_bound(distinct.begin(), distinct.end(), value);
    if (place != distinct.end() && *place == value) continue;
    distinct.insert(place, value);
    if (distinct.size() > size) break;
  }
  if (distinct.size() <= size) {
    distinct.resize(size, distinct.empty() ? 0.0F : distinct.back());
    return distinct;
  }
  const auto [lowest, highest] = std::minmax_element(values.begin(), values.end());
  const double low = *lowest;
  const double width = (static_cast<double>(*highest) - low) / kBins;
  // Sums over the bins up to each one: of the number, of the values, and of what the codes are first spread over, the
  // cube root of the density, which is best for many codes (Panter and Dite 1951).
  std::vector<double> number(kBins + 1, 0.0);
  std::vector<double> total(kBins + 1, 0.0);
  for (const float value : values) {
    const std::size_t bin = std::min(kBins - 1, static_cast<std::size_t>((value - low) / width));
    number[bin + 1] += 1.0;
    total[bin + 1] += value;
  }
  std::vector<double> spread(kBins + 1, 0.0);
  constexpr std::size_t kSmooth = 64;
  for (std::size_t bin = 0; bin < kBins; bin += kSmooth) {
    double count = 0.0;
    for (std::size_t at = bin; at < bin + kSmooth; ++at) count += number[at + 1];
    for (std::size_t at = bin; at < bin + kSmooth; ++at) spread[at + 1] = std::cbrt(count / kSmooth);
  }
  for (std::size_t bin = 0; bin < kBins; ++bin) {
    number[bin + 1] += number[bin];
    total[bin + 1] += total[bin];
    spread[bin + 1] += spread[bin];
  }
  std::vector<double> codes(size);
  for (std::size_t code = 0; code < size; ++code) {
    const double wanted = spread[kBins] * (static_cast<double>(code) + 0.5) / static_cast<double>(size);
    const auto bin = std::lower_bound(spread.begin(), spread.end(), wanted) - spread.begin();
    codes[code] = low + width * static_cast<double>(bin);
  }
  // Single values far off, such as the score of <unk> in some models, keep codes of their own.
  codes.front() = low;
  codes.back() = *highest;
  constexpr int kRounds = 60;
  for (int round = 0; round < kRounds; ++round) {
    std::size_t begin = 0;
    for (std::size_t code = 0; code < size; ++code) {
      std::size_t end = kBins;
      if (code + 1 < size) {
        const double border = ((codes[code] + codes[code + 1]) / 2 - low) / width;
        end = std::clamp(static_cast<std::size_t>(std::llround(std::max(0.0, border))), begin, kBins);
      }
      const double count = number[end] - number[begin];
      if (count > 0.5) codes[code] = (total[end] - total[begin]) / count;
      begin = end;
    }
    std::sort(codes.begin(), codes.end());
  }
  std::vector<float> book;
  book.reserve(codes.size());
  for (const double code : codes) book.push_back(static_cast<float>(code));
  return book;
}

std::size_t nearest_code(const std::vector<float>& book, std::size_t first, float value) {
  const auto begin = book.begin() + static_cast<std::ptrdiff_t>(first);
  const auto above = std::lower_bound(begin, book.end(), value);
  if (above == begin) return first;
  const bool below = above == book.end() || value - *(above - 1) < *above - value;
  return static_cast<std::size_t>(above - book.begin()) - (below ? 1 : 0);
}

std::uint32_t float_bits(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

void write_entries(const NgramTable::Level& level, const Header& header, std::size_t number, std::uint8_t* entries,
                   float*& codebook) {
  const int bits = entry_bits(header, number);
  const bool weights = number + 1 < header.order;
  if (header.score_bits == kFloatBits) {
    for (std::size_t place = 0; place < level.size(); ++place) {
      const std::uint64_t above = weights ? std::uint64_t{float_bits(level.backoffs[place])} << 32 : 0;
      PackedArray::set(entries, bits, place, above | float_bits(level.scores[place]));
    }
    return;
  }
  const std::uint32_t code_bits = score_bits(header, number);
  const std::vector<float> scores = train_codebook(level.scores, std::size_t{1} << code_bits);
  codebook = std::copy(scores.begin(), scores.end(), codebook);
  std::vector<float> backoffs;
  if (weights) {
    // Code 0 is for n-grams that are no context, the others for the weights of those that are.
    std::vector<float> real;
    std::copy_if(level.backoffs.begin(), level.backoffs.end(), std::back_inserter(real), is_context);
    backoffs = train_codebook(real, (std::size_t{1} << header.backoff_bits) - 1);
    backoffs.insert(backoffs.begin(), -0.0F);
    codebook = std::copy(backoffs.begin(), backoffs.end(), codebook);
  }
  for (std::size_t place = 0; place < level.size(); ++place) {
    std::uint64_t entry = nearest_code(scores, 0, level.scores[place]);
    if (weights && is_context(level.backoffs[place])) {
      entry |= static_cast<std::uint64_t>(nearest_code(backoffs, 1, level.backoffs[place])) << code_bits;
    }
    PackedArray::set(entries, bits, place, entry);
  }
}

void write_words(const NgramTable& table, const Header& header, std::uint8_t* data) {
  std::uint8_t* text = data + header.text.offset;
  auto* ids = reinterpret_cast<std::uint32_t*>(data + header.bucket_ids.offset);
  auto* places = reinterpret_cast<std::uint32_t*>(data + header.bucket_places.offset);
  std::uint64_t bucket = 0;  // of those before this one the beginning is written
  std::uint64_t place = 0;
  for (std::size_t id = 0; id < table.words.size(); ++id) {
    const std::string_view word = table.words[id];
    const std::uint64_t own =
        id == 0 || header.bucket_bits == 0 ? 0 : word_hash(word) >> (64 - static_cast<int>(header.bucket_bits));
    for (; id > 0 && bucket <= own; ++bucket) {
      ids[bucket] = static_cast<std::uint32_t>(id);
      places[bucket] = static_cast<std::uint32_t>(place);
    }
    std::copy(word.begin(), word.end(), text + place);
    place += word.size() + 1;
  }
  for (; bucket <= std::uint64_t{1} << header.bucket_bits; ++bucket) {
    ids[bucket] = static_cast<std::uint32_t>(table.words.size());
    places[bucket] = static_cast<std::uint32_t>(place);
  }
}

}  // namespace

std::vector<std::uint64_t> write_image(const NgramTable& table, const NgramImageOptions& options) {
  const std::uint64_t text_size = text_size_of(table);
  constexpr std::uint64_t kMaxBits = std::numeric_limits<std::uint32_t>::max();
  if (text_size > kMaxBits) throw InputError("the vocabulary has more than 4 GB of text");
  Header header = make_header(counts_of(table), text_size, options);
  for (std::size_t level = 1; level < header.order; ++level) {
    if (level_shape(header, level).num_bits() > kMaxBits) {
      throw InputError("the model has " + std::to_string(header.counts[level]) + " n-grams of order " +
                       std::to_string(level + 1) + ", too many for the format");
    }
  }
  header.begin_word = table.begin_word;
  header.end_word = table.end_word;
  std::vector<std::uint64_t> image(header.file_size / 8, 0);
  auto* data = reinterpret_cast<std::uint8_t*>(image.data());
  write_words(table, header, data);
  auto* codebook = reinterpret_cast<float*>(data + header.codebooks.offset);
  for (std::size_t number = 0; number < header.order; ++number) {
    const NgramTable::Level& level = table.levels[number];
    const auto& sections = header.levels[number];
    if (number > 0) {
      SortedSet::write(level_shape(header, number), data + sections[kHigh].offset, data + sections[kSamples].offset,
                       data + sections[kLow].offset, [&](std::uint64_t place) {
                         return level.parents[place] * header.vocab_size + level.words[place];
                       });
    }
    write_entries(level, header, number, data + sections[kEntries].offset, codebook);
  }
  header.body_checksum = image_checksum(data + sizeof(Header), header.file_size - sizeof(Header));
  header.header_checksum =
      image_checksum(reinterpret_cast<const std::uint8_t*>(&header), sizeof(Header) - sizeof(header.header_checksum));
  std::memcpy(data, &header, sizeof(header));
  return image;
}

bool is_image(const std::uint8_t* data, std::uint64_t size) { return size >= 8 && std::memcmp(data, kMagic, 8) == 0; }

NgramImageView view_image(const std::uint8_t* data, std::uint64_t size, const std::string& name) {
  if (!is_image(data, size)) refuse(name, "this is no language model of edgeasr: it does not begin like one");
  Header header;
  constexpr std::size_t kVersionEnd = 12;
  if (size >= kVersionEnd) std::memcpy(&header.version, data + 8, sizeof(header.version));
  if (header.version != kVersion) {
    refuse(name, "the language model is of version " + std::to_string(header.version) +
                     " of the format, this edgeasr knows version " + std::to_string(kVersion) +
                     ": update it, or build the model anew");
  }
  if (size < sizeof(Header)) refuse(name, "the language model is cut off in its header; copy or build it anew");
  std::memcpy(&header, data, sizeof(header));
  if (header.header_checksum != image_checksum(data, sizeof(Header) - sizeof(header.header_checksum))) {
    refuse(name, "the language model's header is damaged; copy or build it anew");
  }
  if (header.file_size != size) {
    refuse(name, "the language model has " + std::to_string(size) + " bytes, expected " +
                     std::to_string(header.file_size) + ": it is cut off, or something was added");
  }
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint32_t>::max();
  const bool floats = header.score_bits == kFloatBits && header.backoff_bits == kFloatBits;
  const auto is_code = [](std::uint32_t bits) { return bits >= 1 && bits <= kMaxCodeBits; };
  bool fits = header.header_size == sizeof(Header) && header.order >= 1 && header.order <= kMaxNgramOrder &&
              (floats || (is_code(header.score_bits) && is_code(header.backoff_bits))) && header.bucket_bits <= 31 &&
              header.vocab_size >= 1 && header.vocab_size < kMax && header.counts[0] == header.vocab_size &&
              header.begin_word < header.vocab_size && header.end_word < header.vocab_size && header.text.size >= 1 &&
              header.text.size <= kMax;
  for (std::size_t level = 1; fits && level < header.order; ++level) {
    const SortedSet::Shape shape = level_shape(header, level);
    fits = header.counts[level] <= shape.universe && header.counts[level] <= kMax && shape.num_bits() <= kMax;
  }
  if (fits) {
    // Where everything has to be follows from the sizes.
    Header expected = header;
    expected.levels = {};
    for (std::size_t level = header.order; level < expected.counts.size(); ++level) expected.counts[level] = 0;
    lay_out(expected, header.text.size);
    fits = std::memcmp(&expected, &header, sizeof(Header)) == 0;
  }
  if (!fits) refuse(name, "the language model's header contradicts itself; copy or build it anew");

  NgramImageView view;
  view.data = data;
  view.size = size;
  view.order = static_cast<int>(header.order);
  view.score_bits = static_cast<int>(header.score_bits);
  view.backoff_bits = static_cast<int>(header.backoff_bits);
  view.vocab_size = header.vocab_size;
  view.begin_word = header.begin_word;
  view.end_word = header.end_word;
  view.counts = header.counts;
  view.word_text = data + header.text.offset;
  view.text_size = header.text.size;
  view.bucket_ids = reinterpret_cast<const std::uint32_t*>(data + header.bucket_ids.offset);
  view.bucket_places = reinterpret_cast<const std::uint32_t*>(data + header.bucket_places.offset);
  view.bucket_bits = static_cast<int>(header.bucket_bits);
  const std::uint8_t* codebook = data + header.codebooks.offset;
  const auto take_codes = [&](std::vector<float>& codes, std::uint32_t bits) {
    codes.resize(std::size_t{1} << bits);
    std::memcpy(codes.data(), codebook, codes.size() * sizeof(float));
    codebook += codes.size() * sizeof(float);
    for (const float code : codes) {
      if (!std::isfinite(code)) refuse(name, "the language model's codebooks are damaged; copy or build it anew");
    }
  };
  for (std::size_t number = 0; number < header.order; ++number) {
    NgramImageView::Level& level = view.levels[number];
    const auto& sections = header.levels[number];
    if (number > 0) {
      level.set = SortedSet(level_shape(header, number), data + sections[kHigh].offset,
                            data + sections[kSamples].offset, data + sections[kLow].offset);
    }
    level.entries = PackedArray(data + sections[kEntries].offset, entry_bits(header, number));
    if (!floats) {
      level.score_bits = static_cast<int>(score_bits(header, number));
      take_codes(level.scores, score_bits(header, number));
      if (number + 1 < header.order) take_codes(level.backoffs, header.backoff_bits);
    }
  }
  return view;
}

NgramTable read_image(const NgramImageView& view, const std::string& name) {
  verify_image(view, name);
  NgramTable table;
  table.begin_word = view.begin_word;
  table.end_word = view.end_word;
  const auto num_words = static_cast<WordId>(view.vocab_size);
  for (WordId id = 0; id < num_words; ++id) table.words.add(view.word(id));
  table.levels.resize(static_cast<std::size_t>(view.order));
  for (std::size_t number = 0; number < table.levels.size(); ++number) {
    NgramTable::Level& level = table.levels[number];
    const std::uint64_t size = view.counts[number];
    level.words.resize(size);
    if (number == 0) {
      for (WordId id = 0; id < num_words; ++id) level.words[id] = id;
    } else {
      level.parents.resize(size);
      const std::uint64_t vocab_size = view.vocab_size > 0 ? view.vocab_size : 1;
      view.levels[number].set.for_each([&](std::uint64_t place, std::uint64_t key) {
        level.parents[place] = static_cast<std::uint32_t>(key / vocab_size);
        level.words[place] = static_cast<WordId>(key % vocab_size);
      });
    }
    level.scores.resize(size);
    if (number + 1 < table.levels.size()) level.backoffs.resize(size);
    for (std::uint64_t place = 0; place < size; ++place) {
      const std::uint64_t entry = view.entry(number, place);
      level.scores[place] = view.score(number, entry);
      if (!level.backoffs.empty()) level.backoffs[place] = view.backoff(number, entry);
    }
  }
  return table;
}

void verify_image(const NgramImageView& view, const std::string& name) {
  Header header;
  std::memcpy(&header, view.data, sizeof(header));
  if (header.body_checksum != image_checksum(view.data + sizeof(Header), view.size - sizeof(Header))) {
    refuse(name, "the language model is damaged: its checksum is wrong; copy or build it anew");
  }
  for (std::size_t number = 0; number < header.order; ++number) {
    const std::uint64_t size = view.counts[number];
    bool fits = true;
    if (number > 0) {
      const SortedSet& set = view.levels[number].set;
      std::uint64_t num_found = 0;
      std::uint64_t least = 0;
      set.for_each([&](std::uint64_t /*place*/, std::uint64_t key) {
        fits = fits && key >= least && key < set.shape().universe;
        least = key + 1;
        ++num_found;
      });
      fits = fits && num_found == size;
    }
    for (std::uint64_t place = 0; fits && place < size; ++place) {
      const std::uint64_t entry = view.entry(number, place);
      fits = std::isfinite(view.score(number, entry)) &&
             (number + 1 == header.order || std::isfinite(view.backoff(number, entry)));
    }
    if (!fits) refuse(name, "the language model is damaged: its n-grams contradict themselves; copy or build it anew");
  }
}

}  // namespace edgeasr
