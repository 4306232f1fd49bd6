// Streams and events. Work given to a stream waits until somebody synchronises, so that a host which reads
// too early, or a stream that forgets to wait for another, sees old data.
#include <algorithm>
#include <utility>

#include "emulator/driver_state.h"

namespace native::emulator {

using namespace native::cuda;

namespace {

EmulatedStream& queue_of(Stream s) { return s ? *reinterpret_cast<EmulatedStream*>(s) : state().null_stream; }

bool holds(const EmulatedStream& s, uint64_t mark) {
  return std::any_of(s.queue.begin(), s.queue.end(), [mark](const Work& w) { return w.mark == mark; });
}
// The stream in which a mark waits still; null once it was reached.
EmulatedStream* holder(uint64_t mark) {
  State& st = state();
  if (mark == 0) return nullptr;
  if (holds(st.null_stream, mark)) return &st.null_stream;
  for (auto& s : st.streams)
    if (s && holds(*s, mark)) return s.get();
  return nullptr;
}

// Runs what the stream holds, up to a mark if one is given; what it waits for in other streams first.
Result drain(EmulatedStream& s, uint64_t until = 0) {
  Result result = kSuccess;
  while (!s.queue.empty()) {
    const Work w = std::move(s.queue.front());
    s.queue.pop_front();
    if (EmulatedStream* other = holder(w.waits_for)) {
      const Result r = drain(*other, w.waits_for);
      if (result == kSuccess) result = r;
    }
    if (w.run && result == kSuccess) result = w.run();
    if (until && w.mark == until) break;
  }
  return result;
}
Result drain_all() {
  State& st = state();
  Result result = drain(st.null_stream);
  for (auto& s : st.streams)
    if (s) {
      const Result r = drain(*s);
      if (result == kSuccess) result = r;
    }
  return result;
}
// What failed before while nobody waited is told now.
Result told(Result result) {
  auto& deferred = state().deferred;
  if (result != kSuccess || deferred.result == kSuccess) return result;
  state().last = std::move(deferred.why);
  return std::exchange(deferred.result, kSuccess);
}

}  // namespace

void settle() {
  const Result result = drain_all();
  if (result != kSuccess && state().deferred.result == kSuccess) state().deferred = {result, state().last};
}
void enqueue(Stream s, std::function<Result()> run) { queue_of(s).queue.push_back({std::move(run), 0, 0}); }

namespace {

Result context_synchronize() {
  Lock lock;
  return told(drain_all());
}

Result stream_create(Stream* s, unsigned) {
  Lock lock;
  state().streams.push_back(std::make_unique<EmulatedStream>());
  *s = reinterpret_cast<Stream>(state().streams.back().get());
  return kSuccess;
}
Result stream_destroy(Stream s) {
  Lock lock;
  const Result r = drain(queue_of(s));
  for (auto& each : state().streams)
    if (reinterpret_cast<Stream>(each.get()) == s) each.reset();
  return r;
}
Result stream_synchronize(Stream s) {
  Lock lock;
  return told(drain(queue_of(s)));
}
Result stream_wait(Stream s, Event e, unsigned) {
  Lock lock;
  queue_of(s).queue.push_back({nullptr, 0, reinterpret_cast<EmulatedEvent*>(e)->mark});
  return kSuccess;
}
Result event_create(Event* e, unsigned) {
  Lock lock;
  state().events.push_back(std::make_unique<EmulatedEvent>());
  *e = reinterpret_cast<Event>(state().events.back().get());
  return kSuccess;
}
Result event_destroy(Event e) {
  Lock lock;
  std::erase_if(state().events, [&](auto& each) { return reinterpret_cast<Event>(each.get()) == e; });
  return kSuccess;
}
Result event_record(Event e, Stream s) {
  Lock lock;
  const uint64_t mark = ++state().marks;
  reinterpret_cast<EmulatedEvent*>(e)->mark = mark;
  queue_of(s).queue.push_back({nullptr, mark, 0});
  return kSuccess;
}
Result event_query(Event e) {
  Lock lock;
  const uint64_t mark = reinterpret_cast<EmulatedEvent*>(e)->mark;
  return holder(mark) ? kNotReady : kSuccess;
}
Result event_synchronize(Event e) {
  Lock lock;
  const uint64_t mark = reinterpret_cast<EmulatedEvent*>(e)->mark;
  EmulatedStream* stream = holder(mark);
  return told(stream ? drain(*stream, mark) : kSuccess);
}
Result event_elapsed(float* ms, Event, Event) { return *ms = 0, kSuccess; }

}  // namespace

void fill_streams(Driver& t) {
  t.cuCtxSynchronize = context_synchronize;
  t.cuStreamCreate = stream_create;
  t.cuStreamDestroy_v2 = stream_destroy;
  t.cuStreamSynchronize = stream_synchronize;
  t.cuStreamWaitEvent = stream_wait;
  t.cuEventCreate = event_create;
  t.cuEventDestroy_v2 = event_destroy;
  t.cuEventRecord = event_record;
  t.cuEventQuery = event_query;
  t.cuEventSynchronize = event_synchronize;
  t.cuEventElapsedTime = event_elapsed;
}

}  // namespace native::emulator
