// MEST's soft memory bound: counts by the formula after every update, the budget at the end.
#include <catch2/catch.hpp>
#include <cmath>

#include "data/tensor.h"
#include "methods/method.h"
#include "plan/match.h"
#include "support/train_support.h"
#include "topology/active_set.h"
#include "topology/budgets.h"
#include "train/trainer.h"

namespace tandem::test::train_soft_bound_numeric {

using namespace tandem::test;

namespace {

Settings soft_bound(Settings more = {}) {
  Settings said = busy_method("mest", "sgd", 50, 7);
  said["mest_order"] = "soft_bound";
  said["drop_fraction"] = "0.05";
  for (const auto& [name, value] : more) said[name] = value;
  return said;
}

struct Update {
  std::int64_t completed = 0;
  std::vector<std::int64_t> nnz, dropped, grown;  // by layer
};

struct Course {
  std::vector<std::int64_t> start, end;  // counts by layer
  std::vector<Update> updates;
};

Course course_of(const Settings& said) {
  Trainer trainer({small_run(said)}, {});
  trainer.begin_stage(0);
  Course course;
  const auto counts = [&] {
    std::vector<std::int64_t> all;
    for (const Linear* layer : trainer.model().linears()) {
      all.push_back(layer->connections->active(0));
    }
    return all;
  };
  course.start = counts();
  const bool instead = said.count("update_order") != 0 && said.at("update_order") !=
                                                              "step_then_"
                                                              "update";
  for (std::int64_t step = 0; step < trainer.stage_steps(0); ++step) {
    const StepReport report = trainer.advance(0, step, 1);
    if (!report.updated[0]) continue;
    Update update;
    update.completed = instead ? step : step + 1;
    for (const UpdateCounts& own : report.updates) {
      update.nnz.push_back(own.nnz[0]);
      update.dropped.push_back(own.dropped[0]);
      update.grown.push_back(own.grown[0]);
    }
    course.updates.push_back(update);
  }
  course.end = counts();
  return course;
}

double extra_at(const std::string& schedule, double progress) {
  return schedule == "linear" ? 0.05 * (1 - progress)
                              : 0.025 * (1 + std::cos(std::acos(-1) * progress));
}

}  // namespace

TEST_CASE("a soft bound holds budget (1 + e) between updates and ends at the budget", "[numeric]") {
  for (const std::string schedule : {"linear", "cosine"}) {
    for (const std::string end : {"0.75", "1"}) {  // 37.5 and 50 steps; the interval is 7
      for (const std::string order : {"step_then_update", "update_instead"}) {
        CAPTURE(schedule, end, order);
        const Course course = course_of(soft_bound(
            {{"drop_schedule", schedule}, {"update_end", end}, {"update_order", order}}));
        const double span = 50 * std::stod(end);
        const std::int64_t last = end == "0.75" ? 38 : order == "update_instead" ? 49 : 50;
        REQUIRE(course.updates.back().completed == last);
        REQUIRE(course.updates.size() == (end == "0.75" ? 6 : last == 49 ? 7 : 8));
        for (const Update& update : course.updates) {
          const bool is_last = update.completed == last;
          CAPTURE(update.completed);
          const double e =
              is_last ? 0 : extra_at(schedule, static_cast<double>(update.completed) / span);
          for (std::size_t l = 0; l < course.start.size(); ++l) {
            const LayerShape shapes[] = {{"", 784, 37}, {"", 37, 23}, {"", 23, 10}};
            const std::int64_t budget = course.start[l];
            const std::int64_t room = shapes[l].positions() - budget;
            CHECK(update.nnz[l] == budget + std::min(room, floor_count(e, budget)));
          }
        }
        REQUIRE(course.end == course.start);
        REQUIRE(course.updates.front().dropped == std::vector<std::int64_t>{0, 0, 0});
        REQUIRE(course.updates.front().grown[0] > 0);
        REQUIRE(course.updates[1].dropped[0] > 0);
        REQUIRE(course.updates.back().grown == std::vector<std::int64_t>{0, 0, 0});
      }
    }
  }
}

TEST_CASE("a soft bound's extra must decay, and quotas cannot hold it", "[numeric]") {
  const auto policies = [](const Settings& said) {
    return policies_of(small_run(said), Level::kWeights);
  };
  REQUIRE_THROWS_WITH(policies(soft_bound({{"drop_schedule", "constant"}})),
                      Catch::Contains("must end at 0"));
  REQUIRE_THROWS_WITH(policies(soft_bound({{"drop_final", "0.01"}})),
                      Catch::Contains("must end at 0"));
  REQUIRE_THROWS_WITH(Trainer({small_run(soft_bound({{"granularity", "fan_in"}}))}, {}),
                      Catch::Contains("more weights than"));
}

TEST_CASE("the operations of a soft bound are foreseen", "[numeric]") {
  const auto trained = [](const Settings& said) {
    Trainer trainer({small_run(said)}, {});
    trainer.begin_stage(0);
    for (std::int64_t s = 0; s < trainer.stage_steps(0);) s += trainer.advance(0, s, 1).steps;
    return trainer.flops().training(0);
  };
  const Settings base = {{"batch", "8"}, {"lr", "0.001"}, {"steps", "600"}, {"widths", "24,12"}};
  Settings dense = base, soft = soft_bound(base);
  dense["weights"] = "dense";
  soft["match"] = "train_flops";
  soft["density"] = "0.4";
  soft["drop_fraction"] = "0.9";
  REQUIRE(trained(soft) == Approx(trained(dense)).epsilon(0.002));
}

}  // namespace tandem::test::train_soft_bound_numeric
