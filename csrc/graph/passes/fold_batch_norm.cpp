// Batch normalisation with statistics that are variables (inference): scale and shift are computed once for
// many runs. Behind a convolution or product whose weights are variables too, the scale goes into the weights
// and the shift into the bias; elsewhere it becomes elementwise operations, which fuse with their neighbours.
// Exact to rounding: weights are rounded after scaling. Only where weights have 24 bits and more.
#include <string>

#include "graph/passes.h"

namespace native {
namespace {

class Folder {
 public:
  explicit Folder(Graph& graph)
      : graph_(graph), producer_(graph.producers()), uses_(graph.use_counts()), steady_(graph.steady_values()) {}

  void run() {
    // Nodes that are added stand behind these, so only the count is taken now.
    const size_t count = graph_.nodes.size();
    for (size_t n = 0; n < count; ++n)
      if (graph_.nodes[n].op == "batch_norm_inference" && is_steady(graph_.nodes[n])) fold(graph_.nodes[n]);
  }

 private:
  bool is_steady(const Node& norm) const {
    const DType dtype = graph_.spec(norm.in[0]).dtype;
    bool steady = dtype == DType::F32 || dtype == DType::F64;
    for (size_t i = 1; i < norm.in.size(); ++i) steady = steady && steady_[norm.in[i]];
    return steady;
  }

  // By value: the references into the graph's nodes end with the first node that is added.
  void fold(const Node norm) {
    const int x = norm.in[0], mean = norm.in[1], var = norm.in[2];
    const bool has_gamma = norm.attrs.integer("has_gamma", 0) != 0, has_beta = norm.attrs.integer("has_beta", 0) != 0;
    const Spec vector = graph_.spec(var);
    const int deviation =
        add("sqrt", {add("add", {var, number(vector.dtype, norm.attrs.real("eps"))}, vector)}, vector);
    const int scale = add("div", {has_gamma ? norm.in[3] : number(vector.dtype, 1.0), deviation}, vector);
    const int beta = has_beta ? norm.in[3 + has_gamma] : -1;

    int bias = -1;
    Node* product = scalable(x, vector, bias);
    int result;
    if (product) {
      Node scaled = *product;
      const Spec out = graph_.spec(scaled.out[0]);
      scaled.in[1] = add("mul", {scaled.in[1], scale}, graph_.spec(scaled.in[1]));
      scaled.out.clear();
      const int centre = bias < 0 ? mean : add("sub", {mean, bias}, vector);
      const int moved = add("mul", {centre, scale}, vector);
      const int shift = beta < 0 ? add("neg", {moved}, vector) : add("sub", {beta, moved}, vector);
      result = add("add", {graph_.add(std::move(scaled), {out})[0], shift}, out);
    } else {
      // Centred first, as the kernel does: a mean far from zero does not cost digits.
      const Spec out = graph_.spec(x);
      result = add("mul", {add("sub", {x, mean}, out), scale}, out);
      if (beta >= 0) result = add("add", {result, beta}, out);
    }
    graph_.alias(norm.out[0], result);
  }

  // The convolution or product behind x whose columns are the channels, if nobody else reads it and its
  // weights are steady; `bias` is the vector [channels] that is added to it, or -1.
  Node* scalable(int x, const Spec& vector, int& bias) {
    Node* node = only_for_us(x);
    if (node && node->op == "add" && node->in.size() == 2) {
      for (int side = 0; side < 2; ++side) {
        const int other = graph_.as_vector(node->in[1 - side], vector.shape[0], producer_);
        if (other < 0 || !steady_[other]) continue;
        Node* product = only_for_us(node->in[side]);
        if (product && has_columns(*product) && graph_.spec(product->out[0]) == graph_.spec(x)) {
          bias = other;
          return product;
        }
      }
      return nullptr;
    }
    return node && has_columns(*node) ? node : nullptr;
  }

  bool has_columns(const Node& node) const {
    const bool product = node.op == "matmul" && graph_.spec(node.in[1]).shape.size() == 2 &&
                         !node.attrs.integer("transpose_b", 0) && !node.attrs.has("out_dtype");
    return (product || node.op == "conv") && steady_[node.in[1]];
  }

  Node* only_for_us(int value) {
    const int p = producer_[value];
    return p >= 0 && uses_[value] == 1 ? &graph_.nodes[p] : nullptr;
  }

  int add(const char* op, std::vector<int> in, const Spec& out) {
    Node node;
    node.op = op;
    node.in = std::move(in);
    return graph_.add(std::move(node), {out})[0];
  }

  int number(DType dtype, double value) {
    Array array = Array::empty({dtype, {}});
    if (dtype == DType::F64)
      *static_cast<double*>(array.data()) = value;
    else
      *static_cast<float*>(array.data()) = static_cast<float>(value);
    return graph_.constant(array);
  }

  Graph& graph_;
  std::vector<int> producer_, uses_;
  std::vector<bool> steady_;
};

const RegisterPass pass(30, "fold_batch_norm", [](Graph& graph) { Folder(graph).run(); });

}  // namespace
}  // namespace native
