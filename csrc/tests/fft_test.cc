// The FFT against the definition of the discrete Fourier transform, for every kernel.
#include "core/fft.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "core/errors.h"
#include "core/frame_kernels.h"
#include "tests/test.h"

namespace edgeasr {
namespace {

constexpr double kPi = 3.14159265358979323846;

struct alignas(kScratchAlignment) Block {
  double values[8];
};

std::vector<double> power_spectrum(const FrameKernel& kernel, const std::vector<double>& samples) {
  const int n_fft = static_cast<int>(samples.size());
  const RealFftPlan plan(n_fft);
  std::vector<Block> scratch(scratch_size(n_fft, 0) / 8);
  std::vector<double> power(samples.size() / 2 + 1);
  kernel.power_spectrum(plan.tables(), samples.data(), scratch.front().values, power.data());
  return power;
}

std::vector<double> defined_power_spectrum(const std::vector<double>& samples) {
  const std::size_t n = samples.size();
  std::vector<double> power;
  for (std::size_t k = 0; k <= n / 2; ++k) {
    double re = 0.0;
    double im = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
      const double angle = 2.0 * kPi * static_cast<double>((k * i) % n) / static_cast<double>(n);
      re += samples[i] * std::cos(angle);
      im -= samples[i] * std::sin(angle);
    }
    power.push_back(re * re + im * im);
  }
  return power;
}

std::vector<double> noise(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0.0, 0.1);
  std::vector<double> samples(size);
  for (double& sample : samples) sample = normal(random);
  return samples;
}

double largest(const std::vector<double>& values) {
  double result = 0.0;
  for (const double value : values) result = std::max(result, value);
  return result;
}

// Every supported length up to 400, and lengths that frontends use beyond.
std::vector<int> lengths() {
  std::vector<int> result;
  for (int n = 4; n <= 400; ++n) {
    if (RealFftPlan::is_supported(n)) result.push_back(n);
  }
  for (const int n : {480, 512, 600, 640, 1024, 1200, 1250, 2048}) result.push_back(n);
  return result;
}

}  // namespace

TEST(power_spectrum_follows_the_definition) {
  for (const int n : lengths()) {
    const std::vector<double> samples = noise(static_cast<std::size_t>(n), static_cast<unsigned>(n));
    const std::vector<double> expected = defined_power_spectrum(samples);
    const double tolerance = 1e-14 * largest(expected);
    for (const FrameKernel* kernel : frame_kernels()) {
      const std::vector<double> power = power_spectrum(*kernel, samples);
      for (std::size_t k = 0; k < expected.size(); ++k) CHECK_NEAR(power[k], expected[k], tolerance);
    }
  }
}

TEST(a_tone_on_a_bin_leaves_nothing_elsewhere) {
  constexpr int kLength = 512;
  for (int bin = 0; bin <= kLength / 2; ++bin) {
    std::vector<double> samples;
    for (int i = 0; i < kLength; ++i) {
      samples.push_back(std::cos(2.0 * kPi * ((i * bin) % kLength) / kLength));
    }
    const bool is_edge = bin == 0 || bin == kLength / 2;
    const double peak = is_edge ? kLength * kLength : kLength * kLength / 4.0;
    for (const FrameKernel* kernel : frame_kernels()) {
      const std::vector<double> power = power_spectrum(*kernel, samples);
      for (int k = 0; k <= kLength / 2; ++k) {
        CHECK_NEAR(power[static_cast<std::size_t>(k)], k == bin ? peak : 0.0, 1e-14 * peak);
      }
    }
  }
}

TEST(all_kernels_give_the_same_bits) {
  for (const int n : lengths()) {
    const std::vector<double> samples = noise(static_cast<std::size_t>(n), 7);
    const std::vector<double> expected = power_spectrum(*frame_kernels().back(), samples);
    for (const FrameKernel* kernel : frame_kernels()) CHECK(power_spectrum(*kernel, samples) == expected);
  }
}

TEST(zeros_have_no_power) {
  for (const double power : power_spectrum(*frame_kernels().front(), std::vector<double>(512, 0.0))) {
    CHECK_EQ(power, 0.0);
  }
}

TEST(unsupported_lengths_are_refused) {
  for (const int n :
       {-2, 0, 1, 2, 3, 5, 511, 14, 22, 2 * 7 * 32, RealFftPlan::kMaxLength + 2, 2 * RealFftPlan::kMaxLength}) {
    CHECK(!RealFftPlan::is_supported(n));
    CHECK_THROWS_WITH(RealFftPlan{n}, ConfigError, "n_fft is " + std::to_string(n));
  }
  for (const int n : {4, 6, 8, 10, 12, 400, 512, RealFftPlan::kMaxLength}) CHECK(RealFftPlan::is_supported(n));
}

}  // namespace edgeasr

TEST_MAIN()
