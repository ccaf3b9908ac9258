// The passes over rows of activations beside the products, in Highway vectors: the bias gradient,
// the ReLU's gradient, and both in one.
#include <algorithm>

#include "kernels/spmm/spmm_calls.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/spmm/row_vectors.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/spmm/vectors_inl.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::kernels {
namespace {
namespace HWY_NAMESPACE {

// The lanes of a row that begin at column b, of which only those before `columns` count.
template <class T>
HWY_INLINE Vec<T> load_before(const T* row, std::int64_t b, std::int64_t columns) {
  const Tag<T> d;
  if (b + kLanes<T> <= columns) return hn::Load(d, row + b);
  if (b >= columns) return hn::Zero(d);
  return hn::MaskedLoad(hn::FirstN(d, static_cast<std::size_t>(columns - b)), d, row + b);
}

// The partial sums of one row of a tile to `at`; `row_of` gives its lanes from a column on.
template <class T, class Lanes>
HWY_INLINE void sum_row(std::int64_t columns, const Lanes& lanes, T* at) {
  const Tag<T> d;
  Vec<T> sums[kPerChunk<T>];
  TANDEM_UNROLL
  for (int j = 0; j < kPerChunk<T>; ++j) sums[j] = hn::Zero(d);
  for (std::int64_t b = 0; b < columns; b += 16) {
    TANDEM_UNROLL
    for (int j = 0; j < kPerChunk<T>; ++j) {
      const std::int64_t from = b + j * kLanes<T>;
      const Vec<T> value = lanes(from);
      if (from < columns) sums[j] = hn::Add(sums[j], value);
    }
  }
  TANDEM_UNROLL
  for (int j = 0; j < kPerChunk<T>; ++j) hn::Store(sums[j], d, at + j * kLanes<T>);
}

// sum_of(o, column, columns, at): the partial sums of row o. As many rows at a time as make a full
// register of sums, so that memory is walked in order.
template <class T, class SumOf>
HWY_INLINE void sum_rows(std::int64_t outputs, std::int64_t batch, const SumOf& sum_of, T* db) {
  Dots<T, 1> set(false), add(true);
  for (std::int64_t first = 0; first < outputs; first += kLanes<T>) {
    const std::int64_t last = std::min<std::int64_t>(first + kLanes<T>, outputs);
    for (std::int64_t column = 0; column < batch; column += kTile<T>) {
      const std::int64_t columns = std::min<std::int64_t>(kTile<T>, batch - column);
      Dots<T, 1>& dots = column == 0 ? set : add;
      T* at = dots.begin();
      for (std::int64_t o = first; o < last; ++o, at += 16) sum_of(o, column, columns, at);
      if (at == dots.end()) {
        dots.write(db + first);
      } else {
        dots.write_rest(at, db + last);
      }
    }
  }
}

template <class T>
void bias(const BiasCall<T>& c) {
  sum_rows(
      c.outputs, c.batch,
      [&](std::int64_t o, std::int64_t column, std::int64_t columns, T* at) {
        const T* row = c.dy + o * c.stride + column;
        sum_row(
            columns, [&](std::int64_t b) { return load_before(row, b, columns); }, at);
      },
      c.db);
}

template <class T>
void relu(const ReluCall<T>& c) {
  const Tag<T> d;
  for (std::int64_t n = 0; n < c.n; n += kLanes<T>) {
    const Vec<T> dy = hn::Load(d, c.dy + n);
    hn::Store(zero_where_not_positive<T>(hn::Load(d, c.y + n), dy), d, c.dy + n);
  }
}

template <class T>
void relu_bias(const ReluBiasCall<T>& c) {
  const Tag<T> d;
  const std::int64_t written = (c.batch + 15) / 16 * 16;
  sum_rows(
      c.outputs, c.batch,
      [&](std::int64_t o, std::int64_t column, std::int64_t columns, T* at) {
        const std::int64_t row = o * c.stride + column;
        const T *y = c.y + row, *dy = c.dy + row;
        T* dz = c.dz + row;
        const auto lanes = [&](std::int64_t b) {
          const Vec<T> value =
              zero_where_not_positive<T>(hn::Load(d, y + b), load_before(dy, b, columns));
          hn::Store(value, d, dz + b);
          return value;
        };
        sum_row(columns, lanes, at);
      },
      c.db);
  for (std::int64_t o = 0; o < c.outputs && written < c.stride; ++o) {
    std::fill(c.dz + o * c.stride + written, c.dz + (o + 1) * c.stride, T(0));
  }
}

void bias_float(const BiasCall<float>& c) { bias(c); }
void bias_double(const BiasCall<double>& c) { bias(c); }
void relu_float(const ReluCall<float>& c) { relu(c); }
void relu_double(const ReluCall<double>& c) { relu(c); }
void relu_bias_float(const ReluBiasCall<float>& c) { relu_bias(c); }
void relu_bias_double(const ReluBiasCall<double>& c) { relu_bias(c); }

}  // namespace HWY_NAMESPACE
}  // namespace
}  // namespace tandem::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tandem::kernels {
namespace {
HWY_EXPORT(bias_float);
HWY_EXPORT(bias_double);
HWY_EXPORT(relu_float);
HWY_EXPORT(relu_double);
HWY_EXPORT(relu_bias_float);
HWY_EXPORT(relu_bias_double);
}  // namespace

void spmm_run(const BiasCall<float>& c) { HWY_DYNAMIC_DISPATCH(bias_float)(c); }
void spmm_run(const BiasCall<double>& c) { HWY_DYNAMIC_DISPATCH(bias_double)(c); }
void spmm_run(const ReluCall<float>& c) { HWY_DYNAMIC_DISPATCH(relu_float)(c); }
void spmm_run(const ReluCall<double>& c) { HWY_DYNAMIC_DISPATCH(relu_double)(c); }
void spmm_run(const ReluBiasCall<float>& c) { HWY_DYNAMIC_DISPATCH(relu_bias_float)(c); }
void spmm_run(const ReluBiasCall<double>& c) { HWY_DYNAMIC_DISPATCH(relu_bias_double)(c); }

}  // namespace tandem::kernels
#endif  // HWY_ONCE
