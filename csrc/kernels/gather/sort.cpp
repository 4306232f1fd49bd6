// sort, argsort, top_k and searchsorted. Elements become unsigned keys of the same order (NaN above all),
// sorted by radix from the lowest byte up, or by comparison when there are few.
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/gather/indices.h"
#include "kernels/shape/scalar.h"
#include "kernels/shape/tasks.h"
#include "runtime/registry.h"

namespace native {
namespace {

constexpr int64_t kFewKeys = 256;

// For one element type: its key, in 32 bits for elements of up to 4 bytes, and back.
template <class T>
struct Order {
  using Bits = std::conditional_t<
      sizeof(T) == 8, uint64_t,
      std::conditional_t<sizeof(T) == 4, uint32_t, std::conditional_t<sizeof(T) == 2, uint16_t, uint8_t>>>;
  using Key = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  static constexpr Bits kTop = Bits{1} << (8 * sizeof(T) - 1);
  static constexpr bool kFloat = !std::is_integral_v<T>;
  static constexpr Bits kNan = static_cast<Bits>(~Bits{0});

  // `equal_zeros`: -0 counts as 0, as comparisons have it; otherwise it comes before.
  static Key key(T x, bool equal_zeros) {
    Bits bits;
    std::memcpy(&bits, &x, sizeof(T));
    if constexpr (kFloat) {
      if (x != x) return kNan;
      if (equal_zeros && bits == kTop) bits = 0;
      return static_cast<Bits>(bits & kTop ? ~bits : bits | kTop);
    }
    if constexpr (std::is_signed_v<T>) bits = static_cast<Bits>(bits ^ kTop);
    return bits;
  }
  static T value(Key key) {
    Bits bits = static_cast<Bits>(key);
    if constexpr (kFloat) {
      if (bits == kNan)
        bits = nan();
      else
        bits = static_cast<Bits>(bits & kTop ? bits ^ kTop : ~bits);
    } else if constexpr (std::is_signed_v<T>) {
      bits = static_cast<Bits>(bits ^ kTop);
    }
    T x;
    std::memcpy(&x, &bits, sizeof(T));
    return x;
  }

 private:
  static Bits nan() {
    T x;
    if constexpr (sizeof(T) == 8)
      x = std::nan("");
    else
      x = static_cast<T>(std::nanf(""));
    Bits bits;
    std::memcpy(&bits, &x, sizeof(T));
    return bits;
  }
};

template <class Key>
struct Keyed {
  Key key;
  uint32_t index;
};
inline uint32_t key_of(uint32_t k) { return k; }
inline uint64_t key_of(uint64_t k) { return k; }
template <class Key>
Key key_of(const Keyed<Key>& k) {
  return k.key;
}
// Ties by index: what a stable sort gives.
template <class Key>
bool operator<(const Keyed<Key>& a, const Keyed<Key>& b) {
  return a.key != b.key ? a.key < b.key : a.index < b.index;
}

// Sorts records by key, stably; `other` has room for as many. The result is in `records`.
template <class Record>
void radix_sort(Record* records, Record* other, int64_t n) {
  if (n < kFewKeys) {
    std::sort(records, records + n);
    return;
  }
  using Key = decltype(key_of(records[0]));
  constexpr int digits = sizeof(Key);
  uint32_t counts[digits][256] = {};
  for (int64_t i = 0; i < n; ++i) {
    const Key key = key_of(records[i]);
    for (int d = 0; d < digits; ++d) ++counts[d][key >> (8 * d) & 255];
  }
  Record *from = records, *to = other;
  for (int d = 0; d < digits; ++d) {
    uint32_t* count = counts[d];
    if (count[key_of(from[0]) >> (8 * d) & 255] == n) continue;  // all have the same digit
    uint32_t start = 0;
    for (int b = 0; b < 256; ++b) start += std::exchange(count[b], start);
    for (int64_t i = 0; i < n; ++i) to[count[key_of(from[i]) >> (8 * d) & 255]++] = from[i];
    std::swap(from, to);
  }
  if (from != records) std::copy(from, from + n, records);
}

enum class Task { Sort, Argsort, TopK };

template <class T>
class Sort : public Kernel {
 public:
  Sort(Task task, const AxisView& view, int64_t k) : task_(task), view_(view), k_(k) {}
  void run(const void* const* in, void* const* out, void*) const override {
    const int64_t n = view_.size, inner = view_.inner, rows = view_.outer * inner;
    if (n == 0 || k_ == 0) return;
    const T* x = static_cast<const T*>(in[0]);
    // Sorting costs some tens of passes.
    parallel_ranges(rows, 32 * rows * n * static_cast<int64_t>(sizeof(T)), [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row) {
        const int64_t start = row / inner * n * inner + row % inner;
        if (task_ == Task::Sort)
          sort(x + start, static_cast<T*>(out[0]) + start);
        else if (task_ == Task::Argsort)
          argsort(x + start, static_cast<int32_t*>(out[0]) + start);
        else
          top_k(x + start, static_cast<T*>(out[0]) + row * k_, static_cast<int32_t*>(out[1]) + row * k_);
      }
    });
  }

 private:
  using Key = typename Order<T>::Key;
  using Record = Keyed<Key>;

  template <class R>
  R* memory() const {
    return static_cast<R*>(pool::thread_scratch(2 * static_cast<size_t>(view_.size) * sizeof(R)));
  }

  void sort(const T* x, T* y) const {
    Key* keys = memory<Key>();
    for (int64_t i = 0; i < view_.size; ++i) keys[i] = Order<T>::key(x[i * view_.inner], false);
    radix_sort(keys, keys + view_.size, view_.size);
    for (int64_t i = 0; i < view_.size; ++i) y[i * view_.inner] = Order<T>::value(keys[i]);
  }
  void argsort(const T* x, int32_t* y) const {
    Record* records = memory<Record>();
    for (int64_t i = 0; i < view_.size; ++i)
      records[i] = {Order<T>::key(x[i * view_.inner], true), static_cast<uint32_t>(i)};
    radix_sort(records, records + view_.size, view_.size);
    for (int64_t i = 0; i < view_.size; ++i) y[i * view_.inner] = static_cast<int32_t>(records[i].index);
  }
  void top_k(const T* x, T* values, int32_t* indices) const {
    Record* records = memory<Record>();
    const auto record = [x](int64_t i) {
      return Record{static_cast<Key>(~Order<T>::key(x[i], true)), static_cast<uint32_t>(i)};
    };
    if (k_ <= view_.size / 8) {
      // A heap of the best so far, its worst on top: nearly all others fail one comparison.
      for (int64_t i = 0; i < k_; ++i) records[i] = record(i);
      std::make_heap(records, records + k_);
      const auto offer = [&](int64_t i) {
        const Record next = record(i);
        if (next.key >= records[0].key) return;
        std::pop_heap(records, records + k_);
        records[k_ - 1] = next;
        std::push_heap(records, records + k_);
      };
      int64_t i = k_;
      for (; i + kBlock <= view_.size; i += kBlock) {
        const T worst = x[records[0].index];
        int better = 0;  // or NaN
        for (int64_t j = 0; j < kBlock; ++j) better |= !(x[i + j] <= worst);
        if (better == 0) continue;
        for (int64_t j = 0; j < kBlock; ++j) offer(i + j);
      }
      for (; i < view_.size; ++i) offer(i);
      std::sort_heap(records, records + k_);
    } else {
      for (int64_t i = 0; i < view_.size; ++i) records[i] = record(i);
      radix_sort(records, records + view_.size, view_.size);
    }
    for (int64_t i = 0; i < k_; ++i) {
      values[i] = x[records[i].index];
      indices[i] = static_cast<int32_t>(records[i].index);
    }
  }

  static constexpr int64_t kBlock = 32;

  Task task_;
  AxisView view_;
  int64_t k_;
};

template <class T>
class SearchSorted : public Kernel {
 public:
  explicit SearchSorted(const Problem& p)
      : sorted_(p.in[0].count()), values_(p.in[1].count()), right_(p.attrs.text("side") == "right") {}
  void run(const void* const* in, void* const* out, void*) const override {
    const T* first = static_cast<const T*>(in[0]);
    const T* last = first + sorted_;
    const T* values = static_cast<const T*>(in[1]);
    int32_t* y = static_cast<int32_t*>(out[0]);
    const auto less = [](T a, T b) { return Order<T>::key(a, true) < Order<T>::key(b, true); };
    parallel_ranges(values_, 64 * values_, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const T* at =
            right_ ? std::upper_bound(first, last, values[i], less) : std::lower_bound(first, last, values[i], less);
        y[i] = static_cast<int32_t>(at - first);
      }
    });
  }

 private:
  int64_t sorted_, values_;
  bool right_;
};

template <class F>
std::unique_ptr<Kernel> by_type(DType dtype, const F& make) {
  switch (dtype) {
    case DType::Bool:
    case DType::U8:
      return make(uint8_t{});
    case DType::U16:
      return make(uint16_t{});
    case DType::U32:
      return make(uint32_t{});
    case DType::U64:
      return make(uint64_t{});
    case DType::I8:
      return make(int8_t{});
    case DType::I16:
      return make(int16_t{});
    case DType::I32:
      return make(int32_t{});
    case DType::I64:
      return make(int64_t{});
    case DType::F16:
      return make(F16{});
    case DType::BF16:
      return make(Bf16{});
    case DType::F32:
      return make(float{});
    case DType::F64:
      return make(double{});
    default:
      return nullptr;
  }
}

std::unique_ptr<Kernel> make_sort(Task task, const Problem& p, size_t axis, int64_t k) {
  const AxisView view(p.in[0].shape, axis);
  if (view.size >= int64_t{1} << 31) return nullptr;
  return by_type(p.in[0].dtype, [&](auto zero) -> std::unique_ptr<Kernel> {
    return std::make_unique<Sort<decltype(zero)>>(task, view, k);
  });
}

std::unique_ptr<Kernel> prepare_sort(const Problem& p) {
  return make_sort(Task::Sort, p, static_cast<size_t>(p.attrs.integer("axis")), 1);
}
std::unique_ptr<Kernel> prepare_argsort(const Problem& p) {
  return make_sort(Task::Argsort, p, static_cast<size_t>(p.attrs.integer("axis")), 1);
}
std::unique_ptr<Kernel> prepare_top_k(const Problem& p) {
  return make_sort(Task::TopK, p, p.in[0].shape.size() - 1, p.attrs.integer("k"));
}
std::unique_ptr<Kernel> prepare_searchsorted(const Problem& p) {
  if (p.in[0].count() >= int64_t{1} << 31) return nullptr;
  return by_type(p.in[0].dtype, [&](auto zero) -> std::unique_ptr<Kernel> {
    return std::make_unique<SearchSorted<decltype(zero)>>(p);
  });
}

const Register sort{"sort", "radix", 0, prepare_sort};
const Register argsort{"argsort", "radix", 0, prepare_argsort};
const Register top_k{"top_k", "select", 0, prepare_top_k};
const Register searchsorted{"searchsorted", "bisect", 0, prepare_searchsorted};

}  // namespace
}  // namespace native
