// Device memory. Addresses are opaque: nothing is mapped there on the host, none is ever used twice, and
// allocations lie apart, so that every stray access falls between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "emulator/history.h"

namespace native::emulator {

// Windows of the generic address space.
inline constexpr uint64_t kSharedWindow = uint64_t{1} << 40;
inline constexpr uint64_t kLocalWindow = uint64_t{2} << 40;
inline constexpr uint64_t kParamWindow = uint64_t{3} << 40;
inline constexpr uint64_t kWindowBytes = uint64_t{1} << 32;
inline constexpr uint64_t kGlobalBase = uint64_t{1} << 44;

struct Allocation {
  uint64_t base = 0;
  size_t size = 0;
  bool freed = false, read_only = false;
  std::string label;
  std::unique_ptr<uint8_t[]> data;
  std::unique_ptr<uint8_t[]> written;  // by byte
  History history;                     // begun when a kernel first comes here
};

class Memory {
 public:
  explicit Memory(size_t capacity) : capacity_(capacity) {}
  // 0 when it does not fit.
  uint64_t allocate(size_t bytes, std::string label = {});
  bool release(uint64_t base);
  // The allocation, alive or freed, that holds the address; null if none ever did.
  Allocation* find(uint64_t address);
  // The nearest allocation, for messages.
  std::string describe(uint64_t address);
  // Host access to [address, address + bytes); null if it is not inside a live allocation.
  uint8_t* host(uint64_t address, size_t bytes, bool writes);
  size_t in_use() const { return in_use_; }
  size_t capacity() const { return capacity_; }

 private:
  std::map<uint64_t, std::unique_ptr<Allocation>> allocations_;
  uint64_t next_ = kGlobalBase;
  size_t capacity_, in_use_ = 0;
};

}  // namespace native::emulator
