// Weights that are the same in every run are brought once into the form in which a kernel takes them: 3x3
// convolutions of stride 1 by Winograd's method. The weights' part is steady, so it is computed once and again
// when a variable behind it is assigned to.
#include <map>
#include <string>

#include "core/symbols.h"
#include "graph/passes.h"
#include "kernels/conv/winograd_weights.h"

namespace native {
namespace {

bool all_are(const Ints& items, int64_t wanted) {
  for (int64_t item : items)
    if (item != wanted) return false;
  return true;
}

// Whether Winograd's method applies and, with its weights prepared, is the fastest at any size of image.
bool takes_winograd(const Graph& graph, const Node& node) {
  if ((node.op != "conv" && node.op != "conv_bias_act") || node.in.size() > 4) return false;
  const Spec &x = graph.spec(node.in[0]), &w = graph.spec(node.in[1]);
  const DType dtype = x.dtype;
  if (w.dtype != dtype || graph.spec(node.out[0]).dtype != dtype || w.shape.size() != 4) return false;
  // As the kernel has it: longer activations of bfloat16 would be rounded twice.
  const std::string activation = node.attrs.text("activation", "none");
  const bool short_one = activation == "none" || activation == "relu" || activation == "relu6";
  if (dtype != DType::F32 && !(dtype == DType::BF16 && short_one)) return false;
  if (symbols::is_symbolic(w.shape) || w.shape[0] != 3 || w.shape[1] != 3) return false;
  if (node.attrs.integer("groups") != 1 || symbols::is_symbolic(node.attrs)) return false;
  if (!all_are(node.attrs.ints("strides"), 1) || !all_are(node.attrs.ints("dilation"), 1)) return false;
  // Whole cache lines of channels: others would be padded, and the result too large to be kept.
  return w.shape[2] >= 32 && w.shape[3] >= 32 && w.shape[3] % conv::WinogradWeights::kLine == 0;
}

void prepare_weights(Graph& graph) {
  const std::vector<bool> steady = graph.steady_values();
  const int64_t block = conv::WinogradWeights::best_block();
  const int side = conv::winograd_side();
  std::map<int, int> prepared;
  std::vector<Node> extra;
  for (Node& node : graph.nodes) {
    if (!takes_winograd(graph, node) || !steady[graph.resolve(node.in[1])]) continue;
    const int weights = node.in[1];
    if (!prepared.count(weights)) {
      const Shape& dims = graph.spec(weights).shape;
      Node transform;
      transform.op = "winograd_weights";
      transform.in = {weights};
      transform.out = {graph.value({DType::F32, {conv::WinogradWeights(dims[2], dims[3], block, side).size()}})};
      transform.attrs.set("block", block);
      transform.attrs.set("side", side);
      prepared[weights] = transform.out[0];
      extra.push_back(std::move(transform));
    }
    node.op = "winograd_conv";
    node.in[1] = prepared[weights];
    node.attrs.set("block", block);
    node.attrs.set("side", side);
  }
  for (Node& node : extra) graph.nodes.push_back(std::move(node));
}

const RegisterPass pass(60, "prepare_weights", prepare_weights, {.cpu_only = true});

}  // namespace
}  // namespace native
