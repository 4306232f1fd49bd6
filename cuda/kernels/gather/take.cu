// gather, gather_nd, take_along_axis, one_hot, searchsorted: a thread for each unit of the result.
#include "kernels/elements.cuh"
#include "kernels/gather/places.cuh"

namespace native::cuda::gather {
namespace {

__device__ inline int64_t thread() { return blockIdx.x * int64_t{kThreads} + threadIdx.x; }

template <class T>
__device__ inline void take(const TakeParams& p) {
  const int64_t i = thread();
  if (i >= p.units) return;
  int inner = static_cast<int>(i), place = divide(inner, p.by_inner);
  const int64_t outer = divide(place, p.by_count);
  const int64_t row = outer * p.rows + row_at(p.places, place);
  static_cast<T*>(p.to)[i] = static_cast<const T*>(p.from)[row * p.by_inner.value + inner];
}

template <class T>
__device__ inline void along(const AlongParams& p) {
  const int64_t i = thread();
  if (i >= p.elements) return;
  int inner = static_cast<int>(i), taken = divide(inner, p.by_inner);
  const int64_t outer = divide(taken, p.by_taken);
  const int64_t row = outer * p.places.size[0] + clipped(index_at(p.places, i), p.places.size[0]);
  static_cast<T*>(p.to)[i] = static_cast<const T*>(p.from)[row * p.by_inner.value + inner];
}

__device__ inline int64_t integer(const void* data, int64_t i, int bytes, int with_sign) {
  switch (bytes) {
    case 1:
      return with_sign ? static_cast<const int8_t*>(data)[i] : static_cast<const uint8_t*>(data)[i];
    case 2:
      return with_sign ? static_cast<const int16_t*>(data)[i] : static_cast<const uint16_t*>(data)[i];
    case 4:
      return with_sign ? static_cast<const int32_t*>(data)[i]
                       : static_cast<int64_t>(static_cast<const uint32_t*>(data)[i]);
    default:
      return static_cast<const int64_t*>(data)[i];  // beyond 2^63 an uint64 is outside all the same
  }
}

template <class T>
__device__ inline void one_hot(const OneHotParams& p) {
  const int64_t i = thread();
  if (i >= p.elements) return;
  int inner = static_cast<int>(i), place = divide(inner, p.by_inner);
  const int64_t outer = divide(place, p.by_depth);
  const int64_t index = integer(p.indices, outer * p.by_inner.value + inner, p.index_bytes, p.index_signed);
  static_cast<T*>(p.to)[i] = index == place ? static_cast<T>(p.one) : T{0};
}

// NaN stands after everything.
__device__ inline bool before(float a, float b) { return a < b || (b != b && a == a); }
__device__ inline bool before(int32_t a, int32_t b) { return a < b; }

template <class T>
__device__ inline T load(const void* data, int64_t i, int type) {
  if constexpr (std::is_same_v<T, float>)
    return load_element(data, i, static_cast<DataType>(type));
  else
    return load_integer(data, i, static_cast<IntegerType>(type));
}

template <class T>
__device__ inline void search(const SearchParams& p) {
  const int64_t i = thread();
  if (i >= p.count) return;
  const T value = load<T>(p.values, i, p.type);
  int first = 0, last = p.size;
  while (first < last) {
    const int middle = first + (last - first) / 2;
    const T x = load<T>(p.sorted, middle, p.type);
    if (p.right ? !before(value, x) : before(x, value))
      first = middle + 1;
    else
      last = middle;
  }
  p.to[i] = first;
}

}  // namespace

#define KERNEL(name, Params, call) \
  extern "C" __global__ void __launch_bounds__(kThreads) name(const __grid_constant__ Params p) { call(p); }
#define KERNELS(bytes, T)                   \
  KERNEL(take_##bytes, TakeParams, take<T>) \
  KERNEL(take_along_##bytes, AlongParams, along<T>)

KERNELS(1, uint8_t)
KERNELS(2, uint16_t)
KERNELS(4, uint32_t)
KERNELS(8, uint2)
KERNELS(16, uint4)
KERNEL(one_hot_1, OneHotParams, one_hot<uint8_t>)
KERNEL(one_hot_2, OneHotParams, one_hot<uint16_t>)
KERNEL(one_hot_4, OneHotParams, one_hot<uint32_t>)
KERNEL(one_hot_8, OneHotParams, one_hot<uint64_t>)
KERNEL(searchsorted_float, SearchParams, search<float>)
KERNEL(searchsorted_int, SearchParams, search<int32_t>)

}  // namespace native::cuda::gather
