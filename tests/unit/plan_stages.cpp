// What stages train on: a task, all, all so far, and GDumb's memory against its definition.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <set>

#include "config/seeds.h"
#include "core/philox.h"
#include "data/example.h"
#include "data/sampler.h"
#include "plan/stages.h"

namespace tandem::test::plan_stages_unit {
namespace {

// 100 training examples, label i % 10.
Dataset toy() {
  Dataset data;
  data.name = "toy";
  data.inputs = at::zeros({100, 4}, at::kByte);
  data.labels = at::arange(100, at::kLong).remainder(10);
  data.features = 4;
  data.channels = 1;
  data.height = data.width = 2;
  data.classes = 10;
  for (std::int64_t i = 0; i < 100; ++i) data.train.push_back(i);
  return data;
}

Config run(const Settings& more) {
  Settings said = {{"scenario", "class_il"}, {"tasks", "5"}, {"strategy", "gdumb"},
                   {"epochs", "2"},          {"batch", "4"}, {"validation", "0"}};
  for (const auto& [name, value] : more) said[name] = value;
  return Config::resolve(said, false);
}

std::map<std::int64_t, int> per_class(const std::vector<std::int64_t>& examples) {
  std::map<std::int64_t, int> counts;
  for (const std::int64_t each : examples) ++counts[source_of(each) % 10];
  return counts;
}

}  // namespace

TEST_CASE("a stage has its task, all tasks, or all so far", "[unit]") {
  const Dataset data = toy();
  const Config config = run({{"strategy", "finetune"}});
  const TaskSequence tasks = make_tasks(config, data);
  const Stages own(config, data, tasks, StageData::kOwnTask);
  const Stages all(config, data, tasks, StageData::kAllTasks);
  const Stages so_far(config, data, tasks, StageData::kSoFar);
  CHECK(own.count() == 5);
  CHECK(all.count() == 1);
  CHECK(so_far.count() == 5);
  for (std::int64_t stage = 0; stage < 5; ++stage) {
    CHECK(own.size(stage) == 20);
    CHECK(so_far.size(stage) == 20 * (stage + 1));
    CHECK(so_far.examples(stage).size() == static_cast<std::size_t>(20 * (stage + 1)));
    const auto counts = per_class(so_far.examples(stage));
    CHECK(counts.size() == static_cast<std::size_t>(2 * (stage + 1)));
  }
  CHECK(all.size(0) == 100);
  CHECK(so_far.examples(4) == all.examples(0));
  CHECK(own.timeline().task_steps == std::vector<std::int64_t>(5, 10));
  CHECK(so_far.timeline().task_steps == std::vector<std::int64_t>{10, 20, 30, 40, 50});
  CHECK(all.timeline().task_steps == std::vector<std::int64_t>{50});
}

TEST_CASE("the greedy memory is as balanced as it can be", "[unit]") {
  const Dataset data = toy();
  const Config config = run({{"buffer", "23"}});
  const TaskSequence tasks = make_tasks(config, data);
  const Stages stages(config, data, tasks, StageData::kMemory);
  for (std::int64_t stage = 0; stage < 5; ++stage) {
    INFO("stage " << stage);
    const auto examples = stages.examples(stage);
    CHECK(std::set<std::int64_t>(examples.begin(), examples.end()).size() == examples.size());
    CHECK(examples.size() <= 23);
    CHECK(stages.size(stage) == static_cast<std::int64_t>(examples.size()));
    const auto counts = per_class(examples);
    const auto classes = static_cast<std::size_t>(2 * (stage + 1));
    REQUIRE(counts.size() == classes);
    for (const auto& [label, count] : counts) {
      CHECK(count >= std::min<int>(10, 23 / static_cast<int>(classes)));
    }
    for (const std::int64_t each : examples) {
      CHECK(task_of(each) == source_of(each) % 10 / 2 + 1);
    }
    CHECK(stages.examples(stage) == examples);  // the same whenever it is asked
  }
  CHECK(stages.size(0) == 20);  // both classes of the first task, whole
  // Another seed keeps others.
  const Config other = run({{"buffer", "23"}, {"seed", "2"}});
  CHECK(Stages(other, data, tasks, StageData::kMemory).examples(4) != stages.examples(4));
}

// Algorithm 1 of the paper, told of a stream of labels alone: what count each class has in the end.
TEST_CASE("the memory's counts follow the paper's algorithm", "[unit]") {
  Dataset data = toy();
  // Task 1 has 40 of class 0 and 2 of class 1; later classes have what is left.
  for (std::int64_t i = 0; i < 100; ++i) {
    data.labels[i] = i < 40 ? 0 : i < 42 ? 1 : 2 + i % 8;
  }
  const Config config = run({{"buffer", "20"}});
  const TaskSequence tasks = make_tasks(config, data);
  const Stages stages(config, data, tasks, StageData::kMemory);
  const auto* labels = data.labels.const_data_ptr<std::int64_t>();
  std::map<std::int64_t, int> counts;
  for (const std::int64_t each : stages.examples(0)) ++counts[labels[source_of(each)]];
  // Class 1 has all of its two. Class 0 has what came while it was alone, at most 20, and gives way
  // only where the memory is full.
  CHECK(counts[1] == 2);
  CHECK(counts[0] >= 10);
  CHECK(counts[0] <= 20);
  counts.clear();
  for (const std::int64_t each : stages.examples(4)) ++counts[labels[source_of(each)]];
  CHECK(counts[1] == 2);
  for (std::int64_t label = 2; label < 10; ++label) CHECK(counts[label] >= 2);
}

// Algorithm 1, "Greedy Sampler", over a stream of labels: k_c = k / |Y| with Y the classes seen; an
// example is let in where its class is new or has fewer than k_c, and where the memory is full one
// of the largest class leaves (of several the first). k_c is a whole number here, as a memory holds
// whole examples, but where it is below 1: what a class of none has is less.
std::map<std::int64_t, int> greedy_counts(const std::vector<std::int64_t>& labels, int k) {
  std::map<std::int64_t, int> held;
  int all = 0;
  for (const std::int64_t label : labels) {
    held.try_emplace(label, 0);
    const double exact = static_cast<double>(k) / static_cast<double>(held.size());
    const double share = exact < 1 ? exact : std::floor(exact);
    if (static_cast<double>(held[label]) >= share) continue;
    if (all == k) {
      auto largest = held.begin();
      for (auto each = held.begin(); each != held.end(); ++each) {
        if (each->second > largest->second) largest = each;
      }
      --largest->second;
      --all;
    }
    ++held[label];
    ++all;
  }
  std::erase_if(held, [](const auto& each) { return each.second == 0; });
  return held;
}

TEST_CASE("the greedy memory is the paper's at every size, below the number of classes as well",
          "[unit]") {
  const Dataset data = toy();
  const auto* labels = data.labels.const_data_ptr<std::int64_t>();
  for (int buffer = 1; buffer <= 24; ++buffer) {
    const Config config = run({{"buffer", std::to_string(buffer)}});
    const TaskSequence tasks = make_tasks(config, data);
    const Stages stages(config, data, tasks, StageData::kMemory);
    std::vector<std::int64_t> stream;
    for (std::int64_t stage = 0; stage < 5; ++stage) {
      CAPTURE(buffer, stage);
      // The order in which a task's examples come is the run's own.
      const ExampleList& train = tasks.tasks[static_cast<std::size_t>(stage)].train;
      const std::uint64_t key =
          sub_key(run_key(config, "replay"), static_cast<std::uint64_t>(stage + 1));
      for (const std::int64_t i : permutation(key, static_cast<std::int64_t>(train.size()))) {
        stream.push_back(labels[train[static_cast<std::size_t>(i)]]);
      }
      const auto wanted = greedy_counts(stream, buffer);
      CHECK(per_class(stages.examples(stage)) == wanted);
      if (buffer <= 2 * (stage + 1)) CHECK(wanted.size() == static_cast<std::size_t>(buffer));
      CHECK(wanted.count(stream.back()) == 1);
    }
  }
}

TEST_CASE("where tasks see inputs in their own ways, each has its share of the memory", "[unit]") {
  const Dataset data = toy();
  const Config config = run(
      {{"scenario", "domain_il"}, {"tasks", "3"}, {"tasks_by", "permutation"}, {"buffer", "60"}});
  const TaskSequence tasks = make_tasks(config, data);
  const Stages stages(config, data, tasks, StageData::kMemory);
  std::map<std::int64_t, int> per_task;
  for (const std::int64_t each : stages.examples(2)) ++per_task[task_of(each)];
  REQUIRE(per_task.size() == 3);
  for (const auto& [task, count] : per_task) CHECK(count == 20);
}

}  // namespace tandem::test::plan_stages_unit
