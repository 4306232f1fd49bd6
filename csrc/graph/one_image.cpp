#include "graph/one_image.h"

#include "core/symbols.h"

namespace native {

std::optional<Problem> conv_of_one_image(const Graph& graph, const Node& node) {
  if ((node.op != "conv" && node.op != "conv_bias_act") || symbols::is_symbolic(node.attrs)) return std::nullopt;
  Problem problem{node.op, {}, {}, node.attrs};
  for (int v : node.in) problem.in.push_back(graph.spec(v));
  for (int v : node.out) problem.out.push_back(graph.spec(v));
  problem.in[0].shape[0] = problem.out[0].shape[0] = 1;
  for (const Spec& spec : {problem.in[0], problem.in[1], problem.out[0]})
    if (symbols::is_symbolic(spec.shape)) return std::nullopt;
  return problem;
}

}  // namespace native
