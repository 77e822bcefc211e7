// The plan of a real FFT: everything that depends only on its length, computed once.
#pragma once

#include <cstddef>
#include <vector>

namespace edgeasr {

// One pass of the mixed-radix complex FFT: blocks of `span` points are split into `radix` interleaved parts.
struct FftPass {
  int radix;  // 2, 3, 4 or 5
  int span;   // length of the blocks that this pass splits
  // Where in RealFftTables::twiddles the factors of the pass start: for each j in [0, span / radix), and each
  // q in [1, radix), the pair (cos, -sin) of 2 pi j q / span.
  std::size_t twiddle_offset;
};

// A non-owning view of a plan, plain enough to be read by code compiled for any instruction set.
struct RealFftTables {
  int n_fft;
  int num_passes;
  const FftPass* passes;
  const double* twiddles;
  // The n_fft / 2 complex results stand at these positions after the passes (digit-reversed order).
  const int* positions;
  // (cos, -sin) of 2 pi k / n_fft for k in [0, n_fft / 4]: what joins the halves of the real FFT.
  const double* join_twiddles;
};

// The FFT of `n_fft` real samples is one complex FFT of half the length (even samples as real parts, odd ones as
// imaginary parts), in place, by decimation in frequency, followed by a pass that separates the two: see Press et al.,
// Numerical Recipes, 3rd ed., section 12.3.2. The arithmetic itself is in frame_kernels_impl.h.
class RealFftPlan {
 public:
  // Throws ConfigError unless is_supported(n_fft).
  explicit RealFftPlan(int n_fft);
  static void require_supported(int n_fft);

  // Even lengths from 4 to kMaxLength without prime factors above 5.
  static bool is_supported(int n_fft);
  static constexpr int kMaxLength = 1 << 16;

  // The view is valid while the plan lives.
  RealFftTables tables() const;

 private:
  int n_fft_;
  std::vector<FftPass> passes_;
  std::vector<double> twiddles_;
  std::vector<int> positions_;
  std::vector<double> join_twiddles_;
};

}  // namespace edgeasr
