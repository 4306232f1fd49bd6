// Softmax, its logarithm and the cross-entropies with their gradients: a warp or a block for each row.
#include "kernels/elements.cuh"
#include "kernels/softmax/params.h"

namespace native::cuda::softmax {
namespace {

// The thread's share of a row, seen through shared memory where it fits: each thread has its own elements
// there, so that nobody waits.
template <int group>
struct Row {
  const Params& p;
  int64_t index, base;
  bool inside;
  float* kept;
  float* joints;

  __device__ Row(const Params& params, float* shared) : p(params) {
    index = blockIdx.x * int64_t{kThreads / group} + threadIdx.x / group;
    inside = index < p.rows;
    if (!inside) index = 0;  // goes on with another's row and writes nothing: all lanes shuffle
    base = index / p.inner * p.n * p.inner + index % p.inner;
    joints = shared;
    kept = shared + kThreads / 32 + threadIdx.x / group * p.n;
  }

  __device__ float load(const void* data, int i) const { return load_element(data, base + i * p.inner, p.type); }
  __device__ void store(int64_t i, float value) const {
    if (inside) store_element(p.out, base + i * p.inner, p.type, value);
  }
  __device__ void store_result(float value) const {
    if (inside && threadIdx.x % group == 0) store_element(p.out, index, p.type, value);
  }

  template <class F>
  __device__ void each(const F& f) const {
    for (int i = threadIdx.x % group; i < p.n; i += group) f(i);
  }
  template <class Op, class F>
  __device__ float join(const F& f) const {
    float value = Op::template identity<float>();
    each([&](int i) { value = Op::join(value, f(i)); });
    return join_group<Op, group>(value, joints);
  }

  // Largest of x and sum of exp(x - largest); afterwards value(x, i) gives x from where it is kept.
  __device__ float2 peak_and_sum(const void* x) const {
    const float peak = join<Maximum>([&](int i) {
      const float v = load(x, i);
      if (p.kept) kept[i] = v;
      return v;
    });
    return {peak, join<Sum>([&](int i) { return expf(value(x, i) - peak); })};
  }
  __device__ float value(const void* x, int i) const { return p.kept ? kept[i] : load(x, i); }

  // The row's label; -1 if it is none of the classes.
  __device__ int label(const void* labels) const {
    int64_t v = 0;
    const bool minus = p.label_signed;
    switch (p.label_bytes) {
      case 1:
        v = minus ? static_cast<const int8_t*>(labels)[index] : static_cast<const uint8_t*>(labels)[index];
        break;
      case 2:
        v = minus ? static_cast<const int16_t*>(labels)[index] : static_cast<const uint16_t*>(labels)[index];
        break;
      case 4:
        v = minus ? static_cast<const int32_t*>(labels)[index]
                  : static_cast<int64_t>(static_cast<const uint32_t*>(labels)[index]);
        break;
      default:
        v = static_cast<const int64_t*>(labels)[index];  // beyond 2^63 an uint64 is outside all the same
    }
    return v >= 0 && v < p.n ? static_cast<int>(v) : -1;
  }
};

struct Softmax {
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const float2 s = row.peak_and_sum(p.a);
    row.each([&](int i) { row.store(i, expf(row.value(p.a, i) - s.x) / s.y); });
  }
};
struct LogSoftmax {
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const float2 s = row.peak_and_sum(p.a);
    const float log_sum = logf(s.y);
    row.each([&](int i) { row.store(i, row.value(p.a, i) - s.x - log_sum); });
  }
};
// Operands: cotangent, result.
struct SoftmaxGrad {
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const float sum = row.template join<Sum>([&](int i) { return row.load(p.a, i) * row.load(p.b, i); });
    row.each([&](int i) { row.store(i, row.load(p.b, i) * (row.load(p.a, i) - sum)); });
  }
};
struct LogSoftmaxGrad {
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const float sum = row.template join<Sum>([&](int i) { return row.load(p.a, i); });
    row.each([&](int i) { row.store(i, row.load(p.a, i) - expf(row.load(p.b, i)) * sum); });
  }
};

// Operands: logits, labels. A label outside of the classes costs nothing.
struct LabelLoss {
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const float2 s = row.peak_and_sum(p.a);
    const int label = row.label(p.b);
    row.store_result(label < 0 ? 0 : logf(s.y) - (row.load(p.a, label) - s.x));
  }
};
// Operands: cotangent, logits, labels.
struct LabelLossGrad {
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const float2 s = row.peak_and_sum(p.b);
    const int label = row.label(p.c);
    const float ct = load_element(p.a, row.index, p.type);
    if (label < 0) return row.each([&](int i) { row.store(i, 0); });
    row.each([&](int i) { row.store(i, ct * (expf(row.value(p.b, i) - s.x) / s.y - (i == label ? 1.0f : 0.0f))); });
  }
};

// Operands: logits, targets.
struct TargetLoss {
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const float2 s = row.peak_and_sum(p.a);
    const float log_sum = logf(s.y);
    row.store_result(
        row.template join<Sum>([&](int i) { return row.load(p.b, i) * (log_sum - (row.value(p.a, i) - s.x)); }));
  }
};
// Operands: cotangent, logits, targets.
struct TargetLossGrad {
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const float2 s = row.peak_and_sum(p.b);
    const float mass = row.template join<Sum>([&](int i) { return row.load(p.c, i); });
    const float ct = load_element(p.a, row.index, p.type);
    row.each([&](int i) { row.store(i, ct * (expf(row.value(p.b, i) - s.x) / s.y * mass - row.load(p.c, i))); });
  }
};

template <class Task, int group>
__device__ inline void run(const Params& p) {
  extern __shared__ float shared[];
  const Row<group> row(p, shared);
  Task::run(row, p);
}

}  // namespace

// A multiprocessor holds so many blocks at least: unless told, ptxas spills to make room for one more.
constexpr int kBlocks = 2;

#define KERNEL(Task, name, group)                                                                          \
  extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) name(const __grid_constant__ Params p) { \
    run<Task, group>(p);                                                                                   \
  }
#define KERNELS(Task, name)           \
  KERNEL(Task, name##_rows, kThreads) \
  KERNEL(Task, name##_short_rows, 32)

KERNELS(Softmax, softmax)
KERNELS(LogSoftmax, log_softmax)
KERNELS(SoftmaxGrad, softmax_grad)
KERNELS(LogSoftmaxGrad, log_softmax_grad)
KERNELS(LabelLoss, sparse_softmax_cross_entropy)
KERNELS(LabelLossGrad, sparse_softmax_cross_entropy_grad)
KERNELS(TargetLoss, softmax_cross_entropy)
KERNELS(TargetLossGrad, softmax_cross_entropy_grad)

// Binary cross-entropy of logits and targets, element by element.
extern "C" __global__ void __launch_bounds__(kThreads) sigmoid_cross_entropy(const __grid_constant__ Params p) {
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < p.rows; i += gridDim.x * int64_t{kThreads}) {
    const float x = load_element(p.a, i, p.type), t = load_element(p.b, i, p.type);
    store_element(p.out, i, p.type, (x > 0 || x != x ? x : 0) - x * t + log1pf(expf(-fabsf(x))));
  }
}

}  // namespace native::cuda::softmax
