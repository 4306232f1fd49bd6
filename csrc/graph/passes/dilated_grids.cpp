// With dilation d a convolution reads every d-th pixel: an image is d * d grids of such pixels, over each of which the
// convolution has no dilation. Where images are taken apart into their grids, convolutions of 3x3 and their gradients
// are Winograd's to compute. Exact to rounding.
#include <optional>
#include <string>

#include "core/symbols.h"
#include "graph/passes.h"

namespace native {
namespace {

int64_t whole(int64_t size, int64_t rate) { return (size + rate - 1) / rate; }

// Heights and widths.
struct Split {
  Ints rate;
  Ints x, y;            // of x and y
  Ints x_grid, y_grid;  // of one of their grids, the largest
  Ints padding;         // of a convolution over a grid
};

class Grids {
 public:
  explicit Grids(Graph& graph) : graph_(graph) {}

  void run() {
    // Nodes that are added stand behind these.
    const size_t count = graph_.nodes.size();
    for (size_t n = 0; n < count; ++n)
      if (const auto split = split_of(graph_.nodes[n])) rewrite(graph_.nodes[n], *split);
  }

 private:
  static bool is_input_grad(const Node& node) { return node.op == "conv_input_grad"; }
  static bool is_weight_grad(const Node& node) { return node.op == "conv_weight_grad"; }

  // How the images of a convolution or gradient are taken apart; nothing where that would not pay.
  std::optional<Split> split_of(const Node& node) const {
    const bool forward = node.op == "conv" || node.op == "conv_bias_act";
    if (!forward && !is_input_grad(node) && !is_weight_grad(node)) return {};
    if (graph_.spec(node.out[0]).dtype != DType::F32 || symbols::is_symbolic(node.attrs)) return {};
    const Shape& w = graph_.spec(is_weight_grad(node) ? node.out[0] : node.in[1]).shape;
    constexpr int64_t kChannels = 32;  // from which on Winograd's method pays
    if (w.size() != 4 || symbols::is_symbolic(w) || w[0] != 3 || w[1] != 3) return {};
    if (w[2] < kChannels || w[3] < kChannels || node.attrs.integer("groups") != 1) return {};
    Split s{node.attrs.ints("dilation"), {}, {}, {}, {}, {}};
    if (node.attrs.ints("strides") != Ints{1, 1} || s.rate == Ints{1, 1}) return {};
    s.x = sizes(is_input_grad(node) ? node.out[0] : node.in[0]);
    s.y = sizes(is_input_grad(node) ? node.in[0] : is_weight_grad(node) ? node.in[1] : node.out[0]);
    if (symbols::is_symbolic(s.x) || symbols::is_symbolic(s.y)) return {};
    for (int i = 0; i < 2; ++i) {
      const int64_t low = node.attrs.ints("padding")[2 * i];
      if (low % s.rate[i] != 0) return {};  // results would read other grids than their own
      s.x_grid.push_back(whole(s.x[i], s.rate[i]));
      s.y_grid.push_back(whole(s.y[i], s.rate[i]));
      const int64_t within = low / s.rate[i];
      s.padding.push_back(within);
      s.padding.push_back(s.y_grid[i] + 2 - s.x_grid[i] - within);
    }
    return pays(s, is_input_grad(node)) ? std::optional(s) : std::nullopt;
  }

  // The products of Winograd's squares must be fewer than the direct ones by more than the copies cost.
  static bool pays(const Split& s, bool input_grad) {
    int64_t squares = 1, pixels = 1;
    for (int i = 0; i < 2; ++i) {
      squares *= s.rate[i] * whole(input_grad ? s.x_grid[i] : s.y_grid[i], 2);
      pixels *= input_grad ? s.x[i] : s.y[i];
    }
    return 3 * 16 * squares <= 2 * 9 * pixels;
  }

  Ints sizes(int value) const {
    const Shape& dims = graph_.spec(value).shape;
    return Ints(dims.begin() + 1, dims.end() - 1);
  }

  // By value: the references into the graph's nodes end with the first node that is added.
  void rewrite(const Node node, const Split& s) {
    const int result = node.out[0];
    const Spec spec = graph_.spec(result);
    Node inner = node;
    inner.out.clear();
    inner.attrs.set("dilation", Ints{1, 1});
    inner.attrs.set("padding", s.padding);
    if (is_weight_grad(node)) {
      inner.in = {apart(node.in[0], s, s.x_grid), apart(node.in[1], s, s.y_grid)};
      graph_.alias(result, graph_.add(std::move(inner), {spec})[0]);
      return;
    }
    const bool by_input = is_input_grad(node);
    const Ints& grid = by_input ? s.x_grid : s.y_grid;
    inner.in[0] = apart(node.in[0], s, by_input ? s.y_grid : s.x_grid);
    if (inner.in.size() > 3) inner.in[3] = apart(node.in[3], s, s.y_grid);
    if (by_input) inner.attrs.set("input_dims", s.x_grid);
    const int grids = graph_.add(std::move(inner), {of_grids(spec, s, grid)})[0];
    graph_.alias(result, together(grids, spec, s, grid));
  }

  static Spec of_grids(const Spec& images, const Split& s, const Ints& grid) {
    const int64_t count = symbols::make(symbols::Op::Mul, images.shape[0], s.rate[0] * s.rate[1]);
    return {images.dtype, {count, grid[0], grid[1], images.shape[3]}};
  }

  // [n, h, w, c] to [n * rates, h / rate, w / rate, c]; zeros where a grid has no pixel.
  int apart(int images, const Split& s, const Ints& grid) {
    const Spec spec = graph_.spec(images);
    const Shape padded{spec.shape[0], grid[0] * s.rate[0], grid[1] * s.rate[1], spec.shape[3]};
    if (padded != spec.shape) {
      Node pad;
      pad.op = "pad";
      pad.in = {images, zero()};
      pad.attrs.set("low", Ints{0, 0, 0, 0});
      pad.attrs.set("high", Ints{0, padded[1] - spec.shape[1], padded[2] - spec.shape[2], 0});
      pad.attrs.set("interior", Ints{0, 0, 0, 0});
      images = graph_.add(std::move(pad), {{spec.dtype, padded}})[0];
    }
    const int by_grid = reshape(images, {padded[0], grid[0], s.rate[0], grid[1], s.rate[1], padded[3]});
    return reshape(transpose(by_grid, {0, 2, 4, 1, 3, 5}), of_grids(spec, s, grid).shape);
  }

  // The reverse, without what was added.
  int together(int grids, const Spec& images, const Split& s, const Ints& grid) {
    const Shape& dims = images.shape;
    const int by_grid = reshape(grids, {dims[0], s.rate[0], s.rate[1], grid[0], grid[1], dims[3]});
    const Shape padded{dims[0], grid[0] * s.rate[0], grid[1] * s.rate[1], dims[3]};
    const int all = reshape(transpose(by_grid, {0, 3, 1, 4, 2, 5}), padded);
    if (padded == dims) return all;
    Node slice;
    slice.op = "slice";
    slice.in = {all};
    slice.attrs.set("start", Ints{0, 0, 0, 0});
    slice.attrs.set("stop", Ints(dims));
    slice.attrs.set("step", Ints{1, 1, 1, 1});
    return graph_.add(std::move(slice), {images})[0];
  }

  int reshape(int value, const Shape& dims) {
    Node node;
    node.op = "reshape";
    node.in = {value};
    node.attrs.set("dims", Ints(dims));
    return graph_.add(std::move(node), {{graph_.spec(value).dtype, dims}})[0];
  }

  int transpose(int value, const Ints& perm) {
    const Spec spec = graph_.spec(value);
    Shape moved;
    for (int64_t axis : perm) moved.push_back(spec.shape[static_cast<size_t>(axis)]);
    Node node;
    node.op = "transpose";
    node.in = {value};
    node.attrs.set("perm", perm);
    return graph_.add(std::move(node), {{spec.dtype, moved}})[0];
  }

  int zero() {
    Array array = Array::empty({DType::F32, {}});
    *static_cast<float*>(array.data()) = 0;
    return graph_.constant(array);
  }

  Graph& graph_;
};

// Behind the passes that look at what stands before and behind a convolution.
const RegisterPass pass(58, "dilated_grids", [](Graph& graph) { Grids(graph).run(); }, {.cpu_only = true});

}  // namespace
}  // namespace native
