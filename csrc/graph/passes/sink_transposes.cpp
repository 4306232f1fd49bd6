// Where a model's channels come first, each convolution, pool and norm stands between a transpose to channels last and
// one back. What is done elementwise to a result, and what is reduced from it, moves in front of the transpose back,
// which so meets the next one: `simplify` leaves both out. Exact but for the order of reductions.
#include <algorithm>
#include <array>
#include <map>

#include "graph/passes.h"
#include "kernels/elementwise/ops.h"

namespace native {
namespace {

// (0, r - 1, 1, ..., r - 2): from channels last to channels first.
Ints channels_first(size_t rank) {
  Ints perm{0, static_cast<int64_t>(rank) - 1};
  for (size_t i = 1; i + 1 < rank; ++i) perm.push_back(static_cast<int64_t>(i));
  return perm;
}
Ints channels_last(size_t rank) {
  Ints perm{0};
  for (size_t i = 2; i < rank; ++i) perm.push_back(static_cast<int64_t>(i));
  perm.push_back(1);
  return perm;
}
Shape moved_last(const Shape& dims) {
  Shape moved;
  for (int64_t axis : channels_last(dims.size())) moved.push_back(dims[static_cast<size_t>(axis)]);
  return moved;
}

bool is_reduction(const std::string& op) {
  static constexpr std::array kReductions{"reduce_sum", "reduce_mean", "reduce_max", "reduce_min"};
  return std::find(kReductions.begin(), kReductions.end(), op) != kReductions.end();
}

class Sinker {
 public:
  explicit Sinker(Graph& graph) : graph_(graph) {}

  void run() {
    for (Node& node : graph_.nodes) {
      for (int& v : node.in) v = graph_.resolve(v);
      if (node.op == "transpose")
        note_transpose(node);
      else if (node.op == "broadcast_to" && is_per_channel(node.in[0], graph_.spec(node.out[0]).shape))
        spread_[node.out[0]] = node.in[0];
      else if (is_reduction(node.op))
        sink_reduction(node);
      else if (find_elementwise(node.op) && node.out.size() == 1 && node.pure)
        sink_elementwise(node);
    }
    for (Node& node : extra_) graph_.nodes.push_back(std::move(node));
  }

 private:
  void note_transpose(Node& node) {
    const Ints& perm = node.attrs.ints("perm");
    if (perm.size() < 3) return;
    if (perm == channels_first(perm.size())) source_[node.out[0]] = node.in[0];
    if (perm == channels_last(perm.size()) && spread_.count(node.in[0]))
      graph_.alias(node.out[0], with_channels_last(node.in[0]));
  }

  // `node` computes `moved`, with its channels last; in its place stands a transpose of that.
  void replace(Node& node, Node moved) {
    const Spec spec = graph_.spec(node.out[0]);
    const int value = graph_.value({spec.dtype, moved_last(spec.shape)});
    source_[node.out[0]] = value;
    node = transpose(value, node.out[0], channels_first(spec.shape.size()));
    moved.out = {value};
    extra_.push_back(std::move(moved));
  }

  static Node transpose(int from, int to, Ints perm) {
    Node node;
    node.op = "transpose";
    node.in = {from};
    node.out = {to};
    node.attrs.set("perm", std::move(perm));
    return node;
  }

  void sink_elementwise(Node& node) {
    const Shape dims = graph_.spec(node.out[0]).shape;
    bool any = false;
    for (int v : node.in) {
      // Of fewer sizes, it would be aligned with the last ones.
      const bool whole = graph_.spec(v).shape == dims;
      const bool turned = whole && source_.count(v), spread = whole && spread_.count(v);
      if (!turned && !spread && !graph_.spec(v).shape.empty() && !is_per_channel(v, dims)) return;
      any = any || turned || spread;
    }
    if (!any) return;
    Node moved = node;
    for (int& v : moved.in)
      if (!graph_.spec(v).shape.empty()) v = with_channels_last(v);
    replace(node, std::move(moved));
  }

  // One number a channel, or a channel of an example: [n or 1, c, 1, ...].
  bool is_per_channel(int value, const Shape& dims) const {
    const Shape& own = graph_.spec(value).shape;
    if (own.size() < 3 || own.size() != dims.size() || own[1] != dims[1] || (own[0] != 1 && own[0] != dims[0]))
      return false;
    return std::all_of(own.begin() + 2, own.end(), [](int64_t size) { return size == 1; });
  }

  int with_channels_last(int value) {
    if (source_.count(value)) return source_[value];
    const Spec spec = graph_.spec(value);
    const int last = graph_.value({spec.dtype, moved_last(spec.shape)});
    if (spread_.count(value)) {
      Node node;
      node.op = "broadcast_to";
      node.in = {with_channels_last(spread_[value])};
      node.out = {last};
      node.attrs.set("dims", Ints(graph_.spec(last).shape));
      extra_.push_back(std::move(node));
    } else {
      extra_.push_back(transpose(value, last, channels_last(spec.shape.size())));
    }
    return last;
  }

  void sink_reduction(Node& node) {
    const auto found = source_.find(node.in[0]);
    if (found == source_.end()) return;
    const int64_t rank = static_cast<int64_t>(graph_.spec(node.in[0]).shape.size());
    Ints axes;
    for (int64_t axis : node.attrs.ints("axes")) axes.push_back(axis == 0 ? 0 : axis == 1 ? rank - 1 : axis - 1);
    std::sort(axes.begin(), axes.end());
    const auto reduced = [&](int64_t axis) { return std::find(axes.begin(), axes.end(), axis) != axes.end(); };
    Node moved = node;
    moved.in = {found->second};
    moved.attrs.set("axes", axes);
    if (node.attrs.integer("keepdims")) return replace(node, std::move(moved));
    // Channels and a size behind them would change places.
    bool spatial = false;
    for (int64_t axis = 1; axis + 1 < rank; ++axis) spatial = spatial || !reduced(axis);
    if (reduced(rank - 1) || !spatial) node = std::move(moved);
  }

  Graph& graph_;
  // Of values with channels first: what they are the transpose of, or what was broadcast.
  std::map<int, int> source_, spread_;
  std::vector<Node> extra_;
};

const RegisterPass pass(5, "sink_transposes", [](Graph& graph) { Sinker(graph).run(); });

}  // namespace
}  // namespace native
