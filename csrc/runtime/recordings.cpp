#include "runtime/recordings.h"

#include <mutex>

#include "core/fork_mutex.h"

namespace native {
namespace {

ForkMutex& recordings_mutex() {
  static ForkMutex* mutex = new ForkMutex(ForkMutex::Rank::Leaf);
  return *mutex;
}

}  // namespace

Recordings::Entry* Recordings::find(const Addresses& addresses) {
  for (auto at = entries_.begin(); at != entries_.end(); ++at)
    if (at->addresses == addresses) {
      entries_.splice(entries_.begin(), entries_, at);
      return &entries_.front();
    }
  return nullptr;
}

void Recordings::run(Device& device, const Addresses& addresses, const std::function<void()>& enqueue) {
  std::shared_ptr<Recording> recording;
  bool again = false;
  std::vector<Entry> dropped;  // recordings end outside of the lock
  {
    std::lock_guard lock(recordings_mutex());
    if (Entry* known = find(addresses)) {
      recording = known->recording;
      again = !recording && !refused_;
    } else if (!refused_) {
      entries_.push_front({addresses, nullptr});
      if (entries_.size() > kMost) {
        dropped.push_back(std::move(entries_.back()));
        entries_.pop_back();
      }
    }
  }
  if (again) {
    recording = device.record(enqueue);
    std::lock_guard lock(recordings_mutex());
    refused_ = refused_ || !recording;
    if (Entry* known = find(addresses)) known->recording = recording;
  }
  recording ? recording->replay() : enqueue();
}

Array InputCopies::bring(size_t input, const Array& array, const DevicePtr& device) {
  if (array.device() == device) return array;
  // Taken out while it is in use; copies go in order, so that what read it before has done so.
  Array kept;
  {
    std::lock_guard lock(recordings_mutex());
    if (auto found = last_.find(input); found != last_.end()) kept = std::move(found->second);
    last_.erase(input);
  }
  if (!kept.buffer || kept.buffer.use_count() > 1 || !(kept.spec == array.spec) || !array.device()->host_visible())
    kept = array.to(device);
  else
    device->copy_in(kept.data(), array.data(), array.spec.bytes());
  std::lock_guard lock(recordings_mutex());
  last_[input] = kept;
  return kept;
}

}  // namespace native
