// The primitives matmul and linear: batches, dtypes, and registration.
#include <algorithm>
#include <optional>
#include <string>

#include "kernels/gemm/gemm.h"
#include "runtime/pool.h"
#include "runtime/registry.h"

namespace native {
namespace {

using gemm::Activation;
using gemm::Epilogue;

struct Matrices {
  int64_t m, n, k;
  bool transpose_a, transpose_b;
  // For each product of the batch, which matrix of A and of B.
  std::vector<int64_t> index_a, index_b;
  int64_t batch;
};

// Index of the operand's matrix for every element of the broadcast batch.
std::vector<int64_t> broadcast_index(const Shape& operand, const Shape& out) {
  const size_t rank = out.size() - 2, own = operand.size() - 2;
  Shape strides(rank, 0);
  int64_t stride = 1;
  for (size_t d = own; d-- > 0;) {
    if (operand[d] != 1) strides[rank - own + d] = stride;
    stride *= operand[d];
  }
  std::vector<int64_t> index{0};
  for (size_t d = 0; d < rank; ++d) {
    std::vector<int64_t> next;
    next.reserve(index.size() * static_cast<size_t>(out[d]));
    for (int64_t base : index)
      for (int64_t i = 0; i < out[d]; ++i) next.push_back(base + i * strides[d]);
    index = std::move(next);
  }
  return index;
}

int64_t batch_of(const Shape& shape) {
  int64_t batch = 1;
  for (size_t d = 0; d + 2 < shape.size(); ++d) batch *= shape[d];
  return batch;
}

Matrices matrices(const Problem& problem) {
  const Shape &a = problem.in[0].shape, &b = problem.in[1].shape, &c = problem.out[0].shape;
  Matrices r{};
  r.transpose_a = problem.attrs.integer("transpose_a", 0) != 0;
  r.transpose_b = problem.attrs.integer("transpose_b", 0) != 0;
  r.m = c[c.size() - 2];
  r.n = c[c.size() - 1];
  r.k = r.transpose_a ? a[a.size() - 2] : a[a.size() - 1];
  r.batch = batch_of(c);
  if (batch_of(b) == 1 && !r.transpose_a && r.batch > 0 && batch_of(a) == r.batch) {
    // One B for all: the rows of all of A are rows of one product.
    r.m *= r.batch;
    r.batch = 1;
  }
  if (r.batch > 1) {
    r.index_a = broadcast_index(a, c);
    r.index_b = broadcast_index(b, c);
  }
  return r;
}

std::optional<Activation> activation_of(const std::string& name) {
  static const char* const names[] = {"none", "relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh"};
  for (int i = 0; i < 7; ++i)
    if (name == names[i]) return static_cast<Activation>(i);
  return std::nullopt;
}

template <class T>
const gemm::Kernels<T>& kernels() {
  if constexpr (std::is_same_v<T, float>)
    return gemm_table().f32;
  else
    return gemm_table().f64;
}

// Work of one product below which a batch is spread over threads product by product.
constexpr double kSmallProduct = 4e6;

template <class T>
class Matmul : public Kernel {
 public:
  Matmul(const Matrices& matrices, Activation activation, bool bias)
      : p_(matrices),
        kernels_(kernels<T>()),
        plan_(kernels_, p_.m, p_.n, p_.k, p_.transpose_a, p_.transpose_b),
        activation_(activation),
        bias_(bias) {
    work_ = static_cast<double>(p_.m) * static_cast<double>(p_.n) * static_cast<double>(p_.k);
    // About 0.5 M multiply-adds a task.
    group_ = std::max<int64_t>(1, static_cast<int64_t>(5e5 / std::max(1.0, work_)));
  }

  size_t scratch_bytes() const override { return spread() ? 0 : sizeof(T) * static_cast<size_t>(plan_.scratch_size()); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const T *a = static_cast<const T*>(in[0]), *b = static_cast<const T*>(in[1]);
    T* c = static_cast<T*>(out[0]);
    const Epilogue<T> epilogue{bias_ ? static_cast<const T*>(in[2]) : nullptr, activation_};
    if (p_.batch == 1) return plan_.run(a, b, c, epilogue, static_cast<T*>(scratch));
    const int64_t size_a = p_.m * p_.k, size_b = p_.k * p_.n, size_c = p_.m * p_.n;
    if (!spread()) {
      for (int64_t i = 0; i < p_.batch; ++i)
        plan_.run(a + p_.index_a[i] * size_a, b + p_.index_b[i] * size_b, c + i * size_c, epilogue,
                  static_cast<T*>(scratch));
      return;
    }
    const int64_t row_a = p_.transpose_a ? 1 : p_.k, column_a = p_.transpose_a ? p_.m : 1;
    const int64_t row_b = p_.transpose_b ? 1 : p_.n, column_b = p_.transpose_b ? p_.k : 1;
    const size_t bytes = sizeof(T) * static_cast<size_t>(gemm::block_scratch_size(kernels_, p_.k, p_.n));
    pool::parallel_for((p_.batch + group_ - 1) / group_, [&](int64_t task) {
      T* const own = static_cast<T*>(pool::thread_scratch(bytes));
      for (int64_t i = task * group_; i < std::min(p_.batch, (task + 1) * group_); ++i)
        gemm::block<T>(kernels_, p_.m, p_.n, p_.k, {a + p_.index_a[i] * size_a, row_a, column_a},
                       {b + p_.index_b[i] * size_b, row_b, column_b}, c + i * size_c, p_.n, false, epilogue, own);
    });
  }

 private:
  bool spread() const { return p_.batch > 1 && work_ < kSmallProduct; }

  const Matrices p_;
  const gemm::Kernels<T>& kernels_;
  const gemm::Plan<T> plan_;
  const Activation activation_;
  const bool bias_;
  double work_;
  int64_t group_;
};

bool same_dtype(const Problem& problem) {
  for (const Spec& spec : problem.in)
    if (spec.dtype != problem.out[0].dtype) return false;
  return true;
}

std::unique_ptr<Kernel> prepare_matmul(const Problem& problem) {
  if (!same_dtype(problem)) return nullptr;
  switch (problem.out[0].dtype) {
    case DType::F32:
      return std::make_unique<Matmul<float>>(matrices(problem), Activation::None, false);
    case DType::F64:
      return std::make_unique<Matmul<double>>(matrices(problem), Activation::None, false);
    default:
      return nullptr;
  }
}

std::unique_ptr<Kernel> prepare_linear(const Problem& problem) {
  const auto activation = activation_of(problem.attrs.text("activation", "none"));
  if (!same_dtype(problem) || !activation) return nullptr;
  if (*activation != Activation::None && *activation != Activation::Relu) return nullptr;
  const Shape& out = problem.out[0].shape;
  Matrices r{};
  r.batch = 1;
  r.n = out.back();
  r.m = 1;
  for (size_t d = 0; d + 1 < out.size(); ++d) r.m *= out[d];
  r.k = problem.in[0].shape.back();
  r.transpose_b = problem.attrs.integer("transpose_w", 0) != 0;
  const bool bias = problem.in.size() == 3;
  switch (problem.out[0].dtype) {
    case DType::F32:
      return std::make_unique<Matmul<float>>(r, *activation, bias);
    case DType::F64:
      return std::make_unique<Matmul<double>>(r, *activation, bias);
    default:
      return nullptr;
  }
}

const Register r_matmul{"matmul", "gemm", 10, prepare_matmul};
const Register r_linear{"linear", "gemm", 10, prepare_linear};

}  // namespace
}  // namespace native
