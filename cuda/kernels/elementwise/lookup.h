// From an operation on dtypes to the operations of the interpreter kernel.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "kernels/elementwise/params.h"

namespace native::cuda::elementwise {

enum class Class { Float, Signed, Unsigned };
// What registers of the dtype hold; nothing for dtypes of 64 bits and complex numbers.
std::optional<Class> class_of(DType dtype);
std::optional<Memory> memory_of(DType dtype);
int bytes_of(Memory memory);

// Operations that carry out `op`: the first on its operands, others in place on its result, so that it is
// rounded to `result` as if it went through memory. Empty if the kernel has no such operation.
std::vector<Op> lower(const std::string& op, const std::vector<DType>& sources, DType result, double immediate);

// The operation that rounds a value of the dtype's class to it in place, if there are other values.
std::optional<Op> rounding(DType dtype);

}  // namespace native::cuda::elementwise
