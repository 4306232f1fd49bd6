#include "core/allocator.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "core/errors.h"
#include "core/fork_mutex.h"

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

namespace native::allocator {
namespace {

constexpr size_t kAlign = 64;
// From one page of 2 MB on, blocks are aligned to it and the system is asked for such pages: a product
// that walks over tens of megabytes in pages of 4 KB waits for the page table as long as for the data.
constexpr size_t kHugePage = size_t{2} << 20;
// Above this a request is first compared with the memory that is left.
constexpr size_t kCheckFrom = size_t{64} << 20;
// Cached blocks are kept up to this share of what is in use, and at least this many bytes.
constexpr size_t kCacheFloor = size_t{64} << 20;

// Size classes: eight steps to a power of two, so that at most an eighth is wasted.
size_t rounded(size_t bytes) {
  if (bytes <= 512) return (std::max<size_t>(bytes, 1) + kAlign - 1) / kAlign * kAlign;
  const size_t step = std::bit_floor(bytes) / 8;
  return (bytes + step - 1) / step * step;
}

std::align_val_t alignment(size_t size) { return std::align_val_t{size >= kHugePage ? kHugePage : kAlign}; }

// A block of the system's; nullptr if it has none.
void* acquire(size_t size) {
  void* data = ::operator new(size, alignment(size), std::nothrow);
#ifdef MADV_HUGEPAGE
  if (data && size >= kHugePage) madvise(data, size / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return data;
}
void give_back(void* data, size_t size) noexcept { ::operator delete(data, alignment(size)); }

struct State {
  ForkMutex mutex{ForkMutex::Rank::Leaf};
  std::map<size_t, std::vector<void*>> cached;
  size_t cached_bytes = 0;
  size_t in_use = 0;
  size_t peak = 0;
};
State& state() {
  static State* s = new State;
  return *s;
}

size_t read_number(const char* path) {
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path, "r"), std::fclose);
  unsigned long long value = 0;
  return file && std::fscanf(file.get(), "%llu", &value) == 1 ? static_cast<size_t>(value) : 0;
}

size_t available() {
  size_t left = std::numeric_limits<size_t>::max();
  std::unique_ptr<FILE, int (*)(FILE*)> info(std::fopen("/proc/meminfo", "r"), std::fclose);
  char line[128];
  unsigned long long kib = 0;
  while (info && std::fgets(line, sizeof(line), info.get()))
    if (std::sscanf(line, "MemAvailable: %llu", &kib) == 1) left = static_cast<size_t>(kib) << 10;
  if (size_t limit = read_number("/sys/fs/cgroup/memory.max"); limit > 0) {
    const size_t used = read_number("/sys/fs/cgroup/memory.current");
    left = std::min(left, limit > used ? limit - used : 0);
  }
  return left;
}

void free_cached(State& s) {
  for (auto& [size, blocks] : s.cached)
    for (void* block : blocks) give_back(block, size);
  s.cached.clear();
  s.cached_bytes = 0;
}

[[noreturn]] void refuse(size_t bytes, size_t left) {
  throw MemoryLimitError("cannot allocate " + std::to_string(bytes) + " bytes: " + std::to_string(left) +
                         " are available");
}

}  // namespace

void* allocate(size_t bytes) {
  if (bytes > std::numeric_limits<size_t>::max() / 4) refuse(bytes, 0);
  const size_t size = rounded(bytes);
  State& s = state();
  std::lock_guard lock(s.mutex);
  void* data = nullptr;
  if (auto found = s.cached.find(size); found != s.cached.end() && !found->second.empty()) {
    data = found->second.back();
    found->second.pop_back();
    s.cached_bytes -= size;
  } else {
    if (size >= kCheckFrom) {
      size_t left = available();
      if (size > left && s.cached_bytes > 0) {
        free_cached(s);
        left = available();
      }
      if (size > left) refuse(bytes, left);
    }
    data = acquire(size);
    if (!data) refuse(bytes, available());
  }
  s.in_use += size;
  s.peak = std::max(s.peak, s.in_use);
  return data;
}

void release(void* data, size_t bytes) noexcept {
  const size_t size = rounded(bytes);
  State& s = state();
  std::lock_guard lock(s.mutex);
  s.in_use -= size;
  if (s.cached_bytes + size <= std::max(kCacheFloor, s.in_use)) {
    try {
      s.cached[size].push_back(data);
      s.cached_bytes += size;
      return;
    } catch (...) {
    }
  }
  give_back(data, size);
}

size_t in_use() {
  std::lock_guard lock(state().mutex);
  return state().in_use;
}
size_t peak() {
  std::lock_guard lock(state().mutex);
  return state().peak;
}
void trim() noexcept {
  std::lock_guard lock(state().mutex);
  free_cached(state());
}

}  // namespace native::allocator
