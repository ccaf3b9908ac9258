// What a cell shows of its values: means with either spread, and centres with the bootstrap's.
#include <catch2/catch.hpp>

#include "analysis/bootstrap.h"
#include "analysis/table.h"
#include "analysis/table_writers.h"
#include "core/error.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_centre_unit {
namespace {

using Catch::Contains;

// ssa's accuracies are .901 to .905, static's .881 and .883 to .885.
struct Grid {
  TemporaryFolder folder;
  SmallGrid grid{folder / "r.sqlite"};
  Table table(Settings said) const {
    said.insert({{"rows", "weights"}, {"columns", "accuracy@full"}, {"grid", "small"}});
    return build_table(StoreReader(folder / "r.sqlite"), plan_table({"t", said}));
  }
};

}  // namespace

TEST_CASE("a mean's spread is Student's interval, or the deviation", "[unit]") {
  const Grid grid;
  const Table interval = grid.table({}), deviation = grid.table({{"spread", "sd"}});
  CHECK(*interval.rows[1].cells[0].half == Approx(2.7764451 * 0.0015811388 / 2.2360680));
  CHECK(*deviation.rows[1].cells[0].half == Approx(0.0015811388));
  CHECK_THAT(to_markdown(deviation), Contains("± is the sample's standard deviation") &&
                                         Contains("90.30 ± 0.16") && !Contains("Student"));
  CHECK_THAT(to_csv(deviation), Contains("accuracy@full sd,"));
  CHECK_THAT(to_csv(interval), Contains("accuracy@full ci95_half,"));
}

TEST_CASE("medians and interquartile means have the bootstrap's interval", "[unit]") {
  const Grid grid;
  const Table iqm = grid.table({{"centre", "iqm"}}), medians = grid.table({{"centre", "median"}});
  const TableCell& cell = iqm.rows[1].cells[0];
  const auto expected = bootstrap_interval({{.901, .902, .903, .904, .905}}, interquartile_mean);
  CHECK(*cell.mean == Approx(0.903));
  CHECK(*cell.low == Approx(expected->low));
  CHECK(*cell.high == Approx(expected->high));
  CHECK_FALSE(cell.half);
  CHECK(*medians.rows[0].cells[0].mean == Approx((.883 + .884) / 2));
  const std::string text = to_markdown(iqm);
  CHECK_THAT(text, Contains("| 90.30 [90.") && Contains("50000 replicates of the bootstrap"));
  CHECK_THAT(to_csv(iqm), Contains("accuracy@full ci95_low,accuracy@full ci95_high"));
  CHECK_THAT(to_latex(iqm), Contains("[90."));
  // Of strata the rows pool runs of both methods, and nothing is said to be mixed.
  const Table pooled = grid.table({{"rows", "data"}, {"centre", "iqm"}, {"strata", "weights"}});
  REQUIRE(pooled.rows.size() == 1);
  CHECK(*pooled.rows[0].cells[0].mean == Approx((.884 + .885 + .901 + .902 + .903) / 5));
  CHECK_THAT(to_markdown(pooled),
             Contains("drawn within each weights") && !Contains("average over runs that differ"));
}

TEST_CASE("settings that don't go together are refused", "[unit]") {
  const Grid grid;
  CHECK_THROWS_WITH(grid.table({{"centre", "iqm"}, {"spread", "sd"}}),
                    Contains("belongs to a mean"));
  CHECK_THROWS_WITH(grid.table({{"strata", "data"}}), Contains("centre = iqm"));
  CHECK_THROWS_WITH(grid.table({{"effect", "dz"}}), Contains("is of contrasts"));
  CHECK_THROWS_WITH(grid.table({{"centre", "mode"}}), Contains("median"));
  CHECK_THROWS_WITH(grid.table({{"spread", "se"}}), Contains("sd"));
  CHECK_THROWS_WITH(grid.table({{"centre", "iqm"}, {"strata", "dta"}}), Contains("data"));
}

}  // namespace tandem::test::analysis_centre_unit
