#include "core/lm_builder.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <utility>

#include "core/errors.h"

namespace edgeasr {
namespace {

// The first words of the index.
constexpr std::uint32_t kUnknownNumber = 0;
constexpr std::uint32_t kBeginNumber = 1;
constexpr std::uint32_t kEndNumber = 2;

constexpr double kLowestWeight = -227.955924206;  // -99 in log10

bool is_space(char letter) {
  return letter == ' ' || letter == '\n' || letter == '\t' || letter == '\r' || letter == '\f' || letter == '\v' ||
         letter == '\0';
}

// Counts of an n-gram, its words packed from the last word but one to the first, then the last.
template <class Key>
struct CountRecord {
  Key key{};
  std::uint32_t adjusted = 0;
  std::uint32_t pruned = 0;
};

// What an n-gram adds to the lower order's probability, its words packed from the last to the first.
template <class Key>
struct ProbRecord {
  Key key{};
  float prob = 0.0F;
  float weight = 0.0F;
};

// Goes through the n-grams of a level in order.
template <class Key>
class LevelCursor {
 public:
  LevelCursor(const NgramTable& table, std::size_t level, int bits) : table_(table), level_(level), bits_(bits) {
    load();
  }

  // Moves on to the n-gram with this key, its words from the last to the first; false when it is not there. Keys must
  // ascend from call to call.
  bool find(const Key& key) {
    while (place_ < table_.levels[level_].size() && key_ < key) {
      ++place_;
      load();
    }
    return place_ < table_.levels[level_].size() && key_ == key;
  }
  std::size_t place() const { return place_; }

 private:
  void load() {
    if (place_ >= table_.levels[level_].size()) return;
    std::array<WordId, kMaxNgramOrder> words{};
    table_.ngram(level_, place_, words.data());
    key_ = Key{};
    for (std::size_t at = 0; at <= level_; ++at) key_ = key_append(key_, bits_, words[at]);
  }

  const NgramTable& table_;
  std::size_t level_;
  int bits_;
  std::size_t place_ = 0;
  Key key_{};
};

// How many n-grams were counted once, twice, three and four times.
struct CountsOfCounts {
  std::array<std::uint64_t, 5> of{};

  void add(std::uint64_t count) {
    if (count < of.size()) ++of[count];
  }
  // Chen and Goodman 1998, equation 26. Returns whether there was enough to tell.
  bool discounts(std::array<double, 3>& amounts) const {
    bool fits = of[1] > 0 && of[2] > 0 && of[3] > 0;
    if (fits) {
      const auto n = [&](std::size_t count) { return static_cast<double>(of[count]); };
      const double y = n(1) / (n(1) + 2.0 * n(2));
      for (std::size_t count = 1; count <= 3; ++count) {
        const auto value = static_cast<double>(count);
        amounts[count - 1] = value - (value + 1.0) * y * n(count + 1) / n(count);
        fits = fits && amounts[count - 1] >= 0.0 && amounts[count - 1] <= value;
      }
    }
    if (!fits) amounts = {0.5, 1.0, 1.5};
    return fits;
  }
};

double discount(const std::array<double, 3>& amounts, std::uint64_t count) {
  return count == 0 ? 0.0 : amounts[std::min<std::uint64_t>(count, 3) - 1];
}

LmBuildConfig with_folder(LmBuildConfig config) {
  if (config.temp_folder.empty()) {
    const char* folder = std::getenv("TMPDIR");
    config.temp_folder = folder != nullptr && *folder != '\0' ? folder : "/tmp";
  }
  return config;
}

}  // namespace

void validate(const LmBuildConfig& config) {
  if (config.order < 1 || config.order > kMaxNgramOrder) {
    throw ConfigError("order is " + std::to_string(config.order) + ", expected 1 to " + std::to_string(kMaxNgramOrder));
  }
  if (config.threads < 1 || config.threads > 1024) {
    throw ConfigError("threads is " + std::to_string(config.threads) + ", expected 1 to 1024");
  }
  constexpr std::uint64_t kLeastMemory = 1000000;
  if (config.memory_bytes < kLeastMemory) {
    throw ConfigError("memory_bytes is " + std::to_string(config.memory_bytes) + ", expected at least " +
                      std::to_string(kLeastMemory));
  }
  if (config.prune.size() > static_cast<std::size_t>(config.order)) {
    throw ConfigError("prune has " + std::to_string(config.prune.size()) + " numbers, expected at most " +
                      std::to_string(config.order) + ", one for each order");
  }
  if (!config.prune.empty() && config.prune.front() != 0) {
    throw ConfigError("prune begins with " + std::to_string(config.prune.front()) +
                      ", expected 0: words are not pruned; limit them with vocab_size");
  }
  if (!std::is_sorted(config.prune.begin(), config.prune.end())) {
    throw ConfigError("prune has a number smaller than the one before it: a longer n-gram needs the shorter ones");
  }
}

LmBuilder::LmBuilder(const LmBuildConfig& config)
    : config_(with_folder(config)), sequence_(config_.memory_bytes / 8 / sizeof(std::uint32_t), config_.temp_folder) {
  start();
}

LmBuilder::LmBuilder(const LmBuildConfig& config, const std::vector<std::string>& vocabulary) : LmBuilder(config) {
  if (config.vocab_size != 0) throw ConfigError("vocab_size limits the words of a text, not a given vocabulary");
  for (const std::string& word : vocabulary) {
    if (word.empty() || std::any_of(word.begin(), word.end(), is_space)) {
      throw InputError("the vocabulary has the word \"" + word + "\", expected one without white space");
    }
    index_.add(word);
  }
  closed_ = true;
  counts_.resize(index_.size(), 0);
}

LmBuilder::LmBuilder(const LmBuildConfig& config, const std::vector<std::string>& tokens, const std::string& delimiter)
    : LmBuilder(config, tokens) {
  if (delimiter.empty()) throw ConfigError("the delimiter between words is empty");
  delimiter_ = delimiter;
  for (const std::string& token : tokens) longest_token_ = std::max(longest_token_, token.size());
}

void LmBuilder::start() {
  validate(config_);
  for (const char* word : {"<unk>", "<s>", "</s>"}) index_.add(word);
  counts_.resize(index_.size(), 0);
}

void LmBuilder::refuse(const std::string& what) const {
  throw InputError(file_ + ":" + std::to_string(line_) + ": " + what);
}

void LmBuilder::accept(const char* text, std::size_t size) {
  if (finished_) throw StreamStateError("the model was built already");
  std::string_view left(text, size);
  while (true) {
    const std::size_t end = left.find('\n');
    if (end == std::string_view::npos) break;
    ++line_;
    if (rest_.empty()) {
      take_line(left.substr(0, end));
    } else {
      rest_ += left.substr(0, end);
      take_line(rest_);
      rest_.clear();
    }
    left.remove_prefix(end + 1);
  }
  constexpr std::size_t kMaxLine = std::size_t{1} << 26U;
  if (rest_.size() + left.size() > kMaxLine) {
    ++line_;
    refuse("the line is longer than 64 MB, expected a sentence");
  }
  rest_ += left;
}

void LmBuilder::next_file(const std::string& name) {
  if (!rest_.empty()) {
    ++line_;
    take_line(rest_);
    rest_.clear();
  }
  file_ = name;
  line_ = 0;
}

void LmBuilder::take_line(std::string_view line) {
  joined_.clear();
  for (std::size_t at = 0; at < line.size();) {
    while (at < line.size() && is_space(line[at])) ++at;
    std::size_t end = at;
    while (end < line.size() && !is_space(line[end])) ++end;
    if (end > at) {
      const std::string_view word = line.substr(at, end - at);
      if (delimiter_.empty()) {
        take_word(word);
      } else {
        if (!joined_.empty()) joined_ += delimiter_;
        joined_ += word;
      }
    }
    at = end;
  }
  take_tokens(joined_);
  end_sentence();
}

void LmBuilder::take_word(std::string_view word) {
  std::uint32_t number = closed_ ? index_.find(word) : index_.add(word);
  if (number == WordIndex::kNone) number = kUnknownNumber;
  if (number == kBeginNumber || number == kEndNumber) {
    refuse("the text holds " + std::string(word) + ", which stands for the bounds of a sentence");
  }
  if (number == counts_.size()) {
    if (!is_utf8(word)) refuse("the text is not UTF-8");
    counts_.push_back(0);
  }
  ++counts_[number];
  ++report_.num_words;
  sequence_.push_back(number);
  sentence_is_empty_ = false;
}

void LmBuilder::take_tokens(std::string_view line) {
  while (!line.empty()) {
    std::size_t length = std::min(longest_token_, line.size());
    while (length > 0 && index_.find(line.substr(0, length)) == WordIndex::kNone) --length;
    if (length == 0) {
      // A character that no token has, with the bytes that belong to it in UTF-8.
      length = 1;
      while (length < line.size() && (static_cast<unsigned char>(line[length]) & 0xC0U) == 0x80U) ++length;
    }
    take_word(line.substr(0, length));
    line.remove_prefix(length);
  }
}

void LmBuilder::end_sentence() {
  if (sentence_is_empty_) return;
  sequence_.push_back(kEndNumber);
  ++counts_[kEndNumber];
  ++report_.num_sentences;
  sentence_is_empty_ = true;
}

std::uint64_t LmBuilder::threshold(std::size_t level) const {
  if (config_.prune.empty()) return 0;
  return config_.prune[std::min(level, config_.prune.size() - 1)];
}

// Decides which words the model has and gives them their ids.
void LmBuilder::choose_words(NgramTable& table) {
  const WordList& words = index_.words();
  std::vector<bool> kept(words.size(), true);
  const std::size_t num_given = words.size() - 3;
  for (std::size_t number = 3; number < words.size(); ++number) report_.num_types += counts_[number] > 0 ? 1 : 0;
  if (config_.vocab_size > 0 && config_.vocab_size < num_given) {
    std::vector<std::uint32_t> ranking(num_given);
    std::iota(ranking.begin(), ranking.end(), 3U);
    std::sort(ranking.begin(), ranking.end(), [&](std::uint32_t a, std::uint32_t b) {
      return counts_[a] != counts_[b] ? counts_[a] > counts_[b] : words[a] < words[b];
    });
    for (std::size_t rank = config_.vocab_size; rank < num_given; ++rank) kept[ranking[rank]] = false;
  }
  WordList chosen;
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t number = 0; number < words.size(); ++number) {
    if (!kept[number]) continue;
    numbers.push_back(number);
    chosen.add(words[number]);
  }
  const std::vector<std::uint32_t> order = order_words(chosen, kUnknownNumber);
  ids_.assign(words.size(), kUnknownNumber);
  for (std::uint32_t id = 0; id < order.size(); ++id) {
    ids_[numbers[order[id]]] = id;
    table.words.add(chosen[order[id]]);
  }
  table.begin_word = ids_[kBeginNumber];
  table.end_word = ids_[kEndNumber];
  for (std::size_t number = 0; number < words.size(); ++number) {
    if (ids_[number] == 0) report_.num_unknown += counts_[number];
  }
}

NgramTable LmBuilder::finish() {
  next_file("");
  if (finished_) throw StreamStateError("the model was built already");
  finished_ = true;
  if (report_.num_sentences == 0) throw InputError("there is no text to build a language model from");
  NgramTable table;
  choose_words(table);
  index_ = {};
  const int bits = std::max(1, bit_width(table.words.size() - 1));
  constexpr int kWide = 128;
  if (bits * config_.order <= 64) {
    estimate<std::uint64_t>(table);
  } else if (bits * config_.order <= kWide) {
    estimate<Key128>(table);
  } else {
    throw InputError("the text has " + std::to_string(report_.num_types) + " different words, too many for order " +
                     std::to_string(config_.order) + "; limit them with vocab_size");
  }
  return table;
}

template <class Key>
void LmBuilder::estimate(NgramTable& table) {
  const auto order = static_cast<std::size_t>(config_.order);
  const int bits = std::max(1, bit_width(table.words.size() - 1));
  const WordId begin = table.begin_word;
  const std::size_t vocab_size = table.words.size();
  const std::size_t memory = config_.memory_bytes;

  // 1. All n-grams of the highest order, sorted by their words from the last to the first. Short ones at the start of a
  // sentence are filled up with <s>.
  typename ExternalSorter<Key>::Config sorting;
  sorting.max_records = memory / 3 / (2 * sizeof(Key));
  sorting.key_bits = bits * config_.order;
  sorting.num_threads = config_.threads;
  sorting.folder = config_.temp_folder;
  ExternalSorter<Key> ngrams(sorting);
  {
    std::array<WordId, kMaxNgramOrder> window{};  // the last word first
    window.fill(begin);
    sequence_.for_each([&](std::uint32_t number) {
      std::copy_backward(window.begin(), window.begin() + config_.order - 1, window.begin() + config_.order);
      window[0] = ids_[number];
      Key key{};
      for (std::size_t at = 0; at < order; ++at) key = key_append(key, bits, window[at]);
      ngrams.push_back(key);
      if (number == kEndNumber) window.fill(begin);
    });
  }
  sequence_ = SpillVector<std::uint32_t>(0, config_.temp_folder);

  // 2. Counts of the n-grams of all orders. Below the highest one it is the number of different words before that
  // counts, except after <s>, where there is no other.
  std::vector<Count> unigrams(vocab_size);
  std::vector<CountsOfCounts> statistics(order);
  std::vector<SpillVector<CountRecord<Key>>> counts;  // of the orders from 2
  for (std::size_t level = 1; level < order; ++level) {
    const std::size_t share = level + 1 == order ? memory / 3 : memory / 6 / std::max<std::size_t>(1, order - 2);
    counts.emplace_back(share / sizeof(CountRecord<Key>), config_.temp_folder);
  }
  {
    std::array<Count, kMaxNgramOrder> open{};
    Key previous{};
    bool any = false;
    const auto word_at = [&](const Key& key, std::size_t from_last) {
      return static_cast<WordId>(key_bits(key, bits * static_cast<int>(order - 1 - from_last), bits));
    };
    // Ends the n-gram of length level + 1 at the end of `previous`.
    const auto emit = [&](std::size_t level) {
      const Count& count = open[level];
      if (level == 0) {
        unigrams[word_at(previous, 0)] = count;
        ++report_.num_distinct[0];
        return;
      }
      if (word_at(previous, level - 1) == begin) return;  // <s> stands before the first word only
      const bool is_raw = level + 1 == order || word_at(previous, level) == begin;
      const std::uint64_t adjusted = is_raw ? count.raw : count.adjusted;
      CountRecord<Key> record{};
      for (std::size_t at = 1; at <= level; ++at) record.key = key_append(record.key, bits, word_at(previous, at));
      record.key = key_append(record.key, bits, word_at(previous, 0));
      constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
      record.adjusted = static_cast<std::uint32_t>(std::min(adjusted, kMost));
      record.pruned = count.raw <= threshold(level) ? 1 : 0;
      statistics[level].add(adjusted);
      ++report_.num_distinct[level];
      counts[level - 1].push_back(record);
    };
    ngrams.for_each([&](const Key& key) {
      std::size_t same = 0;  // words at the end that are those of the n-gram before
      if (any) {
        same = key == previous ? order : order - 1 - static_cast<std::size_t>(highest_difference(key, previous) / bits);
        for (std::size_t level = order; level-- > same;) emit(level);
      }
      for (std::size_t level = same; level < order; ++level) open[level] = Count{};
      for (std::size_t level = std::max<std::size_t>(same, 1); level < order; ++level) ++open[level - 1].adjusted;
      for (std::size_t level = 0; level < order; ++level) ++open[level].raw;
      previous = key;
      any = true;
    });
    for (std::size_t level = order; level-- > 0;) emit(level);
    if (order == 1) {
      for (Count& count : unigrams) count.adjusted = count.raw;
    }
    for (WordId id = 1; id < vocab_size; ++id) {
      if (id != begin && unigrams[id].adjusted > 0) statistics[0].add(unigrams[id].adjusted);
    }
    if (unigrams[0].adjusted > 0) statistics[0].add(unigrams[0].adjusted);
  }
  report_.discounts.resize(order);
  report_.usual_discounts.resize(order);
  for (std::size_t level = 0; level < order; ++level) {
    report_.usual_discounts[level] = !statistics[level].discounts(report_.discounts[level]);
  }

  // 3. Words, interpolated with the uniform distribution over all of them but <s>, which nothing predicts.
  table.levels.resize(order);
  {
    NgramTable::Level& level = table.levels[0];
    const std::array<double, 3>& amounts = report_.discounts[0];
    double total = 0.0;
    double taken = 0.0;
    for (const Count& count : unigrams) {
      total += static_cast<double>(count.adjusted);
      taken += discount(amounts, count.adjusted);
    }
    const double uniform = taken / total / static_cast<double>(vocab_size - 1);
    for (WordId id = 0; id < vocab_size; ++id) {
      const std::uint64_t count = unigrams[id].adjusted;
      const double prob = (static_cast<double>(count) - discount(amounts, count)) / total + uniform;
      level.words.push_back(id);
      level.scores.push_back(id == begin ? 0.0F : static_cast<float>(std::log(prob)));
      if (order > 1) level.backoffs.push_back(-0.0F);
    }
  }

  // 4. Order by order: what the n-grams of a context leave to the lower order, and then their probabilities.
  for (std::size_t number = 1; number < order; ++number) {
    const std::array<double, 3>& amounts = report_.discounts[number];
    NgramTable::Level& below = table.levels[number - 1];
    using Counted = CountRecord<Key>;
    typename ExternalSorter<Counted>::Config by_context;
    by_context.max_records = memory / 3 / (2 * sizeof(Counted));
    by_context.key_bits = bits * static_cast<int>(number + 1);
    by_context.sorted_bits = bits;
    by_context.num_threads = config_.threads;
    by_context.folder = config_.temp_folder;
    ExternalSorter<Counted> contexts(by_context);
    SpillVector<Counted>& counted = counts[number - 1];
    if (counted.spilled()) {
      // In one run as in the other words ascend.
      counted.for_each([&](const Counted& record) { contexts.push_back(record); });
    } else {
      contexts.take(std::move(counted.in_memory()));
    }
    counted = SpillVector<Counted>(0, config_.temp_folder);

    using Prob = ProbRecord<Key>;
    typename ExternalSorter<Prob>::Config by_word = {memory / 3 / (2 * sizeof(Prob)), by_context.key_bits,
                                                     bits * static_cast<int>(number), config_.threads,
                                                     config_.temp_folder};
    ExternalSorter<Prob> probs(by_word);
    std::vector<Counted> group;  // the n-grams of one context
    LevelCursor<Key> context_of(table, number - 1, bits);
    const auto end_group = [&] {
      if (group.empty()) return;
      double total = 0.0;
      double left = 0.0;
      bool any = false;
      for (const Counted& record : group) {
        total += record.adjusted;
        left += record.pruned != 0 ? record.adjusted : discount(amounts, record.adjusted);
        any = any || record.pruned == 0;
      }
      const double weight = left / total;
      if (any && context_of.find(key_drop(group.front().key, bits))) {
        below.backoffs[context_of.place()] =
            static_cast<float>(weight > 0.0 ? std::max(kLowestWeight, std::log(weight)) : kLowestWeight) + 0.0F;
        for (const Counted& record : group) {
          if (record.pruned != 0) continue;
          Prob prob{};
          prob.key = key_append(prob.key, bits, key_bits(record.key, 0, bits));
          for (std::size_t at = 0; at < number; ++at) {
            prob.key = key_append(prob.key, bits, key_bits(record.key, bits * static_cast<int>(number - at), bits));
          }
          prob.prob = static_cast<float>((record.adjusted - discount(amounts, record.adjusted)) / total);
          prob.weight = static_cast<float>(weight);
          probs.push_back(prob);
        }
      }
      group.clear();
    };
    contexts.for_each([&](const Counted& record) {
      if (!group.empty() && !(key_drop(group.front().key, bits) == key_drop(record.key, bits))) end_group();
      group.push_back(record);
    });
    end_group();

    NgramTable::Level& level = table.levels[number];
    LevelCursor<Key> parent_of(table, number - 1, bits);
    probs.for_each([&](const Prob& record) {
      parent_of.find(key_drop(record.key, bits));
      const std::size_t parent = parent_of.place();
      level.parents.push_back(static_cast<std::uint32_t>(parent));
      level.words.push_back(static_cast<WordId>(key_bits(record.key, 0, bits)));
      const double prob = record.prob + record.weight * std::exp(static_cast<double>(below.scores[parent]));
      level.scores.push_back(static_cast<float>(std::log(prob)));
      if (number + 1 < order) level.backoffs.push_back(-0.0F);
    });
  }
}

}  // namespace edgeasr
