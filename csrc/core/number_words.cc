#include "core/number_words.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "core/errors.h"

namespace edgeasr {
namespace {

using Ways = std::vector<std::string>;

constexpr std::array<const char*, 20> kSmall = {
    "zero", "one",    "two",    "three",    "four",     "five",    "six",     "seven",     "eight",    "nine",
    "ten",  "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
constexpr std::array<const char*, 10> kTens = {"",      "",      "twenty",  "thirty", "forty",
                                               "fifty", "sixty", "seventy", "eighty", "ninety"};

std::string below_hundred(std::int64_t n) {
  if (n < 20) return kSmall[static_cast<std::size_t>(n)];
  std::string text = kTens[static_cast<std::size_t>(n / 10)];
  if (n % 10 != 0) text.append(" ").append(kSmall[static_cast<std::size_t>(n % 10)]);
  return text;
}

// Every way to say the front, followed by every way to say the rest: with "and" too where that is usual.
Ways joined(const Ways& fronts, const Ways& rests, bool with_and) {
  Ways ways;
  for (const std::string& front : fronts) {
    for (const std::string& rest : rests) {
      ways.push_back(front);
      ways.back().append(" ").append(rest);
      if (!with_and) continue;
      ways.push_back(front);
      ways.back().append(" and ").append(rest);
    }
  }
  return ways;
}

// "A hundred" for "one hundred" is said only where the number begins, and likewise below.
Ways below_thousand(std::int64_t n, bool begins) {
  if (n < 100) return {below_hundred(n)};
  Ways fronts = {std::string(kSmall[static_cast<std::size_t>(n / 100)]) + " hundred"};
  if (begins && n / 100 == 1) fronts.emplace_back("a hundred");
  return n % 100 == 0 ? fronts : joined(fronts, {below_hundred(n % 100)}, true);
}

Ways whole(std::int64_t n, bool begins) {
  if (n < 1000) return below_thousand(n, begins);
  const bool millions = n >= 1'000'000;
  const std::int64_t unit = millions ? 1'000'000 : 1000;
  Ways fronts;
  for (const std::string& count : below_thousand(n / unit, begins)) {
    fronts.push_back(count + (millions ? " million" : " thousand"));
  }
  if (begins && n / unit == 1) fronts.emplace_back(millions ? "a million" : "a thousand");
  const std::int64_t rest = n % unit;
  Ways ways = rest == 0 ? fronts : joined(fronts, whole(rest, false), rest < 100);
  if (begins && n < 10'000 && n / 100 % 10 != 0) {
    const Ways hundreds = {below_hundred(n / 100) + " hundred"};
    const Ways more = n % 100 == 0 ? hundreds : joined(hundreds, {below_hundred(n % 100)}, true);
    ways.insert(ways.end(), more.begin(), more.end());
  }
  return ways;
}

Ways positive(std::int64_t thousandths) {
  const std::int64_t n = thousandths / kThousandths;
  std::int64_t decimals = thousandths % kThousandths;
  Ways ways = whole(n, true);
  if (decimals == 0) return ways;
  std::string point = "point";
  for (std::int64_t unit = kThousandths / 10; decimals != 0; unit /= 10) {
    point.append(" ").append(kSmall[static_cast<std::size_t>(decimals / unit)]);
    decimals %= unit;
  }
  Ways all = joined(ways, {point}, false);
  if (n == 0) all.push_back(point);
  if (thousandths % kThousandths == kThousandths / 2) {
    for (const std::string& way : ways) {
      if (n != 0) all.push_back(way + " and a half");
    }
    if (n == 0) all.insert(all.end(), {"half", "a half"});
  }
  return all;
}

}  // namespace

std::vector<std::string> say_number(std::int64_t thousandths) {
  if (thousandths <= -kNumberLimit || thousandths >= kNumberLimit) {
    throw ConfigError("a number of " + std::to_string(thousandths) + " thousandths is out of bounds, expected less " +
                      "than a thousand million");
  }
  Ways ways = positive(thousandths < 0 ? -thousandths : thousandths);
  if (thousandths < 0) {
    Ways negative;
    for (const std::string& way : ways) negative.push_back("minus " + way);
    for (const std::string& way : ways) negative.push_back("negative " + way);
    ways.swap(negative);
  }
  return ways;
}

std::string write_number(std::int64_t thousandths) {
  const std::int64_t size = thousandths < 0 ? -thousandths : thousandths;
  std::string text = (thousandths < 0 ? "-" : "") + std::to_string(size / kThousandths);
  if (size % kThousandths == 0) return text;
  std::string decimals = std::to_string(kThousandths + size % kThousandths).substr(1);
  decimals.erase(decimals.find_last_not_of('0') + 1);
  return text.append(".").append(decimals);
}

bool read_number(const std::string& text, std::int64_t& thousandths) {
  std::size_t i = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  std::int64_t value = 0;
  std::size_t digits = 0;
  std::size_t decimals = 0;
  bool point = false;
  for (; i < text.size(); ++i) {
    if (text[i] == '.' && !point && digits > 0) {
      point = true;
    } else if (text[i] >= '0' && text[i] <= '9' && (!point || decimals < 3) && value < kNumberLimit) {
      value = value * 10 + (text[i] - '0');
      ++(point ? decimals : digits);
    } else {
      return false;
    }
  }
  if (digits == 0 || (point && decimals == 0)) return false;
  for (; decimals < 3; ++decimals) {
    if (value >= kNumberLimit) return false;
    value *= 10;
  }
  if (value >= kNumberLimit) return false;
  thousandths = text[0] == '-' ? -value : value;
  return true;
}

}  // namespace edgeasr
