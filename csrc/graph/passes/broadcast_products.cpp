// Products of rows that are repeated, as the gradient of a mean over positions is. The repeated rows times a matrix
// are the product of each of them, repeated; and where the product sums over the rows, what they are multiplied by is
// summed first. Exact but, in the second case, for the order of the sum (which may overflow where products do not), and
// so done in full precision only.
#include <string>

#include "core/symbols.h"
#include "graph/passes.h"

namespace native {
namespace {

class BroadcastProducts {
 public:
  explicit BroadcastProducts(Graph& graph) : graph_(graph), producer_(graph.producers()) {}

  void run() {
    for (Node& node : graph_.nodes) {
      if (node.op != "matmul") continue;
      if (!node.attrs.integer("transpose_a", 0))
        multiply_once(node);
      else if (is_full(node) && !node.attrs.integer("transpose_b", 0) && !sum_first(node, 0))
        sum_first(node, 1);
    }
    for (Node& node : extra_) graph_.nodes.push_back(std::move(node));
  }

 private:
  // A value of `dims`, the rows of x repeated along `axes`; then perhaps cast, and then perhaps their axes joined.
  struct Repeated {
    int x = -1;
    Shape dims;
    Ints axes;
    explicit operator bool() const { return x >= 0; }
  };

  // The node that makes a value, which may have been replaced since; nullptr for values that this pass has added.
  const Node* maker(int value) const {
    const bool known = static_cast<size_t>(value) < producer_.size() && producer_[value] >= 0;
    return known ? &graph_.nodes[producer_[value]] : nullptr;
  }

  bool is_full(const Node& node) const {
    const DType dtype = graph_.spec(node.in[0]).dtype;
    return (dtype == DType::F32 || dtype == DType::F64) && graph_.spec(node.out[0]).dtype == dtype;
  }

  Repeated repeated(int value) const {
    const Node* node = maker(value);
    const Shape& own = graph_.spec(value).shape;
    if (own.empty() || own.back() == 0) return {};  // any sizes make rows of nothing
    if (node && node->op == "reshape" && own.size() == 2 && !graph_.spec(node->in[0]).shape.empty() &&
        graph_.spec(node->in[0]).shape.back() == own.back())
      node = maker(node->in[0]);
    if (node && node->op == "cast") node = maker(node->in[0]);
    if (!node || node->op != "broadcast_to") return {};
    const Shape &dims = graph_.spec(node->out[0]).shape, &from = graph_.spec(node->in[0]).shape;
    if (from.size() != dims.size() || dims.size() < 2 || from.back() != dims.back()) return {};
    Repeated found{node->in[0], dims, {}};
    for (size_t i = 0; i + 1 < dims.size(); ++i)
      if (from[i] != dims[i]) found.axes.push_back(static_cast<int64_t>(i));
    return found.axes.empty() ? Repeated{} : found;
  }

  // matmul(repeated x, w), one w for all.
  void multiply_once(Node& node) {
    const Repeated rows = repeated(node.in[0]);
    if (!rows || graph_.spec(node.in[1]).shape.size() != 2) return;
    const Spec result = graph_.spec(node.out[0]);
    Node product = node;
    Shape dims = graph_.spec(rows.x).shape;
    dims.back() = result.shape.back();
    product.in[0] = cast(rows.x, graph_.spec(node.in[0]).dtype);
    product.out = {graph_.value({result.dtype, dims})};
    dims = rows.dims;
    dims.back() = result.shape.back();
    const bool joined = dims != result.shape;
    Node spread;
    spread.op = "broadcast_to";
    spread.in = product.out;
    spread.out = joined ? std::vector<int>{graph_.value({result.dtype, dims})} : node.out;
    spread.attrs.set("dims", Ints(dims));
    extra_.push_back(std::move(product));
    if (joined) extra_.push_back(spread);
    node = joined ? reshape(spread.out[0], result.shape, node.out[0]) : std::move(spread);
  }

  // matmul(a, repeated x) or matmul(repeated x, a), the first transposed, which sums over the rows of both.
  bool sum_first(Node& node, int side) {
    const Repeated rows = repeated(node.in[side]);
    if (!rows || graph_.spec(node.in[0]).shape.size() != 2 || graph_.spec(node.in[1]).shape.size() != 2) return false;
    // Copies: each value that is added may move the others.
    const Spec other = graph_.spec(node.in[1 - side]);
    const Shape from = graph_.spec(rows.x).shape;
    const auto as_rows = [&](int value, const Shape& dims) {
      int64_t count = 1;
      for (size_t i = 0; i + 1 < dims.size(); ++i) count = symbols::make(symbols::Op::Mul, count, dims[i]);
      return reshaped(value, {count, dims.back()});
    };
    Shape dims = rows.dims;
    dims.back() = other.shape.back();
    Node sum;
    sum.op = "reduce_sum";
    sum.in = {reshaped(node.in[1 - side], dims)};
    sum.attrs.set("axes", rows.axes);
    sum.attrs.set("keepdims", int64_t{1});
    for (int64_t axis : rows.axes) dims[static_cast<size_t>(axis)] = 1;
    sum.out = {graph_.value({other.dtype, dims})};
    node.in[1 - side] = as_rows(sum.out[0], dims);
    node.in[side] = as_rows(cast(rows.x, other.dtype), from);
    extra_.push_back(std::move(sum));
    return true;
  }

  int cast(int value, DType dtype) {
    const Spec spec = graph_.spec(value);
    if (spec.dtype == dtype) return value;
    Node node;
    node.op = "cast";
    node.in = {value};
    node.out = {graph_.value({dtype, spec.shape})};
    node.attrs.set("dtype", std::string(name_of(dtype)));
    extra_.push_back(node);
    return node.out[0];
  }
  static Node reshape(int from, const Shape& dims, int to) {
    Node node;
    node.op = "reshape";
    node.in = {from};
    node.out = {to};
    node.attrs.set("dims", Ints(dims));
    return node;
  }
  int reshaped(int value, const Shape& dims) {
    const Spec spec = graph_.spec(value);
    if (spec.shape == dims) return value;
    extra_.push_back(reshape(value, dims, graph_.value({spec.dtype, dims})));
    return extra_.back().out[0];
  }

  Graph& graph_;
  const std::vector<int> producer_;
  std::vector<Node> extra_;
};

const RegisterPass pass(25, "broadcast_products", [](Graph& graph) { BroadcastProducts(graph).run(); });

}  // namespace
}  // namespace native
