// CTC greedy decoding: the best token of each frame, repeats and blanks removed (Graves et al. 2006, "best path").
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/ctc_hypothesis.h"
#include "core/ctc_input.h"

namespace edgeasr {

// Incremental: any cut of the frames into blocks gives the same result, bit for bit.
class CtcGreedyDecoder {
 public:
  // Throws ConfigError for a blank_id outside the vocabulary.
  CtcGreedyDecoder(std::int32_t vocab_size, std::int32_t blank_id, CtcInput kind = CtcInput::kLogProbs);

  // Row-major (num_frames, vocab_size). Throws InputError (see CtcInputGate) and, after finish(), StreamStateError.
  void accept(const float* rows, std::size_t num_frames);
  // The result so far; a token that is still being held counts.
  const Hypothesis& partial() const { return hypothesis_; }
  // Ends the stream. Throws StreamStateError when called twice.
  const Hypothesis& finish();
  // Back to the start of a stream.
  void reset();

  // How many tokens at the front of the result will never change: all but one that is still being held.
  std::size_t num_committed() const;
  // Moves the committed tokens out: later results hold only those after them. The score still counts the whole stream.
  Hypothesis take_committed();

  std::int32_t vocab_size() const { return gate_.vocab_size(); }
  std::int64_t num_frames() const { return num_frames_; }

 private:
  CtcInputGate gate_;
  std::int32_t blank_id_;
  std::int32_t previous_;  // best token of the last frame
  std::int32_t num_frames_ = 0;
  bool finished_ = false;
  Hypothesis hypothesis_;
};

}  // namespace edgeasr
