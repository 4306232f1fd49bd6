// Max and average pooling and their gradients: one pass over memory, vectorised over channels.
//
// Forward passes and selections are cut into rows of outputs. Gradients accumulate where windows overlap,
// so they are cut into whole images; windows that do not overlap write each position once instead.
#include "kernels/pool/pool.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <limits>
#include <vector>

#include "kernels/shape/tasks.h"
#include "runtime/pool.h"
#include "runtime/registry.h"
#include "simd/nontemporal.h"

namespace native::pooling {
namespace {

using Triple = std::array<int64_t, 3>;

enum class Op { Max, MaxPlaces, MaxGrad, MaxScatter, MaxSelect, Avg, AvgGrad };

constexpr bool is_gradient(Op op) { return op == Op::MaxGrad || op == Op::MaxScatter || op == Op::AvgGrad; }
// Its first operand is as the windows are; the array is the result.
constexpr bool starts_from_windows(Op op) { return op == Op::MaxScatter || op == Op::AvgGrad; }

constexpr size_t kWidestVector = 64;

// Missing dimensions in front have size, window and stride 1.
struct Geometry {
  int64_t batch = 0, channels = 0;
  Triple in{1, 1, 1}, out{1, 1, 1}, window{1, 1, 1}, stride{1, 1, 1}, low{0, 0, 0};
  bool count_padding = false;

  int64_t in_image() const { return in[0] * in[1] * in[2] * channels; }
  int64_t out_row() const { return out[2] * channels; }
};

bool geometry_of(const Problem& problem, Op op, Geometry* g) {
  const Shape& in = starts_from_windows(op) ? problem.out[0].shape : problem.in[0].shape;
  const Shape& out = starts_from_windows(op) ? problem.in[0].shape
                     : op == Op::MaxGrad     ? problem.in[1].shape
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
  Pool(const Geometry& g, Op op, int64_t result_bytes) : g_(g), op_(op) {
    if constexpr (sizeof(T) == 4)
      loops_ = pool_table().f32;
    else
      loops_ = pool_table().f64;
    apart_ = true;
    for (int i = 0; i < 3; ++i) apart_ = apart_ && g.window[i] <= g.stride[i];
    covers_ = covers();
    ask_ = !apart_ && is_far(g.batch * g.in_image() * static_cast<int64_t>(sizeof(T)));
    far_ = is_far(result_bytes) && covers_;
    staged_ = is_far(result_bytes) && !apart_ && starts_from_windows(op) && g.in[0] == 1 && g.out[0] == 1 &&
              row_bytes() >= kFarRow && g.window[1] * static_cast<int64_t>(row_bytes()) <= cache_sizes().l2 / 2;
  }

  void run(const void* const* in, void* const* out, void*) const override {
    constexpr int64_t kElements = 64 << 10;  // a task's outputs: about 10 microseconds
    const bool gradient = is_gradient(op_);
    const int64_t image_rows = g_.out[0] * g_.out[1];
    const int64_t least = std::max<int64_t>(1, kElements / std::max<int64_t>(1, g_.out_row()));
    // A gradient's task is whole images, because windows of neighbouring rows may share positions.
    const int64_t unit = gradient ? image_rows : 1;
    const int64_t each = std::max<int64_t>(1, least / unit) * unit;
    const int64_t rows = g_.batch * image_rows;
    pool::parallel_for(ceil_div(rows, each), [&](int64_t task) {
      const int64_t first = task * each, last = std::min(rows, first + each);
      auto* const scratch = static_cast<char*>(pool::thread_scratch(table_bytes() + stage_bytes()));
      auto* const offsets = reinterpret_cast<int64_t*>(scratch);
      T* const stage = staged_ ? reinterpret_cast<T*>(scratch + table_bytes()) : nullptr;
      for (int64_t row = first; row < last; ++row) {
        if (gradient && !covers_) clear(static_cast<T*>(out[0]), row, stage);
        if (!run_row(row, in, out, offsets, stage, true)) run_row(row, in, out, offsets, stage, false);
        if (staged_) leave(static_cast<T*>(out[0]), row, stage);
      }
    });
  }

 private:
  // Of the taps' offsets and numbers.
  size_t table_bytes() const {
    return static_cast<size_t>(
               ceil_div(window_size() * static_cast<int64_t>(sizeof(int64_t) + 1), static_cast<int64_t>(kLineBytes))) *
           kLineBytes;
  }
  size_t stage_bytes() const { return staged_ ? static_cast<size_t>(g_.window[1]) * stage_row() * sizeof(T) : 0; }
  // Rows a multiple of 4 KB apart would take each other's stores for their own.
  int64_t stage_row() const { return g_.in[2] * g_.channels + 1024 / static_cast<int64_t>(sizeof(T)); }
  size_t row_bytes() const { return static_cast<size_t>(g_.in[2] * g_.channels) * sizeof(T); }
  int64_t window_size() const { return g_.window[0] * g_.window[1] * g_.window[2]; }

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

  // Positions that windows up to o, but none before, may touch, and those behind the last ones.
  Range reached(int dim, int64_t o) const {
    const auto end = [&](int64_t to) { return std::max<int64_t>(0, range(dim, to).last); };
    return {o == 0 ? 0 : end(o - 1), o + 1 == g_.out[dim] ? g_.in[dim] : end(o)};
  }

  // The rows that a row of windows is the first to add to, while a near cache still has them when it does.
  void clear(T* gradient, int64_t row, T* stage) const {
    const int64_t h = row % g_.out[1], d = row / g_.out[1] % g_.out[0], n = row / g_.out[1] / g_.out[0];
    const Range planes = reached(0, d), rows = reached(1, h), inside = range(1, h);
    for (int64_t a = planes.first; a < planes.last; ++a)
      for (int64_t b = rows.first; b < rows.last; ++b) {
        const bool here = stage && b >= inside.first && b < inside.last;
        std::memset(here ? staged(stage, b) : row_of(gradient, n, a, b), 0, row_bytes());
      }
  }

  // Gradients that no cache keeps are added up in rows of their own. Those which later windows do not reach leave.
  void leave(T* gradient, int64_t row, T* stage) const {
    const int64_t h = row % g_.out[1], n = row / g_.out[1];
    const Range inside = range(1, h);
    const int64_t end = h + 1 == g_.out[1] ? inside.last : std::min(inside.last, range(1, h + 1).first);
    for (int64_t b = inside.first; b < end; ++b)
      copy_nontemporal(row_of(gradient, n, 0, b), staged(stage, b), row_bytes(), {});
  }
  T* row_of(T* gradient, int64_t n, int64_t a, int64_t b) const {
    return gradient + n * g_.in_image() + (a * g_.in[1] + b) * g_.in[2] * g_.channels;
  }
  T* staged(T* stage, int64_t b) const { return stage + b % g_.window[1] * stage_row(); }

  // Maxima are taken as of numbers, if so told: false if there was something else.
  bool run_row(int64_t row, const void* const* in, void* const* out, int64_t* offsets, T* stage,
               bool of_numbers) const {
    const int64_t h = row % g_.out[1], d = row / g_.out[1] % g_.out[0], n = row / g_.out[1] / g_.out[0];
    const Range over_d = range(0, d), over_h = range(1, h);
    const T* first = static_cast<const T*>(in[0]);
    Window<T> w{};
    // Numbers are bytes; where they would not fit nothing reads them.
    auto* const numbers = reinterpret_cast<uint8_t*>(offsets + window_size());
    T unusual[kWidestVector / sizeof(T)] = {};
    w.offsets = offsets;
    w.numbers = numbers;
    w.unusual = unusual;
    w.channels = g_.channels;
    w.ask = ask_;
    w.far = far_;
    const int64_t image = n * g_.in_image();
    const int64_t low_d = d * g_.stride[0] - g_.low[0], low_h = h * g_.stride[1] - g_.low[1];
    Range columns{0, -1};  // of the window before that were inside; windows with the same ones have the same taps
    for (int64_t o = 0; o < g_.out[2]; ++o) {
      const int64_t low_w = o * g_.stride[2] - g_.low[2], from = image + low_w * g_.channels;
      T* const to = stage ? stage + low_w * g_.channels : static_cast<T*>(out[0]) + from;
      const Range over_w{range(2, o).first - low_w, range(2, o).last - low_w};
      if (over_w.first != columns.first || over_w.last != columns.last) {
        columns = over_w;
        w.taps = 0;
        for (int64_t a = over_d.first; a < over_d.last; ++a)
          for (int64_t b = over_h.first; b < over_h.last; ++b)
            for (int64_t c = over_w.first; c < over_w.last; ++c) {
              const int64_t line = (a - low_d) * g_.window[1] + b - low_h;
              numbers[w.taps] = static_cast<uint8_t>(line * g_.window[2] + c);
              const int64_t start =
                  stage ? b % g_.window[1] * stage_row() : (a * g_.in[1] + b) * g_.in[2] * g_.channels;
              offsets[w.taps++] = start + c * g_.channels;
            }
        const int64_t count = g_.count_padding ? window_size() : std::max<int64_t>(1, w.taps);
        w.scale = T(1) / static_cast<T>(count);
      }
      w.x = starts_from_windows(op_) ? nullptr : first + from;
      one(w, in, row * g_.out_row() + o * g_.channels, from, of_numbers, out, to);
    }
    return std::all_of(unusual, unusual + std::size(unusual), [](T v) { return v == 0; });
  }

  void maximum(const Window<T>& w, T* out, uint8_t* place, bool of_numbers) const {
    if (w.taps == 0) {
      std::fill(out, out + w.channels, -std::numeric_limits<T>::infinity());
      if (place) std::fill(place, place + w.channels, kNowhere);
    } else if (place) {
      (of_numbers ? loops_.placed_of_numbers : loops_.placed)(w, out, place);
    } else {
      (of_numbers ? loops_.maximum_of_numbers : loops_.maximum)(w, out, nullptr);
    }
  }

  void one(const Window<T>& w, const void* const* in, int64_t at, int64_t from, bool of_numbers, void* const* outs,
           T* gradient) const {
    const auto operand = [&](int i) { return static_cast<const T*>(in[i]); };
    T* const out = static_cast<T*>(outs[0]);
    switch (op_) {
      case Op::Max:
      case Op::MaxPlaces:
        maximum(w, out + at, op_ == Op::MaxPlaces ? static_cast<uint8_t*>(outs[1]) + at : nullptr, of_numbers);
        break;
      case Op::MaxScatter:
        (apart_ ? loops_.scatter_set : loops_.scatter_add)(w, static_cast<const uint8_t*>(in[0]) + at, operand(1) + at,
                                                           gradient);
        break;
      case Op::Avg:
        loops_.average(w, out + at);
        break;
      case Op::MaxGrad:
        (apart_ ? loops_.maximum_set : loops_.maximum_add)(w, operand(1) + at, operand(2) + at, gradient);
        break;
      case Op::MaxSelect:
        loops_.select(w, operand(1) + at, operand(2) + from, out + at);
        break;
      case Op::AvgGrad:
        (apart_ ? loops_.average_set : loops_.average_add)(w, operand(0) + at, gradient);
        break;
    }
  }

  const Geometry g_;
  const Op op_;
  PoolLoops<T> loops_;
  bool apart_;   // no two windows share a position
  bool covers_;  // each position is in one window
  bool staged_;  // a gradient that no cache keeps, to which windows add
  bool ask_;     // as a window has it
  bool far_;     // a gradient: no cache keeps it, and each of its positions is set once
};

template <Op kOp>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  Geometry g;
  if (!geometry_of(problem, kOp, &g)) return nullptr;
  const bool by_places = kOp == Op::MaxPlaces || kOp == Op::MaxScatter;
  if (by_places && g.window[0] * g.window[1] * g.window[2] > kNowhere) return nullptr;
  const auto bytes = static_cast<int64_t>(problem.out[0].bytes());
  switch (problem.out[0].dtype) {
    case DType::F32:
      return std::make_unique<Pool<float>>(g, kOp, bytes);
    case DType::F64:
      return std::make_unique<Pool<double>>(g, kOp, bytes);
    default:
      return nullptr;
  }
}

const Register maximum{"max_pool", "channels", 10, prepare<Op::Max>};
const Register maximum_places{"max_pool_places", "channels", 10, prepare<Op::MaxPlaces>};
const Register maximum_scatter{"max_pool_scatter", "channels", 10, prepare<Op::MaxScatter>};
const Register maximum_gradient{"max_pool_grad", "channels", 10, prepare<Op::MaxGrad>};
const Register maximum_select{"max_pool_select", "channels", 10, prepare<Op::MaxSelect>};
const Register average{"avg_pool", "channels", 10, prepare<Op::Avg>};
const Register average_gradient{"avg_pool_grad", "channels", 10, prepare<Op::AvgGrad>};

}  // namespace
}  // namespace native::pooling
