// The activation that a primitive's attribute names.
#pragma once

#include <optional>
#include <string>

#include "kernels/activation.h"

namespace native {

// nullopt for one that no kernel has.
inline std::optional<Activation> activation_named(const std::string& name) {
  static constexpr const char* names[] = {"none", "relu", "relu6", "sigmoid", "tanh", "silu", "gelu", "gelu_tanh"};
  for (int i = 0; i < 8; ++i)
    if (name == names[i]) return static_cast<Activation>(i);
  return std::nullopt;
}

}  // namespace native
