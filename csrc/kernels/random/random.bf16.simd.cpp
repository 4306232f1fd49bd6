// Random numbers have the same bits on every instruction set: see exact.simd.h.
#include "kernels/random/random.h"

#include "kernels/random/exact.simd.h"
#include "simd/element.h"
#include "simd/philox.h"

namespace native {
namespace NATIVE_ISA {
namespace {

constexpr int kWordLanes = kLanes<uint32_t>;

// For x in [2^-33, 1].
static inline vf32 log_of(vf32 x) {
  constexpr float c[] = {0.333333135f,  -0.250000089f, 0.200021178f,  -0.166679963f, 0.142195687f,
                         -0.124055758f, 0.118880577f,  -0.116757512f, 0.0674698576f};
  constexpr int32_t kSqrtHalf = 0x3f3504f3;
  const vi32 shifted = (vi32)x - kSqrtHalf;
  const vf32 e = __builtin_convertvector(shifted >> 23, vf32);
  const vf32 f = (vf32)((shifted & 0x7fffff) + kSqrtHalf) - 1.0f;
  const vf32 square = times(f, f);
  vf32 y = times(times(f, square), horner(f, c)) + times(e, -2.12194440e-4f);
  y = y - times(square, 0.5f);
  return (f + y) + times(e, 0.693359375f);
}

// Cosine and sine of 2 pi k / 2^24 for the signed number k in the upper 24 bits.
static inline void circle(vu32 word, vf32* cosine, vf32* sine) {
  constexpr float s[] = {1.0f, -1.6666654611e-1f, 8.3321608736e-3f, -1.9515295891e-4f};
  constexpr float c[] = {1.0f, -0.5f, 4.166664568298827e-2f, -1.388731625493765e-3f, 2.443315711809948e-5f};
  const vi32 k = (vi32)word >> 8;
  const vi32 quarter = (k + (1 << 21)) >> 22;
  const vf32 x = times(__builtin_convertvector(k - (quarter << 22), vf32), 3.14159265f * 0x1p-23f);
  const vf32 square = times(x, x);
  const vf32 sin = times(x, horner(square, s)), cos = horner(square, c);
  const vi32 swap = (quarter & 1) != 0;
  const vi32 a = swap ? (vi32)sin : (vi32)cos, b = swap ? (vi32)cos : (vi32)sin;
  *cosine = (vf32)(a ^ (((quarter + 1) & 2) << 30));
  *sine = (vf32)(b ^ ((quarter & 2) << 30));
}

static inline void normal_pair(vu32 first, vu32 second, vf32* a, vf32* b) {
  // Half a step above 0: never the logarithm of 0.
  const vf32 u = __builtin_convertvector((vi32)(first >> 1), vf32) * 0x1p-31f + 0x1p-32f;
  const vf32 radius = root(times(log_of(u), -2.0f));
  circle(second, a, b);
  *a = times(radius, *a);
  *b = times(radius, *b);
}

// sqrt(2) erfinv(x), x uniform between +-erf(sqrt(2)): Giles's polynomial in log(1 - x^2) for the centre.
static inline vf32 truncated_normal(vu32 word) {
  constexpr float c[] = {1.50140941f,      0.246640727f,    -0.00417768164f, -0.00125372503f, 0.00021858087f,
                         -4.39150654e-06f, -3.5233877e-06f, 3.43273939e-07f, 2.81022636e-08f};
  const vf32 centred = (__builtin_convertvector((vi32)word >> 9, vf32) + 0.5f) * 0x1p-22f;
  const vf32 x = times(centred, 0.954499736f);
  const vf32 w = -2.5f - log_of(times(1.0f - x, 1.0f + x));
  const vf32 y = times(times(x, horner(w, c)), 1.41421356f);
  return vmin(vmax(y, splat(-2.0f)), splat(2.0f));
}

// Calls emit(w, j, words) for the vectors of each group: words[0..3] go to places 16 w + j.
template <class Emit>
static inline void each_group(const uint32_t* key, int64_t first, int64_t groups, const Emit& emit) {
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t j = 0; j < kGroupBlocks; j += kWordLanes) {
      vu32 words[4];
      philox_at(key, static_cast<uint64_t>((first + g) * kGroupBlocks + j), words);
      emit(g * kGroupWords + j, words);
    }
}

void bits(const uint32_t* key, int64_t first, int64_t groups, void* out) {
  uint32_t* y = static_cast<uint32_t*>(out);
  each_group(key, first, groups, [y](int64_t at, const vu32* words) {
    for (int w = 0; w < 4; ++w) store(y + at + w * kGroupBlocks, words[w]);
  });
}

template <class T, int kBits>
void uniform(const uint32_t* key, int64_t first, int64_t groups, void* out) {
  T* y = static_cast<T*>(out);
  each_group(key, first, groups, [y](int64_t at, const vu32* words) {
    for (int w = 0; w < 4; ++w)
      vstore(y + at + w * kGroupBlocks,
             __builtin_convertvector((vi32)(words[w] >> (32 - kBits)), vf32) * (1.0f / (int64_t{1} << kBits)));
  });
}

void uniform_double(const uint32_t* key, int64_t first, int64_t groups, void* out) {
  double* y = static_cast<double*>(out);
  for (int64_t g = 0; g < groups; ++g) {
    uint32_t words[kGroupWords];
    bits(key, first + g, 1, words);
    for (int half = 0; half < 2; ++half)
      for (int j = 0; j < kGroupBlocks; ++j) {
        const uint32_t *low = words + 2 * half * kGroupBlocks, *high = low + kGroupBlocks;
        const uint64_t word = low[j] | static_cast<uint64_t>(high[j]) << 32;
        y[g * 32 + half * kGroupBlocks + j] = static_cast<double>(static_cast<int64_t>(word >> 11)) * 0x1p-53;
      }
  }
}

template <class T>
void normal(const uint32_t* key, int64_t first, int64_t groups, void* out) {
  T* y = static_cast<T*>(out);
  each_group(key, first, groups, [y](int64_t at, const vu32* words) {
    for (int w = 0; w < 4; w += 2) {
      vf32 a, b;
      normal_pair(words[w], words[w + 1], &a, &b);
      vstore(y + at + w * kGroupBlocks, a);
      vstore(y + at + (w + 1) * kGroupBlocks, b);
    }
  });
}

template <class T>
void truncated(const uint32_t* key, int64_t first, int64_t groups, void* out) {
  T* y = static_cast<T*>(out);
  each_group(key, first, groups, [y](int64_t at, const vu32* words) {
    for (int w = 0; w < 4; ++w) vstore(y + at + w * kGroupBlocks, truncated_normal(words[w]));
  });
}

template <class T>
void dropout(const uint32_t* key, int64_t first, int64_t count, const void* x_, uint32_t threshold, double scale_,
             void* out) {
  const T* x = static_cast<const T*>(x_);
  T* y = static_cast<T*>(out);
  const Wide<T> scale = static_cast<Wide<T>>(scale_);
  const int64_t groups = count / kGroupWords;
  if constexpr (sizeof(Wide<T>) == 4)
    each_group(key, first, groups, [=](int64_t at, const vu32* words) {
      for (int w = 0; w < 4; ++w) {
        const int64_t i = at + w * kGroupBlocks;
        vstore(y + i, words[w] >= threshold ? vload(x + i) * scale : vf32{});
      }
    });
  const int64_t done = sizeof(Wide<T>) == 4 ? groups : 0;
  for (int64_t g = done; g * kGroupWords < count; ++g) {
    uint32_t words[kGroupWords];
    bits(key, first + g, 1, words);
    const int64_t start = g * kGroupWords, n = count - start < kGroupWords ? count - start : kGroupWords;
    for (int64_t i = 0; i < n; ++i) put(y + start + i, words[i] >= threshold ? get(x + start + i) * scale : 0);
  }
}

}  // namespace

extern const RandomTable random_table;
const RandomTable random_table = {
    bits,
    {uniform<Half, 11>, uniform<BFloat, 8>, uniform<float, 24>, uniform_double},
    {normal<Half>, normal<BFloat>, normal<float>},
    {truncated<Half>, truncated<BFloat>, truncated<float>},
    {dropout<Half>, dropout<BFloat>, dropout<float>, dropout<double>},
};

}  // namespace NATIVE_ISA
}  // namespace native
