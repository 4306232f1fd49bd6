// The tile operations of the instruction set in use; a SIMD unit each.
#pragma once

#include "kernels/elementwise/opcodes.h"
#include "runtime/cpu.h"

namespace native {

NATIVE_ISA_TABLE(TileOps, arithmetic_ops)  // arithmetic, comparisons, bits
NATIVE_ISA_TABLE(TileOps, function_ops)    // functions of float32 in float32
NATIVE_ISA_TABLE(TileOps, by_double_ops)   // functions of float32 by way of float64
NATIVE_ISA_TABLE(TileOps, double_ops)      // functions of float64, and rare ones of float32, by libm
NATIVE_ISA_TABLE(ConversionTable, conversions)

}  // namespace native
