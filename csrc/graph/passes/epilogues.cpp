// Bias and activation move into the matmul or convolution before them, to be applied while its tile is in the cache;
// into a convolution also what is added between the two. Likewise an addition and relu into batch norm. Exact to
// rounding: the sum with the bias is rounded once instead of twice.
#include <algorithm>
#include <array>
#include <string>

#include "core/symbols.h"
#include "graph/passes.h"

namespace native {
namespace {

class Epilogues {
 public:
  explicit Epilogues(Graph& graph) : graph_(graph), producer_(graph.producers()), uses_(graph.use_counts()) {}

  void run() {
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      for (int& v : graph_.nodes[n].in) v = graph_.resolve(v);
      if (adds_to_batch_norm(graph_.nodes[n])) continue;
      if (!try_bias(n) && !try_bias_behind_reshape(n) && !try_residual(n)) try_activation(n);
    }
    for (Node& node : extra_) graph_.nodes.push_back(std::move(node));
  }

 private:
  // The node that makes the value, if nobody else reads it.
  Node* only_for_us(int value) {
    const int p = producer_[value];
    return p >= 0 && uses_[value] == 1 ? &graph_.nodes[p] : nullptr;
  }

  void take(size_t n, Node fused, const Node& absorbed) {
    fused.out = graph_.nodes[n].out;
    fused.pure = true;
    const int old = absorbed.out[0];
    graph_.nodes[n] = std::move(fused);
    uses_[old] = 0;
  }

  bool try_bias(size_t n) {
    const Node& node = graph_.nodes[n];
    if (node.op != "add" || node.in.size() != 2 || graph_.spec(node.out[0]).shape.empty()) return false;
    for (int side = 0; side < 2; ++side) {
      Node* product = only_for_us(node.in[side]);
      const int bias = node.in[1 - side];
      if (!product || !(graph_.spec(product->out[0]) == graph_.spec(node.out[0]))) continue;
      const int vector = graph_.as_vector(bias, graph_.spec(node.out[0]).shape.back(), producer_);
      if (vector < 0) continue;
      Node fused;
      if (!as_fused(*product, vector, fused)) continue;
      const Node absorbed = *product;
      take(n, std::move(fused), absorbed);
      return true;
    }
    return false;
  }

  // add(reshape(a @ w), b) with b of the trailing sizes that w's columns were split into (the projections of
  // attention heads): linear, then the reshape.
  bool try_bias_behind_reshape(size_t n) {
    const Node& node = graph_.nodes[n];
    if (node.op != "add" || node.in.size() != 2) return false;
    for (int side = 0; side < 2; ++side) {
      Node* reshape = only_for_us(node.in[side]);
      if (!reshape || reshape->op != "reshape" || !(graph_.spec(reshape->out[0]) == graph_.spec(node.out[0]))) continue;
      Node* product = only_for_us(reshape->in[0]);
      if (!product || product->op != "matmul") continue;
      const Shape& dims = graph_.spec(node.out[0]).shape;
      const Spec bias = graph_.spec(node.in[1 - side]);
      const size_t rank = bias.shape.size();
      if (rank < 2 || rank >= dims.size() || !std::equal(bias.shape.begin(), bias.shape.end(), dims.end() - rank))
        continue;
      const int64_t columns = graph_.spec(product->out[0]).shape.back();
      if (product_of(bias.shape) != columns) continue;

      const int vector = graph_.value({bias.dtype, {columns}});
      Node fused;
      if (!as_fused(*product, vector, fused)) continue;
      Node flat;
      flat.op = "reshape";
      flat.in = {node.in[1 - side]};
      flat.out = {vector};
      flat.attrs.set("dims", Ints{columns});
      extra_.push_back(std::move(flat));
      // The product keeps its value, now with the bias; the reshape stands where the sum stood.
      fused.out = product->out;
      const int sum = node.out[0];
      Node moved = *reshape;
      moved.out = {sum};
      *product = std::move(fused);
      graph_.nodes[n] = std::move(moved);
      return true;
    }
    return false;
  }

  // add(conv_bias_act, r), the shortcut of a residual block.
  bool try_residual(size_t n) {
    const Node& node = graph_.nodes[n];
    if (node.op != "add" || node.in.size() != 2) return false;
    for (int side = 0; side < 2; ++side) {
      const Node* product = only_for_us(node.in[side]);
      const int residual = node.in[1 - side];
      if (!product || product->op != "conv_bias_act" || product->in.size() != 3) continue;
      const bool plain = product->attrs.integer("groups") == 1 && product->attrs.text("activation") == "none";
      if (!plain || !(graph_.spec(residual) == graph_.spec(node.out[0]))) continue;
      if (!(graph_.spec(product->out[0]) == graph_.spec(node.out[0]))) continue;
      Node fused = *product;
      fused.in.push_back(residual);
      const Node absorbed = *product;
      take(n, std::move(fused), absorbed);
      return true;
    }
    return false;
  }

  static int64_t product_of(const Shape& dims) {
    int64_t total = 1;
    for (int64_t d : dims) {
      if (symbols::is_symbolic(d)) return -1;
      total *= d;
    }
    return total;
  }

  bool as_fused(const Node& product, int bias, Node& fused) {
    if (graph_.spec(bias).dtype != graph_.spec(product.in[0]).dtype) return false;
    if (product.op == "matmul") {
      if (graph_.spec(product.in[1]).shape.size() != 2 || product.attrs.integer("transpose_a", 0) ||
          product.attrs.has("out_dtype"))
        return false;
      fused.op = "linear";
      fused.attrs.set("transpose_w", product.attrs.integer("transpose_b", 0));
    } else if (product.op == "conv") {
      fused.op = "conv_bias_act";
      fused.attrs = product.attrs;
    } else {
      return false;
    }
    fused.in = {product.in[0], product.in[1], bias};
    fused.attrs.set("activation", std::string("none"));
    return true;
  }

  void try_activation(size_t n) {
    const Node& node = graph_.nodes[n];
    if (clips_batch_norm(node)) return;
    static constexpr std::array known{"relu", "silu", "sigmoid", "tanh", "gelu", "relu6"};
    if (std::find(known.begin(), known.end(), node.op) == known.end()) return;
    Node* product = only_for_us(node.in[0]);
    const bool takes = product && (product->op == "conv_bias_act" || (product->op == "linear" && node.op != "relu6"));
    if (!takes || product->attrs.text("activation") != "none") return;
    Node fused = *product;
    const bool tanh_form = node.op == "gelu" && node.attrs.integer("approximate", 0);
    fused.attrs.set("activation", tanh_form ? std::string("gelu_tanh") : node.op);
    const Node absorbed = *product;
    take(n, std::move(fused), absorbed);
  }

  // The batch_norm_train that makes the value, if nobody else reads it. It has other results beside that, so what it
  // takes over becomes another name of its own result.
  Node* norm_for_us(int value) {
    Node* norm = only_for_us(value);
    const bool is_norm = norm && norm->op == "batch_norm_train" && norm->out[0] == value;
    return is_norm && !norm->attrs.has("activation") ? norm : nullptr;
  }
  void become(const Node& node, const Node& norm) {
    uses_[norm.out[0]] = uses_[node.out[0]];
    graph_.alias(node.out[0], norm.out[0]);
  }

  // relu or relu6 of a batch normalisation.
  bool clips_batch_norm(const Node& node) {
    if (node.op != "relu" && node.op != "relu6") return false;
    Node* norm = norm_for_us(node.in[0]);
    if (!norm) return false;
    norm->attrs.set("activation", node.op);
    become(node, *norm);
    return true;
  }

  // add(batch normalisation, r), the shortcut of a residual block.
  bool adds_to_batch_norm(const Node& node) {
    if (node.op != "add" || node.in.size() != 2) return false;
    for (int side = 0; side < 2; ++side) {
      Node* norm = norm_for_us(node.in[side]);
      const int residual = node.in[1 - side];
      if (!norm || norm->attrs.has("residual") || !(graph_.spec(residual) == graph_.spec(norm->out[0]))) continue;
      if (graph_.depends(residual, norm->out)) continue;
      norm->in.push_back(residual);
      norm->attrs.set("residual", int64_t{1});
      become(node, *norm);
      return true;
    }
    return false;
  }

  Graph& graph_;
  std::vector<int> producer_, uses_;
  std::vector<Node> extra_;
};

const RegisterPass pass(40, "epilogues", [](Graph& graph) { Epilogues(graph).run(); });

}  // namespace
}  // namespace native
