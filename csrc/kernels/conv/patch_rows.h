// The elements of x under each result of a convolution, as rows of a matrix.
#pragma once

#include "kernels/conv/geometry.h"
#include "kernels/conv/product.h"

namespace native::conv {

class PatchRows {
 public:
  explicit PatchRows(const Geometry& g) : g_(g) {}
  // Elements of a patch, and lines of results: rows of pixels of all images.
  int64_t terms() const { return g_.taps() * g_.cin; }
  int64_t lines() const { return g_.batch * g_.out[0] * g_.out[1]; }
  // The patches of one line, one after another, each with a zero behind it if `padded`.
  void take_line(const BFloat16* x, int64_t line, BFloat16* to, bool padded) const;

 private:
  void take(const BFloat16* x, int64_t image, const Triple& result, BFloat16* to) const;

  Geometry g_;
};

}  // namespace native::conv
