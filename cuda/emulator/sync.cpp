// Barriers, shuffles, votes, reductions over a warp.
#include <algorithm>

#include "emulator/lanes.h"

namespace native::emulator {
namespace {

// Lanes outside the mask must not come here, and those inside must all be here.
void check_mask(Warp& w, uint32_t mask, uint32_t m, int lane) {
  if (!(mask >> lane & 1)) w.fail(Fault::SyncMask, lane, 0, "the thread is not in the mask that it gives");
  if ((mask & m) != mask) {
    char text[96];
    std::snprintf(text, sizeof text, "mask 0x%08x names threads that are not here (0x%08x are)", mask, m);
    w.fail(Fault::SyncMask, lane, 0, text);
  }
}
void check_masks(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* mask = w.lane(i.s[i.ns - 1]);
  each_lane(m, [&](int l) { check_mask(w, uint32_t(mask[l]), m, l); });
}

enum Reduction { kPopc = 2, kAll, kAny };

// Of bar.red, to a warp that still stands at it.
void give_result(Warp& w, const Block::Barrier& at) {
  const Instr& i = w.program->code[w.pc];
  if (i.nd == 0) return;
  const int d = i.d[0];
  const bool holds = i.a == kAll ? at.yes == at.voters : at.yes > 0;
  each_lane(w.live, [&](int l) { w.lane(d)[l] = at.yes; });
  w.predicates[d] = (w.predicates[d] & ~w.live) | (holds ? w.live : 0);
  w.valid[d] |= w.live;
}

void release(Block& b, Block::Barrier& barrier) {
  // Everything before the barrier is before everything after it, for all that came.
  auto& all = *b.warps;
  for (int n : barrier.warps) {
    Warp& w = all[n];
    w.clock.learn(barrier.arrived_with);
    w.step();
    w.state = Warp::State::Ready;
    give_result(w, barrier);
  }
  barrier = {};
}

// i.a: 0 sync, 1 arrive, else a kind of bar.red; i.b: the number of threads is given; i.c: the predicate is
// negated.
void barrier(Warp& w, const Instr& i, uint32_t m) {
  Block& b = *w.block;
  b.in_vain = 0;
  const int number = static_cast<int>(w.lane(i.s[0])[first_lane(m)]);
  if (number > 15) w.fail(Fault::DivergentBarrier, -1, 0, "there are 16 barriers");
  if (m != w.live)
    w.fail(Fault::DivergentBarrier, first_lane(w.live & ~m), 0,
           "this thread has not come to the barrier with its warp");
  Block::Barrier& at = b.barriers[number];
  uint32_t expected = b.threads;
  if (i.b) {
    expected = uint32_t(w.lane(i.s[1])[first_lane(m)]);
    if (expected % kLanes || expected == 0 || expected > b.threads)
      w.fail(Fault::DivergentBarrier, -1, 0, std::to_string(expected) + " threads cannot meet here");
  }
  if (at.arrived && at.expected != expected)
    w.fail(Fault::DivergentBarrier, -1, 0, "warps expect different numbers of threads at one barrier");
  at.expected = expected;
  // Lanes that do not exist or have ended count as come.
  at.arrived += i.b ? kLanes : std::popcount(w.initial);
  if (i.nd) {
    at.voters += std::popcount(m);
    at.yes += std::popcount((w.predicates[i.s[i.ns - 1]] ^ (i.c ? kFull : 0)) & m);
  }
  at.arrived_with.learn(w.clock);
  if (i.a == 1) {
    w.step();
  } else {
    at.warps.push_back(w.index);
    w.state = Warp::State::Waiting;
    w.waits_for = number;
  }
  if (i.a == 1 && at.arrived >= at.expected) release(b, at);
}

void warp_barrier(Warp& w, const Instr& i, uint32_t m) {
  check_masks(w, i, m);
  ++w.sync;
}

// i.a: up, down, bfly, idx.
void shuffle(Warp& w, const Instr& i, uint32_t m) {
  check_masks(w, i, m);
  const uint64_t *a = w.lane(i.s[0]), *b = w.lane(i.s[1]), *c = w.lane(i.s[2]), *mask = w.lane(i.s[3]);
  uint64_t result[kLanes];
  uint32_t in_range = 0, valid = 0;
  each_lane(m, [&](int l) {
    const int clamp = int(c[l] & 31), segment = int(c[l] >> 8 & 31), by = int(b[l] & 31);
    const int most = (l & segment) | (clamp & ~segment), least = l & segment;
    int from = l;
    bool inside = false;
    switch (i.a) {
      case 0:
        from = l - by, inside = from >= most;
        break;
      case 1:
        from = l + by, inside = from <= most;
        break;
      case 2:
        from = l ^ by, inside = from <= most;
        break;
      default:
        from = least | (by & ~segment), inside = from <= most;
    }
    if (!inside) from = l;
    if (!(mask[l] >> from & 1))
      w.fail(Fault::SyncMask, l, 0, "reads from lane " + std::to_string(from) + ", which takes no part");
    result[l] = a[from];
    in_range |= uint32_t(inside) << l;
    valid |= (w.valid[i.s[0]] >> from & 1) << l;
  });
  uint64_t* d = w.lane(i.d[0]);
  each_lane(m, [&](int l) { d[l] = uint32_t(result[l]); });
  w.valid[i.d[0]] = (w.valid[i.d[0]] & ~m) | valid;
  if (i.nd > 1) {
    w.predicates[i.d[1]] = (w.predicates[i.d[1]] & ~m) | in_range;
    w.valid[i.d[1]] |= m;
  }
}

// i.a: all, any, uni, ballot.
void vote(Warp& w, const Instr& i, uint32_t m) {
  check_masks(w, i, m);
  const uint32_t p = w.predicates[i.s[0]] ^ (i.b ? kFull : 0);
  const uint64_t* mask = w.lane(i.s[1]);
  each_lane(m, [&](int l) {
    const uint32_t who = uint32_t(mask[l]), yes = p & who;
    if (i.a == 3) {
      w.lane(i.d[0])[l] = yes;
      return;
    }
    const bool r = i.a == 0 ? yes == who : i.a == 1 ? yes != 0 : yes == who || yes == 0;
    w.predicates[i.d[0]] = (w.predicates[i.d[0]] & ~(1u << l)) | uint32_t(r) << l;
  });
}

// Groups of lanes that give different masks may come to one instruction together: each lane gets `result` of
// its own mask.
template <class Result>
void by_mask(Warp& w, const Instr& i, uint32_t m, Result result) {
  check_masks(w, i, m);
  const uint64_t* mask = w.lane(i.s[i.ns - 1]);
  uint64_t results[kLanes];
  each_lane(m, [&](int l) { results[l] = result(l, uint32_t(mask[l])); });
  each_lane(m, [&](int l) { w.lane(i.d[0])[l] = results[l]; });
}

uint32_t equal_lanes(const uint64_t* a, int lane, uint32_t mask) {
  uint32_t r = 0;
  each_lane(mask, [&](int k) { r |= uint32_t(a[k] == a[lane]) << k; });
  return r;
}
void match_any(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* a = w.lane(i.s[0]);
  by_mask(w, i, m, [&](int l, uint32_t mask) { return equal_lanes(a, l, mask); });
}
void match_all(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* a = w.lane(i.s[0]);
  uint32_t all = 0;
  by_mask(w, i, m, [&](int l, uint32_t mask) {
    const bool same = equal_lanes(a, l, mask) == mask;
    all |= uint32_t(same) << l;
    return same ? mask : 0;
  });
  if (i.nd > 1) w.predicates[i.d[1]] = (w.predicates[i.d[1]] & ~m) | all;
}

// i.a the operation, i.b signed.
void reduce(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* a = w.lane(i.s[0]);
  auto join = [&](uint32_t x, uint32_t y) {
    const bool less = i.b ? int32_t(x) < int32_t(y) : x < y;
    const uint32_t results[] = {x + y, less ? x : y, less ? y : x, x & y, x | y, x ^ y};
    return results[i.a];
  };
  by_mask(w, i, m, [&](int, uint32_t mask) {
    uint32_t r = uint32_t(a[first_lane(mask)]);
    each_lane(mask & (mask - 1), [&](int l) { r = join(r, uint32_t(a[l])); });
    return r;
  });
}

// The lowest lane of the mask is the leader: always the same, as the manual wants it.
void elect(Warp& w, const Instr& i, uint32_t m) {
  check_masks(w, i, m);
  const uint64_t* mask = w.lane(i.s[0]);
  uint32_t leads = 0;
  each_lane(m, [&](int l) {
    const int leader = first_lane(uint32_t(mask[l]));
    w.lane(i.d[0])[l] = leader;
    leads |= uint32_t(leader == l) << l;
  });
  if (i.nd > 1) w.predicates[i.d[1]] = (w.predicates[i.d[1]] & ~m) | leads;
}

void active(Warp& w, const Instr& i, uint32_t m) {
  each_lane(m, [&](int l) { w.lane(i.d[0])[l] = m; });
}

// d|p, q
void destination_and_predicate(Decoder& d, Instr& i) {
  d.destination(i, 0, Type::B32);
  d.second_destination(i);
}

// bar.red.popc.u32 d, barrier{, threads}, {!}p
void build_reduction(Decoder& d, Instr& i) {
  const int which = d.take_one({"popc", "and", "or"});
  const Type t = d.need_type();
  if (which < 0 || t != (which == 0 ? Type::U32 : Type::Pred)) d.refuse("no such form");
  const size_t numbers = d.operands() > 3 ? 2 : 1;
  i.a = kPopc + which;
  i.b = numbers == 2;
  d.destination(i, 0, t);
  d.sources(i, 1, numbers, Type::B32);
  d.source(i, 1 + numbers, Type::Pred);
  i.c = d.operand(1 + numbers).negated;
  i.strict = i.ns;
  i.keeps_validity = true;
  i.run = barrier;
}

void build_barrier(Decoder& d, Instr& i) {
  i.kind = Class::Sync;
  d.take("cta");
  if (d.take("warp")) {
    if (!d.take("sync")) d.refuse("unknown barrier");
    d.source(i, 0, Type::B32);
    i.strict = i.ns;
    i.run = warp_barrier;
    return;
  }
  d.take("aligned");
  if (d.take("red")) return build_reduction(d, i);
  i.a = d.take_one({"sync", "arrive"});
  if (i.a < 0) d.refuse("unknown barrier");
  if (i.a == 1 && d.operands() < 2) d.refuse("the number of threads is missing");
  d.sources(i, 0, std::clamp<size_t>(d.operands(), 1, 2), Type::B32);
  i.b = i.ns > 1;
  i.strict = i.ns;
  i.run = barrier;
}

}  // namespace

void meet(Block& b) {
  for (Block::Barrier& at : b.barriers) {
    if (at.arrived == 0) continue;
    // Warps that have ended are not waited for at a barrier of the whole block.
    uint32_t gone = 0;
    for (const Warp& w : *b.warps)
      if (w.state == Warp::State::Done) gone += std::popcount(w.initial);
    if (at.arrived >= at.expected || (at.expected == b.threads && at.arrived + gone >= at.expected)) release(b, at);
  }
}

void add_sync(Opcodes& table) {
  table["bar"] = table["barrier"] = build_barrier;
  table["shfl"] = [](Decoder& d, Instr& i) {
    if (!d.take("sync")) d.refuse("only the .sync form is known");
    i.a = d.take_one({"up", "down", "bfly", "idx"});
    if (i.a < 0 || d.need_type() != Type::B32) d.refuse("no such form");
    i.kind = Class::Sync;
    destination_and_predicate(d, i);
    d.sources(i, 1, 4, Type::B32);
    i.keeps_validity = true;
    i.run = shuffle;
  };
  table["vote"] = [](Decoder& d, Instr& i) {
    if (!d.take("sync")) d.refuse("only the .sync form is known");
    i.a = d.take_one({"all", "any", "uni", "ballot"});
    const Type t = d.need_type();
    if (i.a < 0 || t != (i.a == 3 ? Type::B32 : Type::Pred)) d.refuse("no such form");
    i.kind = Class::Sync;
    d.destination(i, 0, t);
    d.source(i, 1, Type::Pred);
    i.b = d.operand(1).negated;
    d.source(i, 2, Type::B32);
    i.strict = i.ns;
    i.run = vote;
  };
  table["match"] = [](Decoder& d, Instr& i) {
    if (!d.take("sync")) d.refuse("only the .sync form is known");
    i.a = d.take_one({"any", "all"});
    const Type t = d.need_type();
    if (i.a < 0 || (t != Type::B32 && t != Type::B64)) d.refuse("no such form");
    i.kind = Class::Sync;
    if (i.a == 1)
      destination_and_predicate(d, i);
    else
      d.destination(i, 0, Type::B32);
    d.source(i, 1, t);
    d.source(i, 2, Type::B32);
    i.strict = i.ns;
    i.run = i.a == 1 ? match_all : match_any;
  };
  table["redux"] = [](Decoder& d, Instr& i) {
    if (!d.take("sync")) d.refuse("only the .sync form is known");
    i.a = d.take_one({"add", "min", "max", "and", "or", "xor"});
    const Type t = d.need_type();
    const bool fits = i.a > 2 ? t == Type::B32 : i.a >= 0 && (t == Type::U32 || t == Type::S32);
    i.b = is_signed(t);
    i.kind = Class::Sync;
    d.destination(i, 0, Type::B32);
    d.sources(i, 1, 2, Type::B32);
    i.strict = i.ns;
    i.run = fits ? reduce : nullptr;
  };
  table["elect"] = [](Decoder& d, Instr& i) {
    if (!d.take("sync")) d.refuse("only the .sync form is known");
    d.need_target(90);
    i.kind = Class::Sync;
    destination_and_predicate(d, i);
    d.source(i, 1, Type::B32);
    i.strict = i.ns;
    i.run = elect;
  };
  table["activemask"] = [](Decoder& d, Instr& i) {
    if (d.need_type() != Type::B32) d.refuse("no such type");
    i.kind = Class::Sync;
    d.destination(i, 0, Type::B32);
    i.run = active;
  };
}

}  // namespace native::emulator
