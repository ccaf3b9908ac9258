// Scenarios: who is in which task, which output a class has, what is masked.
#include <ATen/ATen.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <set>

#include "continual/scenario.h"
#include "core/error.h"

namespace tandem::test::continual_scenarios_unit {
namespace {

using Catch::Matchers::Contains;

// 60 training examples, 20 for validation, 20 for test; label i is i % 10.
Dataset images() {
  Dataset data;
  data.name = "toy";
  data.inputs = at::zeros({100, 4}, at::kByte);
  data.labels = at::arange(100, at::kLong).remainder(10);
  data.features = 4;
  data.channels = 1;
  data.height = data.width = 2;
  data.classes = 10;
  for (std::int64_t i = 0; i < 100; ++i) {
    (i < 60 ? data.train : i < 80 ? data.validation : data.test).push_back(i);
  }
  return data;
}

TaskSequence tasks_of(const std::string& scenario, Settings more = {}) {
  more["scenario"] = scenario;
  return make_tasks(Config::resolve(more), images());
}

std::vector<std::int64_t> order_of(const TaskSequence& sequence) {
  std::vector<std::int64_t> order;
  for (const auto& task : sequence.tasks) {
    order.insert(order.end(), task.classes.begin(), task.classes.end());
  }
  return order;
}

void check_partition(const TaskSequence& sequence, const Dataset& data) {
  std::vector<std::int64_t> train, validation, test;
  for (const auto& task : sequence.tasks) {
    const std::set<std::int64_t> classes(task.classes.begin(), task.classes.end());
    for (const auto* list : {&task.train, &task.validation, &task.test}) {
      for (const auto example : *list) CHECK(classes.count(example % 10) == 1);
    }
    for (const auto each : task.classes) CHECK(sequence.task_of_class[each] == task.number);
    train.insert(train.end(), task.train.begin(), task.train.end());
    validation.insert(validation.end(), task.validation.begin(), task.validation.end());
    test.insert(test.end(), task.test.begin(), task.test.end());
  }
  for (auto* list : {&train, &validation, &test}) std::sort(list->begin(), list->end());
  CHECK(train == data.train);
  CHECK(validation == data.validation);
  CHECK(test == data.test);
}

}  // namespace

TEST_CASE("single holds everything in one task", "[unit]") {
  const TaskSequence sequence = tasks_of("single");
  REQUIRE(sequence.tasks.size() == 1);
  CHECK(sequence.tasks[0].number == 1);
  CHECK(sequence.tasks[0].classes.size() == 10);
  CHECK(sequence.tasks[0].train == images().train);
  CHECK(sequence.tasks[0].test == images().test);
  CHECK(sequence.outputs == 10);
  CHECK(sequence.target.empty());
  CHECK_FALSE(sequence.trained == OutputsOf::kTask);
  CHECK_FALSE(sequence.mask_evaluation);
  CHECK_FALSE(sequence.masked_readout);
}

TEST_CASE("single takes a byte corpus, a split refuses it", "[unit]") {
  Dataset data;
  data.kind = Dataset::Kind::kBytes;
  data.name = "bytes";
  data.inputs = at::zeros({1000}, at::kByte);
  data.classes = 256;
  data.train = {0, 900};
  data.validation = {900};
  data.test = {950};
  const TaskSequence sequence = make_tasks(Config::resolve({{"scenario", "single"}}), data);
  CHECK(sequence.tasks[0].classes.empty());
  CHECK(sequence.tasks[0].train == data.train);
  CHECK(sequence.outputs == 256);
  CHECK_THROWS_AS(make_tasks(Config::resolve({{"scenario", "class_il"}}), data), ConfigError);
}

TEST_CASE("a split puts each example into the task of its class", "[unit]") {
  for (const char* scenario : {"task_il", "domain_il", "class_il"}) {
    for (const char* tasks : {"1", "2", "3", "4", "5", "7", "10"}) {
      for (const char* order : {"natural", "random", "3,1,2,0,9,5,8,7,6,4"}) {
        INFO(scenario << " " << tasks << " " << order);
        const auto sequence = tasks_of(scenario, {{"tasks", tasks}, {"class_order", order}});
        CHECK(sequence.tasks.size() == static_cast<std::size_t>(std::stoi(tasks)));
        CHECK(sequence.task_outputs.size() == sequence.tasks.size());
        check_partition(sequence, images());
        const bool shared = std::string(scenario) == "domain_il";
        std::size_t most = 0;
        for (const auto& task : sequence.tasks) most = std::max(most, task.classes.size());
        CHECK(sequence.outputs == (shared ? static_cast<std::int64_t>(most) : 10));
        for (const auto& task : sequence.tasks) {
          const auto [first, last] = sequence.task_outputs[task.number - 1];
          REQUIRE(last - first == static_cast<std::int64_t>(shared ? most : task.classes.size()));
          for (std::size_t i = 0; i < task.classes.size(); ++i) {
            CHECK(sequence.target[task.classes[i]] == first + static_cast<std::int64_t>(i));
          }
        }
      }
    }
  }
}

TEST_CASE("permuted tasks have all examples, and each its own order of inputs", "[unit]") {
  for (const char* scenario : {"task_il", "domain_il", "class_il"}) {
    CAPTURE(scenario);
    Settings said = {{"tasks_by", "permutation"}, {"tasks", "3"}, {"seed", "5"}};
    const TaskSequence sequence = tasks_of(scenario, said);
    REQUIRE(sequence.tasks.size() == 3);
    REQUIRE(sequence.views.size() == 3);
    const bool shared = std::string(scenario) == "domain_il";
    CHECK(sequence.outputs == (shared ? 10 : 30));
    std::set<std::vector<std::int32_t>> orders;
    for (const Task& task : sequence.tasks) {
      const auto t = static_cast<std::size_t>(task.number - 1);
      CHECK(task.train == images().train);
      CHECK(task.test == images().test);
      CHECK(task.classes.size() == 10);
      std::vector<std::int32_t> order = sequence.views[t].from;
      orders.insert(order);
      if (t == 0) CHECK(order == std::vector<std::int32_t>{0, 1, 2, 3});
      std::sort(order.begin(), order.end());
      CHECK(order == std::vector<std::int32_t>{0, 1, 2, 3});
      const std::int64_t first = shared ? 0 : 10 * (task.number - 1);
      CHECK(sequence.task_outputs[t] == std::pair(first, first + 10));
      for (std::int64_t c = 0; c < 10; ++c) CHECK(sequence.target_by_task[t][c] == first + c);
    }
    said["seed"] = "7";
    said["seed_classes"] = "5";
    const TaskSequence same = tasks_of(scenario, said);
    CHECK(same.views[1].from == sequence.views[1].from);
    said["seed_classes"] = "3";
    said["tasks"] = "9";
    for (const InputView& view : tasks_of(scenario, said).views) orders.insert(view.from);
    CHECK(orders.size() > 5);  // of 24
  }
}

TEST_CASE("rotated tasks turn by angles of their own", "[unit]") {
  const auto angles = [](const Settings& more) {
    Settings said = {{"tasks_by", "rotation"}, {"tasks", "8"}};
    for (const auto& [name, value] : more) said[name] = value;
    std::set<std::vector<float>> weights;
    for (const InputView& view : tasks_of("domain_il", said).views) weights.insert(view.weight);
    return weights.size();
  };
  CHECK(angles({}) == 8);
  CHECK(angles({{"rotation_degrees", "0"}}) == 1);
}

TEST_CASE("tasks that have all classes refuse what is said of split ones", "[unit]") {
  CHECK_THROWS_WITH(tasks_of("class_il", {{"tasks_by", "permutation"}, {"class_order", "random"}}),
                    Contains("class_order = random") && Contains("leave it out"));
  Dataset data = images();
  data.kind = Dataset::Kind::kBytes;
  CHECK_THROWS_WITH(
      make_tasks(Config::resolve({{"scenario", "class_il"}, {"tasks_by", "permutation"}}), data),
      Contains("scenario = single"));
}

TEST_CASE("parts of a byte corpus are tasks that share their outputs", "[unit]") {
  Dataset data;
  data.kind = Dataset::Kind::kBytes;
  data.name = "bytes";
  data.inputs = at::zeros({300}, at::kByte);
  data.classes = 256;
  data.train = {0, 90, 100, 190, 200, 290};
  data.validation = {90, 92, 190, 290, 292};
  data.test = {95, 195, 197, 295};
  const auto make = [&](Settings more) {
    more.insert({{"data", "bytes"}, {"tasks_by", "corpus"}, {"tasks", "3"}});
    more.insert({"scenario", "domain_il"});
    return make_tasks(Config::resolve(more), data);
  };
  const TaskSequence natural = make({});
  REQUIRE(natural.tasks.size() == 3);
  CHECK(natural.outputs == 256);
  CHECK(natural.target.empty());
  CHECK_FALSE(natural.trained == OutputsOf::kTask);
  CHECK_FALSE(natural.masked_readout);
  CHECK(natural.tasks[1].number == 2);
  CHECK(natural.tasks[1].train == std::vector<std::int64_t>{100, 190});
  CHECK(natural.tasks[0].validation == std::vector<std::int64_t>{90, 92});
  CHECK(natural.tasks[1].validation == std::vector<std::int64_t>{190});
  CHECK(natural.tasks[1].test == std::vector<std::int64_t>{195, 197});
  CHECK(natural.tasks[2].test == std::vector<std::int64_t>{295});
  CHECK(natural.task_outputs[2] == std::pair<std::int64_t, std::int64_t>(0, 256));
  // Another order is one of the same parts.
  std::set<std::int64_t> first;
  for (const std::string seed : {"1", "2", "3", "4", "5", "6"}) {
    const TaskSequence drawn = make({{"class_order", "random"}, {"seed", seed}});
    std::set<std::int64_t> begins;
    for (const Task& task : drawn.tasks) begins.insert(task.train[0]);
    CHECK(begins == std::set<std::int64_t>{0, 100, 200});
    first.insert(drawn.tasks[0].train[0]);
  }
  CHECK(first.size() > 1);
  CHECK_THROWS_WITH(make({{"tasks", "2"}}), Contains("tasks = 2 and corpus names 3"));
  CHECK_THROWS_WITH(make({{"scenario", "class_il"}}), Contains("scenario = domain_il"));
  CHECK_THROWS_WITH(make({{"scenario", "task_il"}}), Contains("scenario = domain_il"));
  CHECK_THROWS_WITH(tasks_of("domain_il", {{"tasks_by", "corpus"}}), Contains("data = bytes"));
}

TEST_CASE("tasks of generated sequences have tokens of their own", "[unit]") {
  Dataset data;
  data.kind = Dataset::Kind::kSequences;
  data.name = "mqar_forgetting";
  data.inputs = at::zeros({9, 30}, at::kShort);
  data.classes = 21;
  data.train = {0, 1, 2, 3, 4};
  data.validation = {5, 6};
  data.test = {7, 8};
  const auto make = [&](Settings more) {
    more.insert({{"data", "mqar_forgetting"},
                 {"model", "transformer"},
                 {"tasks_by", "permutation"},
                 {"tasks", "3"}});
    more.insert({"scenario", "domain_il"});
    return make_tasks(Config::resolve(more), data);
  };
  const TaskSequence sequence = make({});
  REQUIRE(sequence.tasks.size() == 3);
  CHECK(sequence.outputs == 21);
  CHECK(sequence.has_views());
  CHECK(sequence.views.empty());
  CHECK(sequence.shares_outputs());
  REQUIRE(sequence.tokens.size() == 3);
  std::vector<std::int64_t> natural(21);
  std::iota(natural.begin(), natural.end(), 0);
  CHECK(sequence.tokens[0] == natural);
  for (const std::size_t task : {1, 2}) {
    std::vector<std::int64_t> own = sequence.tokens[task];
    CHECK(own != natural);
    std::sort(own.begin(), own.end());
    CHECK(own == natural);
    CHECK(sequence.tasks[task].train.is_same(sequence.tasks[0].train));
    CHECK(sequence.tasks[task].number == static_cast<std::int64_t>(task) + 1);
  }
  CHECK(sequence.tokens[1] != sequence.tokens[2]);
  CHECK(sequence.tasks[0].test == data.test);
  // Which permutations is a matter of the run's classes, and of nothing else.
  CHECK(make({{"seed_data", "7"}}).tokens == sequence.tokens);
  CHECK(make({{"seed_classes", "7"}}).tokens != sequence.tokens);
  const TaskSequence more = make({{"tasks", "4"}});
  CHECK(more.tokens[2] == sequence.tokens[2]);
  for (const std::string scenario : {"class_il", "task_il"}) {
    CHECK_THROWS_WITH(make({{"scenario", scenario}}), Contains("give scenario = domain_il"));
  }
  CHECK_THROWS_WITH(make({{"tasks_by", "rotation"}}), Contains("or tasks_by = permutation"));
  CHECK_THROWS_WITH(make({{"tasks_by", "classes"}}), Contains("tasks_by = permutation"));
  CHECK_THROWS_WITH(make({{"tasks_by", "corpus"}}), Contains("data = bytes"));
  CHECK_THROWS_WITH(make({{"class_order", "random"}}), Contains("leave it out"));
  CHECK_THROWS_WITH(make({{"task_classes", "10,6,5"}}), Contains("leave it out"));
}

TEST_CASE("scenarios differ in outputs and masks", "[unit]") {
  const auto task = tasks_of("task_il"), domain = tasks_of("domain_il"), cls = tasks_of("class_il");
  CHECK(task.outputs == 10);
  CHECK(task.trained == OutputsOf::kTask);
  CHECK(task.mask_evaluation);
  CHECK_FALSE(task.masked_readout);
  CHECK(task.task_outputs[2] == std::pair<std::int64_t, std::int64_t>(4, 6));
  CHECK(domain.outputs == 2);
  CHECK(domain.target == std::vector<std::int64_t>{0, 1, 0, 1, 0, 1, 0, 1, 0, 1});
  CHECK(domain.task_outputs[4] == std::pair<std::int64_t, std::int64_t>(0, 2));
  CHECK_FALSE(domain.trained == OutputsOf::kTask);
  CHECK_FALSE(domain.mask_evaluation);
  CHECK(cls.outputs == 10);
  CHECK_FALSE(cls.trained == OutputsOf::kTask);
  CHECK_FALSE(cls.mask_evaluation);
  CHECK(cls.masked_readout);
  CHECK(cls.trained == OutputsOf::kAll);
  CHECK(tasks_of("class_il", {{"train_outputs", "seen"}}).trained == OutputsOf::kSeen);
  CHECK_THROWS_WITH(tasks_of("class_il", {{"train_outputs", "seem"}}), Contains("seem"));
  const auto own = tasks_of("class_il", {{"train_outputs", "task"}});
  CHECK(own.trained == OutputsOf::kTask);
  CHECK_FALSE(own.mask_evaluation);
  CHECK(cls.task_outputs[4] == std::pair<std::int64_t, std::int64_t>(8, 10));
}

TEST_CASE("the natural class order is natural, the random one follows the seed", "[unit]") {
  const auto order = [](Settings more) { return order_of(tasks_of("class_il", std::move(more))); };
  std::vector<std::int64_t> natural(10);
  std::iota(natural.begin(), natural.end(), 0);
  CHECK(order({{"seed", "4"}}) == natural);
  const auto four = order({{"class_order", "random"}, {"seed", "4"}});
  CHECK(four != natural);
  CHECK(four == order({{"class_order", "random"}, {"seed", "4"}}));
  CHECK(four != order({{"class_order", "random"}, {"seed", "5"}}));
  CHECK(four == order({{"class_order", "random"}, {"seed", "9"}, {"seed_classes", "4"}}));
  CHECK(four == order({{"class_order", "random"}, {"seed", "4"}, {"seed_data", "7"}}));
}

TEST_CASE("a class order that is said is that of the tasks, each class once", "[unit]") {
  const std::string said = "3,1,2,0,4,5,6,7,9,8";
  const auto sequence = tasks_of("class_il", {{"class_order", said}, {"seed", "4"}});
  CHECK(order_of(sequence) == std::vector<std::int64_t>{3, 1, 2, 0, 4, 5, 6, 7, 9, 8});
  CHECK(sequence.target == std::vector<std::int64_t>{3, 1, 2, 0, 4, 5, 6, 7, 9, 8});
  const auto refused = [](const std::string& order, const std::string& why) {
    CHECK_THROWS_WITH(
        tasks_of("class_il", {{"class_order", order}}),
        Contains("class_order = " + order + " must have each of 0 to 9 once") && Contains(why));
  };
  refused("3,1,2,0,4,5,6,7,9", "lacks 8");
  refused("3", "lacks 0, 1, 2, 4, 5, 6, 7, 8, 9; in a grid file a list is in braces");
  refused("3,1,2,0,4,5,6,7,9,8,3", "has 3 twice");
  refused("1,2,3,4,5,6,7,8,9,10", "has 10");
  CHECK_THROWS_WITH(tasks_of("class_il", {{"tasks_by", "permutation"}, {"class_order", said}}),
                    Contains("class_order = " + said) && Contains("leave it out"));
}

std::vector<std::size_t> sizes_of(const TaskSequence& sequence) {
  std::vector<std::size_t> sizes;
  for (const Task& task : sequence.tasks) sizes.push_back(task.classes.size());
  return sizes;
}

TEST_CASE("the first tasks have one class more where tasks do not divide the classes", "[unit]") {
  using Sizes = std::vector<std::size_t>;
  CHECK(sizes_of(tasks_of("class_il", {{"tasks", "3"}})) == Sizes{4, 3, 3});
  CHECK(sizes_of(tasks_of("task_il", {{"tasks", "4"}})) == Sizes{3, 3, 2, 2});
  CHECK(sizes_of(tasks_of("class_il", {{"tasks", "9"}})) == Sizes{2, 1, 1, 1, 1, 1, 1, 1, 1});
  // Tasks share as many outputs as the largest has classes, and count their own from 0.
  const auto domain = tasks_of("domain_il", {{"tasks", "3"}});
  CHECK(domain.outputs == 4);
  CHECK(domain.target == std::vector<std::int64_t>{0, 1, 2, 3, 0, 1, 2, 0, 1, 2});
  CHECK(domain.shares_outputs());
  const auto task = tasks_of("task_il", {{"tasks", "3"}});
  CHECK(task.task_outputs[1] == std::pair<std::int64_t, std::int64_t>(4, 7));
  CHECK_THROWS_WITH(tasks_of("domain_il", {{"tasks", "20"}}),
                    Contains("tasks = 20") && Contains("10 classes") && Contains("at most 10"));
}

TEST_CASE("tasks have the sizes that are said", "[unit]") {
  const Settings said = {{"task_classes", "5,1,4"}, {"tasks", "3"}};
  CHECK(sizes_of(tasks_of("class_il", said)) == std::vector<std::size_t>{5, 1, 4});
  const auto domain = tasks_of("domain_il", said);
  CHECK(domain.outputs == 5);
  CHECK(domain.target == std::vector<std::int64_t>{0, 1, 2, 3, 4, 0, 0, 1, 2, 3});
  check_partition(domain, images());
  CHECK_THROWS_WITH(tasks_of("class_il", {{"task_classes", "5,5"}}),
                    Contains("task_classes = 5,5 has 2 tasks") && Contains("give --tasks 2"));
  CHECK_THROWS_WITH(tasks_of("class_il", {{"task_classes", "5,6"}, {"tasks", "2"}}),
                    Contains("adds up to 11") && Contains("10 classes"));
  CHECK_THROWS_WITH(
      tasks_of("domain_il", {{"task_classes", "5,5"}, {"tasks", "2"}, {"tasks_by", "permutation"}}),
      Contains("tasks_by = permutation") && Contains("leave it out"));
  // What is even anyhow is the same sequence under another id; nothing said is the id of before.
  CHECK(Config::resolve({{"scenario", "class_il"}, {"task_classes", ""}}).id() ==
        Config::resolve({{"scenario", "class_il"}}).id());
}

TEST_CASE("a task without training examples is refused", "[unit]") {
  Dataset data = images();
  data.train = {0, 1, 2, 3, 4, 5, 6, 7};
  CHECK_THROWS_WITH(
      make_tasks(Config::resolve({{"scenario", "class_il"}, {"train_examples", "8"}}), data),
      Contains("task 5") && Contains("raise train_examples"));
  // A validation split that took them is named instead.
  CHECK_THROWS_WITH(
      make_tasks(Config::resolve({{"scenario", "class_il"}, {"validation", "0.2"}}), data),
      Contains("task 5 (classes 8, 9") && Contains("--validation 0.2 drew all of its ") &&
          Contains("give a smaller one"));
}

}  // namespace tandem::test::continual_scenarios_unit
