// LogMelFrontend for Python: NumPy arrays in and out, a config dataclass read field by field.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/register.h"
#include "core/errors.h"
#include "core/log_mel.h"

namespace py = pybind11;

namespace edgeasr {
namespace {

template <typename T>
T field(const py::handle& config, const char* name, const char* expected) {
  const py::object value = config.attr(name);
  try {
    return value.cast<T>();
  } catch (const py::cast_error&) {
    throw ConfigError(std::string(name) + " is " + py::repr(value).cast<std::string>() + "; it must be " + expected);
  }
}

LogMelConfig config_from(const py::handle& config) {
  LogMelConfig c;
  c.sample_rate = field<int>(config, "sample_rate", "an int");
  c.n_fft = field<int>(config, "n_fft", "an int");
  c.win_length = field<int>(config, "win_length", "an int");
  c.hop_length = field<int>(config, "hop_length", "an int");
  c.num_mel_bins = field<int>(config, "num_mel_bins", "an int");
  c.low_hz = field<double>(config, "low_hz", "a float");
  c.high_hz = field<double>(config, "high_hz", "a float");
  c.window = parse_window(field<std::string>(config, "window", "a str"));
  c.periodic_window = field<bool>(config, "periodic_window", "a bool");
  c.mel_scale = parse_mel_scale(field<std::string>(config, "mel_scale", "a str"));
  c.mel_norm = parse_mel_norm(field<std::string>(config, "mel_norm", "a str"));
  c.preemphasis = field<double>(config, "preemphasis", "a float");
  c.remove_dc_offset = field<bool>(config, "remove_dc_offset", "a bool");
  c.padding = parse_padding(field<std::string>(config, "padding", "a str"));
  c.log_floor = field<double>(config, "log_floor", "a float");
  return c;
}

py::dict config_defaults() {
  const LogMelConfig c;
  py::dict result;
  result["sample_rate"] = c.sample_rate;
  result["n_fft"] = c.n_fft;
  result["win_length"] = c.win_length;
  result["hop_length"] = c.hop_length;
  result["num_mel_bins"] = c.num_mel_bins;
  result["low_hz"] = c.low_hz;
  result["high_hz"] = c.high_hz;
  result["window"] = to_string(c.window);
  result["periodic_window"] = c.periodic_window;
  result["mel_scale"] = to_string(c.mel_scale);
  result["mel_norm"] = to_string(c.mel_norm);
  result["preemphasis"] = c.preemphasis;
  result["remove_dc_offset"] = c.remove_dc_offset;
  result["padding"] = to_string(c.padding);
  result["log_floor"] = c.log_floor;
  return result;
}

const FrameKernel* kernel_named(const std::string& name) {
  std::string known;
  for (const FrameKernel* kernel : frame_kernels()) {
    if (name == kernel->name) return kernel;
    known += (known.empty() ? "\"" : ", \"") + std::string(kernel->name) + "\"";
  }
  throw ConfigError("kernel is \"" + name + "\"; this processor can run " + known);
}

// Hands the vector's memory to NumPy as a (num_frames, num_mel_bins) array, without a copy.
py::array_t<float> to_array(std::vector<float> features, int num_mel_bins) {
  const py::ssize_t columns = num_mel_bins;
  const py::ssize_t rows = static_cast<py::ssize_t>(features.size()) / columns;
  auto owner = std::make_unique<std::vector<float>>(std::move(features));
  float* data = owner->data();
  const py::capsule base(owner.get(), [](void* p) { delete static_cast<std::vector<float>*>(p); });
  static_cast<void>(owner.release());  // now the capsule's
  return py::array_t<float>({rows, columns}, data, base);
}

// The samples of a contiguous float32 array of shape (num_samples,).
std::pair<const float*, std::size_t> samples_of(const py::array& waveform) {
  if (!py::isinstance<py::array_t<float, py::array::c_style>>(waveform) || waveform.ndim() != 1) {
    throw InputError("waveform must be a contiguous float32 array of shape (num_samples,), got " +
                     py::str(waveform.dtype()).cast<std::string>() + " of shape " +
                     py::str(waveform.attr("shape")).cast<std::string>());
  }
  return {static_cast<const float*>(waveform.data()), static_cast<std::size_t>(waveform.size())};
}

// A frontend that refuses two callers at once instead of mixing their samples.
class Frontend {
 public:
  Frontend(const LogMelConfig& config, const FrameKernel* kernel) : frontend_(config, kernel) {}

  py::array_t<float> accept(const py::array& waveform) {
    const auto [data, size] = samples_of(waveform);
    // Copies, because a lambda cannot capture the names of a structured binding in C++17.
    const float* samples = data;
    const std::size_t num_samples = size;
    return call([&](std::vector<float>& features) { frontend_.accept(samples, num_samples, features); });
  }

  py::array_t<float> finish() {
    return call([&](std::vector<float>& features) { frontend_.finish(features); });
  }

  void reset() {
    const Turn turn(busy_);
    frontend_.reset();
  }

  std::string kernel() const { return frontend_.kernel().name; }

 private:
  class Turn {
   public:
    explicit Turn(std::atomic_flag& busy) : busy_(busy) {
      if (busy_.test_and_set(std::memory_order_acquire)) {
        throw StreamStateError("this LogMelFrontend is in use by another thread; give each stream its own");
      }
    }
    ~Turn() { busy_.clear(std::memory_order_release); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    std::atomic_flag& busy_;
  };

  template <typename Work>
  py::array_t<float> call(const Work& work) {
    std::vector<float> features;
    {
      const py::gil_scoped_release unlocked;
      const Turn turn(busy_);
      work(features);
    }
    return to_array(std::move(features), frontend_.config().num_mel_bins);
  }

  LogMelFrontend frontend_;
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

}  // namespace

void register_log_mel(py::module_& m) {
  py::class_<Frontend>(m, "LogMelFrontend")
      .def(py::init([](const py::object& config, const py::object& kernel) {
             return std::make_unique<Frontend>(config_from(config),
                                               kernel.is_none() ? nullptr : kernel_named(kernel.cast<std::string>()));
           }),
           py::arg("config"), py::kw_only(), py::arg("kernel") = py::none())
      .def("accept", &Frontend::accept, py::arg("waveform"))
      .def("finish", &Frontend::finish)
      .def("reset", &Frontend::reset)
      .def_property_readonly("kernel", &Frontend::kernel);

  m.def(
      "log_mel",
      [](const py::array& waveform, const py::object& config) {
        LogMelFrontend frontend(config_from(config));
        const auto [samples, num_samples] = samples_of(waveform);
        std::vector<float> features;
        {
          const py::gil_scoped_release unlocked;
          frontend.accept(samples, num_samples, features);
          frontend.finish(features);
        }
        return to_array(std::move(features), frontend.config().num_mel_bins);
      },
      py::arg("waveform"), py::arg("config"));
  m.def(
      "validate_log_mel_config", [](const py::object& config) { config_from(config).validate(); }, py::arg("config"));
  m.def("log_mel_config_defaults", &config_defaults);
  m.def("log_mel_kernels", [] {
    std::vector<std::string> names;
    for (const FrameKernel* kernel : frame_kernels()) names.emplace_back(kernel->name);
    return names;
  });
}

}  // namespace edgeasr
