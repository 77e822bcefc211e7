// The frontend's invariants: the same bits for any cut, lane and kernel; clear errors; memory that does not grow.
#include "core/log_mel.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "core/errors.h"
#include "tests/test.h"

// Allocations are counted, to show that a running stream makes none. Not inlined, or GCC takes the pairs for
// mismatched.
static std::size_t num_allocations = 0;

[[gnu::noinline]] void* operator new(std::size_t size) {
  ++num_allocations;
  if (void* p = std::malloc(size > 0 ? size : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t /*size*/) noexcept { std::free(p); }

namespace edgeasr {
namespace {

constexpr Padding kPaddings[] = {Padding::kKaldi, Padding::kSnip, Padding::kCenter, Padding::kCenterZero};

std::vector<float> noise(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.1f);
  std::vector<float> samples(size);
  for (float& sample : samples) sample = normal(random);
  return samples;
}

// The features of `samples`, given in pieces of the sizes that `next_size` returns.
template <typename NextSize>
std::vector<float> features_in_pieces(LogMelFrontend& frontend, const std::vector<float>& samples,
                                      const NextSize& next_size) {
  std::vector<float> features;
  std::size_t at = 0;
  while (at < samples.size()) {
    const std::size_t size = std::min<std::size_t>(next_size(), samples.size() - at);
    frontend.accept(samples.data() + at, size, features);
    at += size;
  }
  frontend.finish(features);
  return features;
}

std::vector<float> features_of(const LogMelConfig& config, const std::vector<float>& samples,
                               const FrameKernel* kernel = nullptr) {
  LogMelFrontend frontend(config, kernel);
  return features_in_pieces(frontend, samples, [&] { return samples.size(); });
}

// The defaults, librosa's convention, odd lengths, hops larger than the window, tiny windows.
std::vector<LogMelConfig> configs() {
  std::vector<LogMelConfig> all;
  for (const Padding padding : kPaddings) {
    LogMelConfig kaldi;
    kaldi.padding = padding;
    all.push_back(kaldi);

    LogMelConfig librosa = kaldi;
    librosa.n_fft = 400;
    librosa.low_hz = 0.0;
    librosa.high_hz = 8000.0;
    librosa.window = Window::kHann;
    librosa.periodic_window = true;
    librosa.mel_scale = MelScale::kSlaney;
    librosa.mel_norm = MelNorm::kSlaney;
    librosa.preemphasis = 0.0;
    librosa.remove_dc_offset = false;
    all.push_back(librosa);

    LogMelConfig odd = kaldi;
    odd.win_length = 333;
    odd.hop_length = 77;
    odd.num_mel_bins = 23;
    odd.window = Window::kHamming;
    all.push_back(odd);

    LogMelConfig sparse = kaldi;
    sparse.n_fft = 128;
    sparse.win_length = 100;
    sparse.hop_length = 1001;
    sparse.num_mel_bins = 13;
    all.push_back(sparse);

    LogMelConfig tiny = kaldi;
    tiny.n_fft = 16;
    tiny.win_length = 2;
    tiny.hop_length = 1;
    tiny.num_mel_bins = 2;
    all.push_back(tiny);
  }
  return all;
}

std::int64_t expected_frames(const LogMelConfig& config, std::int64_t num_samples) {
  const std::int64_t hop = config.hop_length;
  if (num_samples == 0) return 0;
  if (config.padding == Padding::kKaldi) return (num_samples + hop / 2) / hop;
  if (config.padding == Padding::kSnip) {
    return num_samples < config.win_length ? 0 : (num_samples - config.win_length) / hop + 1;
  }
  return num_samples / hop + 1;
}

}  // namespace

TEST(any_cut_gives_the_same_bits) {
  unsigned seed = 0;
  for (const LogMelConfig& config : configs()) {
    const std::vector<float> samples = noise(12345, ++seed);
    const std::vector<float> expected = features_of(config, samples);
    LogMelFrontend frontend(config);
    for (const std::size_t size : {1u, 7u, 160u, 399u, 1600u, 5000u}) {
      frontend.reset();
      CHECK(features_in_pieces(frontend, samples, [&] { return size; }) == expected);
    }
    std::mt19937 random(seed);
    for (int trial = 0; trial < 10; ++trial) {
      frontend.reset();
      // Sizes from 0 to thousands, small ones as likely as large ones.
      const auto next_size = [&] { return static_cast<std::size_t>(random() % 4096) >> (random() % 13); };
      CHECK(features_in_pieces(frontend, samples, next_size) == expected);
    }
  }
}

TEST(all_kernels_give_the_same_bits) {
  for (const LogMelConfig& config : configs()) {
    // One more frame each time, so that groups of every fill are met.
    for (int extra = 0; extra < 34; ++extra) {
      const std::vector<float> samples = noise(static_cast<std::size_t>(500 + extra * config.hop_length), 3);
      const std::vector<float> expected = features_of(config, samples, frame_kernels().back());
      for (const FrameKernel* kernel : frame_kernels()) CHECK(features_of(config, samples, kernel) == expected);
    }
  }
}

TEST(numbers_of_frames) {
  for (const LogMelConfig& config : configs()) {
    for (int num_samples = 0; num_samples < 1300; num_samples += num_samples < 10 ? 1 : 13) {
      const std::vector<float> features = features_of(config, noise(static_cast<std::size_t>(num_samples), 1));
      CHECK_EQ(static_cast<std::int64_t>(features.size()), expected_frames(config, num_samples) * config.num_mel_bins);
    }
  }
}

TEST(short_input_is_the_same_sample_by_sample) {
  for (const LogMelConfig& config : configs()) {
    LogMelFrontend frontend(config);
    for (std::size_t num_samples = 0; num_samples < 500; num_samples += num_samples < 20 ? 1 : 17) {
      const std::vector<float> samples = noise(num_samples, 5);
      frontend.reset();
      CHECK(features_in_pieces(frontend, samples, [] { return std::size_t{1}; }) == features_of(config, samples));
    }
  }
}

TEST(frames_come_as_soon_as_they_are_complete) {
  LogMelConfig config;
  config.padding = Padding::kSnip;
  LogMelFrontend frontend(config);
  const std::vector<float> samples = noise(560, 1);
  std::vector<float> features;
  frontend.accept(samples.data(), 399, features);
  CHECK_EQ(features.size(), 0u);
  frontend.accept(samples.data() + 399, 1, features);
  CHECK_EQ(features.size(), 80u);
  frontend.accept(samples.data() + 400, 160, features);
  CHECK_EQ(features.size(), 160u);
}

TEST(silence_is_at_the_floor) {
  LogMelConfig config;
  config.log_floor = 1e-5;
  for (const float value : features_of(config, std::vector<float>(4000, 0.0f))) {
    CHECK_NEAR(value, std::log(1e-5), 1e-5);
  }
  // A constant is silence once the mean is removed.
  for (const float value : features_of(config, std::vector<float>(4000, 0.3f))) {
    CHECK_NEAR(value, std::log(1e-5), 1e-5);
  }
}

TEST(logarithms_over_the_whole_range) {
  // A single pulse has the same power in every bin, whatever its height.
  LogMelConfig config;
  config.preemphasis = 0.0;
  config.remove_dc_offset = false;
  config.log_floor = 1.2e-38;
  for (double log_power = -80.0; log_power < 40.0; log_power += 0.173) {
    std::vector<float> samples(400, 0.0f);
    samples[200] = static_cast<float>(std::exp(log_power / 2.0));
    config.padding = Padding::kSnip;
    const std::vector<float> features = features_of(config, samples);
    const double height = std::pow(0.5 - 0.5 * std::cos(2.0 * 3.14159265358979323846 * 200 / 399), 0.85);
    // Band 40 by its own weights; what is compared here is the logarithm.
    static const double first = features[40] - (2.0 * std::log(samples[200] * height));
    CHECK_NEAR(features[40], 2.0 * std::log(samples[200] * height) + first, 2e-5);
  }
}

TEST(a_running_stream_does_not_allocate) {
  for (const LogMelConfig& config : configs()) {
    LogMelFrontend frontend(config);
    const std::vector<float> samples = noise(16000, 2);
    std::vector<float> features;
    for (const std::size_t size : {std::size_t{1}, std::size_t{1600}, samples.size()}) {
      const auto feed = [&] {
        for (std::size_t at = 0; at < samples.size(); at += size) {
          features.clear();
          frontend.accept(samples.data() + at, std::min(size, samples.size() - at), features);
        }
      };
      feed();
      const std::size_t before = num_allocations;
      feed();
      feed();
      CHECK_EQ(num_allocations, before);
    }
  }
}

TEST(bad_samples_are_refused_and_change_nothing) {
  const std::vector<float> samples = noise(3000, 4);
  const std::vector<float> expected = features_of(LogMelConfig{}, samples);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity, 1e30f}) {
    LogMelFrontend frontend(LogMelConfig{});
    std::vector<float> features;
    frontend.accept(samples.data(), 1000, features);
    std::vector<float> with_bad(samples.begin() + 1000, samples.begin() + 2000);
    with_bad[234] = bad;
    const std::size_t before = features.size();
    CHECK_THROWS_WITH(frontend.accept(with_bad.data(), with_bad.size(), features), InputError, "sample 1234 is");
    CHECK_EQ(features.size(), before);
    frontend.accept(samples.data() + 1000, 2000, features);
    frontend.finish(features);
    CHECK(features == expected);
  }
}

TEST(calls_after_finish_are_refused_until_reset) {
  const std::vector<float> samples = noise(2000, 6);
  LogMelFrontend frontend(LogMelConfig{});
  std::vector<float> features;
  frontend.accept(samples.data(), samples.size(), features);
  frontend.finish(features);
  const std::vector<float> expected = features;
  CHECK_THROWS_WITH(frontend.accept(samples.data(), 1, features), StreamStateError, "after finish()");
  CHECK_THROWS_WITH(frontend.accept(samples.data(), 0, features), StreamStateError, "after finish()");
  CHECK_THROWS_WITH(frontend.finish(features), StreamStateError, "after finish()");
  CHECK(features == expected);

  frontend.reset();
  features.clear();
  frontend.accept(samples.data(), samples.size(), features);
  frontend.finish(features);
  CHECK(features == expected);

  // In the middle of a recording, too.
  frontend.reset();
  features.clear();
  frontend.accept(samples.data(), 777, features);
  frontend.reset();
  features.clear();
  frontend.accept(samples.data(), samples.size(), features);
  frontend.finish(features);
  CHECK(features == expected);
}

TEST(empty_input_gives_no_frames) {
  for (const LogMelConfig& config : configs()) {
    LogMelFrontend frontend(config);
    std::vector<float> features;
    frontend.accept(nullptr, 0, features);
    frontend.finish(features);
    CHECK(features.empty());
  }
}

TEST(config_errors_name_the_field) {
  const auto refused = [](const char* field, const auto& change) {
    LogMelConfig config;
    change(config);
    CHECK_THROWS_WITH(config.validate(), ConfigError, std::string(field) + " is ");
    CHECK_THROWS_WITH(LogMelFrontend{config}, ConfigError, std::string(field) + " is ");
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  refused("sample_rate", [](LogMelConfig& c) { c.sample_rate = 0; });
  refused("n_fft", [](LogMelConfig& c) { c.n_fft = 511; });
  refused("n_fft", [](LogMelConfig& c) { c.n_fft = 448; });
  refused("win_length", [](LogMelConfig& c) { c.win_length = 513; });
  refused("win_length", [](LogMelConfig& c) { c.win_length = 1; });
  refused("hop_length", [](LogMelConfig& c) { c.hop_length = 0; });
  refused("hop_length", [](LogMelConfig& c) { c.hop_length = std::numeric_limits<int>::max(); });
  refused("num_mel_bins", [](LogMelConfig& c) { c.num_mel_bins = 0; });
  refused("num_mel_bins", [](LogMelConfig& c) { c.num_mel_bins = 200; });  // a band without a bin
  refused("num_mel_bins", [](LogMelConfig& c) { c.num_mel_bins = 257; });
  refused("low_hz", [](LogMelConfig& c) { c.low_hz = -1.0; });
  refused("low_hz", [](LogMelConfig& c) { c.low_hz = 7600.0; });
  refused("low_hz", [nan](LogMelConfig& c) { c.low_hz = nan; });
  refused("high_hz", [](LogMelConfig& c) { c.high_hz = 8001.0; });
  refused("preemphasis", [](LogMelConfig& c) { c.preemphasis = 1.5; });
  refused("preemphasis", [nan](LogMelConfig& c) { c.preemphasis = nan; });
  refused("log_floor", [](LogMelConfig& c) { c.log_floor = 0.0; });
  refused("log_floor", [nan](LogMelConfig& c) { c.log_floor = nan; });
}

TEST(names_of_enums_round_trip) {
  for (const Window w : {Window::kPovey, Window::kHann, Window::kHamming}) CHECK(parse_window(to_string(w)) == w);
  for (const MelScale s : {MelScale::kKaldi, MelScale::kSlaney}) CHECK(parse_mel_scale(to_string(s)) == s);
  for (const MelNorm n : {MelNorm::kNone, MelNorm::kSlaney}) CHECK(parse_mel_norm(to_string(n)) == n);
  for (const Padding p : kPaddings) CHECK(parse_padding(to_string(p)) == p);
  CHECK_THROWS_WITH(parse_window("blackman"), ConfigError, "window is \"blackman\"");
  CHECK_THROWS_WITH(parse_padding(""), ConfigError, "\"center_zero\"");
}

}  // namespace edgeasr

TEST_MAIN()
