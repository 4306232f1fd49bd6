// Max and average pooling and their gradients: one pass over memory, vectorised over channels.
//
// Forward passes and selections are cut into rows of outputs. Gradients accumulate where windows overlap,
// so they are cut into whole images; windows that do not overlap write each position once instead.
#include "kernels/pool/pool.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <vector>

#include "runtime/pool.h"
#include "runtime/registry.h"

namespace native::pooling {
namespace {

using Triple = std::array<int64_t, 3>;
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

enum class Op { Max, MaxGrad, MaxSelect, Avg, AvgGrad };

// Missing dimensions in front have size, window and stride 1.
struct Geometry {
  int64_t batch = 0, channels = 0;
  Triple in{1, 1, 1}, out{1, 1, 1}, window{1, 1, 1}, stride{1, 1, 1}, low{0, 0, 0};
  bool count_padding = false;

  int64_t in_image() const { return in[0] * in[1] * in[2] * channels; }
  int64_t out_row() const { return out[2] * channels; }
};

bool geometry_of(const Problem& problem, Op op, Geometry* g) {
  const Shape& in = op == Op::AvgGrad ? problem.out[0].shape : problem.in[0].shape;
  const Shape& out = op == Op::AvgGrad   ? problem.in[0].shape
                     : op == Op::MaxGrad ? problem.in[1].shape
                                         : problem.out[0].shape;
  if (in.size() < 3 || in.size() > 5) return false;
  const size_t rank = in.size() - 2;
  g->batch = in[0];
  g->channels = in.back();
  for (size_t i = 0; i < rank; ++i) {
    const size_t at = 3 - rank + i;
    g->in[at] = in[1 + i];
    g->out[at] = out[1 + i];
    g->window[at] = problem.attrs.ints("window")[i];
    g->stride[at] = problem.attrs.ints("strides")[i];
    g->low[at] = problem.attrs.ints("padding")[2 * i];
  }
  g->count_padding = problem.attrs.integer("count_include_pad", 0) != 0;
  return true;
}

// Positions of a window's taps that lie inside the input.
struct Range {
  int64_t first, last;
  int64_t count() const { return std::max<int64_t>(0, last - first); }
};

template <class T>
class Pool final : public Kernel {
 public:
  Pool(const Geometry& g, Op op) : g_(g), op_(op) {
    if constexpr (sizeof(T) == 4)
      loops_ = pool_table().f32;
    else
      loops_ = pool_table().f64;
    apart_ = true;
    for (int i = 0; i < 3; ++i) apart_ = apart_ && g.window[i] <= g.stride[i];
  }

  void run(const void* const* in, void* const* out, void*) const override {
    constexpr int64_t kElements = 64 << 10;  // a task's outputs: about 10 microseconds
    const bool gradient = op_ == Op::MaxGrad || op_ == Op::AvgGrad;
    const int64_t image_rows = g_.out[0] * g_.out[1];
    const int64_t least = std::max<int64_t>(1, kElements / std::max<int64_t>(1, g_.out_row()));
    // A gradient's task is whole images, because windows of neighbouring rows may share positions.
    const int64_t unit = gradient ? image_rows : 1;
    const int64_t each = std::max<int64_t>(1, least / unit) * unit;
    const int64_t rows = g_.batch * image_rows;
    pool::parallel_for(ceil_div(rows, each), [&](int64_t task) {
      const int64_t first = task * each, last = std::min(rows, first + each);
      if (gradient) clear(static_cast<T*>(out[0]), first / image_rows, last / image_rows);
      int64_t* offsets =
          static_cast<int64_t*>(pool::thread_scratch(g_.window[0] * g_.window[1] * g_.window[2] * sizeof(int64_t)));
      for (int64_t row = first; row < last; ++row) run_row(row, in, static_cast<T*>(out[0]), offsets);
    });
  }

 private:
  Range range(int dim, int64_t o) const {
    const int64_t first = o * g_.stride[dim] - g_.low[dim];
    return {std::max<int64_t>(0, first), std::min(g_.in[dim], first + g_.window[dim])};
  }

  // Windows that touch every position exactly once leave nothing to clear.
  bool covers() const {
    if (!apart_) return false;
    for (int i = 0; i < 3; ++i)
      if (g_.window[i] != g_.stride[i] || g_.out[i] * g_.stride[i] - g_.low[i] < g_.in[i]) return false;
    return true;
  }

  void clear(T* gradient, int64_t first, int64_t last) const {
    if (!covers()) std::memset(gradient + first * g_.in_image(), 0, (last - first) * g_.in_image() * sizeof(T));
  }

  void run_row(int64_t row, const void* const* in, T* out, int64_t* offsets) const {
    const int64_t h = row % g_.out[1], d = row / g_.out[1] % g_.out[0], n = row / g_.out[1] / g_.out[0];
    const Range over_d = range(0, d), over_h = range(1, h);
    const T* first = static_cast<const T*>(in[0]);
    Window<T> w{};
    w.offsets = offsets;
    w.channels = g_.channels;
    const bool reads_x = op_ != Op::AvgGrad;
    const int64_t image = n * g_.in_image();
    w.x = reads_x ? first + image : nullptr;
    for (int64_t o = 0; o < g_.out[2]; ++o) {
      const Range over_w = range(2, o);
      w.taps = 0;
      for (int64_t a = over_d.first; a < over_d.last; ++a)
        for (int64_t b = over_h.first; b < over_h.last; ++b)
          for (int64_t c = over_w.first; c < over_w.last; ++c)
            offsets[w.taps++] = ((a * g_.in[1] + b) * g_.in[2] + c) * g_.channels;
      const int64_t count =
          g_.count_padding ? g_.window[0] * g_.window[1] * g_.window[2] : std::max<int64_t>(1, w.taps);
      w.scale = T(1) / static_cast<T>(count);
      const int64_t at = row * g_.out_row() + o * g_.channels;
      one(w, in, at, image, out);
    }
  }

  void one(const Window<T>& w, const void* const* in, int64_t at, int64_t image, T* out) const {
    const auto operand = [&](int i) { return static_cast<const T*>(in[i]); };
    switch (op_) {
      case Op::Max:
        if (w.taps == 0)
          std::fill(out + at, out + at + w.channels, -std::numeric_limits<T>::infinity());
        else
          loops_.maximum(w, out + at);
        break;
      case Op::Avg:
        loops_.average(w, out + at);
        break;
      case Op::MaxGrad:
        (apart_ ? loops_.maximum_set : loops_.maximum_add)(w, operand(1) + at, operand(2) + at, out + image);
        break;
      case Op::MaxSelect:
        loops_.select(w, operand(1) + at, operand(2) + image, out + at);
        break;
      case Op::AvgGrad:
        (apart_ ? loops_.average_set : loops_.average_add)(w, operand(0) + at, out + image);
        break;
    }
  }

  const Geometry g_;
  const Op op_;
  PoolLoops<T> loops_;
  bool apart_;  // no two windows share a position
};

template <Op kOp>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  Geometry g;
  if (!geometry_of(problem, kOp, &g)) return nullptr;
  switch (problem.out[0].dtype) {
    case DType::F32:
      return std::make_unique<Pool<float>>(g, kOp);
    case DType::F64:
      return std::make_unique<Pool<double>>(g, kOp);
    default:
      return nullptr;
  }
}

const Register maximum{"max_pool", "channels", 10, prepare<Op::Max>};
const Register maximum_gradient{"max_pool_grad", "channels", 10, prepare<Op::MaxGrad>};
const Register maximum_select{"max_pool_select", "channels", 10, prepare<Op::MaxSelect>};
const Register average{"avg_pool", "channels", 10, prepare<Op::Avg>};
const Register average_gradient{"avg_pool_grad", "channels", 10, prepare<Op::AvgGrad>};

}  // namespace
}  // namespace native::pooling
