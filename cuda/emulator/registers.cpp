// setmaxnreg: warps give registers to a pool of their block and take from it.
#include <algorithm>

#include "emulator/lanes.h"

namespace native::emulator {
namespace {

constexpr uint32_t kRegistersOfBlock = 65536, kLeast = 24, kMost = 256, kStep = 8;

// Of each thread at the start: what the kernel says, or else as many as there are.
uint32_t at_start(const Warp& w) {
  const uint32_t threads = static_cast<uint32_t>(w.block->warps->size()) * kLanes;
  const uint32_t fit = kRegistersOfBlock / threads / kStep * kStep;
  const auto said = static_cast<uint32_t>(w.program->function->max_registers);
  return std::min(said ? said : kMost, fit);
}
uint32_t held(const Warp& w) { return w.most_registers ? w.most_registers : at_start(w); }

// i.a: the new number; i.b: more than before.
void change(Warp& w, const Instr& i, uint32_t m) {
  need_warpgroup(w, m);
  const uint32_t now = held(w), wanted = static_cast<uint32_t>(i.a);
  if (i.b ? wanted < now : wanted > now)
    w.fail(Fault::Alignment, 0, 0,
           std::to_string(now) + " registers cannot become " + (i.b ? "more by .inc to " : "fewer by .dec to ") +
               std::to_string(wanted));
  uint32_t others = 0;
  for (const Warp& other : *w.block->warps)
    if (&other != &w) others += held(other);
  const auto warps = static_cast<uint32_t>(w.block->warps->size());
  if (i.b && others + wanted > warps * at_start(w)) return w.again(Warp::Poll::Registers);
  w.most_registers = wanted;
  happened(*w.block, Warp::Poll::Registers);
}

}  // namespace

void add_registers(Opcodes& table) {
  table["setmaxnreg"] = [](Decoder& d, Instr& i) {
    d.need_target(90, true);
    i.b = d.take_one({"dec", "inc"});
    if (i.b < 0 || !d.take("sync") || !d.take("aligned") || d.need_type() != Type::U32) d.refuse("no such form");
    const uint64_t count = d.immediate(0);
    if (count < kLeast || count > kMost || count % kStep) d.refuse("takes a multiple of 8 from 24 to 256");
    i.a = static_cast<int>(count);
    i.kind = Class::Special;
    i.run = change;
  };
}

}  // namespace native::emulator
