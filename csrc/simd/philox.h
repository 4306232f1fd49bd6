// Philox4x32-10 (Salmon et al., 2011), one block of four words at a time: the counter is the block's index,
// so any element's bits can be had by themselves. Included by *.simd.cpp units only.
#pragma once

#include <stdint.h>

namespace native {
namespace {

static inline void philox_block(const uint32_t* key, uint64_t index, uint32_t* words) {
  uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32), c2 = 0, c3 = 0;
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

// A word w is kept by dropout at `rate` if w >= philox_threshold(rate).
static inline uint64_t philox_threshold(double rate) {
  return static_cast<uint64_t>(__builtin_nearbyint(rate * 4294967296.0));
}

}  // namespace
}  // namespace native
