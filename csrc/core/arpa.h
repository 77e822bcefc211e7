// The ARPA format of language models (Doug Paul 1991; as SRILM's ngram-format(5) describes it): read from pieces of any
// size, so that the caller may decompress, and written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/ngram_table.h"

namespace edgeasr {

// Takes the text in pieces, then gives the model. What is wrong throws LanguageModelError naming the file and the line.
//
// A model without <unk> gets one with a score of -100 (log10). N-grams whose beginning or end is not in the file, as
// pruning tools leave them, get what is missing, with the scores that it has by backing off.
class ArpaReader {
 public:
  // `name` is what errors call the file.
  explicit ArpaReader(std::string name);

  void accept(const char* text, std::size_t size);
  // Ends the text. The reader must not be used after it.
  NgramTable finish();

 private:
  enum class Part : std::uint8_t { kStart, kCounts, kNgrams, kEnd };
  // The n-grams of one order as they come, words one after the other.
  struct Raw {
    std::uint64_t expected = 0;
    std::vector<std::uint32_t> words;
    std::vector<float> scores;
    std::vector<float> backoffs;
    std::size_t num_filled = 0;  // of those at the end that are not in the file
  };

  [[noreturn]] void refuse(const std::string& what) const;
  void take_line(std::string_view line);
  void take_count(std::string_view line);
  void take_section(std::string_view line);
  void take_ngram(std::string_view line);
  float take_number(std::string_view field, const char* what) const;
  void end_section();
  bool build_levels(NgramTable& table);
  std::string show(const std::uint32_t* words, std::size_t length) const;

  std::string name_;
  std::uint64_t line_ = 0;
  std::string rest_;
  Part part_ = Part::kStart;
  std::size_t length_ = 0;  // of the n-grams of this section
  std::vector<Raw> orders_;
  WordIndex index_;
  WordList words_;                  // by id
  std::vector<std::uint32_t> ids_;  // by the numbers of index_
  std::vector<std::string_view> fields_;
};

// Writes a model, scores as log10, as pieces of text.
void write_arpa(const NgramTable& table, const std::function<void(std::string_view)>& write);

}  // namespace edgeasr
