// CTC prefix beam search (Hannun et al. 2014, "First-pass large vocabulary continuous speech recognition using
// bi-directional recurrent DNNs", algorithm 1; CTC: Graves et al. 2006), incremental and in bounded memory, over texts.
//
// What is done differently from the textbook:
//
// - A hypothesis is a text, not a sequence of tokens: however a text is cut into tokens, its probabilities are summed
//   while the search goes on. A text keeps the probability of the alignments that end in blank, and for each token that
//   led to it from a shorter text a *passage* with that of the alignments that end in this token. A text is the words
//   it has: spaces at its start, and several in a row, count as none and one. Where it is not known what tokens spell,
//   and with a language model over tokens, a text is the sequence of its tokens.
// - Probabilities are linear doubles, rescaled by powers of two: exact, and there is no logarithm in the frame loop.
// - Whatever else is known about texts (text_scorer.h) gives each a weight, which depends on the text alone. A passage
//   keeps the ratio of the weights of the two texts it joins and multiplies what flows through it.
// - A new text has exactly one parent, so its score is one product. Only extensions that can beat the worst of the
//   beam are looked at, and most frames, blank ones, have none: no separate treatment of blanks is needed for speed.
// - A text that falls out of the beam while longer ones that start with it stay goes on as a *feeder*: it gets no new
//   extensions, but its probability keeps flowing into the longer ones. Without feeders each token loses its late
//   alignments, about one per cent of its probability, and the ranking errs by that noise (tests/test_ctc_beam.py
//   compares with the exact scores).
// - What the best text has held for longer than max_commit_delay_frames is committed. Old alternatives multiply with
//   each other, and the products fill the beam with copies of the same recent tokens; without them a beam of 8 finds
//   what takes thousands of prefixes otherwise.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/ctc_hypothesis.h"
#include "core/ctc_input.h"
#include "core/prefix_trie.h"
#include "core/text_scorer.h"
#include "core/token_spellings.h"

namespace edgeasr {

// Mirrored by edgeasr.config.CtcBeamConfig. All decisions are taken frame by frame.
struct CtcBeamConfig {
  // Texts kept after each frame.
  std::int32_t beam_size = 8;
  std::int32_t blank_id = 0;
  // Hypotheses returned at most.
  std::int32_t nbest = 1;
  // A text is dropped when its score is further than this below the best one's (natural log; above 600 it is 600: that
  // is what the doubles hold between two rescalings).
  double beam_threshold = 20.0;
  // A token whose log-prob is further than this below that of the frame's best token starts no new text on the frame.
  double token_threshold = 10.0;
  // At most so many of the frame's best tokens start new texts; 0: no limit.
  std::int32_t max_tokens_per_frame = 40;
  // A frame whose blank probability is above this starts no new texts. Those that there are get their exact share of
  // the frame all the same; what is lost is new texts of at most 1 - threshold of the probability. 1: none skipped.
  double blank_skip_threshold = 0.999;
  // Every 16 frames what the best text has held for longer than this is committed, and texts that disagree are
  // dropped. It bounds delay and memory for any input, and it frees the beam from old alternatives. 0: no limit. With a
  // language model or a list of words, and where tokens have several bytes, whole words are committed, or after four
  // times as long what there is of one.
  std::int32_t max_commit_delay_frames = 64;
  // Of the language model's log-probs.
  double lm_weight = 1.0;
  // Added for each word, where there is a decoding context.
  double word_bonus = 0.0;
  // What a word costs that is neither in the lexicon nor, without one, in the language model, nor in a hotword; and in
  // addition each of its characters. Infinite: there are no such words.
  double oov_cost = 5.0;
  double oov_char_cost = 1.0;
  // Of hotwords that have no boost of their own.
  double hotword_boost = 8.0;
};

// Throws ConfigError naming the field when a value cannot work.
void validate(const CtcBeamConfig& config);

// Keeps the `beam_size` most probable texts, each with the summed probability of the alignments that lead to it, and
// beside it the best single alignment for tokens and times. Any cut of the frames into blocks gives the same results,
// bit for bit: nothing depends on accept() calls or on partial().
class CtcBeamDecoder {
 public:
  // The tokens have no names: a text is a sequence of tokens. Throws ConfigError for a configuration that cannot work
  // or does not fit the vocabulary.
  CtcBeamDecoder(const CtcBeamConfig& config, std::int32_t vocab_size, CtcInput kind = CtcInput::kLogProbs);
  // `context` may be null.
  CtcBeamDecoder(const CtcBeamConfig& config, const TokenNames& tokens,
                 std::shared_ptr<const DecodingContext> context = nullptr, CtcInput kind = CtcInput::kLogProbs);

  // Row-major (num_frames, vocab_size). Throws InputError (see CtcInputGate) and, after finish(), StreamStateError.
  void accept(const float* rows, std::size_t num_frames);
  // The hypotheses so far, best first, at least one and at most `nbest`; equal scores in the order of their token ids.
  // The last word may be unfinished, and counts with its look-ahead.
  std::vector<Hypothesis> partial() const;
  // Ends the stream: the last word, the sentence for the language model, and what the grammar says of the end. Texts
  // that may not end are left out, unless there is no other. Throws StreamStateError when called twice.
  std::vector<Hypothesis> finish();
  // Back to the start of a stream, with the same knowledge or another.
  void reset();
  void reset(std::shared_ptr<const DecodingContext> context);

  // How many tokens at the front of every hypothesis will never change any more, nor their times: the whole beam agrees
  // on them, and the best alignment has left them.
  std::size_t num_committed() const { return committed_.token_ids.size(); }
  // Moves the committed tokens out: later results hold only those after them. Scores still count the whole stream.
  Hypothesis take_committed();
  // The most frames that have passed from the end of a token until it was committed.
  std::int64_t largest_commit_delay() const { return largest_commit_delay_; }

  std::int32_t vocab_size() const { return gate_.vocab_size(); }
  std::int64_t num_frames() const { return num_frames_; }
  // Nodes held for texts and for alignments: what the memory depends on.
  std::size_t num_nodes() const { return trie_.num_live() + moments_.size(); }

 private:
  // One token of an alignment, linked to the token before it; alignments share their beginnings. A token's end and peak
  // are known only when the next token starts, so they stand there.
  struct Moment {
    std::int32_t previous;
    std::int32_t token;
    std::int32_t depth;  // of the text that the token led to
    std::int32_t start;
    std::int32_t previous_end;
    float previous_peak;
  };

  // The most probable alignment among those of a text that end in the same way: in blank, or in one token.
  struct Alignment {
    double log_prob = -std::numeric_limits<double>::infinity();
    std::int32_t moment = PrefixTrie::kNone;  // of the last token
    std::int32_t end = 0;                     // frame after the last token's last one
    float peak = 0.0F;                        // largest log-prob of the last token on its frames
  };

  // The alignments of a text that end in a token, which led to it from `parent`. That is the same text where the token
  // adds only a space that does not count.
  struct Passage {
    std::int32_t parent = PrefixTrie::kNone;
    std::int32_t token = PrefixTrie::kNone;
    std::int32_t next = PrefixTrie::kNone;         // of the same text
    std::int32_t parent_slot = PrefixTrie::kNone;  // on this frame
    double held = 0.0;                             // their probability
    double weight = 1.0;                           // of the text, over that of the parent
    Alignment alignment;
  };

  // A text in the beam (live), or a feeder. Probabilities are in units of 2^scale_exponent_, and weighted.
  struct Text {
    std::int32_t node = PrefixTrie::kNone;
    std::int32_t depth = 0;
    std::int32_t first_passage = PrefixTrie::kNone;
    // Of the only passage; kNone when there is none, kSeveral when there are more.
    std::int32_t last_token = PrefixTrie::kNone;
    bool live = false;
    bool between_words = false;  // nothing follows the last space, or there is nothing at all
    double blank = 0.0;          // of the alignments that end in blank
    double total = 0.0;          // of all
    Alignment blank_alignment;
    Alignment best;  // of all
  };
  static constexpr std::int32_t kSeveral = -2;

  struct Token {
    float log_prob;
    std::int32_t id;
    double prob;
  };

  // A text that may come into the beam: the one in `slot`, followed by a token.
  struct Extension {
    double score;
    std::int32_t slot;
    std::int32_t token;
    float log_prob;
    double weight;
  };

  // A text on the way to finding feeders, and what it would have to have.
  struct Visit {
    std::int32_t slot;
    double needs;
  };

  // What a final result is chosen from.
  struct Ending {
    std::int32_t slot;
    double score;
    TextParts parts;
  };

  void set_context(std::shared_ptr<const DecodingContext> context);
  void step(const float* row);
  double prob(const float* row, std::int32_t token);
  void update(const float* row);
  void choose_tokens(const float* row);
  void raise_threshold();
  void propose();
  void propose_weighted();
  bool has_passage(std::size_t slot, std::int32_t token) const;
  std::int32_t find_text(const Text& from, std::int32_t token) const;
  std::int32_t make_text(const Text& from, std::int32_t token);
  // Whether some of the text's alignments may end in the token.
  static bool may_repeat(const Text& text, std::int32_t token) {
    return text.last_token == token || text.last_token == kSeveral;
  }
  // The probability of the alignments that the token may follow as another one: those that do not end in it.
  double flow(const Text& text, std::int32_t token) const {
    return may_repeat(text, token) ? flow_without(text, token) : text.total;
  }
  double flow_without(const Text& text, std::int32_t token) const;
  // The best one of these.
  const Alignment& best_without(const Text& text, std::int32_t token) const;
  void link_exits();
  bool join(const Extension& extension, std::int32_t node);
  void add_passage(const Extension& extension, Text& to);
  void keep_best();
  double nth_best(std::size_t n, double best);
  void add_extensions();
  void mark_feeders();
  void drop_marked(std::vector<Text>& texts);
  void rescale();
  void commit_what_is_old();
  bool ends_token(std::int32_t node) const;
  void require_boundary(std::int32_t depth);
  void advance_agreement();
  void commit();
  void collect_moments();
  std::int32_t add_moment(const Alignment& before, std::int32_t token, std::int32_t depth);
  const Text& best_text() const;
  double log_score(const Text& text) const;
  void append_tokens(const Text& text, std::int32_t up_to_depth, Hypothesis& out) const;
  bool rewrites() const {
    return context_ != nullptr && context_->words != nullptr && context_->words->lexicon().rewrites();
  }
  std::string spell(const std::vector<std::int32_t>& token_ids) const;
  std::vector<Hypothesis> choose_results(std::vector<Ending> endings) const;

  CtcBeamConfig config_;
  CtcInputGate gate_;
  double beam_floor_;  // e^-beam_threshold
  TokenNames names_;
  std::unique_ptr<const TokenSpellings> spellings_;  // null: not known
  std::shared_ptr<const DecodingContext> context_;
  std::unique_ptr<TextScorer> scorer_;  // null: all texts weigh the same
  bool by_tokens_ = true;               // a text is a sequence of tokens, whatever they spell
  bool joins_ = false;                  // several token sequences may spell the same text, spaces aside
  bool commits_words_ = false;

  // The search. texts_ holds the live ones and the feeders; a text's place there is its slot in the trie.
  std::int32_t num_frames_ = 0;
  bool finished_ = false;
  bool stuck_ = false;  // a frame was possible for no text
  PrefixTrie trie_;
  std::vector<Text> texts_;
  std::vector<Passage> passages_;
  std::vector<TextScorer::State> states_;  // by node
  double best_total_ = 1.0;
  std::int64_t scale_exponent_ = 0;
  std::vector<Hypothesis> results_;  // of finish()

  // Alignments, in an arena that is copied to leave out what is no longer needed.
  std::vector<Moment> moments_;
  std::vector<Moment> moments_copy_;
  std::vector<std::int32_t> forward_;
  std::size_t moments_limit_ = 0;

  // Commitment.
  std::int32_t agreed_ = 0;           // the node that all live texts go through
  std::int32_t boundary_depth_ = 0;   // of the last place up to there where committing may stop
  std::int32_t committed_depth_ = 0;  // symbols committed since the start of the stream
  std::int32_t committed_end_ = 0;    // the last token's end
  std::int64_t largest_commit_delay_ = 0;
  Hypothesis committed_;                      // those of them that have not been taken out
  std::vector<std::int32_t> committed_word_;  // the committed tokens of a word that goes on, taken out or not

  // Scratch of one frame. By slot: scores_ (the total, or one of the marks in the .cc), and in lists the passages that
  // lead out of a text.
  std::vector<Text> next_texts_;
  std::vector<Passage> next_passages_;
  std::vector<double> scores_;
  std::vector<std::int32_t> first_exit_;
  std::vector<std::uint64_t> exit_mask_;  // bit (token % 64) of each
  std::vector<std::int32_t> next_exit_;   // by passage
  std::size_t num_live_ = 0;
  double worst_score_ = 0.0;      // of the live texts
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
  std::vector<Visit> visits_;
  std::vector<double> feeder_needs_;
  std::vector<double> log_totals_;
  std::vector<TextScorer::Gains> gains_;
  std::vector<double> largest_gains_;
};

}  // namespace edgeasr
