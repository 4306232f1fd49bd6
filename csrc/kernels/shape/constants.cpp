// full and iota.
#include <cstring>

#include "kernels/shape/scalar.h"
#include "kernels/shape/strided_copy.h"
#include "kernels/shape/tasks.h"
#include "runtime/registry.h"

namespace native {
namespace {

// Calls body with a value of the dtype's C++ type; false for types that have none here.
template <class F>
bool with_type(DType dtype, const F& body) {
  switch (dtype) {
    case DType::Bool:
    case DType::U8:
      body(uint8_t{});
      return true;
    case DType::U16:
      body(uint16_t{});
      return true;
    case DType::U32:
      body(uint32_t{});
      return true;
    case DType::U64:
      body(uint64_t{});
      return true;
    case DType::I8:
      body(int8_t{});
      return true;
    case DType::I16:
      body(int16_t{});
      return true;
    case DType::I32:
      body(int32_t{});
      return true;
    case DType::I64:
      body(int64_t{});
      return true;
    case DType::F16:
      body(F16{});
      return true;
    case DType::BF16:
      body(Bf16{});
      return true;
    case DType::F32:
      body(float{});
      return true;
    case DType::F64:
      body(double{});
      return true;
    default:
      return false;
  }
}

// Through float for the narrow types: a double or an int rounds to float first, as NumPy does it.
template <class T, class V>
T converted(V value) {
  if constexpr (sizeof(T) == 2 && !std::is_arithmetic_v<T>)
    return T(static_cast<float>(value));
  else
    return static_cast<T>(value);
}

class Full : public Kernel {
 public:
  Full(const Spec& spec, uint64_t value) : value_(value), copy_(size_of(spec.dtype), {spec.count()}, {0}, {1}) {}
  void run(const void* const*, void* const* out, void*) const override { copy_.run(&value_, out[0]); }

 private:
  uint64_t value_;  // its bytes, first ones first
  StridedCopy copy_;
};

std::unique_ptr<Kernel> prepare_full(const Problem& p) {
  uint64_t bits = 0;
  const bool known = with_type(p.out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    T value;
    if constexpr (std::is_integral_v<T>)
      value = static_cast<T>(p.attrs.integer("value"));
    else
      value = converted<T>(p.attrs.real("value"));
    std::memcpy(&bits, &value, sizeof(T));
  });
  return known ? std::make_unique<Full>(p.out[0], bits) : nullptr;
}

class Iota : public Kernel {
 public:
  explicit Iota(const Spec& spec)
      : dtype_(spec.dtype), count_(spec.count()), bytes_(static_cast<int64_t>(spec.bytes())) {}
  void run(const void* const*, void* const* out, void*) const override {
    with_type(dtype_, [&](auto zero) {
      using T = decltype(zero);
      T* y = static_cast<T*>(out[0]);
      parallel_ranges(count_, bytes_, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) y[i] = converted<T>(i);
      });
    });
  }

 private:
  DType dtype_;
  int64_t count_, bytes_;
};

std::unique_ptr<Kernel> prepare_iota(const Problem& p) {
  if (!with_type(p.out[0].dtype, [](auto) {})) return nullptr;
  return std::make_unique<Iota>(p.out[0]);
}

const Register full{"full", "fill", 0, prepare_full};
const Register iota{"iota", "count", 0, prepare_iota};

}  // namespace
}  // namespace native
