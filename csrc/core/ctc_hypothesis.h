// What the CTC decoders return.
#pragma once

#include <cstdint>
#include <vector>

namespace edgeasr {

// One token sequence and its evidence. The four token vectors have the same length.
//
// The times come from the best single alignment of the sequence that the decoder saw: token i is emitted on the
// frames token_start_frames[i] <= t < token_end_frames[i], counted from the start of the stream (or from reset()).
// token_posteriors[i] is the largest probability, in 0..1, that the model gave the token on those frames. The
// definition is the same for greedy and beam search, for partial and final results, and for every entry of an n-best.
struct Hypothesis {
  std::vector<std::int32_t> token_ids;
  std::vector<std::int32_t> token_start_frames;
  std::vector<std::int32_t> token_end_frames;
  std::vector<float> token_posteriors;
  // Natural log. Beam search: of the summed probability of all alignments that lead to the token sequence. Greedy: of
  // the one alignment that takes the best token of each frame.
  double score = 0.0;
};

}  // namespace edgeasr
