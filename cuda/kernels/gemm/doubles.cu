// Products of float64 by ordinary multiply-adds, each sum in the order of k.
#include "kernels/gemm/pipeline.cuh"

namespace native::cuda::gemm {
namespace {

// [depth][outer] in shared memory. Rows are longer by two, which keeps vectors of two aligned and the rows' banks
// apart.
template <int outer, int depth, bool k_contiguous, int threads>
struct DoubleTile {
  static constexpr int kRow = outer + 2, kBytes = depth * kRow * 8;

  __device__ static void fetch(char* tile, const Operand& x, int64_t base, int o0, int k0, int outers, int k_end) {
    const int row = static_cast<int>(x.row);
    const double* origin =
        static_cast<const double*>(x.data) + base + (k_contiguous ? o0 * x.row + k0 : k0 * x.row + o0);
#pragma unroll 1
    for (int at = threadIdx.x; at < outer * depth; at += threads) {
      const int k = k_contiguous ? at % depth : at / outer, o = k_contiguous ? at / depth : at % outer;
      const bool inside = o < outers - o0 && k < k_end - k0;
      copy_async_8(shared_address(tile + (k * kRow + o) * 8), origin + (k_contiguous ? o * row + k : k * row + o),
                   inside ? 8 : 0);
    }
  }
};

// Threads stand 16 by 16; a thread has pairs of neighbouring rows and columns, the pairs of neighbours side by
// side.
template <Tile tile, bool a_turned, bool b_turned>
__device__ inline void doubles(const Params& p) {
  constexpr int kM = tile.m / 16, kN = tile.n / 16;
  static_assert(tile.threads == 256);
  using A = DoubleTile<tile.m, tile.depth, !a_turned, tile.threads>;
  using B = DoubleTile<tile.n, tile.depth, b_turned, tile.threads>;
  extern __shared__ __align__(128) char shared[];
  const Place w = place<tile>(p);
  const int across = threadIdx.x % 16 * 2, down = threadIdx.x / 16 * 2;
  double sums[kM][kN] = {};
  pipeline<tile, A, B>(p, w, shared, [&](const char* at, const char* bt) {
#pragma unroll 2
    for (int k = 0; k < tile.depth; ++k) {
      double a[kM], b[kN];
#pragma unroll
      for (int i = 0; i < kM; i += 2)
        *reinterpret_cast<double2*>(a + i) = *reinterpret_cast<const double2*>(at + (k * A::kRow + i * 16 + down) * 8);
#pragma unroll
      for (int j = 0; j < kN; j += 2)
        *reinterpret_cast<double2*>(b + j) =
            *reinterpret_cast<const double2*>(bt + (k * B::kRow + j * 16 + across) * 8);
#pragma unroll
      for (int i = 0; i < kM; ++i)
#pragma unroll
        for (int j = 0; j < kN; ++j) sums[i][j] = fma(a[i], b[j], sums[i][j]);
    }
  });
  // Eight threads have sixteen results side by side, in pairs where these may be written whole.
  const bool pairs = p.n % 2 == 0 && reinterpret_cast<uintptr_t>(p.c) % 16 == 0;
#pragma unroll
  for (int i = 0; i < kM; ++i)
#pragma unroll
    for (int j = 0; j < kN; j += 2) {
      const int r = w.row + i / 2 * 32 + down + i % 2, c = w.column + j / 2 * 32 + across;
      if (r >= p.m || c >= p.n) continue;
      double* to = static_cast<double*>(p.c) + w.c + static_cast<int64_t>(r) * p.n + c;
      if (pairs) {
        *reinterpret_cast<double2*>(to) = {sums[i][j], sums[i][j + 1]};
      } else {
        to[0] = sums[i][j];
        if (c + 1 < p.n) to[1] = sums[i][j + 1];
      }
    }
}

}  // namespace

#define KERNEL(suffix, a_turned, b_turned)                                      \
  extern "C" __global__ void __launch_bounds__(kDouble.threads, kDouble.blocks) \
      gemm_double_##suffix(const __grid_constant__ Params p) {                  \
    doubles<kDouble, a_turned, b_turned>(p);                                    \
  }

KERNEL(nn, false, false)
KERNEL(nt, false, true)
KERNEL(tn, true, false)
KERNEL(tt, true, true)

}  // namespace native::cuda::gemm
