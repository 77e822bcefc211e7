// Linear interpolation of language models while decoding: p(word | context) = sum of weight_i p_i(word | context), so
// that a user's few sentences are a second, small model and the big one is never rewritten.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "core/ngram_lm.h"

namespace edgeasr {

// Models with a joint vocabulary, the union of theirs. Immutable, shared between threads. A word that some models lack
// gets its probability from the others; a word that all lack is <unk> in each.
//
// States are arrays with one NgramLm::State for each model.
class LmMixture {
 public:
  // At least one model, and a weight above 0 for each; the weights are divided by their sum. Throws ConfigError.
  LmMixture(std::vector<std::shared_ptr<const NgramLm>> models, std::vector<double> weights);

  std::size_t num_models() const { return models_.size(); }
  const NgramLm& model(std::size_t index) const { return *models_[index]; }
  double weight(std::size_t index) const { return weights_[index]; }

  // Joint ids: those of the first model, then the words that it lacks.
  std::size_t vocab_size() const { return first_size_ + num_more_; }
  WordId find(std::string_view word) const;
  // Throws InputError for an id that is no word's.
  std::string_view word(WordId id) const;

  void begin_state(NgramLm::State* state) const;
  // `out` may be `in`, or null.
  double score(const NgramLm::State* in, WordId word, NgramLm::State* out) const {
    return models_.size() == 1 ? first_->score(*in, word, out) : score_mixed(in, word, out);
  }
  double score_end(const NgramLm::State* state) const;
  double unigram(WordId word) const;

 private:
  double score_mixed(const NgramLm::State* in, WordId word, NgramLm::State* out) const;
  // The id of a joint word in a model.
  WordId id_in(std::size_t index, WordId joint) const {
    if (index > 0) return ids_[index - 1][joint];
    return joint < first_size_ ? joint : NgramLm::kUnknown;
  }

  std::vector<std::shared_ptr<const NgramLm>> models_;
  const NgramLm* first_;
  std::vector<double> weights_;
  std::vector<double> log_weights_;
  std::size_t first_size_;
  std::size_t num_more_ = 0;
  std::vector<std::vector<WordId>> ids_;  // of the models after the first, by joint id
  std::vector<std::pair<std::size_t, WordId>>
      owner_;  // of the words after the first model's: a model, and the id there
};

}  // namespace edgeasr
