// Arrays of numbers of any width, packed to the bit, and sorted sets of numbers in little more bits than it takes to
// tell them apart. Both are views of memory that something else holds, a mapped file for example: they never read
// outside it, whatever it contains.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace edgeasr {

inline std::uint64_t load64(const std::uint8_t* bytes) {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

inline int count_ones(std::uint64_t bits) {
#if defined(__POPCNT__) || defined(__aarch64__)
  return __builtin_popcountll(bits);
#else
  // Without the instruction compilers call a function that looks up a table, which is slower than this.
  bits -= (bits >> 1) & 0x5555555555555555U;
  bits = (bits & 0x3333333333333333U) + ((bits >> 2) & 0x3333333333333333U);
  bits = (bits + (bits >> 4)) & 0x0F0F0F0F0F0F0F0FU;
  return static_cast<int>((bits * 0x0101010101010101U) >> 56);
#endif
}

// The place of the one number `n` (from 0) in `bits`, which has more than n ones.
inline int select_one(std::uint64_t bits, int n) {
  int place = 0;
  for (int width = 32; width > 0; width /= 2) {
    const int below = count_ones(bits & ((std::uint64_t{1} << width) - 1));
    if (n >= below) {
      n -= below;
      bits >>= width;
      place += width;
    }
  }
  return place;
}

// How many bits it takes to write numbers up to `value`.
inline int bit_width(std::uint64_t value) { return value == 0 ? 0 : 64 - __builtin_clzll(value); }

// `size` numbers of `width` bits (0 to kMaxWidth, or 64) each.
class PackedArray {
 public:
  static constexpr int kMaxWidth = 56;

  PackedArray() = default;
  // `data` holds num_bytes(size, width) bytes.
  PackedArray(const std::uint8_t* data, int width)
      : data_(data),
        width_(static_cast<std::uint64_t>(width)),
        mask_(width == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << width) - 1) {}

  // With room for an access of 64 bits at the last number; a multiple of 8.
  static constexpr std::uint64_t num_bytes(std::uint64_t size, int width) {
    return (size * static_cast<std::uint64_t>(width) + 63) / 64 * 8 + 8;
  }

  std::uint64_t operator[](std::uint64_t index) const {
    const std::uint64_t bit = index * width_;
    return (load64(data_ + (bit >> 3)) >> (bit & 7)) & mask_;
  }

  // Writes into memory that is zero so far.
  static void set(std::uint8_t* data, int width, std::uint64_t index, std::uint64_t value) {
    const std::uint64_t bit = index * static_cast<std::uint64_t>(width);
    const std::uint64_t word = load64(data + (bit >> 3)) | (value << (bit & 7));
    std::memcpy(data + (bit >> 3), &word, sizeof(word));
  }

 private:
  const std::uint8_t* data_ = nullptr;
  std::uint64_t width_ = 0;
  std::uint64_t mask_ = 0;
};

// A set of `size` numbers below `universe`, in ascending order (Elias 1974, Fano 1971; Vigna 2013, "Quasi-succinct
// indices"): the low bits of each stand in a packed array; the high bits are counted in unary, one bit per number and a
// zero after each value of the high bits. It takes at most 2 + log2(universe / size) bits a number and finds one in
// constant time on average, with the help of the places of every kSampling-th zero.
class SortedSet {
 public:
  static constexpr std::uint64_t kNotFound = ~std::uint64_t{0};
  static constexpr std::uint64_t kSampling = 128;

  struct Shape {
    std::uint64_t size = 0;
    std::uint64_t universe = 0;
    int low_bits = 0;
    std::uint64_t num_zeros = 0;

    Shape() = default;
    Shape(std::uint64_t set_size, std::uint64_t set_universe) : size(set_size), universe(set_universe) {
      if (universe > size) low_bits = bit_width(universe / (size > 0 ? size : 1) >> 1U);
      if (low_bits > PackedArray::kMaxWidth) low_bits = PackedArray::kMaxWidth;
      num_zeros = (universe >> low_bits) + 1;
    }
    std::uint64_t num_bits() const { return size + num_zeros; }
    std::uint64_t high_bytes() const { return (num_bits() + 63) / 64 * 8; }
    std::uint64_t sample_bytes() const { return ((num_zeros + kSampling - 1) / kSampling * 4 + 7) / 8 * 8; }
    std::uint64_t low_bytes() const { return PackedArray::num_bytes(size, low_bits); }
  };

  SortedSet() = default;
  // The memory holds as many bytes as `shape` says; `high` and `samples` are aligned to 8 bytes.
  SortedSet(const Shape& shape, const std::uint8_t* high, const std::uint8_t* samples, const std::uint8_t* low)
      : shape_(shape),
        high_(reinterpret_cast<const std::uint64_t*>(high)),
        samples_(reinterpret_cast<const std::uint32_t*>(samples)),
        low_(low, shape.low_bits) {}

  // The place of `key` (below the universe) in the order of the set, or kNotFound.
  std::uint64_t find(std::uint64_t key) const {
    const std::uint64_t bucket = key >> shape_.low_bits;
    const std::uint64_t start = bucket == 0 ? 0 : select_zero(bucket - 1) + 1;
    std::uint64_t first = start - bucket;
    if (start < bucket || first >= shape_.size) return kNotFound;
    std::uint64_t count = run_of_ones(start);
    if (count > shape_.size - first) count = shape_.size - first;
    const std::uint64_t low = key & ((std::uint64_t{1} << shape_.low_bits) - 1);
    while (count > 8) {
      const std::uint64_t half = count / 2;
      if (low_[first + half] <= low) {
        first += half;
        count -= half;
      } else {
        count = half;
      }
    }
    for (; count > 0; --count, ++first) {
      const std::uint64_t found = low_[first];
      if (found >= low) return found == low ? first : kNotFound;
    }
    return kNotFound;
  }

  // All numbers in order: visit(place, number), up to the end of the set or of what is readable.
  template <class Visit>
  void for_each(Visit&& visit) const {
    std::uint64_t place = 0;
    std::uint64_t zeros = 0;
    for (std::uint64_t bit = 0; bit < shape_.num_bits() && place < shape_.size; ++bit) {
      if (((high_[bit >> 6] >> (bit & 63)) & 1) == 0) {
        ++zeros;
        continue;
      }
      visit(place, (zeros << shape_.low_bits) | low_[place]);
      ++place;
    }
  }

  const Shape& shape() const { return shape_; }

  // Writes a set into memory that is zero so far; at(place) gives its numbers, ascending without repetition.
  template <class At>
  static void write(const Shape& shape, std::uint8_t* high, std::uint8_t* samples, std::uint8_t* low, At&& at) {
    auto* high_words = reinterpret_cast<std::uint64_t*>(high);
    auto* sampled = reinterpret_cast<std::uint32_t*>(samples);
    std::uint64_t zero = 0;
    const auto zeros_up_to = [&](std::uint64_t bucket, std::uint64_t ones) {
      for (; zero < bucket; ++zero) {
        if (zero % kSampling == 0) sampled[zero / kSampling] = static_cast<std::uint32_t>(zero + ones);
      }
    };
    for (std::uint64_t place = 0; place < shape.size; ++place) {
      const std::uint64_t number = at(place);
      const std::uint64_t bucket = number >> shape.low_bits;
      zeros_up_to(bucket, place);
      const std::uint64_t bit = bucket + place;
      high_words[bit >> 6] |= std::uint64_t{1} << (bit & 63);
      PackedArray::set(low, shape.low_bits, place, number & ((std::uint64_t{1} << shape.low_bits) - 1));
    }
    zeros_up_to(shape.num_zeros, shape.size);
  }

 private:
  // The place of a zero; past the end where the memory does not hold a set.
  std::uint64_t select_zero(std::uint64_t zero) const {
    const std::uint64_t end = shape_.num_bits();
    if (zero >= shape_.num_zeros) return end;
    const std::uint64_t sample = samples_[zero / kSampling];
    if (sample >= end) return end;
    int left = static_cast<int>(zero % kSampling);
    std::uint64_t word = sample >> 6;
    std::uint64_t zeros = ~high_[word] & (~std::uint64_t{0} << (sample & 63));
    while (true) {
      const int count = count_ones(zeros);
      if (left < count) return (word << 6) + static_cast<std::uint64_t>(select_one(zeros, left));
      left -= count;
      if (++word >= (end + 63) / 64) return end;
      zeros = ~high_[word];
    }
  }

  std::uint64_t run_of_ones(std::uint64_t bit) const {
    const std::uint64_t end = shape_.num_bits();
    std::uint64_t count = 0;
    while (bit + count < end) {
      const std::uint64_t place = bit + count;
      const std::uint64_t zeros = ~high_[place >> 6] >> (place & 63);
      if (zeros != 0) return count + static_cast<std::uint64_t>(__builtin_ctzll(zeros));
      count += 64 - (place & 63);
    }
    return end > bit ? end - bit : 0;
  }

  Shape shape_;
  const std::uint64_t* high_ = nullptr;
  const std::uint32_t* samples_ = nullptr;
  PackedArray low_;
};

}  // namespace edgeasr
