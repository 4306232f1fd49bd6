// The launch that joins the parts of convolutions, or fills in what has no terms.
#pragma once

#include <algorithm>

#include "kernels/conv/params.h"
#include "kernels/gemm/choice.h"
#include "runtime/images.h"

namespace native::cuda::conv {

inline bool on_chunk(const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; }

class Join {
 public:
  // `p` has all but how threads are shared out, its columns counted in elements; no set has more parts than `most`.
  void launch(JoinParams p, int most) const {
    const bool packs =
        p.columns % 4 == 0 && on_chunk(p.c) && on_chunk(p.epilogue.bias) && on_chunk(p.epilogue.residual);
    p.columns /= packs ? 4 : 1;
    // Where there are many parts, few threads would take long to add them.
    p.shares = most < 16 ? 1 : 8;
    p.across = 1;
    while (p.across < p.columns && p.across * p.shares < kJoinThreads) p.across *= 2;
    const int64_t strips = gemm::ceil_div(p.columns, p.across), down = kJoinThreads / (p.across * p.shares);
    const int64_t blocks = std::min<int64_t>(gemm::ceil_div(p.pixels, down), 65535);
    (packs ? packed_ : single_)
        .launch({static_cast<unsigned>(strips), static_cast<unsigned>(blocks)}, kJoinThreads, 0, p);
  }

 private:
  const Function single_{"conv/join", "conv_join_1"}, packed_{"conv/join", "conv_join_4"};
};

}  // namespace native::cuda::conv
