#include "core/errors.h"

#include "bindings/module.h"

namespace native::bindings {

void bind_errors(py::module_& m) {
  // Keras probes with hasattr, so what is not supported is an AttributeError as well.
  py::object bases = py::make_tuple(py::handle(PyExc_NotImplementedError), py::handle(PyExc_AttributeError));
  static py::object unsupported =
      py::reinterpret_steal<py::object>(PyErr_NewException("keras_native.UnsupportedError", bases.ptr(), nullptr));
  m.attr("UnsupportedError") = unsupported;
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      std::rethrow_exception(error);
    } catch (const ShapeError& e) {
      PyErr_SetString(PyExc_ValueError, e.what());
    } catch (const DTypeError& e) {
      PyErr_SetString(PyExc_TypeError, e.what());
    } catch (const UnsupportedError& e) {
      PyErr_SetString(unsupported.ptr(), e.what());
    } catch (const MemoryLimitError& e) {
      PyErr_SetString(PyExc_MemoryError, e.what());
    }
  });
}

}  // namespace native::bindings
