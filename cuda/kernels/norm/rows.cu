// Layer and RMS norm: a warp or a block for each row.
#include "kernels/elements.cuh"
#include "kernels/norm/params.h"

namespace native::cuda::norm {
namespace {

// The thread's share of a row.
template <int group>
struct Row {
  const Params& p;
  int64_t index, base;
  bool inside;
  float *joints, *kept;
  float mean, inverse;

  __device__ Row(const Params& params, float* shared) : p(params) {
    index = blockIdx.x * int64_t{kThreads / group} + threadIdx.x / group;
    inside = index < p.rows;
    if (!inside) index = 0;  // goes on with another's row and writes nothing: all lanes shuffle
    base = index * p.channels;
    joints = shared;
    kept = shared + kThreads / 32 + threadIdx.x / group * p.channels;
    const float count = static_cast<float>(p.channels);
    mean = sum([&](int i) {
      const float v = load_element(p.x, base + i, p.type);
      if (p.kept) kept[i] = v;
      return v;
    });
    mean = p.centred ? mean / count : 0;
    const float squares = sum([&](int i) { return (x(i) - mean) * (x(i) - mean); });
    inverse = 1 / sqrtf(squares / count + p.eps);
  }

  // Each thread reads what it kept itself, so that nobody waits.
  __device__ float x(int i) const { return p.kept ? kept[i] : load_element(p.x, base + i, p.type); }
  __device__ float normal(int i) const { return (x(i) - mean) * inverse; }
  __device__ float gamma(int i) const { return p.gamma ? load_element(p.gamma, i, p.parameter_type) : 1; }

  template <class F>
  __device__ float sum(const F& f) const {
    float value = 0;
    for (int i = threadIdx.x % group; i < p.channels; i += group) value += f(i);
    return join_group<Sum, group>(value, joints);
  }
  template <class F>
  __device__ void store(void* to, const F& f) const {
    if (inside)
      for (int i = threadIdx.x % group; i < p.channels; i += group) store_element(to, base + i, p.type, f(i));
  }
};

template <int group>
__device__ inline void forward(const Params& p) {
  extern __shared__ float shared[];
  const Row<group> row(p, shared);
  row.store(p.y, [&](int i) {
    return row.normal(i) * row.gamma(i) + (p.beta ? load_element(p.beta, i, p.parameter_type) : 0);
  });
}

template <int group>
__device__ inline void backward(const Params& p) {
  extern __shared__ float shared[];
  const Row<group> row(p, shared);
  const float count = static_cast<float>(p.channels);
  auto slope = [&](int i) { return load_element(p.ct, row.base + i, p.type) * row.gamma(i); };
  const float product = row.sum([&](int i) { return slope(i) * row.normal(i); }) / count;
  const float plain = p.centred ? row.sum(slope) / count : 0;
  row.store(p.dx, [&](int i) { return row.inverse * (slope(i) - row.normal(i) * product - plain); });
  if (row.inside && threadIdx.x % group == 0) {
    p.row_statistics[row.index] = row.mean;
    p.row_statistics[p.rows + row.index] = row.inverse;
  }
}

}  // namespace

#define KERNEL(name, call) \
  extern "C" __global__ void __launch_bounds__(kThreads, 2) norm_##name(const __grid_constant__ Params p) { call(p); }

KERNEL(rows, forward<kThreads>)
KERNEL(short_rows, forward<32>)
KERNEL(grad_rows, backward<kThreads>)
KERNEL(grad_short_rows, backward<32>)

}  // namespace native::cuda::norm
