// Lexicons, hotwords and token spellings by themselves, and the search that they guide: against brute force, and what
// must hold for any input.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/ctc_beam.h"
#include "core/errors.h"
#include "core/hotwords.h"
#include "core/lexicon.h"
#include "core/text_scorer.h"
#include "core/token_spellings.h"
#include "tests/test.h"

namespace edgeasr {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string random_word(std::mt19937& random, const std::string& letters, std::size_t longest) {
  std::uniform_int_distribution<std::size_t> length(1, longest);
  std::uniform_int_distribution<std::size_t> letter(0, letters.size() - 1);
  std::string word;
  for (std::size_t left = length(random); left > 0; --left) word += letters[letter(random)];
  return word;
}

std::string random_text(std::mt19937& random, const std::string& letters, std::size_t most_words, std::size_t longest) {
  std::uniform_int_distribution<std::size_t> count(1, most_words);
  std::string text;
  for (std::size_t left = count(random); left > 0; --left) {
    text += (text.empty() ? "" : " ") + random_word(random, letters, longest);
  }
  return text;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    if (end > begin) words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

// How often a phrase stands in a text, as whole words.
int occurrences(const std::string& text, const std::string& phrase) {
  const std::string padded = " " + text + " ";
  const std::string wanted = " " + phrase + " ";
  int count = 0;
  for (std::size_t at = padded.find(wanted); at != std::string::npos; at = padded.find(wanted, at + 1)) ++count;
  return count;
}

// At most three words, and none that starts with "bb".
class FewWords final : public TextAcceptor {
 public:
  State start() const override { return 0; }
  State advance(State state, char byte) const override {
    const State words = state / 4;
    const State place = state % 4;  // before a word, after a first "b", within, or before the first word
    if (byte == ' ') return place != 0 && words < 2 ? (words + 1) * 4 : kNone;
    if (place == 1 && byte == 'b') return kNone;
    return words * 4 + (place == 0 && byte == 'b' ? 1U : 2U);
  }
  bool is_final(State state) const override { return state % 4 != 0; }

  bool accepts(const std::string& text) const {
    State state = start();
    for (const char byte : text) {
      state = advance(state, byte);
      if (state == kNone) return false;
    }
    return is_final(state);
  }
};

std::vector<float> random_rows(std::mt19937& random, std::size_t vocab_size, std::size_t num_frames, double spread) {
  std::normal_distribution<double> normal(0.0, spread);
  std::vector<float> rows;
  for (std::size_t frame = 0; frame < num_frames; ++frame) {
    std::vector<double> scores(vocab_size);
    double sum = 0.0;
    for (double& score : scores) {
      score = normal(random);
      sum += std::exp(score);
    }
    for (const double score : scores) rows.push_back(static_cast<float>(score - std::log(sum)));
  }
  return rows;
}

// All texts with the sum of the probabilities of their alignments, by enumerating these.
std::map<std::string, double> enumerate(const std::vector<float>& rows, const TokenSpellings& spellings) {
  const std::size_t vocab_size = spellings.size();
  const std::size_t num_frames = rows.size() / vocab_size;
  std::map<std::string, double> texts;
  std::vector<std::int32_t> path(num_frames, 0);
  while (true) {
    double log_prob = 0.0;
    std::vector<std::int32_t> ids;
    std::int32_t previous = 0;
    for (std::size_t frame = 0; frame < num_frames; ++frame) {
      log_prob += static_cast<double>(rows[frame * vocab_size + static_cast<std::size_t>(path[frame])]);
      if (path[frame] != 0 && path[frame] != previous) ids.push_back(path[frame]);
      previous = path[frame];
    }
    texts[spellings.text(ids)] += std::exp(log_prob);
    std::size_t frame = 0;
    while (frame < num_frames && ++path[frame] == static_cast<std::int32_t>(vocab_size)) path[frame++] = 0;
    if (frame == num_frames) return texts;
  }
}

CtcBeamConfig without_pruning() {
  CtcBeamConfig config;
  config.beam_size = 10000;
  config.nbest = 10000;
  config.beam_threshold = kInfinity;
  config.token_threshold = kInfinity;
  config.max_tokens_per_frame = 0;
  config.blank_skip_threshold = 1.0;
  config.max_commit_delay_frames = 0;
  return config;
}

TEST(a_lexicon_has_its_words_and_no_others) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    std::set<std::string> words;
    for (int i = 0; i < round * 3; ++i) words.insert(random_word(random, "abc\xC3\xA9'", 6));
    std::vector<std::string> shuffled(words.begin(), words.end());
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    std::vector<Lexicon::Entry> entries;
    for (const std::string& word : shuffled) entries.push_back(Lexicon::Entry{word, word});
    const Lexicon lexicon(entries);
    CHECK_EQ(lexicon.num_words(), words.size());
    CHECK(!lexicon.rewrites());
    std::size_t num_visited = 0;
    lexicon.visit_spellings([&](std::string_view spelling, std::string_view word) {
      ++num_visited;
      CHECK(spelling == word && words.count(std::string(word)) == 1);
    });
    CHECK_EQ(num_visited, words.size());
    for (int i = 0; i < 200; ++i) {
      const std::string word = random_word(random, "abc\xC3\xA9'", 6);
      const std::int32_t found = lexicon.find(word);
      CHECK_EQ(found != Lexicon::kNone, words.count(word) == 1);
      if (found != Lexicon::kNone) CHECK(lexicon.word(found) == word);
    }
  }
}

TEST(of_words_with_one_spelling_the_first_counts) {
  const Lexicon lexicon = Lexicon::parse("Dr\tdoctor\tdr\ndoctor\r\n\nDR\tdr\n", "words.txt");
  CHECK(lexicon.rewrites());
  CHECK_EQ(lexicon.num_hidden(), std::size_t{2});
  CHECK(lexicon.word(lexicon.find("doctor")) == "Dr");
  CHECK(lexicon.word(lexicon.find("dr")) == "Dr");
  CHECK(lexicon.word(lexicon.find("DR")) == "DR");
  CHECK_EQ(lexicon.find("d"), Lexicon::kNone);
  CHECK_EQ(Lexicon::parse("", "empty").num_words(), std::size_t{0});
  CHECK_EQ(Lexicon::parse("", "empty").find("a"), Lexicon::kNone);
}

TEST(a_bad_lexicon_is_refused_with_its_line) {
  CHECK_THROWS_WITH(Lexicon::parse("a\nb c\n", "words.txt"), InputError, "words.txt:2: the word \"b c\" has a space");
  CHECK_THROWS_WITH(Lexicon::parse("\ta", "words.txt"), InputError, "words.txt:1: the word is empty");
  CHECK_THROWS_WITH(Lexicon::parse("a\n\nb\tx y", "words.txt"), InputError, "words.txt:3: the spelling \"x y\"");
  CHECK_THROWS_WITH(Lexicon::parse("a\t\n", "words.txt"), InputError, "words.txt:1: the spelling is empty");
}

TEST(boosts_of_a_text_are_those_of_its_phrases) {
  std::mt19937 random(2);
  std::uniform_real_distribution<double> any(-2.0, 4.0);
  for (int round = 0; round < 60; ++round) {
    std::map<std::string, double> boosts;
    std::vector<Hotwords::Phrase> phrases;
    for (int i = 0; i < 1 + round; ++i) {
      const std::string text = random_text(random, round % 2 == 0 ? "ab" : "a", 3, 3);
      const double boost = i % 4 == 0 ? Hotwords::kDefaultBoost : any(random);
      boosts[text] = std::isnan(boost) ? 1.5 : boost;
      phrases.push_back(Hotwords::Phrase{text, boost});
    }
    const Hotwords hotwords(phrases);
    CHECK_EQ(hotwords.num_phrases(), boosts.size());
    const Hotwords::Values values = hotwords.values(1.5);
    for (int i = 0; i < 40; ++i) {
      const std::string text = random_text(random, "ab", 8, 4);
      double expected = 0.0;
      for (const auto& [phrase, boost] : boosts) expected += boost * occurrences(text, phrase);
      Hotwords::State state = hotwords.start();
      double sum = 0.0;
      double partial = 0.0;
      for (const char byte : text + " ") {
        state = hotwords.advance(state, byte);
        sum += values.done[state];
        CHECK(values.done[state] + values.partial[state] - partial <= values.largest_step + 1e-12);
        partial = values.partial[state];
        CHECK(partial >= 0.0);
      }
      CHECK_NEAR(sum, expected, 1e-9);
      CHECK(values.partial[hotwords.start()] == 0.0);
    }
  }
}

TEST(a_phrase_earns_its_boost_as_it_is_said) {
  const Hotwords hotwords({{"ab c", 5.0}});
  const Hotwords::Values values = hotwords.values(0.0);
  Hotwords::State state = hotwords.start();
  double last = 0.0;
  for (const char byte : std::string("ab c")) {
    state = hotwords.advance(state, byte);
    CHECK_NEAR(values.partial[state], last + 1.0, 1e-12);
    last = values.partial[state];
  }
  CHECK_EQ(values.done[hotwords.advance(state, ' ')], 5.0);
  CHECK_EQ(values.partial[hotwords.advance(state, 'c')], 0.0);
}

TEST(bad_hotwords_are_refused) {
  for (const char* text : {"", " ", " a", "a ", "a  b", "a\tb", "a\nb"}) {
    CHECK_THROWS(Hotwords({{text, 1.0}}), ConfigError);
  }
  CHECK_THROWS_WITH(Hotwords({{"a", kInfinity}}), ConfigError, "infinite boost");
}

TEST(tokens_spell_what_some_sequence_of_them_spells) {
  std::mt19937 random(3);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> tokens{"<blank>"};
    std::uniform_int_distribution<int> kind(0, 3);
    for (int i = 0; i < 4; ++i) {
      const int way = kind(random);
      tokens.push_back((way == 1 || way == 3 ? " " : "") + random_word(random, "ab", 2) +
                       (way == 2 || way == 3 ? " " : ""));
    }
    const TokenSpellings spellings(tokens, 0);
    // All words of up to four tokens.
    std::set<std::string> spelled;
    for (int a = 1; a < 5; ++a) {
      for (int b = 0; b < 5; ++b) {
        for (int c = 0; c < 5; ++c) {
          const std::string joined = tokens[static_cast<std::size_t>(a)] +
                                     (b == 0 ? "" : tokens[static_cast<std::size_t>(b)]) +
                                     (c == 0 ? "" : tokens[static_cast<std::size_t>(c)]);
          const std::vector<std::string> words = split(joined);
          if (words.size() == 1) spelled.insert(words[0]);
        }
      }
    }
    for (int i = 0; i < 30; ++i) {
      const std::string word = random_word(random, "ab", 3);
      CHECK_EQ(spellings.can_spell(word), spelled.count(word) == 1);
    }
  }
}

TEST(guided_by_everything_the_search_equals_enumeration) {
  std::mt19937 random(4);
  const std::vector<TokenNames> vocabularies = {
      {{"<blank>", "|", "a", "b"}, "|"},
      {{"<blank>", "_a", "a", "ab", "b"}, "_"},
      {{"<blank>", "a_", "a", "b", "b_a"}, "_"},
  };
  const auto grammar = std::make_shared<const FewWords>();
  for (int round = 0; round < 90; ++round) {
    const TokenNames& tokens = vocabularies[static_cast<std::size_t>(round) % 3];
    const TokenSpellings spellings = spell_tokens(tokens, 0);
    const std::vector<float> rows = random_rows(random, tokens.names.size(), static_cast<std::size_t>(round) % 5, 2.0);
    const auto context = std::make_shared<DecodingContext>();
    std::map<std::string, double> boosts;
    std::set<std::string> words;
    if (round % 2 == 0) {
      std::vector<Hotwords::Phrase> phrases;
      for (int i = 0; i < 4; ++i) {
        const std::string text = random_text(random, "ab", 2, 2);
        boosts[text] = 0.5 * (i + 1);
        phrases.push_back(Hotwords::Phrase{text, boosts[text]});
      }
      context->hotwords = std::make_shared<const Hotwords>(phrases);
    }
    if (round % 4 < 2) {
      std::vector<Lexicon::Entry> entries;
      for (int i = 0; i < 3; ++i) words.insert(random_word(random, "ab", 3));
      for (const std::string& word : words) entries.push_back(Lexicon::Entry{word, word});
      context->words = std::make_shared<const KnownWords>(std::make_shared<const Lexicon>(entries), nullptr);
      for (const auto& [phrase, boost] : boosts) {
        for (const std::string& word : split(phrase)) words.insert(word);
      }
    }
    if (round % 8 >= 4) context->grammar = grammar;
    CtcBeamConfig config = without_pruning();
    config.word_bonus = -0.5 + round % 3;
    config.oov_cost = round % 5 == 0 ? 1.5 : kInfinity;
    config.oov_char_cost = 0.25;
    std::map<std::string, double> expected;
    for (const auto& [text, prob] : enumerate(rows, spellings)) {
      double score = std::log(prob);
      bool possible = context->grammar == nullptr || grammar->accepts(text);
      for (const std::string& word : split(text)) {
        score += config.word_bonus;
        if (context->words == nullptr || words.count(word) == 1) continue;
        possible = possible && std::isfinite(config.oov_cost);
        score -= config.oov_cost + config.oov_char_cost * static_cast<double>(word.size());
      }
      for (const auto& [phrase, boost] : boosts) score += boost * occurrences(text, phrase);
      if (context->empty()) score = std::log(prob);
      if (possible) expected[text] = score;
    }
    CtcBeamDecoder decoder(config, tokens, context);
    decoder.accept(rows.data(), rows.size() / tokens.names.size());
    const std::vector<Hypothesis> found = decoder.finish();
    REQUIRE(!found.empty());
    if (expected.empty()) {
      CHECK(!found[0].complete);
      continue;
    }
    CHECK_EQ(found.size(), expected.size());
    for (const Hypothesis& hypothesis : found) {
      const auto at = expected.find(hypothesis.text);
      REQUIRE(at != expected.end());
      CHECK_NEAR(hypothesis.score, at->second, 1e-6);
      CHECK(hypothesis.complete);
      CHECK(spellings.text(hypothesis.token_ids) == hypothesis.text);
    }
  }
}

TEST(memory_is_bounded_whatever_guides_the_search) {
  std::mt19937 random(5);
  const TokenNames tokens{{"<blank>", "_", "a", "b", "ab", "_b"}, "_"};
  const std::vector<float> rows = random_rows(random, 6, 2000, 2.0);
  const auto context = std::make_shared<DecodingContext>();
  context->words = std::make_shared<const KnownWords>(
      std::make_shared<const Lexicon>(std::vector<Lexicon::Entry>{{"ab", "ab"}, {"ba", "ba"}}), nullptr);
  context->hotwords = std::make_shared<const Hotwords>(std::vector<Hotwords::Phrase>{{"ba ab", 2.0}, {"bbb", 3.0}});
  for (const double oov_cost : {kInfinity, 2.0}) {
    CtcBeamConfig config;
    config.oov_cost = oov_cost;
    CtcBeamDecoder decoder(config, tokens, context);
    std::size_t most = 0;
    std::size_t most_early = 0;
    for (int round = 0; round < 50; ++round) {
      for (std::size_t frame = 0; frame < 2000; frame += 50) {
        decoder.accept(rows.data() + frame * 6, 50);
        static_cast<void>(decoder.take_committed());
        most = std::max(most, decoder.num_nodes());
      }
      if (round == 9) most_early = most;
    }
    CHECK(most < 6000);
    CHECK(most <= 2 * most_early);
    CHECK(decoder.largest_commit_delay() <= 4 * config.max_commit_delay_frames + 64);
    CHECK(std::isfinite(decoder.finish()[0].score));
  }
}

TEST(a_word_that_never_ends_is_committed_all_the_same) {
  const TokenNames tokens{{"<blank>", "ab", "b"}, "_"};
  std::vector<float> rows;
  for (int i = 0; i < 4000; ++i) {
    const bool blank = i % 2 == 0;
    for (const double prob : {blank ? 0.98 : 0.01, blank ? 0.01 : 0.55, blank ? 0.01 : 0.44}) {
      rows.push_back(static_cast<float>(std::log(prob)));
    }
  }
  CtcBeamDecoder decoder(CtcBeamConfig{}, tokens);
  std::string text;
  std::size_t most = 0;
  for (std::size_t frame = 0; frame < 4000; frame += 10) {
    decoder.accept(rows.data() + frame * 3, 10);
    text += decoder.take_committed().text;
    most = std::max(most, decoder.num_nodes());
    if (frame > 400) CHECK(text.size() * 2 + 700 > frame);
  }
  CHECK(most < 4000);
  text += decoder.finish()[0].text;
  CHECK(text.size() > 3500);
  CHECK(text.find(' ') == std::string::npos);
}

TEST(a_full_beam_never_loses_all_of_its_texts) {
  // With these a sum of parts is rounded to more than the whole.
  const float rows[] = {3, 6, 0, 11, 9, 10, 4, 0, 10, 7, 1, 2, 7, 11, 3, 4, 6, 0, 4, 9};
  CtcBeamConfig config;
  config.beam_size = 1;
  CtcBeamDecoder decoder(config, TokenNames{{"<blank>", "_", "a", "b"}, "_"}, nullptr, CtcInput::kLogits);
  decoder.accept(rows, 5);
  const std::vector<Hypothesis> results = decoder.finish();
  CHECK_EQ(results.size(), std::size_t{1});
}

TEST(results_are_distinct_though_a_word_is_committed_before_its_end) {
  const auto context = std::make_shared<DecodingContext>();
  context->words = std::make_shared<const KnownWords>(
      std::make_shared<const Lexicon>(std::vector<Lexicon::Entry>{{"ab", "ab"}, {"ab", "abb"}}), nullptr);
  CtcBeamConfig config;
  config.beam_size = 6;
  config.nbest = 4;
  config.max_commit_delay_frames = 1;
  config.oov_cost = kInfinity;
  for (const bool take : {false, true}) {
    CtcBeamDecoder decoder(config, TokenNames{{"<blank>", " ", "a", "b"}, " "}, context);
    const auto accept = [&decoder](float blank, float a, float b) {
      const float row[] = {std::log(blank), std::log(0.01F), std::log(a), std::log(b)};
      decoder.accept(row, 1);
    };
    accept(0.01F, 0.97F, 0.01F);
    for (int frame = 0; frame < 20; ++frame) accept(0.97F, 0.01F, 0.01F);
    CHECK_EQ(decoder.num_committed(), std::size_t{1});
    if (take) decoder.take_committed();
    accept(0.01F, 0.01F, 0.97F);
    accept(0.97F, 0.01F, 0.01F);
    accept(0.5F, 0.01F, 0.48F);
    const std::vector<Hypothesis> results = decoder.finish();
    // "ab" in both spellings, and "ab ab".
    CHECK_EQ(results.size(), std::size_t{2});
    CHECK_NEAR(results[0].score, std::log(0.5), 0.2);
    if (!take) CHECK_EQ(results[0].text, "ab");
  }
}

TEST(another_context_starts_another_stream) {
  std::mt19937 random(6);
  const TokenNames tokens{{"<blank>", "_", "a", "b"}, "_"};
  const std::vector<float> rows = random_rows(random, 4, 40, 2.0);
  const auto context = std::make_shared<DecodingContext>();
  context->hotwords = std::make_shared<const Hotwords>(std::vector<Hotwords::Phrase>{{"bab", 9.0}});
  CtcBeamDecoder decoder(CtcBeamConfig{}, tokens);
  decoder.accept(rows.data(), 40);
  const Hypothesis plain = decoder.finish()[0];
  decoder.reset(context);
  decoder.accept(rows.data(), 40);
  CHECK(decoder.finish()[0].parts.boost > 0.0);
  decoder.reset(nullptr);
  decoder.accept(rows.data(), 40);
  const Hypothesis again = decoder.finish()[0];
  CHECK(again.text == plain.text && again.score == plain.score);
  CtcBeamDecoder nameless(CtcBeamConfig{}, 4);
  CHECK_THROWS_WITH(nameless.reset(context), ConfigError, "needs their names");
}

}  // namespace
}  // namespace edgeasr

TEST_MAIN()
