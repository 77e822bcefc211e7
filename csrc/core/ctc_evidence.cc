#include "core/ctc_evidence.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/errors.h"
#include "core/row_scan.h"

namespace edgeasr {

CtcEvidenceMeter::CtcEvidenceMeter(std::int32_t vocab_size, std::int32_t blank_id, std::size_t max_frames,
                                   CtcInput kind)
    : gate_(vocab_size, blank_id, kind), blank_id_(blank_id), max_frames_(max_frames) {
  if (max_frames == 0) throw ConfigError("max_frames is 0, expected at least 1");
}

void CtcEvidenceMeter::accept(const float* rows, std::size_t num_frames) {
  const float* admitted = gate_.admit(rows, num_frames);
  const auto width = static_cast<std::size_t>(gate_.vocab_size());
  // Old rows go in one move, when as many as are remembered have gathered.
  if (best_.size() >= 2 * max_frames_) {
    const auto surplus = static_cast<std::ptrdiff_t>(best_.size() - max_frames_);
    rows_.erase(rows_.begin(), rows_.begin() + surplus * static_cast<std::ptrdiff_t>(width));
    best_.erase(best_.begin(), best_.begin() + surplus);
    first_row_ += surplus;
  }
  // Of a block that is longer than what is remembered, only the end is of use.
  const std::size_t skipped = num_frames > max_frames_ ? num_frames - max_frames_ : 0;
  if (skipped > 0) {
    rows_.clear();
    best_.clear();
    first_row_ = num_frames_ + static_cast<std::int64_t>(skipped);
  }
  rows_.insert(rows_.end(), admitted + skipped * width, admitted + num_frames * width);
  for (std::size_t frame = skipped; frame < num_frames; ++frame) {
    const float* row = admitted + frame * width;
    best_.push_back(row[argmax(row, width)]);
  }
  num_frames_ += static_cast<std::int64_t>(num_frames);
}

std::int64_t CtcEvidenceMeter::first_remembered() const {
  return std::max<std::int64_t>(0, num_frames_ - static_cast<std::int64_t>(max_frames_));
}

CtcEvidence CtcEvidenceMeter::measure(const std::vector<std::int32_t>& token_ids, std::int64_t window_begin,
                                      std::int64_t window_end, std::int64_t word_begin, std::int64_t word_end) const {
  for (const std::int32_t id : token_ids) {
    if (id < 0 || id >= gate_.vocab_size() || id == blank_id_) {
      throw InputError("token id " + std::to_string(id) + ", expected 0 to " + std::to_string(gate_.vocab_size() - 1) +
                       " without the blank, " + std::to_string(blank_id_));
    }
  }
  const auto known = [this](std::int64_t frame) { return std::clamp(frame, first_remembered(), num_frames_); };
  CtcEvidence evidence;
  evidence.log_posterior = log_posterior(token_ids, known(window_begin), known(window_end));
  double doubt = 0.0;
  const std::int64_t end = known(word_end);
  const std::int64_t begin = std::min(known(word_begin), end);
  for (std::int64_t frame = begin; frame < end; ++frame) {
    doubt -= static_cast<double>(best_[static_cast<std::size_t>(frame - first_row_)]);
  }
  // Log-probs of half precision may be a little above zero.
  if (end > begin) evidence.doubt = std::max(0.0, doubt / static_cast<double>(end - begin));
  return evidence;
}

// The forward pass over the tokens with blanks between and around them: state 2i + 1 holds token i, state 2i the blank
// before it. Probabilities are linear doubles that sum to one after each frame; what was taken out is in `log_sum`.
double CtcEvidenceMeter::log_posterior(const std::vector<std::int32_t>& token_ids, std::int64_t begin,
                                       std::int64_t end) const {
  if (begin >= end) return token_ids.empty() ? 0.0 : kFloor;
  const std::size_t num_tokens = token_ids.size();
  const std::size_t num_states = 2 * num_tokens + 1;
  std::vector<double> states(num_states, 0.0);
  states[0] = 1.0;  // before the first frame: all of it in front of the first token, which may be emitted at once
  const auto width = static_cast<std::size_t>(gate_.vocab_size());
  double log_sum = 0.0;
  for (std::int64_t frame = begin; frame < end; ++frame) {
    const float* row = rows_.data() + static_cast<std::size_t>(frame - first_row_) * width;
    const double blank = std::exp(static_cast<double>(row[blank_id_]));
    double sum = 0.0;
    // Backwards, so that what a state takes from those before it is of the frame before.
    for (std::size_t token = num_tokens; token-- > 0;) {
      const std::size_t at = 2 * token + 1;
      states[at + 1] = (states[at + 1] + states[at]) * blank;
      const bool repeats = token > 0 && token_ids[token] == token_ids[token - 1];
      const double skipping = token > 0 && !repeats ? states[at - 2] : 0.0;
      const double coming = states[at] + states[at - 1] + skipping;
      // Most tokens cannot have been reached yet, and an exponential costs more than the rest.
      states[at] = coming > 0.0 ? coming * std::exp(static_cast<double>(row[token_ids[token]])) : 0.0;
      sum += states[at] + states[at + 1];
    }
    states[0] *= blank;
    sum += states[0];
    if (!(sum > 0.0)) return kFloor;
    log_sum += std::log(sum);
    for (double& state : states) state /= sum;
  }
  const double complete = states[num_states - 1] + (num_tokens > 0 ? states[num_states - 2] : 0.0);
  if (!(complete > 0.0)) return kFloor;
  return std::clamp(log_sum + std::log(complete), kFloor, 0.0);
}

void CtcEvidenceMeter::reset() {
  num_frames_ = 0;
  first_row_ = 0;
  rows_.clear();
  best_.clear();
}

}  // namespace edgeasr
