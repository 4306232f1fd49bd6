// A compiled tile program: what the compiler of programs (program.cpp) fills in and the CPU runs.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "kernels/elementwise/chains.h"
#include "kernels/elementwise/opcodes.h"
#include "kernels/gather/scatter.h"
#include "kernels/gather/sorted_rows.h"
#include "runtime/registry.h"

namespace native::tiles {

// Work of a task in units of one addition: some 15 microseconds, several times what waking a thread costs.
inline constexpr int64_t kTaskWork = 1 << 18;
// As many tasks as small work is cut into, of no less than so much: two microseconds.
inline constexpr int64_t kFewTasks = 4, kSmallTaskWork = 1 << 14;

// How an input's tiles come about.
enum class Access {
  Splat,     // one element, spread once a task
  Direct,    // contiguous with the outputs
  Periodic,  // repeats along the outputs' last axes: laid out once a task, longer by a tile
  Held,      // one element for each row of which tiles are parts: spread tile by tile
  Walked,    // anything else: gathered tile by tile
  Gradient,  // that of a gather: made tile by tile
};

struct Input {
  Access access;
  Walk walk;
  size_t bytes;       // of an element in memory
  size_t reg_bytes;   // of an element in a register
  TileOp load;        // nullptr where memory has the register's format
  size_t raw, value;  // blocks: elements as in memory, and as in a register
  int spread;         // of one value a tile, the elements that are there: chains read no more than the first
};
struct Constant {
  int reg;
  size_t block;
  Class type;
  double value;
  TileOp round;
  int spread;  // as that of an input
};
struct Output {
  int reg;
  size_t bytes;
  TileOp store;  // nullptr: memory has the register's format
  bool direct;   // the instruction that makes the register writes to memory itself
  size_t raw;    // block for the last tile, and for those that go past the caches
  bool far;      // too large for them
};

// An operand that is the gradient of a gather along its first axis: sums of updates, and zeros in all other rows. The
// updates stand in its place, and their indices behind all operands.
class RowGradient {
 public:
  RowGradient(SortedRows rows, ScatterTable::Join sum) : sorted(std::move(rows)), join(sum) {}

  SortedRows sorted;
  ScatterTable::Join join;

  // Before its elements from `start` on are asked for.
  void begin(const SortedRows::Order& order, const void* updates, size_t bytes, int64_t start) const;
  // Its elements [start, start + n), at most a tile.
  void fill(const SortedRows::Order& order, const void* updates, size_t bytes, char* to, int64_t start, int n) const;
};

// Immutable once compiled.
class TileProgram : public Kernel {
 public:
  std::vector<Input> inputs;
  std::optional<RowGradient> gradient;  // of the one input that is made so
  std::vector<Constant> constants;
  std::vector<TileStage> stages;
  decltype(ChainTable::run) run_chain = chains().run;
  std::vector<Output> outputs;
  std::vector<std::pair<int, size_t>> temporaries;  // register and its block
  int registers = 0;
  int unit = kTileUnit;                            // what tiles are padded to
  size_t block_bytes = 0;                          // of all blocks
  int64_t total = 0, chunk = kTile, tile = kTile;  // a chunk is a number of tiles
  int64_t work = 1;                                // of an element
  bool seamless = false;                           // no block holds a tile: a task may take all of its tiles as one

  std::vector<std::pair<size_t, size_t>> overwrites;  // output and input, as may_overwrite() has it

  void run(const void* const* in, void* const* out, void* scratch) const override;
  size_t scratch_bytes() const override { return gradient ? gradient->sorted.scratch_bytes() : 0; }
  bool may_overwrite(size_t out, size_t in) const override;
  // Without the gradient of a gather.
  std::optional<uint64_t> by_rows(int64_t rows) const override;
  void run_rows(const void* const* in, void* const* out, const RowRange& range) const override;
  // With all others whose tasks need no memory.
  bool joins(const Kernel& other) const override;
  std::unique_ptr<Kernel> joined(const std::vector<const Kernel*>& all) const override;

  size_t operands() const { return inputs.size() + (gradient ? 1 : 0); }
  // What the gradient's tiles are made by, in memory of scratch_bytes().
  SortedRows::Order sort(const void* const* in, void* scratch) const;
  // The outputs to write past the caches, a bit each: far ones that stand in no operand's place, whose lines are there.
  uint64_t past_caches(const void* const* in, void* const* out) const;
  // Elements [begin, end), which begin with a tile.
  void run_range(const void* const* in, void* const* out, const SortedRows::Order& order, uint64_t past, int64_t begin,
                 int64_t end) const;

 private:
  // So much a task has for itself without asking for memory, which could fail.
  static constexpr size_t kOnStack = 64 << 10;
  size_t own_bytes() const { return block_bytes + sizeof(void*) * registers; }

  void run_tiles(const void* const* in, void* const* out, const SortedRows::Order& order, uint64_t past, int64_t begin,
                 int64_t end, void* own) const;
  void prepare_task(const void* const* in, char* blocks, char** reg) const;
  // Points *reg at the input's elements [start, start + n), padded to a multiple of `unit`.
  void read(const Input& input, const void* in, const SortedRows::Order& order, char* blocks, char** reg, int64_t start,
            int n) const;
};

}  // namespace native::tiles
