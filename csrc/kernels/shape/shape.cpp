// Primitives that move elements, all of them strided copies.
#include <cstring>

#include "kernels/shape/strided_copy.h"
#include "kernels/shape/tasks.h"
#include "kernels/shape/views.h"
#include "runtime/registry.h"

namespace native {
namespace {

// One copy from the first input at a fixed offset.
class Move : public Kernel {
 public:
  Move(const Spec& spec, const Shape& dims, const Shape& src_strides, int64_t offset = 0)
      : copy_(size_of(spec.dtype), dims, src_strides, row_major_strides(dims)),
        offset_(offset * static_cast<int64_t>(size_of(spec.dtype))) {}
  void run(const void* const* in, void* const* out, void*) const override {
    copy_.run(static_cast<const char*>(in[0]) + offset_, out[0]);
  }

 private:
  StridedCopy copy_;
  int64_t offset_;
};

std::unique_ptr<Kernel> prepare_same(const Problem& p) {
  return std::make_unique<Move>(p.in[0], Shape{p.in[0].count()}, Shape{1});
}

template <shape::View (*view_of)(const Problem&)>
std::unique_ptr<Kernel> prepare_view(const Problem& p) {
  const shape::View view = view_of(p);
  return std::make_unique<Move>(p.in[0], p.out[0].shape, view.strides, view.offset);
}

// Several copies into parts of the output; `input` says which operand each reads.
class Parts : public Kernel {
 public:
  void add(size_t input, int64_t dst_offset, StridedCopy copy) {
    parts_.push_back({input, dst_offset, std::move(copy)});
  }
  void run(const void* const* in, void* const* out, void*) const override {
    for (const Part& part : parts_) part.copy.run(in[part.input], static_cast<char*>(out[0]) + part.dst_offset);
  }

 private:
  struct Part {
    size_t input;
    int64_t dst_offset;  // bytes
    StridedCopy copy;
  };
  std::vector<Part> parts_;
};

// Parts side by side: a row of the result is written at once, from one row of each part.
class ConcatRows : public Kernel {
 public:
  ConcatRows(const Problem& p, int64_t rows) : rows_(rows), row_(0) {
    for (const Spec& part : p.in) {
      bytes_.push_back(static_cast<int64_t>(part.bytes()) / rows);
      row_ += bytes_.back();
    }
  }
  void run(const void* const* in, void* const* out, void*) const override {
    char* y = static_cast<char*>(out[0]);
    parallel_ranges(rows_, 2 * rows_ * row_, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        char* to = y + i * row_;
        for (size_t k = 0; k < bytes_.size(); ++k) {
          std::memcpy(to, static_cast<const char*>(in[k]) + i * bytes_[k], static_cast<size_t>(bytes_[k]));
          to += bytes_[k];
        }
      }
    });
  }

 private:
  int64_t rows_, row_;
  std::vector<int64_t> bytes_;
};

std::unique_ptr<Kernel> prepare_concat(const Problem& p) {
  const size_t axis = static_cast<size_t>(p.attrs.integer("axis"));
  const size_t element = size_of(p.out[0].dtype);
  const Shape strides = row_major_strides(p.out[0].shape);
  int64_t rows = 1;
  for (size_t i = 0; i < axis; ++i) rows *= p.out[0].shape[i];
  if (rows >= 64) return std::make_unique<ConcatRows>(p, rows);
  auto kernel = std::make_unique<Parts>();
  const std::vector<int64_t> offsets = shape::concat_offsets(p);
  for (size_t i = 0; i < p.in.size(); ++i) {
    const Shape& dims = p.in[i].shape;
    kernel->add(i, offsets[i] * static_cast<int64_t>(element),
                StridedCopy(element, dims, row_major_strides(dims), strides));
  }
  return kernel;
}

std::unique_ptr<Kernel> prepare_pad(const Problem& p) {
  const Ints &low = p.attrs.ints("low"), &interior = p.attrs.ints("interior");
  const Shape &from = p.in[0].shape, &to = p.out[0].shape;
  const size_t element = size_of(p.out[0].dtype), rank = to.size();
  const Shape strides = row_major_strides(to), still(rank, 0);
  const auto bytes = [&](int64_t elements) { return elements * static_cast<int64_t>(element); };
  auto kernel = std::make_unique<Parts>();
  bool dense = true;
  for (int64_t i : interior) dense = dense && i == 0;
  if (!dense) {
    kernel->add(1, 0, StridedCopy(element, to, still, strides));
  } else {
    // Only the border: before and after on each axis, where earlier axes are inside and later ones whole.
    Shape region = to;
    int64_t at = 0;
    for (size_t i = 0; i < rank; ++i) {
      region[i] = low[i];
      kernel->add(1, bytes(at), StridedCopy(element, region, still, strides));
      region[i] = to[i] - low[i] - from[i];
      kernel->add(1, bytes(at + (low[i] + from[i]) * strides[i]), StridedCopy(element, region, still, strides));
      region[i] = from[i];
      at += low[i] * strides[i];
    }
  }
  const shape::View view = shape::pad_view(p);
  kernel->add(0, bytes(view.offset), StridedCopy(element, from, row_major_strides(from), view.strides));
  return kernel;
}

// Where a block of `sizes` starts: the position asked for, moved inside.
class Window {
 public:
  Window(const Spec& whole, const Shape& sizes, DType index)
      : limits_(whole.shape), strides_(row_major_strides(whole.shape)), wide_(index == DType::I64) {
    for (size_t i = 0; i < limits_.size(); ++i) {
      limits_[i] -= sizes[i];
      strides_[i] *= static_cast<int64_t>(size_of(whole.dtype));
    }
  }
  int64_t offset(const void* start) const {
    int64_t total = 0;
    for (size_t i = 0; i < limits_.size(); ++i) {
      const int64_t at = wide_ ? static_cast<const int64_t*>(start)[i] : static_cast<const int32_t*>(start)[i];
      total += std::min(std::max<int64_t>(at, 0), limits_[i]) * strides_[i];
    }
    return total;
  }

 private:
  Shape limits_, strides_;
  bool wide_;
};

class DynamicSlice : public Kernel {
 public:
  explicit DynamicSlice(const Problem& p)
      : window_(p.in[0], p.out[0].shape, p.in[1].dtype),
        copy_(size_of(p.in[0].dtype), p.out[0].shape, row_major_strides(p.in[0].shape),
              row_major_strides(p.out[0].shape)) {}
  void run(const void* const* in, void* const* out, void*) const override {
    copy_.run(static_cast<const char*>(in[0]) + window_.offset(in[1]), out[0]);
  }

 private:
  Window window_;
  StridedCopy copy_;
};

class DynamicUpdateSlice : public Kernel {
 public:
  explicit DynamicUpdateSlice(const Problem& p)
      : window_(p.in[0], p.in[1].shape, p.in[2].dtype),
        whole_(size_of(p.in[0].dtype), {p.in[0].count()}, {1}, {1}),
        block_(size_of(p.in[0].dtype), p.in[1].shape, row_major_strides(p.in[1].shape),
               row_major_strides(p.in[0].shape)) {}
  void run(const void* const* in, void* const* out, void*) const override {
    whole_.run(in[0], out[0]);
    block_.run(in[1], static_cast<char*>(out[0]) + window_.offset(in[2]));
  }

 private:
  Window window_;
  StridedCopy whole_, block_;
};

template <class K>
std::unique_ptr<Kernel> make(const Problem& p) {
  return std::make_unique<K>(p);
}

const Register reshape{"reshape", "copy", 0, prepare_same};
const Register copy{"copy", "copy", 0, prepare_same};
const Register stop_gradient{"stop_gradient", "copy", 0, prepare_same};
const Register transpose{"transpose", "strided-copy", 0, prepare_view<shape::transpose_view>};
const Register broadcast{"broadcast_to", "strided-copy", 0, prepare_view<shape::broadcast_view>};
const Register slice{"slice", "strided-copy", 0, prepare_view<shape::slice_view>};
const Register flip{"flip", "strided-copy", 0, prepare_view<shape::flip_view>};
const Register concat{"concat", "strided-copy", 0, prepare_concat};
const Register pad{"pad", "strided-copy", 0, prepare_pad};
const Register dynamic_slice{"dynamic_slice", "strided-copy", 0, make<DynamicSlice>};
const Register dynamic_update_slice{"dynamic_update_slice", "strided-copy", 0, make<DynamicUpdateSlice>};

}  // namespace
}  // namespace native
