// A block is R rows of W results. A source is loaded once for all taps of all results that see it: 2 by 4 results take
// 24 loads for 72 multiply-adds, and as many accumulators hide their latency. Registers: 9 weights, 8 sums, a source.
#include "kernels/conv/depthwise3.h"

#include "simd/vec.h"

namespace native::conv {
namespace NATIVE_ISA {
namespace {

#if NATIVE_MASKS
constexpr int L = kLanes<float>;

inline vf32 activated(vf32 x, int activation) {
  const vf32 zero{};
  // In this order NaN passes through both.
  if (activation > 0) x = zero > x ? zero : x;
  if (activation == 2) x = (zero + 6) < x ? (zero + 6) : x;
  return x;
}

// `lanes` channels; all of a vector unless Partial.
template <bool Partial>
inline vf32 get(const float* p, int lanes) {
  return Partial ? load_part(p, lanes) : load(p);
}
template <bool Partial>
inline void put(float* p, vf32 x, int lanes) {
  if (Partial)
    store_part(p, x, lanes);
  else
    store(p, x);
}

template <int R, int W, int S, bool Partial>
inline void block(const PixelGrid& g, int64_t y, int64_t x, int64_t c, int lanes, const vf32 (&w)[9], vf32 bias,
                  int activation, float* result) {
  vf32 sum[R][W];
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < W; ++i) sum[r][i] = bias;
  const float* const* at = g.pixels + y * S * g.pitch + x * S;
  // The rows that the next block below reads for the first time.
  if (y + 2 * R <= g.rows) {
    const float* const* below = at + ((R - 1) * S + 3) * g.pitch;
#pragma GCC unroll 4
    for (int row = 0; row < R * S; ++row, below += g.pitch)
#pragma GCC unroll 8
      for (int q = 1; q <= W * S; ++q) __builtin_prefetch(below[q] + c, 0, 2);
  }
#pragma GCC unroll 8
  for (int row = 0; row < (R - 1) * S + 3; ++row, at += g.pitch)
#pragma GCC unroll 16
    for (int q = 0; q < (W - 1) * S + 3; ++q) {
      const vf32 source = get<Partial>(at[q] + c, lanes);
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int i = 0; i < W; ++i) {
          const int kh = row - r * S, kw = q - i * S;
          if (kh >= 0 && kh < 3 && kw >= 0 && kw < 3) sum[r][i] += source * w[3 * kh + kw];
        }
    }
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < W; ++i)
      put<Partial>(result + ((y + r) * g.columns + x + i) * g.channels + c, activated(sum[r][i], activation), lanes);
}

template <int R, int S, bool Partial>
inline void rows(const PixelGrid& g, int64_t y, int64_t c, int lanes, const vf32 (&w)[9], vf32 bias, int activation,
                 float* result) {
  constexpr int W = 4;
  int64_t x = 0;
  for (; x + W <= g.columns; x += W) block<R, W, S, Partial>(g, y, x, c, lanes, w, bias, activation, result);
  // The last ones once more together with those that are left.
  if (x < g.columns) block<R, W, S, Partial>(g, y, g.columns - W, c, lanes, w, bias, activation, result);
}

template <int R, int S, bool Partial>
inline void channels(const PixelGrid& g, int64_t y, int64_t c, int lanes, const float* const* weights,
                     const float* bias, int activation, float* result) {
  vf32 w[9];
#pragma GCC unroll 9
  for (int tap = 0; tap < 9; ++tap) w[tap] = get<Partial>(weights[tap] + c, lanes);
  rows<R, S, Partial>(g, y, c, lanes, w, bias ? get<Partial>(bias + c, lanes) : vf32{}, activation, result);
}

// All channels of some rows before the next ones: what comes from memory comes in its order.
template <int R, int S>
void all_channels(const PixelGrid& g, int64_t y, const float* const* weights, const float* bias, int activation,
                  float* result) {
  int64_t c = 0;
  for (; c + L <= g.channels; c += L) channels<R, S, false>(g, y, c, L, weights, bias, activation, result);
  if (c < g.channels)
    channels<R, S, true>(g, y, c, static_cast<int>(g.channels - c), weights, bias, activation, result);
}

template <int S>
void run_strided(const PixelGrid& g, const float* const* weights, const float* bias, int activation, float* result) {
  int64_t y = 0;
  for (; y + 2 <= g.rows; y += 2) all_channels<2, S>(g, y, weights, bias, activation, result);
  if (y < g.rows) all_channels<1, S>(g, y, weights, bias, activation, result);
}

void run(const PixelGrid& g, const float* const* weights, const float* bias, int activation, float* result) {
  if (g.stride == 1) return run_strided<1>(g, weights, bias, activation, result);
  run_strided<2>(g, weights, bias, activation, result);
}

template <int W, int S, bool Partial>
inline void sum_block(const PixelGrid& g, int64_t y, int64_t x, int64_t c, int lanes, const float* cotangent,
                      vf32 (&sum)[9]) {
  vf32 ct[W];
#pragma GCC unroll 4
  for (int i = 0; i < W; ++i) ct[i] = get<Partial>(cotangent + (y * g.columns + x + i) * g.channels + c, lanes);
  const float* const* at = g.pixels + y * S * g.pitch + x * S;
#pragma GCC unroll 3
  for (int kh = 0; kh < 3; ++kh, at += g.pitch)
#pragma GCC unroll 16
    for (int q = 0; q < (W - 1) * S + 3; ++q) {
      const vf32 source = get<Partial>(at[q] + c, lanes);
#pragma GCC unroll 4
      for (int i = 0; i < W; ++i)
        if (q - i * S >= 0 && q - i * S < 3) sum[3 * kh + q - i * S] += source * ct[i];
    }
}

template <int S, bool Partial>
inline void sum_channels(const PixelGrid& g, int64_t c, int lanes, const float* cotangent, float* sums) {
  vf32 sum[9] = {};
  for (int64_t y = 0; y < g.rows; ++y) {
    int64_t x = 0;
    for (; x + 4 <= g.columns; x += 4) sum_block<4, S, Partial>(g, y, x, c, lanes, cotangent, sum);
    for (; x < g.columns; ++x) sum_block<1, S, Partial>(g, y, x, c, lanes, cotangent, sum);
  }
#pragma GCC unroll 9
  for (int tap = 0; tap < 9; ++tap) {
    float* const to = sums + tap * g.channels + c;
    put<Partial>(to, get<Partial>(to, lanes) + sum[tap], lanes);
  }
}

template <int S>
void sum_strided(const PixelGrid& g, const float* cotangent, float* sums) {
  int64_t c = 0;
  for (; c + L <= g.channels; c += L) sum_channels<S, false>(g, c, L, cotangent, sums);
  if (c < g.channels) sum_channels<S, true>(g, c, static_cast<int>(g.channels - c), cotangent, sums);
}

void sum(const PixelGrid& g, const float* cotangent, float* sums) {
  if (g.stride == 1) return sum_strided<1>(g, cotangent, sums);
  sum_strided<2>(g, cotangent, sums);
}
#else
constexpr auto run = nullptr, sum = nullptr;
#endif

}  // namespace

extern const Depthwise3Table depthwise3_table;
const Depthwise3Table depthwise3_table = {run, sum};

}  // namespace NATIVE_ISA
}  // namespace native::conv
