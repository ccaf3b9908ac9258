// Drawing without replacement with unequal chances p_g: g is drawn again where it was drawn before,
// and where that would take long the rest is a race (Efraimidis and Spirakis 2006), in which g
// arrives at an exponential time with rate p_g. The first arrivals are what draw after draw, each
// among what is left, would take.
//
// The order of draws is part of what the data are: keys, values, updates or the order of each pass,
// places, filler.
#include "data/recall.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace tandem {
namespace {

constexpr std::int64_t kTries = 4;  // draws for each query before there is a race
constexpr std::int16_t kFree = -1;  // where nothing stands yet

}  // namespace

RecallWriter::RecallWriter(const RecallRule& rule) : rule_(rule) {
  for (std::int64_t g = 0; rule.asks_all && g < rule.space(); ++g) {
    chances_.push_back(std::pow(static_cast<double>(g + 1), rule.gap_power - 1));
    sums_.push_back(chances_.back() + (sums_.empty() ? 0 : sums_.back()));
  }
  pool_.resize(static_cast<std::size_t>(std::max(rule.vocabulary, rule.bindings())));
  std::iota(pool_.begin(), pool_.end(), std::int16_t{0});
  is_key_.resize(static_cast<std::size_t>(rule.vocabulary));
}

void RecallWriter::draw_distinct(SequenceDraws& draws, std::int64_t first, std::int64_t n,
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
void RecallWriter::draw_bindings(SequenceDraws& draws) {
  bindings_.clear();
  seconds_.clear();
  if (rule_.compound) {
    draw_compound(draws);
    return;
  }
  draw_distinct(draws, 1, rule_.keys(), rule_.pairs * rule_.hops, keys_);
  draw_distinct(draws, rule_.first_value(), rule_.values(), rule_.pairs, values_);
  if (rule_.hops > 1) {
    draw_chains(draws);
    return;
  }
  if (rule_.passes > 1) {
    draw_passes(draws);
    return;
  }
  for (std::size_t i = 0; i < keys_.size(); ++i) bindings_.push_back({keys_[i], -1, values_[i], i});
  if (rule_.updates > 0) draw_updates(draws);
}

// The combinations of some first and second tokens in any order, each with a value of its own.
void RecallWriter::draw_compound(SequenceDraws& draws) {
  const std::int64_t side = std::llround(std::sqrt(static_cast<double>(rule_.pairs)));
  std::vector<std::int16_t> first, second, order;
  draw_distinct(draws, 1, rule_.keys(), side, first);
  draw_distinct(draws, rule_.first_second(), rule_.first_second(), side, second);
  draw_distinct(draws, rule_.first_value(), rule_.values(), rule_.pairs, values_);
  draw_distinct(draws, 0, rule_.pairs, rule_.pairs, order);
  keys_.clear();
  for (std::size_t i = 0; i < order.size(); ++i) {
    keys_.push_back(first[static_cast<std::size_t>(order[i] / side)]);
    seconds_.push_back(second[static_cast<std::size_t>(order[i] % side)]);
    bindings_.push_back({keys_[i], seconds_[i], values_[i], i});
  }
}

// The bindings of all ways are shuffled, and those of one way put in its order: each way of
// weaving them into each other is equally likely.
void RecallWriter::draw_chains(SequenceDraws& draws) {
  const auto pairs = static_cast<std::size_t>(rule_.pairs),
             hops = static_cast<std::size_t>(rule_.hops);
  std::vector<std::int16_t> slots;
  draw_distinct(draws, 0, rule_.bindings(), rule_.bindings(), slots);
  bindings_.resize(slots.size());
  for (std::size_t i = 0; i < pairs; ++i) {
    const auto own = slots.begin() + static_cast<std::ptrdiff_t>(i * hops);
    std::sort(own, own + static_cast<std::ptrdiff_t>(hops));
    for (std::size_t hop = 0; hop < hops; ++hop) {
      const std::int16_t to = hop + 1 < hops ? keys_[(hop + 1) * pairs + i] : values_[i];
      bindings_[static_cast<std::size_t>(own[static_cast<std::ptrdiff_t>(hop)])] = {
          keys_[hop * pairs + i], -1, to, i};
    }
  }
}

void RecallWriter::draw_passes(SequenceDraws& draws) {
  std::vector<std::int16_t> order;
  for (std::int64_t pass = 0; pass < rule_.passes; ++pass) {
    draw_distinct(draws, 0, rule_.pairs, rule_.pairs, order);
    for (const std::int16_t each : order) {
      const auto pair = static_cast<std::size_t>(each);
      bindings_.push_back({keys_[pair], -1, values_[pair], pair});
    }
  }
}

// Some keys once more, each with another value than it has.
void RecallWriter::draw_updates(SequenceDraws& draws) {
  std::vector<std::int16_t> again;
  draw_distinct(draws, 0, rule_.pairs, rule_.updates, again);
  for (const std::int16_t each : again) {
    const auto pair = static_cast<std::size_t>(each);
    std::int16_t& value = values_[pair];
    const auto drawn =
        static_cast<std::int16_t>(rule_.first_value() + draws.below(rule_.values() - 1));
    value = static_cast<std::int16_t>(drawn + (drawn >= value ? 1 : 0));
    bindings_.push_back({keys_[pair], -1, value, pair});
  }
}

// Of key i, in the order of keys.
void RecallWriter::place_queries(SequenceDraws& draws, std::vector<std::int64_t>& places) {
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
  for (std::int64_t& place : places) {
    place = rule_.stride() * (rule_.bindings() + place) + rule_.key_tokens() - 1;
  }
}

void RecallWriter::write(const SequenceRow& row) {
  SequenceDraws draws(row.key);
  draw_bindings(draws);
  std::int16_t* x = row.x;
  std::fill(x, x + rule_.tokens, kFree);
  std::int64_t begin = 0;
  queries_.clear();
  if (rule_.asks_all) {
    place_queries(draws, places_);
    for (std::size_t i = 0; i < places_.size(); ++i) queries_.emplace_back(places_[i], i);
  } else {
    const std::int64_t room = rule_.tokens - 1 - 2 * rule_.bindings();
    begin = rule_.depth < 0 ? draws.below(room + 1)
                            : std::llround(rule_.depth * static_cast<double>(room));
    queries_.emplace_back(rule_.tokens - 1, static_cast<std::size_t>(draws.below(rule_.pairs)));
  }
  sources_.resize(values_.size());
  for (const Binding& each : bindings_) {
    if (!rule_.stacked) x[begin++] = each.key;
    if (each.second >= 0) x[begin++] = each.second;
    sources_[each.of] = static_cast<std::int16_t>(begin);
    const std::int64_t beside = rule_.stacked ? each.key * rule_.side() : 0;
    x[begin++] = static_cast<std::int16_t>(beside + each.value);
  }
  std::sort(queries_.begin(), queries_.end());
  for (std::size_t q = 0; q < queries_.size(); ++q) {
    const auto [place, pair] = queries_[q];
    if (rule_.compound) x[place - 1] = keys_[pair];
    x[place] = query_token(pair);
    row.asked[q] = static_cast<std::int16_t>(place);
    row.answers[q] = values_[pair];
    row.sources[q] = sources_[pair];
  }
  fill(draws, x);
}

std::int16_t RecallWriter::query_token(std::size_t pair) const {
  if (rule_.compound) return seconds_[pair];
  if (!rule_.stacked) return keys_[pair];
  return static_cast<std::int16_t>(keys_[pair] * rule_.side());
}

void RecallWriter::fill(SequenceDraws& draws, std::int16_t* x) {
  const auto mark = [&](char as) {
    for (const std::int16_t each : keys_) is_key_[static_cast<std::size_t>(each)] = as;
    for (const std::int16_t each : seconds_) is_key_[static_cast<std::size_t>(each)] = as;
  };
  if (rule_.filler == SequenceFiller::kUnbound) mark(1);
  const std::int64_t side = rule_.side();
  for (std::int64_t t = 0; t < rule_.tokens; ++t) {
    if (x[t] != kFree) continue;
    x[t] = 0;
    if (rule_.filler == SequenceFiller::kNone) continue;
    do {
      x[t] = static_cast<std::int16_t>(draws.below(rule_.vocabulary));
    } while (is_key_[static_cast<std::size_t>(rule_.stacked ? x[t] / side : x[t])] != 0);
  }
  mark(0);
}

}  // namespace tandem
