#include "runtime/stream.h"

namespace native::cuda {

EventObject::EventObject(Device& device) : device_(device) {
  constexpr unsigned kNoTiming = 2;
  device_.bind();
  check(device_.driver(), device_.driver().cuEventCreate(&handle, kNoTiming), "making an event");
}
EventObject::~EventObject() { device_.driver().cuEventDestroy_v2(handle); }
bool EventObject::done() const {
  const Result r = device_.driver().cuEventQuery(handle);
  if (r != kNotReady) check(device_.driver(), r, "asking an event");
  return r == kSuccess;
}
void EventObject::synchronize() const {
  check(device_.driver(), device_.driver().cuEventSynchronize(handle), "waiting for an event");
}

StreamObject::StreamObject(Device& device) : device_(device) {
  constexpr unsigned kNonBlocking = 1;
  device_.bind();
  check(device_.driver(), device_.driver().cuStreamCreate(&handle, kNonBlocking), "making a stream");
}
StreamObject::~StreamObject() { device_.driver().cuStreamDestroy_v2(handle); }
void StreamObject::record(EventObject& event) const {
  check(device_.driver(), device_.driver().cuEventRecord(event.handle, handle), "recording an event");
}
void StreamObject::wait(const EventObject& event) const {
  check(device_.driver(), device_.driver().cuStreamWaitEvent(handle, event.handle, 0), "waiting for an event");
}
void StreamObject::synchronize() const {
  check(device_.driver(), device_.driver().cuStreamSynchronize(handle), "waiting for a stream");
}

}  // namespace native::cuda
