#include "core/ctc_beam.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>

#include "core/errors.h"
#include "core/row_scan.h"

namespace edgeasr {
namespace {

constexpr std::int32_t kNone = PrefixTrie::kNone;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Scores relative to the best stay above e^-600 = 2^-866, and the best between 2^-64 and 2^64: no double overflows or
// underflows.
constexpr double kLargestBeamThreshold = 600.0;
constexpr double kRescaleBelow = 0x1p-64;
constexpr double kRescaleAbove = 0x1p64;

// A text that lost its place goes on as a feeder while it has this share of the probability of a live text that it
// leads to. On the log-probs of six utterances of 1000 frames and 29 tokens a beam of 16 finds the same hypotheses for
// 0.1 to 0.0001; the scores fall short of the exact ones by 2.5, 0.5, 0.4 and 0.4 for 0.1, 0.01, 0.001 and 0.0001, and
// by 6.5 without feeders.
constexpr double kFeederShare = 0.01;

// A passage that nothing flows into any more is forgotten when it has less than this share of its text.
constexpr double kPassageShare = 1e-12;

// How often old tokens are committed: each time costs about as much as a result.
constexpr std::int32_t kCommitInterval = 16;

// After how many times max_commit_delay_frames a word is committed before it is finished.
constexpr std::int32_t kUnfinishedWordFactor = 4;

// Tokens of a word that are remembered; no list has words so long.
constexpr std::size_t kLongestWord = 256;

constexpr std::size_t kMinMomentsLimit = 1024;

// For the rounding of logarithms, in bounds that are followed by an exact comparison.
constexpr double kSlack = 1e-3;

// Marks in place of a score.
constexpr double kOut = -1.0;
constexpr double kFeeder = -2.0;

void require(bool good, const char* field, const std::string& value, const char* expected) {
  if (!good) throw ConfigError(std::string(field) + " is " + value + ", expected " + expected);
}

// The logarithm of a positive number, or up to 0.06 more: for bounds. The bits of a double are a logarithm with
// straight lines between powers of two.
double rough_log(double value) {
  std::int64_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  constexpr double kLog2 = 0.693147180559945309417;
  constexpr double kOne = 4607182418800017408.0;  // the bits of 1.0
  return (static_cast<double>(bits) - kOne) * (kLog2 / 4503599627370496.0) + 0.0597;
}

// The logarithm of e^a + e^b.
double log_add(double a, double b) {
  const double larger = std::max(a, b);
  return std::isinf(larger) ? larger : larger + std::log1p(std::exp(std::min(a, b) - larger));
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
  const auto number = [](const char* field, double value, double least) {
    require(value >= least && !std::isinf(value), field, std::to_string(value),
            least == 0.0 ? "a number of at least 0" : "a number");
  };
  constexpr double kLowest = std::numeric_limits<double>::lowest();
  number("lm_weight", config.lm_weight, 0.0);
  number("word_bonus", config.word_bonus, kLowest);
  require(config.oov_cost >= 0.0, "oov_cost", std::to_string(config.oov_cost),
          "at least 0 (infinite: no words that are not known)");
  number("oov_char_cost", config.oov_char_cost, 0.0);
  number("hotword_boost", config.hotword_boost, kLowest);
}

CtcBeamDecoder::CtcBeamDecoder(const CtcBeamConfig& config, std::int32_t vocab_size, CtcInput kind)
    : config_((validate(config), config)),
      gate_(vocab_size, config.blank_id, kind),
      beam_floor_(std::exp(-std::min(config.beam_threshold, kLargestBeamThreshold))),
      prob_cache_(static_cast<std::size_t>(vocab_size)),
      prob_frame_(static_cast<std::size_t>(vocab_size)) {
  reset();
}

CtcBeamDecoder::CtcBeamDecoder(const CtcBeamConfig& config, const TokenNames& tokens,
                               std::shared_ptr<const DecodingContext> context, CtcInput kind)
    : CtcBeamDecoder(config, static_cast<std::int32_t>(tokens.names.size()), kind) {
  names_ = tokens;
  spellings_ = std::make_unique<const TokenSpellings>(spell_tokens(tokens, config.blank_id));
  reset(std::move(context));
}

void CtcBeamDecoder::set_context(std::shared_ptr<const DecodingContext> context) {
  std::unique_ptr<TextScorer> scorer;
  if (context != nullptr && !context->empty()) {
    if (spellings_ == nullptr) {
      throw ConfigError("the decoder knows only the number of its tokens: for a decoding context it needs their names");
    }
    TextWeights weights;
    weights.lm_weight = config_.lm_weight;
    weights.word_bonus = config_.word_bonus;
    weights.oov_cost = config_.oov_cost;
    weights.oov_char_cost = config_.oov_char_cost;
    weights.hotword_boost = config_.hotword_boost;
    scorer = std::make_unique<TextScorer>(context, weights, *spellings_, names_.names);
  }
  scorer_ = std::move(scorer);
  context_ = std::move(context);
  by_tokens_ = spellings_ == nullptr || (scorer_ != nullptr && context_->lm_of_tokens && context_->lm != nullptr);
  joins_ = !by_tokens_ && !spellings_->single_bytes();
  commits_words_ = joins_ || (scorer_ != nullptr && (context_->lm != nullptr || context_->words != nullptr));
}

void CtcBeamDecoder::reset(std::shared_ptr<const DecodingContext> context) {
  set_context(std::move(context));
  reset();
}

void CtcBeamDecoder::reset() {
  num_frames_ = 0;
  finished_ = false;
  stuck_ = false;
  results_.clear();
  trie_.clear();
  Text empty;
  empty.node = trie_.root();
  empty.live = true;
  empty.between_words = true;
  empty.blank = 1.0;
  empty.total = 1.0;
  empty.blank_alignment.log_prob = 0.0;
  empty.best = empty.blank_alignment;
  texts_.assign(1, empty);
  passages_.clear();
  if (scorer_ != nullptr) {
    scorer_->clear();
    states_.assign(1, scorer_->start());
    scorer_->retain(states_[0]);
  }
  best_total_ = 1.0;
  scale_exponent_ = 0;
  moments_.clear();
  moments_limit_ = kMinMomentsLimit;
  agreed_ = trie_.root();
  boundary_depth_ = 0;
  committed_depth_ = 0;
  committed_end_ = 0;
  largest_commit_delay_ = 0;
  committed_ = Hypothesis();
  committed_word_.clear();
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
    link_exits();
    if (scorer_ == nullptr) {
      raise_threshold();
      propose();
    } else {
      propose_weighted();
    }
  }
  constexpr double kLeast = std::numeric_limits<double>::min();
  if (best_total_ < kLeast && returning_score_ < kLeast && extensions_.empty()) {
    // No text that is allowed gets over this frame; rather than with nothing the search goes on without the frame.
    stuck_ = true;
    best_total_ = 1.0;
    for (const Text& text : texts_) best_total_ = text.live ? std::max(best_total_, text.total) : best_total_;
    ++num_frames_;
    return;
  }
  const bool changed = !extensions_.empty() || worst_score_ < threshold_ || returning_score_ >= threshold_;
  if (changed) {
    keep_best();
    add_extensions();
    mark_feeders();
    drop_marked(next_texts_);
  }
  texts_.swap(next_texts_);
  passages_.swap(next_passages_);
  rescale();
  ++num_frames_;
  if (changed) advance_agreement();
  if (config_.max_commit_delay_frames > 0 && num_frames_ % kCommitInterval == 0) commit_what_is_old();
  if ((commits_words_ ? boundary_depth_ : trie_[agreed_].depth) > committed_depth_) commit();
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

const CtcBeamDecoder::Alignment& CtcBeamDecoder::best_without(const Text& text, std::int32_t token) const {
  if (!may_repeat(text, token)) return text.best;
  const Alignment* best = &text.blank_alignment;
  for (std::int32_t p = text.first_passage; p != kNone;) {
    const Passage& passage = passages_[static_cast<std::size_t>(p)];
    if (passage.alignment.log_prob > best->log_prob && passage.token != token) best = &passage.alignment;
    p = passage.next;
  }
  return *best;
}

double CtcBeamDecoder::flow_without(const Text& text, std::int32_t token) const {
  double others = text.blank;
  for (std::int32_t p = text.first_passage; p != kNone;) {
    const Passage& passage = passages_[static_cast<std::size_t>(p)];
    if (passage.token != token) others += passage.held;
    p = passage.next;
  }
  // The rounding of a sum in another order must not make the part larger than the whole: bounds rely on that.
  return std::min(others, text.total);
}

// What the frame does to each text that stays as it is: it takes a blank, holds its last token, or has its last token
// emitted only now, by a shorter text.
void CtcBeamDecoder::update(const float* row) {
  const std::size_t count = texts_.size();
  next_texts_.resize(count);
  next_passages_.clear();
  scores_.resize(count);
  const std::int32_t agreed_depth = trie_[agreed_].depth;
  const double blank_prob = prob(row, config_.blank_id);
  const auto blank_log_prob = static_cast<double>(row[config_.blank_id]);
  num_live_ = 0;
  best_total_ = 0.0;
  worst_score_ = kInfinity;
  returning_score_ = 0.0;
  for (std::size_t slot = 0; slot < count; ++slot) {
    const Text& old = texts_[slot];
    Text& now = next_texts_[slot];
    now.node = old.node;
    now.depth = old.depth;
    now.first_passage = kNone;
    now.last_token = kNone;
    now.live = old.live;
    now.between_words = old.between_words;
    now.blank = old.total * blank_prob;
    now.total = now.blank;
    now.blank_alignment = old.best;
    now.blank_alignment.log_prob += blank_log_prob;
    now.best = now.blank_alignment;
    std::int32_t last = kNone;
    for (std::int32_t p = old.first_passage; p != kNone;) {
      const Passage& before = passages_[static_cast<std::size_t>(p)];
      p = before.next;
      const std::int32_t parent_slot = before.parent == kNone ? kNone : trie_[before.parent].slot;
      // Where texts can be joined, a passage that comes to matter again is made again.
      if (parent_slot == kNone && (joins_ || before.parent == kNone) && before.held <= old.total * kPassageShare) {
        continue;
      }
      const auto index = static_cast<std::int32_t>(next_passages_.size());
      next_passages_.push_back(before);
      Passage& passage = next_passages_.back();
      passage.next = kNone;
      passage.parent_slot = parent_slot;
      if (last == kNone) {
        now.first_passage = index;
        now.last_token = passage.token;
      } else {
        next_passages_[static_cast<std::size_t>(last)].next = index;
        now.last_token = kSeveral;
      }
      last = index;
      const double token_prob = prob(row, passage.token);
      const float log_prob = row[passage.token];
      Alignment& alignment = passage.alignment;
      alignment.peak = std::max(alignment.peak, log_prob);
      if (parent_slot != kNone) {
        const Text& parent = texts_[static_cast<std::size_t>(parent_slot)];
        passage.held += flow(parent, passage.token) * passage.weight;
        const Alignment& from = best_without(parent, passage.token);
        if (from.log_prob > alignment.log_prob) {
          alignment.log_prob = from.log_prob;
          alignment.moment = add_moment(from, passage.token, old.depth);
          alignment.peak = log_prob;
        }
      }
      passage.held *= token_prob;
      alignment.log_prob += static_cast<double>(log_prob);
      alignment.end = num_frames_ + 1;
      if (alignment.log_prob > now.best.log_prob) now.best = alignment;
      now.total += passage.held;
    }
    if (old.live) {
      scores_[slot] = now.total;
      ++num_live_;
      best_total_ = std::max(best_total_, now.total);
      worst_score_ = std::min(worst_score_, now.total);
    } else if (now.depth >= agreed_depth) {
      scores_[slot] = now.total;
      returning_score_ = std::max(returning_score_, now.total);
    } else {
      scores_[slot] = kOut;  // what is agreed is not taken back
    }
  }
  const bool full = num_live_ >= static_cast<std::size_t>(config_.beam_size);
  threshold_ = std::max(best_total_ * beam_floor_, std::numeric_limits<double>::min());
  if (full) threshold_ = std::max(threshold_, worst_score_);
}

// Lists, for each text, the passages that lead out of it.
void CtcBeamDecoder::link_exits() {
  first_exit_.assign(texts_.size(), kNone);
  exit_mask_.assign(texts_.size(), 0);
  next_exit_.resize(next_passages_.size());
  for (std::size_t p = 0; p < next_passages_.size(); ++p) {
    const Passage& passage = next_passages_[p];
    if (passage.parent_slot == kNone) continue;
    const auto up = static_cast<std::size_t>(passage.parent_slot);
    next_exit_[p] = first_exit_[up];
    first_exit_[up] = static_cast<std::int32_t>(p);
    exit_mask_[up] |= std::uint64_t{1} << (static_cast<std::uint32_t>(passage.token) % 64U);
  }
}

// The tokens that may start new texts on this frame, most probable first.
void CtcBeamDecoder::choose_tokens(const float* row) {
  const auto size = static_cast<std::size_t>(gate_.vocab_size());
  const float best = scan_blocks(row, size, block_maxima_);
  // A token so improbable that it could not lift even the best text over the threshold is of no use either; the exact
  // comparison is made later. What it may gain in weight depends on whether it ends a word.
  double largest[3] = {-kInfinity, -kInfinity, -kInfinity};
  if (scorer_ == nullptr) {
    double largest_total = 0.0;
    for (const Text& text : texts_) {
      if (text.live) largest_total = std::max(largest_total, text.total);
    }
    largest[0] = std::log(largest_total);
  } else {
    log_totals_.resize(texts_.size());
    gains_.resize(texts_.size());
    largest_gains_.resize(texts_.size());
    for (std::size_t slot = 0; slot < texts_.size(); ++slot) {
      const Text& text = texts_[slot];
      if (!text.live) continue;
      const double log_total = rough_log(text.total);
      const TextScorer::Gains gains = scorer_->gains(states_[static_cast<std::size_t>(text.node)]);
      const auto longest = static_cast<double>(spellings_->longest() + 1);
      double largest_gain = -kInfinity;
      for (std::size_t way = 0; way < 3; ++way) {
        if (!scorer_->has_way(way)) continue;
        const double gain = gains.fixed[way] + gains.for_byte[way] * longest;
        largest[way] = std::max(largest[way], log_total + gain);
        largest_gain = std::max(largest_gain, gain);
      }
      largest_gains_[slot] = largest_gain;
      log_totals_[slot] = log_total;
      gains_[slot] = gains;
    }
  }
  const double needed = std::log(threshold_) - kSlack;
  const double probable = static_cast<double>(best) - config_.token_threshold;
  float lowest[3];
  for (std::size_t way = 0; way < 3; ++way) {
    lowest[way] = static_cast<float>(std::max(probable, needed - largest[way]));
  }
  const float lowest_of_all = scorer_ == nullptr ? lowest[0] : std::min(lowest[0], std::min(lowest[1], lowest[2]));
  tokens_.clear();
  for (std::size_t block = 0; block < block_maxima_.size(); ++block) {
    if (block_maxima_[block] < lowest_of_all) continue;
    const std::size_t end = std::min((block + 1) * kScanBlock, size);
    for (std::size_t i = block * kScanBlock; i < end; ++i) {
      const auto id = static_cast<std::int32_t>(i);
      if (!(row[i] >= lowest_of_all) || id == config_.blank_id) continue;
      if (scorer_ != nullptr && row[i] < lowest[scorer_->way(id)]) continue;
      tokens_.push_back(Token{row[i], id, prob(row, id)});
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

// When the best token follows each live text of a full beam, that makes a beam of different texts, unless it may begin
// with a space that does not count: none worse is needed.
void CtcBeamDecoder::raise_threshold() {
  if (tokens_.empty() || num_live_ < static_cast<std::size_t>(config_.beam_size)) return;
  const Token* token = tokens_.data();
  if (!by_tokens_) {
    const Token* const end = token + tokens_.size();
    while (token != end && (spellings_->starts_word(token->id) || spellings_->body(token->id).empty())) ++token;
    if (token == end) return;
  }
  double worst = kInfinity;
  for (const Text& text : texts_) {
    if (text.live) worst = std::min(worst, flow(text, token->id));
  }
  threshold_ = std::max(threshold_, worst * token->prob);
}

// Collects the extensions that are worth a place, where all texts weigh the same.
void CtcBeamDecoder::propose() {
  const std::size_t limit = 4 * static_cast<std::size_t>(config_.beam_size) + 64;
  for (std::size_t slot = 0; slot < texts_.size(); ++slot) {
    const Text& text = texts_[slot];
    if (!text.live) continue;
    for (const Token& token : tokens_) {
      if (text.total * token.prob < threshold_) break;
      const double score = flow(text, token.id) * token.prob;
      if (score < threshold_ || has_passage(slot, token.id)) continue;
      const Extension extension{score, static_cast<std::int32_t>(slot), token.id, token.log_prob, 1.0};
      if (!by_tokens_ && (joins_ || spellings_->starts_word(token.id))) {
        const std::int32_t node = find_text(text, token.id);
        if (node != kNone && join(extension, node)) continue;
      }
      extensions_.push_back(extension);
      if (extensions_.size() >= limit) keep_best();
    }
  }
}

// The same where each text has its weight. What a token may add to it is bounded first, then found out.
void CtcBeamDecoder::propose_weighted() {
  const std::size_t limit = 4 * static_cast<std::size_t>(config_.beam_size) + 64;
  double needed = std::log(threshold_) - kSlack;
  TextScorer::State state;
  for (std::size_t slot = 0; slot < texts_.size(); ++slot) {
    const Text& text = texts_[slot];
    if (!text.live) continue;
    const TextScorer::State& from = states_[static_cast<std::size_t>(text.node)];
    const double log_total = log_totals_[slot];
    TextScorer::Gains& gains = gains_[slot];
    for (const Token& token : tokens_) {
      const double log_score = log_total + static_cast<double>(token.log_prob);
      if (log_score + largest_gains_[slot] < needed) break;
      const TextScorer::Way way = scorer_->way(token.id);
      const double most = gains.fixed[way] + gains.for_byte[way] * scorer_->num_bytes(token.id);
      if (log_score + most < needed) continue;
      double gain = 0.0;
      if (scorer_->knows_gain(way)) {
        if (way == TextScorer::kStarts && scorer_->ask(from)) gains = scorer_->gains(from);
        gain = scorer_->gain(from, token.id);
        if (log_score + gain < needed) continue;
      }
      if (has_passage(slot, token.id)) continue;
      Extension extension{flow(text, token.id) * token.prob, static_cast<std::int32_t>(slot), token.id, token.log_prob,
                          1.0};
      if (!(extension.score > 0.0)) continue;
      std::int32_t node = kNone;
      if (!by_tokens_ && (joins_ || spellings_->starts_word(token.id))) node = find_text(text, token.id);
      if (node != kNone && trie_[node].slot != kNone) {
        extension.weight = std::exp(states_[static_cast<std::size_t>(node)].weight - from.weight);
        extension.score *= extension.weight;
        if (extension.score >= threshold_) join(extension, node);
        continue;
      }
      if (!scorer_->knows_gain(way)) {
        if (!scorer_->advance(from, token.id, state)) continue;
        scorer_->discard(state);
        gain = state.weight - from.weight;
        if (log_score + gain < needed) continue;
      }
      extension.weight = std::exp(gain);
      extension.score *= extension.weight;
      if (extension.score < threshold_) continue;
      extensions_.push_back(extension);
      if (extensions_.size() >= limit) {
        keep_best();
        needed = std::log(threshold_) - kSlack;
      }
    }
  }
}

// Whether a passage leads out of the text by this token, so that update() has seen to it.
bool CtcBeamDecoder::has_passage(std::size_t slot, std::int32_t token) const {
  if ((exit_mask_[slot] >> (static_cast<std::uint32_t>(token) % 64U) & 1U) == 0U) return false;
  std::int32_t p = first_exit_[slot];
  while (p != kNone && next_passages_[static_cast<std::size_t>(p)].token != token) {
    p = next_exit_[static_cast<std::size_t>(p)];
  }
  return p != kNone;
}

// The node of the text followed by a token, or kNone.
std::int32_t CtcBeamDecoder::find_text(const Text& from, std::int32_t token) const {
  if (by_tokens_) return trie_.find_child(from.node, token);
  std::int32_t node = from.node;
  if (spellings_->starts_word(token) && !from.between_words) node = trie_.find_child(node, ' ');
  for (const char byte : spellings_->body(token)) {
    if (node == kNone) return kNone;
    node = trie_.find_child(node, static_cast<unsigned char>(byte));
  }
  return node;
}

// The same, made when it is not there.
std::int32_t CtcBeamDecoder::make_text(const Text& from, std::int32_t token) {
  if (by_tokens_) return trie_.child(from.node, token, num_frames_);
  std::int32_t node = from.node;
  if (spellings_->starts_word(token) && !from.between_words) node = trie_.child(node, ' ', num_frames_);
  for (const char byte : spellings_->body(token)) {
    node = trie_.child(node, static_cast<unsigned char>(byte), num_frames_);
  }
  return node;
}

// Adds an extension to the text that it leads to, when that is tracked; says whether it is.
bool CtcBeamDecoder::join(const Extension& extension, std::int32_t node) {
  if (trie_[node].slot == kNone) return false;
  const auto slot = static_cast<std::size_t>(trie_[node].slot);
  if (scores_[slot] == kOut) return true;
  Text& text = next_texts_[slot];
  add_passage(extension, text);
  text.total += extension.score;
  scores_[slot] = text.total;
  if (text.live) {
    best_total_ = std::max(best_total_, text.total);
  } else {
    returning_score_ = std::max(returning_score_, text.total);
  }
  return true;
}

void CtcBeamDecoder::add_passage(const Extension& extension, Text& to) {
  const Text& parent = texts_[static_cast<std::size_t>(extension.slot)];
  const Alignment& before = best_without(parent, extension.token);
  Passage passage;
  passage.parent = parent.node;
  passage.token = extension.token;
  passage.next = to.first_passage;
  passage.parent_slot = extension.slot;
  passage.held = extension.score;
  passage.weight = extension.weight;
  passage.alignment.log_prob = before.log_prob + static_cast<double>(extension.log_prob);
  passage.alignment.moment = add_moment(before, extension.token, to.depth);
  passage.alignment.end = num_frames_ + 1;
  passage.alignment.peak = extension.log_prob;
  to.last_token = to.first_passage == kNone ? passage.token : kSeveral;
  to.first_passage = static_cast<std::int32_t>(next_passages_.size());
  if (passage.alignment.log_prob > to.best.log_prob) to.best = passage.alignment;
  next_passages_.push_back(passage);
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

// Appends the chosen extensions to next_texts_.
void CtcBeamDecoder::add_extensions() {
  TextScorer::State state;
  for (const Extension& extension : extensions_) {
    const Text& parent = texts_[static_cast<std::size_t>(extension.slot)];
    const std::int32_t node = make_text(parent, extension.token);
    if (join(extension, node)) continue;  // another extension of this frame has led to the same text
    Text text;
    text.node = node;
    text.depth = trie_[node].depth;
    text.between_words = !by_tokens_ && trie_[node].symbol == ' ';
    text.total = extension.score;
    add_passage(extension, text);
    if (scorer_ != nullptr) {
      if (states_.size() < trie_.capacity()) states_.resize(trie_.capacity());
      scorer_->advance(states_[static_cast<std::size_t>(parent.node)], extension.token, state);
      states_[static_cast<std::size_t>(node)] = state;
      scorer_->retain(state);
    }
    trie_.set_slot(node, static_cast<std::int32_t>(next_texts_.size()));
    next_texts_.push_back(text);
    scores_.push_back(extension.score);
  }
}

// Of the texts that are out, finds those that matter to live ones which start with them.
void CtcBeamDecoder::mark_feeders() {
  for (std::size_t slot = 0; slot < next_texts_.size(); ++slot) next_texts_[slot].live = scores_[slot] > 0.0;
  feeder_needs_.assign(next_texts_.size(), kInfinity);
  // `needs` is what a parent has to have so that its share of a live text is large enough.
  const auto visit_parents = [this](std::size_t slot, double needs_here) {
    const Text& text = next_texts_[slot];
    for (std::int32_t p = text.first_passage; p != kNone;) {
      const Passage& passage = next_passages_[static_cast<std::size_t>(p)];
      p = passage.next;
      if (passage.parent_slot == kNone) continue;
      const auto up = static_cast<std::size_t>(passage.parent_slot);
      if (scores_[up] > 0.0 || up == slot) continue;
      const double needs = needs_here / passage.weight;
      if (next_texts_[up].total < needs || needs >= feeder_needs_[up]) continue;
      scores_[up] = kFeeder;
      feeder_needs_[up] = needs;
      visits_.push_back(Visit{passage.parent_slot, needs});
    }
  };
  for (std::size_t slot = 0; slot < next_texts_.size(); ++slot) {
    if (!next_texts_[slot].live) continue;
    visit_parents(slot, scores_[slot] * kFeederShare);
    while (!visits_.empty()) {
      const Visit visit = visits_.back();
      visits_.pop_back();
      visit_parents(static_cast<std::size_t>(visit.slot), visit.needs);
    }
  }
}

// Frees the texts that are marked as out, and closes the gaps.
void CtcBeamDecoder::drop_marked(std::vector<Text>& texts) {
  for (std::size_t slot = 0; slot < texts.size(); ++slot) {
    if (scores_[slot] != kOut) continue;
    trie_.set_slot(texts[slot].node, kNone);
    if (scorer_ != nullptr) scorer_->release(states_[static_cast<std::size_t>(texts[slot].node)]);
  }
  std::size_t kept = 0;
  for (std::size_t slot = 0; slot < texts.size(); ++slot) {
    if (scores_[slot] == kOut) {
      trie_.release(texts[slot].node);
      continue;
    }
    if (kept != slot) {
      texts[kept] = texts[slot];
      trie_.set_slot(texts[kept].node, static_cast<std::int32_t>(kept));
    }
    ++kept;
  }
  texts.resize(kept);
}

void CtcBeamDecoder::rescale() {
  if (best_total_ >= kRescaleBelow && best_total_ <= kRescaleAbove) return;
  int exponent = 0;
  best_total_ = std::frexp(best_total_, &exponent);
  for (Text& text : texts_) {
    text.blank = std::ldexp(text.blank, -exponent);
    text.total = std::ldexp(text.total, -exponent);
  }
  for (Passage& passage : passages_) passage.held = std::ldexp(passage.held, -exponent);
  scale_exponent_ += exponent;
}

// Whether committing may stop behind the node's symbol (or behind the token before it).
bool CtcBeamDecoder::ends_token(std::int32_t node) const {
  if (!commits_words_) return true;
  const std::int32_t symbol = trie_[node].symbol;
  if (!by_tokens_) return symbol == ' ';
  return spellings_->starts_word(symbol) || spellings_->ends_word(symbol);
}

// Drops the texts that disagree with the best one on what is older than the limit.
void CtcBeamDecoder::commit_what_is_old() {
  const Text& best = best_text();
  std::int32_t node = best.node;
  while (node != agreed_ && trie_[node].birth > num_frames_ - config_.max_commit_delay_frames) {
    node = trie_[node].parent;
  }
  while (node != agreed_ && !ends_token(node)) node = trie_[node].parent;
  bool within_word = false;
  std::int32_t depth = trie_[node].depth;
  if (node == agreed_ && commits_words_) {
    // The end of a word is waited for, but not for ever.
    const std::int64_t wait = std::int64_t{kUnfinishedWordFactor} * config_.max_commit_delay_frames;
    std::int32_t moment = best.best.moment;
    while (moment != kNone && moments_[static_cast<std::size_t>(moment)].start > num_frames_ - wait) {
      moment = moments_[static_cast<std::size_t>(moment)].previous;
    }
    depth = moment == kNone ? 0 : moments_[static_cast<std::size_t>(moment)].depth;
    within_word = depth > std::max(boundary_depth_, committed_depth_);
    node = best.node;
    while (node != agreed_ && trie_[node].depth > depth) node = trie_[node].parent;
  }
  if (node == agreed_ && !within_word) return;
  scores_.assign(texts_.size(), 0.0);
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
  if (within_word) require_boundary(depth);
  drop_marked(texts_);
  advance_agreement();
  if (within_word) boundary_depth_ = std::max(boundary_depth_, depth);
}

// Forgets the alignments, of texts that are not marked as out, in which a token reaches over this depth, and marks
// texts that have no others.
void CtcBeamDecoder::require_boundary(std::int32_t depth) {
  const auto fits = [&](const Alignment& alignment) {
    std::int32_t moment = alignment.moment;
    std::int32_t before = kNone;
    while (moment != kNone && moments_[static_cast<std::size_t>(moment)].depth > depth) {
      before = moment;
      moment = moments_[static_cast<std::size_t>(moment)].previous;
    }
    if (before == kNone) return true;
    const std::int32_t begin = moment == kNone ? committed_depth_ : moments_[static_cast<std::size_t>(moment)].depth;
    // The space at the start of the next token may belong to what is before.
    const std::int32_t token = moments_[static_cast<std::size_t>(before)].token;
    return begin == depth || (begin == depth - 1 && !by_tokens_ && spellings_->starts_word(token));
  };
  for (std::size_t slot = 0; slot < texts_.size(); ++slot) {
    if (scores_[slot] == kOut) continue;
    Text& text = texts_[slot];
    const auto check = [&](Alignment& alignment) {
      if (!fits(alignment)) alignment.log_prob = -kInfinity;
    };
    check(text.blank_alignment);
    for (std::int32_t p = text.first_passage; p != kNone; p = passages_[static_cast<std::size_t>(p)].next) {
      check(passages_[static_cast<std::size_t>(p)].alignment);
    }
    text.best = text.blank_alignment;
    for (std::int32_t p = text.first_passage; p != kNone; p = passages_[static_cast<std::size_t>(p)].next) {
      const Alignment& alignment = passages_[static_cast<std::size_t>(p)].alignment;
      if (alignment.log_prob > text.best.log_prob) text.best = alignment;
    }
    if (std::isinf(text.best.log_prob)) scores_[slot] = kOut;
  }
}

// Moves agreed_ to the longest text that all live ones start with, and the trie's root behind it. All leaves of the
// trie are live, so that an only child is on the way to every live text.
void CtcBeamDecoder::advance_agreement() {
  while (true) {
    const std::int32_t slot = trie_[agreed_].slot;
    const std::int32_t child = trie_.only_child(agreed_);
    if (child == kNone || (slot != kNone && texts_[static_cast<std::size_t>(slot)].live)) break;
    agreed_ = child;
    if (!ends_token(agreed_)) continue;
    // A token that starts a word has the boundary before it.
    const std::int32_t symbol = trie_[agreed_].symbol;
    const bool before =
        commits_words_ && by_tokens_ && !spellings_->ends_word(symbol) && !spellings_->body(symbol).empty();
    boundary_depth_ = std::max(boundary_depth_, trie_[agreed_].depth - (before ? 1 : 0));
  }
  bool moved = false;
  while (trie_.root() != agreed_ && trie_.advance_root()) moved = true;
  if (!moved) return;
  for (Passage& passage : passages_) {
    if (passage.parent != kNone && !trie_.is_live(passage.parent)) passage.parent = kNone;
  }
}

// Commits the agreed tokens, with the times of the best alignment; the last one only when that has left it.
void CtcBeamDecoder::commit() {
  std::int32_t depth = commits_words_ ? boundary_depth_ : trie_[agreed_].depth;
  if (spellings_ != nullptr && spellings_->crosses_words() && !by_tokens_) {
    // The end of a word may be within a token.
    std::int32_t moment = best_text().best.moment;
    while (moment != kNone && moments_[static_cast<std::size_t>(moment)].depth > depth) {
      moment = moments_[static_cast<std::size_t>(moment)].previous;
    }
    depth = moment == kNone ? committed_depth_ : moments_[static_cast<std::size_t>(moment)].depth;
    if (depth <= committed_depth_) return;
    scores_.assign(texts_.size(), 0.0);
    require_boundary(depth);
    drop_marked(texts_);
  }
  const Text& best = best_text();
  const Alignment& alignment = best.best;
  if (alignment.log_prob > best.blank_alignment.log_prob && alignment.moment != kNone) {
    const Moment& last = moments_[static_cast<std::size_t>(alignment.moment)];
    if (last.depth <= depth) {
      depth = last.previous == kNone ? committed_depth_ : moments_[static_cast<std::size_t>(last.previous)].depth;
    }
  }
  if (depth <= committed_depth_) return;
  const std::size_t num_before = committed_.token_ids.size();
  append_tokens(best, depth, committed_);
  for (std::size_t i = num_before; spellings_ != nullptr && i < committed_.token_ids.size(); ++i) {
    const std::int32_t token = committed_.token_ids[i];
    if (spellings_->starts_word(token) || spellings_->body(token).find(' ') != std::string_view::npos) {
      committed_word_.clear();
    }
    if (!spellings_->ends_word(token)) committed_word_.push_back(token);
  }
  if (committed_word_.size() > kLongestWord) {
    committed_word_.erase(committed_word_.begin(), committed_word_.end() - static_cast<std::ptrdiff_t>(kLongestWord));
  }
  if (!committed_.token_end_frames.empty()) {
    committed_end_ = committed_.token_end_frames.back();
    largest_commit_delay_ = std::max<std::int64_t>(largest_commit_delay_, num_frames_ - committed_end_);
  }
  committed_depth_ = depth;
}

std::int32_t CtcBeamDecoder::add_moment(const Alignment& before, std::int32_t token, std::int32_t depth) {
  moments_.push_back(Moment{before.moment, token, depth, num_frames_, before.end, before.peak});
  return static_cast<std::int32_t>(moments_.size()) - 1;
}

// Copies the moments that alignments still need, those of tokens not committed, and forgets the others.
void CtcBeamDecoder::collect_moments() {
  moments_copy_.clear();
  forward_.assign(moments_.size(), kNone);
  const auto keep = [this](Alignment& alignment) {
    std::int32_t moment = alignment.moment;
    std::int32_t later = kNone;  // the copy of the moment after this one
    const auto link = [&](std::int32_t copy) {
      if (later == kNone) {
        alignment.moment = copy;
      } else {
        moments_copy_[static_cast<std::size_t>(later)].previous = copy;
      }
    };
    while (moment != kNone && moments_[static_cast<std::size_t>(moment)].depth > committed_depth_) {
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
  for (Text& text : texts_) {
    keep(text.blank_alignment);
    keep(text.best);
    for (std::int32_t p = text.first_passage; p != kNone; p = passages_[static_cast<std::size_t>(p)].next) {
      keep(passages_[static_cast<std::size_t>(p)].alignment);
    }
  }
  moments_.swap(moments_copy_);
  moments_limit_ = std::max(kMinMomentsLimit, 2 * moments_.size());
}

const CtcBeamDecoder::Text& CtcBeamDecoder::best_text() const {
  return *std::max_element(texts_.begin(), texts_.end(), [](const Text& a, const Text& b) {
    return (a.live ? a.total : 0.0) < (b.live ? b.total : 0.0);
  });
}

double CtcBeamDecoder::log_score(const Text& text) const {
  constexpr double kLog2 = 0.693147180559945309417;
  return std::log(text.total) + static_cast<double>(scale_exponent_) * kLog2;
}

// The text's tokens after the committed ones and up to a depth, behind those in `out`.
void CtcBeamDecoder::append_tokens(const Text& text, std::int32_t up_to_depth, Hypothesis& out) const {
  const std::size_t begin = out.token_ids.size();
  if (begin == 0) {
    const auto most = static_cast<std::size_t>(std::max(0, std::min(text.depth, up_to_depth) - committed_depth_));
    out.token_ids.reserve(most);
    out.token_start_frames.reserve(most);
    out.token_end_frames.reserve(most);
    out.token_posteriors.reserve(most);
  }
  const Alignment& alignment = text.best;
  std::int32_t end = alignment.end;
  float peak = alignment.peak;
  for (std::int32_t m = alignment.moment; m != kNone;) {
    const Moment& moment = moments_[static_cast<std::size_t>(m)];
    if (moment.depth <= committed_depth_) break;
    const std::int32_t depth_before =
        moment.previous == kNone ? committed_depth_ : moments_[static_cast<std::size_t>(moment.previous)].depth;
    // A token that added nothing to the text, a second space, is left out.
    if (moment.depth <= up_to_depth && moment.depth > depth_before) {
      out.token_ids.push_back(moment.token);
      out.token_start_frames.push_back(moment.start);
      out.token_end_frames.push_back(end);
      out.token_posteriors.push_back(std::min(1.0F, std::exp(peak)));
    }
    end = moment.previous_end;
    peak = moment.previous_peak;
    m = moment.previous;
  }
  const auto reverse = [begin](auto& values) {
    std::reverse(values.begin() + static_cast<std::ptrdiff_t>(begin), values.end());
  };
  reverse(out.token_ids);
  reverse(out.token_start_frames);
  reverse(out.token_end_frames);
  reverse(out.token_posteriors);
  // Committed times were those of another alignment, which may reach into this one: starts must not go back all the
  // same.
  std::int32_t earliest = std::min(committed_end_, num_frames_ - 1);
  for (std::size_t i = begin; i < out.token_ids.size() && out.token_start_frames[i] < earliest; ++i) {
    out.token_start_frames[i] = earliest;
    out.token_end_frames[i] = std::max(out.token_end_frames[i], earliest + 1);
    earliest = std::min(out.token_end_frames[i], num_frames_ - 1);
  }
}

// The tokens' text, each word as the lexicon writes it.
std::string CtcBeamDecoder::spell(const std::vector<std::int32_t>& token_ids) const {
  if (spellings_ == nullptr) return {};
  std::string spelled = spellings_->text(token_ids);
  if (!rewrites()) return spelled;
  const Lexicon& lexicon = context_->words->lexicon();
  std::string text;
  for (std::size_t begin = 0; begin < spelled.size();) {
    const std::size_t end = std::min(spelled.find(' ', begin), spelled.size());
    const std::string_view word = std::string_view(spelled).substr(begin, end - begin);
    const std::int32_t index = lexicon.find(word);
    if (!text.empty()) text += ' ';
    text += index == Lexicon::kNone ? word : lexicon.word(index);
    begin = end + 1;
  }
  return text;
}

// The hypotheses, best first. Texts that differ only in what does not count are one.
std::vector<Hypothesis> CtcBeamDecoder::choose_results(std::vector<Ending> endings) const {
  std::stable_sort(endings.begin(), endings.end(), [](const Ending& a, const Ending& b) { return a.score > b.score; });
  const auto text_at = [this](const Ending& ending) -> const Text& {
    return texts_[static_cast<std::size_t>(ending.slot)];
  };
  std::vector<Ending> distinct;
  const bool by_node = spellings_ == nullptr || (!by_tokens_ && !rewrites());
  if (by_node) {
    std::unordered_map<std::int32_t, std::size_t> seen;
    for (const Ending& ending : endings) {
      const PrefixTrie::Node& node = trie_[text_at(ending).node];
      // A space at the end does not count.
      const bool trailing = spellings_ != nullptr && node.symbol == ' ' && node.parent != kNone;
      const auto [at, is_new] = seen.emplace(trailing ? node.parent : text_at(ending).node, distinct.size());
      if (is_new) {
        distinct.push_back(ending);
      } else {
        distinct[at->second].score = log_add(distinct[at->second].score, ending.score);
      }
    }
  } else {
    std::unordered_map<std::string, std::size_t> seen;
    for (const Ending& ending : endings) {
      Hypothesis hypothesis;
      append_tokens(text_at(ending), text_at(ending).depth, hypothesis);
      // What the word begins with may be committed.
      hypothesis.token_ids.insert(hypothesis.token_ids.begin(), committed_word_.begin(), committed_word_.end());
      const auto [at, is_new] = seen.emplace(spell(hypothesis.token_ids), distinct.size());
      if (is_new) {
        distinct.push_back(ending);
      } else {
        distinct[at->second].score = log_add(distinct[at->second].score, ending.score);
      }
    }
  }
  std::stable_sort(distinct.begin(), distinct.end(),
                   [](const Ending& a, const Ending& b) { return a.score > b.score; });
  const auto nbest = static_cast<std::size_t>(config_.nbest);
  std::vector<Hypothesis> results;
  for (const Ending& ending : distinct) {
    // Equals of the last one wanted come along, for the order of their token ids decides.
    if (results.size() >= nbest && ending.score < distinct[nbest - 1].score) break;
    Hypothesis hypothesis = committed_;
    append_tokens(text_at(ending), text_at(ending).depth, hypothesis);
    hypothesis.text = spell(hypothesis.token_ids);
    hypothesis.score = ending.score;
    hypothesis.parts.acoustic = ending.score - ending.parts.weight;
    hypothesis.parts.lm = ending.parts.lm;
    hypothesis.parts.num_words = ending.parts.num_words;
    hypothesis.parts.boost = ending.parts.boost;
    hypothesis.parts.oov = ending.parts.oov;
    hypothesis.complete = ending.parts.complete && !stuck_;
    results.push_back(std::move(hypothesis));
  }
  std::sort(results.begin(), results.end(), [](const Hypothesis& a, const Hypothesis& b) {
    return a.score != b.score ? a.score > b.score : a.token_ids < b.token_ids;
  });
  if (results.size() > nbest) results.resize(nbest);
  return results;
}

std::vector<Hypothesis> CtcBeamDecoder::partial() const {
  if (finished_) return results_;
  std::vector<Ending> endings;
  endings.reserve(texts_.size());
  for (std::size_t slot = 0; slot < texts_.size(); ++slot) {
    const Text& text = texts_[slot];
    if (!text.live) continue;
    Ending ending{static_cast<std::int32_t>(slot), log_score(text), TextParts()};
    if (scorer_ != nullptr) ending.parts = scorer_->parts(states_[static_cast<std::size_t>(text.node)]);
    endings.push_back(ending);
  }
  return choose_results(std::move(endings));
}

std::vector<Hypothesis> CtcBeamDecoder::finish() {
  if (finished_) throw StreamStateError("finish() after finish(): call reset() to start a new stream");
  if (scorer_ == nullptr) {
    results_ = partial();
    finished_ = true;
    return results_;
  }
  std::vector<Ending> endings;
  endings.reserve(texts_.size());
  bool any_complete = false;
  for (std::size_t slot = 0; slot < texts_.size(); ++slot) {
    const Text& text = texts_[slot];
    if (!text.live) continue;
    const TextScorer::State& state = states_[static_cast<std::size_t>(text.node)];
    Ending ending{static_cast<std::int32_t>(slot), log_score(text), scorer_->finish(state)};
    ending.score += ending.parts.weight - state.weight;
    any_complete = any_complete || ending.parts.complete;
    endings.push_back(ending);
  }
  if (any_complete) {
    endings.erase(std::remove_if(endings.begin(), endings.end(), [](const Ending& e) { return !e.parts.complete; }),
                  endings.end());
  }
  results_ = choose_results(std::move(endings));
  finished_ = true;
  return results_;
}

Hypothesis CtcBeamDecoder::take_committed() {
  Hypothesis taken;
  std::swap(taken, committed_);
  taken.score = log_score(best_text());
  taken.text = spell(taken.token_ids);
  const auto count = static_cast<std::ptrdiff_t>(taken.token_ids.size());
  for (Hypothesis& result : results_) {
    const auto forget = [count](auto& values) { values.erase(values.begin(), values.begin() + count); };
    forget(result.token_ids);
    forget(result.token_start_frames);
    forget(result.token_end_frames);
    forget(result.token_posteriors);
    result.text = spell(result.token_ids);
  }
  return taken;
}

}  // namespace edgeasr
