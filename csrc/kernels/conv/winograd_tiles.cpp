#include "kernels/conv/winograd_tiles.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels/conv/winograd_weights.h"
#include "kernels/grid.h"

namespace native::conv {
namespace {

std::optional<WinogradTile> tile_of(const Problem& problem, const Geometry& g, int side) {
  const DType dtype = problem.out[0].dtype;
  for (const Spec& spec : problem.in)
    if (spec.dtype != dtype) return std::nullopt;
  if ((dtype != DType::F32 && dtype != DType::BF16) || g.empty() || g.out_pixels() == 0) return std::nullopt;
  if (g.groups != 1 || g.stride != Triple{1, 1, 1} || g.dilation != Triple{1, 1, 1}) return std::nullopt;
  if (g.kernel == Triple{1, 3, 3}) return WinogradTile{1, side};
  if (g.kernel == Triple{3, 3, 3} && side == 2) return WinogradTile{2, side};
  return std::nullopt;
}

bool pays(const Problem& problem, const Geometry& g, const WinogradTile& tile) {
  if (tile.side > winograd_side()) return false;
  // Fewer channels do not pay for the transforms of the pixels, fewer tiles not for those of the weights: the gradient
  // by the weights transforms a sum for each task. Cubes save more, but of few results most may lie beyond the last.
  const bool flat = tile.planes == 1, by_weights = problem.op == "conv_weight_grad";
  const int64_t least_channels = flat ? 32 : 16, least = by_weights ? 100 : 16;
  const Triple& result = problem.op == "conv_input_grad" ? g.in : g.out;
  const int64_t tiles = TileGrid(g.batch, result, tile).count();
  const int64_t direct = tile.taps() * g.batch * result[0] * result[1] * result[2];
  if (!flat && 10 * tiles * tile.positions() > 7 * direct) return false;
  // Dot instructions compute pixels one by one faster than float32 does squares a quarter of which is thrown away.
  const bool forward = problem.op == "conv" || problem.op == "conv_bias_act";
  if (forward && WinogradWords::serve(problem.out[0].dtype, g.cin) && 10 * tiles > 3 * g.out_pixels()) return false;
  return std::min(g.cin, g.cout) >= least_channels && tiles >= least;
}

}  // namespace

int winograd_side() {
  const char* const text = std::getenv("NATIVE_WINOGRAD");
  if (!text || !*text || std::string(text) == "2") return 2;
  if (std::string(text) == "4") return 4;
  throw std::invalid_argument("NATIVE_WINOGRAD is '" + std::string(text) + "': it may be 2 or 4");
}

std::optional<WinogradChoice> winograd_choice(const Problem& problem, int side, bool best) {
  const auto g = geometry_of(problem);
  if (!g) return std::nullopt;
  const auto tile = tile_of(problem, *g, side);
  if (!tile || (best && !pays(problem, *g, *tile))) return std::nullopt;
  return WinogradChoice{*g, *tile};
}

TileGrid::TileGrid(int64_t images, const Triple& results, const WinogradTile& tile) : images_(images), tile_(tile) {
  for (int i = 0; i < 3; ++i) along_[i] = ceil_div(results[i], tile.results(i));
}

}  // namespace native::conv
