// Selection in one pass over the scores. A sample of n^(2/3) scores gives two keys, low and high,
// between which the k-th lies (all but surely); one pass flags what is above and collects what is
// between, 1 or 2 per cent at n = 1e7; the k-th among those settles their flags. The keys low and
// high themselves are left out of the between, so that a value that many scores share is not
// collected: where the k-th is one of the two, its ties are counted off from the front (low) or
// taken back from the end (high). Nothing is believed: where the numbers do not come out, radix
// selection on the leading bits (two reads and the marking) does it again. After Floyd and Rivest
// (CACM 1975).
#include "kernels/select/select.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <vector>

#include "core/philox.h"
#include "kernels/select/keys.h"
#include "kernels/select/sieve.h"
#include "kernels/simd_clones.h"

namespace tandem {
namespace {

using namespace selecting;

constexpr std::int64_t kSampledFrom = 2048;  // positions; below, radix selection is as fast
constexpr std::int64_t kKeptScratch = std::int64_t{1} << 22;  // entries that a thread may keep
constexpr std::int64_t kPastCaches = std::int64_t{1} << 22;   // flags that no cache should keep
constexpr double kDeviations = 3.5;  // half the bracket: missed once in 2,000 selections

template <class T>
struct Problem {
  const T* scores;
  const std::uint8_t* eligible;
  std::int64_t n, candidates, k;  // candidates: eligible positions
  KeyOf<T> flip;
  std::uint8_t* chosen;

  const std::uint8_t* eligible_at(std::int64_t i) const {
    return eligible ? eligible + i : nullptr;
  }
};

template <class T>
inline __attribute__((always_inline)) void mark_loop(const T* __restrict__ scores,
                                                     const std::uint8_t* __restrict__ eligible,
                                                     std::int64_t n, KeyOf<T> flip, KeyOf<T> lowest,
                                                     std::uint8_t* __restrict__ chosen) {
  if (eligible == nullptr) {
    for (std::int64_t i = 0; i < n; ++i) chosen[i] = key_of(scores[i], flip) >= lowest;
  } else {
    for (std::int64_t i = 0; i < n; ++i) {
      chosen[i] = (key_of(scores[i], flip) >= lowest) & (eligible[i] != 0);
    }
  }
}

TANDEM_SIMD_CLONES void mark(const float* scores, const std::uint8_t* eligible, std::int64_t n,
                             std::uint32_t flip, std::uint32_t lowest, std::uint8_t* chosen) {
  mark_loop(scores, eligible, n, flip, lowest, chosen);
}
TANDEM_SIMD_CLONES void mark(const double* scores, const std::uint8_t* eligible, std::int64_t n,
                             std::uint64_t flip, std::uint64_t lowest, std::uint8_t* chosen) {
  mark_loop(scores, eligible, n, flip, lowest, chosen);
}

void flip(const std::uint8_t* equal, std::int64_t n, std::uint8_t* flags) {
  for (std::int64_t i = 0; i < n; ++i) flags[i] ^= equal[i];
}
void flip(const std::uint8_t* equal, std::int64_t n, std::uint64_t* words) {
  for (std::int64_t i = 0; i < n; ++i) words[i / 64] ^= std::uint64_t{equal[i]} << (i % 64);
}

// Sets the flag of the first `count` positions of a key (last = false) or clears that of the last
// ones; every position of the key has the other flag before. Returns how many were not found.
// flags: bytes, or words of kPerFlag bits.
template <int kPerFlag, class T, class Flag>
std::int64_t change_ties(const Problem<T>& p, KeyOf<T> key, bool last, std::int64_t count,
                         Flag* flags) {
  std::uint8_t equal[kBlock];
  const std::int64_t blocks = (p.n + kBlock - 1) / kBlock;
  for (std::int64_t b = 0; b < blocks && count > 0; ++b) {
    const std::int64_t start = (last ? blocks - 1 - b : b) * kBlock;
    const std::int64_t n = std::min(kBlock, p.n - start);
    find_equal(p.scores + start, p.eligible_at(start), n, p.flip, key, equal);
    std::int64_t excess = std::max<std::int64_t>(count_ones(equal, n) - count, 0);
    count -= count_ones(equal, n) - excess;
    for (std::int64_t i = last ? 0 : n - 1; excess > 0; i += last ? 1 : -1) {
      excess -= equal[i];
      equal[i] = 0;
    }
    flip(equal, n, flags + start / kPerFlag);
  }
  return count;
}

template <class T>
std::vector<std::int64_t> count_buckets(const Problem<T>& p) {
  constexpr int kShift = Layout<T>::kBits - Layout<T>::kBucketBits;
  constexpr std::size_t kBuckets = std::size_t{1} << Layout<T>::kBucketBits;
  std::vector<std::int64_t> counts(kBuckets + 1, 0);  // the last one: not eligible
  for (std::int64_t i = 0; i < p.n; ++i) {
    const std::size_t bucket = key_of(p.scores[i], p.flip) >> kShift;
    ++counts[p.eligible == nullptr || p.eligible[i] != 0 ? bucket : kBuckets];
  }
  return counts;
}

// One pass counts the keys by their leading bits; one gathers the keys of the bucket that holds the
// k-th, a few per cent of the data, in which nth_element finds it; one marks. k is in
// [1, candidates].
template <class T>
void select_by_radix(const Problem<T>& p) {
  using Key = KeyOf<T>;
  constexpr int kShift = Layout<T>::kBits - Layout<T>::kBucketBits;
  const auto counts = count_buckets(p);
  std::size_t bucket = counts.size() - 2;
  std::int64_t needed = p.k;
  while (counts[bucket] < needed) needed -= counts[bucket--];
  if (counts[bucket] == needed) {
    return mark(p.scores, p.eligible, p.n, p.flip, static_cast<Key>(bucket) << kShift, p.chosen);
  }
  std::vector<Key> keys(static_cast<std::size_t>(counts[bucket]) + 1);  // one to write past
  std::size_t found = 0;
  for (std::int64_t i = 0; i < p.n; ++i) {
    const Key key = key_of(p.scores[i], p.flip);
    keys[found] = key;
    found += ((key >> kShift) == bucket) & (p.eligible == nullptr || p.eligible[i] != 0);
  }
  keys.pop_back();
  const auto kth = keys.begin() + (needed - 1);
  std::nth_element(keys.begin(), kth, keys.end(), std::greater<>());
  const Key lowest = *kth;
  needed -= std::count_if(keys.begin(), keys.end(), [&](Key x) { return x > lowest; });
  // The key of infinity is below the largest integer, so that lowest + 1 does not wrap.
  mark(p.scores, p.eligible, p.n, p.flip, lowest + 1, p.chosen);
  change_ties<1>(p, lowest, false, needed, p.chosen);
}

template <class T>
struct Kept {
  Scratch<KeyOf<T>> keys;
  Scratch<std::int64_t> positions;
};
template <class T>
struct ReleaseLarge {
  Kept<T>& kept;

  ~ReleaseLarge() {
    if (kept.keys.size() > kKeptScratch) kept.keys.release();
    if (kept.positions.size() > kKeptScratch) kept.positions.release();
  }
};

// The sample: about n^(2/3) scores, one from each stretch; of many scores 2 n^(2/3), in lines of
// the cache, since a line costs as much as a score.
template <class T>
struct Sample {
  static constexpr std::int64_t kMany = std::int64_t{1} << 18;
  std::int64_t line, stretch;

  explicit Sample(std::int64_t n) {
    const auto root = std::cbrt(static_cast<double>(n));
    line = n < kMany ? 1 : static_cast<std::int64_t>(64 / sizeof(T));
    stretch = line * (static_cast<std::int64_t>(n < kMany ? root : root / 2) + 1);
  }
  std::int64_t at(std::int64_t s) const {
    const std::uint64_t draw = mix64(static_cast<std::uint64_t>(s)) >> 32;
    const std::uint64_t lines = static_cast<std::uint64_t>(stretch / line);
    return s * stretch + static_cast<std::int64_t>((draw * lines) >> 32) * line;
  }
};

// Keys of the eligible ones, and where those of each stretch end.
template <class T>
std::int64_t sample_keys(const Problem<T>& p, const Sample<T>& sample, Kept<T>& kept) {
  constexpr std::int64_t kAhead = 64;  // stretches whose scores are fetched together
  const std::int64_t stretches = p.n / sample.stretch;
  KeyOf<T>* keys = kept.keys.reserve(stretches * sample.line + 1);
  std::int64_t* ends = kept.positions.reserve(stretches);
  std::int64_t found = 0;
  for (std::int64_t start = 0; start < stretches; start += kAhead) {
    const std::int64_t size = std::min(kAhead, stretches - start);
    std::int64_t at[kAhead];
    for (std::int64_t s = 0; s < size; ++s) {
      at[s] = sample.at(start + s);
      __builtin_prefetch(p.scores + at[s]);
      if (p.eligible != nullptr) __builtin_prefetch(p.eligible + at[s]);
    }
    for (std::int64_t s = 0; s < size; ++s) {
      const T* const scores = p.scores + at[s];
      for (std::int64_t i = 0; p.eligible != nullptr && i < sample.line; ++i) {
        keys[found] = key_of(scores[i], p.flip);
        found += p.eligible[at[s] + i] != 0;
      }
      for (std::int64_t i = 0; p.eligible == nullptr && i < sample.line; ++i) {
        keys[found++] = std::bit_cast<KeyOf<T>>(scores[i]);
      }
      ends[start + s] = found;
    }
  }
  if (p.eligible == nullptr) bits_to_keys(keys, found, p.flip);
  return found;
}

template <class T>
struct Bracket {
  KeyOf<T> low, high;  // low < high
  bool in_halves;      // the upper halves of the keys tell well enough what is between
  std::int64_t room;   // for this many between
};

template <class T>
Bracket<T> find_bracket(const Problem<T>& p, Kept<T>& kept) {
  using Key = KeyOf<T>;
  const Sample<T> sample(p.n);
  const std::int64_t m = sample_keys(p, sample, kept);
  const Key* const keys = kept.keys.data();
  const Ranks<Key> ranks(keys, m);
  const double share = static_cast<double>(p.k) / static_cast<double>(p.candidates);
  const double rank = share * static_cast<double>(m);
  double sigma = std::sqrt(static_cast<double>(m) * share * (1 - share));
  if (m > 0 && sample.line > 1) {
    const auto near = std::clamp<std::int64_t>(std::llround(rank), 1, m);
    const double shown =
        rank_deviation(keys, kept.positions.data(), p.n / sample.stretch, ranks.rough(near), share);
    sigma = std::max(sigma, shown);
  }
  const double margin = kDeviations * sigma + kDeviations;
  const auto low_rank = static_cast<std::int64_t>(std::ceil(rank + margin));
  const auto high_rank = static_cast<std::int64_t>(std::floor(rank - margin));
  Key low = 0, high = kHighestNumber<T> + 1;
  if (m > 0) {
    const auto two = ranks.exact(std::min(low_rank, m), std::max<std::int64_t>(high_rank, 1));
    if (low_rank <= m) low = two.smaller;
    if (high_rank >= 1) high = two.larger;
  }
  high = std::max(high, Key(low + 1));

  const std::int64_t width = std::min(low_rank, m) - std::max<std::int64_t>(high_rank, 0) + 1;
  const Halves<T> halves(low, high);
  const std::int64_t covered = count_within(keys, m, halves.lowest(), halves.highest());
  const bool in_halves = low != 0 && covered <= 2 * width + 16;
  const double most = 1.25 * static_cast<double>(in_halves ? covered : width) + 8;
  const double room = static_cast<double>(p.candidates) * most / static_cast<double>(m + 1);
  return {
      low, high, in_halves,
      room < static_cast<double>(p.candidates) ? static_cast<std::int64_t>(room) : p.candidates};
}

struct Split {
  std::int64_t above, between;
};
// Marks what is above and collects what is between, of which at most room + kBlock.
template <class T, class Unit>
Split split_all(const Problem<T>& p, const Sieve<Unit>& sieve, std::int64_t room, KeyOf<T>* bits,
                std::int64_t* positions, std::uint64_t* marks) {
  std::uint64_t between[kBlock / 64];
  Split found{0, 0};
  for (std::int64_t start = 0; start < p.n && found.between <= room; start += kBlock) {
    const std::int64_t n = std::min(kBlock, p.n - start);
    const T* scores = p.scores + start;
    found.above += split(scores, p.eligible_at(start), n, sieve, between, marks + start / 64);
    found.between +=
        append(scores, between, n, start, bits + found.between, positions + found.between);
  }
  return found;
}

// Marks the first `count` of n keys by (key, position). Returns the last one's key, 0 where that is
// NaN, of which others may not be among these.
template <class Key>
Key mark_between(const Key* keys, const std::int64_t* positions, std::int64_t n, std::int64_t count,
                 std::uint64_t* marks) {
  const auto kth = kth_largest(keys, n, count);
  std::int64_t ties = count - kth.above;
  for (std::int64_t i = 0; i < n; ++i) {
    const bool tie = (keys[i] == kth.key) & (ties > 0);
    ties -= tie;
    const std::uint64_t mark = (keys[i] > kth.key) | tie;
    marks[positions[i] / 64] |= mark << (positions[i] % 64);
  }
  return kth.key;
}

// The bits of what is chosen, and a key below which none is; false where it could not, with any
// bits in `marks`.
template <class T>
bool mark_in_bracket(const Problem<T>& p, std::uint64_t* marks, KeyOf<T>* worst) {
  thread_local Kept<T> kept;
  const auto bracket = find_bracket(p, kept);
  if (bracket.room > p.n / 4 + kBlock) return false;
  KeyOf<T>* const keys = kept.keys.reserve(bracket.room + kBlock + kAppendSlack);
  std::int64_t* const positions = kept.positions.reserve(bracket.room + kBlock + kAppendSlack);
  const ReleaseLarge<T> at_end{kept};
  const bool largest = p.flip == 0;
  const Halves<T> halves(bracket.low, bracket.high);
  const auto [above, between] =
      bracket.in_halves ? split_all(p, halves.sieve(largest), bracket.room, keys, positions, marks)
                        : split_all(p, sieve_of_keys<T>(bracket.low, bracket.high, largest),
                                    bracket.room, keys, positions, marks);
  if (between > bracket.room) return false;
  const std::int64_t left = p.k - above;
  *worst = bracket.in_halves ? halves.highest() : bracket.high;
  if (left == 0) return true;
  if (left > 0 && left <= between) {
    bits_to_keys(keys, between, p.flip);
    *worst = mark_between(keys, positions, between, left, marks);
    return *worst != 0;
  }
  if (bracket.in_halves) return false;
  if (left < 0) return change_ties<64>(p, bracket.high, true, -left, marks) == 0;
  *worst = bracket.low;
  for (std::int64_t i = 0; i < between; ++i) {
    marks[positions[i] / 64] |= std::uint64_t{1} << (positions[i] % 64);
  }
  return change_ties<64>(p, bracket.low, false, left - between, marks) == 0;
}

// Returns false where it could not; `chosen` is then untouched.
template <class T>
bool select_in_bracket(const Problem<T>& p) {
  thread_local Scratch<std::uint64_t> marks;
  KeyOf<T> worst;
  const bool done = mark_in_bracket(p, marks.reserve((p.n + kBlock) / 64), &worst);
  if (done) expand(marks.data(), p.n, p.n >= kPastCaches, p.chosen);
  if (marks.size() > kKeptScratch) marks.release();
  return done;
}

template <class T>
int select(const T* scores, const std::uint8_t* eligible, std::int64_t n, std::int64_t k,
           bool largest, std::uint8_t* chosen) {
  if (n < 0 || k < 0 || (n > 0 && (scores == nullptr || chosen == nullptr))) {
    return kSelectBadArguments;
  }
  if (k > n) return kSelectTooFew;
  if (k == 0) {
    std::fill(chosen, chosen + n, std::uint8_t{0});
    return kSelectDone;
  }
  const std::int64_t candidates = eligible == nullptr ? n : count_nonzero(eligible, n);
  const Problem<T> p{scores, eligible, n, candidates, k, flip_of<T>(largest), chosen};
  if (k > candidates) return kSelectTooFew;
  if (k == candidates) {
    mark(scores, eligible, n, p.flip, KeyOf<T>{0}, chosen);
  } else if (n < kSampledFrom || !select_in_bracket(p)) {
    select_by_radix(p);
  }
  return kSelectDone;
}

template <class T>
bool mark_some(const T* scores, std::int64_t n, std::int64_t k, bool largest, std::uint64_t* marks,
               KeyOf<T>* worst) {
  if (n < kSampledFrom) return false;
  const Problem<T> p{scores, nullptr, n, n, k, flip_of<T>(largest), nullptr};
  return mark_in_bracket(p, marks, worst);
}

}  // namespace

bool selecting::mark_top(const float* scores, std::int64_t n, std::int64_t k, bool largest,
                         std::uint64_t* marks, std::uint32_t* worst) {
  return mark_some(scores, n, k, largest, marks, worst);
}
bool selecting::mark_top(const double* scores, std::int64_t n, std::int64_t k, bool largest,
                         std::uint64_t* marks, std::uint64_t* worst) {
  return mark_some(scores, n, k, largest, marks, worst);
}

int select_top(const float* scores, const std::uint8_t* eligible, std::int64_t n, std::int64_t k,
               bool largest, std::uint8_t* chosen) {
  return select(scores, eligible, n, k, largest, chosen);
}
int select_top(const double* scores, const std::uint8_t* eligible, std::int64_t n, std::int64_t k,
               bool largest, std::uint8_t* chosen) {
  return select(scores, eligible, n, k, largest, chosen);
}

}  // namespace tandem
