// The extension module edgeasr._core: nothing but translation between Python and edgeasr_core.
#include "bindings/register.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "C++ core of edgeasr: log-mel frontend and CTC decoders.";
  edgeasr::register_errors(m);
  edgeasr::register_log_mel(m);
  edgeasr::register_grammar(m);
  edgeasr::register_ctc(m);
  edgeasr::register_decoding(m);
  edgeasr::register_ctc_evidence(m);
  edgeasr::register_lm(m);
}
