// The elementwise part of recurrent cells, for one sequence of the batch: `n` of its units, gates `units` apart.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native::recurrent {

struct CellTable {
  // z: products of the state. gates (which may be z) get the activated gates i, f, g, o of x + z. c becomes
  // f c + i g and h gets o tanh(c).
  void (*lstm)(const float* x, const float* z, float* gates, float* c, float* h, int64_t units, int64_t n);
  // From the activated gates, c before the step and the cotangents of h and c: dz, and dc of c before.
  void (*lstm_grad)(const float* gates, const float* c, const float* dh, float* dc, float* dz, int64_t units,
                    int64_t n);

  // With the reset gate after the product. s: products. gates (which may be s) get z, r, new = tanh(x_n + r s_n),
  // and s_n. next = z h + (1 - z) new.
  void (*gru)(const float* x, const float* s, float* gates, const float* h, float* next, int64_t units, int64_t n);
  // dx and ds, those of the input's and the state's products; dh of `next` becomes the part that z lets pass.
  void (*gru_grad)(const float* gates, const float* h, float* dh, float* dx, float* ds, int64_t units, int64_t n);

  // With the reset gate before the product, in two halves: z, r and (fourth) r h, whose product is the third.
  void (*gru_reset)(const float* x, float* s, const float* h, int64_t units, int64_t n);
  void (*gru_mix)(const float* x, float* s, const float* h, float* next, int64_t units, int64_t n);
  // The halves backwards: dz and dn in dx, then, from the cotangent of r h, dr; dh as above.
  void (*gru_mix_grad)(const float* gates, const float* h, float* dh, float* dx, int64_t units, int64_t n);
  void (*gru_reset_grad)(const float* gates, const float* h, const float* dreset, float* dh, float* dx, int64_t units,
                         int64_t n);
  void (*add)(const float* x, float* sum, int64_t n);
};

NATIVE_ISA_TABLE(CellTable, cell_table)

}  // namespace native::recurrent
