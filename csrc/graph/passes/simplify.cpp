// Identities that need no kernel: copies, casts to the same dtype or to a wider one and back, broadcasts and reshapes
// that change nothing, transposes that undo each other. Exact.
#include <map>

#include "graph/passes.h"

namespace native {
namespace {

const Node* producer_of(const Graph& graph, const std::vector<int>& producer, int value) {
  return producer[value] < 0 ? nullptr : &graph.nodes[producer[value]];
}

bool is_identity_permutation(const Ints& perm) {
  for (size_t i = 0; i < perm.size(); ++i)
    if (perm[i] != static_cast<int64_t>(i)) return false;
  return true;
}

// transpose(transpose(x)) becomes one transpose; one that moves only sizes of one becomes a reshape.
void simplify_transpose(Graph& graph, const std::vector<int>& producer, Node& node) {
  Ints perm = node.attrs.ints("perm");
  int source = graph.resolve(node.in[0]);
  if (const Node* inner = producer_of(graph, producer, source); inner && inner->op == "transpose") {
    const Ints& first = inner->attrs.ints("perm");
    for (int64_t& p : perm) p = first[static_cast<size_t>(p)];
    source = graph.resolve(inner->in[0]);
    node.attrs.set("perm", perm);
    node.in[0] = source;
  }
  if (is_identity_permutation(perm)) {
    graph.alias(node.out[0], source);
    return;
  }
  // Moving sizes of one past others moves no element.
  const Shape& dims = graph.spec(source).shape;
  Ints moved;
  for (int64_t p : perm)
    if (dims[static_cast<size_t>(p)] != 1) moved.push_back(p);
  for (size_t i = 1; i < moved.size(); ++i)
    if (moved[i] < moved[i - 1]) return;
  Attrs attrs;
  attrs.set("dims", Ints(graph.spec(node.out[0]).shape));
  node.op = "reshape";
  node.attrs = attrs;
}

// A float cast to a wider one, and back.
bool comes_back(const Graph& graph, const Node& there, const Node& back) {
  const Spec &source = graph.spec(there.in[0]), &wide = graph.spec(there.out[0]);
  return is_float(source.dtype) && is_float(wide.dtype) && size_of(wide.dtype) > size_of(source.dtype) &&
         graph.spec(back.out[0]) == source;
}

void simplify(Graph& graph) {
  const std::vector<int> producer = graph.producers();
  for (Node& node : graph.nodes) {
    for (int& v : node.in) v = graph.resolve(v);
    if (node.in.size() != 1 && node.op != "broadcast_to") continue;
    const bool same = !node.out.empty() && graph.spec(node.in[0]) == graph.spec(node.out[0]);
    if (node.op == "copy" || node.op == "stop_gradient" ||
        (same && (node.op == "cast" || node.op == "broadcast_to" || node.op == "reshape"))) {
      graph.alias(node.out[0], node.in[0]);
    } else if (node.op == "reshape") {
      const Node* inner = producer_of(graph, producer, node.in[0]);
      if (inner && inner->op == "reshape") node.in[0] = graph.resolve(inner->in[0]);
      if (graph.spec(node.in[0]) == graph.spec(node.out[0])) graph.alias(node.out[0], node.in[0]);
    } else if (node.op == "cast") {
      const Node* inner = producer_of(graph, producer, node.in[0]);
      if (inner && inner->op == "cast" && comes_back(graph, *inner, node))
        graph.alias(node.out[0], graph.resolve(inner->in[0]));
    } else if (node.op == "transpose") {
      simplify_transpose(graph, producer, node);
    }
  }
}

const RegisterPass pass(10, "simplify", simplify);

}  // namespace
}  // namespace native
