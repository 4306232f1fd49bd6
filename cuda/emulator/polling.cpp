// Who knows of whose accesses, and warps that poll: they ask again when something has happened, or now and then
// without a reason, as tries may end in vain on a GPU.
#include <algorithm>

#include "emulator/machine.h"

namespace native::emulator {
namespace {

// So many rounds in which all that is left asks again mean that nothing will ever happen.
constexpr uint32_t kRounds = 300;

std::string awaited(const Warp& w) {
  switch (w.polls) {
    case Warp::Poll::Object: {
      char text[160];
      const auto found = w.block->objects.find(w.polled);
      if (found == w.block->objects.end()) return "waits for ever at an mbarrier that is no more";
      const BarrierObject& o = found->second;
      std::snprintf(text, sizeof text,
                    "waits at the mbarrier at 0x%x for ever: its phase %u lacks %u of %u arrivals and %lld bytes",
                    w.polled, o.phase, o.pending, o.count, static_cast<long long>(o.bytes));
      return text;
    }
    case Warp::Poll::Products:
      return "waits for ever for the other warps of its warpgroup to commit as many groups of wgmma";
    default:
      return "waits for registers for ever, which no other warp of the block gives up";
  }
}

// Ends a load that somebody waits for.
void land_one(Block& b, std::mt19937& random) {
  std::vector<size_t> awaited;
  for (size_t k = 0; k < b.loads.size(); ++k)
    if (std::any_of(b.warps->begin(), b.warps->end(), [&](const Warp& w) {
          return w.state == Warp::State::Polling && w.polls == Warp::Poll::Object && w.polled == b.loads[k].object;
        }))
      awaited.push_back(k);
  if (awaited.empty()) return;
  b.in_vain = 0;
  land(b, awaited[random() % awaited.size()]);
}

}  // namespace

void Knowledge::learn(const Knowledge& other) {
  for (int k = 0; k < kAgents; ++k) {
    known[k] = std::max(known[k], other.known[k]);
    fenced[k] = std::max(fenced[k], other.fenced[k]);
  }
}
void Knowledge::fence() {
  for (int k = 0; k < kAgents; ++k) fenced[k] = std::max(fenced[k], known[k]);
}

void happened(Block& b, Warp::Poll what, uint32_t object) {
  b.in_vain = 0;
  for (Warp& w : *b.warps)
    if (w.state == Warp::State::Polling && w.polls == what && w.polled == object) w.state = Warp::State::Ready;
}

bool wake_pollers(Block& b, std::mt19937& random) {
  Warp* first = nullptr;
  for (Warp& w : *b.warps)
    if (w.state == Warp::State::Polling && !first) first = &w;
  if (!first) return false;
  land_one(b, random);
  if (++b.in_vain > kRounds) first->fail(Fault::Deadlock, -1, 0, awaited(*first));
  for (Warp& w : *b.warps)
    if (w.state == Warp::State::Polling) w.state = Warp::State::Ready;
  return true;
}

}  // namespace native::emulator
