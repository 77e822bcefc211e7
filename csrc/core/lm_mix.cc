#include "core/lm_mix.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "core/errors.h"
#include "core/external_sort.h"
#include "core/lm_mixture.h"

namespace edgeasr {
namespace {

struct Part {
  const NgramLm* model = nullptr;
  double weight = 0.0;
  std::vector<WordId> to_joint;
  std::vector<WordId> from_joint;
  std::vector<std::uint32_t> places;  // of the n-grams of one order, in the order's new list
};

// p_i(word | context), `reversed` the n-gram from its last word to its first.
double probability(const Part& part, const WordId* reversed, std::size_t length) {
  const WordId word = part.from_joint[reversed[0]];
  if (word == NgramLm::kUnknown && reversed[0] != NgramLm::kUnknown) return 0.0;
  NgramLm::State state;
  if (length > 1) {
    NgramLm::State before;
    for (std::size_t at = 2; at < length; ++at) before.words[at - 2] = part.from_joint[reversed[at]];
    before.length = static_cast<std::uint8_t>(length - 2);
    part.model->score(before, part.from_joint[reversed[1]], &state);
  }
  return std::exp(part.model->score(state, word, nullptr));
}

}  // namespace

NgramTable mix_models(const std::vector<std::shared_ptr<const NgramLm>>& models, const std::vector<double>& weights,
                      int num_threads) {
  const LmMixture mixture(models, weights);
  for (const auto& model : models) model->verify();
  NgramTable table;
  // The ids of all models follow the same order of words, so that n-grams that ascend in one do in the other.
  WordList words;
  for (WordId joint = 0; joint < mixture.vocab_size(); ++joint) words.add(mixture.word(joint));
  const std::vector<std::uint32_t> order = order_words(words, 0);
  for (const std::uint32_t number : order) table.words.add(words[number]);
  const std::uint64_t vocab_size = order.size();
  std::vector<Part> parts(models.size());
  std::size_t num_levels = 0;
  for (std::size_t index = 0; index < models.size(); ++index) {
    Part& part = parts[index];
    part.model = models[index].get();
    part.weight = mixture.weight(index);
    part.to_joint.resize(part.model->vocab_size());
    part.from_joint.resize(vocab_size, NgramLm::kUnknown);
    for (WordId joint = 0; joint < vocab_size; ++joint) {
      const WordId own = part.model->find(table.words[joint]);
      part.from_joint[joint] = own;
      if (own != NgramLm::kUnknown || joint == 0) part.to_joint[own] = joint;
    }
    part.places = part.to_joint;
    num_levels = std::max(num_levels, static_cast<std::size_t>(part.model->order()));
    if (part.model->begin_word() != 0) table.begin_word = part.to_joint[part.model->begin_word()];
    if (part.model->end_word() != 0) table.end_word = part.to_joint[part.model->end_word()];
  }
  table.levels.resize(num_levels);
  for (std::size_t number = 0; number < num_levels; ++number) {
    NgramTable::Level& level = table.levels[number];
    std::vector<std::uint64_t> keys;
    if (number == 0) {
      level.words.resize(vocab_size);
      std::iota(level.words.begin(), level.words.end(), 0U);
    } else {
      std::vector<std::vector<std::uint64_t>> own_keys(parts.size());
      for (std::size_t index = 0; index < parts.size(); ++index) {
        const Part& part = parts[index];
        if (static_cast<std::size_t>(part.model->order()) <= number) continue;
        const NgramImageView& view = part.model->image();
        own_keys[index].reserve(view.counts[number]);
        view.levels[number].set.for_each([&](std::uint64_t /*place*/, std::uint64_t key) {
          const std::uint64_t parent = std::min<std::uint64_t>(key / view.vocab_size, part.places.size() - 1);
          own_keys[index].push_back(part.places[parent] * vocab_size + part.to_joint[key % view.vocab_size]);
        });
        keys.insert(keys.end(), own_keys[index].begin(), own_keys[index].end());
      }
      std::sort(keys.begin(), keys.end());
      keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
      for (std::size_t index = 0; index < parts.size(); ++index) {
        std::vector<std::uint32_t>& places = parts[index].places;
        places.clear();
        std::size_t place = 0;
        for (const std::uint64_t key : own_keys[index]) {
          while (place < keys.size() && keys[place] < key) ++place;
          places.push_back(static_cast<std::uint32_t>(place));
        }
      }
      for (const std::uint64_t key : keys) {
        level.parents.push_back(static_cast<std::uint32_t>(key / vocab_size));
        level.words.push_back(static_cast<WordId>(key % vocab_size));
      }
    }
    level.scores.resize(level.size());
    if (number + 1 < num_levels) level.backoffs.resize(level.size(), -0.0F);
    const auto threads = static_cast<std::size_t>(std::max(num_threads, 1));
    run_on_threads(static_cast<int>(threads), [&](int thread) {
      const auto share = static_cast<std::size_t>(thread);
      for (std::size_t place = level.size() * share / threads; place < level.size() * (share + 1) / threads; ++place) {
        std::array<WordId, kMaxNgramOrder> reversed{};
        table.ngram(number, place, reversed.data());
        double prob = 0.0;
        for (const Part& part : parts) prob += part.weight * probability(part, reversed.data(), number + 1);
        using Limits = std::numeric_limits<double>;
        level.scores[place] = static_cast<float>(std::log(std::clamp(prob, Limits::min(), Limits::max())));
      }
    });
  }
  if (table.begin_word != 0) table.levels[0].scores[table.begin_word] = 0.0F;
  normalise(table, find_contexts(table));
  return table;
}

std::vector<double> fit_weights(const double* probs, std::size_t num_words, std::size_t num_models,
                                const double* word_weights, double* perplexity) {
  std::vector<double> weights(num_models, 1.0 / static_cast<double>(num_models));
  constexpr int kMostRounds = 500;
  constexpr double kEnough = 1e-9;
  double before = -std::numeric_limits<double>::infinity();
  for (int round = 0; round < kMostRounds; ++round) {
    std::vector<double> share(num_models, 0.0);
    double log_prob = 0.0;
    double total = 0.0;
    for (std::size_t word = 0; word < num_words; ++word) {
      const double* row = probs + word * num_models;
      double sum = 0.0;
      for (std::size_t model = 0; model < num_models; ++model) sum += weights[model] * row[model];
      if (!(sum > 0.0)) continue;
      const double weight = word_weights == nullptr ? 1.0 : word_weights[word];
      for (std::size_t model = 0; model < num_models; ++model) {
        share[model] += weight * weights[model] * row[model] / sum;
      }
      log_prob += weight * std::log(sum);
      total += weight;
    }
    if (!(total > 0.0)) throw InputError("no word of the held-out text is known to the language models");
    log_prob /= total;
    if (perplexity != nullptr) *perplexity = std::exp(-log_prob);
    if (log_prob - before < kEnough) break;
    before = log_prob;
    for (std::size_t model = 0; model < num_models; ++model) weights[model] = share[model] / total;
  }
  return weights;
}

}  // namespace edgeasr
