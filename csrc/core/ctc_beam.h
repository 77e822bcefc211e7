// CTC prefix beam search (Hannun et al. 2014, "First-pass large vocabulary continuous speech recognition using
// bi-directional recurrent DNNs", algorithm 1; CTC: Graves et al. 2006), incremental and in bounded memory.
//
// What is done differently from the textbook:
//
// - Probabilities are linear doubles, rescaled by powers of two: exact, and there is no logarithm in the frame loop.
// - A new prefix has exactly one parent, so its score is one product. Only extensions that can beat the worst of the
//   beam are looked at, and most frames, blank ones, have none: no separate treatment of blanks is needed for speed.
// - A prefix that falls out of the beam while longer ones that start with it stay goes on as a *feeder*: it gets no new
//   extensions, but its probability keeps flowing into the longer ones. Without feeders each token loses its late
//   alignments, about one per cent of its probability, and the ranking errs by that noise (tests/test_ctc_beam.py
//   compares with the exact scores).
// - What the best prefix has held for longer than max_commit_delay_frames is committed. Old alternatives multiply with
//   each other, and the products fill the beam with copies of the same recent tokens; without them a beam of 8 finds
//   what takes thousands of prefixes otherwise.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/ctc_hypothesis.h"
#include "core/ctc_input.h"
#include "core/prefix_trie.h"

namespace edgeasr {

// Mirrored by edgeasr.config.CtcBeamConfig. All decisions are taken frame by frame.
struct CtcBeamConfig {
  // Prefixes kept after each frame.
  std::int32_t beam_size = 8;
  std::int32_t blank_id = 0;
  // Hypotheses returned at most.
  std::int32_t nbest = 1;
  // A prefix is dropped when its score is further than this below the best one's (natural log; above 600 it is 600:
  // that is what the doubles hold between two rescalings).
  double beam_threshold = 20.0;
  // A token whose log-prob is further than this below that of the frame's best token starts no new prefix on the frame.
  double token_threshold = 10.0;
  // At most so many of the frame's best tokens start new prefixes; 0: no limit.
  std::int32_t max_tokens_per_frame = 40;
  // A frame whose blank probability is above this starts no new prefixes. Those that there are get their exact share of
  // the frame all the same; what is lost is new prefixes of at most 1 - threshold of the probability. 1: none skipped.
  double blank_skip_threshold = 0.999;
  // Every 16 frames what the best prefix has held for longer than this is committed, and prefixes that disagree are
  // dropped. It bounds delay and memory for any input, and it frees the beam from old alternatives. 0: no limit.
  std::int32_t max_commit_delay_frames = 64;
};

// Throws ConfigError naming the field when a value cannot work.
void validate(const CtcBeamConfig& config);

// Keeps the `beam_size` most probable token sequences ("prefixes"), each with the summed probability of the alignments
// that lead to it, and beside it the best single alignment for the times. Any cut of the frames into blocks gives the
// same results, bit for bit: nothing depends on accept() calls or on partial().
class CtcBeamDecoder {
 public:
  // Throws ConfigError for a configuration that cannot work or does not fit the vocabulary.
  CtcBeamDecoder(const CtcBeamConfig& config, std::int32_t vocab_size, CtcInput kind = CtcInput::kLogProbs);

  // Row-major (num_frames, vocab_size). Throws InputError (see CtcInputGate) and, after finish(), StreamStateError.
  void accept(const float* rows, std::size_t num_frames);
  // The hypotheses so far, best first, at least one and at most `nbest`; equal scores in the order of their token ids.
  std::vector<Hypothesis> partial() const;
  // Ends the stream. Throws StreamStateError when called twice.
  std::vector<Hypothesis> finish();
  // Back to the start of a stream.
  void reset();

  // How many tokens at the front of every hypothesis will never change any more, nor their times: the whole beam agrees
  // on them, and the best alignment has left them.
  std::size_t num_committed() const { return committed_.token_ids.size(); }
  // Moves the committed tokens out: later results hold only those after them. Scores still count the whole stream.
  Hypothesis take_committed();

  std::int32_t vocab_size() const { return gate_.vocab_size(); }
  std::int64_t num_frames() const { return num_frames_; }
  // Nodes held for prefixes and for alignments: what the memory depends on.
  std::size_t num_nodes() const { return trie_.num_live() + moments_.size(); }

 private:
  // One token of an alignment, linked to the token before it; alignments share their beginnings. A token's end and peak
  // are known only when the next token starts, so they stand there.
  struct Moment {
    std::int32_t previous;
    std::int32_t start;
    std::int32_t previous_end;
    float previous_peak;
  };

  // The most probable alignment among those of a prefix that end in blank, or among those that end in its last token.
  struct Alignment {
    double log_prob = -std::numeric_limits<double>::infinity();
    std::int32_t moment = PrefixTrie::kNone;  // of the last token
    std::int32_t end = 0;                     // frame after the last token's last one
    float peak = 0.0F;                        // largest log-prob of the last token on its frames
  };

  // A prefix in the beam (live), or a feeder. Probabilities are in units of 2^scale_exponent_.
  struct Prefix {
    std::int32_t node = PrefixTrie::kNone;
    std::int32_t parent = PrefixTrie::kNone;
    std::int32_t token = PrefixTrie::kNone;
    std::int32_t depth = 0;
    bool live = false;
    double blank = 0.0;  // of the alignments that end in blank
    double held = 0.0;   // of those that end in the last token
    Alignment blank_alignment;
    Alignment held_alignment;

    double total() const { return blank + held; }
    const Alignment& best_alignment() const {
      return blank_alignment.log_prob >= held_alignment.log_prob ? blank_alignment : held_alignment;
    }
  };

  struct Token {
    float log_prob;
    std::int32_t id;
    double prob;
  };

  // A prefix that may come into the beam: the one in `slot`, followed by a token.
  struct Extension {
    double score;
    std::int32_t slot;
    std::int32_t token;
    float log_prob;
  };

  void step(const float* row);
  double prob(const float* row, std::int32_t token);
  void update(const float* row);
  void choose_tokens(const float* row);
  void raise_threshold();
  void propose();
  bool has_tracked_child(std::size_t slot, std::int32_t token) const;
  void keep_best();
  double nth_best(std::size_t n, double best);
  void add_extensions();
  void mark_feeders();
  void drop_marked(std::vector<Prefix>& prefixes);
  void rescale();
  void commit_what_is_old();
  void advance_agreement();
  void commit();
  void collect_moments();
  std::int32_t add_moment(const Alignment& before);
  const Prefix& best_prefix() const;
  double log_score(const Prefix& prefix) const;
  void append_tokens(const Prefix& prefix, std::int32_t up_to_depth, Hypothesis& out) const;

  CtcBeamConfig config_;
  CtcInputGate gate_;
  double beam_floor_;  // e^-beam_threshold

  // The search. tracked_ holds the live prefixes and the feeders; a prefix's place there is its slot in the trie.
  std::int32_t num_frames_ = 0;
  bool finished_ = false;
  PrefixTrie trie_;
  std::vector<Prefix> tracked_;
  double best_total_ = 1.0;
  std::int64_t scale_exponent_ = 0;

  // Alignments, in an arena that is copied to leave out what is no longer needed.
  std::vector<Moment> moments_;
  std::vector<Moment> moments_copy_;
  std::vector<std::int32_t> forward_;
  std::size_t moments_limit_ = 0;

  // Commitment.
  std::int32_t agreed_ = 0;               // the node that all live prefixes go through
  std::vector<std::int32_t> agreed_ids_;  // tokens up to there that are not committed, because the last is still held
  std::int32_t committed_depth_ = 0;      // tokens committed since the start of the stream
  std::int32_t committed_end_ = 0;        // the last one's end
  Hypothesis committed_;                  // those of them that have not been taken out

  // Scratch of one frame. By slot: scores_ (the total, or one of the marks in the .cc), and the live children in lists.
  std::vector<Prefix> next_;
  std::vector<double> scores_;
  std::vector<std::int32_t> first_child_;
  std::vector<std::int32_t> next_sibling_;
  std::vector<std::uint64_t> child_mask_;  // bit (token % 64) of each child
  std::size_t num_live_ = 0;
  double worst_score_ = 0.0;      // of the live prefixes
  double returning_score_ = 0.0;  // of the best feeder that may come back
  double threshold_ = 0.0;        // what scores less is not among the beam_size best
  std::vector<float> block_maxima_;
  std::vector<Token> tokens_;
  std::vector<Extension> extensions_;
  std::vector<double> ranking_;
  std::array<std::uint32_t, 256> histogram_{};
  std::vector<double> prob_cache_;
  std::vector<std::int32_t> prob_frame_;
  std::vector<std::int32_t> stack_;
};

}  // namespace edgeasr
