// What the units of one instruction set share among themselves; drivers see the tables of gemm.h alone.
#pragma once

#include "kernels/gemm/gemm.h"
#include "simd/vec.h"

namespace native {
namespace NATIVE_ISA {

// Vectors of a row of a panel of B: see gemm.simd.cpp.
constexpr int kVectors = NATIVE_VEC_BYTES == 64 ? 4 : 2;

// See gemm::Kernels for their meaning.
void gemv(int64_t n, int64_t k, const float* x, int64_t x_step, const float* b, int64_t b_row, float* y);
void gemv(int64_t n, int64_t k, const double* x, int64_t x_step, const double* b, int64_t b_row, double* y);
void panel_gemv(int64_t n, int64_t k, const float* x, const gemm::Panels<float>& b, float* y);
void panel_gemv(int64_t n, int64_t k, const double* x, const gemm::Panels<double>& b, double* y);
void dots(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, const float* b, int64_t b_row, float* c,
          int64_t c_row);
void dots(int64_t m, int64_t n, int64_t k, const double* a, int64_t a_row, const double* b, int64_t b_row, double* c,
          int64_t c_row);
void finish(int64_t m, int64_t n, float* c, int64_t c_row, const gemm::Epilogue<float>& epilogue);
void finish(int64_t m, int64_t n, double* c, int64_t c_row, const gemm::Epilogue<double>& epilogue);

namespace {

// NaN stays NaN.
template <class T>
inline Vec<T> relu(Vec<T> x) {
  return x < Vec<T>{} ? Vec<T>{} : x;
}

}  // namespace
}  // namespace NATIVE_ISA
}  // namespace native
