// Giving up and taking the interpreter's lock (the GIL), safely while Python ends.
//
// Up to Python 3.13 a daemon thread that asks for the GIL once the interpreter is ending is ended by
// pthread_exit, whose forced unwinding meets destructors that may not throw: the process aborts
// (cpython issue 87135). Here such a thread waits for ever instead, as Python 3.14 has it: its process
// is about to end anyway. close(), called by atexit, makes sure that nobody stands between the question
// and the GIL when the interpreter starts to end.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

namespace native::bindings::gil {

namespace py = pybind11;

struct State {
  std::atomic<bool> closed{false};
  std::atomic<int> asking{0};
  std::thread::id last;  // of the thread that ends the interpreter: it goes on
};
inline State& state() {
  static State* shared = new State;  // threads may ask after the destructors of statics
  return *shared;
}

// Runs `take`, which asks for the GIL; does not return where that would end the thread.
template <class Take>
void ask(const Take& take) {
  State& s = state();
  ++s.asking;  // before `closed` is read: close() writes and reads in the other order
  if (s.closed && std::this_thread::get_id() != s.last) {
    --s.asking;
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
  take();
  --s.asking;
}

// Gives up the GIL as long as it lives.
class Release {
 public:
  Release() : thread_(PyEval_SaveThread()) {}
  ~Release() {
    ask([this] { PyEval_RestoreThread(thread_); });
  }
  Release(const Release&) = delete;
  Release& operator=(const Release&) = delete;

 private:
  PyThreadState* thread_;
};

// Holds the GIL as long as it lives, in a thread that may hold it already.
class Hold {
 public:
  Hold() {
    if (PyGILState_Check())
      held_.emplace();
    else
      ask([this] { held_.emplace(); });
  }

 private:
  std::optional<py::gil_scoped_acquire> held_;
};

// From now on only the calling thread, which holds the GIL, gets it again through Release and Hold.
inline void close() {
  State& s = state();
  s.last = std::this_thread::get_id();
  s.closed = true;
  Release others;
  while (s.asking > 0) std::this_thread::yield();
}

// To be called once by each extension module, whose copy of the state is its own.
inline void install() {
  py::module_::import("atexit").attr("register")(py::cpp_function(&close));
  auto os = py::module_::import("os");
  // A fork's child has only the thread that forked, which does not ask.
  if (py::hasattr(os, "register_at_fork"))
    os.attr("register_at_fork")(py::arg("after_in_child") = py::cpp_function([] { state().asking = 0; }));
}

}  // namespace native::bindings::gil
