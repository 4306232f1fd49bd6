// What goes on beside the warps of a block: mbarriers, bulk copies, products of warpgroups. And who knows of
// whose accesses, by which all of these are ordered.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "emulator/memory.h"
#include "emulator/tensor_map.h"

namespace native::emulator {

// Agents that touch shared memory: warps, bulk loads by their mbarrier, products by their warpgroup, bulk
// stores by their warp. Mbarriers beyond the 32nd share a number: that hides faults and invents none.
inline constexpr int kFirstLoad = 32, kFirstGroup = 64, kFirstStore = 72, kAgents = 104;
inline bool is_warp(int agent) { return agent < kFirstLoad; }

// By agent, the latest stamp whose accesses are over for whoever has this; and those of them that a proxy
// fence has made visible to bulk copies and wgmma.
struct Knowledge {
  std::array<uint32_t, kAgents> known{}, fenced{};

  void learn(const Knowledge& other);
  void fence();
};

struct BarrierObject {
  uint32_t number = 0;  // in order of their initialisation
  uint32_t count = 0, pending = 0, phase = 0;
  int64_t bytes = 0;  // of transactions that are still expected
  Access initialised;
  bool fenced = false;  // bulk copies may use it
  Knowledge arriving, completed;

  int agent() const { return kFirstLoad + static_cast<int>(number % 32); }
};

// A bulk load under way. It ends once somebody waits at its mbarrier.
struct BulkLoad {
  TensorMap map;
  std::array<int32_t, 5> at{};
  uint32_t to = 0, object = 0;  // shared addresses
  uint32_t phase = 0;           // of the mbarrier when it began
  int warp = 0, lane = 0, pc = 0;
};

// A bulk store of a thread: what it reads may not change before it was waited for.
struct BulkStore {
  int lane = 0, pc = 0;
  uint32_t group = 0, stamp = 0;
};

// A wgmma.mma_async as the first of its four warps gave it.
struct Issued {
  int pc = 0;
  uint64_t a = 0, b = 0;
};

// Products of one warp, counted from the start of the block, and the registers that they use. Kept where a
// program has wgmma.
struct Products {
  uint32_t issued = 0, committed = 0, waited = 0;
  uint32_t fence = 0;                      // the number of the instruction that was the latest wgmma.fence
  std::vector<uint32_t> sums, operands;    // by slot: the latest group that writes it, or reads it as A
  std::vector<uint32_t> touched, written;  // by slot: the latest other instruction that used, or wrote it

  void start(size_t slots);
};

}  // namespace native::emulator
