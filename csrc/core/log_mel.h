// The log-mel frontend: samples in, features out, exactly the same features for any cut of the samples.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/fft.h"
#include "core/frame_kernels.h"

namespace edgeasr {

// The window function over n = win_length samples, with x = 2 pi i / (n - 1), or 2 pi i / n when it is periodic.
enum class Window {
  kPovey,    // (0.5 - 0.5 cos x)^0.85: Kaldi's default
  kHann,     // 0.5 - 0.5 cos x
  kHamming,  // 0.54 - 0.46 cos x
};

enum class MelScale {
  kKaldi,   // mel = 1127 ln(1 + f / 700), triangles drawn over mel
  kSlaney,  // linear to 1 kHz, then logarithmic (M. Slaney's Auditory Toolbox, librosa), triangles drawn over Hz
};

enum class MelNorm {
  kNone,    // triangles of height 1
  kSlaney,  // triangles of area 1 over Hz: height 2 / (upper edge - lower edge)
};

// Which samples the frames cover, and what stands for the samples beyond the ends of the recording.
enum class Padding {
  kKaldi,       // frame t is centred at (t + 1/2) hop_length; the ends are mirrored with the edge sample repeated
                // (Kaldi's snip_edges=false); (n + hop_length / 2) / hop_length frames
  kSnip,        // only frames that lie wholly inside (Kaldi's snip_edges=true)
  kCenter,      // frame t is centred at t hop_length; mirrored about the edge sample, as torch.stft does by default;
                // n / hop_length + 1 frames
  kCenterZero,  // the same with zeros beyond the ends (librosa since 0.10)
};

// Mirrored by edgeasr.config.LogMelConfig, with the same names and defaults. The enums' names there are "povey",
// "hann", "hamming"; "kaldi", "slaney"; "none", "slaney"; "kaldi", "snip", "center", "center_zero".
struct LogMelConfig {
  int sample_rate = 16000;  // Hz
  int n_fft = 512;          // samples: the frame is filled up with zeros to this length
  int win_length = 400;     // samples
  int hop_length = 160;     // samples from one frame to the next
  int num_mel_bins = 80;
  double low_hz = 20.0;     // lower edge of the lowest band
  double high_hz = 7600.0;  // upper edge of the highest band
  Window window = Window::kPovey;
  bool periodic_window = false;
  MelScale mel_scale = MelScale::kKaldi;
  MelNorm mel_norm = MelNorm::kNone;
  double preemphasis = 0.97;     // within each frame, after the removal of the mean; 0 turns it off
  bool remove_dc_offset = true;  // subtract the mean of each frame
  Padding padding = Padding::kKaldi;
  double log_floor = 1.1920928955078125e-07;  // the power below which the logarithm is not taken: Kaldi's, 2^-23

  // Throws ConfigError, naming the field, its value and what is allowed.
  void validate() const;
};

// The names of the enums, as configurations spell them. The parsers throw ConfigError for a name that is none.
std::string to_string(Window window);
std::string to_string(MelScale scale);
std::string to_string(MelNorm norm);
std::string to_string(Padding padding);
Window parse_window(const std::string& name);
MelScale parse_mel_scale(const std::string& name);
MelNorm parse_mel_norm(const std::string& name);
Padding parse_padding(const std::string& name);

// Natural logarithms of the mel band powers of overlapping frames, in Kaldi's order: mean removal, preemphasis, window,
// zero-padded FFT, power, mel bands, floor and logarithm; in double up to the power.
//
//   LogMelFrontend frontend(LogMelConfig{});
//   std::vector<float> features;                       // row-major, num_mel_bins per frame
//   frontend.accept(samples, num_samples, features);   // as often as samples come; appends whole frames
//   frontend.finish(features);                         // appends the frames that reach over the end
//
// Not thread-safe; different objects may be used by different threads.
class LogMelFrontend {
 public:
  // `kernel` is one of frame_kernels(); all give the same bits, and by default the fastest is taken.
  explicit LogMelFrontend(const LogMelConfig& config, const FrameKernel* kernel = nullptr);

  // The tables hold pointers into the object.
  LogMelFrontend(const LogMelFrontend&) = delete;
  LogMelFrontend& operator=(const LogMelFrontend&) = delete;

  // Takes samples in [-1, 1] and appends the features of the frames that are complete now. Throws StreamStateError
  // after finish(), and InputError, with nothing taken, for a sample that is not finite or beyond kMaxSample.
  void accept(const float* samples, std::size_t num_samples, std::vector<float>& features);

  // Appends the features of the last frames, which reach over the end. Throws StreamStateError when called twice.
  void finish(std::vector<float>& features);

  // Back to the start, for another recording.
  void reset();

  const LogMelConfig& config() const { return config_; }
  const FrameKernel& kernel() const { return *kernel_; }

  // A magnitude far beyond any waveform (16-bit integers as floats included), whose power a float still holds.
  static constexpr float kMaxSample = 1e9f;

 private:
  struct alignas(kScratchAlignment) ScratchBlock {
    double values[kScratchAlignment / sizeof(double)];
  };

  std::int64_t frame_start(std::int64_t frame) const { return first_start_ + frame * config_.hop_length; }
  std::int64_t total_frames() const;
  bool reflects() const;
  // Which sample stands for the one at `index` when `index` lies outside the recording.
  std::int64_t reflect(std::int64_t index) const;
  void insert_left_padding();
  void compute_frames(std::int64_t count, std::vector<float>& features);
  void compute_complete_frames(std::vector<float>& features);
  void drop_used_samples();

  LogMelConfig config_;
  const FrameKernel* kernel_;
  RealFftPlan fft_;
  std::vector<double> half_window_;
  std::vector<MelBand> bands_;
  std::vector<float> weights_;
  LogMelTables tables_{};
  std::vector<ScratchBlock> scratch_;

  std::int64_t first_start_ = 0;   // where frame 0 starts; negative when it reaches over the left end
  std::int64_t left_padding_ = 0;  // samples before the first one that frames need
  std::int64_t tail_ = 0;          // the last samples, which finish() may need to mirror

  // Samples and padding from index buffer_start_ on. Its size stays below a bound that the config sets.
  std::vector<float> buffer_;
  std::int64_t buffer_start_ = 0;
  std::int64_t num_samples_ = 0;  // accepted since the start
  std::int64_t next_frame_ = 0;
  bool left_padded_ = false;
  bool finished_ = false;
};

}  // namespace edgeasr
