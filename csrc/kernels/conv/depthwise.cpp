// Depthwise convolution: one input channel for each output channel. Forward, gradient by the input (one
// pass of the same loop for each residue of the position modulo the stride) and by the weights.
#include "kernels/conv/depthwise.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/conv/activate.h"
#include "kernels/grid.h"
#include "runtime/pool.h"
#include "simd/nontemporal.h"

namespace native::conv {
namespace {

constexpr int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -ceil_div(-a, b); }
constexpr int64_t kLeastWork = 128 << 10;  // multiply-adds a task; they are bound by memory
// Elements from a source to what is asked for with it: the loop over channels strides over pixels, where no prefetcher
// follows. Of the last rows of taps, as others have read the rest.
constexpr int64_t kAhead = 1024;
// Weights of all channels that the first cache keeps beside sources; else those of a group of channels, whose windows
// of a row's results stay there, too.
constexpr int64_t kMostWeightBytes = 16 << 10, kGroupWeightBytes = 4 << 10;
// Rows of a task, if there are so many tasks then: the rows that it reads first are in the cache of no other thread.
constexpr int64_t kMostRows = 16, kManyTasks = 16;

// The taps of one dimension that reach results of one residue: result j * step + residue reads source
// j * multiplier + offset by kernel tap k.
struct Reach {
  struct Tap {
    int64_t k, offset;
  };
  int64_t residue, step, multiplier;
  std::vector<Tap> taps;

  int64_t last() const { return taps.empty() ? 0 : taps.back().offset; }
};

std::vector<Reach> reaches(const Geometry& g, int dim, bool input_grad) {
  std::vector<Reach> all;
  if (!input_grad) {
    all.push_back({0, 1, g.stride[dim], {}});
    for (int64_t k = 0; k < g.kernel[dim]; ++k) all[0].taps.push_back({k, k * g.dilation[dim] - g.low[dim]});
    return all;
  }
  for (int64_t r = 0; r < g.stride[dim]; ++r) {
    all.push_back({r, g.stride[dim], 1, {}});
    // Last tap first: offsets ascend.
    for (int64_t k = g.kernel[dim] - 1; k >= 0; --k) {
      const int64_t distance = r + g.low[dim] - k * g.dilation[dim];
      if (distance % g.stride[dim] == 0) all.back().taps.push_back({k, distance / g.stride[dim]});
    }
  }
  return all;
}

// Those j in [0, count) for which j * multiplier + offset lies in [0, size).
std::pair<int64_t, int64_t> inside(int64_t count, int64_t multiplier, int64_t offset, int64_t size) {
  const int64_t first = std::clamp<int64_t>(ceil_div(std::max<int64_t>(0, -offset), multiplier), 0, count);
  const int64_t last = std::clamp<int64_t>(floor_div(size - 1 - offset, multiplier) + 1, first, count);
  return {first, last};
}

template <class T>
class Depthwise final : public Kernel {
 public:
  Depthwise(const Geometry& g, bool input_grad, Activation activation)
      : g_(g),
        activation_(activation),
        source_(input_grad ? g.out : g.in),
        result_(input_grad ? g.in : g.out),
        run_(nullptr) {
    if constexpr (sizeof(T) == 4)
      run_ = depthwise_table().run_f32;
    else
      run_ = depthwise_table().run_f64;
    for (int i = 0; i < 3; ++i) reaches_[i] = reaches(g, i, input_grad);
    rows_ = g.batch * result_[0] * result_[1];
    const int64_t row_work = std::max<int64_t>(1, result_[2] * g.taps() * g.cin);
    rows_each_ = std::max<int64_t>({1, kLeastWork / row_work, std::min(kMostRows, rows_ / kManyTasks)});
    spans_ = list_spans();
    const int64_t pixel = g.cin * static_cast<int64_t>(sizeof(T));
    const int64_t weight_bytes = g.taps() * static_cast<int64_t>(sizeof(T));
    group_ = weight_bytes * g.cin > kMostWeightBytes ? kGroupWeightBytes / weight_bytes : g.cin;
    // Half of the last level together: measured, with what is read after it.
    past_caches_ = is_far((g.in_pixels() + g.out_pixels()) * pixel) && pixel % kLineBytes == 0 &&
                   (activation == kNoBias || activation <= Activation::Relu6);
  }

  void run(const void* const* in, void* const* out, void*) const override {
    const T* source = static_cast<const T*>(in[0]);
    const T* weights = static_cast<const T*>(in[1]);
    const T* bias = activation_ == kNoBias ? nullptr : static_cast<const T*>(in[2]);
    T* result = static_cast<T*>(out[0]);
    pool::parallel_for(ceil_div(rows_, rows_each_), [&](int64_t task) {
      const T** terms = static_cast<const T**>(pool::thread_scratch(2 * g_.taps() * sizeof(T*)));
      for (int64_t row = task * rows_each_; row < std::min(rows_, (task + 1) * rows_each_); ++row)
        run_row(row, source, weights, bias, result + row * result_[2] * g_.cin, terms);
    });
  }

  static constexpr Activation kNoBias = static_cast<Activation>(-1);

 private:
  // Results of one residue along the width: positions residue + step * (first + i).
  struct Span {
    int64_t first, count, residue;
    int window;  // as DepthwiseRun::window
    std::vector<Reach::Tap> taps;
  };

  // How many neighbours the taps of a row see, where DepthwiseRun takes so many; else 1.
  static int window_of(const Reach& reach) {
    const auto& taps = reach.taps;
    const size_t size = taps.size();
    if (!kHasWindows<T> || reach.multiplier > 2 || (size != 3 && size != 5 && (size != 7 || reach.multiplier == 2)))
      return 1;
    for (size_t i = 1; i < size; ++i)
      if (taps[i].offset != taps[0].offset + static_cast<int64_t>(i)) return 1;
    return static_cast<int>(size);
  }

  // Windows are clipped where they are computed; of single taps, results share those that lie inside the source.
  std::vector<Span> list_spans() const {
    std::vector<Span> spans;
    for (const Reach& reach : reaches_[2]) {
      if (reach.residue >= result_[2]) continue;
      const int64_t count = ceil_div(result_[2] - reach.residue, reach.step);
      if (const int window = window_of(reach); window > 1) {
        spans.push_back({0, count, reach.residue, window, reach.taps});
        continue;
      }
      std::vector<int64_t> cuts{0, count};
      for (const auto& tap : reach.taps) {
        const auto [first, last] = inside(count, reach.multiplier, tap.offset, source_[2]);
        cuts.insert(cuts.end(), {first, last});
      }
      std::sort(cuts.begin(), cuts.end());
      for (size_t i = 0; i + 1 < cuts.size(); ++i) {
        if (cuts[i] == cuts[i + 1]) continue;
        Span span{cuts[i], cuts[i + 1] - cuts[i], reach.residue, 1, {}};
        for (const auto& tap : reach.taps) {
          const auto [first, last] = inside(count, reach.multiplier, tap.offset, source_[2]);
          if (first <= span.first && span.first < last) span.taps.push_back(tap);
        }
        spans.push_back(std::move(span));
      }
    }
    return spans;
  }

  void run_row(int64_t row, const T* source, const T* weights, const T* bias, T* result, const T** terms) const {
    const int64_t h = row % result_[1], d = row / result_[1] % result_[0], n = row / result_[1] / result_[0];
    const Reach& across_d = reaches_[0][d % reaches_[0][0].step];
    const Reach& across_h = reaches_[1][h % reaches_[1][0].step];
    const int64_t width_step = reaches_[2][0].step, multiplier = reaches_[2][0].multiplier;
    DepthwiseRun<T> r{};
    r.sources = terms;
    r.weights = terms + g_.taps();
    r.source_step = multiplier * g_.cin;
    r.result_step = width_step * g_.cin;
    r.channels = g_.cin;
    r.bias = bias;
    r.past_caches = past_caches_ && at_line(result);
    r.activation = activation_ == kNoBias ? 0 : inner_activation(activation_);
    r.source_row = source_[2] * g_.cin;
    const int64_t last = (n * source_[0] + d / across_d.step * across_d.multiplier + across_d.last()) * source_[1] +
                         h / across_h.step * across_h.multiplier + across_h.last();
    for (const Span& span : spans_) {
      const int64_t row_taps = static_cast<int64_t>(span.taps.size()), windows = row_taps / span.window;
      const int64_t first = span.first * multiplier;
      r.terms = 0;
      r.window = span.window;
      r.stride = r.window > 1 ? static_cast<int>(multiplier) : 1;
      r.weight_step = r.window > 1 ? (span.taps[1].k - span.taps[0].k) * g_.cin : 0;
      r.first_inside = r.window > 1 ? -span.taps[0].offset : 0;
      r.last_inside = r.first_inside + source_[2];
      // Windows of 3 are too short to begin with their weights anew for each group.
      r.group = r.window > 3 ? group_ : g_.cin;
      const int64_t ahead = r.group < g_.cin ? span.count * r.source_step : kAhead;
      r.ahead = source + (last + 1 - r.stride) * r.source_row + first * g_.cin + ahead;
      for (const auto& tap_d : across_d.taps) {
        const int64_t at_d = d / across_d.step * across_d.multiplier + tap_d.offset;
        if (at_d < 0 || at_d >= source_[0]) continue;
        for (const auto& tap_h : across_h.taps) {
          const int64_t at_h = h / across_h.step * across_h.multiplier + tap_h.offset;
          if (at_h < 0 || at_h >= source_[1]) continue;
          const int64_t line = ((n * source_[0] + at_d) * source_[1] + at_h) * source_[2];
          for (int64_t i = 0; i < windows; ++i) {
            const Reach::Tap& tap = span.taps[i * span.window];
            terms[r.terms] = source + (line + first + tap.offset) * g_.cin;
            terms[g_.taps() + r.terms++] =
                weights + ((tap_d.k * g_.kernel[1] + tap_h.k) * g_.kernel[2] + tap.k) * g_.cin;
          }
        }
      }
      r.result = result + (span.residue + span.first * width_step) * g_.cin;
      r.count = span.count;
      run_(r);
    }
    if (activation_ != kNoBias) finish(activation_, result_[2], g_.cin, result, g_.cin);
  }

  const Geometry g_;
  const Activation activation_;
  const Triple source_, result_;
  void (*run_)(const DepthwiseRun<T>&);
  std::array<std::vector<Reach>, 3> reaches_;
  std::vector<Span> spans_;
  int64_t rows_, rows_each_, group_;
  bool past_caches_;
};

template <class T>
class DepthwiseWeightGrad final : public Kernel {
 public:
  explicit DepthwiseWeightGrad(const Geometry& g) : g_(g), sum_(nullptr) {
    if constexpr (sizeof(T) == 4)
      sum_ = depthwise_table().sum_f32;
    else
      sum_ = depthwise_table().sum_f64;
    rows_ = g.batch * g.out[0] * g.out[1];
    tasks_ = std::clamp<int64_t>(g.multiply_adds() / (4 * kLeastWork), 1, std::clamp<int64_t>(rows_, 1, 16));
  }

  size_t scratch_bytes() const override { return tasks_ > 1 ? tasks_ * partial_bytes() : 0; }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const T* x = static_cast<const T*>(in[0]);
    const T* ct = static_cast<const T*>(in[1]);
    T* result = static_cast<T*>(out[0]);
    char* partial = tasks_ > 1 ? static_cast<char*>(scratch) : reinterpret_cast<char*>(result);
    pool::parallel_for(tasks_, [&](int64_t task) {
      T* sums = reinterpret_cast<T*>(partial + task * partial_bytes());
      std::memset(sums, 0, g_.taps() * g_.cin * sizeof(T));
      for (int64_t row = rows_ * task / tasks_; row < rows_ * (task + 1) / tasks_; ++row) add_row(row, x, ct, sums);
    });
    if (tasks_ == 1) return;
    std::memcpy(result, partial, g_.taps() * g_.cin * sizeof(T));
    for (int64_t task = 1; task < tasks_; ++task) {
      const T* sums = reinterpret_cast<const T*>(partial + task * partial_bytes());
      for (int64_t i = 0; i < g_.taps() * g_.cin; ++i) result[i] += sums[i];
    }
  }

 private:
  size_t partial_bytes() const { return whole_lines(g_.taps() * g_.cin * sizeof(T)); }

  void add_row(int64_t row, const T* x, const T* ct, T* sums) const {
    const int64_t h = row % g_.out[1], d = row / g_.out[1] % g_.out[0], n = row / g_.out[1] / g_.out[0];
    DepthwiseSum<T> s{};
    s.source_step = g_.stride[2] * g_.cin;
    s.cotangent_step = g_.cin;
    s.channels = g_.cin;
    for (int64_t kd = 0; kd < g_.kernel[0]; ++kd) {
      const int64_t at_d = d * g_.stride[0] - g_.low[0] + kd * g_.dilation[0];
      if (at_d < 0 || at_d >= g_.in[0]) continue;
      for (int64_t kw = 0; kw < g_.kernel[2]; ++kw) {
        const int64_t offset = kw * g_.dilation[2] - g_.low[2];
        const auto [first, last] = inside(g_.out[2], g_.stride[2], offset, g_.in[2]);
        if (first == last) continue;
        s.count = last - first;
        s.cotangent = ct + (row * g_.out[2] + first) * g_.cin;
        s.rows = 0;
        for (int64_t kh = 0; kh < g_.kernel[1]; ++kh) {
          const int64_t at_h = h * g_.stride[1] - g_.low[1] + kh * g_.dilation[1];
          if (at_h >= 0 && at_h < g_.in[1]) {
            s.sources[s.rows] =
                x + (((n * g_.in[0] + at_d) * g_.in[1] + at_h) * g_.in[2] + first * g_.stride[2] + offset) * g_.cin;
            s.sums[s.rows++] = sums + ((kd * g_.kernel[1] + kh) * g_.kernel[2] + kw) * g_.cin;
          }
          if (s.rows == kDepthwiseRows || (kh + 1 == g_.kernel[1] && s.rows > 0)) {
            sum_(s);
            s.rows = 0;
          }
        }
      }
    }
  }

  const Geometry g_;
  void (*sum_)(const DepthwiseSum<T>&);
  int64_t rows_, tasks_;
};

template <class T>
std::unique_ptr<Kernel> make(const Problem& problem, const Geometry& g) {
  if (problem.op == "conv_weight_grad") return std::make_unique<DepthwiseWeightGrad<T>>(g);
  const Activation activation = problem.op == "conv_bias_act" ? activation_of(problem) : Depthwise<T>::kNoBias;
  return std::make_unique<Depthwise<T>>(g, problem.op == "conv_input_grad", activation);
}

std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || g->groups != g->cin || g->cin != g->cout || g->groups == 1) return nullptr;
  if (problem.in.size() > 3) return nullptr;  // a residual
  switch (problem.out[0].dtype) {
    case DType::F32:
      return make<float>(problem, *g);
    case DType::F64:
      return make<double>(problem, *g);
    default:
      return nullptr;
  }
}

const Register entry{{"conv", "conv_bias_act", "conv_input_grad", "conv_weight_grad"},
                     "depthwise",
                     20,
                     prepare,
                     "a group for each channel, float32 and float64, no residual"};

}  // namespace
}  // namespace native::conv
