// The kernels themselves, for any number of lanes. Included by the frame_kernels_*.cc, one per instruction set.
//
// Everything here has internal linkage and nothing from the standard library that could leave a function of its own in
// the object file: the linker would be free to take that copy, compiled for a newer processor, for the whole program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/frame_kernels.h"

namespace edgeasr {
namespace {

// The vector of W floats; GCC and Clang both know this extension and lower it to what the target has.
template <int W>
struct Lanes {
  typedef float Float __attribute__((vector_size(4 * W), may_alias));
  typedef std::int32_t Int __attribute__((vector_size(4 * W), may_alias));
};
template <int W>
using Vec = typename Lanes<W>::Float;
template <int W>
using IntVec = typename Lanes<W>::Int;

template <int W>
inline Vec<W> splat(float value) {
  return Vec<W>{} + value;
}

template <int W>
inline Vec<W> load_unaligned(const float* from) {
  Vec<W> value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

template <int W>
inline void store_unaligned(float* to, Vec<W> value) {
  __builtin_memcpy(to, &value, sizeof value);
}

// --- Transposition: rows of samples of one frame <-> vectors of one sample of all frames ---

#if defined(__clang__) || __GNUC__ >= 12
#define EDGEASR_SHUFFLE(W, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define EDGEASR_SHUFFLE(W, a, b, ...) __builtin_shuffle(a, b, IntVec<W>{__VA_ARGS__})
#endif

// Within each 128-bit quarter: interleave the lower (or upper) two elements of a and b.
template <int W, bool Upper, int... I>
inline Vec<W> interleave(Vec<W> a, Vec<W> b, std::integer_sequence<int, I...>) {
  return EDGEASR_SHUFFLE(W, a, b, ((I & ~3) + (Upper ? 2 : 0) + (I % 4) / 2 + (I % 2) * W)...);
}

// Alternating blocks of D elements of a and b: the even blocks of both (or the odd blocks of both).
template <int W, int D, bool Odd, int... I>
inline Vec<W> exchange(Vec<W> a, Vec<W> b, std::integer_sequence<int, I...>) {
  return EDGEASR_SHUFFLE(W, a, b, ((I / D) % 2 == 0 ? I + (Odd ? D : 0) : W + I - (Odd ? 0 : D))...);
}

// Swaps the off-diagonal blocks of D x D elements among the rows.
template <int W, int D>
inline void exchange_rows(Vec<W>* rows) {
  constexpr auto kLanes = std::make_integer_sequence<int, W>{};
  for (int r = 0; r < W; ++r) {
    if ((r / D) % 2 != 0) continue;
    const Vec<W> upper = rows[r];
    const Vec<W> lower = rows[r + D];
    rows[r] = exchange<W, D, false>(upper, lower, kLanes);
    rows[r + D] = exchange<W, D, true>(upper, lower, kLanes);
  }
}

// Transposes W x W elements in place.
template <int W>
inline void transpose(Vec<W>* rows) {
  constexpr auto kLanes = std::make_integer_sequence<int, W>{};
  for (int r = 0; r < W; r += 4) {
    const Vec<W> ab_low = interleave<W, false>(rows[r], rows[r + 1], kLanes);
    const Vec<W> ab_high = interleave<W, true>(rows[r], rows[r + 1], kLanes);
    const Vec<W> cd_low = interleave<W, false>(rows[r + 2], rows[r + 3], kLanes);
    const Vec<W> cd_high = interleave<W, true>(rows[r + 2], rows[r + 3], kLanes);
    rows[r] = exchange<W, 2, false>(ab_low, cd_low, kLanes);
    rows[r + 1] = exchange<W, 2, true>(ab_low, cd_low, kLanes);
    rows[r + 2] = exchange<W, 2, false>(ab_high, cd_high, kLanes);
    rows[r + 3] = exchange<W, 2, true>(ab_high, cd_high, kLanes);
  }
  if constexpr (W >= 8) exchange_rows<W, 4>(rows);
  if constexpr (W >= 16) exchange_rows<W, 8>(rows);
}

// out[i] = sample i of all frames. Lanes beyond `num_frames` repeat the last frame.
template <int W>
inline void gather_frames(const float* samples, int hop_length, int num_frames, int win_length, Vec<W>* out) {
  const float* frame[W];
  for (int lane = 0; lane < W; ++lane) {
    const int f = lane < num_frames ? lane : num_frames - 1;
    frame[lane] = samples + static_cast<std::ptrdiff_t>(f) * hop_length;
  }
  int i = 0;
  for (; i + W <= win_length; i += W) {
    Vec<W> rows[W];
    for (int lane = 0; lane < W; ++lane) rows[lane] = load_unaligned<W>(frame[lane] + i);
    transpose<W>(rows);
    for (int r = 0; r < W; ++r) out[i + r] = rows[r];
  }
  for (; i < win_length; ++i) {
    float row[W];
    for (int lane = 0; lane < W; ++lane) row[lane] = frame[lane][i];
    out[i] = load_unaligned<W>(row);
  }
}

// The inverse: features[f][m] = in[m] of lane f.
template <int W>
inline void scatter_features(const Vec<W>* in, int num_frames, int num_mel_bins, float* features) {
  int m = 0;
  for (; m + W <= num_mel_bins; m += W) {
    Vec<W> rows[W];
    for (int r = 0; r < W; ++r) rows[r] = in[m + r];
    transpose<W>(rows);
    for (int lane = 0; lane < num_frames; ++lane) {
      store_unaligned<W>(features + static_cast<std::ptrdiff_t>(lane) * num_mel_bins + m, rows[lane]);
    }
  }
  for (; m < num_mel_bins; ++m) {
    float row[W];
    store_unaligned<W>(row, in[m]);
    for (int lane = 0; lane < num_frames; ++lane) {
      features[static_cast<std::ptrdiff_t>(lane) * num_mel_bins + m] = row[lane];
    }
  }
}

// --- Window ---

// Removes the mean, applies preemphasis and the window, in place; and fills up with zeros to n_fft.
template <int W>
inline void apply_window(const LogMelTables& tables, Vec<W>* x) {
  const int n = tables.win_length;
  Vec<W> mean{};
  if (tables.remove_dc_offset) {
    // Four sums, because one would wait for each addition to finish; and they round less.
    Vec<W> sum0{}, sum1{}, sum2{}, sum3{};
    int i = 0;
    for (; i + 4 <= n; i += 4) {
      sum0 += x[i];
      sum1 += x[i + 1];
      sum2 += x[i + 2];
      sum3 += x[i + 3];
    }
    for (; i < n; ++i) sum0 += x[i];
    mean = ((sum0 + sum1) + (sum2 + sum3)) / static_cast<float>(n);
  }
  if (tables.preemphasize) {
    // x[i] - p x[i-1] as (x[i] - x[i-1]) + (1 - p) x[i-1]: where the signal moves slowly, the first difference is
    // exact, and p, which float rounds by up to 3e-8, would leave that much of a low tone thirty times its size.
    const float rest = tables.preemphasis_rest;
    Vec<W> previous = x[0] - mean;
    for (int i = 0; i < n; ++i) {
      const Vec<W> current = x[i] - mean;
      x[i] = ((current - previous) + rest * previous) * tables.half_window[i];
      previous = current;
    }
  } else {
    for (int i = 0; i < n; ++i) x[i] = (x[i] - mean) * tables.half_window[i];
  }
  for (int i = n; i < tables.fft.n_fft; ++i) x[i] = Vec<W>{};
}

// --- FFT ---

template <int W>
struct Complex {
  Vec<W> re;
  Vec<W> im;
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
inline Complex<W> scale(Complex<W> a, float factor) {
  return {a.re * factor, a.im * factor};
}

// a times the complex number at `root` (a pair of floats).
template <int W>
inline Complex<W> rotate(Complex<W> a, const float* root) {
  return {a.re * root[0] - a.im * root[1], a.re * root[1] + a.im * root[0]};
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
  constexpr float kSin = 0.866025403784438647f;  // sin(2 pi / 3)
  const Complex<W> sum = a[1] + a[2];
  const Complex<W> turned = scale(minus_i(a[1] - a[2]), kSin);
  const Complex<W> centre = a[0] - scale(sum, 0.5f);
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
  constexpr float kCos1 = 0.309016994374947424f;   // cos(2 pi / 5)
  constexpr float kCos2 = -0.809016994374947424f;  // cos(4 pi / 5)
  constexpr float kSin1 = 0.951056516295153572f;   // sin(2 pi / 5)
  constexpr float kSin2 = 0.587785252292473129f;   // sin(4 pi / 5)
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

template <int W, int Radix>
inline void fft_pass(const RealFftTables& tables, const FftPass& pass, Vec<W>* x) {
  const int points = tables.n_fft / 2;
  const int stride = pass.span / Radix;
  const float* roots = tables.twiddles + pass.twiddle_offset;
  for (int j = 0; j < stride; ++j, roots += 2 * (Radix - 1)) {
    for (int start = j; start < points; start += pass.span) {
      Complex<W> a[Radix];
      for (int q = 0; q < Radix; ++q) {
        const Vec<W>* at = x + 2 * (start + q * stride);
        a[q] = {at[0], at[1]};
      }
      small_dft<W>(a);
      for (int q = 0; q < Radix; ++q) {
        // For j = 0 all the factors are 1.
        const Complex<W> value = q == 0 || j == 0 ? a[q] : rotate(a[q], roots + 2 * (q - 1));
        Vec<W>* at = x + 2 * (start + q * stride);
        at[0] = value.re;
        at[1] = value.im;
      }
    }
  }
}

template <int W>
inline void complex_fft(const RealFftTables& tables, Vec<W>* x) {
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
inline Vec<W> squared(Complex<W> a) {
  return a.re * a.re + a.im * a.im;
}

// The power of bins 0 .. n_fft / 2, from the complex FFT of *half* the samples (so that no factor 1/2 is left here).
// With Z the complex FFT of M = n_fft / 2 points, the even and the odd samples' spectra are
// E = Z[k] + conj Z[M-k] and O = -i (Z[k] - conj Z[M-k]), and X[k] = E + w^k O, X[M-k] = conj(E - w^k O).
template <int W>
inline void join_halves(const RealFftTables& tables, const Vec<W>* x, Vec<W>* power) {
  const int points = tables.n_fft / 2;
  const Vec<W> first = 2.0f * (x[0] + x[1]);
  const Vec<W> last = 2.0f * (x[0] - x[1]);
  power[0] = first * first;
  power[points] = last * last;
  for (int k = 1; 2 * k <= points; ++k) {
    const Vec<W>* at = x + 2 * tables.positions[k];
    const Vec<W>* mirrored = x + 2 * tables.positions[points - k];
    const Complex<W> even{at[0] + mirrored[0], at[1] - mirrored[1]};
    const Complex<W> odd{at[1] + mirrored[1], mirrored[0] - at[0]};
    const Complex<W> turned = rotate(odd, tables.join_twiddles + 2 * k);
    power[k] = squared(even + turned);
    power[points - k] = squared(even - turned);
  }
}

// --- Mel bands and logarithm ---

// ln(x) for normal positive x, within 2e-7 absolute plus 1 ulp: x = 2^e m with m in [sqrt(1/2), sqrt(2)), and
// ln m = 2 artanh(s) = 2 (s + s^3 / 3 + s^5 / 5 + ...) with s = (m - 1) / (m + 1), |s| < 0.172.
template <int W>
inline Vec<W> natural_log(Vec<W> x) {
  constexpr std::int32_t kSqrtHalfBits = 0x3f3504f3;
  IntVec<W> bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  const IntVec<W> exponent = (bits - kSqrtHalfBits) >> 23;
  const IntVec<W> mantissa_bits = bits - (exponent << 23);
  Vec<W> mantissa;
  __builtin_memcpy(&mantissa, &mantissa_bits, sizeof mantissa);
  const Vec<W> s = (mantissa - 1.0f) / (mantissa + 1.0f);
  const Vec<W> z = s * s;
  const Vec<W> series = z * (0.666666667f + z * (0.4f + z * (0.285714286f + z * 0.222222222f)));
  const Vec<W> e = __builtin_convertvector(exponent, Vec<W>);
  return e * 0.693147181f + (s * series + (s + s));
}

template <int W>
inline void log_mel_bands(const LogMelTables& tables, const Vec<W>* power, Vec<W>* out) {
  const Vec<W> floor = splat<W>(tables.log_floor);
  for (int m = 0; m < tables.num_mel_bins; ++m) {
    const MelBand& band = tables.bands[m];
    const Vec<W>* bins = power + band.first_bin;
    const float* weights = tables.weights + band.weight_offset;
    Vec<W> energy = bins[0] * weights[0];
    for (int i = 1; i < band.num_bins; ++i) energy += bins[i] * weights[i];
    out[m] = natural_log<W>(energy > floor ? energy : floor);
  }
}

// --- The entry points ---

template <int W>
void log_mel_group(const LogMelTables& tables, const float* samples, int num_frames, float* scratch, float* features) {
  Vec<W>* x = reinterpret_cast<Vec<W>*>(scratch);
  Vec<W>* power = x + tables.fft.n_fft;
  Vec<W>* bands = power + tables.fft.n_fft / 2 + 1;
  gather_frames<W>(samples, tables.hop_length, num_frames, tables.win_length, x);
  apply_window<W>(tables, x);
  complex_fft<W>(tables.fft, x);
  join_halves<W>(tables.fft, x, power);
  log_mel_bands<W>(tables, power, bands);
  scatter_features<W>(bands, num_frames, tables.num_mel_bins, features);
}

template <int W>
void log_mel_frames(const LogMelTables& tables, const float* samples, std::size_t num_frames, float* scratch,
                    float* features) {
  std::size_t left = num_frames;
  while (left > 0) {
    if constexpr (W > 4) {
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
void power_of_frame(const RealFftTables& tables, const float* samples, float* scratch, float* power) {
  Vec<W>* x = reinterpret_cast<Vec<W>*>(scratch);
  Vec<W>* bins = x + tables.n_fft;
  for (int i = 0; i < tables.n_fft; ++i) x[i] = splat<W>(0.5f * samples[i]);
  complex_fft<W>(tables, x);
  join_halves<W>(tables, x, bins);
  for (int k = 0; k <= tables.n_fft / 2; ++k) power[k] = bins[k][0];
}

}  // namespace
}  // namespace edgeasr
