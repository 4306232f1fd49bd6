// Gradient of a 3x3 convolution of stride 1 by its weights, by the adjoint of Winograd's method: the
// sum over squares of results is taken of the products of transformed values, and transformed back once.
//
// A task takes a range of squares times a slab of input channels; its partial sums are [position][cin][cout].
#include <algorithm>
#include <cstring>

#include "kernels/conv/geometry.h"
#include "kernels/conv/winograd.h"
#include "kernels/conv/winograd_weights.h"
#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::conv {
namespace {

constexpr int64_t kSquares = 64;  // of a block: enough for a tile's sums to outweigh loading and storing them

// T: elements of tensors; V: of what they are transformed into.
template <class T, class V>
class WinogradWeightGrad final : public Kernel {
 public:
  WinogradWeightGrad(const Geometry& g, int side)
      : g_(g),
        side_(side),
        patch_(winograd_patch(side)),
        positions_(winograd_positions(side)),
        transform_(winograd_transforms<T, V>(side)),
        product_(gemm_table().f32),
        panel_(kNarrow ? words_table().bf16.nr : WinogradWeights::best_block()) {
    high_ = ceil_div(g.out[1], side_);
    wide_ = ceil_div(g.out[2], side_);
    squares_ = g.batch * high_ * wide_;
    constexpr int64_t kSlab = 64, kLine = 64 / sizeof(V);  // 64 channels of 64 squares are 256 KB of floats
    slabs_ = ceil_div(g.cin, kSlab);
    slab_ = ceil_div(ceil_div(g.cin, slabs_), kLine) * kLine;
    slabs_ = ceil_div(g.cin, slab_);
    // Partial sums are large: more tasks would spend on adding them what more threads gain.
    const int64_t tasks = part() * static_cast<int64_t>(sizeof(float)) > (512 << 10) ? 8 : 16;
    splits_ = std::clamp<int64_t>(tasks / slabs_, 1, ceil_div(squares_, kSquares));
    // One line more, so that positions do not fall on the same cache sets.
    value_pitch_ = kSquares * slab_ + kLine;
    cotangent_pitch_ = kSquares * panel_ + kLine;
  }

  size_t scratch_bytes() const override {
    return splits_ * part() * sizeof(float) + whole_lines(std::max(g_.cin, g_.cout) * sizeof(T));
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    float* sums = static_cast<float*>(scratch);
    T* zeros = reinterpret_cast<T*>(sums + splits_ * part());
    std::memset(zeros, 0, std::max(g_.cin, g_.cout) * sizeof(T));
    const T* x = static_cast<const T*>(in[0]);
    const T* ct = static_cast<const T*>(in[1]);
    pool::parallel_for(splits_ * slabs_, [&](int64_t task) {
      const int64_t split = task / slabs_, first = task % slabs_ * slab_;
      add_squares(x, ct, zeros, squares_ * split / splits_, squares_ * (split + 1) / splits_, first,
                  std::min(slab_, g_.cin - first), sums + split * part());
    });
    T* result = static_cast<T*>(out[0]);
    const int64_t chunk = std::max<int64_t>(1, 4096 / g_.cout);
    pool::parallel_for(ceil_div(g_.cin, chunk), [&](int64_t task) {
      for (int64_t c = task * chunk; c < std::min(g_.cin, (task + 1) * chunk); ++c)
        transform_.weight_back(sums + c * g_.cout, splits_, part(), g_.cin * g_.cout, g_.cout, result + c * g_.cout,
                               g_.cin * g_.cout);
    });
  }

 private:
  static constexpr bool kNarrow = sizeof(V) == 2;
  int64_t part() const { return positions_ * g_.cin * g_.cout; }

  struct Square {
    int64_t n, h, w;
  };
  Square square_at(int64_t index) const {
    return {index / wide_ / high_, index / wide_ % high_ * side_, index % wide_ * side_};
  }

  void add_squares(const T* x, const T* ct, const T* zeros, int64_t begin, int64_t end, int64_t channel,
                   int64_t channels, float* sums) const {
    const size_t value_bytes = whole_lines(positions_ * value_pitch_ * sizeof(V));
    const size_t cotangent_bytes = whole_lines(positions_ * cotangent_pitch_ * sizeof(V));
    const size_t word_bytes = kNarrow ? value_bytes + panel_bytes() : 0;
    char* memory = static_cast<char*>(pool::thread_scratch(value_bytes + cotangent_bytes + word_bytes));
    V* values = reinterpret_cast<V*>(memory);
    V* cotangents = reinterpret_cast<V*>(memory + value_bytes);
    char* const words = memory + value_bytes + cotangent_bytes;
    const T* squares[kMostSide * kMostSide * kSquares];
    for (int64_t first = begin; first < end; first += kSquares) {
      const int64_t count = std::min(kSquares, end - first);
      for (int64_t s = 0; s < count; ++s) {
        const Square q = square_at(first + s);
        take_input(q, x, zeros, channel, channels, values + s * slab_);
        find_cotangent(q, ct, zeros, squares + side_ * side_ * s);
      }
      if constexpr (kNarrow)
        for (int64_t p = 0; p < positions_; ++p)
          words_table().bf16.pack_rows(reinterpret_cast<const char*>(values + p * value_pitch_), 2 * slab_, count,
                                       channels, words + 2 * p * value_pitch_, 4 * slab_);
      for (int64_t column = 0; column < g_.cout; column += panel_) {
        const int64_t width = std::min(panel_, g_.cout - column);
        if (width < panel_) std::memset(cotangents, 0, cotangent_bytes);
        for (int64_t s = 0; s < count; ++s) {
          const T* square[kMostSide * kMostSide];
          for (int i = 0; i < side_ * side_; ++i) square[i] = squares[side_ * side_ * s + i] + column;
          transform_.cotangent(square, width, cotangents + s * panel_, cotangent_pitch_);
        }
        const V* const from = kNarrow ? reinterpret_cast<const V*>(words) : values;
        multiply(from, cotangents, count, channels, width, first > begin, sums + channel * g_.cout + column,
                 reinterpret_cast<uint32_t*>(words + value_bytes));
      }
    }
  }

  void take_input(const Square& q, const T* x, const T* zeros, int64_t channel, int64_t channels, V* value) const {
    const T* patch[winograd_positions(kMostSide)];
    const T** pixel = patch;
    for (int64_t row = q.h - g_.low[1]; row < q.h - g_.low[1] + patch_; ++row)
      for (int64_t column = q.w - g_.low[2]; column < q.w - g_.low[2] + patch_; ++column) {
        const bool inside = row >= 0 && row < g_.in[1] && column >= 0 && column < g_.in[2];
        *pixel++ = inside ? x + ((q.n * g_.in[1] + row) * g_.in[2] + column) * g_.cin + channel : zeros;
      }
    transform_.input(patch, channels, value, value_pitch_);
  }

  void find_cotangent(const Square& q, const T* ct, const T* zeros, const T** square) const {
    for (int64_t row = q.h; row < q.h + side_; ++row)
      for (int64_t column = q.w; column < q.w + side_; ++column) {
        const bool inside = row < g_.out[1] && column < g_.out[2];
        *square++ = inside ? ct + ((q.n * g_.out[1] + row) * g_.out[2] + column) * g_.cout : zeros;
      }
  }

  size_t panel_bytes() const { return kSquares / 2 * panel_ * sizeof(uint32_t); }

  // Values are words of two squares, and cotangents are made to words in `panel`.
  void multiply(const uint16_t* values, const uint16_t* cotangents, int64_t count, int64_t channels, int64_t width,
                bool accumulate, float* sums, uint32_t* panel) const {
    gemm::WordBlock product{};
    product.m = channels;
    product.n = width;
    product.k = count;
    product.a_row = 4;
    product.a_word = 4 * slab_;
    product.b_row = 2 * panel_;
    product.panel = panel;
    product.sum_row = g_.cout;
    product.accumulate = accumulate;
    for (int64_t position = 0; position < positions_; ++position) {
      product.a = reinterpret_cast<const char*>(values + position * value_pitch_);
      product.b = reinterpret_cast<const char*>(cotangents + position * cotangent_pitch_);
      product.sum = sums + position * g_.cin * g_.cout;
      words_table().bf16.block(product);
    }
  }
  void multiply(const float* values, const float* cotangents, int64_t count, int64_t channels, int64_t width,
                bool accumulate, float* sums, uint32_t*) const {
    gemm::Block<float> product{};
    product.m = channels;
    product.n = width;
    product.k = count;
    product.sliver = product_.mr;
    product.c_row = g_.cout;
    product.accumulate = accumulate;
    product.b = {nullptr, panel_, panel_ <= product_.nr ? cotangent_pitch_ : product_.nr};
    for (int64_t position = 0; position < positions_; ++position) {
      product.a = {values + position * value_pitch_, 1, slab_};
      product.b.data = cotangents + position * cotangent_pitch_;
      product.c = sums + position * g_.cin * g_.cout;
      product_.block(product);
    }
  }

  const Geometry g_;
  const int64_t side_, patch_, positions_;  // of a square of results, of its pixels of x; products of a square
  const WinogradTransforms<T, V>& transform_;
  const gemm::Kernels<float>& product_;
  const int64_t panel_;            // output channels of a product
  int64_t high_, wide_, squares_;  // squares of results
  int64_t slabs_, slab_, splits_;  // tasks: slabs of `slab_` input channels, ranges of squares
  int64_t value_pitch_, cotangent_pitch_;
};

template <int side, bool best>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || !winograd_fits(problem, *g) || (best && !winograd_pays(problem, *g, side))) return nullptr;
  if (problem.out[0].dtype == DType::BF16) return std::make_unique<WinogradWeightGrad<uint16_t, float>>(*g, side);
  return std::make_unique<WinogradWeightGrad<float, float>>(*g, side);
}

template <bool best>
std::unique_ptr<Kernel> prepare_words(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || !winograd_fits(problem, *g) || (best && !winograd_pays(problem, *g, 2))) return nullptr;
  if (!WinogradWords::serve(problem.out[0].dtype, 0)) return nullptr;
  return std::make_unique<WinogradWeightGrad<uint16_t, uint16_t>>(*g, 2);
}

constexpr char kProblems[] =
    "float32 or bfloat16, 3x3 of stride 1, from 32 channels on both sides and 100 squares of results on";
constexpr char kWords[] = "the same in bfloat16, where the processor has its dot product";
constexpr char kAble[] = "float32 or bfloat16, 3x3 of stride 1";
const Register kernels[] = {
    {"conv_weight_grad", "winograd", 30, prepare<2, true>, kProblems},
    {"conv_weight_grad", "winograd", kOnlyByChoice, prepare<2, false>, kAble},
    {"conv_weight_grad", "winograd-words", 32, prepare_words<true>, kWords},
    {"conv_weight_grad", "winograd-words", kOnlyByForce, prepare_words<false>, kWords},
    {"conv_weight_grad", "winograd4", 35, prepare<4, true>, "the same, where NATIVE_WINOGRAD is 4"},
    {"conv_weight_grad", "winograd4", kOnlyByForce, prepare<4, false>, kAble},
};

}  // namespace
}  // namespace native::conv
