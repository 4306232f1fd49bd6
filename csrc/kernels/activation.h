// The activations that products and convolutions apply to their results.
#pragma once

#include <optional>
#include <string>

namespace native {

// The first three are cheap enough for an inner loop; the others are two polynomials and more.
enum class Activation : int { None, Relu, Relu6, Sigmoid, Tanh, Silu, Gelu, GeluTanh };

// By the name that primitives give it; nullopt for one that no kernel has.
inline std::optional<Activation> activation_named(const std::string& name) {
  static constexpr const char* names[] = {"none", "relu", "relu6", "sigmoid", "tanh", "silu", "gelu", "gelu_tanh"};
  for (int i = 0; i < 8; ++i)
    if (name == names[i]) return static_cast<Activation>(i);
  return std::nullopt;
}

}  // namespace native
