// The one device, its limits, its context.
#include <cstdio>
#include <cstdlib>
#include <unordered_map>

#include "emulator/driver_state.h"
#include "emulator/gpus.h"

namespace native::emulator {

using namespace native::cuda;

namespace {

Result init(unsigned) {
  const char* name = std::getenv("NATIVE_CUDA_GPU");
  return name && !find_gpu(name) ? failure(kInvalidValue, "NATIVE_CUDA_GPU: " + unknown_gpu(name)) : kSuccess;
}
Result version(int* v) { return *v = 13000, kSuccess; }
Result error_name(Result e, const char** text) {
  static const std::unordered_map<int, const char*> names = {
      {kSuccess, "CUDA_SUCCESS"},
      {kInvalidValue, "CUDA_ERROR_INVALID_VALUE"},
      {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"},
      {kInvalidDevice, "CUDA_ERROR_INVALID_DEVICE"},
      {kInvalidImage, "CUDA_ERROR_INVALID_IMAGE"},
      {kNoBinaryForGpu, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
      {kInvalidPtx, "CUDA_ERROR_INVALID_PTX"},
      {kNotFound, "CUDA_ERROR_NOT_FOUND"},
      {kNotReady, "CUDA_ERROR_NOT_READY"},
      {kCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
      {kCaptureInvalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
      {kCaptureUnmatched, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED"},
      {kIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS"},
      {kLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED"},
      {kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE"},
      {kNotSupported, "CUDA_ERROR_NOT_SUPPORTED"}};
  auto found = names.find(e);
  *text = found == names.end() ? nullptr : found->second;
  return found == names.end() ? kInvalidValue : kSuccess;
}
Result device_count(int* n) { return *n = 1, kSuccess; }
Result device_get(DeviceOrdinal* d, int ordinal) { return *d = ordinal, ordinal == 0 ? kSuccess : kInvalidDevice; }
Result device_name(char* name, int length, DeviceOrdinal) {
  std::snprintf(name, length, "emulated %s", emulated_gpu().name);
  return kSuccess;
}
Result device_attribute(int* v, int which, DeviceOrdinal) {
  const Gpu& gpu = emulated_gpu();
  switch (which) {
    case kMaxThreadsPerBlock:
      *v = 1024;
      break;
    case kMaxSharedPerBlock:
      *v = 48 << 10;
      break;
    case kClockRate:
      *v = static_cast<int>(gpu.clock_ghz * 1e6);
      break;
    case kMultiprocessors:
      *v = gpu.multiprocessors;
      break;
    case kL2Bytes:
      *v = static_cast<int>(gpu.l2_bytes);
      break;
    case kMaxThreadsPerMultiprocessor:
      *v = gpu.threads;
      break;
    case kCapabilityMajor:
      *v = gpu.capability / 10;
      break;
    case kCapabilityMinor:
      *v = gpu.capability % 10;
      break;
    case kMaxSharedPerMultiprocessor:
      *v = gpu.shared_bytes;
      break;
    case kMaxRegistersPerMultiprocessor:
      *v = gpu.registers;
      break;
    case kMaxSharedPerBlockOptin:
      *v = gpu.shared_optin;
      break;
    default:
      return kInvalidValue;
  }
  return kSuccess;
}
Result device_memory(size_t* bytes, DeviceOrdinal) { return *bytes = state().memory.capacity(), kSuccess; }
Result context_retain(Context* c, DeviceOrdinal) { return *c = reinterpret_cast<Context>(1), kSuccess; }
Result context_release(DeviceOrdinal) { return kSuccess; }
Result context_set(Context) { return kSuccess; }
}  // namespace

void fill_devices(Driver& t) {
  t.cuInit = init;
  t.cuDriverGetVersion = version;
  t.cuGetErrorName = error_name;
  t.cuGetErrorString = error_name;
  t.cuDeviceGetCount = device_count;
  t.cuDeviceGet = device_get;
  t.cuDeviceGetName = device_name;
  t.cuDeviceGetAttribute = device_attribute;
  t.cuDeviceTotalMem_v2 = device_memory;
  t.cuDevicePrimaryCtxRetain = context_retain;
  t.cuDevicePrimaryCtxRelease_v2 = context_release;
  t.cuCtxSetCurrent = context_set;
}

}  // namespace native::emulator
