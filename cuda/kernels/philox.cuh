// Philox4x32-10, the counter-based generator of all random numbers.
#pragma once

#include <stdint.h>

namespace native::cuda {

// The four words of block (block, 0, 0).
__device__ inline uint4 philox(const uint32_t* key, uint64_t block) {
  uint32_t k0 = key[0], k1 = key[1];
  uint4 c{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), 0, 0};
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t low0 = c.x * 0xD2511F53u, high0 = __umulhi(c.x, 0xD2511F53u);
    const uint32_t low1 = c.z * 0xCD9E8D57u, high1 = __umulhi(c.z, 0xCD9E8D57u);
    c = {high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

}  // namespace native::cuda
