// Domain-incremental learning (van de Ven and Tolias, arXiv 1904.07734): tasks share one head with
// as many outputs as a task has classes; the target is a class's position within its task.
#include "continual/split.h"

namespace tandem {
namespace {

TaskSequence domain_il(const Config& config, const Dataset& data) {
  TaskSequence sequence = split_tasks(config, data);
  if (sequence.tasks.front().classes.empty()) return sequence;  // tasks of bytes share them anyhow
  sequence.outputs = static_cast<std::int64_t>(sequence.tasks.front().classes.size());
  for (auto& target : sequence.target) target %= sequence.outputs;
  for (auto& by_class : sequence.target_by_task) {
    for (auto& target : by_class) target %= sequence.outputs;
  }
  for (auto& range : sequence.task_outputs) range = {0, sequence.outputs};
  return sequence;
}

[[maybe_unused]] const bool kDomainIl = scenarios().add(
    split_facts("domain_il", "classes split into tasks that share one head, position in the task",
                __FILE__),
    domain_il);

}  // namespace
}  // namespace tandem
