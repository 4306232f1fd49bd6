#include "core/shape.h"

#include <algorithm>
#include <limits>

#include "core/errors.h"

namespace native {

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  bool zero = false;
  for (int64_t d : shape) {
    if (d < 0) throw ShapeError("negative dimension in shape " + to_string(shape));
    if (d == 0) {
      zero = true;
      continue;
    }
    if (count > std::numeric_limits<int64_t>::max() / 16 / d)
      throw ShapeError("shape " + to_string(shape) + " has too many elements");
    count *= d;
  }
  return zero ? 0 : count;
}

Shape row_major_strides(const Shape& shape) {
  Shape strides(shape.size());
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

std::optional<std::vector<WalkAxis>> broadcast_walk(const Shape& in, const Shape& out) {
  if (in.size() > out.size()) return {};
  std::vector<WalkAxis> axes;  // innermost first
  int64_t stride = 1;
  for (size_t i = 1; i <= out.size(); ++i) {
    const int64_t size = out[out.size() - i], have = i <= in.size() ? in[in.size() - i] : 1;
    if (have != size && have != 1) return {};
    const int64_t step = have == 1 ? 0 : stride;
    stride *= have;
    if (size == 1) continue;
    if (!axes.empty() && step == axes.back().size * axes.back().stride)
      axes.back().size *= size;
    else
      axes.push_back({size, step});
  }
  std::reverse(axes.begin(), axes.end());
  return axes;
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i) text += ", ";
    text += std::to_string(shape[i]);
  }
  if (shape.size() == 1) text += ",";
  return text + ")";
}

std::string to_string(const Spec& spec) { return name_of(spec.dtype) + to_string(spec.shape); }

}  // namespace native
