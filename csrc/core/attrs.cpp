#include "core/attrs.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>

#include "core/errors.h"

namespace native {

void Attrs::set(const std::string& name, Attr value) {
  auto at = std::lower_bound(items_.begin(), items_.end(), name,
                             [](const auto& item, const std::string& key) { return item.first < key; });
  if (at != items_.end() && at->first == name)
    at->second = std::move(value);
  else
    items_.insert(at, {name, std::move(value)});
}

namespace {

uint64_t bits(double value) { return std::bit_cast<uint64_t>(value); }

bool same(const Attr& a, const Attr& b) {
  const auto *x = std::get_if<double>(&a), *y = std::get_if<double>(&b);
  if (x && y) return bits(*x) == bits(*y);
  const auto *xs = std::get_if<Floats>(&a), *ys = std::get_if<Floats>(&b);
  if (xs && ys)
    return std::equal(xs->begin(), xs->end(), ys->begin(), ys->end(),
                      [](double i, double j) { return bits(i) == bits(j); });
  return a == b;
}

}  // namespace

bool Attrs::operator==(const Attrs& other) const {
  return std::equal(items_.begin(), items_.end(), other.items_.begin(), other.items_.end(),
                    [](const auto& a, const auto& b) { return a.first == b.first && same(a.second, b.second); });
}

const Attr* Attrs::find(const std::string& name) const {
  for (const auto& item : items_)
    if (item.first == name) return &item.second;
  return nullptr;
}

const Attr& Attrs::get(const std::string& name) const {
  if (const Attr* attr = find(name)) return *attr;
  throw UnsupportedError("attribute '" + name + "' is missing");
}

int64_t Attrs::integer(const std::string& name) const {
  const Attr& attr = get(name);
  if (auto* value = std::get_if<int64_t>(&attr)) return *value;
  throw UnsupportedError("attribute '" + name + "' is not an integer");
}
int64_t Attrs::integer(const std::string& name, int64_t otherwise) const {
  return has(name) ? integer(name) : otherwise;
}

int64_t Attrs::integer_or_zero(const std::string& name) const {
  const Attr* attr = find(name);
  const auto* value = attr ? std::get_if<int64_t>(attr) : nullptr;
  return value ? *value : 0;
}

double Attrs::real(const std::string& name) const {
  const Attr& attr = get(name);
  if (auto* value = std::get_if<double>(&attr)) return *value;
  return static_cast<double>(integer(name));
}
double Attrs::real(const std::string& name, double otherwise) const { return has(name) ? real(name) : otherwise; }

const std::string& Attrs::text(const std::string& name) const {
  if (auto* value = std::get_if<std::string>(&get(name))) return *value;
  throw UnsupportedError("attribute '" + name + "' is not a string");
}
std::string Attrs::text(const std::string& name, const std::string& otherwise) const {
  return has(name) ? text(name) : otherwise;
}

const Ints& Attrs::ints(const std::string& name) const {
  if (auto* value = std::get_if<Ints>(&get(name))) return *value;
  throw UnsupportedError("attribute '" + name + "' is not a tuple of integers");
}

Floats Attrs::reals(const std::string& name) const {
  if (auto* value = std::get_if<Floats>(&get(name))) return *value;
  const Ints& whole = ints(name);
  return Floats(whole.begin(), whole.end());
}

size_t Attrs::hash() const {
  size_t h = 1469598103934665603ull;
  auto mix = [&h](size_t v) { h = (h ^ v) * 1099511628211ull; };
  for (const auto& [name, value] : items_) {
    mix(std::hash<std::string>{}(name));
    mix(value.index());
    if (auto* i = std::get_if<int64_t>(&value)) mix(std::hash<int64_t>{}(*i));
    if (auto* d = std::get_if<double>(&value)) mix(bits(*d));
    if (auto* s = std::get_if<std::string>(&value)) mix(std::hash<std::string>{}(*s));
    if (auto* v = std::get_if<Ints>(&value))
      for (int64_t i : *v) mix(std::hash<int64_t>{}(i));
    if (auto* v = std::get_if<Floats>(&value))
      for (double d : *v) mix(bits(d));
  }
  return h;
}

}  // namespace native
