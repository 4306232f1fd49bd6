// What a scan computes in each step though it could be computed once:
//  - what nobody reads (what is kept for a derivative that nobody asked for, derivatives by what is no variable) is
//    neither stacked nor carried;
//  - what depends on nothing in the loop is computed in front of it;
//  - so are, all steps in one product, products of a step's slices by a matrix;
//  - products and convolutions that an earlier loop makes, as a derivative goes through its steps again, are stacked
//    there;
//  - products by a matrix that are only stacked are one product behind it, of what is stacked instead;
//  - sums over the steps of products of rows, which gradients by weights are, are one product of all rows behind it.
// Exact but for the order of sums.
#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "core/symbols.h"
#include "graph/passes.h"
#include "kernels/elementwise/ops.h"

namespace native {
namespace {

// What a product of a scan's body is made of: outer values, of slices their stacks.
struct Key {
  std::string op;
  Attrs attrs;
  std::vector<std::pair<int, bool>> in;  // and whether it is a slice of the value
  bool operator==(const Key&) const = default;
};

// Such a product, where it is made, and under which name.
struct Known {
  Key key;
  size_t scan;
  int value;
};

class Loop {
 public:
  // Adds to `outer` what moves out of its scan; run() gives the scan that is left. `known`: of earlier scans.
  Loop(Graph& outer, size_t scan, std::vector<Known>& known)
      : outer_(outer),
        index_(scan),
        known_(known),
        scan_(outer.nodes[scan]),
        body_(*scan_.regions[0]),
        length_(scan_.attrs.integer("length")),
        carried_(static_cast<size_t>(scan_.attrs.integer("carried"))),
        stacked_(static_cast<size_t>(scan_.attrs.integer("stacked"))) {}

  // `uses`: how often each outer value is read.
  Node run(const std::vector<int>& uses) {
    look();
    drop_unread(uses);
    look();
    take_known();
    look();
    take_products_of_slices();
    look();
    take_invariants();
    look();
    sum_behind(true);
    sum_behind(false);
    look();
    multiply_behind();
    look();
    note_products();
    scan_.attrs.set("carried", static_cast<int64_t>(carried_));
    scan_.attrs.set("stacked", static_cast<int64_t>(stacked_));
    return scan_;
  }

 private:
  // What a value of the body depends on.
  enum class Kind {
    Number,     // nothing
    Invariant,  // what is the same in each step
    Sliced,     // also slices of the step, by operations that can be done to all of them at once
    Varying,
  };

  // Leaves out rows and carried values that nobody reads, neither behind the loop nor for what is read there.
  void drop_unread(const std::vector<int>& uses) {
    for (size_t row = scan_.out.size(); row-- > carried_;)
      if (uses[scan_.out[row]] == 0) drop_result(row);
    std::vector<bool> read(carried_, false);
    std::vector<int> sought(body_.outputs.begin() + static_cast<int64_t>(carried_), body_.outputs.end());
    for (const Node& node : body_.nodes)
      if (node.has_effect()) sought.insert(sought.end(), node.in.begin(), node.in.end());
    const auto want = [&](size_t j) {
      if (!read[j]) sought.push_back(body_.outputs[j]);
      read[j] = true;
    };
    for (size_t j = 0; j < carried_; ++j)
      if (uses[scan_.out[j]] > 0) want(j);
    std::vector<bool> seen(body_.values.size(), false);
    while (!sought.empty()) {
      const int value = sought.back();
      sought.pop_back();
      if (seen[value]) continue;
      seen[value] = true;
      if (const auto input = input_.find(value); input != input_.end() && input->second < carried_) want(input->second);
      if (const Node* node = maker(value)) sought.insert(sought.end(), node->in.begin(), node->in.end());
    }
    for (size_t j = carried_; j-- > 0;)
      if (!read[j]) drop_carried(j);
  }
  void drop_result(size_t i) {
    scan_.out.erase(scan_.out.begin() + static_cast<int64_t>(i));
    body_.outputs.erase(body_.outputs.begin() + static_cast<int64_t>(i));
  }
  void drop_carried(size_t j) {
    drop_result(j);
    scan_.in.erase(scan_.in.begin() + static_cast<int64_t>(j));
    body_.inputs.erase(body_.inputs.begin() + static_cast<int64_t>(j));
    --carried_;
  }

  void look() {
    rebuild(body_);
    producer_ = body_.producers();
    uses_ = body_.use_counts();
    kind_.assign(body_.values.size(), Kind::Number);
    input_.clear();
    for (size_t i = 0; i < body_.inputs.size(); ++i) {
      input_[body_.inputs[i]] = i;
      kind_[body_.inputs[i]] = i < carried_ ? Kind::Varying : i < carried_ + stacked_ ? Kind::Sliced : Kind::Invariant;
    }
    for (const Node& node : body_.nodes)
      for (int v : node.out) kind_[v] = kind_of(node);
  }

  Kind kind_of(const Node& node) const {
    if (!node.pure || node.host || !node.regions.empty() || node.out.size() != 1) return Kind::Varying;
    Kind kind = Kind::Number;
    for (int v : node.in) kind = std::max(kind, kind_[v]);
    return kind == Kind::Sliced && !fits_all_steps(node) ? Kind::Varying : kind;
  }

  size_t rank(int value) const { return body_.spec(value).shape.size(); }
  const Node* maker(int value) const { return producer_[value] < 0 ? nullptr : &body_.nodes[producer_[value]]; }

  // Rows by one matrix.
  bool is_product_by_matrix(const Node& node) const {
    return node.op == "matmul" && kind_[node.in[1]] <= Kind::Invariant && rank(node.in[1]) == 2 &&
           !node.attrs.integer("transpose_a", 0);
  }

  // Whether an operation on slices can be done to all of them, one more axis in front.
  bool fits_all_steps(const Node& node) const {
    if (node.op == "reshape" || node.op == "transpose" || node.op == "slice" || is_product_by_matrix(node)) return true;
    if (!find_elementwise(node.op)) return false;
    // What has fewer axes would be aligned with the last ones.
    return std::all_of(node.in.begin(), node.in.end(), [&](int v) {
      return kind_[v] == Kind::Sliced ? rank(v) == rank(node.out[0]) : rank(v) <= rank(node.out[0]);
    });
  }

  Spec of_all_steps(Spec spec) const {
    spec.shape.insert(spec.shape.begin(), length_);
    return spec;
  }

  // The outer value of one that does not vary; of slices, those of all steps.
  int outside(int value) {
    if (const auto known = outside_.find(value); known != outside_.end()) return known->second;
    int result;
    if (const Array* constant = body_.constant_of(value)) {
      result = outer_.constant(*constant);
    } else if (const auto input = input_.find(value); input != input_.end()) {
      result = scan_.in[input->second];
    } else {
      Node node = *maker(value);
      for (int& v : node.in) v = outside(v);
      result = kind_[value] == Kind::Sliced ? add_for_all_steps(std::move(node), body_.spec(value))
                                            : add(std::move(node), body_.spec(value));
    }
    return outside_[value] = result;
  }

  int add(Node node, const Spec& spec) {
    node.out.clear();
    return outer_.add(std::move(node), {spec})[0];
  }
  int add_for_all_steps(Node node, const Spec& spec) {
    const auto set = [&](const char* name, Ints items, int64_t first) {
      items.insert(items.begin(), first);
      node.attrs.set(name, std::move(items));
    };
    if (node.op == "reshape") set("dims", node.attrs.ints("dims"), length_);
    if (node.op == "slice") {
      set("start", node.attrs.ints("start"), 0);
      set("stop", node.attrs.ints("stop"), length_);
      set("step", node.attrs.ints("step"), 1);
    }
    if (node.op == "transpose") {
      Ints perm = node.attrs.ints("perm");
      for (int64_t& axis : perm) ++axis;
      set("perm", std::move(perm), 0);
    }
    return add(std::move(node), of_all_steps(spec));
  }

  // From now on a value of the body is that input, which stands at `position`.
  void become_input(int value, int outer, size_t position) {
    const int input = body_.value(body_.spec(value));
    body_.inputs.insert(body_.inputs.begin() + static_cast<int64_t>(position), input);
    scan_.in.insert(scan_.in.begin() + static_cast<int64_t>(position), outer);
    body_.alias(value, input);
  }

  // The outer value that is, or whose slice is, that of the body.
  std::optional<int> name_of(int value) {
    if (kind_[value] != Kind::Varying) return outer_.resolve(outside(value));
    const auto row = row_of(value);
    return row ? std::optional(outer_.resolve(scan_.out[*row])) : std::nullopt;
  }
  std::optional<Key> key_of(const Node& node) {
    if ((node.op != "matmul" && node.op != "conv") || kind_[node.out[0]] < Kind::Sliced) return {};
    Key key{node.op, node.attrs, {}};
    for (int v : node.in) {
      const auto name = name_of(v);
      if (!name) return {};
      key.in.emplace_back(*name, kind_[v] >= Kind::Sliced);
    }
    return key;
  }

  void note_products() {
    for (const Node& node : body_.nodes)
      if (auto key = key_of(node)) known_.push_back({std::move(*key), index_, node.out[0]});
  }

  void take_known() {
    std::vector<std::pair<int, int>> found;
    for (const Node& node : body_.nodes) {
      const auto key = key_of(node);
      if (!key) continue;
      for (const Known& known : known_)
        if (known.key == *key) {
          found.emplace_back(node.out[0], row_of_earlier(known));
          break;
        }
    }
    for (const auto& [value, outer] : found) become_input(value, outer, carried_ + stacked_++);
  }
  // What an earlier scan stacks of it from now on.
  int row_of_earlier(const Known& known) {
    Node& scan = outer_.nodes[known.scan];
    Graph& body = *scan.regions[0];
    const auto rows = body.outputs.begin() + scan.attrs.integer("carried");
    const auto found = std::find(rows, body.outputs.end(), known.value);
    if (found != body.outputs.end()) return scan.out[static_cast<size_t>(found - body.outputs.begin())];
    body.outputs.push_back(known.value);
    scan.out.push_back(outer_.value(of_all_steps(body.spec(known.value))));
    return scan.out.back();
  }

  void take_products_of_slices() {
    std::vector<std::pair<int, int>> found;
    for (const Node& node : body_.nodes)
      if (node.op == "matmul" && kind_[node.out[0]] == Kind::Sliced)
        found.emplace_back(node.out[0], outside(node.out[0]));
    for (const auto& [value, outer] : found) become_input(value, outer, carried_ + stacked_++);
  }

  // Those that cost nothing stay where they can be fused, and for numbers to be seen.
  bool moves_out(const Node& node) const {
    return kind_[node.out[0]] == Kind::Invariant && node.op != "reshape" && node.op != "broadcast_to";
  }

  void take_invariants() {
    std::vector<bool> wanted(body_.values.size(), false);
    for (const Node& node : body_.nodes)
      if (!moves_out(node))
        for (int v : node.in) wanted[v] = true;
    for (int v : body_.outputs) wanted[v] = true;
    std::vector<std::pair<int, int>> found;
    for (const Node& node : body_.nodes)
      if (moves_out(node) && wanted[node.out[0]]) found.emplace_back(node.out[0], outside(node.out[0]));
    for (const auto& [value, outer] : found) become_input(value, outer, body_.inputs.size());
  }

  // The values of all steps, stacked by the loop if need be.
  bool can_be_stacked(int value) const { return kind_[value] >= Kind::Sliced; }
  std::optional<size_t> row_of(int value) const {
    const auto rows = body_.outputs.begin() + static_cast<int64_t>(carried_);
    const auto found = std::find(rows, body_.outputs.end(), value);
    if (found == body_.outputs.end()) return {};
    return static_cast<size_t>(found - body_.outputs.begin());
  }
  int stacked(int value) {
    if (kind_[value] == Kind::Sliced) return outside(value);
    if (const auto row = row_of(value)) return scan_.out[*row];
    body_.outputs.push_back(value);
    scan_.out.push_back(outer_.value(of_all_steps(body_.spec(value))));
    return scan_.out.back();
  }

  // What sums over steps are made of: nothing that can be summed behind the loop, sums of what is stacked, or also
  // products.
  enum class Sum { No, Stacked, Products };

  Sum sum_of(int value) const {
    const Node* node = maker(value);
    if (!node || uses_[value] != 1) return Sum::No;
    if (node->op == "reshape" || node->op == "transpose") return sum_of(node->in[0]);
    if (node->op == "pad") return body_.number(node->in[1], producer_) == 0.0 ? sum_of(node->in[0]) : Sum::No;
    if (node->op == "add") {
      for (int v : node->in)
        if (!(body_.spec(v) == body_.spec(value))) return Sum::No;
      const Sum a = sum_of(node->in[0]), b = sum_of(node->in[1]);
      return a == Sum::No || b == Sum::No ? Sum::No : std::max(a, b);
    }
    if (node->op == "reduce_sum") {
      const int x = node->in[0];
      return kind_[x] == Kind::Sliced || (can_be_stacked(x) && row_of(x)) ? Sum::Stacked : Sum::No;
    }
    const bool product = node->op == "matmul" && rank(node->in[0]) == 2 && rank(node->in[1]) == 2 &&
                         node->attrs.integer("transpose_a", 0) && !node->attrs.integer("transpose_b", 0) &&
                         !node->attrs.has("out_dtype");
    return product && can_be_stacked(node->in[0]) && can_be_stacked(node->in[1]) ? Sum::Products : Sum::No;
  }

  int summed(int value) {
    Node node = *maker(value);
    const Spec spec = body_.spec(value);
    if (node.op == "matmul") {
      for (int& v : node.in) v = joined(stacked(v));
    } else if (node.op == "reduce_sum") {
      Ints axes{0};
      for (int64_t axis : node.attrs.ints("axes")) axes.push_back(axis + 1);
      node.in = {stacked(node.in[0])};
      node.attrs.set("axes", std::move(axes));
    } else {
      node.in[0] = summed(node.in[0]);
      if (node.op == "add") node.in[1] = summed(node.in[1]);
      if (node.op == "pad") node.in[1] = outside(node.in[1]);
    }
    if (node.op != "reduce_sum" || !node.attrs.integer("keepdims", 0)) return add(std::move(node), spec);
    Spec kept = spec;
    kept.shape.insert(kept.shape.begin(), 1);
    return reshaped(add(std::move(node), kept), spec.shape);
  }

  int reshaped(int value, const Shape& dims) {
    Node node;
    node.op = "reshape";
    node.in = {value};
    node.attrs.set("dims", Ints(dims));
    return add(std::move(node), {outer_.spec(value).dtype, dims});
  }
  // [steps, rows, n] as [steps * rows, n].
  int joined(int value) {
    const Shape& dims = outer_.spec(value).shape;
    return reshaped(value, {symbols::make(symbols::Op::Mul, dims[0], dims[1]), dims[2]});
  }

  // Carried values that nothing but a sum of the steps' `products` is added to; then those of what is stacked by now.
  void sum_behind(bool products) {
    for (size_t j = carried_; j-- > 0;) {
      const int before = body_.inputs[j], after = body_.outputs[j];
      const Node* sum = maker(after);
      if (!sum || sum->op != "add" || uses_[after] != 1 || uses_[before] != 1) continue;
      if (sum->in[0] != before && sum->in[1] != before) continue;
      const int added = sum->in[sum->in[0] == before];
      if (!(body_.spec(added) == body_.spec(after))) continue;
      if (sum_of(added) != (products ? Sum::Products : Sum::Stacked)) continue;
      Node total;
      total.op = "add";
      total.in = {scan_.in[j], summed(added)};
      outer_.alias(scan_.out[j], add(std::move(total), body_.spec(after)));
      drop_carried(j);
      for (auto& [value, place] : input_) place -= place > j;
    }
  }

  // Rows that are products by a matrix, sums of such, or multiples by what does not vary.
  bool is_late_product(int value) const {
    const Node* node = maker(value);
    if (!node || uses_[value] != 1) return false;
    if (node->op == "add")
      return std::all_of(node->in.begin(), node->in.end(),
                         [&](int v) { return body_.spec(v) == body_.spec(value) && is_late_product(v); });
    if (node->op == "mul")
      return body_.spec(node->in[0]) == body_.spec(value) && kind_[node->in[1]] <= Kind::Invariant &&
             rank(node->in[1]) <= rank(value) && is_late_product(node->in[0]);
    return is_product_by_matrix(*node) && kind_[node->in[0]] == Kind::Varying;
  }
  int late_product(int value) {
    Node node = *maker(value);
    if (node.op == "matmul") {
      node.in = {stacked(node.in[0]), outside(node.in[1])};
    } else {
      node.in[0] = late_product(node.in[0]);
      node.in[1] = node.op == "add" ? late_product(node.in[1]) : outside(node.in[1]);
    }
    return add(std::move(node), of_all_steps(body_.spec(value)));
  }

  void multiply_behind() {
    for (size_t row = scan_.out.size(); row-- > carried_;) {
      const int value = body_.outputs[row];
      if (!is_late_product(value)) continue;
      outer_.alias(scan_.out[row], late_product(value));
      drop_result(row);
    }
  }

  Graph& outer_;
  const size_t index_;
  std::vector<Known>& known_;
  Node scan_;
  Graph& body_;
  const int64_t length_;
  size_t carried_, stacked_;
  std::vector<int> producer_, uses_;  // of the body, like the rest
  std::vector<Kind> kind_;
  std::map<int, size_t> input_;  // by value: which it is
  std::map<int, int> outside_;   // by value: that of the outer graph
};

void move_out_of_loops(Graph& graph) {
  const std::vector<int> uses = graph.use_counts();
  std::vector<Known> known;
  const size_t count = graph.nodes.size();  // what is added comes behind
  for (size_t n = 0; n < count; ++n) {
    if (graph.nodes[n].op != "scan") continue;
    Node left = Loop(graph, n, known).run(uses);
    graph.nodes[n] = std::move(left);
  }
}

// In front of those that look at products.
const RegisterPass pass(12, "loop_products", move_out_of_loops);

}  // namespace
}  // namespace native
