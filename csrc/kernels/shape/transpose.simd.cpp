// Transposes by tiles that are turned in registers.
#include "kernels/shape/transpose.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "simd/nontemporal.h"
#include "simd/vec.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// n vectors of n elements. Shuffles stay within lanes of 16 bytes as far as they can, which all instruction sets have.
template <class T, int bytes>
struct Square {
  static constexpr int kElements = bytes / static_cast<int>(sizeof(T)), kLane = 16 / static_cast<int>(sizeof(T));
  static constexpr int kLaneCount = bytes / 16;
  typedef T V __attribute__((vector_size(bytes)));
  typedef T Loose __attribute__((vector_size(bytes), aligned(alignof(T)), may_alias));
  using Each = std::make_integer_sequence<int, kElements>;

  static V get(const char* p) { return *reinterpret_cast<const Loose*>(p); }
  static void put(char* p, V v) { *reinterpret_cast<Loose*>(p) = v; }

  // The lower or upper halves of each lane, elements of a and b by turns.
  template <bool upper, int... i>
  static V interleave(V a, V b, std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(a, b,
                                   (i / kLane * kLane + upper * kLane / 2 + i % kLane / 2 + i % 2 * kElements)...);
  }
  // The even or odd lanes of a, then those of b.
  template <bool odd, int... i>
  static V every_other(V a, V b, std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(
        a, b, ((2 * (i / kLane) + odd) * kLane % kElements + i % kLane + (i >= kElements / 2 ? kElements : 0))...);
  }

  // Lanes change places as elements of a square of lanes; log2(n) perfect shuffles transpose what is in them.
  [[gnu::always_inline]] static inline void turn(V (&a)[kElements]) {
    V b[kElements];
#pragma GCC unroll 2
    for (int round = 1; round < kLaneCount; round *= 2) {
#pragma GCC unroll 16
      for (int p = 0; p < kLane; ++p) {
#pragma GCC unroll 2
        for (int c = 0; c < kLaneCount / 2; ++c) {
          const V even = a[2 * c * kLane + p], odd = a[(2 * c + 1) * kLane + p];
          b[c * kLane + p] = every_other<false>(even, odd, Each());
          b[(c + kLaneCount / 2) * kLane + p] = every_other<true>(even, odd, Each());
        }
      }
#pragma GCC unroll 64
      for (int i = 0; i < kElements; ++i) a[i] = b[i];
    }
#pragma GCC unroll 4
    for (int c = 0; c < kElements; c += kLane) {
#pragma GCC unroll 4
      for (int round = 1; round < kLane; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < kLane / 2; ++i) {
          b[2 * i] = interleave<false>(a[c + i], a[c + i + kLane / 2], Each());
          b[2 * i + 1] = interleave<true>(a[c + i], a[c + i + kLane / 2], Each());
        }
#pragma GCC unroll 16
        for (int i = 0; i < kLane; ++i) a[c + i] = b[i];
      }
    }
  }
};

// As many rows as give whole lines of the result, `width` bytes of each by vectors of `bytes`: whatever the strides
// are, every line is met once and at once, so that tiles do not fight for the same cache sets at powers of two. Where a
// line is a vector it goes from registers to the result.
template <class T, int bytes, int width>
[[gnu::always_inline]] inline void turn_lines(const char* src, int64_t src_row, char* dst, int64_t dst_row, bool far) {
  using S = Square<T, bytes>;
  constexpr int n = S::kElements, columns = width / static_cast<int>(sizeof(T)), line = static_cast<int>(kLineBytes);
  typename S::V a[n];
  alignas(64) char buffer[bytes == line ? 1 : columns * line];
  for (int at = 0; at < line; at += bytes, src += n * src_row)
    for (int j = 0; j < columns; j += n) {
#pragma GCC unroll 64
      for (int i = 0; i < n; ++i) a[i] = S::get(src + i * src_row + j * sizeof(T));
      S::turn(a);
#pragma GCC unroll 64
      for (int i = 0; i < n; ++i) {
        if constexpr (bytes != line)
          S::put(buffer + (j + i) * line + at, a[i]);
        else if (far)
          store_nontemporal(reinterpret_cast<T*>(dst + i * dst_row), a[i]);
        else
          S::put(dst + i * dst_row, a[i]);
      }
    }
  if constexpr (bytes != line)
    for (int j = 0; j < columns; ++j) {
      if (far)
        copy_nontemporal(dst + j * dst_row, buffer + j * line, line, {});
      else
        std::memcpy(dst + j * dst_row, buffer + j * line, line);
    }
}

template <class T>
[[gnu::noinline]] void copy_elements(const char* src, int64_t src_step, char* dst, int64_t dst_step, int64_t n) {
  for (int64_t i = 0; i < n; ++i) std::memcpy(dst + i * dst_step, src + i * src_step, sizeof(T));
}

// Tiles through a buffer, for whatever has no whole tiles of lines. Meanwhile the tile that comes `next` is asked for:
// its rows may be pages apart, where the processor fetches nothing by itself.
constexpr int64_t kTileBytes = 128, kTileAlong = 64;

template <class T>
void turn_through_buffer(const char* src, int64_t src_row, char* dst, int64_t dst_row, int64_t across, int64_t along,
                         const char* next, bool far) {
  using S = Square<T, 16>;
  constexpr int64_t n = S::kElements, size = sizeof(T), row = kTileAlong * size;
  alignas(64) char buffer[kTileBytes * kTileAlong];
  int64_t i = 0;
  for (; i + n <= along; i += n) {
    int64_t j = 0;
    for (; j + n <= across; j += n) {
      typename S::V a[n];
      for (int64_t k = 0; k < n; ++k) a[k] = S::get(src + (i + k) * src_row + j * size);
      S::turn(a);
      for (int64_t k = 0; k < n; ++k) S::put(buffer + (j + k) * row + i * size, a[k]);
    }
    for (; j < across; ++j)
      copy_elements<T>(src + i * src_row + j * size, src_row, buffer + j * row + i * size, size, n);
  }
  for (; i < along; ++i) copy_elements<T>(src + i * src_row, size, buffer + i * size, row, across);
  for (int64_t j = 0; j < across; ++j) {
    for (int64_t k = j; k < along; k += across)
      for (int64_t line = 0; line < kTileBytes; line += kLineBytes) __builtin_prefetch(next + k * src_row + line);
    if (far)
      copy_nontemporal(dst + j * dst_row, buffer + j * row, along * size, {});
    else if (along == kTileAlong)
      std::memcpy(dst + j * dst_row, buffer + j * row, row);
    else
      std::memcpy(dst + j * dst_row, buffer + j * row, along * size);
  }
}

template <class T>
void block_through_buffer(const char* src, int64_t src_row, char* dst, int64_t dst_row, int64_t across, int64_t along,
                          bool far) {
  constexpr int64_t size = sizeof(T), step = kTileBytes / size;
  for (int64_t i = 0; i < along; i += kTileAlong)
    for (int64_t j = 0; j < across; j += step) {
      const char* const tile = src + i * src_row + j * size;
      const char* const next = j + step < across ? tile + kTileBytes : src + (i + kTileAlong) * src_row;
      turn_through_buffer<T>(tile, src_row, dst + j * dst_row + i * size, dst_row, std::min(step, across - j),
                             std::min(kTileAlong, along - i), next, far);
    }
}

// Rows of the source side by side are as many streams as the processor fetches ahead by itself, so a strip is one
// tile high; short rows are fetched in any case, and several lines of the result one after the other are better.
constexpr int64_t kShortRow = 512;

template <class T, int bytes, int width>
void block_by_lines(const char* src, int64_t src_row, char* dst, int64_t dst_row, int64_t across, int64_t along,
                    int64_t head, bool far) {
  constexpr int64_t size = sizeof(T), columns = width / size, rows = static_cast<int64_t>(kLineBytes) / size;
  const int64_t strip = across * size <= kShortRow ? 4 * rows : rows;
  // The first and the last tiles overlap others where rows do not begin or end with a line.
  for (int64_t i = head == 0 ? 0 : head - rows; i < along; i += strip)
    for (int64_t column = 0; column < across; column += columns)
      for (int64_t row = i; row < std::min(i + strip, along); row += rows) {
        const int64_t k = std::max<int64_t>(0, std::min(row, along - rows)), j = std::min(column, across - columns);
        turn_lines<T, bytes, width>(src + k * src_row + j * size, src_row, dst + j * dst_row + k * size, dst_row,
                                    far && k == row);
      }
}

template <class T>
void block(const char* src, int64_t src_row, char* dst, int64_t dst_row, int64_t across, int64_t along, bool far) {
  constexpr int64_t line = kLineBytes, size = sizeof(T);
  const int64_t rest = -reinterpret_cast<intptr_t>(dst) & (line - 1);  // of the line in which the first row begins
  const bool lines = dst_row % line == 0 && rest % size == 0;
  if (across * size < (size < 4 ? line : 16) || along * size < line)
    return block_through_buffer<T>(src, src_row, dst, dst_row, across, along, far);
  // Bytes take too much code in long vectors, as all do in vectors of several registers, which only tests have.
  constexpr int bytes = size == 1 || (kVecBytes == line && !NATIVE_MASKS) ? 16 : kVecBytes;
  constexpr int half = std::min<int>(bytes, line / 2);
  auto by_lines = block_by_lines<T, bytes, line>;
  if constexpr (size >= 4)
    if (across * size < line)
      by_lines = across * size < half ? block_by_lines<T, 16, 16> : block_by_lines<T, half, half>;
  by_lines(src, src_row, dst, dst_row, across, along, lines ? rest / size : 0, far && lines);
}

// Whole vectors from a register, where a copy of what is there already would read as much as it writes. Vectors of a
// line do not read what they overwrite and gain nothing past the caches.
void fill(char* to, uint64_t pattern, int64_t bytes, bool far) {
  const vu64 v = splat(pattern);
  // As bytes: elements may be smaller than the pattern, and begin anywhere.
  const auto put = [&](int64_t at) { store(to + at, (Vec<char>)v); };
  int64_t at = 0;
  if (far && !NATIVE_MASKS && at_line(to))
    for (; at + kVecBytes <= bytes; at += kVecBytes) store_nontemporal(reinterpret_cast<uint64_t*>(to + at), v);
  else
    for (; at + kVecBytes <= bytes; at += kVecBytes) put(at);
  static_assert(kVecBytes <= TransposeTable::kShortestFill);
  // The last vector may overlap, as it is a whole number of elements away from the others.
  put(bytes - kVecBytes);
}

}  // namespace

extern const TransposeTable transpose_table;
const TransposeTable transpose_table = {{block<uint8_t>, block<uint16_t>, block<uint32_t>, block<uint64_t>}, fill};

}  // namespace NATIVE_ISA
}  // namespace native
