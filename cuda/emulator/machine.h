// A kernel made ready to run, and the state of a launch: blocks of warps of 32 lanes in lock step.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "emulator/async.h"
#include "emulator/memory.h"
#include "emulator/order.h"
#include "emulator/ptx.h"
#include "emulator/report.h"

namespace native::emulator {

inline constexpr int kLanes = 32;
inline constexpr uint32_t kFull = 0xFFFFFFFFu;

struct Warp;
struct Instr;
// Runs one instruction for the lanes in `m`.
using Handler = void (*)(Warp& w, const Instr& i, uint32_t m);

enum class Class : uint8_t {
  Integer,
  Float,
  Convert,
  Move,
  Control,
  Global,
  Shared,
  Local,
  Param,
  Sync,
  Atomic,
  Tensor,
  Special
};
inline constexpr int kClasses = 13;
const char* name_of(Class c);

// Operands are slots. Constants and special registers have slots of their own, filled before the start.
struct Instr {
  Handler run = nullptr;
  int32_t guard = -1;
  bool guard_negated = false;
  uint8_t strict = 0;           // so many first operands must have been written, here and now
  bool keeps_validity = false;  // the handler sets the validity of its results itself
  uint8_t nd = 0, ns = 0;
  Class kind = Class::Move;
  ptx::Space space = ptx::Space::Generic;
  uint8_t width = 0;  // bytes of an element that is loaded or stored
  bool sign_extends = false;
  uint8_t bits = 0;      // of the result register
  uint8_t rounding = 0;  // a Rounding
  int32_t d[8]{}, s[16]{};
  std::vector<int32_t> sums;    // accumulators of wgmma, read and written
  int64_t offset = 0;           // added to an address
  int32_t a = 0, b = 0, c = 0;  // as the handler likes
  int32_t target = -1, reconverge = -1;
  const ptx::Instruction* text = nullptr;
};

// What one instruction did over all launches of its kernel.
struct Count {
  uint64_t executed = 0;                                  // by warps
  uint64_t requests = 0, sectors = 0, ideal_sectors = 0;  // of global memory, 32 bytes each
  uint64_t phases = 0, conflicts = 0;                     // of shared memory: passes needed, and those too many
};

struct Preset {
  int slot;
  uint64_t value;
};
enum class Special : uint8_t {
  Tid,
  Ntid,
  Ctaid,
  Nctaid,
  Laneid,
  Warpid,
  Nwarpid,
  LaneMask,
  Clock,
  DynamicShared,
  TotalShared
};
struct SpecialPreset {
  int slot;
  Special what;
  int index;  // axis, or kind of lane mask
};

struct Program {
  const ptx::Function* function = nullptr;
  const ptx::Module* module = nullptr;
  std::vector<Instr> code;
  std::vector<int> branch_tables;  // targets, by Instr::a and b
  std::vector<Preset> constants;
  std::vector<SpecialPreset> specials;
  std::vector<std::string> slot_names;
  int slots = 0;
  size_t static_shared = 0, local_bytes = 0;
  size_t dynamic_offset = 0;  // where extern shared memory starts
  int granule = 4;            // bytes that one race cell covers at least: the narrowest access to memory
  bool products = false;      // has wgmma: registers are watched
  mutable std::vector<Count> counts;

  std::string source(int pc) const;
};

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

struct Options {
  uint32_t seed = 1;  // order of warps
  bool races = true;
  uint64_t most_instructions = uint64_t{1} << 34;  // of one launch: more is called a deadlock
};

// What stopped the launch is in the reports.
struct KernelFault {};

struct Launch {
  const Program* program;
  Memory* memory;
  Dim3 grid, block;
  size_t dynamic_shared = 0;
  std::vector<uint8_t> params;
  Options options;
  uint32_t id = 0;
  const Order* order = nullptr;  // among other streams; may be null
  uint64_t executed = 0;         // instructions of warps
};

struct AsyncCopy {
  uint64_t from = 0;
  uint32_t to = 0;
  uint8_t bytes = 0, read = 0;  // the rest is zero
  uint8_t lane = 0;
  uint32_t group = 0;
  int pc = 0;
};

struct Block {
  Launch* launch = nullptr;
  uint32_t index = 0;
  std::array<uint32_t, 3> at{};
  std::vector<uint8_t> shared;
  std::vector<uint8_t> written;  // by byte
  History* history = nullptr;    // of shared memory; null where races are not searched for
  struct Barrier {
    uint32_t arrived = 0;  // threads
    uint32_t expected = 0;
    std::vector<int> warps;  // that wait
    Knowledge arrived_with;
    uint32_t voters = 0, yes = 0;  // of bar.red: threads, and those whose predicate holds
  };
  std::array<Barrier, 16> barriers;
  std::map<uint32_t, BarrierObject> objects;  // mbarriers, by their shared address
  uint32_t objects_made = 0;
  std::vector<BulkLoad> loads;                // under way
  std::array<std::vector<Issued>, 8> issued;  // by warpgroup
  uint32_t in_vain = 0;                       // rounds of all that poll, since anything else happened
  uint32_t threads = 0;
  std::vector<Warp>* warps = nullptr;
};

struct Warp {
  // Polling: what was asked for is not there yet, and others may go on first.
  enum class State : uint8_t { Ready, Waiting, Polling, Done };
  enum class Poll : uint8_t { Object, Products, Registers };
  struct Path {
    int pc, reconverge;
    uint32_t mask;
  };

  Block* block = nullptr;
  const Program* program = nullptr;
  int index = 0;
  State state = State::Ready;
  int waits_for = 0;               // number of the barrier
  uint32_t initial = 0, live = 0;  // lanes that exist, and those that have not ended
  std::vector<Path> paths;
  uint64_t* registers = nullptr;              // [slot][lane]
  std::vector<uint32_t> valid;                // by slot: lanes that were written
  std::vector<uint32_t> predicates;           // by slot
  std::vector<uint8_t> local, local_written;  // [lane][byte]
  Knowledge clock;                            // of the other agents' accesses; of itself, the stamp of its own ones
  uint32_t sync = 1, serial = 0;
  std::vector<AsyncCopy> copies;
  std::array<uint32_t, kLanes> group{};
  Poll polls = Poll::Object;
  uint32_t polled = 0;  // the mbarrier's address
  Products products;
  std::vector<BulkStore> stores;  // not waited for
  std::array<uint32_t, kLanes> store_group{};
  uint32_t store_stamp = 0;
  uint32_t most_registers = 0;  // of a thread, as setmaxnreg last said
  int pc = 0;                   // of the instruction under way

  uint64_t* lane(int slot) { return &registers[static_cast<size_t>(slot) * kLanes]; }
  Launch& launch() const { return *block->launch; }
  Count& count() { return program->counts[pc]; }
  std::array<uint32_t, 3> thread(int lane) const;
  // Adds a report; `lane` < 0: the first live one.
  void report(Fault fault, int lane, uint64_t address, const std::string& message);
  // Reports and ends the launch.
  [[noreturn]] void fail(Fault fault, int lane, uint64_t address, const std::string& message);
  Access access(int lane, bool atomic) const {
    return {launch().id, block->index, clock.known[index],          sync,
            serial,      pc,           static_cast<int16_t>(index), static_cast<int8_t>(lane),
            atomic};
  }
  void run(int quantum);
  void exit(uint32_t lanes);
  // From here on what this warp does is later than what others have learnt of it.
  void step() { ++clock.known[index], ++sync; }
  void poll(Poll what, uint32_t object = 0) { state = State::Polling, polls = what, polled = object; }
  // The instruction under way is run again once something has happened.
  void again(Poll what);
};

inline int first_lane(uint32_t mask) { return __builtin_ctz(mask); }

// Runs the whole grid. False if a fault ended it.
bool run(Launch& launch);

// memory accesses (access.cpp): what a lane's bytes are, with every check
struct Bytes {
  uint8_t* data = nullptr;
  uint8_t* written = nullptr;
  ptx::Space space = ptx::Space::Global;
};
enum class Use : uint8_t { Read, Write };
// Resolves, checks bounds, alignment and life, and searches for races. Never returns null data: a fault
// ends the launch. `value` is what will be written: lanes of one instruction may write the same.
Bytes touch(Warp& w, ptx::Space space, int lane, uint64_t address, int bytes, Use use, bool atomic = false,
            const void* value = nullptr);
// Counts what the memory system has to do for one instruction of a warp.
void count_shared(Count& count, const uint64_t* addresses, uint32_t m, int bytes);
void count_global(Count& count, const uint64_t* addresses, uint32_t m, int bytes);

// races.cpp
bool follows_launch(const Warp& w, uint32_t before);
inline bool ordered(const Warp& w, const Access& before, const Access& me) {
  if (before.launch != me.launch) return before.launch == 0 || follows_launch(w, before.launch);
  if (before.block != me.block) return false;
  if (before.warp == me.warp && is_warp(me.warp)) return before.lane == me.lane || before.sync < me.sync;
  return w.clock.known[before.warp] >= before.stamp;
}
// What an access means for all cells of its bytes.
void check_access(Warp& w, History& history, uint64_t offset, uint64_t bytes, const Access& me, Use use, bool shared,
                  uint64_t address, bool same_value);
void check_shared(Warp& w, uint32_t at, uint32_t bytes, const Access& me, Use use, bool same_value = false);
// 16 bytes, by a bulk store or wgmma: what other instructions wrote must lie behind a proxy fence.
inline constexpr uint32_t kProxyBytes = 16;
void read_by_proxy(Warp& w, uint32_t at, const Access& me);
// The cells of shared memory.
template <class Visit>
void each_cell(Warp& w, uint32_t at, uint32_t bytes, Visit visit) {
  if (History* history = w.block->history) history->each(at, bytes, w.program->granule, visit);
}
void begin_copy(Warp& w, uint32_t to, int bytes, int lane);
void end_copy(Warp& w, uint32_t to, int bytes);

// sync.cpp: lets go of the warps at barriers to which everybody has come.
void meet(Block& b);

// polling.cpp: something happened that warps may wait for: those that poll for it go on.
void happened(Block& b, Warp::Poll what, uint32_t object = 0);
// Nobody is ready: lets a bulk load end, or those that poll try again. False if there are none.
bool wake_pollers(Block& b, std::mt19937& random);

// barrier_objects.cpp: the mbarrier at that address, which this lane may use; else a fault ends the launch.
BarrierObject& object_at(Warp& w, int lane, uint64_t address);
// Bytes of a bulk load have come. False if they were too many.
bool complete_bytes(Block& b, uint32_t object, uint32_t bytes);

// bulk.cpp: ends a bulk load, the number of which in Block::loads is given.
void land(Block& b, size_t load);
// What is under way at the end of a block.
void check_ended(Block& b);

// warpgroup.cpp: faults unless the warp is one of four whole ones and all its lanes are here.
void need_warpgroup(Warp& w, uint32_t m);

// products.cpp: registers of wgmma that this instruction uses too early, or without a fence.
void watch_registers(Warp& w, const Instr& i, uint32_t m);
// At the end of the block: that all were waited for.
void check_products_ended(Warp& w);

// async.cpp: carries out the copies of groups older than the `allowed` latest.
void complete_copies(Warp& w, uint32_t m, int allowed, bool uncommitted);

}  // namespace native::emulator
