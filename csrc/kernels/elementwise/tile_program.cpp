#include "kernels/elementwise/tile_program.h"

#include <algorithm>
#include <cstring>

#include "kernels/elementwise/tables.h"
#include "kernels/grid.h"
#include "runtime/pool.h"
#include "simd/nontemporal.h"

namespace native::tiles {
namespace {

int log2_of(size_t bytes) { return bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3; }
int padded_to(int unit, int64_t n) { return static_cast<int>(round_up(n, unit)); }

template <class T>
void spread(void* block, int n, T value) {
  std::fill_n(static_cast<T*>(block), n, value);
}

void gather(const Input& input, char* raw, const void* in, int64_t start, int n) {
  conversions().gather[log2_of(input.bytes)](raw, in, &input.walk, start, n);
}

// Where tiles of operands begin.
Ahead tiles_at(int64_t start, const std::vector<Input>& inputs, const void* const* in) {
  Ahead ahead;
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].access == Access::Direct) ahead.add(static_cast<const char*>(in[i]) + start * inputs[i].bytes);
  return ahead;
}

// n elements from their register to memory; where `past`, past the caches, while what it says is asked for.
void write(const Output& output, int unit, const Ahead* past, char* out, char* blocks, char* const* reg, int n) {
  const char* value = reg[output.reg];
  if (output.store) {
    char* raw = n % unit == 0 && !past ? out : blocks + output.raw;
    output.store(raw, value, nullptr, nullptr, padded_to(unit, n), nullptr);
    value = raw;
  }
  if (past)
    copy_nontemporal(out, value, n * output.bytes, *past);
  else if (value != out)
    std::memcpy(out, value, n * output.bytes);
}

// Many programs in one grid: what a task does is a chunk of a large one, or several small ones.
class TileGroup : public Kernel {
 public:
  explicit TileGroup(const std::vector<const Kernel*>& all) {
    size_t in = 0, out = 0;
    int64_t room = 0;
    for (const Kernel* one : all) {
      members_.push_back({*static_cast<const TileProgram*>(one), in, out, scratch_bytes_});
      const TileProgram& program = members_.back().program;
      in += program.operands();
      out += program.outputs.size();
      scratch_bytes_ += whole_lines(program.scratch_bytes());
      if (program.gradient) sorting_.push_back(members_.size() - 1);
      for (int64_t begin = 0; begin < program.total; begin += program.chunk) {
        const int64_t end = std::min(program.total, begin + program.chunk), work = (end - begin) * program.work;
        if (work > room) {
          firsts_.push_back(pieces_.size());
          room = kTaskWork;
        }
        room -= work;
        pieces_.push_back({members_.size() - 1, begin, end});
      }
    }
    firsts_.push_back(pieces_.size());
    orders_bytes_ = whole_lines(members_.size() * sizeof(SortedRows::Order));
  }

  size_t scratch_bytes() const override { return orders_bytes_ + scratch_bytes_; }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    auto* const orders = static_cast<SortedRows::Order*>(scratch);
    char* const memory = static_cast<char*>(scratch) + orders_bytes_;
    std::fill_n(orders, members_.size(), SortedRows::Order{});
    pool::parallel_for(static_cast<int64_t>(sorting_.size()), [&](int64_t i) {
      const Member& member = members_[sorting_[i]];
      orders[sorting_[i]] = member.program.sort(in + member.in, memory + member.scratch);
    });
    pool::parallel_for(static_cast<int64_t>(firsts_.size()) - 1, [&](int64_t task) {
      for (size_t i = firsts_[task]; i < firsts_[task + 1]; ++i) {
        const auto& [which, begin, end] = pieces_[i];
        const Member& member = members_[which];
        const void* const* from = in + member.in;
        void* const* to = out + member.out;
        member.program.run_range(from, to, orders[which], member.program.past_caches(from, to), begin, end);
      }
    });
  }

  bool may_overwrite(size_t out, size_t in) const override {
    return std::any_of(members_.begin(), members_.end(), [&](const Member& member) {
      return in >= member.in && in - member.in < member.program.operands() && out >= member.out &&
             out - member.out < member.program.outputs.size() &&
             member.program.may_overwrite(out - member.out, in - member.in);
    });
  }

 private:
  struct Member {
    TileProgram program;
    size_t in, out, scratch;  // where its operands, results and memory begin
  };
  struct Piece {
    size_t member;
    int64_t begin, end;
  };
  std::vector<Member> members_;
  std::vector<size_t> sorting_;  // members whose gradients want their updates sorted
  std::vector<Piece> pieces_;
  std::vector<size_t> firsts_;  // of each task, and the end
  size_t orders_bytes_ = 0, scratch_bytes_ = 0;
};

}  // namespace

void RowGradient::begin(const SortedRows::Order& order, const void* updates, size_t bytes, int64_t start) const {
  const int64_t inner = sorted.view().inner, at = order.find(start / inner);
  const char* const from = static_cast<const char*>(updates);
  for (int64_t k = at; k < std::min(at + SortedRows::kAhead, order.count); ++k)
    __builtin_prefetch(from + order.updates[k] * inner * bytes);
}

void RowGradient::fill(const SortedRows::Order& order, const void* updates, size_t bytes, char* to, int64_t start,
                       int n) const {
  static_assert(kTile <= kJoinWidth);
  const char* const from = static_cast<const char*>(updates);
  const int64_t inner = sorted.view().inner, end = start + n;
  std::memset(to, 0, n * bytes);
  for (int64_t at = order.find(start / inner); at < order.count && order.rows[at] * inner < end;) {
    const int64_t row = order.rows[at] * inner, next = order.end_of(at);
    const int64_t first = std::max(start, row), width = std::min(row + inner, end) - first;
    if (const int64_t ahead = next + SortedRows::kAhead; ahead < order.count)
      __builtin_prefetch(from + order.updates[ahead] * inner * bytes);
    join(nullptr, from + (first - row) * bytes, order.updates + at, next - at, inner, width,
         to + (first - start) * bytes);
    at = next;
  }
}

void TileProgram::run(const void* const* in, void* const* out, void* scratch) const {
  const SortedRows::Order order = sort(in, scratch);
  const uint64_t past = past_caches(in, out);
  pool::parallel_for((total + chunk - 1) / chunk, [&](int64_t task) {
    run_range(in, out, order, past, task * chunk, std::min(total, (task + 1) * chunk));
  });
}

SortedRows::Order TileProgram::sort(const void* const* in, void* scratch) const {
  return gradient ? gradient->sorted.sort(in[inputs.size()], scratch) : SortedRows::Order{};
}

bool TileProgram::may_overwrite(size_t out, size_t in) const {
  return own_bytes() <= kOnStack &&
         std::find(overwrites.begin(), overwrites.end(), std::pair{out, in}) != overwrites.end();
}

std::optional<uint64_t> TileProgram::by_rows(int64_t rows) const {
  if (gradient || total % rows != 0) return std::nullopt;
  uint64_t which = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].access == Access::Direct) which |= uint64_t{1} << i;
    // Its tiles are parts of rows of its own.
    if (inputs[i].access == Access::Held && total / rows % tile != 0) return std::nullopt;
  }
  return which;
}

void TileProgram::run_rows(const void* const* in, void* const* out, const RowRange& range) const {
  const int64_t row = total / range.all;
  // Whoever reads them is next in the chain.
  run_range(in, out, {}, /*past=*/0, range.first * row, (range.first + range.count) * row);
}

bool TileProgram::joins(const Kernel& other) const {
  const auto* program = dynamic_cast<const TileProgram*>(&other);
  return program && own_bytes() <= kOnStack && program->own_bytes() <= kOnStack;
}

std::unique_ptr<Kernel> TileProgram::joined(const std::vector<const Kernel*>& all) const {
  return std::make_unique<TileGroup>(all);
}

uint64_t TileProgram::past_caches(const void* const* in, void* const* out) const {
  uint64_t which = 0;
  for (size_t i = 0; i < outputs.size() && i < 64; ++i)
    if (outputs[i].far && std::find(in, in + inputs.size(), out[i]) == in + inputs.size()) which |= uint64_t{1} << i;
  return which;
}

void TileProgram::run_range(const void* const* in, void* const* out, const SortedRows::Order& order, uint64_t past,
                            int64_t begin, int64_t end) const {
  if (own_bytes() > kOnStack) return run_tiles(in, out, order, past, begin, end, pool::thread_scratch(own_bytes()));
  alignas(64) char own[kOnStack];
  run_tiles(in, out, order, past, begin, end, own);
}

void TileProgram::run_tiles(const void* const* in, void* const* out, const SortedRows::Order& order, uint64_t past,
                            int64_t begin, int64_t end, void* own) const {
  const auto goes_past = [past](size_t i) { return i < 64 && (past >> i & 1) != 0; };
  Ahead ahead;
  char* blocks = static_cast<char*>(own);
  auto** reg = reinterpret_cast<char**>(blocks + block_bytes);
  prepare_task(in, blocks, reg);
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].access == Access::Gradient) gradient->begin(order, in[i], inputs[i].bytes, begin);
  const int64_t whole = (end - begin) / unit * unit;
  const int64_t most = seamless && past == 0 && whole > tile && whole <= INT32_MAX ? whole : tile;
  for (int64_t start = begin; start < end; start += most) {
    const int n = static_cast<int>(std::min(most, end - start));
    const int padded = padded_to(unit, n);
    for (size_t i = 0; i < inputs.size(); ++i) read(inputs[i], in[i], order, blocks, &reg[i], start, n);
    for (size_t i = 0; i < outputs.size(); ++i)
      if (outputs[i].direct)
        reg[outputs[i].reg] = padded == n && !goes_past(i) ? static_cast<char*>(out[i]) + start * outputs[i].bytes
                                                           : blocks + outputs[i].raw;
    for (const TileStage& stage : stages) {
      const TileStep& s = stage.step;
      if (stage.links.empty())
        s.op(reg[s.dst], reg[s.a], reg[s.b], reg[s.c], padded, s.immediates);
      else
        run_chain(stage.links.data(), reg, padded);
    }
    ahead = past != 0 && start + n < end ? tiles_at(start + n, inputs, in) : Ahead{};
    for (size_t i = 0; i < outputs.size(); ++i)
      write(outputs[i], unit, goes_past(i) ? &ahead : nullptr, static_cast<char*>(out[i]) + start * outputs[i].bytes,
            blocks, reg, n);
  }
}

void TileProgram::prepare_task(const void* const* in, char* blocks, char** reg) const {
  const int most = padded_to(unit, std::min<int64_t>(kTile, total));
  for (const auto& [r, block] : temporaries) reg[r] = blocks + block;
  for (const Constant& c : constants) {
    reg[c.reg] = blocks + c.block;
    const int tile = std::min(most, c.spread);
    switch (c.type) {
      case Class::F32:
        spread(reg[c.reg], tile, static_cast<float>(c.value));
        break;
      case Class::F64:
        spread(reg[c.reg], tile, c.value);
        break;
      case Class::I32:
        spread(reg[c.reg], tile, static_cast<int32_t>(c.value));
        break;
      case Class::U32:
        spread(reg[c.reg], tile, static_cast<uint32_t>(c.value));
        break;
      case Class::I64:
        spread(reg[c.reg], tile, static_cast<int64_t>(c.value));
        break;
      default:
        spread(reg[c.reg], tile, static_cast<uint64_t>(c.value));
        break;
    }
    if (c.round) c.round(reg[c.reg], reg[c.reg], nullptr, nullptr, tile, nullptr);
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Input& input = inputs[i];
    if (input.access != Access::Splat && input.access != Access::Periodic) continue;
    // Both are gathers of the repeating pattern, taken in pieces of a tile.
    const int64_t length = input.access == Access::Splat ? std::min(most, input.spread) : input.walk.size[1] + kTile;
    reg[i] = blocks + input.value;
    for (int64_t at = 0; at < length; at += kTile) {
      const int n = static_cast<int>(std::min<int64_t>(kTile, length - at));
      char* value = reg[i] + at * input.reg_bytes;
      char* raw = input.load ? blocks + input.raw : value;
      gather(input, raw, in[i], at, n);
      if (input.load) input.load(value, raw, nullptr, nullptr, padded_to(unit, n), nullptr);
    }
  }
}

void TileProgram::read(const Input& input, const void* in, const SortedRows::Order& order, char* blocks, char** reg,
                       int64_t start, int n) const {
  char* raw = blocks + input.raw;
  switch (input.access) {
    case Access::Splat:
      return;
    case Access::Periodic:
      *reg = blocks + input.value + start % input.walk.size[1] * input.reg_bytes;
      return;
    case Access::Direct: {
      // Tiles are only read where the caller asked for the elements to be written.
      char* memory = const_cast<char*>(static_cast<const char*>(in)) + start * input.bytes;
      if (n % unit == 0) {
        raw = memory;
      } else {
        std::memcpy(raw, memory, n * input.bytes);
        std::memset(raw + n * input.bytes, 0, (padded_to(unit, n) - n) * input.bytes);
      }
      break;
    }
    case Access::Gradient:
      gradient->fill(order, in, input.bytes, raw, start, n);
      std::memset(raw + n * input.bytes, 0, (padded_to(unit, n) - n) * input.bytes);
      break;
    case Access::Held:
      n = std::min(n, input.spread);
      [[fallthrough]];
    case Access::Walked:
      gather(input, raw, in, start, n);
      std::memset(raw + n * input.bytes, 0, (padded_to(unit, n) - n) * input.bytes);
  }
  *reg = raw;
  if (!input.load) return;
  *reg = blocks + input.value;
  input.load(*reg, raw, nullptr, nullptr, padded_to(unit, n), nullptr);
}

}  // namespace native::tiles
