// What bytes an access means, and whether it may.
#include <algorithm>
#include <cstring>

#include "emulator/machine.h"

namespace native::emulator {
namespace {

using ptx::Space;

[[noreturn]] void outside(Warp& w, int lane, uint64_t address, int bytes, const char* what, size_t size) {
  w.fail(Fault::OutOfBounds, lane, address,
         std::to_string(bytes) + " bytes in " + std::to_string(size) + " bytes of " + what);
}

Bytes in_shared(Warp& w, int lane, uint64_t at, int bytes, Use use, bool atomic, const void* value) {
  Block& b = *w.block;
  if (at + bytes > b.shared.size() || at > b.shared.size())
    outside(w, lane, at, bytes, "shared memory", b.shared.size());
  Bytes found{b.shared.data() + at, b.written.data() + at, Space::Shared};
  const bool same = value && std::memcmp(found.data, value, bytes) == 0;
  check_shared(w, static_cast<uint32_t>(at), bytes, w.access(lane, atomic), use, same);
  return found;
}

Bytes in_local(Warp& w, int lane, uint64_t at, int bytes) {
  const size_t size = w.program->local_bytes;
  if (at + bytes > size || at > size) outside(w, lane, at, bytes, "local memory", size);
  return {w.local.data() + lane * size + at, w.local_written.data() + lane * size + at, Space::Local};
}

Bytes in_global(Warp& w, int lane, uint64_t address, int bytes, Use use, bool atomic, const void* value) {
  // Neighbouring lanes mostly hit what the last one hit.
  static thread_local Allocation* last = nullptr;
  static thread_local const Memory* owner = nullptr;
  Memory& memory = *w.launch().memory;
  Allocation* a = last;
  if (owner != &memory || !a || address - a->base >= a->size) {
    a = memory.find(address);
    if (!a) w.fail(Fault::OutOfBounds, lane, address, memory.describe(address));
    last = a;
    owner = &memory;
  }
  if (a->freed) w.fail(Fault::UseAfterFree, lane, address, "the memory was freed");
  const uint64_t offset = address - a->base;
  if (offset + bytes > a->size) w.fail(Fault::OutOfBounds, lane, address, memory.describe(address + bytes - 1));
  if (use == Use::Write && a->read_only) w.fail(Fault::ReadOnly, lane, address, "constant memory");
  Bytes found{a->data.get() + offset, a->written.get() + offset, Space::Global};
  if (w.launch().options.races && !a->read_only) {
    a->history.begin(a->size);
    const bool same = value && std::memcmp(found.data, value, bytes) == 0;
    check_access(w, a->history, offset, bytes, w.access(lane, atomic), use, false, address, same);
  }
  return found;
}

constexpr int kBanks = 32;

// Of 32 words at most: as many as the fullest bank has different ones.
int passes_for(uint64_t* words, int n) {
  uint64_t first[kBanks];
  uint32_t used = 0;
  bool once = true;  // mostly no bank has two
  for (int k = 0; k < n && once; ++k) {
    const uint32_t bank = words[k] % kBanks;
    once = !(used >> bank & 1) || first[bank] == words[k];
    used |= 1u << bank;
    first[bank] = words[k];
  }
  if (once) return 1;
  std::sort(words, words + n);
  n = static_cast<int>(std::unique(words, words + n) - words);
  int in_bank[kBanks] = {};
  for (int k = 0; k < n; ++k) ++in_bank[words[k] % kBanks];
  return *std::max_element(in_bank, in_bank + kBanks);
}

}  // namespace

Bytes touch(Warp& w, Space space, int lane, uint64_t address, int bytes, Use use, bool atomic, const void* value) {
  if (address & static_cast<uint64_t>(bytes - 1))  // a power of two
    w.fail(Fault::Misaligned, lane, address, std::to_string(bytes) + " bytes must lie at a multiple of their number");
  if (space == Space::Generic) {
    space = Space::Global;
    if (address - kSharedWindow < kWindowBytes) space = Space::Shared, address -= kSharedWindow;
    if (address - kLocalWindow < kWindowBytes) space = Space::Local, address -= kLocalWindow;
    if (address - kParamWindow < kWindowBytes) space = Space::Param, address -= kParamWindow;
  }
  switch (space) {
    case Space::Shared:
      return in_shared(w, lane, address, bytes, use, atomic, value);
    case Space::Local:
      return in_local(w, lane, address, bytes);
    case Space::Param: {
      auto& params = w.launch().params;
      if (address > params.size() || address + bytes > params.size())
        outside(w, lane, address, bytes, "parameters", params.size());
      if (use == Use::Write) w.fail(Fault::ReadOnly, lane, address, "kernel parameters");
      return {params.data() + address, nullptr, Space::Param};
    }
    default:
      return in_global(w, lane, address, bytes, use, atomic, value);
  }
}

void count_shared(Count& count, const uint64_t* addresses, uint32_t m, int bytes) {
  // A pass serves 32 banks of 4 bytes; lanes that want 8 or 16 bytes go in halves or quarters.
  const int lanes = bytes <= 4 ? 32 : 128 / bytes;
  ++count.requests;
  for (int from = 0; from < kLanes; from += lanes) {
    uint64_t words[kBanks];
    int n = 0;
    for (int l = from; l < from + lanes; ++l)
      if (m >> l & 1)
        for (int b = 0; b < std::max(bytes, 4); b += 4) words[n++] = (addresses[l] + b) / 4;
    if (n == 0) continue;
    const int passes = passes_for(words, n);
    count.phases += passes;
    count.conflicts += passes - 1;
  }
}

void count_global(Count& count, const uint64_t* addresses, uint32_t m, int bytes) {
  uint64_t sorted[kLanes], sectors = 0, distinct = 0;
  int n = 0;
  for (int l = 0; l < kLanes; ++l)
    if (m >> l & 1) sorted[n++] = addresses[l];
  if (!std::is_sorted(sorted, sorted + n)) std::sort(sorted, sorted + n);
  for (int k = 0; k < n; ++k) {
    if (k > 0 && sorted[k] == sorted[k - 1]) continue;
    ++distinct;
    sectors += k == 0 || sorted[k] / 32 != sorted[k - 1] / 32;
  }
  ++count.requests;
  count.sectors += sectors;
  count.ideal_sectors += (distinct * bytes + 31) / 32;
}

}  // namespace native::emulator
