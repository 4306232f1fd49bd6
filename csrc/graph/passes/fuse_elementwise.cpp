// Elementwise chains become tile programs: one pass over memory for each group. Same bits: a program rounds
// as its operations would one by one.
//
// Groups must not depend on themselves through a node outside. Every node gets a stage, one more than that
// of a producer it cannot merge with and the same as that of one it can; nodes of one stage that are
// connected by mergeable edges form a group, and a path out of a group arrives at a later stage. Of two nodes with
// effects the second has no earlier stage, or a group could need the second and be needed by the first.
#include <algorithm>
#include <map>
#include <numeric>
#include <string>

#include "core/symbols.h"
#include "graph/passes.h"
#include "kernels/elementwise/ops.h"

namespace native {
namespace {

// Longer programs need more live tiles than the first-level cache holds and take longer to prepare.
constexpr size_t kMostStatements = 48;
constexpr size_t kMostInputs = 24;

class Fuser {
 public:
  explicit Fuser(Graph& graph) : graph_(graph), producer_(graph.producers()) {
    const size_t n = graph.nodes.size();
    users_.resize(n);
    for (size_t i = 0; i < n; ++i)
      for (int v : graph.nodes[i].in)
        if (producer_[v] >= 0) users_[static_cast<size_t>(producer_[v])].push_back(static_cast<int>(i));
    fusable_.resize(n);
    for (size_t i = 0; i < n; ++i) fusable_[i] = fusable(graph.nodes[i]);
    outside_.assign(graph.values.size(), false);
    for (int v : graph.outputs) outside_[v] = true;
  }

  void run() {
    assign_stages();
    std::map<int, std::vector<int>> groups;
    join();
    for (size_t i = 0; i < graph_.nodes.size(); ++i)
      if (fusable_[i]) groups[find(static_cast<int>(i))].push_back(static_cast<int>(i));
    for (auto& [root, members] : groups) emit_in_chunks(members);
    for (Node& node : made_) graph_.nodes.push_back(std::move(node));
    std::erase_if(graph_.nodes, [](const Node& node) { return node.op.empty(); });
  }

 private:
  bool fusable(const Node& node) const {
    if (!find_elementwise(node.op) || node.out.size() != 1 || !node.pure) return false;
    Problem problem{node.op, {}, {graph_.spec(node.out[0])}, node.attrs};
    for (int v : node.in) problem.in.push_back(graph_.spec(v));
    return elementwise_op_supported(problem);
  }

  const Shape& dims_of(int n) const { return graph_.spec(graph_.nodes[n].out[0]).shape; }
  bool mergeable(int producer, int consumer) const {
    return fusable_[producer] && fusable_[consumer] && dims_of(producer) == dims_of(consumer);
  }

  void assign_stages() {
    const int n = static_cast<int>(graph_.nodes.size());
    stage_.assign(n, 0);
    const std::vector<int> earlier = earlier_effects(graph_);
    for (int i = 0; i < n; ++i) {
      if (earlier[i] >= 0) stage_[i] = stage_[earlier[i]];
      for (int v : graph_.nodes[i].in)
        if (const int p = producer_[v]; p >= 0) stage_[i] = std::max(stage_[i], stage_[p] + !mergeable(p, i));
    }
    // A node whose readers all come later joins the first of them, when it can merge with one there.
    for (int i = n - 1; i >= 0; --i) {
      if (!fusable_[i] || users_[i].empty()) continue;
      int bound = stage_[users_[i][0]] + 1;
      for (int u : users_[i]) bound = std::min(bound, stage_[u] - !mergeable(i, u));
      bool joins = false;
      for (int u : users_[i]) joins = joins || (mergeable(i, u) && stage_[u] == bound);
      if (joins) stage_[i] = std::max(stage_[i], bound);
    }
  }

  int find(int i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }

  void join() {
    parent_.resize(graph_.nodes.size());
    std::iota(parent_.begin(), parent_.end(), 0);
    for (size_t i = 0; i < graph_.nodes.size(); ++i)
      for (int u : users_[i])
        if (mergeable(static_cast<int>(i), u) && stage_[i] == stage_[u]) parent_[find(u)] = find(static_cast<int>(i));
  }

  // Members are in topological order, so a chunk depends on earlier chunks only.
  void emit_in_chunks(const std::vector<int>& members) {
    std::vector<int> chunk;
    std::vector<int> inputs;
    for (int m : members) {
      std::vector<int> more = inputs;
      for (int v : graph_.nodes[m].in) {
        const bool inside = producer_[v] >= 0 && std::find(chunk.begin(), chunk.end(), producer_[v]) != chunk.end();
        if (!inside && std::find(more.begin(), more.end(), v) == more.end()) more.push_back(v);
      }
      if (chunk.size() >= kMostStatements || more.size() > kMostInputs) {
        emit(chunk);
        chunk.clear();
        more.clear();
        for (int v : graph_.nodes[m].in)
          if (std::find(more.begin(), more.end(), v) == more.end()) more.push_back(v);
      }
      chunk.push_back(m);
      inputs = std::move(more);
    }
    emit(chunk);
  }

  // What an operand really is: the source of a broadcast, or a number.
  struct Operand {
    int value = -1;
    bool number = false;
    double constant = 0;
  };

  Operand operand(int value) const {
    const int p = producer_[value];
    if (p >= 0 && graph_.nodes[p].op == "broadcast_to") value = graph_.nodes[p].in[0];
    const std::optional<double> number = graph_.number(value, producer_);
    return {value, number.has_value(), number.value_or(0)};
  }

  void emit(const std::vector<int>& members) {
    std::vector<int> inputs;
    std::map<int, int> reg;  // value -> register
    std::map<std::pair<int, std::string>, int> numbers;
    auto inside = [&](int v) {
      return producer_[v] >= 0 && std::find(members.begin(), members.end(), producer_[v]) != members.end();
    };
    bool absorbs = false;
    for (int m : members)
      for (int v : graph_.nodes[m].in) {
        if (inside(v)) continue;
        const Operand o = operand(v);
        absorbs = absorbs || o.number || o.value != v;
        if (!o.number && !reg.count(o.value)) {
          reg[o.value] = static_cast<int>(inputs.size());
          inputs.push_back(o.value);
        }
      }
    if (members.size() == 1 && !absorbs) return;
    if (inputs.empty()) return;  // constants only: left to run as they are

    int next = static_cast<int>(inputs.size());
    std::string text;
    for (int m : members) {
      const Node& node = graph_.nodes[m];
      Problem problem{node.op, {}, {graph_.spec(node.out[0])}, node.attrs};
      std::vector<int> sources;
      for (int v : node.in) {
        problem.in.push_back(graph_.spec(v));
        if (inside(v)) {
          sources.push_back(reg.at(v));
          continue;
        }
        const Operand o = operand(v);
        sources.push_back(o.number ? number_register(o, text, next, numbers) : reg.at(o.value));
      }
      reg[node.out[0]] = next;
      text += elementwise_instruction(problem, next++, sources) + "; ";
    }
    Node fused;
    fused.op = "fused_elementwise";
    fused.in = inputs;
    text += "out";
    for (int m : members) {
      const int v = graph_.nodes[m].out[0];
      bool leaves = outside_[v];
      for (int u : users_[m]) leaves = leaves || std::find(members.begin(), members.end(), u) == members.end();
      if (!leaves) continue;
      fused.out.push_back(v);
      text += " r" + std::to_string(reg.at(v));
    }
    fused.attrs.set("program", text);
    made_.push_back(std::move(fused));
    for (int m : members) graph_.nodes[m].op.clear();
  }

  int number_register(const Operand& o, std::string& text, int& next,
                      std::map<std::pair<int, std::string>, int>& numbers) const {
    const DType dtype = graph_.spec(o.value).dtype;
    const std::string literal = decimal(o.constant);
    auto [at, fresh] = numbers.try_emplace({static_cast<int>(dtype), literal}, next);
    if (fresh) {
      text += "r" + std::to_string(next) + ":" + name_of(dtype) + "=const[" + literal + "]; ";
      ++next;
    }
    return at->second;
  }

  Graph& graph_;
  std::vector<int> producer_;
  std::vector<std::vector<int>> users_;
  std::vector<char> fusable_;
  std::vector<bool> outside_;
  std::vector<int> stage_, parent_;
  std::vector<Node> made_;
};

const RegisterPass pass(90, "fuse_elementwise", [](Graph& graph) { Fuser(graph).run(); });

}  // namespace
}  // namespace native
