// Vectors of which only some lanes may be inside: one loop serves whole vectors and the last channels, which fill none.
// Included by *.simd.cpp units only.
#pragma once

#include "simd/vec.h"

namespace native {
namespace {

// `lanes` elements, the other lanes zero; all of a vector unless Partial.
template <bool Partial, class T>
inline Vec<T> get(const T* from, int lanes) {
  return Partial ? load_part(from, lanes) : load(from);
}
template <bool Partial, class T>
inline void put(T* to, Vec<T> x, int lanes) {
  if (Partial)
    store_part(to, x, lanes);
  else
    store(to, x);
}

}  // namespace
}  // namespace native
