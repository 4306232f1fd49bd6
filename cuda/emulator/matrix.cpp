// ldmatrix and mma. Which lane holds which element is written down here from the PTX manual's figures,
// as functions of lane and index within the fragment.
#include <algorithm>
#include <cmath>

#include "emulator/lanes.h"
#include "emulator/number.h"

namespace native::emulator {
namespace {

void need_all(Warp& w, uint32_t m) {
  if (m != kFull) w.fail(Fault::SyncMask, first_lane(~m), 0, "all 32 threads of the warp must take part");
}

// i.a: transposed. Lane 8k + r names row r of matrix k; lane l receives elements 2(l % 4) and the next of
// row l / 4, or of column l / 4.
void ldmatrix(Warp& w, const Instr& i, uint32_t m) {
  need_all(w, m);
  const uint64_t* base = w.lane(i.s[0]);
  for (int k = 0; k < i.nd; ++k) {
    uint16_t matrix[8][8];
    uint64_t addresses[kLanes] = {};
    for (int r = 0; r < 8; ++r) {
      const int l = 8 * k + r;
      addresses[r] = base[l] + static_cast<uint64_t>(i.offset);
      if (!(w.valid[i.s[0]] >> l & 1)) w.fail(Fault::Uninitialised, l, 0, "the address of a row was never written");
      const Bytes b = touch(w, i.space, l, addresses[r], 16, Use::Read);
      if (b.space != ptx::Space::Shared) w.fail(Fault::OutOfBounds, l, addresses[r], "ldmatrix reads shared memory");
      if (!std::all_of(b.written, b.written + 16, [](uint8_t x) { return x != 0; }))
        w.report(Fault::Uninitialised, l, addresses[r], "shared memory is read that nothing was written to");
      std::memcpy(matrix[r], b.data, 16);
      addresses[r] &= kWindowBytes - 1;
    }
    count_shared(w.count(), addresses, 0xFF, 16);
    uint64_t* d = w.lane(i.d[k]);
    for (int l = 0; l < kLanes; ++l) {
      const int major = l / 4, minor = 2 * (l % 4);
      const uint16_t low = i.a ? matrix[minor][major] : matrix[major][minor];
      const uint16_t high = i.a ? matrix[minor + 1][major] : matrix[major][minor + 1];
      d[l] = uint32_t(high) << 16 | low;
    }
  }
}

enum Element { kHalf, kBfloat, kTf32, kS8, kU8 };

// Calls use(value) with what gives the value of an element within a register.
template <class Use>
void with_element(int type, Use use) {
  switch (type) {
    case kHalf:
      return use([](uint64_t bits, int within) { return half_value(uint16_t(bits >> (16 * within))); });
    case kBfloat:
      return use([](uint64_t bits, int within) { return bfloat_value(uint16_t(bits >> (16 * within))); });
    case kTf32:  // the lower bits are ignored
      return use([](uint64_t bits, int) { return double{get<float>(bits & 0xFFFFE000u)}; });
    case kS8:
      return use([](uint64_t bits, int within) { return double(int8_t(bits >> (8 * within))); });
    default:
      return use([](uint64_t bits, int within) { return double(uint8_t(bits >> (8 * within))); });
  }
}

// A register holds `per` elements along k; of A, registers alternate between rows 8 apart.
void decode_a(Warp& w, const Instr& i, int type, int registers, int per, double (*a)[32]) {
  const int rows = 2;
  with_element(type, [&](auto value) {
    for (int r = 0; r < registers; ++r) {
      const uint64_t* bits = w.lane(i.s[r]);
      for (int l = 0; l < kLanes; ++l) {
        double* to = a[(l >> 2) + 8 * (r % rows)] + ((l & 3) + r / rows * 4) * per;
        for (int e = 0; e < per; ++e) to[e] = value(bits[l], e);
      }
    }
  });
}
void decode_b(Warp& w, const Instr& i, int first, int type, int registers, int per, double (*b)[8]) {
  with_element(type, [&](auto value) {
    for (int r = 0; r < registers; ++r) {
      const uint64_t* bits = w.lane(i.s[first + r]);
      for (int l = 0; l < kLanes; ++l)
        for (int e = 0; e < per; ++e) b[((l & 3) + r * 4) * per + e][l >> 2] = value(bits[l], e);
    }
  });
}

// i.a: k; i.b: element types of A and of B, 8 bits each; i.c: accumulator 0 float, 1 half, 2 int, 3 int
// that saturates.
void mma(Warp& w, const Instr& i, uint32_t m) {
  need_all(w, m);
  const int k = i.a, type_a = i.b & 0xFF, type_b = i.b >> 8;
  const int per = type_a == kTf32 ? 1 : type_a == kHalf || type_a == kBfloat ? 2 : 4;
  const int registers_a = 16 * k / kLanes / per, registers_b = 8 * k / kLanes / per;
  double a[16][32], b[32][8], products[16][8] = {};
  decode_a(w, i, type_a, registers_a, per, a);
  decode_b(w, i, registers_a, type_b, registers_b, per, b);
  for (int row = 0; row < 16; ++row)
    for (int x = 0; x < k; ++x)
      for (int column = 0; column < 8; ++column) products[row][column] += a[row][x] * b[x][column];
  const int c = registers_a + registers_b;
  for (int l = 0; l < kLanes; ++l) {
    double sums[4];  // two neighbours of a row, and of the one 8 below it
    for (int n = 0; n < 4; ++n) sums[n] = products[(l >> 2) + 8 * (n >> 1)][(l & 3) * 2 + (n & 1)];
    if (i.c == 1) {
      for (int r = 0; r < 2; ++r) {
        const uint64_t old = w.lane(i.s[c + r])[l];
        w.lane(i.d[r])[l] = uint64_t(to_half(sums[2 * r] + half_value(uint16_t(old)))) |
                            uint64_t(to_half(sums[2 * r + 1] + half_value(uint16_t(old >> 16)))) << 16;
      }
      continue;
    }
    for (int n = 0; n < 4; ++n) {
      const uint64_t old = w.lane(i.s[c + n])[l];
      uint64_t& d = w.lane(i.d[n])[l];
      if (i.c == 0) {
        float r = static_cast<float>(sums[n] + get<float>(old));
        if (std::isnan(r)) r = canonical_nan<float>();
        d = put(r);
      } else {
        int64_t r = static_cast<int64_t>(sums[n]) + int32_t(old);
        if (i.c == 3) r = std::clamp<int64_t>(r, INT32_MIN, INT32_MAX);
        d = uint32_t(r);
      }
    }
  }
}

int element_type(Decoder& d) {
  switch (d.take_type()) {
    case Type::F16:
      return kHalf;
    case Type::BF16:
      return kBfloat;
    case Type::TF32:
      return kTf32;
    case Type::S8:
      return kS8;
    case Type::U8:
      return kU8;
    default:
      d.refuse("unknown element type");
  }
}

void build_mma(Decoder& d, Instr& i) {
  d.take("sync");
  d.take("aligned");
  const int shape = d.take_one({"m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32"});
  if (shape < 0) d.refuse("unknown shape");
  i.a = 4 << shape;
  if (!d.take("row") || !d.take("col")) d.refuse("only .row.col is known");
  const bool saturates = d.take("satfinite");
  if (d.text().modifiers.back() != "s32" && saturates) d.refuse("only .s32 saturates");
  // Types of D, A, B, C in this order: accumulators are f32, f16 or s32.
  const auto& modifiers = d.text().modifiers;
  const std::string& last = modifiers.back();
  const bool half = last == "f16", integer = last == "s32";
  if (!half && !integer && last != "f32") d.refuse("unknown accumulator");
  d.take(last.c_str());
  const int a = element_type(d), b = element_type(d);
  if (!d.take(last.c_str())) d.refuse("C and D must have one type");
  i.b = a | b << 8;
  i.c = half ? 1 : integer ? (saturates ? 3 : 2) : 0;
  const bool bytes = a == kS8 || a == kU8;
  const bool fits = a == kTf32 ? i.a == 4 || i.a == 8 : bytes ? i.a >= 16 : i.a == 8 || i.a == 16;
  const bool pairs = bytes ? b == kS8 || b == kU8 : a == b;
  if (!fits || !pairs || integer != bytes || (half && a != kHalf)) d.refuse("no such combination of shape and types");
  i.kind = Class::Tensor;
  d.destination(i, 0, Type::B32);
  d.sources(i, 1, 3, Type::B32);
  const int per = a == kTf32 ? 1 : bytes ? 4 : 2;
  const int of_a = 16 * i.a / kLanes / per, sums = half ? 2 : 4;
  for (const auto& [n, count] : {std::pair{0, sums}, {1, of_a}, {2, of_a / 2}, {3, sums}})
    if (std::max<int>(static_cast<int>(d.operand(n).items.size()), 1) != count)
      d.refuse("the number of registers does not fit");
  i.strict = i.ns;
  i.run = mma;
}

}  // namespace

void add_matrix(Opcodes& table) {
  table["mma"] = build_mma;
  table["ldmatrix"] = [](Decoder& d, Instr& i) {
    d.take("sync");
    d.take("aligned");
    if (!d.take("m8n8") || !d.take("b16")) d.refuse("only .m8n8 of .b16 is known");
    const int doublings = d.take_one({"x1", "x2", "x4"});
    if (doublings < 0) d.refuse("the number of matrices is missing");
    i.a = d.take("trans");
    i.space = d.take_one({"shared", "shared::cta"}) >= 0 ? ptx::Space::Shared : ptx::Space::Generic;
    i.kind = Class::Shared;
    d.destination(i, 0, Type::B32);
    d.address(i, 1);
    if (i.nd != 1 << doublings) d.refuse("the number of registers does not fit");
    i.run = ldmatrix;
  };
}

}  // namespace native::emulator
