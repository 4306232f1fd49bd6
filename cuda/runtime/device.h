// One GPU: its primary context, a stream for compute and one for copies, memory, modules. All calls are
// checked; failures are DeviceError or DeviceMemoryError. Thread safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/driver.h"
#include "runtime/errors.h"

namespace native::cuda {

class GraphObject;

struct Extent {
  unsigned x = 1, y = 1, z = 1;
};

class Device {
 public:
  // Throws DeviceError when there is no driver, no such device, or one below compute capability 8.0.
  explicit Device(int ordinal);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Asks the driver for the properties below: again where another GPU is emulated from now on.
  void identify();
  std::string name() const { return name_; }
  int capability() const { return capability_; }  // 80 for 8.0
  int attribute(int which) const;
  int multiprocessors() const { return multiprocessors_; }
  size_t memory() const;                                  // bytes
  int driver_version() const { return driver_version_; }  // 13000 for CUDA 13.0
  bool emulated() const { return driver_.emulated; }
  const Driver& driver() const { return driver_; }
  // Where this thread's work goes: the device's own stream, or one that records it.
  Stream stream() const;
  // Makes the context this thread's own: every entry from another library begins with it.
  void bind() const;

  // Freed blocks are kept by size class and reused in stream order, without a call of the driver, the lowest
  // address first: a step that takes and frees the same sizes again gets the same addresses every other time.
  // Under the emulator every block is a block of its own, so that its bounds are watched, unless `keep` says
  // otherwise.
  Address allocate(size_t bytes);
  void release(Address address) noexcept;
  void trim();
  void keep_blocks(bool keep);
  size_t in_use() const { return in_use_; }

  // Host memory may be reused when these return: it goes through pinned staging.
  void copy_in(Address to, const void* from, size_t bytes);
  // Waits for the stream, or for the one given: the bytes are there.
  void copy_out(void* to, Address from, size_t bytes, Stream stream = nullptr);
  void copy(Address to, Address from, size_t bytes);
  void fill(Address to, unsigned char value, size_t bytes);
  void synchronize();
  // What `then` is given from now on waits for what `first` has been given.
  void follow(Stream first, Stream then);

  ModuleHandle load(const void* image);
  void unload(ModuleHandle module) noexcept;
  FunctionHandle function(ModuleHandle module, const std::string& name);
  // Bytes of each parameter.
  std::vector<size_t> parameters(FunctionHandle function) const;
  // A FunctionAttribute.
  int attribute(FunctionHandle function, int which) const;
  // Records what `enqueue` launches, copies and fills on this thread, in place of doing it. Null if it did what
  // cannot be recorded: wait, allocate, or copy from or to the host. What else it throws is thrown.
  std::unique_ptr<GraphObject> record(const std::function<void()>& enqueue);

  // `params[k]` points to the k-th parameter. More than 48 KiB of dynamic shared memory is asked for here.
  void launch(FunctionHandle function, const std::string& name, Extent grid, Extent block, size_t shared, void** params,
              Stream stream = nullptr);

 private:
  void check(Result result, const std::string& what) const { cuda::check(driver_, result, what); }
  Address driver_allocate(size_t bytes);
  void free_kept() noexcept;
  // Throws where this thread records.
  void refuse_recording(const char* what) const;

  const Driver& driver_;
  int ordinal_;
  DeviceOrdinal device_ = 0;
  Context context_ = nullptr;
  Stream stream_ = nullptr;
  std::string name_;
  int capability_ = 0, multiprocessors_ = 0, driver_version_ = 0;

  mutable std::mutex mutex_;
  bool keeps_ = true;
  std::map<size_t, std::set<Address>> free_;   // by size
  std::unordered_map<Address, size_t> sizes_;  // of blocks handed out
  size_t in_use_ = 0;
  std::unordered_map<FunctionHandle, size_t> dynamic_;  // shared memory that a kernel was allowed so far

  static constexpr size_t kStaging = size_t{4} << 20;
  std::mutex staging_mutex_;
  struct Half {
    char* memory = nullptr;
    Event done = nullptr;
    bool busy = false;
  } staging_[2];
};

// The device of that number, opened on first use.
Device& device(int ordinal = 0);
int device_count();

}  // namespace native::cuda
