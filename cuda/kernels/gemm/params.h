// What a launch of a product is told. Plain data, for device and host.
#pragma once

#include "kernels/activation.h"
#include "kernels/tensor_map.h"
#include "kernels/types.h"

namespace native::cuda::gemm {

// A row-major matrix without gaps, or many.
struct Operand {
  const void* data;
  int64_t row;  // elements from one row to the next
  int aligned;  // rows are whole chunks of 16 bytes, from an address that is one
};

// Which matrices the z-th product of a batch takes: z is taken apart by `size`, last first.
constexpr int kBatchDims = 6;
struct Batch {
  int dims;
  int size[kBatchDims];
  int64_t a[kBatchDims], b[kBatchDims];  // elements
};

struct Epilogue {
  const void* bias;      // n elements, or null
  const void* residual;  // an element for each result, of their type, or null
  DataType bias_type, out_type;
  Activation activation;
};

// C[z, m, n] = epilogue(A * B). With several splits of k, C has float32 sums [splits, z, m, n] instead.
struct Params {
  Operand a, b;
  void* c;
  int m, n, k;
  int depth;  // terms of a split
  int products;
  int turned_a, turned_b;  // lie as [k, m] and [n, k]
  Batch batch;
  Epilogue epilogue;
};

// A product of warp groups. What a batch takes is counted in matrices, and operands are where the maps say; k is not
// split.
struct WarpgroupParams {
  TensorMap a, b, c;  // c if results are `copied`
  int tiles;          // of all products
  int copied;         // results are of the operands' type, in rows that bulk copies can write
  Params product;
};

// A product of bytes: sums are int32, or the lowest byte of them. Never split, and without an epilogue.
struct IntegerParams {
  Params product;
  int out_bytes;
};

// The second launch of a split product: C = epilogue(sum over the splits, in order).
struct JoinParams {
  const float* parts;
  void* c;
  int64_t elements;  // products * m * n
  int n, splits;
  Epilogue epilogue;
};

}  // namespace native::cuda::gemm
