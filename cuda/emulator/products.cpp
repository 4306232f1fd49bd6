// Registers of wgmma. From a wgmma.mma_async until the wait for its group they are its own; and what other
// instructions did with them before must lie behind a wgmma.fence.
#include <algorithm>

#include "emulator/lanes.h"

namespace native::emulator {
namespace {

// Compilers copy registers about, and assemblers make one of the two: a copy is as good as the register itself.
bool copies(const Instr& i) {
  return i.text->name == "mov" && i.nd == 1 && i.ns == 1 && i.text->operands[1].kind == ptx::Operand::Kind::Register;
}

void check_free(Warp& w, int slot, uint32_t group, uint32_t m, const char* what) {
  if (group <= w.products.waited) return;
  w.report(Fault::ProductOrder, first_lane(m), 0,
           std::string(what) + w.program->slot_names[slot] + ", and that wgmma was not waited for");
}

}  // namespace

void Products::start(size_t slots) {
  issued = committed = waited = fence = 0;
  sums.assign(slots, 0);
  operands.assign(slots, 0);
  touched.assign(slots, 0);
  written.assign(slots, 0);
}

void check_products_ended(Warp& w) {
  const Products& p = w.products;
  if (p.issued == 0 || std::none_of(p.sums.begin(), p.sums.end(), [&](uint32_t group) { return group > p.waited; }))
    return;
  w.pc = w.block->issued[w.index / 4][p.issued - 1].pc;
  w.report(Fault::ProductOrder, 0, 0, "the block ends before this wgmma is waited for");
}

void watch_registers(Warp& w, const Instr& i, uint32_t m) {
  if (!i.sums.empty()) return;  // wgmma itself
  Products& p = w.products;
  if (copies(i)) {
    p.sums[i.d[0]] = p.sums[i.s[0]];
    p.touched[i.d[0]] = p.touched[i.s[0]];
    p.written[i.d[0]] = p.written[i.s[0]];
    check_free(w, i.d[0], p.operands[i.d[0]], m, "overwrites the operand ");
    return;
  }
  for (int n = 0; n < i.ns; ++n) {
    check_free(w, i.s[n], p.sums[i.s[n]], m, "reads the sum ");
    p.touched[i.s[n]] = w.serial;
  }
  for (int n = 0; n < i.nd; ++n) {
    check_free(w, i.d[n], p.sums[i.d[n]], m, "overwrites the sum ");
    check_free(w, i.d[n], p.operands[i.d[n]], m, "overwrites the operand ");
    p.touched[i.d[n]] = p.written[i.d[n]] = w.serial;
  }
}

}  // namespace native::emulator
