// One register_*() per class family of the core; module.cc calls them all.
#pragma once

#include <pybind11/pybind11.h>

namespace edgeasr {

void register_errors(pybind11::module_& m);
void register_log_mel(pybind11::module_& m);
void register_ctc(pybind11::module_& m);
void register_decoding(pybind11::module_& m);
void register_ctc_evidence(pybind11::module_& m);
void register_lm(pybind11::module_& m);
void register_grammar(pybind11::module_& m);

}  // namespace edgeasr
