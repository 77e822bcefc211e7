// Any bytes as an ARPA file: a model that can be asked, or an error that names the file. What was accepted is whole:
// written, in the binary format or as ARPA, it is read again.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/arpa.h"
#include "core/errors.h"
#include "core/ngram_lm.h"
#include "fuzz/require.h"

namespace edgeasr {
namespace {

void check_same(const NgramTable& a, const NgramTable& b) {
  require(a.levels.size() == b.levels.size() && a.words.size() == b.words.size());
  require(a.begin_word == b.begin_word && a.end_word == b.end_word);
  for (std::size_t id = 0; id < a.words.size(); ++id) require(a.words[id] == b.words[id]);
  for (std::size_t level = 0; level < a.levels.size(); ++level) {
    require(a.levels[level].words == b.levels[level].words && a.levels[level].parents == b.levels[level].parents);
  }
}

void run(const std::uint8_t* data, std::size_t size) {
  const auto* text = reinterpret_cast<const char*>(data);
  NgramTable table;
  try {
    ArpaReader reader("input.arpa");
    const std::size_t cut = size / 3;
    reader.accept(text, cut);
    reader.accept(text + cut, size - cut);
    table = reader.finish();
  } catch (const LanguageModelError& error) {
    require(std::string_view(error.what()).rfind("input.arpa:", 0) == 0);
    return;
  }
  const auto model = NgramLm::from_image(write_image(table, {}), "input");
  NgramLm::State state = model->begin_state();
  const auto num_words = static_cast<WordId>(std::min<std::size_t>(model->vocab_size(), 8));
  for (WordId word = 0; word < num_words; ++word) {
    require(model->score(state, word, &state) < 1e7);
    require(model->find(model->word(word)) == word);
  }
  model->score_end(state);
  check_same(read_image(model->image(), "input"), table);
  if (size % 4 == 0) {
    std::string written;
    write_arpa(table, [&](std::string_view piece) { written += piece; });
    ArpaReader reader("written.arpa");
    reader.accept(written.data(), written.size());
    check_same(reader.finish(), table);
  } else if (size % 16 == 1) {  // to find codes takes a millisecond
    const auto coded = NgramLm::from_image(write_image(table, {3, 2}), "input");
    coded->verify();
    coded->score(coded->begin_state(), num_words - 1, &state);
    check_same(read_image(coded->image(), "input"), table);
  }
}

}  // namespace
}  // namespace edgeasr

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  edgeasr::run(data, size);
  return 0;
}
