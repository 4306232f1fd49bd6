#include "kernels/gemm/problem.h"

#include <utility>

#include "kernels/activation_named.h"

namespace native::gemm {
namespace {

// Index of the operand's matrix for every element of the broadcast batch.
std::vector<int64_t> broadcast_index(const Shape& operand, const Shape& out) {
  const size_t rank = out.size() - 2, own = operand.size() - 2;
  Shape strides(rank, 0);
  int64_t stride = 1;
  for (size_t d = own; d-- > 0;) {
    if (operand[d] != 1) strides[rank - own + d] = stride;
    stride *= operand[d];
  }
  std::vector<int64_t> index{0};
  for (size_t d = 0; d < rank; ++d) {
    std::vector<int64_t> next;
    next.reserve(index.size() * static_cast<size_t>(out[d]));
    for (int64_t base : index)
      for (int64_t i = 0; i < out[d]; ++i) next.push_back(base + i * strides[d]);
    index = std::move(next);
  }
  return index;
}

int64_t batch_of(const Shape& shape) {
  int64_t batch = 1;
  for (size_t d = 0; d + 2 < shape.size(); ++d) batch *= shape[d];
  return batch;
}

}  // namespace

Matrices matmul_matrices(const Problem& problem) {
  const Shape &a = problem.in[0].shape, &b = problem.in[1].shape, &c = problem.out[0].shape;
  Matrices r{};
  r.transpose_a = problem.attrs.integer("transpose_a", 0) != 0;
  r.transpose_b = problem.attrs.integer("transpose_b", 0) != 0;
  r.m = c[c.size() - 2];
  r.n = c[c.size() - 1];
  r.k = r.transpose_a ? a[a.size() - 2] : a[a.size() - 1];
  r.batch = batch_of(c);
  if (batch_of(b) == 1 && !r.transpose_a && r.batch > 0 && batch_of(a) == r.batch) {
    // One B for all: the rows of all of A are rows of one product.
    r.m *= r.batch;
    r.batch = 1;
  }
  if (r.batch > 1) {
    r.index_a = broadcast_index(a, c);
    r.index_b = broadcast_index(b, c);
  }
  return r;
}

Matrices linear_matrices(const Problem& problem) {
  const Shape& out = problem.out[0].shape;
  Matrices r{};
  r.batch = 1;
  r.n = out.back();
  r.m = 1;
  for (size_t d = 0; d + 1 < out.size(); ++d) r.m *= out[d];
  r.k = problem.in[0].shape.back();
  r.transpose_b = problem.attrs.integer("transpose_w", 0) != 0;
  return r;
}

std::optional<Activation> activation_of(const Problem& problem) {
  return activation_named(problem.attrs.text("activation", "none"));
}

}  // namespace native::gemm
