// Class-incremental learning (van de Ven and Tolias, arXiv 1904.07734): one head over all classes,
// all of it active from the first task on. It is read out once more with the logits masked to the
// task, which Mammoth (arXiv 2004.07211) prints as its task-incremental accuracy.
#include "continual/split.h"

namespace tandem {
namespace {

TaskSequence class_il(const Config& config, const Dataset& data) {
  TaskSequence sequence = split_tasks(config, data);
  sequence.masked_readout = true;
  return sequence;
}

[[maybe_unused]] const bool kClassIl = scenarios().add(
    split_facts("class_il", "classes split into tasks, one head over all classes", __FILE__),
    class_il);

}  // namespace
}  // namespace tandem
