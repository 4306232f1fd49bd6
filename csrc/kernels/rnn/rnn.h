// The elementwise part of recurrent cells.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native::recurrent {

// One step of some sequences; null is what there is none of. States are [rows, units]. Of operands over time these are
// the rows of the first sequence, and what belongs to the next one is `apart` rows behind it.
struct Step {
  int64_t rows, units, apart;
  const float* x;      // gates `units` apart
  int64_t x_row;       // from one sequence to the next
  const float* ahead;  // x of the next step
  const float* bias;   // of the products; gru alone
  const uint8_t* counts;
  const float* h;
  float *c, *next;  // c of lstm alone; next: h after the step
  float* y;
  int64_t y_row;
  bool zero_output;                // where the step does not count, instead of h
  float *gates, *kept_h, *kept_c;  // gates: four, `units` apart; the states before the step
};

// Products of the state: those of row r, gate k and the v-th vector of units begin at data + r * row + k * gate +
// v * vector. Cells may write there.
struct Products {
  float* data;
  int64_t row, gate, vector;
};

struct CellTable {
  int lanes;  // of a vector

  // The columns of units [first, first + n), first beginning a vector, of all gates of w [depth, gates * units]: for
  // each vector of units panels of `vectors` gates, [ceil(gates / vectors)][depth][vectors][lanes], with zeros beyond
  // the last unit; there is nothing where the last panel has fewer gates.
  void (*pack)(const float* w, int64_t depth, int64_t units, int gates, int vectors, int64_t first, int64_t n,
               float* out);

  // Cells of units [first, first + n). Gates: i, f, g, o; c becomes f c + i g, and h o tanh(c).
  void (*lstm)(const Step& step, const Products& z, int64_t first, int64_t n);
  // With the reset gate after the product. Gates: z, r, new = tanh(x_n + r s_n), and s_n, the product with its bias;
  // h becomes z h + (1 - z) new.
  void (*gru)(const Step& step, const Products& s, int64_t first, int64_t n);

  // The rest are for one sequence: `n` of its units, gates `units` apart.

  // From the activated gates, c before the step and the cotangents of h and c: dz, and dc of c before.
  void (*lstm_grad)(const float* gates, const float* c, const float* dh, float* dc, float* dz, int64_t units,
                    int64_t n);
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
