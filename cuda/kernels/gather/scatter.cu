// Scatters: updates are sorted by their rows, stably, and those of a row joined in their order: first within
// pieces of the sorted ones, then, where a row's go on beyond a piece, over the pieces. No atomics: the same
// bits on every run.
#include "kernels/elements.cuh"
#include "kernels/gather/places.cuh"
#include "kernels/gather/scatter_params.h"

namespace native::cuda::scatter {
namespace {

__device__ inline int64_t thread() { return blockIdx.x * int64_t{kThreads} + threadIdx.x; }

// The last one stays.
struct Last {
  template <class T>
  __device__ static T join(T, T b) {
    return b;
  }
};

template <class T>
__device__ inline T load(const void* data, int64_t i, int type) {
  if constexpr (std::is_same_v<T, float>)
    return load_element(data, i, static_cast<DataType>(type));
  else
    return load_integer(data, i, static_cast<IntegerType>(type));
}

template <class T>
__device__ inline void finish(const JoinParams& p, int64_t at, T value) {
  if constexpr (std::is_same_v<T, float>)
    store_element(p.out, at, static_cast<DataType>(p.type), value);
  else
    store_integer(p.out, at, static_cast<IntegerType>(p.type), value);
}

// Where the part of a row that begins in a piece is, or goes on in it.
__device__ inline int64_t part(const JoinParams& p, int64_t outer, int piece, bool goes_on, int inner) {
  const int64_t pieces = (p.count + kPiece - 1) / kPiece;
  return ((outer * pieces + piece) * 2 + goes_on) * p.by_inner.value + inner;
}

__device__ inline uint32_t row_of(const JoinParams& p, int j) { return p.keys[p.order[j]]; }
__device__ inline bool begins(const JoinParams& p, int j) { return j == 0 || row_of(p, j - 1) != row_of(p, j); }

// A thread for each update: that of a row's first in a piece joins the others there.
template <class T, class Op>
__device__ inline void join(const JoinParams& p) {
  const int64_t i = thread();
  if (i >= p.elements) return;
  int inner = static_cast<int>(i), j = divide(inner, p.by_inner);
  const int64_t outer = divide(j, p.by_count);
  const bool first = begins(p, j);
  if (!first && j % kPiece != 0) return;
  const uint32_t row = row_of(p, j);
  const int end = min((j / kPiece + 1) * kPiece, p.count);
  const int64_t inners = p.by_inner.value;
  const auto update = [&](int k) {
    return load<T>(p.updates, (outer * p.count + p.order[k]) * inners + inner, p.type);
  };
  T value = update(j);
  int k = j + 1;
  for (; k < end && row_of(p, k) == row; ++k) value = Op::join(value, update(k));
  if (!first || (k == end && k < p.count && row_of(p, k) == row)) {
    static_cast<T*>(p.parts)[part(p, outer, j / kPiece, !first, inner)] = value;
    return;
  }
  const int64_t at = (outer * p.rows + row) * inners + inner;
  finish(p, at, Op::join(p.x ? load<T>(p.x, at, p.type) : T{0}, value));
}

// A thread for each piece: if a row begins in it and goes on beyond, its parts are joined.
template <class T, class Op>
__device__ inline void join_pieces(const JoinParams& p) {
  const int64_t i = thread();
  const int pieces = (p.count + kPiece - 1) / kPiece;
  if (i >= static_cast<int64_t>(p.elements / p.count) * pieces) return;  // outer times inner
  const int64_t inners = p.by_inner.value;
  int inner = static_cast<int>(i);
  const int rest = divide(inner, p.by_inner), piece = rest % pieces, next = (piece + 1) * kPiece;
  const int64_t outer = rest / pieces;
  if (next >= p.count) return;
  const uint32_t row = row_of(p, next);
  if (row_of(p, next - 1) != row || (row_of(p, piece * kPiece) == row && !begins(p, piece * kPiece))) return;
  const T* parts = static_cast<const T*>(p.parts);
  T value = parts[part(p, outer, piece, false, inner)];
  for (int k = piece + 1; k < pieces && row_of(p, k * kPiece) == row; ++k)
    value = Op::join(value, parts[part(p, outer, k, true, inner)]);
  const int64_t at = (outer * p.rows + row) * inners + inner;
  finish(p, at, Op::join(p.x ? load<T>(p.x, at, p.type) : T{0}, value));
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads) scatter_keys(const __grid_constant__ KeyParams p) {
  const int64_t i = thread();
  if (i >= p.count) return;
  int row;
  if (p.by_inner.value) {
    int inner = static_cast<int>(i), taken = divide(inner, p.by_inner);
    const int outer = divide(taken, p.by_taken), size = p.places.size[0];
    row = (outer * size + gather::clipped(gather::index_at(p.places, i), size)) * static_cast<int>(p.by_inner.value) +
          inner;
  } else {
    row = gather::row_at(p.places, static_cast<int>(i));
  }
  p.keys[i] = static_cast<uint32_t>(row);
}

#define KERNEL(T, type, Op, op)                                                                                        \
  extern "C" __global__ void __launch_bounds__(kThreads) scatter_##op##_##type(const __grid_constant__ JoinParams p) { \
    join<T, Op>(p);                                                                                                    \
  }                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                               \
      scatter_pieces_##op##_##type(const __grid_constant__ JoinParams p) {                                             \
    join_pieces<T, Op>(p);                                                                                             \
  }
#define KERNELS(T, type)        \
  KERNEL(T, type, Sum, add)     \
  KERNEL(T, type, Last, set)    \
  KERNEL(T, type, Maximum, max) \
  KERNEL(T, type, Minimum, min) \
  KERNEL(T, type, Product, mul)

KERNELS(float, float)
KERNELS(int32_t, int)

}  // namespace native::cuda::scatter
