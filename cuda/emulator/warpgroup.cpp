// wgmma: products of four warps, with operands in shared memory. Each warp computes its 16 rows when it comes
// to the instruction; that memory and registers are not touched before the wait is checked, so that it makes no
// difference when the GPU does.
#include <algorithm>
#include <cmath>

#include "emulator/lanes.h"
#include "emulator/number.h"
#include "emulator/tensor_map.h"

namespace native::emulator {
namespace {

constexpr int kDepth = 16, kWarpsTogether = 4;

// A matrix in shared memory, as the manual's table of descriptors has it.
struct Descriptor {
  uint32_t start, leading, stride;  // bytes
  Swizzle swizzle;
  bool outer_major;  // transposed: neighbours in memory differ in the row of A or the column of B

  // Of the eight 16-bit elements from (outer, k) on that lie together: along k, or along the other dimension.
  uint32_t address(int outer, int k) const {
    const uint32_t span = 16u << static_cast<int>(swizzle);
    uint32_t at = start;
    if (outer_major) {
      const uint32_t piece = outer / 8, pieces = span / 16;
      const bool plain = swizzle == Swizzle::None;
      at += piece % pieces * 16 + piece / pieces * (plain ? stride : leading);
      at += k % 8 * span + k / 8 * (plain ? leading : stride);
    } else {
      at += outer % 8 * span + outer / 8 * stride;
      at += k / 8 * (swizzle == Swizzle::None ? leading : 16);
    }
    return swizzled(at, swizzle);
  }
};

// The 64 bits: address, leading and stride offset, each without its lower four bits, and the swizzle.
Descriptor descriptor(Warp& w, uint64_t bits, bool outer_major) {
  constexpr uint64_t kUsed = 0xC000'3FFF'3FFF'3FFF, kBaseOffset = uint64_t{7} << 49;
  constexpr Swizzle kSwizzles[] = {Swizzle::None, Swizzle::B128, Swizzle::B64, Swizzle::B32};
  if (bits & kBaseOffset) w.fail(Fault::Alignment, 0, bits, "the emulator knows only descriptors with base offset 0");
  if (bits & ~kUsed) w.fail(Fault::Alignment, 0, bits, "the descriptor has bits set that mean nothing");
  auto field = [&](int from) { return static_cast<uint32_t>(bits >> from & 0x3FFF) << 4; };
  const Descriptor d{field(0), field(16), field(32), kSwizzles[bits >> 62], outer_major};
  const uint32_t rows = (1u << static_cast<int>(d.swizzle)) - 1;
  if (d.start >> 7 & rows)
    w.fail(Fault::Misaligned, 0, d.start,
           "the swizzle's pattern must begin at a multiple of " + std::to_string(128 * (rows + 1)) + " bytes");
  return d;
}

// Reads eight elements of 16 bits.
void read_piece(Warp& w, const Access& me, uint32_t at, uint16_t* elements) {
  Block& b = *w.block;
  if (at + 16 > b.shared.size())
    w.fail(Fault::OutOfBounds, 0, at, "16 bytes in " + std::to_string(b.shared.size()) + " bytes of shared memory");
  read_by_proxy(w, at, me);
  if (!std::all_of(&b.written[at], &b.written[at] + 16, [](uint8_t x) { return x != 0; }))
    w.report(Fault::Uninitialised, 0, at, "shared memory is read that nothing was written to");
  std::memcpy(elements, &b.shared[at], 16);
}

// [outer - from, k] of a matrix with elements [from, to) along its outer dimension.
void read_matrix(Warp& w, const Access& me, const Descriptor& d, int from, int to, uint16_t* elements) {
  uint16_t piece[8];
  for (int outer = from; outer < to; outer += d.outer_major ? 8 : 1)
    for (int k = 0; k < kDepth; k += d.outer_major ? 1 : 8) {
      read_piece(w, me, d.address(outer, k), piece);
      for (int n = 0; n < 8; ++n)
        elements[d.outer_major ? (outer - from + n) * kDepth + k : (outer - from) * kDepth + k + n] = piece[n];
    }
}

// i.a: columns; i.b: flags.
enum Flag {
  kOfBfloat = 1,
  kRegistersA = 2,
  kNegativeA = 4,
  kNegativeB = 8,
  kTurnedA = 16,
  kTurnedB = 32,
  kAdds = 64,
  kNotAdds = 128
};

// The instruction as all four warps must give it: the first says which it is.
void agree(Warp& w, const Instr& i, uint64_t a, uint64_t b) {
  auto& issued = w.block->issued[w.index / kWarpsTogether];
  const uint32_t n = w.products.issued++;
  if (n == issued.size()) issued.push_back({w.pc, a, b});
  const Issued& first = issued[n];
  if (first.pc != w.pc)
    w.fail(Fault::SyncMask, 0, 0,
           "another warp of the warpgroup is at the wgmma at " + w.program->source(first.pc) + " instead");
  if (first.b != b || (!(i.b & kRegistersA) && first.a != a))
    w.fail(Fault::SyncMask, 0, 0, "the warps of the warpgroup give different descriptors");
}

uint64_t uniform(Warp& w, int slot, const char* what) {
  const uint64_t* v = w.lane(slot);
  for (int l = 1; l < kLanes; ++l)
    if (v[l] != v[0]) w.fail(Fault::SyncMask, l, 0, std::string(what) + " differs between threads of the warp");
  return v[0];
}

// Registers that other instructions had since the last fence.
void check_fence(Warp& w, const Instr& i) {
  const Products& p = w.products;
  auto check = [&](int slot, uint32_t used) {
    if (used > p.fence)
      w.report(Fault::ProductOrder, 0, 0,
               "register " + w.program->slot_names[slot] + " was used since the last wgmma.fence");
  };
  for (int slot : i.sums) check(slot, p.touched[slot]);
  for (int n = 0; i.b & kRegistersA && n < 4; ++n) {
    check(i.s[n], p.written[i.s[n]]);  // who reads them too does no harm
    if (p.sums[i.s[n]] > p.waited)
      w.report(Fault::ProductOrder, 0, 0,
               "reads the sum " + w.program->slot_names[i.s[n]] + ", and that wgmma was not waited for");
  }
}
void take_registers(Warp& w, const Instr& i) {
  Products& p = w.products;
  for (int slot : i.sums) p.sums[slot] = p.committed + 1;
  for (int n = 0; i.b & kRegistersA && n < 4; ++n) p.operands[i.s[n]] = p.committed + 1;
}

// As mma's: two elements in each register, of rows l / 4 and 8 further.
void fragment_a(Warp& w, const Instr& i, uint16_t (*a)[kDepth]) {
  for (int r = 0; r < 4; ++r)
    for (int l = 0; l < kLanes; ++l)
      for (int n = 0; n < 2; ++n)
        a[l / 4 + r % 2 * 8][l % 4 * 2 + r / 2 * 8 + n] = static_cast<uint16_t>(w.lane(i.s[r])[l] >> (16 * n));
}

// Whether sums are added to; the same for all.
bool adds(Warp& w, const Instr& i) {
  if (i.b & (kAdds | kNotAdds)) return i.b & kAdds;
  const uint32_t p = w.predicates[i.s[i.ns - 1]] ^ (i.c ? kFull : 0);
  if (p != 0 && p != kFull) w.fail(Fault::SyncMask, first_lane(~p), 0, "scale-d differs between threads of the warp");
  return p != 0;
}

void multiply(const uint16_t (*a)[kDepth], const uint16_t* b, int columns, int flags, double (*sums)[256]) {
  auto value = [&](uint16_t bits) { return flags & kOfBfloat ? bfloat_value(bits) : half_value(bits); };
  const double sign = ((flags & kNegativeA) != 0) != ((flags & kNegativeB) != 0) ? -1.0 : 1.0;
  double right[kDepth][256];
  for (int n = 0; n < columns; ++n)
    for (int k = 0; k < kDepth; ++k) right[k][n] = value(b[n * kDepth + k]);
  for (int r = 0; r < 16; ++r) {
    std::fill_n(sums[r], columns, 0.0);
    for (int k = 0; k < kDepth; ++k) {
      const double left = sign * value(a[r][k]);
      for (int n = 0; n < columns; ++n) sums[r][n] += left * right[k][n];
    }
  }
}

void mma_async(Warp& w, const Instr& i, uint32_t m) {
  need_warpgroup(w, m);
  check_fence(w, i);
  const bool registers = i.b & kRegistersA, add = adds(w, i);
  const uint64_t bits_a = registers ? 0 : uniform(w, i.s[0], "A's descriptor");
  const uint64_t bits_b = uniform(w, i.s[registers ? 4 : 1], "B's descriptor");
  agree(w, i, bits_a, bits_b);
  Access me = w.access(0, false);
  me.warp = static_cast<int16_t>(kFirstGroup + w.index / kWarpsTogether);
  me.stamp = w.products.committed + 1;
  uint16_t a[16][kDepth], b[256 * kDepth];
  const int row = w.index % kWarpsTogether * 16;
  if (registers)
    fragment_a(w, i, a);
  else
    read_matrix(w, me, descriptor(w, bits_a, i.b & kTurnedA), row, row + 16, a[0]);
  read_matrix(w, me, descriptor(w, bits_b, i.b & kTurnedB), 0, i.a, b);
  static thread_local double sums[16][256];
  multiply(a, b, i.a, i.b, sums);
  for (size_t r = 0; r < i.sums.size(); ++r) {
    const int slot = i.sums[r];
    if (const uint32_t bad = add ? ~w.valid[slot] : 0)
      w.report(Fault::Uninitialised, first_lane(bad), 0,
               "operand " + w.program->slot_names[slot] + " depends on what nothing was written to");
    uint64_t* d = w.lane(slot);
    for (int l = 0; l < kLanes; ++l) {
      const double sum = sums[l / 4 + r / 2 % 2 * 8][r / 4 * 8 + l % 4 * 2 + r % 2];
      const float result = static_cast<float>(add ? sum + get<float>(d[l]) : sum);
      d[l] = put(std::isnan(result) ? canonical_nan<float>() : result);
    }
    w.valid[slot] = kFull;
  }
  take_registers(w, i);
}

void fence(Warp& w, const Instr&, uint32_t m) {
  need_warpgroup(w, m);
  w.products.fence = w.serial;
}

void commit_products(Warp& w, const Instr&, uint32_t m) {
  need_warpgroup(w, m);
  ++w.products.committed;
  happened(*w.block, Warp::Poll::Products);
}

// A group is over when all four warps have come to it. i.a: groups that may be under way.
void wait_for_products(Warp& w, const Instr& i, uint32_t m) {
  need_warpgroup(w, m);
  Products& p = w.products;
  if (p.committed <= static_cast<uint32_t>(i.a)) return;
  const uint32_t group = p.committed - i.a;
  const int first = w.index / kWarpsTogether * kWarpsTogether;
  for (int n = first; n < first + kWarpsTogether; ++n)
    if ((*w.block->warps)[n].products.committed < group) return w.again(Warp::Poll::Products);
  p.waited = std::max(p.waited, group);
  uint32_t& known = w.clock.known[kFirstGroup + w.index / kWarpsTogether];
  known = std::max(known, group);
}

int take_columns(Decoder& d) {
  for (int n = 8; n <= 256; n += 8)
    if (d.take(("m64n" + std::to_string(n) + "k16").c_str())) return n;
  d.refuse("only shapes m64nNk16 are known, N a multiple of 8 up to 256");
}

// 1 or -1; 0 or 1.
bool second_of(Decoder& d, size_t n, uint64_t first, uint64_t second) {
  const uint64_t v = d.immediate(n);
  if (v != first && v != second) d.refuse("operand " + std::to_string(n) + " has no such value");
  return v == second;
}

// d, a or a's descriptor, b's descriptor, scale-d, imm-scale-a, imm-scale-b, {imm-trans-a,} imm-trans-b
void build_wgmma(Decoder& d, Instr& i) {
  i.a = take_columns(d);
  if (!d.take("f32")) d.refuse("only sums of f32 are known");
  const bool bfloat = d.take("bf16");
  if (bfloat ? !d.take("bf16") : !d.take("f16") || !d.take("f16"))
    d.refuse("only products of two bf16 or f16 are known");
  i.b = bfloat ? kOfBfloat : 0;
  d.accumulators(i, 0, i.a / 2);
  const bool registers = d.operand(1).kind == ptx::Operand::Kind::Vector;
  if (registers) i.b |= kRegistersA;
  d.source(i, 1, registers ? Type::B32 : Type::B64);
  if (registers && i.ns != 4) d.refuse("A takes four registers");
  d.source(i, 2, Type::B64);
  const ptx::Operand& scale = d.operand(3);
  if (scale.kind == ptx::Operand::Kind::Immediate) {
    i.b |= second_of(d, 3, 0, 1) ? kAdds : kNotAdds;
  } else {
    d.source(i, 3, Type::Pred);
    i.c = scale.negated;
  }
  const uint64_t minus = ~uint64_t{0};
  if (second_of(d, 4, 1, minus)) i.b |= kNegativeA;
  if (second_of(d, 5, 1, minus)) i.b |= kNegativeB;
  if (!registers && second_of(d, 6, 0, 1)) i.b |= kTurnedA;
  if (second_of(d, registers ? 6 : 7, 0, 1)) i.b |= kTurnedB;
  i.strict = i.ns;
  i.keeps_validity = true;
  i.run = mma_async;
}

}  // namespace

void need_warpgroup(Warp& w, uint32_t m) {
  const size_t last = w.index / kWarpsTogether * kWarpsTogether + kWarpsTogether - 1;
  const bool whole = last < w.block->warps->size() && (*w.block->warps)[last].initial == kFull;
  if (!whole)
    w.fail(Fault::SyncMask, first_lane(m), 0, "the warp is not of four whole ones, from a multiple of four on");
  if (m != kFull) w.fail(Fault::SyncMask, first_lane(~m), 0, "all 32 threads of the warp must take part");
}

void add_warpgroup(Opcodes& table) {
  table["wgmma"] = [](Decoder& d, Instr& i) {
    d.need_target(90, true);
    i.kind = Class::Tensor;
    if (!d.take("sync") || !d.take("aligned")) d.refuse("only .sync.aligned is known");
    const int which = d.take_one({"fence", "commit_group", "wait_group", "mma_async"});
    if (which < 0) d.refuse("no such form");
    if (which == 2) i.a = static_cast<int>(d.immediate(0));
    if (which == 3) return build_wgmma(d, i);
    i.run = which == 0 ? fence : which == 1 ? commit_products : wait_for_products;
  };
}

}  // namespace native::emulator
