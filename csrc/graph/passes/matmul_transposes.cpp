// A transpose of the last two axes in front of a matmul becomes a flag of the matmul, whose packing reads
// either order equally well. Exact.
#include "graph/passes.h"

namespace native {
namespace {

bool swaps_last_two(const Ints& perm) {
  const size_t rank = perm.size();
  if (rank < 2) return false;
  for (size_t i = 0; i + 2 < rank; ++i)
    if (perm[i] != static_cast<int64_t>(i)) return false;
  return perm[rank - 2] == static_cast<int64_t>(rank) - 1;
}

void absorb(Graph& graph) {
  const std::vector<int> producer = graph.producers();
  for (Node& node : graph.nodes) {
    if (node.op != "matmul") continue;
    for (int side = 0; side < 2; ++side) {
      const int p = producer[node.in[side]];
      if (p < 0 || graph.nodes[p].op != "transpose" || !swaps_last_two(graph.nodes[p].attrs.ints("perm"))) continue;
      const char* flag = side == 0 ? "transpose_a" : "transpose_b";
      node.attrs.set(flag, int64_t{!node.attrs.integer(flag, 0)});
      node.in[side] = graph.nodes[p].in[0];
    }
  }
}

const RegisterPass pass(20, "matmul_transposes", absorb);

}  // namespace
}  // namespace native
