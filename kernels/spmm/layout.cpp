// The passage of a batch between rows of samples and rows of features: to[c][r] = from[r][c].
//
// A tile is a register of rows times the columns of 128 bits: 128 bits of each row go to a register
// whose blocks are rows a quarter (for 256 bits: a half) of the tile apart, and the blocks are
// transposed in registers, which leaves whole registers to store.
#include <algorithm>
#include <cstddef>

#include "kernels/spmm/spmm_calls.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/spmm/layout.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/spmm/vectors_inl.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::kernels {
namespace {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

template <class T>
void transpose(const TransposeCall<T>& c) {
  constexpr std::int64_t kLine = 64 / sizeof(T);
  for (std::int64_t row = 0; row < c.rows; row += kLine) {
    const std::int64_t rows = std::min(row + kLine, c.rows);
    for (std::int64_t k = 0; k < c.columns; ++k) {
      for (std::int64_t r = row; r < rows; ++r) {
        c.to[k * c.to_stride + r] = c.from[r * c.from_stride + k];
      }
    }
  }
}

#else

template <class D>
constexpr auto kLanesOf = static_cast<std::int64_t>(hn::MaxLanes(D()));

// 128 bits of each of as many rows as D has blocks, `apart` elements from one another.
template <class D, class T = hn::TFromD<D> >
HWY_INLINE hn::Vec<D> load_blocks(D d, const T* from, std::int64_t apart) {
  constexpr auto kBytes = kLanesOf<D> * static_cast<std::int64_t>(sizeof(T));
  if constexpr (kBytes <= 16) {
    return hn::LoadU(d, from);
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, load_blocks(half, from + kBytes / 32 * apart, apart),
                       load_blocks(half, from, apart));
  }
}

// Columns 0 .. 128 bits of Lanes(D) rows become as many rows of `to`.
template <class D>
HWY_INLINE void tile(D d, const float* from, std::int64_t from_stride, float* to,
                     std::int64_t to_stride) {
  const hn::Repartition<double, D> pairs;
  hn::Vec<D> v[4];
  TANDEM_UNROLL
  for (int i = 0; i < 4; ++i) v[i] = load_blocks(d, from + i * from_stride, 4 * from_stride);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, v[0], v[1]));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, v[2], v[3]));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, v[0], v[1]));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, v[2], v[3]));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, to + to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, to + 2 * to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, to + 3 * to_stride);
}
template <class D>
HWY_INLINE void tile(D d, const double* from, std::int64_t from_stride, double* to,
                     std::int64_t to_stride) {
  const auto first = load_blocks(d, from, 2 * from_stride);
  const auto second = load_blocks(d, from + from_stride, 2 * from_stride);
  hn::StoreU(hn::InterleaveLower(d, first, second), d, to);
  hn::StoreU(hn::InterleaveUpper(d, first, second), d, to + to_stride);
}

// Rows from `row` on, kRows at a time; returns the first that is left.
template <int kRows, class D, class T = hn::TFromD<D> >
HWY_INLINE std::int64_t strip(D d, const TransposeCall<T>& c, std::int64_t row, std::int64_t column,
                              std::int64_t columns) {
  constexpr auto kColumns = static_cast<std::int64_t>(16 / sizeof(T));
  const std::int64_t from_stride = c.from_stride, to_stride = c.to_stride;
  for (; row + kRows <= c.rows; row += kRows) {
    const T* from = c.from + row * from_stride + column;
    T* to = c.to + column * to_stride + row;
    std::int64_t k = 0;
    for (; k + kColumns <= columns; k += kColumns) {
      TANDEM_UNROLL
      for (std::int64_t r = 0; r < kRows; r += kLanesOf<D>) {
        tile(d, from + r * from_stride + k, from_stride, to + k * to_stride + r, to_stride);
      }
    }
    for (; k < columns; ++k) {
      for (std::int64_t r = 0; r < kRows; ++r) to[k * to_stride + r] = from[r * from_stride + k];
    }
  }
  return row;
}

// Whole lines are written, and blocks of columns keep what is read of a row in the cache.
template <class T>
void transpose(const TransposeCall<T>& c) {
  constexpr int kLine = 64 / sizeof(T), kFew = 16 / sizeof(T), kBlock = 8 * kLine;
  for (std::int64_t column = 0; column < c.columns; column += kBlock) {
    const std::int64_t columns = std::min<std::int64_t>(kBlock, c.columns - column);
    std::int64_t row = strip<kLine>(Tag<T>(), c, 0, column, columns);
    row = strip<kFew>(hn::CappedTag<T, kFew>(), c, row, column, columns);
    for (std::int64_t k = column; k < column + columns; ++k) {
      for (std::int64_t r = row; r < c.rows; ++r) {
        c.to[k * c.to_stride + r] = c.from[r * c.from_stride + k];
      }
    }
  }
}

#endif

void transpose_float(const TransposeCall<float>& c) { transpose(c); }
void transpose_double(const TransposeCall<double>& c) { transpose(c); }

}  // namespace HWY_NAMESPACE
}  // namespace
}  // namespace tandem::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tandem::kernels {
namespace {
HWY_EXPORT(transpose_float);
HWY_EXPORT(transpose_double);

template <class T>
bool good_layouts(const T* x, std::int64_t batch, std::int64_t features, std::int64_t row_stride,
                  std::int64_t stride, const T* y) {
  return batch >= 1 && stride >= batch && stride % kSpmmAlign == 0 && features >= 0 &&
         row_stride >= features &&
         (features == 0 ||
          (x != nullptr && y != nullptr && reinterpret_cast<std::uintptr_t>(y) % 64 == 0));
}
}  // namespace

void spmm_run(const TransposeCall<float>& c) { HWY_DYNAMIC_DISPATCH(transpose_float)(c); }
void spmm_run(const TransposeCall<double>& c) { HWY_DYNAMIC_DISPATCH(transpose_double)(c); }

template <class T>
int to_features(const T* x, std::int64_t batch, std::int64_t features, std::int64_t row_stride,
                std::int64_t stride, T* y) {
  if (!good_layouts(x, batch, features, row_stride, stride, y)) return kSpmmBadArguments;
  spmm_run(TransposeCall<T>{x, batch, features, row_stride, stride, y});
  for (std::int64_t f = 0; f < features && batch < stride; ++f) {
    std::fill(y + f * stride + batch, y + (f + 1) * stride, T(0));
  }
  return kSpmmDone;
}

template <class T>
int from_features(const T* y, std::int64_t batch, std::int64_t features, std::int64_t row_stride,
                  std::int64_t stride, T* x) {
  if (!good_layouts(x, batch, features, row_stride, stride, y)) return kSpmmBadArguments;
  spmm_run(TransposeCall<T>{y, features, batch, stride, row_stride, x});
  return kSpmmDone;
}

#define TANDEM_LAYOUT_INSTANCES(T)                                                                \
  template int to_features(const T*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, T*); \
  template int from_features(const T*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, T*);
TANDEM_LAYOUT_INSTANCES(float)
TANDEM_LAYOUT_INSTANCES(double)

}  // namespace tandem::kernels
#endif  // HWY_ONCE
