// full and iota. Values of up to 32 bits are tile programs without an operation.
#include <bit>

#include "kernels/elementwise/compile.h"
#include "kernels/shape/params.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::shape;

class Constant : public Kernel {
 public:
  Constant(const Spec& spec, const std::string& name, uint64_t value)
      : elements_(spec.count()), value_(value), function_("shape/constants", name) {}
  void run(const void* const*, void* const* out, void*) const override {
    const int64_t blocks = std::min<int64_t>((elements_ + kThreads - 1) / kThreads, 8192);
    if (blocks)
      function_.launch({static_cast<unsigned>(blocks)}, kThreads, 0, ConstantParams{out[0], elements_, value_});
  }

 private:
  const int64_t elements_;
  const uint64_t value_;
  const Function function_;
};

std::unique_ptr<Kernel> prepare_full(const Problem& p) {
  const Spec& out = p.out[0];
  switch (out.dtype) {
    case DType::I64:
    case DType::U64:
      return std::make_unique<Constant>(out, "full_8", static_cast<uint64_t>(p.attrs.integer("value")));
    case DType::F64:
      return std::make_unique<Constant>(out, "full_8", std::bit_cast<uint64_t>(p.attrs.real("value")));
    default:
      const Statement value{0, out.dtype, "const", {p.attrs.real("value")}, {}};
      return compile_tiles({{value}, {0}}, {}, p.out);
  }
}

std::unique_ptr<Kernel> prepare_iota(const Problem& p) {
  const Spec& out = p.out[0];
  switch (out.dtype) {
    case DType::F16:
      return std::make_unique<Constant>(out, "iota_float16", 0);
    case DType::BF16:
      return std::make_unique<Constant>(out, "iota_bfloat16", 0);
    case DType::F32:
      return std::make_unique<Constant>(out, "iota_float32", 0);
    case DType::F64:
      return std::make_unique<Constant>(out, "iota_float64", 0);
    case DType::Bool:
      return nullptr;
    default:
      if (out.dtype > DType::I64) return nullptr;
      return std::make_unique<Constant>(out, "iota_int_" + std::to_string(size_of(out.dtype)), 0);
  }
}

const RegisterCuda full{"full", "tile", 0, prepare_full};
const RegisterCuda iota{"iota", "count", 0, prepare_iota};

}  // namespace
}  // namespace native::cuda
