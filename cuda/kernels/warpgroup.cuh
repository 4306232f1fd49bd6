// Instructions of compute capability 9.0 (sm_90a): barriers in shared memory, bulk copies of tensors, products of warp
// groups, registers that one group leaves to another. Each function is one instruction, or a loop around one.
//
// Addresses of shared memory are its own (shared_address). A warp group is 128 neighbouring threads, from a multiple of
// 128 on; what is said of it all its threads do together.
#pragma once

#include "kernels/device.cuh"
#include "kernels/tensor_map.h"

namespace native::cuda {

constexpr int kWarpgroup = 128;

// A barrier in shared memory, 8 bytes aligned to them, by its address. A phase ends with the last of its arrivals, when
// all bytes have come that were announced; phases have the parities 0, 1, 0, 1, ...
struct Barrier {
  static constexpr int kBytes = 8;
  uint32_t address;

  // By one thread, before open_barriers().
  __device__ void init(int arrivals) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address), "r"(arrivals) : "memory");
  }
  __device__ void arrive() const { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address) : "memory"); }
  // Arrives, and announces bytes of bulk copies.
  __device__ void arrive_and_expect(int bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address), "r"(bytes) : "memory");
  }
  // Whether the phase of that parity has ended; waits for it for a while.
  __device__ bool ended(uint32_t parity) const {
    uint32_t done;
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done;\n"
        "}"
        : "=r"(done)
        : "r"(address), "r"(parity)
        : "memory");
    return done;
  }
  // Until the phase of that parity has ended. Of a new barrier that before its first, with parity 1, has.
  __device__ void wait(uint32_t parity) const {
    while (!ended(parity)) {
    }
  }
};
// After their init(), by the same thread, before the block's barrier: bulk copies see them.
__device__ inline void open_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// What this thread has written to shared memory is there for bulk copies and products that come after it.
__device__ inline void fence_shared_for_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// A barrier of some warps of the block: `threads` of them, by number (0 is __syncthreads').
__device__ inline void named_barrier(int number, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
__device__ inline void arrive_at_named_barrier(int number, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
// One thread of a whole warp.
__device__ inline bool elected() {
  uint32_t is;
  asm volatile(
      "{\n"
      ".reg .pred is;\n"
      "elect.sync _|is, 0xFFFFFFFF;\n"
      "selp.u32 %0, 1, 0, is;\n"
      "}"
      : "=r"(is));
  return is;
}

// Registers of each thread of a warp group from here on, a multiple of 8: fewer, and more, for which it waits.
template <int registers>
__device__ inline void release_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

// Bulk copies. A map is a member of the kernel's `__grid_constant__` parameter; a box begins at the coordinates given,
// innermost first. Beyond the tensor's bounds zeros are read and nothing is written. The bytes that a barrier counts
// are the whole box's.
__device__ inline void prefetch(const TensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}
__device__ inline void load_tensor(uint32_t to, const TensorMap& map, Barrier barrier, int x, int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
      "[%2];" ::"r"(to),
      "l"(&map), "r"(barrier.address), "r"(x), "r"(y), "r"(z)
      : "memory");
}
__device__ inline void load_tensor(uint32_t to, const TensorMap& map, Barrier barrier, int x, int y, int z, int w) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(to),
      "l"(&map), "r"(barrier.address), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
}
__device__ inline void store_tensor(const TensorMap& map, uint32_t from, int x, int y, int z) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(&map),
               "r"(from), "r"(x), "r"(y), "r"(z)
               : "memory");
}
__device__ inline void store_tensor(const TensorMap& map, uint32_t from, int x, int y, int z, int w) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(&map),
               "r"(from), "r"(x), "r"(y), "r"(z), "r"(w)
               : "memory");
}
// Groups of this thread's stores; until at most `pending` of the latest still read shared memory.
__device__ inline void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
template <int pending>
__device__ inline void wait_for_stores_to_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(pending) : "memory");
}

// Operands of products in shared memory, of 16 bits, as bulk copies with a swizzle of 128 bytes leave them: rows of
// 64 elements, from an address of 1024 bytes.
//
// [outer, 64 of k]: a step of 16 terms begins 32 bytes further on, outer + 8 1024 bytes.
__device__ inline uint64_t rows_of_terms(uint32_t address) {
  constexpr uint64_t kEightRows = 1024, kSwizzled = uint64_t{1} << 62;
  return kSwizzled | kEightRows >> 4 << 32 | uint64_t{1} << 16 | (address & 0x3FFFF) >> 4;
}
// [k, 64 of outer] (transposed): a step of 16 terms begins 2048 bytes further on; outer + 64 is `apart` bytes away.
__device__ inline uint64_t rows_of_outer(uint32_t address, int apart) {
  constexpr uint64_t kEightRows = 1024, kSwizzled = uint64_t{1} << 62;
  return kSwizzled | kEightRows >> 4 << 32 | static_cast<uint64_t>(apart >> 4) << 16 | (address & 0x3FFFF) >> 4;
}

// Registers have the values here that they were given before, and get none from here that they are given after.
template <class T, int count>
__device__ inline void settle(T (&registers)[count]) {
#pragma unroll
  for (int i = 0; i < count; ++i) {
    if constexpr (sizeof(T) == 4 && std::is_floating_point_v<T>)
      asm volatile("" : "+f"(registers[i])::"memory");
    else
      asm volatile("" : "+r"(registers[i])::"memory");
  }
}

// Products of a warp group. Before the first, and where registers of operands or sums were touched since the last:
__device__ inline void warpgroup_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// The same, after the compiler has given registers the values that a product will find.
template <class T, int count>
__device__ inline void warpgroup_fence(T (&registers)[count]) {
  settle(registers);
  warpgroup_fence();
}
__device__ inline void warpgroup_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most `pending` of the latest groups are under way.
template <int pending>
__device__ inline void warpgroup_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}
// The same, after which the compiler may read registers that a product had.
template <int pending, class T, int count>
__device__ inline void warpgroup_wait(T (&registers)[count]) {
  warpgroup_wait<pending>();
  settle(registers);
}

// Operands of inline assembly: names and values of so many registers of d.
#define NATIVE_NAMES_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define NATIVE_NAMES_16 NATIVE_NAMES_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define NATIVE_NAMES_24 NATIVE_NAMES_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define NATIVE_NAMES_32 NATIVE_NAMES_24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define NATIVE_NAMES_40 NATIVE_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define NATIVE_NAMES_48 NATIVE_NAMES_40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define NATIVE_NAMES_56 NATIVE_NAMES_48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define NATIVE_NAMES_64 NATIVE_NAMES_56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define NATIVE_NAMES_72 NATIVE_NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define NATIVE_NAMES_80 NATIVE_NAMES_72 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define NATIVE_NAMES_88 NATIVE_NAMES_80 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define NATIVE_NAMES_96 NATIVE_NAMES_88 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define NATIVE_NAMES_104 NATIVE_NAMES_96 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define NATIVE_NAMES_112 NATIVE_NAMES_104 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define NATIVE_NAMES_120 NATIVE_NAMES_112 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define NATIVE_NAMES_128 NATIVE_NAMES_120 ", %120, %121, %122, %123, %124, %125, %126, %127"
#define NATIVE_SUMS_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define NATIVE_SUMS_8 NATIVE_SUMS_4(0), NATIVE_SUMS_4(4)
#define NATIVE_SUMS_16 NATIVE_SUMS_8, NATIVE_SUMS_4(8), NATIVE_SUMS_4(12)
#define NATIVE_SUMS_24 NATIVE_SUMS_16, NATIVE_SUMS_4(16), NATIVE_SUMS_4(20)
#define NATIVE_SUMS_32 NATIVE_SUMS_24, NATIVE_SUMS_4(24), NATIVE_SUMS_4(28)
#define NATIVE_SUMS_40 NATIVE_SUMS_32, NATIVE_SUMS_4(32), NATIVE_SUMS_4(36)
#define NATIVE_SUMS_48 NATIVE_SUMS_40, NATIVE_SUMS_4(40), NATIVE_SUMS_4(44)
#define NATIVE_SUMS_56 NATIVE_SUMS_48, NATIVE_SUMS_4(48), NATIVE_SUMS_4(52)
#define NATIVE_SUMS_64 NATIVE_SUMS_56, NATIVE_SUMS_4(56), NATIVE_SUMS_4(60)
#define NATIVE_SUMS_72 NATIVE_SUMS_64, NATIVE_SUMS_4(64), NATIVE_SUMS_4(68)
#define NATIVE_SUMS_80 NATIVE_SUMS_72, NATIVE_SUMS_4(72), NATIVE_SUMS_4(76)
#define NATIVE_SUMS_88 NATIVE_SUMS_80, NATIVE_SUMS_4(80), NATIVE_SUMS_4(84)
#define NATIVE_SUMS_96 NATIVE_SUMS_88, NATIVE_SUMS_4(88), NATIVE_SUMS_4(92)
#define NATIVE_SUMS_104 NATIVE_SUMS_96, NATIVE_SUMS_4(96), NATIVE_SUMS_4(100)
#define NATIVE_SUMS_112 NATIVE_SUMS_104, NATIVE_SUMS_4(104), NATIVE_SUMS_4(108)
#define NATIVE_SUMS_120 NATIVE_SUMS_112, NATIVE_SUMS_4(112), NATIVE_SUMS_4(116)
#define NATIVE_SUMS_128 NATIVE_SUMS_120, NATIVE_SUMS_4(120), NATIVE_SUMS_4(124)
// The text of one product: how many registers d has, the number of the operand that says whether to add, all operands
// but d as text, and as values.
#define NATIVE_MULTIPLY(type, n, count, adds, text, ...)                                                            \
  asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, %" adds                                                      \
               ", 0;\n"                                                                                             \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" NATIVE_NAMES_##count "}, " text \
                                                                                                         ";\n}"     \
               : NATIVE_SUMS_##count                                                                                \
               : __VA_ARGS__)
#define NATIVE_FROM_SHARED(type, n, count, o0, o1, o2, o3, o4, o5, o6)                               \
  NATIVE_MULTIPLY(type, n, count, o2, "%" o0 ", %" o1 ", adds, 1, 1, %" o3 ", %" o4, "l"(a), "l"(b), \
                  "r"(static_cast<int>(add)), "n"(turned_a ? 1 : 0), "n"(turned_b ? 1 : 0))
#define NATIVE_FROM_REGISTERS(type, n, count, o0, o1, o2, o3, o4, o5, o6)                                           \
  NATIVE_MULTIPLY(type, n, count, o5, "{%" o0 ", %" o1 ", %" o2 ", %" o3 "}, %" o4 ", adds, 1, 1, %" o6, "r"(a[0]), \
                  "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)), "n"(turned_b ? 1 : 0))
// Of that many columns.
#define NATIVE_COLUMNS(from, columns, ...) \
  if constexpr (n == columns) {            \
    if constexpr (type == DataType::BF16)  \
      from("bf16", columns, __VA_ARGS__);  \
    else                                   \
      from("f16", columns, __VA_ARGS__);   \
  }
#define NATIVE_ALL_COLUMNS(from)                                                  \
  NATIVE_COLUMNS(from, 32, 16, "16", "17", "18", "19", "20", "21", "22")          \
  NATIVE_COLUMNS(from, 64, 32, "32", "33", "34", "35", "36", "37", "38")          \
  NATIVE_COLUMNS(from, 80, 40, "40", "41", "42", "43", "44", "45", "46")          \
  NATIVE_COLUMNS(from, 96, 48, "48", "49", "50", "51", "52", "53", "54")          \
  NATIVE_COLUMNS(from, 112, 56, "56", "57", "58", "59", "60", "61", "62")         \
  NATIVE_COLUMNS(from, 128, 64, "64", "65", "66", "67", "68", "69", "70")         \
  NATIVE_COLUMNS(from, 160, 80, "80", "81", "82", "83", "84", "85", "86")         \
  NATIVE_COLUMNS(from, 176, 88, "88", "89", "90", "91", "92", "93", "94")         \
  NATIVE_COLUMNS(from, 192, 96, "96", "97", "98", "99", "100", "101", "102")      \
  NATIVE_COLUMNS(from, 224, 112, "112", "113", "114", "115", "116", "117", "118") \
  NATIVE_COLUMNS(from, 256, 128, "128", "129", "130", "131", "132", "133", "134")
template <int n>
constexpr bool kProductColumns = n == 32 || n == 64 || n == 80 || n == 96 || n == 112 || n == 128 || n == 160 ||
                                 n == 176 || n == 192 || n == 224 || n == 256;

// d [64, n] = (add ? d : 0) + A [64, 16] B [16, n], by a warp group, for the columns listed above. Thread t has of rows
// t / 32 * 16 + t % 32 / 4 and 8 further, columns 8 j + t % 4 * 2 and the next: d[4 j], d[4 j + 1] and d[4 j + 2],
// d[4 j + 3]. It is under way until a wait for its group; registers are not touched before.
//
// A and B by their descriptors; turned: in rows_of_outer.
template <DataType type, int n, bool turned_a, bool turned_b>
__device__ inline void multiply_async(float (&d)[n / 2], uint64_t a, uint64_t b, bool add) {
  static_assert(kProductColumns<n> && (type == DataType::BF16 || type == DataType::F16));
  NATIVE_ALL_COLUMNS(NATIVE_FROM_SHARED)
}
// A from registers, two elements in each: those of terms 2 (t % 4) and the next of the thread's two rows, and of the
// terms 8 further (as d lies for 16 columns).
template <DataType type, int n, bool turned_b>
__device__ inline void multiply_async(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b, bool add) {
  static_assert(kProductColumns<n> && (type == DataType::BF16 || type == DataType::F16));
  NATIVE_ALL_COLUMNS(NATIVE_FROM_REGISTERS)
}

#undef NATIVE_ALL_COLUMNS
#undef NATIVE_COLUMNS
#undef NATIVE_FROM_REGISTERS
#undef NATIVE_FROM_SHARED
#undef NATIVE_MULTIPLY

// The stages in turn, as who fills and who reads them walks over them, and the parity of the phase in which one is
// filled.
template <int stages>
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void next() {
    if (++stage == stages) stage = 0, parity ^= 1;
  }
};

}  // namespace native::cuda
