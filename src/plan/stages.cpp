#include "plan/stages.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <utility>

#include "config/seeds.h"
#include "core/philox.h"
#include "data/example.h"
#include "data/sampler.h"

namespace tandem {
namespace {

void add_task(const Task& task, std::vector<std::int64_t>& examples) {
  for (const std::int64_t place : task.train) examples.push_back(example_of(place, task.number));
}

// By their place in the data set, so that how classes are dealt changes nothing.
void sort_by_place(std::vector<std::int64_t>& examples) {
  std::sort(examples.begin(), examples.end(), [](std::int64_t a, std::int64_t b) {
    return std::pair(source_of(a), task_of(a)) < std::pair(source_of(b), task_of(b));
  });
}

// By class; where tasks see inputs in their own ways, by task and class, which are others there.
using ByClass = std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::int64_t>>;

// Some example of a class that has most; of several such classes the first.
void make_room(ByClass& memory, std::uint64_t draw, const RandomStream& stream) {
  auto most = memory.begin();
  for (auto each = memory.begin(); each != memory.end(); ++each) {
    if (each->second.size() > most->second.size()) most = each;
  }
  std::vector<std::int64_t>& examples = most->second;
  std::swap(examples[stream.below(draw, examples.size())], examples.back());
  examples.pop_back();
}

}  // namespace

std::vector<std::int64_t> balanced_memory(const Config& config, const Dataset& data,
                                          const TaskSequence& sequence, std::int64_t stage) {
  const auto capacity = static_cast<std::size_t>(config.integer("buffer"));
  const std::uint64_t key = run_key(config, "replay");
  const RandomStream leaves{sub_key(key, 0)};
  // Sequences have no classes. Who trains on such a memory of them is refused, once its length is
  // known.
  const auto* labels = data.labels.defined() ? data.labels.const_data_ptr<std::int64_t>() : nullptr;
  ByClass memory;
  std::size_t held = 0;
  std::uint64_t seen = 0;
  for (std::int64_t t = 0; t <= stage; ++t) {
    const Task& task = sequence.tasks[static_cast<std::size_t>(t)];
    const auto size = static_cast<std::int64_t>(task.train.size());
    for (const std::int64_t i :
         permutation(sub_key(key, static_cast<std::uint64_t>(t + 1)), size)) {
      const std::int64_t place = task.train[static_cast<std::size_t>(i)];
      std::vector<std::int64_t>& own =
          memory[{sequence.has_views() ? task.number : 0, labels != nullptr ? labels[place] : 0}];
      const std::uint64_t draw = seen++;
      // Where there are more classes than places each has one at most, and a class that has none
      // is always let in.
      if (own.size() >= std::max<std::size_t>(1, capacity / memory.size())) continue;
      if (held == capacity) {
        make_room(memory, draw, leaves);
        --held;
      }
      own.push_back(example_of(place, task.number));
      ++held;
    }
  }
  std::vector<std::int64_t> examples;
  for (const auto& [label, own] : memory) examples.insert(examples.end(), own.begin(), own.end());
  sort_by_place(examples);
  return examples;
}

std::int64_t Stages::count() const {
  return kind_ == StageData::kAllTasks ? 1 : static_cast<std::int64_t>(sequence_.tasks.size());
}

bool Stages::has(const Task& task, std::int64_t stage) const {
  const std::int64_t own = task.number - 1;
  return kind_ == StageData::kAllTasks || own == stage ||
         (kind_ == StageData::kSoFar && own < stage);
}

std::vector<std::int64_t> Stages::examples(std::int64_t stage) const {
  if (kind_ == StageData::kMemory) return balanced_memory(config_, data_, sequence_, stage);
  std::vector<std::int64_t> all;
  for (const Task& task : sequence_.tasks) {
    if (has(task, stage)) add_task(task, all);
  }
  if (kind_ != StageData::kOwnTask) sort_by_place(all);
  return all;
}

WindowStarts Stages::windows(std::int64_t stage) const {
  std::vector<std::int64_t> edges;
  for (const Task& task : sequence_.tasks) {
    if (has(task, stage)) edges.insert(edges.end(), task.train.begin(), task.train.end());
  }
  return {edges, config_.integer("context")};
}

std::int64_t Stages::task_of_window(std::int64_t start) const {
  for (const Task& task : sequence_.tasks) {
    for (std::size_t e = 0; e + 1 < task.train.size(); e += 2) {
      if (start >= task.train[e] && start < task.train[e + 1]) return task.number;
    }
  }
  throw std::invalid_argument("a window outside of all training ranges");
}

std::int64_t Stages::size(std::int64_t stage) const {
  if (kind_ == StageData::kMemory) return static_cast<std::int64_t>(examples(stage).size());
  std::int64_t all = 0;
  for (const Task& task : sequence_.tasks) {
    if (has(task, stage)) all += static_cast<std::int64_t>(task.train.size());
  }
  return all;
}

bool Stages::in_order(std::int64_t stage) const {
  return kind_ == StageData::kOwnTask && sequence_.tasks[static_cast<std::size_t>(stage)].in_order;
}

double rows_per_example(const Config& config, const Dataset& data) {
  return data.sequences() ? static_cast<double>(config.integer("context")) : 1.0;
}

ModelShape network_shape(const Dataset& data, const TaskSequence& sequence) {
  return {.features = data.features, .outputs = sequence.outputs, .weights_later = true};
}

Timeline Stages::timeline() const {
  std::vector<std::int64_t> counts;
  for (std::int64_t stage = 0; stage < count(); ++stage) {
    if (data_.windows()) {
      // All batches of windows are full.
      const std::int64_t batch = config_.integer("batch");
      counts.push_back((windows(stage).windows() + batch - 1) / batch * batch);
    } else {
      counts.push_back(size(stage));
    }
  }
  const auto tasks = static_cast<std::int64_t>(sequence_.tasks.size());
  return make_timeline(config_, counts, kind_ == StageData::kAllTasks ? tasks : 1);
}

}  // namespace tandem
