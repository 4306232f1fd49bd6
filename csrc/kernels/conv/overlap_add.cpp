// Convolution with few channels of the result: its gradient by the input, and the forward pass of stride 1, which is
// the same with the taps in reverse. A tile of results is as wide as a vector and would be mostly empty. Here one
// product of the source by the weights of all taps makes each source pixel's window of the result, [taps, channels],
// and the windows are added up where they overlap.
//
// The source is taken some lines at a time. Within these each line of the result belongs to one task, and its windows
// are added in the order of the source: the same bits for any number of threads.
#include <algorithm>
#include <cstring>

#include "kernels/conv/activate.h"
#include "kernels/conv/geometry.h"
#include "kernels/conv/product.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::conv {
namespace {

constexpr int64_t kPieceBytes = 1 << 20;  // of windows made at a time: they stay in a second-level cache or near it

// y[i] += x[i], `count` groups of C channels (0: `channels`), the groups `to_step` and `from_step` elements apart.
template <int C, class T>
void add_groups(T* to, int64_t to_step, const T* from, int64_t from_step, int64_t count, int64_t channels) {
  if (C) channels = C;
  for (int64_t i = 0; i < count; ++i, to += to_step, from += from_step)
    for (int64_t c = 0; c < channels; ++c) to[c] += from[c];
}

template <class T>
class OverlapAdd final : public Kernel {
 public:
  OverlapAdd(const Geometry& g, bool input_grad, Activation activation, bool has_bias)
      : source_(input_grad ? g.out : g.in),
        result_(input_grad ? g.in : g.out),
        kernel_(g.kernel),
        stride_(g.stride),
        dilation_(g.dilation),
        low_(g.low),
        batch_(g.batch),
        channels_(input_grad ? g.cin : g.cout),
        terms_(input_grad ? g.cout : g.cin),
        window_(g.taps() * channels_),
        turned_(!input_grad),
        has_bias_(has_bias),
        activation_(activation),
        lines_(std::clamp<int64_t>(kPieceBytes / (window_ * source_[2] * static_cast<int64_t>(sizeof(T))), 1, lines())),
        product_(sizes(lines_), Activation::None),
        last_product_(sizes(lines() % lines_ == 0 ? lines_ : lines() % lines_), Activation::None) {
    if (turned_)
      for (int i = 0; i < 3; ++i) low_[i] = (kernel_[i] - 1) * dilation_[i] - low_[i];
  }

  size_t scratch_bytes() const override {
    return window_bytes() + weight_bytes() + std::max(product_.scratch_bytes(), last_product_.scratch_bytes());
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const T* const source = static_cast<const T*>(in[0]);
    T* const result = static_cast<T*>(out[0]);
    const T* const bias = has_bias_ ? static_cast<const T*>(in[2]) : nullptr;
    T* const windows = static_cast<T*>(scratch);
    T* const weights = reinterpret_cast<T*>(static_cast<char*>(scratch) + window_bytes());
    void* const rest = static_cast<char*>(scratch) + window_bytes() + weight_bytes();
    const T* by = static_cast<const T*>(in[1]);
    if (turned_) {
      turn(by, weights);
      by = weights;
    }
    for (int64_t line = 0; line < lines(); line += lines_) {
      const int64_t count = std::min(lines_, lines() - line);
      (count == lines_ ? product_ : last_product_)
          .run(source + line * source_[2] * terms_, by, windows, nullptr, nullptr, rest);
      add_piece(line, count, windows, bias, result);
    }
  }

 private:
  int64_t lines() const { return batch_ * source_[0] * source_[1]; }
  int64_t result_lines() const { return batch_ * result_[0] * result_[1]; }
  ProductSizes sizes(int64_t lines) const { return {lines * source_[2], window_, terms_, false, !turned_}; }
  size_t window_bytes() const { return whole_lines(static_cast<size_t>(lines_ * source_[2] * window_) * sizeof(T)); }
  size_t weight_bytes() const { return turned_ ? whole_lines(static_cast<size_t>(terms_ * window_) * sizeof(T)) : 0; }

  // [taps, terms, channels] to [terms, taps in reverse, channels].
  void turn(const T* from, T* to) const {
    const int64_t taps = window_ / channels_;
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t k = 0; k < terms_; ++k)
        std::memcpy(to + k * window_ + (taps - 1 - tap) * channels_, from + (tap * terms_ + k) * channels_,
                    static_cast<size_t>(channels_) * sizeof(T));
  }

  // The first line of the result that windows of source line `line` or a later one reach; all lines before it are done.
  int64_t reached(int64_t line) const {
    if (line >= lines()) return result_lines();
    const int64_t h = line % source_[1], d = line / source_[1] % source_[0], n = line / source_[1] / source_[0];
    const int64_t slice = std::clamp<int64_t>(d * stride_[0] - low_[0], 0, result_[0]);
    // Of several slices, the windows of a line's neighbours reach back to the first line of any.
    const bool flat = kernel_[0] == 1 && source_[0] == 1;
    const int64_t row = flat ? std::clamp<int64_t>(h * stride_[1] - low_[1], 0, result_[1]) : 0;
    return (n * result_[0] + slice) * result_[1] + row;
  }
  // One past the last line that source lines up to `line` reach.
  int64_t reached_end(int64_t line) const {
    const int64_t h = line % source_[1], d = line / source_[1] % source_[0], n = line / source_[1] / source_[0];
    const bool flat = kernel_[0] == 1 && source_[0] == 1;
    const auto end = [&](int i, int64_t at) {
      return std::clamp<int64_t>(at * stride_[i] - low_[i] + (kernel_[i] - 1) * dilation_[i] + 1, 0, result_[i]);
    };
    if (flat) return n * result_[1] + end(1, h);
    return (n * result_[0] + end(0, d)) * result_[1];
  }

  void add_piece(int64_t first, int64_t count, const T* windows, const T* bias, T* result) const {
    // Lines that no window has reached yet are begun with the piece that may.
    const int64_t begun = first == 0 ? 0 : begun_by(first - 1), begin = std::min(begun, reached(first));
    const int64_t end = begun_by(first + count - 1), done = reached(first + count);
    if (begin >= end) return;
    pool::parallel_for(end - begin, [&](int64_t i) {
      const int64_t line = begin + i, row = result_[2] * channels_;
      T* const to = result + line * row;
      if (line >= begun) start(to, bias);
      add_line(line, first, count, windows, to);
      if (line < done) finish(activation_, result_[2], channels_, to, channels_);
    });
  }
  // Lines begun once source lines up to `line` are added: all, behind the last.
  int64_t begun_by(int64_t line) const {
    return line + 1 >= lines() ? result_lines() : std::max(reached_end(line), reached(line + 1));
  }

  void start(T* to, const T* bias) const {
    if (!bias) return static_cast<void>(std::fill_n(to, result_[2] * channels_, T{}));
    for (int64_t w = 0; w < result_[2]; ++w) std::memcpy(to + w * channels_, bias, channels_ * sizeof(T));
  }

  // Adds to a line what the windows of source lines [first, first + count) give it.
  void add_line(int64_t line, int64_t first, int64_t count, const T* windows, T* to) const {
    const int64_t h = line % result_[1], d = line / result_[1] % result_[0], n = line / result_[1] / result_[0];
    for (int64_t kd = 0; kd < kernel_[0]; ++kd) {
      const int64_t from_d = source_of(0, d, kd);
      if (from_d < 0) continue;
      for (int64_t kh = 0; kh < kernel_[1]; ++kh) {
        const int64_t from_h = source_of(1, h, kh);
        if (from_h < 0) continue;
        const int64_t from = (n * source_[0] + from_d) * source_[1] + from_h - first;
        if (from < 0 || from >= count) continue;
        const T* at = windows + from * source_[2] * window_ + (kd * kernel_[1] + kh) * kernel_[2] * channels_;
        for (int64_t kw = 0; kw < kernel_[2]; ++kw) add_tap(kw, at + kw * channels_, to);
      }
    }
  }

  // The source position whose tap k falls on `position`, or -1.
  int64_t source_of(int i, int64_t position, int64_t k) const {
    const int64_t distance = position + low_[i] - k * dilation_[i];
    if (distance < 0 || distance % stride_[i] != 0 || distance / stride_[i] >= source_[i]) return -1;
    return distance / stride_[i];
  }

  void add_tap(int64_t kw, const T* windows, T* to) const {
    const int64_t shift = kw * dilation_[2] - low_[2];
    const int64_t first = shift < 0 ? ceil_div(-shift, stride_[2]) : 0;
    const int64_t last = std::min(source_[2], shift < result_[2] ? ceil_div(result_[2] - shift, stride_[2]) : 0);
    if (first >= last) return;
    to += (first * stride_[2] + shift) * channels_;
    windows += first * window_;
    const int64_t step = stride_[2] * channels_, count = last - first;
    switch (channels_) {
      case 1:
        return add_groups<1>(to, step, windows, window_, count, 1);
      case 2:
        return add_groups<2>(to, step, windows, window_, count, 2);
      case 3:
        return add_groups<3>(to, step, windows, window_, count, 3);
      case 4:
        return add_groups<4>(to, step, windows, window_, count, 4);
      default:
        return add_groups<0>(to, step, windows, window_, count, channels_);
    }
  }

  const Triple source_, result_, kernel_, stride_, dilation_;
  Triple low_;
  const int64_t batch_, channels_, terms_;  // of the result; of the source
  const int64_t window_;                    // elements of a window
  const bool turned_, has_bias_;
  const Activation activation_;
  const int64_t lines_;  // of the source, at a time
  const Product<T> product_, last_product_;
};

// Where it is faster, as measured: a tap of a source pixel costs the direct loop, whose tile is a vector of channels
// wide, 0.33 ns for each of the source's channels, and this one, for each channel of the result, 0.02 for each of the
// source's and 0.65 for adding.
bool pays(int64_t channels, int64_t terms, int64_t taps) {
  return channels < 8 && taps * channels >= 8 && channels * (terms + 32) < 16 * terms;
}

std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || g->groups != 1 || g->empty() || g->out_pixels() == 0 || problem.in.size() > 3) return nullptr;
  const bool input_grad = problem.op == "conv_input_grad";
  if (!pays(input_grad ? g->cin : g->cout, input_grad ? g->cout : g->cin, g->taps())) return nullptr;
  for (int i = 0; i < 3; ++i)
    if (!input_grad && g->stride[i] != 1) return nullptr;
  const Activation activation = activation_of(problem);
  // finish() leaves these to inner loops, which are not here.
  if (inner_activation(activation) != 0) return nullptr;
  const bool has_bias = problem.in.size() > 2;
  switch (problem.out[0].dtype) {
    case DType::F32:
      return std::make_unique<OverlapAdd<float>>(*g, input_grad, activation, has_bias);
    case DType::F64:
      return std::make_unique<OverlapAdd<double>>(*g, input_grad, activation, has_bias);
    default:
      return nullptr;
  }
}

constexpr char kProblems[] = "results of fewer than 8 channels, from more, no groups; forward of stride 1";
const Register entries[] = {
    {"conv", "overlap-add", 12, prepare, kProblems},
    {"conv_bias_act", "overlap-add", 12, prepare, kProblems},
    {"conv_input_grad", "overlap-add", 12, prepare, kProblems},
};

}  // namespace
}  // namespace native::conv
