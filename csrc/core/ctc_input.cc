#include "core/ctc_input.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "core/errors.h"
#include "core/row_scan.h"

namespace edgeasr {
namespace {

// How far the log of a row's sum may be from zero. Half-precision log-probs are off by up to 0.004.
constexpr float kSumTolerance = 0.01F;

// e^x for x up to a little above 0, within 0.02 %; below -87 it gives about 1e-38.
inline Floats rough_exp(Floats x) {
  const Floats log2_e = Floats{} + 1.44269504F;
  const Floats magic =
      Floats{} + 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer that stands in the low bits
  const Floats lowest = Floats{} - 87.0F;
  const Floats y = larger(lowest, x) * log2_e;
  const Floats shifted = y + magic;
  const Floats fraction = y - (shifted - magic);  // in [-0.5, 0.5]
  const Floats power = 1.0F + fraction * (0.69314718F + fraction * (0.24022651F + fraction * 0.05550411F));
  Ints exponent;
  Ints bits;
  std::memcpy(&exponent, &shifted, sizeof exponent);
  std::memcpy(&bits, &power, sizeof bits);
  bits += exponent << 23;
  Floats result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

// Sum of the row's probabilities; NaN when a value is NaN or above the tolerance.
float row_sum(const float* row, std::size_t size) {
  const Floats limit = Floats{} + kSumTolerance;
  Floats sum[2] = {};
  Ints good = Ints{} - 1;
  const auto add = [&](const float* values, Floats& to) {
    const Floats x = load(values);
    good &= x <= limit;
    to += rough_exp(x);
  };
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    add(row + i, sum[0]);
    add(row + i + 4, sum[1]);
  }
  for (; i < size; i += 4) {
    float rest[4] = {-1000.0F, -1000.0F, -1000.0F, -1000.0F};
    std::memcpy(rest, row + i, std::min<std::size_t>(4, size - i) * sizeof(float));
    add(rest, sum[0]);
  }
  const Floats both = sum[0] + sum[1];
  const bool all_good = (good[0] & good[1] & good[2] & good[3]) != 0;
  return all_good ? both[0] + both[1] + both[2] + both[3] : std::numeric_limits<float>::quiet_NaN();
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
