// This index says where the connections of one layer of one replica are: it has the two orders of
// kernels/spmm, with indices of 16 bits where inputs and outputs allow it. Positions are not kept,
// because they follow from it.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "kernels/spmm/spmm.h"

namespace tandem {

class SparseIndex {
 public:
  SparseIndex() = default;
  // `positions` are ascending and below inputs x outputs.
  SparseIndex(std::int64_t inputs, std::int64_t outputs,
              const std::vector<std::int64_t>& positions);

  std::int64_t count() const { return count_; }
  std::vector<std::int64_t> positions() const;             // ascending
  std::vector<std::int64_t> fan_in() const;                // [outputs]
  std::vector<std::int64_t> outputs_of_positions() const;  // [count], the unit of each
  // Returns [count] numbers, which kernels::reorder needs.
  const std::uint32_t* place() const { return place_.data(); }

  // Calls run(const kernels::SparsePattern<I>&).
  template <class Run>
  void visit(const Run& run) const {
    std::visit([&](const auto& units) { run(pattern(units)); }, units_);
  }

 private:
  template <class I>
  struct Units {
    std::vector<I> output_of, input_of;  // [count]
  };

  template <class I>
  kernels::SparsePattern<I> pattern(const Units<I>& units) const {
    return {inputs_,
            outputs_,
            count_,
            by_input_.data(),
            units.output_of.data(),
            by_output_.data(),
            units.input_of.data(),
            place_.data()};
  }
  template <class I>
  void build(const std::vector<std::int64_t>& positions);

  std::int64_t inputs_ = 0, outputs_ = 0, count_ = 0;
  std::vector<std::int64_t> by_input_ = {0}, by_output_ = {0};
  std::vector<std::uint32_t> place_;
  std::variant<Units<std::uint16_t>, Units<std::uint32_t>> units_;
};

}  // namespace tandem
