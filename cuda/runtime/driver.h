// The CUDA driver's functions that the runtime uses, as a table: filled from libcuda.so.1, or by the
// emulator. Declared here so that building needs no CUDA headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/tensor_map.h"

namespace native::cuda {

using Result = int;  // CUresult
using DeviceOrdinal = int;
using Address = uint64_t;  // CUdeviceptr
using Context = struct ContextTag*;
using Stream = struct StreamTag*;
using Event = struct EventTag*;
using ModuleHandle = struct ModuleTag*;
using FunctionHandle = struct FunctionTag*;
using Graph = struct GraphTag*;
using GraphNode = struct GraphNodeTag*;
using GraphExec = struct GraphExecTag*;

enum : Result {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNotInitialized = 3,
  kDeviceUnavailable = 46,
  kNoDevice = 100,
  kInvalidDevice = 101,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNoBinaryForGpu = 209,
  kMemoryError = 214,
  kInvalidPtx = 218,
  kUnsupportedPtxVersion = 222,
  kInvalidHandle = 400,
  kNotFound = 500,
  kNotReady = 600,
  kIllegalAddress = 700,
  kLaunchOutOfResources = 701,
  kLaunchTimeout = 702,
  kAssert = 710,
  kStackError = 714,
  kIllegalInstruction = 715,
  kMisalignedAddress = 716,
  kInvalidAddressSpace = 717,
  kInvalidProgramCounter = 718,
  kLaunchFailed = 719,
  kNotSupported = 801,
  kSystemDriverMismatch = 803,
  kCaptureUnsupported = 900,
  kCaptureInvalidated = 901,
  kCaptureUnmatched = 903,
};

enum Attribute : int {  // CUdevice_attribute
  kMaxThreadsPerBlock = 1,
  kMaxSharedPerBlock = 8,
  kClockRate = 13,
  kMultiprocessors = 16,
  kMemoryClockRate = 36,
  kMemoryBusWidth = 37,
  kL2Bytes = 38,
  kMaxThreadsPerMultiprocessor = 39,
  kCapabilityMajor = 75,
  kCapabilityMinor = 76,
  kMaxSharedPerMultiprocessor = 81,
  kMaxRegistersPerMultiprocessor = 82,
  kMaxSharedPerBlockOptin = 97,
};
enum FunctionAttribute : int {  // CUfunction_attribute
  kFuncMaxThreads = 0,
  kFuncSharedBytes = 1,
  kFuncLocalBytes = 3,
  kFuncRegisters = 4,
  kFuncMaxDynamicShared = 8,
};

enum class TensorType : int { U8 = 0, F16 = 6, F32 = 7, BF16 = 9 };   // CUtensorMapDataType
enum class TensorSwizzle : int { None, Bytes32, Bytes64, Bytes128 };  // CUtensorMapSwizzle

enum CaptureMode : int { kCaptureGlobal = 0, kCaptureThread = 1, kCaptureRelaxed = 2 };  // CUstreamCaptureMode

// X(name in libcuda, result, arguments)
#define NATIVE_CUDA_FUNCTIONS(X)                                                                                  \
  X(cuInit, (unsigned flags))                                                                                     \
  X(cuDriverGetVersion, (int* version))                                                                           \
  X(cuGetErrorName, (Result error, const char** text))                                                            \
  X(cuGetErrorString, (Result error, const char** text))                                                          \
  X(cuDeviceGetCount, (int* count))                                                                               \
  X(cuDeviceGet, (DeviceOrdinal * device, int ordinal))                                                           \
  X(cuDeviceGetName, (char* name, int length, DeviceOrdinal device))                                              \
  X(cuDeviceGetAttribute, (int* value, int attribute, DeviceOrdinal device))                                      \
  X(cuDeviceTotalMem_v2, (size_t* bytes, DeviceOrdinal device))                                                   \
  X(cuDevicePrimaryCtxRetain, (Context * context, DeviceOrdinal device))                                          \
  X(cuDevicePrimaryCtxRelease_v2, (DeviceOrdinal device))                                                         \
  X(cuCtxSetCurrent, (Context context))                                                                           \
  X(cuCtxSynchronize, ())                                                                                         \
  X(cuMemAlloc_v2, (Address * address, size_t bytes))                                                             \
  X(cuMemFree_v2, (Address address))                                                                              \
  X(cuMemGetInfo_v2, (size_t* available, size_t* total))                                                          \
  X(cuMemHostAlloc, (void** host, size_t bytes, unsigned flags))                                                  \
  X(cuMemFreeHost, (void* host))                                                                                  \
  X(cuMemcpyHtoDAsync_v2, (Address to, const void* from, size_t bytes, Stream stream))                            \
  X(cuMemcpyDtoHAsync_v2, (void* to, Address from, size_t bytes, Stream stream))                                  \
  X(cuMemcpyDtoDAsync_v2, (Address to, Address from, size_t bytes, Stream stream))                                \
  X(cuMemsetD8Async, (Address to, unsigned char value, size_t bytes, Stream stream))                              \
  X(cuStreamCreate, (Stream * stream, unsigned flags))                                                            \
  X(cuStreamDestroy_v2, (Stream stream))                                                                          \
  X(cuStreamSynchronize, (Stream stream))                                                                         \
  X(cuStreamWaitEvent, (Stream stream, Event event, unsigned flags))                                              \
  X(cuEventCreate, (Event * event, unsigned flags))                                                               \
  X(cuEventDestroy_v2, (Event event))                                                                             \
  X(cuEventRecord, (Event event, Stream stream))                                                                  \
  X(cuEventQuery, (Event event))                                                                                  \
  X(cuEventSynchronize, (Event event))                                                                            \
  X(cuEventElapsedTime, (float* milliseconds, Event start, Event end))                                            \
  X(cuModuleLoadData, (ModuleHandle * module, const void* image))                                                 \
  X(cuModuleUnload, (ModuleHandle module))                                                                        \
  X(cuModuleGetFunction, (FunctionHandle * function, ModuleHandle module, const char* name))                      \
  X(cuModuleGetGlobal_v2, (Address * address, size_t* bytes, ModuleHandle module, const char* name))              \
  X(cuFuncGetParamInfo, (FunctionHandle function, size_t index, size_t* offset, size_t* bytes))                   \
  X(cuFuncGetAttribute, (int* value, int attribute, FunctionHandle function))                                     \
  X(cuFuncSetAttribute, (FunctionHandle function, int attribute, int value))                                      \
  X(cuLaunchKernel, (FunctionHandle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,    \
                     unsigned bz, unsigned shared, Stream stream, void** params, void** extra))                   \
  X(cuStreamBeginCapture_v2, (Stream stream, int mode))                                                           \
  X(cuStreamEndCapture, (Stream stream, Graph * graph))                                                           \
  X(cuGraphGetNodes, (Graph graph, GraphNode * nodes, size_t* count))                                             \
  X(cuGraphInstantiateWithFlags, (GraphExec * made, Graph graph, unsigned long long flags))                       \
  X(cuGraphLaunch, (GraphExec graph, Stream stream))                                                              \
  X(cuGraphExecDestroy, (GraphExec graph))                                                                        \
  X(cuGraphDestroy, (Graph graph))                                                                                \
  X(cuTensorMapEncodeTiled,                                                                                       \
    (TensorMap * map, TensorType type, unsigned rank, void* data, const uint64_t* sizes, const uint64_t* strides, \
     const uint32_t* box, const uint32_t* steps, int interleave, TensorSwizzle swizzle, int l2_promotion, int fill))

struct Driver {
#define NATIVE_CUDA_MEMBER(name, arguments) Result(*name) arguments = nullptr;
  NATIVE_CUDA_FUNCTIONS(NATIVE_CUDA_MEMBER)
#undef NATIVE_CUDA_MEMBER
  bool emulated = false;
  // What more is known of the last failure; may be null.
  std::string (*explain)() = nullptr;
};

// The driver of this process, opened on first use: libcuda.so.1, or the emulator if NATIVE_CUDA_DRIVER is
// "emulator". Throws DeviceError that says what is missing and what to do.
const Driver& driver();
// Fills the table from a library; throws DeviceError.
Driver open_driver(const std::string& library);

}  // namespace native::cuda
