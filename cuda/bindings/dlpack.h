// DLPack's capsules (its versions 0 and 1), for arrays of the GPU.
#pragma once

#include <pybind11/pybind11.h>

namespace native::cuda {

void bind_dlpack(pybind11::module_& m);

}  // namespace native::cuda
