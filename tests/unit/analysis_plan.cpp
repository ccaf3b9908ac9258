// What a [table] section may say, and what is refused with which help.
#include <catch2/catch.hpp>

#include "analysis/table_plan.h"
#include "core/error.h"

namespace tandem::test::analysis_plan_unit {
namespace {

using Kind = Measure::Kind;

TEST_CASE("measures and their read-outs", "[unit]") {
  const Measure plain = parse_measure("accuracy");
  CHECK(plain.kind == Kind::kEval);
  CHECK_FALSE(plain.readout.weights.sparse);
  const Measure half = parse_measure("f_chaudhry@sparse/2 as F at half");
  CHECK(half.kind == Kind::kContinual);
  CHECK(half.label == "F at half");
  CHECK(half.text == "f_chaudhry@sparse/2");
  CHECK(half.readout.weights.sparse);
  CHECK(half.readout.attention.factor == 0.5);
  CHECK_FALSE(half.readout.by_level);
  CHECK(parse_measure("loss@sparse*4").readout.weights.factor == 4);
  const Measure both = parse_measure("bits_per_byte@attention=sparse,weights=full,masked");
  CHECK(both.readout.by_level);
  CHECK(both.readout.attention.sparse);
  CHECK_FALSE(both.readout.weights.sparse);
  CHECK(both.readout.masked);
  const Measure metric = parse_measure("metric:kept_mass@weights");
  CHECK(metric.kind == Kind::kMetric);
  CHECK(metric.name == "kept_mass");
  CHECK(metric.layer == "weights");
  const Measure average = parse_measure("average:churn@weights/fc1 as churn");
  CHECK(average.kind == Kind::kAverage);
  CHECK(average.name == "churn");
  CHECK(average.layer == "weights/fc1");
  CHECK(average.label == "churn");
  CHECK(decimals(average) == 3);
  CHECK(parse_measure("train_flops").kind == Kind::kRun);
}

TEST_CASE("measures that mean nothing are refused", "[unit]") {
  for (const char* bad : {"accuracy@", "@full", "accuracy@sparse/0", "accuracy@sparse/x",
                          "accuracy@sprase", "seconds@full", "metric:", "average:",
                          "average:@weights", "accuracy@full,weights=full", ""})
    CHECK_THROWS_AS(parse_measure(bad), ConfigError);
}

TEST_CASE("a section becomes a plan", "[unit]") {
  const TablePlan plan = plan_table(
      {"t",
       {{"rows", "weights, density"},
        {"columns", "accuracy@full, loss@attention=sparse, weights=full as mixed, seconds"},
        {"across", "data"},
        {"where", "density=0.1  weights=ssa|rigl widths=400,400"},
        {"digits", "1"},
        {"grid", "g"},
        {"title", "A title"}}});
  CHECK(plan.rows == std::vector<std::string>{"weights", "density"});
  REQUIRE(plan.measures.size() == 3);
  CHECK(plan.measures[1].text == "loss@attention=sparse,weights=full");
  CHECK(plan.measures[1].label == "mixed");
  CHECK(plan.across == std::vector<std::string>{"data"});
  REQUIRE(plan.where.size() == 3);
  CHECK(plan.where[1].values == std::vector<std::string>{"ssa", "rigl"});
  CHECK(plan.where[2].values == std::vector<std::string>{"400,400"});
  CHECK(plan.digits == 1);
  CHECK(plan.split == "auto");
}

TEST_CASE("own is a read-out of its own", "[unit]") {
  const Measure m = parse_measure("accuracy@attention=sparse/2,weights=own as half");
  CHECK(m.readout.by_level);
  CHECK(m.readout.attention.sparse);
  CHECK(m.readout.attention.factor == 0.5);
  CHECK(m.readout.weights.own);
  CHECK_FALSE(m.readout.attention.own);
}

TEST_CASE("a section's mistakes name what is valid", "[unit]") {
  const auto with = [](const char* key, const char* value) {
    return TableSpec{"t", {{"columns", "accuracy"}, {key, value}}};
  };
  CHECK_THROWS_WITH(plan_table(with("row", "weights")), Catch::Contains("rows"));
  CHECK_THROWS_WITH(plan_table(with("split", "tset")), Catch::Contains("test"));
  CHECK_THROWS_WITH(plan_table(with("digits", "many")), Catch::Contains("0..12"));
  CHECK_THROWS_WITH(plan_table(with("where", "weights")), Catch::Contains("key=value"));
  CHECK_THROWS_WITH(plan_table({"t", {{"rows", "weights"}}}), Catch::Contains("no columns"));
}

}  // namespace
}  // namespace tandem::test::analysis_plan_unit
