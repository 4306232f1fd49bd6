// Depthwise convolution by windows of 3x3 without strides, and its gradients: a thread has a pack of channels of a
// column and walks down the rows, so that all it needs again stays in registers, and what neighbouring columns
// share comes from the first cache at the same time.
#include "kernels/conv/depthwise_join.cuh"
#include "kernels/conv/depthwise_params.h"
#include "kernels/gemm/epilogue.cuh"

namespace native::cuda::depthwise {
namespace {

using Four = Pack<4>;

__device__ inline void accumulate(Four& sum, const Four& a, const Four& b) {
#pragma unroll
  for (int i = 0; i < 4; ++i) sum.v[i] = fmaf(a.v[i], b.v[i], sum.v[i]);
}

// A column of results from row `first` to `last`, and where what its windows meet begins.
struct Column {
  int n, column, first, last;
};
__device__ inline Column column_at(const WalkParams& p, int at) {
  int walk = divide(at, p.by_width);
  const int n = divide(walk, p.by_walks);
  return {n, at, walk * p.rows, min((walk + 1) * p.rows, p.height)};
}

// The three packs of a row of x that the windows of a column meet.
template <DataType type>
struct Reader {
  const WalkParams& p;
  int origin;  // the pack of row 0, first column
  bool inside[3];

  __device__ Reader(const WalkParams& p, const Column& c, int channel) : p(p) {
    const int first = c.column - p.low_column;
    origin = (c.n * p.x_height * p.x_width + first) * p.channels + channel;
#pragma unroll
    for (int i = 0; i < 3; ++i) inside[i] = first + i >= 0 && first + i < p.x_width;
  }
  __device__ void operator()(Four (&x)[3], int row) const {
    const bool there = row >= 0 && row < p.x_height;
    const int from = origin + row * p.x_width * p.channels;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      x[i] = {};
      if (there && inside[i]) x[i] = load_four(p.x, from + i * p.channels, type);
    }
  }
};

// Forward, or the gradient by the input with the window turned.
template <DataType type>
__device__ inline void correlate(const WalkParams& p) {
  const int64_t thread = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (thread >= p.threads) return;
  int channel = static_cast<int>(thread);
  const Column c = column_at(p, divide(channel, p.by_channels));
  Four w[3][3];
#pragma unroll
  for (int t = 0; t < 9; ++t)
    w[t / 3][t % 3] = load_four(p.y, static_cast<int64_t>(p.turned ? 8 - t : t) * p.channels + channel, type);

  const Reader<type> read(p, c, channel);
  // sums[a]: of the result whose tap a meets the row of x at hand.
  Four sums[3] = {}, ahead[3];
  const int begin = c.first - p.low_row, end = c.last - p.low_row + 2;
  read(ahead, begin);
  for (int row = begin; row < end; ++row) {
    const Four x[3] = {ahead[0], ahead[1], ahead[2]};
    if (row + 1 < end) read(ahead, row + 1);
#pragma unroll
    for (int a = 0; a < 3; ++a)
#pragma unroll
      for (int b = 0; b < 3; ++b) accumulate(sums[a], x[b], w[a][b]);
    const int result = row + p.low_row - 2;
    if (result >= c.first) {
      const int pixel = (c.n * p.height + result) * p.width + c.column;
      finish<4>(p.epilogue, p.out, pixel * p.channels + channel, channel, sums[2]);
    }
    sums[2] = sums[1];
    sums[1] = sums[0];
    sums[0] = {};
  }
}

// Blocks: strips of channels, pieces of the columns. Threads of a block stand `across` packs of channels by as many
// columns as there is room for.
template <DataType type>
__device__ inline void weight_grad(const WalkParams& p, float (&joints)[4][kThreads]) {
  const int across = p.across, down = kThreads / across;
  const int channel = blockIdx.x * across + threadIdx.x % across, lane = threadIdx.x / across;
  const bool inside = channel < p.channels && lane < down;

  Four sums[9] = {};
  const int begin = blockIdx.y * p.piece, stop = min(begin + p.piece, p.columns);
  for (int at = begin + lane; at < stop && inside; at += down) {
    const Column c = column_at(p, at);
    const Reader<type> read(p, c, channel);
    // g[a]: of the result whose tap a meets the row of x at hand.
    Four g[3] = {}, ahead[3], next;
    const int results = (c.n * p.height * p.width + c.column) * p.channels + channel;
    auto read_result = [&](int row) {
      next = {};
      if (row < c.last) next = load_four(p.y, results + row * p.width * p.channels, type);
    };
    const int end = c.last - p.low_row + 2;
    int row = c.first - p.low_row;
    read(ahead, row);
    read_result(c.first);
    for (; row < end; ++row) {
      const Four x[3] = {ahead[0], ahead[1], ahead[2]};
      g[2] = g[1];
      g[1] = g[0];
      g[0] = next;
      if (row + 1 < end) read(ahead, row + 1);
      read_result(row + 1 + p.low_row);
#pragma unroll
      for (int a = 0; a < 3; ++a)
#pragma unroll
        for (int b = 0; b < 3; ++b) accumulate(sums[3 * a + b], x[b], g[a]);
    }
  }
  join_taps<4, 9>(sums, 9, joints, across, down, inside, [&](int t, const Four& sum) {
    store_four(p.out, (static_cast<int64_t>(blockIdx.y) * 9 + t) * p.channels + channel, DataType::F32, sum);
  });
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 2) depthwise_walk_forward(const __grid_constant__ WalkParams p) {
  if (p.type == DataType::F32)
    correlate<DataType::F32>(p);
  else if (p.type == DataType::F16)
    correlate<DataType::F16>(p);
  else
    correlate<DataType::BF16>(p);
}

extern "C" __global__ void __launch_bounds__(kThreads, 2)
    depthwise_walk_weight_grad(const __grid_constant__ WalkParams p) {
  __shared__ float joints[4][kThreads];
  if (p.type == DataType::F32)
    weight_grad<DataType::F32>(p, joints);
  else if (p.type == DataType::F16)
    weight_grad<DataType::F16>(p, joints);
  else
    weight_grad<DataType::BF16>(p, joints);
}

extern "C" __global__ void __launch_bounds__(kThreads) depthwise_join(const __grid_constant__ JoinParams p) {
  __shared__ float joints[kJoinDown][kJoinAcross];
  const int element = blockIdx.x * kJoinAcross + threadIdx.x % kJoinAcross, lane = threadIdx.x / kJoinAcross;
  float sum = 0;
  if (element < p.elements)
    for (int piece = lane; piece < p.pieces; piece += kJoinDown)
      sum += p.parts[static_cast<int64_t>(piece) * p.elements + element];
  joints[lane][threadIdx.x % kJoinAcross] = sum;
  __syncthreads();
  if (threadIdx.x >= kJoinAcross || element >= p.elements) return;
  for (int l = 1; l < kJoinDown; ++l) sum += joints[l][threadIdx.x];
  store_element(p.out, element, p.type, sum);
}

}  // namespace native::cuda::depthwise
