// The gradient of a maximum looks for it again in the whole input, of which it reads nothing else. Where both are in
// the graph the maximum says which place of its window it was, in a byte for each result. Exact.
#include <unordered_map>

#include "core/symbols.h"
#include "graph/passes.h"

namespace native {
namespace {

constexpr int64_t kMostPlaces = 255;

bool fits(const Graph& graph, const Node& grad) {
  const Spec& x = graph.spec(grad.in[0]);
  int64_t places = 1;
  for (int64_t size : grad.attrs.ints("window")) places *= size;
  for (size_t d = 1; d + 1 < x.shape.size(); ++d)
    if (symbols::is_symbolic(x.shape[d])) return false;
  return places <= kMostPlaces && (x.dtype == DType::F32 || x.dtype == DType::F64);
}

void keep_places(Graph& graph) {
  const std::vector<int> producer = graph.producers();
  std::unordered_map<int, int> places;  // by the maximum
  for (Node& grad : graph.nodes) {
    if (grad.op != "max_pool_grad" || !fits(graph, grad)) continue;
    const int maximum = graph.resolve(grad.in[1]), x = graph.resolve(grad.in[0]);
    const int p = producer[maximum];
    if (p < 0) continue;
    Node& pool = graph.nodes[p];
    const bool known = places.count(maximum);
    if (pool.op != (known ? "max_pool_places" : "max_pool") || graph.resolve(pool.in[0]) != x ||
        !(pool.attrs == grad.attrs))
      continue;
    if (!known) {
      places[maximum] = graph.value({DType::U8, graph.spec(maximum).shape});
      pool.op = "max_pool_places";
      pool.out.push_back(places[maximum]);
    }
    const Shape& dims = graph.spec(x).shape;
    grad.op = "max_pool_scatter";
    grad.attrs.set("input_dims", Ints(dims.begin() + 1, dims.end() - 1));
    grad.in = {places[maximum], grad.in[2]};
  }
}

// After relu_gradients, which knows max_pool_grad.
const RegisterPass pass(50, "pool_places", keep_places);

}  // namespace
}  // namespace native
