// mbarriers: counts of arrivals and of bytes in shared memory. What they hold is kept beside that memory,
// whose bytes count as never written, so that loads from there and stores to it are found.
#include <algorithm>

#include "emulator/lanes.h"

namespace native::emulator {
namespace {

constexpr uint32_t kMostArrivals = (1u << 20) - 1;
constexpr int64_t kMostBytes = (int64_t{1} << 20) - 1;

uint32_t shared_address(Warp& w, int lane, uint64_t address, ptx::Space space) {
  if (space == ptx::Space::Generic) {
    if (address - kSharedWindow >= kWindowBytes)
      w.fail(Fault::BarrierObject, lane, address, "an mbarrier must lie in shared memory");
    address -= kSharedWindow;
  }
  if (address % 8) w.fail(Fault::Misaligned, lane, address, "an mbarrier must lie at a multiple of 8");
  if (address + 8 > w.block->shared.size())
    w.fail(Fault::OutOfBounds, lane, address,
           "8 bytes in " + std::to_string(w.block->shared.size()) + " bytes of shared memory");
  return static_cast<uint32_t>(address);
}
uint32_t address_of(Warp& w, const Instr& i, int lane) {
  return shared_address(w, lane, w.lane(i.s[0])[lane] + static_cast<uint64_t>(i.offset), i.space);
}
BarrierObject& object_of(Warp& w, const Instr& i, int lane) { return object_at(w, lane, address_of(w, i, lane)); }

void init(Warp& w, const Instr& i, uint32_t m) {
  each_lane(m, [&](int l) {
    const uint32_t at = address_of(w, i, l);
    const uint32_t count = uint32_t(w.lane(i.s[1])[l]);
    if (count == 0 || count > kMostArrivals)
      w.fail(Fault::BarrierObject, l, at, std::to_string(count) + " arrivals: 1 to 2^20 - 1 can be counted");
    if (w.block->objects.count(at)) w.fail(Fault::BarrierObject, l, at, "is initialised twice, without mbarrier.inval");
    const Bytes b = touch(w, ptx::Space::Shared, l, at, 8, Use::Write);
    std::memset(b.written, 0, 8);
    BarrierObject& o = w.block->objects[at];
    o.number = w.block->objects_made++;
    o.count = o.pending = count;
    o.initialised = w.access(l, false);
  });
}

void invalidate(Warp& w, const Instr& i, uint32_t m) {
  each_lane(m, [&](int l) {
    object_of(w, i, l);
    w.block->objects.erase(address_of(w, i, l));
  });
}

void end_phase(Block& b, uint32_t address, BarrierObject& o) {
  if (o.pending != 0 || o.bytes != 0) return;
  ++o.phase;
  o.pending = o.count;
  o.completed.learn(o.arriving);
  uint32_t& loads = o.completed.known[o.agent()];
  loads = std::max(loads, o.phase);
  o.arriving = {};
  happened(b, Warp::Poll::Object, address);
}

void expect(Warp& w, int lane, uint32_t address, BarrierObject& o, uint64_t bytes) {
  o.bytes += static_cast<int64_t>(bytes);
  if (o.bytes > kMostBytes)
    w.fail(Fault::BarrierObject, lane, address,
           std::to_string(o.bytes) + " bytes are expected: 2^20 - 1 can be counted");
}

void arrive_at(Warp& w, int lane, uint32_t address, BarrierObject& o, uint32_t arrivals) {
  if (arrivals == 0 || arrivals > o.pending)
    w.fail(Fault::BarrierObject, lane, address,
           std::to_string(arrivals) + " arrivals, where " + std::to_string(o.pending) + " are awaited");
  o.pending -= arrivals;
  o.arriving.learn(w.clock);
  w.block->in_vain = 0;
  if (o.pending == 0 && o.bytes < 0)
    w.fail(Fault::BarrierObject, lane, address, std::to_string(-o.bytes) + " bytes more than were expected have come");
  end_phase(*w.block, address, o);
}

// i.a: source of the bytes to expect, or 0; i.b: source of the number of arrivals, or 0.
void arrive(Warp& w, const Instr& i, uint32_t m) {
  each_lane(m, [&](int l) {
    const uint32_t at = address_of(w, i, l);
    BarrierObject& o = object_at(w, l, at);
    const uint32_t phase = o.phase;
    if (i.a) expect(w, l, at, o, uint32_t(w.lane(i.s[i.a])[l]));
    arrive_at(w, l, at, o, i.b ? uint32_t(w.lane(i.s[i.b])[l]) : 1);
    if (i.nd) w.lane(i.d[0])[l] = phase;
  });
  w.step();
}

void expect_only(Warp& w, const Instr& i, uint32_t m) {
  each_lane(m, [&](int l) { expect(w, l, address_of(w, i, l), object_of(w, i, l), uint32_t(w.lane(i.s[1])[l])); });
}

void complete_only(Warp& w, const Instr& i, uint32_t m) {
  each_lane(m, [&](int l) {
    const uint32_t at = address_of(w, i, l);
    object_at(w, l, at);
    if (!complete_bytes(*w.block, at, uint32_t(w.lane(i.s[1])[l])))
      w.fail(Fault::BarrierObject, l, at, "more bytes have come than were expected");
  });
}

// i.a: by parity. A try that finds nothing ends the warp's turn.
void wait(Warp& w, const Instr& i, uint32_t m) {
  uint32_t ended = 0;
  each_lane(m, [&](int l) {
    const BarrierObject& o = object_of(w, i, l);
    const uint64_t which = w.lane(i.s[1])[l];
    if (i.a && uint32_t(which) > 1)
      w.fail(Fault::BarrierObject, l, address_of(w, i, l), std::to_string(uint32_t(which)) + " is no parity");
    const bool over = i.a ? (o.phase & 1) != uint32_t(which) : o.phase != which;
    if (!over) return;
    ended |= 1u << l;
    w.clock.learn(o.completed);
  });
  w.step();
  w.predicates[i.d[0]] = (w.predicates[i.d[0]] & ~m) | ended;
  if (ended != m) w.poll(Warp::Poll::Object, address_of(w, i, first_lane(m & ~ended)));
}

// What all forms may say: semantics, scope, space, type.
void take_common(Decoder& d, Instr& i) {
  d.need_target(80);
  for (const char* m : {"release", "acquire", "relaxed", "cta", "cluster"}) d.take(m);
  i.kind = Class::Sync;
  i.space = d.take_one({"shared", "shared::cta", "shared::cluster"}) >= 0 ? ptx::Space::Shared : ptx::Space::Generic;
  if (d.need_type() != Type::B64) d.refuse("an mbarrier is .b64");
}

// state, [address]{, number}
void build_arrive(Decoder& d, Instr& i) {
  const bool expects = d.take("expect_tx");
  if (expects) d.need_target(90);
  take_common(d, i);
  d.destination(i, 0, Type::B64);
  d.address(i, 1);
  if (d.operands() > 2) {
    d.source(i, 2, Type::U32);
    (expects ? i.a : i.b) = 1;
  } else if (expects) {
    d.refuse("the number of bytes is missing");
  }
  i.run = arrive;
}

// p, [address], state or parity{, time}
void build_wait(Decoder& d, Instr& i) {
  i.a = d.take("parity");
  take_common(d, i);
  d.destination(i, 0, Type::Pred);
  d.address(i, 1);
  d.source(i, 2, i.a ? Type::U32 : Type::B64);
  if (d.operands() > 3) d.source(i, 3, Type::U32);
  i.run = wait;
}

// [address]{, number}
void build_plain(Decoder& d, Instr& i, Handler run, bool number) {
  take_common(d, i);
  d.address(i, 0);
  if (number) d.source(i, 1, Type::U32);
  i.run = run;
}

}  // namespace

BarrierObject& object_at(Warp& w, int lane, uint64_t address) {
  Block& b = *w.block;
  const uint32_t at = shared_address(w, lane, address, ptx::Space::Shared);
  auto found = b.objects.find(at);
  if (found == b.objects.end()) w.fail(Fault::BarrierObject, lane, at, "no mbarrier was initialised here");
  BarrierObject& o = found->second;
  if (std::any_of(&b.written[at], &b.written[at] + 8, [](uint8_t x) { return x != 0; }))
    w.fail(Fault::BarrierObject, lane, at, "an access that is none of mbarrier's has written over the mbarrier");
  if (!ordered(w, o.initialised, w.access(lane, false)))
    w.report(Fault::BarrierObject, lane, at, "the mbarrier is used without a barrier behind its initialisation");
  return o;
}

bool complete_bytes(Block& b, uint32_t object, uint32_t bytes) {
  BarrierObject& o = b.objects.at(object);
  o.bytes -= bytes;
  if (o.bytes < (o.pending == 0 ? 0 : -kMostBytes)) return false;
  end_phase(b, object, o);
  return true;
}

void add_barrier_objects(Opcodes& table) {
  table["mbarrier"] = [](Decoder& d, Instr& i) {
    if (d.take("init"))
      build_plain(d, i, init, true);
    else if (d.take("inval"))
      build_plain(d, i, invalidate, false);
    else if (d.take("arrive"))
      build_arrive(d, i);
    else if (d.take("expect_tx"))
      build_plain(d, i, expect_only, true);
    else if (d.take("complete_tx"))
      build_plain(d, i, complete_only, true);
    else if (d.take_one({"test_wait", "try_wait"}) >= 0)
      build_wait(d, i);
    else
      d.refuse("only init, inval, arrive, expect_tx, complete_tx, test_wait and try_wait are known");
    i.strict = i.ns;
  };
}

}  // namespace native::emulator
