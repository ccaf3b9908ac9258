#include "plan/stages.h"

#include <algorithm>
#include <utility>

#include "data/example.h"

namespace tandem {

std::vector<std::int64_t> stage_examples(const TaskSequence& sequence, std::int64_t stage,
                                         bool joined) {
  std::vector<std::int64_t> all;
  const auto add = [&all](const Task& task) {
    for (const std::int64_t place : task.train) all.push_back(example_of(place, task.number));
  };
  if (!joined) {
    add(sequence.tasks[static_cast<std::size_t>(stage)]);
    return all;
  }
  for (const Task& task : sequence.tasks) add(task);
  // By their place in the data set, so that how classes are dealt changes nothing.
  std::sort(all.begin(), all.end(), [](std::int64_t a, std::int64_t b) {
    return std::pair(source_of(a), task_of(a)) < std::pair(source_of(b), task_of(b));
  });
  return all;
}

std::int64_t stage_size(const TaskSequence& sequence, std::int64_t stage, bool joined) {
  const auto size = [](const Task& task) { return static_cast<std::int64_t>(task.train.size()); };
  if (!joined) return size(sequence.tasks[static_cast<std::size_t>(stage)]);
  std::int64_t all = 0;
  for (const Task& task : sequence.tasks) all += size(task);
  return all;
}

double rows_per_example(const Config& config, const Dataset& data) {
  return data.kind == Dataset::Kind::kBytes ? static_cast<double>(config.integer("context")) : 1.0;
}

ModelShape network_shape(const Dataset& data, const TaskSequence& sequence) {
  return {.features = data.features, .outputs = sequence.outputs, .weights_later = true};
}

Timeline timeline_on(const Config& config, const Dataset& data, const TaskSequence& sequence,
                     bool joined) {
  const auto tasks = static_cast<std::int64_t>(sequence.tasks.size());
  std::vector<std::int64_t> counts;
  for (std::int64_t stage = 0; stage < (joined ? 1 : tasks); ++stage) {
    if (data.kind == Dataset::Kind::kBytes) {
      const std::int64_t context = config.integer("context");
      counts.push_back((data.train[1] - data.train[0] + context - 1) / context);
    } else {
      counts.push_back(stage_size(sequence, stage, joined));
    }
  }
  // `steps` are per task; joint training has all tasks in one stage.
  return make_timeline(config, counts, joined ? tasks : 1);
}

}  // namespace tandem
