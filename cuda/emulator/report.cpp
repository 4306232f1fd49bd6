#include "emulator/report.h"

#include <cstdio>

namespace native::emulator {

const char* name_of(Fault fault) {
  switch (fault) {
    case Fault::OutOfBounds:
      return "out of bounds";
    case Fault::Misaligned:
      return "misaligned";
    case Fault::UseAfterFree:
      return "use after free";
    case Fault::ReadOnly:
      return "write to read-only memory";
    case Fault::Uninitialised:
      return "uninitialised";
    case Fault::SharedRace:
      return "race in shared memory";
    case Fault::GlobalRace:
      return "race in global memory";
    case Fault::AsyncRace:
      return "race with cp.async";
    case Fault::DivergentBarrier:
      return "divergent barrier";
    case Fault::SyncMask:
      return "wrong sync mask";
    case Fault::Deadlock:
      return "deadlock";
    case Fault::LaunchLimit:
      return "launch limit";
    case Fault::Alignment:
      return "operand rule";
    case Fault::BadBranch:
      return "bad branch";
    case Fault::MissingSync:
      return "missing synchronisation";
    case Fault::ProductRace:
      return "race with wgmma";
    case Fault::ProductOrder:
      return "wgmma's registers";
    case Fault::ProxyFence:
      return "missing proxy fence";
    case Fault::BarrierObject:
      return "mbarrier rule";
  }
  return "";
}

std::string to_string(const Report& r) {
  char where[160];
  std::snprintf(where, sizeof where, " block (%u, %u, %u) thread (%u, %u, %u)", r.block[0], r.block[1], r.block[2],
                r.thread[0], r.thread[1], r.thread[2]);
  char address[40] = "";
  if (r.address) std::snprintf(address, sizeof address, " address 0x%llx", static_cast<unsigned long long>(r.address));
  std::string text = std::string(name_of(r.fault)) + ": kernel " + r.kernel;
  if (!r.source.empty()) text += " at " + r.source;
  if (!r.opcode.empty()) text += " (" + r.opcode + ")" + where;
  return text + address + ": " + r.message;
}

Reports& Reports::all() {
  static Reports* reports = new Reports;
  return *reports;
}

bool Reports::add(uint64_t launch, int instruction, Report report) {
  std::lock_guard lock(mutex_);
  if (!seen_.insert({launch, static_cast<uint64_t>(instruction), static_cast<uint64_t>(report.fault)}).second)
    return false;
  reports_.push_back(std::move(report));
  return true;
}
std::vector<Report> Reports::list() const {
  std::lock_guard lock(mutex_);
  return reports_;
}
size_t Reports::count() const {
  std::lock_guard lock(mutex_);
  return reports_.size();
}
void Reports::clear() {
  std::lock_guard lock(mutex_);
  reports_.clear();
  seen_.clear();
}

}  // namespace native::emulator
