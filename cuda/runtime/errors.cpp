#include "runtime/errors.h"

namespace native::cuda {
namespace {

const char* advice(Result result) {
  switch (result) {
    case kNoDevice:
      return "no CUDA device is visible: check nvidia-smi and CUDA_VISIBLE_DEVICES, or use the CPU";
    case kInvalidDevice:
      return "there is no device of that number";
    case kNoBinaryForGpu:
    case kInvalidImage:
      return "the module has no code for this GPU: build it with this architecture, or with PTX";
    case kInvalidPtx:
      return "the driver could not translate the PTX";
    case kUnsupportedPtxVersion:
      return "the driver is older than the CUDA that made the PTX: install driver 580 or later";
    case kSystemDriverMismatch:
      return "driver library and kernel module differ: restart the machine";
    case kNotInitialized:
      return "a process that was forked from one that had used the GPU cannot use it: start processes by 'spawn'";
    case kDeviceUnavailable:
      return "another process has this GPU for itself: see nvidia-smi, or use the CPU";
    case kMemoryError:
      return "the GPU's memory is faulty: see nvidia-smi, and use another GPU or the CPU";
    case kIllegalAddress:
    case kLaunchTimeout:
    case kAssert:
    case kStackError:
    case kIllegalInstruction:
    case kMisalignedAddress:
    case kInvalidAddressSpace:
    case kInvalidProgramCounter:
    case kLaunchFailed:
      return "a kernel failed; the process must be restarted to use the GPU again, the CPU still works";
    case kLaunchOutOfResources:
      return "the launch asks for more threads, registers or shared memory than there are";
    default:
      return "";
  }
}

bool refuses_image(Result result) {
  return result == kInvalidImage || result == kNoBinaryForGpu || result == kInvalidPtx ||
         result == kUnsupportedPtxVersion;
}

}  // namespace

void check(const Driver& driver, Result result, const std::string& what) {
  if (result == kSuccess) return;
  const char* name = nullptr;
  driver.cuGetErrorName(result, &name);
  std::string text = what + ": " + (name ? name : "unknown error") + " (" + std::to_string(result) + ")";
  if (driver.explain) {
    if (const std::string more = driver.explain(); !more.empty()) text += ": " + more;
  }
  if (result == kOutOfMemory) throw DeviceMemoryError(text + "; free arrays, use a smaller batch, or use the CPU");
  if (const std::string todo = advice(result); !todo.empty()) text += "; " + todo;
  if (refuses_image(result)) throw RefusedImage(text);
  throw DeviceError(text);
}

}  // namespace native::cuda
