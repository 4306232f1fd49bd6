// The gradient by the input of convolutions whose strides leave more sets of positions than there are launches for (see
// implicit.cpp): one product of the cotangent by the weights of all taps makes what each window gives to its pixels,
// [taps, channels], and these are added up where windows overlap.
#include <algorithm>
#include <cstdlib>

#include "kernels/conv/geometry.h"
#include "kernels/conv/prepare.h"
#include "kernels/conv/product.h"
#include "runtime/gpu.h"

namespace native::cuda {
namespace {

using namespace cuda::conv;
using native::conv::Geometry;

class OverlapAdd : public Kernel {
 public:
  OverlapAdd(const Geometry& g, Direction, const gemm::Kind& kind, DataType memory, Activation, size_t)
      : product_(kind, {g.out_pixels(), g.taps() * g.group_in(), g.group_out(), g.cout, g.cout, false, true, g.groups,
                        g.group_out()}) {
    for (int d = 0; d < 3; ++d) {
      p_.source_size[d] = static_cast<int>(g.out[d]);
      p_.kernel[d] = static_cast<int>(g.kernel[d]);
      p_.low[d] = static_cast<int>(g.low[d]);
      p_.dilation[d] = static_cast<int>(g.dilation[d]);
      p_.by_stride[d] = divisor(g.stride[d]);
      p_.by_size[d] = divisor(g.in[d]);
    }
    p_.by_channels = divisor(g.cin);
    p_.by_group = divisor(g.group_in());
    p_.elements = product_.elements();
    p_.results = static_cast<int>(g.in_pixels() * g.cin);
    p_.splits = product_.splits();
    p_.windows = static_cast<int>(g.out_pixels());
    p_.type = memory;
  }

  size_t scratch_bytes() const override { return sizeof(float) * static_cast<size_t>(p_.splits * p_.elements); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    product_.launch(in[0], in[1], scratch, kPlain);
    OverlapParams p = p_;
    p.parts = static_cast<const float*>(scratch);
    p.result = out[0];
    add_.launch({static_cast<unsigned>(gemm::ceil_div(p.results, kOverlapThreads))}, kOverlapThreads, 0, p);
  }

 private:
  const Product product_;
  const Function add_{"conv/join", "conv_overlap_add"};
  OverlapParams p_{};
};

// Sizes and places are counted in 32 bits, and what windows give takes a gibibyte at most, but for parts.
bool fits(const Geometry& g) {
  constexpr int64_t kMost = 1 << 30, kMostGiven = 1 << 28;
  for (int d = 0; d < 3; ++d)
    if (g.in[d] + g.kernel[d] * g.dilation[d] + std::abs(g.low[d]) >= kMost || g.stride[d] >= kMost) return false;
  return !g.empty() && g.out_pixels() > 0 && g.in_pixels() * g.cin < kMost && g.cout < kMost / 4 &&
         g.out_pixels() * g.taps() * g.cin <= kMostGiven;
}

const RegisterCuda input_grad{"conv_input_grad", "overlap-add", 5, prepare<OverlapAdd, Direction::InputGrad, fits>};

}  // namespace
}  // namespace native::cuda
