// What the frames say about a word, whoever proposed it: a search, a grammar, a person.
//
// CTC takes frames to be independent of each other, so the probabilities of all token sequences of any stretch of them
// sum to one. The probability that the frames around a word emit exactly its tokens is therefore an honest posterior
// that needs no beam and no competitors: the forward pass of CTC (Graves et al. 2006, section 4.1) over these frames.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/ctc_input.h"

namespace edgeasr {

struct CtcEvidence {
  // Natural log of the probability that the window emits exactly the tokens; at least CtcEvidenceMeter::kFloor.
  double log_posterior = 0.0;
  // Mean over the word's frames of -ln of the probability of the frame's best token, blank included; at least 0.
  double doubt = 0.0;
};

// Keeps the latest rows and measures stretches of them. What it measures depends on the rows alone, not on how they
// were cut into blocks.
class CtcEvidenceMeter {
 public:
  static constexpr double kFloor = -50.0;

  // Remembers at most `max_frames` rows: older ones count as never seen. Throws ConfigError for a vocabulary of fewer
  // than two tokens, a blank_id outside it, or max_frames of 0.
  CtcEvidenceMeter(std::int32_t vocab_size, std::int32_t blank_id, std::size_t max_frames,
                   CtcInput kind = CtcInput::kLogProbs);

  // Row-major (num_frames, vocab_size). Throws InputError (see CtcInputGate).
  void accept(const float* rows, std::size_t num_frames);

  // Evidence for the tokens in window_begin <= frame < window_end, for a word on word_begin <= frame < word_end; frames
  // that are not remembered, or not there yet, are left out of both. No frames emit no tokens with certainty. Throws
  // InputError for a token id outside the vocabulary, or the blank.
  CtcEvidence measure(const std::vector<std::int32_t>& token_ids, std::int64_t window_begin, std::int64_t window_end,
                      std::int64_t word_begin, std::int64_t word_end) const;

  // Back to the start of a stream.
  void reset();

  std::int32_t vocab_size() const { return gate_.vocab_size(); }
  std::int64_t num_frames() const { return num_frames_; }

 private:
  std::int64_t first_remembered() const;
  double log_posterior(const std::vector<std::int32_t>& token_ids, std::int64_t begin, std::int64_t end) const;

  CtcInputGate gate_;
  std::int32_t blank_id_;
  std::size_t max_frames_;
  std::int64_t num_frames_ = 0;
  std::int64_t first_row_ = 0;  // the frame of the first row in rows_
  std::vector<float> rows_;
  std::vector<float> best_;  // the largest value of each row
};

}  // namespace edgeasr
