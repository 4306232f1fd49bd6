// The activations that products and convolutions apply to their results, on every device.
#pragma once

namespace native {

// The first three are cheap enough for an inner loop; the others are two polynomials and more.
enum class Activation : int { None, Relu, Relu6, Sigmoid, Tanh, Silu, Gelu, GeluTanh };

}  // namespace native
