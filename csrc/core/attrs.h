// Attributes of a primitive: a small sorted map from name to value. Value type, comparable, hashable.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/shape.h"

namespace native {

using Ints = std::vector<int64_t>;
using Floats = std::vector<double>;
using Attr = std::variant<int64_t, double, std::string, Ints, Floats>;

class Attrs {
 public:
  void set(const std::string& name, Attr value);
  bool has(const std::string& name) const { return find(name) != nullptr; }
  // Getters with a default return it when the name is absent; those without throw UnsupportedError.
  // A bool is stored as an int; a double may be read from an int.
  int64_t integer(const std::string& name) const;
  int64_t integer(const std::string& name, int64_t otherwise) const;
  // 0 when the attribute is absent or no integer.
  int64_t integer_or_zero(const std::string& name) const;
  double real(const std::string& name) const;
  double real(const std::string& name, double otherwise) const;
  std::string text(const std::string& name, const std::string& otherwise) const;
  const std::string& text(const std::string& name) const;
  const Ints& ints(const std::string& name) const;  // empty tuples are Ints
  Floats reals(const std::string& name) const;      // from Floats or Ints

  // Numbers are equal that have the same bits: 0.0 is not -0.0, whose results differ, and NaN is found again in a
  // cache.
  bool operator==(const Attrs& other) const;
  size_t hash() const;
  std::vector<std::pair<std::string, Attr>>& items() { return items_; }
  const std::vector<std::pair<std::string, Attr>>& items() const { return items_; }

 private:
  const Attr* find(const std::string& name) const;
  const Attr& get(const std::string& name) const;
  std::vector<std::pair<std::string, Attr>> items_;
};

}  // namespace native
