// Blocks of attention: packing, the register-blocked product and exponentials.
// Included by attention's *.simd.cpp units only.
//
// Scores are kept transposed, [key][query], queries along the lanes: then maximum, sum and exponential go
// down the vectors with no step across lanes, keys need no transposition (they are the broadcast operand),
// and the probabilities stand as the next product wants its broadcast operand.
#pragma once

#include "kernels/attention/attention.h"
#include "simd/element.h"
#include "simd/steps.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace native {
namespace NATIVE_ISA {
namespace {

// A tile is kRows x 2 vectors: 12 of AVX2's 16 registers are sums, two hold the row of B and one the
// broadcast of A; eight loads feed twelve multiply-adds. With 32 registers 24 are sums.
constexpr int kRows = kVecBytes == 64 ? 12 : 6;
template <class W>
constexpr int kPanel = 2 * kLanes<W>;  // queries, or columns of values, in a panel

constexpr int kKeyBlock = 128;     // keys at a time: scores and values of a block stay near
constexpr int kFewRows = 16;       // so many keys or queries more than a block are no block of their own
constexpr float kMasked = -1e30f;  // score of a masked key: nothing beside any other, but finite

static inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// The rows of the next block where `rest` are left: `block`, or all if no more than `few` are over.
static inline int64_t next_block(int64_t rest, int64_t block, int64_t few) {
  return rest <= block + few ? rest : block;
}

// Hands out pieces of a task's scratch memory, 64-byte aligned. From address 0 on it counts what is needed.
struct Scratch {
  uintptr_t next;
  explicit Scratch(const void* memory) : next(reinterpret_cast<uintptr_t>(memory)) {}
  template <class W>
  W* take(int64_t n) {
    W* piece = reinterpret_cast<W*>(next);
    next += static_cast<uintptr_t>(round_up(n * static_cast<int64_t>(sizeof(W)), 64));
    return piece;
  }
};

template <int N>
struct Count {
  static constexpr int value = N;
};

// use(Count<M>, first row) for the tiles of `rows` rows: kRows each, and a third or two of that for a rest. Of six
// rows, four and two are too few sums for the latency of adding to them: ten rows are five and five, so that the last
// tile may begin anywhere.
template <class Use>
inline __attribute__((always_inline)) void each_tile(int64_t rows, const Use& use) {
  constexpr int third = kRows / 3;
  int64_t i = 0;
  for (; rows - i > 2 * third; i += kRows) {
    if constexpr (kRows == 6)
      if (rows - i == 10) {
        use(Count<5>{}, i);
        return use(Count<5>{}, i + 5);
      }
    use(Count<kRows>{}, i);
  }
  if (rows - i > third)
    use(Count<2 * third>{}, i);
  else if (rows - i > 0)
    use(Count<third>{}, i);
}

// use(Count<V>) with the vectors that n columns of a panel take.
template <class W, class Use>
inline __attribute__((always_inline)) void with_vectors(int64_t n, const Use& use) {
  if (n > kLanes<W>)
    use(Count<2>{});
  else
    use(Count<1>{});
}

// Rows of a tile, three to a pointer whose origin compilers cannot see with AVX-512: addresses are then a pointer and
// one or two strides. Of a pointer for all rows they make a register or a word on the stack for each row.
template <int M, class W>
struct TileRows {
  W* at[(M + 2) / 3];
  int64_t stride;
  inline __attribute__((always_inline)) TileRows(W* first, int64_t stride) : stride(stride) {
#pragma GCC unroll 4
    for (int i = 0; i < M; i += 3) {
      at[i / 3] = first + i * stride;
      if constexpr (NATIVE_MASKS) asm("" : "+r"(at[i / 3]));
    }
  }
  inline __attribute__((always_inline)) W* row(int i) const { return at[i / 3] + i % 3 * stride; }
  inline __attribute__((always_inline)) void advance(int64_t step) {
#pragma GCC unroll 4
    for (W*& pointer : at) pointer += step;
  }
};

// sum[M][V vectors] += A B over `depth`.
template <int M, int V, class W>
inline __attribute__((always_inline)) void multiply(Vec<W> (&sum)[M][V], const W* a, int64_t a_row, int64_t a_k,
                                                    const W* b, int64_t b_k, int64_t depth) {
  if constexpr (kHasSteps && M == 6 && V == 2) {
    const int64_t steps = b_k == kPanel<W> ? depth / kStepsAtOnce : 0;
    auto loops = [&]<int kStep>(Count<kStep>) __attribute__((always_inline)) {
      for (int64_t left = steps; left > 0; --left, a += kStepsAtOnce * a_k, b += kStepsAtOnce * b_k)
        eight_steps<kStep>(sum, a, a + 3 * a_row, a_row * static_cast<int64_t>(sizeof(W)), b);
      depth -= steps * kStepsAtOnce;
    };
    if (a_k == 1)
      loops(Count<0>{});
    else if (a_row == 1 && a_k == kPanel<W>)
      loops(Count<kPanel<W>>{});
  }
  TileRows<M, const W> rows(a, a_row);
  for (; depth > 0; --depth, rows.advance(a_k), b += b_k) {
    Vec<W> y[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) y[v] = load(b + v * kLanes<W>);
#pragma GCC unroll 12
    for (int i = 0; i < M; ++i) {
      const Vec<W> x = splat(*rows.row(i));
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[i][v] += x * y[v];
    }
  }
}

// C[M][V vectors] = finish(A B, where it goes, its vector) of each vector, summed over `depth`.
template <int M, int V, class W, class Finish>
inline __attribute__((always_inline)) void tile(W* c, int64_t c_row, const W* a, int64_t a_row, int64_t a_k, const W* b,
                                                int64_t b_k, int64_t depth, const Finish& finish) {
  Vec<W> sum[M][V] = {};
  multiply(sum, a, a_row, a_k, b, b_k, depth);
  const TileRows<M, W> rows(c, c_row);
#pragma GCC unroll 12
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      W* at = rows.row(i) + v * kLanes<W>;
      store(at, finish(sum[i][v], at, v));
    }
}
// What is there is added at the end: a sum that began with it would wait for it.
constexpr auto kSet = [](auto sum, auto*, int) __attribute__((always_inline)) { return sum; };
constexpr auto kAdd = [](auto sum, auto* at, int) __attribute__((always_inline)) { return sum + load(at); };

// 2^x for x <= 0 (and up to about 100); 0 below -127 (-126 with AVX-512), so that no subnormal numbers arise. NaN
// stays.
static inline vf32 exp2_small(vf32 x) {
#if NATIVE_MASKS
  // Minimax over [0, 1) with the constant term 1, 1.6e-7 as evaluated. Additions, maxima and shifts share two pipes;
  // these two instructions take less of them.
  constexpr float c1 = 0.693151891f, c2 = 0.240159124f, c3 = 0.055812683f, c4 = 0.00900549907f, c5 = 0.00187063834f;
  const vf32 r = (vf32)_mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEG_INF);
  const vf32 p = ((((c5 * r + c4) * r + c3) * r + c2) * r + c1) * r + 1.0f;
  const __mmask16 kept = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
  return (vf32)_mm512_maskz_scalef_ps(kept, (__m512)p, (__m512)x);
#else
  // Minimax in the relative error over [-1/2, 1/2], 1.1e-7, with the constant term 1.
  constexpr float c1 = 0.693146977f, c2 = 0.240222413f, c3 = 0.0555073439f, c4 = 0.00967156585f, c5 = 0.00132646591f;
  // Adding it rounds to an integer; the low byte of the sum's bits is then the exponent field of 2^x.
  constexpr float magic = 12582912.0f + 127.0f;
  x = vmax(splat(-127.0f), x);
  const vf32 n = x + magic, r = x - (n - magic);
  const vf32 p = ((((c5 * r + c4) * r + c3) * r + c2) * r + c1) * r + 1.0f;
  return p * as_float(as_bits(n) << 23);
#endif
}
static inline vf64 exp2_small(vf64 x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_exp2(x[i]);
  return x;
}
// The same for any x; what is too large for a float is infinite, or 2^127.
template <class V>
static inline V exp2_any(V x) {
  if constexpr (!NATIVE_MASKS && __is_same(V, vf32)) x = vmin(splat(127.0f), x);
  return exp2_small(x);
}
constexpr double kLog2e = 1.4426950408889634, kLn2 = 0.6931471805599453;

// Rows lie too far apart for the processor to see what is read next, so it is asked for so many rows ahead.
constexpr int64_t kRowsAhead = 8;

// rows x size as [padded][size], rows beyond the given ones zero.
template <class T, class W>
void pack_rows(const T* x, int64_t stride, int64_t rows, int64_t padded, int64_t size, W* out) {
  constexpr int L = kLanes<W>;
  for (int64_t r = 0; r < rows; ++r, x += stride, out += size) {
    int64_t c = 0;
    for (; c + L <= size; c += L) {
      __builtin_prefetch(x + kRowsAhead * stride + c);
      store(out + c, vload(x + c));
    }
    for (; c < size; ++c) out[c] = get(x + c);
  }
  for (int64_t i = 0; i < (padded - rows) * size; ++i) out[i] = 0;
}

// rows x size as panels [size / panel][rows][panel], columns beyond the given ones zero.
template <class T, class W>
void pack_panels(const T* x, int64_t stride, int64_t rows, int64_t size, W* out) {
  constexpr int L = kLanes<W>, P = kPanel<W>;
  for (int64_t r = 0; r < rows; ++r, x += stride, out += P) {
    W* to = out;
    for (int64_t c = 0; c < size; c += P, to += rows * P) {
      __builtin_prefetch(x + kRowsAhead * stride + c);
      if (c + P <= size) {
        store(to, vload(x + c));
        store(to + L, vload(x + c + L));
      } else {
        for (int i = 0; i < P; ++i) to[i] = c + i < size ? get(x + c + i) : W{0};
      }
    }
  }
}

#if defined(__AVX2__)
// out[j * out_stride + i] = factor * x[i * stride + j] for an 8 x 8 block.
static inline void transpose8(const float* x, int64_t stride, float factor, float* out, int64_t out_stride) {
  __m256 a[8], b[8];
  for (int i = 0; i < 8; ++i) a[i] = _mm256_loadu_ps(x + i * stride);
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    a[4 * i] = _mm256_shuffle_ps(b[4 * i], b[4 * i + 2], 0x44);
    a[4 * i + 1] = _mm256_shuffle_ps(b[4 * i], b[4 * i + 2], 0xee);
    a[4 * i + 2] = _mm256_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0x44);
    a[4 * i + 3] = _mm256_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0xee);
  }
  const __m256 f = _mm256_set1_ps(factor);
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(out + i * out_stride, _mm256_mul_ps(f, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20)));
    _mm256_storeu_ps(out + (i + 4) * out_stride, _mm256_mul_ps(f, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31)));
  }
}
#endif

// rows x size times `factor`, transposed: panels [rows / panel][size][panel], rows beyond the given zero as far as a
// vector has them.
template <class T, class W>
void pack_transposed(const T* x, int64_t stride, int64_t rows, int64_t size, W factor, W* out) {
  constexpr int P = kPanel<W>;
  for (int64_t r = 0; r < rows; r += P, out += P * size, x += P * stride) {
    int64_t i = 0;
#if defined(__AVX2__)
    if constexpr (sizeof(T) == 4) {
      for (; i + 8 <= P && r + i + 8 <= rows; i += 8) {
        int64_t c = 0;
        for (; c + 8 <= size; c += 8) {
          for (int64_t k = i; k < i + 8; ++k) __builtin_prefetch(x + (k + 8) * stride + c);
          transpose8(x + i * stride + c, stride, factor, out + c * P + i, P);
        }
        for (; c < size; ++c)
          for (int64_t k = i; k < i + 8; ++k) out[c * P + k] = factor * x[k * stride + c];
      }
    }
#endif
    const int64_t lanes = least(P, round_up(rows - r, kLanes<W>));
    for (; i < lanes; ++i)
      for (int64_t c = 0; c < size; ++c) out[c * P + i] = r + i < rows ? factor * get(x + i * stride + c) : W{0};
  }
}

}  // namespace
}  // namespace NATIVE_ISA
}  // namespace native
