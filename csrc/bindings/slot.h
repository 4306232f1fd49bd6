// Storage slots of variables, and how a step may write to their memory.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/array.h"
#include "core/fork_mutex.h"
#include "runtime/executable.h"

namespace native::bindings {

// One storage slot of a variable. Reading gives the current array; what a reader holds never changes, so it is a
// snapshot. Thread safe, with or without the GIL.
class Slot {
 public:
  explicit Slot(Array array) : array_(std::move(array)) {}

  // Held while the memory of slots is written to, for which nobody waits who could be waited for: no Python runs then.
  static ForkMutex& mutex() {
    static ForkMutex* shared = new ForkMutex(ForkMutex::Rank::Slots);
    return *shared;
  }

  Array get() const {
    std::lock_guard lock(mutex());
    return array_;
  }
  // Gives the version that this makes.
  uint64_t set(Array array) {
    std::lock_guard lock(mutex());
    std::swap(array_, array);  // what was there is given back outside the lock
    return ++version_;
  }
  // The array on a device, to which it moves for good: what is read at every run is copied once.
  Array on(const DevicePtr& device) {
    Array now = get();
    if (now.device() == device) return now;
    Array moved = now.to(device);
    std::lock_guard lock(mutex());
    if (array_.buffer == now.buffer) array_ = moved;
    return moved;
  }
  // Counts writes.
  uint64_t version() const {
    std::lock_guard lock(mutex());
    return version_;
  }

 private:
  friend class Commit;
  Array array_;
  uint64_t version_ = 0;
};
using Slots = std::vector<std::shared_ptr<Slot>>;

// The end of a step's run: slots that it read are written to where they are, if nobody else holds their arrays.
class Commit final : public Owner {
 public:
  // Of a step whose inputs are `arguments` others and then those slots.
  Commit(const Slots& reads, size_t arguments) : reads_(reads), arguments_(arguments) {}

  void close() override {
    if (!lock_.owns_lock()) lock_.lock();
  }
  const Array* handle(int input) const override {
    const size_t slot = static_cast<size_t>(input) - arguments_;
    return slot < reads_.size() ? &reads_[slot]->array_ : nullptr;
  }
  // Puts the arrays from `results` on into slots, and there what the slots had: moves, which cannot fail.
  void write(const Slots& slots, Array* results) {
    close();
    for (size_t i = 0; i < slots.size(); ++i) {
      std::swap(slots[i]->array_, results[i]);
      ++slots[i]->version_;
    }
  }

 private:
  const Slots& reads_;
  const size_t arguments_;
  std::unique_lock<ForkMutex> lock_{Slot::mutex(), std::defer_lock};
};

}  // namespace native::bindings
