// The arithmetic of the log-mel frontend, compiled once for each instruction set and chosen when the program runs.
//
// Samples come and features go as floats; from the window to the power spectrum everything is double. In float, the
// roundings of the FFT stand 70 to 80 dB below a frame's loudest bins, and quiet low bands of loud frames miss the true
// value by more than 1e-3; in double the features are within 2e-6 of it.
//
// All kernels give the same bits. Several frames lie side by side in the lanes of the vector registers, and no
// operation mixes lanes, so a frame's value depends neither on its lane nor on its neighbours; and the compiler may not
// fuse multiplications with additions (-ffp-contract=off), so neither does it depend on the instruction set.
#pragma once

#include <cstddef>
#include <vector>

#include "core/fft.h"

namespace edgeasr {

// A mel band: weights[0 .. num_bins) for the FFT bins from first_bin on.
struct MelBand {
  int first_bin;
  int num_bins;
  std::size_t weight_offset;
};

// A non-owning view of all that the kernels need to know of a LogMelConfig.
struct LogMelTables {
  RealFftTables fft;
  int win_length;
  int hop_length;
  int num_mel_bins;
  bool remove_dc_offset;
  double preemphasis;
  float log_floor;
  const double* half_window;  // the window times 0.5, which the FFT expects
  const MelBand* bands;
  const float* weights;
};

struct FrameKernel {
  const char* name;
  // The log-mel features of `num_frames` frames, the first of which starts at samples[0]. `scratch` has
  // scratch_size(n_fft, num_mel_bins) doubles aligned to kScratchAlignment; `features` is row-major.
  void (*log_mel)(const LogMelTables& tables, const float* samples, std::size_t num_frames, double* scratch,
                  float* features);
  // The power spectrum, n_fft / 2 + 1 bins, of `n_fft` samples.
  void (*power_spectrum)(const RealFftTables& tables, const double* samples, double* scratch, double* power);
};

inline constexpr std::size_t kScratchAlignment = 64;

// The number of doubles that a kernel needs to work in: for each lane the FFT's n_fft values, and beside them a power
// spectrum (in doubles when it is asked for by itself) and the bands.
constexpr std::size_t scratch_size(int n_fft, int num_mel_bins) {
  constexpr std::size_t kMaxLanes = 8;
  return kMaxLanes * (static_cast<std::size_t>(n_fft) + static_cast<std::size_t>(n_fft / 2 + 1) +
                      static_cast<std::size_t>(num_mel_bins / 2 + 1));
}

// The kernels that this processor can run, the fastest first; the last one, "baseline", runs everywhere.
const std::vector<const FrameKernel*>& frame_kernels();

}  // namespace edgeasr
