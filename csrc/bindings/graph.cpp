#include "graph/graph.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "bindings/gil.h"
#include "bindings/module.h"
#include "bindings/slot.h"
#include "core/errors.h"
#include "core/symbols.h"
#include "graph/passes.h"
#include "graph/steady.h"
#include "runtime/executable.h"
#include "runtime/plan.h"

namespace native::bindings {
namespace {

// A Python function fn(arrays, specs, attrs) -> list of arrays, specs as [(dtype, dims)].
class PythonCall final : public HostCall {
 public:
  explicit PythonCall(py::object fn) : fn_(fn.release().ptr()) {}
  ~PythonCall() override {
    if (!Py_IsInitialized()) return;
    gil::Hold held;
    Py_DECREF(fn_);
  }
  std::vector<Array> call(const std::vector<Array>& inputs, const std::vector<Spec>& outputs,
                          const Attrs& attrs) const override {
    gil::Hold held;
    py::list specs;
    for (const Spec& spec : outputs) specs.append(py::make_tuple(name_of(spec.dtype), py::tuple(py::cast(spec.shape))));
    return py::reinterpret_borrow<py::object>(fn_)(py::cast(inputs), specs, attrs_to(attrs)).cast<std::vector<Array>>();
  }

 private:
  PyObject* fn_;
};

Spec spec_of(const py::handle& item) {
  auto pair = py::reinterpret_borrow<py::tuple>(item);
  return {dtype_from_name(pair[0].cast<std::string>()), pair[1].cast<Shape>()};
}

std::vector<Spec> specs_of(const py::list& items) {
  std::vector<Spec> specs;
  for (auto item : items) specs.push_back(spec_of(item));
  return specs;
}

std::vector<std::string> disabled_passes() {
  std::vector<std::string> names;
  if (const char* text = std::getenv("NATIVE_DISABLE_PASSES")) {
    std::string name;
    for (const char* p = text;; ++p) {
      if (*p && *p != ',') {
        name += *p;
        continue;
      }
      if (!name.empty()) names.push_back(name);
      name.clear();
      if (!*p) break;
    }
  }
  return names;
}

// What a step computes from variables that it does not write: done again only after one was written.
// Guarded by the GIL.
class Once {
 public:
  Once(std::shared_ptr<Executable> executable, Slots slots)
      : executable_(std::move(executable)), slots_(std::move(slots)) {}

  std::vector<Array> results() {
    std::vector<uint64_t> versions;
    std::vector<Array> inputs;
    for (const auto& slot : slots_) {
      versions.push_back(slot->version());
      inputs.push_back(slot->on(executable_->device()));
    }
    if (runs_ && versions == versions_) return results_;
    std::vector<Array> results;
    {
      gil::Release released;
      results = executable_->run(inputs, {});
    }
    ++runs_;
    versions_ = std::move(versions);
    results_ = results;
    return results;
  }
  int runs() const { return runs_; }

 private:
  std::shared_ptr<Executable> executable_;
  Slots slots_;
  std::vector<uint64_t> versions_;
  std::vector<Array> results_;
  int runs_ = 0;
};

// A compiled step: arguments and slots in, results out, slots written at the very end.
struct Compiled {
  std::shared_ptr<Executable> executable;
  Slots reads, writes;         // follow the arguments; follow the results
  std::shared_ptr<Once> once;  // or null; its results follow the slots

  std::vector<Array> gather(const std::vector<Array>& arguments) const {
    std::vector<Array> inputs;
    inputs.reserve(executable->code().inputs.size());
    inputs = arguments;
    for (const auto& slot : reads) inputs.push_back(slot->on(executable->device()));
    if (once)
      for (Array& array : once->results()) inputs.push_back(std::move(array));
    return inputs;
  }

  std::vector<Array> run(const std::vector<Array>& arguments, const std::vector<int64_t>& sizes) const {
    std::vector<Array> inputs = gather(arguments);
    std::vector<Array> outputs;
    size_t results;
    {
      gil::Release released;
      Commit commit(reads, arguments.size());
      outputs = executable->run(inputs, sizes, &commit);
      results = outputs.size() - writes.size();
      commit.write(writes, outputs.data() + results);
    }
    outputs.resize(results);
    return outputs;
  }
};

Compiled compile(Graph& graph, const std::vector<int>& outputs, const Slots& reads, const Slots& writes,
                 const std::string& device_name, py::object observer, const std::vector<std::string>& added) {
  graph.outputs = outputs;
  const size_t arguments = graph.inputs.size() - reads.size();
  std::map<int, std::shared_ptr<Slot>> steady;
  for (size_t i = 0; i < reads.size(); ++i)
    if (std::find(writes.begin(), writes.end(), reads[i]) == writes.end())
      steady.emplace(graph.inputs[arguments + i], reads[i]);
  for (const auto& [value, slot] : steady) graph.steady.push_back(value);
  for (size_t i = 0; i < writes.size(); ++i) {
    const auto read = std::find(reads.begin(), reads.end(), writes[i]);
    if (read != reads.end())
      graph.updates.emplace_back(outputs.size() - writes.size() + i, arguments + (read - reads.begin()));
  }

  PassObserver observe;
  if (!observer.is_none())
    observe = [&observer](const std::string& name, const Graph& g) { observer(name, g.to_text()); };
  const std::vector<std::string> disabled = disabled_passes();
  const DevicePtr device = find_device(device_name);
  run_passes(graph, {disabled, added, device->kernels() == cpu_device()->kernels()}, observe);

  Compiled compiled{nullptr, reads, writes, nullptr};
  if (std::find(disabled.begin(), disabled.end(), "steady") == disabled.end()) {
    if (const Graph once = take_steady(graph); !once.outputs.empty()) {
      if (observe) observe("steady, once", once);
      if (observe) observe("steady, each run", graph);
      Slots slots;
      for (int v : once.inputs) slots.push_back(steady.at(v));
      compiled.once = std::make_shared<Once>(std::make_shared<Executable>(lower(once), device), slots);
    }
  }
  compiled.executable = std::make_shared<Executable>(lower(graph), device);
  return compiled;
}

}  // namespace

void bind_graph(py::module_& m) {
  set_interrupt_check([] {
    gil::Hold held;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  });
  m.def(
      "set_host_fallback",
      [](const py::object& find) {
        PyObject* raw = py::object(find).release().ptr();
        set_host_fallback([raw](const std::string& op) -> HostCallPtr {
          gil::Hold held;
          py::object fn = py::reinterpret_borrow<py::object>(raw)(op);
          return fn.is_none() ? nullptr : std::make_shared<PythonCall>(fn);
        });
      },
      "find(op) returns fn(arrays, specs, attrs) -> arrays, or None.");

  py::module_ s = m.def_submodule("symbols", "Expressions over symbolic sizes, as integer codes.");
  s.def("symbol", &symbols::symbol);
  s.def("is_symbolic", [](int64_t dim) { return symbols::is_symbolic(dim); });
  s.def("evaluate", [](int64_t dim, const std::vector<int64_t>& values) { return symbols::evaluate(dim, values); });
  s.def("text", [](int64_t dim) { return symbols::to_string(dim); });
  for (auto [name, op] : {std::pair{"add", symbols::Op::Add},
                          {"sub", symbols::Op::Sub},
                          {"mul", symbols::Op::Mul},
                          {"floordiv", symbols::Op::FloorDiv},
                          {"mod", symbols::Op::Mod},
                          {"max", symbols::Op::Max},
                          {"min", symbols::Op::Min}})
    s.def(name, [op = op](int64_t a, int64_t b) { return symbols::make(op, a, b); });

  py::class_<Slot, std::shared_ptr<Slot>>(m, "Slot")
      .def(py::init<Array>())
      .def("get", &Slot::get)
      .def("set", &Slot::set)
      .def_property_readonly("version", &Slot::version);

  py::class_<Graph, GraphPtr>(m, "Graph")
      .def(py::init<>())
      .def("input", [](Graph& g, const std::string& dtype,
                       const Shape& dims) { return g.input({dtype_from_name(dtype), dims}); })
      .def("constant", &Graph::constant)
      .def(
          "add",
          [](Graph& g, const std::string& op, const std::vector<int>& in, const py::dict& attrs,
             const py::list& outputs, bool pure, const std::vector<GraphPtr>& regions, const py::object& host) {
            Node node{op, in, {}, attrs_from(attrs), regions, nullptr, pure};
            if (!host.is_none()) node.host = std::make_shared<PythonCall>(host);
            return g.add(std::move(node), specs_of(outputs));
          },
          py::arg("op"), py::arg("inputs"), py::arg("attrs"), py::arg("outputs"), py::arg("pure") = true,
          py::arg("regions") = std::vector<GraphPtr>{}, py::arg("host") = py::none())
      .def("alias", &Graph::alias)
      .def("depends", &Graph::depends)
      .def("set_inputs", [](Graph& g, const std::vector<int>& inputs) { g.inputs = inputs; })
      .def("set_outputs", [](Graph& g, const std::vector<int>& outputs) { g.outputs = outputs; })
      .def("__len__", [](const Graph& g) { return g.nodes.size(); })
      .def("__str__", &Graph::to_text);

  py::class_<Compiled>(m, "Compiled")
      .def("run", &Compiled::run)
      .def(
          "chosen", [](const Compiled& c, const std::vector<int64_t>& sizes) { return c.executable->chosen(sizes); },
          "Per step: (primitive, kernel).")
      .def(
          "profile",
          [](const Compiled& c, const std::vector<Array>& arguments, const std::vector<int64_t>& sizes) {
            std::vector<Array> inputs = c.gather(arguments);
            gil::Release released;
            return c.executable->profile(inputs, sizes);
          },
          "Seconds of each step over one run; slots are read and not written.")
      .def(
          "executed",
          [](const Compiled& c, const std::vector<Array>& arguments, const std::vector<int64_t>& sizes) {
            std::vector<Array> inputs = c.gather(arguments);
            gil::Release released;
            return c.executable->executed(inputs, sizes);
          },
          "(primitive, kernel) of each step of one run and of the regions that ran; slots are read and not written.")
      .def("step_text",
           [](const Compiled& c, size_t index, const std::vector<int64_t>& sizes) {
             return to_string(c.executable->problem(index, sizes));
           })
      .def(
          "row_chains",
          [](const Compiled& c, const std::vector<int64_t>& sizes) { return c.executable->row_chains(sizes); },
          "(first step, end) of the steps that run as one grid over rows.")
      .def("arena_bytes",
           [](const Compiled& c, const std::vector<int64_t>& sizes) { return c.executable->arena_bytes(sizes); })
      .def_property_readonly(
          "once_runs", [](const Compiled& c) { return c.once ? c.once->runs() : -1; },
          "How often what does not change was computed; -1 when there is no such part.")
      .def_property_readonly("plans", [](const Compiled& c) { return c.executable->plans(); })
      .def_property_readonly("steps", [](const Compiled& c) { return c.executable->code().steps.size(); });

  m.def("compile", &compile, py::arg("graph"), py::arg("outputs"), py::arg("reads"), py::arg("writes"),
        py::arg("device") = "cpu:0", py::arg("observer") = py::none(), py::arg("passes") = std::vector<std::string>{});
  m.def(
      "passes",
      [](bool wanted) {
        std::vector<std::string> names;
        for (const Pass& pass : registered_passes())
          if (pass.scope.wanted == wanted) names.push_back(pass.name);
        return names;
      },
      py::arg("wanted") = true, "Passes that run always, or those that run only where `compile` is given their names.");
}

}  // namespace native::bindings
