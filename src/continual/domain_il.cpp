// Domain-incremental learning (van de Ven and Tolias, arXiv 1904.07734): tasks share one head with
// as many outputs as the largest task has classes; the target is a class's position within its
// task. Which task an example is of is not known, so that nothing is masked: the outputs beyond the
// classes of a smaller task are never its targets, and it learns not to give them.
#include <algorithm>

#include "continual/split.h"

namespace tandem {
namespace {

TaskSequence domain_il(const Config& config, const Dataset& data) {
  TaskSequence sequence = split_tasks(config, data);
  if (sequence.tasks.front().classes.empty()) return sequence;  // sequences share them anyhow
  std::int64_t most = 0;
  for (const auto& [first, last] : sequence.task_outputs) most = std::max(most, last - first);
  const auto first_of = [&sequence](std::int64_t task) {
    return sequence.task_outputs[static_cast<std::size_t>(task - 1)].first;
  };
  for (std::size_t c = 0; c < sequence.target.size(); ++c) {
    sequence.target[c] -= first_of(sequence.task_of_class[c]);
  }
  for (std::size_t t = 0; t < sequence.target_by_task.size(); ++t) {
    for (auto& target : sequence.target_by_task[t]) target -= sequence.task_outputs[t].first;
  }
  sequence.outputs = most;
  for (auto& range : sequence.task_outputs) range = {0, sequence.outputs};
  return sequence;
}

[[maybe_unused]] const bool kDomainIl = scenarios().add(
    split_facts("domain_il", "classes split into tasks that share one head, position in the task",
                __FILE__),
    domain_il);

}  // namespace
}  // namespace tandem
