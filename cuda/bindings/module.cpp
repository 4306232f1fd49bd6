// The extension module `_cuda`, beside `_core`: kernels and memory of one GPU, and the emulator's findings.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/dlpack.h"
#include "bindings/gil.h"
#include "emulator/emulated_driver.h"
#include "emulator/gpus.h"
#include "runtime/device.h"
#include "runtime/gpu.h"
#include "runtime/graph.h"
#include "runtime/images.h"
#include "runtime/stream.h"

namespace py = pybind11;
namespace gil = native::bindings::gil;

namespace native::cuda {
namespace {

// Memory that lives as long as its Python object.
struct DeviceArray {
  explicit DeviceArray(size_t n) : bytes(n), address(device().allocate(n)) {}
  ~DeviceArray() { device().release(address); }
  DeviceArray(const DeviceArray&) = delete;
  size_t bytes;
  Address address;
};

struct LoadedModule {
  explicit LoadedModule(const std::string& image) : handle(device().load(image.c_str())) {}
  ~LoadedModule() { device().unload(handle); }
  LoadedModule(const LoadedModule&) = delete;
  ModuleHandle handle;
};

struct Kernel {
  std::shared_ptr<LoadedModule> module;  // lives as long as its kernels
  FunctionHandle handle;
  std::string name;
  std::vector<size_t> parameters;  // bytes of each
};

void check_arguments(const Kernel& kernel, const std::vector<std::string>& bytes) {
  const auto& wanted = kernel.parameters;
  if (bytes.size() != wanted.size())
    throw py::value_error("kernel '" + kernel.name + "' takes " + std::to_string(wanted.size()) + " arguments, got " +
                          std::to_string(bytes.size()));
  for (size_t k = 0; k < wanted.size(); ++k)
    if (bytes[k].size() != wanted[k])
      throw py::value_error("kernel '" + kernel.name + "': argument " + std::to_string(k) + " has " +
                            std::to_string(bytes[k].size()) + " bytes, its parameter " + std::to_string(wanted[k]));
}

Stream as_stream(uintptr_t handle) { return reinterpret_cast<Stream>(handle); }

Extent extent(const std::vector<unsigned>& sizes) {
  Extent e;
  if (sizes.size() > 3 || sizes.empty()) throw py::value_error("grid and block have one to three sizes");
  e.x = sizes[0];
  if (sizes.size() > 1) e.y = sizes[1];
  if (sizes.size() > 2) e.z = sizes[2];
  return e;
}

// For tests of kernels that take one.
py::bytes tensor_map_of(int type, uint64_t address, const std::vector<uint64_t>& sizes, std::vector<uint64_t> strides,
                        const std::vector<uint32_t>& box, int swizzle, std::vector<uint32_t> steps) {
  if (strides.size() + 1 != sizes.size() || box.size() != sizes.size())
    throw py::value_error("a tensor map takes a size and a part of the box for each axis, and strides of all but one");
  steps.resize(sizes.size(), 1);
  strides.resize(sizes.size());  // a driver takes no null pointer, not even for the strides of one axis
  constexpr int kNoInterleave = 0, kNoPromotion = 0, kZeros = 0;
  TensorMap map;
  check(driver(),
        driver().cuTensorMapEncodeTiled(&map, static_cast<TensorType>(type), static_cast<unsigned>(sizes.size()),
                                        reinterpret_cast<void*>(address), sizes.data(), strides.data(), box.data(),
                                        steps.data(), kNoInterleave, static_cast<TensorSwizzle>(swizzle), kNoPromotion,
                                        kZeros),
        "describing a tensor for bulk copies");
  return {reinterpret_cast<const char*>(&map), sizeof map};
}

// Arguments: DeviceArray, or anything with a buffer: a NumPy scalar or structure of the parameter's size.
void launch(const Kernel& kernel, const std::vector<unsigned>& grid, const std::vector<unsigned>& block,
            const py::list& arguments, size_t shared, const StreamObject* stream) {
  std::vector<std::string> bytes;
  for (auto argument : arguments) {
    if (py::isinstance<DeviceArray>(argument)) {
      const Address a = argument.cast<const DeviceArray&>().address;
      bytes.emplace_back(reinterpret_cast<const char*>(&a), sizeof a);
    } else if (py::isinstance<py::bytes>(argument)) {
      bytes.push_back(argument.cast<std::string>());
    } else if (py::hasattr(argument, "tobytes")) {
      bytes.push_back(argument.attr("tobytes")().cast<std::string>());
    } else {
      throw py::type_error("arguments of a kernel are DeviceArray, NumPy scalars or bytes; got " +
                           py::str(py::type::of(argument)).cast<std::string>());
    }
  }
  check_arguments(kernel, bytes);
  std::vector<void*> params;
  for (std::string& b : bytes) params.push_back(b.data());
  gil::Release released;
  device().launch(kernel.handle, kernel.name, extent(grid), extent(block), shared, params.data(),
                  stream ? stream->handle : nullptr);
}

void bind_emulator(py::module_& m) {
  using namespace emulator;
  m.def(
      "reports",
      [] {
        py::list rows;
        for (const Report& r : Reports::all().list()) {
          py::dict row;
          row["fault"] = name_of(r.fault);
          row["kernel"] = r.kernel;
          row["source"] = r.source;
          row["opcode"] = r.opcode;
          row["block"] = r.block;
          row["thread"] = r.thread;
          row["address"] = r.address;
          row["message"] = r.message;
          row["text"] = to_string(r);
          rows.append(row);
        }
        return rows;
      },
      "What the emulator found wrong so far: dictionaries with fault, kernel, source, block, thread, address.");
  m.def("clear_reports", [] { Reports::all().clear(); });
  m.def(
      "counts",
      [](const std::string& kernel) {
        py::list rows;
        for (const Line& l : counts(kernel)) {
          py::dict row;
          row["kernel"] = l.kernel;
          row["source"] = l.source;
          row["opcode"] = l.opcode;
          row["class"] = name_of(l.kind);
          row["executed"] = l.count.executed;
          row["requests"] = l.count.requests;
          row["sectors"] = l.count.sectors;
          row["ideal_sectors"] = l.count.ideal_sectors;
          row["phases"] = l.count.phases;
          row["conflicts"] = l.count.conflicts;
          rows.append(row);
        }
        return rows;
      },
      py::arg("kernel") = "",
      "Per instruction of a kernel, or of all: how often warps ran it, and what memory had to do.");
  m.def("clear_counts", &clear_counts);
  m.def(
      "calls",
      [] {
        py::dict row;
        for (const auto& [name, times] : calls()) row[name] = times;
        return row;
      },
      "How often the driver was called since clear_counts, by kind.");
  m.def(
      "set_options",
      [](uint32_t seed, bool races, uint64_t most_instructions) { options() = {seed, races, most_instructions}; },
      py::arg("seed") = Options{}.seed, py::arg("races") = Options{}.races,
      py::arg("most_instructions") = Options{}.most_instructions,
      "Order of warps, whether races are searched for, and after how many instructions of warps a launch is ended.");
  m.def(
      "emulate",
      [](const std::optional<std::string>& name) {
        const Gpu* gpu = name ? find_gpu(*name) : nullptr;
        if (name && !gpu) throw py::value_error(unknown_gpu(*name));
        emulate(gpu);
        device().identify();
      },
      py::arg("gpu"),
      "The GPU that is emulated from now on; None: the one that NATIVE_CUDA_GPU names. What was compiled or loaded "
      "for the one before stays as it is.");
  m.def(
      "occupancy",
      [](const std::string& gpu, int threads, int registers, size_t shared) {
        const Gpu* g = find_gpu(gpu);
        if (!g) throw py::value_error("unknown GPU '" + gpu + "'");
        const Occupancy o = occupancy(*g, threads, registers, shared);
        return py::dict(py::arg("blocks") = o.blocks, py::arg("warps") = o.warps, py::arg("fraction") = o.fraction,
                        py::arg("limit") = o.limit);
      },
      py::arg("gpu"), py::arg("threads"), py::arg("registers"), py::arg("shared"));
  m.def(
      "gpus",
      [] {
        py::list rows;
        for (const Gpu& g : gpus())
          rows.append(py::dict(py::arg("name") = g.name, py::arg("capability") = g.capability,
                               py::arg("multiprocessors") = g.multiprocessors, py::arg("clock_ghz") = g.clock_ghz,
                               py::arg("gigabytes_a_second") = g.gigabytes_a_second,
                               py::arg("fp32_a_clock") = g.fp32_a_clock, py::arg("tensor_a_clock") = g.tensor_a_clock));
        return rows;
      },
      "GPUs that estimates know.");
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  gil::install();
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      std::rethrow_exception(error);
    } catch (const DeviceError& e) {
      PyErr_SetString(PyExc_RuntimeError, e.what());
    } catch (const DeviceMemoryError& e) {
      PyErr_SetString(PyExc_MemoryError, e.what());
    } catch (const emulator::PtxError& e) {
      PyErr_SetString(PyExc_ValueError, e.what());
    }
  });
  m.def("device_count", &device_count);
  m.def("device", [] {
    Device& d = device();
    return py::dict(py::arg("name") = d.name(), py::arg("capability") = d.capability(),
                    py::arg("multiprocessors") = d.multiprocessors(), py::arg("memory") = d.memory(),
                    py::arg("driver") = d.driver_version(), py::arg("emulated") = d.emulated());
  });
  py::class_<DeviceArray>(m, "DeviceArray", "Bytes on the device.")
      .def(py::init<size_t>())
      .def_readonly("bytes", &DeviceArray::bytes)
      .def_readonly("address", &DeviceArray::address)
      .def("copy_in",
           [](DeviceArray& self, const py::buffer& from) {
             const py::buffer_info info = from.request();
             if (!PyBuffer_IsContiguous(info.view(), 'C')) throw py::value_error("not contiguous");
             const size_t n = static_cast<size_t>(info.size) * info.itemsize;
             if (n != self.bytes) throw py::value_error("sizes differ");
             device().copy_in(self.address, info.ptr, n);
           })
      .def(
          "copy_out",
          [](const DeviceArray& self, const StreamObject* stream) {
            py::array_t<uint8_t> to(self.bytes);
            void* data = to.mutable_data();
            {
              gil::Release released;
              device().copy_out(data, self.address, self.bytes, stream ? stream->handle : nullptr);
            }
            return to;
          },
          py::arg("stream") = nullptr);
  py::class_<EventObject>(m, "Event", "A point in a stream that others can wait for.")
      .def(py::init([] { return new EventObject(device()); }))
      .def("done", &EventObject::done)
      .def("synchronize", &EventObject::synchronize, py::call_guard<gil::Release>());
  py::class_<StreamObject>(m, "Stream", "Work in order, beside the device's own stream.")
      .def(py::init([] { return new StreamObject(device()); }))
      .def_property_readonly("handle", [](const StreamObject& s) { return reinterpret_cast<uintptr_t>(s.handle); })
      .def("record", &StreamObject::record)
      .def("wait", &StreamObject::wait)
      .def("synchronize", &StreamObject::synchronize, py::call_guard<gil::Release>());
  py::class_<Kernel>(m, "Kernel")
      .def_readonly("parameters", &Kernel::parameters, "Bytes of each.")
      .def_property_readonly(
          "resources",
          [](const Kernel& self) {
            auto value = [&](int which) { return device().attribute(self.handle, which); };
            return py::dict(py::arg("threads") = value(kFuncMaxThreads), py::arg("shared") = value(kFuncSharedBytes),
                            py::arg("local") = value(kFuncLocalBytes));
          },
          "The most threads of a block, bytes of shared memory and of each thread's own.")
      .def("launch", &launch, py::arg("grid"), py::arg("block"), py::arg("arguments"), py::arg("shared") = 0,
           py::arg("stream") = nullptr);
  py::class_<LoadedModule, std::shared_ptr<LoadedModule>>(m, "Module", "Kernels from PTX or a cubin.")
      .def(py::init<const std::string&>())
      .def("kernel", [](const std::shared_ptr<LoadedModule>& self, const std::string& name) {
        const FunctionHandle handle = device().function(self->handle, name);
        return Kernel{self, handle, name, device().parameters(handle)};
      });
  m.def(
      "attach",
      [](const py::capsule& core) {
        void* table = PyCapsule_GetPointer(core.ptr(), kCompanionName);
        if (!table) throw py::error_already_set();
        attach(*static_cast<const Companion*>(table));
      },
      py::arg("core"), "Registers gpu:0 and its kernels with the module whose `companion` is given.");
  m.def("images", &image_names, "Files of kernels that were compiled into this module; none without nvcc.");
  m.def("image_ptx", [](const std::string& name) { return std::string(image_ptx(name)); });
  m.def("image_fatbin", [](const std::string& name) { return py::bytes(image_fatbin(name)); });
  m.def("tensor_map", &tensor_map_of, py::arg("type"), py::arg("address"), py::arg("sizes"), py::arg("strides"),
        py::arg("box"), py::arg("swizzle") = 0, py::arg("steps") = std::vector<uint32_t>{},
        "The 128 bytes of cuTensorMapEncodeTiled's map, a kernel's argument. Axes innermost first, strides in bytes of "
        "all but that; type and swizzle as the driver numbers them.");
  m.def("synchronize", [] { device().synchronize(); }, py::call_guard<gil::Release>());
  m.def("trim", [] { device().trim(); });
  m.def(
      "keep_blocks", [](bool keep) { device().keep_blocks(keep); }, py::arg("keep"),
      "Whether freed memory is kept for reuse: always on a GPU, and on the emulator when this says so, whose "
      "bounds are then those of size classes.");
  py::class_<GraphObject>(m, "Graph", "Launches, copies and fills as one piece of work.")
      .def("launch", &GraphObject::launch)
      .def_property_readonly("nodes", &GraphObject::nodes);
  m.def(
      "record", [](const py::function& enqueue) { return device().record([&] { enqueue(); }); }, py::arg("enqueue"),
      "A Graph of what the function gives to the device, instead of doing it; None if it does what cannot be "
      "recorded.");
  m.def(
      "stream_handle", [] { return reinterpret_cast<uintptr_t>(device().stream()); },
      "The stream that the device's work goes to, as an integer, for other libraries.");
  m.def(
      "follow", [](uintptr_t first, uintptr_t then) { device().follow(as_stream(first), as_stream(then)); },
      py::arg("first"), py::arg("then"),
      "What is given to the stream `then` from now on waits for what `first` has been given. 1 and 2 are CUDA's "
      "default streams.");
  bind_dlpack(m);
  bind_emulator(m);
}

}  // namespace native::cuda
