// Products of matrices in memory by the kernels of gemm, for convolutions that are such.
#pragma once

#include "kernels/conv/choice.h"
#include "kernels/conv/join.h"
#include "runtime/images.h"

namespace native::cuda::conv {

// One, or one for each group: C [groups, m, n], or float32 parts of it [splits, groups, m, n].
class Product {
 public:
  struct Sizes {
    int64_t m, n, k, row_a, row_b;
    bool turned_a, turned_b;
    int64_t groups = 1, apart = 0;  // elements of both operands from one group to the next
  };
  Product(const gemm::Kind& kind, const Sizes& sizes)
      : kind_(kind),
        sizes_(sizes),
        share_(share_of(kind, kMatrices, sizes.m, sizes.n, sizes.k, sizes.groups)),
        tile_(share_.large ? kind.large : kind.small),
        function_(gemm::product_kernel(kind, share_.large ? "large" : "small", sizes.turned_a, sizes.turned_b)) {}

  const Sizes& sizes() const { return sizes_; }
  int splits() const { return share_.splits; }
  int64_t elements() const { return sizes_.groups * sizes_.m * sizes_.n; }  // of C, or of a part

  void launch(const void* a, const void* b, void* c, const gemm::Epilogue& epilogue) const {
    gemm::Params p{};
    p.a = operand(a, sizes_.row_a);
    p.b = operand(b, sizes_.row_b);
    p.c = c;
    p.m = static_cast<int>(sizes_.m);
    p.n = static_cast<int>(sizes_.n);
    p.k = static_cast<int>(sizes_.k);
    p.depth = share_.depth;
    p.products = static_cast<int>(sizes_.groups);
    p.turned_a = sizes_.turned_a;
    p.turned_b = sizes_.turned_b;
    p.batch.dims = sizes_.groups > 1;
    p.batch.size[0] = p.products;
    p.batch.a[0] = p.batch.b[0] = sizes_.apart;
    p.epilogue = epilogue;
    const int64_t blocks = gemm::blocks_of(tile_, sizes_.m, sizes_.n, sizes_.groups);
    function_.launch({static_cast<unsigned>(blocks), static_cast<unsigned>(share_.splits)}, tile_.threads,
                     gemm::stage_bytes(kind_, tile_), p);
  }

 private:
  gemm::Operand operand(const void* data, int64_t row) const {
    const int64_t chunk = 16 / static_cast<int64_t>(kind_.bytes);
    return {data, row, row % chunk == 0 && sizes_.apart % chunk == 0 && on_chunk(data)};
  }

  const gemm::Kind kind_;
  const Sizes sizes_;
  const Share share_;
  const gemm::Tile tile_;
  const Function function_;
};

}  // namespace native::cuda::conv
