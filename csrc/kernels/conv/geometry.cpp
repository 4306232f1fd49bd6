#include "kernels/conv/geometry.h"

#include "core/errors.h"
#include "kernels/activation_named.h"

namespace native::conv {
namespace {

// Spatial values, right-aligned in a triple; `missing` in front.
Triple triple(const int64_t* values, size_t rank, int64_t missing, size_t step = 1) {
  Triple result{missing, missing, missing};
  for (size_t i = 0; i < rank; ++i) result[3 - rank + i] = values[i * step];
  return result;
}

void flatten_pointwise(Geometry& g) {
  for (int i = 0; i < 3; ++i)
    if (g.kernel[i] != 1 || g.stride[i] != 1 || g.low[i] != 0 || g.in[i] != g.out[i]) return;
  g.in = g.out = {1, 1, g.in_pixels()};
  g.batch = 1;
}

}  // namespace

std::optional<Geometry> geometry_of(const Problem& problem) {
  const bool input_grad = problem.op == "conv_input_grad";
  const bool weight_grad = problem.op == "conv_weight_grad";
  const Shape& x = input_grad ? problem.out[0].shape : problem.in[0].shape;
  const Shape& y = input_grad ? problem.in[0].shape : weight_grad ? problem.in[1].shape : problem.out[0].shape;
  const Shape& w = weight_grad ? problem.out[0].shape : problem.in[1].shape;
  if (x.size() < 3 || x.size() > 5) return std::nullopt;
  const size_t rank = x.size() - 2;

  Geometry g;
  g.batch = x[0];
  g.in = triple(x.data() + 1, rank, 1);
  g.out = triple(y.data() + 1, rank, 1);
  if (problem.op == "conv_pool")
    for (size_t i = 3 - rank; i < 3; ++i) g.out[i] *= 2;
  g.kernel = triple(w.data(), rank, 1);
  g.stride = triple(problem.attrs.ints("strides").data(), rank, 1);
  g.low = triple(problem.attrs.ints("padding").data(), rank, 0, 2);
  g.dilation = triple(problem.attrs.ints("dilation").data(), rank, 1);
  g.groups = problem.attrs.integer("groups");
  g.cin = x.back();
  g.cout = w.back();
  flatten_pointwise(g);
  return g;
}

Activation activation_of(const Problem& problem) {
  const std::string name = problem.attrs.text("activation", "none");
  if (const auto activation = activation_named(name)) return *activation;
  throw UnsupportedError(problem.op + ": activation '" + name + "'");
}

}  // namespace native::conv
