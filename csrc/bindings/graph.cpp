#include "bindings/module.h"

namespace native::bindings {

void bind_graph(py::module_&) {}

}  // namespace native::bindings
