// Who touched which bytes of a memory, for the search for races.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

namespace native::emulator {

// Two accesses are ordered if a chain of barriers lies between them: `stamp` counts the barriers of the warp, `sync`
// its warp-wide ones.
struct Access {
  uint32_t launch = 0;  // 0: none
  uint32_t block = 0;
  uint32_t stamp = 0;
  uint32_t sync = 0;
  uint32_t serial = 0;  // of the warp's instructions
  int32_t pc = 0;
  int16_t warp = 0;
  int8_t lane = 0;  // kSeveral: more than one lane since the same barrier
  bool atomic = false;
};
inline constexpr int8_t kSeveral = -1;

// What is remembered of bytes that have always been touched together: a cache line, which most accesses do not leave.
struct alignas(64) Cell {
  Access write;  // the last one that is not atomic
  Access read;
  uint32_t copying = 0;  // cp.async under way into these bytes
  uint32_t others = 0;   // 0: none; else their number
};
// Further accesses to a cell. Those of one kind are of two different warps, or blocks: two are enough to prove that one
// is another.
struct Others {
  Access read, atomic[2];
};

// The cells of a memory. One covers 16 bytes until an access is narrower; then those 16 have cells as narrow as that.
class History {
 public:
  // Most memory is never touched by a kernel: the system hands out its zeros, which mean no access, page by page.
  void begin(size_t bytes) {
    if (covered_ < bytes) cover(bytes);
  }
  void forget() { ++epoch_, taken_ = 0, others_.clear(); }

  // Calls visit(cell) for all that cover [offset, offset + bytes). No cell becomes narrower than `least`, a power of
  // two.
  template <class Visit>
  void each(uint64_t offset, uint64_t bytes, uint32_t least, Visit visit) {
    for (uint64_t k = offset / kChunk, end = offset + bytes; k * kChunk < end; ++k) {
      Chunk& chunk = chunks_[k];
      if (chunk.epoch != epoch_) chunk = {epoch_, kShift, take(1)};
      const auto from = static_cast<uint32_t>(std::max(offset, k * kChunk) - k * kChunk);
      const auto to = static_cast<uint32_t>(std::min(end, (k + 1) * kChunk) - k * kChunk);
      const auto shift = static_cast<uint32_t>(std::max(std::countr_zero(from | to | kChunk), std::countr_zero(least)));
      if (shift < chunk.shift) split(chunk, shift);
      for (uint32_t c = from >> chunk.shift; c <= (to - 1) >> chunk.shift; ++c) visit(chunk.cells[c]);
    }
  }
  // Null where there are none.
  Others* find_others(const Cell& cell) { return cell.others ? &others_[cell.others - 1] : nullptr; }
  Others& others(Cell& cell) {
    if (!cell.others) add_others(cell, {});
    return others_[cell.others - 1];
  }

 private:
  static constexpr uint32_t kShift = 4, kChunk = 1 << kShift;
  struct Chunk {
    uint32_t epoch;
    uint32_t shift;  // of an address to the number of its cell
    Cell* cells;
  };
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };

  void cover(size_t bytes);
  void split(Chunk& chunk, uint32_t shift);
  Cell* take(uint32_t count);
  void add_others(Cell& cell, const Others& others) {
    others_.push_back(others);
    cell.others = static_cast<uint32_t>(others_.size());
  }

  std::unique_ptr<Chunk[], Free> chunks_;
  size_t covered_ = 0;
  uint32_t epoch_ = 1;
  std::vector<std::unique_ptr<Cell[]>> cells_;  // of all chunks
  size_t taken_ = 0;                            // of them
  std::vector<Others> others_;
};

}  // namespace native::emulator
