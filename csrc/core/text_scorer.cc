#include "core/text_scorer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "core/errors.h"

namespace edgeasr {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool starts_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U; }

}  // namespace

KnownWords::KnownWords(std::shared_ptr<const Lexicon> lexicon, const LmMixture* lm) : lexicon_(std::move(lexicon)) {
  if (lm != nullptr) look_up(*lm);
}

KnownWords::KnownWords(const LmMixture& lm) {
  std::vector<Lexicon::Entry> entries;
  for (WordId id = 0; id < lm.vocab_size(); ++id) {
    const std::string_view word = lm.word(id);
    if (word.empty() || word == "<s>" || word == "</s>" || word == "<unk>") continue;
    if (word.find_first_of(" \r\n") != std::string_view::npos) continue;
    entries.push_back(Lexicon::Entry{word, word});
  }
  lexicon_ = std::make_shared<const Lexicon>(entries);
  look_up(lm);
}

void KnownWords::look_up(const LmMixture& lm) {
  lm_ids_.resize(lexicon_->num_words());
  for (std::size_t word = 0; word < lm_ids_.size(); ++word) {
    lm_ids_[word] = lm.find(lexicon_->word(static_cast<std::int32_t>(word)));
  }
  lookahead_.assign(lexicon_->num_nodes(), -std::numeric_limits<float>::infinity());
  lexicon_->visit_upwards([&](std::int32_t node, std::int32_t parent) {
    float& here = lookahead_[static_cast<std::size_t>(node)];
    const std::int32_t word = lexicon_->word_at(node);
    if (word != Lexicon::kNone) here = std::max(here, static_cast<float>(lm.unigram(lm_id(word))));
    if (parent == Lexicon::kNone) return;
    float& above = lookahead_[static_cast<std::size_t>(parent)];
    above = std::max(above, here);
  });
}

std::vector<std::string> unspellable(const Lexicon& lexicon, const TokenSpellings& tokens) {
  std::vector<std::string> bad;
  std::set<std::string_view> good;
  lexicon.visit_spellings([&](std::string_view spelling, std::string_view word) {
    if (!tokens.can_spell(spelling)) {
      bad.emplace_back(word);
    } else if (lexicon.rewrites()) {
      good.insert(word);
    }
  });
  std::sort(bad.begin(), bad.end());
  bad.erase(std::unique(bad.begin(), bad.end()), bad.end());
  bad.erase(std::remove_if(bad.begin(), bad.end(), [&](const std::string& word) { return good.count(word) > 0; }),
            bad.end());
  return bad;
}

TextScorer::TextScorer(std::shared_ptr<const DecodingContext> context, const TextWeights& weights,
                       const TokenSpellings& spellings, const std::vector<std::string>& token_names)
    : context_(std::move(context)),
      weights_(weights),
      spellings_(spellings),
      words_(context_->words.get()),
      lm_(context_->lm.get()),
      hotwords_(context_->hotwords.get()),
      grammar_(context_->grammar.get()) {
  open_ = words_ == nullptr || std::isfinite(weights.oov_cost);
  if (hotwords_ != nullptr) {
    has_hotwords_ = true;
    values_ = hotwords_->values(weights.hotword_boost);
  }
  if (lm_ == nullptr) weights_.lm_weight = 0.0;
  if (lm_ != nullptr) {
    num_models_ = lm_->num_models();
    unknown_unigram_ = lm_->unigram(NgramLm::kUnknown);
    if (context_->lm_of_tokens) {
      bool any = false;
      for (const std::string& name : token_names) {
        token_ids_.push_back(lm_->find(name));
        any = any || token_ids_.back() != NgramLm::kUnknown;
      }
      if (!any) throw ConfigError("the language model is said to be of tokens, but it has none of them");
    }
  }
  of_words_ = lm_ != nullptr && !context_->lm_of_tokens;
  for (std::size_t token = 0; token < spellings.size(); ++token) {
    const auto id = static_cast<std::int32_t>(token);
    const bool spans = spellings.body(id).find(' ') != std::string_view::npos;
    ways_.push_back(spans ? kSpans : spellings.starts_word(id) ? kStarts : kStays);
    has_way_[ways_.back()] = true;
    num_bytes_.push_back(static_cast<double>(spellings.body(id).size() + 1));
  }
  // The first letter adds the word bonus and some look-ahead.
  double best = 0.0;
  if (words_ != nullptr) {
    best = -kInfinity;
    if (words_->lexicon().num_words() > 0) {
      best = of_words_ ? weights_.lm_weight * words_->lookahead(words_->lexicon().root()) : 0.0;
    }
    const double unknown = of_words_ ? weights_.lm_weight * unknown_unigram_ : 0.0;
    if (hotwords_ != nullptr) best = std::max(best, unknown);
    if (open_) best = std::max(best, unknown - weights_.oov_cost - weights_.oov_char_cost);
  }
  start_gain_ = weights_.word_bonus + best;
  quick_ = grammar_ == nullptr && token_ids_.empty();
  closed_ = words_ != nullptr && !open_ && !has_hotwords_;
  if (quick_ && !has_hotwords_) {
    State start;
    std::vector<double> starts;
    for (std::size_t token = 0; token < spellings.size(); ++token) {
      starts.push_back(gain(start, static_cast<std::int32_t>(token)));
    }
    starts_ = std::move(starts);
  }
}

void TextScorer::clear() {
  contexts_.clear();
  references_.clear();
  free_contexts_.clear();
  num_contexts_ = 0;
}

TextScorer::State TextScorer::start() {
  State state;
  if (grammar_ != nullptr) state.grammar = grammar_->start();
  if (hotwords_ != nullptr) state.hotword = hotwords_->start();
  if (lm_ != nullptr) {
    state.context = allocate_context();
    lm_->begin_state(context_states(state.context));
  }
  return state;
}

std::int32_t TextScorer::allocate_context() {
  ++num_contexts_;
  if (!free_contexts_.empty()) {
    const std::int32_t context = free_contexts_.back();
    free_contexts_.pop_back();
    return context;
  }
  references_.push_back(0);
  contexts_.resize(references_.size() * num_models_);
  return static_cast<std::int32_t>(references_.size()) - 1;
}

void TextScorer::free_context(std::int32_t context) {
  --num_contexts_;
  free_contexts_.push_back(context);
}

void TextScorer::retain(const State& state) {
  if (state.context != kNone) ++references_[static_cast<std::size_t>(state.context)];
}

void TextScorer::release(const State& state) {
  for (const std::int32_t context : {state.context, state.ending_context}) {
    if (context != kNone && --references_[static_cast<std::size_t>(context)] == 0) free_context(context);
  }
}

// Frees what belongs to nobody.
void TextScorer::discard(const State& state) {
  if (state.context != kNone && references_[static_cast<std::size_t>(state.context)] == 0) free_context(state.context);
}

void TextScorer::weigh(State& state) const {
  state.weight = weights_.lm_weight * (state.lm + state.lookahead) +
                 weights_.word_bonus * static_cast<double>(state.num_words) + (state.boost + state.partial) -
                 (state.oov + state.open_oov);
}

bool TextScorer::advance(const State& from, std::int32_t token, State& to) {
  const std::string_view body = spellings_.body(token);
  const bool over_space = spellings_.starts_word(token) && !from.between_words;
  if (over_space) {
    ask_ending(from);
    if (from.ending == State::Ending::kImpossible) return false;
  }
  to = from;
  if (over_space) {
    if (!add_space(to)) return false;
  } else {
    to.ending = State::Ending::kUnasked;
    to.ending_context = kNone;
  }
  for (const char byte : body) {
    if (byte == ' ') {
      const std::int32_t context = to.context;
      ask_ending(to);
      const bool good = add_space(to);
      if (context != to.context && context != kNone && references_[static_cast<std::size_t>(context)] == 0) {
        free_context(context);
      }
      if (good && to.context != kNone && to.context != context) {
        --references_[static_cast<std::size_t>(to.context)];  // the ending's own: `to` has forgotten it
      }
      if (!good) {
        discard(to);
        return false;
      }
    } else if (!add_letter(to, byte)) {
      discard(to);
      return false;
    }
  }
  if (!token_ids_.empty()) {
    const std::int32_t context = allocate_context();
    to.lm +=
        lm_->score(context_states(to.context), token_ids_[static_cast<std::size_t>(token)], context_states(context));
    to.context = context;
  }
  weigh(to);
  return true;
}

TextScorer::OpenWord TextScorer::open_word(std::int32_t node, std::int32_t hotword_node,
                                           std::int32_t num_letters) const {
  double best = -kInfinity;
  if (node != Lexicon::kNone) best = of_words_ ? words_->lookahead(node) : 0.0;
  if (hotword_node != Lexicon::kNone) best = std::max(best, of_words_ ? unknown_unigram_ : 0.0);
  const bool known = best > -kInfinity;
  if (open_) {
    const double unknown = of_words_ ? unknown_unigram_ : 0.0;
    const double cost = weights_.oov_cost + weights_.oov_char_cost * num_letters;
    if (!known || weights_.lm_weight * unknown - cost > weights_.lm_weight * best) return {unknown, cost, true};
  }
  return {known ? best : 0.0, 0.0, known};
}

double TextScorer::any_gain(const State& from, std::int32_t token) const {
  const std::string_view body = spellings_.body(token);
  double gain = 0.0;
  bool starts = from.between_words;
  Hotwords::State hotword = from.hotword;
  if (!starts) gain -= weights_.lm_weight * from.lookahead - from.open_oov;
  if (spellings_.starts_word(token) && !starts) {
    if (from.ending == State::Ending::kImpossible) return -kInfinity;
    gain += weights_.lm_weight * from.ending_lm - from.ending_oov;
    starts = true;
    if (has_hotwords_) {
      hotword = hotwords_->advance(hotword, ' ');
      gain += values_.done[hotword];
    }
  }
  if (!starts_.empty() && starts) return gain + starts_[static_cast<std::size_t>(token)];
  if (!body.empty()) {
    if (starts) gain += weights_.word_bonus;
    if (words_ != nullptr) {
      std::int32_t node = starts ? words_->lexicon().root() : from.node;
      std::int32_t hotword_node = starts ? 0 : from.hotword_node;
      std::int32_t num_letters = starts ? 0 : from.num_letters;
      if (!has_hotwords_) hotword_node = Lexicon::kNone;
      for (const char byte : body) {
        if (node != Lexicon::kNone) node = words_->lexicon().child(node, byte);
        if (hotword_node != Lexicon::kNone) hotword_node = hotwords_->words().child(hotword_node, byte);
        if (starts_character(byte)) ++num_letters;
      }
      gain += weight_of(open_word(node, hotword_node, num_letters));
    }
  }
  if (has_hotwords_) {
    for (const char byte : body) {
      hotword = hotwords_->advance(hotword, byte);
      gain += values_.done[hotword];
    }
    gain += values_.partial[hotword] - from.partial;
  }
  return gain;
}

bool TextScorer::add_letter(State& state, char byte) {
  if (grammar_ != nullptr) {
    if (state.owes_space) {
      state.grammar = grammar_->advance(state.grammar, ' ');
      if (state.grammar == TextAcceptor::kNone) return false;
    }
    state.grammar = grammar_->advance(state.grammar, byte);
    if (state.grammar == TextAcceptor::kNone) return false;
  }
  state.owes_space = false;
  if (state.between_words) {
    state.between_words = false;
    ++state.num_words;
    state.num_letters = 0;
    if (words_ != nullptr) {
      state.node = words_->lexicon().root();
      if (hotwords_ != nullptr) state.hotword_node = hotwords_->words().root();
    }
  }
  if (starts_character(byte)) ++state.num_letters;
  if (words_ != nullptr) {
    if (state.node != Lexicon::kNone) state.node = words_->lexicon().child(state.node, byte);
    if (hotwords_ != nullptr && state.hotword_node != Lexicon::kNone) {
      state.hotword_node = hotwords_->words().child(state.hotword_node, byte);
    }
    const OpenWord word = open_word(state.node, state.hotword_node, state.num_letters);
    if (!word.possible) return false;
    state.lookahead = word.lookahead;
    state.open_oov = word.oov;
  }
  if (hotwords_ != nullptr) {
    state.hotword = hotwords_->advance(state.hotword, byte);
    state.boost += values_.done[state.hotword];
    state.partial = values_.partial[state.hotword];
  }
  return true;
}

// Finds out how the unfinished word may end, and keeps the answer.
void TextScorer::ask_ending(const State& state) {
  if (state.ending != State::Ending::kUnasked) return;
  WordId id = NgramLm::kUnknown;
  state.ending = State::Ending::kKnown;
  state.ending_lm = 0.0;
  state.ending_oov = 0.0;
  if (words_ != nullptr) {
    const std::int32_t word = state.node == Lexicon::kNone ? Lexicon::kNone : words_->lexicon().word_at(state.node);
    if (word != Lexicon::kNone) {
      id = words_->lm_id(word);
    } else if (state.hotword_node == Lexicon::kNone ||
               hotwords_->words().word_at(state.hotword_node) == Lexicon::kNone) {
      if (!open_) {
        state.ending = State::Ending::kImpossible;
        return;
      }
      state.ending_oov = weights_.oov_cost + weights_.oov_char_cost * state.num_letters;
    }
  }
  if (lm_ == nullptr || !token_ids_.empty()) {
    return;
  }
  state.ending_context = allocate_context();
  references_[static_cast<std::size_t>(state.ending_context)] = 1;
  state.ending_lm = lm_->score(context_states(state.context), id, context_states(state.ending_context));
}

// Ends the word, whose ending is known.
bool TextScorer::add_space(State& state) {
  if (state.ending == State::Ending::kImpossible) return false;
  if (state.ending_context != kNone) state.context = state.ending_context;
  state.lm += state.ending_lm;
  state.oov += state.ending_oov;
  state.lookahead = 0.0;
  state.open_oov = 0.0;
  state.between_words = true;
  state.owes_space = true;
  state.ending = State::Ending::kUnasked;
  state.ending_context = kNone;
  if (hotwords_ != nullptr) {
    state.hotword = hotwords_->advance(state.hotword, ' ');
    state.boost += values_.done[state.hotword];
    state.partial = values_.partial[state.hotword];
  }
  return true;
}

TextParts TextScorer::parts(const State& state) const {
  TextParts parts;
  parts.lm = state.lm + state.lookahead;
  parts.boost = state.boost + state.partial;
  parts.oov = state.oov + state.open_oov;
  parts.num_words = state.num_words;
  parts.weight = state.weight;
  return parts;
}

TextParts TextScorer::finish(const State& state) {
  State end = state;
  bool complete = grammar_ == nullptr || grammar_->is_final(state.grammar);
  if (!state.between_words) {
    ask_ending(state);
    end = state;
    complete = add_space(end) && complete;
  }
  if (hotwords_ != nullptr && end.partial != 0.0) end.partial = 0.0;
  if (lm_ != nullptr) end.lm += lm_->score_end(context_states(end.context));
  weigh(end);
  TextParts result = parts(end);
  result.complete = complete;
  return result;
}

TextScorer::Gains TextScorer::gains(const State& state) const {
  Gains gains{};
  // Within a word the look-ahead only falls. A probability is at most one, so that the end of a word gives back no more
  // than the look-ahead.
  const double start = std::max(0.0, start_gain_);
  const double end = state.between_words ? 0.0 : state.open_oov - weights_.lm_weight * state.lookahead;
  gains.fixed[kStays] = state.between_words ? start_gain_ : 0.0;
  gains.fixed[kStarts] = gains.fixed[kStays];
  if (!state.between_words) {
    gains.fixed[kStarts] = start;
    if (state.ending == State::Ending::kKnown) {
      gains.fixed[kStarts] +=
          weights_.lm_weight * (state.ending_lm - state.lookahead) + state.open_oov - state.ending_oov;
    } else if (state.ending == State::Ending::kImpossible ||
               (closed_ && words_->lexicon().word_at(state.node) == Lexicon::kNone)) {
      gains.fixed[kStarts] = -kInfinity;
    } else {
      gains.fixed[kStarts] += end;
    }
  }
  gains.fixed[kSpans] = end + start;
  gains.for_byte[kSpans] = start;  // there may be a word for each
  if (has_hotwords_) {
    const bool idle = state.hotword == Hotwords::kIdle;
    gains.for_byte[kStays] = idle ? 0.0 : values_.largest_step;
    gains.for_byte[kStarts] = values_.largest_step;
    gains.for_byte[kSpans] += values_.largest_step;
  }
  return gains;
}

}  // namespace edgeasr
