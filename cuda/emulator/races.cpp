// The search for races. A cell remembers the last write, two reads and two atomic accesses of its granule;
// two accesses race if one of them writes, not both are atomic, and no chain of barriers orders them.
#include "emulator/machine.h"

namespace native::emulator {

bool ordered(const Warp& w, const Access& before, const Access& me) {
  if (before.launch != me.launch) return !w.launch().order || w.launch().order->follows(before.launch);
  if (before.block != me.block) return false;
  if (before.warp == me.warp && is_warp(me.warp)) return before.lane == me.lane || before.sync < me.sync;
  return w.clock.known[before.warp] >= before.stamp;
}

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
  if (cell.copying) w.report(Fault::AsyncRace, me.lane, address, "a cp.async into this place has not been waited for");
}

void remember(Warp& w, Access (&accesses)[2], const Access& me) {
  for (Access& r : accesses)
    if (r.launch == me.launch && r.block == me.block && r.warp == me.warp) {
      const bool same_time = r.stamp == me.stamp && r.sync == me.sync;
      const int8_t lane = same_time && r.lane != me.lane ? kSeveral : me.lane;
      const bool atomic = me.atomic && (r.atomic || !same_time);
      r = me;
      r.lane = lane;
      r.atomic = atomic;
      return;
    }
  // One that is ordered before this needs no memory: whoever races with it races with this one.
  Access& free = ordered(w, accesses[0], me) ? accesses[0] : accesses[1];
  free = me;
}

}  // namespace

void check_read(Warp& w, Cell& cell, const Access& me, bool shared, uint64_t address) {
  check_copy(w, cell, me, address);
  constexpr const char* kWhat = "reads what is written without a barrier between by a store";
  if (!ordered(w, cell.write, me)) race(w, cell.write, me, kWhat, shared, address);
  for (const Access& a : cell.atomic)
    if (!me.atomic && !ordered(w, a, me)) race(w, a, me, kWhat, shared, address);
  remember(w, cell.read, me);
}

void check_write(Warp& w, Cell& cell, const Access& me, bool shared, uint64_t address, bool same_value) {
  check_copy(w, cell, me, address);
  const Access& last = cell.write;
  const bool together = last.launch == me.launch && last.block == me.block && last.warp == me.warp &&
                        last.serial == me.serial && last.pc == me.pc;
  constexpr const char* kWhat = "writes what is written without a barrier between by a store";
  if (!ordered(w, last, me) && !(together && same_value)) race(w, last, me, kWhat, shared, address);
  for (const Access& a : cell.atomic)
    if (!me.atomic && !ordered(w, a, me)) race(w, a, me, kWhat, shared, address);
  for (const Access& r : cell.read)
    if (!ordered(w, r, me) && !(r.atomic && me.atomic))
      race(w, r, me, "writes what is read without a barrier between by a load", shared, address);
  if (me.atomic)
    remember(w, cell.atomic, me);
  else
    cell.write = me;
}

void read_by_proxy(Warp& w, Cell& cell, const Access& me, uint64_t address) {
  check_read(w, cell, me, true, address);
  const Access& last = cell.write;
  if (last.launch != me.launch || last.block != me.block || !is_warp(last.warp) || !ordered(w, last, me)) return;
  if (w.clock.fenced[last.warp] < last.stamp)
    w.report(Fault::ProxyFence, me.lane, address,
             "reads without fence.proxy.async what was written by a store" + place(w, last));
}

void begin_copy(Warp& w, uint32_t to, int bytes, int lane) {
  if (!w.launch().options.races) return;
  const int granule = w.program->granule;
  const Access me = w.access(lane, false);
  for (uint32_t at = to; at < to + bytes; at += granule) {
    Cell& cell = w.block->cells[at / granule];
    check_write(w, cell, me, true, at, false);
    ++cell.copying;
  }
}

void end_copy(Warp& w, uint32_t to, int bytes) {
  if (!w.launch().options.races) return;
  const int granule = w.program->granule;
  for (uint32_t at = to; at < to + bytes; at += granule) --w.block->cells[at / granule].copying;
}

}  // namespace native::emulator
