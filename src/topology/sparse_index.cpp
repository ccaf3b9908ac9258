#include "topology/sparse_index.h"

#include <limits>
#include <stdexcept>

namespace tandem {

template <class I>
void SparseIndex::build(const std::vector<std::int64_t>& positions) {
  const auto count = static_cast<std::size_t>(count_);
  Units<I> units{std::vector<I>(count), std::vector<I>(count)};
  kernels::SparsePattern<I> pattern;
  const int error =
      kernels::build_pattern<I>(positions.data(), count_, inputs_, outputs_,
                                {by_input_.data(), units.output_of.data(), by_output_.data(),
                                 units.input_of.data(), place_.data()},
                                &pattern);
  if (error != kernels::kSpmmDone) {
    throw std::logic_error("positions of a sparse layer are not ascending and inside the layer");
  }
  units_ = std::move(units);
}

SparseIndex::SparseIndex(std::int64_t inputs, std::int64_t outputs,
                         const std::vector<std::int64_t>& positions)
    : inputs_(inputs),
      outputs_(outputs),
      count_(static_cast<std::int64_t>(positions.size())),
      by_input_(static_cast<std::size_t>(inputs + 1)),
      by_output_(static_cast<std::size_t>(outputs + 1)),
      place_(positions.size()) {
  constexpr std::int64_t kShort = std::int64_t{std::numeric_limits<std::uint16_t>::max()} + 1;
  if (inputs <= kShort && outputs <= kShort) {
    build<std::uint16_t>(positions);
  } else {
    build<std::uint32_t>(positions);
  }
}

std::vector<std::int64_t> SparseIndex::positions() const {
  std::vector<std::int64_t> positions(static_cast<std::size_t>(count_));
  visit([&](const auto& pattern) {
    for (std::int64_t i = 0; i < inputs_; ++i) {
      for (std::int64_t e = pattern.by_input[i]; e < pattern.by_input[i + 1]; ++e) {
        positions[static_cast<std::size_t>(e)] = i * outputs_ + pattern.output_of[e];
      }
    }
  });
  return positions;
}

std::vector<std::int64_t> SparseIndex::fan_in() const {
  std::vector<std::int64_t> counts;
  for (std::int64_t o = 0; o < outputs_; ++o) {
    counts.push_back(by_output_[static_cast<std::size_t>(o + 1)] -
                     by_output_[static_cast<std::size_t>(o)]);
  }
  return counts;
}

std::vector<std::int64_t> SparseIndex::outputs_of_positions() const {
  std::vector<std::int64_t> units(static_cast<std::size_t>(count_));
  visit([&](const auto& pattern) { units.assign(pattern.output_of, pattern.output_of + count_); });
  return units;
}

}  // namespace tandem
