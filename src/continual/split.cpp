// Splitting a data set into tasks of equally many classes.
#include "continual/split.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "config/seeds.h"
#include "core/error.h"
#include "data/sampler.h"

namespace tandem {
namespace {

void check_divides(std::int64_t tasks, const Dataset& data) {
  if (data.kind != Dataset::Kind::kImages) {
    throw ConfigError(fmt::format(
        "data = {} has no classes to split into tasks; choose scenario = single", data.name));
  }
  if (data.classes % tasks == 0) return;
  std::vector<std::int64_t> divisors;
  for (std::int64_t each = 1; each <= data.classes; ++each) {
    if (data.classes % each == 0) divisors.push_back(each);
  }
  throw ConfigError(fmt::format("tasks = {} doesn't divide the {} classes of {}; choose one of {}",
                                tasks, data.classes, data.name, fmt::join(divisors, ", ")));
}

// Adds each example to its task's list.
void deal(const std::vector<std::int64_t>& examples, const std::int64_t* labels,
          const std::vector<std::int64_t>& task_of_class, std::vector<Task>& tasks,
          std::vector<std::int64_t> Task::*list) {
  for (const std::int64_t example : examples) {
    const std::int64_t task = task_of_class[labels[example]];
    (tasks[task - 1].*list).push_back(example);
  }
}

}  // namespace

std::vector<std::int64_t> class_order(const Config& config, std::int64_t classes) {
  if (config.text("class_order") == "random") {
    return permutation(run_key(config, "classes"), classes);
  }
  std::vector<std::int64_t> order;
  for (std::int64_t each = 0; each < classes; ++each) order.push_back(each);
  return order;
}

TaskSequence split_by_class(const Config& config, const Dataset& data) {
  const std::int64_t tasks = config.integer("tasks");
  check_divides(tasks, data);
  const std::int64_t per_task = data.classes / tasks;
  const auto order = class_order(config, data.classes);
  TaskSequence sequence;
  sequence.outputs = data.classes;
  sequence.tasks.resize(tasks);
  sequence.target.resize(data.classes);
  sequence.task_of_class.resize(data.classes);
  for (std::int64_t position = 0; position < data.classes; ++position) {
    const std::int64_t task = position / per_task;
    sequence.tasks[task].classes.push_back(order[position]);
    sequence.task_of_class[order[position]] = task + 1;
    sequence.target[order[position]] = position;
  }
  const std::int64_t* labels = data.labels.data_ptr<std::int64_t>();
  deal(data.train, labels, sequence.task_of_class, sequence.tasks, &Task::train);
  deal(data.validation, labels, sequence.task_of_class, sequence.tasks, &Task::validation);
  deal(data.test, labels, sequence.task_of_class, sequence.tasks, &Task::test);
  for (std::int64_t task = 0; task < tasks; ++task) {
    Task& each = sequence.tasks[task];
    each.number = task + 1;
    sequence.task_outputs.emplace_back(task * per_task, (task + 1) * per_task);
    if (each.train.empty()) {
      throw ConfigError(fmt::format(
          "task {} (classes {} of {}) has none of the {} training examples; raise train_examples",
          each.number, fmt::join(each.classes, ", "), data.name, data.train.size()));
    }
  }
  return sequence;
}

Part split_facts(const std::string& name, const std::string& summary, const std::string& file,
                 int revision) {
  Part part;
  part.kind = "scenario";
  part.name = name;
  part.summary = summary;
  part.revision = revision;
  part.cite = "1904.07734";
  part.uses = {"tasks", "class_order", "online"};
  part.file = file;
  return part;
}

}  // namespace tandem
