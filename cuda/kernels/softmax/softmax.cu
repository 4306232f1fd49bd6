// Softmax, its logarithm and the cross-entropies with their gradients: a warp or a block for each row.
#include "kernels/elements.cuh"
#include "kernels/pack.cuh"
#include "kernels/softmax/params.h"

namespace native::cuda::softmax {
namespace {

// The thread's share of a row.
template <Share share>
struct Row {
  static constexpr int kLanes = share.lanes, kPacks = share.packs;
  static constexpr bool kHolds = kPacks > 0;
  const Params& p;
  const int lane;  // of the threads of the row
  int64_t index, base;
  bool inside;
  float* joints;

  // One of the thread's elements: its pack, its lane there, and its number in the row.
  struct At {
    int pack, lane, i;
  };

  __device__ Row(const Params& params, float* shared)
      : p(params), lane(group() == kWarp ? threadIdx.x % kWarp : threadIdx.x), joints(shared) {
    index = group() == kWarp ? blockIdx.x * int64_t{kRows} + threadIdx.x / kWarp : blockIdx.x;
    inside = index < p.rows;
    if (!inside) index = 0;  // goes on with another's row and writes nothing: all lanes shuffle
    // Packs are of rows that are contiguous.
    base = kLanes > 1 ? index * p.n : index / p.inner * p.n * p.inner + index % p.inner;
  }

  __device__ int group() const { return share.group ? share.group : p.group; }
  __device__ float load(const void* data, int i) const { return load_element(data, base + i * p.inner, p.type); }
  __device__ void store_result(float value) const {
    if (inside && lane == 0) store_element(p.out, index, p.type, value);
  }
  __device__ int first(int pack) const { return (pack * group() + lane) * kLanes; }

  // An operand of the row: held, or read where it is used.
  struct Values {
    const Row& row;
    const void* data;
    Pack<kLanes> held[kHolds ? kPacks : 1];

    // Elements beyond the row's end are as `beyond`.
    __device__ Values(const Row& row, const void* data, float beyond) : row(row), data(data) {
      if constexpr (kHolds) {
#pragma unroll
        for (int k = 0; k < kPacks; ++k)
#pragma unroll
          for (int l = 0; l < kLanes; ++l) held[k].v[l] = beyond;
        if (row.p.type == DataType::F32)
          read<DataType::F32>();
        else if (row.p.type == DataType::F16)
          read<DataType::F16>();
        else
          read<DataType::BF16>();
      }
    }
    // All loads are under way before the first is waited for: the type is asked once.
    template <DataType type>
    __device__ void read() {
#pragma unroll
      for (int k = 0; k < kPacks; ++k)
        if (const int i = row.first(k); i < row.p.n) {
          if constexpr (kLanes == 1)
            held[k].v[0] = load_element(data, row.base + i * row.p.inner, type);
          else
            held[k] = load_four(data, (row.base + i) / 4, type);
        }
    }
    __device__ float operator[](const At& at) const {
      if constexpr (kHolds)
        return held[at.pack].v[at.lane];
      else
        return row.load(data, at.i);
    }
    // Held values for later; what is not held is computed again.
    template <class F>
    __device__ void replace(const F& f) {
      if constexpr (kHolds) row.each([&](const At& at) { held[at.pack].v[at.lane] = f(held[at.pack].v[at.lane]); });
    }
  };

  // f of all of the thread's elements, those it holds beyond the end among them.
  template <class F>
  __device__ void each(const F& f) const {
    if constexpr (kHolds) {
#pragma unroll
      for (int k = 0; k < kPacks; ++k)
#pragma unroll
        for (int l = 0; l < kLanes; ++l) f(At{k, l, first(k) + l});
    } else {
      for (int i = lane; i < p.n; i += group()) f(At{0, 0, i});
    }
  }
  template <class Op, class F>
  __device__ float join(const F& f) const {
    float value = Op::template identity<float>();
    each([&](const At& at) { value = Op::join(value, f(at)); });
    if constexpr (share.group != 0) return join_group<Op, share.group>(value, joints);
    value = join_group<Op, kWarp>(value, joints);
    const int warps = group() / kWarp;  // a power of 2
    if (warps > 1) {
      if (lane % kWarp == 0) joints[lane / kWarp] = value;
      __syncthreads();
      value = joints[lane % warps];
      for (int by = warps / 2; by; by /= 2) value = Op::join(value, __shfl_xor_sync(0xFFFFFFFFu, value, by));
      __syncthreads();
    }
    return value;
  }
  // Writes f of each element, which is computed once and not for each type, and not beyond the row's end.
  template <class F>
  __device__ void store(const F& f) const {
    if (!inside) return;
    if constexpr (kHolds) {
      Pack<kLanes> y[kPacks];
#pragma unroll
      for (int k = 0; k < kPacks; ++k) {
        if (first(k) >= p.n) break;
#pragma unroll
        for (int l = 0; l < kLanes; ++l) y[k].v[l] = f(At{k, l, first(k) + l});
      }
      if (p.type == DataType::F32)
        write<DataType::F32>(y);
      else if (p.type == DataType::F16)
        write<DataType::F16>(y);
      else
        write<DataType::BF16>(y);
    } else {
      each([&](const At& at) { store_element(p.out, base + at.i * p.inner, p.type, f(at)); });
    }
  }
  template <DataType type>
  __device__ void write(const Pack<kLanes>* y) const {
#pragma unroll
    for (int k = 0; k < kPacks; ++k)
      if (const int i = first(k); i < p.n) {
        if constexpr (kLanes == 1)
          store_element(p.out, base + i * p.inner, type, y[k].v[0]);
        else
          store_four(p.out, (base + i) / 4, type, y[k]);
      }
  }

  // The largest x; sum of exp(x - largest).
  __device__ float2 peak_and_sum(const Values& x) const {
    const float peak = join<Maximum>([&](const At& at) { return x[at]; });
    return {peak, join<Sum>([&](const At& at) { return expf(x[at] - peak); })};
  }

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

// What a task does with a row; kHeld of its operands are held.
struct Softmax {
  static constexpr int kHeld = 1;
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    typename Row::Values x(row, p.a, -INFINITY);
    const float peak = row.template join<Maximum>([&](const auto& at) { return x[at]; });
    x.replace([&](float v) { return expf(v - peak); });
    auto power = [&](const auto& at) { return Row::kHolds ? x[at] : expf(x[at] - peak); };
    const float factor = 1 / row.template join<Sum>(power);
    row.store([&](const auto& at) { return power(at) * factor; });
  }
};
struct LogSoftmax {
  static constexpr int kHeld = 1;
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const typename Row::Values x(row, p.a, -INFINITY);
    const float2 s = row.peak_and_sum(x);
    const float log_sum = logf(s.y);
    row.store([&](const auto& at) { return x[at] - s.x - log_sum; });
  }
};
// Operands: cotangent, result.
struct SoftmaxGrad {
  static constexpr int kHeld = 2;
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const typename Row::Values ct(row, p.a, 0), y(row, p.b, 0);
    const float sum = row.template join<Sum>([&](const auto& at) { return ct[at] * y[at]; });
    row.store([&](const auto& at) { return y[at] * (ct[at] - sum); });
  }
};
struct LogSoftmaxGrad {
  static constexpr int kHeld = 2;
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const typename Row::Values ct(row, p.a, 0), y(row, p.b, 0);
    const float sum = row.template join<Sum>([&](const auto& at) { return ct[at]; });
    row.store([&](const auto& at) { return ct[at] - expf(y[at]) * sum; });
  }
};

// Operands: logits, labels. A label outside of the classes costs nothing.
struct LabelLoss {
  static constexpr int kHeld = 1;
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const float2 s = row.peak_and_sum({row, p.a, -INFINITY});
    const int label = row.label(p.b);
    row.store_result(label < 0 ? 0 : logf(s.y) - (row.load(p.a, label) - s.x));
  }
};
// Operands: cotangent, logits, labels.
struct LabelLossGrad {
  static constexpr int kHeld = 1;
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const typename Row::Values x(row, p.b, -INFINITY);
    const float2 s = row.peak_and_sum(x);
    const int label = row.label(p.c);
    const float ct = load_element(p.a, row.index, p.type);
    const float factor = 1 / s.y;
    if (label < 0) return row.store([](const auto&) { return 0.0f; });
    row.store([&](const auto& at) { return ct * (expf(x[at] - s.x) * factor - (at.i == label ? 1.0f : 0.0f)); });
  }
};

// Operands: logits, targets.
struct TargetLoss {
  static constexpr int kHeld = 2;
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const typename Row::Values x(row, p.a, -INFINITY), target(row, p.b, 0);
    const float2 s = row.peak_and_sum(x);
    const float log_sum = logf(s.y);
    row.store_result(row.template join<Sum>(
        [&](const auto& at) { return at.i < p.n ? target[at] * (log_sum - (x[at] - s.x)) : 0.0f; }));
  }
};
// Operands: cotangent, logits, targets.
struct TargetLossGrad {
  static constexpr int kHeld = 2;
  template <class Row>
  __device__ static void run(const Row& row, const Params& p) {
    const typename Row::Values x(row, p.b, -INFINITY), target(row, p.c, 0);
    const float2 s = row.peak_and_sum(x);
    const float mass = row.template join<Sum>([&](const auto& at) { return target[at]; });
    const float ct = load_element(p.a, row.index, p.type), factor = mass / s.y;
    row.store([&](const auto& at) { return ct * (expf(x[at] - s.x) * factor - target[at]); });
  }
};

template <class Task, Share share>
__device__ inline void run(const Params& p) {
  __shared__ float joints[32];
  Task::run(Row<share>(p, joints), p);
}

}  // namespace

// So many threads a multiprocessor has room for: more would spill what is held.
template <class Task, Share share>
constexpr int kResident = share.packs > 0 && (Task::kHeld * share.packs > 8 || share.lanes == 1) ? 512 : 1024;

// Of a block.
template <class Task, Share share>
constexpr int kMost = share.group ? threads_of_block(share.group) : kResident<Task, share>;

#define KERNEL(Task, name, share)                                                                                   \
  extern "C" __global__ void __launch_bounds__((kMost<Task, share>), (kResident<Task, share> / kMost<Task, share>)) \
      name(const __grid_constant__ Params p) {                                                                      \
    run<Task, share>(p);                                                                                            \
  }
#define KERNELS(Task, name)              \
  KERNEL(Task, name##_few, kFew)         \
  KERNEL(Task, name##_packs, kPacks)     \
  KERNEL(Task, name##_singles, kSingles) \
  KERNEL(Task, name##_any, kAny)

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
