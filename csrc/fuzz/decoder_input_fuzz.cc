// The decoder with any configuration, any context, and any rows. Whatever comes in, hypotheses are sorted, different,
// and the same however the rows are cut; or the input is refused.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/ctc_beam.h"
#include "core/errors.h"

namespace {

void require(bool good) {
  if (!good) std::abort();
}

// Reads numbers from the front of the input; zeros after its end.
class Reader {
 public:
  Reader(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  std::uint8_t byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  std::size_t left() const { return size_; }
  float any_float() {
    float value = 0.0F;
    std::uint8_t bytes[sizeof value];
    for (std::uint8_t& b : bytes) b = byte();
    std::memcpy(&value, bytes, sizeof value);
    return value;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

bool same(const edgeasr::Hypothesis& a, const edgeasr::Hypothesis& b) {
  return a.token_ids == b.token_ids && a.token_start_frames == b.token_start_frames &&
         a.token_end_frames == b.token_end_frames && a.token_posteriors == b.token_posteriors && a.text == b.text &&
         a.score == b.score && a.complete == b.complete;
}

std::shared_ptr<const edgeasr::DecodingContext> read_context(Reader& in, unsigned flags) {
  const auto context = std::make_shared<edgeasr::DecodingContext>();
  const auto word = [&in] {
    std::string text;
    for (unsigned left = 1 + in.byte() % 4U; left > 0; --left) text += "abc"[in.byte() % 3U];
    return text;
  };
  if ((flags & 1U) != 0) {
    const std::string first = word();
    const std::string second = word();
    const std::string spelling = word();
    context->words = std::make_shared<const edgeasr::KnownWords>(
        std::make_shared<const edgeasr::Lexicon>(
            std::vector<edgeasr::Lexicon::Entry>{{first, first}, {second, second}, {second, spelling}}),
        nullptr);
  }
  if ((flags & 2U) != 0) {
    std::vector<edgeasr::Hotwords::Phrase> phrases{{word(), in.byte() / 16.0}, {word() + " " + word(), -1.0}};
    phrases.push_back({word() + " " + word(), edgeasr::Hotwords::kDefaultBoost});
    context->hotwords = std::make_shared<const edgeasr::Hotwords>(phrases);
  }
  return context;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Reader in(data, size);
  static const edgeasr::TokenNames kVocabularies[] = {
      {{"<blank>", "_", "a", "b"}, "_"},
      {{"a", "_a", "<blank>", "ab", "b_", "_"}, "_"},
      {{"<blank>", "b_a", "a", "_b"}, "_"},
  };
  const edgeasr::TokenNames& tokens = kVocabularies[in.byte() % 3U];
  edgeasr::CtcBeamConfig config;
  config.blank_id = tokens.names[0] == "<blank>" ? 0 : 2;
  config.beam_size = 1 + in.byte() % 8;
  config.nbest = 1 + in.byte() % 4;
  const unsigned flags = in.byte();
  config.max_commit_delay_frames = static_cast<std::int32_t>(flags / 64U * 5U);
  config.beam_threshold = (flags & 4U) != 0 ? 3.0 : 1e9;
  config.token_threshold = (flags & 8U) != 0 ? 2.0 : 1e9;
  config.blank_skip_threshold = (flags & 16U) != 0 ? 0.9 : 1.0;
  config.oov_cost = (flags & 32U) != 0 ? 1e300 * 1e300 : 2.0;
  config.word_bonus = in.byte() / 32.0 - 4.0;
  const std::shared_ptr<const edgeasr::DecodingContext> context = read_context(in, flags);
  const bool logits = in.byte() % 4U != 0;
  const auto kind = logits ? edgeasr::CtcInput::kLogits : edgeasr::CtcInput::kLogProbs;
  const std::size_t vocab_size = tokens.names.size();
  std::vector<float> rows;
  while (in.left() > 0 && rows.size() < 64 * vocab_size) {
    for (std::size_t i = 0; i < vocab_size; ++i) {
      const std::uint8_t way = in.byte();
      rows.push_back(way == 255 ? in.any_float() : static_cast<float>(way) / 8.0F - 16.0F);
    }
  }
  const std::size_t num_frames = rows.size() / vocab_size;
  edgeasr::CtcBeamDecoder whole(config, tokens, context, kind);
  edgeasr::CtcBeamDecoder pieces(config, tokens, context, kind);
  try {
    whole.accept(rows.data(), num_frames);
  } catch (const edgeasr::InputError&) {
    require(whole.num_frames() == 0);
    return 0;
  }
  for (std::size_t frame = 0; frame < num_frames; ++frame) {
    pieces.accept(rows.data() + frame * vocab_size, 1);
    require(!pieces.partial().empty());
  }
  const std::vector<edgeasr::Hypothesis> found = whole.finish();
  const std::vector<edgeasr::Hypothesis> again = pieces.finish();
  require(!found.empty() && found.size() <= static_cast<std::size_t>(config.nbest) && found.size() == again.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    require(same(found[i], again[i]) && std::isfinite(found[i].score));
    for (std::size_t j = 0; j < i; ++j) require(found[j].text != found[i].text && found[j].score >= found[i].score);
    const edgeasr::Hypothesis& h = found[i];
    require(h.token_ids.size() == h.token_start_frames.size() && h.token_ids.size() == h.token_end_frames.size());
    std::int32_t earliest = 0;
    for (std::size_t t = 0; t < h.token_ids.size(); ++t) {
      require(h.token_start_frames[t] >= earliest && h.token_end_frames[t] > h.token_start_frames[t]);
      require(h.token_end_frames[t] <= static_cast<std::int32_t>(num_frames));
      earliest = h.token_start_frames[t];
    }
  }
  return 0;
}
