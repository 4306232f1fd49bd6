// Outputs that only a backward pass reads are not made when there is none: nodes with attribute `keep`
// (lstm, narrow_lstm, gru) give fewer outputs without it.
#include <map>

#include "graph/passes.h"

namespace native {
namespace {

void drop_unused_outputs(Graph& graph) {
  static const std::map<std::string, size_t> results{{"lstm", 3}, {"narrow_lstm", 3}, {"gru", 2}};
  const std::vector<int> uses = graph.use_counts();
  for (Node& node : graph.nodes) {
    const auto known = results.find(node.op);
    if (known == results.end()) continue;
    bool used = false;
    for (size_t i = known->second; i < node.out.size(); ++i) used = used || uses[node.out[i]] > 0;
    if (used) continue;
    node.out.resize(known->second);
    node.attrs.set("keep", int64_t{0});
  }
}

const RegisterPass pass(80, "unused_outputs", drop_unused_outputs);

}  // namespace
}  // namespace native
