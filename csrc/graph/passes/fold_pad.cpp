// Zeros around the input of a convolution become its padding, in its gradients as well. Exact to rounding.
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

// Adds `extra` to a convolution's padding; false if that is negative somewhere (it crops) or not known.
bool widen(Node& conv, const Ints& extra) {
  Ints padding = conv.attrs.ints("padding");
  if (extra.size() != padding.size()) return false;
  for (size_t i = 0; i < padding.size(); ++i) {
    if (symbols::is_symbolic(padding[i]) || padding[i] < 0) return false;
    padding[i] += extra[i];
  }
  conv.attrs.set("padding", padding);
  return true;
}

// What `slice` takes away on each side, if it cuts spatial dimensions alone, as conv writes padding; else
// empty.
Ints spatial_cut(const Graph& graph, const Node& slice) {
  const Ints &start = slice.attrs.ints("start"), &stop = slice.attrs.ints("stop");
  const Shape& from = graph.spec(slice.in[0]).shape;
  for (int64_t step : slice.attrs.ints("step"))
    if (step != 1) return {};
  if (start.front() || start.back() || stop.front() != from.front() || stop.back() != from.back()) return {};
  Ints amounts;
  for (size_t d = 1; d + 1 < from.size(); ++d) {
    if (symbols::is_symbolic(from[d]) || symbols::is_symbolic(start[d]) || symbols::is_symbolic(stop[d])) return {};
    amounts.push_back(start[d]);
    amounts.push_back(from[d] - stop[d]);
  }
  return amounts;
}

void fold(Graph& graph) {
  const std::vector<int> producer = graph.producers(), uses = graph.use_counts();
  for (Node& node : graph.nodes) {
    const int p = node.in.empty() ? -1 : producer[node.in[0]];
    if (p < 0) continue;
    Node& before = graph.nodes[p];
    if ((node.op == "conv" || node.op == "conv_weight_grad") && before.op == "pad") {
      if (widen(node, spatial_zeros(graph, producer, before))) node.in[0] = before.in[0];
    } else if (node.op == "slice" && before.op == "conv_input_grad" && uses[node.in[0]] == 1) {
      // The gradient of what was padded: the rest of it is not wanted.
      Node whole = before;
      if (!widen(whole, spatial_cut(graph, node))) continue;
      const Shape& dims = graph.spec(node.out[0]).shape;
      whole.attrs.set("input_dims", Ints(dims.begin() + 1, dims.end() - 1));
      whole.out = node.out;
      node = std::move(whole);
    }
  }
}

const RegisterPass pass(20, "fold_pad", fold);

}  // namespace
}  // namespace native
