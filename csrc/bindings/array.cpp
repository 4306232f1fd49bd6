#include "core/array.h"

#include <pybind11/numpy.h>

#include <cstring>

#include "bindings/gil.h"
#include "bindings/module.h"
#include "core/errors.h"

namespace native::bindings {
namespace {

// NumPy dtypes by our index; bfloat16 and float8 come from ml_dtypes, handed over by the engine.
py::list& numpy_dtypes() {
  static py::list* table = new py::list;
  return *table;
}

py::dtype numpy_dtype(DType dtype) {
  return py::reinterpret_borrow<py::dtype>(numpy_dtypes()[static_cast<size_t>(dtype)]);
}

DType dtype_of(const py::dtype& dtype) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (dtype.equal(numpy_dtypes()[i])) return static_cast<DType>(i);
  throw DTypeError("no tensor dtype for NumPy's '" + py::str(dtype).cast<std::string>() + "'");
}

// Holds a NumPy array's memory for a Buffer; released under the GIL, and leaked once Python is gone.
std::function<void()> hold(py::object object) {
  PyObject* raw = object.release().ptr();
  return [raw] {
    if (!Py_IsInitialized()) return;
    gil::Hold held;
    Py_DECREF(raw);
  };
}

Array from_numpy(py::array array, bool copy) {
  const DType dtype = dtype_of(array.dtype());
  Shape shape(array.shape(), array.shape() + array.ndim());
  const Spec spec{dtype, shape};
  const bool contiguous = array.flags() & py::array::c_style;
  if (!copy && contiguous && reinterpret_cast<uintptr_t>(array.data()) % size_of(dtype) == 0) {
    void* data = const_cast<void*>(array.data());
    return {spec, std::make_shared<Buffer>(data, spec.bytes(), hold(std::move(array)))};
  }
  if (!contiguous) array = py::module_::import("numpy").attr("ascontiguousarray")(array);
  Array result = Array::empty(spec);
  const void* source = array.data();
  const size_t bytes = spec.bytes();
  if (bytes >= (1 << 16)) {
    gil::Release released;
    std::memcpy(result.data(), source, bytes);
  } else {
    std::memcpy(result.data(), source, bytes);
  }
  return result;
}

// A read-only view that keeps the buffer alive; a copy when the device's memory is not the host's.
py::array to_numpy(const Array& self) {
  Array host = self.to(cpu_device());
  auto* owner = new BufferPtr(host.buffer);
  py::capsule capsule(owner, [](void* p) { delete static_cast<BufferPtr*>(p); });
  py::array view(numpy_dtype(host.spec.dtype), host.spec.shape, host.data(), capsule);
  view.attr("setflags")(py::arg("write") = false);
  return view;
}

}  // namespace

void bind_array(py::module_& m) {
  m.def("set_numpy_dtypes", [](const py::list& dtypes) {
    for (auto dtype : dtypes) numpy_dtypes().append(dtype);
  });
  m.def("dtype_size", [](const std::string& name) { return size_of(dtype_from_name(name)); });
  m.def("memory_in_use", &memory_in_use);
  m.def("memory_peak", &memory_peak);
  py::class_<Array>(m, "Array")
      .def_static("from_numpy", &from_numpy, py::arg("array"), py::arg("copy"))
      .def("numpy", &to_numpy)
      .def_property_readonly("shape", [](const Array& a) { return py::tuple(py::cast(a.spec.shape)); })
      .def_property_readonly("dtype", [](const Array& a) { return name_of(a.spec.dtype); })
      .def_property_readonly("device", [](const Array& a) { return a.device()->name(); })
      .def_property_readonly("nbytes", [](const Array& a) { return a.spec.bytes(); })
      .def_property_readonly(
          "address", [](const Array& a) { return reinterpret_cast<uintptr_t>(a.data()); }, "Where the device has it.")
      .def_static(
          "copy_of",
          [](uintptr_t address, const std::string& dtype, const Shape& shape, const std::string& device) {
            Array made = Array::empty({dtype_from_name(dtype), shape}, find_device(device));
            made.device()->copy(made.data(), reinterpret_cast<const void*>(address), made.spec.bytes());
            return made;
          },
          py::arg("address"), py::arg("dtype"), py::arg("shape"), py::arg("device"),
          "The elements that lie one after another at an address of the device.")
      .def("reshape", [](const Array& a, const Shape& shape) { return a.reshaped(shape); })
      .def("to", [](const Array& a, const std::string& device) { return a.to(find_device(device)); });
}

}  // namespace native::bindings
