#include "bindings/module.h"

#include "bindings/gil.h"

PYBIND11_MODULE(_core, m) {
  namespace b = native::bindings;
  b::gil::install();
  b::bind_errors(m);
  b::bind_array(m);
  b::bind_runtime(m);
  b::bind_graph(m);
}
