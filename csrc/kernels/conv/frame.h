// A copy of what some results of a convolution read, with the padding around it as zeros: a small convolution without
// padding, whose sources lie evenly apart.
#pragma once

#include "kernels/conv/geometry.h"

namespace native::conv {

class Frame {
 public:
  // Of so many results along each dimension.
  Frame(const Geometry& g, const Triple& results);

  const Triple& sizes() const { return sizes_; }
  int64_t elements() const { return sizes_[0] * sizes_[1] * sizes_[2] * g_.cin; }

  // That of the results of an image from `first` on.
  template <class T>
  void copy(const T* x, int64_t image, const Triple& first, T* to) const;

 private:
  Geometry g_;
  Triple sizes_;
};

}  // namespace native::conv
