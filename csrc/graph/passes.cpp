#include "graph/passes.h"

#include <algorithm>

namespace native {
namespace {

std::vector<Pass>& table() {
  static std::vector<Pass> passes;
  return passes;
}

}  // namespace

RegisterPass::RegisterPass(int stage, const char* name, void (*run)(Graph&)) {
  auto before = [](const Pass& a, const Pass& b) { return a.stage != b.stage ? a.stage < b.stage : a.name < b.name; };
  Pass pass{stage, name, run};
  table().insert(std::upper_bound(table().begin(), table().end(), pass, before), pass);
}

std::vector<Pass> registered_passes() { return table(); }

void run_passes(Graph& graph, const std::vector<std::string>& disabled, const PassObserver& observe) {
  rebuild(graph);
  if (observe) observe("recorded", graph);
  for (const Pass& pass : table()) {
    if (std::find(disabled.begin(), disabled.end(), pass.name) != disabled.end()) continue;
    pass.run(graph);
    rebuild(graph);
    if (observe) observe(pass.name, graph);
  }
  for (Node& node : graph.nodes)
    for (GraphPtr& region : node.regions) run_passes(*region, disabled);
}

}  // namespace native
