// What one thread does on some rows of a normalisation; the drivers cut the work and combine parts.
// W, the type computed in, is double for float64 and float for all others. `far`: no cache keeps what is of the size of
// x (simd/stream.h).
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native {

// What is left of a result: all of it, [0, inf) or [0, 6]. NaN stays.
enum class Clip : int { None, Relu, Relu6 };

// The gradient of a clipped result passes on what lies strictly inside the clip: where (x - mean) scale + shift, as
// channel_apply rounds it, is. scale and shift, [channels] of W, are not read if nothing is clipped.
struct Passing {
  Clip clip;
  const void *scale, *shift;
};

struct NormTable {
  // Rows of n elements, each normalised by itself; gamma and beta are [n] of W. Not `centred`: RMS norm.
  void (*row_forward)(const void* x, const void* gamma, const void* beta, void* y, int64_t rows, int64_t n, double eps,
                      bool centred, bool far);
  // Writes dx and the sums over these rows of ct x^ and ct into dgamma and dbeta ([n] of W).
  void (*row_backward)(const void* ct, const void* x, const void* gamma, void* dx, void* dgamma, void* dbeta,
                       int64_t rows, int64_t n, double eps, bool centred, bool far);

  // The rest: x[rows, channels]; what is named in the singular below is [channels] of W.
  // Mean and sum of squared differences from it, over the rows.
  void (*channel_stats)(const void* x, int64_t rows, int64_t channels, void* mean, void* m2);
  // Merges `parts` pairs (mean, m2), one after the other in memory, of `rows` rows each but the last.
  void (*merge_stats)(const void* pairs, int64_t parts, int64_t rows, int64_t last_rows, int64_t channels, void* mean,
                      void* m2);
  // y = clip((x - mean) scale + shift + residual); residual[rows, channels] or nullptr.
  void (*channel_apply)(const void* x, int64_t rows, int64_t channels, const void* mean, const void* scale,
                        const void* shift, const void* residual, Clip clip, void* y, bool far);
  // Sums over the rows of ct and of ct (x - mean), for the ct that passes.
  void (*channel_sums)(const void* ct, const void* x, int64_t rows, int64_t channels, const void* mean,
                       const Passing& passing, void* sum, void* product);
  // dx = ct a + (x - mean) b + c, for the ct that passes.
  void (*channel_grad)(const void* ct, const void* x, int64_t rows, int64_t channels, const void* mean,
                       const Passing& passing, const void* a, const void* b, const void* c, void* dx, bool far);

  // out[i] = sum over `parts` of in[part * stride + i], i < n, all of W.
  void (*sum_parts)(const void* in, int64_t parts, int64_t stride, int64_t n, void* out);
  void (*widen)(const void* in, void* out, int64_t n);   // element to W
  void (*narrow)(const void* in, void* out, int64_t n);  // W to element
};

// For float16, bfloat16, float32, float64.
struct NormTables {
  NormTable f16, bf16, f32, f64;
};
NATIVE_BF16_TABLE(NormTables, norm_tables)

}  // namespace native
