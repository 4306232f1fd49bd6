// Branches, and the end of threads.
#include "emulator/lanes.h"

namespace native::emulator {
namespace {

// The path on top of the stack goes on where all lanes meet again; those that part are pushed above it.
void part(Warp& w, uint32_t stay, uint32_t go, int to, int meet) {
  const int on = w.paths.back().pc;  // behind the branch
  w.paths.back().pc = meet;
  if (stay && on != meet) w.paths.push_back({on, meet, stay});
  if (go && to != meet) w.paths.push_back({to, meet, go});
}

void leave(Warp& w, const Instr&, uint32_t m) { w.exit(m); }
// Where a kernel returns in several places, compilers branch to one ret: who goes there has left.
bool leaves_at(const Warp& w, int pc) {
  const auto& code = w.program->code;
  return pc >= static_cast<int>(code.size()) || (code[pc].run == leave && code[pc].guard < 0);
}

void branch(Warp& w, const Instr& i, uint32_t m) {
  const uint32_t all = w.paths.back().mask;
  if (leaves_at(w, i.target))
    w.exit(m);
  else if (m == all)
    w.paths.back().pc = i.target;
  else
    part(w, all & ~m, m, i.target, i.reconverge);
}

void branch_indexed(Warp& w, const Instr& i, uint32_t m) {
  const uint64_t* index = w.lane(i.s[0]);
  const uint32_t all = w.paths.back().mask;
  const auto& tables = w.program->branch_tables;
  each_lane(m, [&](int l) {
    if (uint32_t(index[l]) >= static_cast<uint32_t>(i.b))
      w.fail(Fault::BadBranch, l, 0,
             "index " + std::to_string(uint32_t(index[l])) + " of " + std::to_string(i.b) + " targets");
  });
  const uint32_t first = uint32_t(index[first_lane(m)]);
  uint32_t same = 0;
  each_lane(m, [&](int l) { same |= uint32_t(uint32_t(index[l]) == first) << l; });
  if (same == all) {
    w.paths.back().pc = tables[i.a + first];
    return;
  }
  part(w, all & ~m, 0, -1, i.reconverge);
  for (uint32_t rest = m; rest;) {
    const uint32_t at = uint32_t(index[first_lane(rest)]);
    uint32_t group = 0;
    each_lane(rest, [&](int l) { group |= uint32_t(uint32_t(index[l]) == at) << l; });
    rest &= ~group;
    const int to = tables[i.a + at];
    if (to != i.reconverge) w.paths.push_back({to, i.reconverge, group});
  }
}

void trap(Warp& w, const Instr&, uint32_t m) { w.fail(Fault::BadBranch, first_lane(m), 0, "the kernel trapped"); }
void go_on(Warp&, const Instr&, uint32_t) {}

}  // namespace

void add_control(Opcodes& table) {
  table["bra"] = [](Decoder& d, Instr& i) {
    d.take("uni");
    i.kind = Class::Control;
    i.b = d.branch_table(d.operand(0).text, i.a);
    i.target = d.target(i.a);
    i.run = branch;
  };
  table["brx"] = [](Decoder& d, Instr& i) {
    d.take("idx");
    d.take("uni");
    i.kind = Class::Control;
    d.source(i, 0, Type::U32);
    i.b = d.branch_table(d.operand(1).text, i.a);
    i.strict = 1;
    i.run = branch_indexed;
  };
  table["ret"] = table["exit"] = [](Decoder& d, Instr& i) {
    d.take("uni");
    i.kind = Class::Control;
    i.run = leave;
  };
  table["trap"] = [](Decoder&, Instr& i) { i.run = trap; };
  table["nanosleep"] = [](Decoder& d, Instr& i) {
    if (d.need_type() != Type::U32) d.refuse("no such type");
    d.source(i, 0, Type::U32);
    i.run = go_on;
  };
}

}  // namespace native::emulator
