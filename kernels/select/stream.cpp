// The buffer holds scores and positions; what may still be wanted is appended by the sieve of
// select_top, and select_top's marks tell what a cut leaves.
#include "kernels/select/stream.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "kernels/simd_clones.h"

namespace tandem {

using namespace selecting;

namespace {

TANDEM_SIMD_CLONES void count_up(std::int64_t first, std::int64_t n, std::int64_t* positions) {
  for (std::int64_t i = 0; i < n; ++i) positions[i] = first + i;
}

std::uint64_t* raw(std::int64_t* positions) { return reinterpret_cast<std::uint64_t*>(positions); }
std::uint32_t* raw(float* scores) { return reinterpret_cast<std::uint32_t*>(scores); }
std::uint64_t* raw(double* scores) { return reinterpret_cast<std::uint64_t*>(scores); }

}  // namespace

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
  scores_.reserve(room + kAppendSlack);
  positions_.reserve(room + kAppendSlack);
  for (std::int64_t start = 0; start < n; start += kBlock) {
    const std::int64_t size = std::min(kBlock, n - start);
    if (size_ + size > room) cut();
    add_block(first_position + start, scores + start, eligible ? eligible + start : nullptr, size);
  }
  return kSelectDone;
}

template <class T>
void TopStream<T>::add_block(std::int64_t first_position, const T* scores,
                             const std::uint8_t* eligible, std::int64_t n) {
  T* const to = scores_.data() + size_;
  std::int64_t* const positions = positions_.data() + size_;
  if (size_ > 0 && positions[-1] >= first_position) sorted_ = false;
  const bool ties_may_win = first_position < worst_position_;
  const bool all = !has_worst_ || (ties_may_win && worst_key_ == 0);
  std::int64_t added = 0;
  if (all && eligible == nullptr) {
    std::copy(scores, scores + n, to);
    count_up(first_position, n, positions);
    added = n;
  } else if (all) {
    for (std::int64_t i = 0; i < n; ++i) {
      to[added] = scores[i];
      positions[added] = first_position + i;
      added += eligible[i] != 0;
    }
  } else {
    std::uint64_t between[kBlock / 64], above[kBlock / 64];
    // The two zeros take two places of the order, and one key.
    const KeyOf<T> below = worst_key_ == kSignBit<T> ? worst_key_ - 2 : worst_key_ - 1;
    const KeyOf<T> low = ties_may_win ? below : worst_key_;
    const auto sieve = sieve_of_keys<T>(low, kHighestNumber<T> + 1, largest_);
    split(scores, eligible, n, sieve, between, above);
    added = append(scores, between, n, first_position, raw(to), positions);
  }
  size_ += added;
}

// Among equal scores an earlier place in the buffer is a smaller position here.
template <class T>
bool TopStream<T>::mark_sorted(KeyOf<T>* worst) {
  std::uint64_t* const marks = marks_.reserve((size_ + kBlock) / 64);
  return sorted_ && mark_top(scores_.data(), size_, k_, largest_, marks, worst);
}

template <class T>
void TopStream<T>::cut() {
  if (size_ <= k_) return;
  KeyOf<T> worst;
  if (mark_sorted(&worst)) {
    compact(raw(scores_.data()), marks_.data(), size_, raw(scores_.data()));
    size_ = compact(raw(positions_.data()), marks_.data(), size_, raw(positions_.data()));
    worst_key_ = worst;
    worst_position_ = positions_.data()[size_ - 1];  // or before it
    has_worst_ = true;
    return;
  }
  cut_by_sorting();
}

template <class T>
void TopStream<T>::cut_by_sorting() {
  const auto flip = flip_of<T>(largest_);
  std::vector<KeyOf<T>> keys(raw(scores_.data()), raw(scores_.data()) + size_);
  bits_to_keys(keys.data(), size_, flip);
  const auto kth = kth_largest(keys.data(), size_, k_);
  std::vector<std::int64_t> tied;
  for (std::int64_t i = 0; i < size_; ++i) {
    if (keys[i] == kth.key) tied.push_back(positions_.data()[i]);
  }
  const auto last = tied.begin() + (k_ - kth.above - 1);
  if (!std::is_sorted(tied.begin(), tied.end())) std::nth_element(tied.begin(), last, tied.end());
  worst_key_ = kth.key;
  worst_position_ = *last;
  has_worst_ = true;
  std::int64_t kept = 0;
  for (std::int64_t i = 0; i < size_; ++i) {
    const std::int64_t position = positions_.data()[i];
    scores_.data()[kept] = scores_.data()[i];
    positions_.data()[kept] = position;
    kept += (keys[i] > kth.key) | ((keys[i] == kth.key) & (position <= worst_position_));
  }
  size_ = kept;
}

template <class T>
int TopStream<T>::finish(std::vector<std::int64_t>& positions) {
  if (k_ < 0) return kSelectBadArguments;
  if (size_ < k_) return kSelectTooFew;
  KeyOf<T> worst;
  if (size_ > k_ && mark_sorted(&worst)) {
    positions.resize(static_cast<std::size_t>(k_ + kAppendSlack));
    compact(raw(positions_.data()), marks_.data(), size_, raw(positions.data()));
    positions.resize(static_cast<std::size_t>(k_));
  } else {
    cut();
    positions.assign(positions_.data(), positions_.data() + size_);
    if (!sorted_) std::sort(positions.begin(), positions.end());
  }
  size_ = 0;
  sorted_ = true;
  has_worst_ = false;
  worst_position_ = 0;
  return kSelectDone;
}

template class TopStream<float>;
template class TopStream<double>;

}  // namespace tandem
