// Activations of float32, as the CPU's kernels define them.
#pragma once

namespace native::cuda {

// NaN stays NaN, which fmaxf would swallow.
__device__ inline float relu(float x) { return x > 0 || x != x ? x : 0; }
__device__ inline float relu6(float x) { return x > 6 ? 6 : relu(x); }
__device__ inline float sigmoid(float x) { return 1 / (1 + expf(-x)); }
__device__ inline float softplus(float x) { return (x > 0 || x != x ? x : 0) + log1pf(expf(-fabsf(x))); }
__device__ inline float silu(float x) { return x / (1 + expf(-x)); }
// Far below zero these fall as exp does, which magnifies the error of its argument: that is carried in two
// parts, and what the second changes is added to first order.
__device__ inline float gelu(float x) {
  constexpr float kHigh = 0.70710678118654752f, kLow = 1.21016175e-8f;  // 1 / sqrt(2)
  const float u = -x * kHigh, rest = fmaf(-x, kHigh, -u) - x * kLow;
  const float tail = erfcf(u);
  // The derivative of erfc is -2 / sqrt(pi) exp(-u^2).
  return 0.5f * x * (fabsf(u) < 9 ? tail - rest * 1.12837917f * expf(-u * u) : tail);
}
// The normal distribution function and x times its density; only their sum's tail needs care, as above: there
// exp(-x^2 / 2) takes the square in two parts.
__device__ inline float gelu_slope(float x) {
  const float bounded = fminf(fmaxf(x, -20), 20), square = bounded * bounded;
  const float density = expf(-0.5f * square) * (1 - 0.5f * fmaf(bounded, bounded, -square)) * 0.398942280401432678f;
  const float sum = 0.5f * erfcf(bounded * -0.70710678118654752f) + bounded * density;
  return x != x ? x : sum;
}
// exp(x + low) for x above -88, to 1 ulp: expf may be 2 off, where the unit for exp2 rounds, and nothing is left
// for the arithmetic around it. Two steps of reduction by log 2, Taylor's polynomial (its rest below 2^-27), and 2^k as
// a product of two, which overflows to infinity.
__device__ inline float exp_in_two(float x, float low) {
  const float k = fminf(rintf(x * 1.44269504f), 256);
  const float r = fmaf(k, -1.42860677e-6f, fmaf(k, -0.693145752f, x)) + low;
  float rest = fmaf(r, 1.0f / 5040, 1.0f / 720);
  for (float term : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f}) rest = fmaf(rest, r, term);
  const int half = static_cast<int>(k) / 2, other = static_cast<int>(k) - half;
  return fmaf(rest, r, 1) * __int_as_float((half + 127) << 23) * __int_as_float((other + 127) << 23);
}
// 0.5 x (1 + tanh(v)) is x times the logistic function of 2 v, and that is x (a + b x^2).
__device__ inline float gelu_tanh(float x) {
  constexpr float kA = 1.59576912160573071f, kALow = -4.534068e-8f, kB = 0.0713548162726f, kBLow = 2.3988325e-9f;
  if (x > 10) return x;
  const float bounded = fmaxf(x, -20);  // exp overflows there
  // What is lost in rounding can be known only where ptxas does not make one operation of two.
  const float square = __fmul_rn(bounded, bounded), cubic = __fmul_rn(kB, square);
  const float slope = __fadd_rn(cubic, kA), part = slope - cubic;
  const float lost = (cubic - (slope - part)) + (kA - part) + fmaf(kB, square, -cubic) +
                     (fmaf(bounded, bounded, -square) * kB + (square * kBLow + kALow));
  const float z = __fmul_rn(bounded, slope), rest = fmaf(bounded, slope, -z) + bounded * lost;
  return x / (1 + exp_in_two(-z, -rest));
}
__device__ inline float selu(float x) { return x > 0 ? 1.05070098735548049f * x : 1.75809934084737686f * expm1f(x); }

// The same for results of 16 bits: in few instructions without branches, relative errors below 2^-16.
namespace coarse {

__device__ inline float reciprocal(float x) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
// exp of a negative argument, which does not overflow.
__device__ inline float sigmoid(float x) {
  const float tail = __expf(-fabsf(x));
  return (x < 0 ? tail : 1) * reciprocal(1 + tail);
}
__device__ inline float silu(float x) { return x * sigmoid(x); }
__device__ inline float gelu_tanh(float x) {
  return x * sigmoid(x * fmaf(x * x, 0.0713548162726f, 1.59576912160573071f));
}
// The tail of the normal distribution is t 2^(p(t) - x^2 / 2 log2 e), t = 1 / (1 + 0.47 |x| / sqrt 2); p is fitted to
// 2^-22 for |x| up to 13.5.
__device__ inline float gelu(float x) {
  const float t = reciprocal(fmaf(fabsf(x), 0.332340187f, 1));
  float p = -0.283183217f;
  for (float term : {1.252536654f, -1.956721902f, 1.086182833f, -0.27301687f, 0.657210588f, 1.43145597f, -2.914464235f})
    p = fmaf(p, t, term);
  const float tail = t * exp2f(fmaf(x * x, -0.72134752f, p));
  return x * (x < 0 ? tail : 1 - tail);
}
// Taylor's terms where the difference would lose digits.
__device__ inline float tanh(float x) {
  const float tail = __expf(-2 * fabsf(x)), square = x * x;
  const float small = fmaf(square, fmaf(square, 0.133333333f, -0.333333333f), 1) * x;
  return fabsf(x) < 0.125f ? small : copysignf((1 - tail) * reciprocal(1 + tail), x);
}

}  // namespace coarse

}  // namespace native::cuda
