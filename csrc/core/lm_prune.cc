#include "core/lm_prune.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "core/errors.h"

namespace edgeasr {
namespace {

using Contexts = std::vector<std::vector<std::uint32_t>>;

// How often each word occurs, as a share of all words and ends of sentences; <s> as often as </s>.
std::vector<double> word_shares(const NgramTable& table) {
  const NgramTable::Level& unigrams = table.levels[0];
  const NgramTable::Level& bigrams = table.levels[1];
  const std::size_t vocab_size = unigrams.size();
  std::vector<double> lower(vocab_size);
  std::vector<double> weight(vocab_size);
  for (std::size_t id = 0; id < vocab_size; ++id) {
    lower[id] = std::exp(static_cast<double>(unigrams.scores[id]));
    weight[id] = std::exp(static_cast<double>(unigrams.backoffs[id]));
  }
  const bool sentences = table.begin_word != 0 && table.end_word != 0;
  if (table.begin_word != 0) lower[table.begin_word] = 0.0;
  std::vector<double> share = lower;
  if (sentences) share[table.begin_word] = share[table.end_word];
  std::vector<double> more(bigrams.size());  // than the lower order gives
  for (std::size_t place = 0; place < bigrams.size(); ++place) {
    const double backed_off = weight[bigrams.words[place]] * lower[bigrams.parents[place]];
    more[place] = std::exp(static_cast<double>(bigrams.scores[place])) - backed_off;
  }
  constexpr int kRounds = 30;
  std::vector<double> next(vocab_size);
  for (int round = 0; round < kRounds; ++round) {
    double backing_off = 0.0;
    for (std::size_t id = 0; id < vocab_size; ++id) {
      if (!sentences || id != table.end_word) backing_off += share[id] * weight[id];
    }
    for (std::size_t id = 0; id < vocab_size; ++id) next[id] = backing_off * lower[id];
    for (std::size_t place = 0; place < bigrams.size(); ++place) {
      const WordId context = bigrams.words[place];
      if (!sentences || context != table.end_word) next[bigrams.parents[place]] += share[context] * more[place];
    }
    double total = 0.0;
    for (double& value : next) {
      value = std::max(value, 0.0);
      total += value;
    }
    if (!(total > 0.0)) break;
    for (std::size_t id = 0; id < vocab_size; ++id) share[id] = next[id] / total;
    if (sentences) share[table.begin_word] = share[table.end_word];
  }
  return share;
}

// For each n-gram what its loss, or that of the longer ones which need it, costs in nats a word: the n-grams above a
// threshold can stay by themselves.
std::vector<std::vector<float>> losses(const NgramTable& table, const Contexts& contexts) {
  std::vector<std::vector<float>> loss(table.levels.size());
  std::vector<double> share = word_shares(table);
  for (std::size_t number = 1; number < table.levels.size(); ++number) {
    const NgramTable::Level& level = table.levels[number];
    const NgramTable::Level& below = table.levels[number - 1];
    std::vector<double> left(below.size(), 1.0);
    std::vector<double> left_below(below.size(), 1.0);
    for (std::size_t place = 0; place < level.size(); ++place) {
      left[contexts[number][place]] -= std::exp(static_cast<double>(level.scores[place]));
      left_below[contexts[number][place]] -= std::exp(static_cast<double>(below.scores[level.parents[place]]));
    }
    loss[number].resize(level.size());
    std::vector<double> own_share(level.size());
    constexpr double kNothing = 1e-9;
    for (std::size_t place = 0; place < level.size(); ++place) {
      const std::uint32_t context = contexts[number][place];
      const double score = level.scores[place];
      const double lower_score = below.scores[level.parents[place]];
      const double prob = std::exp(score);
      const double old_left = std::max(left[context], kNothing);
      const double new_left = old_left + prob;
      const double new_below = std::max(left_below[context], kNothing) + std::exp(lower_score);
      const double weight = std::log(new_left / new_below);
      const double change = prob * (lower_score + weight - score) + old_left * (weight - below.backoffs[context]);
      // Where scores are no probabilities' this may be no number: such an n-gram stays.
      constexpr float kMost = std::numeric_limits<float>::max();
      const double value = -share[context] * change;
      loss[number][place] = value < kMost ? static_cast<float>(value) : kMost;
      own_share[place] = share[context] * prob;
    }
    share.swap(own_share);
  }
  for (std::size_t number = table.levels.size() - 1; number > 1; --number) {
    const NgramTable::Level& level = table.levels[number];
    std::vector<float>& below = loss[number - 1];
    for (std::size_t place = 0; place < level.size(); ++place) {
      for (const std::uint32_t needed : {contexts[number][place], level.parents[place]}) {
        below[needed] = std::max(below[needed], loss[number][place]);
      }
    }
  }
  return loss;
}

void remove_below(NgramTable& table, const Contexts& contexts, const std::vector<std::vector<float>>& loss,
                  double least) {
  std::vector<std::vector<bool>> changed(table.levels.size());
  Contexts new_contexts(table.levels.size());
  std::vector<std::uint32_t> moved_below;  // new places in the order below
  for (std::size_t number = 0; number < table.levels.size(); ++number) {
    NgramTable::Level& level = table.levels[number];
    if (number == 0) {
      moved_below = level.words;
      changed[0].resize(level.size(), false);
      continue;
    }
    std::vector<std::uint32_t> moved(level.size(), 0);
    std::size_t kept = 0;
    for (std::size_t place = 0; place < level.size(); ++place) {
      const std::uint32_t context = moved_below[contexts[number][place]];
      if (!(loss[number][place] >= least)) {
        // The context itself may have gone, and with it all of its n-grams: then its place is another's by now.
        if (number == 1 || loss[number - 1][contexts[number][place]] >= least) changed[number - 1][context] = true;
        continue;
      }
      moved[place] = static_cast<std::uint32_t>(kept);
      level.words[kept] = level.words[place];
      level.parents[kept] = moved_below[level.parents[place]];
      level.scores[kept] = level.scores[place];
      if (!level.backoffs.empty()) level.backoffs[kept] = level.backoffs[place];
      new_contexts[number].push_back(context);
      ++kept;
    }
    level.words.resize(kept);
    level.parents.resize(kept);
    level.scores.resize(kept);
    if (!level.backoffs.empty()) level.backoffs.resize(kept);
    changed[number].resize(kept, false);
    moved_below.swap(moved);
  }
  while (table.levels.size() > 1 && table.levels.back().size() == 0) {
    table.levels.pop_back();
    table.levels.back().backoffs.clear();
  }
  normalise(table, new_contexts, &changed);
}

}  // namespace

void prune_by_entropy(NgramTable& table, double threshold) {
  if (!(threshold >= 0.0)) throw ConfigError("the threshold is " + std::to_string(threshold) + ", expected at least 0");
  if (table.levels.size() < 2) return;
  const Contexts contexts = find_contexts(table);
  remove_below(table, contexts, losses(table, contexts), std::log1p(threshold));
}

void prune_to_size(NgramTable& table, std::uint64_t max_bytes, const NgramImageOptions& options) {
  const std::uint64_t size = image_size(table, options);
  if (size <= max_bytes) return;
  std::uint64_t text_size = 0;
  for (std::size_t id = 0; id < table.words.size(); ++id) text_size += table.words[id].size() + 1;
  std::vector<std::uint64_t> counts = {table.words.size()};
  const std::uint64_t least_size = image_size(counts, text_size, options);
  if (least_size > max_bytes) {
    throw InputError("the " + std::to_string(table.words.size()) + " words alone take " + std::to_string(least_size) +
                     " bytes, more than the " + std::to_string(max_bytes) + " that are allowed: limit the vocabulary");
  }
  if (table.levels.size() < 2) return;
  // In steps, each a model of its own: what an n-gram is worth depends on those that have gone before it.
  constexpr double kStep = 0.5;
  bool last = false;
  while (!last) {
    const auto half = static_cast<std::uint64_t>(kStep * static_cast<double>(image_size(table, options)));
    last = half <= max_bytes;
    const std::uint64_t goal = last ? max_bytes : half;
    const Contexts contexts = find_contexts(table);
    const std::vector<std::vector<float>> loss = losses(table, contexts);
    // How many n-grams of each order stay above a threshold: their losses in descending order.
    std::vector<std::vector<float>> ranked(loss.begin() + 1, loss.end());
    std::vector<float> thresholds;
    for (std::vector<float>& values : ranked) {
      std::sort(values.begin(), values.end(), std::greater<float>());
      thresholds.insert(thresholds.end(), values.begin(), values.end());
    }
    std::sort(thresholds.begin(), thresholds.end());
    thresholds.erase(std::unique(thresholds.begin(), thresholds.end()), thresholds.end());
    const auto size_with = [&](float least) {
      std::vector<std::uint64_t> left = {table.words.size()};
      for (const std::vector<float>& values : ranked) {
        const auto end = std::upper_bound(values.begin(), values.end(), least, std::greater<float>());
        if (end == values.begin()) break;
        left.push_back(static_cast<std::uint64_t>(end - values.begin()));
      }
      return image_size(left, text_size, options);
    };
    const auto fits = std::partition_point(thresholds.begin(), thresholds.end(),
                                           [&](float least) { return size_with(least) > goal; });
    const double largest = thresholds.empty() ? 0.0 : thresholds.back();
    const double above_all = std::nextafter(largest, HUGE_VAL);
    const double least = fits == thresholds.end() ? above_all : *fits;
    remove_below(table, contexts, loss, least);
    last = last || image_size(table, options) <= max_bytes;
    if (table.levels.size() < 2) return;
  }
}

}  // namespace edgeasr
