// cp.async: the copy happens as late as it may, when its group is waited for. Until then its target is out
// of bounds for everybody.
#include <algorithm>

#include "emulator/lanes.h"

namespace native::emulator {
namespace {

void copy_later(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t *to = w.lane(i.s[0]), *from = w.lane(i.s[1]);
  const uint64_t* size = i.ns > 2 ? w.lane(i.s[2]) : nullptr;
  uint64_t shared[kLanes] = {}, global[kLanes] = {};
  each_lane(m, [&](int l) {
    shared[l] = to[l] + static_cast<uint64_t>(i.offset);
    global[l] = from[l] + static_cast<uint64_t>(i.a);
    if (shared[l] % i.width || global[l] % i.width)
      w.fail(Fault::Misaligned, l, shared[l] % i.width ? shared[l] : global[l],
             "both addresses must be multiples of " + std::to_string(i.width));
    const uint64_t size_of_shared = w.block->shared.size();
    if (shared[l] > size_of_shared || shared[l] + i.width > size_of_shared)
      w.fail(
          Fault::OutOfBounds, l, shared[l],
          std::to_string(i.width) + " bytes in " + std::to_string(w.block->shared.size()) + " bytes of shared memory");
    const uint64_t read = size ? std::min<uint64_t>(uint32_t(size[l]), i.width) : i.width;
    begin_copy(w, static_cast<uint32_t>(shared[l]), i.width, l);
    // Bounds are checked now, where the kernel's line is known; the bytes are read later.
    const int step = i.width == read ? i.width : 1;
    for (uint64_t k = 0; k < read; k += step) touch(w, ptx::Space::Global, l, global[l] + k, step, Use::Read);
    w.copies.push_back({global[l], static_cast<uint32_t>(shared[l]), i.width, static_cast<uint8_t>(read),
                        static_cast<uint8_t>(l), w.group[l], w.pc});
  });
  count_global(w.count(), global, m, i.width);
  count_shared(w.count(), shared, m, i.width);
}

void commit_group(Warp& w, const Instr&, uint32_t m) {
  each_lane(m, [&](int l) { ++w.group[l]; });
}
void wait_group(Warp& w, const Instr& i, uint32_t m) { complete_copies(w, m, i.a, false); }
void wait_all(Warp& w, const Instr&, uint32_t m) { complete_copies(w, m, 0, true); }

void carry_out(Warp& w, const AsyncCopy& c) {
  Block& b = *w.block;
  end_copy(w, c.to, c.bytes);
  std::memset(&b.shared[c.to], 0, c.bytes);
  std::memset(&b.written[c.to], 1, c.bytes);
  for (int k = 0; k < c.read;) {
    // A partial copy need not be a power of two long.
    const int step = c.read == c.bytes ? c.bytes : 1;
    const Bytes from = touch(w, ptx::Space::Global, c.lane, c.from + k, step, Use::Read);
    std::memcpy(&b.shared[c.to + k], from.data, step);
    for (int n = 0; n < step; ++n)
      if (!from.written[n]) b.written[c.to + k + n] = 0;
    k += step;
  }
  // To the others the write happens now, and a barrier must still come before they read.
  const Access me = w.access(c.lane, false);
  each_cell(w, c.to, c.bytes, [&](Cell& cell) { cell.write = me; });
}

}  // namespace

void complete_copies(Warp& w, uint32_t m, int allowed, bool uncommitted) {
  size_t kept = 0;
  for (size_t k = 0; k < w.copies.size(); ++k) {
    const AsyncCopy c = w.copies[k];
    const bool asked = m >> c.lane & 1;
    const bool due = uncommitted || static_cast<int64_t>(c.group) < static_cast<int64_t>(w.group[c.lane]) - allowed;
    if (asked && due)
      carry_out(w, c);
    else
      w.copies[kept++] = c;
  }
  w.copies.resize(kept);
}

void add_async(Opcodes& table) {
  // "cp" is the first part of cp.async, cp.async.commit_group, cp.async.wait_group, cp.async.wait_all.
  table["cp"] = [](Decoder& d, Instr& i) {
    if (!d.take("async")) d.refuse("only cp.async is known");
    i.kind = Class::Shared;
    if (d.take("bulk")) return build_bulk(d, i);
    if (d.take("commit_group")) {
      i.run = commit_group;
    } else if (d.take("wait_all")) {
      i.run = wait_all;
    } else if (d.take("wait_group")) {
      i.a = static_cast<int>(d.immediate(0));
      i.run = wait_group;
    } else {
      const bool bypass = d.take_one({"ca", "cg"}) == 1;
      d.take("shared::cta");
      d.take("shared");
      d.take("global");
      for (const char* m : {"L2::64B", "L2::128B", "L2::256B"}) d.take(m);
      i.width = static_cast<uint8_t>(d.immediate(2));
      if (i.width != 16 && (bypass || (i.width != 4 && i.width != 8))) d.refuse("copies 4, 8 or 16 bytes, .cg 16");
      d.address(i, 0);
      const int64_t to = i.offset;
      d.address(i, 1);
      i.a = static_cast<int>(i.offset);
      i.offset = to;
      if (d.operands() > 3) d.source(i, 3, Type::U32);
      i.strict = i.ns;
      i.run = copy_later;
    }
  };
}

}  // namespace native::emulator
