#include "runtime/test_device.h"

#include <cstring>
#include <map>
#include <mutex>

#include "core/array.h"
#include "core/errors.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace native {

#if defined(__linux__)
namespace {

constexpr size_t kPage = 4096;
size_t pages(size_t bytes) { return (bytes + kPage) / kPage * kPage; }

// Each block is two mappings of one size: the handle, which nobody may touch, and the memory behind it.
class TestDevice final : public Device {
 public:
  std::string name() const override { return "test:0"; }

  void* allocate(size_t bytes) override {
    const size_t size = pages(bytes);
    void* handle = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (handle == MAP_FAILED || memory == MAP_FAILED)
      throw MemoryLimitError("test device: cannot allocate " + std::to_string(bytes) + " bytes");
    std::lock_guard lock(mutex_);
    blocks_[static_cast<char*>(handle)] = {static_cast<char*>(memory), size};
    return handle;
  }

  void release(void* data, size_t) noexcept override {
    std::lock_guard lock(mutex_);
    auto found = blocks_.find(static_cast<char*>(data));
    if (found == blocks_.end()) return;
    munmap(found->first, found->second.size);
    munmap(found->second.memory, found->second.size);
    blocks_.erase(found);
  }

  void copy_in(void* device_data, const void* host_data, size_t bytes) override {
    std::memcpy(kernel_address(device_data), host_data, bytes);
  }
  void copy_out(void* host_data, const void* device_data, size_t bytes) override {
    std::memcpy(host_data, kernel_address(const_cast<void*>(device_data)), bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override {
    std::memcpy(kernel_address(to), kernel_address(const_cast<void*>(from)), bytes);
  }

  void* kernel_address(void* data) const override {
    char* address = static_cast<char*>(data);
    std::lock_guard lock(mutex_);
    auto next = blocks_.upper_bound(address);
    if (next != blocks_.begin()) {
      auto block = std::prev(next);
      const size_t offset = static_cast<size_t>(address - block->first);
      if (offset < block->second.size) return block->second.memory + offset;
    }
    throw UnsupportedError("test device: a kernel was given an address of another device");
  }

 private:
  struct Block {
    char* memory;
    size_t size;
  };
  mutable std::mutex mutex_;
  std::map<char*, Block> blocks_;
};

}  // namespace

void register_test_device() {
  static std::once_flag once;
  std::call_once(once, [] { register_device(std::make_shared<TestDevice>()); });
}

#else

void register_test_device() { throw UnsupportedError("the test device needs Linux"); }

#endif

}  // namespace native
