// Static interpolation of language models: one model that holds the n-grams of all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/ngram_lm.h"
#include "core/ngram_table.h"

namespace edgeasr {

// For each n-gram that any of the models has, p = sum of weight_i p_i; words that no n-gram is stored for after a
// context back off. As LmMixture, it gives words that a model lacks their probability from the others. The weights are
// above 0 and divided by their sum. Throws ConfigError.
NgramTable mix_models(const std::vector<std::shared_ptr<const NgramLm>>& models, const std::vector<double>& weights,
                      int num_threads);

// The weights with which the mixture gives a text the highest probability, by expectation and maximisation (Jelinek and
// Mercer 1980). `probs` are p_i(word | context), row-major (num_words, num_models); the last round's perplexity per
// word goes to `perplexity`.
std::vector<double> fit_weights(const double* probs, std::size_t num_words, std::size_t num_models,
                                const double* word_weights, double* perplexity);

}  // namespace edgeasr
