#include "core/arpa.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/errors.h"

namespace edgeasr {
namespace {

constexpr double kLog10 = 2.302585092994045684;  // ln(10)
constexpr double kImpossible = -99.0;            // what files say for a probability of zero
constexpr double kMissingUnknown = -100.0;
constexpr double kLargest = 1e6;
constexpr std::size_t kMaxLine = 1U << 16U;

std::string_view trim(std::string_view text) {
  const auto is_space = [](char letter) { return letter == ' ' || letter == '\t' || letter == '\r'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string quote(std::string_view text) {
  constexpr std::size_t kMost = 60;
  std::string shown = "\"";
  for (const char letter : text.substr(0, kMost)) {
    const auto byte = static_cast<unsigned char>(letter);
    shown += byte < 0x20 || byte == 0x7F ? '?' : letter;
  }
  return shown + (text.size() > kMost ? "...\"" : "\"");
}

// The place of an n-gram in its level, from its last word back to its first; kNotFound, and how many words were found.
std::uint64_t find_ngram(const std::vector<NgramSet>& sets, std::uint64_t vocab_size, const std::uint32_t* words,
                         std::size_t length, std::size_t* found) {
  std::uint64_t place = words[length - 1];
  for (std::size_t level = 1; level < length; ++level) {
    place = sets[level - 1].find(place * vocab_size + words[length - 1 - level]);
    if (place == SortedSet::kNotFound) {
      *found = level;
      return place;
    }
  }
  *found = length;
  return place;
}

}  // namespace

ArpaReader::ArpaReader(std::string name) : name_(std::move(name)) {}

void ArpaReader::refuse(const std::string& what) const {
  throw LanguageModelError(name_ + ":" + std::to_string(line_) + ": " + what);
}

void ArpaReader::accept(const char* text, std::size_t size) {
  std::string_view left(text, size);
  while (true) {
    const std::size_t end = left.find('\n');
    if (rest_.size() + std::min(end, left.size()) > kMaxLine) {
      ++line_;
      refuse("the line is longer than " + std::to_string(kMaxLine) + " bytes: this is no ARPA file");
    }
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
  rest_ += left;
}

void ArpaReader::take_line(std::string_view line) {
  line = trim(line);
  if (line.empty() || part_ == Part::kEnd) return;
  if (part_ == Part::kStart) {
    if (line != "\\data\\") {
      refuse("expected \\data\\, found " + quote(line) + ": this is neither an ARPA file nor a model of edgeasr");
    }
    part_ = Part::kCounts;
  } else if (line.front() == '\\') {
    take_section(line);
  } else if (part_ == Part::kCounts) {
    take_count(line);
  } else {
    take_ngram(line);
  }
}

void ArpaReader::take_count(std::string_view line) {
  constexpr std::string_view kWord = "ngram";
  const std::size_t equals = line.find('=');
  std::size_t length = 0;
  std::uint64_t count = 0;
  bool fits = line.substr(0, kWord.size()) == kWord && equals != std::string_view::npos;
  if (fits) {
    const std::string_view left = trim(line.substr(kWord.size(), equals - kWord.size()));
    const std::string_view right = trim(line.substr(equals + 1));
    const auto is_number = [](std::string_view text, auto& value) {
      const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
      return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
    };
    fits = is_number(left, length) && is_number(right, count);
  }
  if (!fits) refuse("expected a line like \"ngram 1=1000\", found " + quote(line));
  if (length != orders_.size() + 1) refuse("expected the number of " + std::to_string(orders_.size() + 1) + "-grams");
  if (length > kMaxNgramOrder) {
    refuse("the model has order " + std::to_string(length) + ", the highest possible is " +
           std::to_string(kMaxNgramOrder));
  }
  orders_.emplace_back();
  orders_.back().expected = count;
}

void ArpaReader::end_section() {
  if (length_ == 0) {
    if (orders_.empty()) refuse("no line says how many n-grams there are");
    return;
  }
  const Raw& raw = orders_[length_ - 1];
  if (raw.scores.size() != raw.expected) {
    refuse("the file promised " + std::to_string(raw.expected) + " " + std::to_string(length_) + "-grams and has " +
           std::to_string(raw.scores.size()));
  }
  if (length_ > 1) return;
  // The words are known now: they get their ids.
  Raw& unigrams = orders_.front();
  std::uint32_t unknown = index_.find("<unk>");
  if (unknown == WordIndex::kNone) {
    unknown = index_.add("<unk>");
    unigrams.words.push_back(unknown);
    unigrams.scores.push_back(static_cast<float>(kMissingUnknown * kLog10));
    unigrams.backoffs.push_back(0.0F);
  }
  const std::vector<std::uint32_t> order = order_words(index_.words(), unknown);
  ids_.resize(order.size());
  for (std::uint32_t id = 0; id < order.size(); ++id) {
    ids_[order[id]] = id;
    words_.add(index_.words()[order[id]]);
  }
  for (std::uint32_t& word : unigrams.words) word = ids_[word];
}

void ArpaReader::take_section(std::string_view line) {
  end_section();
  if (line == "\\end\\") {
    if (length_ != orders_.size()) refuse("the " + std::to_string(length_ + 1) + "-grams are missing");
    part_ = Part::kEnd;
    return;
  }
  ++length_;
  if (length_ > orders_.size() || line != "\\" + std::to_string(length_) + "-grams:") {
    const bool more = length_ <= orders_.size();
    refuse("expected " + (more ? "\\" + std::to_string(length_) + "-grams:" : "\\end\\") + ", found " + quote(line));
  }
  part_ = Part::kNgrams;
}

float ArpaReader::take_number(std::string_view field, const char* what) const {
  double value = 0.0;
  const auto parsed = std::from_chars(field.data(), field.data() + field.size(), value);
  if (parsed.ec == std::errc::result_out_of_range) {
    value = 0.0;  // too close to zero for a double
  } else if (parsed.ec != std::errc() || parsed.ptr != field.data() + field.size() || std::isnan(value)) {
    refuse(std::string(what) + " is " + quote(field) + ", expected a number");
  }
  if (std::isinf(value) && value < 0.0) value = kImpossible;
  if (std::abs(value) > kLargest)
    refuse(std::string(what) + " is " + quote(field) + ", expected the log10 of a probability");
  return static_cast<float>(value * kLog10);
}

void ArpaReader::take_ngram(std::string_view line) {
  fields_.clear();
  const auto is_space = [](char letter) { return letter == ' ' || letter == '\t' || letter == '\r'; };
  for (std::size_t at = 0; at < line.size();) {
    while (at < line.size() && is_space(line[at])) ++at;
    std::size_t end = at;
    while (end < line.size() && !is_space(line[end])) ++end;
    if (end > at) fields_.push_back(line.substr(at, end - at));
    at = end;
  }
  const bool weight = fields_.size() == length_ + 2 && length_ < orders_.size();
  if (fields_.size() != length_ + 1 && !weight) {
    refuse("expected a score, " + std::to_string(length_) + " words" +
           (length_ < orders_.size() ? " and at most a weight" : "") + ", found " + std::to_string(fields_.size()) +
           " fields");
  }
  Raw& raw = orders_[length_ - 1];
  if (raw.scores.size() >= raw.expected) {
    refuse("the file promised " + std::to_string(raw.expected) + " " + std::to_string(length_) +
           "-grams, this is one more");
  }
  float score = take_number(fields_[0], "the score");
  constexpr float kRounding = 1e-5F;
  if (score > kRounding) refuse("the score is " + quote(fields_[0]) + ", the log10 of a probability is not above 0");
  score = std::min(score, 0.0F);
  for (std::size_t place = 0; place < length_; ++place) {
    const std::string_view word = fields_[place + 1];
    if (length_ == 1) {
      if (word.find('\0') != std::string_view::npos || !is_utf8(word))
        refuse("the word " + quote(word) + " is not UTF-8");
      const std::size_t known = index_.size();
      const std::uint32_t number = index_.add(word == "<UNK>" ? "<unk>" : word);
      if (number != known) refuse("the word " + quote(word) + " stands twice");
      raw.words.push_back(number);
    } else {
      const std::uint32_t number = index_.find(word == "<UNK>" ? "<unk>" : word);
      if (number == WordIndex::kNone) refuse("the word " + quote(word) + " is not among the 1-grams");
      raw.words.push_back(ids_[number]);
    }
  }
  raw.scores.push_back(score);
  if (length_ < orders_.size()) raw.backoffs.push_back(weight ? take_number(fields_.back(), "the weight") : 0.0F);
}

std::string ArpaReader::show(const std::uint32_t* words, std::size_t length) const {
  std::string text;
  for (std::size_t place = 0; place < length; ++place) {
    if (place > 0) text += ' ';
    text += words_[words[place]];
  }
  return quote(text);
}

NgramTable ArpaReader::finish() {
  if (!rest_.empty()) {
    ++line_;
    take_line(rest_);
  }
  if (part_ != Part::kEnd) {
    refuse(part_ == Part::kStart ? "the file is empty: this is neither an ARPA file nor a model of edgeasr"
                                 : "the file ends before \\end\\: it is cut off");
  }
  NgramTable table;
  // Each round adds what the longer n-grams lack, which may lack something itself.
  while (!build_levels(table)) {
  }
  table.words = std::move(words_);
  const auto id_of = [&](const char* word) {
    const std::uint32_t number = index_.find(word);
    return number == WordIndex::kNone ? 0 : ids_[number];
  };
  table.begin_word = id_of("<s>");
  table.end_word = id_of("</s>");
  return table;
}

// Puts all n-grams in order. When some lack their beginning or their end, adds these to orders_ and returns false.
bool ArpaReader::build_levels(NgramTable& table) {
  const std::uint64_t vocab_size = words_.size();
  table.levels.clear();
  table.levels.resize(orders_.size());
  std::vector<NgramSet> sets;  // of the orders from 2
  std::vector<std::vector<std::uint32_t>> missing(orders_.size());
  for (std::size_t number = 0; number < orders_.size(); ++number) {
    const Raw& raw = orders_[number];
    NgramTable::Level& level = table.levels[number];
    const std::size_t length = number + 1;
    const std::size_t size = raw.scores.size();
    const std::size_t num_given = size - raw.num_filled;
    std::vector<std::pair<std::uint64_t, std::uint32_t>> keys(size);  // with the place in `raw`
    std::vector<std::uint32_t> contexts(number > 0 ? size : 0);       // by place in `raw`
    for (std::size_t at = 0; at < size; ++at) {
      const std::uint32_t* words = raw.words.data() + at * length;
      std::uint64_t key = words[0];
      if (number > 0) {
        const auto look_up = [&](const std::uint32_t* part) {
          std::size_t found = 0;
          const std::uint64_t place = find_ngram(sets, vocab_size, part, number, &found);
          // The shortest end that is not there; longer ones are found missing in the next round.
          if (place == SortedSet::kNotFound) {
            auto& list = missing[found];
            list.insert(list.end(), part + number - found - 1, part + number);
          }
          return place;
        };
        const std::uint64_t parent = look_up(words + 1);
        const std::uint64_t context = look_up(words);
        key += (parent == SortedSet::kNotFound ? 0 : parent) * vocab_size;
        contexts[at] = static_cast<std::uint32_t>(context);
      }
      keys[at] = {key, static_cast<std::uint32_t>(at)};
    }
    const auto lacks = [](const std::vector<std::uint32_t>& list) { return !list.empty(); };
    if (std::any_of(missing.begin(), missing.end(), lacks)) break;
    std::sort(keys.begin(), keys.end());
    for (std::size_t place = 0; place + 1 < size; ++place) {
      if (keys[place].first != keys[place + 1].first) continue;
      refuse("the " + std::to_string(length) + "-gram " +
             show(raw.words.data() + std::size_t{keys[place].second} * length, length) + " stands twice");
    }
    for (const auto& [key, at] : keys) {
      level.words.push_back(static_cast<WordId>(key % vocab_size));
      if (number > 0) level.parents.push_back(static_cast<std::uint32_t>(key / vocab_size));
      float score = raw.scores[at];
      if (number > 0) {
        NgramTable::Level& below = table.levels[number - 1];
        float& backoff = below.backoffs[contexts[at]];
        if (!is_context(backoff)) backoff = 0.0F;
        if (at >= num_given) score = backoff + below.scores[key / vocab_size];
      }
      level.scores.push_back(score);
      if (length < orders_.size()) level.backoffs.push_back(raw.backoffs[at] == 0.0F ? -0.0F : raw.backoffs[at]);
    }
    if (number > 0 && length < orders_.size()) {
      const std::uint64_t universe = table.levels[number - 1].size() * vocab_size;
      sets.emplace_back(size, universe, [&](std::uint64_t place) { return keys[place].first; });
    }
  }
  bool complete = true;
  for (std::size_t number = 0; number < missing.size(); ++number) {
    if (missing[number].empty()) continue;
    complete = false;
    const std::size_t length = number + 1;
    const std::vector<std::uint32_t>& words = missing[number];
    std::vector<std::size_t> starts(words.size() / length);
    std::iota(starts.begin(), starts.end(), 0U);
    const auto less = [&](std::size_t a, std::size_t b) {
      const auto* base = words.data();
      return std::lexicographical_compare(base + a * length, base + (a + 1) * length, base + b * length,
                                          base + (b + 1) * length);
    };
    std::sort(starts.begin(), starts.end(), less);
    Raw& raw = orders_[number];
    for (std::size_t at = 0; at < starts.size(); ++at) {
      if (at > 0 && !less(starts[at - 1], starts[at])) continue;
      const auto* first = words.data() + starts[at] * length;
      raw.words.insert(raw.words.end(), first, first + length);
      raw.scores.push_back(0.0F);
      raw.backoffs.push_back(0.0F);
      ++raw.num_filled;
    }
  }
  return complete;
}

void write_arpa(const NgramTable& table, const std::function<void(std::string_view)>& write) {
  constexpr std::size_t kPiece = 1U << 20U;
  std::string text = "\\data\\\n";
  for (std::size_t number = 0; number < table.levels.size(); ++number) {
    text += "ngram " + std::to_string(number + 1) + "=" + std::to_string(table.levels[number].size()) + "\n";
  }
  const auto add_number = [&](float value) {
    std::array<char, 32> digits{};
    // A weight of -0.0 is a mark of this package.
    const auto log10 = static_cast<float>(std::clamp(value / kLog10, -kLargest, kLargest)) + 0.0F;
    char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), log10).ptr;
    text.append(digits.data(), end);
  };
  for (std::size_t number = 0; number < table.levels.size(); ++number) {
    const NgramTable::Level& level = table.levels[number];
    text += "\n\\" + std::to_string(number + 1) + "-grams:\n";
    for (std::size_t place = 0; place < level.size(); ++place) {
      std::array<WordId, kMaxNgramOrder> reversed{};
      table.ngram(number, place, reversed.data());
      // Where weights are no distribution's, an n-gram that was filled in may have more than a probability can be.
      add_number(std::min(level.scores[place], 0.0F));
      // Levels hold the words from the last to the first.
      for (std::size_t at = number + 1; at-- > 0;) {
        text += at == number ? '\t' : ' ';
        text += table.words[reversed[at]];
      }
      if (!level.backoffs.empty() && is_context(level.backoffs[place])) {
        text += '\t';
        add_number(level.backoffs[place]);
      }
      text += '\n';
      if (text.size() >= kPiece) {
        write(text);
        text.clear();
      }
    }
  }
  text += "\n\\end\\\n";
  write(text);
}

}  // namespace edgeasr
