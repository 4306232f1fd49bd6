#include "emulator/history.h"

#include <new>

namespace native::emulator {
namespace {

constexpr uint32_t kCellsTogether = 256;  // of one piece of memory; those of a chunk divide it

}  // namespace

void History::cover(size_t bytes) {
  chunks_.reset(static_cast<Chunk*>(std::calloc(bytes / kChunk + 1, sizeof(Chunk))));
  if (!chunks_) throw std::bad_alloc();
  covered_ = bytes;
}

Cell* History::take(uint32_t count) {
  taken_ = (taken_ + count - 1) / count * count;
  if (taken_ / kCellsTogether == cells_.size())
    cells_.push_back(std::make_unique_for_overwrite<Cell[]>(kCellsTogether));
  Cell* cells = &cells_[taken_ / kCellsTogether][taken_ % kCellsTogether];
  taken_ += count;
  std::fill_n(cells, count, Cell{});
  return cells;
}

void History::split(Chunk& chunk, uint32_t shift) {
  const uint32_t count = kChunk >> shift;
  Cell* parts = take(count);
  for (uint32_t k = 0; k < count; ++k) {
    const Cell& old = chunk.cells[k >> (chunk.shift - shift)];
    parts[k] = old;
    if (old.others) add_others(parts[k], Others{others_[old.others - 1]});
  }
  chunk.cells = parts;
  chunk.shift = shift;
}

}  // namespace native::emulator
