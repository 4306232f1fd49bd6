// What launches of recurrent layers are told. Plain data, for device and host.
#pragma once

#include <stdint.h>

namespace native::cuda::rnn {

// A block has kRows sequences by kUnits units, a thread each: small, because a step has few of both and its
// blocks have to reach all multiprocessors. Weights pass through shared memory kDepth terms at a time.
constexpr int kRows = 16, kUnits = 16, kDepth = 32, kThreads = kRows * kUnits;

// One step of all sequences: the product of a state by weights, and what the cell makes of its sums. All is
// float32. Operands are [batch, steps, ...], states [batch, units].
struct Params {
  // Sums of unit u: over d of a[b * a_row + d] w[d * w_row + (k * units + u) * w_column], k counting gates. No
  // product if a is null: sums are 0.
  const float *a, *w;
  int64_t a_row;
  int w_row, w_column, depth;

  int batch, steps, units;
  int step;  // of the outputs
  int time;  // of the operands
  int zero_output, sequences;
  const uint8_t* mask;  // [batch, steps], or null

  // Forward. gates and the states before each step are kept if not null; z, r and reset, the state after the
  // reset gate, pass from the first half of a GRU's step to the second.
  const float *x, *bias, *h, *c;
  float *next_h, *next_c, *outputs, *gates, *kept_h, *kept_c;
  float *z, *r, *reset;

  // Backward, from the last step to the first. passed: the cotangent of h that did not go through the product
  // of the step after, from `passed` to `next_passed`; so for c.
  const float *given_outputs, *given_gates, *given_h, *given_c, *passed, *dc;
  float *next_passed, *next_dc, *dx, *ds;
};

}  // namespace native::cuda::rnn
