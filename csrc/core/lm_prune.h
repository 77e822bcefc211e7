// Makes a language model smaller: n-grams whose loss changes its distribution least are left out (Stolcke 1998,
// "Entropy-based pruning of backoff language models").
#pragma once

#include <cstdint>

#include "core/ngram_image.h"
#include "core/ngram_table.h"

namespace edgeasr {

// Leaves out n-grams (of two words and more) whose loss raises the perplexity by less than `threshold`, relatively,
// each by itself. N-grams stay as long as a longer one needs them.
//
// Unlike in the paper, how often a context occurs is not a product of the model's probabilities of its words, which
// Kneser-Ney models have wrong (Chelba, Brants, Neveitt, Xu 2010, "Study on interaction between entropy pruning and
// Kneser-Ney smoothing"), but what the model as a process gives: the stationary distribution of its 2-grams.
void prune_by_entropy(NgramTable& table, double threshold);

// The same with the lowest threshold with which the model, written with these options, has at most `max_bytes`. Throws
// InputError when the words alone are more. Does nothing to a model that is small enough.
void prune_to_size(NgramTable& table, std::uint64_t max_bytes, const NgramImageOptions& options);

}  // namespace edgeasr
