// The mask of relu's or relu6's gradient, select(y > 0, ct, 0), costs a pass over memory of its own. It moves
//  - into the gradient of the batch normalisation that y came from, which knows y from what it reads anyway;
//  - through the gradient of max pooling over y, where it masks one element a window: the largest is y's own.
// And sums of gradients over all positions, which bias gradients are, need not read them: that of max pooling's is
// the sum of its cotangents, that of batch normalisation's is zero, since what is added to all of a channel goes into
// its mean. Exact but for the rounding of the sums.
#include <algorithm>
#include <optional>
#include <string>

#include "graph/passes.h"

namespace native {
namespace {

class ReluGradients {
 public:
  explicit ReluGradients(Graph& graph) : graph_(graph), producer_(graph.producers()), uses_(graph.use_counts()) {}

  void run() {
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      const std::string& op = graph_.nodes[n].op;
      if (op == "select") behind_max_pool(n);
      if (op == "batch_norm_train_grad") into_batch_norm(graph_.nodes[n]);
      if (op == "reduce_sum") simplify_sum(graph_.nodes[n]);
    }
    for (Node& node : extra_) graph_.nodes.push_back(std::move(node));
  }

 private:
  // select(mask, ct, 0), where the mask says which elements of y = relu(..) or relu6(..) were not clipped.
  struct Mask {
    int y, ct;
    int zero, six;  // the numbers compared with; six is -1 for relu
    const char* activation() const { return six < 0 ? "relu" : "relu6"; }
  };

  const Node* maker(int value) const { return producer_[value] < 0 ? nullptr : &graph_.nodes[producer_[value]]; }
  bool is_number(int value, double number) const { return graph_.number(value, producer_) == number; }

  // The node that compares something with a number.
  const Node* comparison(int value, const char* op, double number) const {
    const Node* node = maker(value);
    return node && node->op == op && is_number(node->in[1], number) ? node : nullptr;
  }

  std::optional<Mask> as_mask(const Node* node) const {
    if (!node || node->op != "select" || !is_number(node->in[2], 0)) return {};
    const Node* both = maker(node->in[0]);
    const bool six = both && both->op == "logical_and";
    const Node* above = comparison(six ? both->in[0] : node->in[0], "gt", 0);
    const Node* below = six ? comparison(both->in[1], "lt", 6) : nullptr;
    if (!above || (six && (!below || below->in[0] != above->in[0]))) return {};
    const int y = above->in[0], ct = node->in[1];
    const Shape& dims = graph_.spec(node->out[0]).shape;
    if (graph_.spec(y).shape != dims || graph_.spec(ct).shape != dims) return {};
    return Mask{y, ct, node->in[2], below ? below->in[1] : -1};
  }

  void into_batch_norm(Node& grad) {
    const auto mask = as_mask(maker(grad.in[0]));
    if (!mask || uses_[grad.in[0]] != 1 || grad.attrs.has("activation")) return;
    const Node* norm = maker(mask->y);
    if (!norm || norm->op != "batch_norm_train" || norm->out[0] != mask->y || norm->attrs.has("residual")) return;
    if (norm->attrs.text("activation", "none") != mask->activation()) return;
    const bool has_gamma = norm->attrs.integer("has_gamma"), has_beta = norm->attrs.integer("has_beta");
    const bool same = grad.in[1] == norm->in[0] && grad.in[2] == norm->out[1] && grad.in[3] == norm->out[2] &&
                      grad.attrs.integer("has_gamma") == has_gamma && grad.attrs.integer("has_beta") == has_beta &&
                      (!has_gamma || grad.in[4] == norm->in[1]) && grad.attrs.real("eps") == norm->attrs.real("eps");
    if (!same) return;
    grad.in[0] = mask->ct;
    if (has_beta) grad.in.push_back(norm->in.back());
    grad.attrs.set("activation", norm->attrs.text("activation"));
  }

  // select(y > 0, max_pool_grad(y, m, ct), 0) is max_pool_grad(y, m, select(m > 0, ct, 0)).
  void behind_max_pool(size_t n) {
    const auto mask = as_mask(&graph_.nodes[n]);
    if (!mask || uses_[mask->ct] != 1) return;
    const Node* pool = maker(mask->ct);
    if (!pool || pool->op != "max_pool_grad" || pool->in[0] != mask->y) return;
    for (int number : {mask->zero, mask->six})
      if (number >= 0 && !graph_.spec(number).shape.empty()) return;
    Node masked = *pool;
    masked.in[2] = select(*mask, pool->in[1], pool->in[2]);
    masked.out = graph_.nodes[n].out;
    graph_.nodes[n] = std::move(masked);
  }

  // The mask by another y, of another ct.
  int select(const Mask& mask, int y, int ct) {
    const Spec flags{DType::Bool, graph_.spec(y).shape};
    int inside = add("gt", {y, mask.zero}, flags);
    if (mask.six >= 0) inside = add("logical_and", {inside, add("lt", {y, mask.six}, flags)}, flags);
    return add("select", {inside, ct, mask.zero}, graph_.spec(ct));
  }

  // The sum over all positions of what a convolution's bias is added to.
  void simplify_sum(Node& sum) {
    const Node* grad = maker(sum.in[0]);
    if (!grad || grad->out[0] != sum.in[0]) return;
    const Ints& axes = sum.attrs.ints("axes");
    const auto rank = static_cast<int64_t>(graph_.spec(sum.in[0]).shape.size());
    // All axes but the channels', in whatever order.
    if (static_cast<int64_t>(axes.size()) != rank - 1 || std::find(axes.begin(), axes.end(), rank - 1) != axes.end())
      return;
    if (grad->op == "max_pool_grad") sum.in[0] = grad->in[2];
    if (grad->op == "batch_norm_train_grad" && by_own_statistics(*grad)) become_zero(sum, grad->out.back());
  }

  // The mean that is given is that of x. (Any variance will do.)
  bool by_own_statistics(const Node& grad) const {
    const Node* norm = maker(grad.in[2]);
    return norm && norm->op == "batch_norm_train" && norm->out[1] == grad.in[2] && norm->in[0] == grad.in[1];
  }

  // Zero times the gradient of beta (or gamma): NaN where that is.
  void become_zero(Node& node, int parameter_gradient) {
    const Spec spec = graph_.spec(node.out[0]);
    if (graph_.spec(parameter_gradient).shape != spec.shape) return;
    if (graph_.spec(parameter_gradient).dtype != spec.dtype) parameter_gradient = cast(parameter_gradient, spec);
    Node zero;
    zero.op = "full";
    zero.out = {graph_.value({spec.dtype, {}})};
    zero.attrs.set("dims", Ints{});
    zero.attrs.set("value", int64_t{0});
    zero.attrs.set("dtype", std::string(name_of(spec.dtype)));
    node.op = "mul";
    node.in = {parameter_gradient, zero.out[0]};
    node.attrs = {};
    extra_.push_back(std::move(zero));
  }

  int cast(int value, const Spec& to) {
    const int result = add("cast", {value}, to);
    extra_.back().attrs.set("dtype", std::string(name_of(to.dtype)));
    return result;
  }

  int add(const char* op, std::vector<int> in, const Spec& out) {
    Node node;
    node.op = op;
    node.in = std::move(in);
    node.out = {graph_.value(out)};
    extra_.push_back(node);
    return node.out[0];
  }

  Graph& graph_;
  std::vector<int> producer_, uses_;
  std::vector<Node> extra_;
};

const RegisterPass pass(45, "relu_gradients", [](Graph& graph) { ReluGradients(graph).run(); });

}  // namespace
}  // namespace native
