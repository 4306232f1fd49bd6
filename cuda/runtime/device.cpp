#include "runtime/device.h"

#include <algorithm>
#include <climits>
#include <cstring>

#include "runtime/graph.h"

namespace native::cuda {
namespace {

constexpr int kOldestDriver = 13000, kOldestCapability = 80;

// Blocks are rounded up so that nearly equal requests share them: to 512 bytes, and above 1 MiB to an
// eighth of their size.
size_t size_class(size_t bytes) {
  constexpr size_t kMost = size_t{1} << 60;  // more is refused anyhow, and would not be counted in what follows
  if (bytes > kMost) return bytes;
  size_t step = 512;
  while (step * 16 < bytes) step *= 2;
  if (bytes <= (1 << 20)) step = 512;
  return std::max<size_t>((bytes + step - 1) / step * step, 512);
}

}  // namespace

int device_count() {
  const Driver& d = driver();
  check(d, d.cuInit(0), "starting the NVIDIA driver");
  int n = 0;
  check(d, d.cuDeviceGetCount(&n), "counting GPUs");
  return n;
}

Device& device(int ordinal) {
  static std::mutex* mutex = new std::mutex;
  static auto* all = new std::map<int, std::unique_ptr<Device>>;
  std::lock_guard lock(*mutex);
  auto& found = (*all)[ordinal];
  if (!found) found = std::make_unique<Device>(ordinal);
  return *found;
}

Device::Device(int ordinal) : driver_(cuda::driver()), ordinal_(ordinal), keeps_(!driver_.emulated) {
  check(driver_.cuInit(0), "starting the NVIDIA driver");
  check(driver_.cuDriverGetVersion(&driver_version_), "asking for the driver's version");
  const int version = driver_version_;
  if (version < kOldestDriver)
    throw DeviceError("the NVIDIA driver is too old: it supports CUDA " + std::to_string(version / 1000) + "." +
                      std::to_string(version % 1000 / 10) + ", and 13.0 is needed. Install driver 580 or later.");
  int count = 0;
  check(driver_.cuDeviceGetCount(&count), "counting GPUs");
  if (ordinal < 0 || ordinal >= count)
    throw DeviceError("there is no device gpu:" + std::to_string(ordinal) + "; this machine shows " +
                      std::to_string(count) + ". Check nvidia-smi and CUDA_VISIBLE_DEVICES.");
  check(driver_.cuDeviceGet(&device_, ordinal), "opening gpu:" + std::to_string(ordinal));
  identify();
  if (capability_ < kOldestCapability)
    throw DeviceError(name_ + " has compute capability " + std::to_string(capability_ / 10) + "." +
                      std::to_string(capability_ % 10) + "; 8.0 (Ampere) or later is needed. Use the CPU.");
  check(driver_.cuDevicePrimaryCtxRetain(&context_, device_), "opening the context of " + name_);
  bind();
  constexpr unsigned kNonBlocking = 1, kNoTiming = 2;
  check(driver_.cuStreamCreate(&stream_, kNonBlocking), "making a stream");
  for (Half& half : staging_) check(driver_.cuEventCreate(&half.done, kNoTiming), "making an event");
}

// Only at the end of the process, where the driver may be gone already: nothing is given back by hand.
Device::~Device() = default;

void Device::identify() {
  char text[256] = "";
  check(driver_.cuDeviceGetName(text, sizeof text, device_), "asking for the device's name");
  name_ = text;
  capability_ = attribute(kCapabilityMajor) * 10 + attribute(kCapabilityMinor);
  multiprocessors_ = attribute(kMultiprocessors);
}

int Device::attribute(int which) const {
  int value = 0;
  check(driver_.cuDeviceGetAttribute(&value, which, device_), "asking gpu for attribute " + std::to_string(which));
  return value;
}

size_t Device::memory() const {
  size_t bytes = 0;
  check(driver_.cuDeviceTotalMem_v2(&bytes, device_), "asking for the memory of " + name_);
  return bytes;
}

void Device::bind() const { check(driver_.cuCtxSetCurrent(context_), "entering the context of " + name_); }

Address Device::driver_allocate(size_t bytes) {
  Address address = 0;
  Result result = driver_.cuMemAlloc_v2(&address, bytes);
  if (result == kOutOfMemory && !free_.empty()) {
    // What the cache keeps may be what is missing.
    driver_.cuStreamSynchronize(stream_);
    free_kept();
    result = driver_.cuMemAlloc_v2(&address, bytes);
  }
  check(result, "allocating " + std::to_string(bytes) + " bytes on " + name_);
  return address;
}

Address Device::allocate(size_t bytes) {
  refuse_recording("allocating memory");
  std::lock_guard lock(mutex_);
  bind();
  const size_t size = keeps_ ? size_class(bytes) : std::max<size_t>(bytes, 1);
  Address address;
  if (auto found = free_.find(size); found != free_.end()) {
    address = found->second.extract(found->second.begin()).value();
    if (found->second.empty()) free_.erase(found);
  } else {
    address = driver_allocate(size);
  }
  sizes_[address] = size;
  in_use_ += size;
  return address;
}

void Device::release(Address address) noexcept {
  std::lock_guard lock(mutex_);
  auto found = sizes_.find(address);
  if (found == sizes_.end()) return;
  in_use_ -= found->second;
  if (keeps_)
    free_[found->second].insert(address);
  else
    driver_.cuMemFree_v2(address);
  sizes_.erase(found);
}

void Device::trim() {
  std::lock_guard lock(mutex_);
  bind();
  check(driver_.cuStreamSynchronize(stream_), "waiting for " + name_);
  free_kept();
}

void Device::free_kept() noexcept {
  for (const auto& [size, blocks] : free_)
    for (Address block : blocks) driver_.cuMemFree_v2(block);
  free_.clear();
}

void Device::keep_blocks(bool keep) {
  trim();
  std::lock_guard lock(mutex_);
  keeps_ = keep;
}

void Device::copy_in(Address to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  refuse_recording("copying from or to the host");
  std::lock_guard lock(staging_mutex_);
  bind();
  const char* source = static_cast<const char*>(from);
  // Two halves: one is filled while the other is under way.
  for (int turn = 0; bytes > 0; turn ^= 1) {
    Half& half = staging_[turn];
    if (!half.memory)
      check(driver_.cuMemHostAlloc(reinterpret_cast<void**>(&half.memory), kStaging, 0), "allocating pinned memory");
    if (half.busy) check(driver_.cuEventSynchronize(half.done), "copying to " + name_);
    const size_t part = std::min(bytes, kStaging);
    std::memcpy(half.memory, source, part);
    check(driver_.cuMemcpyHtoDAsync_v2(to, half.memory, part, stream_), "copying to " + name_);
    check(driver_.cuEventRecord(half.done, stream_), "copying to " + name_);
    half.busy = true;
    source += part, to += part, bytes -= part;
  }
}

void Device::copy_out(void* to, Address from, size_t bytes, Stream stream) {
  if (bytes == 0) return;
  refuse_recording("copying from or to the host");
  bind();
  if (!stream) stream = stream_;
  check(driver_.cuMemcpyDtoHAsync_v2(to, from, bytes, stream), "copying from " + name_);
  check(driver_.cuStreamSynchronize(stream), "copying from " + name_);
}

void Device::copy(Address to, Address from, size_t bytes) {
  if (bytes == 0) return;
  bind();
  check(driver_.cuMemcpyDtoDAsync_v2(to, from, bytes, stream()), "copying on " + name_);
}

void Device::fill(Address to, unsigned char value, size_t bytes) {
  if (bytes == 0) return;
  bind();
  check(driver_.cuMemsetD8Async(to, value, bytes, stream()), "filling memory of " + name_);
}

void Device::synchronize() {
  refuse_recording("waiting");
  bind();
  check(driver_.cuStreamSynchronize(stream_), "waiting for " + name_);
}

void Device::follow(Stream first, Stream then) {
  if (first == then) return;
  bind();
  constexpr unsigned kNoTiming = 2;
  Event event = nullptr;
  check(driver_.cuEventCreate(&event, kNoTiming), "making an event");
  Result result = driver_.cuEventRecord(event, first);
  if (result == kSuccess) result = driver_.cuStreamWaitEvent(then, event, 0);
  driver_.cuEventDestroy_v2(event);  // once it has come
  check(result, "ordering two streams");
}

ModuleHandle Device::load(const void* image) {
  bind();
  ModuleHandle module = nullptr;
  check(driver_.cuModuleLoadData(&module, image), "loading kernels on " + name_);
  return module;
}
void Device::unload(ModuleHandle module) noexcept {
  driver_.cuCtxSetCurrent(context_);
  driver_.cuModuleUnload(module);
}

FunctionHandle Device::function(ModuleHandle module, const std::string& name) {
  bind();
  FunctionHandle f = nullptr;
  check(driver_.cuModuleGetFunction(&f, module, name.c_str()), "kernel '" + name + "'");
  return f;
}

std::vector<size_t> Device::parameters(FunctionHandle f) const {
  std::vector<size_t> sizes;
  for (size_t offset = 0, bytes = 0; driver_.cuFuncGetParamInfo(f, sizes.size(), &offset, &bytes) == kSuccess;)
    sizes.push_back(bytes);
  return sizes;
}

int Device::attribute(FunctionHandle f, int which) const {
  int value = 0;
  check(driver_.cuFuncGetAttribute(&value, which, f), "asking a kernel for attribute " + std::to_string(which));
  return value;
}

void Device::launch(FunctionHandle f, const std::string& name, Extent grid, Extent block, size_t shared, void** params,
                    Stream stream) {
  bind();
  constexpr size_t kWithoutAsking = 48 << 10, kMost = INT_MAX;  // of what the driver can be told
  if (shared > kMost)
    throw DeviceError("kernel '" + name + "': no GPU has " + std::to_string(shared) + " bytes of shared memory");
  if (shared > kWithoutAsking) {
    std::lock_guard lock(mutex_);
    size_t& allowed = dynamic_[f];
    if (shared > allowed) {
      check(driver_.cuFuncSetAttribute(f, kFuncMaxDynamicShared, static_cast<int>(shared)),
            "shared memory of kernel '" + name + "'");
      allowed = shared;
    }
  }
  check(driver_.cuLaunchKernel(f, grid.x, grid.y, grid.z, block.x, block.y, block.z, static_cast<unsigned>(shared),
                               stream ? stream : this->stream(), params, nullptr),
        "launching kernel '" + name + "'");
}

}  // namespace native::cuda
