// membar and fence. Accesses are carried out in order here, so that only those fences change anything that
// lead from one proxy to another.
#include "emulator/lanes.h"

namespace native::emulator {
namespace {

void already_in_order(Warp&, const Instr&, uint32_t) {}

// Mbarriers that were initialised before are visible to bulk copies.
void fence_objects(Warp& w, const Instr&, uint32_t m) {
  const Access me = w.access(first_lane(m), false);
  for (auto& [address, object] : w.block->objects) object.fenced = object.fenced || ordered(w, object.initialised, me);
}
// And so is what this warp knows to be written.
void fence_proxy(Warp& w, const Instr& i, uint32_t m) {
  fence_objects(w, i, m);
  w.clock.fence();
  w.step();
}

void take_scopes(Decoder& d) {
  for (const char* m : {"cta", "cluster", "gl", "gpu", "sys", "sc", "acq_rel", "acquire", "release"}) d.take(m);
}

void build_fence(Decoder& d, Instr& i) {
  i.kind = Class::Sync;
  i.run = already_in_order;
  if (d.take("proxy")) {
    if (!d.take("async")) d.refuse("only .proxy.async is known");
    d.need_target(90);
    // Of global memory alone it changes nothing here: the search is for what shared memory holds.
    if (!d.take("global")) i.run = fence_proxy;
    d.take_one({"shared::cta", "shared::cluster"});
    return;
  }
  if (d.take("mbarrier_init")) {
    if (!d.take("release") || !d.take("cluster")) d.refuse("only .release.cluster is known");
    d.need_target(90);
    i.run = fence_objects;
    return;
  }
  take_scopes(d);
}

}  // namespace

void add_fences(Opcodes& table) { table["membar"] = table["fence"] = build_fence; }

}  // namespace native::emulator
