#include "emulator/tensor_map.h"

#include <cstring>

namespace native::emulator {
namespace {

constexpr int kElementTypes = 13;
constexpr int kElement[kElementTypes] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};  // bytes, by CUtensorMapDataType

// The 128 bytes.
struct Encoded {
  char mark[8];
  uint64_t address;
  uint64_t stride[4];
  uint32_t last[5];  // sizes less one
  uint16_t box[5];
  uint8_t rank, type, swizzle, unused;
  uint64_t sum;
  uint8_t rest[128 - 96];
};
static_assert(sizeof(Encoded) == 128);
constexpr char kMark[8] = {'t', 'e', 'n', 's', 'o', 'r', 'm', 'p'};

uint64_t sum_of(const Encoded& e) {
  uint64_t sum = 14695981039346656037u;
  for (size_t k = 0; k < offsetof(Encoded, sum); ++k)
    sum = (sum ^ reinterpret_cast<const uint8_t*>(&e)[k]) * 1099511628211u;
  return sum;
}

std::string wrong(const char* what, uint64_t value, const std::string& rule) {
  return std::string(what) + " " + std::to_string(value) + ": " + rule;
}
std::string wrong(const char* what, uint32_t dimension, uint64_t value, const std::string& rule) {
  return std::string(what) + "[" + std::to_string(dimension) + "] " + std::to_string(value) + ": " + rule;
}

std::string check_sizes(const TiledArguments& a) {
  for (uint32_t n = 0; n < a.rank; ++n) {
    if (a.sizes[n] == 0 || a.sizes[n] > uint64_t{1} << 32) return wrong("globalDim", n, a.sizes[n], "1 to 2^32");
    if (a.box[n] == 0 || a.box[n] > 256) return wrong("boxDim", n, a.box[n], "1 to 256");
    if (a.element_strides[n] == 0 || a.element_strides[n] > 8)
      return wrong("elementStrides", n, a.element_strides[n], "1 to 8");
    if (a.element_strides[n] != 1)
      return wrong("elementStrides", n, a.element_strides[n], "the emulator knows only strides of one");
  }
  for (uint32_t n = 0; n + 1 < a.rank; ++n)
    if (a.strides[n] % 16 || a.strides[n] >= uint64_t{1} << 40)
      return wrong("globalStrides", n, a.strides[n], "a multiple of 16 below 2^40");
  return {};
}

std::string check(const TiledArguments& a) {
  if (a.type < 0 || a.type >= kElementTypes) return wrong("tensorDataType", a.type, "unknown");
  if (a.rank < 1 || a.rank > 5) return wrong("tensorRank", a.rank, "1 to 5");
  if (a.address % 16) return wrong("globalAddress", a.address, "a multiple of 16");
  if (a.interleave != 0) return wrong("interleave", a.interleave, "the emulator knows only tensors without");
  if (a.swizzle < 0 || a.swizzle > 3) return wrong("swizzle", a.swizzle, "unknown");
  if (a.promotion < 0 || a.promotion > 3) return wrong("l2Promotion", a.promotion, "unknown");
  if (a.fill != 0) return wrong("oobFill", a.fill, "the emulator knows only zeros");
  if (std::string why = check_sizes(a); !why.empty()) return why;
  const uint32_t inner = a.box[0] * kElement[a.type], span = 16u << a.swizzle;
  if (inner % 16) return wrong("boxDim[0]", a.box[0], "its bytes must be a multiple of 16");
  if (a.swizzle && inner > span)
    return wrong("boxDim[0]", a.box[0], "more than the " + std::to_string(span) + " bytes of the swizzle");
  if (a.swizzle && inner < span)
    return wrong("boxDim[0]", a.box[0],
                 "the emulator knows only boxes that fill the " + std::to_string(span) + " bytes of the swizzle");
  return {};
}

}  // namespace

uint32_t TensorMap::bytes() const {
  uint32_t n = element();
  for (uint32_t k = 0; k < rank; ++k) n *= box[k];
  return n;
}

std::string encode(const TiledArguments& a, void* map) {
  if (reinterpret_cast<uintptr_t>(map) % 64) return "tensorMap must lie at a multiple of 64 bytes";
  if (std::string why = check(a); !why.empty()) return why;
  Encoded e;
  std::memset(&e, 0, sizeof e);  // what lies between the members counts
  std::memcpy(e.mark, kMark, sizeof kMark);
  e.address = a.address;
  for (uint32_t n = 0; n < a.rank; ++n) {
    e.last[n] = static_cast<uint32_t>(a.sizes[n] - 1);
    e.box[n] = static_cast<uint16_t>(a.box[n]);
    if (n > 0) e.stride[n - 1] = a.strides[n - 1];
  }
  e.rank = static_cast<uint8_t>(a.rank);
  e.type = static_cast<uint8_t>(a.type);
  e.swizzle = static_cast<uint8_t>(a.swizzle);
  e.sum = sum_of(e);
  std::memcpy(map, &e, sizeof e);
  return {};
}

std::optional<TensorMap> decode_map(const void* bytes) {
  Encoded e;
  std::memcpy(&e, bytes, sizeof e);
  if (std::memcmp(e.mark, kMark, sizeof kMark) != 0 || e.sum != sum_of(e)) return std::nullopt;
  TensorMap map;
  map.address = e.address;
  map.rank = e.rank;
  map.swizzle = static_cast<Swizzle>(e.swizzle);
  map.stride[0] = kElement[e.type];
  for (uint32_t n = 0; n < e.rank; ++n) {
    map.size[n] = uint64_t{e.last[n]} + 1;
    map.box[n] = e.box[n];
    if (n > 0) map.stride[n] = e.stride[n - 1];
  }
  return map;
}

}  // namespace native::emulator
