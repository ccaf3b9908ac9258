// The forward pass of attention in Highway vectors, one version per instruction set, chosen at run
// time. A tile's weights are made relative to the largest score so far, and its sums are scaled
// down where a larger one comes (online softmax, as in FlashAttention, Dao et al. 2022).
#include "kernels/attention/attention_calls.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/forward_vectors.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/attention/rows_inl.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::kernels {
namespace {
namespace HWY_NAMESPACE {

template <class T>
class Forward {
 public:
  explicit Forward(const BlockAttention<T>& call)
      : s_(call), c_(call), panels_(s_, 1, 1), stride_(weight_stride(s_.group)) {
    const std::int64_t rows = most_rows(s_.group), tokens = s_.shape.tokens;
    weights_ = buffer<T>(weight_room(s_.group));
    q_ = buffer<T>(rows * s_.padded);
    o_ = buffer<T>(rows * s_.padded);
    for (Buffer<T>* each : {&top_, &sum_, &factor_}) *each = buffer<T>(round_up(rows, kLanes<T>));
    std::fill_n(sum_.get(), round_up(rows, kLanes<T>), T{1});
    begin_.resize(static_cast<std::size_t>(tokens));
    end_.resize(begin_.size());
  }

  void run() {
    for (std::int64_t item = c_.items.first; item < end_of(c_.items, s_.shape.batch); ++item) {
      panels_.cut(s_.reads_all(item) ? kPanel : s_.shape.block_size);
      const std::int64_t tokens = s_.shape.tokens;
      readable_ranges(tokens,
                      c_.document_start == nullptr ? nullptr : c_.document_start + item * tokens,
                      c_.causal, begin_.data(), end_.data());
      for (std::int64_t head = 0; head < s_.shape.kv_heads; ++head) {
        const std::int64_t at = s_.key_row(item, head) * s_.depth;
        panels_.set_columns(0, c_.k + at, s_.key_stride());
        panels_.set_rows(0, c_.v + at, s_.key_stride());
        walk_tiles(
            s_, panels_, item, head, begin_.data(), end_.data(), vectors_,
            [&](const Tile& tile) { begin(item, tile); },
            [&](const Tile& tile, const Chunk<T>& chunk) { add(tile, chunk); },
            [&](const Tile& tile) { end(item, tile); });
      }
    }
  }

 private:
  void begin(std::int64_t item, const Tile& tile) {
    for_rows(s_, item, tile, [&](std::int64_t r, std::int64_t row) {
      copy_row(c_.q + row * s_.depth, s_.depth, s_.scale, q_.get() + r * s_.padded, s_.padded);
    });
    stride_ = s_.reads_all(item) ? kPanel + 16 : weight_stride(tile.heads);
  }

  void add(const Tile& tile, const Chunk<T>& chunk) {
    T* weights = weights_.get();
    dots(Dots<T>{q_.get(), s_.padded, s_.depth, panels_.columns(0), panels_.width, chunk.column,
                 chunk.vectors, weights, stride_},
         tile.rows);
    for (std::int64_t r = 0; r < tile.rows; ++r) soften(tile, chunk, r, weights + r * stride_);
    list_terms(chunk, panels_.rows(0), s_.padded, weights, terms_);
    weighted(Weighted<T>{terms_.data(), static_cast<std::int64_t>(terms_.size()), s_.padded,
                         stride_, 1, chunk.fresh, factor_.get(), o_.get()},
             tile.rows);
  }

  // Scores of a row become weights.
  HWY_INLINE void soften(const Tile& tile, const Chunk<T>& chunk, std::int64_t r, T* row) {
    const Tag<T> d;
    const Vec<T> nothing = hn::Set(d, -std::numeric_limits<T>::infinity());
    const Vec<T> before = chunk.fresh ? nothing : hn::Set(d, top_[r]);
    Vec<T> top = before;
    visit_vectors(chunk, tile.begin[r], tile.end[r],
                  [&](std::int64_t i, bool masked, std::int64_t from, std::int64_t to) {
                    Vec<T> score = hn::LoadU(d, row + i * kLanes<T>);
                    if (masked) {
                      score = hn::IfThenElse(lanes_between<T>(from, to), score, nothing);
                      hn::StoreU(score, d, row + i * kLanes<T>);
                    }
                    top = hn::Max(top, score);
                  });
    top = hn::MaxOfLanes(d, top);
    // A row that has read nothing yet keeps weights of zero.
    const Vec<T> shift = hn::IfThenZeroElse(hn::Eq(top, nothing), top);
    Vec<T> sum = hn::Zero(d);
    for (std::int64_t i = 0; i < chunk.vectors; ++i) {
      const Vec<T> weight = exp_of<T>(hn::Sub(hn::LoadU(d, row + i * kLanes<T>), shift));
      hn::StoreU(weight, d, row + i * kLanes<T>);
      sum = hn::Add(sum, weight);
    }
    sum = hn::SumOfLanes(d, sum);
    if (!chunk.fresh) {
      const Vec<T> factor = exp_of<T>(hn::Sub(before, shift));
      factor_[r] = hn::GetLane(factor);
      sum = hn::MulAdd(hn::Set(d, sum_[r]), factor, sum);
    }
    top_[r] = hn::GetLane(top);
    sum_[r] = hn::GetLane(sum);
  }

  void end(std::int64_t item, const Tile& tile) {
    const Tag<T> d;
    for (std::int64_t r = 0; r < tile.rows; r += kLanes<T>) {
      const Vec<T> sum = hn::Load(d, sum_.get() + r);
      // factor_ has done its work, and now holds lse.
      hn::Store(hn::Add(hn::Load(d, top_.get() + r), log_of<T>(sum)), d, factor_.get() + r);
      hn::Store(hn::Div(hn::Set(d, T{1}), sum), d, sum_.get() + r);
    }
    for_rows(s_, item, tile, [&](std::int64_t r, std::int64_t row) {
      copy_row(o_.get() + r * s_.padded, s_.depth, sum_[r], c_.o + row * s_.depth, s_.depth);
      if (c_.lse != nullptr) c_.lse[row] = factor_[r];
    });
  }

  Sizes<T> s_;
  const BlockAttention<T>& c_;
  Panels<T> panels_;  // columns of keys, rows of values
  std::int64_t stride_;
  Buffer<T> weights_, q_, o_, top_, sum_, factor_;
  std::vector<std::int32_t> begin_, end_;
  Vectors vectors_;
  std::vector<Terms<T>> terms_;
};

void forward_float(const BlockAttention<float>& call) { Forward<float>(call).run(); }
void forward_double(const BlockAttention<double>& call) { Forward<double>(call).run(); }

}  // namespace HWY_NAMESPACE
}  // namespace
}  // namespace tandem::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tandem::kernels {
namespace {
HWY_EXPORT(forward_float);
HWY_EXPORT(forward_double);
}  // namespace

void attention_run(const BlockAttention<float>& call) { HWY_DYNAMIC_DISPATCH(forward_float)(call); }
void attention_run(const BlockAttention<double>& call) {
  HWY_DYNAMIC_DISPATCH(forward_double)(call);
}

}  // namespace tandem::kernels
#endif  // HWY_ONCE
