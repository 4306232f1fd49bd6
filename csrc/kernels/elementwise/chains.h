// Chains: the cheap operations of a tile program that follow each other, run on a few vectors of values that stay
// in registers. A chain is an array of links; each works on the values kept and jumps to the next one. So an operand
// is read once and a result is stored only where something outside the chain reads it, while an operation by itself
// loads and stores every value.
#pragma once

#include <vector>

#include "kernels/elementwise/opcodes.h"
#include "runtime/cpu.h"

namespace native {

enum class LinkKind : uint8_t {
  Operation,  // on the kept values and tiles
  Load,       // what is kept, from tile `a`
  Store,      // what is kept, into tile `a`
  End,
};
struct Link {
  void (*work)();  // set by `bind`; known to the SIMD unit alone
  LinkKind kind;
  int a, b;                // tile registers: an operation's operands that are not kept, in their order; -1: none
  int64_t mask_a, mask_b;  // of offsets into them: 0 for a tile that holds one value throughout, else -1
  float immediate;
};

// Only values of 4 bytes are kept. Thread safe, as the links of a chain are not written once it is bound.
struct ChainTable {
  // Sets what a link of its kind does; of operations, that on operands of the class whose operand `kept` is kept.
  // False if chains have no such operation.
  bool (*bind)(Link* link, Opcode code, Class operands, int kept);
  // Runs the links, the last of which is an End, on n elements of the tiles; n is a multiple of kChainUnit.
  void (*run)(const Link* links, char* const* reg, int n);
};
NATIVE_BF16_TABLE(ChainTable, chains)

// An operation of a tile program: reg[dst] = op(reg[a], reg[b], reg[c]).
struct TileStep {
  TileOp op;
  Opcode code;
  Class type;  // of the operands
  int operands;
  int dst, a, b, c;
  double immediates[2];
  bool reads(int r) const { return a == r || (operands > 1 && b == r) || (operands > 2 && c == r); }
};

// What runs on a tile at once: a chain, or the one step if there are no links.
struct TileStage {
  TileStep step;
  std::vector<Link> links;
};

// What is known of each register of a program.
struct TileRegisters {
  const std::vector<bool>&leaves,  // read after the program
      &repeats,                    // its tile holds one value throughout
      &held;                       // and of that it need not be filled with more than kChainUnit, for chains
};

// The steps in an order that joins as many of them as possible into chains, if `chain`.
std::vector<TileStage> schedule(const std::vector<TileStep>& steps, const TileRegisters& registers, bool chain);

}  // namespace native
