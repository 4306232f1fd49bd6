// What a CUtensorMap says, in the emulator's own 128 bytes, and the walk over a box of it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace native::emulator {

// Bytes of a span within which 16-byte pieces change places; values as in CUtensorMapSwizzle.
enum class Swizzle : uint8_t { None, B32, B64, B128 };
// Where the byte at a shared address goes.
inline uint32_t swizzled(uint32_t address, Swizzle swizzle) {
  const uint32_t mask = (1u << static_cast<int>(swizzle)) - 1;
  return address ^ ((address >> 7 & mask) << 4);
}

struct TensorMap {
  uint64_t address = 0;
  std::array<uint64_t, 5> size{};    // elements, innermost first
  std::array<uint64_t, 5> stride{};  // bytes; the first is an element's
  std::array<uint32_t, 5> box{};
  uint32_t rank = 0;
  Swizzle swizzle = Swizzle::None;

  int element() const { return static_cast<int>(stride[0]); }
  uint32_t bytes() const;  // of a box
};

// Arguments as cuTensorMapEncodeTiled takes them; strides of all but the first dimension. Says what is wrong
// with them, or nothing.
struct TiledArguments {
  int type;
  uint32_t rank;
  uint64_t address;
  const uint64_t *sizes, *strides;
  const uint32_t *box, *element_strides;
  int interleave, swizzle, promotion, fill;
};
std::string encode(const TiledArguments& arguments, void* map);
// None if these bytes are no map.
std::optional<TensorMap> decode_map(const void* bytes);

// Calls piece(shared, first, last, global) for each 16 bytes of the box at `at`: where they lie in shared
// memory, and which of them [first, last) are inside the tensor, from that address on.
template <class Piece>
void each_piece(const TensorMap& map, const std::array<int32_t, 5>& at, uint32_t shared, Piece piece) {
  const int64_t element = map.element(), row_bytes = map.box[0] * element;
  const int64_t left = std::clamp<int64_t>(-int64_t{at[0]} * element, 0, row_bytes);
  const int64_t right = std::clamp<int64_t>((static_cast<int64_t>(map.size[0]) - at[0]) * element, 0, row_bytes);
  uint64_t rows = 1;
  for (uint32_t n = 1; n < map.rank; ++n) rows *= map.box[n];
  for (uint64_t row = 0; row < rows; ++row) {
    bool inside = true;
    uint64_t global = map.address + static_cast<uint64_t>(at[0] * element), rest = row;
    for (uint32_t n = 1; n < map.rank; ++n) {
      const int64_t index = at[n] + static_cast<int64_t>(rest % map.box[n]);
      rest /= map.box[n];
      inside = inside && index >= 0 && static_cast<uint64_t>(index) < map.size[n];
      global += static_cast<uint64_t>(index) * map.stride[n];
    }
    for (int64_t from = 0; from < row_bytes; from += 16) {
      const int64_t first = std::clamp<int64_t>(left - from, 0, 16), last = std::clamp<int64_t>(right - from, 0, 16);
      const bool any = inside && first < last;
      const uint32_t target = swizzled(shared + static_cast<uint32_t>(row * row_bytes + from), map.swizzle);
      piece(target, any ? static_cast<int>(first) : 0, any ? static_cast<int>(last) : 0,
            global + static_cast<uint64_t>(from + first));
    }
  }
}

}  // namespace native::emulator
