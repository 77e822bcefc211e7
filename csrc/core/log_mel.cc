#include "core/log_mel.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <utility>

#include "core/errors.h"

namespace edgeasr {
namespace {

constexpr double kPi = 3.14159265358979323846;

// Frames that are computed at once when there are enough: a multiple of every kernel's lanes.
constexpr std::int64_t kBlockFrames = 16;

// --- Names of the enums ---

template <typename Enum>
using Names = std::vector<std::pair<const char*, Enum>>;

const Names<Window>& window_names() {
  static const Names<Window> names = {
      {"povey", Window::kPovey}, {"hann", Window::kHann}, {"hamming", Window::kHamming}};
  return names;
}

const Names<MelScale>& mel_scale_names() {
  static const Names<MelScale> names = {{"kaldi", MelScale::kKaldi}, {"slaney", MelScale::kSlaney}};
  return names;
}

const Names<MelNorm>& mel_norm_names() {
  static const Names<MelNorm> names = {{"none", MelNorm::kNone}, {"slaney", MelNorm::kSlaney}};
  return names;
}

const Names<Padding>& padding_names() {
  static const Names<Padding> names = {{"kaldi", Padding::kKaldi},
                                       {"snip", Padding::kSnip},
                                       {"center", Padding::kCenter},
                                       {"center_zero", Padding::kCenterZero}};
  return names;
}

template <typename Enum>
Enum parse(const Names<Enum>& names, const char* field, const std::string& name) {
  std::string allowed;
  for (const auto& [known, value] : names) {
    if (name == known) return value;
    allowed += (allowed.empty() ? "\"" : ", \"") + std::string(known) + "\"";
  }
  throw ConfigError(std::string(field) + " is \"" + name + "\"; it must be one of " + allowed);
}

template <typename Enum>
std::string name_of(const Names<Enum>& names, Enum wanted) {
  for (const auto& [known, value] : names) {
    if (value == wanted) return known;
  }
  return "unknown";
}

// --- Validation ---

template <typename T>
[[noreturn]] void refuse(const char* field, const T& value, const std::string& expected) {
  std::ostringstream message;
  message << field << " is " << value << "; " << expected;
  throw ConfigError(message.str());
}

// Everything but the bands, which are checked as they are made.
void check_fields(const LogMelConfig& c) {
  if (c.sample_rate < 1) refuse("sample_rate", c.sample_rate, "it must be a positive number of Hz");
  RealFftPlan::require_supported(c.n_fft);
  if (c.win_length < 2 || c.win_length > c.n_fft) {
    refuse("win_length", c.win_length, "it must be from 2 to n_fft (" + std::to_string(c.n_fft) + ") samples");
  }
  if (c.hop_length < 1 || c.hop_length > RealFftPlan::kMaxLength) {
    refuse("hop_length", c.hop_length, "it must be from 1 to " + std::to_string(RealFftPlan::kMaxLength) + " samples");
  }
  if (c.num_mel_bins < 1 || c.num_mel_bins > c.n_fft / 2) {
    refuse("num_mel_bins", c.num_mel_bins, "it must be from 1 to n_fft / 2 (" + std::to_string(c.n_fft / 2) + ")");
  }
  // Comparisons are written so that NaN fails them.
  if (!(c.low_hz >= 0.0 && c.low_hz < c.high_hz)) {
    std::ostringstream expected;
    expected << "it must be at least 0 and below high_hz (" << c.high_hz << ")";
    refuse("low_hz", c.low_hz, expected.str());
  }
  if (!(c.high_hz <= 0.5 * c.sample_rate)) {
    std::ostringstream expected;
    expected << "it must be at most half of sample_rate (" << 0.5 * c.sample_rate << ")";
    refuse("high_hz", c.high_hz, expected.str());
  }
  if (!(c.preemphasis >= 0.0 && c.preemphasis <= 1.0)) refuse("preemphasis", c.preemphasis, "it must be from 0 to 1");
  if (!(c.log_floor >= static_cast<double>(std::numeric_limits<float>::min()) && c.log_floor <= 1.0)) {
    refuse("log_floor", c.log_floor, "it must be from 1.2e-38 to 1");
  }
}

// --- Mel bands ---

double hz_to_mel(MelScale scale, double hz) {
  if (scale == MelScale::kKaldi) return 1127.0 * std::log(1.0 + hz / 700.0);
  // 200/3 Hz per mel up to 1000 Hz, then 27 mel for each factor of 6.4.
  return hz < 1000.0 ? hz * 3.0 / 200.0 : 15.0 + 27.0 * std::log(hz / 1000.0) / std::log(6.4);
}

double mel_to_hz(MelScale scale, double mel) {
  if (scale == MelScale::kKaldi) return 700.0 * (std::exp(mel / 1127.0) - 1.0);
  return mel < 15.0 ? mel * 200.0 / 3.0 : 1000.0 * std::exp((mel - 15.0) * std::log(6.4) / 27.0);
}

struct Bands {
  std::vector<MelBand> bands;
  std::vector<float> weights;
};

// Triangles between edges that are equally spaced in mel: over mel as Kaldi draws them (mel-computations.cc), or over
// Hz as librosa does (filters.mel). Throws ConfigError when a band holds no FFT bin.
Bands make_bands(const LogMelConfig& config) {
  const double low_mel = hz_to_mel(config.mel_scale, config.low_hz);
  const double high_mel = hz_to_mel(config.mel_scale, config.high_hz);
  const double step = (high_mel - low_mel) / (config.num_mel_bins + 1);
  const double bin_hz = static_cast<double>(config.sample_rate) / config.n_fft;
  const bool over_mel = config.mel_scale == MelScale::kKaldi;
  // Where the FFT bins lie on the axis over which the triangles are drawn.
  std::vector<double> positions;
  for (int k = 0; k <= config.n_fft / 2; ++k) {
    positions.push_back(over_mel ? hz_to_mel(config.mel_scale, k * bin_hz) : k * bin_hz);
  }
  Bands result;
  for (int m = 0; m < config.num_mel_bins; ++m) {
    double edges_hz[3];
    double edges[3];
    for (int i = 0; i < 3; ++i) {
      const double mel = low_mel + (m + i) * step;
      edges_hz[i] = mel_to_hz(config.mel_scale, mel);
      edges[i] = over_mel ? mel : edges_hz[i];
    }
    const double height = config.mel_norm == MelNorm::kSlaney ? 2.0 / (edges_hz[2] - edges_hz[0]) : 1.0;
    MelBand band{0, 0, result.weights.size()};
    for (int k = 0; k <= config.n_fft / 2; ++k) {
      const double at = positions[static_cast<std::size_t>(k)];
      const double weight = std::min((at - edges[0]) / (edges[1] - edges[0]), (edges[2] - at) / (edges[2] - edges[1]));
      if (weight <= 0.0) continue;
      if (band.num_bins == 0) band.first_bin = k;
      ++band.num_bins;
      result.weights.push_back(static_cast<float>(weight * height));
    }
    if (band.num_bins == 0) {
      std::ostringstream message;
      message << "num_mel_bins is " << config.num_mel_bins << ", but band " << m << " (" << edges_hz[0] << " to "
              << edges_hz[2] << " Hz) holds no FFT bin, these being " << bin_hz
              << " Hz apart; use fewer bands or a larger n_fft";
      throw ConfigError(message.str());
    }
    result.bands.push_back(band);
  }
  return result;
}

// --- Window ---

std::vector<double> make_half_window(const LogMelConfig& config) {
  const int period = config.periodic_window ? config.win_length : config.win_length - 1;
  std::vector<double> window;
  window.reserve(static_cast<std::size_t>(config.win_length));
  for (int i = 0; i < config.win_length; ++i) {
    const double cosine = std::cos(2.0 * kPi * i / period);
    double value = 0.0;
    switch (config.window) {
      case Window::kPovey: value = std::pow(0.5 - 0.5 * cosine, 0.85); break;
      case Window::kHann: value = 0.5 - 0.5 * cosine; break;
      case Window::kHamming: value = 0.54 - 0.46 * cosine; break;
    }
    window.push_back(0.5 * value);
  }
  return window;
}

}  // namespace

std::string to_string(Window window) { return name_of(window_names(), window); }
std::string to_string(MelScale scale) { return name_of(mel_scale_names(), scale); }
std::string to_string(MelNorm norm) { return name_of(mel_norm_names(), norm); }
std::string to_string(Padding padding) { return name_of(padding_names(), padding); }
Window parse_window(const std::string& name) { return parse(window_names(), "window", name); }
MelScale parse_mel_scale(const std::string& name) { return parse(mel_scale_names(), "mel_scale", name); }
MelNorm parse_mel_norm(const std::string& name) { return parse(mel_norm_names(), "mel_norm", name); }
Padding parse_padding(const std::string& name) { return parse(padding_names(), "padding", name); }

void LogMelConfig::validate() const {
  check_fields(*this);
  make_bands(*this);
}

LogMelFrontend::LogMelFrontend(const LogMelConfig& config, const FrameKernel* kernel)
    : config_((check_fields(config), config)),
      kernel_(kernel != nullptr ? kernel : frame_kernels().front()),
      fft_(config.n_fft),
      half_window_(make_half_window(config)) {
  Bands bands = make_bands(config);
  bands_ = std::move(bands.bands);
  weights_ = std::move(bands.weights);

  tables_.fft = fft_.tables();
  tables_.win_length = config.win_length;
  tables_.hop_length = config.hop_length;
  tables_.num_mel_bins = config.num_mel_bins;
  tables_.remove_dc_offset = config.remove_dc_offset;
  tables_.preemphasis = config.preemphasis;
  tables_.log_floor = static_cast<float>(config.log_floor);
  tables_.half_window = half_window_.data();
  tables_.bands = bands_.data();
  tables_.weights = weights_.data();
  constexpr std::size_t kBlockSize = sizeof(ScratchBlock) / sizeof(double);
  scratch_.resize(scratch_size(config.n_fft, config.num_mel_bins) / kBlockSize);

  const std::int64_t win_length = config.win_length;
  const std::int64_t hop_length = config.hop_length;
  switch (config.padding) {
    case Padding::kKaldi: first_start_ = hop_length / 2 - win_length / 2; break;
    case Padding::kSnip: first_start_ = 0; break;
    // A window shorter than n_fft stands in the middle of the n_fft samples, which are centred at t hop_length.
    case Padding::kCenter:
    case Padding::kCenterZero: first_start_ = (config.n_fft - win_length) / 2 - config.n_fft / 2; break;
  }
  left_padding_ = std::max<std::int64_t>(0, -first_start_);
  // The last frame reaches over the end by at most half a window, rounded up, and one sample more.
  if (reflects()) tail_ = win_length / 2 + 3;
  buffer_.reserve(static_cast<std::size_t>(left_padding_ + tail_ + 2 * win_length + (kBlockFrames + 1) * hop_length));
  reset();
}

bool LogMelFrontend::reflects() const {
  return config_.padding == Padding::kKaldi || config_.padding == Padding::kCenter;
}

void LogMelFrontend::reset() {
  buffer_.clear();
  buffer_start_ = 0;
  num_samples_ = 0;
  next_frame_ = 0;
  left_padded_ = false;
  finished_ = false;
}

std::int64_t LogMelFrontend::total_frames() const {
  if (num_samples_ == 0) return 0;
  const std::int64_t hop_length = config_.hop_length;
  switch (config_.padding) {
    case Padding::kKaldi: return (num_samples_ + hop_length / 2) / hop_length;
    case Padding::kSnip:
      return num_samples_ < config_.win_length ? 0 : (num_samples_ - config_.win_length) / hop_length + 1;
    case Padding::kCenter:
    case Padding::kCenterZero: break;
  }
  return num_samples_ / hop_length + 1;
}

std::int64_t LogMelFrontend::reflect(std::int64_t index) const {
  const bool repeats_edge = config_.padding == Padding::kKaldi;
  if (num_samples_ <= 1) return 0;
  const std::int64_t period = repeats_edge ? 2 * num_samples_ : 2 * (num_samples_ - 1);
  const std::int64_t wrapped = ((index % period) + period) % period;
  if (wrapped < num_samples_) return wrapped;
  return repeats_edge ? period - 1 - wrapped : period - wrapped;
}

void LogMelFrontend::insert_left_padding() {
  std::vector<float> padding(static_cast<std::size_t>(left_padding_), 0.0f);
  if (reflects()) {
    for (std::int64_t i = 0; i < left_padding_; ++i) {
      padding[static_cast<std::size_t>(i)] = buffer_[static_cast<std::size_t>(reflect(i - left_padding_))];
    }
  }
  buffer_.insert(buffer_.begin(), padding.begin(), padding.end());
  buffer_start_ = -left_padding_;
  left_padded_ = true;
}

void LogMelFrontend::compute_frames(std::int64_t count, std::vector<float>& features) {
  if (count <= 0) return;
  const std::size_t num_frames = static_cast<std::size_t>(count);
  const std::size_t old_size = features.size();
  features.resize(old_size + num_frames * static_cast<std::size_t>(config_.num_mel_bins));
  kernel_->log_mel(tables_, buffer_.data() + (frame_start(next_frame_) - buffer_start_), num_frames,
                   scratch_.front().values, features.data() + old_size);
  next_frame_ += count;
}

void LogMelFrontend::compute_complete_frames(std::vector<float>& features) {
  const std::int64_t left_over = num_samples_ - (frame_start(next_frame_) + config_.win_length);
  if (left_over >= 0) compute_frames(left_over / config_.hop_length + 1, features);
}

void LogMelFrontend::drop_used_samples() {
  const std::int64_t keep_from = std::min(frame_start(next_frame_), num_samples_ - tail_);
  if (keep_from <= buffer_start_) return;
  const std::int64_t dropped = std::min(keep_from - buffer_start_, static_cast<std::int64_t>(buffer_.size()));
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(dropped));
  buffer_start_ += dropped;
}

void LogMelFrontend::accept(const float* samples, std::size_t num_samples, std::vector<float>& features) {
  if (finished_) throw StreamStateError("accept() after finish(): call reset() to start another recording");
  bool all_good = true;
  for (std::size_t i = 0; i < num_samples; ++i) all_good &= std::abs(samples[i]) <= kMaxSample;
  if (!all_good) {
    const float* bad =
        std::find_if(samples, samples + num_samples, [](float s) { return !(std::abs(s) <= kMaxSample); });
    std::ostringstream message;
    message << "sample " << num_samples_ + (bad - samples) << " is " << *bad
            << "; a waveform holds finite values, normally in [-1, 1]";
    throw InputError(message.str());
  }

  // Room for all the frames at once, or twice the room there was: many small calls must not copy each time.
  const std::size_t num_values =
      (num_samples / static_cast<std::size_t>(config_.hop_length) + 2) * static_cast<std::size_t>(config_.num_mel_bins);
  if (features.size() + num_values > features.capacity()) {
    features.reserve(std::max(features.size() + num_values, 2 * features.capacity()));
  }

  // Only when mirrored samples are needed must there be samples to mirror.
  const std::int64_t needed_for_left_padding = reflects() && left_padding_ > 0 ? left_padding_ + 1 : 0;
  while (num_samples > 0) {
    // Up to the end of a block of frames, so that long input fills all lanes.
    const std::int64_t block_end = frame_start(next_frame_ + kBlockFrames - 1) + config_.win_length;
    const std::int64_t wanted = std::max<std::int64_t>(1, block_end - num_samples_);
    const std::size_t taken = std::min(num_samples, static_cast<std::size_t>(wanted));
    buffer_.insert(buffer_.end(), samples, samples + taken);
    num_samples_ += static_cast<std::int64_t>(taken);
    samples += taken;
    num_samples -= taken;
    if (!left_padded_ && num_samples_ >= needed_for_left_padding) insert_left_padding();
    if (left_padded_) {
      compute_complete_frames(features);
      drop_used_samples();
    }
  }
}

void LogMelFrontend::finish(std::vector<float>& features) {
  if (finished_) throw StreamStateError("finish() after finish(): call reset() to start another recording");
  finished_ = true;
  const std::int64_t total = total_frames();
  if (total <= next_frame_) return;
  if (!left_padded_) insert_left_padding();
  const std::int64_t end = frame_start(total - 1) + config_.win_length;
  for (std::int64_t i = num_samples_; i < end; ++i) {
    const std::int64_t source = reflect(i) - buffer_start_;
    buffer_.push_back(reflects() ? buffer_[static_cast<std::size_t>(source)] : 0.0f);
  }
  compute_frames(total - next_frame_, features);
}

}  // namespace edgeasr
