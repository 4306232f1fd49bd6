// The run of a grid: block after block, warps in random turns.
#include <algorithm>
#include <bit>

#include "emulator/machine.h"

namespace native::emulator {
namespace {

void check_operands(Warp& w, const Instr& i, uint32_t m) {
  for (int n = 0; n < i.strict; ++n) {
    const uint32_t bad = m & ~w.valid[i.s[n]];
    if (!bad) continue;
    w.report(Fault::Uninitialised, first_lane(bad), 0,
             "operand " + w.program->slot_names[i.s[n]] + " depends on what nothing was written to");
    w.valid[i.s[n]] |= bad;  // once is enough
  }
}

void pass_validity(Warp& w, const Instr& i, uint32_t m) {
  uint32_t valid = m;
  for (int n = 0; n < i.ns; ++n) valid &= w.valid[i.s[n]];
  for (int n = 0; n < i.nd; ++n) w.valid[i.d[n]] = (w.valid[i.d[n]] & ~m) | valid;
}

void fill_specials(Warp& w) {
  const Launch& launch = w.launch();
  auto axis = [](const Dim3& d, int n) { return n == 0 ? d.x : n == 1 ? d.y : d.z; };
  for (const SpecialPreset& s : w.program->specials) {
    uint64_t* slot = w.lane(s.slot);
    w.valid[s.slot] = kFull;
    for (int l = 0; l < kLanes; ++l) switch (s.what) {
        case Special::Tid:
          slot[l] = w.thread(l)[s.index];
          break;
        case Special::Ntid:
          slot[l] = axis(launch.block, s.index);
          break;
        case Special::Ctaid:
          slot[l] = w.block->at[s.index];
          break;
        case Special::Nctaid:
          slot[l] = axis(launch.grid, s.index);
          break;
        case Special::Laneid:
          slot[l] = l;
          break;
        case Special::Warpid:
          slot[l] = w.index;
          break;
        case Special::Nwarpid:
          slot[l] = w.block->warps->size();
          break;
        case Special::LaneMask: {
          const uint32_t eq = 1u << l, lt = eq - 1;
          const uint32_t masks[] = {eq, lt, lt | eq, ~(lt | eq), ~lt};
          slot[l] = masks[s.index];
          break;
        }
        case Special::Clock:
          break;
        case Special::DynamicShared:
          slot[l] = launch.dynamic_shared;
          break;
        case Special::TotalShared:
          slot[l] = w.block->shared.size();
          break;
      }
  }
}

void start(Warp& w, Block& block, int index) {
  const Program& p = *w.program;
  const uint32_t threads = block.threads, from = index * kLanes;
  w.block = &block;
  w.index = index;
  w.state = Warp::State::Ready;
  w.initial = w.live = threads - from >= kLanes ? kFull : (1u << (threads - from)) - 1;
  w.paths.assign(1, {0, static_cast<int>(p.code.size()), w.live});
  std::fill(w.valid.begin(), w.valid.begin() + p.function->body.registers.size(), 0);
  std::fill(w.local_written.begin(), w.local_written.end(), 0);
  w.clock = {};
  w.clock.known[index] = 1;
  w.sync = 1;
  w.copies.clear();
  w.group.fill(0);
  w.stores.clear();
  w.store_group.fill(0);
  w.store_stamp = 0;
  w.most_registers = 0;
  if (p.products) w.products.start(p.slots);
  fill_specials(w);
}

bool none_ready(const std::vector<Warp>& warps) {
  return std::none_of(warps.begin(), warps.end(), [](const Warp& w) { return w.state == Warp::State::Ready; });
}

void run_block(Launch& launch, Block& block, std::vector<Warp>& warps, std::mt19937& random) {
  for (size_t n = 0; n < warps.size(); ++n) start(warps[n], block, static_cast<int>(n));
  std::vector<int> ready;
  for (;;) {
    ready.clear();
    bool all_done = true;
    for (const Warp& w : warps) {
      if (w.state == Warp::State::Ready) ready.push_back(w.index);
      all_done = all_done && w.state == Warp::State::Done;
    }
    if (all_done) break;
    if (ready.empty()) {
      meet(block);
      if (none_ready(warps) && !wake_pollers(block, random)) {
        auto stuck =
            std::find_if(warps.begin(), warps.end(), [](const Warp& w) { return w.state == Warp::State::Waiting; });
        stuck->fail(Fault::Deadlock, -1, 0, "waits at barrier " + std::to_string(stuck->waits_for) + " for ever");
      }
      continue;
    }
    Warp& w = warps[ready[random() % ready.size()]];
    w.run(static_cast<int>(random() % 256) + 1);
    meet(block);
    if (launch.executed > launch.options.most_instructions) w.fail(Fault::Deadlock, -1, 0, "the launch does not end");
  }
  for (Warp& w : warps)
    if (!w.copies.empty()) {
      w.pc = w.copies.front().pc;
      w.report(Fault::AsyncRace, w.copies.front().lane, w.copies.front().to,
               "the block ends before this copy is waited for");
    }
  check_ended(block);
}

}  // namespace

std::array<uint32_t, 3> Warp::thread(int lane) const {
  const Dim3& d = launch().block;
  const uint32_t n = index * kLanes + lane;
  return {n % d.x, n / d.x % d.y, n / d.x / d.y};
}

void Warp::report(Fault fault, int lane, uint64_t address, const std::string& message) {
  if (lane < 0) lane = live ? first_lane(live) : 0;
  const Instr& i = program->code[pc];
  Reports::all().add(launch().id, pc,
                     {fault, program->function->name, i.text->opcode(), program->source(pc), block->at, thread(lane),
                      address, message});
}
void Warp::fail(Fault fault, int lane, uint64_t address, const std::string& message) {
  report(fault, lane, address, message);
  throw KernelFault{};
}

void Warp::exit(uint32_t lanes) {
  live &= ~lanes;
  for (Path& path : paths) path.mask &= live;
  while (!paths.empty() && paths.back().mask == 0) paths.pop_back();
  if (live == 0) state = State::Done;
  block->in_vain = 0;
}

void Warp::again(Poll what) {
  paths.back().pc = pc;
  --program->counts[pc].executed;
  poll(what);
}

void Warp::run(int quantum) {
  const Instr* code = program->code.data();
  const int end = static_cast<int>(program->code.size());
  Count* counts = program->counts.data();
  uint64_t executed = 0;
  while (quantum-- > 0 && state == State::Ready) {
    Path& path = paths.back();
    if (path.pc == path.reconverge && paths.size() > 1) {
      paths.pop_back();
      ++quantum;
      continue;
    }
    if (path.pc >= end) {  // falls off the end
      exit(path.mask);
      continue;
    }
    pc = path.pc++;
    const Instr& i = code[pc];
    uint32_t m = path.mask;
    if (i.guard >= 0) {
      if (const uint32_t bad = m & ~valid[i.guard]) {
        report(Fault::Uninitialised, first_lane(bad), 0,
               "the predicate " + program->slot_names[i.guard] + " depends on what nothing was written to");
        valid[i.guard] |= bad;
      }
      m &= i.guard_negated ? ~predicates[i.guard] : predicates[i.guard];
    }
    ++executed;
    ++counts[pc].executed;
    ++serial;
    if (!m) continue;
    if (i.strict) check_operands(*this, i, m);
    if (program->products) watch_registers(*this, i, m);
    // Before the handler: a result may be an operand too.
    if (!i.keeps_validity) pass_validity(*this, i, m);
    i.run(*this, i, m);
  }
  launch().executed += executed;
}

bool run(Launch& launch) {
  // Much memory, which is not asked for at each launch. What is left in it by others is never read but with a report.
  static thread_local struct {
    std::vector<uint64_t> registers;
    History history;
  } kept;
  const Program& p = *launch.program;
  Block block;
  block.launch = &launch;
  block.threads = static_cast<uint32_t>(launch.block.count());
  block.shared.assign(p.dynamic_offset + launch.dynamic_shared, 0xFF);
  block.written.assign(block.shared.size(), 0);
  std::vector<Warp> warps((block.threads + kLanes - 1) / kLanes);
  block.warps = &warps;
  const size_t registers = static_cast<size_t>(p.slots) * kLanes;
  kept.registers.resize(std::max(kept.registers.size(), registers * warps.size()));
  for (size_t n = 0; n < warps.size(); ++n) {
    Warp& w = warps[n];
    w.program = &p;
    w.registers = kept.registers.data() + n * registers;
    w.valid.assign(p.slots, 0);
    w.predicates.assign(p.slots, 0);
    w.local.assign(p.local_bytes * kLanes, 0xFF);
    w.local_written.assign(p.local_bytes * kLanes, 0);
    for (const Preset& c : p.constants) {
      std::fill_n(w.lane(c.slot), kLanes, c.value);
      w.valid[c.slot] = kFull;
    }
  }
  if (launch.options.races) {
    kept.history.begin(block.shared.size());
    block.history = &kept.history;
  }
  std::mt19937 random(launch.options.seed);
  // Blocks in another order than their numbers: nothing may depend on it.
  const uint64_t blocks = launch.grid.count();
  const uint64_t first = blocks ? random() % blocks : 0;
  try {
    for (uint64_t n = 0; n < blocks; ++n) {
      const uint64_t k = (first + n) % blocks;
      block.index = static_cast<uint32_t>(k);
      block.at = {static_cast<uint32_t>(k % launch.grid.x), static_cast<uint32_t>(k / launch.grid.x % launch.grid.y),
                  static_cast<uint32_t>(k / launch.grid.x / launch.grid.y)};
      std::fill(block.shared.begin(), block.shared.end(), 0xFF);
      std::fill(block.written.begin(), block.written.end(), 0);
      block.barriers = {};
      block.objects.clear();
      block.objects_made = 0;
      block.loads.clear();
      block.issued = {};
      block.in_vain = 0;
      kept.history.forget();
      run_block(launch, block, warps, random);
    }
  } catch (const KernelFault&) {
    return false;
  }
  return true;
}

}  // namespace native::emulator
