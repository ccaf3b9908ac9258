// Bits are counted word by word, and lists by merging them.
#include "topology/active_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>

#include "core/error.h"
#include "core/philox.h"
#include "data/tensor.h"

namespace tandem {
namespace {

enum Form : std::int64_t { kBits = 0, kList = 1 };  // first number of what save() gives

constexpr std::size_t kWord = sizeof(std::uint64_t);

std::size_t words_of(std::size_t bytes) { return (bytes + kWord - 1) / kWord; }

std::uint64_t word_at(const std::vector<std::uint8_t>& bits, std::size_t word) {
  std::uint64_t value = 0;
  std::memcpy(&value, bits.data() + word * kWord, std::min(kWord, bits.size() - word * kWord));
  return value;
}

void set_word(std::vector<std::uint8_t>& bits, std::size_t word, std::uint64_t value) {
  std::memcpy(bits.data() + word * kWord, &value, std::min(kWord, bits.size() - word * kWord));
}

// Calls visit(position) for each bit that is set, in order.
template <class Visit>
void for_each_bit(const std::vector<std::uint8_t>& bits, const Visit& visit) {
  for (std::size_t w = 0; w < words_of(bits.size()); ++w) {
    for (std::uint64_t left = word_at(bits, w); left != 0; left &= left - 1) {
      visit(static_cast<std::int64_t>(64 * w) + std::countr_zero(left));
    }
  }
}

template <class Combine>
std::int64_t count_words(const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& b,
                         const Combine& combine) {
  TORCH_INTERNAL_ASSERT(a.size() == b.size(), "active sets of layers of different sizes");
  std::int64_t count = 0;
  for (std::size_t w = 0; w < words_of(a.size()); ++w) {
    count += std::popcount(combine(word_at(a, w), word_at(b, w)));
  }
  return count;
}

template <class Combine>
std::vector<std::uint8_t> combine_words(const std::vector<std::uint8_t>& a,
                                        const std::vector<std::uint8_t>& b,
                                        const Combine& combine) {
  TORCH_INTERNAL_ASSERT(a.size() == b.size(), "active sets of layers of different sizes");
  std::vector<std::uint8_t> bits(a.size());
  for (std::size_t w = 0; w < words_of(a.size()); ++w) {
    set_word(bits, w, combine(word_at(a, w), word_at(b, w)));
  }
  return bits;
}

std::int64_t common_of(const std::vector<std::int64_t>& a, const std::vector<std::int64_t>& b) {
  std::int64_t count = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const std::int64_t mine = a[i], other = b[j];
    count += mine == other;
    i += mine <= other;
    j += other <= mine;
  }
  return count;
}

[[noreturn]] void refuse(const std::string& found) {
  throw StoreError("active positions in a checkpoint: " + found +
                   "; use the program that wrote it, or train anew");
}

}  // namespace

ActiveSet ActiveSet::of_bits(std::vector<std::uint8_t> bits) {
  ActiveSet set;
  set.known_ = true;
  set.bits_ = std::move(bits);
  return set;
}

ActiveSet ActiveSet::of_positions(std::vector<std::int64_t> ascending) {
  ActiveSet set;
  set.known_ = set.listed_ = true;
  set.positions_ = std::move(ascending);
  return set;
}

std::int64_t ActiveSet::count() const {
  if (listed_) return static_cast<std::int64_t>(positions_.size());
  std::int64_t count = 0;
  for (std::size_t w = 0; w < words_of(bits_.size()); ++w)
    count += std::popcount(word_at(bits_, w));
  return count;
}

std::vector<std::int64_t> ActiveSet::positions() const {
  if (listed_) return positions_;
  std::vector<std::int64_t> all;
  all.reserve(static_cast<std::size_t>(count()));
  for_each_bit(bits_, [&](std::int64_t position) { all.push_back(position); });
  return all;
}

std::string ActiveSet::hash() const {
  std::uint64_t sum = 0;
  const auto add = [&](std::int64_t position) {
    sum += mix64(static_cast<std::uint64_t>(position));
  };
  if (listed_) {
    for (const std::int64_t position : positions_) add(position);
  } else {
    for_each_bit(bits_, add);
  }
  return fmt::format("{:016x}", sum);
}

std::int64_t ActiveSet::count_common(const ActiveSet& other) const {
  if (!listed_ && !other.listed_) {
    return count_words(bits_, other.bits_, [](std::uint64_t a, std::uint64_t b) { return a & b; });
  }
  if (listed_ && other.listed_) return common_of(positions_, other.positions_);
  return common_of(positions(), other.positions());
}

std::int64_t ActiveSet::count_without(const ActiveSet& other) const {
  if (!listed_ && !other.listed_) {
    return count_words(bits_, other.bits_, [](std::uint64_t a, std::uint64_t b) { return a & ~b; });
  }
  return count() - count_common(other);
}

ActiveSet ActiveSet::united(const ActiveSet& other) const {
  if (!listed_ && !other.listed_) {
    return of_bits(
        combine_words(bits_, other.bits_, [](std::uint64_t a, std::uint64_t b) { return a | b; }));
  }
  const std::vector<std::int64_t> a = positions(), b = other.positions();
  std::vector<std::int64_t> all;
  all.reserve(std::max(a.size(), b.size()));
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(all));
  return of_positions(std::move(all));
}

ActiveSet ActiveSet::without(const ActiveSet& other) const {
  if (!listed_ && !other.listed_) {
    return of_bits(
        combine_words(bits_, other.bits_, [](std::uint64_t a, std::uint64_t b) { return a & ~b; }));
  }
  const std::vector<std::int64_t> a = positions(), b = other.positions();
  std::vector<std::int64_t> left;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(left));
  return of_positions(std::move(left));
}

// An unknown set is saved as nothing, a list as kList and its positions, and bits as kBits, the
// number of bytes and the words.
std::vector<std::int64_t> ActiveSet::save() const {
  if (!known_) return {};
  std::vector<std::int64_t> saved;
  if (listed_) {
    saved.reserve(positions_.size() + 1);
    saved.push_back(kList);
    saved.insert(saved.end(), positions_.begin(), positions_.end());
    return saved;
  }
  const std::size_t words = words_of(bits_.size());
  saved.reserve(words + 2);
  saved = {kBits, static_cast<std::int64_t>(bits_.size())};
  for (std::size_t w = 0; w < words; ++w) {
    saved.push_back(static_cast<std::int64_t>(word_at(bits_, w)));
  }
  return saved;
}

ActiveSet ActiveSet::load(const std::vector<std::int64_t>& saved) {
  if (saved.empty()) return {};
  if (saved[0] == kList) {
    std::vector<std::int64_t> positions(saved.begin() + 1, saved.end());
    const bool ascends = std::adjacent_find(positions.begin(), positions.end(),
                                            std::greater_equal<>()) == positions.end();
    if (!ascends || (!positions.empty() && positions[0] < 0)) {
      refuse("expected ascending positions");
    }
    return of_positions(std::move(positions));
  }
  if (saved[0] != kBits) refuse(fmt::format("expected form 0 or 1, found {}", saved[0]));
  const std::size_t words = saved.size() < 2 ? 0 : saved.size() - 2;
  const std::int64_t bytes = saved.size() < 2 ? -1 : saved[1];
  if (bytes < 0 || bytes > static_cast<std::int64_t>(words * kWord) ||
      words_of(static_cast<std::size_t>(bytes)) != words) {
    refuse(fmt::format("{} bytes of bits in {} words", bytes, words));
  }
  std::vector<std::uint8_t> bits(static_cast<std::size_t>(bytes));
  for (std::size_t w = 0; w < words; ++w) {
    set_word(bits, w, static_cast<std::uint64_t>(saved[w + 2]));
    if (word_at(bits, w) != static_cast<std::uint64_t>(saved[w + 2])) {
      refuse(fmt::format("bits beyond {} bytes", bytes));
    }
  }
  return of_bits(std::move(bits));
}

}  // namespace tandem
