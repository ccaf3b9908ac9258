// The choice of blocks in Highway vectors, one version per instruction set, chosen at run time. A
// tile is some neighbouring queries with all heads of a group: their scores of the pooled keys, one
// row of importances per list, from which the best are taken.
#include <numeric>

#include "kernels/attention/attention_calls.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/choice_vectors.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/attention/rows_inl.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::kernels {
namespace {
namespace HWY_NAMESPACE {

constexpr std::int64_t kChoiceRows = 16;
constexpr std::int64_t kExtracted = 64;  // up to so many blocks are taken one after the other
constexpr int kGroupVectors = 4;
template <class T>
constexpr std::int64_t kGroup = kGroupVectors* kLanes<T>;  // importances with one largest each
static_assert(kGroup<float> <= kPanel && kPanel % kGroup<float> == 0);

template <class T>
class Choice {
 public:
  explicit Choice(const BlockChoice<T>& call)
      : c_(call),
        s_(call.shape),
        group_(s_.group()),
        depth_(s_.head_dim),
        padded_(round_up(depth_, kLanes<T>)),
        complete_(s_.complete_blocks()),
        stride_(round_up(complete_, kPanel) + 16),
        queries_(std::max<std::int64_t>(1, kChoiceRows / group_)),
        scale_(static_cast<T>(1 / std::sqrt(static_cast<double>(depth_)))) {
    const std::int64_t room = std::max(kPanel, round_up(complete_, kPanel)) * depth_;
    columns_ = buffer<T>(room);
    std::fill_n(columns_.get(), room, T{0});  // there are none behind the last block
    mean_ = buffer<T>(depth_);
    q_ = buffer<T>(queries_ * group_ * padded_);
    scores_ = buffer<T>(queries_ * group_ * stride_);
    importance_ = buffer<T>(stride_);
    begin_.resize(static_cast<std::size_t>(s_.tokens));
    end_.resize(begin_.size());
    largest_ = buffer<T>(stride_ / kGroup<T> * kLanes<T> + kLanes<T>);
    scale_of_ = buffer<T>(group_ * kLanes<T>);
    index_.resize(static_cast<std::size_t>(std::min(c_.slots - 1, complete_)) + 1);
  }

  void run() {
    for (std::int64_t item = c_.items.first; item < end_of(c_.items, s_.batch); ++item) {
      if (c_.full_items != nullptr && c_.full_items[item] != 0) continue;
      const std::int32_t* start =
          c_.document_start == nullptr ? nullptr : c_.document_start + item * s_.tokens;
      readable_ranges(s_.tokens, start, c_.causal, begin_.data(), end_.data());
      for (std::int64_t head = 0; head < s_.kv_heads; ++head) {
        pool(c_.k + (item * s_.tokens * s_.kv_heads + head) * depth_, start);
        for (std::int64_t t = 0; t < s_.tokens; t += queries_) {
          tile(item, head, t, std::min(queries_, s_.tokens - t));
        }
      }
    }
  }

 private:
  // Packs the means as columns of panels.
  void pool(const T* keys, const std::int32_t* start) {
    for (std::int64_t block = 0; block < complete_; ++block) {
      const std::int64_t end = (block + 1) * s_.block_size;
      std::int64_t begin = block * s_.block_size;
      if (start != nullptr) begin = std::max<std::int64_t>(begin, start[end - 1]);
      T* mean = mean_.get();
      std::fill_n(mean, depth_, T{0});
      for (std::int64_t j = begin; j < end; ++j) {
        const T* key = keys + j * s_.kv_heads * depth_;
        for (std::int64_t k = 0; k < depth_; ++k) mean[k] += key[k];
      }
      T* column = columns_.get() + block / kPanel * kPanel * depth_ + block % kPanel;
      for (std::int64_t k = 0; k < depth_; ++k) {
        column[k * kPanel] = mean[k] / static_cast<T>(end - begin);
      }
    }
  }

  void tile(std::int64_t item, std::int64_t kv_head, std::int64_t t, std::int64_t queries) {
    const std::int64_t rows = queries * group_;
    for (std::int64_t i = 0; i < queries; ++i) {
      const std::int64_t row = (item * s_.tokens + t + i) * s_.heads + kv_head * group_;
      for (std::int64_t g = 0; g < group_; ++g) {
        copy_row(c_.q + (row + g) * depth_, depth_, scale_, q_.get() + (i * group_ + g) * padded_,
                 padded_);
      }
    }
    std::int64_t lowest = s_.tokens, highest = 0;
    for (std::int64_t i = t; i < t + queries; ++i) {
      lowest = std::min<std::int64_t>(lowest, begin_[i] / s_.block_size);
      highest = std::max<std::int64_t>(highest, end_[i] / s_.block_size);
    }
    std::int64_t offset[kPanel];
    for (std::int64_t p = lowest / kPanel; p * kPanel < highest && c_.slots > 1; ++p) {
      const std::int64_t count = std::min(kPanel, highest - p * kPanel);
      const std::int64_t vectors = (count + kLanes<T> - 1) / kLanes<T>;
      for (std::int64_t v = 0; v < vectors; ++v) {
        offset[v] = p * kPanel * depth_ + v * kLanes<T>;
      }
      dots(Dots<T>{q_.get(), padded_, depth_, columns_.get(), kPanel, offset, vectors,
                   scores_.get() + p * kPanel, stride_},
           rows);
    }
    const std::int64_t lists = c_.selector.per_head ? group_ : 1, heads = group_ / lists;
    for (std::int64_t i = 0; i < queries; ++i) {
      for (std::int64_t l = 0; l < lists; ++l) {
        const std::int64_t list = kv_head * lists + l;
        std::int32_t* chosen =
            c_.chosen + ((item * c_.selector.lists(s_) + list) * s_.tokens + t + i) * c_.slots;
        choose(t + i, scores_.get() + (i * group_ + l * heads) * stride_, heads, chosen);
      }
    }
  }

  // Chooses for one list of one query from the scores of its heads.
  void choose(std::int64_t t, T* scores, std::int64_t heads, std::int32_t* chosen) {
    const std::int64_t own = t / s_.block_size;
    const std::int64_t first = begin_[t] / s_.block_size, end = end_[t] / s_.block_size;
    const bool own_is_complete = own < end;
    std::int64_t wanted = std::max<std::int64_t>(0, end - first - (own_is_complete ? 1 : 0));
    const bool everything = wanted <= c_.slots - 1;
    wanted = std::min(wanted, c_.slots - 1);
    std::int64_t found = 0;
    if (everything) {
      for (std::int64_t b = first; b < end; ++b) {
        if (b != own) index_[found++] = static_cast<std::int32_t>(b);
      }
    } else if (wanted > 0) {
      T* row = importance(scores, heads, first, end);
      constexpr T kInfinity = std::numeric_limits<T>::infinity();
      if (c_.selector.force_first && first != own) row[first] = kInfinity;
      if (own_is_complete) row[own] = -kInfinity;
      wanted <= kExtracted ? extract(row, first, end, wanted) : partition(row, first, end, wanted);
      found = wanted;
    }
    index_[found++] = static_cast<std::int32_t>(own);
    sort(found, chosen);
    std::fill(chosen + found, chosen + c_.slots, -1);
  }

  // The importances of blocks [first, end) in a row that is filled up with -infinity to whole
  // groups of vectors. A NaN becomes the lowest number, and nothing in the range is less. A list of
  // one head needs no softmax: it does not change the order.
  T* importance(T* scores, std::int64_t heads, std::int64_t first, std::int64_t end) {
    const Tag<T> d;
    const std::int64_t from = first / kLanes<T> * kLanes<T>;
    const Vec<T> nothing = hn::Set(d, -std::numeric_limits<T>::infinity());
    const Vec<T> lowest = hn::Set(d, std::numeric_limits<T>::lowest());
    const bool softmax = c_.selector.softmax && heads > 1;
    for (std::int64_t h = 0; h < heads && softmax; ++h) {
      T* score = scores + h * stride_;
      Vec<T> top = nothing;
      for (std::int64_t b = from; b < end; b += kLanes<T>) {
        Vec<T> value = hn::LoadU(d, score + b);
        if (b < first || b + kLanes < T >> end) {
          value = hn::IfThenElse(lanes_between<T>(first - b, end - b), value, nothing);
          hn::StoreU(value, d, score + b);
        }
        top = hn::Max(top, value);
      }
      top = hn::MaxOfLanes(d, top);
      Vec<T> sum = hn::Zero(d);
      for (std::int64_t b = from; b < end; b += kLanes<T>) {
        const Vec<T> value = exp_of<T>(hn::Sub(hn::LoadU(d, score + b), top));
        hn::StoreU(value, d, score + b);
        sum = hn::Add(sum, value);
      }
      hn::Store(hn::Div(hn::Set(d, T{1}), hn::SumOfLanes(d, sum)), d,
                scale_of_.get() + h * kLanes<T>);
    }
    T* row = importance_.get();
    for (std::int64_t b = from; b < end; b += kLanes<T>) {
      const T* score = scores + b;
      Vec<T> value = hn::Zero(d);
      for (std::int64_t h = 0; h < heads; ++h, score += stride_) {
        const Vec<T> scale =
            softmax ? hn::Load(d, scale_of_.get() + h * kLanes<T>) : hn::Set(d, T{1});
        value = hn::MulAdd(hn::LoadU(d, score), scale, value);
      }
      value = hn::IfThenElse(hn::Ge(value, lowest), value, lowest);
      if (b < first || b + kLanes < T >> end) {
        value = hn::IfThenElse(lanes_between<T>(first - b, end - b), value, nothing);
      }
      hn::StoreU(value, d, row + b);
    }
    const std::int64_t filled = from / kGroup<T> * kGroup<T>;
    std::fill(row + filled, row + from, -std::numeric_limits<T>::infinity());
    for (std::int64_t b = round_up(end, kLanes<T>); b < round_up(end, kGroup<T>); b += kLanes<T>) {
      hn::StoreU(nothing, d, row + b);
    }
    return row;
  }

  // Takes the largest `wanted` times: the first of the groups whose largest number it is, the first
  // vector there, the first lane. So equal numbers go in the order of their indices, and the time
  // does not depend on the numbers.
  void extract(T* row, std::int64_t first, std::int64_t end, std::int64_t wanted) {
    const Tag<T> d;
    T* largest = largest_.get();
    const std::int64_t from = first / kGroup<T>, to = (end + kGroup<T> - 1) / kGroup<T>;
    const auto update = [&](std::int64_t g) {
      const T* at = row + g * kGroup<T>;
      Vec<T> top = hn::LoadU(d, at);
      for (int v = 1; v < kGroupVectors; ++v) top = hn::Max(top, hn::LoadU(d, at + v * kLanes<T>));
      hn::Store(top, d, largest + g * kLanes<T>);
    };
    for (std::int64_t g = from; g < to; ++g) update(g);
    for (std::int64_t i = 0; i < wanted; ++i) {
      Vec<T> top = hn::Load(d, largest + from * kLanes<T>);
      for (std::int64_t g = from + 1; g < to; ++g) {
        top = hn::Max(top, hn::Load(d, largest + g * kLanes<T>));
      }
      top = hn::MaxOfLanes(d, top);
      std::int64_t g = from;
      while (hn::AllFalse(d, hn::Eq(top, hn::Load(d, largest + g * kLanes<T>)))) ++g;
      std::int64_t at = g * kGroup<T>;
      while (hn::AllFalse(d, hn::Eq(top, hn::LoadU(d, row + at)))) at += kLanes<T>;
      at += hn::FindFirstTrue(d, hn::Eq(top, hn::LoadU(d, row + at)));
      row[at] = -std::numeric_limits<T>::infinity();
      index_[i] = static_cast<std::int32_t>(at);
      update(g);
    }
  }

  // The indices found, ascending, to `sorted`. Each goes to its rank, as few of them are.
  void sort(std::int64_t found, std::int32_t* sorted) {
    if (found > 32) {
      std::sort(index_.begin(), index_.begin() + found);
      std::copy_n(index_.begin(), found, sorted);
      return;
    }
    for (std::int64_t i = 0; i < found; ++i) {
      std::int32_t rank = 0;
      for (std::int64_t j = 0; j < found; ++j) rank += index_[j] < index_[i] ? 1 : 0;
      sorted[rank] = index_[i];
    }
  }

  void partition(const T* row, std::int64_t first, std::int64_t end, std::int64_t wanted) {
    order_.resize(static_cast<std::size_t>(end - first));
    std::iota(order_.begin(), order_.end(), static_cast<std::int32_t>(first));
    std::nth_element(order_.begin(), order_.begin() + wanted, order_.end(),
                     [row](std::int32_t a, std::int32_t b) {
                       return row[a] > row[b] || (row[a] == row[b] && a < b);
                     });
    std::copy_n(order_.begin(), wanted, index_.begin());
  }

  const BlockChoice<T>& c_;
  const AttentionShape& s_;
  const std::int64_t group_, depth_, padded_, complete_, stride_, queries_;
  const T scale_;
  Buffer<T> mean_, columns_, q_, scores_, importance_, largest_, scale_of_;
  std::vector<std::int32_t> begin_, end_, index_, order_;
};

void choose_float(const BlockChoice<float>& call) { Choice<float>(call).run(); }
void choose_double(const BlockChoice<double>& call) { Choice<double>(call).run(); }

}  // namespace HWY_NAMESPACE
}  // namespace
}  // namespace tandem::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tandem::kernels {
namespace {
HWY_EXPORT(choose_float);
HWY_EXPORT(choose_double);
}  // namespace

void choice_run(const BlockChoice<float>& call) { HWY_DYNAMIC_DISPATCH(choose_float)(call); }
void choice_run(const BlockChoice<double>& call) { HWY_DYNAMIC_DISPATCH(choose_double)(call); }

}  // namespace tandem::kernels
#endif  // HWY_ONCE
