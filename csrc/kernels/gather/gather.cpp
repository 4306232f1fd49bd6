// gather, take_along_axis, gather_nd, one_hot.
#include <cstring>

#include "kernels/gather/indices.h"
#include "kernels/shape/scalar.h"
#include "kernels/shape/tasks.h"
#include "runtime/cpu.h"
#include "runtime/registry.h"
#include "simd/nontemporal.h"

namespace native {
namespace {

template <size_t N>
struct Block {
  char bytes[N];
};

// Calls body with a block of the given size as a type, or with a char for other sizes.
template <class F>
void by_size(int64_t bytes, const F& body) {
  switch (bytes) {
    case 1:
      return body(Block<1>{});
    case 2:
      return body(Block<2>{});
    case 4:
      return body(Block<4>{});
    case 8:
      return body(Block<8>{});
    case 16:
      return body(Block<16>{});
    default:
      return body(char{});
  }
}

// Rows as below past the caches, while the next one is asked for.
template <class Row>
void copy_far_rows(const char* from, char* to, int64_t bytes, int64_t first, int64_t last, const Row& row) {
  for (int64_t i = first; i < last; ++i) {
    Ahead next;
    if (i + 1 < last) next.add(from + row(i + 1) * bytes);
    copy_nontemporal(to + i * bytes, from + row(i) * bytes, bytes, next);
  }
}

// to[i] = from[row(i)] for rows of `bytes` bytes; `far`: no cache keeps them.
template <class Row>
void copy_rows(const char* from, char* to, int64_t bytes, int64_t first, int64_t last, bool far, const Row& row) {
  if (far && bytes >= kFarRow) return copy_far_rows(from, to, bytes, first, last, row);
  by_size(bytes, [&](auto block) {
    using T = decltype(block);
    for (int64_t i = first; i < last; ++i) {
      const char* source = from + row(i) * bytes;
      if constexpr (std::is_same_v<T, char>)
        std::memcpy(to + i * bytes, source, bytes);
      else
        std::memcpy(to + i * bytes, source, sizeof(T));
    }
  });
}

class Gather : public Kernel {
 public:
  explicit Gather(const Problem& p)
      : view_(p.in[0].shape, static_cast<size_t>(p.attrs.integer("axis"))),
        index_(p.in[1].dtype),
        count_(p.in[1].count()),
        row_(view_.inner * static_cast<int64_t>(size_of(p.in[0].dtype))),
        far_(is_far(static_cast<int64_t>(p.out[0].bytes()))) {}
  void run(const void* const* in, void* const* out, void*) const override {
    const Indices indices(in[1], index_);
    parallel_ranges(view_.outer * count_, 2 * view_.outer * count_ * row_, [&](int64_t first, int64_t last) {
      for (int64_t at = first; at < last;) {  // up to the end of one outer position at a time
        const int64_t outer = at / count_, end = std::min(last, (outer + 1) * count_);
        copy_rows(static_cast<const char*>(in[0]) + outer * view_.size * row_,
                  static_cast<char*>(out[0]) + outer * count_ * row_, row_, at - outer * count_, end - outer * count_,
                  far_, [&](int64_t i) { return indices.at(i, view_.size); });
        at = end;
      }
    });
  }

 private:
  AxisView view_;
  DType index_;
  int64_t count_, row_;
  bool far_;
};

class GatherNd : public Kernel {
 public:
  explicit GatherNd(const Problem& p)
      : view_(p.in[0].shape, p.in[1].shape),
        index_(p.in[1].dtype),
        row_(view_.inner * static_cast<int64_t>(size_of(p.in[0].dtype))),
        far_(is_far(static_cast<int64_t>(p.out[0].bytes()))) {}
  void run(const void* const* in, void* const* out, void*) const override {
    const Indices indices(in[1], index_);
    parallel_ranges(view_.count, 2 * view_.count * row_, [&](int64_t first, int64_t last) {
      copy_rows(static_cast<const char*>(in[0]), static_cast<char*>(out[0]), row_, first, last, far_,
                [&](int64_t i) { return view_.row(indices, i); });
    });
  }

 private:
  RowsView view_;
  DType index_;
  int64_t row_;
  bool far_;
};

class TakeAlongAxis : public Kernel {
 public:
  explicit TakeAlongAxis(const Problem& p)
      : view_(p.in[0].shape, static_cast<size_t>(p.attrs.integer("axis"))),
        index_(p.in[1].dtype),
        taken_(p.out[0].shape[static_cast<size_t>(p.attrs.integer("axis"))]),
        element_(static_cast<int64_t>(size_of(p.in[0].dtype))) {}
  void run(const void* const* in, void* const* out, void*) const override {
    const Indices indices(in[1], index_);
    const int64_t inner = view_.inner, rows = view_.outer * taken_;
    parallel_ranges(rows, 2 * rows * inner * element_, [&](int64_t first, int64_t last) {
      by_size(element_, [&](auto block) {
        using T = decltype(block);
        const T* x = static_cast<const T*>(in[0]);
        T* y = static_cast<T*>(out[0]);
        for (int64_t row = first; row < last; ++row) {
          const T* from = x + row / taken_ * view_.size * inner;
          for (int64_t j = 0; j < inner; ++j)
            y[row * inner + j] = from[indices.at(row * inner + j, view_.size) * inner + j];
        }
      });
    });
  }

 private:
  AxisView view_;
  DType index_;
  int64_t taken_, element_;
};

template <class T>
void put_one(void* to) {
  const T one(1.0f);
  std::memcpy(to, &one, sizeof(T));
}

class OneHot : public Kernel {
 public:
  explicit OneHot(const Problem& p)
      : view_(p.out[0].shape, static_cast<size_t>(p.attrs.integer("axis"))),
        index_(p.in[0].dtype),
        element_(static_cast<int64_t>(size_of(p.out[0].dtype))) {
    switch (p.out[0].dtype) {
      case DType::F16:
        put_one<F16>(one_);
        break;
      case DType::BF16:
        put_one<Bf16>(one_);
        break;
      case DType::F32:
      case DType::C64:
        put_one<float>(one_);
        break;
      case DType::F64:
      case DType::C128:
        put_one<double>(one_);
        break;
      case DType::F8E4M3:
        one_[0] = 0x38;
        break;
      case DType::F8E5M2:
        one_[0] = 0x3c;
        break;
      default:
        one_[0] = 1;
    }
  }
  void run(const void* const* in, void* const* out, void*) const override {
    const int64_t inner = view_.inner, block = view_.size * inner * element_;
    char* y = static_cast<char*>(out[0]);
    if (block == 0) return;
    parallel_ranges(view_.outer, view_.outer * block, [&](int64_t first, int64_t last) {
      std::memset(y + first * block, 0, (last - first) * block);
      for (int64_t i = first * inner; i < last * inner; ++i) {
        const int64_t index = index_at(in[0], i);
        if (index < 0 || index >= view_.size) continue;
        std::memcpy(y + ((i / inner * view_.size + index) * inner + i % inner) * element_, one_, element_);
      }
    });
  }

 private:
  int64_t index_at(const void* data, int64_t i) const {
    switch (index_) {
      case DType::U8:
        return static_cast<const uint8_t*>(data)[i];
      case DType::I8:
        return static_cast<const int8_t*>(data)[i];
      case DType::U16:
        return static_cast<const uint16_t*>(data)[i];
      case DType::I16:
        return static_cast<const int16_t*>(data)[i];
      case DType::U32:
        return static_cast<const uint32_t*>(data)[i];
      case DType::I32:
        return static_cast<const int32_t*>(data)[i];
      default:
        return static_cast<const int64_t*>(data)[i];  // a large uint64 is as far outside as -1
    }
  }

  AxisView view_;
  DType index_;
  int64_t element_;
  char one_[16] = {};
};

template <class K>
std::unique_ptr<Kernel> make(const Problem& p) {
  return std::make_unique<K>(p);
}

const Register gather{"gather", "rows", 0, make<Gather>};
const Register gather_nd{"gather_nd", "rows", 0, make<GatherNd>};
const Register take_along_axis{"take_along_axis", "elements", 0, make<TakeAlongAxis>};
const Register one_hot{"one_hot", "fill", 0, make<OneHot>};

}  // namespace
}  // namespace native
