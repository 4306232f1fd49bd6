// Integer products: exact modulo the width of the output. Plain loops, which the compiler vectorises.
// Unsigned arithmetic wraps where signed overflow would be undefined; the bits are the same.
#include "kernels/gemm/gemm.h"

namespace native {
namespace NATIVE_ISA {
namespace {

using gemm::Operand;

template <class In, class Out>
void product(int64_t m, int64_t n, int64_t k, const Operand<In>& a, const Operand<In>& b, Out* c) {
  // Small unsigned types promote to int, whose product may overflow: at least 32 bits, unsigned.
  using Wide = decltype(Out{} + 0u);
  for (int64_t i = 0; i < m; ++i, c += n) {
    const In* row = a.data + i * a.row;
    for (int64_t j = 0; j < n; ++j) c[j] = 0;
    if (b.column == 1) {
      for (int64_t p = 0; p < k; ++p) {
        const Wide x = static_cast<Wide>(row[p * a.column]);
        const In* in = b.data + p * b.row;
        for (int64_t j = 0; j < n; ++j) c[j] = static_cast<Out>(c[j] + x * static_cast<Wide>(in[j]));
      }
    } else {
      for (int64_t j = 0; j < n; ++j) {
        const In* in = b.data + j * b.column;
        Wide sum = 0;
        if (a.column == 1)
          for (int64_t p = 0; p < k; ++p) sum += static_cast<Wide>(row[p]) * static_cast<Wide>(in[p]);
        else
          for (int64_t p = 0; p < k; ++p) sum += static_cast<Wide>(row[p * a.column]) * static_cast<Wide>(in[p]);
        c[j] = static_cast<Out>(sum);
      }
    }
  }
}

}  // namespace

extern const gemm::IntegerTable gemm_integer_table;
const gemm::IntegerTable gemm_integer_table = {product<uint8_t, uint8_t>,   product<uint16_t, uint16_t>,
                                               product<uint32_t, uint32_t>, product<uint64_t, uint64_t>,
                                               product<int8_t, uint32_t>,   product<uint8_t, uint32_t>};

}  // namespace NATIVE_ISA
}  // namespace native
