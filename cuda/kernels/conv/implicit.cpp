// conv, conv_bias_act and their gradients as products of matrices that are not in memory: which kernels, and the
// launches.
#include <numeric>

#include "kernels/conv/choice.h"
#include "kernels/conv/geometry.h"
#include "kernels/conv/join.h"
#include "kernels/conv/prepare.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"

namespace native::cuda {
namespace {

using namespace cuda::conv;
using gemm::ceil_div;
using native::conv::Geometry;
using native::conv::Triple;

constexpr const char* kNames[] = {"_forward", "_input_grad", "_weight_grad"};

// Taps that reach a position of the input at `from` modulo the stride, along one dimension: `first`, and
// every `step`-th after it. Position j of those meets the output at j + start, and a tap further `back` less.
struct Residue {
  int64_t positions, start, first, step, count, back;
};
Residue residue_of(const Geometry& g, int d, int64_t from) {
  const int64_t common = std::gcd(g.stride[d], g.dilation[d]);
  Residue r{ceil_div(std::max<int64_t>(0, g.in[d] - from), g.stride[d]),
            0,
            0,
            g.stride[d] / common,
            0,
            g.dilation[d] / common};
  for (int64_t k = 0; k < std::min(r.step, g.kernel[d]); ++k) {
    const int64_t at = from + g.low[d] - k * g.dilation[d];
    if (at % g.stride[d] != 0) continue;
    r.start = at / g.stride[d];
    r.first = k;
    r.count = ceil_div(g.kernel[d] - k, r.step);
  }
  return r;
}

class Convolution : public Kernel {
 public:
  Convolution(const Geometry& g, Direction direction, const gemm::Kind& kind, DataType memory, Activation activation,
              size_t operands)
      : g_(g),
        direction_(direction),
        kind_(kind),
        operands_(operands),
        epilogue_{nullptr, nullptr, memory, memory, activation} {
    joined_.columns = static_cast<int>(direction == Direction::InputGrad ? g.cin : g.cout);
    joined_.pixels = static_cast<int>(direction == Direction::Forward     ? g.out_pixels()
                                      : direction == Direction::InputGrad ? g.in_pixels()
                                                                          : g.taps() * g.group_in());
    if (direction == Direction::InputGrad)
      add_residues();
    else
      add(direction == Direction::Forward ? forward() : weight_grad());
    joined_.strided = sets_ > 1;
    for (int k = 0; k < sets_; ++k) {
      joins_ = joins_ || joined_.sets[k].splits != kWritten;
      splits_ = std::max(splits_, joined_.sets[k].splits);
    }
  }

  size_t scratch_bytes() const override { return sizeof(float) * static_cast<size_t>(floats_); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    if (int64_t{joined_.pixels} * joined_.columns == 0) return;
    gemm::Epilogue epilogue = epilogue_;
    epilogue.bias = operands_ > 2 ? in[2] : nullptr;
    epilogue.residual = operands_ > 3 ? in[3] : nullptr;
    for (const Launch& launch : launches_) {
      const Set& set = joined_.sets[launch.set];
      Params p = launch.p;
      p.windows.data = in[0];
      p.windows.aligned = in_chunks(p.windows.data, p.windows.group, p.windows.channels);
      p.b.data = in[1];
      const int64_t run = direction_ == Direction::InputGrad ? g_.group_out() : p.n;
      p.b.aligned = in_chunks(p.b.data, run, p.b.row);
      p.c = set.splits == kWritten ? out[0] : static_cast<float*>(scratch) + set.first;
      p.epilogue = set.splits == kWritten ? epilogue : kPlain;
      const size_t rows = direction_ == Direction::WeightGrad ? 0 : static_cast<size_t>(launch.tile.m * kBytesOfRow);
      launch.function.launch({static_cast<unsigned>(launch.blocks), static_cast<unsigned>(std::max(1, set.splits))},
                             launch.tile.threads, gemm::stage_bytes(kind_, launch.tile) + rows, p);
    }
    if (!joins_) return;
    JoinParams p = joined_;
    p.parts = static_cast<const float*>(scratch);
    p.c = out[0];
    p.epilogue = epilogue;
    join_.launch(p, splits_);
  }

 private:
  struct Launch {
    Params p;
    int set;
    gemm::Tile tile;
    int64_t blocks;
    Function function;
  };

  bool in_chunks(const void* data, int64_t run, int64_t row) const {
    const int64_t chunk = 16 / static_cast<int64_t>(kind_.bytes);
    return run % chunk == 0 && row % chunk == 0 && on_chunk(data);
  }

  // What positions that meet the same taps have to have done.
  void add(const Params& given) {
    const int number = sets_++;
    Set& set = joined_.sets[number];
    Params p = given;
    p.direction = direction_;
    for (int d = 0; d < 3; ++d) set.positions[d] = static_cast<int>(p.windows.positions[d].value);
    if (p.m == 0) set.splits = kWritten;
    if (p.k == 0 || p.m == 0 || p.n == 0) return;
    const Share share = share_of(kind_, static_cast<int>(direction_), p.m, p.n, p.k, g_.groups);
    p.depth = share.depth;
    set.splits = share.splits > 1 ? share.splits : kWritten;
    if (share.splits > 1) {
      p.elements = int64_t{p.m} * p.row;
      set.first = floats_;
      set.elements = p.elements;
      floats_ += p.elements * share.splits;
      p.target = in_order(p.windows);
    }
    const gemm::Tile& tile = share.large ? kind_.large : kind_.small;
    const std::string name = "conv_" + kind_.name + (share.large ? "_large" : "_small");
    launches_.push_back(
        {p, number, tile, gemm::blocks_of(tile, p.m, p.n, g_.groups),
         Function("conv/" + kind_.image, kind_.layouts ? name + kNames[static_cast<int>(direction_)] : name)});
  }
  // Results of one position after those of another.
  static Target in_order(const Windows& w) {
    Target t{};
    for (int d = 0; d < 3; ++d) {
      t.size[d] = static_cast<int>(w.positions[d].value);
      t.stride[d] = 1;
    }
    return t;
  }

  // Windows over an array of so many channels.
  Windows windows(const Triple& size, const Triple& positions, const Triple& taps, int64_t channels) const {
    Windows w{};
    w.channels = static_cast<int>(channels);
    w.group = static_cast<int>(channels / g_.groups);
    w.by_group = divisor(w.group);
    for (int d = 0; d < 3; ++d) {
      w.size[d] = static_cast<int>(size[d]);
      w.positions[d] = divisor(positions[d]);
      w.taps[d] = divisor(taps[d]);
    }
    return w;
  }
  Windows windows_of_x() const {
    Windows w = windows(g_.in, g_.out, g_.kernel, g_.cin);
    for (int d = 0; d < 3; ++d) {
      w.stride[d] = static_cast<int>(g_.stride[d]);
      w.start[d] = static_cast<int>(-g_.low[d]);
      w.step[d] = static_cast<int>(g_.dilation[d]);
    }
    return w;
  }

  Params forward() const {
    Params p{};
    p.windows = windows_of_x();
    p.b.row = g_.cout;
    for (int d = 0; d < 3; ++d) {
      p.target.size[d] = static_cast<int>(g_.out[d]);
      p.target.stride[d] = 1;
    }
    p.row = static_cast<int>(g_.cout);
    p.m = static_cast<int>(g_.out_pixels());
    p.n = static_cast<int>(g_.group_out());
    p.k = static_cast<int>(g_.taps() * g_.group_in());
    return p;
  }

  Params weight_grad() const {
    Params p{};
    p.windows = windows_of_x();
    p.b.row = g_.cout;
    p.row = static_cast<int>(g_.cout);
    p.m = static_cast<int>(g_.taps() * g_.group_in());
    p.n = static_cast<int>(g_.group_out());
    p.k = static_cast<int>(g_.out_pixels());
    return p;
  }

  // Positions of the input that are equal modulo the strides meet the same taps: a launch for each such set, so
  // that no term is a product with a zero between strides.
  void add_residues() {
    const int64_t sets = g_.stride[0] * g_.stride[1] * g_.stride[2];
    for (int d = 0; d < 3; ++d) {
      joined_.size[d] = divisor(g_.in[d]);
      joined_.stride[d] = divisor(g_.stride[d]);
    }
    for (int64_t set = 0; set < sets; ++set) {
      const Triple from{set / (g_.stride[2] * g_.stride[1]), set / g_.stride[2] % g_.stride[1], set % g_.stride[2]};
      add(input_grad(from));
    }
  }
  Params input_grad(const Triple& from) const {
    Params p{};
    Triple positions, taps;
    Residue r[3];
    for (int d = 0; d < 3; ++d) {
      r[d] = residue_of(g_, d, from[d]);
      positions[d] = r[d].positions;
      taps[d] = r[d].count;
    }
    p.windows = windows(g_.out, positions, taps, g_.cout);
    int64_t tap = g_.group_in() * g_.cout;  // elements of the weights from one tap to the next
    for (int d = 2; d >= 0; --d) {
      p.windows.stride[d] = 1;
      p.windows.start[d] = static_cast<int>(r[d].start);
      p.windows.step[d] = static_cast<int>(-r[d].back);
      p.filter.first += r[d].first * tap;
      p.filter.tap[d] = r[d].step * tap;
      tap *= g_.kernel[d];
      p.target.size[d] = static_cast<int>(g_.in[d]);
      p.target.stride[d] = static_cast<int>(g_.stride[d]);
      p.target.start[d] = static_cast<int>(from[d]);
    }
    p.b.row = g_.cout;
    p.row = static_cast<int>(g_.cin);
    p.m = static_cast<int>(g_.batch * positions[0] * positions[1] * positions[2]);
    p.n = static_cast<int>(g_.group_in());
    p.k = static_cast<int>(taps[0] * taps[1] * taps[2] * g_.group_out());
    return p;
  }

  const Geometry g_;
  const Direction direction_;
  const gemm::Kind kind_;
  const size_t operands_;
  const gemm::Epilogue epilogue_;
  const Join join_;
  JoinParams joined_{};
  std::vector<Launch> launches_;
  int64_t floats_ = 0;  // of all parts
  int sets_ = 0, splits_ = 0;
  bool joins_ = false;
};

// Kernels count pixels, terms and the bytes from tap to tap in 32 bits. The gradient by the input has a set of
// positions for each place within the strides.
template <Direction direction>
bool fits(const Geometry& g) {
  constexpr int64_t kMost = 1 << 30;
  int64_t span = 0, strides = 1, sets = 1;
  for (int d = 2; d >= 0; --d) {
    if (g.stride[d] >= kMost || (g.out[d] - 1) * g.stride[d] >= kMost) return false;
    sets *= std::min<int64_t>(g.stride[d], kMostSets + 1);
    span += (g.kernel[d] - 1) * std::max<int64_t>(g.dilation[d], 1) * strides + std::abs(g.low[d]) * strides;
    strides *= std::max(g.in[d], g.out[d]);
  }
  const int64_t channels = std::max(g.cin, g.cout);
  return g.in_pixels() < kMost && g.out_pixels() < kMost && channels < kMost / 4 && g.cin > 0 &&
         (span + 1) * channels * 4 < kMost && g.taps() * channels < kMost &&
         (direction != Direction::InputGrad || sets <= kMostSets);
}

template <Direction direction>
constexpr auto kPrepare = prepare<Convolution, direction, fits<direction>>;

const RegisterCuda forward{"conv", "implicit-gemm", 10, kPrepare<Direction::Forward>};
const RegisterCuda fused{"conv_bias_act", "implicit-gemm", 10, kPrepare<Direction::Forward>};
const RegisterCuda input_grad{"conv_input_grad", "implicit-gemm", 10, kPrepare<Direction::InputGrad>};
const RegisterCuda weight_grad{"conv_weight_grad", "implicit-gemm", 10, kPrepare<Direction::WeightGrad>};

}  // namespace
}  // namespace native::cuda
