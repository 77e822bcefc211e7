// Any bytes as an ARPA file: a model that can be asked, or an error that names the file.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/arpa.h"
#include "core/errors.h"
#include "core/ngram_lm.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgeasr;
  const auto* text = reinterpret_cast<const char*>(data);
  try {
    ArpaReader reader("input.arpa");
    const std::size_t cut = size / 3;
    reader.accept(text, cut);
    reader.accept(text + cut, size - cut);
    const NgramTable table = reader.finish();
    // A model that was accepted is whole: written, it is read again, in both formats.
    const auto model = NgramLm::from_image(write_image(table, {}), "input");
    NgramLm::State state = model->begin_state();
    const auto num_words = static_cast<WordId>(std::min<std::size_t>(model->vocab_size(), 8));
    for (WordId word = 0; word < num_words; ++word) {
      if (!(model->score(state, word, &state) < 1e7)) std::abort();
      if (model->find(model->word(word)) != word) std::abort();
    }
    std::string again;
    write_arpa(table, [&](std::string_view piece) { again += piece; });
    const auto coded = NgramLm::from_image(write_image(read_image(model->image()), {3, 2}), "input");
    coded->verify();
    coded->score_end(state);
  } catch (const LanguageModelError& error) {
    if (std::string(error.what()).rfind("input.arpa:", 0) != 0) std::abort();
  }
  return 0;
}
