// A scenario is a sequence of tasks. A plain run is the scenario `single`: one task with
// everything.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "data/dataset.h"
#include "data/input_view.h"

namespace tandem {

// Places in a data set. Lists of many tasks, and of many runs, may be one.
class ExampleList {
 public:
  ExampleList() : ExampleList(std::vector<std::int64_t>()) {}
  ExampleList(std::vector<std::int64_t> places)
      : places_(std::make_shared<const std::vector<std::int64_t>>(std::move(places))) {}

  const std::vector<std::int64_t>& places() const { return *places_; }
  std::size_t size() const { return places_->size(); }
  bool empty() const { return places_->empty(); }
  auto begin() const { return places_->begin(); }
  auto end() const { return places_->end(); }
  std::int64_t operator[](std::size_t i) const { return (*places_)[i]; }
  bool is_same(const ExampleList& other) const { return places_ == other.places_; }
  // Where both are equal they are one from now on.
  void share_if_equal(const ExampleList& other) {
    if (*places_ == *other.places_) places_ = other.places_;
  }
  friend bool operator==(const ExampleList& a, const std::vector<std::int64_t>& b) {
    return a.places() == b;
  }

 private:
  std::shared_ptr<const std::vector<std::int64_t>> places_;
};

// Which outputs take part for a row.
enum class OutputsOf {
  kAll,
  kTask,  // those of its example's task
  kSeen,  // those of all tasks that have begun
};

struct Task {
  std::int64_t number = 1;              // from 1
  std::vector<std::int64_t> classes;    // data-set classes in it; empty for byte corpora
  ExampleList train, validation, test;  // as in Dataset: of bytes, train has edges of ranges
  // Training examples come in the order of the list, each once, and not shuffled: a stream.
  bool in_order = false;
};

struct TaskSequence {
  std::vector<Task> tasks;
  std::int64_t outputs = 0;          // width of the network's output
  std::vector<std::int64_t> target;  // data-set class -> output; empty: identity
  // Where tasks share classes and each has outputs of its own: [tasks][classes], in place of
  // target.
  std::vector<std::vector<std::int64_t>> target_by_task;
  std::vector<InputView> views;  // [tasks]; empty: inputs are seen as they are
  // [tasks][C] the token that a task has for each token of generated sequences; empty: that one.
  std::vector<std::vector<std::int64_t>> tokens;
  std::shared_ptr<const ExampleAngles> angles;  // each input is turned by its own; null: none is
  std::vector<std::int64_t> task_of_class;      // data-set class -> task number; empty: always 1
  OutputsOf trained = OutputsOf::kAll;          // what the loss sees
  bool mask_evaluation = false;                 // so does the read-out (task-IL)
  bool masked_readout = false;  // evaluate once more with the logits masked to the task (class-IL)
  // Returns the outputs of task t (numbers from 1), the range [first, last).
  std::vector<std::pair<std::int64_t, std::int64_t>> task_outputs;

  // The same example is seen by each task in its own way.
  bool has_views() const { return !views.empty() || !tokens.empty(); }
  // All tasks of several have the same outputs.
  bool shares_outputs() const {
    return task_outputs.size() > 1 && task_outputs[0] == task_outputs[1];
  }
  // The output of a data-set class as one of task number `task`.
  std::int64_t output_of(std::int64_t task, std::int64_t label) const {
    const auto at = static_cast<std::size_t>(label);
    if (!target_by_task.empty()) return target_by_task[static_cast<std::size_t>(task - 1)][at];
    return target.empty() ? label : target[at];
  }
};

using ScenarioFactory = TaskSequence (*)(const Config&, const Dataset&);
Registry<ScenarioFactory>& scenarios();
TaskSequence make_tasks(const Config& config, const Dataset& data);

}  // namespace tandem
