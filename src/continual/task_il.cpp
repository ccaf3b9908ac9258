// Task-incremental learning (van de Ven and Tolias, arXiv 1904.07734): the task is known, so that
// each has a head of its own. The heads lie side by side in one output; every term of the loss, the
// read-out and the probes see only the head of an example's own task. (Not the same as a
// class-incremental network that is merely read out per task: there the other outputs are trained
// too.)
#include "continual/split.h"

namespace tandem {
namespace {

TaskSequence task_il(const Config& config, const Dataset& data) {
  TaskSequence sequence = split_tasks(config, data);
  sequence.trained = OutputsOf::kTask;
  sequence.mask_evaluation = true;
  return sequence;
}

[[maybe_unused]] const bool kTaskIl = scenarios().add(
    split_facts("task_il", "classes split into tasks, one head per task, the task is known",
                __FILE__, /*revision=*/2),
    task_il);

}  // namespace
}  // namespace tandem
