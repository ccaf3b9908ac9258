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

void check_splittable(const Dataset& data) {
  if (data.sequences()) {
    throw ConfigError(fmt::format(
        "data = {} has no classes to split into tasks; give scenario = single, or scenario = "
        "domain_il with tasks_by = {}",
        data.name,
        data.windows() ? "corpus and a corpus for each task"
                       : "permutation, where each task has tokens of its own"));
  }
}

// How many classes each task has: what is said, or C / T, and one more in the first C mod T.
std::vector<std::int64_t> sizes_of_tasks(const Config& config, const Dataset& data) {
  const std::int64_t tasks = config.integer("tasks");
  const std::vector<std::int64_t> said = config.integers("task_classes");
  if (said.empty()) {
    if (tasks > data.classes) {
      throw ConfigError(
          fmt::format("tasks = {} is more than the {} classes of {}, of which each task has one or "
                      "more; give at most {}",
                      tasks, data.classes, data.name, data.classes));
    }
    std::vector<std::int64_t> sizes(static_cast<std::size_t>(tasks), data.classes / tasks);
    for (std::int64_t t = 0; t < data.classes % tasks; ++t) ++sizes[static_cast<std::size_t>(t)];
    return sizes;
  }
  const auto count = static_cast<std::int64_t>(said.size());
  if (count != tasks) {
    throw ConfigError(fmt::format("task_classes = {} has {} tasks and tasks = {}; give --tasks {}",
                                  config.text("task_classes"), count, tasks, count));
  }
  const std::int64_t sum = std::accumulate(said.begin(), said.end(), std::int64_t{0});
  if (sum != data.classes) {
    throw ConfigError(
        fmt::format("task_classes = {} adds up to {} and {} has {} classes; give each a task",
                    config.text("task_classes"), sum, data.name, data.classes));
  }
  return said;
}

void refuse_sizes(const Config& config) {
  if (config.integers("task_classes").empty()) return;
  throw ConfigError(
      fmt::format("task_classes = {} says how many classes each task has where they are split, and "
                  "with tasks_by = {} they are not; leave it out",
                  config.text("task_classes"), config.text("tasks_by")));
}

// An order that is said has each of 0..count-1 once.
void check_order(const Config& config, const std::vector<std::int64_t>& order, std::int64_t count) {
  const auto refuse = [&](const std::string& found) {
    throw ConfigError(fmt::format("class_order = {} must have each of 0 to {} once, and {}",
                                  config.text("class_order"), count - 1, found));
  };
  std::vector<int> times(static_cast<std::size_t>(count), 0);
  for (const std::int64_t each : order) {
    if (each >= count) refuse(fmt::format("has {}", each));
    if (++times[static_cast<std::size_t>(each)] > 1) refuse(fmt::format("has {} twice", each));
  }
  std::vector<std::int64_t> missing;
  for (std::int64_t each = 0; each < count; ++each) {
    if (times[static_cast<std::size_t>(each)] == 0) missing.push_back(each);
  }
  if (missing.empty()) return;
  refuse(fmt::format("lacks {}{}", fmt::join(missing, ", "),
                     order.size() == 1 ? "; in a grid file a list is in braces" : ""));
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
  const std::string& said = config.text("class_order");
  if (said == "random") return permutation(run_key(config, "classes"), classes);
  if (said != "natural") {
    const std::vector<std::int64_t> order = config.integers("class_order");
    check_order(config, order, classes);
    return order;
  }
  std::vector<std::int64_t> order;
  for (std::int64_t each = 0; each < classes; ++each) order.push_back(each);
  return order;
}

namespace {

// What took the training examples of a task's classes away.
[[noreturn]] void refuse_untrained(const Config& config, const Dataset& data, const Task& task) {
  const bool held_out = config.integer("train_examples") == 0 && !task.validation.empty();
  throw ConfigError(fmt::format(
      "task {} (classes {} of {}) has none of the {} training examples; {}", task.number,
      fmt::join(task.classes, ", "), data.name, data.train.size(),
      held_out ? fmt::format("--validation {} drew all of its {} for validation: give a smaller "
                             "one, or more examples of these classes",
                             config.text("validation"), task.validation.size())
               : "raise train_examples"));
}

TaskSequence split_by_class(const Config& config, const Dataset& data) {
  check_splittable(data);
  const std::vector<std::int64_t> sizes = sizes_of_tasks(config, data);
  const auto tasks = static_cast<std::int64_t>(sizes.size());
  const auto order = class_order(config, data.classes);
  TaskSequence sequence;
  sequence.outputs = data.classes;
  sequence.tasks.resize(tasks);
  sequence.target.resize(data.classes);
  sequence.task_of_class.resize(data.classes);
  std::int64_t position = 0;
  for (std::int64_t task = 0; task < tasks; ++task) {
    const std::int64_t first = position;
    for (; position < first + sizes[task]; ++position) {
      sequence.tasks[task].classes.push_back(order[position]);
      sequence.task_of_class[order[position]] = task + 1;
      sequence.target[order[position]] = position;
    }
    sequence.task_outputs.emplace_back(first, position);
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
    if (each.train.empty()) refuse_untrained(config, data, each);
  }
  return sequence;
}

void check_views(const Config& config, const Dataset& data) {
  const std::string& by = config.text("tasks_by");
  if (data.sequences() && (data.windows() || by != "permutation")) {
    throw ConfigError(
        fmt::format("tasks_by = {} is of images and data = {} has none; choose scenario = single, "
                    "or tasks_by = {}",
                    by, data.name, data.windows() ? "corpus" : "permutation"));
  }
  if (data.sequences() && config.text("scenario") != "domain_il") {
    throw ConfigError(fmt::format(
        "tasks_by = permutation of data = {} makes tasks whose outputs, the tokens, are the same "
        "in all: give scenario = domain_il (not {})",
        data.name, config.text("scenario")));
  }
  if (config.text("class_order") != "natural") {
    throw ConfigError(
        fmt::format("class_order = {} orders classes that are split, and with "
                    "tasks_by = {} each task has all of them; leave it out",
                    config.text("class_order"), by));
  }
  refuse_sizes(config);
}

std::uint64_t key_of_task(const Config& config, std::int64_t task) {
  return sub_key(run_key(config, "classes"), static_cast<std::uint64_t>(task));
}

// A task's order of 0..count-1: the first one's is as it is.
std::vector<std::int64_t> order_of_task(const Config& config, std::int64_t count,
                                        std::int64_t task) {
  if (task > 1) return permutation(key_of_task(config, task), count);
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  return order;
}

InputView view_of_task(const Config& config, const Dataset& data, std::int64_t task) {
  if (config.text("tasks_by") == "permutation") {
    return permuted_view(order_of_task(config, data.features, task));
  }
  const double degrees =
      config.real("rotation_degrees") * RandomStream{key_of_task(config, task)}.uniform(0);
  return rotated_view({data.height, data.width, data.channels}, degrees);
}

// Each task reads and answers the same sequences in tokens of its own, the first as they are. The
// permutation is over all tokens, since one within the keys and one within the values of
// associative recall would leave the law of the sequences what it is, and nothing would be new in a
// task.
TaskSequence split_by_tokens(const Config& config, const Dataset& data) {
  TaskSequence sequence;
  sequence.outputs = data.classes;
  const ExampleList train = data.train, validation = data.validation, test = data.test;
  for (std::int64_t number = 1; number <= config.integer("tasks"); ++number) {
    sequence.tasks.push_back({number, {}, train, validation, test});
    sequence.task_outputs.emplace_back(0, data.classes);
    sequence.tokens.push_back(order_of_task(config, data.classes, number));
  }
  return sequence;
}

TaskSequence split_by_view(const Config& config, const Dataset& data) {
  check_views(config, data);
  if (data.sequences()) return split_by_tokens(config, data);
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
  if (!data.windows() || config.text("scenario") != "domain_il") {
    throw ConfigError(fmt::format(
        "tasks_by = corpus makes tasks of the parts of a byte corpus, whose outputs are the same "
        "in all: give data = bytes and scenario = domain_il (not {} and {})",
        data.name, config.text("scenario")));
  }
  refuse_sizes(config);
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
  part.uses = {"tasks",  "tasks_by", "rotation_degrees", "class_order", "task_classes",
               "online", "blur"};
  part.file = file;
  return part;
}

}  // namespace tandem
