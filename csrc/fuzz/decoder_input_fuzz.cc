// The decoder with any configuration, any knowledge, and any rows. Whatever comes in, hypotheses are sorted, different,
// the sum of their parts, and the same however the rows are cut, what was asked or taken out meanwhile, and what the
// decoder did before reset(); or the input is refused.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/arpa.h"
#include "core/ctc_beam.h"
#include "core/errors.h"
#include "core/grammar.h"
#include "core/lm_mixture.h"
#include "core/ngram_lm.h"
#include "fuzz/require.h"

namespace edgeasr {
namespace {

// Reads numbers from the front of the input; zeros after its end.
class Reader {
 public:
  Reader(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  unsigned byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  std::size_t left() const { return size_; }
  float any_float() {
    float value = 0.0F;
    std::uint8_t bytes[sizeof value];
    for (std::uint8_t& b : bytes) b = static_cast<std::uint8_t>(byte());
    std::memcpy(&value, bytes, sizeof value);
    return value;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

std::shared_ptr<const NgramLm> read_lm(std::string_view arpa) {
  ArpaReader reader("lm");
  reader.accept(arpa.data(), arpa.size());
  return NgramLm::from_image(write_image(reader.finish(), {}), "lm");
}

// What contexts are put together from. Made once: nothing of it changes, but for the states of the grammar, which are
// made when they are first asked for.
struct Knowledge {
  std::shared_ptr<const LmMixture> lms[4];
  // By the language model that they are looked up in.
  std::shared_ptr<const KnownWords> words[4][4];
  std::shared_ptr<const Hotwords> hotwords[4];
  std::shared_ptr<const TextAcceptor> grammar;

  Knowledge() {
    const auto of_words = read_lm(
        "\\data\\\nngram 1=6\nngram 2=4\n\\1-grams:\n-2\t<unk>\n-99\t<s>\t-0.5\n-0.7\t</s>\n-0.6\ta\t-0.3\n"
        "-0.9\tab\t-0.2\n-1.2\tb\n\\2-grams:\n-0.2\t<s> a\n-0.4\ta b\n-0.3\tab a\n-0.1\ta </s>\n\\end\\\n");
    const auto small = read_lm("\\data\\\nngram 1=3\n\\1-grams:\n-1\t<unk>\n-0.5\tba\n-0.5\ta\n\\end\\\n");
    const auto of_tokens = read_lm(
        "\\data\\\nngram 1=8\nngram "
        "2=3\n\\1-grams:\n-2\t<unk>\n-99\t<s>\t-0.3\n-1\t</s>\n-0.5\ta\t-0.4\n-0.7\tb\t-0.1\n"
        "-0.8\t_\t-0.2\n-0.9\t_a\n-1\tab\n\\2-grams:\n-0.3\ta b\n-0.2\t_ a\n-0.4\t<s> b\n\\end\\\n");
    using Models = std::vector<std::shared_ptr<const NgramLm>>;
    lms[1] = std::make_shared<const LmMixture>(Models{of_words}, std::vector<double>{1.0});
    lms[2] = std::make_shared<const LmMixture>(Models{of_words, small}, std::vector<double>{0.7, 0.3});
    lms[kOfTokens] = std::make_shared<const LmMixture>(Models{of_tokens}, std::vector<double>{1.0});
    using Entries = std::vector<Lexicon::Entry>;
    const auto plain = std::make_shared<const Lexicon>(Entries{{"a", "a"}, {"ab", "ab"}, {"bab", "bab"}});
    const auto rewriting = std::make_shared<const Lexicon>(
        Entries{{"a", "a"}, {"b", "ba"}, {"b", "bb"}, {"abc", "abc"}, {"aa", "aab"}, {"aa", "aa"}});
    for (std::size_t lm = 0; lm < 4; ++lm) {
      const LmMixture* model = lm == kOfTokens ? nullptr : lms[lm].get();
      words[lm][1] = std::make_shared<const KnownWords>(plain, model);
      words[lm][2] = std::make_shared<const KnownWords>(rewriting, model);
      if (model != nullptr) words[lm][3] = std::make_shared<const KnownWords>(*model);
    }
    using Phrases = std::vector<Hotwords::Phrase>;
    constexpr double kDefault = Hotwords::kDefaultBoost;
    hotwords[1] = std::make_shared<const Hotwords>(Phrases{{"a b", 3.0}, {"ab", kDefault}});
    hotwords[2] = std::make_shared<const Hotwords>(Phrases{{"b", -2.0}, {"ba a", 5.0}, {"cc", 1.0}});
    hotwords[3] = std::make_shared<const Hotwords>(Phrases{{"aba", kDefault}, {"a aba", 1.5}, {"a", 0.0}});
    grammar = Grammar::compile("intent i: a [b] {n} | (ab; [a]; ba)\nlist n: a\n b a\n aab -> c\n", "grammar");
  }

  static constexpr std::size_t kOfTokens = 3;
};

std::shared_ptr<const DecodingContext> make_context(unsigned choice) {
  static const Knowledge knowledge;
  const std::size_t lm = choice % 4;
  const auto context = std::make_shared<DecodingContext>();
  context->lm = knowledge.lms[lm];
  context->lm_of_tokens = lm == Knowledge::kOfTokens;
  context->words = knowledge.words[lm][choice / 4 % 4];
  context->hotwords = knowledge.hotwords[choice / 16 % 4];
  if (choice / 64 == 1) context->grammar = knowledge.grammar;
  return context;
}

CtcBeamConfig read_config(Reader& in) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  CtcBeamConfig config;
  const unsigned sizes = in.byte();
  config.beam_size = static_cast<std::int32_t>(1 + sizes % 4);
  config.nbest = static_cast<std::int32_t>(1 + sizes / 4 % 4);
  config.max_tokens_per_frame = static_cast<std::int32_t>(sizes / 64);
  const unsigned flags = in.byte();
  constexpr std::int32_t kDelays[] = {0, 1, 5, 12};
  config.max_commit_delay_frames = kDelays[flags % 4];
  config.beam_threshold = (flags & 4U) != 0 ? 3.0 : 1e9;
  config.token_threshold = (flags & 8U) != 0 ? 2.0 : 1e9;
  config.blank_skip_threshold = (flags & 16U) != 0 ? 0.9 : 1.0;
  config.oov_cost = (flags & 32U) != 0 ? kInfinity : 2.0;
  config.oov_char_cost = (flags & 64U) != 0 ? 0.0 : 1.0;
  config.lm_weight = (flags & 128U) != 0 ? 0.5 : 2.0;
  config.word_bonus = in.byte() / 32.0 - 4.0;
  return config;
}

// Mostly numbers in steps of an eighth, some of any bits; a row may be repeated.
std::vector<float> read_rows(Reader& in, std::size_t vocab_size) {
  constexpr std::size_t kMostFrames = 40;
  std::vector<float> rows;
  while (in.left() > 0 && rows.size() < kMostFrames * vocab_size) {
    unsigned way = in.byte();
    if (way > 249 && !rows.empty()) {
      const std::vector<float> last(rows.end() - static_cast<std::ptrdiff_t>(vocab_size), rows.end());
      for (; way > 249 && rows.size() < kMostFrames * vocab_size; --way) {
        rows.insert(rows.end(), last.begin(), last.end());
      }
      continue;
    }
    for (std::size_t i = 0; i < vocab_size; ++i) {
      rows.push_back(way == 249 ? in.any_float() : static_cast<float>(way) / 8.0F - 16.0F);
      if (i + 1 < vocab_size) way = in.byte();
    }
  }
  return rows;
}

void normalise(std::vector<float>& rows, std::size_t vocab_size) {
  for (std::size_t begin = 0; begin < rows.size(); begin += vocab_size) {
    float* row = rows.data() + begin;
    const double largest = *std::max_element(row, row + vocab_size);
    double sum = 0.0;
    for (std::size_t i = 0; i < vocab_size; ++i) sum += std::exp(row[i] - largest);
    for (std::size_t i = 0; i < vocab_size; ++i) row[i] = static_cast<float>(row[i] - largest - std::log(sum));
  }
}

bool same_tokens(const Hypothesis& a, const Hypothesis& b) {
  return a.token_ids == b.token_ids && a.token_start_frames == b.token_start_frames &&
         a.token_end_frames == b.token_end_frames && a.token_posteriors == b.token_posteriors;
}

void append(const Hypothesis& more, Hypothesis& to) {
  const auto add = [](const auto& from, auto& values) { values.insert(values.end(), from.begin(), from.end()); };
  add(more.token_ids, to.token_ids);
  add(more.token_start_frames, to.token_start_frames);
  add(more.token_end_frames, to.token_end_frames);
  add(more.token_posteriors, to.token_posteriors);
}

void check_results(const std::vector<Hypothesis>& found, const CtcBeamConfig& config, bool named,
                   std::size_t num_frames) {
  require(!found.empty() && found.size() <= static_cast<std::size_t>(config.nbest));
  for (std::size_t i = 0; i < found.size(); ++i) {
    const Hypothesis& h = found[i];
    require(std::isfinite(h.score));
    for (std::size_t j = 0; j < i; ++j) {
      require(found[j].score >= h.score && (named ? found[j].text != h.text : found[j].token_ids != h.token_ids));
    }
    const ScoreParts& parts = h.parts;
    const double sum = parts.acoustic + config.lm_weight * parts.lm +
                       config.word_bonus * static_cast<double>(parts.num_words) + parts.boost - parts.oov;
    require(std::abs(sum - h.score) <= 1e-9 * (1.0 + std::abs(h.score) + std::abs(parts.acoustic)));
    require(h.token_ids.size() == h.token_start_frames.size() && h.token_ids.size() == h.token_end_frames.size() &&
            h.token_ids.size() == h.token_posteriors.size());
    std::int32_t earliest = 0;
    for (std::size_t t = 0; t < h.token_ids.size(); ++t) {
      require(h.token_ids[t] != config.blank_id);
      require(h.token_start_frames[t] >= earliest && h.token_end_frames[t] > h.token_start_frames[t]);
      require(h.token_end_frames[t] <= static_cast<std::int32_t>(num_frames));
      require(h.token_posteriors[t] >= 0.0F && h.token_posteriors[t] <= 1.0F);
      earliest = h.token_start_frames[t];
    }
  }
}

void run(Reader in) {
  static const TokenNames kVocabularies[] = {
      {{"<blank>", "_", "a", "b"}, "_"},
      {{"a", "_a", "<blank>", "ab", "b_", "_"}, "_"},
      {{"<blank>", "b_a", "a", "_b"}, "_"},
  };
  const unsigned way = in.byte();
  const bool named = way % 4 != 3;
  const TokenNames& tokens = kVocabularies[named ? way % 4 : 0];
  CtcBeamConfig config = read_config(in);
  config.blank_id = tokens.names[0] == "<blank>" ? 0 : 2;
  const auto context = named ? make_context(in.byte()) : nullptr;
  const auto kind = (way & 4U) != 0 ? CtcInput::kLogProbs : CtcInput::kLogits;
  // From which frame on there is a partial result on every eighth, and committed tokens are taken out on every fourth.
  const unsigned asks = in.byte();
  const unsigned takes = in.byte();
  const std::size_t vocab_size = tokens.names.size();
  std::vector<float> rows = read_rows(in, vocab_size);
  if (kind == CtcInput::kLogProbs && (way & 8U) == 0) normalise(rows, vocab_size);
  const std::size_t num_frames = rows.size() / vocab_size;

  CtcBeamDecoder decoder = named ? CtcBeamDecoder(config, tokens, context, kind)
                                 : CtcBeamDecoder(config, static_cast<std::int32_t>(vocab_size), kind);
  try {
    decoder.accept(rows.data(), num_frames);
  } catch (const InputError&) {
    require(decoder.num_frames() == 0);
    return;
  }
  const std::vector<Hypothesis> whole = decoder.finish();
  check_results(whole, config, named, num_frames);

  if ((way & 16U) != 0) {
    if (named) {
      decoder.reset(make_context(way / 32));
    } else {
      decoder.reset();
    }
    decoder.accept(rows.data(), num_frames / 2);
    if ((way & 32U) != 0) decoder.finish();
  }
  if (named && (way & 16U) != 0) {
    decoder.reset(context);
  } else {
    decoder.reset();
  }
  Hypothesis taken;
  const std::size_t step = 1 + (way >> 6U);
  for (std::size_t frame = 0; frame < num_frames; frame += step) {
    decoder.accept(rows.data() + frame * vocab_size, std::min(step, num_frames - frame));
    if (frame >= asks && (frame - asks) % 8 == 0) require(!decoder.partial().empty());
    if (frame >= takes && (frame - takes) % 4 == 0) append(decoder.take_committed(), taken);
  }
  std::vector<Hypothesis> pieces = decoder.finish();
  require(pieces.size() == whole.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    require(pieces[i].score == whole[i].score && pieces[i].complete == whole[i].complete);
    if (taken.token_ids.empty()) require(pieces[i].text == whole[i].text);
    Hypothesis joined = taken;
    append(pieces[i], joined);
    require(same_tokens(joined, whole[i]));
  }
}

}  // namespace
}  // namespace edgeasr

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  edgeasr::run({data, size});
  return 0;
}
