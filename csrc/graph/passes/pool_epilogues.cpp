// The largest of windows of 2x2 or 2x2x2 results is taken while these are in registers, where nothing else reads them:
// they need not be written. So is which of them it is, for the gradient. Exact.
#include <algorithm>

#include "core/symbols.h"
#include "graph/one_image.h"
#include "graph/passes.h"
#include "kernels/activation_named.h"
#include "kernels/conv/geometry.h"
#include "kernels/conv/line.h"
#include "kernels/conv/winograd.h"

namespace native {
namespace {

bool all_are(const Ints& items, int64_t wanted) {
  return std::all_of(items.begin(), items.end(), [&](int64_t item) { return item == wanted; });
}

// Windows of 2 along each dimension that touch every result of a convolution once.
bool takes_windows(const Graph& graph, const Node& pool) {
  if ((pool.op != "max_pool" && pool.op != "max_pool_places") || symbols::is_symbolic(pool.attrs)) return false;
  const Shape &from = graph.spec(pool.in[0]).shape, &to = graph.spec(pool.out[0]).shape;
  if (from.size() < 4) return false;
  if (!all_are(pool.attrs.ints("window"), 2) || !all_are(pool.attrs.ints("strides"), 2)) return false;
  if (!all_are(pool.attrs.ints("padding"), 0)) return false;
  for (size_t d = 1; d + 1 < from.size(); ++d)
    if (symbols::is_symbolic(from[d]) || from[d] != 2 * to[d]) return false;
  return true;
}

// Those that kernels with such an epilogue serve best: neither products of all pixels, nor by groups or of few
// channels, nor those that lines of taps save more than pooling in registers does.
bool has_windows(const Graph& graph, const Node& conv) {
  if ((conv.op != "conv" && conv.op != "conv_bias_act") || conv.in.size() > 3) return false;
  const Shape& w = graph.spec(conv.in[1]).shape;
  if (graph.spec(conv.out[0]).dtype != DType::F32 || symbols::is_symbolic(w) || symbols::is_symbolic(conv.attrs))
    return false;
  if (conv.attrs.integer("groups") != 1 || w.back() < 8) return false;
  if (std::any_of(w.begin(), w.end() - 2, [](int64_t taps) { return taps == 1; })) return false;
  if (const auto one = conv_of_one_image(graph, conv); one && conv::best_prepared(*one)) return false;
  const auto activation = activation_named(conv.attrs.text("activation", "none"));
  return activation && conv::pools_with(*activation);
}

void take_pools(Graph& graph) {
  if (conv::winograd_side() != 2) return;
  const std::vector<int> producer = graph.producers(), uses = graph.use_counts();
  for (Node& node : graph.nodes) {
    if (!takes_windows(graph, node)) continue;
    const int y = graph.resolve(node.in[0]);
    if (producer[y] < 0 || uses[y] != 1 || !has_windows(graph, graph.nodes[producer[y]])) continue;
    Node fused = graph.nodes[producer[y]];
    fused.op = "conv_pool";
    fused.out = node.out;
    node = std::move(fused);
  }
}

// After crop_to_pool, so that windows touch all that is computed.
const RegisterPass pass(57, "pool_epilogues", take_pools, {.cpu_only = true});

}  // namespace
}  // namespace native
