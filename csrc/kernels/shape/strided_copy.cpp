#include "kernels/shape/strided_copy.h"

#include <bit>
#include <cstring>
#include <limits>

#include "kernels/shape/tasks.h"
#include "runtime/cpu.h"
#include "simd/nontemporal.h"

namespace native {
namespace {

// Blocks of a transpose, the unit of work: the source's rows long enough to be streams.
constexpr int64_t kBlockAcrossBytes = 4096, kBlockAlong = 128;
constexpr int64_t kRowBlockBytes = 64 << 10;

template <size_t N>
struct Unsigned;
template <>
struct Unsigned<1> {
  using type = uint8_t;
};
template <>
struct Unsigned<2> {
  using type = uint16_t;
};
template <>
struct Unsigned<4> {
  using type = uint32_t;
};
template <>
struct Unsigned<8> {
  using type = uint64_t;
};

template <size_t N, class F>
void with_element(const F& body) {
  body(typename Unsigned<N>::type{});
}
template <class F>
void by_element(size_t element, const F& body) {
  switch (element) {
    case 1:
      return with_element<1>(body);
    case 2:
      return with_element<2>(body);
    case 4:
      return with_element<4>(body);
    default:
      return with_element<8>(body);
  }
}

template <class T>
T get(const char* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}
template <class T>
void put(char* p, T value) {
  std::memcpy(p, &value, sizeof(T));
}

template <class T>
void copy_elements(const char* src, int64_t src_stride, char* dst, int64_t dst_stride, int64_t n) {
  const int64_t s = src_stride * static_cast<int64_t>(sizeof(T)), d = dst_stride * static_cast<int64_t>(sizeof(T));
#pragma GCC unroll 8
  for (int64_t i = 0; i < n; ++i) put<T>(dst + i * d, get<T>(src + i * s));
}

template <class T>
void fill_row(const char* src, char* dst, int64_t n, bool far) {
  constexpr int64_t kFarFill = 8192, size = sizeof(T);
  constexpr uint64_t kEach = ~uint64_t{0} / std::numeric_limits<T>::max();  // 1 in each element of the pattern
  if (n * size < TransposeTable::kShortestFill) {
    for (int64_t i = 0; i < n; ++i) put<T>(dst + i * size, get<T>(src));
    return;
  }
  transpose_table().fill(dst, get<T>(src) * kEach, n * size, far && n * size >= kFarFill);
}

// Short rows are common (a pixel, a head) and too short for calls of memcpy.
template <size_t N>
void copy_short_rows(const char* src, int64_t src_row, char* dst, int64_t dst_row, int64_t rows) {
  for (int64_t j = 0; j < rows; ++j) std::memcpy(dst + j * dst_row, src + j * src_row, N);
}
// Past the caches piece by piece, while the next piece is asked for.
void copy_far(const char* src, int64_t src_row, char* dst, int64_t dst_row, int64_t rows, int64_t bytes) {
  constexpr int64_t kPiece = 2048;
  Ahead next{1, {}};
  for (int64_t j = 0; j < rows; ++j, src += src_row, dst += dst_row)
    for (int64_t at = 0; at < bytes; at += kPiece) {
      next.from[0] = at + kPiece < bytes ? src + at + kPiece : src + src_row;
      copy_nontemporal(dst + at, src + at, std::min(kPiece, bytes - at), next);
    }
}
void copy_rows(const char* src, int64_t src_row, char* dst, int64_t dst_row, int64_t rows, int64_t bytes, bool far) {
  if (far && bytes >= kFarRow) return copy_far(src, src_row, dst, dst_row, rows, bytes);
  switch (bytes) {
    case 8:
      return copy_short_rows<8>(src, src_row, dst, dst_row, rows);
    case 16:
      return copy_short_rows<16>(src, src_row, dst, dst_row, rows);
    case 32:
      return copy_short_rows<32>(src, src_row, dst, dst_row, rows);
    case 64:
      return copy_short_rows<64>(src, src_row, dst, dst_row, rows);
    case 128:
      return copy_short_rows<128>(src, src_row, dst, dst_row, rows);
    default:
      for (int64_t j = 0; j < rows; ++j) std::memcpy(dst + j * dst_row, src + j * src_row, bytes);
  }
}

}  // namespace

StridedCopy::StridedCopy(size_t element, const Shape& dims, const Shape& src_strides, const Shape& dst_strides) {
  std::vector<Axis> axes;
  int64_t count = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    count *= dims[i];
    if (dims[i] == 1) continue;
    const Axis axis{dims[i], src_strides[i], dst_strides[i]};
    // Neighbours that both layouts walk as one axis become one.
    if (!axes.empty() && axes.back().src == axis.src * axis.size && axes.back().dst == axis.dst * axis.size) {
      const int64_t size = axes.back().size * axis.size;
      axes.back() = {size, axis.src, axis.dst};
    } else {
      axes.push_back(axis);
    }
  }
  empty_ = count == 0;
  if (empty_) return;
  bytes_ = 2 * count * static_cast<int64_t>(element);
  far_ = is_far(bytes_ / 2);
  if (axes.empty()) axes.push_back({1, 1, 1});

  // Wide elements become pairs of 8-byte ones; narrow ones that always move in pairs become wider.
  while (element > 8) {
    for (Axis& a : axes) a.src *= 2, a.dst *= 2;
    axes.push_back({2, 1, 1});
    element /= 2;
  }
  while (element < 8 && axes.back().src == 1 && axes.back().dst == 1 && axes.back().size % 2 == 0) {
    bool even = true;
    for (size_t i = 0; i + 1 < axes.size(); ++i) even = even && axes[i].src % 2 == 0 && axes[i].dst % 2 == 0;
    if (!even) break;
    for (size_t i = 0; i + 1 < axes.size(); ++i) axes[i].src /= 2, axes[i].dst /= 2;
    element *= 2;
    axes.back().size /= 2;
    if (axes.back().size == 1 && axes.size() > 1) axes.pop_back();
  }
  element_ = element;

  along_ = axes.back();
  axes.pop_back();
  const int64_t size = static_cast<int64_t>(element);
  inner_ = Inner::Elements;
  if (along_.dst == 1 && along_.src == 1) inner_ = Inner::Rows;
  if (along_.dst == 1 && along_.src == 0) inner_ = Inner::Fill;
  if (inner_ == Inner::Elements && along_.dst == 1 && along_.size >= 4) {
    for (size_t i = 0; i < axes.size() && inner_ == Inner::Elements; ++i) {
      if (axes[i].src != 1 || axes[i].size < 4) continue;
      inner_ = Inner::Transpose;
      across_ = axes[i];
      axes.erase(axes.begin() + static_cast<int64_t>(i));
    }
  }
  if (inner_ == Inner::Transpose) {
    transpose_ = transpose_table().block[std::countr_zero(element)];
    across_block_ = kBlockAcrossBytes / size;
    along_block_ = kBlockAlong;
  } else {
    along_block_ = std::max<int64_t>(1, kRowBlockBytes / size);
    if (!axes.empty()) {
      across_ = axes.back();
      axes.pop_back();
      across_block_ = std::max<int64_t>(1, along_block_ / along_.size);
    }
  }
  outer_ = axes;
  units_ = ceil_div(across_.size, across_block_) * ceil_div(along_.size, along_block_);
  for (const Axis& a : outer_) units_ *= a.size;
}

void StridedCopy::run(const void* src, void* dst) const {
  if (empty_) return;
  parallel_ranges(units_, bytes_, [&](int64_t first, int64_t last) {
    units(static_cast<const char*>(src), static_cast<char*>(dst), first, last);
  });
}

// A unit is one block of the inner axes at one position of the outer ones; blocks vary fastest.
void StridedCopy::units(const char* src, char* dst, int64_t first, int64_t last) const {
  const int64_t size = static_cast<int64_t>(element_);
  const int64_t along_blocks = ceil_div(along_.size, along_block_);
  const int64_t blocks = ceil_div(across_.size, across_block_) * along_blocks;
  int64_t index[64], rest = first / blocks;
  const int rank = static_cast<int>(outer_.size());
  int64_t s = 0, d = 0;
  for (int i = rank - 1; i >= 0; --i) {
    index[i] = rest % outer_[i].size;
    rest /= outer_[i].size;
    s += index[i] * outer_[i].src;
    d += index[i] * outer_[i].dst;
  }
  by_element(element_, [&](auto zero) {
    using T = decltype(zero);
    int64_t block = first % blocks;
    for (int64_t unit = first; unit < last; ++unit) {
      const int64_t i = block % along_blocks * along_block_, n = std::min(along_block_, along_.size - i);
      const int64_t j = block / along_blocks * across_block_, rows = std::min(across_block_, across_.size - j);
      const int64_t src_row = across_.src * size, dst_row = across_.dst * size;
      const char* from = src + (s + i * along_.src) * size + j * src_row;
      char* to = dst + (d + i * along_.dst) * size + j * dst_row;
      switch (inner_) {
        case Inner::Rows:
          copy_rows(from, src_row, to, dst_row, rows, n * size, far_);
          break;
        case Inner::Transpose:
          transpose_(from, along_.src * size, to, dst_row, rows, n, far_);
          break;
        case Inner::Fill:
          for (int64_t r = 0; r < rows; ++r) fill_row<T>(from + r * src_row, to + r * dst_row, n, far_);
          break;
        case Inner::Elements:
          if (n < rows)
            for (int64_t k = 0; k < n; ++k)
              copy_elements<T>(from + k * along_.src * size, across_.src, to + k * along_.dst * size, across_.dst,
                               rows);
          else
            for (int64_t r = 0; r < rows; ++r)
              copy_elements<T>(from + r * src_row, along_.src, to + r * dst_row, along_.dst, n);
          break;
      }
      if (++block < blocks) continue;
      block = 0;
      for (int a = rank - 1; a >= 0; --a) {
        s += outer_[a].src;
        d += outer_[a].dst;
        if (++index[a] < outer_[a].size) break;
        s -= outer_[a].size * outer_[a].src;
        d -= outer_[a].size * outer_[a].dst;
        index[a] = 0;
      }
    }
  });
}

}  // namespace native
