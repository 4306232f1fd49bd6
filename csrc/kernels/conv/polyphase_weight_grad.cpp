// Gradient by the weights of a convolution of stride 2 with windows of 3x3 or 4x4: the adjoint of what polyphase.cpp
// does. A slot's gradient is the product of its values, transposed, by the sums of the cotangents that it has a part
// in, over all squares. A task has a range of squares and sums of its own.
#include <algorithm>
#include <cstring>

#include "kernels/conv/geometry.h"
#include "kernels/conv/polyphase.h"
#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::conv {
namespace {

constexpr int kSlots = 3;  // in one dimension
// Of a task: values and cotangents that are multiplied at a time, which stay in the second-level cache. The sums of all
// tasks; tasks, and squares of each, where there are enough of them.
constexpr int64_t kBlockBytes = 512 << 10, kSumBytes = 40 << 20, kMostTasks = 8, kLeastTasks = 2, kLeastSquares = 256;

class PolyphaseWeightGrad final : public Kernel {
 public:
  explicit PolyphaseWeightGrad(const Geometry& g)
      : g_(g),
        window_(g.kernel[1]),
        input_(polyphase_table().forward[g.kernel[1] - 3]),
        taps_(kForwardTaps[g.kernel[1] - 3]),
        kernels_(gemm_table().f32),
        high_(ceil_div(g.out[1], 2)),
        wide_(ceil_div(g.out[2], 2)),
        squares_(g.batch * high_ * wide_) {
    for (int count : taps_.count) line_ += count;
    pitch_ = line_ * line_ * g.cin + 16;  // squares do not fall on the same cache sets
    const int64_t square = (pitch_ + kSlots * kSlots * g.cout) * static_cast<int64_t>(sizeof(float));
    block_ = std::clamp<int64_t>(kBlockBytes / square / 8 * 8, 32, 128);
    const int64_t fit = kSumBytes / static_cast<int64_t>(task_bytes());
    tasks_ = std::clamp(std::min(squares_ / kLeastSquares, fit), kLeastTasks, kMostTasks);
  }

  int64_t multiply_adds() const { return squares_ * line_ * line_ * g_.cin * g_.cout; }
  size_t scratch_bytes() const override { return tasks_ * task_bytes() + zero_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    char* const parts = static_cast<char*>(scratch);
    float* const zeros = reinterpret_cast<float*>(parts + tasks_ * task_bytes());
    std::memset(zeros, 0, zero_bytes());
    pool::parallel_for(tasks_, [&](int64_t task) {
      add_squares(squares_ * task / tasks_, squares_ * (task + 1) / tasks_, static_cast<const float*>(in[0]),
                  static_cast<const float*>(in[1]), zeros, reinterpret_cast<float*>(parts + task * task_bytes()));
    });
    pool::parallel_for(window_ * window_,
                       [&](int64_t tap) { gather(tap, parts, static_cast<float*>(out[0]) + tap * matrix()); });
  }

 private:
  int64_t matrix() const { return g_.cin * g_.cout; }
  size_t task_bytes() const { return whole_lines(line_ * line_ * matrix() * sizeof(float)); }
  size_t zero_bytes() const { return whole_lines(std::max(g_.cin, g_.cout) * sizeof(float)); }

  // sums[terms of all slots, cin, cout] over squares [first, last).
  void add_squares(int64_t first, int64_t last, const float* x, const float* ct, const float* zeros,
                   float* sums) const {
    const size_t value_bytes = whole_lines(block_ * pitch_ * sizeof(float));
    const size_t cotangent_bytes = whole_lines(kSlots * kSlots * block_ * g_.cout * sizeof(float));
    const int64_t product = gemm::block_scratch_size(kernels_, block_, g_.cout);
    char* const memory =
        static_cast<char*>(pool::thread_scratch(value_bytes + cotangent_bytes + product * sizeof(float)));
    float* const values = reinterpret_cast<float*>(memory);
    float* const cotangents = reinterpret_cast<float*>(memory + value_bytes);
    float* const rest = reinterpret_cast<float*>(memory + value_bytes + cotangent_bytes);
    if (first == last) std::memset(sums, 0, task_bytes());
    for (int64_t at = first; at < last; at += block_) {
      const int64_t count = std::min(block_, last - at);
      for (int64_t s = 0; s < count; ++s) {
        take_values(at + s, x, zeros, values + s * pitch_);
        take_cotangents(at + s, ct, zeros, cotangents + s * g_.cout);
      }
      int64_t before = 0;
      for (int64_t slot = 0; slot < kSlots * kSlots; ++slot) {
        const int64_t rows = taps_.count[slot / kSlots] * taps_.count[slot % kSlots] * g_.cin;
        gemm::block<float>(kernels_, rows, g_.cout, count, {values + before, 1, pitch_},
                           {cotangents + slot * block_ * g_.cout, g_.cout, 1}, sums + before * g_.cout, g_.cout,
                           at > first, {}, rest);
        before += rows;
      }
    }
  }

  // Pixel (h, w) of an image [height, width, channels], zeros outside of it.
  static const float* pixel(const float* images, int64_t image, const Triple& size, int64_t channels, int64_t h,
                            int64_t w, const float* zeros) {
    const bool inside = h >= 0 && h < size[1] && w >= 0 && w < size[2];
    return inside ? images + ((image * size[1] + h) * size[2] + w) * channels : zeros;
  }

  void take_values(int64_t square, const float* x, const float* zeros, float* value) const {
    const int64_t image = square / wide_ / high_, top = square / wide_ % high_ * 4 - g_.low[1],
                  left = square % wide_ * 4 - g_.low[2];
    const float* patch[36];
    const float** next = patch;
    for (int64_t h = top; h < top + input_.patch; ++h)
      for (int64_t w = left; w < left + input_.patch; ++w) *next++ = pixel(x, image, g_.in, g_.cin, h, w, zeros);
    input_.run(patch, g_.cin, value);
  }

  // Sums of all slots, those of one slot next to each other for all squares of a block.
  void take_cotangents(int64_t square, const float* ct, const float* zeros, float* to) const {
    const int64_t image = square / wide_ / high_, top = square / wide_ % high_ * 2, left = square % wide_ * 2;
    const float* pixels[4];
    for (int64_t i = 0; i < 4; ++i) pixels[i] = pixel(ct, image, g_.out, g_.cout, top + i / 2, left + i % 2, zeros);
    polyphase_table().cotangent(pixels, g_.cout, to, block_ * g_.cout);
  }

  // The sum of the terms whose weights the tap is in.
  void gather(int64_t tap, const char* parts, float* to) const {
    std::memset(to, 0, matrix() * sizeof(float));
    const unsigned row = 1u << (tap / window_), column = 1u << (tap % window_);
    int64_t term = 0;
    for (int i = 0; i < kSlots; ++i)
      for (int j = 0; j < kSlots; ++j)
        for (int a = 0; a < taps_.count[i]; ++a)
          for (int b = 0; b < taps_.count[j]; ++b, ++term) {
            if (!(taps_.taps[i][a] & row) || !(taps_.taps[j][b] & column)) continue;
            for (int64_t task = 0; task < tasks_; ++task) {
              const float* const from = reinterpret_cast<const float*>(parts + task * task_bytes()) + term * matrix();
              for (int64_t e = 0; e < matrix(); ++e) to[e] += from[e];
            }
          }
  }

  const Geometry g_;
  const int64_t window_;
  const PolyphaseInput& input_;
  const PolyphaseTaps& taps_;
  const gemm::Kernels<float>& kernels_;
  const int64_t high_, wide_, squares_;
  int64_t line_ = 0;       // terms of all slots of one dimension
  int64_t pitch_;          // elements between the values of neighbouring squares
  int64_t block_, tasks_;  // squares that are multiplied at a time
};

template <bool best>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || !polyphase_fits(problem, *g)) return nullptr;
  auto kernel = std::make_unique<PolyphaseWeightGrad>(*g);
  if (best && !polyphase_pays(problem, *g, kernel->multiply_adds())) return nullptr;
  return kernel;
}

constexpr char kProblems[] =
    "float32, 4x4 of stride 2, from 32 channels on both sides and 256 pixels of y on, where squares leave little of "
    "the image over";
constexpr char kAble[] = "float32, 3x3 or 4x4 of stride 2";
const Register entries[] = {
    {"conv_weight_grad", "polyphase", 14, prepare<true>, kProblems},
    {"conv_weight_grad", "polyphase", kOnlyByChoice, prepare<false>, kAble},
};

}  // namespace
}  // namespace native::conv
