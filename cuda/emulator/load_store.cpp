// ld and st in every space.
#include "emulator/lanes.h"

namespace native::emulator {
namespace {

using ptx::Space;

// The space that generic addresses mean, by the first lane: for the counts only.
Space meant(const Instr& i, uint64_t address) {
  if (i.space != Space::Generic) return i.space;
  if (address - kSharedWindow < kWindowBytes) return Space::Shared;
  if (address - kLocalWindow < kWindowBytes) return Space::Local;
  return Space::Global;
}
void count(Warp& w, const Instr& i, const uint64_t* addresses, uint32_t m, int bytes) {
  const Space space = meant(i, addresses[first_lane(m)]);
  if (space == Space::Shared) count_shared(w.count(), addresses, m, bytes);
  if (space == Space::Global) count_global(w.count(), addresses, m, bytes);
}

// Elements of so many bytes, a number that the compiler knows: copies of them are single instructions then.
template <int Width>
bool all_written(const Bytes& b, int elements) {
  constexpr uint8_t kAll[] = {1, 1, 1, 1, 1, 1, 1, 1};
  for (int n = 0; n < elements; ++n)
    if (std::memcmp(b.written + n * Width, kAll, Width) != 0) return false;
  return true;
}

// Uninitialised shared memory is reported where it is read; a value from other memory only once it decides
// something, since padding may be copied about.
template <int Width>
void load(Warp& w, const Instr& i, uint32_t m) {
  const int bytes = Width * i.nd;
  uint64_t addresses[kLanes] = {};
  const uint64_t* base = w.lane(i.s[0]);
  each_lane(m, [&](int l) { addresses[l] = base[l] + static_cast<uint64_t>(i.offset); });
  count(w, i, addresses, m, bytes);
  uint32_t valid = m;
  const uint64_t keep = i.bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << i.bits) - 1;
  each_lane(m, [&](int l) {
    const Bytes b = touch(w, i.space, l, addresses[l], bytes, Use::Read, i.a != 0);
    if (b.written && !all_written<Width>(b, i.nd)) {
      if (b.space == Space::Shared)
        w.report(Fault::Uninitialised, l, addresses[l], "shared memory is read that nothing was written to");
      else
        valid &= ~(1u << l);
    }
    for (int n = 0; n < i.nd; ++n) {
      uint64_t v = 0;
      std::memcpy(&v, b.data + n * Width, Width);
      if (i.sign_extends) {
        constexpr int unused = 64 - 8 * Width;
        v = static_cast<uint64_t>(static_cast<int64_t>(v << unused) >> unused) & keep;
      }
      w.lane(i.d[n])[l] = v;
    }
  });
  for (int n = 0; n < i.nd; ++n) w.valid[i.d[n]] = (w.valid[i.d[n]] & ~m) | valid;
}

// Sources: the address, then the values.
template <int Width>
void store(Warp& w, const Instr& i, uint32_t m) {
  const int values = i.ns - 1, bytes = Width * values;
  uint64_t addresses[kLanes] = {};
  const uint64_t* base = w.lane(i.s[0]);
  each_lane(m, [&](int l) { addresses[l] = base[l] + static_cast<uint64_t>(i.offset); });
  count(w, i, addresses, m, bytes);
  each_lane(m, [&](int l) {
    uint8_t data[32] = {};
    bool valid = true;
    for (int n = 0; n < values; ++n) {
      std::memcpy(data + n * Width, &w.lane(i.s[n + 1])[l], Width);
      valid = valid && (w.valid[i.s[n + 1]] >> l & 1);
    }
    const Bytes b = touch(w, i.space, l, addresses[l], bytes, Use::Write, i.a != 0, data);
    if (!valid && b.space != Space::Local)
      w.report(Fault::Uninitialised, l, addresses[l], "the value stored depends on what nothing was written to");
    for (int n = 0; n < values; ++n) std::memcpy(b.data + n * Width, data + n * Width, Width);
    if (b.written)
      for (int n = 0; n < values; ++n) std::memset(b.written + n * Width, valid || b.space != Space::Local, Width);
  });
}

constexpr Handler kLoads[] = {load<1>, load<2>, load<4>, load<8>}, kStores[] = {store<1>, store<2>, store<4>, store<8>};

void check_type(Decoder& d, Type t) {
  if (t == Type::B128) d.refuse("128-bit registers are not known");
  const bool narrow = t == Type::Pred || (is_floating(t) && t != Type::F32 && t != Type::F64);
  if (narrow) d.refuse("no such type");
}

void prefetch(Warp&, const Instr&, uint32_t) {}

}  // namespace

// Takes the state space of a memory instruction, and what does not change its meaning here.
void take_memory_modifiers(Decoder& d, Instr& i) {
  struct Row {
    const char* name;
    Space space;
    Class kind;
  };
  constexpr Row kRows[] = {{"global", Space::Global, Class::Global},      {"shared", Space::Shared, Class::Shared},
                           {"shared::cta", Space::Shared, Class::Shared}, {"local", Space::Local, Class::Local},
                           {"const", Space::Const, Class::Global},        {"param", Space::Param, Class::Param}};
  i.space = Space::Generic;
  i.kind = Class::Global;
  for (const Row& row : kRows)
    if (d.take(row.name)) i.space = row.space, i.kind = row.kind;
  // Accesses that are meant to meet others: i.a.
  for (const char* m : {"volatile", "relaxed", "acquire", "release"})
    if (d.take(m)) i.a = 1;
  for (const char* m : {"weak",
                        "nc",
                        "ca",
                        "cg",
                        "cs",
                        "lu",
                        "cv",
                        "wb",
                        "wt",
                        "cta",
                        "gpu",
                        "sys",
                        "L1::evict_normal",
                        "L1::evict_first",
                        "L1::evict_last",
                        "L1::no_allocate",
                        "L1::evict_unchanged",
                        "L2::64B",
                        "L2::128B",
                        "L2::256B"})
    d.take(m);
}

void add_memory(Opcodes& table) {
  table["ld"] = table["ldu"] = [](Decoder& d, Instr& i) {
    take_memory_modifiers(d, i);
    const int lanes = d.take_one({"v2", "v4"});
    const Type t = d.need_type();
    check_type(d, t);
    d.allow_wider();
    d.destination(i, 0, t);
    d.address(i, 1);
    if (i.nd != (lanes < 0 ? 1 : 2 << lanes)) d.refuse("the number of registers does not fit");
    i.width = static_cast<uint8_t>(bits_of(t) / 8);
    i.sign_extends = is_signed(t);
    i.strict = 1;
    i.keeps_validity = true;
    i.run = kLoads[std::countr_zero(i.width)];
  };
  table["st"] = [](Decoder& d, Instr& i) {
    take_memory_modifiers(d, i);
    const int lanes = d.take_one({"v2", "v4"});
    const Type t = d.need_type();
    check_type(d, t);
    d.allow_wider();
    d.address(i, 0);
    d.source(i, 1, t);
    if (i.ns - 1 != (lanes < 0 ? 1 : 2 << lanes)) d.refuse("the number of registers does not fit");
    i.width = static_cast<uint8_t>(bits_of(t) / 8);
    i.strict = 1;
    i.keeps_validity = true;
    i.run = kStores[std::countr_zero(i.width)];
  };
  table["prefetch"] = table["prefetchu"] = [](Decoder& d, Instr& i) {
    if (d.take("tensormap")) {
      d.need_target(90);
      d.take_one({"param", "const"});
    } else {
      for (const char* m : {"global", "local", "L1", "L2"}) d.take(m);
    }
    d.address(i, 0);
    i.run = prefetch;
  };
}

}  // namespace native::emulator
