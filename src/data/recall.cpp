// Drawing without replacement with unequal chances p_g: g is drawn again where it was drawn before,
// and where that would take long the rest is a race (Efraimidis and Spirakis 2006), in which g
// arrives at an exponential time with rate p_g. The first arrivals are what draw after draw, each
// among what is left, would take.
//
// The order of draws is part of what the data are: keys, values, updates, places, filler.
#include "data/recall.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/philox.h"

namespace tandem {
namespace {

constexpr std::int64_t kTries = 4;  // draws for each query before there is a race

}  // namespace

// Draws of one sequence, four 32-bit words from each block of its stream.
class RecallWriter::Draws {
 public:
  explicit Draws(std::uint64_t key) : key_(key) {}

  // Uniform in [0, n); the bias is below n / 2^32, and n at most 2^15.
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>((word() * static_cast<std::uint64_t>(n)) >> 32);
  }
  double uniform() {  // in [0, 1), 53 bits
    const std::uint64_t high = word(), bits = (high << 32) | word();
    return static_cast<double>(bits >> 11) * (1.0 / 9007199254740992.0);
  }

 private:
  std::uint64_t word() {
    if (used_ == 4) {
      block_ = philox4x32(key_, next_++);
      used_ = 0;
    }
    return block_.word[used_++];
  }

  std::uint64_t key_, next_ = 0;
  PhiloxBlock block_ = {};
  int used_ = 4;
};

RecallWriter::RecallWriter(const RecallRule& rule) : rule_(rule) {
  for (std::int64_t g = 0; rule.asks_all && g < rule.space(); ++g) {
    chances_.push_back(std::pow(static_cast<double>(g + 1), rule.gap_power - 1));
    sums_.push_back(chances_.back() + (sums_.empty() ? 0 : sums_.back()));
  }
  pool_.resize(static_cast<std::size_t>(std::max(rule.vocabulary, rule.pairs)));
  std::iota(pool_.begin(), pool_.end(), std::int16_t{0});
  is_key_.resize(static_cast<std::size_t>(rule.vocabulary));
}

void RecallWriter::draw_distinct(Draws& draws, std::int64_t first, std::int64_t n,
                                 std::int64_t count, std::vector<std::int16_t>& into) {
  into.clear();
  swapped_.clear();
  for (std::int64_t i = 0; i < count; ++i) {
    const auto from = static_cast<std::size_t>(i),
               with = static_cast<std::size_t>(i + draws.below(n - i));
    std::swap(pool_[from], pool_[with]);
    swapped_.push_back(with);
    into.push_back(static_cast<std::int16_t>(first + pool_[from]));
  }
  while (!swapped_.empty()) {
    std::swap(pool_[swapped_.size() - 1], pool_[swapped_.back()]);
    swapped_.pop_back();
  }
}

// Which keys there are, and what is bound to what, one after the other; `values_` are the last.
void RecallWriter::draw_bindings(Draws& draws) {
  const std::int64_t half = rule_.vocabulary / 2, others = rule_.vocabulary - half - 1;
  draw_distinct(draws, 1, half - 1, rule_.pairs, keys_);
  draw_distinct(draws, half, rule_.vocabulary - half, rule_.pairs, values_);
  bindings_.clear();
  for (std::size_t i = 0; i < keys_.size(); ++i) bindings_.emplace_back(keys_[i], values_[i]);
  if (rule_.updates == 0) return;
  std::vector<std::int16_t> again;
  draw_distinct(draws, 0, rule_.pairs, rule_.updates, again);
  for (const std::int16_t each : again) {
    std::int16_t& value = values_[static_cast<std::size_t>(each)];
    const auto drawn = static_cast<std::int16_t>(half + draws.below(others));
    value = static_cast<std::int16_t>(drawn + (drawn >= value ? 1 : 0));  // another than it was
    bindings_.emplace_back(keys_[static_cast<std::size_t>(each)], value);
  }
}

// Of key i, in the order of keys.
void RecallWriter::place_queries(Draws& draws, std::vector<std::int64_t>& places) {
  places.clear();
  taken_.assign(chances_.size(), 0);
  for (std::int64_t tries = 0; tries < kTries * rule_.pairs; ++tries) {
    if (static_cast<std::int64_t>(places.size()) == rule_.pairs) break;
    const auto found =
        std::upper_bound(sums_.begin(), sums_.end() - 1, draws.uniform() * sums_.back());
    const auto g = static_cast<std::size_t>(found - sums_.begin());
    if (taken_[g] != 0) continue;
    taken_[g] = 1;
    places.push_back(static_cast<std::int64_t>(g));
  }
  const std::int64_t left = rule_.pairs - static_cast<std::int64_t>(places.size());
  arrivals_.clear();
  for (std::size_t g = 0; g < chances_.size() && left > 0; ++g) {
    if (taken_[g] != 0) continue;
    arrivals_.emplace_back(-std::log1p(-draws.uniform()) / chances_[g],
                           static_cast<std::int64_t>(g));
  }
  std::partial_sort(arrivals_.begin(), arrivals_.begin() + left, arrivals_.end());
  for (std::int64_t i = 0; i < left; ++i) {
    places.push_back(arrivals_[static_cast<std::size_t>(i)].second);
  }
  for (std::int64_t& place : places) place = 2 * (rule_.bindings() + place);
}

void RecallWriter::write(std::uint64_t key, std::int16_t* x, std::int16_t* asked,
                         std::int16_t* answers) {
  constexpr std::int16_t kFree = -1;
  Draws draws(key);
  draw_bindings(draws);
  std::fill(x, x + rule_.tokens, kFree);
  std::int64_t begin = 0;
  if (rule_.asks_all) {
    place_queries(draws, places_);
  } else {
    const std::int64_t room = rule_.tokens - 1 - 2 * rule_.bindings();
    begin = rule_.depth < 0 ? draws.below(room + 1)
                            : std::llround(rule_.depth * static_cast<double>(room));
    const std::int64_t one = draws.below(rule_.pairs);
    std::swap(keys_.front(), keys_[static_cast<std::size_t>(one)]);
    std::swap(values_.front(), values_[static_cast<std::size_t>(one)]);
    places_ = {rule_.tokens - 1};
  }
  for (const auto& [bound, value] : bindings_) {
    x[begin++] = bound;
    x[begin++] = value;
  }
  std::vector<std::pair<std::int64_t, std::int16_t>> queries;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    x[places_[i]] = keys_[i];
    queries.emplace_back(places_[i], values_[i]);
  }
  std::sort(queries.begin(), queries.end());
  for (const auto& [place, value] : queries) {
    *asked++ = static_cast<std::int16_t>(place);
    *answers++ = value;
  }
  const auto mark = [&](char as) {
    for (const std::int16_t each : keys_) is_key_[static_cast<std::size_t>(each)] = as;
  };
  if (rule_.filler == RecallFiller::kUnbound) mark(1);
  for (std::int64_t t = 0; t < rule_.tokens; ++t) {
    if (x[t] != kFree) continue;
    x[t] = 0;
    if (rule_.filler == RecallFiller::kNone) continue;
    do {
      x[t] = static_cast<std::int16_t>(draws.below(rule_.vocabulary));
    } while (is_key_[static_cast<std::size_t>(x[t])] != 0);
  }
  mark(0);
}

}  // namespace tandem
