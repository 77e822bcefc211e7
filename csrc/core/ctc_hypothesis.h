// What the CTC decoders return.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace edgeasr {

// What a score is made of: score = acoustic + lm_weight * lm + word_bonus * num_words + boost - oov.
struct ScoreParts {
  double acoustic = 0.0;       // of the log-probs
  double lm = 0.0;             // log-prob of the words in the language model, not weighted
  std::int64_t num_words = 0;  // that the bonus is for
  double boost = 0.0;          // of hotwords
  double oov = 0.0;            // costs of words that are not known
};

// One text and its evidence. The four token vectors have the same length.
//
// The tokens and the times come from the best single alignment of the text that the decoder saw: token i is emitted on
// the frames token_start_frames[i] <= t < token_end_frames[i], counted from the start of the stream (or from reset()).
// token_posteriors[i] is the largest probability, in 0..1, that the model gave the token on those frames. The
// definition is the same for greedy and beam search, for partial and final results, and for every entry of an n-best.
struct Hypothesis {
  std::vector<std::int32_t> token_ids;
  std::vector<std::int32_t> token_start_frames;
  std::vector<std::int32_t> token_end_frames;
  std::vector<float> token_posteriors;
  // Words joined by spaces; empty when the decoder does not know what tokens spell.
  std::string text;
  // Natural log. Beam search: of the summed probability of all alignments that lead to the text, and of its weight; for
  // the whole stream. Greedy: of the one alignment that takes the best token of each frame.
  double score = 0.0;
  ScoreParts parts;
  // Whether the text may end here: a finished one that may not is there only when there is no other.
  bool complete = true;
};

}  // namespace edgeasr
