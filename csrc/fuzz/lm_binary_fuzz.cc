// Any bytes as a language model in the binary format. The checksums are made right first, so that more than these is
// tried: whatever sizes, offsets and n-grams the file claims, nothing outside of it is read, and what is made of its
// n-grams is a model, or an error.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "core/arpa.h"
#include "core/errors.h"
#include "core/lm_prune.h"
#include "core/ngram_lm.h"
#include "core/ngram_table.h"
#include "fuzz/require.h"

namespace edgeasr {
namespace {

void ask(const NgramLm& model) {
  NgramLm::State state = model.begin_state();
  const auto num_words = static_cast<WordId>(std::min<std::size_t>(model.vocab_size(), 6));
  for (int step = 0; step < 3; ++step) {
    for (WordId word = 0; word <= num_words; ++word) {
      NgramLm::State next;
      model.score(state, word, &next);
      require(next.length < NgramLm::kMaxOrder);
      if (word < num_words) model.find(model.word(word));
      if (word % 3 == static_cast<WordId>(step)) state = next;
    }
    model.score_end(state);
  }
  for (const char* word : {"", "a", "<s>", "turn"}) model.find(word);
}

// As `edgeasr lm convert` does.
void convert(const NgramLm& model, unsigned way) {
  NgramTable table = read_image(model.image(), "input.bin");
  require(table.levels.size() == static_cast<std::size_t>(model.order()));
  if (way % 16 < 4) {
    const int bits = way == 0 ? 2 : 8;  // where values share codes, finding these takes a millisecond
    ask(*NgramLm::from_image(write_image(table, {bits, bits}), "coded"));
  } else if (way % 16 < 8) {
    std::size_t num_bytes = 0;
    write_arpa(table, [&](std::string_view piece) { num_bytes += piece.size(); });
    require(num_bytes > 0);
  } else {
    if (way % 16 < 12) prune_by_entropy(table, 0.01);
    ask(*NgramLm::from_image(write_image(table, {}), "again"));
  }
}

void run(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kHeaderSize = 568;
  std::vector<std::uint64_t> image((size + 7) / 8, 0);
  if (size > 0) std::memcpy(image.data(), data, size);
  auto* bytes = reinterpret_cast<std::uint8_t*>(image.data());
  const std::size_t image_size = image.size() * 8;
  unsigned way = 0;
  if (image_size >= kHeaderSize) {
    const auto put = [bytes](std::size_t at, std::uint64_t value) { std::memcpy(bytes + at, &value, sizeof(value)); };
    way = bytes[kHeaderSize - 1];  // what stands there is replaced
    if (way != 255) put(kHeaderSize - 16, image_checksum(bytes + kHeaderSize, image_size - kHeaderSize));
    put(kHeaderSize - 8, image_checksum(bytes, kHeaderSize - 8));
  }
  try {
    const auto model = NgramLm::from_image(std::move(image), "input.bin");
    ask(*model);
    convert(*model, way);
  } catch (const LanguageModelError& error) {
    const std::string_view message = error.what();
    require(message.rfind("input.bin:", 0) == 0 || message.find("lacks its beginning") != std::string_view::npos);
  }
}

}  // namespace
}  // namespace edgeasr

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  edgeasr::run(data, size);
  return 0;
}
