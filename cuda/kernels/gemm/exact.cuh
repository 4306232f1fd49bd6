// Products of float32 by ordinary multiply-adds, each sum in the order of k.
#pragma once

#include "kernels/gemm/pipeline.cuh"

namespace native::cuda::gemm {

// [depth][outer] in shared memory from an operand whose k are contiguous: word by word. A warp takes 8 of k,
// a whole sector, from 4 rows.
template <int outer, int depth, int threads>
struct TurnedTile {
  using Layout = OperandTile<outer, depth, 4, false, Swizzle::Padded, threads>;
  static constexpr int kBytes = Layout::kBytes;

  static_assert(threads / 32 % (depth / 8) == 0);
  static constexpr int kApart = threads / 8 / (depth / 8);  // rows of a thread's copies

  // Copies tiles of a source from k on, one after another; a thread copies one term of some rows.
  template <class Source>
  struct Copies {
    static constexpr int kTile = kBytes;
    typename Source::Walk walk;
    int to;

    __device__ Copies(const Source& source, int o0, int k0)
        : walk(source, kept(o0 + outer_of_thread()), k0 + term_of_thread(), kApart),
          to(kept(Layout::offset(term_of_thread(), outer_of_thread() / 4) + outer_of_thread() % 4 * 4)) {}
    // Begins to.
    __device__ void next(char* tile) {
      const auto& line = walk.line();
#pragma unroll(Source::Walk::kAtOnce)
      for (int i = 0; i < outer / kApart; ++i) {
        const Element e = line[i];
        copy_async_4(shared_address(tile + to + i * kApart * 4), e.from, e.inside ? 4 : 0);
      }
      walk.right(depth);
    }
  };

 private:
  // In registers while tiles pass. Two blocks of 256 threads have none for it: found anew for each.
  __device__ static int kept(int x) { return threads > 128 ? x : opaque(x); }
  __device__ static int term_of_thread() { return threadIdx.x / 32 % (depth / 8) * 8 + threadIdx.x % 8; }
  __device__ static int outer_of_thread() { return threadIdx.x / 32 / (depth / 8) * 4 + threadIdx.x % 32 / 8; }
};

// Sums of a tile's results in the registers of its threads. Threads of a warp stand 4 (rows) by 8 (columns). A thread
// has groups of 4 rows and of 4 columns, the groups of neighbours side by side, so that 8 lanes read 8 neighbouring
// chunks.
template <Tile tile, int thread_m, int thread_n>
struct ExactSums {
  static constexpr int kAcross = tile.n / thread_n, kDown = tile.m / thread_m;  // threads of a block
  static constexpr int kWarpsAcross = kAcross / 8;
  static_assert(kDown * kAcross == tile.threads);

  float of[thread_m][thread_n] = {};

  __device__ static int across() { return threadIdx.x / 32 % kWarpsAcross * 8 + threadIdx.x % 8; }
  __device__ static int down() { return threadIdx.x / 32 / kWarpsAcross * 4 + threadIdx.x % 32 / 8; }

  // A group of each thread's rows at a time, by code that stands here once: epilogues are long. Groups move up to the
  // front, so that those written want no registers.
  template <class Sink>
  __device__ void write(const Place& w, char* shared, const Sink& sink) {
    using Rows = Slab<tile, kDown * 4>;
    float* slab = reinterpret_cast<float*>(shared);
#pragma unroll 1
    for (int part = 0; part < thread_m / 4; ++part) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int h = 0; h < thread_n / 4; ++h)
          store_4(slab + (down() * 4 + i) * Rows::kRow + (h * kAcross + across()) * 4, &of[i][h * 4]);
#pragma unroll
      for (int i = 0; i < thread_m; ++i)
#pragma unroll
        for (int j = 0; j < thread_n; ++j) of[i][j] = i + 4 < thread_m ? of[i + 4][j] : 0;
      __syncthreads();
      Rows::write(sink, w, slab, [&](int r) { return part * kDown * 4 + r; });
      __syncthreads();
    }
  }
};

template <Tile tile, int thread_m, int thread_n, bool a_turned, bool b_turned>
struct ExactLoop {
  using Sums = ExactSums<tile, thread_m, thread_n>;
  static constexpr int kBytes = 4;
  static constexpr Tile kTile = tile;
  static constexpr bool turned_a = a_turned, turned_b = b_turned;
  using Direct = OperandTile<tile.m, tile.depth, 4, false, Swizzle::Padded, tile.threads>;
  static_assert(tile.m == tile.n);
  using Turned = TurnedTile<tile.m, tile.depth, tile.threads>;
  // A as it is, [m, k], has its k contiguous; B as it is, [k, n], has not.
  using A = std::conditional_t<a_turned, Direct, Turned>;
  using B = std::conditional_t<b_turned, Turned, Direct>;

  template <class SourceA, class SourceB>
  __device__ static void multiply(const SourceA& source_a, const SourceB& source_b, const Place& w, char* shared,
                                  Sums& sums) {
    const int across = opaque(Sums::across()), down = opaque(Sums::down());
    float a[2][thread_m], b[2][thread_n];
    const auto load = [&](int buffer, const char* at, const char* bt, int k) {
#pragma unroll
      for (int g = 0; g < thread_m / 4; ++g)
        *reinterpret_cast<float4*>(a[buffer] + 4 * g) =
            *reinterpret_cast<const float4*>(at + Direct::offset(k, g * Sums::kDown + down));
#pragma unroll
      for (int g = 0; g < thread_n / 4; ++g)
        *reinterpret_cast<float4*>(b[buffer] + 4 * g) =
            *reinterpret_cast<const float4*>(bt + Direct::offset(k, g * Sums::kAcross + across));
    };
    const auto compute = [&](int buffer) {
#pragma unroll
      for (int i = 0; i < thread_m; ++i)
#pragma unroll
        for (int j = 0; j < thread_n; ++j) sums.of[i][j] = fmaf(a[buffer][i], b[buffer][j], sums.of[i][j]);
    };
    pipeline<tile, tile.depth>(typename A::template Copies<SourceA>(source_a, w.row, w.k_begin),
                               typename B::template Copies<SourceB>(source_b, w.column, w.k_begin), w, shared, load,
                               compute);
  }
};

}  // namespace native::cuda::gemm
