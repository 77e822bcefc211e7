// Checks that a block of CTC output is what the decoders need, before any of it is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgeasr {

// What the rows given to a decoder are.
enum class CtcInput {
  kLogProbs,  // natural log of probabilities that sum to one
  kLogits,    // anything finite: the decoder normalises each row
};

// A decoder's door. Every row is checked before the first one is decoded, so that a refused block changes nothing.
class CtcInputGate {
 public:
  // Throws ConfigError unless vocab_size >= 2 and 0 <= blank_id < vocab_size.
  CtcInputGate(std::int32_t vocab_size, std::int32_t blank_id, CtcInput kind);

  // Row-major (num_frames, vocab_size) in, log-probs of the same shape out: `rows` itself, or a normalised copy that is
  // valid until the next call. Throws InputError, naming the row, for NaN, for +inf, and for log-probs whose row does
  // not sum to one (within 1 %, so that half-precision models pass).
  const float* admit(const float* rows, std::size_t num_frames);

  std::int32_t vocab_size() const { return vocab_size_; }

 private:
  std::int32_t vocab_size_;
  CtcInput kind_;
  std::vector<float> normalised_;
};

}  // namespace edgeasr
