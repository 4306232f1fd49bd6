#include "runtime/tensor_map.h"

#include "runtime/errors.h"

namespace native::cuda {
namespace {

constexpr size_t kMostAxes = 5;

uint64_t bytes_of(TensorType type) { return type == TensorType::U8 ? 1 : type == TensorType::F32 ? 4 : 2; }

}  // namespace

TensorMap tensor_map(TensorType type, const void* data, std::initializer_list<TensorAxis> axes, TensorSwizzle swizzle) {
  uint64_t sizes[kMostAxes], strides[kMostAxes];
  uint32_t box[kMostAxes], steps[kMostAxes];
  unsigned rank = 0;
  uint64_t bytes = bytes_of(type);
  for (const TensorAxis& axis : axes) {
    sizes[rank] = axis.size;
    box[rank] = axis.box;
    steps[rank] = 1;
    strides[rank++] = bytes *= axis.size;  // of the next axis
  }
  constexpr int kNoInterleave = 0, kBy256Bytes = 3, kZeros = 0;
  // Not where the caller wants it, which may be a temporary that is aligned to less.
  TensorMap map[1];
  check(driver(),
        driver().cuTensorMapEncodeTiled(map, type, rank, const_cast<void*>(data), sizes, strides, box, steps,
                                        kNoInterleave, swizzle, kBy256Bytes, kZeros),
        "describing a tensor for bulk copies");
  return map[0];
}

}  // namespace native::cuda
