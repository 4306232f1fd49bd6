// Max and average pooling and their gradients: a thread for each result, some neighbouring channels of a
// pixel. A gradient's thread visits the windows that hold its pixel, in their order: no sum depends on timing.
#include "kernels/pack.cuh"
#include "kernels/pool/params.h"

namespace native::cuda::pooling {
namespace {

// Where a result is: image, place, and pack of channels.
struct At {
  int n, place[3], channel;
};
__device__ inline At at(const Params& p, int pack) {
  At r;
  r.channel = pack;
  r.place[2] = divide(r.channel, p.by_channels);
  r.place[1] = divide(r.place[2], p.by[2]);
  r.place[0] = divide(r.place[1], p.by[1]);
  r.n = divide(r.place[0], p.by[0]);
  return r;
}
__device__ inline int64_t pack_of(const Params& p, const int (&size)[3], const At& r, int a, int b, int c) {
  return ((static_cast<int64_t>(r.n) * size[0] + a) * size[1] + b) * size[2] * p.channels +
         static_cast<int64_t>(c) * p.channels + r.channel;
}

struct Range {
  int first, last;  // without it
};
// What a window holds of the array, and the windows that hold a pixel.
__device__ inline Range taps(const Params& p, int d, int position) {
  const int first = position * p.stride[d] - p.low[d];
  return {max(first, 0), min(first + p.window[d], p.size[d])};
}
__device__ inline Range windows(const Params& p, int d, int pixel) {
  const int last = pixel + p.low[d], beyond = last - p.window[d];  // the latest window's begin, and one too early
  return {beyond < 0 ? 0 : beyond / p.stride[d] + 1, min(last / p.stride[d] + 1, p.positions[d])};
}

// Calls f(pack) for each place within ranges of the three dimensions, in order, until it says that this is all.
template <class RangeOf, class F>
__device__ inline void each(const Params& p, const int (&size)[3], const At& r, const RangeOf& range, const F& f) {
  const Range over_a = range(0), over_b = range(1), over_c = range(2);
  for (int a = over_a.first; a < over_a.last; ++a)
    for (int b = over_b.first; b < over_b.last; ++b)
      for (int c = over_c.first; c < over_c.last; ++c)
        if (f(pack_of(p, size, r, a, b, c), a, b, c)) return;
}
template <class F>
__device__ inline void each_tap(const Params& p, const At& r, int a, int b, int c, const F& f) {
  const int position[3] = {a, b, c};
  each(p, p.size, r, [&](int d) { return taps(p, d, position[d]); }, f);
}
template <class F>
__device__ inline void each_window(const Params& p, const At& r, const F& f) {
  each(p, p.positions, r, [&](int d) { return windows(p, d, r.place[d]); }, f);
}

// What the sum of a window is divided by; one that lies in the padding altogether has sum 0.
__device__ inline float count(const Params& p, int a, int b, int c) {
  if (p.count_padding) return static_cast<float>(p.window[0] * p.window[1] * p.window[2]);
  const Range x = taps(p, 0, a), y = taps(p, 1, b), z = taps(p, 2, c);
  return static_cast<float>(max((x.last - x.first) * (y.last - y.first) * (z.last - z.first), 1));
}

// Whether x is where its window's maximum comes from.
__device__ inline bool same(float x, float y) { return x == y || (x != x && y != y); }

struct Maximum {
  template <int lanes>
  __device__ static Pack<lanes> run(const Params& p, const At& r, int) {
    Pack<lanes> best;
    for (float& v : best.v) v = -INFINITY;
    each_tap(p, r, r.place[0], r.place[1], r.place[2], [&](int64_t from, int, int, int) {
      const Pack<lanes> x = load_pack<lanes>(p.a, from, p.type);
#pragma unroll
      for (int i = 0; i < lanes; ++i)
        if (!(best.v[i] > x.v[i] || best.v[i] != best.v[i])) best.v[i] = x.v[i];
      return false;
    });
    return best;
  }
};

struct Average {
  template <int lanes>
  __device__ static Pack<lanes> run(const Params& p, const At& r, int) {
    Pack<lanes> sum{};
    each_tap(p, r, r.place[0], r.place[1], r.place[2], [&](int64_t from, int, int, int) {
      const Pack<lanes> x = load_pack<lanes>(p.a, from, p.type);
#pragma unroll
      for (int i = 0; i < lanes; ++i) sum.v[i] += x.v[i];
      return false;
    });
    const float divisor = count(p, r.place[0], r.place[1], r.place[2]);
    for (float& v : sum.v) v /= divisor;
    return sum;
  }
};

// The number of a place in a window, among all that it would hold without an edge.
__device__ inline uint16_t number(const Params& p, const int (&window)[3], const int (&place)[3]) {
  int n = 0;
#pragma unroll
  for (int d = 0; d < 3; ++d) n = n * p.window[d] + place[d] - (window[d] * p.stride[d] - p.low[d]);
  return static_cast<uint16_t>(n);
}

// Numbers of neighbouring channels, of a byte each.
template <int lanes>
__device__ inline void load_places(const void* places, int64_t pack, uint8_t (&of)[lanes]) {
  if constexpr (lanes == 1) {
    of[0] = static_cast<const uint8_t*>(places)[pack];
  } else {
    const uint32_t bits = static_cast<const uint32_t*>(places)[pack];
#pragma unroll
    for (int i = 0; i < lanes; ++i) of[i] = static_cast<uint8_t>(bits >> 8 * i);
  }
}
template <int lanes>
__device__ inline void store_places(uint8_t* places, int64_t pack, const uint8_t (&of)[lanes]) {
  if constexpr (lanes == 1)
    places[pack] = of[0];
  else
    reinterpret_cast<uint32_t*>(places)[pack] = of[0] | static_cast<uint32_t>(of[1]) << 8 |
                                                static_cast<uint32_t>(of[2]) << 16 | static_cast<uint32_t>(of[3]) << 24;
}

// The maximum, and which place of its window it was first.
struct MaximumPlaces {
  template <int lanes>
  __device__ static Pack<lanes> run(const Params& p, const At& r, int pack) {
    Pack<lanes> best;
    uint8_t found[lanes];
    for (float& v : best.v) v = -INFINITY;
    for (uint8_t& f : found) f = kNoPlace;
    each_tap(p, r, r.place[0], r.place[1], r.place[2], [&](int64_t from, int a, int b, int c) {
      const Pack<lanes> x = load_pack<lanes>(p.a, from, p.type);
      const auto here = static_cast<uint8_t>(number(p, r.place, {a, b, c}));
#pragma unroll
      for (int i = 0; i < lanes; ++i) {
        const bool known = best.v[i] != best.v[i];
        if (!known && (found[i] == kNoPlace || x.v[i] > best.v[i] || x.v[i] != x.v[i])) found[i] = here;
        if (!(best.v[i] > x.v[i] || known)) best.v[i] = x.v[i];
      }
      return false;
    });
    store_places<lanes>(p.places, pack, found);
    return best;
  }
};

// Operands: places and cotangents.
struct MaximumScatter {
  template <int lanes>
  __device__ static Pack<lanes> run(const Params& p, const At& r, int) {
    Pack<lanes> sum{};
    each_window(p, r, [&](int64_t window, int a, int b, int c) {
      const uint16_t here = number(p, {a, b, c}, r.place);
      const Pack<lanes> ct = load_pack<lanes>(p.b, window, p.type);
      uint8_t of[lanes];
      load_places<lanes>(p.a, window, of);
#pragma unroll
      for (int i = 0; i < lanes; ++i) sum.v[i] += of[i] == here ? ct.v[i] : 0;
      return false;
    });
    return sum;
  }
};

// Operands: x and its maxima. To `numbers`: where each window's first largest is.
template <int lanes>
__device__ inline void find(const Params& p) {
  const int64_t pack = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (pack >= p.packs) return;
  const At r = at(p, static_cast<int>(pack));
  const Pack<lanes> y = load_pack<lanes>(p.b, pack, p.type);
  uint16_t found[lanes];
#pragma unroll
  for (int i = 0; i < lanes; ++i) found[i] = kNowhere;
  each_tap(p, r, r.place[0], r.place[1], r.place[2], [&](int64_t from, int a, int b, int c) {
    const Pack<lanes> x = load_pack<lanes>(p.a, from, p.type);
    const uint16_t here = number(p, r.place, {a, b, c});
#pragma unroll
    for (int i = 0; i < lanes; ++i)
      if (found[i] == kNowhere && same(x.v[i], y.v[i])) found[i] = here;
    return false;
  });
  if constexpr (lanes == 1)
    p.numbers[pack] = found[0];
  else
    reinterpret_cast<uint2*>(p.numbers)[pack] = {found[0] | static_cast<uint32_t>(found[1]) << 16,
                                                 found[2] | static_cast<uint32_t>(found[3]) << 16};
}

// A window's cotangent goes where its first largest is.
struct MaximumGrad {
  template <int lanes>
  __device__ static Pack<lanes> run(const Params& p, const At& r, int) {
    Pack<lanes> sum{};
    each_window(p, r, [&](int64_t window, int a, int b, int c) {
      const uint16_t here = number(p, {a, b, c}, r.place);
      const Pack<lanes> ct = load_pack<lanes>(p.c, window, p.type);
      uint16_t of[lanes];
      if constexpr (lanes == 1) {
        of[0] = p.numbers[window];
      } else {
        const uint2 bits = reinterpret_cast<const uint2*>(p.numbers)[window];
#pragma unroll
        for (int i = 0; i < lanes; ++i) of[i] = static_cast<uint16_t>((i < 2 ? bits.x : bits.y) >> i % 2 * 16);
      }
#pragma unroll
      for (int i = 0; i < lanes; ++i) sum.v[i] += of[i] == here ? ct.v[i] : 0;
      return false;
    });
    return sum;
  }
};

// Operands: x, its maxima, values of x's shape, of which each window's first largest is taken.
struct MaximumSelect {
  template <int lanes>
  __device__ static Pack<lanes> run(const Params& p, const At& r, int pack) {
    const Pack<lanes> y = load_pack<lanes>(p.b, pack, p.type);
    Pack<lanes> result{};
    bool open[lanes];
    for (bool& o : open) o = true;
    each_tap(p, r, r.place[0], r.place[1], r.place[2], [&](int64_t from, int, int, int) {
      const Pack<lanes> x = load_pack<lanes>(p.a, from, p.type);
      bool hit[lanes], any = false, left = false;
#pragma unroll
      for (int i = 0; i < lanes; ++i) any |= hit[i] = open[i] && same(x.v[i], y.v[i]);
      if (!any) return false;
      const Pack<lanes> value = load_pack<lanes>(p.c, from, p.type);
#pragma unroll
      for (int i = 0; i < lanes; ++i) {
        if (hit[i]) result.v[i] = value.v[i];
        left |= open[i] &= !hit[i];
      }
      return !left;
    });
    return result;
  }
};

struct AverageGrad {
  template <int lanes>
  __device__ static Pack<lanes> run(const Params& p, const At& r, int) {
    Pack<lanes> sum{};
    each_window(p, r, [&](int64_t window, int a, int b, int c) {
      const Pack<lanes> ct = load_pack<lanes>(p.a, window, p.type);
      const float divisor = count(p, a, b, c);
#pragma unroll
      for (int i = 0; i < lanes; ++i) sum.v[i] += ct.v[i] / divisor;
      return false;
    });
    return sum;
  }
};

template <class Task, int lanes>
__device__ inline void run(const Params& p) {
  const int64_t pack = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (pack >= p.packs) return;
  const int i = static_cast<int>(pack);
  store_pack<lanes>(p.out, i, p.type, Task::template run<lanes>(p, at(p, i), i));
}

}  // namespace

// A multiprocessor holds so many blocks at least: unless told, ptxas spills to make room for one more.
constexpr int kBlocks = 3;

#define KERNEL(Task, name, lanes)                                                                                    \
  extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) name##_##lanes(const __grid_constant__ Params p) { \
    run<Task, lanes>(p);                                                                                             \
  }
#define KERNELS(Task, name) \
  KERNEL(Task, name, 1)     \
  KERNEL(Task, name, 4)

extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) max_pool_find_1(const __grid_constant__ Params p) {
  find<1>(p);
}
extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) max_pool_find_4(const __grid_constant__ Params p) {
  find<4>(p);
}
KERNELS(Maximum, max_pool)
KERNELS(MaximumPlaces, max_pool_places)
KERNELS(MaximumScatter, max_pool_scatter)
KERNELS(MaximumGrad, max_pool_grad)
KERNELS(MaximumSelect, max_pool_select)
KERNELS(Average, avg_pool)
KERNELS(AverageGrad, avg_pool_grad)

}  // namespace native::cuda::pooling
