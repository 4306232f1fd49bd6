// The registry of kernels. A kernel registers itself with the primitive's name, its own name, the
// instruction set it needs and a `prepare` function that looks at a concrete problem (all shapes known)
// and returns either a ready-to-run kernel or nullptr ("not mine"). The list of a primitive is ordered by
// priority, highest first; the first that accepts wins, unless another was chosen by name (choices.h).
// A kernel may stand in a list twice: where it is the best, and with kOnlyByChoice where it is merely able to, so
// that a race can find what the rule of its first entry misses.
//
// Registration happens in static initialisers of driver units (never in *.simd.cpp units).
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/attrs.h"
#include "core/shape.h"

namespace native {

// One concrete problem. `op` is the primitive's name.
struct Problem {
  std::string op;
  std::vector<Spec> in;
  std::vector<Spec> out;
  Attrs attrs;
  bool operator==(const Problem&) const = default;
};
// "matmul(float32(2, 3), float32(3, 4)) -> float32(2, 4)": for error messages.
std::string to_string(const Problem& problem);

struct HashProblem {
  size_t operator()(const Problem& problem) const;
};

// Rows [first, first + count) of `all`.
struct RowRange {
  int64_t all, first, count;
};

// A kernel bound to one problem: immutable, so several threads may run it at once.
// Operands are contiguous row-major in memory of the kernel's device, 64-byte aligned unless a slice of a larger buffer
// (then aligned to the element); outputs overlap no inputs but those that may_overwrite() names; the caller owns all
// memory. `scratch` has scratch_bytes() bytes of the same memory, 64-byte aligned, uninitialised. run() may use
// pool::parallel_for and must not allocate in the steady state; it must not throw other than std::bad_alloc.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void run(const void* const* in, void* const* out, void* scratch) const = 0;
  virtual size_t scratch_bytes() const { return 0; }
  // Whether output `out` may be where input `in` is, which has its size and which run() reads under no other index: an
  // element of the one is written when that of the other is no longer needed. run() of such a kernel does not throw.
  virtual bool may_overwrite(size_t /*out*/, size_t /*in*/) const { return false; }
  // Whether every result is `rows` rows of equal size, each of which depends on the same row of some operands and on
  // all of others: then bit i says that in[i] is one of the former.
  virtual std::optional<uint64_t> by_rows(int64_t /*rows*/) const { return std::nullopt; }
  // These rows of the results, with the bits that run() gives them, on the calling thread; operands are those of run().
  virtual void run_rows(const void* const* /*in*/, void* const* /*out*/, const RowRange& /*range*/) const {}
  // Whether run() works on the calling thread alone and long enough, tens of microseconds, that others that do so had
  // better work beside it.
  virtual bool alone() const { return false; }
  // Whether this and another kernel may be joined to one that does the work of both, and of more that join this one;
  // the problems do not depend on each other.
  virtual bool joins(const Kernel& /*other*/) const { return false; }
  // That kernel for `all`, of which this is one: its operands are theirs, one kernel's after another's.
  virtual std::unique_ptr<Kernel> joined(const std::vector<const Kernel*>& /*all*/) const { return nullptr; }
};

// For problems whose results are empty.
class Nothing final : public Kernel {
 public:
  void run(const void* const*, void* const*, void*) const override {}
};

using Prepare = std::unique_ptr<Kernel> (*)(const Problem&);

// The priority of entries that only a choice by name finds, and of those that no race may choose, as they are less
// exact: they serve where they are forced.
inline constexpr int kOnlyByChoice = -1, kOnlyByForce = -2;

struct KernelEntry {
  std::string op;
  std::string name;
  int priority;
  Prepare prepare;
  std::string device = "cpu";  // what the device calls its kernels
  std::string problems = "";   // which it accepts, in words; nothing to say where it is the only one
};

// Put `static const Register r{"softmax", "rowwise", 10, prepare_softmax};` in a driver unit.
struct Register {
  Register(const char* op, const char* name, int priority, Prepare prepare, const char* problems = "");
  // One kernel of several primitives.
  Register(std::initializer_list<const char*> ops, const char* name, int priority, Prepare prepare,
           const char* problems = "");
};
// The same for other devices, when their module is loaded.
void register_kernel(const KernelEntry& entry);

// A kernel for the problem, or nullptr when no entry accepts; `chosen`, if given, receives its name. Choices hold on
// the CPU alone.
std::unique_ptr<Kernel> prepare(const Problem& problem, std::string* chosen = nullptr,
                                const std::string& device = "cpu");
// Everything registered for a device, ordered by primitive and priority.
std::vector<KernelEntry> registered_kernels(const std::string& device = "cpu");

}  // namespace native
