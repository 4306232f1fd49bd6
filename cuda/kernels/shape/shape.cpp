// Primitives that move elements, all of them strided copies.
#include <algorithm>
#include <array>

#include "kernels/shape/params.h"
#include "kernels/shape/views.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::shape;

// Copies one after another into the output, each from one operand; elements of any dtype.
class Copies : public Kernel {
 public:
  explicit Copies(const Problem& problem)
      : element_(size_of(problem.out[0].dtype)),
        function_("shape/strided_copy", "strided_copy_" + std::to_string(element_)),
        transposed_("shape/transposed_copy", "transposed_copy_" + std::to_string(element_)) {}

  // Offsets and strides are in elements. False if the copy has too many axes or elements.
  bool add(size_t input, int64_t from_offset, int64_t to_offset, const Shape& dims, const Shape& from,
           const Shape& to) {
    std::vector<std::array<int64_t, 3>> axes;  // innermost first: size, strides; neighbours merged
    int64_t elements = 1;
    for (size_t i = dims.size(); i-- > 0;) {
      elements *= dims[i];
      if (dims[i] == 1) continue;
      if (!axes.empty() && from[i] == axes.back()[0] * axes.back()[1] && to[i] == axes.back()[0] * axes.back()[2])
        axes.back()[0] *= dims[i];
      else
        axes.push_back({dims[i], from[i], to[i]});
    }
    if (elements == 0) return true;
    if (axes.size() > kDims || elements >= int64_t{1} << 31) return false;
    Part part{input, from_offset, to_offset, {}};
    part.params.elements = static_cast<uint32_t>(elements);
    part.params.dims = static_cast<int>(axes.size());
    for (size_t d = 0; d < axes.size(); ++d) {
      const auto& [size, step_from, step_to] = axes[axes.size() - 1 - d];
      part.params.size[d] = static_cast<uint32_t>(size);
      part.params.from_stride[d] = step_from;
      part.params.to_stride[d] = step_to;
    }
    part.tiles = transpose(part.params, &part.transposed);
    parts_.push_back(part);
    return true;
  }

  // The last copy added reads (or writes) at a place that operand `start` says.
  void move_last(size_t start, DType index, const Shape& whole, const Shape& block, bool to) {
    if (parts_.empty()) return;
    Params& p = parts_.back().params;
    parts_.back().start = static_cast<int>(start);
    parts_.back().tiles = 0;
    p.window_to = to;
    p.window.wide = index == DType::I64;
    p.window.dims = static_cast<int>(whole.size());
    const Shape strides = row_major_strides(whole);
    for (size_t d = 0; d < whole.size(); ++d) {
      p.window.limit[d] = whole[d] - block[d];
      p.window.stride[d] = strides[d];
    }
  }

  void run(const void* const* in, void* const* out, void*) const override {
    const auto bytes = static_cast<int64_t>(element_);
    for (const Part& part : parts_) {
      if (part.tiles) {
        TransposedParams p = part.transposed;
        p.from = static_cast<const char*>(in[part.input]) + part.from_offset * bytes;
        p.to = static_cast<char*>(out[0]) + part.to_offset * bytes;
        transposed_.launch({part.tiles}, kThreads, 0, p);
        continue;
      }
      Params p = part.params;
      p.from = static_cast<const char*>(in[part.input]) + part.from_offset * bytes;
      p.to = static_cast<char*>(out[0]) + part.to_offset * bytes;
      p.window.start = part.start >= 0 ? in[part.start] : nullptr;
      const unsigned blocks = std::min<unsigned>((p.elements + kThreads - 1) / kThreads, 8192);
      function_.launch({blocks}, kThreads, 0, p);
    }
  }

 private:
  struct Part {
    size_t input;
    int64_t from_offset, to_offset;
    Params params;
    int start = -1;      // operand that holds the window's start
    unsigned tiles = 0;  // blocks of a transposed copy, if it is one
    TransposedParams transposed{};
  };
  // Where source and target are contiguous along different axes, both long: how many tiles; else 0.
  static unsigned transpose(const Params& p, TransposedParams* t) {
    constexpr uint32_t kLong = 8;  // a sector of words
    int row = -1, column = -1;
    for (int d = 0; d < p.dims; ++d) {
      if (p.from_stride[d] == 1 && p.size[d] >= kLong) column = d;
      if (p.to_stride[d] == 1 && p.size[d] >= kLong) row = d;
    }
    if (row < 0 || column < 0 || row == column) return 0;
    t->rows = static_cast<int>(p.size[row]);
    t->columns = static_cast<int>(p.size[column]);
    t->row_stride = p.from_stride[row];
    t->column_stride = p.to_stride[column];
    const int64_t across = (t->columns + kSide - 1) / kSide, down = (t->rows + kSide - 1) / kSide;
    int64_t tiles = across * down;
    t->by_columns = divisor(across);
    t->by_rows = divisor(down);
    for (int d = 0; d < p.dims; ++d) {
      if (d == row || d == column) continue;
      t->size[t->dims] = static_cast<int>(p.size[d]);
      t->from_stride[t->dims] = p.from_stride[d];
      t->to_stride[t->dims++] = p.to_stride[d];
      tiles *= p.size[d];
    }
    return static_cast<unsigned>(tiles);
  }

  const size_t element_;
  const Function function_, transposed_;
  std::vector<Part> parts_;
};

// One copy from the first operand to a contiguous output.
std::unique_ptr<Kernel> gather(const Problem& p, const Shape& strides, int64_t offset = 0) {
  auto kernel = std::make_unique<Copies>(p);
  const Shape& out = p.out[0].shape;
  return kernel->add(0, offset, 0, out, strides, row_major_strides(out)) ? std::move(kernel) : nullptr;
}

std::unique_ptr<Kernel> prepare_same(const Problem& p) { return gather(p, row_major_strides(p.out[0].shape)); }

template <native::shape::View (*view_of)(const Problem&)>
std::unique_ptr<Kernel> prepare_view(const Problem& p) {
  const native::shape::View view = view_of(p);
  return gather(p, view.strides, view.offset);
}

std::unique_ptr<Kernel> prepare_concat(const Problem& p) {
  const Shape strides = row_major_strides(p.out[0].shape);
  const std::vector<int64_t> offsets = native::shape::concat_offsets(p);
  auto kernel = std::make_unique<Copies>(p);
  for (size_t i = 0; i < p.in.size(); ++i) {
    const Shape& dims = p.in[i].shape;
    if (!kernel->add(i, 0, offsets[i], dims, row_major_strides(dims), strides)) return nullptr;
  }
  return kernel;
}

// The value everywhere, then the operand into its place: launches run in order.
std::unique_ptr<Kernel> prepare_pad(const Problem& p) {
  const Ints& low = p.attrs.ints("low");
  const Shape &from = p.in[0].shape, &to = p.out[0].shape;
  const native::shape::View view = native::shape::pad_view(p);
  auto kernel = std::make_unique<Copies>(p);
  if (std::any_of(low.begin(), low.end(), [](int64_t v) { return v < 0; }) ||
      !kernel->add(1, 0, 0, to, Shape(to.size(), 0), row_major_strides(to)) ||
      !kernel->add(0, 0, view.offset, from, row_major_strides(from), view.strides))
    return nullptr;
  return kernel;
}

std::unique_ptr<Kernel> prepare_dynamic_slice(const Problem& p) {
  const Shape &whole = p.in[0].shape, &block = p.out[0].shape;
  auto kernel = std::make_unique<Copies>(p);
  if (whole.size() > kWindowDims || !kernel->add(0, 0, 0, block, row_major_strides(whole), row_major_strides(block)))
    return nullptr;
  kernel->move_last(1, p.in[1].dtype, whole, block, false);
  return kernel;
}

std::unique_ptr<Kernel> prepare_dynamic_update_slice(const Problem& p) {
  const Shape &whole = p.in[0].shape, &block = p.in[1].shape;
  const Shape strides = row_major_strides(whole);
  auto kernel = std::make_unique<Copies>(p);
  if (whole.size() > kWindowDims || p.in[1].count() == 0 || !kernel->add(0, 0, 0, whole, strides, strides) ||
      !kernel->add(1, 0, 0, block, row_major_strides(block), strides))
    return nullptr;
  kernel->move_last(2, p.in[2].dtype, whole, block, true);
  return kernel;
}

const RegisterCuda reshape{"reshape", "copy", 0, prepare_same};
const RegisterCuda copy{"copy", "copy", 0, prepare_same};
const RegisterCuda stop_gradient{"stop_gradient", "copy", 0, prepare_same};
const RegisterCuda transpose{"transpose", "strided-copy", 0, prepare_view<native::shape::transpose_view>};
const RegisterCuda broadcast{"broadcast_to", "strided-copy", 0, prepare_view<native::shape::broadcast_view>};
const RegisterCuda slice{"slice", "strided-copy", 0, prepare_view<native::shape::slice_view>};
const RegisterCuda flip{"flip", "strided-copy", 0, prepare_view<native::shape::flip_view>};
const RegisterCuda concat{"concat", "strided-copy", 0, prepare_concat};
const RegisterCuda pad{"pad", "strided-copy", 0, prepare_pad};
const RegisterCuda dynamic_slice{"dynamic_slice", "strided-copy", 0, prepare_dynamic_slice};
const RegisterCuda dynamic_update_slice{"dynamic_update_slice", "strided-copy", 0, prepare_dynamic_update_slice};

}  // namespace
}  // namespace native::cuda
