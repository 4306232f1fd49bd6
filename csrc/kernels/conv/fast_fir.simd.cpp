#include "kernels/conv/fast_fir.h"

#include "simd/vec.h"

namespace native::conv {
namespace NATIVE_ISA {
namespace {

// A vector of channels, of which only the first n are there where `part`.
struct Channels {
  int64_t first;
  bool part;
  int n;

  vf32 read(const float* row) const { return part ? load_part(row + first, n) : load(row + first); }
  void write(float* row, vf32 x) const { part ? store_part(row + first, x, n) : store(row + first, x); }
};

template <class F>
[[gnu::always_inline]] inline void for_channels(int64_t channels, F body) {
  int64_t c = 0;
  for (; c + kLanes<float> <= channels; c += kLanes<float>) body(Channels{c, false, kLanes<float>});
  if (c < channels) body(Channels{c, true, static_cast<int>(channels - c)});
}

// Of so many terms, or any number if 0.
template <int kTerms>
void combine_terms(const Term* terms, int64_t count, const float* const* rows, int64_t channels, float* out) {
  constexpr int kKept = kTerms ? kTerms : 1;
  struct {
    const float* row[kKept];
    vf32 factor[kKept];
  } p;
  for (int i = 0; i < kTerms; ++i) p.row[i] = rows[terms[i].row], p.factor[i] = splat(terms[i].factor);
  for_channels(channels, [=](Channels at) __attribute__((always_inline)) {
    vf32 x{};
    if constexpr (kTerms == 0)
      for (int64_t i = 0; i < count; ++i) x += terms[i].factor * at.read(rows[terms[i].row]);
#pragma GCC unroll 8
    for (int i = 0; i < kTerms; ++i) x += p.factor[i] * at.read(p.row[i]);
    at.write(out, x);
  });
}

void combine(const Term* terms, int64_t count, const float* const* rows, int64_t channels, float* out) {
  using Combine = decltype(&combine);
  constexpr Combine by_count[] = {combine_terms<0>, combine_terms<1>, combine_terms<2>, combine_terms<3>,
                                  combine_terms<4>, combine_terms<5>, combine_terms<6>};
  const bool few = count < static_cast<int64_t>(sizeof by_count / sizeof *by_count);
  by_count[few ? count : 0](terms, count, rows, channels, out);
}

template <int kTaps, bool kDifferences>
void values(const float* const* rows, const float* const* less, int64_t channels, float* const* out) {
  enum { Zero, One, MinusOne, Infinity };
  struct {
    const float *rows[kTaps + 1], *less[kTaps + 1];
    float* out[kPoints];
  } p;
  for (int i = 0; i <= kTaps; ++i) p.rows[i] = rows[i], p.less[i] = kDifferences ? less[i] : nullptr;
  for (int i = 0; i < kPoints; ++i) p.out[i] = out[i];
  for_channels(channels, [=](Channels at) __attribute__((always_inline)) {
    vf32 d[kTaps + 1];
#pragma GCC unroll 4
    for (int i = 0; i <= kTaps; ++i) {
      d[i] = at.read(p.rows[i]);
      if (kDifferences) d[i] -= at.read(p.less[i]);
    }
    if constexpr (kTaps == 1) {
      at.write(p.out[Zero], d[0]);
      at.write(p.out[Infinity], d[1]);
    } else if constexpr (kTaps == 2) {
      at.write(p.out[Zero], d[0] - d[1]);
      at.write(p.out[One], d[1]);
      at.write(p.out[Infinity], d[2] - d[1]);
    } else {
      at.write(p.out[Zero], d[0] - d[2]);
      at.write(p.out[One], d[1] + d[2]);
      at.write(p.out[MinusOne], d[2] - d[1]);
      at.write(p.out[Infinity], d[3] - d[1]);
    }
  });
}

// Two results of the sums at four positions.
struct Pair {
  vf32 first, second;
};
[[gnu::always_inline]] inline Pair pair_of(Channels at, const float* const* sums) {
  const vf32 one = at.read(sums[1]), minus_one = at.read(sums[2]);
  return {at.read(sums[0]) + (one + minus_one), (one - minus_one) + at.read(sums[3])};
}

template <int kResults>
void results(const float* const* sums, int64_t channels, const float* bias, const float* const* residual,
             int activation, float* const* out) {
  for_channels(channels, [=](Channels at) __attribute__((always_inline)) {
    vf32 y[kResults];
    const Pair a = pair_of(at, sums);
    if constexpr (kResults == 2) {
      y[0] = a.first, y[1] = a.second;
    } else {
      const Pair b = pair_of(at, sums + 4), c = pair_of(at, sums + 8);
      y[0] = a.first + b.first, y[1] = b.first + c.first;
      y[2] = a.second + b.second, y[3] = b.second + c.second;
    }
    const vf32 offset = bias ? at.read(bias) : vf32{};
#pragma GCC unroll 4
    for (int i = 0; i < kResults; ++i) {
      if (!out[i]) continue;
      y[i] += offset;
      if (residual) y[i] += at.read(residual[i]);
      // In this order NaN passes through both.
      if (activation > 0) y[i] = vmax(vf32{}, y[i]);
      if (activation == 2) y[i] = vmin(splat(6.0f), y[i]);
      at.write(out[i], y[i]);
    }
  });
}

[[gnu::always_inline]] inline void write_pair(Channels at, vf32 first, vf32 second, float* out, int64_t pitch) {
  at.write(out, first);
  at.write(out + pitch, first + second);
  at.write(out + 2 * pitch, first - second);
  at.write(out + 3 * pitch, second);
}

template <int kResults>
void cotangents(const float* const* ct, int64_t channels, float* out, int64_t pitch) {
  for_channels(channels, [=](Channels at) __attribute__((always_inline)) {
    if constexpr (kResults == 2) {
      write_pair(at, at.read(ct[0]), at.read(ct[1]), out, pitch);
    } else {
      const vf32 y[] = {at.read(ct[0]), at.read(ct[1]), at.read(ct[2]), at.read(ct[3])};
      write_pair(at, y[0], y[2], out, pitch);
      write_pair(at, y[0] + y[1], y[2] + y[3], out + 4 * pitch, pitch);
      write_pair(at, y[1], y[3], out + 8 * pitch, pitch);
    }
  });
}

}  // namespace

extern const FirTransforms fir_transforms;
const FirTransforms fir_transforms = {
    combine,
    {{values<1, false>, values<1, true>}, {values<2, false>, values<2, true>}, {values<3, false>, values<3, true>}},
    {results<2>, results<4>},
    {cotangents<2>, cotangents<4>},
};

}  // namespace NATIVE_ISA
}  // namespace native::conv
