// Symbolic sizes. A dimension (or an integer attribute) is an int64: either a plain number or the code of
// an expression over symbols (symbol k is the k-th size that a traced function leaves open). Expressions
// are hash-consed in one table for the process; equal codes mean equal expressions. Thread safe.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/attrs.h"

namespace native::symbols {

enum class Op : uint8_t { Symbol, Add, Sub, Mul, FloorDiv, Mod, Max, Min };

// Codes lie far below any size or index that occurs.
inline bool is_symbolic(int64_t dim) { return dim < std::numeric_limits<int64_t>::min() / 2; }

int64_t symbol(int64_t index);
// Folds constants and normalises: (x * 2) * 3 becomes x * 6, (x * 6) // 3 becomes x * 2, and so on.
int64_t make(Op op, int64_t a, int64_t b);
// values[k] is the size that symbol k stands for. Throws ShapeError on a division by zero.
int64_t evaluate(int64_t dim, const std::vector<int64_t>& values);
std::string to_string(int64_t dim);

Shape evaluate(const Shape& dims, const std::vector<int64_t>& values);
bool is_symbolic(const Shape& dims);
bool is_symbolic(const Attrs& attrs);
// Integer entries evaluated; everything else as it is.
Attrs evaluate(const Attrs& attrs, const std::vector<int64_t>& values);

}  // namespace native::symbols
