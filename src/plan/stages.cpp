#include "plan/stages.h"

#include <algorithm>

namespace tandem {

std::vector<std::int64_t> stage_examples(const TaskSequence& sequence, std::int64_t stage,
                                         bool joined) {
  if (!joined) return sequence.tasks[static_cast<std::size_t>(stage)].train;
  std::vector<std::int64_t> all;
  for (const Task& task : sequence.tasks)
    all.insert(all.end(), task.train.begin(), task.train.end());
  std::sort(all.begin(), all.end());
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
      counts.push_back(static_cast<std::int64_t>(stage_examples(sequence, stage, joined).size()));
    }
  }
  // `steps` are per task; joint training has all tasks in one stage.
  return make_timeline(config, counts, joined ? tasks : 1);
}

}  // namespace tandem
