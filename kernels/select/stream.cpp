// The buffer is filled by the sieve of select_top; a cut finds the k-th key and, among those that
// share it, the last position that may stay.
#include "kernels/select/stream.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/philox.h"

namespace tandem {

using namespace selecting;

template <class T>
TopStream<T>::TopStream(std::int64_t k, bool largest) : k_(k), largest_(largest) {}

template <class T>
int TopStream<T>::add(std::int64_t first_position, const T* scores, const std::uint8_t* eligible,
                      std::int64_t n) {
  if (k_ < 0 || first_position < 0 || n < 0 || (n > 0 && scores == nullptr)) {
    return kSelectBadArguments;
  }
  if (k_ == 0 || n == 0) return kSelectDone;
  const std::int64_t room = 2 * k_ + 2 * kBlock;  // pages that are never reached take no memory
  keys_.reserve(room + kAppendSlack);
  positions_.reserve(room + kAppendSlack);
  for (std::int64_t start = 0; start < n; start += kBlock) {
    const std::int64_t size = std::min(kBlock, n - start);
    if (size_ + size > room && !thin()) cut();
    add_block(first_position + start, scores + start, eligible ? eligible + start : nullptr, size);
  }
  return kSelectDone;
}

template <class T>
void TopStream<T>::add_block(std::int64_t first_position, const T* scores,
                             const std::uint8_t* eligible, std::int64_t n) {
  KeyOf<T>* const bits = keys_.data() + size_;
  std::int64_t* const positions = positions_.data() + size_;
  const bool ties_may_win = first_position < worst_position_;
  const bool all = !has_worst_ || (ties_may_win && worst_key_ == 0);
  std::int64_t added = 0;
  if (all && eligible == nullptr) {
    for (; added < n; ++added) {
      bits[added] = std::bit_cast<KeyOf<T>>(scores[added]);
      positions[added] = first_position + added;
    }
  } else if (all) {
    for (std::int64_t i = 0; i < n; ++i) {
      bits[added] = std::bit_cast<KeyOf<T>>(scores[i]);
      positions[added] = first_position + i;
      added += eligible[i] != 0;
    }
  } else {
    std::uint64_t between[kBlock / 64];
    // The two zeros take two places of the order, and one key.
    const KeyOf<T> below = worst_key_ == kSignBit<T> ? worst_key_ - 2 : worst_key_ - 1;
    const KeyOf<T> low = ties_may_win ? below : worst_key_;
    const auto sieve = sieve_of_keys<T>(low, kHighestNumber<T> + 1, largest_);
    split(scores, eligible, n, sieve, between, nullptr);
    added = append(scores, between, n, first_position, bits, positions);
  }
  bits_to_keys(bits, added, flip_of<T>(largest_));
  size_ += added;
}

// Keeps what is above a key, and of the key itself what is not beyond a position. Returns how many.
template <class Key>
std::int64_t compact(Key* keys, std::int64_t* positions, std::int64_t n, Key worst,
                     std::int64_t worst_position) {
  std::int64_t kept = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const Key key = keys[i];
    const std::int64_t position = positions[i];
    keys[kept] = key;
    positions[kept] = position;
    kept += (key > worst) | ((key == worst) & (position <= worst_position));
  }
  return kept;
}

// Leaves k or somewhat more, by a key that a sample gives; the count tells whether it is one that k
// keys are above. Of the key itself, nothing is needed then.
template <class T>
bool TopStream<T>::thin() {
  const KeyOf<T>* const keys = keys_.data();
  const std::int64_t stretch = static_cast<std::int64_t>(std::cbrt(static_cast<double>(size_))) + 1;
  std::vector<KeyOf<T>> sample(static_cast<std::size_t>(size_ / stretch));
  for (std::size_t s = 0; s < sample.size(); ++s) {
    const auto offset = mix64(s) % static_cast<std::uint64_t>(stretch);
    sample[s] = keys[static_cast<std::int64_t>(s) * stretch + static_cast<std::int64_t>(offset)];
  }
  const auto m = static_cast<double>(sample.size());
  const double share = static_cast<double>(k_) / static_cast<double>(size_);
  const double rank = m * share + 3.5 * std::sqrt(m * share * (1 - share)) + 3.5;
  if (rank >= m) return false;
  const KeyOf<T> worst = kth_largest(sample.data(), static_cast<std::int64_t>(sample.size()),
                                     static_cast<std::int64_t>(rank))
                             .key;
  const std::int64_t above =
      std::count_if(keys, keys + size_, [worst](KeyOf<T> key) { return key > worst; });
  if (above < k_ || above > k_ + k_ / 2 + kBlock) return false;
  worst_key_ = worst;
  worst_position_ = -1;
  has_worst_ = true;
  size_ = compact(keys_.data(), positions_.data(), size_, worst, std::int64_t{-1});
  return true;
}

template <class T>
void TopStream<T>::cut() {
  if (size_ <= k_) return;
  const auto kth = kth_largest(keys_.data(), size_, k_);
  std::vector<std::int64_t> tied;
  for (std::int64_t i = 0; i < size_; ++i) {
    if (keys_.data()[i] == kth.key) tied.push_back(positions_.data()[i]);
  }
  const auto last = tied.begin() + (k_ - kth.above - 1);
  if (!std::is_sorted(tied.begin(), tied.end())) std::nth_element(tied.begin(), last, tied.end());
  worst_key_ = kth.key;
  worst_position_ = *last;
  has_worst_ = true;
  size_ = compact(keys_.data(), positions_.data(), size_, kth.key, *last);
}

template <class T>
int TopStream<T>::finish(std::vector<std::int64_t>& positions) {
  if (k_ < 0) return kSelectBadArguments;
  if (size_ < k_) return kSelectTooFew;
  cut();
  positions.assign(positions_.data(), positions_.data() + size_);
  if (!std::is_sorted(positions.begin(), positions.end())) {
    std::sort(positions.begin(), positions.end());
  }
  size_ = 0;
  has_worst_ = false;
  worst_position_ = 0;
  return kSelectDone;
}

template class TopStream<float>;
template class TopStream<double>;

}  // namespace tandem
