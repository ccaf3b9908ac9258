// Making tasks of a data set.
#include "continual/split.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <numeric>
#include <utility>

#include "config/seeds.h"
#include "core/error.h"
#include "core/philox.h"
#include "data/sampler.h"

namespace tandem {
namespace {

void check_divides(std::int64_t tasks, const Dataset& data) {
  if (data.kind != Dataset::Kind::kImages) {
    throw ConfigError(fmt::format(
        "data = {} has no classes to split into tasks; give scenario = single, or scenario = "
        "domain_il with tasks_by = corpus and a corpus for each task",
        data.name));
  }
  if (data.classes % tasks == 0) return;
  std::vector<std::int64_t> divisors;
  for (std::int64_t each = 1; each <= data.classes; ++each) {
    if (data.classes % each == 0) divisors.push_back(each);
  }
  throw ConfigError(fmt::format("tasks = {} doesn't divide the {} classes of {}; choose one of {}",
                                tasks, data.classes, data.name, fmt::join(divisors, ", ")));
}

// The examples of each task.
std::vector<std::vector<std::int64_t>> deal(const std::vector<std::int64_t>& examples,
                                            const std::int64_t* labels,
                                            const std::vector<std::int64_t>& task_of_class,
                                            std::size_t tasks) {
  std::vector<std::vector<std::int64_t>> dealt(tasks);
  for (const std::int64_t example : examples) {
    const std::int64_t task = task_of_class[static_cast<std::size_t>(labels[example])];
    dealt[static_cast<std::size_t>(task - 1)].push_back(example);
  }
  return dealt;
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

namespace {

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
  const auto dealt = [&](const std::vector<std::int64_t>& examples) {
    return deal(examples, labels, sequence.task_of_class, sequence.tasks.size());
  };
  auto train = dealt(data.train), validation = dealt(data.validation), test = dealt(data.test);
  for (std::int64_t task = 0; task < tasks; ++task) {
    Task& each = sequence.tasks[task];
    each.number = task + 1;
    each.train = std::move(train[task]);
    each.validation = std::move(validation[task]);
    each.test = std::move(test[task]);
    sequence.task_outputs.emplace_back(task * per_task, (task + 1) * per_task);
    if (each.train.empty()) {
      throw ConfigError(fmt::format(
          "task {} (classes {} of {}) has none of the {} training examples; raise train_examples",
          each.number, fmt::join(each.classes, ", "), data.name, data.train.size()));
    }
  }
  return sequence;
}

void check_views(const Config& config, const Dataset& data) {
  const std::string& by = config.text("tasks_by");
  if (data.kind != Dataset::Kind::kImages) {
    throw ConfigError(
        fmt::format("tasks_by = {} is of images and data = {} has none; choose scenario = single, "
                    "or tasks_by = corpus",
                    by, data.name));
  }
  if (config.text("class_order") != "natural") {
    throw ConfigError(
        fmt::format("class_order = {} orders classes that are split, and with "
                    "tasks_by = {} each task has all of them; leave it out",
                    config.text("class_order"), by));
  }
  if (by == "rotation" && (data.channels != 1 || data.height != data.width)) {
    throw ConfigError(
        fmt::format("tasks_by = rotation turns square images of one channel, and those of {} are "
                    "{} x {} with {}",
                    data.name, data.height, data.width, data.channels));
  }
}

// What a task sees: the first one of permuted tasks everything as it is.
InputView view_of_task(const Config& config, const Dataset& data, std::int64_t task) {
  const std::uint64_t key = sub_key(run_key(config, "classes"), static_cast<std::uint64_t>(task));
  if (config.text("tasks_by") == "rotation") {
    const double degrees = config.real("rotation_degrees") * RandomStream{key}.uniform(0);
    return rotated_view(data.height, degrees);
  }
  if (task > 1) return permuted_view(permutation(key, data.features));
  std::vector<std::int64_t> order(static_cast<std::size_t>(data.features));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  return permuted_view(order);
}

TaskSequence split_by_view(const Config& config, const Dataset& data) {
  check_views(config, data);
  const std::int64_t tasks = config.integer("tasks"), classes = data.classes;
  TaskSequence sequence;
  sequence.outputs = tasks * classes;
  const ExampleList train = data.train, validation = data.validation, test = data.test;
  for (std::int64_t number = 1; number <= tasks; ++number) {
    Task task{number, {}, train, validation, test};
    std::vector<std::int64_t> target;
    for (std::int64_t each = 0; each < classes; ++each) {
      task.classes.push_back(each);
      target.push_back((number - 1) * classes + each);
    }
    sequence.tasks.push_back(std::move(task));
    sequence.target_by_task.push_back(std::move(target));
    sequence.task_outputs.emplace_back((number - 1) * classes, number * classes);
    sequence.views.push_back(view_of_task(config, data, number));
  }
  return sequence;
}

// Each part of a byte corpus is a task; all have the same outputs, the next byte.
TaskSequence split_by_corpus(const Config& config, const Dataset& data) {
  if (data.kind != Dataset::Kind::kBytes || config.text("scenario") != "domain_il") {
    throw ConfigError(fmt::format(
        "tasks_by = corpus makes tasks of the parts of a byte corpus, whose outputs are the same "
        "in all: give data = bytes and scenario = domain_il (not {} and {})",
        data.name, config.text("scenario")));
  }
  const auto parts = static_cast<std::int64_t>(data.train.size() / 2);
  const std::int64_t tasks = config.integer("tasks");
  if (parts != tasks || parts < 2) {
    throw ConfigError(
        fmt::format("tasks = {} and corpus names {} (| is between them): give one for each of two "
                    "or more tasks",
                    tasks, parts));
  }
  const auto within = [&](const std::vector<std::int64_t>& starts, std::int64_t part) {
    const auto edge = [&](std::int64_t p) {
      return p < parts ? data.train[static_cast<std::size_t>(2 * p)] : data.inputs.numel();
    };
    std::vector<std::int64_t> own;
    for (const std::int64_t start : starts) {
      if (start >= edge(part) && start < edge(part + 1)) own.push_back(start);
    }
    return own;
  };
  TaskSequence sequence;
  sequence.outputs = data.classes;
  for (const std::int64_t part : class_order(config, parts)) {
    const auto number = static_cast<std::int64_t>(sequence.tasks.size()) + 1;
    const auto train = data.train.begin() + static_cast<std::ptrdiff_t>(2 * part);
    sequence.tasks.push_back({number,
                              {},
                              std::vector<std::int64_t>(train, train + 2),
                              within(data.validation, part),
                              within(data.test, part)});
    sequence.task_outputs.emplace_back(0, data.classes);
  }
  return sequence;
}

}  // namespace

TaskSequence split_tasks(const Config& config, const Dataset& data) {
  const std::string& by = config.text("tasks_by");
  if (by == "corpus") return split_by_corpus(config, data);
  return by == "classes" ? split_by_class(config, data) : split_by_view(config, data);
}

Part split_facts(const std::string& name, const std::string& summary, const std::string& file,
                 int revision) {
  Part part;
  part.kind = "scenario";
  part.name = name;
  part.summary = summary;
  part.revision = revision;
  part.cite = "1904.07734";
  part.uses = {"tasks", "tasks_by", "rotation_degrees", "class_order", "online", "blur"};
  part.file = file;
  return part;
}

}  // namespace tandem
