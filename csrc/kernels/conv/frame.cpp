#include "kernels/conv/frame.h"

#include <algorithm>
#include <cstring>

namespace native::conv {

Frame::Frame(const Geometry& g, const Triple& results) : g_(g) {
  for (int i = 0; i < 3; ++i) sizes_[i] = (results[i] - 1) * g.stride[i] + (g.kernel[i] - 1) * g.dilation[i] + 1;
}

template <class T>
void Frame::copy(const T* x, int64_t image, const Triple& first, T* to) const {
  Triple at;
  for (int i = 0; i < 3; ++i) at[i] = first[i] * g_.stride[i] - g_.low[i];
  // Of a row, the positions inside the image.
  const int64_t begin = std::clamp<int64_t>(-at[2], 0, sizes_[2]);
  const int64_t end = std::clamp<int64_t>(g_.in[2] - at[2], begin, sizes_[2]);
  const int64_t row = sizes_[2] * g_.cin;
  for (int64_t d = at[0]; d < at[0] + sizes_[0]; ++d)
    for (int64_t h = at[1]; h < at[1] + sizes_[1]; ++h, to += row) {
      if (d < 0 || d >= g_.in[0] || h < 0 || h >= g_.in[1] || begin == end) {
        std::fill_n(to, row, T(0));
        continue;
      }
      const T* const from = x + (((image * g_.in[0] + d) * g_.in[1] + h) * g_.in[2] + at[2] + begin) * g_.cin;
      std::fill_n(to, begin * g_.cin, T(0));
      std::memcpy(to + begin * g_.cin, from, static_cast<size_t>((end - begin) * g_.cin) * sizeof(T));
      std::fill_n(to + end * g_.cin, (sizes_[2] - end) * g_.cin, T(0));
    }
}

template void Frame::copy(const float*, int64_t, const Triple&, float*) const;
template void Frame::copy(const double*, int64_t, const Triple&, double*) const;

}  // namespace native::conv
