// The search for races. A cell remembers the last write, two reads and two atomic accesses of its bytes;
// two accesses race if one of them writes, not both are atomic, and no chain of barriers orders them.
#include "emulator/machine.h"

namespace native::emulator {

bool follows_launch(const Warp& w, uint32_t before) { return !w.launch().order || w.launch().order->follows(before); }

namespace {

std::string place(const Warp& w, const Access& a) {
  return " at " + w.program->source(a.pc) + " (" + w.program->code[a.pc].text->opcode() + ")";
}

// `before` is of a bulk copy or a wgmma, which nobody has waited for that this warp knows of.
void race_with_async(Warp& w, const Access& before, const Access& me, uint64_t address) {
  if (before.warp >= kFirstGroup && before.warp < kFirstStore)
    return w.report(Fault::ProductRace, me.lane, address,
                    "overwrites what a wgmma may still read, which was not waited for:" + place(w, before));
  const char* what = before.warp < kFirstGroup
                         ? "a bulk copy into this place has not been waited for at its mbarrier:"
                         : "overwrites what a bulk store may still read, which was not waited for:";
  w.report(Fault::AsyncRace, me.lane, address, what + place(w, before));
}

void race(Warp& w, const Access& before, const Access& me, const char* what, bool shared, uint64_t address) {
  if (before.launch != me.launch)
    return w.report(Fault::MissingSync, me.lane, address,
                    "the same memory is used by '" + w.launch().order->origins->find(before.launch)->what +
                        "' in another stream, and neither waits");
  if (before.block == me.block && !is_warp(before.warp)) return race_with_async(w, before, me, address);
  std::string message = std::string(what) + " of ";
  if (before.block != me.block)
    message += "block " + std::to_string(before.block) + " (counted in order)";
  else if (before.lane == kSeveral)
    message += "several lanes of warp " + std::to_string(before.warp);
  else
    message += "thread " + std::to_string(before.warp * kLanes + before.lane) + " (counted in order)";
  message += place(w, before);
  w.report(shared ? Fault::SharedRace : Fault::GlobalRace, me.lane, address, message);
}

void check_copy(Warp& w, const Cell& cell, const Access& me, uint64_t address) {
  if (cell.copying) [[unlikely]]
    w.report(Fault::AsyncRace, me.lane, address, "a cp.async into this place has not been waited for");
}

// If `before` is of the same warp, and says so.
bool renew(Access& before, const Access& me) {
  if (before.launch != me.launch || before.block != me.block || before.warp != me.warp) return false;
  const bool same_time = before.stamp == me.stamp && before.sync == me.sync;
  const int8_t lane = same_time && before.lane != me.lane ? kSeveral : me.lane;
  const bool atomic = me.atomic && (before.atomic || !same_time);
  before = me;
  before.lane = lane;
  before.atomic = atomic;
  return true;
}

// A read that is ordered before this needs no memory: whoever races with it races with this one.
void remember_read(Warp& w, History& history, Cell& cell, const Access& me) {
  if (renew(cell.read, me)) return;
  if (Others* others = history.find_others(cell); others && renew(others->read, me)) return;
  (ordered(w, cell.read, me) ? cell.read : history.others(cell).read) = me;
}
void remember_atomic(Warp& w, History& history, Cell& cell, const Access& me) {
  auto& [first, second] = history.others(cell).atomic;
  if (renew(first, me) || renew(second, me)) return;
  (ordered(w, first, me) ? first : second) = me;
}

void check_read(Warp& w, History& history, Cell& cell, const Access& me, bool shared, uint64_t address) {
  check_copy(w, cell, me, address);
  constexpr const char* kWhat = "reads what is written without a barrier between by a store";
  if (!ordered(w, cell.write, me)) [[unlikely]]
    race(w, cell.write, me, kWhat, shared, address);
  if (Others* others = history.find_others(cell); others && !me.atomic)
    for (const Access& a : others->atomic)
      if (!ordered(w, a, me)) race(w, a, me, kWhat, shared, address);
  remember_read(w, history, cell, me);
}

void check_write(Warp& w, History& history, Cell& cell, const Access& me, bool shared, uint64_t address,
                 bool same_value) {
  check_copy(w, cell, me, address);
  const Access& last = cell.write;
  const bool together = last.launch == me.launch && last.block == me.block && last.warp == me.warp &&
                        last.serial == me.serial && last.pc == me.pc;
  constexpr const char* kWhat = "writes what is written without a barrier between by a store";
  if (!ordered(w, last, me) && !(together && same_value)) race(w, last, me, kWhat, shared, address);
  Others* others = history.find_others(cell);
  if (others && !me.atomic)
    for (const Access& a : others->atomic)
      if (!ordered(w, a, me)) race(w, a, me, kWhat, shared, address);
  auto check_reader = [&](const Access& r) {
    if (!ordered(w, r, me) && !(r.atomic && me.atomic))
      race(w, r, me, "writes what is read without a barrier between by a load", shared, address);
  };
  check_reader(cell.read);
  if (others) check_reader(others->read);
  if (me.atomic)
    remember_atomic(w, history, cell, me);
  else
    cell.write = me;
}

}  // namespace

void check_access(Warp& w, History& history, uint64_t offset, uint64_t bytes, const Access& me, Use use, bool shared,
                  uint64_t address, bool same_value) {
  const uint32_t least = w.program->granule;
  if (use == Use::Read)
    history.each(offset, bytes, least, [&](Cell& cell) { check_read(w, history, cell, me, shared, address); });
  else
    history.each(offset, bytes, least,
                 [&](Cell& cell) { check_write(w, history, cell, me, shared, address, same_value); });
}

void check_shared(Warp& w, uint32_t at, uint32_t bytes, const Access& me, Use use, bool same_value) {
  if (History* history = w.block->history) check_access(w, *history, at, bytes, me, use, true, at, same_value);
}

void read_by_proxy(Warp& w, uint32_t at, const Access& me) {
  check_shared(w, at, kProxyBytes, me, Use::Read);
  each_cell(w, at, kProxyBytes, [&](const Cell& cell) {
    const Access& last = cell.write;
    if (last.launch != me.launch || last.block != me.block || !is_warp(last.warp) || !ordered(w, last, me)) return;
    if (w.clock.fenced[last.warp] < last.stamp)
      w.report(Fault::ProxyFence, me.lane, at,
               "reads without fence.proxy.async what was written by a store" + place(w, last));
  });
}

void begin_copy(Warp& w, uint32_t to, int bytes, int lane) {
  const Access me = w.access(lane, false);
  check_shared(w, to, bytes, me, Use::Write);
  each_cell(w, to, bytes, [](Cell& cell) { ++cell.copying; });
}

void end_copy(Warp& w, uint32_t to, int bytes) {
  each_cell(w, to, bytes, [](Cell& cell) { --cell.copying; });
}

}  // namespace native::emulator
