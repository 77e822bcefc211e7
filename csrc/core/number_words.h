// How numbers are said in English, for the number ranges of grammars.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace edgeasr {

// Numbers have three decimals at most, and are counted in thousandths.
constexpr std::int64_t kThousandths = 1000;
// Numbers are smaller than this, in thousandths.
constexpr std::int64_t kNumberLimit = std::int64_t{1'000'000'000} * kThousandths;

// All ways to say the number, in lower case, a space between words, the usual one first; none twice. 105000 (105): "one
// hundred five", "one hundred and five", "a hundred five", "a hundred and five"; -500: "minus zero point five" and
// more. Throws ConfigError when the number is out of bounds.
std::vector<std::string> say_number(std::int64_t thousandths);

// The number in digits, without zeros at the end of the decimals: "-3", "20.5".
std::string write_number(std::int64_t thousandths);

// Reads what write_number() writes, a plus sign too. False when it is something else, or out of bounds.
bool read_number(const std::string& text, std::int64_t& thousandths);

}  // namespace edgeasr
