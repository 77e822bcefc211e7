#include "core/ctc_greedy.h"

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "core/row_scan.h"

namespace edgeasr {

CtcGreedyDecoder::CtcGreedyDecoder(std::int32_t vocab_size, std::int32_t blank_id, CtcInput kind)
    : gate_(vocab_size, blank_id, kind), blank_id_(blank_id), previous_(blank_id) {}

void CtcGreedyDecoder::accept(const float* rows, std::size_t num_frames) {
  if (finished_) throw StreamStateError("accept() after finish(): call reset() to start a new stream");
  const float* row = gate_.admit(rows, num_frames);
  const std::int32_t vocab_size = gate_.vocab_size();
  for (std::size_t frame = 0; frame < num_frames; ++frame, row += vocab_size) {
    const std::int32_t best = argmax(row, static_cast<std::size_t>(vocab_size));
    const float log_prob = row[best];
    hypothesis_.score += static_cast<double>(log_prob);
    if (best != blank_id_) {
      const float posterior = std::min(1.0F, std::exp(log_prob));
      if (best != previous_) {
        hypothesis_.token_ids.push_back(best);
        hypothesis_.token_start_frames.push_back(num_frames_);
        hypothesis_.token_end_frames.push_back(num_frames_ + 1);
        hypothesis_.token_posteriors.push_back(posterior);
      } else {
        hypothesis_.token_end_frames.back() = num_frames_ + 1;
        float& peak = hypothesis_.token_posteriors.back();
        peak = std::max(peak, posterior);
      }
    }
    previous_ = best;
    ++num_frames_;
  }
}

const Hypothesis& CtcGreedyDecoder::finish() {
  if (finished_) throw StreamStateError("finish() after finish(): call reset() to start a new stream");
  finished_ = true;
  return hypothesis_;
}

void CtcGreedyDecoder::reset() {
  previous_ = blank_id_;
  num_frames_ = 0;
  finished_ = false;
  hypothesis_ = Hypothesis();
}

std::size_t CtcGreedyDecoder::num_committed() const {
  const bool held = previous_ != blank_id_ && !finished_;
  return hypothesis_.token_ids.size() - (held ? 1U : 0U);
}

Hypothesis CtcGreedyDecoder::take_committed() {
  const auto count = static_cast<std::ptrdiff_t>(num_committed());
  Hypothesis taken;
  taken.score = hypothesis_.score;
  const auto move_front = [count](auto& from, auto& to) {
    to.assign(from.begin(), from.begin() + count);
    from.erase(from.begin(), from.begin() + count);
  };
  move_front(hypothesis_.token_ids, taken.token_ids);
  move_front(hypothesis_.token_start_frames, taken.token_start_frames);
  move_front(hypothesis_.token_end_frames, taken.token_end_frames);
  move_front(hypothesis_.token_posteriors, taken.token_posteriors);
  return taken;
}

}  // namespace edgeasr
