#include "core/ctc_beam.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/errors.h"

namespace edgeasr {
namespace {

// Probabilities relative to the best prefix stay above this, so that no double underflows between two rescalings.
constexpr double kLargestBeamThreshold = 600.0;
// The beam is rescaled when its best probability falls below this, by a power of two: exact, and without a logarithm.
constexpr double kRescaleBelow = 0x1p-64;
// Forced commitment looks every so many frames: the search for what is old costs as much as a result.
constexpr std::int32_t kForcedCommitInterval = 32;
constexpr std::size_t kMinMomentsLimit = 1024;

std::string show(double value) { return std::to_string(value); }

}  // namespace

void validate(const CtcBeamConfig& config) {
  const auto require = [](bool good, const char* field, const std::string& value, const char* expected) {
    if (!good) throw ConfigError(std::string(field) + " is " + value + ", expected " + expected);
  };
  require(config.beam_size >= 1, "beam_size", std::to_string(config.beam_size), "at least 1");
  require(config.blank_id >= 0, "blank_id", std::to_string(config.blank_id), "at least 0");
  require(config.nbest >= 1, "nbest", std::to_string(config.nbest), "at least 1");
  require(config.beam_threshold > 0.0, "beam_threshold", show(config.beam_threshold), "more than 0");
  require(config.token_threshold > 0.0, "token_threshold", show(config.token_threshold), "more than 0");
  require(config.max_tokens_per_frame >= 0, "max_tokens_per_frame", std::to_string(config.max_tokens_per_frame),
          "at least 0 (0: no limit)");
  require(config.blank_skip_threshold > 0.0 && config.blank_skip_threshold <= 1.0, "blank_skip_threshold",
          show(config.blank_skip_threshold), "a probability in (0, 1] (1: no frame is skipped)");
  require(config.max_commit_delay_frames >= 0, "max_commit_delay_frames",
          std::to_string(config.max_commit_delay_frames), "at least 0 (0: no limit)");
}

CtcBeamDecoder::CtcBeamDecoder(const CtcBeamConfig& config, std::int32_t vocab_size, CtcInput kind)
    : config_((validate(config), config)),
      gate_(vocab_size, config.blank_id, kind),
      beam_floor_(std::exp(-std::min(config.beam_threshold, kLargestBeamThreshold))),
      prob_cache_(static_cast<std::size_t>(vocab_size)),
      prob_frame_(static_cast<std::size_t>(vocab_size)) {
  reset();
}

void CtcBeamDecoder::reset() {
  num_frames_ = 0;
  finished_ = false;
  trie_.clear();
  Beam empty;
  empty.node = trie_.root();
  empty.blank = 1.0;
  empty.blank_alignment.log_prob = 0.0;
  beams_.assign(1, empty);
  scale_exponent_ = 0;
  moments_.clear();
  moments_limit_ = kMinMomentsLimit;
  committed_ = Hypothesis();
  committed_depth_ = 0;
  pending_ids_.clear();
  std::fill(prob_frame_.begin(), prob_frame_.end(), -1);
}

void CtcBeamDecoder::accept(const float* rows, std::size_t num_frames) {
  if (finished_) throw StreamStateError("accept() after finish(): call reset() to start a new stream");
  constexpr auto kMaxFrames = static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()) - 1;
  if (num_frames > kMaxFrames - static_cast<std::size_t>(num_frames_)) {
    throw StreamStateError("the stream has more than 2^31 frames: call reset() to start a new one");
  }
  const float* row = gate_.admit(rows, num_frames);
  for (std::size_t frame = 0; frame < num_frames; ++frame, row += gate_.vocab_size()) step(row);
}

void CtcBeamDecoder::step(const float* row) {
  update_live(row);
  extensions_.clear();
  const double blank_prob = prob(row, config_.blank_id);
  if (config_.blank_skip_threshold >= 1.0 || blank_prob <= config_.blank_skip_threshold) {
    choose_tokens(row);
    propose(row);
  }
  keep_best();
  materialise();
  rescale();
  ++num_frames_;
  if (config_.max_commit_delay_frames > 0 && num_frames_ % kForcedCommitInterval == 0) force_commit();
  commit();
  if (moments_.size() > moments_limit_) collect_moments();
}

double CtcBeamDecoder::prob(const float* row, std::int32_t token) {
  const auto index = static_cast<std::size_t>(token);
  if (prob_frame_[index] != num_frames_) {
    prob_frame_[index] = num_frames_;
    prob_cache_[index] = std::exp(static_cast<double>(row[index]));
  }
  return prob_cache_[index];
}

// What the frame does to each live prefix that stays as it is: blank, its last token held, or its last token newly
// emitted by the prefix one token shorter, when that lives too.
void CtcBeamDecoder::update_live(const float* row) {
  const std::size_t count = beams_.size();
  next_.resize(count);
  live_scores_.resize(count);
  first_child_.assign(count, PrefixTrie::kNone);
  next_sibling_.resize(count);
  child_mask_.assign(count, 0);
  const double blank_prob = prob(row, config_.blank_id);
  const auto blank_log_prob = static_cast<double>(row[config_.blank_id]);
  double best = 0.0;
  double worst = std::numeric_limits<double>::infinity();
  for (std::size_t slot = 0; slot < count; ++slot) {
    const Beam& old = beams_[slot];
    Beam& now = next_[slot];
    now.node = old.node;
    now.parent = old.parent;
    now.token = old.token;
    now.blank = old.total() * blank_prob;
    if (old.blank_alignment.log_prob >= old.held_alignment.log_prob) {
      now.blank_alignment = old.blank_alignment;
    } else {
      now.blank_alignment = old.held_alignment;
    }
    now.blank_alignment.log_prob += blank_log_prob;
    now.held = 0.0;
    now.held_alignment = Alignment();
    if (old.token != PrefixTrie::kNone) {
      const double token_prob = prob(row, old.token);
      const float log_prob = row[old.token];
      now.held = old.held * token_prob;
      now.held_alignment = old.held_alignment;
      now.held_alignment.peak = std::max(old.held_alignment.peak, log_prob);
      const std::int32_t parent_slot = old.parent == PrefixTrie::kNone ? PrefixTrie::kNone : trie_[old.parent].slot;
      if (parent_slot != PrefixTrie::kNone) {
        const auto p = static_cast<std::size_t>(parent_slot);
        next_sibling_[slot] = first_child_[p];
        first_child_[p] = static_cast<std::int32_t>(slot);
        child_mask_[p] |= std::uint64_t{1} << (static_cast<std::uint32_t>(old.token) & 63U);
        const Beam& parent = beams_[p];
        const bool repeat = parent.token == old.token;
        now.held += (repeat ? parent.blank : parent.total()) * token_prob;
        const Alignment& from = repeat ? parent.blank_alignment : parent.best_alignment();
        if (from.log_prob > now.held_alignment.log_prob) {
          now.held_alignment.log_prob = from.log_prob;
          now.held_alignment.peak = log_prob;
          now.held_alignment.moment = static_cast<std::int32_t>(moments_.size());
          moments_.push_back(Moment{from.moment, num_frames_, from.end, from.peak});
        }
      }
      now.held_alignment.log_prob += static_cast<double>(log_prob);
      now.held_alignment.end = num_frames_ + 1;
    }
    const double score = now.total();
    live_scores_[slot] = score;
    best = std::max(best, score);
    worst = std::min(worst, score);
  }
  const bool full = count >= static_cast<std::size_t>(config_.beam_size);
  threshold_ = std::max(best * beam_floor_, full ? worst : 0.0);
}

// The tokens that may start new prefixes on this frame, most probable first.
void CtcBeamDecoder::choose_tokens(const float* row) {
  tokens_.clear();
  const std::int32_t size = gate_.vocab_size();
  const float best = *std::max_element(row, row + size);
  double lowest = static_cast<double>(best) - config_.token_threshold;
  double largest_total = 0.0;
  for (const Beam& beam : beams_) largest_total = std::max(largest_total, beam.total());
  // A less probable token could not lift even the best prefix over the worst of a full beam.
  if (threshold_ > 0.0) lowest = std::max(lowest, std::log(threshold_ / largest_total) - 1e-3);
  for (std::int32_t id = 0; id < size; ++id) {
    if (static_cast<double>(row[id]) >= lowest && id != config_.blank_id && std::isfinite(row[id])) {
      tokens_.push_back(Token{row[id], id, prob(row, id)});
    }
  }
  const auto before = [](const Token& a, const Token& b) {
    return a.log_prob != b.log_prob ? a.log_prob > b.log_prob : a.id < b.id;
  };
  std::sort(tokens_.begin(), tokens_.end(), before);
  const auto limit = static_cast<std::size_t>(config_.max_tokens_per_frame);
  if (limit > 0 && tokens_.size() > limit) tokens_.resize(limit);
}

// New prefixes that beat the worst of the beam. A new prefix has one parent, so nothing needs to be summed here. This
// is the one place where an extension is weighed: other knowledge (language model, lexicon) multiplies its weight into
// the score here, and keeps its state and its log weight in the Beam.
void CtcBeamDecoder::propose(const float*) {
  const auto limit = static_cast<std::size_t>(config_.beam_size) * 4 + 64;
  for (std::size_t slot = 0; slot < beams_.size(); ++slot) {
    const Beam& beam = beams_[slot];
    const double total = beam.total();
    for (const Token& token : tokens_) {
      if (total * token.prob <= threshold_) break;
      const double score = (token.id == beam.token ? beam.blank : total) * token.prob;
      if (score <= threshold_) continue;
      if ((child_mask_[slot] >> (static_cast<std::uint32_t>(token.id) & 63U) & 1U) != 0U) {
        std::int32_t child = first_child_[slot];
        while (child != PrefixTrie::kNone && beams_[static_cast<std::size_t>(child)].token != token.id) {
          child = next_sibling_[static_cast<std::size_t>(child)];
        }
        if (child != PrefixTrie::kNone) continue;
      }
      extensions_.push_back(Extension{score, static_cast<std::int32_t>(slot), token.id, token.log_prob});
      if (extensions_.size() >= limit) keep_best();
    }
  }
}

// Drops what is not among the beam_size best or is too far below the best. Of equals at the border those that came
// first stay, so that the choice does not depend on the standard library's sorting.
void CtcBeamDecoder::keep_best() {
  ranking_.clear();
  double best = 0.0;
  for (const double score : live_scores_) {
    best = std::max(best, score);
    if (score > 0.0) ranking_.push_back(score);
  }
  for (const Extension& extension : extensions_) {
    best = std::max(best, extension.score);
    ranking_.push_back(extension.score);
  }
  double lowest = best * beam_floor_;
  std::size_t equals = ranking_.size();
  const auto size = static_cast<std::size_t>(config_.beam_size);
  double border = 0.0;
  if (ranking_.size() > size) {
    const auto last = ranking_.begin() + static_cast<std::ptrdiff_t>(size) - 1;
    std::nth_element(ranking_.begin(), last, ranking_.end(), std::greater<double>());
    border = *last;
    const auto above =
        std::count_if(ranking_.begin(), ranking_.end(), [border](double score) { return score > border; });
    equals = size - static_cast<std::size_t>(above);
    lowest = std::max(lowest, border);
  }
  const auto keep = [&](double score) {
    if (score < lowest || score <= 0.0) return false;
    if (score > border) return true;
    if (equals == 0) return false;
    --equals;
    return true;
  };
  for (double& score : live_scores_) {
    if (!keep(score)) score = -1.0;
  }
  std::size_t kept = 0;
  for (const Extension& extension : extensions_) {
    if (keep(extension.score)) extensions_[kept++] = extension;
  }
  extensions_.resize(kept);
  threshold_ = std::max(threshold_, lowest);
}

// Gives the chosen extensions their nodes and slots, and frees those of the prefixes that were dropped.
void CtcBeamDecoder::materialise() {
  const std::size_t count = beams_.size();
  for (std::size_t slot = 0; slot < count; ++slot) {
    if (live_scores_[slot] < 0.0) trie_.set_slot(next_[slot].node, PrefixTrie::kNone);
  }
  std::size_t free_slot = 0;
  for (const Extension& extension : extensions_) {
    const Beam& parent = beams_[static_cast<std::size_t>(extension.slot)];
    const Alignment& from = extension.token == parent.token ? parent.blank_alignment : parent.best_alignment();
    Beam beam;
    beam.node = trie_.child(parent.node, extension.token, num_frames_);
    beam.parent = parent.node;
    beam.token = extension.token;
    beam.held = extension.score;
    beam.held_alignment.log_prob = from.log_prob + static_cast<double>(extension.log_prob);
    beam.held_alignment.moment = static_cast<std::int32_t>(moments_.size());
    beam.held_alignment.end = num_frames_ + 1;
    beam.held_alignment.peak = extension.log_prob;
    moments_.push_back(Moment{from.moment, num_frames_, from.end, from.peak});
    trie_.set_slot(beam.node, 0);  // its place is known below; until then it must not count as free
    next_.push_back(beam);
    live_scores_.push_back(extension.score);
  }
  for (std::size_t slot = 0; slot < count; ++slot) {
    if (live_scores_[slot] < 0.0) trie_.release(next_[slot].node);
  }
  for (std::size_t slot = 0; slot < next_.size(); ++slot) {
    if (live_scores_[slot] < 0.0) continue;
    if (free_slot != slot) next_[free_slot] = next_[slot];
    trie_.set_slot(next_[free_slot].node, static_cast<std::int32_t>(free_slot));
    ++free_slot;
  }
  next_.resize(free_slot);
  beams_.swap(next_);
}

void CtcBeamDecoder::rescale() {
  double best = 0.0;
  for (const Beam& beam : beams_) best = std::max(best, beam.total());
  if (best >= kRescaleBelow) return;
  int exponent = 0;
  std::frexp(best, &exponent);
  for (Beam& beam : beams_) {
    beam.blank = std::ldexp(beam.blank, -exponent);
    beam.held = std::ldexp(beam.held, -exponent);
  }
  scale_exponent_ += exponent;
}

const CtcBeamDecoder::Beam& CtcBeamDecoder::best_beam() const {
  return *std::max_element(beams_.begin(), beams_.end(),
                           [](const Beam& a, const Beam& b) { return a.total() < b.total(); });
}

// The tokens of `beam` that are not committed, up to a depth, behind those in `out`.
void CtcBeamDecoder::append_tail(const Beam& beam, std::int32_t up_to_depth, Hypothesis& out) const {
  const std::int32_t depth = trie_[beam.node].depth;
  const auto begin = out.token_ids.size();
  const auto count = static_cast<std::size_t>(std::max(0, up_to_depth - committed_depth_));
  out.token_ids.resize(begin + count);
  out.token_start_frames.resize(begin + count);
  out.token_end_frames.resize(begin + count);
  out.token_posteriors.resize(begin + count);
  const Alignment& alignment = beam.best_alignment();
  std::int32_t moment = alignment.moment;
  std::int32_t end = alignment.end;
  float peak = alignment.peak;
  std::int32_t node = beam.node;
  const std::int32_t root_depth = trie_[trie_.root()].depth;
  for (std::int32_t at = depth; at > committed_depth_; --at) {
    const Moment& m = moments_[static_cast<std::size_t>(moment)];
    if (at <= up_to_depth) {
      const auto index = begin + static_cast<std::size_t>(at - committed_depth_ - 1);
      out.token_ids[index] = at > root_depth ? trie_[node].token
                                             : pending_ids_[static_cast<std::size_t>(at - committed_depth_ - 1)];
      out.token_start_frames[index] = m.start;
      out.token_end_frames[index] = end;
      out.token_posteriors[index] = std::min(1.0F, std::exp(peak));
    }
    end = m.previous_end;
    peak = m.previous_peak;
    moment = m.previous;
    if (at > root_depth) node = trie_[node].parent;
  }
}

void CtcBeamDecoder::commit() {
  while (trie_.advance_root()) {
    pending_ids_.push_back(trie_[trie_.root()].token);
    const std::int32_t slot = trie_[trie_.root()].slot;
    if (slot != PrefixTrie::kNone) beams_[static_cast<std::size_t>(slot)].parent = PrefixTrie::kNone;
  }
  if (pending_ids_.empty()) return;
  const Beam& best = best_beam();
  std::int32_t target = trie_[trie_.root()].depth;
  // The root's own token may still be going on.
  if (best.node == trie_.root() && best.held_alignment.log_prob > best.blank_alignment.log_prob) --target;
  if (target <= committed_depth_) return;
  append_tail(best, target, committed_);
  pending_ids_.erase(pending_ids_.begin(), pending_ids_.begin() + (target - committed_depth_));
  committed_depth_ = target;
}

// Drops the prefixes that disagree with the best one on tokens older than the limit.
void CtcBeamDecoder::force_commit() {
  const std::int32_t oldest = num_frames_ - config_.max_commit_delay_frames;
  std::int32_t node = best_beam().node;
  while (node != trie_.root() && trie_[node].birth > oldest) node = trie_[node].parent;
  if (node == trie_.root()) return;
  const std::int32_t depth = trie_[node].depth;
  for (std::size_t slot = 0; slot < beams_.size(); ++slot) {
    std::int32_t ancestor = beams_[slot].node;
    while (trie_[ancestor].depth > depth) ancestor = trie_[ancestor].parent;
    live_scores_[slot] = ancestor == node ? 0.0 : -1.0;
  }
  std::size_t kept = 0;
  for (std::size_t slot = 0; slot < beams_.size(); ++slot) {
    const std::int32_t leaf = beams_[slot].node;
    if (live_scores_[slot] < 0.0) {
      trie_.set_slot(leaf, PrefixTrie::kNone);
      trie_.release(leaf);
      continue;
    }
    trie_.set_slot(leaf, static_cast<std::int32_t>(kept));
    if (kept != slot) beams_[kept] = beams_[slot];
    ++kept;
  }
  beams_.resize(kept);
}

// Copies the moments that live alignments still need to a new arena, and forgets the others.
void CtcBeamDecoder::collect_moments() {
  moments_copy_.clear();
  forward_.assign(moments_.size(), PrefixTrie::kNone);
  const auto copy = [this](Alignment& alignment, std::int32_t depth) {
    if (alignment.moment == PrefixTrie::kNone) return;
    std::int32_t* link = &alignment.moment;
    std::int32_t moment = alignment.moment;
    std::ptrdiff_t link_in_copy = -1;
    for (std::int32_t at = depth; at > committed_depth_; --at) {
      const auto from = static_cast<std::size_t>(moment);
      const bool seen = forward_[from] != PrefixTrie::kNone;
      if (!seen) {
        forward_[from] = static_cast<std::int32_t>(moments_copy_.size());
        moments_copy_.push_back(moments_[from]);
      }
      if (link_in_copy < 0) {
        *link = forward_[from];
      } else {
        moments_copy_[static_cast<std::size_t>(link_in_copy)].previous = forward_[from];
      }
      if (seen) return;
      link_in_copy = forward_[from];
      moment = moments_[from].previous;
    }
    if (link_in_copy < 0) {
      *link = PrefixTrie::kNone;
    } else {
      moments_copy_[static_cast<std::size_t>(link_in_copy)].previous = PrefixTrie::kNone;
    }
  };
  for (Beam& beam : beams_) {
    const std::int32_t depth = trie_[beam.node].depth;
    copy(beam.blank_alignment, depth);
    copy(beam.held_alignment, depth);
  }
  moments_.swap(moments_copy_);
  moments_limit_ = std::max(kMinMomentsLimit, 2 * moments_.size());
}

std::vector<Hypothesis> CtcBeamDecoder::partial() const {
  constexpr double kLog2 = 0.693147180559945309417;
  std::vector<Hypothesis> results;
  results.reserve(beams_.size());
  std::vector<std::size_t> order(beams_.size());
  for (std::size_t slot = 0; slot < order.size(); ++slot) order[slot] = slot;
  const auto score = [this](std::size_t slot) { return beams_[slot].total(); };
  // Everything that scores at least as well as the last one wanted: ties are broken by the tokens below.
  const auto nbest = static_cast<std::size_t>(config_.nbest);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return score(a) > score(b); });
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    if (rank >= nbest && score(order[rank]) < score(order[nbest - 1])) break;
    const Beam& beam = beams_[order[rank]];
    Hypothesis hypothesis = committed_;
    append_tail(beam, trie_[beam.node].depth, hypothesis);
    hypothesis.score = std::log(beam.total()) + static_cast<double>(scale_exponent_) * kLog2;
    results.push_back(std::move(hypothesis));
  }
  std::sort(results.begin(), results.end(), [](const Hypothesis& a, const Hypothesis& b) {
    return a.score != b.score ? a.score > b.score : a.token_ids < b.token_ids;
  });
  if (results.size() > nbest) results.resize(nbest);
  return results;
}

std::vector<Hypothesis> CtcBeamDecoder::finish() {
  if (finished_) throw StreamStateError("finish() after finish(): call reset() to start a new stream");
  finished_ = true;
  return partial();
}

Hypothesis CtcBeamDecoder::take_committed() {
  Hypothesis taken;
  std::swap(taken, committed_);
  taken.score = partial().front().score;
  return taken;
}

}  // namespace edgeasr
