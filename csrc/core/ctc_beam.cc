#include "core/ctc_beam.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "core/errors.h"
#include "core/row_scan.h"

namespace edgeasr {
namespace {

constexpr std::int32_t kNone = PrefixTrie::kNone;

// Scores relative to the best stay above e^-600 = 2^-866, and the best above 2^-64: no double underflows.
constexpr double kLargestBeamThreshold = 600.0;
constexpr double kRescaleBelow = 0x1p-64;

// A prefix that lost its place goes on as a feeder while it has this share of the probability of a live prefix that it
// leads to. On the log-probs of six utterances of 1000 frames and 29 tokens a beam of 16 finds the same hypotheses for
// 0.1 to 0.0001; the scores fall short of the exact ones by 2.5, 0.5, 0.4 and 0.4 for 0.1, 0.01, 0.001 and 0.0001, and
// by 6.5 without feeders.
constexpr double kFeederShare = 0.01;

// How often old tokens are committed: each time costs about as much as a result.
constexpr std::int32_t kCommitInterval = 16;

constexpr std::size_t kMinMomentsLimit = 1024;

// Marks in place of a score.
constexpr double kOut = -1.0;
constexpr double kFeeder = -2.0;

void require(bool good, const char* field, const std::string& value, const char* expected) {
  if (!good) throw ConfigError(std::string(field) + " is " + value + ", expected " + expected);
}

}  // namespace

void validate(const CtcBeamConfig& config) {
  require(config.beam_size >= 1, "beam_size", std::to_string(config.beam_size), "at least 1");
  require(config.blank_id >= 0, "blank_id", std::to_string(config.blank_id), "at least 0");
  require(config.nbest >= 1, "nbest", std::to_string(config.nbest), "at least 1");
  require(config.beam_threshold > 0.0, "beam_threshold", std::to_string(config.beam_threshold), "more than 0");
  require(config.token_threshold > 0.0, "token_threshold", std::to_string(config.token_threshold), "more than 0");
  require(config.max_tokens_per_frame >= 0, "max_tokens_per_frame", std::to_string(config.max_tokens_per_frame),
          "at least 0 (0: no limit)");
  require(config.blank_skip_threshold > 0.0 && config.blank_skip_threshold <= 1.0, "blank_skip_threshold",
          std::to_string(config.blank_skip_threshold), "a probability in (0, 1] (1: no frame is skipped)");
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
  Prefix empty;
  empty.node = trie_.root();
  empty.live = true;
  empty.blank = 1.0;
  empty.blank_alignment.log_prob = 0.0;
  tracked_.assign(1, empty);
  best_total_ = 1.0;
  scale_exponent_ = 0;
  moments_.clear();
  moments_limit_ = kMinMomentsLimit;
  agreed_ = trie_.root();
  agreed_ids_.clear();
  committed_depth_ = 0;
  committed_end_ = 0;
  committed_ = Hypothesis();
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
  update(row);
  extensions_.clear();
  const bool skip = config_.blank_skip_threshold < 1.0 && prob(row, config_.blank_id) > config_.blank_skip_threshold;
  if (!skip) {
    choose_tokens(row);
    raise_threshold();
    propose();
  }
  const bool changed = !extensions_.empty() || worst_score_ < threshold_ || returning_score_ >= threshold_;
  if (changed) {
    keep_best();
    add_extensions();
    mark_feeders();
    drop_marked(next_);
  }
  tracked_.swap(next_);
  rescale();
  ++num_frames_;
  if (changed) advance_agreement();
  if (config_.max_commit_delay_frames > 0 && num_frames_ % kCommitInterval == 0) commit_what_is_old();
  if (!agreed_ids_.empty()) commit();
  if (moments_.size() > moments_limit_) collect_moments();
}

// The token's probability on this frame: each exponential is taken once.
double CtcBeamDecoder::prob(const float* row, std::int32_t token) {
  const auto index = static_cast<std::size_t>(token);
  if (prob_frame_[index] != num_frames_) {
    prob_frame_[index] = num_frames_;
    prob_cache_[index] = std::exp(static_cast<double>(row[index]));
  }
  return prob_cache_[index];
}

// What the frame does to each prefix that stays as it is: it takes a blank, holds its last token, or has its last token
// emitted only now, by the prefix one token shorter.
void CtcBeamDecoder::update(const float* row) {
  const std::size_t count = tracked_.size();
  next_.resize(count);
  scores_.resize(count);
  first_child_.assign(count, kNone);
  next_sibling_.resize(count);
  child_mask_.assign(count, 0);
  const std::int32_t agreed_depth = trie_[agreed_].depth;
  const double blank_prob = prob(row, config_.blank_id);
  const auto blank_log_prob = static_cast<double>(row[config_.blank_id]);
  num_live_ = 0;
  best_total_ = 0.0;
  worst_score_ = std::numeric_limits<double>::infinity();
  returning_score_ = 0.0;
  for (std::size_t slot = 0; slot < count; ++slot) {
    const Prefix& old = tracked_[slot];
    Prefix& now = next_[slot];
    now.node = old.node;
    now.parent = old.parent;
    now.token = old.token;
    now.depth = old.depth;
    now.live = old.live;
    now.blank = old.total() * blank_prob;
    now.blank_alignment = old.best_alignment();
    now.blank_alignment.log_prob += blank_log_prob;
    now.held = 0.0;
    now.held_alignment = old.held_alignment;
    if (old.token != kNone) {
      const double token_prob = prob(row, old.token);
      const float log_prob = row[old.token];
      now.held = old.held * token_prob;
      now.held_alignment.peak = std::max(old.held_alignment.peak, log_prob);
      const std::int32_t parent_slot = old.parent == kNone ? kNone : trie_[old.parent].slot;
      if (parent_slot != kNone) {
        const auto up = static_cast<std::size_t>(parent_slot);
        next_sibling_[slot] = first_child_[up];
        first_child_[up] = static_cast<std::int32_t>(slot);
        child_mask_[up] |= std::uint64_t{1} << (static_cast<std::uint32_t>(old.token) % 64U);
        const Prefix& parent = tracked_[up];
        const bool repeat = parent.token == old.token;
        now.held += (repeat ? parent.blank : parent.total()) * token_prob;
        const Alignment& before = repeat ? parent.blank_alignment : parent.best_alignment();
        if (before.log_prob > now.held_alignment.log_prob) {
          now.held_alignment.log_prob = before.log_prob;
          now.held_alignment.moment = add_moment(before);
          now.held_alignment.peak = log_prob;
        }
      }
      now.held_alignment.log_prob += static_cast<double>(log_prob);
      now.held_alignment.end = num_frames_ + 1;
    }
    const double score = now.total();
    if (old.live) {
      scores_[slot] = score;
      ++num_live_;
      best_total_ = std::max(best_total_, score);
      worst_score_ = std::min(worst_score_, score);
    } else if (now.depth >= agreed_depth) {
      scores_[slot] = score;
      returning_score_ = std::max(returning_score_, score);
    } else {
      scores_[slot] = kOut;  // what is agreed is not taken back
    }
  }
  const bool full = num_live_ >= static_cast<std::size_t>(config_.beam_size);
  threshold_ = std::max(best_total_ * beam_floor_, std::numeric_limits<double>::min());
  if (full) threshold_ = std::max(threshold_, worst_score_);
}

// The tokens that may start new prefixes on this frame, most probable first.
void CtcBeamDecoder::choose_tokens(const float* row) {
  const auto size = static_cast<std::size_t>(gate_.vocab_size());
  const float best = scan_blocks(row, size, block_maxima_);
  double largest_total = 0.0;
  for (const Prefix& prefix : tracked_) {
    if (prefix.live) largest_total = std::max(largest_total, prefix.total());
  }
  // A token so improbable that it could not lift even the best prefix over the threshold is of no use either; the
  // margin is for the rounding of the comparison, the exact one is made in propose().
  const double useful = std::log(threshold_ / largest_total) - 1e-3;
  const auto lowest = static_cast<float>(std::max(static_cast<double>(best) - config_.token_threshold, useful));
  tokens_.clear();
  for (std::size_t block = 0; block < block_maxima_.size(); ++block) {
    if (block_maxima_[block] < lowest) continue;
    const std::size_t end = std::min((block + 1) * kScanBlock, size);
    for (std::size_t i = block * kScanBlock; i < end; ++i) {
      const auto id = static_cast<std::int32_t>(i);
      if (row[i] >= lowest && id != config_.blank_id) tokens_.push_back(Token{row[i], id, prob(row, id)});
    }
  }
  const auto before = [](const Token& a, const Token& b) {
    return a.log_prob != b.log_prob ? a.log_prob > b.log_prob : a.id < b.id;
  };
  const auto limit = static_cast<std::size_t>(config_.max_tokens_per_frame);
  if (limit > 0 && tokens_.size() > limit) {
    std::nth_element(tokens_.begin(), tokens_.begin() + static_cast<std::ptrdiff_t>(limit) - 1, tokens_.end(), before);
    tokens_.resize(limit);
  }
  std::sort(tokens_.begin(), tokens_.end(), before);
}

// When the best token follows each live prefix of a full beam, that makes a beam of new ones: none worse is needed.
void CtcBeamDecoder::raise_threshold() {
  if (tokens_.empty() || num_live_ < static_cast<std::size_t>(config_.beam_size)) return;
  double worst = std::numeric_limits<double>::infinity();
  for (const Prefix& prefix : tracked_) {
    if (prefix.live) worst = std::min(worst, prefix.token == tokens_[0].id ? prefix.blank : prefix.total());
  }
  threshold_ = std::max(threshold_, worst * tokens_[0].prob);
}

// Collects the extensions that are worth a place. This is the one place where an extension is weighed: whatever else
// has a say about it (a language model, a lexicon, hotwords) multiplies its weight into the score here, and into what
// the parent gives in update(), and keeps its state and the logarithm of its weight in the Prefix. Weights above one
// would have to raise what choose_tokens() and the break below take for the best that a token can do.
void CtcBeamDecoder::propose() {
  const std::size_t limit = 4 * static_cast<std::size_t>(config_.beam_size) + 64;
  for (std::size_t slot = 0; slot < tracked_.size(); ++slot) {
    const Prefix& prefix = tracked_[slot];
    if (!prefix.live) continue;
    const double total = prefix.total();
    for (const Token& token : tokens_) {
      if (total * token.prob < threshold_) break;
      const double score = (token.id == prefix.token ? prefix.blank : total) * token.prob;
      if (score < threshold_ || has_tracked_child(slot, token.id)) continue;
      extensions_.push_back(Extension{score, static_cast<std::int32_t>(slot), token.id, token.log_prob});
      if (extensions_.size() >= limit) keep_best();
    }
  }
}

// Whether the prefix followed by the token is tracked already, so that update() has seen to it.
bool CtcBeamDecoder::has_tracked_child(std::size_t slot, std::int32_t token) const {
  if ((child_mask_[slot] >> (static_cast<std::uint32_t>(token) % 64U) & 1U) == 0U) return false;
  std::int32_t child = first_child_[slot];
  while (child != kNone && tracked_[static_cast<std::size_t>(child)].token != token) {
    child = next_sibling_[static_cast<std::size_t>(child)];
  }
  return child != kNone;
}

// Marks as out what is not among the beam_size best, or too far below the best. Of equals at the border those that come
// first stay, so that the choice does not depend on the standard library.
void CtcBeamDecoder::keep_best() {
  ranking_.clear();
  double best = 0.0;
  for (const double score : scores_) {
    if (score < threshold_) continue;
    ranking_.push_back(score);
    best = std::max(best, score);
  }
  for (const Extension& extension : extensions_) {
    ranking_.push_back(extension.score);
    best = std::max(best, extension.score);
  }
  const auto size = static_cast<std::size_t>(config_.beam_size);
  std::size_t equals = ranking_.size();
  threshold_ = std::max(threshold_, best * beam_floor_);
  if (ranking_.size() > size) {
    const double border = nth_best(size, best);
    if (border >= threshold_) {
      threshold_ = border;
      equals = size;
      for (const double score : scores_) equals -= score > border ? 1 : 0;
      for (const Extension& extension : extensions_) equals -= extension.score > border ? 1 : 0;
    }
  }
  const auto stays = [this, &equals](double score) {
    if (score != threshold_) return score > threshold_;
    if (equals == 0) return false;
    --equals;
    return true;
  };
  for (double& score : scores_) score = stays(score) ? score : kOut;
  std::size_t kept = 0;
  for (const Extension& extension : extensions_) {
    if (stays(extension.score)) extensions_[kept++] = extension;
  }
  extensions_.resize(kept);
  best_total_ = best;
}

// The n-th largest value in ranking_, whose order it changes. The bits of positive doubles sort like their values, and
// counted from those of the largest they make a logarithm in eighths of an octave: only the bucket that holds the n-th
// has to be looked at.
double CtcBeamDecoder::nth_best(std::size_t n, double best) {
  const auto bits_of = [](double value) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
  };
  const std::uint64_t top = bits_of(best);
  const auto bucket_of = [&](double value) {
    return static_cast<std::size_t>(std::min<std::uint64_t>((top - bits_of(value)) >> 49U, histogram_.size() - 1));
  };
  histogram_.fill(0);
  for (const double score : ranking_) ++histogram_[bucket_of(score)];
  std::size_t bucket = 0;
  while (histogram_[bucket] < n) n -= histogram_[bucket++];
  const auto middle =
      std::partition(ranking_.begin(), ranking_.end(), [&](double score) { return bucket_of(score) == bucket; });
  const auto nth = ranking_.begin() + static_cast<std::ptrdiff_t>(n) - 1;
  std::nth_element(ranking_.begin(), nth, middle, std::greater<double>());
  return *nth;
}

// Appends the chosen extensions to next_.
void CtcBeamDecoder::add_extensions() {
  for (const Extension& extension : extensions_) {
    const Prefix& parent = tracked_[static_cast<std::size_t>(extension.slot)];
    const Alignment& before = extension.token == parent.token ? parent.blank_alignment : parent.best_alignment();
    Prefix prefix;
    prefix.node = trie_.child(parent.node, extension.token, num_frames_);
    prefix.parent = parent.node;
    prefix.token = extension.token;
    prefix.depth = parent.depth + 1;
    prefix.held = extension.score;
    prefix.held_alignment.log_prob = before.log_prob + static_cast<double>(extension.log_prob);
    prefix.held_alignment.moment = add_moment(before);
    prefix.held_alignment.end = num_frames_ + 1;
    prefix.held_alignment.peak = extension.log_prob;
    trie_.set_slot(prefix.node, static_cast<std::int32_t>(next_.size()));
    next_.push_back(prefix);
    scores_.push_back(extension.score);
  }
}

// Of the prefixes that are out, finds those that matter to live ones which start with them.
void CtcBeamDecoder::mark_feeders() {
  for (std::size_t slot = 0; slot < next_.size(); ++slot) {
    next_[slot].live = scores_[slot] > 0.0;
    if (!next_[slot].live) continue;
    const double least = scores_[slot] * kFeederShare;
    std::int32_t node = next_[slot].parent;
    while (node != kNone && trie_[node].slot != kNone) {
      const auto up = static_cast<std::size_t>(trie_[node].slot);
      if (scores_[up] > 0.0 || next_[up].total() < least) break;
      scores_[up] = kFeeder;
      node = next_[up].parent;
    }
  }
}

// Frees the prefixes that are marked as out, and closes the gaps.
void CtcBeamDecoder::drop_marked(std::vector<Prefix>& prefixes) {
  for (std::size_t slot = 0; slot < prefixes.size(); ++slot) {
    if (scores_[slot] == kOut) trie_.set_slot(prefixes[slot].node, kNone);
  }
  std::size_t kept = 0;
  for (std::size_t slot = 0; slot < prefixes.size(); ++slot) {
    if (scores_[slot] == kOut) {
      trie_.release(prefixes[slot].node);
      continue;
    }
    if (kept != slot) {
      prefixes[kept] = prefixes[slot];
      trie_.set_slot(prefixes[kept].node, static_cast<std::int32_t>(kept));
    }
    ++kept;
  }
  prefixes.resize(kept);
}

void CtcBeamDecoder::rescale() {
  if (best_total_ >= kRescaleBelow) return;
  int exponent = 0;
  best_total_ = std::frexp(best_total_, &exponent);
  for (Prefix& prefix : tracked_) {
    prefix.blank = std::ldexp(prefix.blank, -exponent);
    prefix.held = std::ldexp(prefix.held, -exponent);
  }
  scale_exponent_ += exponent;
}

// Drops the prefixes that disagree with the best one on tokens older than the limit.
void CtcBeamDecoder::commit_what_is_old() {
  const std::int32_t oldest = num_frames_ - config_.max_commit_delay_frames;
  std::int32_t node = best_prefix().node;
  while (node != agreed_ && trie_[node].birth > oldest) node = trie_[node].parent;
  if (node == agreed_) return;
  scores_.assign(tracked_.size(), 0.0);
  const auto mark = [this](std::int32_t at) {
    if (trie_[at].slot != kNone) scores_[static_cast<std::size_t>(trie_[at].slot)] = kOut;
  };
  while (node != agreed_) {
    const std::int32_t parent = trie_[node].parent;
    mark(parent);
    for (std::int32_t child = trie_[parent].first_child; child != kNone; child = trie_[child].next_sibling) {
      if (child != node) stack_.push_back(child);
    }
    while (!stack_.empty()) {
      const std::int32_t at = stack_.back();
      stack_.pop_back();
      mark(at);
      for (std::int32_t child = trie_[at].first_child; child != kNone; child = trie_[child].next_sibling) {
        stack_.push_back(child);
      }
    }
    node = parent;
  }
  drop_marked(tracked_);
  advance_agreement();
}

// Moves agreed_ to the longest prefix that all live ones start with, and the trie's root behind it. All leaves of the
// trie are live, so that an only child is on the way to every live prefix.
void CtcBeamDecoder::advance_agreement() {
  while (true) {
    const std::int32_t slot = trie_[agreed_].slot;
    const std::int32_t child = trie_.only_child(agreed_);
    if (child == kNone || (slot != kNone && tracked_[static_cast<std::size_t>(slot)].live)) break;
    agreed_ = child;
    agreed_ids_.push_back(trie_[agreed_].token);
  }
  while (trie_.root() != agreed_ && trie_.advance_root()) {
    const std::int32_t slot = trie_[trie_.root()].slot;
    if (slot != kNone) tracked_[static_cast<std::size_t>(slot)].parent = kNone;
  }
}

// Commits the agreed tokens, with the times of the best alignment; the last one only when that has left it.
void CtcBeamDecoder::commit() {
  const Prefix& best = best_prefix();
  std::int32_t depth = trie_[agreed_].depth;
  if (best.node == agreed_ && best.held_alignment.log_prob > best.blank_alignment.log_prob) --depth;
  if (depth <= committed_depth_) return;
  append_tokens(best, depth, committed_);
  committed_end_ = committed_.token_end_frames.back();
  agreed_ids_.erase(agreed_ids_.begin(), agreed_ids_.begin() + (depth - committed_depth_));
  committed_depth_ = depth;
}

std::int32_t CtcBeamDecoder::add_moment(const Alignment& before) {
  moments_.push_back(Moment{before.moment, num_frames_, before.end, before.peak});
  return static_cast<std::int32_t>(moments_.size()) - 1;
}

// Copies the moments that alignments still need, those of tokens not committed, and forgets the others.
void CtcBeamDecoder::collect_moments() {
  moments_copy_.clear();
  forward_.assign(moments_.size(), kNone);
  const auto keep = [this](Alignment& alignment, std::int32_t depth) {
    std::int32_t moment = alignment.moment;
    std::int32_t later = kNone;  // the copy of the moment after this one
    const auto link = [&](std::int32_t copy) {
      if (later == kNone) {
        alignment.moment = copy;
      } else {
        moments_copy_[static_cast<std::size_t>(later)].previous = copy;
      }
    };
    for (; depth > committed_depth_ && moment != kNone; --depth) {
      std::int32_t& copy = forward_[static_cast<std::size_t>(moment)];
      if (copy != kNone) {
        link(copy);
        return;
      }
      copy = static_cast<std::int32_t>(moments_copy_.size());
      moments_copy_.push_back(moments_[static_cast<std::size_t>(moment)]);
      link(copy);
      later = copy;
      moment = moments_[static_cast<std::size_t>(moment)].previous;
    }
    link(kNone);
  };
  for (Prefix& prefix : tracked_) {
    keep(prefix.blank_alignment, prefix.depth);
    keep(prefix.held_alignment, prefix.depth);
  }
  moments_.swap(moments_copy_);
  moments_limit_ = std::max(kMinMomentsLimit, 2 * moments_.size());
}

const CtcBeamDecoder::Prefix& CtcBeamDecoder::best_prefix() const {
  return *std::max_element(tracked_.begin(), tracked_.end(), [](const Prefix& a, const Prefix& b) {
    return (a.live ? a.total() : 0.0) < (b.live ? b.total() : 0.0);
  });
}

double CtcBeamDecoder::log_score(const Prefix& prefix) const {
  constexpr double kLog2 = 0.693147180559945309417;
  return std::log(prefix.total()) + static_cast<double>(scale_exponent_) * kLog2;
}

// The prefix's tokens after the committed ones and up to a depth, behind those in `out`.
void CtcBeamDecoder::append_tokens(const Prefix& prefix, std::int32_t up_to_depth, Hypothesis& out) const {
  if (up_to_depth <= committed_depth_) return;
  const std::size_t begin = out.token_ids.size();
  const std::size_t size = begin + static_cast<std::size_t>(up_to_depth - committed_depth_);
  out.token_ids.resize(size);
  out.token_start_frames.resize(size);
  out.token_end_frames.resize(size);
  out.token_posteriors.resize(size);
  const Alignment& alignment = prefix.best_alignment();
  std::int32_t moment = alignment.moment;
  std::int32_t end = alignment.end;
  float peak = alignment.peak;
  std::int32_t node = prefix.node;
  const std::int32_t agreed_depth = trie_[agreed_].depth;
  for (std::int32_t depth = prefix.depth; depth > committed_depth_; --depth) {
    const Moment& here = moments_[static_cast<std::size_t>(moment)];
    const auto after_committed = static_cast<std::size_t>(depth - committed_depth_ - 1);
    if (depth <= up_to_depth) {
      const std::size_t index = begin + after_committed;
      // Nodes up to the agreed one may be gone.
      out.token_ids[index] = depth > agreed_depth ? trie_[node].token : agreed_ids_[after_committed];
      out.token_start_frames[index] = here.start;
      out.token_end_frames[index] = end;
      out.token_posteriors[index] = std::min(1.0F, std::exp(peak));
    }
    end = here.previous_end;
    peak = here.previous_peak;
    moment = here.previous;
    if (depth > agreed_depth) node = trie_[node].parent;
  }
  // Committed times were those of another alignment, which may reach into this one: starts must not go back all the
  // same.
  std::int32_t earliest = std::min(committed_end_, num_frames_ - 1);
  for (std::size_t i = begin; i < size && out.token_start_frames[i] < earliest; ++i) {
    out.token_start_frames[i] = earliest;
    out.token_end_frames[i] = std::max(out.token_end_frames[i], earliest + 1);
    earliest = std::min(out.token_end_frames[i], num_frames_ - 1);
  }
}

std::vector<Hypothesis> CtcBeamDecoder::partial() const {
  std::vector<const Prefix*> live;
  for (const Prefix& prefix : tracked_) {
    if (prefix.live) live.push_back(&prefix);
  }
  std::sort(live.begin(), live.end(), [](const Prefix* a, const Prefix* b) { return a->total() > b->total(); });
  const auto nbest = static_cast<std::size_t>(config_.nbest);
  std::vector<Hypothesis> results;
  for (const Prefix* prefix : live) {
    // Equals of the last one wanted come along, for the order of their token ids decides.
    if (results.size() >= nbest && prefix->total() < live[nbest - 1]->total()) break;
    Hypothesis hypothesis = committed_;
    append_tokens(*prefix, prefix->depth, hypothesis);
    hypothesis.score = log_score(*prefix);
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
  taken.score = log_score(best_prefix());
  return taken;
}

}  // namespace edgeasr
