// What one run of an executable carries through its regions.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace native {

// One for a whole run, so that a loop of short bodies is stopped like one long body.
class Run {
 public:
  using Clock = std::chrono::steady_clock;
  using Trail = std::vector<std::pair<std::string, std::string>>;  // primitive, kernel

  // trail: where to write what is executed, or null.
  explicit Run(Trail* trail = nullptr) : trail_(trail) {}

  // Before each step; `may_stop`: whether it may be the last.
  void step(const std::string& op, const std::string& kernel, Clock::time_point now, bool may_stop) {
    if (may_stop) poll(now);
    if (trail_) trail_->emplace_back(op, kernel);
  }
  // Whether what is executed is written down, step by step.
  bool watched() const { return trail_ != nullptr; }
  // Asks whether to stop, at most every 20 ms since that takes the GIL. Throws what the check throws.
  void poll(Clock::time_point now = Clock::now());

 private:
  Clock::time_point last_ = Clock::now();
  Trail* trail_;
};

}  // namespace native
