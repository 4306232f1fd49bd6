// Streams and events. Work given to a stream waits until somebody synchronises, so that a host which reads
// too early, or a stream that forgets to wait for another, sees old data.
#include <algorithm>
#include <utility>

#include "emulator/driver_state.h"

namespace native::emulator {

using namespace native::cuda;

namespace {

// 1 and 2 are names of default streams.
EmulatedStream& queue_of(Stream s) {
  return reinterpret_cast<uintptr_t>(s) > 2 ? *reinterpret_cast<EmulatedStream*>(s) : state().null_stream;
}

bool known(Stream s) {
  return reinterpret_cast<uintptr_t>(s) <= 2 ||
         std::any_of(state().streams.begin(), state().streams.end(),
                     [s](const auto& each) { return reinterpret_cast<Stream>(each.get()) == s; });
}
Result unknown(Stream s) {
  return failure(kInvalidHandle, "there is no stream " + hex(reinterpret_cast<uintptr_t>(s)) + ", or no more");
}

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
// The host has waited for a stream, or for all: what everybody follows need not be remembered.
void waited_for(EmulatedStream& s) {
  State& st = state();
  st.host.learn(s.before);
  auto over = [&](const EmulatedStream& each) { return st.host.knows(each.index, each.given) || each.given == 0; };
  if (over(st.null_stream) &&
      std::all_of(st.streams.begin(), st.streams.end(), [&](const auto& each) { return !each || over(*each); }))
    st.origins.forget();
}
void waited_for_all() {
  waited_for(state().null_stream);
  for (auto& s : state().streams)
    if (s) waited_for(*s);
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
  waited_for_all();
  if (result != kSuccess && state().deferred.result == kSuccess) state().deferred = {result, state().last};
}
uint32_t number_refused(const std::string& what) { return state().origins.add({0, 0, what}); }
void enqueue(Stream s, std::string what, std::function<Result(const Order&)> run) {
  State& st = state();
  EmulatedStream& stream = queue_of(s);
  if (stream.capture) {
    stream.capture->graph.nodes.push_back({std::move(what), std::move(run)});
    return;
  }
  stream.before.learn(st.host);
  stream.before.learn(stream.index, ++stream.given);
  const uint32_t id = st.origins.add({stream.index, stream.given, std::move(what)});
  const Order order{id, stream.index, stream.before, &st.origins};
  stream.queue.push_back({[order, run = std::move(run)] { return run(order); }, 0, 0});
}

namespace {

Result context_synchronize() {
  Lock lock;
  if (const Result r = spoil_recordings("cuCtxSynchronize")) return r;
  ++state().calls.waits;
  const Result r = drain_all();
  waited_for_all();
  return told(r);
}

Result stream_create(Stream* s, unsigned) {
  Lock lock;
  state().streams.push_back(std::make_unique<EmulatedStream>());
  state().streams.back()->index = static_cast<uint32_t>(state().streams.size());
  *s = reinterpret_cast<Stream>(state().streams.back().get());
  return kSuccess;
}
Result stream_destroy(Stream s) {
  Lock lock;
  if (!known(s)) return unknown(s);
  const Result r = drain(queue_of(s));
  for (auto& each : state().streams)
    if (reinterpret_cast<Stream>(each.get()) == s) each.reset();
  return r;
}
Result stream_synchronize(Stream s) {
  Lock lock;
  if (!known(s)) return unknown(s);
  if (const Result r = spoil_recordings("cuStreamSynchronize", &queue_of(s))) return r;
  ++state().calls.waits;
  const Result r = drain(queue_of(s));
  waited_for(queue_of(s));
  return told(r);
}
Result stream_wait(Stream s, Event e, unsigned) {
  Lock lock;
  if (!known(s)) return unknown(s);
  if (queue_of(s).capture) return spoil_recordings("cuStreamWaitEvent", &queue_of(s));
  const auto& event = *reinterpret_cast<EmulatedEvent*>(e);
  queue_of(s).queue.push_back({nullptr, 0, event.mark});
  queue_of(s).before.learn(event.before);
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
  if (!known(s)) return unknown(s);
  if (queue_of(s).capture) return spoil_recordings("cuEventRecord", &queue_of(s));
  const uint64_t mark = ++state().marks;
  *reinterpret_cast<EmulatedEvent*>(e) = {mark, queue_of(s).before};
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
  if (const Result r = spoil_recordings("cuEventSynchronize")) return r;
  ++state().calls.waits;
  const uint64_t mark = reinterpret_cast<EmulatedEvent*>(e)->mark;
  EmulatedStream* stream = holder(mark);
  const Result r = stream ? drain(*stream, mark) : kSuccess;
  state().host.learn(reinterpret_cast<EmulatedEvent*>(e)->before);
  return told(r);
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
