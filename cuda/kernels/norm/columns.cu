// Statistics and sums down the rows, for batch and group norm and for the gradients of parameters.
#include "kernels/elements.cuh"
#include "kernels/norm/params.h"
#include "kernels/pack.cuh"

namespace native::cuda::norm {
namespace {

__device__ inline float* factor(const Params& p, Factor which, int64_t sample, int channel) {
  return p.factors + (which * p.samples + sample) * p.channels + channel;
}
// Those of neighbouring channels.
template <int lanes>
__device__ inline Pack<lanes> factors(const Params& p, Factor which, int64_t sample, int channel) {
  return load_pack<lanes>(factor(p, which, sample, channel), 0, DataType::F32);
}
template <int lanes>
__device__ inline Pack<lanes> parameters(const Params& p, const void* data, int channel, float without) {
  if (data) return load_pack<lanes>(data, channel / lanes, p.parameter_type);
  Pack<lanes> all;
#pragma unroll
  for (int l = 0; l < lanes; ++l) all.v[l] = without;
  return all;
}
__device__ inline float parameter(const Params& p, const void* data, int channel, float without) {
  return parameters<1>(p, data, channel, without).v[0];
}
__device__ inline float clipped(float v, Clip clip) {
  // NaN stays NaN.
  if (clip != Clip::None && v < 0) v = 0;
  return clip == Clip::Relu6 && v > 6 ? 6 : v;
}
// The normalised x, scaled and shifted: the same bits forward and backward.
__device__ inline float affine(float x, float mean, float scale, float shift) { return fmaf(x - mean, scale, shift); }
// What of ct the clip of `y` passes on.
__device__ inline float passed(float ct, float y, Clip clip) {
  return clip == Clip::None || (y > 0 && (clip == Clip::Relu || y < 6)) ? ct : 0;
}

// Of neighbouring channels: their statistics, which are given or have been left by merge().
template <int lanes>
struct Statistics {
  Pack<lanes> mean, inverse, scale;
  __device__ Statistics(const Params& p, int64_t sample, int channel) {
    if (!p.given_mean) {
      mean = factors<lanes>(p, kMean, sample, channel);
      inverse = factors<lanes>(p, kInverse, sample, channel);
      scale = factors<lanes>(p, kScale, sample, channel);
      return;
    }
    mean = parameters<lanes>(p, p.given_mean, channel, 0);
    inverse = parameters<lanes>(p, p.given_variance, channel, 0);
    scale = parameters<lanes>(p, p.gamma, channel, 1);
#pragma unroll
    for (int l = 0; l < lanes; ++l) {
      inverse.v[l] = 1 / sqrtf(inverse.v[l] + p.eps);
      scale.v[l] *= inverse.v[l];
    }
  }
};

// A block's strip of 32 columns in a piece of a sample's rows, `lanes` neighbours a thread.
template <int lanes>
struct Strip {
  static constexpr int kAcross = 32 / lanes, kDown = kThreads / kAcross, kRows = kMostRows / kDown;  // rows of a thread
  static constexpr int kAtOnce = 16 / lanes;  // of those, where two arrays are read
  using Joints = Pack<lanes>[kThreads / 32][kAcross];
  int channel, down, rows;
  int64_t sample, piece, first, row_packs, base;
  bool inside;

  __device__ explicit Strip(const Params& p) {
    const int strips = (p.channels + 31) / 32;
    channel = blockIdx.x % strips * 32 + threadIdx.x % kAcross * lanes;
    down = threadIdx.x / kAcross;
    piece = blockIdx.x / strips % p.pieces;
    sample = blockIdx.x / strips / p.pieces;
    first = piece * p.piece;
    rows = static_cast<int>(min(int64_t{p.piece}, p.rows - first));
    row_packs = p.channels / lanes;
    base = (sample * p.rows + first) * row_packs + channel / lanes;
    inside = channel < p.channels;
  }
  __device__ int row(int i) const { return down + i * kDown; }
  __device__ bool has(int i) const { return inside && row(i) < rows; }
  // The thread's rows from `i` on, zeros where there are none: all loads are under way before the first is waited for.
  template <DataType type, int count>
  __device__ void read(const void* data, int i, Pack<lanes> (&held)[count]) const {
#pragma unroll
    for (int k = 0; k < count; ++k) {
      held[k] = {};
      if (has(i + k)) held[k] = load_pack<lanes>(data, base + row(i + k) * row_packs, type);
    }
  }
  template <DataType type, int count>
  __device__ void write(void* data, int i, const Pack<lanes> (&held)[count]) const {
#pragma unroll
    for (int k = 0; k < count; ++k)
      if (has(i + k)) store_pack<lanes>(data, base + row(i + k) * row_packs, type, held[k]);
  }
  // The sum over the threads of a column, which they all get.
  __device__ Pack<lanes> sum(Pack<lanes> value, Joints& joints) const {
#pragma unroll
    for (int l = 0; l < lanes; ++l)
      for (int by = kAcross; by < 32; by *= 2) value.v[l] += __shfl_xor_sync(0xFFFFFFFFu, value.v[l], by);
    const int across = threadIdx.x % kAcross;
    if (threadIdx.x % 32 < kAcross) joints[threadIdx.x / 32][across] = value;
    __syncthreads();
    value = {};
    for (int w = 0; w < kThreads / 32; ++w)
#pragma unroll
      for (int l = 0; l < lanes; ++l) value.v[l] += joints[w][across].v[l];
    __syncthreads();
    return value;
  }
  __device__ void store(const Params& p, const Pack<lanes>& a, const Pack<lanes>& b) const {
    if (!inside || down > 0) return;
    float* part = p.parts + (sample * p.pieces + piece) * 2 * p.channels + channel;
    store_pack<lanes>(part, 0, DataType::F32, a);
    store_pack<lanes>(part + p.channels, 0, DataType::F32, b);
  }
};

// Calls f<type>(): the type is asked once for all elements.
template <class F>
__device__ inline void of_type(DataType type, const F& f) {
  if (type == DataType::F32)
    f.template operator()<DataType::F32>();
  else if (type == DataType::F16)
    f.template operator()<DataType::F16>();
  else
    f.template operator()<DataType::BF16>();
}

// Mean, and sum of squared differences from it; a thread holds its rows, so that memory is read once.
template <int lanes>
__device__ inline void statistics(const Params& p) {
  using Block = Strip<lanes>;
  __shared__ typename Block::Joints joints;
  const Block strip(p);
  Pack<lanes> x[Block::kRows], mean{}, squares{};
  of_type(p.type, [&]<DataType type>() { strip.template read<type>(p.x, 0, x); });
#pragma unroll
  for (int i = 0; i < Block::kRows; ++i)
#pragma unroll
    for (int l = 0; l < lanes; ++l) mean.v[l] += x[i].v[l];
  mean = strip.sum(mean, joints);
#pragma unroll
  for (int l = 0; l < lanes; ++l) mean.v[l] /= static_cast<float>(strip.rows);
#pragma unroll
  for (int i = 0; i < Block::kRows; ++i)
#pragma unroll
    for (int l = 0; l < lanes; ++l) {
      const float d = strip.has(i) ? x[i].v[l] - mean.v[l] : 0;
      squares.v[l] += d * d;
    }
  strip.store(p, mean, strip.sum(squares, joints));
}

// Sums of ct, and of ct times what is normalised (by row statistics) or x - mean (by channel). Of a clipped
// result only what lies inside passes ct on.
template <bool by_row, int lanes>
__device__ inline void sums(const Params& p) {
  using Block = Strip<lanes>;
  __shared__ typename Block::Joints joints;
  const Block strip(p);
  Pack<lanes> mean{}, scale{}, shift{}, sum{}, product{};
  if (!by_row && strip.inside) {
    const Statistics<lanes> of(p, strip.sample, strip.channel);
    mean = of.mean;
    scale = of.scale;
    shift = parameters<lanes>(p, p.beta, strip.channel, 0);
  }
#pragma unroll 1
  for (int i = 0; i < Block::kRows; i += Block::kAtOnce) {
    Pack<lanes> ct[Block::kAtOnce], x[Block::kAtOnce];
    of_type(p.type, [&]<DataType type>() {
      strip.template read<type>(p.ct, i, ct);
      strip.template read<type>(p.x, i, x);
    });
#pragma unroll
    for (int k = 0; k < Block::kAtOnce; ++k) {
      if (!strip.has(i + k)) continue;
      const int64_t row = strip.first + strip.row(i + k);
#pragma unroll
      for (int l = 0; l < lanes; ++l) {
        float passes = ct[k].v[l], normal;
        if constexpr (by_row) {
          normal = (x[k].v[l] - p.row_statistics[row]) * p.row_statistics[p.rows + row];
        } else {
          passes = passed(passes, affine(x[k].v[l], mean.v[l], scale.v[l], shift.v[l]), p.clip);
          normal = x[k].v[l] - mean.v[l];
        }
        sum.v[l] += passes;
        product.v[l] += passes * normal;
      }
    }
  }
  sum = strip.sum(sum, joints);
  strip.store(p, sum, strip.sum(product, joints));
}

// A group of channels of a sample, and the lanes that share it. What is many stands across them: the channels (`wide`,
// a warp), or the pieces.
template <bool wide>
struct Group {
  const Params& p;
  int64_t sample;
  int first, lanes, lane;
  bool inside;

  __device__ explicit Group(const Params& params) : p(params), lanes(wide ? 32 : p.lanes) {
    const int64_t unit = (blockIdx.x * int64_t{kThreads} + threadIdx.x) / lanes;
    const int groups = p.channels / p.each;
    inside = unit / groups < p.samples;
    // Others go on with the first group and write nothing: all lanes shuffle.
    sample = inside ? unit / groups : 0;
    first = inside ? static_cast<int>(unit % groups) * p.each : 0;
    lane = threadIdx.x % lanes;
  }
  // f(channel) for those of the lane.
  template <class F>
  __device__ void each(const F& f) const {
    for (int c = first + (wide ? lane : 0); c < first + p.each; c += wide ? 32 : 1) f(c);
  }
  // f(piece, its two numbers) for the lane's pieces of a channel.
  template <class F>
  __device__ void each_piece(int channel, const F& f) const {
#pragma unroll 4
    for (int piece = wide ? 0 : lane; piece < p.pieces; piece += wide ? 1 : lanes) {
      const float* part = p.parts + (sample * p.pieces + piece) * 2 * p.channels + channel;
      f(piece, part[0], part[p.channels]);
    }
  }
  template <class T>
  __device__ T sum(T value) const {
    for (int by = lanes / 2; by; by /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, by);
    return value;
  }
  // The sums over a channel's pieces, and over the channels of what each lane has.
  __device__ float of_channel(float value) const { return wide ? value : sum(value); }
  __device__ float of_channels(float value) const { return wide ? sum(value) : value; }
  __device__ bool writes() const { return inside && (wide || lane == 0); }
};

// Mean and deviation of each group, from the pieces: in double, for their number may be large.
template <bool wide>
__device__ inline void merge(const Params& p) {
  const Group<wide> group(p);
  const double count = static_cast<double>(p.rows) * p.each;
  // The sum over all pieces of f(elements, their mean, their squares).
  const auto sum = [&](const auto& f) {
    double all = 0;
    group.each([&](int c) {
      group.each_piece(c, [&](int piece, float mean, float squares) {
        all += f(static_cast<double>(min(int64_t{p.piece}, p.rows - piece * int64_t{p.piece})), mean, squares);
      });
    });
    return group.sum(all);
  };
  const double middle = sum([](double n, float mean, float) { return n * mean; }) / count;
  const double squares = sum([&](double n, float mean, float squares) {
    const double d = mean - middle;
    return squares + n * (d * d);
  });
  const float mean = static_cast<float>(middle), variance = static_cast<float>(squares / count);
  const float inverse = 1 / sqrtf(variance + p.eps);
  if (!group.writes()) return;
  group.each([&](int c) {
    *factor(p, kMean, group.sample, c) = mean;
    *factor(p, kInverse, group.sample, c) = inverse;
    *factor(p, kScale, group.sample, c) = parameter(p, p.gamma, c, 1) * inverse;
    if (p.mean) store_element(p.mean, c, p.parameter_type, mean);
    if (p.variance) store_element(p.variance, c, p.parameter_type, variance);
  });
}

// What dx needs of each group, from the pieces of the sums; of a single sample also the gradients of the parameters.
template <bool wide>
__device__ inline void slopes(const Params& p) {
  const Group<wide> group(p);
  float plain = 0, weighted = 0;
  group.each([&](int c) {
    float sum = 0, product = 0;
    group.each_piece(c, [&](int, float a, float b) { sum += a, product += b; });
    const Statistics<1> of(p, group.sample, c);
    sum = group.of_channel(sum);
    product = group.of_channel(product) * of.inverse.v[0];
    plain += parameter(p, p.gamma, c, 1) * sum;
    weighted += parameter(p, p.gamma, c, 1) * product;
    if (!group.writes()) return;
    if (p.given_mean) {
      *factor(p, kMean, group.sample, c) = of.mean.v[0];
      *factor(p, kScale, group.sample, c) = of.scale.v[0];
    }
    if (p.samples > 1) {
      *factor(p, kSum, group.sample, c) = sum;
      *factor(p, kProduct, group.sample, c) = product;
    } else {
      if (p.dgamma) store_element(p.dgamma, c, p.parameter_type, product);
      if (p.dbeta) store_element(p.dbeta, c, p.parameter_type, sum);
    }
  });
  const float count = static_cast<float>(p.rows) * static_cast<float>(p.each);
  plain = group.of_channels(plain) / count;
  weighted = group.of_channels(weighted) / count;
  if (!group.writes()) return;
  group.each([&](int c) {
    const float inverse = Statistics<1>(p, group.sample, c).inverse.v[0];
    *factor(p, kSlope, group.sample, c) = -inverse * inverse * weighted;
    *factor(p, kOffset, group.sample, c) = -inverse * plain;
  });
}

// y and dx of a strip's piece.
template <int lanes>
__device__ inline void apply(const Params& p) {
  using Block = Strip<lanes>;
  const Block strip(p);
  if (!strip.inside) return;
  const auto mean = factors<lanes>(p, kMean, strip.sample, strip.channel);
  const auto scale = factors<lanes>(p, kScale, strip.sample, strip.channel);
  const auto shift = parameters<lanes>(p, p.beta, strip.channel, 0);
  of_type(p.type, [&]<DataType type>() {
#pragma unroll 1
    for (int i = 0; i < Block::kRows && strip.row(i) < strip.rows; i += Block::kAtOnce) {
      Pack<lanes> x[Block::kAtOnce], residual[Block::kAtOnce] = {};
      strip.template read<type>(p.x, i, x);
      if (p.residual) strip.template read<type>(p.residual, i, residual);
#pragma unroll
      for (int k = 0; k < Block::kAtOnce; ++k)
#pragma unroll
        for (int l = 0; l < lanes; ++l) {
          const float y = affine(x[k].v[l], mean.v[l], scale.v[l], shift.v[l]);
          x[k].v[l] = clipped(p.residual ? y + residual[k].v[l] : y, p.clip);
        }
      strip.template write<type>(p.y, i, x);
    }
  });
}
template <int lanes>
__device__ inline void grad(const Params& p) {
  using Block = Strip<lanes>;
  const Block strip(p);
  if (!strip.inside) return;
  const auto mean = factors<lanes>(p, kMean, strip.sample, strip.channel);
  const auto scale = factors<lanes>(p, kScale, strip.sample, strip.channel);
  const auto slope = factors<lanes>(p, kSlope, strip.sample, strip.channel);
  const auto offset = factors<lanes>(p, kOffset, strip.sample, strip.channel);
  const auto shift = parameters<lanes>(p, p.beta, strip.channel, 0);
  of_type(p.type, [&]<DataType type>() {
#pragma unroll 1
    for (int i = 0; i < Block::kRows && strip.row(i) < strip.rows; i += Block::kAtOnce) {
      Pack<lanes> ct[Block::kAtOnce], x[Block::kAtOnce];
      strip.template read<type>(p.ct, i, ct);
      strip.template read<type>(p.x, i, x);
#pragma unroll
      for (int k = 0; k < Block::kAtOnce; ++k)
#pragma unroll
        for (int l = 0; l < lanes; ++l) {
          const float y = affine(x[k].v[l], mean.v[l], scale.v[l], shift.v[l]);
          const float passes = passed(ct[k].v[l], y, p.clip);
          x[k].v[l] = fmaf(passes, scale.v[l], fmaf(x[k].v[l] - mean.v[l], slope.v[l], offset.v[l]));
        }
      strip.template write<type>(p.dx, i, x);
    }
  });
}

}  // namespace

// A multiprocessor holds so many blocks at least: unless told, ptxas spills to make room for one more.
constexpr int kBlocks = 2;

#define KERNEL(name) \
  extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) norm_##name(const __grid_constant__ Params p)

KERNEL(statistics_1) { statistics<1>(p); }
KERNEL(statistics_4) { statistics<4>(p); }
KERNEL(sums_by_channel_1) { sums<false, 1>(p); }
KERNEL(sums_by_channel_4) { sums<false, 4>(p); }
KERNEL(sums_by_row_1) { sums<true, 1>(p); }
KERNEL(sums_by_row_4) { sums<true, 4>(p); }
KERNEL(merge) { merge<false>(p); }
KERNEL(merge_wide) { merge<true>(p); }
KERNEL(slopes) { slopes<false>(p); }
KERNEL(slopes_wide) { slopes<true>(p); }

// Statistics that are given, as merge() leaves its own.
KERNEL(given) {
  const int c = blockIdx.x * kThreads + threadIdx.x;
  if (c >= p.channels) return;
  const Statistics<1> of(p, 0, c);
  *factor(p, kMean, 0, c) = of.mean.v[0];
  *factor(p, kScale, 0, c) = of.scale.v[0];
}

KERNEL(apply_1) { apply<1>(p); }
KERNEL(apply_4) { apply<4>(p); }
KERNEL(grad_1) { grad<1>(p); }
KERNEL(grad_4) { grad<4>(p); }

// Gradients of the parameters: sums over samples, or over the pieces of rows. 32 channels, 8 threads for each.
KERNEL(parameters) {
  constexpr int kDown = kThreads / 32;
  __shared__ float joints[2][kDown][32];
  const int across = threadIdx.x % 32, down = threadIdx.x / 32, c = blockIdx.x * 32 + across;
  const float* sums = p.factors ? factor(p, kSum, 0, 0) : p.parts;
  const int64_t products = p.factors ? int64_t{p.samples} * p.channels : p.channels;  // further on
  const int64_t apart = p.factors ? p.channels : 2 * int64_t{p.channels};
  const int count = p.factors ? p.samples : p.pieces;
  float sum = 0, product = 0;
  if (c < p.channels)
#pragma unroll 4
    for (int i = down; i < count; i += kDown) {
      sum += sums[i * apart + c];
      product += sums[i * apart + products + c];
    }
  joints[0][down][across] = sum;
  joints[1][down][across] = product;
  __syncthreads();
  if (down > 0 || c >= p.channels) return;
  for (int d = 1; d < kDown; ++d) {
    sum += joints[0][d][across];
    product += joints[1][d][across];
  }
  if (p.dgamma) store_element(p.dgamma, c, p.parameter_type, product);
  if (p.dbeta) store_element(p.dbeta, c, p.parameter_type, sum);
}

}  // namespace native::cuda::norm
