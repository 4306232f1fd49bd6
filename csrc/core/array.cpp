#include "core/array.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <vector>

#include "core/allocator.h"
#include "core/errors.h"
#include "core/fork_mutex.h"

namespace native {
namespace {

class Cpu final : public Device {
 public:
  std::string name() const override { return "cpu:0"; }
  void* allocate(size_t bytes) override { return allocator::allocate(bytes); }
  void release(void* data, size_t bytes) noexcept override { allocator::release(data, bytes); }
  void copy_in(void* device_data, const void* host_data, size_t bytes) override {
    std::memcpy(device_data, host_data, bytes);
  }
  void copy_out(void* host_data, const void* device_data, size_t bytes) override {
    std::memcpy(host_data, device_data, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  bool host_visible() const override { return true; }
};

struct Devices {
  ForkMutex mutex{ForkMutex::Rank::Leaf};
  std::vector<DevicePtr> list{std::make_shared<Cpu>()};
};
Devices& devices() {
  static Devices* all = new Devices;  // never destroyed: arrays outlive static destructors
  return *all;
}

}  // namespace

DevicePtr cpu_device() {
  static DevicePtr* cpu = new DevicePtr(devices().list.front());
  return *cpu;
}

void register_device(const DevicePtr& device) {
  std::lock_guard lock(devices().mutex);
  devices().list.push_back(device);
}

DevicePtr find_device(const std::string& name) {
  std::lock_guard lock(devices().mutex);
  std::string known;
  for (const DevicePtr& device : devices().list) {
    if (device->name() == name || device->name() == name + ":0") return device;
    known += (known.empty() ? "" : ", ") + device->name();
  }
  throw UnsupportedError("unknown device '" + name + "'; known: " + known);
}

size_t memory_in_use() { return allocator::in_use(); }
size_t memory_peak() { return allocator::peak(); }

Buffer::Buffer(DevicePtr device, size_t bytes) : device_(std::move(device)), data_(nullptr), bytes_(bytes) {
  data_ = device_->allocate(bytes);
}
Buffer::Buffer(void* data, size_t bytes, std::function<void()> release)
    : device_(cpu_device()), data_(data), bytes_(bytes), release_(std::move(release)) {}
Buffer::~Buffer() {
  if (release_)
    release_();
  else
    device_->release(data_, bytes_);
}

Array Array::empty(const Spec& spec, const DevicePtr& device) {
  return {spec, std::make_shared<Buffer>(device, spec.bytes())};
}

Array Array::reshaped(const Shape& shape) const {
  if (element_count(shape) != spec.count())
    throw ShapeError("cannot reshape " + to_string(spec.shape) + " to " + to_string(shape));
  return {{spec.dtype, shape}, buffer};
}

Array Array::to(const DevicePtr& target) const {
  if (target == device()) return *this;
  const size_t bytes = spec.bytes();
  Array result = empty(spec, target);
  if (device()->host_visible()) {
    target->copy_in(result.data(), data(), bytes);
  } else if (target->host_visible()) {
    device()->copy_out(result.data(), data(), bytes);
  } else {
    std::vector<char> host(bytes);
    device()->copy_out(host.data(), data(), bytes);
    target->copy_in(result.data(), host.data(), bytes);
  }
  return result;
}

}  // namespace native
