// Products of float64 by ordinary multiply-adds, each sum in the order of k.
#include "kernels/gemm/product.cuh"

namespace native::cuda::gemm {
namespace {

// [depth][outer] in shared memory. Rows are longer by two, which keeps vectors of two aligned and the rows' banks
// apart.
template <int outer, int depth, bool k_contiguous, int threads>
struct DoubleTile {
  static constexpr int kRow = outer + 2, kBytes = depth * kRow * 8, kDepth = depth;

  __device__ static void fetch(char* tile, const Dense<8>& x, int o0, int k0) {
#pragma unroll 1
    for (int at = threadIdx.x; at < outer * depth; at += threads) {
      const int k = k_contiguous ? at % depth : at / outer, o = k_contiguous ? at / depth : at % outer;
      const Element e = k_contiguous ? x.at(x.row(o0 + o), x.column(k0 + k)) : x.at(x.row(k0 + k), x.column(o0 + o));
      copy_async_8(shared_address(tile + (k * kRow + o) * 8), e.from, e.inside ? 8 : 0);
    }
  }
};

// Results [rows, columns], two neighbours at a time where these may be written whole.
struct DoubleResults {
  double* to;
  int rows, columns;
  bool pairs;
  __device__ DoubleResults(const Params& p, int64_t first)
      : to(static_cast<double*>(p.c) + first),
        rows(p.m),
        columns(p.n),
        pairs(p.n % 2 == 0 && reinterpret_cast<uintptr_t>(p.c) % 16 == 0) {}
  __device__ void put(int row, int column, const double* v) const {
    if (row >= rows || column >= columns) return;
    double* at = to + static_cast<int64_t>(row) * columns + column;
    if (pairs) {
      *reinterpret_cast<double2*>(at) = {v[0], v[1]};
    } else {
      at[0] = v[0];
      if (column + 1 < columns) at[1] = v[1];
    }
  }
};

// Threads stand 16 by 16; a thread has pairs of neighbouring rows and columns, the pairs of neighbours side by
// side.
template <Tile tile, bool a_turned, bool b_turned>
struct DoubleLoop {
  static constexpr Tile kTile = tile;
  static constexpr int kBytes = 8;
  static constexpr bool turned_a = a_turned, turned_b = b_turned;
  static constexpr int kM = tile.m / 16, kN = tile.n / 16;
  static_assert(tile.threads == 256);
  using A = DoubleTile<tile.m, tile.depth, !a_turned, tile.threads>;
  using B = DoubleTile<tile.n, tile.depth, b_turned, tile.threads>;

  __device__ static void run(const Dense<8>& of_a, const Dense<8>& of_b, const Place& w, char* shared,
                             const DoubleResults& sink) {
    const int across = threadIdx.x % 16 * 2, down = threadIdx.x / 16 * 2;
    double sums[kM][kN] = {};
    double a[2][kM], b[2][kN];
    const auto load = [&](int buffer, const char* at, const char* bt, int k) {
#pragma unroll
      for (int i = 0; i < kM; i += 2)
        *reinterpret_cast<double2*>(a[buffer] + i) =
            *reinterpret_cast<const double2*>(at + (k * A::kRow + i * 16 + down) * 8);
#pragma unroll
      for (int j = 0; j < kN; j += 2)
        *reinterpret_cast<double2*>(b[buffer] + j) =
            *reinterpret_cast<const double2*>(bt + (k * B::kRow + j * 16 + across) * 8);
    };
    const auto compute = [&](int buffer) {
#pragma unroll
      for (int i = 0; i < kM; ++i)
#pragma unroll
        for (int j = 0; j < kN; ++j) sums[i][j] = fma(a[buffer][i], b[buffer][j], sums[i][j]);
    };
    pipeline<tile, tile.depth>(Anew<A, Dense<8>>{of_a, w.row, w.k_begin}, Anew<B, Dense<8>>{of_b, w.column, w.k_begin},
                               w, shared, load, compute);
    // Eight threads have sixteen results side by side.
#pragma unroll
    for (int i = 0; i < kM; ++i)
#pragma unroll
      for (int j = 0; j < kN; j += 2)
        sink.put(w.row + i / 2 * 32 + down + i % 2, w.column + j / 2 * 32 + across, &sums[i][j]);
  }
};

}  // namespace

#define KERNEL(suffix, a_turned, b_turned)                                                                 \
  extern "C" __global__ void __launch_bounds__(kDouble.threads, kDouble.blocks)                            \
      gemm_double_##suffix(const __grid_constant__ Params p) {                                             \
    product(p, DoubleLoop<kDouble, a_turned, b_turned>{}, [&](int64_t c) { return DoubleResults(p, c); }); \
  }

KERNEL(nn, false, false)
KERNEL(nt, false, true)
KERNEL(tn, true, false)
KERNEL(tt, true, true)

}  // namespace native::cuda::gemm
