// The search for races. A cell remembers the last write and two reads of its granule; two accesses race if
// one of them writes, not both are atomic, and no chain of barriers orders them.
#include "emulator/machine.h"

namespace native::emulator {
namespace {

bool ordered(const Warp& w, const Access& before, const Access& me) {
  if (before.launch != me.launch) return true;
  if (before.block != me.block) return false;
  if (before.warp == me.warp) return before.lane == me.lane || before.sync < me.sync;
  return w.clock[before.warp] >= before.stamp;
}

void race(Warp& w, const Access& before, const Access& me, const char* what, bool shared, uint64_t address) {
  std::string message = std::string(what) + " of ";
  if (before.block != me.block)
    message += "block " + std::to_string(before.block) + " (counted in order)";
  else if (before.lane == kSeveral)
    message += "several lanes of warp " + std::to_string(before.warp);
  else
    message += "thread " + std::to_string(before.warp * kLanes + before.lane) + " (counted in order)";
  message += " at " + w.program->source(before.pc) + " (" + w.program->code[before.pc].text->opcode() + ")";
  w.report(shared ? Fault::SharedRace : Fault::GlobalRace, me.lane, address, message);
}

void check_copy(Warp& w, const Cell& cell, const Access& me, uint64_t address) {
  if (cell.copying) w.report(Fault::AsyncRace, me.lane, address, "a cp.async into this place has not been waited for");
}

void remember_read(Warp& w, Cell& cell, const Access& me) {
  for (Access& r : cell.read)
    if (r.launch == me.launch && r.block == me.block && r.warp == me.warp) {
      const bool same_time = r.stamp == me.stamp && r.sync == me.sync;
      const int8_t lane = same_time && r.lane != me.lane ? kSeveral : me.lane;
      r = me;
      r.lane = lane;
      return;
    }
  // A read that is ordered before this one needs no memory: whoever races with it races with this one.
  Access& free = ordered(w, cell.read[0], me) ? cell.read[0] : cell.read[1];
  free = me;
}

}  // namespace

void check_read(Warp& w, Cell& cell, const Access& me, bool shared, uint64_t address) {
  check_copy(w, cell, me, address);
  if (!ordered(w, cell.write, me) && !(cell.write.atomic && me.atomic))
    race(w, cell.write, me, "reads what is written without a barrier between by a store", shared, address);
  remember_read(w, cell, me);
}

void check_write(Warp& w, Cell& cell, const Access& me, bool shared, uint64_t address, bool same_value) {
  check_copy(w, cell, me, address);
  const Access& last = cell.write;
  const bool together = last.launch == me.launch && last.block == me.block && last.warp == me.warp &&
                        last.serial == me.serial && last.pc == me.pc;
  if (!ordered(w, last, me) && !(last.atomic && me.atomic) && !(together && same_value))
    race(w, last, me, "writes what is written without a barrier between by a store", shared, address);
  for (const Access& r : cell.read)
    if (!ordered(w, r, me) && !(r.atomic && me.atomic))
      race(w, r, me, "writes what is read without a barrier between by a load", shared, address);
  cell.write = me;
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
