// Tensor maps, which the host makes for bulk copies.
#include "emulator/driver_state.h"
#include "emulator/gpus.h"
#include "emulator/tensor_map.h"

namespace native::emulator {

using namespace native::cuda;

namespace {

Result encode_tiled(cuda::TensorMap* map, TensorType type, unsigned rank, void* data, const uint64_t* sizes,
                    const uint64_t* strides, const uint32_t* box, const uint32_t* steps, int interleave,
                    TensorSwizzle swizzle, int promotion, int fill) {
  Lock lock;
  if (emulated_gpu().capability < 90)
    return failure(kNotSupported, std::string("tensor maps on an emulated ") + emulated_gpu().name);
  const std::string why = encode({static_cast<int>(type), rank, reinterpret_cast<uint64_t>(data), sizes, strides, box,
                                  steps, interleave, static_cast<int>(swizzle), promotion, fill},
                                 map);
  return why.empty() ? kSuccess : failure(kInvalidValue, "cuTensorMapEncodeTiled: " + why);
}

}  // namespace

void fill_tensor_maps(Driver& t) { t.cuTensorMapEncodeTiled = encode_tiled; }

}  // namespace native::emulator
