#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/reduce/reduce.h"

namespace native {

// Rows are joined in strips of at most so many elements.
inline constexpr int64_t kJoinWidth = 512;

struct ScatterTable {
  // out[j] = base[j] joined with updates[order[k] * ld + j] for k < n, in this order, rounded once.
  // base == nullptr stands for the operation's identity.
  using Join = void (*)(const void* base, const void* updates, const uint32_t* order, int64_t n, int64_t ld,
                        int64_t width, void* out);
  Join join[kReduceOps][kReduceTypes];
};

NATIVE_BF16_TABLE(ScatterTable, scatter_table)

}  // namespace native
