// The input as a lexicon, and its lines as hotwords. What is read must be found again, and nothing else; and the
// automaton must find the hotwords that stand in a text, as often as a plain search does.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/errors.h"
#include "core/hotwords.h"
#include "core/lexicon.h"
#include "core/text_scorer.h"
#include "core/token_spellings.h"
#include "fuzz/require.h"

namespace {

using edgeasr::Hotwords;
using edgeasr::Lexicon;

void check_lexicon(std::string_view text) {
  static const edgeasr::TokenSpellings tokens({"<blank>", " ", "a", "b", "ab", " c", "c ", "a b", "\xC3\xA4"}, 0);
  const Lexicon lexicon = Lexicon::parse(text, "words");
  std::size_t num_spellings = 0;
  std::string longer;
  lexicon.visit_spellings([&](std::string_view spelling, std::string_view word) {
    ++num_spellings;
    const std::int32_t found = lexicon.find(spelling);
    require(found != Lexicon::kNone && lexicon.word(found) == word);
    require(text.find(spelling) != std::string_view::npos && text.find(word) != std::string_view::npos);
    longer.assign(spelling);
    longer += ' ';
    require(lexicon.find(longer) == Lexicon::kNone);
  });
  require(num_spellings == lexicon.num_words());
  std::size_t num_nodes = 0;
  lexicon.visit_upwards([&](std::int32_t node, std::int32_t parent) {
    ++num_nodes;
    require(parent < node);
  });
  require(num_nodes == lexicon.num_nodes());
  require(edgeasr::unspellable(lexicon, tokens).size() <= num_spellings);
}

void check_hotwords(std::string_view text) {
  constexpr std::size_t kMostLines = 12;
  std::vector<Hotwords::Phrase> phrases;
  while (!text.empty() && phrases.size() < kMostLines) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) phrases.push_back({std::string(text.substr(0, end)), 1.0 + static_cast<double>(phrases.size() % 3)});
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  const Hotwords hotwords(phrases);
  require(hotwords.num_phrases() <= phrases.size());
  const Hotwords::Values values = hotwords.values(1.0);
  // A text of the first phrases, with spaces around.
  std::string said = " ";
  std::map<std::string_view, double> boosts;  // of equal phrases the last counts
  for (std::size_t i = 0; i < phrases.size(); ++i) {
    if (i < 3) said += phrases[i].text + ' ';
    boosts[phrases[i].text] = phrases[i].boost;
  }
  double expected = 0.0;
  std::string padded;
  for (const auto& [phrase, boost] : boosts) {
    padded.assign(1, ' ').append(phrase).push_back(' ');
    for (std::size_t at = said.find(padded); at != std::string::npos; at = said.find(padded, at + 1)) expected += boost;
  }
  Hotwords::State state = hotwords.start();
  double found = 0.0;
  for (std::size_t i = 1; i < said.size(); ++i) {
    const double partial = values.partial[state];
    state = hotwords.advance(state, said[i]);
    found += values.done[state];
    require(values.done[state] + values.partial[state] - partial <= values.largest_step + 1e-9);
  }
  require(std::abs(found - expected) < 1e-6);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    check_lexicon(text);
  } catch (const edgeasr::InputError& error) {
    require(std::string_view(error.what()).rfind("words:", 0) == 0);
  }
  try {
    check_hotwords(text);
  } catch (const edgeasr::ConfigError& error) {
    require(std::string_view(error.what()).rfind("the hotword", 0) == 0);
  }
  return 0;
}
