#include "core/allocator.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
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
// Blocks are cached as long as they and those in use take no more than the most that was in use lately: what one
// training step hands back the next asks for, and fresh pages cost as much as the work on them. At least this many
// bytes are.
constexpr size_t kCacheFloor = size_t{64} << 20;
constexpr std::chrono::seconds kLately{10};

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

struct Block {
  void* data;
  uint64_t released;  // the how many-th block to be
};
struct State {
  ForkMutex mutex{ForkMutex::Rank::Leaf};
  std::map<size_t, std::deque<Block>> cached;  // by size, never empty; those released last at the end
  uint64_t releases = 0;
  size_t cached_bytes = 0;
  size_t in_use = 0;
  size_t peak = 0;
  // The most in use since `since` and in the span before, each of kLately or until somebody looked.
  size_t recent = 0, before = 0;
  std::chrono::steady_clock::time_point since;
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

// Gives back cached blocks, those that have waited longest first, until no more than `bytes` are left.
void shrink_cache(State& s, size_t bytes) {
  while (s.cached_bytes > bytes) {
    auto oldest = s.cached.begin();
    for (auto at = s.cached.begin(); at != s.cached.end(); ++at)
      if (at->second.front().released < oldest->second.front().released) oldest = at;
    auto& [size, blocks] = *oldest;
    give_back(blocks.front().data, size);
    s.cached_bytes -= size;
    blocks.pop_front();
    if (blocks.empty()) s.cached.erase(oldest);
  }
}

// False if there is no memory to note it down.
bool cache(State& s, void* data, size_t size) noexcept {
  try {
    s.cached[size].push_back({data, s.releases++});
    s.cached_bytes += size;
    return true;
  } catch (...) {
    if (const auto at = s.cached.find(size); at != s.cached.end() && at->second.empty()) s.cached.erase(at);
    return false;
  }
}

size_t cache_limit(const State& s) { return std::max(kCacheFloor, std::max(s.recent, s.before) - s.in_use); }

void look_at_the_clock(State& s) {
  const auto now = std::chrono::steady_clock::now();
  if (now - s.since < kLately) return;
  s.since = now;
  s.before = s.recent;
  s.recent = s.in_use;
  shrink_cache(s, cache_limit(s));
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
  if (auto found = s.cached.find(size); found != s.cached.end()) {
    data = found->second.back().data;
    found->second.pop_back();
    if (found->second.empty()) s.cached.erase(found);
    s.cached_bytes -= size;
  } else {
    if (size >= kCheckFrom) {
      size_t left = available();
      if (size > left && s.cached_bytes > 0) {
        shrink_cache(s, 0);
        left = available();
      }
      if (size > left) refuse(bytes, left);
    }
    data = acquire(size);
    if (!data && s.cached_bytes > 0) {
      shrink_cache(s, 0);
      data = acquire(size);
    }
    if (!data) refuse(bytes, available());
  }
  s.in_use += size;
  s.peak = std::max(s.peak, s.in_use);
  s.recent = std::max(s.recent, s.in_use);
  return data;
}

void release(void* data, size_t bytes) noexcept {
  const size_t size = rounded(bytes);
  State& s = state();
  std::lock_guard lock(s.mutex);
  if (size >= kHugePage) look_at_the_clock(s);
  s.in_use -= size;
  if (size > cache_limit(s) || !cache(s, data, size)) return give_back(data, size);
  shrink_cache(s, cache_limit(s));
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
  shrink_cache(state(), 0);
}

}  // namespace native::allocator
