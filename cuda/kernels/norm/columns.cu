// Statistics and sums down the rows, for batch and group norm and for the gradients of parameters.
#include "kernels/elements.cuh"
#include "kernels/moments.cuh"
#include "kernels/norm/params.h"
#include "kernels/pack.cuh"

namespace native::cuda::norm {
namespace {

__device__ inline float& factor(const Params& p, Factor which, int64_t sample, int channel) {
  return p.factors[(which * p.samples + sample) * p.channels + channel];
}
__device__ inline float parameter(const Params& p, const void* data, int channel, float without) {
  return data ? load_element(data, channel, p.parameter_type) : without;
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
    shift = parameter(p, p.beta, strip.channel, 0);
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

__device__ inline float sum_of_lanes(float value) {
  for (int by = 16; by; by /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, by);
  return value;
}

// A warp's group of channels of a sample. What is many stands across the lanes: the channels (`wide`), or the pieces.
template <bool wide>
struct Group {
  const Params& p;
  int64_t sample;
  int first, lane;
  bool inside;

  __device__ explicit Group(const Params& params) : p(params) {
    const int64_t unit = (blockIdx.x * int64_t{kThreads} + threadIdx.x) / 32;
    const int groups = p.channels / p.each;
    sample = unit / groups;
    first = static_cast<int>(unit % groups) * p.each;
    lane = threadIdx.x % 32;
    inside = sample < p.samples;
  }
  // f(channel) for those of the lane.
  template <class F>
  __device__ void each(const F& f) const {
    if (inside)
      for (int c = first + (wide ? lane : 0); c < first + p.each; c += wide ? 32 : 1) f(c);
  }
  // f(piece, its two numbers) for the lane's pieces of a channel.
  template <class F>
  __device__ void each_piece(int channel, const F& f) const {
    for (int piece = wide ? 0 : lane; piece < p.pieces; piece += wide ? 1 : 32) {
      const float* part = p.parts + (sample * p.pieces + piece) * 2 * p.channels + channel;
      f(piece, part[0], part[p.channels]);
    }
  }
  // The sums over a channel's pieces, and over the channels of what each lane has.
  __device__ float of_channel(float value) const { return wide ? value : sum_of_lanes(value); }
  __device__ float of_channels(float value) const { return wide ? sum_of_lanes(value) : value; }
  __device__ bool writes() const { return wide || lane == 0; }
};

// Mean and deviation of each group, from the pieces.
template <bool wide>
__device__ inline void merge(const Params& p) {
  const Group<wide> group(p);
  Moments all{0, 0, 0};
  group.each([&](int c) {
    group.each_piece(c, [&](int piece, float mean, float squares) {
      const auto count = static_cast<double>(min(int64_t{kPiece}, p.rows - piece * int64_t{kPiece}));
      all = join(all, {count, mean, squares});
    });
  });
  all = join_lanes(all);
  const float mean = static_cast<float>(all.mean), variance = static_cast<float>(all.squares / all.count);
  const float inverse = 1 / sqrtf(variance + p.eps);
  if (!group.writes()) return;
  group.each([&](int c) {
    factor(p, kMean, group.sample, c) = mean;
    factor(p, kInverse, group.sample, c) = inverse;
    factor(p, kScale, group.sample, c) = parameter(p, p.gamma, c, 1) * inverse;
    if (p.mean) store_element(p.mean, c, p.parameter_type, mean);
    if (p.variance) store_element(p.variance, c, p.parameter_type, variance);
  });
}

// What dx needs of each group, from the pieces of the sums.
template <bool wide>
__device__ inline void slopes(const Params& p) {
  const Group<wide> group(p);
  float plain = 0, weighted = 0;
  group.each([&](int c) {
    float sum = 0, product = 0;
    group.each_piece(c, [&](int, float a, float b) { sum += a, product += b; });
    sum = group.of_channel(sum);
    product = group.of_channel(product) * factor(p, kInverse, group.sample, c);
    if (group.writes()) {
      factor(p, kSum, group.sample, c) = sum;
      factor(p, kProduct, group.sample, c) = product;
    }
    plain += parameter(p, p.gamma, c, 1) * sum;
    weighted += parameter(p, p.gamma, c, 1) * product;
  });
  const float count = static_cast<float>(p.rows) * static_cast<float>(p.each);
  plain = group.of_channels(plain) / count;
  weighted = group.of_channels(weighted) / count;
  if (!group.writes()) return;
  group.each([&](int c) {
    const float inverse = factor(p, kInverse, group.sample, c);
    factor(p, kSlope, group.sample, c) = -inverse * inverse * weighted;
    factor(p, kOffset, group.sample, c) = -inverse * plain;
  });
}

// f(pack, sample, channel) for all packs of `lanes` neighbouring elements.
template <int lanes, class F>
__device__ inline void each_pack(const Params& p, const F& f) {
  const int of_sample = static_cast<int>(p.by_sample.value);
  const uint32_t all = static_cast<uint32_t>(of_sample) * p.samples;
  for (uint32_t i = blockIdx.x * kThreads + threadIdx.x; i < all; i += gridDim.x * kThreads) {
    int rest = static_cast<int>(i);
    const int sample = divide(rest, p.by_sample);
    divide(rest, p.by_channels);
    f(i, sample, rest * lanes);
  }
}

template <int lanes>
__device__ inline Pack<lanes> factors(const Params& p, Factor which, int sample, int channel) {
  return load_pack<lanes>(&factor(p, which, sample, channel), 0, DataType::F32);
}

template <int lanes>
__device__ inline void apply(const Params& p) {
  each_pack<lanes>(p, [&](uint32_t i, int sample, int first) {
    Pack<lanes> x = load_pack<lanes>(p.x, i, p.type), residual{};
    if (p.residual) residual = load_pack<lanes>(p.residual, i, p.type);
    const Pack<lanes> mean = factors<lanes>(p, kMean, sample, first), scale = factors<lanes>(p, kScale, sample, first);
#pragma unroll
    for (int l = 0; l < lanes; ++l) {
      const float y = affine(x.v[l], mean.v[l], scale.v[l], parameter(p, p.beta, first + l, 0));
      x.v[l] = clipped(p.residual ? y + residual.v[l] : y, p.clip);
    }
    store_pack<lanes>(p.y, i, p.type, x);
  });
}

template <int lanes>
__device__ inline void grad(const Params& p) {
  each_pack<lanes>(p, [&](uint32_t i, int sample, int first) {
    const Pack<lanes> given = load_pack<lanes>(p.ct, i, p.type);
    Pack<lanes> x = load_pack<lanes>(p.x, i, p.type);
    const Pack<lanes> mean = factors<lanes>(p, kMean, sample, first), scale = factors<lanes>(p, kScale, sample, first);
    const Pack<lanes> slope = factors<lanes>(p, kSlope, sample, first);
    const Pack<lanes> offset = factors<lanes>(p, kOffset, sample, first);
#pragma unroll
    for (int l = 0; l < lanes; ++l) {
      float ct = given.v[l];
      const float y = affine(x.v[l], mean.v[l], scale.v[l], parameter(p, p.beta, first + l, 0));
      if (p.clip != Clip::None && !(y > 0 && (p.clip == Clip::Relu || y < 6))) ct = 0;
      x.v[l] = fmaf(ct, scale.v[l], fmaf(x.v[l] - mean.v[l], slope.v[l], offset.v[l]));
    }
    store_pack<lanes>(p.dx, i, p.type, x);
  });
}

}  // namespace

// A multiprocessor holds so many blocks at least: unless told, ptxas spills to make room for one more.
constexpr int kBlocks = 2;

#define KERNEL(name) \
  extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) norm_##name(const __grid_constant__ Params p)

KERNEL(statistics) { statistics(p); }
KERNEL(sums_by_channel) { sums<false>(p); }
KERNEL(sums_by_row) { sums<true>(p); }
KERNEL(merge) { merge<false>(p); }
KERNEL(merge_wide) { merge<true>(p); }
KERNEL(slopes) { slopes<false>(p); }
KERNEL(slopes_wide) { slopes<true>(p); }

// Statistics that are given, as merge() leaves its own.
KERNEL(given) {
  const int c = blockIdx.x * kThreads + threadIdx.x;
  if (c >= p.channels) return;
  const float inverse = 1 / sqrtf(load_element(p.given_variance, c, p.parameter_type) + p.eps);
  factor(p, kMean, 0, c) = load_element(p.given_mean, c, p.parameter_type);
  factor(p, kInverse, 0, c) = inverse;
  factor(p, kScale, 0, c) = parameter(p, p.gamma, c, 1) * inverse;
}

KERNEL(apply_1) { apply<1>(p); }
KERNEL(apply_4) { apply<4>(p); }
KERNEL(grad_1) { grad<1>(p); }
KERNEL(grad_4) { grad<4>(p); }

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
  if (p.dgamma) store_element(p.dgamma, c, p.parameter_type, product);
  if (p.dbeta) store_element(p.dbeta, c, p.parameter_type, sum);
}

}  // namespace native::cuda::norm
