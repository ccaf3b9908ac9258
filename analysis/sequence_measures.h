// Measures of a whole task sequence in one read-out. Each is a column of a view that is named by
// its definition (analysis/views.sql, docs/measures.md); tables, checks and the data dictionary
// read this one list.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tandem {

struct SequenceMeasure {
  std::string name;
  // v_continual: from the ends of tasks; v_stability and v_anytime: from evaluations between;
  // v_joint: beside the joint or the cumulative run's; v_storage: of what the strategy keeps and
  // costs.
  std::string view;
  std::string text;
  // Shares are of accuracies and the like, and printed in percent; bits are per byte, and there are
  // none of other data than bytes.
  enum class Unit { kShare, kNats, kBits } unit = Unit::kShare;
  bool lower_is_better = false;  // what is lost or missed, and losses
};
const std::vector<SequenceMeasure>& sequence_measures();
std::vector<std::string> sequence_measure_names();
// Accuracy on task `task` after stage `stage`, R(stage, task): "r_STAGE_TASK", from v_matrix.
struct MatrixCell {
  std::int64_t stage = 0, task = 1;
  std::string name() const;
};
std::optional<MatrixCell> matrix_cell(const std::string& name);

// Null where there is none of the name.
const SequenceMeasure* find_sequence_measure(const std::string& name);

}  // namespace tandem
