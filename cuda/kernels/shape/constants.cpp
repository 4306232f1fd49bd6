// Arrays of one value, and of one operand repeated: tile programs without an operation.
#include "kernels/elementwise/compile.h"
#include "runtime/gpu.h"

namespace native::cuda {
namespace {

std::unique_ptr<Kernel> prepare_full(const Problem& p) {
  const Statement value{0, p.out[0].dtype, "const", {p.attrs.real("value")}, {}};
  return compile_tiles({{value}, {0}}, {}, p.out);
}

std::unique_ptr<Kernel> prepare_broadcast(const Problem& p) { return compile_tiles({{}, {0}}, p.in, p.out); }

const RegisterCuda full{"full", "tile", 0, prepare_full};
const RegisterCuda broadcast{"broadcast_to", "tile", 0, prepare_broadcast};

}  // namespace
}  // namespace native::cuda
