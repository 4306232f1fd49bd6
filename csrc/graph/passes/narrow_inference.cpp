// Predictions in bfloat16, where they are asked for: products, convolutions and attention of float32 take operands
// rounded to bfloat16 and sum in float32. A result that only such operations read, directly or moved, is rounded once
// and stays narrow; any other is float32. Weights are rounded in the part of the graph that runs once. Nothing is done
// where the processor has no instruction for it.
#include <algorithm>
#include <string>
#include <unordered_map>

#include "core/symbols.h"
#include "graph/passes.h"
#include "kernels/gemm/words.h"

namespace native {
namespace {

constexpr int64_t kFewChannels = 32, kFewColumns = 32;

class Narrower {
 public:
  explicit Narrower(Graph& graph)
      : graph_(graph), producer_(graph.producers()), readers_(graph.values.size()), is_output_(graph.values.size()) {
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      products_.push_back(is_product(graph.nodes[n]));
      for (int v : graph.nodes[n].in) readers_[v].push_back(n);
    }
    for (int v : graph.outputs) is_output_[v] = true;
  }

  void run() {
    for (size_t n = 0; n < products_.size(); ++n) {
      Node& node = graph_.nodes[n];
      // Winograd's method computes in float32 either way, and few columns gain less than rounding the operand costs:
      // they only take what is narrow already.
      if (products_[n] && ((!takes_winograd(node) && !has_few_columns(node)) || is_narrow(node.in[0]))) narrow(node);
    }
    for (Node& node : extra_) graph_.nodes.push_back(std::move(node));
  }

 private:
  // An operation that takes narrow operands. Convolutions by groups have no such kernel, and few channels do not gain.
  bool is_product(const Node& node) const {
    if (node.op == "attention") return is_wide_attention(node);
    const bool conv = is_conv(node);
    if (!conv && node.op != "matmul" && node.op != "linear") return false;
    if (conv && (node.attrs.integer("groups") != 1 || graph_.spec(node.in[0]).shape.back() < kFewChannels))
      return false;
    for (int v : node.in)
      if (graph_.spec(v).dtype != DType::F32) return false;
    return graph_.spec(node.out[0]).dtype == DType::F32;
  }
  // A bias may be large beside what it tells apart, and keeps its digits.
  bool is_wide_attention(const Node& node) const {
    for (int i = 0; i < 3; ++i)
      if (graph_.spec(node.in[i]).dtype != DType::F32) return false;
    return node.attrs.integer("has_bias") == 0;
  }
  bool takes_winograd(const Node& node) const {
    if (!is_conv(node)) return false;
    const Shape& w = graph_.spec(node.in[1]).shape;
    const auto all = [](auto begin, auto end, int64_t wanted) {
      return std::all_of(begin, end, [=](int64_t i) { return i == wanted; });
    };
    const Ints &strides = node.attrs.ints("strides"), &dilation = node.attrs.ints("dilation");
    return w.size() >= 4 && all(w.begin(), w.end() - 2, 3) && std::min(w.end()[-2], w.back()) >= kFewChannels &&
           all(strides.begin(), strides.end(), 1) && all(dilation.begin(), dilation.end(), 1);
  }
  bool has_few_columns(const Node& node) const {
    if (node.op != "matmul" && node.op != "linear") return false;
    const Shape& out = graph_.spec(node.out[0]).shape;
    return !out.empty() && !symbols::is_symbolic(out.back()) && out.back() < kFewColumns;
  }
  static bool is_conv(const Node& node) { return node.op == "conv" || node.op == "conv_bias_act"; }
  static bool moves(const Node& node) { return node.op == "reshape" || node.op == "transpose"; }

  bool is_narrow(int value) const {
    value = graph_.resolve(value);
    const int p = producer_[value];
    return narrow_.count(value) || (p >= 0 && moves(graph_.nodes[p]) && is_narrow(graph_.nodes[p].in[0]));
  }

  // Whether all that read the value take it narrow.
  bool only_products_read(int value) const {
    if (is_output_[value]) return false;
    for (size_t n : readers_[value]) {
      const Node& node = graph_.nodes[n];
      if (!products_[n] && !(moves(node) && only_products_read(node.out[0]))) return false;
    }
    return true;
  }

  void narrow(Node& node) {
    const int wide = node.out[0];
    const bool rounds = is_conv(node) || node.op == "attention", stays = rounds || only_products_read(wide);
    for (int& v : node.in)
      if (graph_.spec(v).dtype == DType::F32) v = narrowed(v);
    if (!stays) {
      if (node.op == "matmul") node.attrs.set("out_dtype", std::string("float32"));
      return;
    }
    node.out[0] = graph_.value({DType::BF16, graph_.spec(wide).shape});
    narrow_[wide] = node.out[0];
    Node cast;
    cast.op = "cast";
    cast.in = {node.out[0]};
    cast.out = {wide};
    cast.attrs.set("dtype", std::string("float32"));
    extra_.push_back(std::move(cast));
  }

  // The value in bfloat16: as a product left it, moved as the value was, or cast.
  int narrowed(int value) {
    value = graph_.resolve(value);
    if (const auto found = narrow_.find(value); found != narrow_.end()) return found->second;
    const Spec spec{DType::BF16, graph_.spec(value).shape};
    Node node;
    if (const int p = producer_[value]; p >= 0 && moves(graph_.nodes[p])) {
      node.op = graph_.nodes[p].op;
      node.attrs = graph_.nodes[p].attrs;
      node.in = {narrowed(graph_.nodes[p].in[0])};
    } else {
      node.op = "cast";
      node.attrs.set("dtype", std::string("bfloat16"));
      node.in = {value};
    }
    node.out = {graph_.value(spec)};
    narrow_[value] = node.out[0];
    extra_.push_back(node);
    return node.out[0];
  }

  Graph& graph_;
  const std::vector<int> producer_;
  std::vector<std::vector<size_t>> readers_;
  std::vector<bool> is_output_, products_;
  std::unordered_map<int, int> narrow_;  // value -> the same in bfloat16
  std::vector<Node> extra_;
};

void narrow_inference(Graph& graph) {
  if (words_table().bf16.block) Narrower(graph).run();
}

const RegisterPass pass(48, "narrow_inference", narrow_inference, {.wanted = false});

}  // namespace
}  // namespace native
