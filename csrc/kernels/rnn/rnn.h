// The elementwise part of recurrent cells, one row (one sequence of the batch) at a time.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native::recurrent {

// Rows of `units`; z, x and r hold the gates side by side.
struct CellTable {
  // i, f, g, o: next = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(next).
  void (*lstm)(const float* z, const float* c, float* h, float* next, int64_t units);
  // Cotangents dh of h and dnext of next to those of z and c.
  void (*lstm_grad)(const float* z, const float* c, const float* dh, const float* dnext, float* dz, float* dc,
                    int64_t units);
  // z, r, n of the input x and of the state's projection s: new = tanh(x_n + sigmoid(x_r + s_r) s_n),
  // next = u h + (1 - u) new with u = sigmoid(x_z + s_z).
  void (*gru)(const float* x, const float* s, const float* h, float* next, int64_t units);
  void (*gru_grad)(const float* x, const float* s, const float* h, const float* ct, float* dx, float* ds, float* dh,
                   int64_t units);
};

NATIVE_ISA_TABLE(CellTable, cell_table)

}  // namespace native::recurrent
