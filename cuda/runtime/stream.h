// Streams and events beside the device's own stream. Owned by whoever makes them; not thread safe.
#pragma once

#include "runtime/device.h"

namespace native::cuda {

class EventObject {
 public:
  explicit EventObject(Device& device);
  ~EventObject();
  EventObject(const EventObject&) = delete;
  EventObject& operator=(const EventObject&) = delete;
  bool done() const;  // all that was in the stream when it was recorded
  void synchronize() const;
  Event handle = nullptr;

 private:
  Device& device_;
};

class StreamObject {
 public:
  explicit StreamObject(Device& device);
  ~StreamObject();
  StreamObject(const StreamObject&) = delete;
  StreamObject& operator=(const StreamObject&) = delete;
  void record(EventObject& event) const;
  void wait(const EventObject& event) const;  // what comes later in this stream waits for the event
  void synchronize() const;
  Stream handle = nullptr;

 private:
  Device& device_;
};

}  // namespace native::cuda
