// Blocks of attention: packing, the register-blocked product, exponentials, masks and dropout.
// Included by attention's *.simd.cpp units only.
//
// Scores are kept transposed, [key][query], queries along the lanes: then maximum, sum and exponential go
// down the vectors with no step across lanes, keys need no transposition (they are the broadcast operand),
// and the probabilities stand as the next product wants its broadcast operand.
#pragma once

#include "kernels/attention/attention.h"
#include "simd/element.h"
#include "simd/philox.h"

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
constexpr int kQueryBlock = 128;   // queries of a task
constexpr float kMasked = -1e30f;  // score of a masked key: nothing beside any other, but finite

static inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Hands out pieces of a task's scratch memory, 64-byte aligned.
struct Scratch {
  char* next;
  template <class W>
  W* take(int64_t n) {
    W* piece = reinterpret_cast<W*>(next);
    next += round_up(n * static_cast<int64_t>(sizeof(W)), 64);
    return piece;
  }
};
template <class W>
constexpr int64_t scratch_of(int64_t n) {
  return round_up(n * static_cast<int64_t>(sizeof(W)), 64);
}

enum class Write { Set, Add, ScaleAdd };

// C[M][2 vectors] = A B, += A B, or = diag(scale) C + A B, summed over `depth`.
template <int M, Write write, class W>
inline __attribute__((always_inline)) void tile(W* c, int64_t c_row, const W* a, int64_t a_row, int64_t a_k, const W* b,
                                                int64_t b_k, int64_t depth, const W* scale = nullptr) {
  constexpr int L = kLanes<W>;
  Vec<W> sum[M][2] = {};
  if constexpr (write == Write::ScaleAdd) {
#pragma GCC unroll 12
    for (int i = 0; i < M; ++i) {
      sum[i][0] = load(c + i * c_row) * scale[i];
      sum[i][1] = load(c + i * c_row + L) * scale[i];
    }
  }
  for (int64_t k = 0; k < depth; ++k, a += a_k, b += b_k) {
    const Vec<W> b0 = load(b), b1 = load(b + L);
#pragma GCC unroll 12
    for (int i = 0; i < M; ++i) {
      const Vec<W> x = splat(a[i * a_row]);
      sum[i][0] += x * b0;
      sum[i][1] += x * b1;
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < M; ++i) {
    W* row = c + i * c_row;
    if constexpr (write == Write::Add) {
      sum[i][0] += load(row);
      sum[i][1] += load(row + L);
    }
    store(row, sum[i][0]);
    store(row + L, sum[i][1]);
  }
}

// 2^x for x <= 0 (and up to about 100); 0 below -127. NaN stays.
static inline vf32 exp2_small(vf32 x) {
  // Minimax in the relative error over [-1/2, 1/2], 1.1e-7, with the constant term 1.
  constexpr float c1 = 0.693146977f, c2 = 0.240222413f, c3 = 0.0555073439f, c4 = 0.00967156585f, c5 = 0.00132646591f;
  // Adding it rounds to an integer; the low byte of the sum's bits is then the exponent field of 2^x.
  constexpr float magic = 12582912.0f + 127.0f;
  x = vmax(splat(-127.0f), x);
  const vf32 n = x + magic, r = x - (n - magic);
  const vf32 p = ((((c5 * r + c4) * r + c3) * r + c2) * r + c1) * r + 1.0f;
  return p * as_float(as_bits(n) << 23);
}
static inline vf64 exp2_small(vf64 x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_exp2(x[i]);
  return x;
}
constexpr double kLog2e = 1.4426950408889634, kLn2 = 0.6931471805599453;

// rows x size as [padded][size], rows beyond the given ones zero.
template <class T, class W>
void pack_rows(const T* x, int64_t stride, int64_t rows, int64_t padded, int64_t size, W* out) {
  constexpr int L = kLanes<W>;
  for (int64_t r = 0; r < rows; ++r, x += stride, out += size) {
    int64_t c = 0;
    for (; c + L <= size; c += L) store(out + c, vload(x + c));
    for (; c < size; ++c) out[c] = get(x + c);
  }
  for (int64_t i = 0; i < (padded - rows) * size; ++i) out[i] = 0;
}

// rows x size as panels [size / panel][rows][panel], columns beyond the given ones zero.
template <class T, class W>
void pack_panels(const T* x, int64_t stride, int64_t rows, int64_t size, W* out) {
  constexpr int L = kLanes<W>, P = kPanel<W>;
  for (int64_t c = 0; c < size; c += P) {
    const T* from = x + c;
    for (int64_t r = 0; r < rows; ++r, from += stride, out += P) {
      if (c + P <= size) {
        store(out, vload(from));
        store(out + L, vload(from + L));
      } else {
        for (int i = 0; i < P; ++i) out[i] = c + i < size ? get(from + i) : W{0};
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

// rows x size times `factor`, transposed: panels [rows / panel][size][panel], rows beyond the given zero.
template <class T, class W>
void pack_transposed(const T* x, int64_t stride, int64_t rows, int64_t size, W factor, W* out) {
  constexpr int P = kPanel<W>;
  for (int64_t r = 0; r < rows; r += P, out += P * size, x += P * stride) {
    int64_t i = 0;
#if defined(__AVX2__)
    if constexpr (sizeof(T) == 4) {
      for (; i + 8 <= P && r + i + 8 <= rows; i += 8) {
        int64_t c = 0;
        for (; c + 8 <= size; c += 8) transpose8(x + i * stride + c, stride, factor, out + c * P + i, P);
        for (; c < size; ++c)
          for (int64_t k = i; k < i + 8; ++k) out[c * P + k] = factor * x[k * stride + c];
      }
    }
#endif
    for (; i < P; ++i)
      for (int64_t c = 0; c < size; ++c) out[c * P + i] = r + i < rows ? factor * get(x + i * stride + c) : W{0};
  }
}

// What bias, mask and dropout are for one (batch, head).
template <class T>
struct Extras {
  const T* bias;
  const uint8_t* mask;
  const uint32_t* key;
  const AttentionShape* shape;
  int64_t first_score;  // flat index of score (batch, head, 0, 0)

  Extras(const AttentionInputs& in, int64_t batch, int64_t head) : key(in.key), shape(in.shape) {
    const AttentionShape& s = *in.shape;
    bias = in.bias ? static_cast<const T*>(in.bias) + batch * s.bias_strides[0] + head * s.bias_strides[1] : nullptr;
    mask = in.mask ? in.mask + batch * s.mask_strides[0] + head * s.mask_strides[1] : nullptr;
    first_score = (batch * s.heads + head) * s.queries * s.keys;
  }
};

// Adds log2(e) bias to scores[keys][ld] of a panel of `queries` queries.
template <class T, class W>
void add_bias(const Extras<T>& e, int64_t query, int64_t queries, int64_t key, int64_t keys, W* scores, int64_t ld) {
  const int64_t by_key = e.shape->bias_strides[3], by_query = e.shape->bias_strides[2];
  for (int64_t i = 0; i < queries; ++i) {
    const T* b = e.bias + (query + i) * by_query + key * by_key;
    for (int64_t j = 0; j < keys; ++j) scores[j * ld + i] += static_cast<W>(kLog2e) * get(b + j * by_key);
  }
}

// scores = masked[query] where the mask is false; with `causal` also for later keys.
template <class T, class W>
void apply_mask(const Extras<T>& e, int64_t query, int64_t queries, int64_t key, int64_t keys, const W* masked,
                W* scores, int64_t ld) {
  const int64_t by_key = e.shape->mask_strides[3], by_query = e.shape->mask_strides[2];
  for (int64_t i = 0; i < queries; ++i) {
    const uint8_t* m = e.mask + (query + i) * by_query + key * by_key;
    const int64_t allowed = e.shape->causal ? most(0, least(keys, query + i + 1 - key)) : keys;
    int64_t j = 0;
    while (j < allowed) {
      if (by_key == 1 && j + 8 <= allowed) {
        uint64_t word;
        __builtin_memcpy(&word, m + j, 8);
        if (word == 0x0101010101010101u) {
          j += 8;
          continue;
        }
      }
      const int64_t stop = least(allowed, j + 8);
      for (; j < stop; ++j)
        if (!m[j * by_key]) scores[j * ld + i] = masked[i];
    }
    for (; j < keys; ++j) scores[j * ld + i] = masked[i];
  }
}

// Scores of keys after the query become minus infinity (there is no mask; every query has its first key).
template <class W>
void apply_causal(int64_t query, int64_t queries, int64_t key, int64_t keys, W* scores, int64_t ld) {
  constexpr int L = kLanes<W>;
  for (int64_t half = 0; half < queries; half += L) {
    Vec<W> last;  // of each query, the last key that it sees
    for (int i = 0; i < L; ++i) last[i] = static_cast<W>(query + half + i - key);
    for (int64_t j = most(0, query + half + 1 - key); j < keys; ++j) {
      W* row = scores + j * ld + half;
      store(row, last < static_cast<W>(j) ? splat(-static_cast<W>(__builtin_inff())) : load(row));
    }
  }
}

// factors[keys][ld]: 0 where a probability is dropped, else 1 / (1 - rate), by the bits that
// random_bernoulli_scale draws for the flat index of the score.
template <class T, class W>
void dropout_factors(const Extras<T>& e, int64_t query, int64_t queries, int64_t key, int64_t keys, W* factors,
                     int64_t ld) {
  const W kept = static_cast<W>(1.0 / (1.0 - e.shape->dropout));
  const uint64_t threshold = philox_threshold(e.shape->dropout);
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t first = e.first_score + (query + i) * e.shape->keys + key;
    uint32_t bits[64];
    for (int64_t at = first; at < first + keys; ++at) {
      if (at == first || at % 64 == 0) philox_group(e.key, static_cast<uint64_t>(at / 64), bits);
      factors[(at - first) * ld + i] = bits[at % 64] >= threshold ? kept : W{0};
    }
  }
}

}  // namespace
}  // namespace NATIVE_ISA
}  // namespace native
