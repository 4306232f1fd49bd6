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
  const Origins::Origin* other = nullptr;
  auto check = [&](const Access& before) {
    if (!order.follows(before.launch)) other = order.origins->find(before.launch);
  };
  Access me;
  me.launch = order.id;
  a.history.begin(a.size);
  a.history.each(offset, bytes, 1, [&](Cell& cell) {
    check(cell.write);
    const Others* others = a.history.find_others(cell);
    if (others)
      for (const Access& before : others->atomic) check(before);
    if (writes) {
      check(cell.read);
      if (others) check(others->read);
      cell.write = me;
    } else {
      (order.follows(cell.read.launch) ? cell.read : a.history.others(cell).read) = me;
    }
  });
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
