// What varies from step to step, some steps ahead: filled on the host, uploaded as [steps,R,...]
// and read through a step counter on the device, so that a captured step needs nothing of the host.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "continual/strategy.h"
#include "kernels/update/finish_step.h"

namespace tandem {

// What the columns of the tables of examples are.
struct TableLayout {
  std::vector<std::int64_t> roles;  // the most rows of each role, the current examples' first
  bool apart = false;   // each role has columns of its own; no: a replica's rows follow one another
  bool places = false;  // with StepRows::place and enters
  std::int64_t numbers = 0;  // of the strategy's own

  std::int64_t width() const;
  std::int64_t first(std::size_t role) const;  // column, where they are apart
};

// One step's rows of the tables, on the device.
struct StepRows {
  at::Tensor numbers;   // double [R,kStepNumbers], see kernels::StepNumbers
  at::Tensor examples;  // int64 [R,W]
  at::Tensor weight;    // [R,W] 0 where an example is padding; undefined: every example counts
  // Where roles are apart: 1/n for the n rows that a replica has of the column's role, else 0.
  at::Tensor mean;           // [R,W]
  at::Tensor place, enters;  // int64 [R,W] of BatchRow, -1 where there is none
  at::Tensor strategy;       // double [R, layout's numbers], the strategy's own

  at::Tensor column(std::int64_t index) const { return numbers.select(1, index); }
};
// Column of a record's member in its table.
#define TANDEM_COLUMN(record, member) \
  (static_cast<std::int64_t>(offsetof(record, member) / sizeof(double)))
// Column of a level's number in the table of StepNumbers.
#define TANDEM_LEVEL_COLUMN(level, member)                                                      \
  ((level) == Level::kAttention ? TANDEM_COLUMN(tandem::kernels::StepNumbers, attention.member) \
                                : TANDEM_COLUMN(tandem::kernels::StepNumbers, weights.member))

// Column of a level's number in the table of ReplicaState.
#define TANDEM_LEVEL_STATE(level, member)                                                        \
  ((level) == Level::kAttention ? TANDEM_COLUMN(tandem::kernels::ReplicaState, attention.member) \
                                : TANDEM_COLUMN(tandem::kernels::ReplicaState, weights.member))

class StepTables {
 public:
  // Tables of at most `most` steps; the example `filler` stands where a replica has none.
  StepTables(std::int64_t most, std::int64_t replicas, TableLayout layout, std::int64_t filler,
             at::Device device, at::ScalarType dtype);

  std::int64_t most() const { return most_; }
  // Starts new tables of so many steps, on the host.
  void begin(std::int64_t steps);
  kernels::StepNumbers& numbers(std::int64_t step, std::int64_t r);
  double* of_strategy(std::int64_t step, std::int64_t r);  // 0 at first
  // A replica's rows by role. Padding repeats the replica's own examples: they are in the alignment
  // term, which no weight masks.
  void set_rows(std::int64_t step, std::int64_t r, const std::vector<std::vector<BatchRow>>& own);
  // Makes the filled tables the device's; the counter points at their first step. Waits for
  // nothing.
  void upload();

  // The step that the counter points at, and on to the next one. Both can be captured.
  StepRows current() const;
  void next();

 private:
  void fill_apart(std::int64_t row, const std::vector<std::vector<BatchRow>>& own);

  std::int64_t most_, replicas_;
  TableLayout layout_;
  std::int64_t width_, filler_;
  at::Device device_;
  at::ScalarType dtype_;
  std::atomic<bool> padded_{false};          // replicas may be prepared side by side
  at::Tensor host_numbers_, host_examples_;  // [steps,R,...]
  at::Tensor host_mean_, host_places_;       // [steps,R,W], [steps,R,2 W]: place, then enters
  at::Tensor host_strategy_;
  at::Tensor numbers_, examples_, mean_, places_, strategy_;  // on the device, [most,R,...]
  at::Tensor counter_;                                        // int64 [1] on the device
  std::int64_t position_ = 0;                                 // the counter of a CPU
};

}  // namespace tandem
