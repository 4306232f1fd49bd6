#include "emulator/memory.h"

#include <cstdio>
#include <cstring>

namespace native::emulator {

uint64_t Memory::allocate(size_t bytes, std::string label) {
  if (bytes > capacity_ - in_use_) return 0;
  auto a = std::make_unique<Allocation>();
  a->base = next_;
  a->size = bytes;
  a->label = std::move(label);
  a->data = std::make_unique_for_overwrite<uint8_t[]>(bytes + 1);
  a->written = std::make_unique<uint8_t[]>(bytes + 1);
  std::memset(a->data.get(), 0xFF, bytes);  // NaN in every float format
  // Aligned as cuMemAlloc promises, and a gap that no small stride steps over.
  next_ += (bytes / (1 << 20) + 2) << 20;
  in_use_ += bytes;
  const uint64_t base = a->base;
  allocations_[base] = std::move(a);
  return base;
}

bool Memory::release(uint64_t base) {
  auto found = allocations_.find(base);
  if (found == allocations_.end() || found->second->freed) return false;
  Allocation& a = *found->second;
  a.freed = true;
  a.data.reset();
  a.written.reset();
  a.history = {};
  in_use_ -= a.size;
  return true;
}

Allocation* Memory::find(uint64_t address) {
  auto next = allocations_.upper_bound(address);
  if (next == allocations_.begin()) return nullptr;
  Allocation* a = std::prev(next)->second.get();
  return address - a->base < a->size ? a : nullptr;
}

std::string Memory::describe(uint64_t address) {
  auto next = allocations_.upper_bound(address);
  if (next == allocations_.begin()) return "no memory of this device is near";
  const Allocation& a = *std::prev(next)->second;
  char text[160];
  std::snprintf(text, sizeof text, "%lld bytes past the end of %s%s%zu bytes at 0x%llx",
                static_cast<long long>(address - a.base - a.size), a.label.c_str(), a.label.empty() ? "" : ", ", a.size,
                static_cast<unsigned long long>(a.base));
  if (next == allocations_.end() || address - a.base - a.size < next->first - address) return text;
  std::snprintf(text, sizeof text, "%lld bytes before %zu bytes at 0x%llx",
                static_cast<long long>(next->first - address), next->second->size,
                static_cast<unsigned long long>(next->first));
  return text;
}

uint8_t* Memory::host(uint64_t address, size_t bytes, bool writes) {
  Allocation* a = find(address);
  if (!a || a->freed || bytes > a->size - (address - a->base)) return nullptr;
  const size_t offset = address - a->base;
  if (writes) std::memset(a->written.get() + offset, 1, bytes);
  return a->data.get() + offset;
}

}  // namespace native::emulator
