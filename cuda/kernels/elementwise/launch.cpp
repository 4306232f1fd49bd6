#include "kernels/elementwise/launch.h"

#include <algorithm>
#include <vector>

#include "kernels/elementwise/lookup.h"
#include "runtime/images.h"

namespace native::cuda::elementwise {
namespace {

// As many blocks as a GPU has room for several times over; they walk over the rest.
constexpr uint32_t kMostBlocks = 8192;

size_t shared_bytes(int registers) { return sizeof(uint32_t) * kElements * registers; }
uint32_t tiles_of(uint32_t elements) { return (elements + kElements - 1) / kElements; }

bool aligned(const void* data, Memory memory) {
  return reinterpret_cast<uintptr_t>(data) % (kLanes * bytes_of(memory)) == 0;
}
bool outputs_packed(const Program& p, uint32_t elements, void* const* out) {
  for (int i = 0; i < p.outputs; ++i)
    if (!aligned(out[i], p.output[i].memory)) return false;
  return elements % kLanes == 0;
}
// Which accesses take packs of kLanes neighbouring elements, if addresses allow it.
Access access_of(const Input& input) {
  if (input.dims == 0) return Access::Constant;
  const int last = input.dims - 1;
  if (last > 0 && input.size[last].value % kLanes != 0) return Access::Each;
  if (input.stride[last] == 0) return Access::Same;
  const bool whole = std::all_of(input.stride, input.stride + last, [](uint32_t s) { return s % kLanes == 0; });
  return input.stride[last] == 1 && whole && bytes_of(input.memory) <= 4 ? Access::Pack : Access::Each;
}
// The operand's elements are one after another like the result's, in as many bytes.
bool overwrites(const Program& p, size_t out, size_t in) {
  return p.input[in].dims == 1 && bytes_of(p.input[in].memory) == bytes_of(p.output[out].memory);
}

class TileProgram : public Kernel {
 public:
  TileProgram(const Program& program, uint32_t elements, int registers)
      : program_(program),
        elements_(elements),
        registers_(registers),
        function_("elementwise/program", "tile_program") {
    for (int i = 0; i < program.inputs; ++i) program_.input[i].access = access_of(program.input[i]);
  }

  void run(const void* const* in, void* const* out, void*) const override {
    if (elements_ == 0) return;
    Single p{program_, {elements_, 0, outputs_packed(program_, elements_, out)}, {}};
    for (int i = 0; i < program_.inputs; ++i) {
      p.data[i] = const_cast<void*>(in[i]);
      Input& input = p.program.input[i];
      if (input.access == Access::Pack && !aligned(in[i], input.memory)) input.access = Access::Each;
    }
    std::copy_n(out, program_.outputs, p.data + program_.inputs);
    function_.launch({std::min(tiles_of(elements_), kMostBlocks)}, kThreads, shared_bytes(registers_), p);
  }
  bool may_overwrite(size_t out, size_t in) const override { return overwrites(program_, out, in); }
  bool joins(const Kernel& other) const override {
    const auto* same = dynamic_cast<const TileProgram*>(&other);
    const auto like_outputs = [](const Input& input) { return input.dims <= 1; };
    return same && program_ == same->program_ &&
           std::all_of(program_.input, program_.input + program_.inputs, like_outputs);
  }
  std::unique_ptr<Kernel> joined(const std::vector<const Kernel*>& all) const override;

 private:
  Program program_;
  const uint32_t elements_;
  const int registers_;
  const Function function_;
};

class TileGroup : public Kernel {
 public:
  TileGroup(const Program& program, std::vector<uint32_t> elements, int registers)
      : program_(program),
        elements_(std::move(elements)),
        registers_(registers),
        function_("elementwise/group", "tile_group") {}

  void run(const void* const* in, void* const* out, void*) const override {
    const size_t pointers = program_.inputs + program_.outputs;
    const size_t most = std::min<size_t>(kMostSegments, kMostPointers / pointers);
    for (size_t first = 0; first < elements_.size(); first += most)
      launch(first, std::min(first + most, elements_.size()), in, out);
  }
  bool may_overwrite(size_t out, size_t in) const override {
    return out / program_.outputs == in / program_.inputs &&
           overwrites(program_, out % program_.outputs, in % program_.inputs);
  }

 private:
  // Of the segments from `first` to before `end`; those without elements have no blocks.
  void launch(size_t first, size_t end, const void* const* in, void* const* out) const {
    uint64_t tiles = 0;
    for (size_t s = first; s < end; ++s) tiles += tiles_of(elements_[s]);
    if (tiles == 0) return;
    Group p{program_, 0, static_cast<uint32_t>((tiles + kMostBlocks - 1) / kMostBlocks), {}, {}};
    uint32_t blocks = 0;
    void** data = p.data;
    for (size_t s = first; s < end; ++s) {
      if (elements_[s] == 0) continue;
      const void* const* from = in + s * program_.inputs;
      void* const* to = out + s * program_.outputs;
      p.segment[p.segments++] = {elements_[s], blocks, packed(elements_[s], from, to)};
      blocks += (tiles_of(elements_[s]) + p.span - 1) / p.span;
      for (int i = 0; i < program_.inputs; ++i) *data++ = const_cast<void*>(from[i]);
      data = std::copy_n(to, program_.outputs, data);
    }
    function_.launch({blocks}, kThreads, shared_bytes(registers_), p);
  }
  // A segment goes by packs where all of its operands can.
  bool packed(uint32_t elements, const void* const* in, void* const* out) const {
    for (int i = 0; i < program_.inputs; ++i)
      if (program_.input[i].access == Access::Pack && !aligned(in[i], program_.input[i].memory)) return false;
    return outputs_packed(program_, elements, out);
  }

  const Program program_;
  const std::vector<uint32_t> elements_;
  const int registers_;
  const Function function_;
};

std::unique_ptr<Kernel> TileProgram::joined(const std::vector<const Kernel*>& all) const {
  std::vector<uint32_t> elements;
  for (const Kernel* one : all) elements.push_back(static_cast<const TileProgram*>(one)->elements_);
  return std::make_unique<TileGroup>(program_, std::move(elements), registers_);
}

}  // namespace

std::unique_ptr<Kernel> tile_kernel(const Program& program, uint32_t elements, int registers) {
  return std::make_unique<TileProgram>(program, elements, registers);
}

}  // namespace native::cuda::elementwise
