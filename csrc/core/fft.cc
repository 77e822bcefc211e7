#include "core/fft.h"

#include <cmath>
#include <string>

#include "core/errors.h"

namespace edgeasr {
namespace {

constexpr double kPi = 3.14159265358979323846;

// The radices of the passes for `n` points, or nothing when n has a prime factor above 5. Radix 4 comes first: its
// passes are the cheapest, and the early ones have the most twiddle factors.
std::vector<int> factorize(int n) {
  std::vector<int> radices;
  for (const int radix : {4, 2, 3, 5}) {
    while (n % radix == 0) {
      radices.push_back(radix);
      n /= radix;
    }
  }
  return n == 1 ? radices : std::vector<int>{};
}

void push_unit_root(std::vector<double>& out, int numerator, int denominator) {
  const double angle = 2.0 * kPi * static_cast<double>(numerator) / static_cast<double>(denominator);
  out.push_back(std::cos(angle));
  out.push_back(-std::sin(angle));
}

}  // namespace

bool RealFftPlan::is_supported(int n_fft) {
  return n_fft >= 4 && n_fft <= kMaxLength && n_fft % 2 == 0 && !factorize(n_fft / 2).empty();
}

void RealFftPlan::require_supported(int n_fft) {
  if (is_supported(n_fft)) return;
  throw ConfigError("n_fft is " + std::to_string(n_fft) + "; it must be even, from 4 to " + std::to_string(kMaxLength) +
                    ", with no prime factor above 5");
}

RealFftPlan::RealFftPlan(int n_fft) : n_fft_(n_fft) {
  require_supported(n_fft);
  const int points = n_fft / 2;
  int span = points;
  for (const int radix : factorize(points)) {
    passes_.push_back({radix, span, twiddles_.size()});
    for (int j = 0; j < span / radix; ++j) {
      for (int q = 1; q < radix; ++q) push_unit_root(twiddles_, j * q, span);
    }
    span /= radix;
  }
  positions_.reserve(static_cast<std::size_t>(points));
  for (int k = 0; k < points; ++k) {
    int rest = k;
    int position = 0;
    for (const FftPass& pass : passes_) {
      position += (rest % pass.radix) * (pass.span / pass.radix);
      rest /= pass.radix;
    }
    positions_.push_back(position);
  }
  for (int k = 0; k <= n_fft / 4; ++k) push_unit_root(join_twiddles_, k, n_fft);
}

RealFftTables RealFftPlan::tables() const {
  return {n_fft_,
          static_cast<int>(passes_.size()),
          passes_.data(),
          twiddles_.data(),
          positions_.data(),
          join_twiddles_.data()};
}

}  // namespace edgeasr
