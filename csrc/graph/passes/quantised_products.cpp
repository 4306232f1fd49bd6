// Dense layers quantised to int8, as Keras writes them. What quantises an activation, max |x| of each row, its scale,
// multiplication, rounding and clipping, becomes quantise_rows. The product, the division by both scales, bias and
// activation become quantised_linear, by weights packed once. Exact to rounding.
#include <algorithm>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/symbols.h"
#include "graph/passes.h"
#include "kernels/gemm/words.h"

namespace native {
namespace {

// Weights whose words would not be kept: fewer, or with fewer columns, which words have room for 64 of.
constexpr size_t kFewBytes = 4096;
constexpr int64_t kFewColumns = 16;

class Quantised {
 public:
  explicit Quantised(Graph& graph)
      : graph_(graph), producer_(graph.producers()), uses_(graph.use_counts()), steady_(graph.steady_values()) {}

  void run() {
    for (Node& node : graph_.nodes) {
      if (node.op == "cast") quantise(node);
      if (node.op == "div") multiply(node);
    }
    for (size_t n = 0; n < graph_.nodes.size(); ++n) add_bias(graph_.nodes[n]);
    for (Node& node : extra_) graph_.nodes.push_back(std::move(node));
  }

 private:
  const Node* made_by(int value, const char* op) const {
    const int p = producer_[graph_.resolve(value)];
    return p >= 0 && graph_.nodes[p].op == op ? &graph_.nodes[p] : nullptr;
  }
  std::optional<double> number(int value) const { return graph_.number(graph_.resolve(value), producer_); }

  // cast(clip(round(x * scale), -top, top)), scale = top / (max |x| + least).
  void quantise(Node& cast) {
    if (graph_.spec(cast.out[0]).dtype != DType::I8) return;
    const Node* const clip = made_by(cast.in[0], "clip");
    const Node* const round = clip ? made_by(clip->in[0], "round") : nullptr;
    const Node* const product = round ? made_by(round->in[0], "mul") : nullptr;
    if (!product) return;
    const auto low = number(clip->in[1]), top = number(clip->in[2]);
    if (!low || !top || *low != -*top || *top > 127) return;
    for (int side = 0; side < 2; ++side) {
      const int x = graph_.resolve(product->in[side]), scale = graph_.resolve(product->in[1 - side]);
      const auto least = made_from(scale, x, *top);
      if (!least) continue;
      Node rows;
      rows.op = "quantise_rows";
      rows.in = {x};
      rows.out = {cast.out[0], graph_.value(graph_.spec(scale))};
      rows.attrs.set("top", *top);
      rows.attrs.set("least", *least);
      graph_.alias(scale, rows.out[1]);
      cast = std::move(rows);
      return;
    }
  }

  // `least`, if the value is the scale of x by rows.
  std::optional<double> made_from(int scale, int x, double top) const {
    const Node* const division = made_by(scale, "div");
    if (!division || graph_.spec(x).dtype != DType::F32 || number(division->in[0]) != top) return {};
    const Node* const sum = made_by(division->in[1], "add");
    if (!sum) return {};
    for (int side = 0; side < 2; ++side) {
      const Node* const peak = made_by(sum->in[side], "reduce_max");
      const Node* const size = peak ? made_by(peak->in[0], "abs") : nullptr;
      const auto least = number(sum->in[1 - side]);
      if (!size || !least || graph_.resolve(size->in[0]) != x || peak->attrs.integer("keepdims") == 0) continue;
      // The last axes, whose sizes are known and not zero.
      const Shape& dims = graph_.spec(x).shape;
      const Ints& axes = peak->attrs.ints("axes");
      bool rows = !axes.empty();
      for (size_t i = 0; i < axes.size(); ++i) {
        const size_t axis = dims.size() - axes.size() + i;
        rows = rows && axes[i] == static_cast<int64_t>(axis) && !symbols::is_symbolic(dims[axis]) && dims[axis] > 0;
      }
      if (rows) return least;
    }
    return {};
  }

  // Sizes without those of 1 in front.
  Shape without_ones(int value) const {
    Shape dims = graph_.spec(value).shape;
    dims.erase(dims.begin(), std::find_if(dims.begin(), dims.end(), [](int64_t d) { return d != 1; }));
    return dims;
  }
  // Whether a value has one number for each of the columns that the last sizes of `dims` are.
  bool is_of_columns(int value, const Shape& dims, int64_t columns) const {
    const Shape own = without_ones(value);
    if (graph_.spec(value).dtype != DType::F32 || own.size() > dims.size() || symbols::is_symbolic(own)) return false;
    int64_t count = 1;
    for (int64_t d : own) count *= d;
    return count == columns && std::equal(own.rbegin(), own.rend(), dims.rbegin());
  }
  // Whether it has one for each row.
  bool is_of_rows(int value, const Shape& dims, size_t axes) const {
    Shape rows = dims;
    std::fill(rows.end() - static_cast<std::ptrdiff_t>(axes), rows.end(), 1);
    return graph_.spec(value) == Spec{DType::F32, rows};
  }

  // cast(product) / (scales of columns * scales of rows), the product moved or not.
  void multiply(Node& division) {
    const Node* const cast = made_by(division.in[0], "cast");
    const Node* const scales = made_by(division.in[1], "mul");
    if (!cast || !scales || graph_.spec(division.out[0]).dtype != DType::F32) return;
    const Node* const moved = made_by(cast->in[0], "reshape");
    const Node* const product = made_by(moved ? moved->in[0] : cast->in[0], "matmul");
    if (!product || !takes_words(*product)) return;
    const Shape dims = graph_.spec(division.out[0]).shape;
    if (graph_.spec(cast->in[0]).shape != dims) return;
    const int64_t columns = graph_.spec(product->out[0]).shape.back();
    for (int side = 0; side < 2; ++side) {
      const int by_column = graph_.resolve(scales->in[side]), by_row = graph_.resolve(scales->in[1 - side]);
      if (!is_of_columns(by_column, dims, columns) || !is_of_rows(by_row, dims, without_ones(by_column).size()))
        continue;
      Node linear;
      linear.op = "quantised_linear";
      linear.in = {product->in[0], packed(*product), by_row, flat(by_column, columns)};
      linear.attrs.set("activation", std::string("none"));
      if (!moved) {
        linear.out = division.out;
        division = std::move(linear);
        return;
      }
      linear.out = {graph_.value({DType::F32, graph_.spec(product->out[0]).shape})};
      Node reshape;
      reshape.op = "reshape";
      reshape.attrs = moved->attrs;
      reshape.in = linear.out;
      reshape.out = division.out;
      division = std::move(reshape);
      extra_.push_back(std::move(linear));
      return;
    }
  }

  bool takes_words(const Node& product) const {
    const Spec &x = graph_.spec(product.in[0]), &w = graph_.spec(product.in[1]);
    return x.dtype == DType::I8 && w.dtype == DType::I8 && graph_.spec(product.out[0]).dtype == DType::I32 &&
           x.shape.size() >= 2 && w.shape.size() == 2 && !symbols::is_symbolic(w.shape) && w.bytes() >= kFewBytes &&
           graph_.spec(product.out[0]).shape.back() >= kFewColumns && product.attrs.integer("transpose_a", 0) == 0 &&
           steady_[graph_.resolve(product.in[1])];
  }
  int packed(const Node& product) {
    const Shape w = graph_.spec(product.in[1]).shape;
    const bool transposed = product.attrs.integer("transpose_b", 0) != 0;
    Node words;
    words.op = "pack_words";
    words.in = {product.in[1]};
    words.attrs.set("transpose_w", int64_t{transposed});
    words.out = {
        graph_.value({DType::U32, {gemm::PackedWords(words_table().i8, w[transposed], w[!transposed]).size()}})};
    extra_.push_back(std::move(words));
    return extra_.back().out[0];
  }

  int flat(int value, int64_t size) {
    if (graph_.spec(value).shape.size() == 1) return value;
    Node reshape;
    reshape.op = "reshape";
    reshape.in = {value};
    reshape.attrs.set("dims", Ints{size});
    reshape.out = {graph_.value({DType::F32, {size}})};
    extra_.push_back(std::move(reshape));
    return extra_.back().out[0];
  }

  // The quantised_linear whose result, moved or not, is the value that only this node reads.
  Node* linear_for_us(int value) {
    value = graph_.resolve(value);
    const int p = producer_[value];
    if (p < 0 || uses_[value] != 1) return nullptr;
    Node& node = graph_.nodes[p];
    if (node.op == "quantised_linear") return &node;
    if (node.op != "reshape") return nullptr;
    for (Node& made : extra_)
      if (made.op == "quantised_linear" && made.out[0] == node.in[0]) return &made;
    return nullptr;
  }

  // A bias of columns joins, and then an activation. The node becomes another name of what it reads.
  void add_bias(Node& node) {
    static constexpr const char* known[] = {"relu", "silu", "sigmoid", "tanh", "gelu", "relu6"};
    if (node.op == "add") {
      for (int side = 0; side < 2; ++side) {
        Node* const linear = linear_for_us(node.in[side]);
        const int bias = graph_.resolve(node.in[1 - side]), sum = node.out[0];
        if (!linear || linear->in.size() != 4 || linear->attrs.text("activation") != "none") continue;
        if (!(graph_.spec(node.in[side]) == graph_.spec(sum))) continue;
        const int64_t columns = graph_.spec(linear->out[0]).shape.back();
        if (!is_of_columns(bias, graph_.spec(sum).shape, columns)) continue;
        linear->in.push_back(flat(bias, columns));
        become(node, node.in[side]);
        return;
      }
    }
    if (std::find(std::begin(known), std::end(known), node.op) == std::end(known)) return;
    Node* const linear = linear_for_us(node.in[0]);
    if (!linear || linear->attrs.text("activation") != "none") return;
    const bool tanh_form = node.op == "gelu" && node.attrs.integer("approximate", 0) != 0;
    linear->attrs.set("activation", tanh_form ? std::string("gelu_tanh") : node.op);
    become(node, node.in[0]);
  }
  void become(const Node& node, int value) {
    value = graph_.resolve(value);
    uses_[value] = uses_[node.out[0]];
    graph_.alias(node.out[0], value);
  }

  Graph& graph_;
  const std::vector<int> producer_;
  std::vector<int> uses_;
  const std::vector<bool> steady_;
  std::deque<Node> extra_;  // whose nodes stay where they are
};

void quantised_products(Graph& graph) {
  if (words_table().i8.block) Quantised(graph).run();
}

const RegisterPass pass(38, "quantised_products", quantised_products, {.cpu_only = true});

}  // namespace
}  // namespace native
