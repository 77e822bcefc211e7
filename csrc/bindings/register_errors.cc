// C++ errors become the classes of edgeasr.errors, so that Python callers see one family.
#include <pybind11/pybind11.h>

#include "bindings/register.h"
#include "core/errors.h"

namespace py = pybind11;

namespace edgeasr {
namespace {

void raise_as(const char* class_name, const char* what) {
  const py::object cls = py::module_::import("edgeasr.errors").attr(class_name);
  PyErr_SetString(cls.ptr(), what);
}

}  // namespace

void register_errors(py::module_& /*m*/) {
  py::register_exception_translator([](std::exception_ptr pointer) {
    if (!pointer) return;
    try {
      std::rethrow_exception(pointer);
    } catch (const ConfigError& e) {
      raise_as("ConfigError", e.what());
    } catch (const InputError& e) {
      raise_as("InputError", e.what());
    } catch (const StreamStateError& e) {
      raise_as("StreamStateError", e.what());
    } catch (const LanguageModelError& e) {
      raise_as("LanguageModelError", e.what());
    } catch (const Error& e) {
      raise_as("EdgeAsrError", e.what());
    }
  });
}

}  // namespace edgeasr
