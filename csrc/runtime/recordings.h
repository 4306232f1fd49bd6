// What a plan gives to its device, recorded for the addresses of one run and given again as a whole when a run
// has the same ones. Memory that is freed and taken again in the same order has the same addresses every
// other run or so; a run with addresses of its own is not recorded. Thread safe.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <vector>

#include "core/array.h"

namespace native {

class Recordings {
 public:
  using Addresses = std::vector<const void*>;

  // Replays what was recorded for these addresses, or else calls `enqueue`, which depends on nothing but them;
  // when they come a second time, it is recorded.
  void run(Device& device, const Addresses& addresses, const std::function<void()>& enqueue);

 private:
  struct Entry {
    Addresses addresses;
    std::shared_ptr<Recording> recording;  // null until they come again
  };
  static constexpr size_t kMost = 32;

  // Of those addresses, now the first in the list; null if they are new.
  Entry* find(const Addresses& addresses);

  std::list<Entry> entries_;  // latest first; guarded by one mutex for all plans, which is held for a look
  bool refused_ = false;      // the device cannot record this
};

// Copies of arrays that a plan's inputs bring from elsewhere, into the same memory every time that nobody holds
// on to it, so that its address is the same. Thread safe.
class InputCopies {
 public:
  // The array on the device: itself, if it is there.
  Array bring(size_t input, const Array& array, const DevicePtr& device);

 private:
  std::map<size_t, Array> last_;  // by input; guarded like the recordings
};

}  // namespace native
