#include "bindings/gil.h"
#include "bindings/module.h"
#include "core/allocator.h"
#include "core/errors.h"
#include "kernels/elementwise/ops.h"
#include "runtime/choices.h"
#include "runtime/companion.h"
#include "runtime/cpu.h"
#include "runtime/eager.h"
#include "runtime/peak.h"
#include "runtime/pool.h"
#include "runtime/test_device.h"
#include "runtime/through_host.h"

namespace native::bindings {
namespace {

Attr attr_from(const std::string& name, py::handle value) {
  if (py::isinstance<py::bool_>(value)) return static_cast<int64_t>(value.cast<bool>());
  if (py::isinstance<py::int_>(value)) return value.cast<int64_t>();
  if (py::isinstance<py::float_>(value)) return value.cast<double>();
  if (py::isinstance<py::str>(value)) return value.cast<std::string>();
  if (py::isinstance<py::tuple>(value) || py::isinstance<py::list>(value)) {
    bool whole = true;
    for (auto item : value) whole = whole && !py::isinstance<py::float_>(item);
    if (whole) return value.cast<Ints>();
    return value.cast<Floats>();
  }
  throw DTypeError("attribute '" + name + "' has unsupported type " + py::str(py::type::of(value)).cast<std::string>());
}

// Keyed by the dtype's interned name: called for every eager primitive.
std::vector<Spec> specs_from(const py::list& specs) {
  std::vector<Spec> result;
  result.reserve(specs.size());
  for (auto item : specs) {
    auto pair = py::reinterpret_borrow<py::tuple>(item);
    result.push_back({dtype_from_name(pair[0].cast<std::string>()), pair[1].cast<Shape>()});
  }
  return result;
}

Problem problem_from(const std::string& op, const std::vector<Array>& inputs, const py::dict& attrs,
                     const py::list& outputs) {
  Problem problem{op, {}, specs_from(outputs), attrs_from(attrs)};
  for (const Array& input : inputs) problem.in.push_back(input.spec);
  return problem;
}

std::string tile_program(const Problem& problem) {
  if (problem.op == "fused_elementwise") return problem.attrs.text("program");
  return elementwise_op_supported(problem) ? program_of(problem) : "";
}

const Companion companion{kCompanionVersion, register_device, register_kernel, tile_program};

}  // namespace

Attrs attrs_from(const py::dict& items) {
  Attrs attrs;
  for (auto [key, value] : items) {
    if (value.is_none()) continue;
    auto name = key.cast<std::string>();
    attrs.set(name, attr_from(name, value));
  }
  return attrs;
}

py::dict attrs_to(const Attrs& attrs) {
  py::dict result;
  for (const auto& [name, value] : attrs.items()) {
    if (auto* ints = std::get_if<Ints>(&value))
      result[name.c_str()] = py::tuple(py::cast(*ints));
    else if (auto* floats = std::get_if<Floats>(&value))
      result[name.c_str()] = py::tuple(py::cast(*floats));
    else
      result[name.c_str()] = py::cast(value);
  }
  return result;
}

void bind_runtime(py::module_& m) {
  m.def("isa", [] { return name_of(current_isa()); });
  m.def("set_isa", [](const std::string& name) {
    set_isa(name);
    clear_kernel_cache();
  });
  m.def("far_bytes", &far_bytes, "Bytes from which a result is written past the caches.");
  m.def("set_far_bytes", [](int64_t bytes) {
    set_far_bytes(bytes);
    clear_kernel_cache();
  });
  m.def(
      "isas",
      [] {
        std::vector<std::string> names;
        for (Isa isa : {Isa::Generic, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::Wide})
          if (isa_compiled(isa) && isa_supported(isa)) names.emplace_back(name_of(isa));
        return names;
      },
      "Instruction sets that this build has and this machine runs.");
#if defined(__clang__)
  m.attr("compiler") = "Clang " __clang_version__;
#else
  m.attr("compiler") = "GCC " __VERSION__;
#endif
  m.def("threads", &pool::threads);
  m.def("set_threads", &pool::set_threads, py::call_guard<gil::Release>());
  m.def(
      "cache_sizes",
      [] {
        const CacheSizes sizes = cache_sizes();
        return py::make_tuple(sizes.l1d, sizes.l2, sizes.l3);
      },
      "Bytes of the first, second and third cache.");
  m.def(
      "measure_peak",
      [](const std::string& dtype) {
        gil::Release released;
        return measure_peak(dtype_from_name(dtype));
      },
      py::arg("dtype") = "float32",
      "Operations a second of all threads together on operands of that dtype, measured by a loop of multiply-adds.");
  m.def("measure_stream", &measure_stream, py::call_guard<gil::Release>(),
        "Bytes a second that all threads together read and write out of cache, measured by a sum of two arrays.");
  m.def("measure_round_trip", &measure_round_trip, py::call_guard<gil::Release>(),
        "Seconds that a cache line takes to another thread and back.");
  m.def("register_test_device", &register_test_device);
  m.def("trim_memory", &allocator::trim);
  m.def(
      "kernels",
      [](const std::string& device) {
        py::list rows;
        for (const KernelEntry& entry : registered_kernels(device))
          rows.append(py::make_tuple(entry.op, entry.name, entry.priority, entry.problems));
        return rows;
      },
      py::arg("device") = "cpu",
      "Registered kernels as (primitive, name, priority, problems), in the order in which they are asked.");
  m.def(
      "accepting_kernels",
      [](const std::string& op, const py::list& in, const py::list& out, const py::dict& attrs) {
        const Problem problem{op, specs_from(in), specs_from(out), attrs_from(attrs)};
        std::vector<bool> accepts;
        for (const KernelEntry& entry : registered_kernels())
          if (entry.op == op) accepts.push_back(entry.prepare(problem) != nullptr);
        return accepts;
      },
      py::arg("op"), py::arg("inputs"), py::arg("outputs"), py::arg("attrs"),
      "For each of the primitive's kernels on the CPU, in their order, whether it takes the problem.");
  m.def(
      "force_kernel",
      [](const std::string& op, const std::string& name) {
        force_kernel(op, name);
        clear_kernel_cache();
      },
      py::arg("op"), py::arg("name"),
      "Lets only kernels of that name serve the primitive; an empty name ends it. Compiled steps stay as they are.");
  m.def(
      "choose_kernel",
      [](const std::string& op, const py::list& in, const py::list& out, const py::dict& attrs, const std::string& isa,
         const std::string& name) {
        choose_kernel({op, specs_from(in), specs_from(out), attrs_from(attrs)}, isa, name);
        clear_kernel_cache();
      },
      py::arg("op"), py::arg("inputs"), py::arg("outputs"), py::arg("attrs"), py::arg("isa"), py::arg("name"),
      "On that instruction set the problem asks this kernel first; an empty name ends it.");
  m.def(
      "choice_of",
      [](const std::string& op, const py::list& in, const py::list& out, const py::dict& attrs) {
        const Choice choice = choice_of({op, specs_from(in), specs_from(out), attrs_from(attrs)});
        return py::make_tuple(choice.name, choice.forced);
      },
      py::arg("op"), py::arg("inputs"), py::arg("outputs"), py::arg("attrs"),
      "The kernel chosen for the problem before the registry's order, or an empty name; whether it is forced.");
  m.def("runs_through_host", &runs_through_host,
        "How often each primitive ran on the CPU because its device has no kernel for it.");
  m.def(
      "set_long_tail",
      [](const py::object& compute) {
        if (compute.is_none()) return set_long_tail({});
        PyObject* raw = py::object(compute).release().ptr();  // for as long as the process lives
        set_long_tail([raw](const Problem& problem, const void* const* in, void* const* out) {
          gil::Hold held;
          auto operands = [](const std::vector<Spec>& specs, auto addresses) {
            py::list list;
            for (size_t i = 0; i < specs.size(); ++i)
              list.append(py::make_tuple(reinterpret_cast<uintptr_t>(addresses[i]), name_of(specs[i].dtype),
                                         py::tuple(py::cast(specs[i].shape))));
            return list;
          };
          return py::reinterpret_borrow<py::object>(raw)(problem.op, operands(problem.in, in),
                                                         operands(problem.out, out), attrs_to(problem.attrs))
              .cast<bool>();
        });
      },
      "compute(op, inputs, outputs, attrs) -> whether it did it; operands are (address, dtype, dims) on the device. "
      "None: nobody does.");
  m.attr("companion") = py::capsule(&companion, kCompanionName);
  m.def(
      "chosen_kernel",
      [](const std::string& op, const py::list& in, const py::list& out, const py::dict& attrs,
         const std::string& device) -> py::object {
        Problem problem{op, specs_from(in), specs_from(out), attrs_from(attrs)};
        std::string name;
        return prepare(problem, &name, device) ? py::object(py::str(name)) : py::none();
      },
      py::arg("op"), py::arg("inputs"), py::arg("outputs"), py::arg("attrs"), py::arg("device") = "cpu",
      "Name of the kernel that takes the problem, or None.");
  m.def(
      "task_seconds",
      [](const std::string& op, const std::vector<Array>& inputs, const py::dict& attrs, const py::list& outputs) {
        const Problem problem = problem_from(op, inputs, attrs, outputs);
        gil::Release released;
        return pool::record([&] { run_eager(problem, inputs); });
      },
      "Runs a primitive on this thread alone; for each grid of tasks, the seconds that each task took.");
  m.def(
      "run_rows",
      [](const std::string& op, const std::vector<Array>& inputs, const py::dict& attrs, const py::list& outputs,
         int64_t rows, int64_t first, int64_t count) -> py::object {
        const Problem problem = problem_from(op, inputs, attrs, outputs);
        const auto kernel = cached_kernel(problem);
        const auto by_row = kernel ? kernel->by_rows(rows) : std::nullopt;
        if (!by_row) return py::none();
        std::vector<Array> results;
        std::vector<const void*> in;
        std::vector<void*> out;
        for (const Array& input : inputs) in.push_back(input.data());
        for (const Spec& spec : problem.out) {
          results.push_back(Array::empty(spec));
          out.push_back(results.back().data());
        }
        kernel->run_rows(in.data(), out.data(), {rows, first, count});
        return py::make_tuple(*by_row, results);
      },
      py::arg("op"), py::arg("inputs"), py::arg("attrs"), py::arg("outputs"), py::arg("rows"), py::arg("first"),
      py::arg("count"),
      "Some rows of a primitive's results, the others undefined, and the operands that have these rows, as bits; None "
      "where the kernel does not compute by rows.");
  m.def(
      "run",
      [](const std::string& op, const std::vector<Array>& inputs, const py::dict& attrs,
         const py::list& outputs) -> py::object {
        Problem problem = problem_from(op, inputs, attrs, outputs);
        std::optional<std::vector<Array>> result;
        {
          gil::Release released;
          result = run_eager(problem, inputs);
        }
        return result ? py::cast(std::move(*result)) : py::none();
      },
      "Runs a primitive into fresh arrays, or returns None when no kernel takes the problem.");
}

}  // namespace native::bindings
