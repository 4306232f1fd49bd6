#include "graph/passes.h"

#include <algorithm>

namespace native {
namespace {

std::vector<Pass>& table() {
  static std::vector<Pass> passes;
  return passes;
}

void run_in_regions(const Pass& pass, Graph& graph) {
  for (Node& node : graph.nodes)
    for (GraphPtr& region : node.regions) {
      rebuild(*region);
      pass.run(*region);
      rebuild(*region);
      run_in_regions(pass, *region);
    }
}

}  // namespace

RegisterPass::RegisterPass(int stage, const char* name, void (*run)(Graph&), PassScope scope) {
  auto before = [](const Pass& a, const Pass& b) { return a.stage != b.stage ? a.stage < b.stage : a.name < b.name; };
  Pass pass{stage, name, run, scope};
  table().insert(std::upper_bound(table().begin(), table().end(), pass, before), pass);
}

std::vector<Pass> registered_passes() { return table(); }

void run_passes(Graph& graph, const PassChoice& choice, const PassObserver& observe) {
  const auto names = [](const std::vector<std::string>& list, const std::string& name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  rebuild(graph);
  if (observe) observe("recorded", graph);
  for (const Pass& pass : table()) {
    if (names(choice.disabled, pass.name) || !(pass.scope.wanted || names(choice.added, pass.name))) continue;
    if (pass.scope.cpu_only && !choice.on_cpu) continue;
    pass.run(graph);
    rebuild(graph);
    if (pass.scope.regions_at_once) run_in_regions(pass, graph);
    if (observe) observe(pass.name, graph);
  }
  for (Node& node : graph.nodes)
    for (GraphPtr& region : node.regions) run_passes(*region, choice);
}

}  // namespace native
