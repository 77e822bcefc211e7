// Language models against a plain table of n-grams, the binary format against damage of every kind, and the reader of
// ARPA files against what is wrong in them.
#include "core/ngram_lm.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/arpa.h"
#include "core/errors.h"
#include "core/lm_mix.h"
#include "core/lm_mixture.h"
#include "core/lm_prune.h"
#include "core/ngram_table.h"
#include "tests/test.h"

namespace edgeasr {
namespace {

constexpr double kLog10 = 2.302585092994045684;
constexpr std::size_t kHeaderSize = 568;

using Words = std::vector<std::string>;

// An ARPA model as the format defines it, asked by looking for n-grams in a map.
struct PlainModel {
  struct Entry {
    double score;
    double backoff;
  };
  std::size_t order = 0;
  std::map<Words, Entry> ngrams;

  // log10 p(last word | those before).
  double score(Words ngram) const {
    double backoff = 0.0;
    if (ngrams.count({ngram.back()}) == 0) ngram.back() = "<unk>";
    for (std::string& word : ngram) {
      if (ngrams.count({word}) == 0) word = "<unk>";
    }
    while (ngram.size() > order) ngram.erase(ngram.begin());
    while (ngrams.count(ngram) == 0) {
      const auto context = ngrams.find(Words(ngram.begin(), ngram.end() - 1));
      if (context != ngrams.end()) backoff += context->second.backoff;
      ngram.erase(ngram.begin());
    }
    return backoff + ngrams.at(ngram).score;
  }

  std::string arpa() const {
    std::string text = "\\data\\\n";
    for (std::size_t length = 1; length <= order; ++length) {
      const auto count =
          std::count_if(ngrams.begin(), ngrams.end(), [&](const auto& entry) { return entry.first.size() == length; });
      text += "ngram " + std::to_string(length) + "=" + std::to_string(count) + "\n";
    }
    for (std::size_t length = 1; length <= order; ++length) {
      text += "\n\\" + std::to_string(length) + "-grams:\n";
      for (const auto& [words, entry] : ngrams) {
        if (words.size() != length) continue;
        text += test::show(entry.score) + "\t";
        for (std::size_t place = 0; place < length; ++place) text += (place > 0 ? " " : "") + words[place];
        if (entry.backoff != 0.0) text += "\t" + test::show(entry.backoff);
        text += "\n";
      }
    }
    return text + "\n\\end\\\n";
  }
};

// N-grams at random. Complete ones hold the beginnings and ends of all their n-grams, as estimated models do; others
// may lack any of them, as pruned ones do.
PlainModel random_model(std::mt19937& random, std::size_t order, std::size_t num_words, std::size_t num_ngrams,
                        bool complete) {
  PlainModel model;
  model.order = order;
  Words words = {"<unk>", "<s>", "</s>"};
  for (std::size_t word = 0; word < num_words; ++word) words.push_back("w" + std::to_string(word * word));
  std::uniform_real_distribution<double> score(-6.0, -0.01);
  std::uniform_real_distribution<double> backoff(-1.0, 0.2);
  std::bernoulli_distribution has_backoff(0.7);
  const auto add = [&](const Words& ngram) {
    const double weight = ngram.size() < order && has_backoff(random) ? backoff(random) : 0.0;
    model.ngrams.insert({ngram, {score(random), weight}});
  };
  for (const std::string& word : words) add({word});
  std::uniform_int_distribution<std::size_t> any(0, words.size() - 1);
  for (std::size_t number = 0; number < num_ngrams && order > 1; ++number) {
    Words ngram;
    const std::size_t length = 2 + random() % (order - 1);
    for (std::size_t place = 0; place < length; ++place) ngram.push_back(words[any(random)]);
    add(ngram);
    if (!complete) continue;
    for (std::size_t begin = 0; begin < length; ++begin) {
      for (std::size_t end = begin + 1; end <= length; ++end) {
        add(Words(ngram.begin() + static_cast<std::ptrdiff_t>(begin),
                  ngram.begin() + static_cast<std::ptrdiff_t>(end)));
      }
    }
  }
  // Every order has at least one.
  Words longest(order, words.back());
  for (std::size_t length = 1; length <= order; ++length) {
    add(Words(longest.begin(), longest.begin() + static_cast<std::ptrdiff_t>(length)));
  }
  return model;
}

NgramTable read_arpa(const std::string& text, const std::string& name = "test.arpa") {
  ArpaReader reader(name);
  reader.accept(text.data(), text.size());
  return reader.finish();
}

std::shared_ptr<const NgramLm> load(const std::string& arpa, const NgramImageOptions& options = {}) {
  return NgramLm::from_image(write_image(read_arpa(arpa), options), "test");
}

const char* const kSmall =
    "\\data\\\n"
    "ngram 1=5\n"
    "ngram 2=3\n"
    "ngram 3=1\n"
    "\n\\1-grams:\n"
    "-1.0\t<unk>\n"
    "-99\t<s>\t-0.5\n"
    "-0.9\t</s>\n"
    "-0.7\ta\t-0.3\n"
    "-0.8\tb\t-0.2\n"
    "\n\\2-grams:\n"
    "-0.4\t<s> a\t-0.1\n"
    "-0.5\ta b\n"
    "-0.6\tb </s>\n"
    "\n\\3-grams:\n"
    "-0.05\t<s> a b\n"
    "\n\\end\\\n";

std::string replace(std::string text, const std::string& what, const std::string& with) {
  const std::size_t place = text.find(what);
  return text.replace(place, what.size(), with);
}

std::vector<std::uint64_t> small_image(const NgramImageOptions& options = {}) {
  return write_image(read_arpa(kSmall), options);
}

// Makes both checksums right: that of the body, then that of the header, which holds the first.
void put_checksums(std::vector<std::uint64_t>& image) {
  auto* data = reinterpret_cast<std::uint8_t*>(image.data());
  const auto put = [data](std::size_t at, std::uint64_t value) { std::memcpy(data + at, &value, sizeof(value)); };
  put(kHeaderSize - 16, image_checksum(data + kHeaderSize, image.size() * 8 - kHeaderSize));
  put(kHeaderSize - 8, image_checksum(data, kHeaderSize - 8));
}

// Asks a model whatever can be asked; what it says is of no matter.
void ask_everything(const NgramLm& model) {
  NgramLm::State state = model.begin_state();
  for (int step = 0; step < 40; ++step) {
    for (WordId word = 0; word < std::min<std::size_t>(model.vocab_size() + 1, 20); ++word) {
      NgramLm::State next;
      model.score(state, word, &next);
      model.unigram(word);
      if (word == static_cast<WordId>(step) % 7) state = next;
    }
    model.score_end(state);
  }
  for (WordId word = 0; word < std::min<std::size_t>(model.vocab_size(), 1000); ++word) model.word(word);
  for (const char* word : {"a", "b", "zz", "", "<s>"}) model.find(word);
}

}  // namespace

TEST(sorted_sets_find_what_they_hold_and_nothing_else) {
  std::mt19937 random(1);
  for (const std::uint64_t universe : {1ULL, 7ULL, 1000ULL, 100000ULL, 1ULL << 40U}) {
    for (const std::size_t wanted : {0U, 1U, 5U, 500U, 3000U}) {
      std::set<std::uint64_t> numbers;
      // Some of them in clusters, which fill single buckets.
      for (std::size_t tries = 0; tries < wanted; ++tries) {
        const std::uint64_t number = (std::uint64_t{random()} << 32U | random()) % universe;
        numbers.insert(tries % 2 == 0 ? number : number % (universe / 16 + 1));
      }
      const std::vector<std::uint64_t> sorted(numbers.begin(), numbers.end());
      const SortedSet::Shape shape(sorted.size(), universe);
      std::vector<std::uint64_t> high(shape.high_bytes() / 8);
      std::vector<std::uint64_t> samples(shape.sample_bytes() / 8);
      std::vector<std::uint64_t> low(shape.low_bytes() / 8);
      const auto bytes = [](std::vector<std::uint64_t>& words) {
        return reinterpret_cast<std::uint8_t*>(words.data());
      };
      SortedSet::write(shape, bytes(high), bytes(samples), bytes(low), [&](std::uint64_t at) { return sorted[at]; });
      const SortedSet set(shape, bytes(high), bytes(samples), bytes(low));
      for (std::size_t place = 0; place < sorted.size(); ++place) CHECK_EQ(set.find(sorted[place]), place);
      for (int tries = 0; tries < 300; ++tries) {
        const std::uint64_t number = (std::uint64_t{random()} << 32U | random()) % universe;
        CHECK_EQ(set.find(number) != SortedSet::kNotFound, numbers.count(number) == 1);
      }
      std::vector<std::uint64_t> visited;
      set.for_each([&](std::uint64_t /*place*/, std::uint64_t number) { visited.push_back(number); });
      CHECK(visited == sorted);
    }
  }
}

TEST(scores_of_a_small_model) {
  const auto model = load(kSmall);
  CHECK_EQ(model->order(), 3);
  CHECK_EQ(model->vocab_size(), 5U);
  CHECK_EQ(model->num_ngrams(2), 3U);
  const WordId a = model->find("a");
  const WordId b = model->find("b");
  CHECK(a != NgramLm::kUnknown && b != NgramLm::kUnknown);
  CHECK_EQ(model->find("c"), NgramLm::kUnknown);
  CHECK_EQ(model->word(a), "a");
  CHECK_EQ(model->word(0), "<unk>");
  NgramLm::State state = model->begin_state();
  CHECK_NEAR(model->score(state, a, &state), -0.4 * kLog10, 1e-6);
  CHECK_NEAR(model->score(state, b, &state), -0.05 * kLog10, 1e-6);
  CHECK_NEAR(model->score_end(state), -0.6 * kLog10, 1e-6);
  // Two backoff weights: of "a b", which is 0, and of "b".
  CHECK_NEAR(model->score(state, a, nullptr), (-0.2 - 0.7) * kLog10, 1e-6);
  CHECK_NEAR(model->unigram(b), -0.8 * kLog10, 1e-6);
  CHECK_NEAR(model->score(model->empty_state(), 77, nullptr), -1.0 * kLog10, 1e-6);
  CHECK_THROWS_WITH(model->word(5), InputError, "5");
}

TEST(states_hold_only_what_can_matter) {
  const auto model = load(kSmall);
  NgramLm::State state = model->begin_state();
  CHECK_EQ(static_cast<int>(state.length), 1);
  model->score(state, model->find("a"), &state);
  CHECK_EQ(static_cast<int>(state.length), 2);
  model->score(state, model->find("b"), &state);
  // "a b" is no context of anything, so only "b" stays.
  CHECK_EQ(static_cast<int>(state.length), 1);
  NgramLm::State other;
  model->score(model->empty_state(), model->find("b"), &other);
  CHECK(state == other);
  CHECK_EQ(state.hash(), other.hash());
  model->score(state, NgramLm::kUnknown, &state);
  CHECK(state == model->empty_state());
}

TEST(a_model_without_unknown_word_gets_one) {
  const auto model = load(replace(replace(kSmall, "-1.0\t<unk>\n", ""), "ngram 1=5", "ngram 1=4"));
  CHECK_EQ(model->vocab_size(), 5U);
  CHECK_NEAR(model->unigram(model->find("nothing")), -100.0 * kLog10, 1e-4);
  CHECK_EQ(load(replace(kSmall, "<unk>", "<UNK>"))->vocab_size(), 5U);
}

TEST(a_model_without_sentence_bounds_starts_and_ends_anywhere) {
  const auto model = load("\\data\\\nngram 1=2\n\\1-grams:\n-1\t<unk>\n-0.5\ta\n\\end\\\n");
  CHECK(model->begin_state() == model->empty_state());
  CHECK_EQ(model->score_end(model->begin_state()), 0.0);
  CHECK_NEAR(model->score(model->begin_state(), model->find("a"), nullptr), -0.5 * kLog10, 1e-6);
}

TEST(scores_are_those_of_a_plain_table) {
  std::mt19937 random(7);
  for (std::size_t order = 1; order <= 6; ++order) {
    for (const bool complete : {true, false}) {
      const PlainModel plain = random_model(random, order, 12, 300, complete);
      const auto model = load(plain.arpa());
      std::vector<std::string> words;
      for (const auto& [ngram, entry] : plain.ngrams) {
        if (ngram.size() == 1) words.push_back(ngram[0]);
      }
      words.emplace_back("unheard");
      for (int sentence = 0; sentence < 50; ++sentence) {
        Words history;
        NgramLm::State state = model->empty_state();
        for (int place = 0; place < 12; ++place) {
          history.push_back(words[random() % words.size()]);
          const double score = model->score(state, model->find(history.back()), &state);
          // An incomplete model has no rule of its own; here n-grams that are longer than their missing beginning
          // count, which PlainModel does as well.
          CHECK_NEAR(score / kLog10, plain.score(history), 1e-5);
        }
      }
    }
  }
}

TEST(the_cut_of_an_arpa_text_changes_nothing) {
  std::mt19937 random(3);
  const std::string text = random_model(random, 3, 6, 40, true).arpa();
  const auto whole = write_image(read_arpa(text), {});
  for (const std::size_t size : {1U, 7U, 100U}) {
    ArpaReader reader("test");
    for (std::size_t at = 0; at < text.size(); at += size) {
      reader.accept(text.data() + at, std::min(size, text.size() - at));
    }
    CHECK(write_image(reader.finish(), {}) == whole);
  }
}

TEST(tables_come_back_from_images_and_from_arpa) {
  std::mt19937 random(5);
  for (std::size_t order = 1; order <= 6; ++order) {
    const NgramTable table = read_arpa(random_model(random, order, 10, 200, true).arpa());
    const auto image = write_image(table, {});
    CHECK_EQ(image.size() * 8, image_size(table, {}));
    const auto model = NgramLm::from_image(image, "test");
    model->verify();
    CHECK(write_image(read_image(model->image(), model->name()), {}) == image);
    std::string arpa;
    write_arpa(table, [&](std::string_view text) { arpa += text; });
    const NgramTable again = read_arpa(arpa);
    for (std::size_t level = 0; level < order; ++level) {
      CHECK(again.levels[level].words == table.levels[level].words);
      CHECK(again.levels[level].parents == table.levels[level].parents);
      for (std::size_t place = 0; place < table.levels[level].size(); ++place) {
        CHECK_NEAR(again.levels[level].scores[place], table.levels[level].scores[place], 1e-5);
      }
    }
  }
}

TEST(what_is_missing_in_an_odd_arpa_file_is_written_so_that_it_can_be_read) {
  // "a a" has to be filled in, and would have a score above 0 or one that is too low; a word may stand before "\r".
  for (const char* weight : {"9.5", "-1e6"}) {
    const std::string text =
        std::string("\\data\\\nngram 1=3\nngram 2=0\nngram 3=1\n\\1-grams:\n-1\t<s>\n-2\tb\r\n-3\ta\r\t") + weight +
        "\n\\2-grams:\n\\3-grams:\n-1\ta a b\n\\end\\\n";
    const NgramTable table = read_arpa(text);
    std::string written;
    write_arpa(table, [&](std::string_view piece) { written += piece; });
    const NgramTable again = read_arpa(written);
    CHECK_EQ(again.levels[1].size(), std::size_t{2});
    for (std::size_t place = 0; place < 2; ++place) {
      CHECK_NEAR(again.levels[1].scores[place], std::min(0.0F, table.levels[1].scores[place]), 10.0);
    }
    CHECK(load(text)->find("a") != NgramLm::kUnknown);
  }
}

TEST(codes_are_close_and_few_values_are_kept_exactly) {
  std::mt19937 random(11);
  const std::string arpa = random_model(random, 3, 40, 3000, true).arpa();
  const auto exact = load(arpa);
  double before = 1e9;
  for (const int bits : {4, 6, 8}) {
    const auto coded = load(arpa, {bits, bits});
    coded->verify();
    CHECK(coded->image().size < exact->image().size);
    double worst = 0.0;
    for (WordId first = 0; first < exact->vocab_size(); ++first) {
      NgramLm::State state;
      NgramLm::State coded_state;
      exact->score(exact->empty_state(), first, &state);
      coded->score(coded->empty_state(), first, &coded_state);
      CHECK(state == coded_state);
      for (WordId word = 0; word < exact->vocab_size(); ++word) {
        const double difference = exact->score(state, word, nullptr) - coded->score(coded_state, word, nullptr);
        worst = std::max(worst, std::abs(difference));
      }
    }
    CHECK(worst < before);
    before = worst;
  }
  CHECK(before < 0.15);
  const auto small = load(kSmall, {8, 8});
  CHECK_NEAR(small->unigram(small->find("b")), -0.8 * kLog10, 1e-6);
  CHECK_NEAR(small->unigram(small->begin_word()), -99 * kLog10, 1e-4);
}

TEST(a_file_is_mapped_and_an_arpa_file_is_read) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path();
  const std::string path = folder / ("edgeasr_ngram_lm_test_" + std::to_string(std::random_device{}()));
  const auto image = small_image();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.size() * 8));
  const auto mapped = NgramLm::open(path);
  CHECK_NEAR(mapped->unigram(mapped->find("a")), -0.7 * kLog10, 1e-6);
  mapped->verify();
  std::ofstream(path, std::ios::binary) << kSmall;
  const auto read = NgramLm::open(path);
  CHECK_NEAR(read->unigram(read->find("a")), -0.7 * kLog10, 1e-6);
  std::remove(path.c_str());
  CHECK_THROWS_WITH(NgramLm::open(path), LanguageModelError, path);
  CHECK_THROWS_WITH(NgramLm::open(folder), LanguageModelError, folder.string());
}

TEST(an_image_that_is_cut_off_or_longer_is_refused) {
  const auto image = small_image({8, 8});
  const auto* data = reinterpret_cast<const std::uint8_t*>(image.data());
  for (std::size_t size = 0; size < image.size() * 8; ++size) {
    std::vector<std::uint64_t> cut(size / 8 + 1);
    std::memcpy(cut.data(), data, size);
    CHECK_THROWS_WITH(view_image(reinterpret_cast<const std::uint8_t*>(cut.data()), size, "cut.bin"),
                      LanguageModelError, "cut.bin");
  }
  auto longer = image;
  longer.push_back(0);
  CHECK_THROWS_WITH(NgramLm::from_image(longer, "longer.bin"), LanguageModelError, "longer.bin");
}

TEST(an_image_of_another_version_or_with_a_damaged_header_is_refused) {
  auto image = small_image();
  auto* data = reinterpret_cast<std::uint8_t*>(image.data());
  const std::uint8_t version = data[8];
  data[8] = static_cast<std::uint8_t>(version + 1);
  CHECK_THROWS_WITH(NgramLm::from_image(image, "newer.bin"), LanguageModelError,
                    "version " + std::to_string(version + 1));
  data[8] = version;
  for (std::size_t place = 0; place < kHeaderSize; ++place) {
    auto damaged = image;
    reinterpret_cast<std::uint8_t*>(damaged.data())[place] ^= 0x10U;
    CHECK_THROWS_WITH(NgramLm::from_image(damaged, "damaged.bin"), LanguageModelError, "damaged.bin");
  }
}

TEST(an_image_with_a_damaged_body_is_asked_without_harm_and_found_out) {
  std::mt19937 random(13);
  const NgramTable table = read_arpa(random_model(random, 4, 9, 120, true).arpa());
  for (const int bits : {kFloatBits, 8, 5}) {
    const auto image = write_image(table, {bits, bits});
    for (int round = 0; round < 400; ++round) {
      auto damaged = image;
      auto* data = reinterpret_cast<std::uint8_t*>(damaged.data());
      const int changes = round % 4 == 0 ? 200 : 1;
      for (int change = 0; change < changes; ++change) {
        data[kHeaderSize + random() % (damaged.size() * 8 - kHeaderSize)] ^=
            static_cast<std::uint8_t>(1U << (random() % 8));
      }
      if (damaged == image) continue;
      std::shared_ptr<const NgramLm> model;
      try {
        model = NgramLm::from_image(damaged, "damaged.bin");
      } catch (const LanguageModelError&) {
        continue;  // codebooks are checked when the model is opened
      }
      ask_everything(*model);
      CHECK_THROWS_WITH(model->verify(), LanguageModelError, "damaged.bin");
      CHECK_THROWS_WITH(read_image(model->image(), "damaged.bin"), LanguageModelError, "damaged.bin");
      CHECK_THROWS_WITH(mix_models({model, model}, {1.0, 1.0}, 1), LanguageModelError, "damaged.bin");
    }
  }
}

TEST(n_grams_that_contradict_themselves_are_refused_though_the_checksum_is_right) {
  std::mt19937 random(14);
  const NgramTable table = read_arpa(random_model(random, 3, 9, 120, true).arpa());
  int num_refused = 0;
  for (const int bits : {kFloatBits, 5}) {
    const auto image = write_image(table, {bits, bits});
    for (int round = 0; round < 400; ++round) {
      auto damaged = image;
      auto* data = reinterpret_cast<std::uint8_t*>(damaged.data());
      data[kHeaderSize + random() % (damaged.size() * 8 - kHeaderSize)] ^= static_cast<std::uint8_t>(random() % 256);
      put_checksums(damaged);
      try {
        const auto model = NgramLm::from_image(damaged, "damaged.bin");
        NgramTable read = read_image(model->image(), "damaged.bin");
        NgramLm::from_image(write_image(read, {4, 4}), "coded")->verify();
        write_arpa(read, [](std::string_view) {});
        if (round % 2 == 0) {
          prune_by_entropy(read, 0.01);
        } else {
          prune_to_size(read, image_size(read, {}) * 3 / 4, {});
        }
        NgramLm::from_image(write_image(read, {}), "pruned")->verify();
      } catch (const LanguageModelError&) {
        ++num_refused;
      }
    }
  }
  CHECK(num_refused > 20);
}

TEST(an_order_without_n_grams_is_pruned_away) {
  NgramTable table = read_arpa("\\data\\\nngram 1=2\nngram 2=0\n\\1-grams:\n-1\t<unk>\n-0.5\ta\n\\2-grams:\n\\end\\\n");
  prune_to_size(table, image_size(table, {}) - 1, {});
  CHECK_EQ(table.order(), 1);
}

TEST(an_image_whose_header_lies_is_refused) {
  const auto image = small_image();
  constexpr std::size_t kHeaderEnd = kHeaderSize - 8;  // before the header's checksum
  int refused = 0;
  for (std::size_t place = 12; place < kHeaderEnd; ++place) {
    for (const unsigned flip : {0x01U, 0x80U}) {
      auto forged = image;
      auto* data = reinterpret_cast<std::uint8_t*>(forged.data());
      data[place] = static_cast<std::uint8_t>(data[place] ^ flip);
      const std::uint64_t checksum = image_checksum(data, kHeaderEnd);
      std::memcpy(data + kHeaderEnd, &checksum, sizeof(checksum));
      try {
        ask_everything(*NgramLm::from_image(forged, "forged.bin"));
      } catch (const LanguageModelError&) {
        ++refused;
      }
    }
  }
  CHECK(refused > 1050);
}

TEST(what_is_wrong_in_an_arpa_file_is_told_with_its_line) {
  const auto refused = [](const std::string& text, const std::string& line, const std::string& what) {
    CHECK_THROWS_WITH(read_arpa(text), LanguageModelError, "test.arpa:" + line);
    CHECK_THROWS_WITH(read_arpa(text), LanguageModelError, what);
  };
  refused("", "0", "empty");
  refused("\n\nhello\n", "3", "hello");
  refused(std::string(100000, 'x'), "1", "longer");
  refused("\\data\\\n\\1-grams:\n", "2", "how many");
  refused("\\data\\\nngram one=5\n", "2", "ngram one=5");
  refused("\\data\\\nngram 2=5\n", "2", "1-grams");
  refused("\\data\\\nngram 1=1\nngram 2=1\nngram 3=1\nngram 4=1\nngram 5=1\nngram 6=1\nngram 7=1\n", "8", "order 7");
  refused(replace(kSmall, "ngram 1=5", "ngram 1=6"), "13", "promised 6");
  refused(replace(kSmall, "ngram 1=5", "ngram 1=4"), "11", "promised 4");
  refused(replace(kSmall, "-0.9\t</s>", "-0.9x\t</s>"), "9", "-0.9x");
  refused(replace(kSmall, "-0.9\t</s>", "0.9\t</s>"), "9", "above 0");
  refused(replace(kSmall, "-0.9\t</s>", "nan\t</s>"), "9", "nan");
  refused(replace(kSmall, "-0.9\t</s>", "-1e300\t</s>"), "9", "-1e300");
  refused(replace(kSmall, "-0.9\t</s>", "-0.9"), "9", "1 fields");
  refused(replace(kSmall, "a\t-0.3", "a\tmuch"), "10", "much");
  refused(replace(kSmall, "-0.8\tb", "-0.8\ta"), "11", "twice");
  refused(replace(kSmall, "-0.8\tb", "-0.8\t\xC3("), "11", "UTF-8");
  refused(replace(kSmall, "-0.5\ta b", "-0.5\ta c"), "15", "\"c\"");
  refused(replace(kSmall, "-0.5\ta b", "-0.5\t<s> a"), "21", "\"<s> a\" stands twice");
  refused(replace(kSmall, "-0.05\t<s> a b", "-0.05\t<s> a b\t-1"), "19", "fields");
  refused(replace(kSmall, "\\2-grams:", "\\3-grams:"), "13", "\\2-grams:");
  refused(replace(kSmall, "\\end\\\n", ""), "20", "cut off");
  refused(replace(kSmall, "\\3-grams:\n-0.05\t<s> a b\n", ""), "19", "3-grams are missing");
}

TEST(a_mixture_of_one_model_is_that_model) {
  const auto model = load(kSmall);
  const LmMixture mixture({model}, {0.3});
  CHECK_EQ(mixture.vocab_size(), model->vocab_size());
  NgramLm::State state;
  NgramLm::State own = model->begin_state();
  mixture.begin_state(&state);
  for (const char* word : {"a", "b", "c"}) {
    const WordId id = mixture.find(word);
    CHECK_EQ(id, model->find(word));
    CHECK_EQ(mixture.score(&state, id, &state), model->score(own, id, &own));
    CHECK_EQ(mixture.unigram(id), model->unigram(id));
  }
  CHECK_NEAR(mixture.score_end(&state), model->score_end(own), 1e-12);
}

TEST(a_mixture_adds_probabilities_and_joins_vocabularies) {
  std::mt19937 random(17);
  const auto first = load(random_model(random, 3, 8, 100, true).arpa());
  const auto second = load(replace(kSmall, "-0.8\tb", "-0.8\tb"));
  const auto third = load(random_model(random, 2, 20, 100, true).arpa());
  const std::vector<std::shared_ptr<const NgramLm>> models = {first, second, third};
  const LmMixture mixture(models, {1.0, 2.0, 1.0});
  std::set<std::string> words;
  for (WordId id = 0; id < mixture.vocab_size(); ++id) {
    const std::string word(mixture.word(id));
    CHECK(words.insert(word).second);
    CHECK_EQ(mixture.find(word), id);
  }
  for (const auto& model : models) {
    for (WordId id = 0; id < model->vocab_size(); ++id) CHECK_EQ(words.count(std::string(model->word(id))), 1U);
  }
  CHECK_EQ(mixture.find("nowhere"), NgramLm::kUnknown);
  std::vector<NgramLm::State> states(3);
  std::vector<NgramLm::State> own = {first->begin_state(), second->begin_state(), third->begin_state()};
  mixture.begin_state(states.data());
  for (int step = 0; step < 200; ++step) {
    const auto id = static_cast<WordId>(random() % mixture.vocab_size());
    const std::string word(mixture.word(id));
    double sum = 0.0;
    for (std::size_t index = 0; index < 3; ++index) {
      const WordId in_model = models[index]->find(word);
      const double score = models[index]->score(own[index], in_model, &own[index]);
      if (in_model != NgramLm::kUnknown || id == NgramLm::kUnknown) sum += mixture.weight(index) * std::exp(score);
    }
    CHECK_NEAR(mixture.score(states.data(), id, states.data()), std::log(sum), 1e-9);
    CHECK(states == own);
  }
}

TEST(a_mixture_that_cannot_be_is_refused) {
  const auto model = load(kSmall);
  CHECK_THROWS_WITH(LmMixture({}, {}), ConfigError, "at least one");
  CHECK_THROWS_WITH(LmMixture({model}, {0.5, 0.5}), ConfigError, "2 weights");
  CHECK_THROWS_WITH(LmMixture({model}, {0.0}), ConfigError, "above 0");
  CHECK_THROWS_WITH(LmMixture({model, model}, {0.5, -0.5}), ConfigError, "language model 1");
  CHECK_THROWS_WITH(LmMixture({nullptr}, {1.0}), ConfigError, "missing");
}

}  // namespace edgeasr

TEST_MAIN()
