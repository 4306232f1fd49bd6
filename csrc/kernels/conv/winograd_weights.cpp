#include "kernels/conv/winograd_weights.h"

#include <cstring>

#include "kernels/conv/winograd.h"
#include "runtime/pool.h"
#include "runtime/registry.h"

namespace native::conv {
namespace {

// `winograd_weights`: of weights that do not change, once for many convolutions.
template <class T>
class Transform final : public Kernel {
 public:
  Transform(const Shape& weights, int64_t block, const WinogradTile& tile)
      : weights_(weights.end()[-2], weights.end()[-1], block, tile) {}
  void run(const void* const* in, void* const* out, void*) const override {
    weights_.transform(static_cast<const T*>(in[0]), static_cast<float*>(out[0]));
  }

 private:
  const WinogradWeights weights_;
};

std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const Spec& weights = problem.in[0];
  const int64_t block = problem.attrs.integer("block");
  const WinogradTile tile{weights.shape.size() == 5 ? 2 : 1, static_cast<int>(problem.attrs.integer("side"))};
  if (weights.dtype == DType::BF16) return std::make_unique<Transform<uint16_t>>(weights.shape, block, tile);
  return std::make_unique<Transform<float>>(weights.shape, block, tile);
}

const Register weights{"winograd_weights", "winograd", 10, prepare};

}  // namespace

template <class T>
void WinogradWeights::transform(const T* weights, float* out) const {
  const WinogradTransforms<T>& table = winograd_transforms<T>(tile_);
  pool::parallel_for(blocks() * cuts(), [&](int64_t task) {
    const int64_t block = task / cuts(), first = task % cuts() * cut_, count = columns(block), row = width(block);
    const T* from = weights + block * block_;
    float* to = out + offset(block);
    for (int64_t k = first; k < std::min(depth_, first + cut_); ++k) {
      if (count < row)
        for (int64_t p = 0; p < positions_; ++p)
          std::fill_n(to + p * pitch(block) + k * row + count, row - count, 0.0f);
      table.weight(from + k * columns_, depth_ * columns_, count, to + k * row, pitch(block));
    }
  });
}

// A range of the depth is transformed along memory, a column at a time, and then transposed.
template <class T>
void WinogradWeights::transform_turned(const T* weights, float* out) const {
  const WinogradTransforms<T>& table = winograd_transforms<T>(tile_);
  const auto transpose = gemm_table().f32.transpose;
  pool::parallel_for(blocks() * cuts(), [&](int64_t task) {
    const int64_t block = task / cuts(), first = task % cuts() * cut_, row = width(block);
    const int64_t depth = std::min(cut_, depth_ - first);
    // A line more, so that the positions do not fall on the same cache sets.
    const int64_t turned_pitch = block_ * cut_ + kLine;
    float* const turned = static_cast<float*>(pool::thread_scratch(positions_ * turned_pitch * sizeof(float)));
    if (columns(block) < row) std::memset(turned, 0, positions_ * turned_pitch * sizeof(float));
    for (int64_t c = 0; c < columns(block); ++c)
      table.weight(weights + ((tile_.taps() - 1) * columns_ + block * block_ + c) * depth_ + first, -columns_ * depth_,
                   depth, turned + c * cut_, turned_pitch);
    for (int64_t p = 0; p < positions_; ++p)
      transpose(turned + p * turned_pitch, cut_, row, depth, out + offset(block) + p * pitch(block) + first * row, row);
  });
}

// A range of the depth is transformed along memory, a column at a time, and then made words.
void WinogradWords::transform_turned(const uint16_t* weights, uint32_t* out) const {
  constexpr int64_t kDepth = 64;  // of a task
  const auto& table = winograd_transforms<uint16_t, uint16_t>(kTile);
  const int64_t cuts = ceil_div(depth_, kDepth), positions = kTile.positions();
  pool::parallel_for(blocks() * cuts, [&](int64_t task) {
    const int64_t block = task / cuts, first = task % cuts * kDepth, depth = std::min(kDepth, depth_ - first);
    // A line more, so that the positions do not fall on the same cache sets.
    const int64_t between = kDepth * width(block) + 32;
    auto* const values = static_cast<uint16_t*>(pool::thread_scratch(positions * between * sizeof(uint16_t)));
    for (int64_t c = 0; c < columns(block); ++c)
      table.weight(weights + (8 * columns_ + block * width(block) + c) * depth_ + first, -columns_ * depth_, depth,
                   values + c * kDepth, between);
    for (int64_t p = 0; p < positions; ++p)
      kernels_.pack_columns(reinterpret_cast<const char*>(values + p * between), kDepth * 2, depth, columns(block),
                            out + offset(block) + p * pitch(block) + words_.panel(first));
  });
}

template void WinogradWeights::transform(const float*, float*) const;
template void WinogradWeights::transform(const uint16_t*, float*) const;
template void WinogradWeights::transform_turned(const float*, float*) const;
template void WinogradWeights::transform_turned(const uint16_t*, float*) const;

}  // namespace native::conv
