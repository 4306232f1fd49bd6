// When a run asks whether it should stop: between kernels and at each turn of a loop.
#pragma once

#include <chrono>

namespace native {

// One for a whole run with its regions, so that a loop of short bodies is stopped like one long body.
class Interrupts {
 public:
  using Clock = std::chrono::steady_clock;
  // Calls the check at most every 20 ms, since that takes the GIL. Throws what the check throws.
  void poll(Clock::time_point now = Clock::now());

 private:
  Clock::time_point last_ = Clock::now();
};

}  // namespace native
