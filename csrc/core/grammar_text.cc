#include "core/grammar_text.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "core/errors.h"
#include "core/number_words.h"

namespace edgeasr {
namespace {

using Kind = GrammarExpression::Kind;

constexpr int kMaxDepth = 64;
// A permutation of n items has n! orders, and the graph n 2^(n-1) copies of items.
constexpr std::size_t kMaxPermutation = 8;
constexpr char32_t kInvalid = 0xFFFFFFFF;

// The character that starts at `i`, and where the next one starts. kInvalid for what is not UTF-8.
char32_t decode(const std::string& text, std::size_t& i) {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  const unsigned char first = byte(i++);
  if (first < 0x80U) return first;
  const int more = first >= 0xF0U ? 3 : first >= 0xE0U ? 2 : 1;
  if (first < 0xC2U || first > 0xF4U) return kInvalid;
  char32_t c = first & (0x3FU >> static_cast<unsigned>(more));
  for (int k = 0; k < more; ++k) {
    if (i >= text.size() || (byte(i) & 0xC0U) != 0x80U) return kInvalid;
    c = (c << 6U) | (byte(i++) & 0x3FU);
  }
  const char32_t least = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
  if (c < least || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return kInvalid;
  return c;
}

void encode(char32_t c, std::string& out) {
  const auto put = [&](char32_t bits) { out.push_back(static_cast<char>(static_cast<unsigned char>(bits))); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0U | (c >> 6U));
    put(0x80U | (c & 0x3FU));
  } else if (c < 0x10000) {
    put(0xE0U | (c >> 12U));
    put(0x80U | ((c >> 6U) & 0x3FU));
    put(0x80U | (c & 0x3FU));
  } else {
    put(0xF0U | (c >> 18U));
    put(0x80U | ((c >> 12U) & 0x3FU));
    put(0x80U | ((c >> 6U) & 0x3FU));
    put(0x80U | (c & 0x3FU));
  }
}

// The alphabets whose small and large letters lie at a fixed distance: Latin-1, Greek, Cyrillic; in Latin Extended-A
// they take turns.
char32_t to_lower(char32_t c) {
  if ((c >= 'A' && c <= 'Z') || (c >= 0xC0 && c <= 0xDE && c != 0xD7)) return c + 0x20;
  if ((c >= 0x391 && c <= 0x3A9 && c != 0x3A2) || (c >= 0x410 && c <= 0x42F)) return c + 0x20;
  if (c >= 0x400 && c <= 0x40F) return c + 0x50;
  if ((c >= 0x100 && c <= 0x137 && c != 0x130) || (c >= 0x14A && c <= 0x177)) return c | 1U;
  if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) return c + (c & 1U);
  if (c == 0x178) return 0xFF;
  return c;
}

char32_t to_upper(char32_t c) {
  if (c == 0xFF) return 0x178;
  if (c == 0x3C2) return 0x3A3;
  if ((c >= 'a' && c <= 'z') || (c >= 0xE0 && c <= 0xFE && c != 0xF7)) return c - 0x20;
  if ((c >= 0x3B1 && c <= 0x3C9) || (c >= 0x430 && c <= 0x44F)) return c - 0x20;
  if (c >= 0x450 && c <= 0x45F) return c - 0x50;
  if ((c >= 0x100 && c <= 0x137 && c != 0x131) || (c >= 0x14A && c <= 0x177)) return c & ~char32_t{1};
  if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) return c - 1 + (c & 1U);
  return c;
}

char32_t in_case(char32_t c, LetterCase letters) {
  if (letters == LetterCase::kKeep) return c;
  return letters == LetterCase::kLower ? to_lower(c) : to_upper(c);
}

bool is_space(char32_t c) { return c == ' ' || c == '\t' || c == 0xA0 || c == 0x3000 || (c >= 0x2000 && c <= 0x200A); }

// What stands between words without a space.
bool is_hyphen(char32_t c) { return c == '-' || c == '_' || (c >= 0x2010 && c <= 0x2015); }

// What is written but not said.
bool is_punctuation(char32_t c) {
  switch (c) {
    case '.':
    case ',':
    case '!':
    case '?':
    case ':':
    case '"':
    case 0xA1:
    case 0xAB:
    case 0xBB:
    case 0xBF:
    case 0x60C:
    case 0x61F:
    case 0x201C:
    case 0x201D:
    case 0x201E:
    case 0x2026:
    case 0x3001:
    case 0x3002: return true;
    default: return false;
  }
}

bool is_name_character(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         (c >= 0x80 && !is_space(c) && !is_hyphen(c) && !is_punctuation(c));
}

// Apostrophes are written straight.
char32_t straight(char32_t c) { return c == 0x2018 || c == 0x2019 ? U'\'' : c; }

std::string quoted(char32_t c) {
  std::string text = "'";
  encode(c, text);
  return text + "'";
}

// The characters of a line, without its comment.
using Line = std::vector<char32_t>;

std::string to_utf8(const Line& line, std::size_t begin, std::size_t end) {
  std::string text;
  for (std::size_t i = begin; i < end; ++i) encode(line[i], text);
  return text;
}

// Reads one template: characters [i, end) of a line.
class TemplateReader {
 public:
  TemplateReader(const Line& line, std::size_t begin, std::size_t end, std::uint32_t number, const std::string& file,
                 LetterCase letters)
      : line_(line), i_(begin), end_(end), number_(number), file_(file), letters_(letters) {}

  GrammarExpression read() {
    GrammarExpression found = read_choice(0, 0);
    if (i_ < end_) {
      fail_at(file_, here(), quoted(line_[i_]) + " closes nothing: the bracket that it belongs to is missing");
    }
    return found;
  }

 private:
  GrammarPosition here() const { return {number_, static_cast<std::uint32_t>(i_ + 1)}; }

  // What stands between brackets, or all: sequences with | or ; between them. Stops at a closing bracket.
  GrammarExpression read_choice(int depth, char32_t close) {
    if (depth > kMaxDepth) {
      fail_at(file_, here(), "brackets are nested deeper than " + std::to_string(kMaxDepth) + ": use rules");
    }
    GrammarExpression choice;
    choice.at = here();
    choice.items.push_back(read_sequence(depth));
    const char32_t separator = i_ < end_ ? line_[i_] : U'\0';
    while (i_ < end_ && (line_[i_] == '|' || line_[i_] == ';')) {
      if (line_[i_] != separator) {
        fail_at(file_, here(), "| and ; are mixed: put brackets around the parts of one of them");
      }
      ++i_;
      choice.items.push_back(read_sequence(depth));
    }
    if (choice.items.size() == 1) {
      if (close != 0 && choice.items[0].items.empty()) fail_at(file_, choice.at, "nothing stands between the brackets");
      return std::move(choice.items[0]);
    }
    choice.kind = separator == '|' ? Kind::kAlternatives : Kind::kPermutation;
    if (choice.kind == Kind::kPermutation && choice.items.size() > kMaxPermutation) {
      fail_at(file_, choice.at,
              "a permutation of " + std::to_string(choice.items.size()) + " parts, expected at most " +
                  std::to_string(kMaxPermutation));
    }
    return choice;
  }

  GrammarExpression read_sequence(int depth) {
    GrammarExpression sequence;
    sequence.at = here();
    while (i_ < end_) {
      const char32_t c = line_[i_];
      if (c == '|' || c == ';' || c == ')' || c == ']') break;
      const GrammarPosition at = here();
      if (c == '(' || c == '[') {
        sequence.items.push_back(read_group(depth));
      } else if (c == '{') {
        sequence.items.push_back(read_list());
      } else if (c == '<') {
        sequence.items.push_back(read_rule());
      } else if (c == '}' || c == '>') {
        fail_at(file_, at, quoted(c) + " closes nothing: the bracket that it belongs to is missing");
      } else if (c == '=') {
        fail_at(file_, at, "'=' in a template: a slot with a fixed value is a line of its own, name = value");
      } else {
        read_character(sequence.items);
      }
    }
    return sequence;
  }

  void read_character(std::vector<GrammarExpression>& items) {
    const GrammarPosition at = here();
    char32_t c = line_[i_++];
    if (c == '\\') {
      if (i_ == end_) fail_at(file_, at, "nothing follows the backslash");
      c = line_[i_++];
    }
    if (is_space(c) || is_hyphen(c)) {
      if (items.empty() || items.back().kind != Kind::kGap) {
        items.push_back(GrammarExpression{Kind::kGap, at, {}, {}, {}});
      }
      return;
    }
    if (is_punctuation(c)) return;
    if (c < 0x20 || c == 0x7F) fail_at(file_, at, "a control character");
    if (items.empty() || items.back().kind != Kind::kText) {
      items.push_back(GrammarExpression{Kind::kText, at, {}, {}, {}});
    }
    encode(in_case(straight(c), letters_), items.back().text);
  }

  GrammarExpression read_group(int depth) {
    const GrammarPosition at = here();
    const char32_t open = line_[i_++];
    const char32_t close = open == '(' ? U')' : U']';
    GrammarExpression group = read_choice(depth + 1, close);
    if (i_ == end_) fail_at(file_, at, quoted(open) + " is not closed by " + quoted(close));
    if (line_[i_] != close) {
      fail_at(file_, here(),
              quoted(line_[i_]) + " where " + quoted(close) + " should close the bracket of column " +
                  std::to_string(at.column));
    }
    ++i_;
    if (open == '(') return group;
    GrammarExpression optional;
    optional.kind = Kind::kAlternatives;
    optional.at = at;
    if (group.kind == Kind::kAlternatives) {
      optional.items = std::move(group.items);
    } else {
      optional.items.push_back(std::move(group));
    }
    optional.items.emplace_back();
    optional.items.back().at = at;
    return optional;
  }

  std::string read_name(const GrammarPosition& at, const char* what) {
    while (i_ < end_ && is_space(line_[i_])) ++i_;
    const std::size_t begin = i_;
    while (i_ < end_ && is_name_character(line_[i_])) ++i_;
    if (i_ == begin)
      fail_at(file_, at, std::string("the name of ") + what + " is missing, or not of letters, digits and _");
    const std::string name = to_utf8(line_, begin, i_);
    while (i_ < end_ && is_space(line_[i_])) ++i_;
    return name;
  }

  void close_name(const GrammarPosition& at, char32_t open, char32_t close) {
    if (i_ == end_) fail_at(file_, at, quoted(open) + " is not closed by " + quoted(close));
    if (line_[i_] != close) {
      fail_at(file_, here(), quoted(line_[i_]) + " in a name, expected letters, digits, _ and then " + quoted(close));
    }
    ++i_;
  }

  GrammarExpression read_list() {
    GrammarExpression list;
    list.kind = Kind::kList;
    list.at = here();
    ++i_;
    list.text = read_name(list.at, "the list");
    list.slot = list.text;
    if (i_ < end_ && line_[i_] == ':') {
      ++i_;
      list.slot = read_name(list.at, "the slot");
    }
    close_name(list.at, U'{', U'}');
    return list;
  }

  GrammarExpression read_rule() {
    GrammarExpression rule;
    rule.kind = Kind::kRule;
    rule.at = here();
    ++i_;
    rule.text = read_name(rule.at, "the rule");
    close_name(rule.at, U'<', U'>');
    return rule;
  }

  const Line& line_;
  std::size_t i_;
  std::size_t end_;
  std::uint32_t number_;
  const std::string& file_;
  LetterCase letters_;
};

// Reads the lines into blocks.
class GrammarReader {
 public:
  GrammarReader(const std::string& file, LetterCase letters, const GrammarLimits& limits)
      : file_(file), letters_(letters), limits_(limits) {}

  GrammarText read(const std::string& text) {
    if (text.size() > static_cast<std::size_t>(limits_.max_text_bytes)) {
      throw ConfigError(file_ + " has " + std::to_string(text.size()) + " bytes, expected at most max_text_bytes, " +
                        std::to_string(limits_.max_text_bytes));
    }
    std::size_t i = text.compare(0, 3, "\xEF\xBB\xBF") == 0 ? 3 : 0;
    while (i < text.size()) {
      ++number_;
      read_line(text, i);
    }
    end_block();
    if (grammar_.intents.empty()) {
      throw ConfigError(file_ + ": the grammar is empty: it has no intent with sentences");
    }
    return std::move(grammar_);
  }

 private:
  enum class Block { kNone, kIntent, kList, kRange, kRule, kSkip };

  GrammarPosition at(std::size_t index) const { return {number_, static_cast<std::uint32_t>(index + 1)}; }

  void read_line(const std::string& text, std::size_t& i) {
    line_.clear();
    bool comment = false;
    while (i < text.size() && text[i] != '\n') {
      const char32_t c = decode(text, i);
      if (c == kInvalid) fail_at(file_, at(line_.size()), "the text is not UTF-8");
      comment = comment || (c == '#' && (line_.empty() || is_space(line_.back())));
      if (!comment) line_.push_back(c);
    }
    if (i < text.size()) ++i;
    std::size_t end = line_.size();
    while (end > 0 && (is_space(line_[end - 1]) || line_[end - 1] == '\r')) --end;
    line_.resize(end);
    if (line_.empty()) return;
    if (is_space(line_[0])) {
      std::size_t begin = 0;
      while (is_space(line_[begin])) ++begin;
      read_content(begin);
    } else {
      read_header();
    }
  }

  void read_header() {
    end_block();
    std::size_t i = 0;
    while (i < line_.size() && line_[i] >= 'a' && line_[i] <= 'z') ++i;
    const std::string keyword = to_utf8(line_, 0, i);
    if (keyword == "intent") {
      block_ = Block::kIntent;
    } else if (keyword == "list") {
      block_ = Block::kList;
    } else if (keyword == "range") {
      block_ = Block::kRange;
    } else if (keyword == "rule") {
      block_ = Block::kRule;
    } else if (keyword == "skip") {
      block_ = Block::kSkip;
    } else {
      fail_at(file_, at(0),
              "a line that is not indented begins with intent, list, range, rule or skip; this one with " +
                  (keyword.empty() ? quoted(line_[0]) : '"' + keyword + '"'));
    }
    keyword_ = keyword;
    block_at_ = at(0);
    while (i < line_.size() && is_space(line_[i])) ++i;
    const std::size_t begin = i;
    while (i < line_.size() && is_name_character(line_[i])) ++i;
    name_ = to_utf8(line_, begin, i);
    if (block_ == Block::kSkip) {
      if (!name_.empty()) fail_at(file_, at(begin), "\"skip\" has no name, expected \"skip:\"");
    } else if (name_.empty()) {
      fail_at(file_, at(begin), "a name of letters, digits and _ should follow \"" + keyword + "\"");
    }
    while (i < line_.size() && is_space(line_[i])) ++i;
    if (i == line_.size() || line_[i] != ':') fail_at(file_, at(i), "a colon should follow the name");
    begin_block();
    ++i;
    while (i < line_.size() && is_space(line_[i])) ++i;
    if (i < line_.size()) read_content(i);
  }

  void refuse_second(const std::string& what, GrammarPosition first) const {
    fail_at(file_, block_at_, what + " is defined a second time; the first is in line " + std::to_string(first.line));
  }

  void begin_block() {
    num_contents_ = 0;
    switch (block_) {
      case Block::kIntent: {
        grammar_.intents.emplace_back();
        grammar_.intents.back().at = block_at_;
        grammar_.intents.back().name = name_;
        break;
      }
      case Block::kList:
      case Block::kRange: {
        const auto found = grammar_.lists.find(name_);
        if (found != grammar_.lists.end()) refuse_second("the list or range \"" + name_ + '"', found->second.at);
        list_ = &grammar_.lists[name_];
        list_->at = block_at_;
        list_->is_range = block_ == Block::kRange;
        break;
      }
      case Block::kRule: {
        const auto found = grammar_.rules.find(name_);
        if (found != grammar_.rules.end()) refuse_second("the rule \"" + name_ + '"', found->second.at);
        start_rule(grammar_.rules[name_]);
        break;
      }
      case Block::kSkip: {
        if (grammar_.has_skip) refuse_second("\"skip\"", grammar_.skip.at);
        grammar_.has_skip = true;
        start_rule(grammar_.skip);
        break;
      }
      case Block::kNone: break;
    }
  }

  void start_rule(GrammarRule& rule) {
    rule_ = &rule;
    rule.at = block_at_;
    rule.expression.kind = Kind::kAlternatives;
    rule.expression.at = block_at_;
  }

  void end_block() const {
    if (block_ != Block::kNone && num_contents_ == 0) {
      const std::string what = block_ == Block::kIntent ? " has no sentence" : " is empty";
      fail_at(file_, block_at_, keyword_ + (name_.empty() ? "" : " \"" + name_ + '"') + what);
    }
  }

  void read_content(std::size_t begin) {
    switch (block_) {
      case Block::kNone:
        fail_at(file_, at(begin), "an indented line before the first intent, list, range, rule or skip");
      case Block::kIntent: {
        if (!read_fixed_slot(begin)) {
          grammar_.intents.back().sentences.push_back(read_template(begin, line_.size()));
          ++num_contents_;
        }
        break;
      }
      case Block::kList: {
        read_value(begin);
        ++num_contents_;
        break;
      }
      case Block::kRange: {
        if (num_contents_ > 0) fail_at(file_, at(begin), "a second line in a range, expected one");
        read_range(begin);
        ++num_contents_;
        break;
      }
      case Block::kRule:
      case Block::kSkip: {
        rule_->expression.items.push_back(read_template(begin, line_.size()));
        ++num_contents_;
        break;
      }
    }
  }

  GrammarExpression read_template(std::size_t begin, std::size_t end) const {
    return TemplateReader(line_, begin, end, number_, file_, letters_).read();
  }

  // name = value
  bool read_fixed_slot(std::size_t begin) {
    std::size_t i = begin;
    while (i < line_.size() && is_name_character(line_[i])) ++i;
    const std::string slot = to_utf8(line_, begin, i);
    while (i < line_.size() && is_space(line_[i])) ++i;
    if (slot.empty() || i == line_.size() || line_[i] != '=') return false;
    ++i;
    while (i < line_.size() && is_space(line_[i])) ++i;
    if (i == line_.size()) fail_at(file_, at(begin), "the value of the slot \"" + slot + "\" is missing");
    for (const auto& other : grammar_.intents.back().slots) {
      if (other.first == slot) fail_at(file_, at(begin), "the slot \"" + slot + "\" has a fixed value already");
    }
    grammar_.intents.back().slots.emplace_back(slot, to_utf8(line_, i, line_.size()));
    return true;
  }

  // template, or: template -> value
  void read_value(std::size_t begin) {
    std::size_t arrow = begin;
    while (arrow + 1 < line_.size() && !(line_[arrow] == '-' && line_[arrow + 1] == '>')) {
      arrow += line_[arrow] == '\\' ? 2 : 1;
    }
    GrammarValue value;
    const bool has_arrow = arrow + 1 < line_.size();
    std::size_t end = has_arrow ? arrow : line_.size();
    while (end > begin && is_space(line_[end - 1])) --end;
    value.expression = read_template(begin, end);
    if (has_arrow) {
      std::size_t i = arrow + 2;
      while (i < line_.size() && is_space(line_[i])) ++i;
      value.out = to_utf8(line_, i, line_.size());
      value.has_out = true;
      if (value.out.empty()) fail_at(file_, at(arrow), "no value follows ->");
    }
    list_->values.push_back(std::move(value));
  }

  // from to to [step number] [times number]
  void read_range(std::size_t begin) {
    struct Part {
      std::string text;
      std::size_t begin;
    };
    std::vector<Part> parts;
    for (std::size_t i = begin; i < line_.size();) {
      std::size_t end = i;
      while (end < line_.size() && !is_space(line_[end])) ++end;
      parts.push_back(Part{to_utf8(line_, i, end), i});
      while (end < line_.size() && is_space(line_[end])) ++end;
      i = end;
    }
    const auto number = [&](std::size_t part) {
      std::int64_t value = 0;
      const GrammarPosition where = at(part < parts.size() ? parts[part].begin : line_.size());
      if (part >= parts.size()) fail_at(file_, where, "a number is missing, expected \"1 to 10 step 1 times 1\"");
      if (!read_number(parts[part].text, value)) {
        fail_at(file_, where,
                '"' + parts[part].text + "\" where a number should stand, such as 20, -5 or 0.5, of less than a " +
                    "thousand million and with three decimals at most");
      }
      return value;
    };
    GrammarRange& range = list_->range;
    range.step = kThousandths;
    range.times = kThousandths;
    range.from = number(0);
    if (parts.size() < 2 || parts[1].text != "to") {
      fail_at(file_, at(parts.size() < 2 ? line_.size() : parts[1].begin), "expected \"to\" after the first number");
    }
    range.to = number(2);
    bool has_step = false;
    bool has_times = false;
    for (std::size_t part = 3; part < parts.size(); part += 2) {
      const bool is_step = parts[part].text == "step" && !has_step;
      if (!is_step && (parts[part].text != "times" || has_times)) {
        fail_at(file_, at(parts[part].begin), '"' + parts[part].text + "\" where \"step\" or \"times\" may stand once");
      }
      (is_step ? has_step : has_times) = true;
      (is_step ? range.step : range.times) = number(part + 1);
      if (is_step && range.step <= 0) fail_at(file_, at(parts[part + 1].begin), "the step is not more than 0");
    }
    if (range.from > range.to) {
      fail_at(file_, at(parts[0].begin),
              "the range is upside down: it goes from " + parts[0].text + " to " + parts[2].text);
    }
    constexpr std::int64_t kMostProduct = kNumberLimit * kThousandths;
    const std::int64_t largest = std::max(std::abs(range.from), std::abs(range.to));
    if (range.times != 0 && largest >= kMostProduct / std::abs(range.times)) {
      fail_at(file_, at(parts[0].begin),
              "the range times its factor is out of bounds, expected less than a thousand million");
    }
    if (range.from * range.times % kThousandths != 0 || range.step * range.times % kThousandths != 0) {
      fail_at(file_, at(parts[0].begin), "the range times its factor has more than three decimals");
    }
    const std::int64_t count = (range.to - range.from) / range.step + 1;
    if (count > limits_.max_range_values) {
      fail_at(file_, at(parts[0].begin),
              "the range has " + std::to_string(count) + " values, expected at most max_range_values, " +
                  std::to_string(limits_.max_range_values));
    }
  }

  const std::string& file_;
  LetterCase letters_;
  const GrammarLimits& limits_;
  GrammarText grammar_;
  std::uint32_t number_ = 0;
  Line line_;

  // The block that the line belongs to.
  Block block_ = Block::kNone;
  std::string keyword_;
  std::string name_;
  GrammarPosition block_at_;
  std::size_t num_contents_ = 0;
  GrammarList* list_ = nullptr;
  GrammarRule* rule_ = nullptr;
};

}  // namespace

void validate(const GrammarLimits& limits) {
  const auto require = [](bool good, const char* field, std::int32_t value, const std::string& expected) {
    if (!good) throw ConfigError(std::string(field) + " is " + std::to_string(value) + ", expected " + expected);
  };
  constexpr std::int32_t kMost = 1 << 28;
  const auto check = [&](const char* field, std::int32_t value) {
    require(value >= 1 && value <= kMost, field, value, "1 to " + std::to_string(kMost));
  };
  check("max_text_bytes", limits.max_text_bytes);
  check("max_nodes", limits.max_nodes);
  check("max_range_values", limits.max_range_values);
  check("max_states", limits.max_states);
}

void fail_at(const std::string& name, GrammarPosition at, const std::string& message) {
  throw ConfigError(name + ":" + std::to_string(at.line) + ":" + std::to_string(at.column) + ": " + message);
}

GrammarText read_grammar(const std::string& text, const std::string& name, LetterCase letters,
                         const GrammarLimits& limits) {
  return GrammarReader(name, letters, limits).read(text);
}

std::string normalise_text(const std::string& text, LetterCase letters) {
  std::string normal;
  bool gap = false;
  for (std::size_t i = 0; i < text.size();) {
    const char32_t c = decode(text, i);
    if (c == kInvalid) throw InputError("the text is not UTF-8");
    if (is_space(c) || is_hyphen(c) || c == '\n' || c == '\r') {
      gap = true;
    } else if (!is_punctuation(c)) {
      if (gap && !normal.empty()) normal.push_back(' ');
      gap = false;
      encode(in_case(straight(c), letters), normal);
    }
  }
  return normal;
}

}  // namespace edgeasr
