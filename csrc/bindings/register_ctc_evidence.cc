// The meter of evidence for words: NumPy arrays in, numbers out.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bindings/register.h"
#include "core/ctc_evidence.h"
#include "core/errors.h"

namespace py = pybind11;

namespace edgeasr {

// The calls keep the interpreter's lock: they are shorter than giving it away and taking it back.
void register_ctc_evidence(py::module_& m) {
  py::class_<CtcEvidenceMeter>(m, "CtcEvidenceMeter")
      .def(py::init([](std::int32_t vocab_size, std::int32_t blank_id, std::size_t max_frames, bool logits) {
             return CtcEvidenceMeter(vocab_size, blank_id, max_frames,
                                     logits ? CtcInput::kLogits : CtcInput::kLogProbs);
           }),
           py::arg("vocab_size"), py::arg("blank_id"), py::arg("max_frames"), py::kw_only(), py::arg("logits") = false)
      .def(
          "accept",
          [](CtcEvidenceMeter& self, const py::array_t<float, py::array::c_style>& log_probs) {
            if (log_probs.ndim() != 2 || log_probs.shape(1) != self.vocab_size()) {
              throw InputError("log_probs has shape " + py::str(log_probs.attr("shape")).cast<std::string>() +
                               ", expected (num_frames, " + std::to_string(self.vocab_size()) + ")");
            }
            self.accept(log_probs.data(), static_cast<std::size_t>(log_probs.shape(0)));
          },
          py::arg("log_probs").noconvert())
      .def(
          "measure",
          [](const CtcEvidenceMeter& self, const std::vector<std::int32_t>& token_ids, std::int64_t window_begin,
             std::int64_t window_end, std::int64_t word_begin, std::int64_t word_end) {
            const CtcEvidence evidence = self.measure(token_ids, window_begin, window_end, word_begin, word_end);
            return std::make_pair(evidence.log_posterior, evidence.doubt);
          },
          py::arg("token_ids"), py::arg("window_begin"), py::arg("window_end"), py::arg("word_begin"),
          py::arg("word_end"))
      .def("reset", &CtcEvidenceMeter::reset)
      .def_property_readonly("num_frames", &CtcEvidenceMeter::num_frames);
}

}  // namespace edgeasr
