// A product of two matrices in memory, or of many, by a main loop.
#pragma once

#include "kernels/gemm/pipeline.cuh"

namespace native::cuda::gemm {

// Results [m, n] in memory.
struct Results {
  const Params& p;
  int64_t first;
  int rows, columns;
  bool in_packs;
  __device__ Results(const Params& p, int64_t first)
      : p(p), first(first), rows(p.m), columns(p.n), in_packs(gemm::in_packs(p.epilogue, p.c, p.n)) {}
  __device__ void put(int row, int column, const Pack<4>& y) const {
    finish(p.epilogue, p.c, in_packs, first + static_cast<int64_t>(row) * columns + column, column, columns - column,
           y);
  }
};

// Where the operands of a product of the batch begin.
struct Begin {
  int64_t a = 0, b = 0;
};
__device__ inline Begin begin_of(const Batch& batch, int product) {
  Begin begin;
  for (int d = batch.dims - 1; d >= 0; --d) {
    const int i = product % batch.size[d];
    product /= batch.size[d];
    begin.a += i * batch.a[d];
    begin.b += i * batch.b[d];
  }
  return begin;
}

// sink_of(c): where results go that begin at element c.
template <class Loop, class SinkOf>
__device__ inline void product(const Params& p, const Loop& loop, const SinkOf& sink_of) {
  extern __shared__ __align__(128) char shared[];
  const Place w = place<Loop::kTile>(p.m, p.n, p.k, p.depth);
  const Begin begin = begin_of(p.batch, w.product);
  const int64_t c = (static_cast<int64_t>(blockIdx.y) * p.products + w.product) * p.m * p.n;
  using Matrix = Dense<Loop::kBytes>;
  const Matrix of_a(p.a, begin.a, loop.turned_a ? w.k_end : p.m, loop.turned_a ? p.m : w.k_end);
  const Matrix of_b(p.b, begin.b, loop.turned_b ? p.n : w.k_end, loop.turned_b ? w.k_end : p.n);
  loop.run(of_a, of_b, w, shared, sink_of(c));
}

template <class Loop>
__device__ inline void product(const Params& p, const Loop& loop) {
  product(p, loop, [&](int64_t c) { return Results(p, c); });
}

// Of operands that always lie so.
template <class Loop>
struct OneLayout : Loop {
  template <class Source, class Sink>
  __device__ void run(const Source& a, const Source& b, const Place& w, char* shared, const Sink& sink) const {
    typename Loop::Sums sums;
    Loop::multiply(a, b, w, shared, sums);
    sums.write(w, shared, sink);
  }
};
template <class Loop>
__device__ inline void product(const Params& p) {
  product(p, OneLayout<Loop>{});
}

// How operands lie is known when the kernel is launched: Loop<turned_a, turned_b> makes the sums, and all that comes
// after it is the same code.
template <template <bool, bool> class Loop>
struct AnyLayout {
  using Sums = typename Loop<false, false>::Sums;
  static constexpr Tile kTile = Loop<false, false>::kTile;
  static constexpr int kBytes = Loop<false, false>::kBytes;
  const bool turned_a, turned_b;

  template <class Source, class Sink>
  __device__ void run(const Source& a, const Source& b, const Place& w, char* shared, const Sink& sink) const {
    Sums sums;
    if (turned_a)
      turned_b ? Loop<true, true>::multiply(a, b, w, shared, sums) : Loop<true, false>::multiply(a, b, w, shared, sums);
    else
      turned_b ? Loop<false, true>::multiply(a, b, w, shared, sums)
               : Loop<false, false>::multiply(a, b, w, shared, sums);
    sums.write(w, shared, sink);
  }
};

}  // namespace native::cuda::gemm
