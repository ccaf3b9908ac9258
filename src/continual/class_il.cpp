// Class-incremental learning (van de Ven and Tolias, arXiv 1904.07734): one head over all classes,
// read out as a whole, and once more with the logits masked to the task, which Mammoth (arXiv
// 2004.07211) prints as its task-incremental accuracy. Which outputs the loss sees in training is
// an option: all of them, which push down those of classes to come; those of the classes seen so
// far, as where a head grows; or those of the example's own task, the labels trick of Zeno et al.
// (arXiv 1803.10123).
#include "continual/split.h"

namespace tandem {
namespace {

TaskSequence class_il(const Config& config, const Dataset& data) {
  TaskSequence sequence = split_tasks(config, data);
  const std::string& trained = config.text("train_outputs");
  if (trained == "seen") sequence.trained = OutputsOf::kSeen;
  if (trained == "task") sequence.trained = OutputsOf::kTask;
  sequence.masked_readout = true;
  return sequence;
}

Part facts() {
  Part part =
      split_facts("class_il", "classes split into tasks, one head over all classes", __FILE__);
  part.uses.emplace_back("train_outputs");
  return part;
}

[[maybe_unused]] const bool kClassIl = scenarios().add(facts(), class_il);

}  // namespace
}  // namespace tandem
