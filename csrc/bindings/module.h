// The Python module keras_native._core: one bind_* function a file, all called by module.cpp.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/attrs.h"
#include "core/shape.h"

namespace native::bindings {

namespace py = pybind11;

void bind_errors(py::module_& m);
void bind_array(py::module_& m);
void bind_runtime(py::module_& m);
void bind_graph(py::module_& m);

// A dict of int, bool, float, str and tuples of numbers; None entries are left out.
Attrs attrs_from(const py::dict& items);
py::dict attrs_to(const Attrs& attrs);

}  // namespace native::bindings
