// Weights that are the same in every run are brought once into the form in which a kernel takes them: those of 3x3
// and 3x3x3 convolutions of stride 1 transformed for Winograd's method, those of convolutions by lines of taps for fast
// algorithms, those of products packed, as words in bfloat16 and int8 and as panels in float32. The weights' part
// is steady, so it is computed once and again when a variable behind it is assigned to.
#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <string>

#include "core/symbols.h"
#include "graph/one_image.h"
#include "graph/passes.h"
#include "kernels/activation_named.h"
#include "kernels/conv/line_weights.h"
#include "kernels/conv/winograd_weights.h"
#include "kernels/gemm/words.h"

namespace native {
namespace {

// Products of fewer columns, or by fewer bytes of weights, are left as they are.
constexpr int64_t kFewColumns = 32;
constexpr size_t kFewBytes = 4096;

auto is(int64_t wanted) {
  return [wanted](int64_t item) { return item == wanted; };
}

// Whether Winograd's method applies and, with its weights prepared, is the fastest at any size of image.
bool takes_winograd(const Graph& graph, const Node& node) {
  const bool pooled = node.op == "conv_pool";
  if ((node.op != "conv" && node.op != "conv_bias_act" && !pooled) || node.in.size() > 4) return false;
  if (pooled && conv::winograd_side() != 2) return false;
  const Spec &x = graph.spec(node.in[0]), &w = graph.spec(node.in[1]);
  const DType dtype = x.dtype;
  if (w.dtype != dtype || graph.spec(node.out[0]).dtype != dtype || w.shape.size() < 4) return false;
  // As the kernel has it: longer activations of bfloat16 would be rounded twice.
  const std::string activation = node.attrs.text("activation", "none");
  const bool short_one = activation == "none" || activation == "relu" || activation == "relu6";
  const bool flat = w.shape.size() == 4;
  if (dtype != DType::F32 && !(dtype == DType::BF16 && short_one)) return false;
  if (symbols::is_symbolic(w.shape) || !std::all_of(w.shape.begin(), w.shape.end() - 2, is(3))) return false;
  if (node.attrs.integer("groups") != 1 || symbols::is_symbolic(node.attrs)) return false;
  const Ints &strides = node.attrs.ints("strides"), &dilation = node.attrs.ints("dilation");
  if (!std::all_of(strides.begin(), strides.end(), is(1))) return false;
  if (!std::all_of(dilation.begin(), dilation.end(), is(1))) return false;
  // Whole cache lines of channels: others would be padded, and the result too large to be kept.
  const int64_t cin = w.shape.end()[-2], cout = w.shape.back();
  return std::min(cin, cout) >= (flat ? 32 : 16) && cout % conv::WinogradWeights::kLine == 0;
}

// A product of rows by a matrix.
bool is_product(const Graph& graph, const Node& node) {
  const bool rows = node.op == "linear" || (node.op == "matmul" && node.attrs.integer("transpose_a", 0) == 0);
  return rows && graph.spec(node.in[0]).shape.size() >= 2 && graph.spec(node.in[1]).shape.size() == 2;
}

// Whether a product, or a convolution of one tap, has an epilogue that its kernels know and is large enough.
bool worth_packing(const Graph& graph, const Node& node) {
  const Spec& w = graph.spec(node.in[1]);
  if (symbols::is_symbolic(w.shape) || symbols::is_symbolic(node.attrs)) return false;
  if (!activation_named(node.attrs.text("activation", "none"))) return false;
  return graph.spec(node.out[0]).shape.back() >= kFewColumns && w.bytes() >= kFewBytes;
}

// Whether all of the product is by a matrix of narrow weights. Words have room for 64 columns at a time.
bool takes_words(const Graph& graph, const Node& node) {
  if (!words_table().bf16.block || !is_product(graph, node) || !worth_packing(graph, node)) return false;
  const DType dtype = graph.spec(node.in[0]).dtype, out = graph.spec(node.out[0]).dtype;
  for (int v : node.in)
    if (graph.spec(v).dtype != dtype) return false;
  if (dtype == DType::I8) return node.op == "matmul" && out == DType::I32;
  return dtype == DType::BF16 && (out == DType::BF16 || out == DType::F32);
}

bool is_pointwise(const Node& node, const Shape& w) {
  if (node.op != "conv" && node.op != "conv_bias_act") return false;
  if (!std::all_of(w.begin(), w.end() - 2, is(1)) || node.attrs.integer("groups") != 1) return false;
  const Ints &strides = node.attrs.ints("strides"), &padding = node.attrs.ints("padding");
  return std::all_of(strides.begin(), strides.end(), is(1)) && std::all_of(padding.begin(), padding.end(), is(0));
}

// Whether all of the product, or the convolution of one tap, is in float32, and copying the matrix in each run shows.
// Wide panels are read where they lie by most products.
bool takes_panels(const Graph& graph, const Node& node) {
  constexpr int kFewRows = 64;
  constexpr size_t kMostBytes = 16 << 20;  // more are not kept twice
  if (gemm_table().f32.direct_rows > kFewRows || node.in.size() > 4) return false;
  const Spec& w = graph.spec(node.in[1]);
  if (!is_product(graph, node) && !is_pointwise(node, w.shape)) return false;
  for (const auto* values : {&node.in, &node.out})
    for (int v : *values)
      if (graph.spec(v).dtype != DType::F32) return false;
  return worth_packing(graph, node) && w.bytes() <= kMostBytes;
}

class Preparer {
 public:
  explicit Preparer(Graph& graph)
      : graph_(graph), steady_(graph.steady_values()), producer_(graph.producers()), uses_(graph.use_counts()) {}

  void run() {
    for (Node& node : graph_.nodes) {
      if (node.in.size() < 2 || !steady_[graph_.resolve(node.in[1])]) continue;
      if (steady_[node.out[0]]) continue;  // made once, not in each run
      if (takes_winograd(graph_, node)) prepare_conv(node);
      if (const auto one = conv_of_one_image(graph_, node))
        if (const int results = conv::best_prepared(*one)) prepare_line(node, one->in[1].shape, results);
      if (takes_words(graph_, node)) prepare_words(node);
      if (takes_panels(graph_, node)) prepare_panels(node);
    }
    for (Node& node : extra_) graph_.nodes.push_back(std::move(node));
  }

 private:
  // The weights in that form, made once for all that read them.
  int prepared(const char* op, int weights, const Attrs& attrs, const Spec& spec) {
    for (const Node& made : extra_)
      if (made.op == op && made.in[0] == weights && made.attrs == attrs) return made.out[0];
    Node node;
    node.op = op;
    node.in = {weights};
    node.out = {graph_.value(spec)};
    node.attrs = attrs;
    extra_.push_back(std::move(node));
    return extra_.back().out[0];
  }

  void prepare_conv(Node& node) {
    const int64_t block = conv::WinogradWeights::best_block();
    const Shape dims = graph_.spec(node.in[1]).shape;
    const bool flat = dims.size() == 4;
    const conv::WinogradTile tile{flat ? 1 : 2, flat ? conv::winograd_side() : 2};
    const int64_t side = tile.side;
    Attrs attrs;
    attrs.set("block", block);
    attrs.set("side", side);
    const int64_t size = conv::WinogradWeights(dims.end()[-2], dims.end()[-1], block, tile).size();
    node.in[1] = prepared("winograd_weights", node.in[1], attrs, {DType::F32, {size}});
    if (node.op == "conv_pool") node.attrs.set("pooled", int64_t{1});
    node.op = "winograd_conv";
    node.attrs.set("block", block);
    node.attrs.set("side", side);
  }

  void prepare_line(Node& node, const Shape& w, int64_t results) {
    const int64_t block = conv::LineWeights::best_block();
    Attrs attrs;
    for (const char* name : {"strides", "padding", "dilation"}) attrs.set(name, node.attrs.ints(name));
    attrs.set("groups", int64_t{1});
    for (Attrs* both : {&attrs, &node.attrs}) {
      both->set("block", block);
      both->set("results", results);
    }
    const auto line = conv::line_of_weights({"line_weights", {{DType::F32, w}}, {}, attrs});
    Shape dims(w.begin(), w.end() - 2);
    const int64_t taps = std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
    dims.push_back(ceil_div(conv::LineWeights(*line, block).size(), taps));
    node.in[1] = prepared("line_weights", node.in[1], attrs, {DType::F32, dims});
    node.op = "line_conv";
  }

  void prepare_words(Node& node) {
    const Spec w = graph_.spec(node.in[1]);
    const bool transposed = is_transposed(node);
    const gemm::PackedWords words(w.dtype == DType::I8 ? words_table().i8 : words_table().bf16, w.shape[transposed],
                                  w.shape[!transposed]);
    node.in[0] = before_rounding(node.in[0]);
    prepare_product(node, "pack_words", {DType::U32, {words.size()}}, {});
  }

  void prepare_panels(Node& node) {
    const Shape& w = graph_.spec(node.in[1]).shape;
    const size_t transposed = is_transposed(node);
    const int64_t k = w[w.size() - 2 + transposed], n = w[w.size() - 1 - transposed];
    const gemm::Kernels<float>& kernels = gemm_table().f32;
    Attrs attrs;
    attrs.set("panel", int64_t{kernels.nr});
    prepare_product(node, "pack_panels", {DType::F32, {gemm::packed_b_size(kernels, k, n)}}, attrs);
  }

  static bool is_transposed(const Node& node) {
    return node.attrs.integer(node.op == "linear" ? "transpose_w" : "transpose_b", 0) != 0;
  }

  // `layout`: attributes of both the packing and the product.
  void prepare_product(Node& node, const char* pack, const Spec& packed, const Attrs& layout) {
    Attrs packing = layout, product = layout;
    packing.set("transpose_w", int64_t{is_transposed(node)});
    product.set("activation", node.attrs.text("activation", "none"));
    node.in[1] = prepared(pack, node.in[1], packing, packed);
    node.op = "packed_linear";
    node.attrs = product;
  }

  // What is cast to bfloat16 for this product alone is rounded by it.
  int before_rounding(int value) const {
    const int p = producer_[value];
    if (p < 0 || uses_[value] != 1 || graph_.nodes[p].op != "cast" || graph_.spec(value).dtype != DType::BF16)
      return value;
    const int wide = graph_.nodes[p].in[0];
    return graph_.spec(wide).dtype == DType::F32 ? wide : value;
  }

  Graph& graph_;
  const std::vector<bool> steady_;
  const std::vector<int> producer_, uses_;
  std::vector<Node> extra_;
};

void prepare_weights(Graph& graph) { Preparer(graph).run(); }

const RegisterPass pass(60, "prepare_weights", prepare_weights, {.cpu_only = true});

}  // namespace
}  // namespace native
