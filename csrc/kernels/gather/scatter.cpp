// Scatters of whole rows. Updates are first sorted by destination (stably), so that each row of the result
// is written once, by one task, with its updates joined in their order: the bits do not depend on threads,
// nothing is locked, narrow floats are rounded once, and rows without updates are copied in runs.
#include "kernels/gather/scatter.h"

#include <cstring>

#include "kernels/gather/sorted_rows.h"
#include "kernels/shape/scalar.h"
#include "kernels/shape/tasks.h"
#include "runtime/registry.h"

namespace native {
namespace {

enum class ScatterOp { Sum, Prod, Max, Min, Set };

class RowScatter : public Kernel {
 public:
  // [outer, rows, inner] with updates [outer, count, inner]; operand and indices by their input numbers, the
  // operand -1 where it is all zeros.
  RowScatter(const Problem& p, ScatterOp op, int64_t outer, RowsView view, int base, int indices)
      : sorted_(std::move(view), p.in[static_cast<size_t>(indices)].dtype),
        outer_(outer),
        base_(base),
        indices_(indices),
        inner_(sorted_.view().inner),
        element_(static_cast<int64_t>(size_of(p.out[0].dtype))) {
    DType dtype = p.out[0].dtype;
    if (is_complex(dtype) && op != ScatterOp::Set) {
      dtype = dtype == DType::C64 ? DType::F32 : DType::F64;
      element_ /= 2;
      inner_ *= 2;
    }
    if (op != ScatterOp::Set) join_ = scatter_table().join[static_cast<int>(op)][static_cast<int>(dtype)];
    strip_ = join_ ? kJoinWidth : std::max<int64_t>(1, inner_);
  }
  size_t scratch_bytes() const override { return sorted_.scratch_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const SortedRows::Order order = sorted_.sort(in[indices_], scratch);
    const char* base = base_ < 0 ? nullptr : static_cast<const char*>(in[base_]);
    const char* updates = static_cast<const char*>(in[indices_ + 1]);
    char* y = static_cast<char*>(out[0]);
    const int64_t rows = sorted_.view().rows, count = sorted_.view().count;
    const int64_t block = rows * inner_ * element_, strips = std::max<int64_t>(1, ceil_div(inner_, strip_));
    // Blocks of rows, of about one task's bytes each, and strips of columns: a row that gets most of the
    // updates is still shared.
    const int64_t height = std::max<int64_t>(1, kTaskBytes / std::max<int64_t>(1, std::min(strip_, inner_) * element_));
    const int64_t blocks = ceil_div(rows, height);
    const int64_t bytes = outer_ * (block + count * inner_ * element_);
    parallel_ranges(outer_ * blocks * strips, bytes, [&](int64_t first, int64_t last) {
      for (int64_t unit = first; unit < last; ++unit) {
        const int64_t o = unit / strips / blocks, row = unit / strips % blocks * height, j = unit % strips * strip_;
        one_block(base ? base + o * block : nullptr, updates + o * count * inner_ * element_, y + o * block, order, row,
                  std::min(row + height, rows), j, std::min(strip_, inner_ - j));
      }
    });
  }

 private:
  // Rows [first, last) of columns [j, j + width).
  void one_block(const char* base, const char* updates, char* y, const SortedRows::Order& order, int64_t first,
                 int64_t last, int64_t j, int64_t width) const {
    int64_t at = order.find(first);
    for (int64_t row = first; row < last;) {
      const int64_t next = at < order.count ? std::min<int64_t>(order.rows[at], last) : last;
      copy(base, y, row, next, j, width);
      row = next;
      if (row == last) return;
      const uint32_t* from = order.updates + at;
      const int64_t end = order.end_of(at), n = end - at;
      const int64_t offset = (row * inner_ + j) * element_;
      if (const int64_t ahead = end + SortedRows::kAhead; ahead < order.count)
        __builtin_prefetch(updates + (order.updates[ahead] * inner_ + j) * element_);
      if (join_)
        join_(base ? base + offset : nullptr, updates + j * element_, from, n, inner_, width, y + offset);
      else
        std::memcpy(y + offset, updates + (from[n - 1] * inner_ + j) * element_, width * element_);
      at = end;
      ++row;
    }
  }

  // Rows without updates.
  void copy(const char* base, char* y, int64_t first, int64_t last, int64_t j, int64_t width) const {
    const bool whole = width == inner_;
    for (int64_t row = first; row < last; row = whole ? last : row + 1) {
      const int64_t offset = (row * inner_ + j) * element_;
      const size_t bytes = static_cast<size_t>((whole ? last - row : 1) * width * element_);
      if (base)
        std::memcpy(y + offset, base + offset, bytes);
      else
        std::memset(y + offset, 0, bytes);
    }
  }

  SortedRows sorted_;
  int64_t outer_;
  int base_, indices_;
  int64_t inner_, element_, strip_ = 1;
  ScatterTable::Join join_ = nullptr;
};

bool accepts(const Problem& p, ScatterOp op, const RowsView& view) {
  const DType dtype = p.out[0].dtype;
  const bool known = op == ScatterOp::Set || (is_complex(dtype) && op == ScatterOp::Sum) ||
                     (dtype <= DType::F64 && scatter_table().join[static_cast<int>(op)][static_cast<int>(dtype)]);
  return known && SortedRows::takes(view);
}

template <ScatterOp op>
std::unique_ptr<Kernel> prepare_nd(const Problem& p) {
  RowsView view(p.in[0].shape, p.in[1].shape);
  if (!accepts(p, op, view)) return nullptr;
  return std::make_unique<RowScatter>(p, op, 1, view, 0, 1);
}

// Along one axis, the indices a flat list of positions.
std::unique_ptr<Kernel> along(const Problem& p, int base, int indices) {
  const AxisView axis(p.out[0].shape, static_cast<size_t>(p.attrs.integer("axis")));
  const RowsView view({axis.size, axis.inner}, {p.in[static_cast<size_t>(indices)].count(), 1});
  if (!accepts(p, ScatterOp::Sum, view)) return nullptr;
  return std::make_unique<RowScatter>(p, ScatterOp::Sum, axis.outer, view, base, indices);
}
std::unique_ptr<Kernel> prepare_add(const Problem& p) { return along(p, 0, 1); }
std::unique_ptr<Kernel> prepare_gradient(const Problem& p) { return along(p, -1, 0); }

// scatter_along_axis_add: every column has positions of its own, so outer positions are the tasks.
template <class T, class A>
class AlongAxis : public Kernel {
 public:
  explicit AlongAxis(const Problem& p)
      : view_(p.in[0].shape, static_cast<size_t>(p.attrs.integer("axis"))),
        index_(p.in[1].dtype),
        taken_(p.in[1].shape[static_cast<size_t>(p.attrs.integer("axis"))]) {}
  void run(const void* const* in, void* const* out, void*) const override {
    const Indices indices(in[1], index_);
    const int64_t inner = view_.inner, block = view_.size * inner, taken = taken_ * inner;
    parallel_ranges(view_.outer, view_.outer * (block + taken) * static_cast<int64_t>(sizeof(T)),
                    [&](int64_t first, int64_t last) {
                      for (int64_t o = first; o < last; ++o) {
                        const T* x = static_cast<const T*>(in[0]) + o * block;
                        const T* u = static_cast<const T*>(in[2]) + o * taken;
                        T* y = static_cast<T*>(out[0]) + o * block;
                        A* sums;
                        if constexpr (std::is_same_v<T, A>)
                          sums = y;
                        else
                          sums = static_cast<A*>(pool::thread_scratch(static_cast<size_t>(block) * sizeof(A)));
                        for (int64_t i = 0; i < block; ++i) sums[i] = static_cast<A>(x[i]);
                        for (int64_t i = 0; i < taken; ++i)
                          sums[indices.at(o * taken + i, view_.size) * inner + i % inner] += static_cast<A>(u[i]);
                        if constexpr (!std::is_same_v<T, A>)
                          for (int64_t i = 0; i < block; ++i) y[i] = static_cast<T>(sums[i]);
                      }
                    });
  }

 private:
  AxisView view_;
  DType index_;
  int64_t taken_;
};

template <class T, class A = T>
std::unique_ptr<Kernel> make_along(const Problem& p) {
  return std::make_unique<AlongAxis<T, A>>(p);
}

std::unique_ptr<Kernel> prepare_along_axis(const Problem& p) {
  switch (p.out[0].dtype) {
    case DType::U8:
    case DType::I8:
      return make_along<uint8_t>(p);
    case DType::U16:
    case DType::I16:
      return make_along<uint16_t>(p);
    case DType::U32:
    case DType::I32:
      return make_along<uint32_t>(p);
    case DType::U64:
    case DType::I64:
      return make_along<uint64_t>(p);
    case DType::F16:
      return make_along<F16, float>(p);
    case DType::BF16:
      return make_along<Bf16, float>(p);
    case DType::F32:
      return make_along<float>(p);
    case DType::F64:
      return make_along<double>(p);
    default:
      return nullptr;
  }
}

const Register add{"scatter_add", "sorted-rows", 0, prepare_add};
const Register gradient{"gather_grad", "sorted-rows", 0, prepare_gradient};
const Register nd_add{"scatter_nd_add", "sorted-rows", 0, prepare_nd<ScatterOp::Sum>};
const Register nd_set{"scatter_nd_set", "sorted-rows", 0, prepare_nd<ScatterOp::Set>};
const Register nd_max{"scatter_nd_max", "sorted-rows", 0, prepare_nd<ScatterOp::Max>};
const Register nd_min{"scatter_nd_min", "sorted-rows", 0, prepare_nd<ScatterOp::Min>};
const Register nd_mul{"scatter_nd_mul", "sorted-rows", 0, prepare_nd<ScatterOp::Prod>};
const Register along_axis{"scatter_along_axis_add", "columns", 0, prepare_along_axis};

}  // namespace
}  // namespace native
