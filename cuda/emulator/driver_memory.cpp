// Allocations and copies.
#include <cstdlib>
#include <cstring>

#include "emulator/driver_state.h"

namespace native::emulator {

using namespace native::cuda;

namespace {

Result memory_allocate(Address* a, size_t bytes) {
  Lock lock;
  if (const Result r = spoil_recordings("cuMemAlloc")) return r;
  ++state().calls.allocations;
  if (bytes == 0) return kInvalidValue;
  *a = state().memory.allocate(bytes);
  return *a ? kSuccess
            : failure(kOutOfMemory, std::to_string(bytes) + " bytes asked for, " +
                                        std::to_string(state().memory.capacity() - state().memory.in_use()) + " left");
}
Result memory_free(Address a) {
  Lock lock;
  if (const Result r = spoil_recordings("cuMemFree")) return r;
  settle();  // as on a device
  if (!state().memory.release(a)) return failure(kInvalidValue, hex(a) + " is no allocation, or was freed before");
  return kSuccess;
}
Result memory_info(size_t* available, size_t* total) {
  Lock lock;
  *total = state().memory.capacity();
  *available = *total - state().memory.in_use();
  return kSuccess;
}
Result host_allocate(void** p, size_t bytes, unsigned) {
  *p = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  return *p ? kSuccess : kOutOfMemory;
}
Result host_free(void* p) {
  Lock lock;
  settle();
  std::free(p);
  return kSuccess;
}

Result outside(const char* what, Address a, size_t bytes) {
  const std::string text =
      std::string(what) + " of " + std::to_string(bytes) + " bytes at " + hex(a) + ": " +
      (state().memory.find(a) ? "runs past the end, or the memory was freed" : state().memory.describe(a));
  Reports::all().add(number_refused(what), 0, {Fault::OutOfBounds, what, "", "", {}, {}, a, text});
  return failure(kInvalidValue, text);
}
// With several streams, each copy is looked at beside the work of the others.
void look_at(Address a, size_t bytes, bool writes, const Order& order) {
  if (state().streams.size() < 2 || !state().options.races) return;
  Allocation* allocation = state().memory.find(a);
  check_copy(*allocation, a - allocation->base, bytes, writes, order);
}
Result copy_in(Address to, const void* from, size_t bytes, Stream s) {
  Lock lock;
  ++state().calls.copies;
  enqueue(s, "copy to the device", [=](const Order& order) -> Result {
    uint8_t* data = state().memory.host(to, bytes, true);
    if (!data) return outside("copy to the device", to, bytes);
    look_at(to, bytes, true, order);
    std::memcpy(data, from, bytes);
    return kSuccess;
  });
  return kSuccess;
}
Result copy_out(void* to, Address from, size_t bytes, Stream s) {
  Lock lock;
  ++state().calls.copies;
  enqueue(s, "copy to the host", [=](const Order& order) -> Result {
    const uint8_t* data = state().memory.host(from, bytes, false);
    if (!data) return outside("copy to the host", from, bytes);
    look_at(from, bytes, false, order);
    std::memcpy(to, data, bytes);
    return kSuccess;
  });
  return kSuccess;
}
Result copy_within(Address to, Address from, size_t bytes, Stream s) {
  Lock lock;
  ++state().calls.copies;
  enqueue(s, "copy on the device", [=](const Order& order) -> Result {
    const uint8_t* source = state().memory.host(from, bytes, false);
    if (!source) return outside("copy on the device", from, bytes);
    uint8_t* target = state().memory.host(to, bytes, true);
    if (!target) return outside("copy on the device", to, bytes);
    look_at(from, bytes, false, order);
    look_at(to, bytes, true, order);
    std::memmove(target, source, bytes);
    // What was never written stays so.
    Allocation *a = state().memory.find(from), *b = state().memory.find(to);
    std::memmove(b->written.get() + (to - b->base), a->written.get() + (from - a->base), bytes);
    return kSuccess;
  });
  return kSuccess;
}
Result fill(Address to, unsigned char value, size_t bytes, Stream s) {
  Lock lock;
  enqueue(s, "fill", [=](const Order& order) -> Result {
    uint8_t* data = state().memory.host(to, bytes, true);
    if (!data) return outside("fill", to, bytes);
    look_at(to, bytes, true, order);
    std::memset(data, value, bytes);
    return kSuccess;
  });
  return kSuccess;
}

}  // namespace

void fill_memory(Driver& t) {
  t.cuMemAlloc_v2 = memory_allocate;
  t.cuMemFree_v2 = memory_free;
  t.cuMemGetInfo_v2 = memory_info;
  t.cuMemHostAlloc = host_allocate;
  t.cuMemFreeHost = host_free;
  t.cuMemcpyHtoDAsync_v2 = copy_in;
  t.cuMemcpyDtoHAsync_v2 = copy_out;
  t.cuMemcpyDtoDAsync_v2 = copy_within;
  t.cuMemsetD8Async = fill;
}

}  // namespace native::emulator
