// Floyd's sampling runs over a bit set or a hash set, which give the same ranks.
#include "topology/random_ranks.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

namespace tandem {
namespace {

// Floyd's algorithm: for j = n-k .. n-1 it takes a draw below j+1, or j itself where the draw is
// taken already.
template <class Taken>
void floyd(RandomStream stream, std::int64_t n, std::int64_t k, Taken&& take) {
  for (std::int64_t j = n - k; j < n; ++j) {
    const auto draw = static_cast<std::int64_t>(
        stream.below(static_cast<std::uint64_t>(j - (n - k)), static_cast<std::uint64_t>(j) + 1));
    if (!take(draw)) take(j);
  }
}

// This set holds at most `most` ranks by open addressing, with 8 to 24 bytes a rank, a third of
// what std::unordered_set takes.
class RankSet {
 public:
  explicit RankSet(std::int64_t most)
      : places_(std::bit_ceil(static_cast<std::size_t>(most + most / 2 + 1)), kFree) {}
  bool insert(std::int64_t rank) {
    const std::size_t last = places_.size() - 1;
    std::size_t at = static_cast<std::size_t>(mix64(static_cast<std::uint64_t>(rank))) & last;
    for (; places_[at] != kFree; at = (at + 1) & last) {
      if (places_[at] == rank) return false;
    }
    places_[at] = rank;
    return true;
  }

 private:
  static constexpr std::int64_t kFree = -1;
  std::vector<std::int64_t> places_;
};

}  // namespace

std::vector<std::int64_t> random_ranks(RandomStream stream, std::int64_t n, std::int64_t k) {
  std::vector<std::int64_t> ranks;
  ranks.reserve(static_cast<std::size_t>(k));
  if (n / 64 <= k) {  // a bit per rank is no longer than the result, and comes out in order
    std::vector<bool> taken(static_cast<std::size_t>(n));
    floyd(stream, n, k, [&](std::int64_t rank) {
      if (taken[rank]) return false;
      taken[rank] = true;
      return true;
    });
    for (std::int64_t rank = 0; rank < n; ++rank) {
      if (taken[rank]) ranks.push_back(rank);
    }
    return ranks;
  }
  RankSet taken(k);
  floyd(stream, n, k, [&](std::int64_t rank) {
    const bool is_new = taken.insert(rank);
    if (is_new) ranks.push_back(rank);
    return is_new;
  });
  std::sort(ranks.begin(), ranks.end());
  return ranks;
}

void mark_ranks(const std::vector<std::int64_t>& ranks, const std::uint8_t* eligible,
                std::int64_t n, std::uint8_t* chosen) {
  std::fill(chosen, chosen + n, std::uint8_t{0});
  if (eligible == nullptr) {
    for (const std::int64_t rank : ranks) chosen[rank] = 1;
    return;
  }
  std::int64_t rank = 0;
  auto next = ranks.begin();
  for (std::int64_t i = 0; i < n && next != ranks.end(); ++i) {
    if (eligible[i] == 0) continue;
    if (rank++ == *next) {
      chosen[i] = 1;
      ++next;
    }
  }
}

std::vector<std::int64_t> ranks_outside(const std::vector<std::int64_t>& ranks,
                                        const std::vector<std::int64_t>& occupied) {
  std::vector<std::int64_t> positions;
  positions.reserve(ranks.size());
  auto next = occupied.begin();
  std::int64_t before = 0;  // occupied positions below the current one
  for (const std::int64_t rank : ranks) {
    while (next != occupied.end() && *next <= rank + before) {
      ++next;
      ++before;
    }
    positions.push_back(rank + before);
  }
  return positions;
}

double uniform_at(RandomStream stream, std::int64_t position) {
  return std::max(0x1p-54, stream.uniform(static_cast<std::uint64_t>(position)));
}

double normal_at(RandomStream stream, std::int64_t position) {
  const auto i = static_cast<std::uint64_t>(position) * 2;
  const double radius = std::sqrt(-2 * std::log(1 - stream.uniform(i)));
  return radius * std::cos(2 * std::numbers::pi * stream.uniform(i + 1));
}

}  // namespace tandem
