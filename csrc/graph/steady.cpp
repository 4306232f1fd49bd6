#include "graph/steady.h"

#include <algorithm>
#include <set>

#include "runtime/plan.h"

namespace native {
namespace {

// A result is kept when it is not much larger than what it is made from (a broadcast is cheaper to do again
// than to read) or small beside any cache.
constexpr size_t kGrowth = 4, kSmall = 64 << 10;
// Below this a run of the extra graph costs more than it saves.
constexpr size_t kLeast = 4 << 10;

// The nodes that run once, by index.
std::vector<bool> kept_nodes(const Graph& graph) {
  std::vector<bool> steady = graph.steady_values(), kept(graph.nodes.size(), false);
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    bool same = !node.out.empty();
    size_t from = 0, to = 0;
    for (int v : node.in) {
      same = same && steady[v];
      if (steady[v]) from += graph.spec(v).bytes();
    }
    for (int v : node.out) {
      same = same && steady[v];
      if (steady[v]) to += graph.spec(v).bytes();
    }
    kept[n] = same && (is_alias(node.op) || to <= std::max(kGrowth * from, kSmall));
    for (int v : node.out) steady[v] = kept[n];
  }
  return kept;
}

std::set<int> read_values(const Graph& graph) {
  std::set<int> read(graph.outputs.begin(), graph.outputs.end());
  for (const Node& node : graph.nodes) read.insert(node.in.begin(), node.in.end());
  return read;
}

// What the graph reads and nobody gives it.
std::vector<int> missing_values(const Graph& graph) {
  std::set<int> read = read_values(graph);
  for (int v : graph.inputs) read.erase(v);
  for (const auto& [v, array] : graph.constants) read.erase(v);
  for (const Node& node : graph.nodes)
    for (int v : node.out) read.erase(v);
  return {read.begin(), read.end()};
}

}  // namespace

Graph take_steady(Graph& graph) {
  const std::vector<bool> kept = kept_nodes(graph);
  Graph once, each = graph;
  once.values = graph.values;
  each.nodes.clear();
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    // A reshape is free: it stands wherever its result is read.
    if (!kept[n] || is_alias(graph.nodes[n].op)) each.nodes.push_back(graph.nodes[n]);
    if (kept[n]) once.nodes.push_back(graph.nodes[n]);
  }
  rebuild(each);
  once.outputs = missing_values(each);
  rebuild(once);
  size_t bytes = 0;
  for (int v : once.outputs) bytes += graph.spec(v).bytes();
  if (bytes < kLeast) return {};

  const std::set<int> read = read_values(once);
  for (int v : graph.steady)
    if (read.count(v)) once.inputs.push_back(v);
  for (const auto& constant : graph.constants)
    if (read.count(constant.first)) once.constants.push_back(constant);
  // Sizes that are not known stay behind: an executable wants a number for each of its values.
  std::set<int> made = read;
  for (const Node& node : once.nodes) made.insert(node.out.begin(), node.out.end());
  for (size_t v = 0; v < once.values.size(); ++v)
    if (!made.count(static_cast<int>(v))) once.values[v].shape.clear();
  each.inputs.insert(each.inputs.end(), once.outputs.begin(), once.outputs.end());
  graph = std::move(each);
  return once;
}

}  // namespace native
