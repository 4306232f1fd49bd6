// The primitives matmul and linear: batches, dtypes, and registration.
#include <algorithm>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/problem.h"
#include "runtime/pool.h"
#include "runtime/registry.h"

namespace native {
namespace {

using gemm::Epilogue;
using gemm::Matrices;

// Multiply-adds of one product below which a batch is spread over threads product by product: always, or
// where there are enough products to keep 16 threads busy.
constexpr double kSmallProduct = 4e6, kMediumProduct = 1e8;
constexpr int64_t kManyProducts = 16;

template <class T>
class Matmul : public Kernel {
 public:
  Matmul(const Matrices& matrices, Activation activation, bool bias, std::optional<gemm::Path> path = {})
      : p_(matrices),
        kernels_(gemm::kernels_of<T>()),
        plan_(kernels_, p_.m, p_.n, p_.k, p_.transpose_a, p_.transpose_b ? gemm::Form::Columns : gemm::Form::Rows,
              path),
        activation_(activation),
        bias_(bias),
        far_(is_far(p_.batch * p_.m * p_.n * static_cast<int64_t>(sizeof(T)))) {
    work_ = static_cast<double>(p_.m) * static_cast<double>(p_.n) * static_cast<double>(p_.k);
    // About 0.5 M multiply-adds a task.
    group_ = std::max<int64_t>(1, static_cast<int64_t>(5e5 / std::max(1.0, work_)));
  }

  size_t scratch_bytes() const override { return spread() ? 0 : sizeof(T) * static_cast<size_t>(plan_.scratch_size()); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const T *a = static_cast<const T*>(in[0]), *b = static_cast<const T*>(in[1]);
    T* c = static_cast<T*>(out[0]);
    Epilogue<T> epilogue = this->epilogue(in);
    epilogue.past = far_;
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

  std::optional<uint64_t> by_rows(int64_t rows) const override {
    return p_.batch == 1 && rows == p_.m && plan_.by_rows() ? std::optional<uint64_t>(1) : std::nullopt;
  }
  void run_rows(const void* const* in, void* const* out, const RowRange& range) const override {
    plan_.run_rows(static_cast<const T*>(in[0]), static_cast<const T*>(in[1]), static_cast<T*>(out[0]), epilogue(in),
                   range.first, range.count);
  }

 private:
  Epilogue<T> epilogue(const void* const* in) const {
    return {bias_ ? static_cast<const T*>(in[2]) : nullptr, activation_};
  }
  bool spread() const { return p_.batch > 1 && work_ < (p_.batch >= kManyProducts ? kMediumProduct : kSmallProduct); }

  const Matrices p_;
  const gemm::Kernels<T>& kernels_;
  const gemm::Plan<T> plan_;
  const Activation activation_;
  const bool bias_, far_;
  double work_;
  int64_t group_;
};

// Half precision: operands are widened once, the product is that of float32, and the result is rounded once.
class HalfMatmul : public Kernel {
 public:
  HalfMatmul(const Problem& problem, const Matrices& matrices, Activation activation, bool bias)
      : product_(matrices, activation, bias) {
    const bool brain = problem.in[0].dtype == DType::BF16;
    const gemm::VectorTable& table = gemm_vector_table();
    widen_ = brain ? table.widen_bf16 : table.widen_f16;
    if (problem.out[0].dtype != DType::F32) narrow_ = brain ? table.narrow_bf16 : table.narrow_f16;
    for (const Spec& spec : problem.in) counts_.push_back(spec.count());
    out_count_ = problem.out[0].count();
  }

  size_t scratch_bytes() const override {
    int64_t elements = narrow_ ? padded(out_count_) : 0;
    for (int64_t count : counts_) elements += padded(count);
    return sizeof(float) * static_cast<size_t>(elements) + product_.scratch_bytes();
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    float* next = static_cast<float*>(scratch);
    const void* wide[3] = {};
    for (size_t i = 0; i < counts_.size(); ++i) {
      const uint16_t* from = static_cast<const uint16_t*>(in[i]);
      float* const to = next;
      pieces(counts_[i], [&](int64_t start, int64_t count) { widen_(from + start, to + start, count); });
      wide[i] = to;
      next += padded(counts_[i]);
    }
    if (!narrow_) return product_.run(wide, out, next);
    void* results[1] = {next};
    product_.run(wide, results, next + padded(out_count_));
    uint16_t* const to = static_cast<uint16_t*>(out[0]);
    pieces(out_count_, [&](int64_t start, int64_t count) { narrow_(next + start, to + start, count); });
  }

 private:
  static int64_t padded(int64_t count) { return (count + 15) / 16 * 16; }
  template <class F>
  static void pieces(int64_t count, const F& body) {
    constexpr int64_t kPiece = 1 << 16;
    pool::parallel_for((count + kPiece - 1) / kPiece,
                       [&](int64_t task) { body(task * kPiece, std::min(kPiece, count - task * kPiece)); });
  }

  const Matmul<float> product_;
  void (*widen_)(const uint16_t*, float*, int64_t);
  void (*narrow_)(const float*, uint16_t*, int64_t) = nullptr;
  std::vector<int64_t> counts_;
  int64_t out_count_;
};

template <class In, class Out>
class IntegerMatmul : public Kernel {
 public:
  IntegerMatmul(const Matrices& matrices, gemm::IntegerProduct<In, Out> product) : p_(matrices), product_(product) {}

  void run(const void* const* in, void* const* out, void*) const override {
    const In *a = static_cast<const In*>(in[0]), *b = static_cast<const In*>(in[1]);
    Out* c = static_cast<Out*>(out[0]);
    const int64_t rows = std::max<int64_t>(1, (1 << 20) / std::max<int64_t>(1, p_.n * p_.k));
    const int64_t each = (p_.m + rows - 1) / rows;
    pool::parallel_for(p_.batch * each, [&](int64_t task) {
      const int64_t matrix = task / each, i = task % each * rows;
      const In* one_a = a + (p_.batch > 1 ? p_.index_a[matrix] : 0) * p_.m * p_.k + (p_.transpose_a ? i : i * p_.k);
      const In* one_b = b + (p_.batch > 1 ? p_.index_b[matrix] : 0) * p_.k * p_.n;
      product_(std::min(rows, p_.m - i), p_.n, p_.k, {one_a, p_.transpose_a ? 1 : p_.k, p_.transpose_a ? p_.m : 1},
               {one_b, p_.transpose_b ? 1 : p_.n, p_.transpose_b ? p_.k : 1}, c + (matrix * p_.m + i) * p_.n);
    });
  }

 private:
  const Matrices p_;
  const gemm::IntegerProduct<In, Out> product_;
};

bool is_half(DType dtype) { return dtype == DType::F16 || dtype == DType::BF16; }

// The kernel of a float problem, or nullptr.
std::unique_ptr<Kernel> prepare_float(const Problem& problem, const Matrices& matrices, Activation activation) {
  const DType dtype = problem.in[0].dtype, out = problem.out[0].dtype;
  const bool bias = problem.in.size() == 3;
  for (const Spec& spec : problem.in)
    if (spec.dtype != dtype) return nullptr;
  if (is_half(dtype) && (out == dtype || out == DType::F32))
    return std::make_unique<HalfMatmul>(problem, matrices, activation, bias);
  if (out != dtype) return nullptr;
  if (dtype == DType::F32) return std::make_unique<Matmul<float>>(matrices, activation, bias);
  // Double precision has no vector functions: the others go by the reference.
  if (dtype == DType::F64 && (activation == Activation::None || activation == Activation::Relu))
    return std::make_unique<Matmul<double>>(matrices, activation, bias);
  return nullptr;
}

std::unique_ptr<Kernel> prepare_matmul(const Problem& problem) {
  return prepare_float(problem, gemm::matmul_matrices(problem), Activation::None);
}

std::unique_ptr<Kernel> prepare_integer(const Problem& problem) {
  const DType dtype = problem.in[0].dtype, out = problem.out[0].dtype;
  if (problem.in[1].dtype != dtype || !is_integer(dtype)) return nullptr;
  const gemm::IntegerTable& table = gemm_integer_table();
  auto make = [&]<class In, class Out>(gemm::IntegerProduct<In, Out> product) -> std::unique_ptr<Kernel> {
    return std::make_unique<IntegerMatmul<In, Out>>(gemm::matmul_matrices(problem), product);
  };
  if (out == dtype) switch (size_of(dtype)) {
      case 1:
        return make(table.u8);
      case 2:
        return make(table.u16);
      case 4:
        return make(table.u32);
      default:
        return make(table.u64);
    }
  if (out != DType::I32 && out != DType::U32) return nullptr;
  if (dtype == DType::I8) return make(table.i8_to_32);
  if (dtype == DType::U8) return make(table.u8_to_32);
  return nullptr;
}

std::unique_ptr<Kernel> prepare_linear(const Problem& problem) {
  const auto activation = gemm::activation_of(problem);
  if (!activation) return nullptr;
  return prepare_float(problem, gemm::linear_matrices(problem), *activation);
}

// A single float32 product by one path.
template <gemm::Path path>
std::unique_ptr<Kernel> prepare_path(const Problem& problem) {
  const bool linear = problem.op == "linear";
  const auto activation = linear ? gemm::activation_of(problem) : Activation::None;
  const Matrices p = linear ? gemm::linear_matrices(problem) : gemm::matmul_matrices(problem);
  for (const auto* specs : {&problem.in, &problem.out})
    for (const Spec& spec : *specs)
      if (spec.dtype != DType::F32) return nullptr;
  if (!activation || p.batch != 1 || !gemm::takes_path(path, p.m, p.n, p.k, p.transpose_b)) return nullptr;
  return std::make_unique<Matmul<float>>(p, *activation, problem.in.size() == 3, path);
}

constexpr char kFloats[] = "any in float32 and float64, float16 and bfloat16 by way of float32";
const Register r_matmul{"matmul", "gemm", 10, prepare_matmul, kFloats};
const Register r_integer{"matmul", "integer", 5, prepare_integer, "integers, into their own type or into 32 bits"};
const Register r_linear{"linear", "gemm", 10, prepare_linear, kFloats};
const Register paths[] = {
    {"matmul", "gemm-columns", kOnlyByChoice, prepare_path<gemm::Path::Columns>, "float32, B packed by each task"},
    {"linear", "gemm-columns", kOnlyByChoice, prepare_path<gemm::Path::Columns>, "float32, B packed by each task"},
    {"matmul", "gemm-tiles", kOnlyByChoice, prepare_path<gemm::Path::Tiles>, "float32, B packed once for all tasks"},
    {"linear", "gemm-tiles", kOnlyByChoice, prepare_path<gemm::Path::Tiles>, "float32, B packed once for all tasks"},
    {"matmul", "gemm-split", kOnlyByChoice, prepare_path<gemm::Path::SplitK>, "float32, partial sums of ranges of k"},
    {"linear", "gemm-split", kOnlyByChoice, prepare_path<gemm::Path::SplitK>, "float32, partial sums of ranges of k"},
};

}  // namespace
}  // namespace native
