// cp.async.bulk.tensor: boxes of a tensor into shared memory and out of it. A load happens as late as it may,
// when somebody waits at its mbarrier; a store reads at once, but may not be waited for too late.
#include <algorithm>
#include <utility>

#include "emulator/lanes.h"

namespace native::emulator {
namespace {

using ptx::Space;

// Sources: the shared address, the map, its coordinates, and of a load the mbarrier. i.a, i.b: what is added to
// the addresses of shared memory and of the mbarrier; i.c: the number of dimensions.
struct Box {
  TensorMap map;
  std::array<int32_t, 5> at{};
  uint32_t shared = 0;
};

// The 128 bytes at a generic address of parameters or memory.
TensorMap map_at(Warp& w, int lane, uint64_t address, int rank) {
  if (address % 64) w.fail(Fault::Misaligned, lane, address, "a tensor map must lie at a multiple of 64 bytes");
  uint8_t bytes[128];
  for (int half = 0; half < 2; ++half)
    std::memcpy(bytes + 64 * half, touch(w, Space::Generic, lane, address + 64 * half, 64, Use::Read).data, 64);
  const std::optional<TensorMap> map = decode_map(bytes);
  if (!map) w.fail(Fault::Alignment, lane, address, "these bytes are no tensor map of cuTensorMapEncodeTiled's");
  if (map->rank != static_cast<uint32_t>(rank))
    w.fail(Fault::Alignment, lane, address,
           "the tensor has " + std::to_string(map->rank) + " dimensions, the copy " + std::to_string(rank));
  return *map;
}

Box box_of(Warp& w, const Instr& i, int lane) {
  Box box;
  const uint64_t shared = w.lane(i.s[0])[lane] + static_cast<uint64_t>(int64_t{i.a});
  box.map = map_at(w, lane, w.lane(i.s[1])[lane] + static_cast<uint64_t>(i.offset), i.c);
  for (int n = 0; n < i.c; ++n) box.at[n] = static_cast<int32_t>(w.lane(i.s[2 + n])[lane]);
  if (shared % 128)
    w.fail(Fault::Misaligned, lane, shared, "a box must lie at a multiple of 128 bytes of shared memory");
  const uint64_t size = w.block->shared.size();
  if (shared > size || shared + box.map.bytes() > size)
    w.fail(Fault::OutOfBounds, lane, shared,
           "a box of " + std::to_string(box.map.bytes()) + " bytes in " + std::to_string(size) +
               " bytes of shared memory");
  // The manual asks this of addresses alone; an H100 takes other coordinates for an illegal instruction.
  if (int64_t{box.at[0]} * box.map.element() % 16)
    w.fail(Fault::Misaligned, lane, shared,
           "a box must begin at a multiple of 16 bytes, not at the index " + std::to_string(box.at[0]) +
               " of elements of " + std::to_string(box.map.element()));
  box.shared = static_cast<uint32_t>(shared);
  return box;
}

// The manual does not say so: an H100 takes a store that begins before the tensor for an illegal instruction, too.
void require_no_negative(Warp& w, const Box& box, int lane) {
  for (uint32_t n = 0; n < box.map.rank; ++n)
    if (box.at[n] < 0)
      w.fail(Fault::OutOfBounds, lane, box.shared,
             "a store's box begins before the tensor: coordinate " + std::to_string(n) + " is " +
                 std::to_string(box.at[n]));
}

// Global bytes in the widest accesses that their alignment allows.
template <class Part>
void each_part(uint64_t address, int bytes, Part part) {
  for (int k = 0; k < bytes;) {
    int step = 16;
    while ((address + k) % step || k + step > bytes) step /= 2;
    part(k, step);
    k += step;
  }
}

void load_tensor(Warp& w, const Instr& i, uint32_t m) {
  each_lane(m, [&](int l) {
    const Box box = box_of(w, i, l);
    const uint64_t object = w.lane(i.s[2 + i.c])[l] + static_cast<uint64_t>(int64_t{i.b});
    const BarrierObject& o = object_at(w, l, object);
    if (!o.fenced)
      w.report(Fault::ProxyFence, l, object,
               "bulk copies need fence.mbarrier_init or fence.proxy.async behind the mbarrier's initialisation");
    Access me = w.access(l, false);
    me.warp = static_cast<int16_t>(o.agent());
    me.stamp = o.phase + 1;
    each_piece(box.map, box.at, box.shared, [&](uint32_t at, int first, int last, uint64_t global) {
      // Bounds and life are checked now, where the kernel's line is known; the bytes are read later.
      each_part(global, last - first,
                [&](int k, int step) { touch(w, Space::Global, l, global + k, step, Use::Read); });
      check_shared(w, at, 16, me, Use::Write);
    });
    w.block->loads.push_back({box.map, box.at, box.shared, static_cast<uint32_t>(object), o.phase, w.index, l, w.pc});
  });
}

void store_tensor(Warp& w, const Instr& i, uint32_t m) {
  each_lane(m, [&](int l) {
    const Box box = box_of(w, i, l);
    require_no_negative(w, box, l);
    Block& b = *w.block;
    w.stores.push_back({l, w.pc, w.store_group[l], ++w.store_stamp});
    Access me = w.access(l, false);
    me.warp = static_cast<int16_t>(kFirstStore + w.index);
    me.stamp = w.store_stamp;
    each_piece(box.map, box.at, box.shared, [&](uint32_t at, int first, int last, uint64_t global) {
      if (first == last) return;
      read_by_proxy(w, at, me);
      if (!std::all_of(&b.written[at + first], &b.written[at] + last, [](uint8_t x) { return x != 0; }))
        w.report(Fault::Uninitialised, l, at, "shared memory is read that nothing was written to");
      each_part(global, last - first, [&](int k, int step) {
        const uint8_t* from = &b.shared[at + first + k];
        const Bytes to = touch(w, Space::Global, l, global + k, step, Use::Write, false, from);
        std::memcpy(to.data, from, step);
        std::memset(to.written, 1, step);
      });
    });
  });
}

void commit_stores(Warp& w, const Instr&, uint32_t m) {
  each_lane(m, [&](int l) { ++w.store_group[l]; });
}

// i.a: groups that may still be under way.
void wait_for_stores(Warp& w, const Instr& i, uint32_t m) {
  uint32_t& known = w.clock.known[kFirstStore + w.index];
  std::erase_if(w.stores, [&](const BulkStore& s) {
    const bool over = (m >> s.lane & 1) && int64_t{s.group} < int64_t{w.store_group[s.lane]} - i.a;
    if (over) known = std::max(known, s.stamp);
    return over;
  });
}

// [shared], [map, {coordinates}], [mbarrier] or [map, {coordinates}], [shared].
void build_tensor(Decoder& d, Instr& i) {
  i.c = d.take_one({"1d", "2d", "3d", "4d", "5d"}) + 1;
  if (i.c == 0) d.refuse("the number of dimensions is missing");
  d.take("tile");
  const bool stores = d.take("bulk_group");
  const bool hint = d.take("L2::cache_hint");
  const bool cta = d.take("shared::cta"), cluster = d.take("shared::cluster");
  if (cta == cluster || !d.take("global") || (stores && cluster)) d.refuse("unknown state spaces");
  if (!stores && !d.take("mbarrier::complete_tx::bytes")) d.refuse("unknown completion");
  d.address(i, stores ? 1 : 0);
  i.a = static_cast<int32_t>(i.offset);
  d.tensor(i, stores ? 0 : 1, i.c);
  const int64_t of_map = i.offset;
  if (!stores) {
    d.address(i, 2);
    i.b = static_cast<int32_t>(i.offset);
  }
  i.offset = of_map;
  i.strict = i.ns;
  if (hint) d.source(i, stores ? 2 : 3, Type::B64);
  i.run = stores ? store_tensor : load_tensor;
}

}  // namespace

void build_bulk(Decoder& d, Instr& i) {
  d.need_target(90);
  if (d.take("commit_group")) {
    i.run = commit_stores;
  } else if (d.take("wait_group")) {
    d.take("read");
    i.a = static_cast<int>(d.immediate(0));
    i.run = wait_for_stores;
  } else if (d.take("tensor")) {
    build_tensor(d, i);
  } else {
    d.refuse("only copies of tensors are known");
  }
}

void land(Block& b, size_t load) {
  const BulkLoad copy = b.loads[load];
  b.loads.erase(b.loads.begin() + static_cast<std::ptrdiff_t>(load));
  Warp& w = (*b.warps)[copy.warp];
  const int pc = std::exchange(w.pc, copy.pc);
  each_piece(copy.map, copy.at, copy.to, [&](uint32_t at, int first, int last, uint64_t global) {
    std::memset(&b.shared[at], 0, 16);
    std::memset(&b.written[at], 1, 16);
    if (first == last) return;
    const Allocation* a = w.launch().memory->find(global);
    std::memcpy(&b.shared[at + first], a->data.get() + (global - a->base), last - first);
    std::memcpy(&b.written[at + first], a->written.get() + (global - a->base), last - first);
  });
  const auto object = b.objects.find(copy.object);
  if (object == b.objects.end())
    w.fail(Fault::BarrierObject, copy.lane, copy.object, "the mbarrier was made invalid before this copy ended");
  if (object->second.phase != copy.phase)
    w.report(Fault::BarrierObject, copy.lane, copy.object,
             "the phase in which this copy began ended without its bytes, which were not expected");
  if (!complete_bytes(b, copy.object, copy.map.bytes()))
    w.fail(Fault::BarrierObject, copy.lane, copy.object,
           "the " + std::to_string(copy.map.bytes()) + " bytes of this copy are more than the mbarrier expects");
  w.pc = pc;
}

void check_ended(Block& b) {
  auto report = [&](Warp& w, int pc, int lane, uint64_t address, const char* what) {
    w.pc = pc;
    w.report(Fault::AsyncRace, lane, address, what);
  };
  for (const BulkLoad& copy : b.loads)
    report((*b.warps)[copy.warp], copy.pc, copy.lane, copy.to, "the block ends before this copy is waited for");
  for (Warp& w : *b.warps)
    for (const BulkStore& store : w.stores)
      report(w, store.pc, store.lane, 0, "the block ends before this copy has read all: it is not waited for");
  for (Warp& w : *b.warps) check_products_ended(w);
}

}  // namespace native::emulator
