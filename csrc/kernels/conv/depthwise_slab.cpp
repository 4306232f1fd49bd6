// Depthwise convolution in two dimensions with square windows: gradient by the weights and, where there are 32 vector
// registers, forward and gradient by the input with stride 1 (the same with turned weights).
#include "kernels/conv/depthwise_slab.h"

#include <algorithm>
#include <cstring>

#include "kernels/conv/activate.h"
#include "kernels/conv/geometry.h"
#include "kernels/grid.h"
#include "runtime/pool.h"
#include "simd/nontemporal.h"

namespace native::conv {
namespace {

// What a gradient by the weights reads before the next slab: it is passed over again for each vector of channels, so it
// should stay in the second cache, together with the next one.
constexpr int64_t kSlabBytes = 256 << 10;
constexpr int64_t kLeastWork = 128 << 10;  // multiply-adds of a task: some 4 microseconds
constexpr int64_t kFewTasks = 16;
// Rows of a task: the rows that it reads first are in the cache of no other thread.
constexpr int64_t kMostRows = 16;
// Without whole slabs, what lies ahead is asked for a part of a row at a time, so that it comes in memory's order:
// cotangents of 8 KB, whose sources stay in the first two caches. As each part reads and writes the sums, it has some
// columns at least.
constexpr int64_t kPartBytes = 8 << 10, kLeastColumns = 8;
// Tasks of a gradient by the weights, each with sums of its own, to which so many results each add.
constexpr int64_t kMostSums = 16, kLeastResults = 32;

struct Plane {
  int64_t height, width, low_h, low_w;  // and padding above and to the left
};

// Of the results of an image from row `first` on.
SlabView view_of(const Plane& source, int64_t window, int64_t stride, int64_t channels, const float* image,
                 int64_t first, int64_t rows, int64_t columns) {
  return {.image = image,
          .height = source.height,
          .width = source.width,
          .channels = channels,
          .top = first * stride - source.low_h,
          .left = -source.low_w,
          .window = window,
          .stride = stride,
          .rows = rows,
          .columns = columns};
}

// Addresses of the pixels that results of a view read, from `pixels` on, of zeros in the padding.
void list_pixels(const SlabView& view, const float* zeros, const float** pixels) {
  for (int64_t h = view.top; h < view.top + (view.rows - 1) * view.stride + view.window; ++h)
    for (int64_t w = view.left; w < view.left + (view.columns - 1) * view.stride + view.window; ++w) {
      const bool inside = h >= 0 && h < view.height && w >= 0 && w < view.width;
      *pixels++ = inside ? view.image + (h * view.width + w) * view.channels : zeros;
    }
}

class Slab final : public Kernel {
 public:
  static constexpr Activation kNoBias = static_cast<Activation>(-1);

  Slab(const Geometry& g, bool input_grad, Activation activation)
      : turned_(input_grad),
        activation_(activation),
        channels_(g.cin),
        window_(g.kernel[1]),
        stride_(g.stride[1]),
        source_(input_grad ? Plane{g.out[1], g.out[2], g.kernel[1] - 1 - g.low[1], g.kernel[2] - 1 - g.low[2]}
                           : Plane{g.in[1], g.in[2], g.low[1], g.low[2]}),
        rows_(input_grad ? g.in[1] : g.out[1]),
        columns_(input_grad ? g.in[2] : g.out[2]),
        batch_(g.batch),
        run_(slab_table().run) {
    const int64_t tasks = std::clamp<int64_t>(g.multiply_adds() / kLeastWork, 1, kFewTasks);
    // An even number, because two rows share what they read.
    each_ = std::min({rows_, kMostRows, round_up(ceil_div(batch_ * rows_, tasks), 2)});
    slabs_ = ceil_div(rows_, each_);
    const int64_t pixel = channels_ * static_cast<int64_t>(sizeof(float));
    // Half of the last level together: measured, with what is read after it.
    past_caches_ = is_far((g.in_pixels() + g.out_pixels()) * pixel) && pixel % kLineBytes == 0 &&
                   (activation == kNoBias || activation <= Activation::Relu6);
  }

  void run(const void* const* in, void* const* out, void*) const override {
    const float* const source = static_cast<const float*>(in[0]);
    const float* const weights = static_cast<const float*>(in[1]);
    const int64_t last_tap = window_ * window_ - 1;
    const bool plain = activation_ == kNoBias;
    const float* const bias = plain ? nullptr : static_cast<const float*>(in[2]);
    pool::parallel_for(batch_ * slabs_, [&](int64_t task) {
      const int64_t n = task / slabs_, first = task % slabs_ * each_, rows = std::min(each_, rows_ - first);
      float* const result = static_cast<float*>(out[0]) + (n * rows_ + first) * columns_ * channels_;
      const float* const image = source + n * source_.height * source_.width * channels_;
      run_({.view = view_of(source_, window_, stride_, channels_, image, first, rows, columns_),
            .weights = weights + (turned_ ? last_tap * channels_ : 0),
            .tap_step = turned_ ? -channels_ : channels_,
            .bias = bias,
            .activation = plain ? 0 : inner_activation(activation_),
            .result = result,
            .past_caches = past_caches_ && at_line(result)});
      if (!plain) finish(activation_, rows * columns_, channels_, result, channels_);
    });
  }

 private:
  const bool turned_;
  const Activation activation_;
  const int64_t channels_, window_, stride_;
  const Plane source_;
  const int64_t rows_, columns_, batch_;
  void (*const run_)(const SlabRun&);
  int64_t each_, slabs_;  // rows of a task, tasks of an image
  bool past_caches_;
};

class SlabWeightGrad final : public Kernel {
 public:
  explicit SlabWeightGrad(const Geometry& g)
      : channels_(g.cin),
        window_(g.kernel[1]),
        stride_(g.stride[1]),
        source_{g.in[1], g.in[2], g.low[1], g.low[2]},
        rows_(g.out[1]),
        columns_(g.out[2]),
        batch_(g.batch),
        sum_(slab_table().sum) {
    const int64_t pixel = channels_ * static_cast<int64_t>(sizeof(float));
    each_ = std::clamp<int64_t>(kSlabBytes / (columns_ * (stride_ * stride_ + 1) * pixel), 1, rows_);
    whole_ = slab_table().whole_slabs;
    pitch_ = (columns_ - 1) * stride_ + window_;
    const int64_t most = std::max(kLeastColumns, kPartBytes / pixel);
    part_rows_ = whole_ ? each_ : 1;
    part_columns_ = whole_ ? columns_ : round_up(ceil_div(columns_, ceil_div(columns_, most)), 4);
    slabs_ = batch_ * ceil_div(rows_, each_);
    tasks_ = std::clamp<int64_t>(g.out_pixels() / kLeastResults, 1, std::min(slabs_, kMostSums));
  }

  size_t scratch_bytes() const override { return whole_lines(channels_ * sizeof(float)) + tasks_ * sum_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    float* const zeros = static_cast<float*>(scratch);
    std::memset(zeros, 0, channels_ * sizeof(float));
    char* const parts = static_cast<char*>(scratch) + whole_lines(channels_ * sizeof(float));
    const float *x = static_cast<const float*>(in[0]), *ct = static_cast<const float*>(in[1]);
    const int64_t across = ceil_div(rows_, each_), count = taps() * channels_;
    pool::parallel_for(tasks_, [&](int64_t task) {
      float* const sums = reinterpret_cast<float*>(parts + task * sum_bytes());
      std::memset(sums, 0, count * sizeof(float));
      const float** pixels = nullptr;
      if (!whole_) pixels = static_cast<const float**>(pool::thread_scratch(table_bytes()));
      for (int64_t slab = slabs_ * task / tasks_; slab < slabs_ * (task + 1) / tasks_; ++slab) {
        const int64_t n = slab / across, first = slab % across * each_, rows = std::min(each_, rows_ - first);
        const float* const image = x + n * source_.height * source_.width * channels_;
        const SlabView view = view_of(source_, window_, stride_, channels_, image, first, rows, columns_);
        if (pixels) list_pixels(view, zeros, pixels);
        const float* const cotangent = ct + (n * rows_ + first) * columns_ * channels_;
        for (int64_t y = 0; y < rows; y += part_rows_)
          sum_part(view, pixels, y, std::min(part_rows_, rows - y), cotangent,
                   last_row(image, first + std::min(y + part_rows_, rows) - 1), sums);
      }
    });
    float* const result = static_cast<float*>(out[0]);
    std::memcpy(result, parts, count * sizeof(float));
    for (int64_t task = 1; task < tasks_; ++task) {
      const float* const sums = reinterpret_cast<const float*>(parts + task * sum_bytes());
      for (int64_t i = 0; i < count; ++i) result[i] += sums[i];
    }
  }

 private:
  int64_t taps() const { return window_ * window_; }

  // The rows of taps that result row `y` is the first to read.
  const float* last_row(const float* image, int64_t y) const {
    return image + ((y - 1) * stride_ + window_ - source_.low_h) * source_.width * channels_;
  }

  // `rows` rows of a slab from row `y` on.
  void sum_part(const SlabView& slab, const float* const* pixels, int64_t y, int64_t rows, const float* cotangents,
                const float* sources, float* sums) const {
    for (int64_t x = 0; x < columns_; x += part_columns_) {
      const int64_t next = x + part_columns_;
      SlabView part = slab;
      part.top += y * stride_;
      part.left += x * stride_;
      part.rows = rows;
      part.columns = std::min(part_columns_, columns_ - x);
      // Of a slab the next one's rows, half by half with stride 2, of a part of a row that of each row.
      sum_({.view = part,
            .pixels = pixels ? pixels + y * stride_ * pitch_ + x * stride_ : nullptr,
            .pitch = pitch_,
            .cotangent = cotangents + (y * columns_ + x) * channels_,
            .sums = sums,
            .next_cotangent = cotangents + ((y + rows - 1) * columns_ + next) * channels_,
            .next_source = sources + (whole_ ? source_.width : next) * stride_ * channels_,
            .source_range = rows * source_.width * channels_});
    }
  }

  size_t table_bytes() const { return ((each_ - 1) * stride_ + window_) * pitch_ * sizeof(float*); }
  size_t sum_bytes() const { return whole_lines(taps() * channels_ * sizeof(float)); }

  const int64_t channels_, window_, stride_;
  const Plane source_;
  const int64_t rows_, columns_, batch_;
  void (*const sum_)(const SlabSum&);
  int64_t each_, slabs_, tasks_;      // rows of a slab, slabs of all images, tasks
  int64_t pitch_;                     // pixels that a row of results reads
  bool whole_;                        // slabs, or parts of rows:
  int64_t part_rows_, part_columns_;  // of the results that all vectors of channels pass over
};

// Whether gradients by the weights pay: of parts of rows not where all is in cache, where they take up to 1.3 times as
// long, and with stride 2, as little is done with what is fetched, up to 1.8 times (a last level of 32 MB).
bool sums_pay(const Geometry& g) {
  const int64_t in_cache = g.stride[1] > 1 ? 12 << 20 : 4 << 20;
  const int64_t pixel = g.cin * static_cast<int64_t>(sizeof(float));
  return slab_table().whole_slabs || (g.out[2] > kLeastColumns && (g.in_pixels() + g.out_pixels()) * pixel >= in_cache);
}

std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || g->groups != g->cin || g->cin != g->cout || g->groups == 1 || g->empty()) return nullptr;
  if (problem.out[0].dtype != DType::F32 || problem.in.size() > 3) return nullptr;
  const int64_t stride = g->stride[1], window = g->kernel[1];
  if (g->kernel != Triple{1, window, window} || g->stride != Triple{1, stride, stride}) return nullptr;
  if (g->dilation != Triple{1, 1, 1} || g->in[0] != 1 || g->out[0] != 1 || g->out_pixels() == 0) return nullptr;
  if (window != 3 && window != 5 && window != 7) return nullptr;
  if (problem.op == "conv_weight_grad")
    return stride > 2 || !sums_pay(*g) ? nullptr : std::make_unique<SlabWeightGrad>(*g);
  if (!slab_table().run) return nullptr;
  const bool input_grad = problem.op == "conv_input_grad";
  const int64_t columns = input_grad ? g->in[2] : g->out[2];
  if (stride > (input_grad || window == 7 ? 1 : 2) || columns < kSlabColumns) return nullptr;
  const int64_t before = input_grad ? window - 1 - g->low[2] : g->low[2];
  const int64_t last = (columns - 1) * stride - before;  // where the last result's window begins
  if (before >= window || last >= (input_grad ? g->out[2] : g->in[2])) return nullptr;
  const Activation activation = problem.op == "conv_bias_act" ? activation_of(problem) : Slab::kNoBias;
  return std::make_unique<Slab>(*g, input_grad, activation);
}

constexpr char kProblems[] =
    "float32 on AVX-512, a group for each channel, two-dimensional windows of 3, 5 (stride 1 or 2) or 7 (stride 1)";
constexpr char kInputProblems[] = "float32 on AVX-512, a group for each channel, 3x3, 5x5 or 7x7, stride 1";
constexpr char kWeightProblems[] =
    "float32, a group for each channel, 3x3, 5x5 or 7x7, stride 1 or 2; without AVX-512 9 columns of results and 4 MB "
    "of operands and more, 12 with stride 2";
const Register entries[] = {
    {{"conv", "conv_bias_act"}, "depthwise-slab", 25, prepare, kProblems},
    {"conv_input_grad", "depthwise-slab", 25, prepare, kInputProblems},
    {"conv_weight_grad", "depthwise-slab", 25, prepare, kWeightProblems},
};

}  // namespace
}  // namespace native::conv
