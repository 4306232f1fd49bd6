// Zeros around the input of a convolution become its padding. Exact.
#include <algorithm>

#include "core/symbols.h"
#include "graph/passes.h"

namespace native {
namespace {

bool is_zero(const Graph& graph, const std::vector<int>& producer, int value) {
  if (const Array* array = graph.constant_of(value)) {
    const auto* bytes = static_cast<const unsigned char*>(array->data());
    return std::all_of(bytes, bytes + array->spec.bytes(), [](unsigned char b) { return b == 0; });
  }
  const int p = producer[value];
  return p >= 0 && graph.nodes[p].op == "cast" && is_zero(graph, producer, graph.nodes[p].in[0]);
}

bool all_zero(const Ints& items) {
  return std::all_of(items.begin(), items.end(), [](int64_t i) { return i == 0; });
}

// The amounts of padding if `pad` adds zeros to spatial dimensions alone, as conv writes them; else empty.
Ints spatial_zeros(const Graph& graph, const std::vector<int>& producer, const Node& pad) {
  const Ints &low = pad.attrs.ints("low"), &high = pad.attrs.ints("high");
  if (!all_zero(pad.attrs.ints("interior")) || !is_zero(graph, producer, pad.in[1])) return {};
  if (low.front() || high.front() || low.back() || high.back()) return {};
  Ints amounts;
  for (size_t d = 1; d + 1 < low.size(); ++d)
    for (int64_t amount : {low[d], high[d]}) {
      if (symbols::is_symbolic(amount)) return {};
      amounts.push_back(amount);
    }
  return amounts;
}

void fold(Graph& graph) {
  const std::vector<int> producer = graph.producers(), uses = graph.use_counts();
  for (Node& node : graph.nodes) {
    if (node.op != "conv") continue;
    const int p = producer[node.in[0]];
    if (p < 0 || graph.nodes[p].op != "pad" || uses[node.in[0]] != 1) continue;
    const Ints extra = spatial_zeros(graph, producer, graph.nodes[p]);
    Ints padding = node.attrs.ints("padding");
    if (extra.size() != padding.size()) continue;
    const bool plain =
        std::all_of(padding.begin(), padding.end(), [](int64_t i) { return !symbols::is_symbolic(i) && i >= 0; });
    if (!plain) continue;  // a negative amount crops what the padding added
    for (size_t i = 0; i < padding.size(); ++i) padding[i] += extra[i];
    node.attrs.set("padding", padding);
    node.in[0] = graph.nodes[p].in[0];
  }
}

const RegisterPass pass(20, "fold_pad", fold);

}  // namespace
}  // namespace native
