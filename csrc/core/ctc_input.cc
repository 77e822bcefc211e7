#include "core/ctc_input.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "core/errors.h"

namespace edgeasr {
namespace {

// How far the log of a row's sum may be from zero. Half-precision log-probs are off by up to 0.004.
constexpr float kSumTolerance = 0.01F;

// e^x for x <= 0.01, within 0.01 %, in operations that every compiler vectorises; far below zero it gives about 1e-38.
inline float rough_exp(float x) {
  constexpr float kLog2E = 1.44269504F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer that stands in the low bits
  const float y = (-87.0F > x ? -87.0F : x) * kLog2E;
  const float shifted = y + kRound;
  const float fraction = y - (shifted - kRound);  // in [-0.5, 0.5]
  const float mantissa = 1.0F + fraction * (0.69314718F + fraction * (0.24022651F + fraction * 0.05550411F));
  std::uint32_t exponent_bits = 0;
  std::memcpy(&exponent_bits, &shifted, sizeof exponent_bits);
  std::uint32_t bits = 0;
  std::memcpy(&bits, &mantissa, sizeof bits);
  bits += exponent_bits << 23;
  float result = 0.0F;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

// Sum of the row's probabilities, or NaN when a value is NaN or greater than the tolerance.
float row_sum(const float* row, std::size_t size) {
  constexpr std::size_t kLanes = 8;
  float sums[kLanes] = {};
  std::uint32_t bad[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float x = row[i + lane];
      bad[lane] |= x <= kSumTolerance ? 0U : 1U;
      sums[lane] += rough_exp(x);
    }
  }
  for (; i < size; ++i) {
    bad[0] |= row[i] <= kSumTolerance ? 0U : 1U;
    sums[0] += rough_exp(row[i]);
  }
  float sum = 0.0F;
  std::uint32_t any_bad = 0;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    sum += sums[lane];
    any_bad |= bad[lane];
  }
  return any_bad != 0U ? std::numeric_limits<float>::quiet_NaN() : sum;
}

// Natural log of the sum of e^x over the row; NaN for a row that has NaN, +inf or nothing but -inf.
double log_sum_exp(const float* row, std::size_t size) {
  float largest = -std::numeric_limits<float>::infinity();
  bool has_nan = false;
  for (std::size_t i = 0; i < size; ++i) {
    has_nan = has_nan || std::isnan(row[i]);
    largest = row[i] > largest ? row[i] : largest;
  }
  if (has_nan || !std::isfinite(largest)) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0.0;
  for (std::size_t i = 0; i < size; ++i) sum += std::exp(static_cast<double>(row[i]) - static_cast<double>(largest));
  return static_cast<double>(largest) + std::log(sum);
}

[[noreturn]] void refuse(const float* row, std::size_t size, std::size_t frame, CtcInput kind) {
  const std::string where = "row " + std::to_string(frame) + " of the block";
  for (std::size_t i = 0; i < size; ++i) {
    if (std::isnan(row[i])) throw InputError(where + " has NaN at token " + std::to_string(i));
    if (std::isinf(row[i]) && row[i] > 0.0F) throw InputError(where + " has +inf at token " + std::to_string(i));
  }
  const double log_sum = log_sum_exp(row, size);
  if (kind == CtcInput::kLogits || std::isnan(log_sum)) throw InputError(where + " has nothing but -inf");
  throw InputError(where + " is not normalised: its probabilities sum to e^" + std::to_string(log_sum) +
                   ", expected natural-log probabilities that sum to 1 (for unnormalised scores ask for logits)");
}

}  // namespace

CtcInputGate::CtcInputGate(std::int32_t vocab_size, std::int32_t blank_id, CtcInput kind)
    : vocab_size_(vocab_size), kind_(kind) {
  if (vocab_size < 2) {
    throw ConfigError("vocab_size is " + std::to_string(vocab_size) + ", expected at least 2 (blank and one token)");
  }
  if (blank_id < 0 || blank_id >= vocab_size) {
    throw ConfigError("blank_id is " + std::to_string(blank_id) + ", expected 0 to " + std::to_string(vocab_size - 1) +
                      " (vocab_size is " + std::to_string(vocab_size) + ")");
  }
}

const float* CtcInputGate::admit(const float* rows, std::size_t num_frames) {
  const auto size = static_cast<std::size_t>(vocab_size_);
  if (kind_ == CtcInput::kLogits) normalised_.resize(num_frames * size);
  for (std::size_t frame = 0; frame < num_frames; ++frame) {
    const float* row = rows + frame * size;
    if (kind_ == CtcInput::kLogits) {
      const double log_sum = log_sum_exp(row, size);
      if (std::isnan(log_sum)) refuse(row, size, frame, kind_);
      float* out = normalised_.data() + frame * size;
      for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<float>(static_cast<double>(row[i]) - log_sum);
    } else {
      const float sum = row_sum(row, size);
      if (!(sum >= 1.0F - kSumTolerance && sum <= 1.0F + kSumTolerance)) refuse(row, size, frame, kind_);
    }
  }
  return kind_ == CtcInput::kLogits ? normalised_.data() : rows;
}

}  // namespace edgeasr
