// Language models: opened, estimated from text, changed, written and asked.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "bindings/register.h"
#include "core/arpa.h"
#include "core/errors.h"
#include "core/lm_builder.h"
#include "core/lm_mix.h"
#include "core/lm_prune.h"
#include "core/ngram_lm.h"

namespace py = pybind11;

namespace edgeasr {
namespace {

using Model = std::shared_ptr<NgramLm>;

// Python has no constant objects; nothing of a model can be changed all the same.
Model share(const std::shared_ptr<const NgramLm>& model) { return std::const_pointer_cast<NgramLm>(model); }

Model make_model(const NgramTable& table, const NgramImageOptions& options, const std::string& name) {
  return share(NgramLm::from_image(write_image(table, options), name));
}

NgramImageOptions options_of(int bits) {
  if (bits != kFloatBits && (bits < 2 || bits > kMaxCodeBits)) {
    throw ConfigError("bits is " + std::to_string(bits) + ", expected 32, or 2 to 8");
  }
  return {bits, bits};
}

template <class Config, class Visit>
void visit_fields(Config& config, Visit&& visit) {
  visit("order", config.order);
  visit("prune", config.prune);
  visit("vocab_size", config.vocab_size);
  visit("memory_bytes", config.memory_bytes);
  visit("threads", config.threads);
  visit("temp_folder", config.temp_folder);
}

template <class Value>
const char* expected_type() {
  if (std::is_same_v<Value, std::string>) return "a string";
  return std::is_integral_v<Value> ? "an int that is not negative" : "ints that are not negative";
}

LmBuildConfig read_config(const py::object& source) {
  LmBuildConfig config;
  visit_fields(config, [&](const char* name, auto& field) {
    using Value = std::decay_t<decltype(field)>;
    const py::object value = source.attr(name);
    try {
      field = value.template cast<Value>();
    } catch (const py::cast_error&) {
      throw ConfigError(std::string(name) + " is " + py::repr(value).template cast<std::string>() + ", expected " +
                        expected_type<Value>());
    }
  });
  return config;
}

py::dict config_defaults() {
  const LmBuildConfig config;
  py::dict fields;
  visit_fields(config, [&](const char* name, const auto& field) { fields[name] = field; });
  return fields;
}

py::dict show_report(const LmBuildReport& report) {
  py::dict fields;
  fields["num_words"] = report.num_words;
  fields["num_sentences"] = report.num_sentences;
  fields["num_unknown"] = report.num_unknown;
  fields["num_types"] = report.num_types;
  fields["discounts"] = report.discounts;
  fields["usual_discounts"] = report.usual_discounts;
  const auto order = static_cast<std::ptrdiff_t>(report.discounts.size());
  fields["num_distinct"] = std::vector<std::uint64_t>(report.num_distinct.begin(), report.num_distinct.begin() + order);
  return fields;
}

// The words of a damaged file may hold anything.
py::str show_word(const NgramLm& model, WordId id) {
  const std::string_view word = model.word(id);
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(word.data(), static_cast<py::ssize_t>(word.size()), "replace"));
}

// For each word of a text between white space, and at last for the end, its score and whether the model has it.
py::tuple score_words(const NgramLm& model, std::string_view text, bool begin, bool end) {
  std::vector<double> scores;
  std::vector<bool> known;
  NgramLm::State state = begin ? model.begin_state() : model.empty_state();
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  std::size_t at = text.find_first_not_of(kSpace);
  while (at != std::string_view::npos) {
    const std::size_t stop = std::min(text.find_first_of(kSpace, at), text.size());
    const WordId word = model.find(text.substr(at, stop - at));
    scores.push_back(model.score(state, word, &state));
    known.push_back(word != NgramLm::kUnknown);
    at = text.find_first_not_of(kSpace, stop);
  }
  if (end) {
    scores.push_back(model.score_end(state));
    known.push_back(true);
  }
  return py::make_tuple(py::array_t<double>(static_cast<py::ssize_t>(scores.size()), scores.data()), known);
}

}  // namespace

void register_lm(py::module_& m) {
  const auto unlocked = py::call_guard<py::gil_scoped_release>();
  py::class_<NgramLm, Model>(m, "NgramLm")
      .def_static(
          "open", [](const std::string& path) { return share(NgramLm::open(path)); }, py::arg("path"), unlocked)
      .def_static(
          "mix",
          [](const std::vector<Model>& models, const std::vector<double>& weights, int threads) {
            const std::vector<std::shared_ptr<const NgramLm>> parts(models.begin(), models.end());
            return make_model(mix_models(parts, weights, threads), {}, "the mixture");
          },
          py::arg("models"), py::arg("weights"), py::arg("threads"), unlocked)
      .def_property_readonly("name", &NgramLm::name)
      .def_property_readonly("order", &NgramLm::order)
      .def_property_readonly("vocab_size", &NgramLm::vocab_size)
      .def_property_readonly("num_bytes", [](const NgramLm& model) { return model.image().size; })
      .def_property_readonly("bits", [](const NgramLm& model) { return model.image().score_bits; })
      .def_property_readonly("has_begin", [](const NgramLm& model) { return model.begin_word() != 0; })
      .def_property_readonly("has_end", [](const NgramLm& model) { return model.end_word() != 0; })
      .def_property_readonly("num_ngrams",
                             [](const NgramLm& model) {
                               std::vector<std::uint64_t> counts;
                               for (int length = 1; length <= model.order(); ++length) {
                                 counts.push_back(model.num_ngrams(length));
                               }
                               return counts;
                             })
      .def("find", &NgramLm::find, py::arg("word"))
      .def(
          "word", [](const NgramLm& model, WordId id) { return show_word(model, id); }, py::arg("word_id"))
      .def("words",
           [](const NgramLm& model) {
             py::list words;
             for (WordId id = 0; id < model.vocab_size(); ++id) words.append(show_word(model, id));
             return words;
           })
      .def("score_words", &score_words, py::arg("text"), py::arg("begin") = true, py::arg("end") = true)
      .def(
          "probabilities",
          [](const NgramLm& model, const std::vector<std::string>& context, bool begin) {
            NgramLm::State state = begin ? model.begin_state() : model.empty_state();
            for (const std::string& word : context) model.score(state, model.find(word), &state);
            std::vector<double> scores(model.vocab_size());
            for (WordId id = 0; id < scores.size(); ++id) scores[id] = model.score(state, id, nullptr);
            return py::array_t<double>(static_cast<py::ssize_t>(scores.size()), scores.data());
          },
          py::arg("context"), py::arg("begin") = false)
      .def("verify", &NgramLm::verify, unlocked)
      .def(
          "quantised",
          [](const NgramLm& model, int bits) {
            return make_model(read_image(model.image(), model.name()), options_of(bits), model.name());
          },
          py::arg("bits"), unlocked)
      .def(
          "pruned",
          [](const NgramLm& model, double threshold) {
            NgramTable table = read_image(model.image(), model.name());
            prune_by_entropy(table, threshold);
            return make_model(table, {model.image().score_bits, model.image().backoff_bits}, model.name());
          },
          py::arg("threshold"), unlocked)
      .def(
          "pruned_to_size",
          [](const NgramLm& model, std::uint64_t max_bytes, int bits) {
            NgramTable table = read_image(model.image(), model.name());
            prune_to_size(table, max_bytes, options_of(bits));
            return make_model(table, options_of(bits), model.name());
          },
          py::arg("max_bytes"), py::arg("bits"), unlocked)
      .def("image",
           [](const py::object& self) {
             const auto& view = self.cast<const NgramLm&>().image();
             const auto size = static_cast<py::ssize_t>(view.size);
             return py::array_t<std::uint8_t>({size}, {1}, view.data, self);
           })
      .def(
          "write_arpa",
          [](const NgramLm& model, const py::function& write) {
            write_arpa(read_image(model.image(), model.name()),
                       [&](std::string_view text) { write(py::bytes(text.data(), text.size())); });
          },
          py::arg("write"));

  py::class_<ArpaReader>(m, "ArpaReader")
      .def(py::init<std::string>(), py::arg("name"))
      .def(
          "accept", [](ArpaReader& self, std::string_view text) { self.accept(text.data(), text.size()); },
          py::arg("text"), unlocked)
      .def(
          "finish", [](ArpaReader& self, const std::string& name) { return make_model(self.finish(), {}, name); },
          py::arg("name"), unlocked);

  py::class_<LmBuilder>(m, "LmBuilder")
      .def(py::init([](const py::object& config, const std::optional<std::vector<std::string>>& vocabulary,
                       const std::optional<std::vector<std::string>>& tokens, const std::string& delimiter) {
             if (tokens) return std::make_unique<LmBuilder>(read_config(config), *tokens, delimiter);
             if (vocabulary) return std::make_unique<LmBuilder>(read_config(config), *vocabulary);
             return std::make_unique<LmBuilder>(read_config(config));
           }),
           py::arg("config"), py::kw_only(), py::arg("vocabulary") = py::none(), py::arg("tokens") = py::none(),
           py::arg("delimiter") = "")
      .def(
          "accept", [](LmBuilder& self, std::string_view text) { self.accept(text.data(), text.size()); },
          py::arg("text"), unlocked)
      .def("next_file", &LmBuilder::next_file, py::arg("name"))
      .def(
          "finish", [](LmBuilder& self) { return make_model(self.finish(), {}, "the estimated model"); }, unlocked)
      .def("report", [](const LmBuilder& self) { return show_report(self.report()); });

  m.def(
      "validate_lm_build_config", [](const py::object& config) { validate(read_config(config)); }, py::arg("config"));
  m.def("lm_build_config_defaults", &config_defaults);
  m.def(
      "fit_lm_weights",
      [](const py::array_t<double, py::array::c_style>& probs, const py::array_t<double, py::array::c_style>& words) {
        if (probs.ndim() != 2 || words.ndim() != 1 || words.shape(0) != probs.shape(0)) {
          throw InputError("expected probabilities of shape (num_words, num_models) and a weight for each word");
        }
        double perplexity = 0.0;
        const std::vector<double> weights =
            fit_weights(probs.data(), static_cast<std::size_t>(probs.shape(0)),
                        static_cast<std::size_t>(probs.shape(1)), words.data(), &perplexity);
        return py::make_tuple(weights, perplexity);
      },
      py::arg("probs"), py::arg("word_weights"));
}

}  // namespace edgeasr
