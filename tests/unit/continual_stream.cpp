// The stream of pairs of classes: who is shown when, and under which angle.
#include <ATen/ATen.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <set>

#include "continual/scenario.h"
#include "continual/strategy.h"
#include "core/error.h"
#include "jobs/run_check.h"
#include "support/train_support.h"

namespace tandem::test::continual_stream_unit {
namespace {

using Catch::Matchers::Contains;

// Classes of very different sizes, in an order that mixes them: example i has the class that i's
// place in a cycle of 21 says, 6 of which are of class 0, 5 of class 1 and so on down to class 5.
constexpr std::int64_t kExamples = 21 * 20;

std::int64_t class_of(std::int64_t example) {
  std::int64_t place = example * 8 % 21, label = 0;
  for (std::int64_t size = 6; place >= size; --size) {
    place -= size;
    ++label;
  }
  return label;
}

Dataset images() {
  Dataset data;
  data.name = "toy";
  data.inputs = at::zeros({kExamples, 9}, at::kByte);
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < kExamples; ++i) {
    labels.push_back(class_of(i));
    (i % 10 == 3 ? data.validation : i % 10 == 7 ? data.test : data.train).push_back(i);
  }
  data.labels = at::tensor(labels);
  data.features = 9;
  data.channels = 1;
  data.height = data.width = 3;
  data.classes = 6;
  return data;
}

TaskSequence stream_of(Settings more = {}, const Dataset& data = images()) {
  more["scenario"] = "general_360";
  return make_tasks(Config::resolve(more), data);
}

double angle_of(const TaskSequence& sequence, std::int64_t example) {
  const std::vector<double> degrees = degrees_of(sequence.angles->arcs);
  return degrees.at(
      static_cast<std::size_t>(sequence.angles->number.at(static_cast<std::size_t>(example))));
}

std::map<std::int64_t, std::vector<std::int64_t>> by_class(const ExampleList& list) {
  std::map<std::int64_t, std::vector<std::int64_t>> all;
  for (const std::int64_t each : list) all[class_of(each)].push_back(each);
  return all;
}

// Degrees from one direction to another, the shorter way.
double apart(double a, double b) {
  const double turn = std::abs(std::remainder(a - b, 360.0));
  return turn;
}

struct Shape {
  std::string said;  // pair_classes
  std::int64_t classes, rounds;
};
const std::vector<Shape> kShapes = {{"0", 6, 2}, {"4", 4, 3}, {"2", 2, 1}, {"5", 5, 1}};

Settings settings_of(const Shape& shape, const std::string& seed = "1") {
  return {
      {"pair_classes", shape.said}, {"pair_rounds", std::to_string(shape.rounds)}, {"seed", seed}};
}

}  // namespace

TEST_CASE("a stream shows each example of its classes once", "[unit]") {
  const Dataset data = images();
  for (const Shape& shape : kShapes) {
    CAPTURE(shape.classes, shape.rounds);
    const TaskSequence sequence = stream_of(settings_of(shape));
    REQUIRE(sequence.tasks.size() == 1);
    const Task& task = sequence.tasks.front();
    CHECK(task.in_order);
    CHECK(task.number == 1);
    CHECK(static_cast<std::int64_t>(task.classes.size()) == shape.classes);
    CHECK(sequence.outputs == shape.classes);
    for (std::int64_t c = 0; c < shape.classes; ++c) CHECK(sequence.output_of(1, c) == c);
    for (std::int64_t c = 0; c < 6; ++c) CHECK(sequence.output_of(1, c) < shape.classes);
    const auto require_all = [&](ExampleList list, const std::vector<std::int64_t>& of) {
      std::vector<std::int64_t> seen = list.places(), expected;
      std::sort(seen.begin(), seen.end());
      std::copy_if(of.begin(), of.end(), std::back_inserter(expected),
                   [&](std::int64_t each) { return class_of(each) < shape.classes; });
      REQUIRE(expected.size() > 20);
      REQUIRE(seen == expected);
    };
    require_all(task.train, data.train);
    require_all(task.validation, data.validation);
    require_all(task.test, data.test);
  }
}

TEST_CASE("a stream goes round the pairs of neighbouring classes", "[unit]") {
  for (const Shape& shape : kShapes) {
    CAPTURE(shape.classes, shape.rounds);
    const TaskSequence sequence = stream_of(settings_of(shape));
    const std::vector<std::int64_t>& stream = sequence.tasks.front().train.places();
    const std::int64_t parts = 2 * shape.rounds, pairs = shape.rounds * shape.classes;
    std::map<std::int64_t, std::int64_t> size, seen;
    for (const std::int64_t each : stream) ++size[class_of(each)];
    // The pair that each example belongs to, by how many of its class were shown before it.
    std::vector<std::vector<std::int64_t>> shown(static_cast<std::size_t>(pairs));
    std::int64_t now = 0;
    for (const std::int64_t each : stream) {
      const std::int64_t own = class_of(each);
      const std::int64_t part = ((seen[own]++ + 1) * parts - 1) / size[own];
      const bool opens = part % 2 == (own == 0 ? 0 : 1);  // it is the pair's first class
      const std::int64_t first = opens ? own : (own + shape.classes - 1) % shape.classes;
      const std::int64_t pair = part / 2 * shape.classes + first;
      REQUIRE((pair == now || pair == now + 1));
      now = pair;
      shown[static_cast<std::size_t>(pair)].push_back(own);
    }
    for (std::int64_t pair = 0; pair < pairs; ++pair) {
      const std::vector<std::int64_t>& labels = shown[static_cast<std::size_t>(pair)];
      const std::int64_t first = pair % shape.classes, second = (first + 1) % shape.classes;
      const auto of = [&](std::int64_t label, std::size_t begin, std::size_t count) {
        const auto at = labels.begin() + static_cast<std::ptrdiff_t>(begin);
        return std::count(at, at + static_cast<std::ptrdiff_t>(count), label);
      };
      for (const std::int64_t label : {first, second}) {
        const std::int64_t there = of(label, 0, labels.size());
        REQUIRE((there == size[label] / parts || there == size[label] / parts + 1));
      }
      // Any batch of the pair has both in the proportion of what there is of them.
      const double share =
          static_cast<double>(of(first, 0, labels.size())) / static_cast<double>(labels.size());
      for (const std::size_t batch : {1, 4, 7, 16}) {
        for (std::size_t begin = 0; begin + batch <= labels.size(); ++begin) {
          const auto expected = share * static_cast<double>(batch);
          REQUIRE(std::abs(static_cast<double>(of(first, begin, batch)) - expected) < 1 + 1e-9);
        }
      }
    }
  }
}

TEST_CASE("each class of a stream turns once round, from an angle of its own", "[unit]") {
  for (const Shape& shape : kShapes) {
    CAPTURE(shape.classes, shape.rounds);
    const TaskSequence sequence = stream_of(settings_of(shape));
    const Task& task = sequence.tasks.front();
    for (const auto& [label, shown] : by_class(task.train)) {
      std::set<double> angles;
      for (std::size_t k = 0; k < shown.size(); ++k) {
        const double expected = (static_cast<double>(label) - 1) * 60 +
                                static_cast<double>(k) * 360 / static_cast<double>(shown.size());
        const double angle = angle_of(sequence, shown[k]);
        REQUIRE(angle >= 0);
        REQUIRE(angle < 360);
        REQUIRE(apart(angle, expected) < 1e-9);
        angles.insert(angle);
      }
      REQUIRE(angles.size() == shown.size());
    }
    for (const ExampleList& list : {task.validation, task.test}) {
      REQUIRE(std::is_sorted(list.begin(), list.end()));
      for (const auto& [label, shown] : by_class(list)) {
        for (std::size_t k = 0; k < shown.size(); ++k) {
          const double expected = static_cast<double>(k) * 360 / static_cast<double>(shown.size());
          REQUIRE(apart(angle_of(sequence, shown[k]), expected) < 1e-9);
        }
      }
    }
  }
}

TEST_CASE("a stream follows the seed of the data, its evaluation none", "[unit]") {
  const auto stream = [](const Settings& more) {
    return stream_of(more).tasks.front().train.places();
  };
  const Settings one = {{"pair_rounds", "2"}, {"seed", "1"}};
  Settings other = one, same = one;
  other["seed"] = "2";
  same["seed"] = "2";
  same["seed_data"] = "1";
  CHECK(stream(one) != stream(other));
  CHECK(stream(one) == stream(same));
  const TaskSequence a = stream_of(one), b = stream_of(other);
  for (const std::int64_t each : a.tasks.front().test)
    CHECK(angle_of(a, each) == angle_of(b, each));
}

TEST_CASE("a stream that can't be had is refused", "[unit]") {
  CHECK_THROWS_WITH(stream_of({{"pair_classes", "1"}}), Contains("pair_classes = 1"));
  CHECK_THROWS_WITH(stream_of({{"pair_classes", "7"}}),
                    Contains("pair_classes = 7") && Contains("2 to 6"));
  // Of 420 x 0.8 training examples class 5 has a 21st.
  CHECK_THROWS_WITH(stream_of({{"pair_rounds", "9"}}),
                    Contains("pair_rounds = 9") && Contains("class 5 of toy has 16"));
  CHECK_NOTHROW(stream_of({{"pair_rounds", "9"}, {"pair_classes", "5"}}));
  Dataset data = images();
  data.width = 2;
  data.features = 6;
  CHECK_THROWS_WITH(stream_of({}, data), Contains("square images") && Contains("3 x 2"));
  data = images();
  data.channels = 3;
  CHECK_THROWS_WITH(stream_of({}, data), Contains("3 x 3 with 3"));
  data.kind = Dataset::Kind::kBytes;
  CHECK_THROWS_WITH(stream_of({}, data), Contains("scenario = single"));
}

TEST_CASE("a stream takes strategies that need no end of a task, and one pass", "[unit]") {
  const auto refusal = [](Settings said) -> std::string {
    said["scenario"] = "general_360";
    Settings settings = {{"train_examples", "300"}, {"widths", "13"}, {"buffer", "30"}};
    said.insert(settings.begin(), settings.end());
    try {
      RunCheck("cpu").check(Config::resolve(said, /*strict=*/false));
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  std::set<std::string> taken;
  for (const Part& strategy : parts_of("strategy")) {
    const std::string why = refusal({{"strategy", strategy.name}});
    CAPTURE(strategy.name, why);
    if (why.empty()) {
      taken.insert(strategy.name);
    } else {
      CHECK_THAT(why, Contains("--strategy " + strategy.name) && Contains("in which no task ends"));
    }
  }
  CHECK(taken == std::set<std::string>{"finetune", "joint", "er", "er_ace", "der", "derpp", "mir",
                                       "cls_er"});
  for (const auto& [option, value] :
       {std::pair("epochs", "2"), {"epochs", "0.5"}, {"steps", "5"}, {"match", "train_flops"}}) {
    CAPTURE(option);
    CHECK_THAT(refusal({{option, value}}), Contains("shows each example once"));
    CHECK(refusal({{option, value}, {"strategy", "joint"}}).empty());
  }
  for (const std::string rule : {"reservoir", "ring", "balanced"}) {
    CHECK(refusal({{"strategy", "er"}, {"buffer_rule", rule}}).empty());
  }
  CHECK_THAT(refusal({{"strategy", "er"}, {"buffer_rule", "task_ends"}}),
             Contains("not with --buffer-rule task_ends"));
  CHECK_THAT(refusal({{"weights", "rigl"}, {"growth_batches", "2"}}),
             Contains("--growth-batches 0"));
  CHECK(refusal({{"weights", "rigl"}}).empty());
}

TEST_CASE("what is read where a task follows another changes nothing in a stream", "[unit]") {
  for (const std::string scenario : {"class_il", "general_360"}) {
    const std::vector<std::string> warnings =
        RunCheck("cpu").check(small_run({{"scenario", scenario},
                                         {"epochs", "1"},
                                         {"train_examples", "300"},
                                         {"task_lr", "1,0.5"}}));
    const bool said = std::any_of(warnings.begin(), warnings.end(), [](const std::string& each) {
      return each.find("task_lr = ") != std::string::npos;
    });
    CAPTURE(scenario);
    CHECK(said == (scenario == "general_360"));
  }
}

}  // namespace tandem::test::continual_stream_unit
