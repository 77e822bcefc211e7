// Any bytes as a language model in the binary format. The header's checksum is made right first, so that more than the
// checksum is tried: whatever sizes, offsets and n-grams the file claims, nothing outside of it is read.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "core/errors.h"
#include "core/ngram_lm.h"
#include "core/ngram_table.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgeasr;
  constexpr std::size_t kHeaderSize = 568;
  constexpr std::size_t kChecksum = kHeaderSize - 8;
  std::vector<std::uint64_t> image((size + 7) / 8, 0);
  if (size > 0) std::memcpy(image.data(), data, size);
  auto* bytes = reinterpret_cast<std::uint8_t*>(image.data());
  if (image.size() * 8 >= kHeaderSize) {
    const std::uint64_t checksum = image_checksum(bytes, kChecksum);
    std::memcpy(bytes + kChecksum, &checksum, sizeof(checksum));
  }
  try {
    const auto model = NgramLm::from_image(image, "input.bin");
    NgramLm::State state = model->begin_state();
    const auto num_words = static_cast<WordId>(std::min<std::size_t>(model->vocab_size(), 6));
    for (int step = 0; step < 3; ++step) {
      for (WordId word = 0; word <= num_words; ++word) {
        NgramLm::State next;
        model->score(state, word, &next);
        if (next.length > NgramLm::kMaxOrder - 1) std::abort();
        if (word < num_words) model->find(model->word(word));
        if (word % 3 == static_cast<WordId>(step)) state = next;
      }
      model->score_end(state);
    }
    for (const char* word : {"", "a", "<s>", "turn"}) model->find(word);
    const NgramTable table = read_image(model->image());
    if (table.levels.size() != static_cast<std::size_t>(model->order())) std::abort();
    try {
      model->verify();
    } catch (const LanguageModelError&) {
      // The body need not fit its checksum.
    }
  } catch (const LanguageModelError& error) {
    if (std::string(error.what()).rfind("input.bin:", 0) != 0) std::abort();
  }
  return 0;
}
