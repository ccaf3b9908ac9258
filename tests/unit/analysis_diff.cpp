// Two sides, setting by setting. The pairs of ssa are those of analysis_contrast.cpp: mean
// difference 0.7 points, p = 0.0341.
#include <catch2/catch.hpp>

#include "analysis/table_diff.h"
#include "analysis/table_writers.h"
#include "core/error.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_diff_unit {
namespace {

using Catch::Contains;

struct Setting {
  std::string weights, lr;
  std::vector<int> correct;  // of 1000, for seeds 1, 2, ...; -1: diverged
};

// A side whose runs all have this device-like option.
DiffSide side_of(const std::string& path, const std::string& batch,
                 const std::vector<Setting>& settings) {
  {
    StoreWriter writer(path);
    for (const Setting& setting : settings)
      for (std::size_t i = 0; i < setting.correct.size(); ++i) {
        const RunRecord run = test::make_run({{"weights", setting.weights},
                                              {"lr", setting.lr},
                                              {"batch", batch},
                                              {"seed", std::to_string(i + 1)}});
        writer.add_runs({run});
        if (setting.correct[i] < 0) {
          writer.insert({test::state(run.id, 0, "diverged")});
          continue;
        }
        writer.insert({test::readout(run.id, 0, setting.correct[i], "full", {}),
                       test::state(run.id, 1, "done")});
      }
  }
  TablePlan plan;
  plan.measures = parse_measures("accuracy@full");
  return {path, select_runs(StoreReader(path), plan), "validation"};
}

}  // namespace

TEST_CASE("a diff pairs the seeds of each setting that both sides have", "[unit]") {
  const TemporaryFolder folder;
  const DiffSide a = side_of(folder / "a.sqlite", "64",
                             {{"ssa", "0.1", {912, 908, 915, 910, 913}},
                              {"set", "0.1", {900, 901, 902, -1}},
                              {"rigl", "0.1", {800, 801, 802}}}),
                 b = side_of(folder / "b.sqlite", "128",
                             {{"ssa", "0.1", {901, 909, 904, 902, 907, 999}},
                              {"set", "0.1", {900, 901, 902, 903}},
                              {"rigl", "0.2", {800, 801, 802}}});
  const auto measures = parse_measures("accuracy@full as right");
  const Table table = diff_table(a, b, measures, hypothesis_test("paired_t"));
  REQUIRE(table.rows.size() == 2);
  CHECK(table.columns == std::vector<std::string>{"right A", "right B", "right A - B"});
  const TableRow &ssa = table.rows[0], &set = table.rows[1];
  CHECK(*ssa.cells[0].mean == Approx(0.9116));
  CHECK(*ssa.cells[1].mean == Approx(0.9046));  // without seed 6, which A has not
  CHECK(*ssa.cells[2].mean == Approx(0.007));
  CHECK(*ssa.cells[2].p == Approx(0.03410942316741092));
  CHECK(*ssa.cells[2].holm);
  CHECK(*set.cells[2].mean == 0);
  CHECK_FALSE(set.cells[2].p);
  CHECK(set.cells[2].n_values == 3);
  const std::string text = to_markdown(table);
  CHECK_THAT(text, Contains("| ssa, full, lr 0.1 | ") && Contains("+0.70 ± ") &&
                       Contains("(p=.034) *") && Contains("0.00 ± 0.00 (1 diverged) (n=3)") &&
                       Contains("n = 5 pairs where nothing else is said"));
  CHECK_THAT(text,
             Contains("2 settings are in both: of right 1 differ, 1 are equal in every seed") &&
                 Contains("batch is 64 in A and 128 in B") &&
                 Contains("1 setting is in A alone: rigl, full, lr 0.1") &&
                 Contains("1 setting is in B alone: rigl, full, lr 0.2"));
  CHECK_THAT(to_csv(table), Contains("right A - B p,right A - B holm"));
  const Table ranks = diff_table(a, b, measures, hypothesis_test("wilcoxon"));
  CHECK_THAT(to_markdown(ranks), Contains("cannot have one below 5%"));
}

// Differences of +.01 and -.01 cancel and are no equality; Welch's interval is that of the seeds.
TEST_CASE("sides are equal where every pair is", "[unit]") {
  const TemporaryFolder folder;
  const DiffSide a = side_of(folder / "a.sqlite", "64",
                             {{"ssa", "0.1", {910, 900}}, {"set", "0.1", {800, 810, 830}}}),
                 b = side_of(folder / "b.sqlite", "128",
                             {{"ssa", "0.1", {900, 910}}, {"set", "0.1", {800, 810, 830}}});
  for (const char* test : {"paired_t", "welch"}) {
    const Table table =
        diff_table(a, b, parse_measures("accuracy@full as right"), hypothesis_test(test));
    CHECK_THAT(to_markdown(table), Contains("of right 0 differ, 1 are equal in every seed"));
  }
  CHECK_THAT(
      to_markdown(diff_table(a, b, parse_measures("accuracy@full"), hypothesis_test("paired_t"))),
      Contains("1 have too few pairs"));
}

TEST_CASE("sides without a setting in common are refused", "[unit]") {
  const TemporaryFolder folder;
  const DiffSide a = side_of(folder / "a.sqlite", "64", {{"ssa", "0.1", {1}}, {"set", "0.1", {2}}}),
                 b = side_of(folder / "b.sqlite", "64",
                             {{"rigl", "0.1", {1}}, {"gmp", "0.1", {2}}});
  CHECK_THROWS_WITH(diff_table(a, b, parse_measures("accuracy@full"), hypothesis_test("paired_t")),
                    Contains("no setting in common") && Contains("ssa") && Contains("gmp"));
}

}  // namespace tandem::test::analysis_diff_unit
