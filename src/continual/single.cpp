// Ordinary training: one task that holds everything.
#include "continual/scenario.h"

namespace tandem {
namespace {

TaskSequence single(const Config&, const Dataset& data) {
  Task task;
  if (!data.sequences()) {
    for (std::int64_t each = 0; each < data.classes; ++each) task.classes.push_back(each);
  }
  task.train = data.train;
  task.validation = data.validation;
  task.test = data.test;
  TaskSequence sequence;
  sequence.tasks = {task};
  sequence.outputs = data.classes;
  sequence.task_outputs = {{0, data.classes}};
  return sequence;
}

[[maybe_unused]] const bool kSingle =
    scenarios().add({.kind = "scenario",
                     .name = "single",
                     .summary = "one task that holds everything: ordinary training",
                     .cite = "",
                     .file = __FILE__},
                    single);

}  // namespace
}  // namespace tandem
