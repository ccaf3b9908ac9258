// What the versions of spmm_vectors.cpp and row_vectors.cpp share: the unit of columns, and the
// addition of partial sums. Read once per instruction set.
#include <algorithm>
#include <cstdint>

#include "kernels/spmm/spmm_calls.h"

#if defined(TANDEM_SPMM_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TANDEM_SPMM_VECTORS_INL_H_
#undef TANDEM_SPMM_VECTORS_INL_H_
#else
#define TANDEM_SPMM_VECTORS_INL_H_
#endif
#include <hwy/highway.h>

#include "kernels/vector_types_inl.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::kernels {
namespace {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
constexpr int kPerChunk = 16 / kLanes<T>;  // a chunk is 16 columns
template <class T>
constexpr int kTile = static_cast<int>(kTileBytes / sizeof(T));
template <class T>
HWY_INLINE Vec<T> zero_where_not_positive(Vec<T> of, Vec<T> value) {
  return hn::IfThenZeroElse(hn::Le(of, hn::Zero(Tag<T>())), value);
}

// One level: neighbours of the sequence of partial sums are added.
template <class T, int kCount>
HWY_INLINE void add_neighbours(Vec<T>* v) {
  TANDEM_UNROLL
  for (int i = 0; i < kCount / 2; ++i) {
#if HWY_TARGET == HWY_SCALAR
    v[i] = hn::Add(v[2 * i], v[2 * i + 1]);
#else
    const Tag<T> d;
    v[i] = hn::Add(hn::ConcatEven(d, v[2 * i + 1], v[2 * i]),
                   hn::ConcatOdd(d, v[2 * i + 1], v[2 * i]));
#endif
  }
}

// Collects the 16 partial sums of each of up to kLanes dots and writes the dots in one go. Where
// the next sums go is the caller's to count: in a register it costs nothing.
template <class T, int kTiles>
class Dots {
 public:
  static constexpr int kRoom = 16 * kLanes<T>;  // for one tile's sums

  explicit HWY_INLINE Dots(bool add) : add_(add) {}

  HWY_INLINE T* begin() { return sums_; }
  HWY_INLINE T* end() { return sums_ + kRoom; }

  // The dots of a full buffer; to: the place of the first.
  HWY_INLINE void write(T* to) const {
    const Tag<T> d;
    Vec<T> dots = reduce(sums_);
    if (add_) dots = hn::Add(hn::LoadU(d, to), dots);
    if (kTiles == 2) dots = hn::Add(dots, reduce(sums_ + kRoom));
    hn::StoreU(dots, d, to);
  }
  // The dots whose sums end at `at`; to: behind the place of the last.
  HWY_NOINLINE void write_rest(const T* at, T* to) const {
    const auto count = static_cast<int>((at - sums_) / 16);
    HWY_ALIGN T dots[kLanes<T>] = {};
    std::copy_n(to - count, add_ ? count : 0, dots);
    write(dots);
    std::copy_n(dots, count, to - count);
  }

 private:
  static HWY_INLINE Vec<T> reduce(const T* sums) {
    Vec<T> v[16];
    TANDEM_UNROLL
    for (int i = 0; i < 16; ++i) v[i] = hn::Load(Tag<T>(), sums + i * kLanes<T>);
    add_neighbours<T, 16>(v);
    add_neighbours<T, 8>(v);
    add_neighbours<T, 4>(v);
    add_neighbours<T, 2>(v);
    return v[0];
  }

  alignas(64) T sums_[kTiles * kRoom] = {};
  bool add_;
};

}  // namespace HWY_NAMESPACE
}  // namespace
}  // namespace tandem::kernels
HWY_AFTER_NAMESPACE();

#endif
