// Statistics and sums down the rows, for batch and group norm and for the gradients of parameters.
#include "kernels/elements.cuh"
#include "kernels/moments.cuh"
#include "kernels/norm/params.h"

namespace native::cuda::norm {
namespace {

__device__ inline float& factor(const Params& p, Factor which, int64_t sample, int channel) {
  return p.factors[(which * p.samples + sample) * p.channels + channel];
}
__device__ inline float parameter(const void* data, int channel, DataType type, float without) {
  return data ? load_element(data, channel, type) : without;
}
__device__ inline float clipped(float v, Clip clip) {
  // NaN stays NaN.
  if (clip != Clip::None && v < 0) v = 0;
  return clip == Clip::Relu6 && v > 6 ? 6 : v;
}
// The normalised x, scaled and shifted: the same bits forward and backward.
__device__ inline float affine(float x, float mean, float scale, float shift) { return fmaf(x - mean, scale, shift); }

// A block's strip of 32 columns in a piece of a sample's rows.
struct Strip {
  static constexpr int kDown = kThreads / 32;
  int across, down, channel;
  int64_t sample, piece, base, first, last;
  bool inside;

  __device__ explicit Strip(const Params& p) {
    across = threadIdx.x % 32;
    down = threadIdx.x / 32;
    const int strips = (p.channels + 31) / 32;
    channel = blockIdx.x % strips * 32 + across;
    piece = blockIdx.x / strips % p.pieces;
    sample = blockIdx.x / strips / p.pieces;
    base = sample * p.rows * p.channels + channel;
    first = piece * kPiece;
    last = min(first + kPiece, p.rows);
    inside = channel < p.channels;
  }
  // f(row, element) for the thread's rows.
  template <class F>
  __device__ void each(const Params& p, const F& f) const {
    if (inside)
      for (int64_t r = first + down; r < last; r += kDown) f(r, base + r * p.channels);
  }
  // The sum over the threads of a column, which they all get.
  __device__ float sum(float value, float (&shared)[kDown][32]) const {
    shared[down][across] = value;
    __syncthreads();
    value = 0;
    for (int d = 0; d < kDown; ++d) value += shared[d][across];
    __syncthreads();
    return value;
  }
  __device__ void store(const Params& p, float a, float b) const {
    if (!inside || down > 0) return;
    float* part = p.parts + (sample * p.pieces + piece) * 2 * p.channels + channel;
    part[0] = a;
    part[p.channels] = b;
  }
};

// Mean, and sum of squared differences from it, of two passes: a piece stays in the first cache.
__device__ inline void statistics(const Params& p) {
  __shared__ float shared[Strip::kDown][32];
  const Strip strip(p);
  float sum = 0, squares = 0;
  strip.each(p, [&](int64_t, int64_t at) { sum += load_element(p.x, at, p.type); });
  const float mean = strip.sum(sum, shared) / static_cast<float>(strip.last - strip.first);
  strip.each(p, [&](int64_t, int64_t at) {
    const float d = load_element(p.x, at, p.type) - mean;
    squares += d * d;
  });
  strip.store(p, mean, strip.sum(squares, shared));
}

// Sums of ct, and of ct times what is normalised (by row statistics) or x - mean (by channel). Of a clipped
// result only what lies inside passes ct on.
template <bool by_row>
__device__ inline void sums(const Params& p) {
  __shared__ float shared[Strip::kDown][32];
  const Strip strip(p);
  float mean = 0, scale = 0, shift = 0, sum = 0, product = 0;
  if (!by_row && strip.inside) {
    mean = factor(p, kMean, strip.sample, strip.channel);
    scale = factor(p, kScale, strip.sample, strip.channel);
    shift = parameter(p.beta, strip.channel, p.type, 0);
  }
  strip.each(p, [&](int64_t row, int64_t at) {
    float ct = load_element(p.ct, at, p.type), x = load_element(p.x, at, p.type);
    if constexpr (by_row) {
      x = (x - p.row_statistics[row]) * p.row_statistics[p.rows + row];
    } else {
      const float y = affine(x, mean, scale, shift);
      if (p.clip != Clip::None && !(y > 0 && (p.clip == Clip::Relu || y < 6))) ct = 0;
      x -= mean;
    }
    sum += ct;
    product += ct * x;
  });
  sum = strip.sum(sum, shared);
  strip.store(p, sum, strip.sum(product, shared));
}

__device__ inline Moments of_channel(const Params& p, int64_t sample, int channel) {
  Moments all{0, 0, 0};
  for (int piece = 0; piece < p.pieces; ++piece) {
    const float* part = p.parts + (sample * p.pieces + piece) * 2 * p.channels + channel;
    const auto count = static_cast<double>(min(int64_t{kPiece}, p.rows - piece * int64_t{kPiece}));
    all = join(all, {count, part[0], part[p.channels]});
  }
  return all;
}

// A group of channels of a sample: one thread, or a warp where it has many.
template <int lanes>
struct Group {
  int64_t sample;
  int first, lane;
  bool inside;

  __device__ explicit Group(const Params& p) {
    const int64_t unit = (blockIdx.x * int64_t{kThreads} + threadIdx.x) / lanes;
    const int groups = p.channels / p.each;
    sample = unit / groups;
    first = static_cast<int>(unit % groups) * p.each;
    lane = threadIdx.x % lanes;
    inside = sample < p.samples;
  }
  template <class F>
  __device__ void each(const Params& p, const F& f) const {
    if (inside)
      for (int c = first + lane; c < first + p.each; c += lanes) f(c);
  }
  __device__ static float sum(float value) {
    for (int by = lanes / 2; by; by /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, by);
    return value;
  }
};

// Mean and deviation of each group, from the pieces.
template <int lanes>
__device__ inline void merge(const Params& p) {
  const Group<lanes> group(p);
  Moments all{0, 0, 0};
  group.each(p, [&](int c) { all = join(all, of_channel(p, group.sample, c)); });
  for (int by = lanes / 2; by; by /= 2) {
    const Moments other{__shfl_xor_sync(0xFFFFFFFFu, all.count, by), __shfl_xor_sync(0xFFFFFFFFu, all.mean, by),
                        __shfl_xor_sync(0xFFFFFFFFu, all.squares, by)};
    // The same order in both lanes.
    all = threadIdx.x & by ? join(other, all) : join(all, other);
  }
  const float mean = static_cast<float>(all.mean), variance = static_cast<float>(all.squares / all.count);
  const float inverse = 1 / sqrtf(variance + p.eps);
  group.each(p, [&](int c) {
    factor(p, kMean, group.sample, c) = mean;
    factor(p, kInverse, group.sample, c) = inverse;
    factor(p, kScale, group.sample, c) = parameter(p.gamma, c, p.type, 1) * inverse;
    if (p.mean) store_element(p.mean, c, p.type, mean);
    if (p.variance) store_element(p.variance, c, p.type, variance);
  });
}

// What dx needs of each group, from the pieces of the sums.
template <int lanes>
__device__ inline void slopes(const Params& p) {
  const Group<lanes> group(p);
  float plain = 0, weighted = 0;
  group.each(p, [&](int c) {
    float sum = 0, product = 0;
    for (int piece = 0; piece < p.pieces; ++piece) {
      const float* part = p.parts + (group.sample * p.pieces + piece) * 2 * p.channels + c;
      sum += part[0];
      product += part[p.channels];
    }
    product *= factor(p, kInverse, group.sample, c);
    factor(p, kSum, group.sample, c) = sum;
    factor(p, kProduct, group.sample, c) = product;
    plain += parameter(p.gamma, c, p.type, 1) * sum;
    weighted += parameter(p.gamma, c, p.type, 1) * product;
  });
  const float count = static_cast<float>(p.rows) * static_cast<float>(p.each);
  plain = group.sum(plain) / count;
  weighted = group.sum(weighted) / count;
  group.each(p, [&](int c) {
    const float inverse = factor(p, kInverse, group.sample, c);
    factor(p, kSlope, group.sample, c) = -inverse * inverse * weighted;
    factor(p, kOffset, group.sample, c) = -inverse * plain;
  });
}

// f(element, sample, channel) for all elements.
template <class F>
__device__ inline void each_element(const Params& p, const F& f) {
  const int64_t of_sample = p.rows * p.channels, all = of_sample * p.samples;
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < all; i += gridDim.x * int64_t{kThreads})
    f(i, i / of_sample, static_cast<int>(i % p.channels));
}

}  // namespace

// A multiprocessor holds so many blocks at least: unless told, ptxas spills to make room for one more.
constexpr int kBlocks = 2;

#define KERNEL(name) \
  extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) norm_##name(const __grid_constant__ Params p)

KERNEL(statistics) { statistics(p); }
KERNEL(sums_by_channel) { sums<false>(p); }
KERNEL(sums_by_row) { sums<true>(p); }
KERNEL(merge) { merge<1>(p); }
KERNEL(merge_wide) { merge<32>(p); }
KERNEL(slopes) { slopes<1>(p); }
KERNEL(slopes_wide) { slopes<32>(p); }

// Statistics that are given, as merge() leaves its own.
KERNEL(given) {
  const int c = blockIdx.x * kThreads + threadIdx.x;
  if (c >= p.channels) return;
  const float inverse = 1 / sqrtf(load_element(p.given_variance, c, p.type) + p.eps);
  factor(p, kMean, 0, c) = load_element(p.given_mean, c, p.type);
  factor(p, kInverse, 0, c) = inverse;
  factor(p, kScale, 0, c) = parameter(p.gamma, c, p.type, 1) * inverse;
}

KERNEL(apply) {
  each_element(p, [&](int64_t i, int64_t sample, int c) {
    float y = affine(load_element(p.x, i, p.type), factor(p, kMean, sample, c), factor(p, kScale, sample, c),
                     parameter(p.beta, c, p.type, 0));
    if (p.residual) y += load_element(p.residual, i, p.type);
    store_element(p.y, i, p.type, clipped(y, p.clip));
  });
}

KERNEL(grad) {
  each_element(p, [&](int64_t i, int64_t sample, int c) {
    float ct = load_element(p.ct, i, p.type);
    const float x = load_element(p.x, i, p.type), mean = factor(p, kMean, sample, c);
    const float scale = factor(p, kScale, sample, c);
    const float y = affine(x, mean, scale, parameter(p.beta, c, p.type, 0));
    if (p.clip != Clip::None && !(y > 0 && (p.clip == Clip::Relu || y < 6))) ct = 0;
    const float rest = fmaf(x - mean, factor(p, kSlope, sample, c), factor(p, kOffset, sample, c));
    store_element(p.dx, i, p.type, fmaf(ct, scale, rest));
  });
}

// Gradients of the parameters: sums over samples, or over the pieces of rows.
KERNEL(parameters) {
  const int c = blockIdx.x * kThreads + threadIdx.x;
  if (c >= p.channels) return;
  float sum = 0, product = 0;
  if (p.factors)
    for (int s = 0; s < p.samples; ++s) sum += factor(p, kSum, s, c), product += factor(p, kProduct, s, c);
  else
    for (int64_t piece = 0; piece < p.pieces; ++piece) {
      const float* part = p.parts + piece * 2 * p.channels + c;
      sum += part[0];
      product += part[p.channels];
    }
  if (p.dgamma) store_element(p.dgamma, c, p.type, product);
  if (p.dbeta) store_element(p.dbeta, c, p.type, sum);
}

}  // namespace native::cuda::norm
