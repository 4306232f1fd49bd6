// A product that nothing but products by thin matrices reads, as a gradient of weights whose update has a low rank
// (LoRA): (x y) s is x (y s), which never makes the large product. Exact but for the order of sums, and so done in full
// precision only.
#include <optional>

#include "core/symbols.h"
#include "graph/passes.h"

namespace native {
namespace {

// A matrix as an operand of a product.
struct Factor {
  int value;
  bool transposed;
  Factor turned() const { return {value, !transposed}; }
};

class ThinProducts {
 public:
  explicit ThinProducts(Graph& graph)
      : graph_(graph), producer_(graph.producers()), steady_(graph.steady_values()), readers_(graph.values.size()) {
    for (size_t n = 0; n < graph.nodes.size(); ++n)
      for (int v : graph.nodes[n].in) readers_[static_cast<size_t>(v)].push_back(n);
    for (int v : graph.outputs) readers_[static_cast<size_t>(v)].push_back(kOutput);
  }

  void run() {
    for (size_t n = 0, count = graph_.nodes.size(); n < count; ++n)
      if (const auto wide = wide_product(n)) take_apart(*wide);
    for (Node& node : extra_) graph_.nodes.push_back(std::move(node));
  }

 private:
  static constexpr size_t kOutput = static_cast<size_t>(-1);
  // So many times fewer operations pay for products that are too thin to run at full speed.
  static constexpr int64_t kGain = 4;

  // x y, perhaps times a number, as `value`.
  struct Wide {
    Factor x, y;
    int64_t rows, columns;
    int value, scale;  // scale is -1 where there is none
  };

  static bool flag(const Node& node, const char* name) { return node.attrs.integer(name, 0) != 0; }
  const std::vector<size_t>& readers(int value) const { return readers_[static_cast<size_t>(value)]; }

  bool is_plain(const Node& node) const {
    if (node.op != "matmul" || node.attrs.has("out_dtype")) return false;
    const DType dtype = graph_.spec(node.out[0]).dtype;
    return (dtype == DType::F32 || dtype == DType::F64) && graph_.spec(node.in[0]).shape.size() == 2 &&
           graph_.spec(node.in[1]).shape.size() == 2;
  }

  std::optional<Wide> wide_product(size_t n) const {
    const Node& node = graph_.nodes[n];
    if (!is_plain(node)) return {};
    const Shape& dims = graph_.spec(node.out[0]).shape;
    if (symbols::is_symbolic(dims[0]) || symbols::is_symbolic(dims[1])) return {};
    if (steady_[static_cast<size_t>(node.out[0])]) return {};  // made once, not in each run
    Wide wide{{node.in[0], flag(node, "transpose_a")},
              {node.in[1], flag(node, "transpose_b")},
              dims[0],
              dims[1],
              node.out[0],
              -1};
    if (readers(wide.value).size() == 1 && readers(wide.value)[0] != kOutput) {
      const Node& only = graph_.nodes[readers(wide.value)[0]];
      const bool scales = only.op == "mul" && graph_.spec(only.out[0]) == graph_.spec(wide.value);
      const int scale = scales ? only.in[only.in[0] == wide.value ? 1 : 0] : -1;
      if (scales && graph_.spec(scale).shape.empty()) {
        wide.value = only.out[0];
        wide.scale = graph_.number(scale, producer_) == 1.0 ? -1 : scale;
      }
    }
    return pays(wide) ? std::optional(wide) : std::nullopt;
  }

  // All who read it are products by matrices that are so thin that doing without it takes less work, whatever the
  // number of its terms.
  bool pays(const Wide& wide) const {
    int64_t width = 0;
    for (size_t reader : readers(wide.value)) {
      if (reader == kOutput || !is_plain(graph_.nodes[reader])) return false;
      const Node& node = graph_.nodes[reader];
      if (node.in[0] == node.in[1]) return false;
      const int64_t thin = graph_.spec(node.out[0]).shape[node.in[0] == wide.value ? 1 : 0];
      if (symbols::is_symbolic(thin)) return false;
      width += thin;
    }
    return width > 0 && kGain * width * (wide.rows + wide.columns) <= wide.rows * wide.columns;
  }

  void take_apart(const Wide& wide) {
    const std::vector<size_t> all = readers(wide.value);
    for (size_t reader : all) {
      const Node node = graph_.nodes[reader];
      const bool left = node.in[0] == wide.value;
      const Factor other{node.in[left ? 1 : 0], flag(node, left ? "transpose_b" : "transpose_a")};
      const bool turned = flag(node, left ? "transpose_a" : "transpose_b");
      // The product as it is read: first second.
      const Factor first = turned ? wide.y.turned() : wide.x, second = turned ? wide.x.turned() : wide.y;
      const int result = wide.scale < 0 ? node.out[0] : graph_.value(graph_.spec(node.out[0]));
      Node product = left ? matmul(first, {multiply(second, other), false}, result)
                          : matmul({multiply(other, first), false}, second, result);
      if (wide.scale < 0) {
        graph_.nodes[reader] = std::move(product);
        continue;
      }
      extra_.push_back(std::move(product));
      Node scaled;
      scaled.op = "mul";
      scaled.in = {result, wide.scale};
      scaled.out = node.out;
      graph_.nodes[reader] = std::move(scaled);
    }
  }

  static Node matmul(Factor a, Factor b, int to) {
    Node node;
    node.op = "matmul";
    node.in = {a.value, b.value};
    node.out = {to};
    node.attrs.set("transpose_a", int64_t{a.transposed});
    node.attrs.set("transpose_b", int64_t{b.transposed});
    return node;
  }

  int multiply(Factor a, Factor b) {
    const Spec x = graph_.spec(a.value), y = graph_.spec(b.value);
    const int value = graph_.value({x.dtype, {x.shape[a.transposed ? 1 : 0], y.shape[b.transposed ? 0 : 1]}});
    extra_.push_back(matmul(a, b, value));
    return value;
  }

  Graph& graph_;
  const std::vector<int> producer_;
  const std::vector<bool> steady_;
  std::vector<std::vector<size_t>> readers_;  // of each value, the nodes, and kOutput
  std::vector<Node> extra_;
};

const RegisterPass pass(22, "thin_products", [](Graph& graph) { ThinProducts(graph).run(); });

}  // namespace
}  // namespace native
