// The CTC decoders: NumPy arrays in, hypotheses out.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bindings/register.h"
#include "core/ctc_beam.h"
#include "core/ctc_greedy.h"
#include "core/errors.h"

namespace py = pybind11;

namespace edgeasr {
namespace {

// A decoder with one owner at a time: calls release the GIL, so a second thread could come in, and is refused.
template <class Decoder>
class Owned {
 public:
  template <class... Args>
  explicit Owned(Args&&... args) : decoder_(std::forward<Args>(args)...) {}

  template <class Call>
  auto with(Call&& call) {
    if (busy_.exchange(true, std::memory_order_acquire)) {
      throw StreamStateError("the decoder is in use by another thread: give each thread its own");
    }
    const Release release{busy_};
    return call(decoder_);
  }

 private:
  struct Release {
    std::atomic<bool>& busy;
    ~Release() { busy.store(false, std::memory_order_release); }
  };

  Decoder decoder_;
  std::atomic<bool> busy_{false};
};

// The rows of `log_probs` as the decoders take them; the array must outlive the view.
struct Rows {
  const float* data;
  std::size_t num_frames;
};

Rows view_rows(const py::array& log_probs, std::int32_t vocab_size) {
  if (!log_probs.dtype().equal(py::dtype::of<float>())) {
    throw InputError("log_probs has dtype " + py::str(log_probs.dtype()).cast<std::string>() +
                     ", expected float32 in native byte order");
  }
  if (log_probs.ndim() != 2 || log_probs.shape(1) != vocab_size) {
    throw InputError("log_probs has shape " + py::str(log_probs.attr("shape")).cast<std::string>() +
                     ", expected (num_frames, " + std::to_string(vocab_size) + ")");
  }
  if ((log_probs.flags() & py::array::c_style) == 0) {
    throw InputError("log_probs is not C-contiguous: pass numpy.ascontiguousarray(log_probs)");
  }
  return Rows{static_cast<const float*>(log_probs.data()), static_cast<std::size_t>(log_probs.shape(0))};
}

CtcInput input_kind(bool logits) { return logits ? CtcInput::kLogits : CtcInput::kLogProbs; }

// The fields of the configuration by name, for reading and for showing them.
template <class Config, class Visit>
void visit_fields(Config& config, Visit&& visit) {
  visit("beam_size", config.beam_size);
  visit("blank_id", config.blank_id);
  visit("nbest", config.nbest);
  visit("beam_threshold", config.beam_threshold);
  visit("token_threshold", config.token_threshold);
  visit("max_tokens_per_frame", config.max_tokens_per_frame);
  visit("blank_skip_threshold", config.blank_skip_threshold);
  visit("max_commit_delay_frames", config.max_commit_delay_frames);
  visit("lm_weight", config.lm_weight);
  visit("word_bonus", config.word_bonus);
  visit("oov_cost", config.oov_cost);
  visit("oov_char_cost", config.oov_char_cost);
  visit("hotword_boost", config.hotword_boost);
}

CtcBeamConfig read_config(const py::object& source) {
  CtcBeamConfig config;
  visit_fields(config, [&](const char* name, auto& field) {
    using Value = std::decay_t<decltype(field)>;
    const py::object value = source.attr(name);
    try {
      field = value.template cast<Value>();
    } catch (const py::cast_error&) {
      throw ConfigError(std::string(name) + " is " + py::repr(value).template cast<std::string>() + ", expected " +
                        (std::is_integral_v<Value> ? "an int of 32 bits" : "a float"));
    }
  });
  return config;
}

py::dict config_defaults() {
  const CtcBeamConfig config;
  py::dict fields;
  visit_fields(config, [&](const char* name, const auto& field) { fields[name] = field; });
  return fields;
}

// What greedy and beam search have in common.
template <class Decoder>
void define_machine(py::class_<Owned<Decoder>>& cls, std::int32_t (*vocab_size_of)(const Decoder&)) {
  using Self = Owned<Decoder>;
  cls.def(
         "accept",
         [vocab_size_of](Self& self, const py::array& log_probs) {
           self.with([&](Decoder& decoder) {
             const Rows rows = view_rows(log_probs, vocab_size_of(decoder));
             const py::gil_scoped_release release;
             decoder.accept(rows.data, rows.num_frames);
           });
         },
         py::arg("log_probs"))
      .def("reset", [](Self& self) { self.with([](Decoder& decoder) { decoder.reset(); }); })
      .def("take_committed",
           [](Self& self) { return self.with([](Decoder& decoder) { return decoder.take_committed(); }); })
      .def_property_readonly("num_committed",
                             [](Self& self) { return self.with([](Decoder& d) { return d.num_committed(); }); })
      .def_property_readonly("num_frames",
                             [](Self& self) { return self.with([](Decoder& d) { return d.num_frames(); }); });
}

}  // namespace

void register_ctc(py::module_& m) {
  py::class_<Hypothesis>(m, "Hypothesis")
      .def_readonly("token_ids", &Hypothesis::token_ids)
      .def_readonly("token_start_frames", &Hypothesis::token_start_frames)
      .def_readonly("token_end_frames", &Hypothesis::token_end_frames)
      .def_readonly("token_posteriors", &Hypothesis::token_posteriors)
      .def_readonly("text", &Hypothesis::text)
      .def_readonly("score", &Hypothesis::score)
      .def_readonly("complete", &Hypothesis::complete)
      .def_property_readonly("parts", [](const Hypothesis& h) {
        return py::make_tuple(h.parts.acoustic, h.parts.lm, h.parts.num_words, h.parts.boost, h.parts.oov);
      });

  m.def(
      "validate_ctc_beam_config", [](const py::object& config) { validate(read_config(config)); }, py::arg("config"));
  m.def("ctc_beam_config_defaults", &config_defaults);

  using Beam = Owned<CtcBeamDecoder>;
  py::class_<Beam> beam(m, "CtcBeamDecoder");
  beam.def(py::init([](const py::object& config, std::int32_t vocab_size, bool logits) {
             return std::make_unique<Beam>(read_config(config), vocab_size, input_kind(logits));
           }),
           py::arg("config"), py::arg("vocab_size"), py::kw_only(), py::arg("logits") = false)
      .def(py::init([](const py::object& config, std::vector<std::string> names, std::string word_delimiter,
                       const std::shared_ptr<DecodingContext>& context, bool logits) {
             return std::make_unique<Beam>(read_config(config), TokenNames{std::move(names), std::move(word_delimiter)},
                                           context, input_kind(logits));
           }),
           py::arg("config"), py::arg("names"), py::arg("word_delimiter"), py::arg("context") = py::none(),
           py::kw_only(), py::arg("logits") = false)
      .def(
          "reset_context",
          [](Beam& self, const std::shared_ptr<DecodingContext>& context) {
            self.with([&](CtcBeamDecoder& decoder) { decoder.reset(context); });
          },
          py::arg("context"))
      .def_property_readonly(
          "largest_commit_delay",
          [](Beam& self) { return self.with([](CtcBeamDecoder& d) { return d.largest_commit_delay(); }); })
      .def("partial", [](Beam& self) { return self.with([](CtcBeamDecoder& decoder) { return decoder.partial(); }); })
      .def("finish", [](Beam& self) { return self.with([](CtcBeamDecoder& decoder) { return decoder.finish(); }); })
      .def(
          "decode",
          [](Beam& self, const py::array& log_probs) {
            return self.with([&](CtcBeamDecoder& decoder) {
              const Rows rows = view_rows(log_probs, decoder.vocab_size());
              const py::gil_scoped_release release;
              decoder.reset();
              decoder.accept(rows.data, rows.num_frames);
              return decoder.finish();
            });
          },
          py::arg("log_probs"));
  define_machine<CtcBeamDecoder>(beam, [](const CtcBeamDecoder& decoder) { return decoder.vocab_size(); });

  using Greedy = Owned<CtcGreedyDecoder>;
  py::class_<Greedy> greedy(m, "CtcGreedyDecoder");
  greedy
      .def(py::init([](std::int32_t vocab_size, std::int32_t blank_id, bool logits) {
             return std::make_unique<Greedy>(vocab_size, blank_id, input_kind(logits));
           }),
           py::arg("vocab_size"), py::arg("blank_id") = 0, py::kw_only(), py::arg("logits") = false)
      .def("partial",
           [](Greedy& self) {
             return self.with([](CtcGreedyDecoder& decoder) { return std::vector<Hypothesis>{decoder.partial()}; });
           })
      .def("finish", [](Greedy& self) {
        return self.with([](CtcGreedyDecoder& decoder) { return std::vector<Hypothesis>{decoder.finish()}; });
      });
  define_machine<CtcGreedyDecoder>(greedy, [](const CtcGreedyDecoder& decoder) { return decoder.vocab_size(); });
}

}  // namespace edgeasr
