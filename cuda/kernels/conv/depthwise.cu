// Depthwise convolution and its gradients, in float32.
#include "kernels/conv/depthwise_join.cuh"
#include "kernels/conv/depthwise_params.h"
#include "kernels/conv/window_at.cuh"
#include "kernels/gemm/epilogue.cuh"

namespace native::cuda::depthwise {
namespace {

// The place of the source that tap k of position `at` meets along a dimension, or -1: forward, a window's; back,
// that of the window whose tap k is at this place.
template <bool back>
__device__ inline int meets(const Params& p, int d, int at, int k) {
  if constexpr (back) {
    return conv::window_at(p, d, at, k);
  } else {
    const int source = at * p.stride[d] - p.low[d] + k * p.dilation[d];
    return source >= 0 && source < p.source_size[d] ? source : -1;
  }
}

// A thread has a pack of channels of some neighbours along the width.
template <bool back, int lanes>
__device__ inline void correlate(const Params& p) {
  const int64_t thread = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (thread >= p.threads) return;
  int channel = static_cast<int>(thread), width = divide(channel, p.by_channels), height = divide(width, p.by_width);
  int depth = divide(height, p.by_height);
  const int n = divide(depth, p.by_depth), first = width * kAcross;
  const int multiplier = static_cast<int>(p.multiplier.value);
  int rest = channel;
  const int group = divide(rest, p.multiplier);  // the input's channel, forward

  Pack<lanes> sums[kAcross] = {};
  for (int a = 0; a < p.kernel[0]; ++a) {
    const int plane = meets<back>(p, 0, depth, a);
    if (plane < 0) continue;
    for (int b = 0; b < p.kernel[1]; ++b) {
      const int row = meets<back>(p, 1, height, b);
      if (row < 0) continue;
      const int64_t pixels =
          ((static_cast<int64_t>(n) * p.source_size[0] + plane) * p.source_size[1] + row) * p.source_size[2];
      for (int c = 0; c < p.kernel[2]; ++c) {
        int at[kAcross];
#pragma unroll
        for (int u = 0; u < kAcross; ++u) at[u] = meets<back>(p, 2, first + u, c);
        const int tap = (a * p.kernel[1] + b) * p.kernel[2] + c;
        // Back, each of the input's channels has gone into several of the source's.
        for (int m = 0; m < (back ? multiplier : 1); ++m) {
          const int out = back ? channel * multiplier + m : channel, in = back ? out : group;
          const Pack<lanes> w =
              load_pack<lanes>(p.weights, static_cast<int64_t>(tap) * p.weight_channels + out, p.type);
#pragma unroll
          for (int u = 0; u < kAcross; ++u) {
            if (at[u] < 0) continue;
            const Pack<lanes> x = load_pack<lanes>(p.source, (pixels + at[u]) * p.source_channels + in, p.type);
#pragma unroll
            for (int i = 0; i < lanes; ++i) sums[u].v[i] = fmaf(x.v[i], w.v[i], sums[u].v[i]);
          }
        }
      }
    }
  }

  const int64_t pixel =
      ((static_cast<int64_t>(n) * p.result_size[0] + depth) * p.result_size[1] + height) * p.result_size[2] + first;
#pragma unroll 1  // activations are long
  for (int u = 0; u < min(kAcross, p.result_size[2] - first); ++u) {
    Pack<lanes> y = sums[0];
#pragma unroll
    for (int other = 1; other < kAcross; ++other)
      if (u == other) y = sums[other];
    finish<lanes>(p.epilogue, p.result, (pixel + u) * p.channels + channel, channel, y);
  }
}

// Blocks: strips of channels, up to kTaps taps, pieces of pixels. Threads of a block stand `across` packs of
// channels by as many pixels.
template <int lanes>
__device__ inline void weight_grad(const WeightParams& p) {
  __shared__ int shift[kTaps][3];
  __shared__ float joints[lanes][kThreads];
  const int taps = p.kernel[0] * p.kernel[1] * p.kernel[2], first_tap = blockIdx.y * kTaps;
  const int here = min(kTaps, taps - first_tap);
  if (threadIdx.x < kTaps) {  // of those beyond the last as well: loads of what is not used may come first
    const int tap = first_tap + threadIdx.x, rest = tap / p.kernel[2];
    shift[threadIdx.x][0] = rest / p.kernel[1] * p.dilation[0] - p.low[0];
    shift[threadIdx.x][1] = rest % p.kernel[1] * p.dilation[1] - p.low[1];
    shift[threadIdx.x][2] = tap % p.kernel[2] * p.dilation[2] - p.low[2];
  }
  __syncthreads();
  const int across = p.across, down = kThreads / across;
  const int channel = blockIdx.x * across + threadIdx.x % across;
  const bool inside = channel < p.channels;
  int rest = channel;
  const int group = divide(rest, p.multiplier);

  Pack<lanes> sums[kTaps] = {};
  const int begin = blockIdx.z * p.piece, end = min(begin + p.piece, p.pixels);
  for (int pixel = begin + threadIdx.x / across; pixel < end && inside; pixel += down) {
    const Pack<lanes> g = load_pack<lanes>(p.ct, static_cast<int64_t>(pixel) * p.channels + channel, p.type);
    int w = pixel, h = divide(w, p.by_size[2]), d = divide(h, p.by_size[1]);
    const int n = divide(d, p.by_size[0]);
    d *= p.stride[0], h *= p.stride[1], w *= p.stride[2];
#pragma unroll
    for (int t = 0; t < kTaps; ++t) {
      if (t >= here) break;
      const int a = d + shift[t][0], b = h + shift[t][1], c = w + shift[t][2];
      if (a < 0 || a >= p.x_size[0] || b < 0 || b >= p.x_size[1] || c < 0 || c >= p.x_size[2]) continue;
      const int64_t from = ((static_cast<int64_t>(n) * p.x_size[0] + a) * p.x_size[1] + b) * p.x_size[2] + c;
      const Pack<lanes> x = load_pack<lanes>(p.x, from * p.x_channels + group, p.type);
#pragma unroll
      for (int i = 0; i < lanes; ++i) sums[t].v[i] = fmaf(x.v[i], g.v[i], sums[t].v[i]);
    }
  }

  join_taps<lanes, kTaps>(sums, here, joints, across, down, inside, [&](int t, const Pack<lanes>& sum) {
    const int64_t tap = static_cast<int64_t>(blockIdx.z) * taps + first_tap + t;
    store_pack<lanes>(p.parts, tap * p.channels + channel, DataType::F32, sum);
  });
}

}  // namespace

// A multiprocessor holds so many blocks at least: unless told, ptxas spills to make room for one more.
constexpr int kBlocks = 2;

#define KERNEL(name, Params, call) \
  extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) name(const __grid_constant__ Params p) { call(p); }
KERNEL(depthwise_forward_1, Params, (correlate<false, 1>))
KERNEL(depthwise_forward_4, Params, (correlate<false, 4>))
KERNEL(depthwise_input_grad_1, Params, (correlate<true, 1>))
KERNEL(depthwise_input_grad_4, Params, (correlate<true, 4>))
KERNEL(depthwise_weight_grad_1, WeightParams, weight_grad<1>)
KERNEL(depthwise_weight_grad_4, WeightParams, weight_grad<4>)

}  // namespace native::cuda::depthwise
