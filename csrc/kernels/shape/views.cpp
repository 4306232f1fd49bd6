#include "kernels/shape/views.h"

namespace native::shape {

View transpose_view(const Problem& p) {
  const Shape strides = row_major_strides(p.in[0].shape);
  View view;
  for (int64_t axis : p.attrs.ints("perm")) view.strides.push_back(strides[axis]);
  return view;
}

View broadcast_view(const Problem& p) {
  const Shape &from = p.in[0].shape, &to = p.out[0].shape;
  const Shape strides = row_major_strides(from);
  View view{Shape(to.size(), 0)};
  for (size_t i = 0, lead = to.size() - from.size(); i < from.size(); ++i)
    if (from[i] != 1) view.strides[lead + i] = strides[i];
  return view;
}

View slice_view(const Problem& p) {
  View view{row_major_strides(p.in[0].shape)};
  const Ints &start = p.attrs.ints("start"), &step = p.attrs.ints("step");
  for (size_t i = 0; i < view.strides.size(); ++i) {
    view.offset += start[i] * view.strides[i];
    view.strides[i] *= step[i];
  }
  return view;
}

View flip_view(const Problem& p) {
  View view{row_major_strides(p.in[0].shape)};
  for (int64_t axis : p.attrs.ints("axes")) {
    view.offset += (p.in[0].shape[axis] - 1) * view.strides[axis];
    view.strides[axis] = -view.strides[axis];
  }
  return view;
}

View pad_view(const Problem& p) {
  const Ints &low = p.attrs.ints("low"), &interior = p.attrs.ints("interior");
  View view{row_major_strides(p.out[0].shape)};
  for (size_t i = 0; i < view.strides.size(); ++i) {
    view.offset += low[i] * view.strides[i];
    view.strides[i] *= interior[i] + 1;
  }
  return view;
}

std::vector<int64_t> concat_offsets(const Problem& p) {
  const auto axis = static_cast<size_t>(p.attrs.integer("axis"));
  const int64_t stride = row_major_strides(p.out[0].shape)[axis];
  std::vector<int64_t> offsets;
  int64_t start = 0;
  for (const Spec& part : p.in) {
    offsets.push_back(start * stride);
    start += part.shape[axis];
  }
  return offsets;
}

}  // namespace native::shape
