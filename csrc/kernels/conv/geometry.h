// Shapes and attributes of a convolution problem, brought to one form: three spatial dimensions (missing
// ones have size, kernel and stride 1), channels last. Shared by the forward kernel and both gradients.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "kernels/activation.h"
#include "runtime/registry.h"

namespace native::conv {

using Triple = std::array<int64_t, 3>;

struct Geometry {
  int64_t batch;
  Triple in, out;  // spatial sizes of x and of y
  Triple kernel, stride, low, dilation;
  int64_t groups, cin, cout;  // channels of all groups together

  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t in_pixels() const { return batch * in[0] * in[1] * in[2]; }
  int64_t out_pixels() const { return batch * out[0] * out[1] * out[2]; }
  int64_t group_in() const { return cin / groups; }
  int64_t group_out() const { return cout / groups; }
  int64_t multiply_adds() const { return out_pixels() * taps() * group_in() * cout; }
  bool empty() const { return batch == 0 || cin == 0 || cout == 0 || in_pixels() == 0; }
};

// From `conv`, `conv_bias_act`, `conv_input_grad` or `conv_weight_grad`; nothing for other ranks. From `conv_pool` that
// of the convolution in it, whose results are the largest of windows of 2 along each dimension.
// A 1x1 convolution without stride and padding comes out one-dimensional: every pixel in one row.
std::optional<Geometry> geometry_of(const Problem& problem);

// The attribute `activation`, None without one.
Activation activation_of(const Problem& problem);

// Whether the largest of some results is the activation of the largest sum.
inline bool pools_with(Activation activation) { return activation <= Activation::Relu6; }

}  // namespace native::conv
