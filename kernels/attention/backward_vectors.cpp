// The backward pass of attention in Highway vectors, one version per instruction set, chosen at run
// time. Weights are computed again from the scores and lse. Tiles come in the order of queries, and
// each adds to the gradients of its keys and values at once, so that the order of every sum is
// fixed.
#include "kernels/attention/attention_calls.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/backward_vectors.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/attention/rows_inl.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::kernels {
namespace {
namespace HWY_NAMESPACE {

template <class T>
class Backward {
 public:
  explicit Backward(const BlockAttentionGradient<T>& call)
      : s_(call.forward),
        c_(call),
        f_(call.forward),
        panels_(s_, 2, 3),
        stride_(weight_stride(s_.group)) {
    const std::int64_t rows = most_rows(s_.group), tokens = s_.shape.tokens;
    for (Buffer<T>* each : {&q_, &d_o_, &dq_}) *each = buffer<T>(rows * s_.padded);
    for (Buffer<T>* each : {&weights_, &slopes_}) *each = buffer<T>(weight_room(s_.group));
    for (Buffer<T>* each : {&lse_, &mean_}) *each = buffer<T>(rows);
    begin_.resize(static_cast<std::size_t>(tokens));
    end_.resize(begin_.size());
  }

  void run() {
    for (std::int64_t item = f_.items.first; item < end_of(f_.items, s_.shape.batch); ++item) {
      panels_.cut(s_.reads_all(item) ? kPanel : s_.shape.block_size);
      const std::int64_t tokens = s_.shape.tokens;
      readable_ranges(tokens,
                      f_.document_start == nullptr ? nullptr : f_.document_start + item * tokens,
                      f_.causal, begin_.data(), end_.data());
      for (std::int64_t head = 0; head < s_.shape.kv_heads; ++head) {
        const std::int64_t at = s_.key_row(item, head) * s_.depth, stride = s_.key_stride();
        panels_.set_columns(kKeys, f_.k + at, stride);
        panels_.set_columns(kValues, f_.v + at, stride);
        panels_.set_rows(kKeys, f_.k + at, stride);
        panels_.clear_rows(kKeyGradients);
        panels_.clear_rows(kValueGradients);
        walk_tiles(
            s_, panels_, item, head, begin_.data(), end_.data(), vectors_,
            [&](const Tile& tile) { begin(item, tile); },
            [&](const Tile& tile, const Chunk<T>& chunk) { add(tile, chunk); },
            [&](const Tile& tile) { end(item, tile); });
        panels_.get_rows(kKeyGradients, c_.dk + at, stride);
        panels_.get_rows(kValueGradients, c_.dv + at, stride);
      }
    }
  }

 private:
  // The parts of a panel: columns of keys and values; rows of keys and of both gradients.
  enum Part { kKeys = 0, kValues = 1, kKeyGradients = 1, kValueGradients = 2 };

  void begin(std::int64_t item, const Tile& tile) {
    const Tag<T> d;
    for_rows(s_, item, tile, [&](std::int64_t r, std::int64_t row) {
      const std::int64_t at = row * s_.depth, to = r * s_.padded;
      copy_row(f_.q + at, s_.depth, s_.scale, q_.get() + to, s_.padded);
      copy_row(c_.d_o + at, s_.depth, T{1}, d_o_.get() + to, s_.padded);
      copy_row(f_.o + at, s_.depth, T{1}, dq_.get() + to, s_.padded);
      Vec<T> sum = hn::Zero(d);
      for (std::int64_t k = 0; k < s_.padded; k += kLanes<T>) {
        sum = hn::MulAdd(hn::Load(d, d_o_.get() + to + k), hn::Load(d, dq_.get() + to + k), sum);
      }
      mean_[r] = hn::GetLane(hn::SumOfLanes(d, sum));
      lse_[r] = f_.lse[row];
    });
    stride_ = s_.reads_all(item) ? kPanel + 16 : weight_stride(tile.heads);
  }

  void add(const Tile& tile, const Chunk<T>& chunk) {
    T* weights = weights_.get();
    T* slopes = slopes_.get();
    dots(Dots<T>{q_.get(), s_.padded, s_.depth, panels_.columns(kKeys), panels_.width, chunk.column,
                 chunk.vectors, weights, stride_},
         tile.rows);
    dots(Dots<T>{d_o_.get(), s_.padded, s_.depth, panels_.columns(kValues), panels_.width,
                 chunk.column, chunk.vectors, slopes, stride_},
         tile.rows);
    for (std::int64_t r = 0; r < tile.rows; ++r) differentiate(tile, chunk, r);
    list_terms(chunk, panels_.rows(kKeys), s_.padded, slopes, terms_);
    weighted(Weighted<T>{terms_.data(), static_cast<std::int64_t>(terms_.size()), s_.padded,
                         stride_, 1, chunk.fresh, nullptr, dq_.get()},
             tile.rows);
    for (const Terms<T>& run : terms_) {
      const std::int64_t key = run.rows - panels_.rows(kKeys), at = run.weights - slopes;
      const Terms<T> to_keys{q_.get(), slopes + at, tile.rows};
      const Terms<T> to_values{d_o_.get(), weights + at, tile.rows};
      weighted(Weighted<T>{&to_keys, 1, s_.padded, 1, stride_, false, nullptr,
                           panels_.rows(kKeyGradients) + key},
               run.count);
      weighted(Weighted<T>{&to_values, 1, s_.padded, 1, stride_, false, nullptr,
                           panels_.rows(kValueGradients) + key},
               run.count);
    }
  }

  // Scores of a row become weights, and products with its output gradient become the gradients of
  // its scores.
  HWY_INLINE void differentiate(const Tile& tile, const Chunk<T>& chunk, std::int64_t r) {
    const Tag<T> d;
    T* weights = weights_.get() + r * stride_;
    T* slopes = slopes_.get() + r * stride_;
    const Vec<T> lse = hn::Set(d, lse_[r]), mean = hn::Set(d, mean_[r]);
    visit_vectors(chunk, tile.begin[r], tile.end[r],
                  [&](std::int64_t i, bool masked, std::int64_t from, std::int64_t to) {
                    const std::int64_t at = i * kLanes<T>;
                    Vec<T> weight = exp_of<T>(hn::Sub(hn::LoadU(d, weights + at), lse));
                    Vec<T> slope = hn::Mul(weight, hn::Sub(hn::LoadU(d, slopes + at), mean));
                    if (masked) {
                      const auto inside = lanes_between<T>(from, to);
                      weight = hn::IfThenElseZero(inside, weight);
                      slope = hn::IfThenElseZero(inside, slope);
                    }
                    hn::StoreU(weight, d, weights + at);
                    hn::StoreU(slope, d, slopes + at);
                  });
  }

  void end(std::int64_t item, const Tile& tile) {
    for_rows(s_, item, tile, [&](std::int64_t r, std::int64_t row) {
      copy_row(dq_.get() + r * s_.padded, s_.depth, s_.scale, c_.dq + row * s_.depth, s_.depth);
    });
  }

  Sizes<T> s_;
  const BlockAttentionGradient<T>& c_;
  const BlockAttention<T>& f_;
  Panels<T> panels_;
  std::int64_t stride_;
  Buffer<T> q_, d_o_, dq_, weights_, slopes_, lse_, mean_;
  std::vector<std::int32_t> begin_, end_;
  Vectors vectors_;
  std::vector<Terms<T>> terms_;
};

void backward_float(const BlockAttentionGradient<float>& call) { Backward<float>(call).run(); }
void backward_double(const BlockAttentionGradient<double>& call) { Backward<double>(call).run(); }

}  // namespace HWY_NAMESPACE
}  // namespace
}  // namespace tandem::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tandem::kernels {
namespace {
HWY_EXPORT(backward_float);
HWY_EXPORT(backward_double);
}  // namespace

void attention_run(const BlockAttentionGradient<float>& call) {
  HWY_DYNAMIC_DISPATCH(backward_float)(call);
}
void attention_run(const BlockAttentionGradient<double>& call) {
  HWY_DYNAMIC_DISPATCH(backward_double)(call);
}

}  // namespace tandem::kernels
#endif  // HWY_ONCE
