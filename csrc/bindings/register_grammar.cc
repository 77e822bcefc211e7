// Grammars. Their automata are shared between threads; only what Python keeps of them is translated here.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "bindings/register.h"
#include "core/errors.h"
#include "core/grammar.h"
#include "core/number_words.h"
#include "core/text_acceptor.h"

namespace py = pybind11;

namespace edgeasr {
namespace {

// The fields of the limits by name.
template <class Limits, class Visit>
void visit_fields(Limits& limits, Visit&& visit) {
  visit("max_text_bytes", limits.max_text_bytes);
  visit("max_nodes", limits.max_nodes);
  visit("max_range_values", limits.max_range_values);
  visit("max_states", limits.max_states);
}

GrammarLimits read_limits(const py::object& source) {
  GrammarLimits limits;
  visit_fields(limits, [&](const char* name, auto& field) {
    using Value = std::decay_t<decltype(field)>;
    const py::object value = source.attr(name);
    try {
      field = value.template cast<Value>();
    } catch (const py::cast_error&) {
      throw ConfigError(std::string(name) + " is " + py::repr(value).template cast<std::string>() +
                        ", expected an int of 32 bits");
    }
  });
  return limits;
}

LetterCase letters_named(const std::string& name) {
  if (name == "lower") return LetterCase::kLower;
  if (name == "upper") return LetterCase::kUpper;
  if (name == "keep") return LetterCase::kKeep;
  throw ConfigError("letters is \"" + name + "\", expected lower, upper or keep");
}

// pybind11 holds no pointers to const; the methods below are const all the same.
std::shared_ptr<Grammar> held(const std::shared_ptr<const Grammar>& grammar) {
  return std::const_pointer_cast<Grammar>(grammar);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
}

py::object parse(const Grammar& grammar, const std::string& text) {
  GrammarParse found;
  bool any = false;
  {
    const py::gil_scoped_release release;
    any = grammar.parse(text, found);
  }
  if (!any) return py::none();
  py::list slots;
  for (const GrammarSlot& slot : found.slots) {
    slots.append(py::make_tuple(slot.name, slot.value, slot.is_number, slot.text, slot.first_word, slot.end_word));
  }
  return py::make_tuple(found.intent, slots, found.line);
}

}  // namespace

void register_grammar(py::module_& m) {
  py::class_<TextAcceptor, std::shared_ptr<TextAcceptor>>(m, "TextAcceptor");

  py::class_<Grammar, TextAcceptor, std::shared_ptr<Grammar>>(m, "Grammar")
      .def(py::init([](const std::string& text, const std::string& name, const std::string& letters,
                       const py::object& limits) {
             const LetterCase letter_case = letters_named(letters);
             const GrammarLimits known_limits = read_limits(limits);
             const py::gil_scoped_release release;
             return held(Grammar::compile(text, name, letter_case, known_limits));
           }),
           py::arg("text"), py::arg("name"), py::arg("letters"), py::arg("limits"))
      .def("accepts", &Grammar::accepts, py::arg("text"), py::call_guard<py::gil_scoped_release>())
      .def("parse", &parse, py::arg("text"))
      .def("sample", &Grammar::sample, py::arg("seed"), py::call_guard<py::gil_scoped_release>())
      .def("check_spelling", &Grammar::check_spelling, py::arg("tokens"), py::call_guard<py::gil_scoped_release>())
      .def("renewed", [](const Grammar& self) { return held(self.renewed()); })
      .def_property_readonly("intents", &Grammar::intents)
      .def_property_readonly("num_sentences", &Grammar::num_sentences)
      .def_property_readonly("num_nodes", &Grammar::num_nodes)
      .def_property_readonly("num_readings", &Grammar::num_readings)
      .def_property_readonly("num_states", &Grammar::num_states);

  m.def(
      "validate_grammar_limits", [](const py::object& limits) { validate(read_limits(limits)); }, py::arg("limits"));
  m.def("grammar_limits_defaults", [] {
    const GrammarLimits limits;
    py::dict fields;
    visit_fields(limits, [&](const char* name, const auto& field) { fields[name] = field; });
    return fields;
  });
  m.def("say_number", &say_number, py::arg("thousandths"));
  m.def(
      "normalise_text",
      [](const std::string& text, const std::string& letters) { return normalise_text(text, letters_named(letters)); },
      py::arg("text"), py::arg("letters"));
}

}  // namespace edgeasr
