#include "core/lm_mixture.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "core/errors.h"

namespace edgeasr {
namespace {

double log_add(double a, double b) {
  if (a < b) std::swap(a, b);
  return a + std::log1p(std::exp(b - a));
}

}  // namespace

LmMixture::LmMixture(std::vector<std::shared_ptr<const NgramLm>> models, std::vector<double> weights)
    : models_(std::move(models)), weights_(std::move(weights)) {
  if (models_.empty() || models_.size() != weights_.size()) {
    throw ConfigError("a mixture has " + std::to_string(models_.size()) + " language models and " +
                      std::to_string(weights_.size()) + " weights, expected at least one and as many");
  }
  double sum = 0.0;
  for (std::size_t index = 0; index < models_.size(); ++index) {
    if (models_[index] == nullptr) throw ConfigError("a language model of the mixture is missing");
    const double weight = weights_[index];
    if (!(weight > 0.0) || !std::isfinite(weight)) {
      throw ConfigError("the weight of language model " + std::to_string(index) + " is " + std::to_string(weight) +
                        ", expected a number above 0");
    }
    sum += weight;
  }
  for (double& weight : weights_) {
    weight /= sum;
    log_weights_.push_back(std::log(weight));
  }
  first_ = models_.front().get();
  first_size_ = first_->vocab_size();
  ids_.resize(models_.size() - 1);
  for (std::size_t index = 1; index < models_.size(); ++index) {
    const NgramLm& model = *models_[index];
    std::vector<WordId>& ids = ids_[index - 1];
    ids.resize(vocab_size(), NgramLm::kUnknown);
    for (WordId id = 1; id < model.vocab_size(); ++id) {
      const WordId joint = find(model.word(id));
      if (joint != NgramLm::kUnknown) {
        ids[joint] = id;
        continue;
      }
      owner_.emplace_back(index, id);
      ++num_more_;
      ids.push_back(id);
    }
  }
  for (std::vector<WordId>& ids : ids_) ids.resize(vocab_size(), NgramLm::kUnknown);
}

WordId LmMixture::find(std::string_view word) const {
  const WordId id = first_->find(word);
  if (id != NgramLm::kUnknown || num_more_ == 0) return id;
  // A joint word after the first model's is found through the first model that has it.
  for (std::size_t index = 1; index < models_.size(); ++index) {
    const WordId own = models_[index]->find(word);
    if (own == NgramLm::kUnknown) continue;
    const std::pair<std::size_t, WordId> wanted(index, own);
    const auto place = std::lower_bound(owner_.begin(), owner_.end(), wanted);
    if (place != owner_.end() && *place == wanted) {
      return static_cast<WordId>(first_size_ + static_cast<std::size_t>(place - owner_.begin()));
    }
  }
  return NgramLm::kUnknown;
}

std::string_view LmMixture::word(WordId id) const {
  if (id < first_size_ || id >= vocab_size()) return first_->word(id);
  const auto& [index, own] = owner_[id - first_size_];
  return models_[index]->word(own);
}

void LmMixture::begin_state(NgramLm::State* state) const {
  for (std::size_t index = 0; index < models_.size(); ++index) state[index] = models_[index]->begin_state();
}

double LmMixture::score_mixed(const NgramLm::State* in, WordId word, NgramLm::State* out) const {
  if (word >= vocab_size()) word = NgramLm::kUnknown;
  double total = -std::numeric_limits<double>::infinity();
  for (std::size_t index = 0; index < models_.size(); ++index) {
    const WordId id = id_in(index, word);
    const double score = models_[index]->score(in[index], id, out == nullptr ? nullptr : out + index);
    if (id == NgramLm::kUnknown && word != NgramLm::kUnknown) continue;
    total = std::isinf(total) ? score + log_weights_[index] : log_add(total, score + log_weights_[index]);
  }
  return total;
}

double LmMixture::score_end(const NgramLm::State* state) const {
  double total = first_->score_end(state[0]) + log_weights_[0];
  for (std::size_t index = 1; index < models_.size(); ++index) {
    total = log_add(total, models_[index]->score_end(state[index]) + log_weights_[index]);
  }
  return total;
}

double LmMixture::unigram(WordId word) const {
  if (word >= vocab_size()) word = NgramLm::kUnknown;
  double total = -std::numeric_limits<double>::infinity();
  for (std::size_t index = 0; index < models_.size(); ++index) {
    const WordId id = id_in(index, word);
    if (id == NgramLm::kUnknown && word != NgramLm::kUnknown) continue;
    const double score = models_[index]->unigram(id) + log_weights_[index];
    total = std::isinf(total) ? score : log_add(total, score);
  }
  return total;
}

}  // namespace edgeasr
