// Running reductions and linear recurrences along one axis.
#include "kernels/reduce/params.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::reduce;

// Kernels are named after their primitives.
class Scan : public Kernel {
 public:
  Scan(const ScanParams& params, const std::string& name, bool two)
      : p_(params), two_(two), function_("reduce/scan", name) {}
  void run(const void* const* in, void* const* out, void*) const override {
    ScanParams p = p_;
    p.x = in[0];
    p.b = two_ ? in[1] : nullptr;
    p.y = out[0];
    const int64_t units = p.outer * p.inner, each = p.inner == 1 ? kThreads / 32 : kThreads / p.down;
    function_.launch({static_cast<unsigned>((units + each - 1) / each)}, kThreads, 0, p);
  }

 private:
  const ScanParams p_;
  const bool two_;
  const Function function_;
};

std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const Spec& x = problem.in[0];
  const auto axis = static_cast<size_t>(problem.attrs.integer("axis"));
  const bool real = data_type(x.dtype).has_value();
  if (x.count() == 0 || (!real && !integer_type(x.dtype))) return nullptr;
  ScanParams p{};
  p.outer = p.inner = 1;
  p.n = x.shape[axis];
  for (size_t i = 0; i < axis; ++i) p.outer *= x.shape[i];
  for (size_t i = axis + 1; i < x.shape.size(); ++i) p.inner *= x.shape[i];
  if (p.outer * p.inner > INT32_MAX) return nullptr;
  // Many columns are enough to do; of few, a sector of memory side by side and the other threads below.
  const int64_t columns = p.outer * p.inner;
  p.down = columns >= 1 << 16 || p.n < 64 ? 1 : columns >= 1 << 13 ? 8 : 32;
  p.reverse = problem.attrs.integer("reverse", 0) != 0;
  p.type = real ? static_cast<int>(*data_type(x.dtype)) : static_cast<int>(*integer_type(x.dtype));
  const std::string name = std::string("scan_") + (p.inner == 1 ? "rows_" : "columns_") + (real ? "float_" : "int_");
  return std::make_unique<Scan>(p, name + problem.op, problem.in.size() == 2);
}

const RegisterCuda scans{{"cumsum", "cumprod", "cummax", "cummin", "linear_recurrence"}, "scan", 0, prepare};

}  // namespace
}  // namespace native::cuda
