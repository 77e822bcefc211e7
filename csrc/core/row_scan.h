// Finding the large values of a row without looking twice at the small ones. Rows must not hold NaN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace edgeasr {

// Vectors of four; GCC and Clang both know this extension and lower it to what the target has.
typedef float Floats __attribute__((vector_size(16)));
typedef std::int32_t Ints __attribute__((vector_size(16)));

inline Floats load(const float* values) {
  Floats loaded;
  std::memcpy(&loaded, values, sizeof loaded);
  return loaded;
}

inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }

inline constexpr std::size_t kScanBlock = 16;

// The largest of kScanBlock values.
inline float block_max(const float* values) {
  const Floats four = larger(larger(load(values), load(values + 4)), larger(load(values + 8), load(values + 12)));
  const float a = four[0] > four[1] ? four[0] : four[1];
  const float b = four[2] > four[3] ? four[2] : four[3];
  return a > b ? a : b;
}

inline float short_block_max(const float* values, std::size_t size) {
  float best = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < size; ++i) best = values[i] > best ? values[i] : best;
  return best;
}

// The largest value of each block of kScanBlock (the last may be shorter) into `maxima`; returns the largest of all.
inline float scan_blocks(const float* row, std::size_t size, std::vector<float>& maxima) {
  maxima.resize((size + kScanBlock - 1) / kScanBlock);
  float best = -std::numeric_limits<float>::infinity();
  std::size_t begin = 0;
  for (float& maximum : maxima) {
    const std::size_t left = size - begin;
    maximum = left >= kScanBlock ? block_max(row + begin) : short_block_max(row + begin, left);
    best = maximum > best ? maximum : best;
    begin += kScanBlock;
  }
  return best;
}

// The index of the largest value, the first of equals.
inline std::int32_t argmax(const float* row, std::size_t size) {
  float best = -std::numeric_limits<float>::infinity();
  std::size_t where = 0;
  for (std::size_t begin = 0; begin < size; begin += kScanBlock) {
    const std::size_t left = size - begin;
    const float maximum = left >= kScanBlock ? block_max(row + begin) : short_block_max(row + begin, left);
    if (maximum > best) {
      best = maximum;
      where = begin;
    }
  }
  while (where + 1 < size && row[where] != best) ++where;
  return static_cast<std::int32_t>(where);
}

}  // namespace edgeasr
