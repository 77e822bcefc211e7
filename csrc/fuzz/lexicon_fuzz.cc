// The reader of lexicons, and the lists of words that it makes. What is read must be found again, and nothing else.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/errors.h"
#include "core/hotwords.h"
#include "core/lexicon.h"
#include "core/text_scorer.h"
#include "core/token_spellings.h"

namespace {

void require(bool good) {
  if (!good) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const edgeasr::TokenSpellings tokens({"<blank>", " ", "a", "b", "ab", " c", "c "}, 0);
  try {
    const edgeasr::Lexicon lexicon = edgeasr::Lexicon::parse(text, "words");
    std::size_t num_spellings = 0;
    lexicon.visit_spellings([&](std::string_view spelling, std::string_view word) {
      ++num_spellings;
      const std::int32_t found = lexicon.find(spelling);
      require(found != edgeasr::Lexicon::kNone && lexicon.word(found) == word);
      require(text.find(spelling) != std::string_view::npos && text.find(word) != std::string_view::npos);
      require(lexicon.find(std::string(spelling) + " ") == edgeasr::Lexicon::kNone);
    });
    require(num_spellings == lexicon.num_words());
    require(edgeasr::unspellable(lexicon, tokens).size() <= num_spellings);
  } catch (const edgeasr::InputError&) {
  }
  try {
    const edgeasr::Hotwords hotwords({{std::string(text), 2.0}, {"a b", 1.0}});
    const edgeasr::Hotwords::Values values = hotwords.values(1.0);
    edgeasr::Hotwords::State state = hotwords.start();
    double sum = 0.0;
    for (const char byte : std::string(text) + " ") {
      state = hotwords.advance(state, byte);
      sum += values.done[state];
    }
    require(sum >= 2.0 || text == "a b");
  } catch (const edgeasr::ConfigError&) {
  }
  return 0;
}
