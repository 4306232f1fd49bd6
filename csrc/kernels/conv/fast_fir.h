// Convolution along one dimension with fewer multiplications: strips of 2 or 4 results by short algorithms.
//
// Two results of three taps take 4 products of transformed values instead of 6, at the points 0, 1, -1 and infinity,
// which is F(2, 3); of two taps 3 instead of 4, at 0, 1 and infinity; of one 2. All are sums at some of the same four
// positions, so that more taps are taken three at a time and added up before they are transformed back. Four results
// of many taps are three convolutions of half as many, of the even, of the odd and of both (F(2, 2) over them).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/conv/combine.h"

namespace native::conv {

using Terms = std::vector<Term>;

// A product of what is combined from sources by what is combined from taps.
struct FirProduct {
  Terms sources, taps;
};

// Products that are added up, and the results that have a part in the sum.
struct FirPosition {
  Terms results;
  std::vector<FirProduct> products;
};

// A tap of the kernel, and how far in the source it reads from where the strip's first result does.
struct FirTap {
  int tap;
  int64_t offset;
};

struct FastFir {
  int results;                 // of a strip
  std::vector<int64_t> reads;  // offsets of its sources: row i of the terms is where reads[i] says
  std::vector<FirPosition> positions;

  int64_t products() const;
};

// For taps in any order, where the next result reads `step` further on. The fewest products of a strip of `results`,
// 2 or 4.
FastFir fast_fir(std::vector<FirTap> taps, int64_t step, int results);

}  // namespace native::conv
