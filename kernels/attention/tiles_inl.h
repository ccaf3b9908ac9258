// The register tiles of attention in Highway vectors: products of rows with packed keys, weighted
// sums of rows, exp and log. Read once per instruction set.
//
// "Columns" are keys (or values, or pooled keys) packed so that lanes are keys: of a panel of
// `width` keys number k of all keys lies together, [d][width]. Both products hold a tile of their
// result in registers, about half of the registers that there are: enough to hide the latency of
// the multiply-adds, and each loaded vector serves several of them.
#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/attention/attention_calls.h"

#if defined(TANDEM_ATTENTION_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TANDEM_ATTENTION_TILES_INL_H_
#undef TANDEM_ATTENTION_TILES_INL_H_
#else
#define TANDEM_ATTENTION_TILES_INL_H_
#endif
#include <hwy/highway.h>

#include "kernels/vector_types_inl.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::kernels {
namespace {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
constexpr int kAccumulators = HWY_TARGET == HWY_AVX3 ? 16 : 8;

inline std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

// e^x for x up to the logarithm of the largest number: 2^n e^r, n the nearest whole number to
// x / ln 2, |r| <= ln(2) / 2. Zero where the result would be less than the least normal number; a
// NaN stays one. The float coefficients are those of Cephes' expf (Moshier), the double ones are
// 1/k!.
template <class T>
HWY_INLINE Vec<T> exp_of(Vec<T> x) {
  const Tag<T> d;
  const hn::RebindToSigned<Tag<T>> di;
  constexpr bool kFloat = std::is_same_v<T, float>;
  const auto lowest = hn::Set(d, static_cast<T>(kFloat ? -87.3 : -708.3));
  // Adding this rounds to a whole number, which the lowest bits of the sum then hold.
  const auto magic = hn::Set(d, static_cast<T>(kFloat ? 0x1.8p23 : 0x1.8p52));
  const auto sum = hn::Add(hn::Mul(x, hn::Set(d, static_cast<T>(1.4426950408889634))), magic);
  const auto n = hn::Sub(sum, magic);
  const auto high = hn::Set(d, static_cast<T>(kFloat ? -0.693359375 : -6.93145751953125e-1));
  const auto low =
      hn::Set(d, static_cast<T>(kFloat ? 2.12194440054690583e-4 : -1.42860682030941723e-6));
  const auto r = hn::MulAdd(n, low, hn::MulAdd(n, high, x));
  auto p = hn::Zero(d);
  if constexpr (kFloat) {
    p = hn::Set(d, 1.9875691500e-4f);
    for (const float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                          5.0000001201e-1f}) {
      p = hn::MulAdd(p, r, hn::Set(d, c));
    }
  } else {
    p = hn::Set(d, 1 / 6227020800.0);
    for (const double c : {479001600.0, 39916800.0, 3628800.0, 362880.0, 40320.0, 5040.0, 720.0,
                           120.0, 24.0, 6.0, 2.0}) {
      p = hn::MulAdd(p, r, hn::Set(d, 1 / c));
    }
  }
  p = hn::Add(hn::MulAdd(hn::Mul(p, r), r, r), hn::Set(d, T{1}));
  constexpr int kBits = kFloat ? 23 : 52;
  const auto bias = hn::Set(di, kFloat ? 127 : 1023);
  const auto power = hn::BitCast(d, hn::ShiftLeft<kBits>(hn::Add(hn::BitCast(di, sum), bias)));
  return hn::IfThenZeroElse(hn::Lt(x, lowest), hn::Mul(p, power));
}

// ln x for normal x: x = 2^e m with m about 1, and ln m = 2 artanh((m - 1) / (m + 1)) as a series.
// NaN where x is NaN or infinite.
template <class T>
HWY_INLINE Vec<T> log_of(Vec<T> x) {
  const Tag<T> d;
  const hn::RebindToSigned<Tag<T>> di;
  constexpr bool kFloat = std::is_same_v<T, float>;
  using Int = hn::TFromD<hn::RebindToSigned<Tag<T>>>;
  constexpr int kBits = kFloat ? 23 : 52;
  constexpr T kTwoToBits = static_cast<T>(kFloat ? 0x1p23 : 0x1p52);
  const auto bits = hn::BitCast(di, x);
  const auto magic = hn::BitCast(di, hn::Set(d, kTwoToBits));
  auto e = hn::Sub(hn::BitCast(d, hn::Or(hn::ShiftRight<kBits>(bits), magic)),
                   hn::Set(d, kTwoToBits + (kFloat ? 127 : 1023)));
  const auto fraction = hn::Set(di, (Int{1} << kBits) - 1);
  auto m = hn::BitCast(d, hn::Or(hn::And(bits, fraction), hn::BitCast(di, hn::Set(d, T{1}))));
  const auto large = hn::Gt(m, hn::Set(d, static_cast<T>(1.4142135623730951)));
  m = hn::IfThenElse(large, hn::Mul(m, hn::Set(d, T{0.5})), m);
  e = hn::IfThenElse(large, hn::Add(e, hn::Set(d, T{1})), e);
  const auto one = hn::Set(d, T{1});
  const auto z = hn::Div(hn::Sub(m, one), hn::Add(m, one));
  const auto z2 = hn::Mul(z, z);
  constexpr int kLast = kFloat ? 9 : 21;
  auto p = hn::Set(d, static_cast<T>(2.0 / kLast));
  for (int k = kLast - 2; k >= 1; k -= 2) {
    p = hn::MulAdd(p, z2, hn::Set(d, static_cast<T>(2.0 / k)));
  }
  const auto log = hn::MulAdd(e, hn::Set(d, static_cast<T>(0.6931471805599453)), hn::Mul(p, z));
  return hn::Add(log, hn::Sub(x, x));
}

// This is out[r][i L + lane] = <row r of x, key `lane` of vector i>, whose columns begin at
// columns + offset[i].
template <class T>
struct Dots {
  const T* x;
  std::int64_t x_stride, depth;
  const T* columns;
  std::int64_t width;
  const std::int64_t* offset;
  std::int64_t vectors;
  T* out;
  std::int64_t out_stride;
};

template <class T, int kRows, int kVectors>
HWY_INLINE void dots_tile(const Dots<T>& c, std::int64_t row, std::int64_t vector) {
  const Tag<T> d;
  const T* x = c.x + row * c.x_stride;
  const T* column[kVectors];
  Vec<T> sum[kRows][kVectors];
  TANDEM_UNROLL
  for (int v = 0; v < kVectors; ++v) column[v] = c.columns + c.offset[vector + v];
  TANDEM_UNROLL
  for (int r = 0; r < kRows; ++r) {
    TANDEM_UNROLL
    for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(d);
  }
  const std::int64_t depth = c.depth, width = c.width, stride = c.x_stride;
  for (std::int64_t k = 0, at = 0; k < depth; ++k, at += width) {
    Vec<T> keys[kVectors];
    TANDEM_UNROLL
    for (int v = 0; v < kVectors; ++v) keys[v] = hn::LoadU(d, column[v] + at);
    TANDEM_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Vec<T> factor = hn::Set(d, x[r * stride + k]);
      TANDEM_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(factor, keys[v], sum[r][v]);
    }
  }
  T* out = c.out + row * c.out_stride + vector * kLanes<T>;
  TANDEM_UNROLL
  for (int r = 0; r < kRows; ++r) {
    TANDEM_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(sum[r][v], d, out + r * c.out_stride + v * kLanes<T>);
    }
  }
}

template <class T, int kRows, int kVectors>
HWY_INLINE void dots_vectors(const Dots<T>& c, std::int64_t row, std::int64_t vector) {
  for (; vector + kVectors <= c.vectors; vector += kVectors) {
    dots_tile<T, kRows, kVectors>(c, row, vector);
  }
  if constexpr (kVectors > 1) dots_vectors<T, kRows, kVectors / 2>(c, row, vector);
}

template <class T, int kRows = 4>
HWY_NOINLINE void dots(const Dots<T>& c, std::int64_t rows, std::int64_t row = 0) {
  for (; row + kRows <= rows; row += kRows) {
    dots_vectors<T, kRows, std::min(8, kAccumulators<T> / kRows)>(c, row, 0);
  }
  if constexpr (kRows > 1) {
    if (row < rows) dots<T, kRows / 2>(c, rows, row);
  }
}

// One run of terms of a weighted sum: rows of d numbers, `count` of them, and the weight of the
// first for output 0.
template <class T>
struct Terms {
  const T* rows;
  const T* weights;
  std::int64_t count;
};

// This is out[i] = factor[i] out[i] + sum over all terms n of weights[i by_out + n by_term]
// rows[n], where factor[i] is 1 without factors and 0 where the sum is `fresh`.
template <class T>
struct Weighted {
  const Terms<T>* terms;
  std::int64_t runs;
  std::int64_t row_stride, by_out, by_term;
  bool fresh;
  const T* factor;
  T* out;  // rows row_stride apart as well
};

template <class T, int kRows, int kVectors>
HWY_INLINE void weighted_tile(const Weighted<T>& c, std::int64_t row, std::int64_t column) {
  const Tag<T> d;
  const std::int64_t stride = c.row_stride, by_out = c.by_out, by_term = c.by_term;
  T* out = c.out + row * stride + column;
  Vec<T> sum[kRows][kVectors];
  TANDEM_UNROLL
  for (int r = 0; r < kRows; ++r) {
    TANDEM_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = c.fresh ? hn::Zero(d) : hn::LoadU(d, out + r * stride + v * kLanes<T>);
    }
    if (c.fresh || c.factor == nullptr) continue;
    const Vec<T> factor = hn::Set(d, c.factor[row + r]);
    TANDEM_UNROLL
    for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Mul(factor, sum[r][v]);
  }
  for (std::int64_t run = 0; run < c.runs; ++run) {
    const Terms<T>& terms = c.terms[run];
    const T* from = terms.rows + column;
    const T* weights = terms.weights + row * by_out;
    for (std::int64_t n = terms.count; n > 0; --n, from += stride, weights += by_term) {
      Vec<T> x[kVectors];
      TANDEM_UNROLL
      for (int v = 0; v < kVectors; ++v) x[v] = hn::LoadU(d, from + v * kLanes<T>);
      TANDEM_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const Vec<T> weight = hn::Set(d, weights[r * by_out]);
        TANDEM_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(weight, x[v], sum[r][v]);
      }
    }
  }
  TANDEM_UNROLL
  for (int r = 0; r < kRows; ++r) {
    TANDEM_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(sum[r][v], d, out + r * stride + v * kLanes<T>);
    }
  }
}

template <class T, int kRows, int kVectors>
HWY_INLINE void weighted_rows(const Weighted<T>& c, std::int64_t rows, std::int64_t row,
                              std::int64_t column) {
  for (; row + kRows <= rows; row += kRows) weighted_tile<T, kRows, kVectors>(c, row, column);
  if constexpr (kRows > 1) weighted_rows<T, kRows / 2, kVectors>(c, rows, row, column);
}

template <class T, int kVectors = kAccumulators<T> / 4>
HWY_NOINLINE void weighted(const Weighted<T>& c, std::int64_t rows, std::int64_t column = 0) {
  for (; column + kVectors * kLanes<T> <= c.row_stride; column += kVectors * kLanes<T>) {
    weighted_rows<T, std::min(8, kAccumulators<T> / kVectors), kVectors>(c, rows, 0, column);
  }
  if constexpr (kVectors > 1) {
    if (column < c.row_stride) weighted<T, kVectors / 2>(c, rows, column);
  }
}

// Which lanes of a vector lie in [from, to).
template <class T>
HWY_INLINE hn::Mask<Tag<T>> lanes_between(std::int64_t from, std::int64_t to) {
  const Tag<T> d;
  const auto lane = hn::Iota(d, T{0});
  return hn::And(hn::Ge(lane, hn::Set(d, static_cast<T>(from))),
                 hn::Lt(lane, hn::Set(d, static_cast<T>(to))));
}

// This copies `depth` numbers of a row, times a factor, and makes zeros of those up to `padded`,
// which is `depth` or the next multiple of the lanes.
template <class T>
HWY_INLINE void copy_row(const T* from, std::int64_t depth, T factor, T* to, std::int64_t padded) {
  const Tag<T> d;
  const Vec<T> by = hn::Set(d, factor);
  std::int64_t k = 0;
  for (; k + kLanes<T> <= depth; k += kLanes<T>) {
    hn::StoreU(hn::Mul(hn::LoadU(d, from + k), by), d, to + k);
  }
  if (k == depth) return;
  const auto inside = hn::FirstN(d, static_cast<std::size_t>(depth - k));
  const Vec<T> rest = hn::Mul(hn::MaskedLoad(inside, d, from + k), by);
  if (padded > depth) {
    hn::StoreU(rest, d, to + k);
  } else {
    hn::BlendedStore(rest, inside, d, to + k);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace
}  // namespace tandem::kernels
HWY_AFTER_NAMESPACE();

#endif
