// Evidence for words against brute force over all alignments, and for any cut of the rows.
#include "core/ctc_evidence.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "core/errors.h"
#include "tests/test.h"

namespace edgeasr {
namespace {

using Tokens = std::vector<std::int32_t>;

constexpr std::int32_t kVocab = 4;
constexpr std::int32_t kBlank = 1;
constexpr std::size_t kWidth = 4;

std::vector<float> random_rows(std::mt19937& random, std::size_t num_frames) {
  std::normal_distribution<double> normal(0.0, 2.0);
  std::vector<float> rows;
  for (std::size_t frame = 0; frame < num_frames; ++frame) {
    double scores[kWidth];
    double sum = 0.0;
    for (double& score : scores) sum += std::exp(score = normal(random));
    for (const double score : scores) rows.push_back(static_cast<float>(score - std::log(sum)));
  }
  return rows;
}

Tokens collapse(const Tokens& path) {
  Tokens tokens;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] != kBlank && (i == 0 || path[i] != path[i - 1])) tokens.push_back(path[i]);
  }
  return tokens;
}

// The sum over all kVocab^num_frames alignments.
double brute_force(const std::vector<float>& rows, const Tokens& tokens, std::size_t begin, std::size_t end) {
  const std::size_t num_frames = end - begin;
  double sum = 0.0;
  Tokens path(num_frames, 0);
  while (true) {
    if (collapse(path) == tokens) {
      double log_prob = 0.0;
      for (std::size_t t = 0; t < num_frames; ++t) {
        log_prob += static_cast<double>(rows[(begin + t) * kWidth + static_cast<std::size_t>(path[t])]);
      }
      sum += std::exp(log_prob);
    }
    std::size_t place = 0;
    while (place < num_frames && ++path[place] == kVocab) path[place++] = 0;
    if (place == num_frames) return sum;
  }
}

TEST(the_posterior_is_the_sum_over_all_alignments) {
  std::mt19937 random(1);
  const std::vector<float> rows = random_rows(random, 6);
  CtcEvidenceMeter meter(kVocab, kBlank, 100);
  meter.accept(rows.data(), 6);
  for (const Tokens& tokens : {Tokens{}, Tokens{0}, Tokens{2, 2}, Tokens{0, 3, 2}, Tokens{0, 0, 2}, Tokens{3, 2, 3}}) {
    for (const std::size_t begin : {0, 1}) {
      const double expected = brute_force(rows, tokens, begin, 6);
      const double found = meter.measure(tokens, static_cast<std::int64_t>(begin), 6, 0, 6).log_posterior;
      CHECK_NEAR(std::exp(found), expected, 1e-6);
    }
  }
}

TEST(the_posteriors_of_all_sequences_sum_to_one) {
  std::mt19937 random(2);
  const std::vector<float> rows = random_rows(random, 4);
  CtcEvidenceMeter meter(kVocab, kBlank, 100);
  meter.accept(rows.data(), 4);
  double sum = 0.0;
  std::vector<Tokens> shorter{{}};
  for (std::size_t length = 0; length <= 4; ++length) {
    std::vector<Tokens> longer;
    for (const Tokens& tokens : shorter) {
      const double log_posterior = meter.measure(tokens, 0, 4, 0, 4).log_posterior;
      if (log_posterior > CtcEvidenceMeter::kFloor) sum += std::exp(log_posterior);
      for (const std::int32_t id : {0, 2, 3}) {
        longer.push_back(tokens);
        longer.back().push_back(id);
      }
    }
    shorter = longer;
  }
  CHECK_NEAR(sum, 1.0, 1e-5);
}

TEST(doubt_is_the_mean_of_what_the_best_tokens_lack) {
  const std::vector<float> rows{-10.0F,         std::log(0.5F), std::log(0.5F), -30.0F,  //
                                std::log(0.1F), std::log(0.8F), std::log(0.1F), -30.0F};
  CtcEvidenceMeter meter(kVocab, kBlank, 100);
  meter.accept(rows.data(), 2);
  CHECK_NEAR(meter.measure({2}, 0, 2, 0, 2).doubt, -(std::log(0.5) + std::log(0.8)) / 2, 1e-6);
  CHECK_NEAR(meter.measure({2}, 0, 2, 1, 9).doubt, -std::log(0.8), 1e-6);
  CHECK_EQ(meter.measure({2}, 0, 2, 5, 9).doubt, 0.0);
}

TEST(any_cut_of_the_rows_gives_the_same_bits) {
  std::mt19937 random(3);
  const std::size_t num_frames = 200;
  const std::vector<float> rows = random_rows(random, num_frames);
  for (const std::size_t max_frames : {1, 7, 30, 1000}) {
    CtcEvidenceMeter whole(kVocab, kBlank, max_frames);
    whole.accept(rows.data(), num_frames);
    for (int trial = 0; trial < 20; ++trial) {
      CtcEvidenceMeter cut(kVocab, kBlank, max_frames);
      std::uniform_int_distribution<std::size_t> step(0, trial < 10 ? 5 : 60);
      std::size_t done = 0;
      while (done < num_frames) {
        const std::size_t count = std::min(step(random), num_frames - done);
        cut.accept(rows.data() + done * kWidth, count);
        done += count;
      }
      for (const std::int64_t begin : {0, 150, 175, 190, 199, 200}) {
        const CtcEvidence a = whole.measure({0, 2}, begin, 200, begin, 198);
        const CtcEvidence b = cut.measure({0, 2}, begin, 200, begin, 198);
        CHECK_EQ(a.log_posterior, b.log_posterior);
        CHECK_EQ(a.doubt, b.doubt);
      }
    }
  }
}

TEST(what_is_forgotten_counts_as_never_seen) {
  std::mt19937 random(4);
  const std::vector<float> rows = random_rows(random, 20);
  CtcEvidenceMeter meter(kVocab, kBlank, 5);
  meter.accept(rows.data(), 20);
  CHECK_EQ(meter.measure({0}, 0, 20, 0, 20).log_posterior, meter.measure({0}, 15, 20, 15, 20).log_posterior);
  CHECK_EQ(meter.measure({0}, 0, 20, 0, 20).doubt, meter.measure({0}, 15, 20, 15, 20).doubt);
  CHECK_EQ(meter.measure({0}, 0, 15, 0, 15).log_posterior, CtcEvidenceMeter::kFloor);
  CHECK_EQ(meter.measure({}, 0, 15, 0, 15).log_posterior, 0.0);
}

TEST(what_cannot_be_is_at_the_floor) {
  const float impossible = -std::numeric_limits<float>::infinity();
  const std::vector<float> rows{0.0F, impossible, impossible, impossible};
  CtcEvidenceMeter meter(kVocab, kBlank, 5);
  meter.accept(rows.data(), 1);
  CHECK_EQ(meter.measure({0}, 0, 1, 0, 1).log_posterior, 0.0);
  CHECK_EQ(meter.measure({2}, 0, 1, 0, 1).log_posterior, CtcEvidenceMeter::kFloor);
  CHECK_EQ(meter.measure({0, 2}, 0, 1, 0, 1).log_posterior, CtcEvidenceMeter::kFloor);
  CHECK_EQ(meter.measure({0}, 1, 0, 1, 0).log_posterior, CtcEvidenceMeter::kFloor);
}

TEST(logits_are_normalised) {
  std::mt19937 random(5);
  std::vector<float> rows = random_rows(random, 8);
  CtcEvidenceMeter normal(kVocab, kBlank, 100);
  normal.accept(rows.data(), 8);
  for (float& value : rows) value += 3.0F;
  CtcEvidenceMeter logits(kVocab, kBlank, 100, CtcInput::kLogits);
  logits.accept(rows.data(), 8);
  CHECK_NEAR(logits.measure({0, 2}, 0, 8, 2, 6).log_posterior, normal.measure({0, 2}, 0, 8, 2, 6).log_posterior, 1e-5);
  CHECK_NEAR(logits.measure({0, 2}, 0, 8, 2, 6).doubt, normal.measure({0, 2}, 0, 8, 2, 6).doubt, 1e-5);
}

TEST(long_stretches_do_not_underflow) {
  std::mt19937 random(6);
  const std::vector<float> rows = random_rows(random, 2000);
  CtcEvidenceMeter meter(kVocab, kBlank, 2000);
  meter.accept(rows.data(), 2000);
  CHECK_EQ(meter.measure(Tokens(40, 2), 0, 2000, 0, 2000).log_posterior, CtcEvidenceMeter::kFloor);
}

TEST(a_stream_starts_anew) {
  std::mt19937 random(7);
  const std::vector<float> rows = random_rows(random, 10);
  CtcEvidenceMeter meter(kVocab, kBlank, 100);
  meter.accept(rows.data(), 10);
  const CtcEvidence before = meter.measure({0}, 0, 3, 0, 3);
  meter.reset();
  CHECK_EQ(meter.num_frames(), 0);
  meter.accept(rows.data(), 3);
  CHECK_EQ(meter.measure({0}, 0, 9, 0, 9).log_posterior, before.log_posterior);
}

TEST(bad_input_is_refused) {
  CHECK_THROWS(CtcEvidenceMeter(kVocab, kBlank, 0), ConfigError);
  CHECK_THROWS(CtcEvidenceMeter(1, 0, 5), ConfigError);
  CtcEvidenceMeter meter(kVocab, kBlank, 5);
  CHECK_THROWS(meter.measure({kBlank}, 0, 1, 0, 1), InputError);
  CHECK_THROWS(meter.measure({kVocab}, 0, 1, 0, 1), InputError);
  CHECK_THROWS(meter.measure({-1}, 0, 1, 0, 1), InputError);
  const std::vector<float> rows(kWidth, std::numeric_limits<float>::quiet_NaN());
  CHECK_THROWS(meter.accept(rows.data(), 1), InputError);
  CHECK_EQ(meter.num_frames(), 0);
}

}  // namespace
}  // namespace edgeasr

TEST_MAIN()
