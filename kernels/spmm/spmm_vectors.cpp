// The sparse layer in Highway vectors, one version per instruction set, chosen at run time.
//
// A batch tile is 256 bytes of each feature: 4 registers of AVX-512, which walks two tiles at once,
// or 8 of AVX2. Forward holds the tile of one output in registers while it walks that output's
// connections. Backward holds x_i and dx_i while it walks the input's connections, and uses every
// loaded dy_o twice; the partial sums of <x_i, dy_o> go to a small buffer, and one transposing
// addition turns 16 of its registers into a full register of dw. Where a block of features has
// connections enough, blocks that stay in the cache are walked one after the other for a panel of
// outputs (inputs), which changes no bit.
// Elsen et al. 2020 (Fast Sparse ConvNets) hold the output tile in the same way.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "kernels/spmm/spmm_calls.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/spmm/spmm_vectors.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/spmm/vectors_inl.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::kernels {
namespace {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr bool kManyRegisters = HWY_TARGET == HWY_AVX3;  // x_i and dx_i fit, of two tiles even

// The columns walked together: kChunks chunks, of the last one only `left` columns where kRagged.
template <class T, int kChunks, bool kRagged>
struct Columns {
  static constexpr int kVectors = kChunks * kPerChunk<T>;
  static constexpr int kBytes = kChunks * 16 * static_cast<int>(sizeof(T));
  static constexpr int kTiles = kVectors * kLanes<T> > kTile<T> ? 2 : 1;
  hn::Mask<Tag<T>> inside[kRagged ? kPerChunk<T> : 1];

  explicit HWY_INLINE Columns(std::int64_t left) {
    for (int j = 0; kRagged && j < kPerChunk<T>; ++j) {
      const std::int64_t n = left - (kChunks - 1) * 16 - j * kLanes<T>;
      inside[j] = hn::FirstN(Tag<T>(), static_cast<std::size_t>(n < 0 ? 0 : n));
    }
  }
  static constexpr bool cut(int v) { return kRagged && v >= kVectors - kPerChunk<T>; }
  HWY_INLINE Vec<T> load(const T* row, int v) const {
    const T* from = row + v * kLanes<T>;
    if (cut(v)) return hn::MaskedLoad(inside[v % kPerChunk<T>], Tag<T>(), from);
    return hn::Load(Tag<T>(), from);
  }
  HWY_INLINE void store(Vec<T> value, T* row, int v) const {
    if (cut(v)) value = hn::IfThenElseZero(inside[v % kPerChunk<T>], value);
    hn::Store(value, Tag<T>(), row + v * kLanes<T>);
  }
};

// This walks the features in blocks, where a row's connections of the next block lie far from those
// of the last.
template <class T, class I>
HWY_INLINE void prefetch_ahead(const T* values, const I* features, const std::int64_t* next,
                               std::int64_t n, std::int64_t count) {
  if (n + 2 >= count) return;
  hwy::Prefetch(values + next[n + 2]);
  hwy::Prefetch(values + next[n + 2] + 64 / sizeof(T));
  hwy::Prefetch(features + next[n + 2]);
}

// Where the rows of all features outgrow the second-level cache: the row of a connection soon met.
template <int kBytes, class T, class I>
HWY_INLINE void prefetch_row(const T* rows, const I* features, std::int64_t e, std::int64_t nnz,
                             std::int64_t stride) {
  const T* row = rows + features[std::min(e + 4, nnz - 1)] * stride;
  TANDEM_UNROLL
  for (int at = 0; at < kBytes; at += 64) hwy::Prefetch(row + at / static_cast<int>(sizeof(T)));
}

template <class T, class I, int kChunks, bool kRagged>
HWY_NOINLINE void forward_tile(const ForwardCall<T, I>& c, std::int64_t column) {
  using Tile = Columns<T, kChunks, kRagged>;
  const Tile tile(c.batch - column);
  const Tag<T> d;
  const SparsePattern<I>& p = c.pattern;
  const T* x = c.x + column;
  const I* input_of = p.input_of;
  const T* values = c.values;
  const std::int64_t stride = c.stride;
  const bool far = c.far;
  std::int64_t next[kPanel];
  for (std::int64_t first = 0; first < p.outputs; first += kPanel) {
    const std::int64_t count = std::min(kPanel, p.outputs - first);
    std::memcpy(next, p.by_output + first, static_cast<std::size_t>(count) * sizeof(next[0]));
    for (std::int64_t bound = c.block, begin = 0; begin == 0 || begin < p.inputs;
         begin = bound, bound += c.block) {
      const bool last = bound >= p.inputs;
      for (std::int64_t n = 0; n < count; ++n) {
        T* y = c.y + (first + n) * c.stride + column;
        Vec<T> sum[Tile::kVectors];
        const Vec<T> bias = c.bias ? hn::Set(d, c.bias[first + n]) : hn::Zero(d);
        TANDEM_UNROLL
        for (int v = 0; v < Tile::kVectors; ++v) {
          sum[v] = begin == 0 ? bias : hn::Load(d, y + v * kLanes<T>);
        }
        if (c.block < p.inputs) prefetch_ahead(values, input_of, next, n, count);
        std::int64_t k = next[n];
        for (const std::int64_t end = p.by_output[first + n + 1]; k < end; ++k) {
          const std::int64_t i = input_of[k];
          if (i >= bound) break;
          if (far) prefetch_row<Tile::kBytes>(x, input_of, k, p.nnz, stride);
          const T* row = x + i * stride;
          const Vec<T> w = hn::Set(d, values[k]);
          TANDEM_UNROLL
          for (int v = 0; v < Tile::kVectors; ++v) {
            sum[v] = hn::MulAdd(w, hn::Load(d, row + v * kLanes<T>), sum[v]);
          }
        }
        next[n] = k;
        TANDEM_UNROLL
        for (int v = 0; v < Tile::kVectors; ++v) {
          if (last && c.relu) sum[v] = zero_where_not_positive<T>(sum[v], sum[v]);
          tile.store(sum[v], y, v);
        }
      }
    }
  }
}

// One connection: row is dy_o, w its weight. sum (dx_i) += w row; the partial sums of <x_i, row> go
// to `at`, those of a second tile to a buffer further.
template <class T, bool kDx, class Tile>
HWY_INLINE void use_twice(const Tile& tile, const T* row, const T* x, const Vec<T>* kept, Vec<T> w,
                          Vec<T>* sum, T* at) {
  constexpr int kEach = Tile::kVectors / Tile::kTiles;
  Vec<T> dot[Tile::kTiles * kPerChunk<T>];
  TANDEM_UNROLL
  for (int v = 0; v < Tile::kVectors; ++v) {
    Vec<T> g = tile.load(row, v);
#if HWY_ARCH_X86 && HWY_COMPILER_GCC && HWY_TARGET != HWY_SCALAR
    if (kDx) asm("" : "+v"(g.raw));  // or it is loaded twice, as an operand of each use
#endif
    const Vec<T> xv = kManyRegisters ? kept[v] : tile.load(x, v);
    Vec<T>& to = dot[v / kEach * kPerChunk<T> + v % kPerChunk<T>];
    to = v % kEach < kPerChunk<T> ? hn::Mul(xv, g) : hn::MulAdd(xv, g, to);
    if (kDx) sum[v] = hn::MulAdd(w, g, sum[v]);
  }
  TANDEM_UNROLL
  for (int j = 0; j < Tile::kTiles * kPerChunk<T>; ++j) {
    const int tile_at = j / kPerChunk<T> * Dots<T, Tile::kTiles>::kRoom;
    hn::Store(dot[j], Tag<T>(), at + tile_at + j % kPerChunk<T> * kLanes<T>);
  }
}

template <class T, class I, int kChunks, bool kRagged, bool kDx>
HWY_NOINLINE void backward_tile(const BackwardCall<T, I>& c, std::int64_t column) {
  using Tile = Columns<T, kChunks, kRagged>;
  const Tile tile(c.batch - column);
  const Tag<T> d;
  const SparsePattern<I>& p = c.pattern;
  const T* above = c.dy + column;
  const I* output_of = p.output_of;
  const T* values = c.values;
  T* dvalues = c.dvalues;
  const std::int64_t stride = c.stride;
  const bool far = c.far;
  Dots<T, Tile::kTiles> dots(column != 0);
  T* at = dots.begin();
  std::int64_t next[kPanel];
  for (std::int64_t first = 0; first < p.inputs; first += kPanel) {
    const std::int64_t count = std::min(kPanel, p.inputs - first);
    std::memcpy(next, p.by_input + first, static_cast<std::size_t>(count) * sizeof(next[0]));
    for (std::int64_t bound = c.block, begin = 0; begin == 0 || begin < p.outputs;
         begin = bound, bound += c.block) {
      const bool last = bound >= p.outputs;
      for (std::int64_t n = 0; n < count; ++n) {
        const T* x = c.x + (first + n) * c.stride + column;
        T* dx = kDx ? c.dx + (first + n) * c.stride + column : nullptr;
        Vec<T> kept[Tile::kVectors], sum[Tile::kVectors];
        TANDEM_UNROLL
        for (int v = 0; v < Tile::kVectors; ++v) {
          if (kManyRegisters) kept[v] = tile.load(x, v);
          if (kDx) sum[v] = begin == 0 ? hn::Zero(d) : hn::Load(d, dx + v * kLanes<T>);
        }
        if (c.block < p.outputs) prefetch_ahead(values, output_of, next, n, count);
        std::int64_t e = next[n];
        for (const std::int64_t end = p.by_input[first + n + 1]; e < end; ++e) {
          const std::int64_t o = output_of[e];
          if (o >= bound) break;
          if (far) prefetch_row<Tile::kBytes>(above, output_of, e, p.nnz, stride);
          use_twice<T, kDx>(tile, above + o * stride, x, kept, hn::Set(d, values[e]), sum, at);
          at += 16;
          if (at == dots.end()) {
            dots.write(dvalues + e + 1 - kLanes<T>);
            at = dots.begin();
          }
        }
        next[n] = e;
        if (c.block < p.outputs && at != dots.begin()) {
          dots.write_rest(at, dvalues + e);
          at = dots.begin();
        }
        TANDEM_UNROLL
        for (int v = 0; kDx && v < Tile::kVectors; ++v) {
          if (last && c.relu_input) sum[v] = zero_where_not_positive<T>(tile.load(x, v), sum[v]);
          tile.store(sum[v], dx, v);
        }
      }
    }
  }
  if (at != dots.begin()) dots.write_rest(at, dvalues + p.nnz);
}

template <class T, class I>
void forward(const ForwardCall<T, I>& c) {
  std::int64_t column = 0;
  for (; kManyRegisters && column + 2 * kTile<T> <= c.batch; column += 2 * kTile<T>) {
    forward_tile<T, I, 2 * kTile<T> / 16, false>(c, column);
  }
  for (; column + kTile<T> <= c.batch; column += kTile<T>) {
    forward_tile<T, I, kTile<T> / 16, false>(c, column);
  }
  switch ((c.batch - column + 15) / 16) {
    case 1:
      return forward_tile<T, I, 1, true>(c, column);
    case 2:
      return forward_tile<T, I, 2, true>(c, column);
    case 3:
      return forward_tile<T, I, 3, true>(c, column);
    case 4:
      return forward_tile<T, I, 4, true>(c, column);
  }
}

template <class T, class I, bool kDx>
void backward(const BackwardCall<T, I>& c) {
  std::int64_t column = 0;
  for (; kManyRegisters && column + 2 * kTile<T> <= c.batch; column += 2 * kTile<T>) {
    backward_tile<T, I, 2 * kTile<T> / 16, false, kDx>(c, column);
  }
  for (; column + kTile<T> <= c.batch; column += kTile<T>) {
    backward_tile<T, I, kTile<T> / 16, false, kDx>(c, column);
  }
  switch ((c.batch - column + 15) / 16) {
    case 1:
      return backward_tile<T, I, 1, true, kDx>(c, column);
    case 2:
      return backward_tile<T, I, 2, true, kDx>(c, column);
    case 3:
      return backward_tile<T, I, 3, true, kDx>(c, column);
    case 4:
      return backward_tile<T, I, 4, true, kDx>(c, column);
  }
}

void forward_float_16(const ForwardCall<float, std::uint16_t>& c) { forward(c); }
void forward_float_32(const ForwardCall<float, std::uint32_t>& c) { forward(c); }
void forward_double_16(const ForwardCall<double, std::uint16_t>& c) { forward(c); }
void forward_double_32(const ForwardCall<double, std::uint32_t>& c) { forward(c); }

template <class T, class I>
void backward_either(const BackwardCall<T, I>& c) {
  return c.dx != nullptr ? backward<T, I, true>(c) : backward<T, I, false>(c);
}
void backward_float_16(const BackwardCall<float, std::uint16_t>& c) { backward_either(c); }
void backward_float_32(const BackwardCall<float, std::uint32_t>& c) { backward_either(c); }
void backward_double_16(const BackwardCall<double, std::uint16_t>& c) { backward_either(c); }
void backward_double_32(const BackwardCall<double, std::uint32_t>& c) { backward_either(c); }

std::int64_t target() { return HWY_TARGET; }

}  // namespace HWY_NAMESPACE
}  // namespace
}  // namespace tandem::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tandem::kernels {
namespace {
HWY_EXPORT(forward_float_16);
HWY_EXPORT(forward_float_32);
HWY_EXPORT(forward_double_16);
HWY_EXPORT(forward_double_32);
HWY_EXPORT(backward_float_16);
HWY_EXPORT(backward_float_32);
HWY_EXPORT(backward_double_16);
HWY_EXPORT(backward_double_32);
HWY_EXPORT(target);
}  // namespace

void spmm_run(const ForwardCall<float, std::uint16_t>& c) {
  HWY_DYNAMIC_DISPATCH(forward_float_16)(c);
}
void spmm_run(const ForwardCall<float, std::uint32_t>& c) {
  HWY_DYNAMIC_DISPATCH(forward_float_32)(c);
}
void spmm_run(const ForwardCall<double, std::uint16_t>& c) {
  HWY_DYNAMIC_DISPATCH(forward_double_16)(c);
}
void spmm_run(const ForwardCall<double, std::uint32_t>& c) {
  HWY_DYNAMIC_DISPATCH(forward_double_32)(c);
}
void spmm_run(const BackwardCall<float, std::uint16_t>& c) {
  HWY_DYNAMIC_DISPATCH(backward_float_16)(c);
}
void spmm_run(const BackwardCall<float, std::uint32_t>& c) {
  HWY_DYNAMIC_DISPATCH(backward_float_32)(c);
}
void spmm_run(const BackwardCall<double, std::uint16_t>& c) {
  HWY_DYNAMIC_DISPATCH(backward_double_16)(c);
}
void spmm_run(const BackwardCall<double, std::uint32_t>& c) {
  HWY_DYNAMIC_DISPATCH(backward_double_32)(c);
}

std::vector<std::string> spmm_targets() {
  std::vector<std::string> names;
  for (const std::int64_t each : hwy::SupportedAndGeneratedTargets()) {
    names.emplace_back(hwy::TargetName(each));
  }
  return names;
}

std::string spmm_target() { return hwy::TargetName(HWY_DYNAMIC_DISPATCH(target)()); }

bool spmm_use_target(const std::string& name) {
  hwy::SetSupportedTargetsForTest(0);
  if (name.empty()) return true;
  for (const std::int64_t each : hwy::SupportedAndGeneratedTargets()) {
    if (name == hwy::TargetName(each)) {
      hwy::SetSupportedTargetsForTest(each);
      return true;
    }
  }
  return false;
}

}  // namespace tandem::kernels
#endif  // HWY_ONCE
