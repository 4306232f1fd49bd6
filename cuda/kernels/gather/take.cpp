// gather, gather_nd, take_along_axis, one_hot, searchsorted.
#include <algorithm>

#include "kernels/gather/indices.h"
#include "kernels/gather/places.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::gather;

constexpr int64_t kMost = INT32_MAX - kThreads;

unsigned blocks_of(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

// Rows of [outer, rows, inner] at places: copied in units of up to 16 bytes, as far as rows and addresses allow.
class Take : public Kernel {
 public:
  Take(const Problem& problem, int64_t outer, int64_t count, int64_t rows, int64_t inner, const Places& places)
      : outer_(outer), count_(count), row_bytes_(inner * static_cast<int64_t>(size_of(problem.in[0].dtype))) {
    p_.places = places;
    p_.rows = static_cast<int>(rows);
    p_.by_count = divisor(count);
    for (int bytes = 1; bytes <= 16; bytes *= 2)
      functions_.emplace_back("gather/take", "take_" + std::to_string(bytes));
  }

  void run(const void* const* in, void* const* out, void*) const override {
    TakeParams p = p_;
    p.from = in[0];
    p.to = out[0];
    p.places.indices = in[1];
    const auto bits =
        static_cast<uint64_t>(row_bytes_) | reinterpret_cast<uintptr_t>(p.from) | reinterpret_cast<uintptr_t>(p.to);
    size_t unit = 4;  // its logarithm
    while (unit > 0 && bits % (uint64_t{1} << unit) != 0) --unit;
    const int64_t inner = row_bytes_ >> unit;
    p.by_inner = divisor(inner);
    p.units = static_cast<int>(outer_ * count_ * inner);
    if (p.units) functions_[unit].launch({blocks_of(p.units)}, kThreads, 0, p);
  }

 private:
  const int64_t outer_, count_, row_bytes_;
  TakeParams p_{};
  std::vector<Function> functions_;
};

std::unique_ptr<Kernel> take(const Problem& problem, int64_t outer, int64_t count, int64_t rows, int64_t inner,
                             const Shape& sizes) {
  const auto places = places_of(problem.in[1].dtype, sizes);
  const auto bytes = static_cast<int64_t>(size_of(problem.in[0].dtype));
  if (!places || outer * count * inner * bytes > kMost || rows > kMost) return nullptr;
  return std::make_unique<Take>(problem, outer, count, rows, inner, *places);
}
std::unique_ptr<Kernel> prepare_gather(const Problem& problem) {
  const AxisView view(problem.in[0].shape, static_cast<size_t>(problem.attrs.integer("axis")));
  return take(problem, view.outer, problem.in[1].count(), view.size, view.inner, {view.size});
}
std::unique_ptr<Kernel> prepare_nd(const Problem& problem) {
  const RowsView view(problem.in[0].shape, problem.in[1].shape);
  return take(problem, 1, view.count, view.rows, view.inner, view.sizes);
}

// Kernels of one launch, which differ in how operands become pointers of its parameters.
template <class Params>
class Single : public Kernel {
 public:
  using Place = void (*)(Params&, const void* const* in, void* const* out);
  Single(const Params& params, int64_t threads, const std::string& name, Place place)
      : p_(params), blocks_(blocks_of(threads)), function_("gather/take", name), place_(place) {}
  void run(const void* const* in, void* const* out, void*) const override {
    Params p = p_;
    place_(p, in, out);
    if (blocks_) function_.launch({blocks_}, kThreads, 0, p);
  }

 private:
  const Params p_;
  const unsigned blocks_;
  const Function function_;
  const Place place_;
};

std::unique_ptr<Kernel> prepare_along(const Problem& problem) {
  const Spec &x = problem.in[0], &indices = problem.in[1];
  const auto axis = static_cast<size_t>(problem.attrs.integer("axis"));
  const AxisView view(x.shape, axis);
  const auto places = places_of(indices.dtype, {view.size});
  if (!places || std::max(x.count(), indices.count()) > kMost) return nullptr;
  AlongParams p{};
  p.places = *places;
  p.elements = static_cast<int>(indices.count());
  p.by_inner = divisor(view.inner);
  p.by_taken = divisor(indices.shape[axis]);
  const std::string name = "take_along_" + std::to_string(size_of(x.dtype));
  return std::make_unique<Single<AlongParams>>(p, indices.count(), name,
                                               [](AlongParams& p, const void* const* in, void* const* out) {
                                                 p.from = in[0];
                                                 p.places.indices = in[1];
                                                 p.to = out[0];
                                               });
}

// 1 as the dtype's bits.
std::optional<uint64_t> one_of(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return 0x3F800000;
    case DType::F64:
      return 0x3FF0000000000000;
    case DType::F16:
      return 0x3C00;
    case DType::BF16:
      return 0x3F80;
    case DType::C64:
      return 0x3F800000;  // the real part comes first
    case DType::Bool:
    case DType::I8:
    case DType::U8:
    case DType::I16:
    case DType::U16:
    case DType::I32:
    case DType::U32:
    case DType::I64:
    case DType::U64:
      return 1;
    default:
      return std::nullopt;
  }
}

std::unique_ptr<Kernel> prepare_one_hot(const Problem& problem) {
  const Spec &indices = problem.in[0], &out = problem.out[0];
  const AxisView view(out.shape, static_cast<size_t>(problem.attrs.integer("axis")));
  const auto one = one_of(out.dtype);
  if (!one || out.count() > kMost) return nullptr;
  OneHotParams p{};
  p.index_bytes = static_cast<int>(size_of(indices.dtype));
  p.index_signed = indices.dtype >= DType::I8 && indices.dtype <= DType::I64;
  p.one = *one;
  p.elements = static_cast<int>(out.count());
  p.by_inner = divisor(view.inner);
  p.by_depth = divisor(view.size);
  const std::string name = "one_hot_" + std::to_string(size_of(out.dtype));
  return std::make_unique<Single<OneHotParams>>(p, out.count(), name,
                                                [](OneHotParams& p, const void* const* in, void* const* out) {
                                                  p.indices = in[0];
                                                  p.to = out[0];
                                                });
}

std::unique_ptr<Kernel> prepare_search(const Problem& problem) {
  const Spec &sorted = problem.in[0], &values = problem.in[1];
  const auto real = data_type(sorted.dtype);
  const auto integer = integer_type(sorted.dtype);
  if ((!real && !integer) || std::max(sorted.count(), values.count()) > kMost) return nullptr;
  SearchParams p{};
  p.size = static_cast<int>(sorted.count());
  p.count = static_cast<int>(values.count());
  p.type = real ? static_cast<int>(*real) : static_cast<int>(*integer);
  p.right = problem.attrs.text("side", "left") == "right";
  return std::make_unique<Single<SearchParams>>(p, values.count(), real ? "searchsorted_float" : "searchsorted_int",
                                                [](SearchParams& p, const void* const* in, void* const* out) {
                                                  p.sorted = in[0];
                                                  p.values = in[1];
                                                  p.to = static_cast<int32_t*>(out[0]);
                                                });
}

const RegisterCuda gathered{"gather", "take", 0, prepare_gather};
const RegisterCuda gathered_nd{"gather_nd", "take", 0, prepare_nd};
const RegisterCuda along{"take_along_axis", "take", 0, prepare_along};
const RegisterCuda one_hot{"one_hot", "compare", 0, prepare_one_hot};
const RegisterCuda search{"searchsorted", "bisect", 0, prepare_search};

}  // namespace
}  // namespace native::cuda
