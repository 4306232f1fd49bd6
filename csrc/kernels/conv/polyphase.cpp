// Convolution of stride 2 with windows of 3x3 or 4x4 and its gradient by the input (a transposed convolution) with
// fewer multiplications: of the direct ones 25 of 36, and 9 of 16.
//
// In one dimension a pair of results y of pixels x by a window w is, with e the even pixels and o the odd ones,
//   y0 = (e0 - e1) w0 + e1 (w0 + w2) + ...    y1 = e1 (w0 + w2) + (e2 - e1) w2 + ...
// and likewise of o, w1 and w3, or o0 w1 and o1 w1 where there is no w3. Terms of y0 alone, of both and of y1 alone are
// the three slots, of each of which one sum is made. Pairs of pixels' gradients, even and odd, are the same of the
// cotangents before, at and behind a position, whose three slots are each multiplied by weights for even and odd ones.
// Where padding puts odd ones first, even ones are made of cotangents one further on, so that four results are whole.
// In two dimensions there are 3 x 3 slots, each a matrix product with a row for each square of 2x2 results.
#include "kernels/conv/polyphase.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "kernels/conv/activate.h"
#include "kernels/conv/geometry.h"
#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::conv {
namespace {

constexpr int kSlots = 3;                   // in one dimension
constexpr int64_t kBlockBytes = 384 << 10;  // of values and sums of a task: they stay in the second-level cache

struct Plane {
  int64_t height, width, channels;
};

class Polyphase final : public Kernel {
 public:
  Polyphase(const Geometry& g, bool input_grad, Activation activation, bool has_bias)
      : grad_(input_grad),
        shifted_(input_grad && g.kernel[1] == 4 && g.low[1] % 2 != 0 && g.low[2] % 2 != 0),
        has_bias_(has_bias),
        activation_(activation),
        window_(g.kernel[1]),
        input_(shifted_     ? polyphase_table().shifted_gradient
               : input_grad ? polyphase_table().gradient
                            : polyphase_table().forward[g.kernel[1] - 3]),
        weights_((input_grad ? kGradientTaps : kForwardTaps)[g.kernel[1] - 3]),
        kernels_(gemm_table().f32),
        source_(input_grad ? Plane{g.out[1], g.out[2], g.cout} : Plane{g.in[1], g.in[2], g.cin}),
        result_(input_grad ? Plane{g.in[1], g.in[2], g.cin} : Plane{g.out[1], g.out[2], g.cout}),
        low_{g.low[1], g.low[2]},
        cin_(g.cin),
        cout_(g.cout),
        high_(squares(result_.height, low_[0])),
        wide_(squares(result_.width, low_[1])),
        squares_(g.batch * high_ * wide_) {
    // One line more than the values, so that squares do not fall on the same cache sets.
    row_ = input_.values * input_.values * source_.channels + 16;
    int64_t packed = 0, sums = 0;
    for (int i = 0; i < kSlots; ++i)
      for (int j = 0; j < kSlots; ++j) {
        Slot& slot = slots_[kSlots * i + j];
        const int64_t terms = weights_.count[i] * weights_.count[j];
        slot.k = grad_ ? source_.channels : terms * source_.channels;
        slot.n = grad_ ? terms * result_.channels : result_.channels;
        slot.weights = packed;
        slot.sums = sums;
        slot.parts = shifted_ ? terms : 1;
        packed += slot.parts * panels(slot);
        sums += slot.n;
      }
    int64_t value = 0;
    for (Slot& slot : slots_) slot.value = std::exchange(value, value + slot.parts * slot.k);
    packed_ = packed;
    sums_ = sums;
    const int64_t unit = kernels_.mr, most = kBlockBytes / ((row_ + sums_) * static_cast<int64_t>(sizeof(float)));
    block_ = even_share(squares_, std::clamp(most / unit * unit, 2 * unit, 8 * unit), unit);
  }

  int64_t multiply_adds() const { return squares_ * taps() * cin_ * cout_; }
  size_t scratch_bytes() const override { return packed_bytes() + tap_bytes() + zero_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    char* const memory = static_cast<char*>(scratch);
    float* const packed = reinterpret_cast<float*>(memory);
    float* const zeros = reinterpret_cast<float*>(memory + packed_bytes() + tap_bytes());
    std::memset(zeros, 0, zero_bytes());
    pack_weights(static_cast<const float*>(in[1]), reinterpret_cast<float*>(memory + packed_bytes()), packed);
    const float* const source = static_cast<const float*>(in[0]);
    const float* const bias = has_bias_ ? static_cast<const float*>(in[2]) : nullptr;
    float* const result = static_cast<float*>(out[0]);
    pool::parallel_for(ceil_div(squares_, block_), [&](int64_t task) {
      const int64_t first = task * block_;
      run_block(first, std::min(block_, squares_ - first), source, packed, bias, zeros, result);
    });
  }

 private:
  struct Slot {
    int64_t k, n;     // of its product
    int64_t parts;    // of its columns, each the product of values of its own
    int64_t value;    // elements of a square's values before it
    int64_t weights;  // where its packed weights begin
    int64_t sums;     // columns of sums before it
  };

  // Packed weights of a part.
  int64_t panels(const Slot& slot) const { return gemm::packed_b_size(kernels_, slot.k, slot.n / slot.parts); }

  // Along one dimension: of 2 results, or of 4 that are gradients, the first one of them `low` in front of the plane,
  // or one behind that.
  int64_t squares(int64_t results, int64_t low) const {
    return grad_ ? (results - 1 + low - shifted_) / 4 + 1 : ceil_div(results, 2);
  }
  size_t packed_bytes() const { return whole_lines(packed_ * sizeof(float)); }
  size_t tap_bytes() const { return whole_lines(taps() * cin_ * cout_ * sizeof(float)); }
  size_t zero_bytes() const { return whole_lines(source_.channels * sizeof(float)); }
  // Of all slots together.
  int64_t taps() const {
    int64_t line = 0;
    for (int count : weights_.count) line += count;
    return line * line;
  }

  // [window, window, cin, cout] to a matrix [cin, cout] for each term of each slot, and these as panels of the
  // products.
  void pack_weights(const float* weights, float* terms, float* packed) const {
    const int64_t matrix = cin_ * cout_;
    pool::parallel_for(kSlots * kSlots, [&](int64_t s) {
      const Slot& slot = slots_[static_cast<size_t>(s)];
      const int i = static_cast<int>(s) / kSlots, j = static_cast<int>(s) % kSlots;
      int64_t before = 0;
      for (int64_t other = 0; other < s; ++other)
        before += weights_.count[other / kSlots] * weights_.count[other % kSlots];
      float* const own = terms + before * matrix;
      float* to = own;
      for (int a = 0; a < weights_.count[i]; ++a)
        for (int b = 0; b < weights_.count[j]; ++b, to += matrix)
          sum_taps(weights, weights_.taps[i][a], weights_.taps[j][b], to);
      for (int64_t part = 0; part < slot.parts; ++part) {
        const float* const from = own + part * matrix;
        const gemm::Operand<float> b =
            grad_ ? gemm::Operand<float>{from, 1, cout_} : gemm::Operand<float>{from, cout_, 1};
        kernels_.pack_b(b, slot.k, slot.n / slot.parts, packed + slot.weights + part * panels(slot),
                        slot.k * kernels_.nr);
      }
    });
  }

  void sum_taps(const float* weights, unsigned rows, unsigned columns, float* to) const {
    const int64_t matrix = cin_ * cout_;
    bool first = true;
    for (int64_t h = 0; h < window_; ++h)
      for (int64_t w = 0; w < window_; ++w) {
        if (!(rows >> h & 1) || !(columns >> w & 1)) continue;
        const float* const from = weights + (h * window_ + w) * matrix;
        if (first)
          std::memcpy(to, from, matrix * sizeof(float));
        else
          for (int64_t e = 0; e < matrix; ++e) to[e] += from[e];
        first = false;
      }
  }

  void run_block(int64_t first, int64_t count, const float* source, const float* packed, const float* bias,
                 const float* zeros, float* result) const {
    const size_t value_bytes = whole_lines(count * row_ * sizeof(float));
    const size_t sum_bytes = whole_lines(count * sums_ * sizeof(float));
    const size_t product_bytes = gemm::block_packed_scratch_size(kernels_) * sizeof(float);
    char* const memory = static_cast<char*>(pool::thread_scratch(value_bytes + sum_bytes + product_bytes));
    float* const values = reinterpret_cast<float*>(memory);
    float* const sums = reinterpret_cast<float*>(memory + value_bytes);
    float* const rest = reinterpret_cast<float*>(memory + value_bytes + sum_bytes);
    for (int64_t s = 0; s < count; ++s) take_square(first + s, source, zeros, values + s * row_);
    for (const Slot& slot : slots_)
      for (int64_t part = 0; part < slot.parts; ++part)
        gemm::block_packed<float>(kernels_, count, slot.n / slot.parts, slot.k,
                                  {values + slot.value + part * slot.k, row_, 1},
                                  {packed + slot.weights + part * panels(slot), kernels_.nr, slot.k * kernels_.nr},
                                  sums + count * slot.sums + part * (slot.n / slot.parts), slot.n, false, {}, rest);
    write_squares(first, count, sums, bias, result);
  }

  struct Square {
    int64_t image, row, column;
  };
  Square square(int64_t index) const { return {index / wide_ / high_, index / wide_ % high_, index % wide_}; }

  void take_square(int64_t index, const float* source, const float* zeros, float* value) const {
    const Square at = square(index);
    // Cotangents from the one before a position on; pixels of stride 2 for each of 2 results.
    const int64_t top = grad_ ? 2 * at.row - 1 : 4 * at.row - low_[0];
    const int64_t left = grad_ ? 2 * at.column - 1 : 4 * at.column - low_[1];
    const float* patch[36];
    const float** pixel = patch;
    for (int64_t h = top; h < top + input_.patch; ++h)
      for (int64_t w = left; w < left + input_.patch; ++w) {
        const bool inside = h >= 0 && h < source_.height && w >= 0 && w < source_.width;
        *pixel++ = inside ? source + ((at.image * source_.height + h) * source_.width + w) * source_.channels : zeros;
      }
    input_.run(patch, source_.channels, value);
  }

  float* pixel(float* result, int64_t image, int64_t h, int64_t w) const {
    const bool inside = h >= 0 && h < result_.height && w >= 0 && w < result_.width;
    return inside ? result + ((image * result_.height + h) * result_.width + w) * result_.channels : nullptr;
  }

  // The sums of the first square of a block that the results of one parity of rows and columns are made of; null where
  // a slot has none.
  std::array<const float*, kSlots * kSlots> products(int row_parity, int column_parity, int64_t count,
                                                     const float* sums) const {
    std::array<const float*, kSlots * kSlots> found{};
    for (int i = 0; i < kSlots; ++i)
      for (int j = 0; j < kSlots; ++j) {
        if (grad_ && (row_parity >= weights_.count[i] || column_parity >= weights_.count[j])) continue;
        const Slot& slot = slots_[static_cast<size_t>(kSlots * i + j)];
        const int64_t before = grad_ ? row_parity * weights_.count[j] + column_parity : 0;
        found[static_cast<size_t>(kSlots * i + j)] = sums + count * slot.sums + before * result_.channels;
      }
    return found;
  }

  // Of the first result of a parity.
  int64_t offset(int parity) const { return shifted_ && parity == 0 ? 2 : parity; }

  // Gradients in turn for even and odd rows and columns.
  void write_squares(int64_t first, int64_t count, const float* sums, const float* bias, float* result) const {
    const int parities = grad_ ? 2 : 1;
    for (int pr = 0; pr < parities; ++pr)
      for (int pc = 0; pc < parities; ++pc) {
        auto of_square = products(pr, pc, count, sums);
        for (int64_t s = 0; s < count; ++s) {
          const Square at = square(first + s);
          float* results[4];
          for (int r = 0; r < 2; ++r)
            for (int c = 0; c < 2; ++c)
              results[2 * r + c] = grad_ ? pixel(result, at.image, 4 * at.row + 2 * r + offset(pr) - low_[0],
                                                 4 * at.column + 2 * c + offset(pc) - low_[1])
                                         : pixel(result, at.image, 2 * at.row + r, 2 * at.column + c);
          polyphase_table().output(of_square.data(), result_.channels, bias, inner_activation(activation_), results);
          if (activation_ > Activation::Relu6)
            for (float* to : results)
              if (to) finish(activation_, 1, result_.channels, to, result_.channels);
          for (size_t i = 0; i < of_square.size(); ++i)
            if (of_square[i]) of_square[i] += slots_[i].n;
        }
      }
  }

  const bool grad_, shifted_, has_bias_;
  const Activation activation_;
  const int64_t window_;
  const PolyphaseInput& input_;
  const PolyphaseTaps& weights_;
  const gemm::Kernels<float>& kernels_;
  const Plane source_, result_;
  const int64_t low_[2];
  const int64_t cin_, cout_;
  const int64_t high_, wide_, squares_;
  std::array<Slot, kSlots * kSlots> slots_{};
  int64_t row_, packed_, sums_;  // elements of a square's values, of packed weights, of a square's sums
  int64_t block_;                // squares of a task
};

template <bool best>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || !polyphase_fits(problem, *g)) return nullptr;
  auto kernel =
      std::make_unique<Polyphase>(*g, problem.op == "conv_input_grad", activation_of(problem), problem.in.size() > 2);
  if (best && !polyphase_pays(problem, *g, kernel->multiply_adds())) return nullptr;
  return kernel;
}

constexpr char kProblems[] =
    "float32, 3x3 (forward) or 4x4 of stride 2, from 32 channels on both sides and 256 pixels of y on, no residual, "
    "where squares leave little of the image over";
constexpr char kAble[] = "float32, 3x3 or 4x4 of stride 2, no residual";
constexpr std::initializer_list<const char*> kServed = {"conv", "conv_bias_act", "conv_input_grad"};
const Register entries[] = {
    {kServed, "polyphase", 14, prepare<true>, kProblems},
    {kServed, "polyphase", kOnlyByChoice, prepare<false>, kAble},
};

}  // namespace

bool polyphase_fits(const Problem& problem, const Geometry& g) {
  if (g.groups != 1 || g.empty() || g.out_pixels() == 0 || problem.in.size() > 3) return false;
  if (problem.out[0].dtype != DType::F32 || g.in[0] != 1 || g.out[0] != 1) return false;
  const int64_t window = g.kernel[1];
  if ((window != 3 && window != 4) || g.kernel != Triple{1, window, window}) return false;
  return g.stride == Triple{1, 2, 2} && g.dilation == Triple{1, 1, 1} && g.low[1] >= 0 && g.low[2] >= 0;
}

bool polyphase_pays(const Problem& problem, const Geometry& g, int64_t multiply_adds) {
  // Fewer channels do not pay for the transforms of pixels, fewer pixels not for those of weights. Gradients by the
  // input make more sums of fewer terms, those by the weights pass over sums for every few squares.
  constexpr int64_t kChannels = 32, kPixels = 256, kPixelsOfSums = 2048, kManyPixels = 16384;
  if (g.cin < kChannels || g.cout < kChannels || g.out_pixels() < kPixels) return false;
  double least = 1.25;
  if (problem.op == "conv_input_grad") least = 1.5;
  if (problem.op == "conv_weight_grad") {
    if (g.out_pixels() < kPixelsOfSums) return false;
    least = g.out_pixels() < kManyPixels ? 1.5 : 1.4;
  }
  return static_cast<double>(g.multiply_adds()) > least * static_cast<double>(multiply_adds);
}

}  // namespace native::conv
