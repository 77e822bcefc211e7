// The CTC decoders against brute force over all alignments, and what must hold for any input: the cut of the frames
// changes nothing, committed tokens stay, memory is bounded.
#include "core/ctc_beam.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "core/ctc_greedy.h"
#include "core/errors.h"
#include "tests/test.h"

namespace edgeasr {
namespace {

using Tokens = std::vector<std::int32_t>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Rows {
  std::int32_t vocab_size = 0;
  std::vector<float> values;

  std::size_t num_frames() const { return values.size() / static_cast<std::size_t>(vocab_size); }
  const float* row(std::size_t frame) const { return values.data() + frame * static_cast<std::size_t>(vocab_size); }

  // Appends a row, normalised; a score of -inf stays impossible.
  void add(const std::vector<double>& scores) {
    double sum = 0.0;
    for (const double score : scores) sum += std::exp(score);
    for (const double score : scores) values.push_back(static_cast<float>(score - std::log(sum)));
  }
};

// Rows without any structure, from flat to peaky; some tokens may be impossible on some frames.
Rows random_rows(std::mt19937& random, std::int32_t vocab_size, std::size_t num_frames, double spread,
                 bool impossible) {
  std::normal_distribution<double> normal(0.0, spread);
  std::bernoulli_distribution never(impossible ? 0.2 : 0.0);
  Rows rows{vocab_size, {}};
  for (std::size_t frame = 0; frame < num_frames; ++frame) {
    std::vector<double> scores(static_cast<std::size_t>(vocab_size));
    for (double& score : scores) score = never(random) ? -kInfinity : normal(random);
    if (std::all_of(scores.begin(), scores.end(), [](double score) { return std::isinf(score); })) scores[0] = 0.0;
    rows.add(scores);
  }
  return rows;
}

// Rows as a trained model gives them: spikes of one to three frames, some of them doubtful, between certain blanks.
Rows speech_like_rows(std::mt19937& random, std::int32_t vocab_size, std::size_t num_frames) {
  std::uniform_int_distribution<std::int32_t> token(1, vocab_size - 1);
  std::uniform_int_distribution<int> gap(1, 5);
  std::uniform_int_distribution<int> length(1, 3);
  std::uniform_real_distribution<double> doubt(0.0, 4.0);
  std::normal_distribution<double> normal(0.0, 1.0);
  Rows rows{vocab_size, {}};
  int left = 0;
  std::vector<double> spike;
  while (rows.num_frames() < num_frames) {
    std::vector<double> scores(static_cast<std::size_t>(vocab_size));
    for (double& score : scores) score = normal(random);
    if (left == 0) {
      left = length(random) + gap(random);
      spike.assign(static_cast<std::size_t>(vocab_size), 0.0);
      spike[static_cast<std::size_t>(token(random))] = 8.0;
      spike[static_cast<std::size_t>(token(random))] = 8.0 - doubt(random);
      spike[0] = 8.0 - doubt(random);
    }
    const bool blank = left <= 2;
    for (std::size_t i = 0; i < scores.size(); ++i) scores[i] += blank ? (i == 0 ? 10.0 : 0.0) : spike[i];
    --left;
    rows.add(scores);
  }
  return rows;
}

CtcBeamConfig without_pruning(std::int32_t beam_size) {
  CtcBeamConfig config;
  config.beam_size = beam_size;
  config.nbest = beam_size;
  config.beam_threshold = kInfinity;
  config.token_threshold = kInfinity;
  config.max_tokens_per_frame = 0;
  config.blank_skip_threshold = 1.0;
  config.max_commit_delay_frames = 0;
  return config;
}

struct Reference {
  double prob = 0.0;
  double best_log_prob = -kInfinity;
  Hypothesis best;  // of the best alignment
};

// All token sequences with the sum of, and the best of, their alignments; by enumerating the alignments.
std::map<Tokens, Reference> enumerate(const Rows& rows, std::int32_t blank_id) {
  std::map<Tokens, Reference> result;
  const std::size_t num_frames = rows.num_frames();
  Tokens path(num_frames, 0);
  while (true) {
    double log_prob = 0.0;
    Hypothesis found;
    std::int32_t previous = blank_id;
    for (std::size_t frame = 0; frame < num_frames; ++frame) {
      const std::int32_t token = path[frame];
      const float value = rows.row(frame)[token];
      log_prob += static_cast<double>(value);
      if (token != blank_id) {
        if (token != previous) {
          found.token_ids.push_back(token);
          found.token_start_frames.push_back(static_cast<std::int32_t>(frame));
          found.token_end_frames.push_back(0);
          found.token_posteriors.push_back(0.0F);
        }
        found.token_end_frames.back() = static_cast<std::int32_t>(frame) + 1;
        found.token_posteriors.back() = std::max(found.token_posteriors.back(), std::min(1.0F, std::exp(value)));
      }
      previous = token;
    }
    if (log_prob > -kInfinity) {
      Reference& reference = result[found.token_ids];
      reference.prob += std::exp(log_prob);
      if (log_prob > reference.best_log_prob) {
        reference.best_log_prob = log_prob;
        reference.best = found;
      }
    }
    std::size_t frame = 0;
    while (frame < num_frames && ++path[frame] == rows.vocab_size) path[frame++] = 0;
    if (frame == num_frames) return result;
  }
}

// Log of the probability of a token sequence: the CTC forward algorithm (Graves et al. 2006, section 4.1).
double forward_score(const Rows& rows, const Tokens& tokens, std::int32_t blank_id) {
  std::vector<std::int32_t> states(1, blank_id);
  for (const std::int32_t token : tokens) {
    states.push_back(token);
    states.push_back(blank_id);
  }
  std::vector<double> forward(states.size(), 0.0);
  double scale = 0.0;
  for (std::size_t frame = 0; frame < rows.num_frames(); ++frame) {
    std::vector<double> next(states.size());
    double sum = 0.0;
    for (std::size_t s = 0; s < states.size(); ++s) {
      double before = frame == 0 ? (s < 2 ? 1.0 : 0.0) : forward[s] + (s > 0 ? forward[s - 1] : 0.0);
      if (frame > 0 && s > 1 && states[s] != blank_id && states[s] != states[s - 2]) before += forward[s - 2];
      next[s] = before * std::exp(static_cast<double>(rows.row(frame)[states[s]]));
      sum += next[s];
    }
    for (double& value : next) value /= sum;
    scale += std::log(sum);
    forward = next;
  }
  return scale + std::log(forward.back() + (states.size() > 1 ? forward[states.size() - 2] : 0.0));
}

void check_same(const Hypothesis& a, const Hypothesis& b) {
  CHECK(a.token_ids == b.token_ids);
  CHECK(a.token_start_frames == b.token_start_frames);
  CHECK(a.token_end_frames == b.token_end_frames);
  CHECK(a.token_posteriors == b.token_posteriors);
  CHECK_EQ(a.score, b.score);
}

void append(Hypothesis& to, const Hypothesis& more) {
  const auto extend = [](auto& front, const auto& back) { front.insert(front.end(), back.begin(), back.end()); };
  extend(to.token_ids, more.token_ids);
  extend(to.token_start_frames, more.token_start_frames);
  extend(to.token_end_frames, more.token_end_frames);
  extend(to.token_posteriors, more.token_posteriors);
  to.score = more.score;
}

template <typename Decoder>
void accept_in_pieces(Decoder& decoder, const Rows& rows, std::mt19937& random, std::size_t longest) {
  std::uniform_int_distribution<std::size_t> length(0, longest);
  for (std::size_t frame = 0; frame < rows.num_frames();) {
    const std::size_t count = std::min(length(random), rows.num_frames() - frame);
    decoder.accept(rows.row(frame), count);
    static_cast<void>(decoder.partial());
    frame += count;
  }
}

TEST(beam_without_pruning_equals_enumeration) {
  std::mt19937 random(1);
  for (int round = 0; round < 120; ++round) {
    const std::int32_t vocab_size = 2 + round % 3;
    const std::size_t num_frames = 1 + static_cast<std::size_t>(round) % (vocab_size == 4 ? 5 : 7);
    const std::int32_t blank_id = round % vocab_size;
    const double spread = round % 2 == 0 ? 1.0 : 4.0;
    const bool impossible = round % 4 == 3;
    const Rows rows = random_rows(random, vocab_size, num_frames, spread, impossible);
    const std::map<Tokens, Reference> expected = enumerate(rows, blank_id);
    CtcBeamConfig config = without_pruning(5000);
    config.blank_id = blank_id;
    CtcBeamDecoder decoder(config, vocab_size);
    decoder.accept(rows.values.data(), num_frames);
    const std::vector<Hypothesis> found = decoder.finish();
    CHECK_EQ(found.size(), expected.size());
    double last = kInfinity;
    for (const Hypothesis& hypothesis : found) {
      const auto at = expected.find(hypothesis.token_ids);
      REQUIRE(at != expected.end());
      const Reference& reference = at->second;
      CHECK_NEAR(hypothesis.score, std::log(reference.prob), 1e-9);
      CHECK_NEAR(hypothesis.score, forward_score(rows, hypothesis.token_ids, blank_id), 1e-9);
      // Impossible tokens make the beam agree early, and the times of agreed tokens are those of the best sequence.
      if (!impossible) {
        CHECK(hypothesis.token_start_frames == reference.best.token_start_frames);
        CHECK(hypothesis.token_end_frames == reference.best.token_end_frames);
        CHECK(hypothesis.token_posteriors == reference.best.token_posteriors);
      }
      CHECK(hypothesis.score <= last);
      last = hypothesis.score;
    }
  }
}

TEST(equal_scores_are_ordered_by_token_ids) {
  Rows rows{4, {}};
  for (int frame = 0; frame < 3; ++frame) rows.add({0.0, 0.0, 0.0, 0.0});
  for (const std::int32_t nbest : {1, 3, 5, 40}) {
    CtcBeamConfig config = without_pruning(1000);
    config.nbest = nbest;
    CtcBeamDecoder decoder(config, 4);
    decoder.accept(rows.values.data(), 3);
    const std::vector<Hypothesis> found = decoder.finish();
    CHECK_EQ(found.size(), static_cast<std::size_t>(std::min(nbest, 25)));
    for (std::size_t i = 1; i < found.size(); ++i) {
      const Hypothesis& a = found[i - 1];
      const Hypothesis& b = found[i];
      CHECK(a.score > b.score || (a.score == b.score && a.token_ids < b.token_ids));
    }
    CHECK(found[0].token_ids == Tokens{1});
  }
}

TEST(a_small_beam_never_claims_more_than_the_exact_score) {
  std::mt19937 random(2);
  double short_of_exact = 0.0;
  for (int round = 0; round < 20; ++round) {
    const Rows rows = speech_like_rows(random, 12, 300);
    CtcBeamConfig config;
    config.beam_size = 4 + round;
    config.nbest = config.beam_size;
    CtcBeamDecoder decoder(config, 12);
    decoder.accept(rows.values.data(), rows.num_frames());
    const std::vector<Hypothesis> found = decoder.finish();
    for (const Hypothesis& hypothesis : found) {
      CHECK(hypothesis.score <= forward_score(rows, hypothesis.token_ids, 0) + 1e-6);
    }
    short_of_exact += forward_score(rows, found[0].token_ids, 0) - found[0].score;
  }
  // The mean is 1.2, and 3.5 without feeders.
  CHECK(short_of_exact / 20 < 1.5);
}

TEST(the_cut_of_the_frames_changes_nothing) {
  std::mt19937 random(3);
  for (int round = 0; round < 30; ++round) {
    const std::int32_t vocab_size = 3 + round;
    const Rows rows =
        round % 3 == 0 ? random_rows(random, vocab_size, 200, 3.0, true) : speech_like_rows(random, vocab_size, 400);
    CtcBeamConfig config;
    config.beam_size = 1 + round % 10;
    config.nbest = 3;
    config.max_commit_delay_frames = round % 2 == 0 ? 64 : 10;
    CtcBeamDecoder whole(config, vocab_size);
    whole.accept(rows.values.data(), rows.num_frames());
    const std::vector<Hypothesis> expected = whole.finish();
    CtcBeamDecoder pieces(config, vocab_size);
    for (const std::size_t longest : {std::size_t{1}, std::size_t{50}}) {
      pieces.reset();
      accept_in_pieces(pieces, rows, random, longest);
      const std::vector<Hypothesis> found = pieces.finish();
      REQUIRE(found.size() == expected.size());
      for (std::size_t i = 0; i < found.size(); ++i) check_same(found[i], expected[i]);
    }
    CtcGreedyDecoder greedy(vocab_size, 0);
    greedy.accept(rows.values.data(), rows.num_frames());
    const Hypothesis greedy_expected = greedy.finish();
    greedy.reset();
    accept_in_pieces(greedy, rows, random, 20);
    check_same(greedy.finish(), greedy_expected);
  }
}

TEST(committed_tokens_never_change) {
  std::mt19937 random(4);
  for (int round = 0; round < 30; ++round) {
    const std::int32_t vocab_size = 3 + round % 6;
    const Rows rows =
        round % 3 == 0 ? random_rows(random, vocab_size, 300, 2.0, false) : speech_like_rows(random, vocab_size, 600);
    CtcBeamConfig config;
    config.beam_size = 1 + round % 12;
    config.nbest = config.beam_size;
    config.max_commit_delay_frames = round % 4 == 0 ? 0 : 20 * (round % 4);
    CtcBeamDecoder watched(config, vocab_size);
    CtcBeamDecoder taken(config, vocab_size);
    Hypothesis committed;
    Hypothesis collected;
    for (std::size_t frame = 0; frame < rows.num_frames(); ++frame) {
      watched.accept(rows.row(frame), 1);
      taken.accept(rows.row(frame), 1);
      if (frame % 7 == 0) append(collected, taken.take_committed());
      const std::size_t count = watched.num_committed();
      CHECK(count >= committed.token_ids.size());
      for (const Hypothesis& hypothesis : watched.partial()) {
        REQUIRE(hypothesis.token_ids.size() >= count);
        const auto same = [](const auto& before, const auto& now) {
          return std::equal(before.begin(), before.end(), now.begin());
        };
        CHECK(same(committed.token_ids, hypothesis.token_ids));
        CHECK(same(committed.token_start_frames, hypothesis.token_start_frames));
        CHECK(same(committed.token_end_frames, hypothesis.token_end_frames));
        CHECK(same(committed.token_posteriors, hypothesis.token_posteriors));
        std::int32_t earliest = 0;
        for (std::size_t i = 0; i < hypothesis.token_ids.size(); ++i) {
          CHECK(hypothesis.token_start_frames[i] >= earliest);
          CHECK(hypothesis.token_end_frames[i] > hypothesis.token_start_frames[i]);
          CHECK(hypothesis.token_posteriors[i] >= 0.0F && hypothesis.token_posteriors[i] <= 1.0F);
          CHECK(hypothesis.token_end_frames[i] <= static_cast<std::int32_t>(frame) + 1);
          earliest = hypothesis.token_start_frames[i];
        }
      }
      committed = watched.partial()[0];
      committed.token_ids.resize(count);
      committed.token_start_frames.resize(count);
      committed.token_end_frames.resize(count);
      committed.token_posteriors.resize(count);
    }
    append(collected, taken.finish()[0]);
    check_same(collected, watched.finish()[0]);
  }
}

TEST(what_is_old_is_committed_even_when_the_beam_stays_in_two_minds) {
  // Two sequences of equal probability from the first token on, and nothing doubtful after it.
  Rows rows{4, {}};
  rows.add({-50.0, 0.0, 0.0, -50.0});
  for (int i = 0; i < 20000; ++i) {
    rows.add({50.0, 0.0, 0.0, 0.0});
    rows.add({0.0, 0.0, 0.0, 50.0});
  }
  CtcBeamDecoder decoder(CtcBeamConfig{}, 4);
  std::size_t most = 0;
  for (std::size_t frame = 0; frame < rows.num_frames(); ++frame) {
    decoder.accept(rows.row(frame), 1);
    if (frame > 100) CHECK(decoder.num_committed() * 2 + 82 > frame);
    most = std::max(most, decoder.num_nodes());
  }
  CHECK(most < 2000);
  const std::vector<Hypothesis> found = decoder.finish();
  CHECK_EQ(found[0].token_ids.size(), std::size_t{20001});
  CHECK_EQ(found[0].token_ids[0], 1);
}

TEST(memory_is_bounded_for_a_million_frames) {
  std::mt19937 random(5);
  const Rows speech = speech_like_rows(random, 8, 5000);
  const Rows noise = random_rows(random, 8, 5000, 1.0, false);
  CtcBeamDecoder decoder(CtcBeamConfig{}, 8);
  std::size_t most_early = 0;
  std::size_t most = 0;
  std::size_t num_tokens = 0;
  for (int round = 0; round < 200; ++round) {
    const Rows& rows = round % 2 == 0 ? speech : noise;
    for (std::size_t frame = 0; frame < rows.num_frames(); frame += 100) {
      decoder.accept(rows.row(frame), 100);
      num_tokens += decoder.take_committed().token_ids.size();
      most = std::max(most, decoder.num_nodes());
    }
    if (round == 3) most_early = most;
  }
  CHECK_EQ(decoder.num_frames(), 1000000);
  CHECK(num_tokens > 200000);
  CHECK(most < 4000);
  CHECK(most <= 2 * most_early);
  CHECK(std::isfinite(decoder.finish()[0].score));
}

TEST(a_long_stream_keeps_exact_scores) {
  // With one possible token the score is a sum that can be written down; probabilities fall to e^-20000.
  Rows rows{3, {}};
  for (int i = 0; i < 30000; ++i) rows.add({0.0, 0.0, -kInfinity});
  CtcBeamConfig config = without_pruning(4);
  config.max_commit_delay_frames = 64;
  CtcBeamDecoder decoder(config, 3);
  decoder.accept(rows.values.data(), rows.num_frames());
  CHECK(std::isfinite(decoder.finish()[0].score));
  Rows certain{2, {}};
  for (int i = 0; i < 30000; ++i) certain.add({std::log(0.3), std::log(0.7)});
  decoder = CtcBeamDecoder(without_pruning(1), 2);
  decoder.accept(certain.values.data(), certain.num_frames());
  CHECK_EQ(decoder.num_frames(), 30000);
  CHECK(decoder.partial()[0].score < -1000.0);
}

TEST(greedy_takes_the_best_token_of_each_frame) {
  std::mt19937 random(6);
  for (int round = 0; round < 50; ++round) {
    const std::int32_t vocab_size = 2 + round * 3;
    const std::int32_t blank_id = round % 2 == 0 ? 0 : vocab_size - 1;
    const Rows rows = random_rows(random, vocab_size, 60, 2.0, false);
    CtcGreedyDecoder decoder(vocab_size, blank_id);
    decoder.accept(rows.values.data(), rows.num_frames());
    Hypothesis expected;
    std::int32_t previous = blank_id;
    for (std::size_t frame = 0; frame < rows.num_frames(); ++frame) {
      const float* row = rows.row(frame);
      const auto best = static_cast<std::int32_t>(std::max_element(row, row + vocab_size) - row);
      expected.score += static_cast<double>(row[best]);
      if (best != blank_id && best != previous) {
        expected.token_ids.push_back(best);
        expected.token_start_frames.push_back(static_cast<std::int32_t>(frame));
        expected.token_end_frames.push_back(0);
        expected.token_posteriors.push_back(0.0F);
      }
      if (best != blank_id) {
        expected.token_end_frames.back() = static_cast<std::int32_t>(frame) + 1;
        expected.token_posteriors.back() = std::max(expected.token_posteriors.back(), std::exp(row[best]));
      }
      previous = best;
    }
    CHECK_EQ(decoder.num_committed(), expected.token_ids.size() - (previous == blank_id ? 0U : 1U));
    check_same(decoder.finish(), expected);
    CHECK_EQ(decoder.num_committed(), expected.token_ids.size());
    const Hypothesis taken = decoder.take_committed();
    CHECK(taken.token_ids == expected.token_ids);
    CHECK(decoder.partial().token_ids.empty());
  }
}

TEST(no_frames_give_the_empty_hypothesis) {
  CtcBeamDecoder beam(CtcBeamConfig{}, 5);
  beam.accept(nullptr, 0);
  const std::vector<Hypothesis> found = beam.finish();
  CHECK_EQ(found.size(), std::size_t{1});
  CHECK(found[0].token_ids.empty());
  CHECK_EQ(found[0].score, 0.0);
  CHECK_EQ(beam.take_committed().score, 0.0);
  CtcGreedyDecoder greedy(5, 0);
  greedy.accept(nullptr, 0);
  CHECK(greedy.finish().token_ids.empty());
}

TEST(logits_are_normalised) {
  std::mt19937 random(7);
  const Rows rows = random_rows(random, 6, 40, 3.0, true);
  Rows logits = rows;
  std::normal_distribution<float> shift(0.0F, 30.0F);
  for (std::size_t frame = 0; frame < rows.num_frames(); ++frame) {
    const float by = shift(random);
    for (std::size_t i = 0; i < 6; ++i) logits.values[frame * 6 + i] += by;
  }
  CtcBeamDecoder from_rows(CtcBeamConfig{}, 6);
  CtcBeamDecoder from_logits(CtcBeamConfig{}, 6, CtcInput::kLogits);
  from_rows.accept(rows.values.data(), rows.num_frames());
  from_logits.accept(logits.values.data(), logits.num_frames());
  const Hypothesis a = from_rows.finish()[0];
  const Hypothesis b = from_logits.finish()[0];
  CHECK(a.token_ids == b.token_ids);
  CHECK_NEAR(a.score, b.score, 1e-3);
}

TEST(bad_rows_are_refused_and_nothing_of_the_block_is_used) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::mt19937 random(8);
  for (const std::int32_t vocab_size : {2, 3, 4, 5, 8, 9, 31, 500}) {
    const auto size = static_cast<std::size_t>(vocab_size);
    const Rows rows = random_rows(random, vocab_size, 10, 2.0, false);
    CtcBeamDecoder decoder(CtcBeamConfig{}, vocab_size);
    CtcBeamDecoder from_logits(CtcBeamConfig{}, vocab_size, CtcInput::kLogits);
    decoder.accept(rows.values.data(), 5);
    from_logits.accept(rows.values.data(), 5);
    const Hypothesis before = decoder.partial()[0];
    for (std::int32_t place = 0; place < vocab_size; place += 1 + vocab_size / 7) {
      Rows bad = rows;
      float& value = bad.values[7 * size + static_cast<std::size_t>(place)];
      value = kNan;
      CHECK_THROWS_WITH(decoder.accept(bad.values.data(), 10), InputError, "row 7 of the block has NaN at token");
      CHECK_THROWS_WITH(from_logits.accept(bad.values.data(), 10), InputError, "row 7 of the block has NaN at token");
      value = kInf;
      CHECK_THROWS_WITH(decoder.accept(bad.values.data(), 10), InputError, "has +inf at token");
      CHECK_THROWS_WITH(from_logits.accept(bad.values.data(), 10), InputError, "has +inf at token");
      value = 0.02F;
      CHECK_THROWS_WITH(decoder.accept(bad.values.data(), 10), InputError, "not normalised");
    }
    for (const float by : {0.015F, -0.015F, 5.0F, -5.0F}) {
      Rows bad = rows;
      for (std::size_t i = 0; i < size; ++i) bad.values[3 * size + i] += by;
      CHECK_THROWS_WITH(decoder.accept(bad.values.data(), 10), InputError, "row 3 of the block is not normalised");
    }
    Rows impossible = rows;
    std::fill_n(impossible.values.begin(), vocab_size, -kInf);
    CHECK_THROWS_WITH(decoder.accept(impossible.values.data(), 10), InputError, "nothing but -inf");
    CHECK_THROWS_WITH(from_logits.accept(impossible.values.data(), 10), InputError, "nothing but -inf");
    check_same(decoder.partial()[0], before);
    CHECK_EQ(decoder.num_frames(), 5);
  }
}

TEST(rounding_of_half_precision_is_accepted) {
  std::mt19937 random(9);
  for (const double by : {0.004, -0.004}) {
    Rows rows = random_rows(random, 29, 10, 2.0, true);
    for (float& value : rows.values) value += static_cast<float>(by);
    CtcBeamDecoder decoder(CtcBeamConfig{}, 29);
    decoder.accept(rows.values.data(), 10);
    CHECK_EQ(decoder.num_frames(), 10);
  }
}

TEST(a_finished_stream_takes_no_more) {
  Rows rows{2, {}};
  rows.add({0.0, 1.0});
  CtcBeamDecoder beam(CtcBeamConfig{}, 2);
  beam.accept(rows.values.data(), 1);
  const Hypothesis result = beam.finish()[0];
  CHECK_THROWS_WITH(beam.accept(rows.values.data(), 1), StreamStateError, "after finish()");
  CHECK_THROWS_WITH(beam.finish(), StreamStateError, "after finish()");
  check_same(beam.partial()[0], result);
  beam.reset();
  CHECK_EQ(beam.num_frames(), 0);
  beam.accept(rows.values.data(), 1);
  check_same(beam.finish()[0], result);
  CtcGreedyDecoder greedy(2, 0);
  static_cast<void>(greedy.finish());
  CHECK_THROWS_WITH(greedy.accept(rows.values.data(), 1), StreamStateError, "after finish()");
  CHECK_THROWS_WITH(greedy.finish(), StreamStateError, "after finish()");
  greedy.reset();
  greedy.accept(rows.values.data(), 1);
  CHECK(greedy.finish().token_ids == Tokens{1});
}

TEST(configurations_that_cannot_work_are_refused) {
  const auto refused = [](auto change, const char* message) {
    CtcBeamConfig config;
    change(config);
    CHECK_THROWS_WITH(CtcBeamDecoder(config, 5), ConfigError, message);
  };
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  refused([](CtcBeamConfig& c) { c.beam_size = 0; }, "beam_size is 0");
  refused([](CtcBeamConfig& c) { c.blank_id = -1; }, "blank_id is -1");
  refused([](CtcBeamConfig& c) { c.blank_id = 5; }, "blank_id is 5");
  refused([](CtcBeamConfig& c) { c.nbest = 0; }, "nbest is 0");
  refused([](CtcBeamConfig& c) { c.beam_threshold = 0.0; }, "beam_threshold is 0");
  refused([](CtcBeamConfig& c) { c.beam_threshold = kNan; }, "beam_threshold is nan");
  refused([](CtcBeamConfig& c) { c.token_threshold = -1.0; }, "token_threshold is -1");
  refused([](CtcBeamConfig& c) { c.max_tokens_per_frame = -1; }, "max_tokens_per_frame is -1");
  refused([](CtcBeamConfig& c) { c.blank_skip_threshold = 0.0; }, "blank_skip_threshold is 0");
  refused([](CtcBeamConfig& c) { c.blank_skip_threshold = 1.1; }, "blank_skip_threshold is 1.1");
  refused([](CtcBeamConfig& c) { c.max_commit_delay_frames = -1; }, "max_commit_delay_frames is -1");
  CHECK_THROWS_WITH(CtcBeamDecoder(CtcBeamConfig{}, 1), ConfigError, "vocab_size is 1");
  CHECK_THROWS_WITH(CtcGreedyDecoder(5, 5), ConfigError, "blank_id is 5");
}

}  // namespace
}  // namespace edgeasr

TEST_MAIN()
