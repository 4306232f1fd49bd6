#include "runtime/cpu.h"

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "core/errors.h"

#if defined(__linux__)
#include <unistd.h>
#endif

namespace native {
namespace {

struct Row {
  Isa isa;
  const char* name;
};
// Worst to best; `wide` is never chosen by itself.
constexpr Row kRows[] = {{Isa::Wide, "wide"},
                         {Isa::Generic, "generic"},
                         {Isa::Avx2, "avx2"},
                         {Isa::Avx512, "avx512"},
                         {Isa::Avx512Bf16, "avx512_bf16"}};

Isa parse(const std::string& name) {
  for (const Row& row : kRows)
    if (name == row.name) {
      if (!isa_compiled(row.isa)) throw UnsupportedError("instruction set '" + name + "' is not in this build");
      if (!isa_supported(row.isa)) throw UnsupportedError("this machine has no '" + name + "'");
      return row.isa;
    }
  throw UnsupportedError("unknown instruction set '" + name + "'; known: generic, avx2, avx512, avx512_bf16, wide");
}

Isa choose() {
  if (const char* forced = std::getenv("NATIVE_ISA"); forced && *forced) return parse(forced);
  Isa best = Isa::Generic;
  for (const Row& row : kRows)
    if (row.isa != Isa::Wide && isa_compiled(row.isa) && isa_supported(row.isa)) best = row.isa;
  return best;
}

std::atomic<int> g_isa{-1};
std::atomic<int64_t> g_far_bytes{-1};

long cache_or(int name, long otherwise) {
#if defined(__linux__) && defined(_SC_LEVEL1_DCACHE_SIZE)
  long size = sysconf(name);
  return size > 0 ? size : otherwise;
#else
  (void)name;
  return otherwise;
#endif
}

// sysconf() counts the last level of the whole package, on Zen many times what one core uses. Linux knows the latter.
long last_level_or(int name, long otherwise) {
  std::ifstream size("/sys/devices/system/cpu/cpu0/cache/index3/size");
  long kilobytes = 0;
  return size >> kilobytes && size.get() == 'K' && kilobytes > 0 ? kilobytes << 10 : cache_or(name, otherwise);
}

int64_t number_of_bytes(const std::string& text) {
  int64_t bytes = -1;
  const char* const end = text.data() + text.size();
  if (std::from_chars(text.data(), end, bytes).ptr != end || bytes < 0)
    throw std::invalid_argument("NATIVE_FAR_BYTES is '" + text + "': it is a number of bytes, 0 or more");
  return bytes;
}

}  // namespace

const char* name_of(Isa isa) {
  for (const Row& row : kRows)
    if (row.isa == isa) return row.name;
  return "?";
}

bool isa_compiled(Isa isa) {
  if (isa == Isa::Generic) return true;
#if NATIVE_X86
#if defined(NATIVE_HAS_WIDE)
  return true;
#else
  return isa != Isa::Wide;
#endif
#else
  return false;
#endif
}

bool isa_supported(Isa isa) {
#if NATIVE_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  switch (isa) {
    case Isa::Generic:
      return true;
    case Isa::Avx2:
    case Isa::Wide:
      return avx2;
    case Isa::Avx512:
      return avx512;
    case Isa::Avx512Bf16:
      return avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  }
  return false;
#else
  return isa == Isa::Generic;
#endif
}

Isa current_isa() {
  int isa = g_isa.load(std::memory_order_relaxed);
  if (isa < 0) {
    isa = static_cast<int>(choose());
    g_isa.store(isa, std::memory_order_relaxed);
  }
  return static_cast<Isa>(isa);
}

void set_isa(const std::string& name) { g_isa.store(static_cast<int>(parse(name)), std::memory_order_relaxed); }

CacheSizes cache_sizes() {
#if defined(__linux__) && defined(_SC_LEVEL1_DCACHE_SIZE)
  static const CacheSizes sizes{cache_or(_SC_LEVEL1_DCACHE_SIZE, 32 << 10), cache_or(_SC_LEVEL2_CACHE_SIZE, 512 << 10),
                                last_level_or(_SC_LEVEL3_CACHE_SIZE, 8 << 20)};
#else
  static const CacheSizes sizes{cache_or(0, 32 << 10), cache_or(0, 512 << 10), last_level_or(0, 8 << 20)};
#endif
  return sizes;
}

int64_t far_bytes() {
  int64_t bytes = g_far_bytes.load(std::memory_order_relaxed);
  if (bytes < 0) {
    const char* forced = std::getenv("NATIVE_FAR_BYTES");
    bytes = forced && *forced ? number_of_bytes(forced) : cache_sizes().l3 / 2;
    g_far_bytes.store(bytes, std::memory_order_relaxed);
  }
  return bytes;
}

void set_far_bytes(int64_t bytes) {
  if (bytes < 0) throw std::invalid_argument("set_far_bytes: " + std::to_string(bytes) + " bytes are less than none");
  g_far_bytes.store(bytes, std::memory_order_relaxed);
}

}  // namespace native
