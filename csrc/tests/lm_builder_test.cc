// Estimation of language models: probabilities sum to one whatever was left out or mixed, and memory, threads and the
// cut of the text change nothing.
#include "core/lm_builder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "core/errors.h"
#include "core/lm_mix.h"
#include "core/lm_prune.h"
#include "core/ngram_lm.h"
#include "tests/test.h"

namespace edgeasr {
namespace {

using Image = std::vector<std::uint64_t>;

// Sentences whose words depend on those before them, some words much more frequent than others.
std::string random_text(std::mt19937& random, std::size_t num_sentences, std::uint32_t num_words) {
  std::geometric_distribution<std::uint32_t> pick(0.15);
  std::string text;
  for (std::size_t sentence = 0; sentence < num_sentences; ++sentence) {
    const std::size_t length = 1 + random() % 12;
    std::uint32_t word = 0;
    for (std::size_t place = 0; place < length; ++place) {
      word = (random() % 3 == 0 ? pick(random) : word * 7 + pick(random)) % num_words;
      text += (place > 0 ? " w" : "w") + std::to_string(word);
    }
    text += "\n";
  }
  return text;
}

LmBuildConfig config_of(std::int32_t order, std::vector<std::uint64_t> prune = {}) {
  LmBuildConfig config;
  config.order = order;
  config.prune = std::move(prune);
  return config;
}

NgramTable build(const std::string& text, const LmBuildConfig& config) {
  LmBuilder builder(config);
  builder.accept(text.data(), text.size());
  return builder.finish();
}

std::shared_ptr<const NgramLm> load(const NgramTable& table) {
  return NgramLm::from_image(write_image(table, {}), "test");
}

// After contexts of all kinds the probabilities of all words but <s> sum to one.
void check_sums(const NgramLm& model, std::mt19937& random) {
  for (int tries = 0; tries < 60; ++tries) {
    NgramLm::State state = tries % 2 == 0 ? model.begin_state() : model.empty_state();
    for (std::size_t place = 0; place < static_cast<std::size_t>(tries) % 7; ++place) {
      model.score(state, static_cast<WordId>(random() % model.vocab_size()), &state);
    }
    double sum = 0.0;
    for (WordId word = 0; word < model.vocab_size(); ++word) {
      if (word != model.begin_word()) sum += std::exp(model.score(state, word, nullptr));
    }
    CHECK_NEAR(sum, 1.0, 2e-5);
  }
}

// Of all words and ends of sentences of a text.
double log_prob(const NgramLm& model, const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  double total = 0.0;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string word;
    NgramLm::State state = model.begin_state();
    while (words >> word) total += model.score(state, model.find(word), &state);
    total += model.score_end(state);
  }
  return total;
}

bool same(const NgramTable& a, const NgramTable& b) { return write_image(a, {}) == write_image(b, {}); }

}  // namespace

TEST(probabilities_sum_to_one) {
  std::mt19937 random(1);
  const std::string text = random_text(random, 400, 50);
  for (std::int32_t order = 1; order <= 6; ++order) {
    const NgramTable table = build(text, config_of(order));
    CHECK_EQ(table.order(), order);
    check_sums(*load(table), random);
  }
}

TEST(probabilities_sum_to_one_with_ngrams_left_out) {
  std::mt19937 random(2);
  const std::string text = random_text(random, 600, 50);
  check_sums(*load(build(text, config_of(3, {0, 0, 1}))), random);
  check_sums(*load(build(text, config_of(4, {0, 1}))), random);
  check_sums(*load(build(text, config_of(5, {0, 1, 2, 2, 3}))), random);
  LmBuildConfig few = config_of(3);
  few.vocab_size = 20;
  const auto model = load(build(text, few));
  CHECK_EQ(model->vocab_size(), 23U);
  check_sums(*model, random);
}

TEST(probabilities_sum_to_one_after_pruning_by_entropy) {
  std::mt19937 random(3);
  const std::string text = random_text(random, 600, 50);
  for (const double threshold : {0.0, 1e-6, 1e-4, 1e-2, 1.0}) {
    NgramTable table = build(text, config_of(4));
    const std::size_t before = table.levels[1].size() + table.levels[2].size() + table.levels[3].size();
    prune_by_entropy(table, threshold);
    std::size_t after = 0;
    for (std::size_t level = 1; level < table.levels.size(); ++level) after += table.levels[level].size();
    CHECK(after <= before);
    CHECK(threshold < 1e-4 || after < before);
    check_sums(*load(table), random);
  }
  NgramTable table = build(text, config_of(4));
  CHECK_THROWS_WITH(prune_by_entropy(table, -1.0), ConfigError, "threshold");
}

TEST(pruning_to_a_size_comes_close_to_it_and_keeps_what_matters) {
  std::mt19937 random(4);
  const std::string text = random_text(random, 2000, 60);
  const NgramTable whole = build(text, config_of(3));
  const NgramImageOptions options{8, 8};
  const std::uint64_t size = image_size(whole, options);
  double previous = 0.0;
  for (const double share : {1.0, 0.7, 0.4}) {
    NgramTable table = whole;
    const auto most = static_cast<std::uint64_t>(share * static_cast<double>(size));
    prune_to_size(table, most, options);
    const Image image = write_image(table, options);
    CHECK(image.size() * 8 <= most);
    CHECK(static_cast<double>(image.size()) * 8.0 > 0.95 * static_cast<double>(most));
    CHECK_EQ(same(table, whole), share == 1.0);
    const auto model = load(table);
    check_sums(*model, random);
    // The smaller the model, the less it knows of its text, but always more than the words alone.
    const double loss = -log_prob(*model, text);
    CHECK(loss > previous);
    previous = loss;
  }
  CHECK(previous < -log_prob(*load(build(text, config_of(1))), text));
  NgramTable table = whole;
  CHECK_THROWS_WITH(prune_to_size(table, 1000, options), InputError, "words alone");
}

TEST(probabilities_of_mixtures_sum_to_one_and_are_between_those_of_the_parts) {
  std::mt19937 random(5);
  const auto first = load(build(random_text(random, 300, 40), config_of(3)));
  const auto second = load(build(random_text(random, 300, 60), config_of(2)));
  const auto mixed = load(mix_models({first, second}, {3.0, 1.0}, 2));
  CHECK_EQ(mixed->order(), 3);
  check_sums(*mixed, random);
  // An n-gram of the mixture has exactly the mixed probability.
  const NgramTable table = read_image(mixed->image(), mixed->name());
  for (std::size_t place = 0; place < table.levels[1].size(); ++place) {
    std::array<WordId, 2> reversed{};
    table.ngram(1, place, reversed.data());
    double prob = 0.0;
    for (const auto& [model, weight] : {std::pair(first, 0.75), std::pair(second, 0.25)}) {
      NgramLm::State state;
      const WordId word = model->find(mixed->word(reversed[0]));
      model->score(model->empty_state(), model->find(mixed->word(reversed[1])), &state);
      if (word != 0) prob += weight * std::exp(model->score(state, word, nullptr));
    }
    CHECK_NEAR(std::exp(table.levels[1].scores[place]), prob, 1e-6);
  }
}

TEST(a_mixture_of_a_model_with_itself_is_that_model) {
  std::mt19937 random(6);
  const auto model = load(build(random_text(random, 300, 40), config_of(3)));
  const auto mixed = load(mix_models({model, model}, {0.5, 0.5}, 1));
  for (WordId first = 0; first < model->vocab_size(); ++first) {
    NgramLm::State state;
    NgramLm::State mixed_state;
    model->score(model->begin_state(), first, &state);
    mixed->score(mixed->begin_state(), first, &mixed_state);
    for (WordId word = 0; word < model->vocab_size(); ++word) {
      CHECK_NEAR(model->score(state, word, nullptr), mixed->score(mixed_state, word, nullptr), 1e-3);
    }
  }
}

TEST(weights_are_those_that_the_text_was_made_with) {
  std::mt19937 random(8);
  std::vector<double> probs;
  std::bernoulli_distribution is_first(0.8);
  for (int word = 0; word < 20000; ++word) {
    const bool first = is_first(random);
    probs.push_back(first ? 0.3 : 0.01);
    probs.push_back(first ? 0.01 : 0.3);
  }
  double perplexity = 0.0;
  const std::vector<double> weights = fit_weights(probs.data(), 20000, 2, nullptr, &perplexity);
  // Where the derivative of 0.8 log(0.01 + 0.29 w) + 0.2 log(0.3 - 0.29 w) is 0.
  CHECK_NEAR(weights[0], 0.8207, 0.015);
  CHECK_NEAR(weights[0] + weights[1], 1.0, 1e-9);
  CHECK(perplexity > 1.0 / 0.3 && perplexity < 10.0);
  const std::vector<double> nothing(4, 0.0);
  CHECK_THROWS_WITH(fit_weights(nothing.data(), 2, 2, nullptr, nullptr), InputError, "no word");
}

TEST(little_memory_threads_and_the_cut_of_the_text_change_nothing) {
  std::mt19937 random(9);
  const std::string text = random_text(random, 30000, 3000);
  for (const std::int32_t order : {2, 3, 6}) {
    const LmBuildConfig config = config_of(order, {0, 0, 1});
    const NgramTable plain = build(text, config_of(order, {0, 0}));
    LmBuildConfig small = config_of(order, {0, 0});
    small.memory_bytes = 1000000;
    CHECK(same(build(text, small), plain));
    LmBuildConfig threads = config_of(order, {0, 0});
    threads.threads = 3;
    CHECK(same(build(text, threads), plain));
    LmBuilder builder(config_of(order, {0, 0}));
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t size = std::min<std::size_t>(text.size() - at, 1 + random() % 5000);
      builder.accept(text.data() + at, size);
      at += size;
    }
    CHECK(same(builder.finish(), plain));
  }
}

TEST(a_vocabulary_is_kept_whether_the_text_has_it_or_not) {
  LmBuilder builder(config_of(2), std::vector<std::string>{"a", "never", "a"});
  const std::string text = "a b a\n\n  a c\r\n";
  builder.accept(text.data(), text.size());
  const auto model = load(builder.finish());
  CHECK_EQ(model->vocab_size(), 5U);
  CHECK(model->find("never") != NgramLm::kUnknown);
  CHECK_EQ(model->find("b"), NgramLm::kUnknown);
  CHECK_EQ(builder.report().num_words, 5U);
  CHECK_EQ(builder.report().num_sentences, 2U);
  CHECK_EQ(builder.report().num_unknown, 2U);
  CHECK(model->unigram(NgramLm::kUnknown) > model->unigram(model->find("never")));
  std::mt19937 random(10);
  check_sums(*model, random);
}

TEST(a_model_over_tokens_cuts_words_into_the_longest_ones) {
  LmBuilder builder(config_of(3), {"|", "a", "b", "ab", "\xC3\xA9"}, "|");
  const std::string text = "ab a\nb\xC3\xA9 ab\xE2\x82\xAC\n";
  builder.accept(text.data(), text.size());
  const NgramTable table = builder.finish();
  // ab | a / b \u00e9 | ab and the euro sign, which no token has.
  CHECK_EQ(builder.report().num_words, 8U);
  CHECK_EQ(builder.report().num_unknown, 1U);
  const auto model = load(table);
  CHECK_EQ(model->vocab_size(), 8U);
  NgramLm::State state = model->begin_state();
  const double likely = model->score(state, model->find("ab"), &state) + model->score(state, model->find("|"), nullptr);
  state = model->begin_state();
  const double unlikely =
      model->score(state, model->find("|"), &state) + model->score(state, model->find("b"), nullptr);
  CHECK(likely > unlikely);
}

TEST(what_cannot_be_estimated_is_refused) {
  LmBuilder empty(config_of(3));
  CHECK_THROWS_WITH(empty.finish(), InputError, "no text");
  LmBuilder bounds(config_of(3));
  bounds.next_file("corpus.txt");
  const std::string text = "a b\nc </s> d\n";
  CHECK_THROWS_WITH(bounds.accept(text.data(), text.size()), InputError, "corpus.txt:2");
  LmBuilder latin(config_of(3));
  const std::string bytes = "a b\ncaf\xE9 d\n";
  CHECK_THROWS_WITH(latin.accept(bytes.data(), bytes.size()), InputError, "UTF-8");
  LmBuilder twice(config_of(1));
  twice.accept("a\n", 2);
  twice.finish();
  CHECK_THROWS(twice.finish(), StreamStateError);
  CHECK_THROWS(twice.accept("a\n", 2), StreamStateError);
  CHECK_THROWS_WITH(validate(config_of(0)), ConfigError, "order is 0");
  CHECK_THROWS_WITH(validate(config_of(7)), ConfigError, "order is 7");
  CHECK_THROWS_WITH(validate(config_of(2, {0, 1, 1})), ConfigError, "prune");
  CHECK_THROWS_WITH(validate(config_of(2, {1, 1})), ConfigError, "prune begins with 1");
  CHECK_THROWS_WITH(validate(config_of(3, {0, 2, 1})), ConfigError, "smaller");
  LmBuildConfig config;
  config.temp_folder = "/nowhere";
  config.memory_bytes = 1000000;
  LmBuilder spilling(config);
  std::mt19937 random(11);
  const std::string much = random_text(random, 60000, 300);
  CHECK_THROWS_WITH(spilling.accept(much.data(), much.size()), InputError, "/nowhere");
}

TEST(a_little_text_is_enough) {
  const std::string text = "turn on the light\n";
  LmBuilder builder(config_of(3));
  builder.accept(text.data(), text.size());
  const auto model = load(builder.finish());
  CHECK(builder.report().usual_discounts[0]);
  NgramLm::State state = model->begin_state();
  CHECK(model->score(state, model->find("turn"), nullptr) > model->score(state, model->find("light"), nullptr));
  std::mt19937 random(12);
  check_sums(*model, random);
}

}  // namespace edgeasr

TEST_MAIN()
