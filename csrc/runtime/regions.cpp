#include "runtime/regions.h"

#include "core/errors.h"

namespace native {
namespace {

bool read_bool(const DevicePtr& device, const void* data) {
  char byte = 0;
  device->copy_out(&byte, data, 1);
  return byte != 0;
}

class Runner {
 public:
  Runner(const BoundStep& step, const Plan& plan, const DevicePtr& device, const void* const* in, void* const* out,
         Run& run)
      : step_(step), plan_(plan), device_(device), in_(in), out_(out), run_(run) {}

  void cond() const { taken_branch(step_, device_, in_[0]).run_into(in_ + 1, out_, plan_.sizes, run_); }

  // Values go from one set of buffers to the other; the last set is copied out.
  void while_loop() const {
    const size_t carried = count("carried"), tested = count("test_captured");
    const int64_t limit = step_.attrs.integer("limit");
    Values current = copies_of(carried), next = space_for(carried);
    Buffer test_result(device_, 1);
    for (int64_t iteration = 0; limit < 0 || iteration < limit; ++iteration) {
      run_.poll();
      std::vector<const void*> args = current.pointers();
      args.insert(args.end(), in_ + carried, in_ + carried + tested);
      void* verdict = test_result.data();
      step_.regions[0]->run_into(args.data(), &verdict, plan_.sizes, run_);
      if (!read_bool(device_, verdict)) break;
      args = current.pointers();
      args.insert(args.end(), in_ + carried + tested, in_ + step_.step->in.size());
      std::vector<void*> results = next.targets();
      step_.regions[1]->run_into(args.data(), results.data(), plan_.sizes, run_);
      std::swap(current, next);
    }
    copy_out(current);
  }

  void scan() const {
    const size_t carried = count("carried"), stacked = count("stacked");
    const int64_t length = step_.attrs.integer("length");
    const bool reverse = step_.attrs.integer("reverse", 0);
    Values current = copies_of(carried), next = space_for(carried);
    for (int64_t i = 0; i < length; ++i) {
      run_.poll();
      const int64_t at = reverse ? length - 1 - i : i;
      std::vector<const void*> args = current.pointers();
      for (size_t k = carried; k < carried + stacked; ++k)
        args.push_back(static_cast<const char*>(in_[k]) + at * slice_bytes(step_.step->in[k], length));
      args.insert(args.end(), in_ + carried + stacked, in_ + step_.step->in.size());
      std::vector<void*> results = next.targets();
      for (size_t k = carried; k < step_.step->out.size(); ++k)
        results.push_back(static_cast<char*>(out_[k]) + at * slice_bytes(step_.step->out[k], length));
      step_.regions[0]->run_into(args.data(), results.data(), plan_.sizes, run_);
      std::swap(current, next);
    }
    copy_out(current);
  }

 private:
  struct Values {
    std::vector<std::unique_ptr<Buffer>> buffers;
    std::vector<const void*> pointers() const {
      std::vector<const void*> result;
      for (const auto& b : buffers) result.push_back(b->data());
      return result;
    }
    std::vector<void*> targets() const {
      std::vector<void*> result;
      for (const auto& b : buffers) result.push_back(b->data());
      return result;
    }
  };

  size_t count(const char* name) const { return static_cast<size_t>(step_.attrs.integer(name)); }
  size_t bytes(int value) const { return plan_.specs[value].bytes(); }
  size_t slice_bytes(int value, int64_t length) const { return bytes(value) / static_cast<size_t>(length); }

  Values space_for(size_t values) const {
    Values result;
    for (size_t i = 0; i < values; ++i)
      result.buffers.push_back(std::make_unique<Buffer>(device_, bytes(step_.step->in[i])));
    return result;
  }
  Values copies_of(size_t values) const {
    Values result = space_for(values);
    for (size_t i = 0; i < values; ++i) copy(result.buffers[i]->data(), in_[i], bytes(step_.step->in[i]));
    return result;
  }
  void copy_out(const Values& values) const {
    for (size_t i = 0; i < values.buffers.size(); ++i)
      copy(out_[i], values.buffers[i]->data(), bytes(step_.step->in[i]));
  }
  void copy(void* to, const void* from, size_t size) const { device_->copy(to, from, size); }

  const BoundStep& step_;
  const Plan& plan_;
  const DevicePtr& device_;
  const void* const* in_;
  void* const* out_;
  Run& run_;
};

}  // namespace

const Executable& taken_branch(const BoundStep& step, const DevicePtr& device, const void* predicate) {
  return *step.regions[read_bool(device, predicate) ? 0 : 1];
}

void run_region(const BoundStep& step, const Plan& plan, const DevicePtr& device, const void* const* in,
                void* const* out, Run& run) {
  const Runner runner(step, plan, device, in, out, run);
  if (step.step->op == "cond") return runner.cond();
  if (step.step->op == "while_loop") return runner.while_loop();
  if (step.step->op == "scan") return runner.scan();
  throw UnsupportedError("unknown region '" + step.step->op + "'");
}

}  // namespace native
