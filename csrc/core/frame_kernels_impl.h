// The kernels themselves, for any number of lanes. Included by the frame_kernels_*.cc, one per instruction set.
//
// Everything here has internal linkage and nothing from the standard library that could leave a function of its own in
// the object file: the linker would be free to take that copy, compiled for a newer processor, for the whole program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include "core/frame_kernels.h"

namespace edgeasr {
namespace {

// W numbers side by side; GCC and Clang both know this extension and lower it to what the target has.
template <int W>
struct Lanes {
  typedef double Double __attribute__((vector_size(8 * W), may_alias));
  typedef float Float __attribute__((vector_size(4 * W), may_alias));
  typedef std::int32_t Int __attribute__((vector_size(4 * W), may_alias));
};
template <int W>
using Doubles = typename Lanes<W>::Double;
template <int W>
using Floats = typename Lanes<W>::Float;
template <int W>
using Ints = typename Lanes<W>::Int;

template <int W>
inline Floats<W> load_unaligned(const float* from) {
  Floats<W> value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

template <int W>
inline void store_unaligned(float* to, Floats<W> value) {
  __builtin_memcpy(to, &value, sizeof value);
}

// GCC 12 splits conversions between vectors of different sizes into halves or single elements; hence the intrinsics.
template <int W>
inline Doubles<W> widen(Floats<W> value) {
#if defined(__SSE2__)
  if constexpr (W == 2) return _mm_cvtps_pd(_mm_castpd_ps(_mm_set_sd(__builtin_bit_cast(double, value))));
#endif
#if defined(__AVX__)
  if constexpr (W == 4) return _mm256_cvtps_pd(value);
#endif
#if defined(__AVX512F__)
  // With a mask of ones: the plain form draws a false warning from GCC 12 about an uninitialised variable.
  if constexpr (W == 8) return _mm512_maskz_cvtps_pd(0xff, value);
#endif
#if defined(__ARM_NEON) && defined(__aarch64__)
  if constexpr (W == 2) return vcvt_f64_f32(value);
#endif
  return __builtin_convertvector(value, Doubles<W>);
}

template <int W>
inline Floats<W> narrow(Doubles<W> value) {
#if defined(__AVX512F__)
  if constexpr (W == 8) return _mm512_maskz_cvtpd_ps(0xff, value);
#endif
  return __builtin_convertvector(value, Floats<W>);
}

template <int W>
inline void put(Doubles<W>* to, Doubles<W> value) {
  *to = value;
}

template <int W>
inline void put(Floats<W>* to, Doubles<W> value) {
  *to = narrow<W>(value);
}

// --- Transposition: rows of samples of one frame <-> vectors of one sample of all frames ---

// Within each 128-bit quarter: interleave the lower (or upper) two elements of a and b.
template <int W, bool Upper, int... I>
inline Floats<W> interleave(Floats<W> a, Floats<W> b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, ((I & ~3) + (Upper ? 2 : 0) + (I % 4) / 2 + (I % 2) * W)...);
}

// Alternating blocks of D elements of a and b: the even blocks of both (or the odd blocks of both).
template <int W, int D, bool Odd, int... I>
inline Floats<W> exchange(Floats<W> a, Floats<W> b, std::integer_sequence<int, I...>) {
  // Block n of the result is block n of a, or n - 1 of b; one further for the odd ones.
  return __builtin_shufflevector(a, b, (I + ((I / D) % 2 == 0 ? 0 : W - D) + (Odd ? D : 0))...);
}

// Transposes W x W elements in place.
template <int W>
inline void transpose(Floats<W>* rows) {
  static_assert(W == 4 || W == 8);
  constexpr auto kLanes = std::make_integer_sequence<int, W>{};
  for (int r = 0; r < W; r += 4) {
    const Floats<W> ab_low = interleave<W, false>(rows[r], rows[r + 1], kLanes);
    const Floats<W> ab_high = interleave<W, true>(rows[r], rows[r + 1], kLanes);
    const Floats<W> cd_low = interleave<W, false>(rows[r + 2], rows[r + 3], kLanes);
    const Floats<W> cd_high = interleave<W, true>(rows[r + 2], rows[r + 3], kLanes);
    rows[r] = exchange<W, 2, false>(ab_low, cd_low, kLanes);
    rows[r + 1] = exchange<W, 2, true>(ab_low, cd_low, kLanes);
    rows[r + 2] = exchange<W, 2, false>(ab_high, cd_high, kLanes);
    rows[r + 3] = exchange<W, 2, true>(ab_high, cd_high, kLanes);
  }
  if constexpr (W == 8) {
    for (int r = 0; r < 4; ++r) {
      const Floats<W> upper = rows[r];
      const Floats<W> lower = rows[r + 4];
      rows[r] = exchange<W, 4, false>(upper, lower, kLanes);
      rows[r + 4] = exchange<W, 4, true>(upper, lower, kLanes);
    }
  }
}

// out[i] = sample i of all frames; returns the frames' sums. Lanes beyond `num_frames` repeat the last frame.
template <int W>
inline Doubles<W> gather_frames(const float* samples, int hop_length, int num_frames, int win_length, Doubles<W>* out) {
  const float* frame[W];
  for (int lane = 0; lane < W; ++lane) {
    const int f = lane < num_frames ? lane : num_frames - 1;
    frame[lane] = samples + static_cast<std::ptrdiff_t>(f) * hop_length;
  }
  // Sum k takes the samples i with i % 4 = k, whatever W: one sum alone would wait for each addition to finish.
  Doubles<W> sum0{}, sum1{}, sum2{}, sum3{};
  constexpr int kStep = W + (W == 2 ? 2 : 0);
  int i = 0;
  for (; i + kStep <= win_length; i += kStep) {
    Floats<W> rows[kStep];
    if constexpr (W == 2) {
      const Floats<4> a = load_unaligned<4>(frame[0] + i);
      const Floats<4> b = load_unaligned<4>(frame[1] + i);
      rows[0] = __builtin_shufflevector(a, b, 0, 4);
      rows[1] = __builtin_shufflevector(a, b, 1, 5);
      rows[2] = __builtin_shufflevector(a, b, 2, 6);
      rows[3] = __builtin_shufflevector(a, b, 3, 7);
    } else {
      for (int lane = 0; lane < W; ++lane) rows[lane] = load_unaligned<W>(frame[lane] + i);
      transpose<W>(rows);
    }
    for (int r = 0; r < kStep; r += 4) {
      sum0 += out[i + r] = widen<W>(rows[r]);
      sum1 += out[i + r + 1] = widen<W>(rows[r + 1]);
      sum2 += out[i + r + 2] = widen<W>(rows[r + 2]);
      sum3 += out[i + r + 3] = widen<W>(rows[r + 3]);
    }
  }
  Doubles<W>* const sums[4] = {&sum0, &sum1, &sum2, &sum3};
  for (; i < win_length; ++i) {
    for (int lane = 0; lane < W; ++lane) out[i][lane] = static_cast<double>(frame[lane][i]);
    *sums[i % 4] += out[i];
  }
  return (sum0 + sum1) + (sum2 + sum3);
}

// The inverse: features[f][m] = in[m][f].
template <int W>
inline void scatter_features(const float* in, int num_frames, int num_mel_bins, float* features) {
  int m = 0;
  if constexpr (W == 2) {
    for (; m + 4 <= num_mel_bins; m += 4) {
      const Floats<4> first = load_unaligned<4>(in + 2 * m);
      const Floats<4> second = load_unaligned<4>(in + 2 * m + 4);
      store_unaligned<4>(features + m, __builtin_shufflevector(first, second, 0, 2, 4, 6));
      if (num_frames > 1) {
        store_unaligned<4>(features + num_mel_bins + m, __builtin_shufflevector(first, second, 1, 3, 5, 7));
      }
    }
  } else {
    for (; m + W <= num_mel_bins; m += W) {
      Floats<W> rows[W];
      for (int r = 0; r < W; ++r) rows[r] = load_unaligned<W>(in + (m + r) * W);
      transpose<W>(rows);
      for (int lane = 0; lane < num_frames; ++lane) {
        store_unaligned<W>(features + static_cast<std::ptrdiff_t>(lane) * num_mel_bins + m, rows[lane]);
      }
    }
  }
  for (; m < num_mel_bins; ++m) {
    for (int lane = 0; lane < num_frames; ++lane) {
      features[static_cast<std::ptrdiff_t>(lane) * num_mel_bins + m] = in[m * W + lane];
    }
  }
}

// --- Window ---

// Takes the means off, applies preemphasis and the window, in place; and fills up with zeros to n_fft.
template <int W>
inline void apply_window(const LogMelTables& tables, Doubles<W> mean, Doubles<W>* x) {
  const int n = tables.win_length;
  const double* window = tables.half_window;
  if (tables.preemphasis != 0.0) {
    // (x[i] - mean) - p (x[i-1] - mean), with the means taken together. The first sample has no other before it; Kaldi
    // lets it stand for its own predecessor.
    const double preemphasis = tables.preemphasis;
    const Doubles<W> mean_left = mean * (1.0 - preemphasis);
    Doubles<W> previous = x[0];
    for (int i = 0; i < n; ++i) {
      const Doubles<W> current = x[i];
      x[i] = ((current - preemphasis * previous) - mean_left) * window[i];
      previous = current;
    }
  } else {
    for (int i = 0; i < n; ++i) x[i] = (x[i] - mean) * window[i];
  }
  for (int i = n; i < tables.fft.n_fft; ++i) x[i] = Doubles<W>{};
}

// --- FFT ---

template <int W>
struct Complex {
  Doubles<W> re;
  Doubles<W> im;
};

template <int W>
inline Complex<W> operator+(Complex<W> a, Complex<W> b) {
  return {a.re + b.re, a.im + b.im};
}

template <int W>
inline Complex<W> operator-(Complex<W> a, Complex<W> b) {
  return {a.re - b.re, a.im - b.im};
}

// -i a
template <int W>
inline Complex<W> minus_i(Complex<W> a) {
  return {a.im, -a.re};
}

template <int W>
inline Complex<W> scale(Complex<W> a, double factor) {
  return {a.re * factor, a.im * factor};
}

template <int W>
inline Complex<W> operator*(Complex<W> a, Complex<W> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// The complex number at `from`, a pair of doubles, in all lanes.
template <int W>
inline Complex<W> splat(const double* from) {
  return {Doubles<W>{} + from[0], Doubles<W>{} + from[1]};
}

// The discrete Fourier transform of Radix points: the small transforms of which the passes are made.
template <int W>
inline void small_dft(Complex<W> (&a)[2]) {
  const Complex<W> sum = a[0] + a[1];
  a[1] = a[0] - a[1];
  a[0] = sum;
}

template <int W>
inline void small_dft(Complex<W> (&a)[3]) {
  constexpr double kSin = 0.86602540378443864676;  // sin(2 pi / 3)
  const Complex<W> sum = a[1] + a[2];
  const Complex<W> turned = scale(minus_i(a[1] - a[2]), kSin);
  const Complex<W> centre = a[0] - scale(sum, 0.5);
  a[0] = a[0] + sum;
  a[1] = centre + turned;
  a[2] = centre - turned;
}

template <int W>
inline void small_dft(Complex<W> (&a)[4]) {
  const Complex<W> even_sum = a[0] + a[2];
  const Complex<W> even_difference = a[0] - a[2];
  const Complex<W> odd_sum = a[1] + a[3];
  const Complex<W> odd_difference = a[1] - a[3];
  a[0] = even_sum + odd_sum;
  a[1] = {even_difference.re + odd_difference.im, even_difference.im - odd_difference.re};
  a[2] = even_sum - odd_sum;
  a[3] = {even_difference.re - odd_difference.im, even_difference.im + odd_difference.re};
}

template <int W>
inline void small_dft(Complex<W> (&a)[5]) {
  constexpr double kCos1 = 0.30901699437494742410;   // cos(2 pi / 5)
  constexpr double kCos2 = -0.80901699437494742410;  // cos(4 pi / 5)
  constexpr double kSin1 = 0.95105651629515357212;   // sin(2 pi / 5)
  constexpr double kSin2 = 0.58778525229247312917;   // sin(4 pi / 5)
  const Complex<W> sum1 = a[1] + a[4];
  const Complex<W> sum2 = a[2] + a[3];
  const Complex<W> difference1 = minus_i(a[1] - a[4]);
  const Complex<W> difference2 = minus_i(a[2] - a[3]);
  const Complex<W> centre1 = a[0] + scale(sum1, kCos1) + scale(sum2, kCos2);
  const Complex<W> centre2 = a[0] + scale(sum1, kCos2) + scale(sum2, kCos1);
  const Complex<W> turned1 = scale(difference1, kSin1) + scale(difference2, kSin2);
  const Complex<W> turned2 = scale(difference1, kSin2) - scale(difference2, kSin1);
  a[0] = a[0] + sum1 + sum2;
  a[1] = centre1 + turned1;
  a[2] = centre2 + turned2;
  a[3] = centre2 - turned2;
  a[4] = centre1 - turned1;
}

// The butterflies of one pass that share their twiddle factors. `roots` is ignored unless Twiddled.
// Always inlined: where there is one butterfly for each set of factors, as in the first pass, a call costs as much.
template <int W, int Radix, bool Twiddled>
[[gnu::always_inline]] inline void butterflies(Doubles<W>* x, const Doubles<W>* end, std::ptrdiff_t step,
                                               std::ptrdiff_t stride, const double* roots) {
  // Copied, because the compiler must assume that writing to x could change what `roots` points to.
  Complex<W> root[Radix];
  if constexpr (Twiddled) {
    for (int q = 1; q < Radix; ++q) root[q] = splat<W>(roots + 2 * (q - 1));
  }
  for (; x < end; x += step) {
    Complex<W> a[Radix];
    for (int q = 0; q < Radix; ++q) a[q] = {x[q * stride], x[q * stride + 1]};
    small_dft<W>(a);
    for (int q = 0; q < Radix; ++q) {
      const Complex<W> value = Twiddled && q > 0 ? a[q] * root[q] : a[q];
      x[q * stride] = value.re;
      x[q * stride + 1] = value.im;
    }
  }
}

template <int W, int Radix>
inline void fft_pass(const RealFftTables& tables, const FftPass& pass, Doubles<W>* x) {
  Doubles<W>* const end = x + tables.n_fft;
  const std::ptrdiff_t step = 2 * pass.span;
  const std::ptrdiff_t stride = step / Radix;
  const double* roots = tables.twiddles + pass.twiddle_offset;
  const int num_roots = pass.span / Radix;
  // For j = 0 all the factors are 1.
  butterflies<W, Radix, false>(x, end, step, stride, nullptr);
  for (int j = 1; j < num_roots; ++j) {
    roots += 2 * (Radix - 1);
    x += 2;
    butterflies<W, Radix, true>(x, end, step, stride, roots);
  }
}

template <int W>
inline void complex_fft(const RealFftTables& tables, Doubles<W>* x) {
  for (int p = 0; p < tables.num_passes; ++p) {
    const FftPass& pass = tables.passes[p];
    switch (pass.radix) {
      case 2: fft_pass<W, 2>(tables, pass, x); break;
      case 3: fft_pass<W, 3>(tables, pass, x); break;
      case 4: fft_pass<W, 4>(tables, pass, x); break;
      default: fft_pass<W, 5>(tables, pass, x); break;
    }
  }
}

template <int W>
inline Doubles<W> squared(Complex<W> a) {
  return a.re * a.re + a.im * a.im;
}

// The power of bins 0 .. n_fft / 2, from the complex FFT of *half* the samples (so that no factor 1/2 is left here).
// With Z the complex FFT of M = n_fft / 2 points, the even and the odd samples' spectra are
// E = Z[k] + conj Z[M-k] and O = -i (Z[k] - conj Z[M-k]), and X[k] = E + w^k O, X[M-k] = conj(E - w^k O).
// Out is Doubles or Floats: rounded to float, powers that are only to be summed lose nothing that shows.
template <int W, typename Out>
inline void join_halves(const RealFftTables& tables, const Doubles<W>* x, Out* power) {
  const int points = tables.n_fft / 2;
  const Doubles<W> first = 2.0 * (x[0] + x[1]);
  const Doubles<W> last = 2.0 * (x[0] - x[1]);
  put<W>(power, first * first);
  put<W>(power + points, last * last);
  for (int k = 1; 2 * k <= points; ++k) {
    const Doubles<W>* at = x + 2 * tables.positions[k];
    const Doubles<W>* mirrored = x + 2 * tables.positions[points - k];
    const Complex<W> even{at[0] + mirrored[0], at[1] - mirrored[1]};
    const Complex<W> odd{at[1] + mirrored[1], mirrored[0] - at[0]};
    const Complex<W> turned = odd * splat<W>(tables.join_twiddles + 2 * k);
    put<W>(power + k, squared(even + turned));
    put<W>(power + points - k, squared(even - turned));
  }
}

// --- Mel bands and logarithm ---

template <int W>
inline void mel_bands(const LogMelTables& tables, const Floats<W>* power, Floats<W>* out) {
  for (int m = 0; m < tables.num_mel_bins; ++m) {
    const MelBand& band = tables.bands[m];
    const Floats<W>* bins = power + band.first_bin;
    const float* weights = tables.weights + band.weight_offset;
    Floats<W> energy = bins[0] * weights[0];
    for (int i = 1; i < band.num_bins; ++i) energy += bins[i] * weights[i];
    out[m] = energy;
  }
}

// ln(x) for normal positive x, within half an ulp and 1e-7: x = 2^e m with m in [sqrt(1/2), sqrt(2)), and
// ln m = 2 artanh(s) = 2 (s + s^3 / 3 + s^5 / 5 + ...) with s = (m - 1) / (m + 1), |s| < 0.172. ln 2 is taken in two
// parts, the first so short that its product with e is exact: only the last addition rounds at the size of the result.
template <int W>
inline Floats<W> natural_log(Floats<W> x) {
  constexpr std::int32_t kSqrtHalfBits = 0x3f3504f3;
  constexpr float kLog2High = 0.693359375f;  // 355 / 512
  constexpr float kLog2Low = -2.12194440e-4f;
  Ints<W> bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  const Ints<W> exponent = (bits - kSqrtHalfBits) >> 23;
  const Ints<W> mantissa_bits = bits - (exponent << 23);
  Floats<W> mantissa;
  __builtin_memcpy(&mantissa, &mantissa_bits, sizeof mantissa);
  const Floats<W> s = (mantissa - 1.0f) / (mantissa + 1.0f);
  const Floats<W> z = s * s;
  const Floats<W> series = z * (0.666666667f + z * (0.4f + z * (0.285714286f + z * 0.222222222f)));
  const Floats<W> e = __builtin_convertvector(exponent, Floats<W>);
  return e * kLog2High + (e * kLog2Low + (s * series + (s + s)));
}

// values[i] = ln(max(values[i], floor)) for `count` values, rounded up to a multiple of W.
template <int W>
inline void floor_and_log(float* values, int count, float floor) {
  const Floats<W> floors = Floats<W>{} + floor;
  for (int i = 0; i < count; i += W) {
    const Floats<W> value = load_unaligned<W>(values + i);
    store_unaligned<W>(values + i, natural_log<W>(value > floors ? value : floors));
  }
}

// --- The entry points ---

// One group of up to W frames.
template <int W>
void log_mel_group(const LogMelTables& tables, const float* samples, int num_frames, double* scratch, float* features) {
  const int win_length = tables.win_length;
  const int num_mel_bins = tables.num_mel_bins;
  Doubles<W>* x = reinterpret_cast<Doubles<W>*>(scratch);
  Floats<W>* power = reinterpret_cast<Floats<W>*>(x + tables.fft.n_fft);
  Floats<W>* bands = power + tables.fft.n_fft / 2 + 1;

  const Doubles<W> sums = gather_frames<W>(samples, tables.hop_length, num_frames, win_length, x);
  const Doubles<W> mean = tables.remove_dc_offset ? sums / static_cast<double>(win_length) : Doubles<W>{};
  apply_window<W>(tables, mean, x);
  complex_fft<W>(tables.fft, x);
  join_halves<W>(tables.fft, x, power);
  mel_bands<W>(tables, power, bands);
  // The logarithm takes bands in pairs, to fill its vectors; for an odd number of them there is one more.
  bands[num_mel_bins] = Floats<W>{} + 1.0f;
  float* values = reinterpret_cast<float*>(bands);
  floor_and_log<2 * W>(values, num_mel_bins * W, tables.log_floor);
  scatter_features<W>(values, num_frames, num_mel_bins, features);
}

template <int W>
void log_mel_frames(const LogMelTables& tables, const float* samples, std::size_t num_frames, double* scratch,
                    float* features) {
  std::size_t left = num_frames;
  while (left > 0) {
    if constexpr (W > 2) {
      // The last few frames, in half as wide vectors: the same values from half the memory.
      if (left <= W / 2) {
        log_mel_frames<W / 2>(tables, samples, left, scratch, features);
        return;
      }
    }
    const std::size_t taken = left < W ? left : W;
    log_mel_group<W>(tables, samples, static_cast<int>(taken), scratch, features);
    samples += taken * static_cast<std::size_t>(tables.hop_length);
    features += taken * static_cast<std::size_t>(tables.num_mel_bins);
    left -= taken;
  }
}

template <int W>
void power_of_frame(const RealFftTables& tables, const double* samples, double* scratch, double* power) {
  Doubles<W>* x = reinterpret_cast<Doubles<W>*>(scratch);
  Doubles<W>* bins = x + tables.n_fft;
  for (int i = 0; i < tables.n_fft; ++i) x[i] = Doubles<W>{} + 0.5 * samples[i];
  complex_fft<W>(tables, x);
  join_halves<W>(tables, x, bins);
  for (int k = 0; k <= tables.n_fft / 2; ++k) power[k] = bins[k][0];
}

}  // namespace
}  // namespace edgeasr
