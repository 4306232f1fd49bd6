// Predictions in bfloat16, where they are asked for: an LSTM multiplies its state rounded to bfloat16 by weights packed
// as words. A dense layer of its inputs that nothing else reads joins it: the input of a step stands beside the state,
// and one product serves both.
#include <string>
#include <unordered_map>
#include <utility>

#include "core/symbols.h"
#include "graph/passes.h"
#include "kernels/gemm/words.h"

namespace native {
namespace {

constexpr int64_t kFewUnits = 32;

class Recurrences {
 public:
  explicit Recurrences(Graph& graph)
      : graph_(graph), producer_(graph.producers()), uses_(graph.use_counts()), steady_(graph.steady_values()) {}

  void run() {
    for (Node& node : graph_.nodes)
      if (node.op == "lstm" && takes_words(node.in[3], graph_.spec(node.in[3]).shape[0])) narrow(node);
    for (Node& node : extra_) graph_.nodes.push_back(std::move(node));
  }

 private:
  // Weights of float32; `depth` terms of a sum, which one block of a product takes.
  bool takes_words(int weights, int64_t depth) const {
    const Spec& w = graph_.spec(weights);
    return w.dtype == DType::F32 && !symbols::is_symbolic(w.shape) && w.shape[0] >= kFewUnits &&
           depth <= words_table().bf16.kc;
  }

  const Node* only_for_us(int value) const {
    const int p = producer_[graph_.resolve(value)];
    return p >= 0 && uses_[graph_.resolve(value)] == 1 ? &graph_.nodes[p] : nullptr;
  }

  void narrow(Node& node) {
    const Node* const dense = only_for_us(node.in[0]);
    const Shape own = graph_.spec(node.in[3]).shape;
    const bool projects = dense && dense->op == "linear" && dense->in.size() == 3 &&
                          dense->attrs.text("activation") == "none" && dense->attrs.integer("transpose_w", 0) == 0 &&
                          takes_words(dense->in[1], own[0] + graph_.spec(dense->in[1]).shape[0]);
    int weights = narrowed(node.in[3]);
    int64_t depth = own[0];
    if (projects) {
      depth += graph_.spec(dense->in[1]).shape[0];
      Attrs axis;
      axis.set("axis", int64_t{0});
      weights = add("concat", {narrowed(dense->in[1]), weights}, axis, {DType::BF16, {depth, own[1]}});
    }
    Attrs packing;
    packing.set("transpose_w", int64_t{0});
    const gemm::PackedWords words(words_table().bf16, depth, own[1]);
    node.in[3] = add("pack_words", {weights}, packing, {DType::U32, {words.size()}});
    if (projects) {
      node.in[0] = narrowed(dense->in[0]);
      node.in.insert(node.in.begin() + 4, dense->in[2]);
    }
    node.op = "narrow_lstm";
    node.attrs.set("projects", int64_t{projects});
  }

  // The value in bfloat16; rows of a table are taken from the rounded table where that is the same in every run.
  int narrowed(int value) {
    value = graph_.resolve(value);
    if (const auto found = narrow_.find(value); found != narrow_.end()) return found->second;
    const Spec spec{DType::BF16, graph_.spec(value).shape};
    const int p = producer_[value];
    if (p >= 0 && graph_.nodes[p].op == "gather" && steady_[graph_.resolve(graph_.nodes[p].in[0])]) {
      const Node rows = graph_.nodes[p];
      return narrow_[value] = add("gather", {narrowed(rows.in[0]), rows.in[1]}, rows.attrs, spec);
    }
    Attrs attrs;
    attrs.set("dtype", std::string("bfloat16"));
    return narrow_[value] = add("cast", {value}, attrs, spec);
  }

  int add(const char* op, std::vector<int> in, const Attrs& attrs, const Spec& spec) {
    Node node;
    node.op = op;
    node.in = std::move(in);
    node.attrs = attrs;
    node.out = {graph_.value(spec)};
    extra_.push_back(std::move(node));
    return extra_.back().out[0];
  }

  Graph& graph_;
  const std::vector<int> producer_, uses_;
  const std::vector<bool> steady_;
  std::unordered_map<int, int> narrow_;  // value -> the same in bfloat16
  std::vector<Node> extra_;
};

void narrow_recurrence(Graph& graph) {
  if (words_table().bf16.block) Recurrences(graph).run();
}

const RegisterPass pass(47, "narrow_recurrence", narrow_recurrence, {.wanted = false, .cpu_only = true});

}  // namespace
}  // namespace native
