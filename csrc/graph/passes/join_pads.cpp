// The gradient of a value that was cut into pieces is the sum of theirs, each among zeros. Where such pieces make up
// the whole, they are put side by side instead. Exact but for the order of sums and the sign of zeros.
#include <algorithm>
#include <map>
#include <optional>

#include "core/symbols.h"
#include "graph/passes.h"

namespace native {
namespace {

class PadJoiner {
 public:
  explicit PadJoiner(Graph& graph) : graph_(graph), producer_(graph.producers()), uses_(graph.use_counts()) {}

  void run() {
    std::vector<bool> inner(graph_.nodes.size(), false);
    for (const Node& node : graph_.nodes)
      if (node.op == "add")
        for (int v : node.in)
          if (is_inner(v, node)) inner[static_cast<size_t>(producer_[v])] = true;
    const size_t count = graph_.nodes.size();  // what is added comes behind
    for (size_t n = 0; n < count; ++n)
      if (graph_.nodes[n].op == "add" && !inner[n]) join(graph_.nodes[n]);
  }

 private:
  // A piece of the whole: where it lies along one axis.
  struct Piece {
    size_t axis;
    int64_t first, end;
    int value;
  };

  // The node that makes a value of the graph as it was at first, or null.
  const Node* maker(int value) const { return producer_[value] < 0 ? nullptr : &graph_.nodes[producer_[value]]; }

  // Sums that nothing else reads are part of the larger one.
  bool is_inner(int value, const Node& sum) const {
    const Node* node = maker(value);
    return node && node->op == "add" && uses_[value] == 1 && graph_.spec(value) == graph_.spec(sum.out[0]);
  }
  void list_terms(const Node& sum, std::vector<int>& terms) const {
    for (int v : sum.in)
      if (is_inner(v, sum))
        list_terms(*maker(v), terms);
      else
        terms.push_back(v);
  }

  std::optional<Piece> as_piece(int value, const Spec& whole) const {
    const Node* pad = maker(value);
    if (!pad || pad->op != "pad" || !(graph_.spec(value) == whole)) return {};
    if (graph_.number(pad->in[1], producer_) != 0.0) return {};
    const Ints &low = pad->attrs.ints("low"), &high = pad->attrs.ints("high"), &interior = pad->attrs.ints("interior");
    std::optional<Piece> piece;
    for (size_t i = 0; i < low.size(); ++i) {
      if (interior[i] != 0) return {};
      if (low[i] == 0 && high[i] == 0) continue;
      const int64_t size = graph_.spec(pad->in[0]).shape[i];
      if (piece || symbols::is_symbolic(low[i]) || symbols::is_symbolic(size)) return {};
      piece = Piece{i, low[i], low[i] + size, pad->in[0]};
    }
    return piece;
  }

  // By value: the references into the graph's nodes end with the first node that is added.
  void join(const Node sum) {
    const Spec whole = graph_.spec(sum.out[0]);
    std::vector<int> terms, others;
    list_terms(sum, terms);
    std::map<size_t, std::vector<Piece>> pieces;  // by axis
    for (int term : terms)
      if (const auto piece = as_piece(term, whole))
        pieces[piece->axis].push_back(*piece);
      else
        others.push_back(term);
    if (pieces.size() != 1) return;
    auto& [axis, list] = *pieces.begin();
    std::sort(list.begin(), list.end(), [](const Piece& a, const Piece& b) { return a.first < b.first; });
    Node concat;
    concat.op = "concat";
    concat.attrs.set("axis", static_cast<int64_t>(axis));
    int64_t reached = 0;
    for (const Piece& piece : list) {
      if (piece.first != reached) return;
      reached = piece.end;
      concat.in.push_back(piece.value);
    }
    if (list.size() < 2 || reached != whole.shape[axis]) return;
    int result = graph_.add(std::move(concat), {whole})[0];
    for (int other : others) {
      Node rest;
      rest.op = "add";
      rest.in = {result, other};
      result = graph_.add(std::move(rest), {whole})[0];
    }
    graph_.alias(sum.out[0], result);
  }

  Graph& graph_;
  const std::vector<int> producer_, uses_;
};

// Within loops, before anything is moved out of them.
const RegisterPass pass(7, "join_pads", [](Graph& graph) { PadJoiner(graph).run(); }, {.regions_at_once = true});

}  // namespace
}  // namespace native
