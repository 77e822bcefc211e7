// What a decoder may know besides the log-probs: lexicons, hotwords, and the context that holds them.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/register.h"
#include "core/ctc_beam.h"
#include "core/errors.h"
#include "core/grammar.h"
#include "core/hotwords.h"
#include "core/lexicon.h"
#include "core/lm_mixture.h"
#include "core/text_scorer.h"

namespace py = pybind11;

namespace edgeasr {
namespace {

using LexiconPointer = std::shared_ptr<Lexicon>;
using HotwordsPointer = std::shared_ptr<Hotwords>;
using ContextPointer = std::shared_ptr<DecodingContext>;

std::shared_ptr<const LmMixture> mix(const std::vector<std::pair<std::shared_ptr<NgramLm>, double>>& models) {
  if (models.empty()) return nullptr;
  std::vector<std::shared_ptr<const NgramLm>> parts;
  std::vector<double> weights;
  for (const auto& [model, weight] : models) {
    parts.push_back(model);
    weights.push_back(weight);
  }
  return std::make_shared<const LmMixture>(std::move(parts), std::move(weights));
}

std::shared_ptr<const TextAcceptor> as_grammar(const py::object& grammar) {
  return grammar.is_none() ? nullptr : grammar.cast<std::shared_ptr<Grammar>>();
}

}  // namespace

void register_decoding(py::module_& m) {
  py::class_<Lexicon, LexiconPointer>(m, "Lexicon")
      .def(py::init([](const std::string& text, const std::string& name) {
             const py::gil_scoped_release unlocked;
             return std::make_shared<Lexicon>(Lexicon::parse(text, name));
           }),
           py::arg("text"), py::arg("name"))
      .def_property_readonly("num_words", &Lexicon::num_words)
      .def_property_readonly("num_hidden", &Lexicon::num_hidden)
      .def(
          "find",
          [](const Lexicon& self, const std::string& spelling) -> py::object {
            const std::int32_t word = self.find(spelling);
            if (word == Lexicon::kNone) return py::none();
            const std::string_view found = self.word(word);
            return py::str(found.data(), found.size());
          },
          py::arg("spelling"))
      .def(
          "unspellable",
          [](const Lexicon& self, const std::vector<std::string>& names, const std::string& delimiter,
             std::int32_t blank_id) {
            return unspellable(self, spell_tokens(TokenNames{names, delimiter}, blank_id));
          },
          py::arg("names"), py::arg("delimiter"), py::arg("blank_id"));

  py::class_<Hotwords, HotwordsPointer>(m, "Hotwords")
      .def(py::init([](const std::vector<std::pair<std::string, double>>& phrases) {
             std::vector<Hotwords::Phrase> list;
             list.reserve(phrases.size());
             for (const auto& [text, boost] : phrases) list.push_back(Hotwords::Phrase{text, boost});
             return std::make_shared<Hotwords>(std::move(list));
           }),
           py::arg("phrases"))
      .def_property_readonly("num_phrases", &Hotwords::num_phrases)
      .def_property_readonly(
          "words", [](const Hotwords& self) { return std::const_pointer_cast<Lexicon>(self.shared_words()); });

  py::class_<DecodingContext, ContextPointer>(m, "DecodingContext")
      .def(py::init([](const std::vector<std::pair<std::shared_ptr<NgramLm>, double>>& lm, bool lm_of_tokens,
                       const LexiconPointer& lexicon, const HotwordsPointer& hotwords, const py::object& grammar) {
             auto context = std::make_shared<DecodingContext>();
             context->grammar = as_grammar(grammar);
             const py::gil_scoped_release unlocked;
             context->lm = mix(lm);
             context->lm_of_tokens = lm_of_tokens;
             context->hotwords = hotwords;
             if (lexicon != nullptr) {
               context->words = std::make_shared<const KnownWords>(lexicon, lm_of_tokens ? nullptr : context->lm.get());
             } else if (context->lm != nullptr && !lm_of_tokens) {
               context->words = std::make_shared<const KnownWords>(*context->lm);
             }
             return context;
           }),
           py::arg("lm"), py::arg("lm_of_tokens"), py::arg("lexicon"), py::arg("hotwords"), py::arg("grammar"))
      .def(
          "with_phrases",
          [](const DecodingContext& self, const HotwordsPointer& hotwords, const py::object& grammar) {
            auto context = std::make_shared<DecodingContext>(self);
            context->hotwords = hotwords;
            context->grammar = as_grammar(grammar);
            return context;
          },
          py::arg("hotwords"), py::arg("grammar"))
      .def_property_readonly("num_known_words", [](const DecodingContext& self) -> py::object {
        if (self.words == nullptr) return py::none();
        return py::int_(self.words->lexicon().num_words());
      });
}

}  // namespace edgeasr
