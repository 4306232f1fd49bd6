// Memory and tensors. A Buffer is bytes on a device; an Array is a contiguous row-major tensor in a
// Buffer. Both are cheap handles with shared ownership; contents are immutable once an Array is visible to
// more than its maker (value semantics), so sharing needs no lock. Only who has the last handles may write again
// (Owner, in runtime/executable.h).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "core/shape.h"

namespace native {

// Work that a device was given once and can be given again as a whole. Thread safe.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void replay() const = 0;
};

// A place that has memory and runs kernels. The CPU is one; tests register another.
class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;
  // 64-byte aligned, uninitialised. Throws MemoryLimitError when the memory is not there.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* data, size_t bytes) noexcept = 0;
  virtual void copy_in(void* device_data, const void* host_data, size_t bytes) = 0;
  virtual void copy_out(void* host_data, const void* device_data, size_t bytes) = 0;
  // Between two places on this device that do not overlap.
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  // Returns when all that it was given is done, where it works on its own.
  virtual void wait() {}
  // The address at which a kernel that runs on this device sees the data.
  virtual void* kernel_address(void* data) const { return data; }
  virtual bool host_visible() const { return false; }
  // Whose kernels run here: the name under which they are registered.
  virtual std::string kernels() const { return "cpu"; }
  // Records what `enqueue` gives to the device on this thread, instead of doing it; what it throws is thrown.
  // Null where the device does not record, or not what it was given.
  virtual std::unique_ptr<Recording> record(const std::function<void()>&) { return nullptr; }
  virtual bool records() const { return false; }
};

using DevicePtr = std::shared_ptr<Device>;
// "cpu" or "cpu:0", or a registered device; throws UnsupportedError that names the known ones.
DevicePtr find_device(const std::string& name);
DevicePtr cpu_device();
void register_device(const DevicePtr& device);

// Bytes in use by buffers of the CPU device, and the most so far.
size_t memory_in_use();
size_t memory_peak();

class Buffer {
 public:
  // Allocates on the device.
  Buffer(DevicePtr device, size_t bytes);
  // Adopts host memory that `release` frees.
  Buffer(void* data, size_t bytes, std::function<void()> release);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  const DevicePtr& device() const { return device_; }
  // Whether the memory is somebody else's, who may look at it.
  bool adopted() const { return release_ != nullptr; }

 private:
  DevicePtr device_;
  void* data_;
  size_t bytes_;
  std::function<void()> release_;
};
using BufferPtr = std::shared_ptr<Buffer>;

struct Array {
  Spec spec;
  BufferPtr buffer;

  // Uninitialised, on the device.
  static Array empty(const Spec& spec, const DevicePtr& device = cpu_device());
  void* data() const { return buffer->data(); }
  const DevicePtr& device() const { return buffer->device(); }
  // The same elements under another shape of equal count, and the same bytes on another device.
  Array reshaped(const Shape& shape) const;
  Array to(const DevicePtr& device) const;
};

}  // namespace native
