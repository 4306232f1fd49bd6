// Which work of the streams has surely ended before other work begins: clocks of all streams, passed on by
// events and by a host that waits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace native::emulator {

struct Allocation;

// By stream: the number of its latest work that is known to have ended.
class Clock {
 public:
  bool knows(uint32_t stream, uint64_t number) const { return stream < latest_.size() && latest_[stream] >= number; }
  void learn(uint32_t stream, uint64_t number);
  void learn(const Clock& other);

 private:
  std::vector<uint64_t> latest_;
};

// Launches and copies by their number, which accesses carry. Those up to `forgotten` are before everything.
struct Origins {
  struct Origin {
    uint32_t stream;
    uint64_t number;  // within the stream
    std::string what;
  };
  uint32_t forgotten = 0;
  std::vector<Origin> list;

  const Origin* find(uint32_t id) const { return id <= forgotten ? nullptr : &list[id - forgotten - 1]; }
  uint32_t add(Origin origin);
  void forget();
};

// One launch or copy, and what is before it.
struct Order {
  uint32_t id = 0;
  uint32_t stream = 0;
  Clock before;
  const Origins* origins = nullptr;

  bool follows(uint32_t other) const {
    const Origins::Origin* o = origins->find(other);
    return !o || o->stream == stream || before.knows(o->stream, o->number);
  }
};

// A copy from or to [offset, offset + bytes): reports work that it does not follow, and remembers it.
void check_copy(Allocation& a, uint64_t offset, size_t bytes, bool writes, const Order& order);

}  // namespace native::emulator
