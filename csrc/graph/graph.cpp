#include "graph/graph.h"

#include <algorithm>
#include <utility>

#include "core/errors.h"
#include "core/symbols.h"
#include "kernels/shape/scalar.h"

namespace native {
namespace {

constexpr size_t kSmallConstant = 64;  // bytes; up to here constants of equal bits are one

size_t hash_of(const Node& node) {
  size_t h = std::hash<std::string>{}(node.op) ^ node.attrs.hash();
  for (int v : node.in) h = (h ^ static_cast<size_t>(v)) * 1099511628211ull;
  return h;
}

std::string dims_text(const Spec& spec) {
  std::string text = std::string(name_of(spec.dtype)) + "[";
  for (size_t i = 0; i < spec.shape.size(); ++i) text += (i ? ", " : "") + symbols::to_string(spec.shape[i]);
  return text + "]";
}

std::string attr_text(const Attr& attr) {
  auto join = [](const auto& items, auto text_of) {
    std::string text = "(";
    for (size_t i = 0; i < items.size(); ++i) text += (i ? ", " : "") + text_of(items[i]);
    return text + ")";
  };
  if (auto* i = std::get_if<int64_t>(&attr)) return symbols::to_string(*i);
  if (auto* d = std::get_if<double>(&attr)) return std::to_string(*d);
  if (auto* s = std::get_if<std::string>(&attr)) return "'" + *s + "'";
  if (auto* v = std::get_if<Ints>(&attr)) return join(*v, [](int64_t x) { return symbols::to_string(x); });
  return join(std::get<Floats>(attr), [](double x) { return std::to_string(x); });
}

std::string list_text(const std::vector<int>& vs) {
  std::string text;
  for (size_t i = 0; i < vs.size(); ++i) text += (i ? ", %" : "%") + std::to_string(vs[i]);
  return text;
}

// The nodes that outputs and nodes with effects depend on.
std::vector<bool> needed_nodes(const Graph& graph, const std::vector<int>& producer) {
  std::vector<bool> needed(graph.nodes.size(), false);
  std::vector<int> work;
  for (int v : graph.outputs)
    if (producer[v] >= 0) work.push_back(producer[v]);
  for (size_t n = 0; n < graph.nodes.size(); ++n)
    if (graph.nodes[n].has_effect()) work.push_back(static_cast<int>(n));
  while (!work.empty()) {
    const int n = work.back();
    work.pop_back();
    if (needed[n]) continue;
    needed[n] = true;
    for (int v : graph.nodes[n].in)
      if (producer[v] >= 0 && !needed[producer[v]]) work.push_back(producer[v]);
  }
  return needed;
}

}  // namespace

std::vector<int> earlier_effects(const Graph& graph) {
  std::vector<int> earlier(graph.nodes.size(), -1);
  int last = -1;
  for (size_t n = 0; n < graph.nodes.size(); ++n)
    if (graph.nodes[n].has_effect()) earlier[n] = std::exchange(last, static_cast<int>(n));
  return earlier;
}

bool Node::has_effect() const {
  const auto acts = [](const GraphPtr& region) {
    return std::any_of(region->nodes.begin(), region->nodes.end(), [](const Node& node) { return node.has_effect(); });
  };
  return !pure || std::any_of(regions.begin(), regions.end(), acts);
}

int Graph::value(const Spec& spec) {
  values.push_back(spec);
  return static_cast<int>(values.size()) - 1;
}

int Graph::input(const Spec& spec) {
  inputs.push_back(value(spec));
  return inputs.back();
}

int Graph::constant(const Array& array) {
  const size_t bytes = static_cast<size_t>(array.spec.count()) * size_of(array.spec.dtype);
  if (bytes <= kSmallConstant && array.device()->host_visible()) {
    const std::string key = dims_text(array.spec) + std::string(static_cast<const char*>(array.data()), bytes);
    const auto [known, fresh] = small_constants_.try_emplace(key, static_cast<int>(values.size()));
    if (!fresh) return known->second;
  }
  const int v = value(array.spec);
  constant_index_[v] = constants.size();
  constants.emplace_back(v, array);
  return v;
}

const Array* Graph::constant_of(int value) const {
  auto found = constant_index_.find(value);
  return found == constant_index_.end() ? nullptr : &constants[found->second].second;
}

std::optional<double> Graph::number(int value, const std::vector<int>& producer) const {
  const auto maker = [&](int v) { return producer[v] < 0 ? nullptr : &nodes[producer[v]]; };
  if (const Node* node = maker(value); node && node->op == "broadcast_to") value = node->in[0];
  const DType dtype = spec(value).dtype;
  if (const Node* node = maker(value)) {
    if (node->op != "full" || is_complex(dtype) || symbols::is_symbolic(node->attrs.integer_or_zero("value")))
      return {};
    const double number = node->attrs.real("value");
    const bool exact = is_float(dtype) || (number > -1e15 && number < 1e15);
    return exact ? std::optional(number) : std::nullopt;
  }
  const Array* array = constant_of(value);
  if (!array || !array->spec.shape.empty() || !array->device()->host_visible()) return {};
  switch (dtype) {
    case DType::F64:
      return *static_cast<const double*>(array->data());
    case DType::F32:
      return *static_cast<const float*>(array->data());
    case DType::F16:
      return static_cast<float>(*static_cast<const F16*>(array->data()));
    case DType::BF16:
      return static_cast<float>(*static_cast<const Bf16*>(array->data()));
    default:
      return {};
  }
}

int Graph::as_vector(int value, int64_t n, const std::vector<int>& producer) const {
  auto is_vector = [&](int v) { return spec(v).shape == Shape{n}; };
  if (is_vector(value)) return value;
  const Shape& dims = spec(value).shape;
  const bool row =
      !dims.empty() && dims.back() == n && std::all_of(dims.begin(), dims.end() - 1, [](int64_t d) { return d == 1; });
  const int p = producer[value];
  return row && p >= 0 && nodes[p].op == "reshape" && is_vector(nodes[p].in[0]) ? nodes[p].in[0] : -1;
}

std::vector<int> Graph::add(Node node, const std::vector<Spec>& outputs_of) {
  for (int& v : node.in) v = resolve(v);
  if (node.pure && node.regions.empty() && !node.host) {
    auto& candidates = seen_[hash_of(node)];
    for (size_t k : candidates) {
      const Node& other = nodes[k];
      if (other.op != node.op || other.in != node.in || !(other.attrs == node.attrs) ||
          other.out.size() != outputs_of.size())
        continue;
      bool same = true;
      for (size_t i = 0; i < outputs_of.size(); ++i) same = same && values[other.out[i]] == outputs_of[i];
      if (same) return other.out;
    }
    candidates.push_back(nodes.size());
  }
  for (const Spec& spec : outputs_of) node.out.push_back(value(spec));
  nodes.push_back(std::move(node));
  return nodes.back().out;
}

void Graph::alias(int value, int replacement) {
  if (!(values[value] == values[replacement]))
    throw ShapeError("a value of " + dims_text(values[replacement]) + " cannot stand for " + dims_text(values[value]));
  aliases_[value] = replacement;
}

int Graph::resolve(int value) const {
  for (auto at = aliases_.find(value); at != aliases_.end(); at = aliases_.find(value)) value = at->second;
  return value;
}

bool Graph::depends(int value, const std::vector<int>& sources) const {
  std::vector<bool> seen(values.size());
  std::vector<int> sought;
  for (int v : sources) sought.push_back(resolve(v));
  const std::vector<int> producer = producers();
  std::vector<int> stack{resolve(value)};
  while (!stack.empty()) {
    const int v = stack.back();
    stack.pop_back();
    if (seen[v]) continue;
    seen[v] = true;
    if (std::find(sought.begin(), sought.end(), v) != sought.end()) return true;
    if (producer[v] < 0) continue;
    for (int in : nodes[producer[v]].in) stack.push_back(resolve(in));
  }
  return false;
}

std::vector<int> Graph::producers() const {
  std::vector<int> result(values.size(), -1);
  for (size_t n = 0; n < nodes.size(); ++n)
    for (int v : nodes[n].out) result[v] = static_cast<int>(n);
  return result;
}

std::vector<bool> Graph::steady_values() const {
  std::vector<bool> result(values.size(), false);
  for (int v : steady) result[v] = true;
  for (const auto& [v, array] : constants) result[v] = true;
  for (const Node& node : nodes) {
    bool same = node.pure && !node.host && node.regions.empty() && !symbols::is_symbolic(node.attrs);
    for (int v : node.in) same = same && result[resolve(v)];
    for (int v : node.out) same = same && !symbols::is_symbolic(values[v].shape);
    for (int v : node.out) result[v] = same;
  }
  return result;
}

std::vector<int> Graph::use_counts() const {
  std::vector<int> counts(values.size(), 0);
  for (const Node& node : nodes)
    for (int v : node.in) ++counts[v];
  for (int v : outputs) ++counts[v];
  return counts;
}

std::string Graph::to_text() const {
  std::string text;
  for (int v : inputs) text += "%" + std::to_string(v) + " = input " + dims_text(values[v]) + "\n";
  for (const auto& [v, array] : constants)
    text += "%" + std::to_string(v) + " = constant " + dims_text(values[v]) + "\n";
  for (const Node& node : nodes) {
    text += list_text(node.out) + " = " + node.op + "(" + list_text(node.in) + ")";
    for (const auto& [name, attr] : node.attrs.items()) text += " " + name + "=" + attr_text(attr);
    for (int v : node.out) text += " : " + dims_text(values[v]);
    text += "\n";
    for (const auto& region : node.regions) text += "{\n" + region->to_text() + "}\n";
  }
  return text + "return " + list_text(outputs) + "\n";
}

void rebuild(Graph& graph) {
  for (Node& node : graph.nodes)
    for (int& v : node.in) v = graph.resolve(v);
  for (int& v : graph.outputs) v = graph.resolve(v);

  const std::vector<int> producer = graph.producers();
  const std::vector<bool> needed = needed_nodes(graph, producer);
  const std::vector<int> earlier = earlier_effects(graph);
  enum : char { New, Open, Done };
  std::vector<char> state(graph.nodes.size(), New);
  // Depth-first from each needed node in the old order: keeps that order wherever dependencies allow.
  std::vector<int> order, stack;
  for (size_t start = 0; start < graph.nodes.size(); ++start) {
    if (!needed[start] || state[start] == Done) continue;
    stack.assign(1, static_cast<int>(start));
    while (!stack.empty()) {
      const int n = stack.back();
      if (state[n] != New) {
        if (state[n] == Open) order.push_back(n);
        state[n] = Done;
        stack.pop_back();
        continue;
      }
      state[n] = Open;
      const auto comes_first = [&](int p) {
        if (p < 0 || state[p] == Done) return;
        if (state[p] == Open) throw UnsupportedError("a pass made a cycle through '" + graph.nodes[p].op + "'");
        stack.push_back(p);
      };
      const auto& in = graph.nodes[n].in;
      for (auto v = in.rbegin(); v != in.rend(); ++v) comes_first(producer[*v]);
      comes_first(earlier[n]);
    }
  }
  std::vector<Node> sorted;
  sorted.reserve(order.size());
  for (int n : order) sorted.push_back(std::move(graph.nodes[n]));
  graph.nodes = std::move(sorted);
  graph.seen_.clear();  // its numbers of nodes are no longer true
}

std::shared_ptr<Code> lower(const Graph& graph) {
  auto code = std::make_shared<Code>();
  code->values = graph.values;
  code->inputs = graph.inputs;
  code->outputs = graph.outputs;
  code->constants = graph.constants;
  code->updates = graph.updates;
  for (const Node& node : graph.nodes) {
    Step step{node.op, node.in, node.out, node.attrs, {}, node.host};
    for (const GraphPtr& region : node.regions) step.regions.push_back(lower(*region));
    code->steps.push_back(std::move(step));
  }
  return code;
}

}  // namespace native
