// Tables that can't be made are refused before there are runs.
#include <catch2/catch.hpp>

#include "analysis/table_check.h"
#include "core/error.h"
#include "support/config_fixture.h"

namespace tandem::test::analysis_check_unit {
namespace {

using Catch::Contains;

const test::ConfigFixture fixture;

std::string refusal(const Settings& settings, const std::set<std::string>& open = {}) {
  const std::vector<Config> runs = {fixture.resolve({{"weights", "dense"}, {"density", "0.1"}}),
                                    fixture.resolve({{"weights", "set"}, {"density", "0.1"}}),
                                    fixture.resolve({{"weights", "set"}, {"density", "0.2"}})};
  try {
    check_table(plan_table({"t", settings}), "g", runs, open);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a table's keys and conditions are checked against the grid's runs", "[unit]") {
  CHECK(
      refusal({{"rows", "weights, density"}, {"columns", "accuracy@sparse, train_flops"}}).empty());
  CHECK_THAT(refusal({{"rows", "weigths"}, {"columns", "accuracy"}}),
             Contains("did you mean weights"));
  CHECK_THAT(refusal({{"across", "densty"}, {"columns", "accuracy"}}), Contains("density"));
  CHECK_THAT(refusal({{"columns", "trian_flops"}}), Contains("train_flops"));
  CHECK_THAT(refusal({{"where", "strat=er"}, {"columns", "accuracy"}}),
             Contains("key of a condition"));
  CHECK_THAT(refusal({{"where", "weights=rigl"}, {"columns", "accuracy"}}),
             Contains("no run of the grid can meet where = weights=rigl"));
  CHECK(refusal({{"where", "weights=set|rigl density=0.10 state=done"}, {"columns", "accuracy"}})
            .empty());
  CHECK_THAT(refusal({{"where", "weights=dense density=0.2"}, {"columns", "accuracy"}}),
             Contains("density=0.2"));
  CHECK_THAT(refusal({{"columns", "accuracy vs weights=rigl"}}), Contains("weights=rigl"));
  CHECK(refusal({{"columns", "accuracy vs weights=dense"}}).empty());
}

TEST_CASE("what tuning will choose is not held against a table, nor another grid's runs",
          "[unit]") {
  const Settings lr = {{"where", "lr=0.7"}, {"columns", "accuracy"}};
  CHECK_FALSE(refusal(lr).empty());
  CHECK(refusal(lr, {"lr"}).empty());
  CHECK(refusal({{"grid", "other"}, {"where", "weights=rigl"}, {"columns", "accuracy"}}).empty());
  CHECK_FALSE(refusal({{"grid", "other"}, {"rows", "weigths"}, {"columns", "accuracy"}}).empty());
}

TEST_CASE("contrasts are checked among the runs that their table shows", "[unit]") {
  const std::string contrast = "accuracy@sparse of weights=set density=0.2 vs density=0.1";
  CHECK(refusal({{"contrast.a", contrast}}).empty());
  CHECK_THAT(refusal({{"contrast.a", contrast}, {"where", "density=0.1"}}),
             Contains("contrast a: no run of the grid has"));
  CHECK_THAT(refusal({{"contrast.a", "accuracy of weights=set vs weights=rigl"}}),
             Contains("rigl"));
}

}  // namespace tandem::test::analysis_check_unit
