// What the emulator found wrong. One report for each kind of fault and instruction of a launch: a fault in
// a loop is one fault.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace native::emulator {

enum class Fault : uint8_t {
  OutOfBounds,
  Misaligned,
  UseAfterFree,
  ReadOnly,
  Uninitialised,  // a value that was never written decides a branch, an address or what is stored
  SharedRace,
  GlobalRace,
  AsyncRace,  // a cp.async or a bulk copy still under way, and another access
  DivergentBarrier,
  SyncMask,
  Deadlock,
  LaunchLimit,
  Alignment,  // ldmatrix and mma rules
  BadBranch,
  MissingSync,
  ProductRace,    // a wgmma still under way, and a write to what it reads
  ProductOrder,   // registers of a wgmma, used before its wait or without its fence
  ProxyFence,     // bulk copies and wgmma see what other instructions wrote only behind one
  BarrierObject,  // mbarrier's rules
};
const char* name_of(Fault fault);

struct Report {
  Fault fault;
  std::string kernel, opcode, source;  // "gemm.cu:120"
  std::array<uint32_t, 3> block{}, thread{};
  uint64_t address = 0;
  std::string message;
};
std::string to_string(const Report& report);

// All reports of the process, until cleared. Thread safe.
class Reports {
 public:
  static Reports& all();
  // False if it repeats one of this launch.
  bool add(uint64_t launch, int instruction, Report report);
  std::vector<Report> list() const;
  size_t count() const;
  void clear();

 private:
  mutable std::mutex mutex_;
  std::vector<Report> reports_;
  std::set<std::array<uint64_t, 3>> seen_;
};

}  // namespace native::emulator
