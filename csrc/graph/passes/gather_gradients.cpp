// The gradient of a gather that one elementwise program reads alone (the update of an embedding) is made where it is
// read, tile by tile: neither its zeros nor its sums go through memory. Exact.
#include <algorithm>

#include "core/symbols.h"
#include "graph/passes.h"

namespace native {
namespace {

void fuse_gather_gradients(Graph& graph) {
  const std::vector<int> producer = graph.producers(), uses = graph.use_counts();
  const auto gradient = [&](int value, const Shape& dims) -> const Node* {
    const Node* node = producer[value] < 0 ? nullptr : &graph.nodes[producer[value]];
    const bool made = node && node->op == "gather_grad" && node->attrs.integer("axis") == 0 && uses[value] == 1;
    return made && graph.spec(value).shape == dims ? node : nullptr;
  };
  for (Node& node : graph.nodes) {
    if (node.op != "fused_elementwise") continue;
    const Shape& dims = graph.spec(node.out[0]).shape;
    if (symbols::is_symbolic(dims)) continue;
    const auto found = std::find_if(node.in.begin(), node.in.end(), [&](int v) { return gradient(v, dims); });
    if (found == node.in.end()) continue;
    const std::vector<int> from = gradient(*found, dims)->in;  // indices, cotangent
    node.op = "fused_gather_grad";
    node.attrs.set("gradient", static_cast<int64_t>(found - node.in.begin()));
    node.attrs.set("size", dims[0]);
    *found = from[1];
    node.in.push_back(from[0]);
  }
}

const RegisterPass pass(92, "gather_gradients", fuse_gather_gradients, {.cpu_only = true});

}  // namespace
}  // namespace native
