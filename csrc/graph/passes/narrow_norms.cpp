// Normalisation of a narrow float computes in float32: x is cast before and y behind, and so are the cotangent and
// the gradient. The kernel does the same in registers, from narrow memory to narrow memory; statistics, gamma and beta
// stay float32. Exact but for elements that fill no vector, of which compilers join products and sums as they like.
#include <string>

#include "graph/passes.h"

namespace native {
namespace {

class Narrower {
 public:
  explicit Narrower(Graph& graph) : graph_(graph), producer_(graph.producers()), readers_(graph.values.size()) {
    for (const Node& node : graph.nodes)
      for (int v : node.in) readers_[v].push_back(&node);
    for (int v : graph.outputs) readers_[v].push_back(nullptr);
  }

  void run() {
    for (Node& node : graph_.nodes) {
      if (node.op == "batch_norm_train" || node.op == "layer_norm" || node.op == "rms_norm") narrow(node, {0});
      if (node.op == "batch_norm_train_grad" || node.op == "layer_norm_grad" || node.op == "rms_norm_grad")
        narrow(node, {0, 1});
    }
  }

 private:
  // The value that `value` is a cast of.
  int widened_from(int value) const {
    const int p = producer_[value];
    return p >= 0 && graph_.nodes[p].op == "cast" ? graph_.resolve(graph_.nodes[p].in[0]) : value;
  }

  // Inputs `wide` and the first result take the narrow type, if it is the same for all of them.
  void narrow(Node& node, std::initializer_list<int> wide) {
    if (graph_.spec(node.out[0]).dtype != DType::F32 || readers_[node.out[0]].empty()) return;
    const Node* first = readers_[node.out[0]].front();
    if (!first || first->op != "cast") return;
    const Spec narrow = graph_.spec(first->out[0]);
    if (narrow.dtype != DType::BF16 && narrow.dtype != DType::F16) return;
    for (const Node* reader : readers_[node.out[0]])
      if (!reader || reader->op != "cast" || !(graph_.spec(reader->out[0]) == narrow)) return;
    for (int i : wide)
      if (!(graph_.spec(widened_from(graph_.resolve(node.in[i]))) == narrow)) return;
    for (int i : wide) node.in[i] = widened_from(graph_.resolve(node.in[i]));
    const int result = graph_.value(narrow);
    for (const Node* reader : readers_[node.out[0]]) graph_.alias(reader->out[0], result);
    node.out[0] = result;
  }

  Graph& graph_;
  const std::vector<int> producer_;
  std::vector<std::vector<const Node*>> readers_;
};

const RegisterPass pass(35, "narrow_norms", [](Graph& graph) { Narrower(graph).run(); });

}  // namespace
}  // namespace native
