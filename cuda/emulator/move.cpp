// mov with packing and unpacking, and addresses between spaces.
#include "emulator/lanes.h"

namespace native::emulator {
namespace {

void copy(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* a = w.lane(i.s[0]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) { d[l] = a[l]; });
}
void copy_predicate(Warp& w, const Instr& i, uint32_t m) {
  uint32_t& d = w.predicates[i.d[0]];
  d = (d & ~m) | ((w.predicates[i.s[0]] ^ (i.a ? kFull : 0)) & m);
}
void set_predicate(Warp& w, const Instr& i, uint32_t m) {
  uint32_t& d = w.predicates[i.d[0]];
  d = (d & ~m) | (i.a ? m : 0);
}
// i.a: bits of an element; the first is the lowest.
void pack(Warp& w, const Instr& i, uint32_t m) {
  uint64_t* d = w.lane(i.d[0]);
  const uint64_t element = (uint64_t{1} << i.a) - 1;
  each_lane(m, [&](int l) {
    uint64_t r = 0;
    for (int n = 0; n < i.ns; ++n) r |= (w.lane(i.s[n])[l] & element) << (n * i.a);
    d[l] = r;
  });
}
void unpack(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t element = (uint64_t{1} << i.a) - 1;
  each_lane(m, [&](int l) {
    const uint64_t v = w.lane(i.s[0])[l];
    for (int n = 0; n < i.nd; ++n) w.lane(i.d[n])[l] = v >> (n * i.a) & element;
  });
}

// Shared, local and parameter addresses are offsets; generic ones lie in a window. i.offset is what is added.
void shift_window(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* a = w.lane(i.s[0]);
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) { d[l] = a[l] + static_cast<uint64_t>(i.offset); });
}
uint64_t window(ptx::Space space) {
  switch (space) {
    case ptx::Space::Shared:
      return kSharedWindow;
    case ptx::Space::Local:
      return kLocalWindow;
    case ptx::Space::Param:
      return kParamWindow;
    default:
      return 0;
  }
}
ptx::Space take_space(Decoder& d) {
  constexpr ptx::Space kSpaces[] = {ptx::Space::Global, ptx::Space::Const, ptx::Space::Shared, ptx::Space::Shared,
                                    ptx::Space::Local,  ptx::Space::Param, ptx::Space::Param};
  const int n = d.take_one({"global", "const", "shared", "shared::cta", "local", "param", "param::entry"});
  if (n < 0) d.refuse("no state space");
  return kSpaces[n];
}

void clock_now(Warp& w, const Instr& i, uint32_t m) {
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) { d[l] = w.launch().executed; });
}

void is_space(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* a = w.lane(i.s[0]);
  uint32_t r = 0;
  each_lane(m, [&](int l) {
    const bool inside = i.a ? a[l] - static_cast<uint64_t>(i.offset) < kWindowBytes : a[l] >= kGlobalBase;
    r |= uint32_t(inside) << l;
  });
  uint32_t& d = w.predicates[i.d[0]];
  d = (d & ~m) | r;
}

}  // namespace

void add_move(Opcodes& table) {
  table["mov"] = [](Decoder& d, Instr& i) {
    const Type t = d.need_type();
    const ptx::Operand& from = d.operand(1);
    if (t != Type::Pred && (bits_of(t) < 16 || bits_of(t) > 64)) d.refuse("no such type");
    d.allow_parts();
    d.destination(i, 0, t);
    if (t == Type::Pred) {
      if (from.kind == ptx::Operand::Kind::Immediate) {
        i.a = from.value != 0;
        i.run = set_predicate;
      } else {
        d.source(i, 1, Type::Pred);
        i.a = from.negated;
        i.run = copy_predicate;
      }
      return;
    }
    if (from.text == "%clock" || from.text == "%clock64") {
      i.run = clock_now;
      return;
    }
    d.source(i, 1, t);
    const bool packs = from.kind == ptx::Operand::Kind::Vector, unpacks = i.nd > 1;
    if (packs && unpacks) d.refuse("packs and unpacks at once");
    i.a = bits_of(t) / (packs ? i.ns : i.nd);
    i.run = packs ? pack : unpacks ? unpack : copy;
  };
  table["cvta"] = [](Decoder& d, Instr& i) {
    const bool to = d.take("to");
    const int64_t shift = static_cast<int64_t>(window(take_space(d)));
    const Type t = d.need_type();
    d.destination(i, 0, t);
    d.source(i, 1, t);
    if (t != Type::U64) d.refuse("only .u64 is known");
    i.offset = to ? -shift : shift;
    i.kind = Class::Integer;
    i.run = shift_window;
  };
  table["isspacep"] = [](Decoder& d, Instr& i) {
    const uint64_t base = window(take_space(d));
    d.destination(i, 0, Type::Pred);
    d.source(i, 1, Type::U64);
    i.a = base != 0;
    i.offset = static_cast<int64_t>(base);
    i.run = is_space;
  };
}

}  // namespace native::emulator
