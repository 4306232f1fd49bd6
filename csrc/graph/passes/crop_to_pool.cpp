// Windows that do not overlap leave out the last rows of what they do not divide. Where a pooling is all that reads a
// convolution, these rows are not computed; and where its gradient goes to a convolution's gradients alone, the zeros
// there are not multiplied. Exact, but that an infinity times such a zero was NaN.
#include <algorithm>
#include <utility>

#include "core/symbols.h"
#include "graph/passes.h"

namespace native {
namespace {

// Spatial sizes.
Ints sizes(const Shape& dims) { return Ints(dims.begin() + 1, dims.end() - 1); }

class Cropper {
 public:
  explicit Cropper(Graph& graph) : graph_(graph), readers_(graph.values.size()) {
    for (Node& node : graph.nodes)
      for (int value : node.in) readers_[graph.resolve(value)].push_back(&node);
    // What leaves the graph stays whole.
    for (int value : graph.outputs) readers_[graph.resolve(value)].push_back(nullptr);
  }

  void run() {
    for (Node& node : graph_.nodes) {
      if (is_plain_conv(node)) crop_forward(node);
      if (node.op == "max_pool_scatter" || node.op == "avg_pool_grad") crop_gradient(node);
    }
  }

 private:
  // One that is no matrix product of all pixels, and adds nothing that has its shape.
  static bool is_plain_conv(const Node& node) {
    return (node.op == "conv" || node.op == "conv_bias_act") && node.in.size() < 4;
  }
  static bool is_pool(const Node* node) {
    return node && (node->op == "max_pool" || node->op == "max_pool_places" || node->op == "avg_pool");
  }

  // How much of `whole` the windows of a pooling with results of `out` reach; empty if not known.
  static Ints reached(const Node& pool, const Ints& whole, const Ints& out) {
    const Ints &window = pool.attrs.ints("window"), &strides = pool.attrs.ints("strides"),
               &padding = pool.attrs.ints("padding");
    if (symbols::is_symbolic(pool.attrs) || symbols::is_symbolic(whole) || symbols::is_symbolic(out)) return {};
    Ints kept = whole;
    for (size_t d = 0; d < whole.size(); ++d)
      kept[d] = std::clamp<int64_t>((out[d] - 1) * strides[d] + window[d] - padding[2 * d], 1, whole[d]);
    return kept;
  }

  // The padding of a convolution with so many results instead of `whole`; empty where cropping would not pay, since a
  // 1x1 convolution is a matrix product of whole images.
  Ints cropped_padding(const Node& conv, const Shape& kernel, const Ints& whole, const Ints& kept) const {
    if (kept.empty() || kept == whole || symbols::is_symbolic(conv.attrs)) return {};
    if (std::all_of(kernel.begin(), kernel.end() - 2, [](int64_t k) { return k == 1; })) return {};
    Ints padding = conv.attrs.ints("padding");
    const Ints& strides = conv.attrs.ints("strides");
    for (size_t d = 0; d < whole.size(); ++d) padding[2 * d + 1] -= (whole[d] - kept[d]) * strides[d];
    return padding;
  }

  // Whether zeros more or less make no difference, not even to the shape of the result.
  bool sums_positions(const Node& sum) const {
    const Ints& axes = sum.attrs.ints("axes");
    for (int64_t d = 1; d + 1 < static_cast<int64_t>(graph_.spec(sum.in[0]).shape.size()); ++d)
      if (std::find(axes.begin(), axes.end(), d) == axes.end()) return false;
    return true;
  }

  void resize(int value, const Ints& kept) {
    std::copy(kept.begin(), kept.end(), graph_.values[value].shape.begin() + 1);
  }

  void crop_forward(Node& conv) {
    const int y = conv.out[0];
    const Ints whole = sizes(graph_.spec(y).shape);
    Ints kept;
    for (const Node* reader : readers_[y]) {
      if (!is_pool(reader)) return;
      const Ints part = reached(*reader, whole, sizes(graph_.spec(reader->out[0]).shape));
      if (part.empty()) return;
      kept.resize(part.size());
      std::transform(part.begin(), part.end(), kept.begin(), kept.begin(),
                     [](auto a, auto b) { return std::max(a, b); });
    }
    const Ints padding = cropped_padding(conv, graph_.spec(conv.in[1]).shape, whole, kept);
    if (padding.empty()) return;
    conv.attrs.set("padding", padding);
    resize(y, kept);
  }

  void crop_gradient(Node& pool) {
    const int ct = pool.out[0], windows = pool.in[0];
    const Ints whole = sizes(graph_.spec(ct).shape);
    const Ints kept = reached(pool, whole, sizes(graph_.spec(windows).shape));
    std::vector<std::pair<Node*, Ints>> changes;
    for (Node* grad : readers_[ct]) {
      const bool by_input = grad && grad->op == "conv_input_grad" && graph_.resolve(grad->in[0]) == ct;
      const bool by_weights = grad && grad->op == "conv_weight_grad" && graph_.resolve(grad->in[1]) == ct;
      if (grad && grad->op == "reduce_sum" && sums_positions(*grad)) continue;
      if (!by_input && !by_weights) return;
      if (graph_.resolve(grad->in[0]) == graph_.resolve(grad->in[1])) return;
      const Shape& kernel = graph_.spec(by_input ? grad->in[1] : grad->out[0]).shape;
      const Ints padding = cropped_padding(*grad, kernel, whole, kept);
      if (padding.empty()) return;
      changes.emplace_back(grad, padding);
    }
    if (changes.empty()) return;
    for (auto& [grad, padding] : changes) grad->attrs.set("padding", padding);
    pool.attrs.set("input_dims", kept);
    resize(ct, kept);
  }

  Graph& graph_;
  std::vector<std::vector<Node*>> readers_;  // by value; null for the graph's outputs
};

// After pool_places, behind which no gradient reads what was pooled.
const RegisterPass pass(55, "crop_to_pool", [](Graph& graph) { Cropper(graph).run(); });

}  // namespace
}  // namespace native
