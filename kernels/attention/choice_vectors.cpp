// The choice of blocks in Highway vectors, one version per instruction set, chosen at run time. A
// tile is some neighbouring queries with all heads of a group: their scores of the pooled keys, one
// row of importances per list, from which the best are taken.
#include <bit>

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
    scale_of_ = buffer<T>(group_ * kLanes<T>);
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
    const std::int64_t others = std::max<std::int64_t>(0, end - first - (own_is_complete ? 1 : 0));
    std::int32_t* to = chosen;
    if (others < c_.slots) {
      for (std::int64_t b = first; b < end; ++b) *to++ = static_cast<std::int32_t>(b);
      if (!own_is_complete) *to++ = static_cast<std::int32_t>(own);
    } else if (c_.slots == 1) {
      *to++ = static_cast<std::int32_t>(own);
    } else {
      T* row = importance(scores, heads, first, end);
      std::int64_t wanted = c_.slots - 1;
      // What is chosen by rule is not among what is ranked.
      const bool forced = c_.selector.force_first && first != own;
      if (own_is_complete) row[own] = kNothing;
      if (forced) row[first] = kNothing;
      if (forced) --wanted;
      const Cut cut = wanted > 0 ? find_cut(row, first, end, wanted) : Cut{kInfinity, 0};
      if (own_is_complete) row[own] = kInfinity;
      if (forced) row[first] = kInfinity;
      to = write_above(row, first, end, cut, to);
      if (!own_is_complete) *to++ = static_cast<std::int32_t>(own);
    }
    std::fill(to, chosen + c_.slots, -1);
  }

  // The importances of blocks [first, end) in a row that is filled up with -infinity to whole
  // vectors. A NaN becomes the lowest number, and all are finite. A list of one head needs no
  // softmax: it does not change the order.
  T* importance(T* scores, std::int64_t heads, std::int64_t first, std::int64_t end) {
    const Tag<T> d;
    const std::int64_t from = first / kLanes<T> * kLanes<T>;
    const Vec<T> nothing = hn::Set(d, kNothing);
    const Vec<T> lowest = hn::Set(d, std::numeric_limits<T>::lowest());
    const Vec<T> highest = hn::Set(d, std::numeric_limits<T>::max());
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
      value = hn::IfThenElse(hn::Ge(value, lowest), hn::Min(value, highest), lowest);
      if (b < first || b + kLanes < T >> end) {
        value = hn::IfThenElse(lanes_between<T>(first - b, end - b), value, nothing);
      }
      hn::StoreU(value, d, row + b);
    }
    return row;
  }

  // The place of a number in the order of all numbers, and back.
  using Place = hn::TFromD<hn::RebindToSigned<Tag<T>>>;
  static Place place(T number) {
    const auto bits = std::bit_cast<Place>(number);
    return bits >= 0 ? bits : bits ^ std::numeric_limits<Place>::max();
  }
  static T number(Place place) {
    return std::bit_cast<T>(place >= 0 ? place : place ^ std::numeric_limits<Place>::max());
  }

  // Importances from `value` on are chosen, of those that equal it only the first `equal`.
  struct Cut {
    T value;
    std::int64_t equal;
  };

  // Halves the numbers between the least and the largest importance, in the order of their bits,
  // until as many as wanted lie above; where equal numbers never allow that, until one number is
  // left. Unlike a sorted list this has no branch that depends on single importances. The same on
  // the largest number of each lane comes first, as it gives a close bound for one vector's work.
  Cut find_cut(const T* row, std::int64_t first, std::int64_t end, std::int64_t wanted) {
    const Tag<T> d;
    const std::int64_t from = first / kLanes<T> * kLanes<T>;
    const Vec<T> nothing = hn::Set(d, kNothing);
    Vec<T> least = hn::Set(d, kInfinity), most = nothing;
    for (std::int64_t b = from; b < end; b += kLanes<T>) {
      const Vec<T> value = hn::LoadU(d, row + b);
      least = hn::Min(least, hn::IfThenElse(hn::Eq(value, nothing), least, value));
      most = hn::Max(most, value);
    }
    const auto count_lanes = [&](T value) HWY_ATTR {
      return static_cast<std::int64_t>(hn::CountTrue(d, hn::Ge(most, hn::Set(d, value))));
    };
    const auto count = [&](T number) HWY_ATTR {
      const Vec<T> value = hn::Set(d, number);
      std::int64_t n = 0;
      for (std::int64_t b = from; b < end; b += kLanes<T>) {
        n += static_cast<std::int64_t>(hn::CountTrue(d, hn::Ge(hn::LoadU(d, row + b), value)));
      }
      return n;
    };
    const auto high = static_cast<Place>(place(hn::GetLane(hn::MaxOfLanes(d, most))) + 1);
    Place low = place(hn::GetLane(hn::MinOfLanes(d, least)));
    if (wanted <= kLanes<T>) low = halve(low, high, wanted, count_lanes);
    if (count(number(low)) != wanted) low = halve(low, high, wanted, count);
    const Vec<T> value = hn::Set(d, number(low));
    std::int64_t above = 0;
    for (std::int64_t b = from; b < end; b += kLanes<T>) {
      above += static_cast<std::int64_t>(hn::CountTrue(d, hn::Gt(hn::LoadU(d, row + b), value)));
    }
    return {number(low), wanted - above};
  }

  // A place in [low, high) above or at which `wanted` numbers are counted, or the last one where
  // more are; where low counts fewer, low.
  template <class Count>
  static HWY_INLINE Place halve(Place low, Place high, std::int64_t wanted, const Count& count) {
    while (high != low + 1) {
      const Place middle = (low >> 1) + (high >> 1) + (low & high & 1);
      const std::int64_t n = count(number(middle));
      if (n == wanted) return middle;
      (n > wanted ? low : high) = middle;
    }
    return low;
  }

  std::int32_t* write_above(const T* row, std::int64_t first, std::int64_t end, Cut cut,
                            std::int32_t* to) {
    const Tag<T> d;
    const Vec<T> value = hn::Set(d, cut.value);
    for (std::int64_t b = first / kLanes<T> * kLanes<T>; b < end; b += kLanes<T>) {
      if (hn::AllFalse(d, hn::Ge(hn::LoadU(d, row + b), value))) continue;
      for (std::int64_t i = b; i < b + kLanes<T>; ++i) {
        if (!(row[i] >= cut.value)) continue;
        if (row[i] == cut.value && row[i] != kInfinity && cut.equal-- <= 0) continue;
        *to++ = static_cast<std::int32_t>(i);
      }
    }
    return to;
  }

  static constexpr T kInfinity = std::numeric_limits<T>::infinity(), kNothing = -kInfinity;

  const BlockChoice<T>& c_;
  const AttentionShape& s_;
  const std::int64_t group_, depth_, padded_, complete_, stride_, queries_;
  const T scale_;
  Buffer<T> mean_, columns_, q_, scores_, importance_, scale_of_;
  std::vector<std::int32_t> begin_, end_;
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
