#include "emulator/order.h"

#include <algorithm>

#include "emulator/memory.h"
#include "emulator/report.h"

namespace native::emulator {

void Clock::learn(uint32_t stream, uint64_t number) {
  if (stream >= latest_.size()) latest_.resize(stream + 1);
  latest_[stream] = std::max(latest_[stream], number);
}
void Clock::learn(const Clock& other) {
  for (uint32_t stream = 0; stream < other.latest_.size(); ++stream) learn(stream, other.latest_[stream]);
}

uint32_t Origins::add(Origin origin) {
  list.push_back(std::move(origin));
  return forgotten + static_cast<uint32_t>(list.size());
}
void Origins::forget() {
  forgotten += static_cast<uint32_t>(list.size());
  list.clear();
}

void check_copy(Allocation& a, uint64_t offset, size_t bytes, bool writes, const Order& order) {
  if (bytes == 0) return;
  a.divide(a.cells.empty() ? a.granule : std::min(a.granule, 4));
  const Origins::Origin* other = nullptr;
  auto check = [&](const Access& before) {
    if (!order.follows(before.launch)) other = order.origins->find(before.launch);
  };
  Access me;
  me.launch = order.id;
  for (uint64_t k = offset / a.granule; k <= (offset + bytes - 1) / a.granule; ++k) {
    Cell& cell = a.cells[k];
    check(cell.write);
    for (const Access& before : cell.atomic) check(before);
    if (writes) {
      for (const Access& before : cell.read) check(before);
      cell.write = me;
    } else {
      cell.read[order.follows(cell.read[0].launch) ? 0 : 1] = me;
    }
  }
  if (other)
    Reports::all().add(order.id, 0,
                       {Fault::MissingSync,
                        order.origins->find(order.id)->what,
                        "",
                        "",
                        {},
                        {},
                        a.base + offset,
                        "the same memory is used by '" + other->what + "' in another stream, and neither waits"});
}

}  // namespace native::emulator
