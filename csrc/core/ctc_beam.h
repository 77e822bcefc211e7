// CTC prefix beam search (Hannun et al. 2014, "First-pass large vocabulary continuous speech recognition using
// bi-directional recurrent DNNs", algorithm 1; Graves 2012, section 7.5.3), incremental and in bounded memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/ctc_hypothesis.h"
#include "core/ctc_input.h"
#include "core/prefix_trie.h"

namespace edgeasr {

// Mirrored by edgeasr.config.CtcBeamConfig. All thresholds are decided frame by frame.
struct CtcBeamConfig {
  std::int32_t beam_size = 8;  // prefixes kept after each frame
  std::int32_t blank_id = 0;
  std::int32_t nbest = 1;  // hypotheses returned at most
  // A prefix whose log score is further than this below the best one is dropped (natural log; infinity: none is,
  // though 600, e^-600 of the best probability, is the limit of the arithmetic).
  double beam_threshold = 20.0;
  // A token whose log-prob is further than this below the frame's best token starts no new prefix on that frame.
  double token_threshold = 10.0;
  // At most so many of the best tokens start new prefixes on a frame; 0: no limit.
  std::int32_t max_tokens_per_frame = 40;
  // A frame whose blank probability is greater than this starts no new prefixes; the ones there are get their exact
  // share of the frame all the same. 1: no frame is skipped.
  double blank_skip_threshold = 0.999;
  // A token that the best prefix has held for longer than this is committed, even when other live prefixes differ:
  // they are dropped. It bounds the memory for any input. 0: no limit.
  std::int32_t max_commit_delay_frames = 1500;
};

// Throws ConfigError naming the field when a value cannot work.
void validate(const CtcBeamConfig& config);

// Keeps the `beam_size` most probable token sequences ("prefixes"), each with the summed probability of all alignments
// that lead to it, and beside it the best single alignment for the times. Any cut of the frames into blocks gives the
// same results, bit for bit: nothing depends on accept() calls or on partial().
class CtcBeamDecoder {
 public:
  // Throws ConfigError for a configuration that cannot work or does not fit the vocabulary.
  CtcBeamDecoder(const CtcBeamConfig& config, std::int32_t vocab_size, CtcInput kind = CtcInput::kLogProbs);

  // Row-major (num_frames, vocab_size). Throws InputError (see CtcInputGate) and, after finish(), StreamStateError.
  void accept(const float* rows, std::size_t num_frames);
  // The best hypotheses so far, best first, at most `nbest`; equal scores in the order of their token ids.
  std::vector<Hypothesis> partial() const;
  // Ends the stream. Throws StreamStateError when called twice.
  std::vector<Hypothesis> finish();
  // Back to the start of a stream.
  void reset();

  // Tokens at the front of every hypothesis that will never change, nor their times: all live prefixes agree on them,
  // and the best alignment has left them.
  std::size_t num_committed() const { return committed_.token_ids.size(); }
  // Moves the committed tokens out: later results hold only those after them. Scores still count the whole stream.
  Hypothesis take_committed();

  std::int32_t vocab_size() const { return gate_.vocab_size(); }
  std::int64_t num_frames() const { return num_frames_; }
  // Nodes held for prefixes and for alignments: what memory use depends on.
  std::size_t num_nodes() const { return trie_.num_live() + moments_.size(); }

 private:
  // One token of an alignment, linked to the token before it; alignments share their beginnings. A token's end and peak
  // are known only when the next token starts, so they stand there.
  struct Moment {
    std::int32_t previous;
    std::int32_t start;
    std::int32_t previous_end;
    float previous_peak;  // log
  };

  // The best single alignment of a prefix that ends in one of the two ways.
  struct Alignment {
    double log_prob = -std::numeric_limits<double>::infinity();
    std::int32_t moment = PrefixTrie::kNone;  // of the last token
    std::int32_t end = 0;                     // frame after the last token's last one
    float peak = 0.0F;                        // largest log-prob of the last token on its frames
  };

  // A live prefix. Probabilities are linear, in units of 2^scale_exponent_.
  struct Beam {
    std::int32_t node = PrefixTrie::kNone;
    std::int32_t parent = PrefixTrie::kNone;
    std::int32_t token = PrefixTrie::kNone;
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

  // A prefix that may come into the beam: beam `slot` followed by a token.
  struct Extension {
    double score;
    std::int32_t slot;
    std::int32_t token;
    float log_prob;
  };

  void step(const float* row);
  double prob(const float* row, std::int32_t token);
  void update_live(const float* row);
  void choose_tokens(const float* row);
  void propose(const float* row);
  void keep_best();
  void materialise();
  void remove(std::size_t slot);
  void rescale();
  void commit();
  void force_commit();
  void collect_moments();
  void append_tail(const Beam& beam, std::int32_t up_to_depth, Hypothesis& out) const;
  const Beam& best_beam() const;

  CtcBeamConfig config_;
  CtcInputGate gate_;
  double beam_floor_;  // e^-beam_threshold

  std::int32_t num_frames_ = 0;
  bool finished_ = false;
  PrefixTrie trie_;
  std::vector<Beam> beams_;
  std::vector<Beam> next_;  // the same slots after the frame
  std::int64_t scale_exponent_ = 0;

  std::vector<Moment> moments_;
  std::vector<Moment> moments_copy_;
  std::vector<std::int32_t> forward_;
  std::size_t moments_limit_ = 0;

  Hypothesis committed_;             // not yet taken out
  std::int32_t committed_depth_ = 0;  // tokens committed since the start, taken out or not

  // Scratch of one frame.
  std::vector<Token> tokens_;
  std::vector<Extension> extensions_;
  std::vector<double> live_scores_;  // by slot; negative when the prefix is dropped
  std::vector<double> ranking_;
  double threshold_ = 0.0;
  std::vector<std::int32_t> first_child_;  // by slot: a live prefix one token longer, and the next such
  std::vector<std::int32_t> next_sibling_;
  std::vector<std::uint64_t> child_mask_;
  std::vector<double> prob_cache_;
  std::vector<std::int32_t> prob_frame_;
  std::vector<std::int32_t> pending_ids_;
};

}  // namespace edgeasr
