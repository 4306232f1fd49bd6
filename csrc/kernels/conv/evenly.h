// Included by *.simd.cpp units only: internal linkage, as in simd/vec.h.
#pragma once

namespace native::conv {
namespace {

// Whether step `at` of `steps` is one of the `count` that lie evenly among them.
constexpr bool is_nth(int at, int steps, int count) { return at * count / steps != (at + 1) * count / steps; }

}  // namespace
}  // namespace native::conv
