// Elementwise nodes that make new values of variables, and nothing that another node reads, come last: what they read
// is then no longer needed, and they cannot fail, so that they may write to where the variables are
// (runtime/plan.h). Exact.
#include <algorithm>

#include "graph/passes.h"
#include "kernels/elementwise/ops.h"

namespace native {
namespace {

void put_last(Graph& graph) {
  const std::vector<int> uses = graph.use_counts();
  const auto updates = [&](const Node& node) {
    const bool fused = node.op == "fused_elementwise" || node.op == "fused_gather_grad";
    if (!node.pure || (!fused && !find_elementwise(node.op))) return false;
    // Each the new value of one variable and nothing else.
    if (std::any_of(node.out.begin(), node.out.end(), [&](int v) { return uses[v] != 1; })) return false;
    return std::any_of(graph.updates.begin(), graph.updates.end(), [&](const auto& update) {
      const auto has = [](const std::vector<int>& list, int v) {
        return std::find(list.begin(), list.end(), v) != list.end();
      };
      return has(node.out, graph.outputs[update.first]) && has(node.in, graph.inputs[update.second]);
    });
  };
  std::stable_partition(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) { return !updates(node); });
}

const RegisterPass pass(95, "updates_last", put_last);

}  // namespace
}  // namespace native
