// The graph that a trace records: nodes over numbered values, in the order of recording (so always
// topological). Pure nodes are hash-consed: recording one again returns the values of the first. Not
// thread safe; a graph belongs to one trace.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/array.h"
#include "runtime/executable.h"

namespace native {

class Graph;
using GraphPtr = std::shared_ptr<Graph>;

struct Node {
  std::string op;
  std::vector<int> in, out;
  Attrs attrs;
  std::vector<GraphPtr> regions;
  HostCallPtr host;
  bool pure = true;

  // Whether somebody sees that it runs: it is not pure, or a node of its regions is not.
  bool has_effect() const;
};

class Graph {
 public:
  int input(const Spec& spec);
  // A small array on the host stands for all that have its bits.
  int constant(const Array& array);
  // Records a node and returns its values (of an equal earlier node if it is pure).
  std::vector<int> add(Node node, const std::vector<Spec>& outputs);
  int value(const Spec& spec);
  // From now on, and in what was recorded before, `value` means `replacement`.
  void alias(int value, int replacement);
  int resolve(int value) const;
  // Whether a value is computed from any of `sources`, directly or through others.
  bool depends(int value, const std::vector<int>& sources) const;

  const Spec& spec(int value) const { return values[value]; }
  // The node that makes a value; -1 for inputs and constants.
  std::vector<int> producers() const;
  // By value: whether it is the same in every run, being computed by pure nodes from constants and from
  // `steady` inputs alone, with sizes that are known.
  std::vector<bool> steady_values() const;
  // How often each value is read by nodes and outputs.
  std::vector<int> use_counts() const;
  const Array* constant_of(int value) const;
  // The number that a value holds throughout, if the graph says so: that of a float scalar or of `full`, broadcast or
  // not; of integers only those that a double holds.
  std::optional<double> number(int value, const std::vector<int>& producer) const;
  // The vector [n] that the value is, or is a reshape of ((1, n), (1, 1, 1, n), ...); -1 when it is neither.
  int as_vector(int value, int64_t n, const std::vector<int>& producer) const;

  std::string to_text() const;

  std::vector<Spec> values;
  std::vector<Node> nodes;
  std::vector<int> inputs, outputs;
  std::vector<std::pair<int, Array>> constants;
  // Inputs that rarely change from run to run: variables that the graph does not assign to.
  std::vector<int> steady;
  // Output and input, by their index, of variables that it does assign to.
  std::vector<std::pair<int, int>> updates;

 private:
  friend void rebuild(Graph& graph);

  std::unordered_map<size_t, std::vector<size_t>> seen_;  // hash -> nodes
  std::unordered_map<int, int> aliases_;
  std::unordered_map<int, size_t> constant_index_;
  std::unordered_map<std::string, int> small_constants_;  // by type and bits
};

// By node: the one with effects that has to run before it, if it has effects itself; else -1.
std::vector<int> earlier_effects(const Graph& graph);
// Orders nodes topologically (stable; those with effects never change places among themselves), leaves out those that
// no output needs, and resolves aliases.
void rebuild(Graph& graph);
// The graph as code for an executable; regions likewise.
std::shared_ptr<Code> lower(const Graph& graph);

}  // namespace native
