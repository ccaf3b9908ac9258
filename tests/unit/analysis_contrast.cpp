// Contrasts written down beforehand. The numbers of ssa against rigl are those of
// analysis_paired.cpp: mean 0.7 points, sd 0.7 / sqrt(2), p = 0.0341.
#include <catch2/catch.hpp>
#include <cmath>

#include "analysis/bayes.h"
#include "analysis/lineage.h"
#include "analysis/statistics.h"
#include "analysis/table.h"
#include "analysis/table_contrast.h"
#include "analysis/table_writers.h"
#include "analysis/why.h"
#include "core/error.h"
#include "support/config_fixture.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_contrast_unit {
namespace {

using Catch::Contains;
using Strings = std::vector<std::string>;

struct Cell {
  std::string weights, density;
  std::vector<int> correct;  // of 1000, for seeds 1, 2, ...; -1: diverged
};

class ContrastFixture {
 public:
  explicit ContrastFixture(const std::vector<Cell>& cells) : path_(folder_ / "r.sqlite") {
    StoreWriter writer(path_);
    for (const Cell& cell : cells)
      for (std::size_t i = 0; i < cell.correct.size(); ++i) {
        const RunRecord run = test::make_run({{"weights", cell.weights},
                                              {"density", cell.density},
                                              {"seed", std::to_string(i + 1)}});
        writer.add_runs({run});
        ids.push_back(run.id);
        if (cell.correct[i] < 0) {
          writer.insert({test::state(run.id, 0, "diverged")});
          continue;
        }
        writer.insert({test::readout(run.id, 0, cell.correct[i], "sparse", std::stod(cell.density)),
                       test::state(run.id, 1, "done")});
      }
  }
  Table table(const Settings& settings) const {
    return build_table(StoreReader(path_), plan_table({"t", settings}));
  }

  Strings ids;  // in the order of the cells and seeds

 private:
  TemporaryFolder folder_;
  std::string path_;
};

const Cell kRigl = {"rigl", "0.1", {901, 909, 904, 902, 907}};
const Cell kSsa = {"ssa", "0.1", {912, 908, 915, 910, 913}};
// At 0.02 ssa - rigl is 3 2 2 5 3, at 0.1 it is 11 -1 11 8 6.
const Cell kRiglSmall = {"rigl", "0.02", {871, 879, 874, 872, 877}};
const Cell kSsaSmall = {"ssa", "0.02", {874, 881, 876, 877, 880}};
const Settings kOne = {{"contrast.align",
                        "accuracy@sparse of weights=ssa density=0.1 vs "
                        "weights=rigl"}};

bool noted(const Table& table, const std::string& text) {
  for (const std::string& note : table.notes)
    if (note.find(text) != std::string::npos) return true;
  return false;
}

// Against scipy's noncentral t: the difference at which power is as asked for, in deviations.
TEST_CASE("what a paired test can detect", "[unit]") {
  CHECK(detectable_difference(1, 20, 0.05, 0.8).value() ==
        Approx(0.6604416546230263).epsilon(1e-9));
  CHECK(detectable_difference(1, 5, 0.05, 0.8).value() == Approx(1.6819969659555547).epsilon(1e-9));
  CHECK(detectable_difference(2, 20, 0.01, 0.9).value() ==
        Approx(2 * 0.9472363276272204).epsilon(1e-9));
  CHECK_FALSE(detectable_difference(1, 2, 0.05, 0.8).has_value());
  CHECK_FALSE(detectable_difference(0, 20, 0.05, 0.8).has_value());
}

// Of each seed on the line from 0.02 to 0.1: halfway ssa - rigl is 7, 0.5, 6.5, 6.5 and 4.5 of
// 1000, and a quarter of the way 5, 1.25, 4.25, 5.75 and 3.75.
TEST_CASE("a contrast is had where another measure has a value", "[unit]") {
  Cell diverged = kSsa;
  diverged.density = "0.05";
  diverged.correct = {-1, -1, -1, -1, -1};
  const ContrastFixture f({kRigl, kSsa, kRiglSmall, kSsaSmall, diverged});
  const auto at = [&f](const std::string& density) {
    return f.table({{"contrast.align", "accuracy@sparse at density=" + density +
                                           " over density of weights=ssa vs weights=rigl"}});
  };
  const Table half = at("0.06");
  REQUIRE(half.rows.size() == 1);
  const TableRow& row = half.rows[0];
  CHECK(row.cells[2].mean.value() == Approx(0.005));
  CHECK(row.cells[0].mean.value() == Approx((0.9116 + 0.8776) / 2));
  CHECK(row.cells[2].n_values == 5);
  CHECK(row.cells[0].runs.size() == 10);  // both neighbours of each seed, and none that diverged
  CHECK(at("0.04").rows[0].cells[2].mean.value() == Approx(0.004));
  CHECK(at("0.1").rows[0].cells[2].mean.value() == Approx(0.007));
  const Table beyond = at("0.2");
  CHECK(beyond.rows[0].cells[2].n_values == 0);
  REQUIRE(beyond.rows[0].cells[2].marks.size() == 1);
  CHECK(beyond.rows[0].cells[2].marks[0] == "(5 of 5 pairs never have density = 0.2)");
  for (const char* text : {"accuracy at density of weights=ssa vs weights=rigl",
                           "accuracy at density=x over density of weights=ssa vs weights=rigl",
                           "accuracy at density=0.1 of weights=ssa vs weights=rigl"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(parse_contrast("c", text), ConfigError);
  }
  CHECK_THROWS_AS(
      check_contrasts(
          {parse_contrast("c",
                          "accuracy at density=0.1 over nothing of weights=ssa vs weights=rigl")},
          {}),
      ConfigError);
}

TEST_CASE("a contrast is a paired difference with its power", "[unit]") {
  const ContrastFixture f({kRigl, kSsa, kRiglSmall, kSsaSmall});
  const Table t = f.table(kOne);
  CHECK(t.columns == Strings{"of", "reference", "difference", "detectable"});
  REQUIRE(t.rows.size() == 1);
  const TableRow& row = t.rows[0];
  CHECK(row.keys[0] == "align");
  CHECK(row.cells[0].mean.value() == Approx(0.9116));
  CHECK(row.cells[1].mean.value() == Approx(0.9046));
  CHECK(cell_text(row.cells[2]) == "+0.70 ± 0.61 (p=.034)");
  CHECK(row.cells[2].marks == Strings{"*"});  // the only one
  const double sd = 0.007 / std::sqrt(2.0);
  CHECK(row.cells[3].mean.value() ==
        Approx(detectable_difference(sd, 5, 0.05, 0.8).value()).epsilon(1e-9));
  CHECK(row.cells[2].runs == Strings(f.ids.begin() + 5, f.ids.begin() + 10));
  CHECK(row.cells[2].reference == Strings(f.ids.begin(), f.ids.begin() + 5));
  CHECK(noted(t, "Detectable: the true difference that a single test at 5%, uncorrected, finds"));
  CHECK(noted(t, "at 5% over 1 contrasts"));
  CHECK_FALSE(noted(t, "reference row"));
  const std::string json = write_lineage(lineage_of(t));
  CHECK(write_lineage(read_lineage(json)) == json);
}

// Seeds 1 to 20 sum to 17363 of 20000, a mean of 86.815%: in the order of the store
// 0.8681500000000002, in that of the seeds' texts 0.86815.
// The values of analysis_hypotheses.cpp, in thousandths: the same t and p.
TEST_CASE("a contrast has the test and the effect that its table names", "[unit]") {
  const ContrastFixture runs({kRigl, kSsa});
  const Settings contrast = {{"contrast.a", "accuracy@sparse of weights=ssa vs weights=rigl"}};
  const auto with = [&](Settings more) {
    more.insert(contrast.begin(), contrast.end());
    return runs.table(more);
  };
  const Table welch = with({{"test", "welch"}, {"effect", "g"}});
  REQUIRE(welch.columns == Strings{"of", "reference", "difference", "detectable", "effect g"});
  const TableRow& row = welch.rows.at(0);
  CHECK(*row.cells[2].p == Approx(0.007225664453680992).epsilon(1e-6));
  CHECK(*row.cells[2].half == Approx(0.0044837195309504924).epsilon(1e-6));
  CHECK(*row.cells[4].mean == Approx(2.0732558679621684).epsilon(1e-6));
  const std::string text = to_markdown(welch);
  CHECK_THAT(text, Contains("two-sided p of Welch's t test") && Contains("Welch's 95% interval") &&
                       Contains("Effect: Hedges's g") && Contains("| +2.07 |"));
  const Table ranks = with({{"test", "mann_whitney"}, {"effect", "superiority"}});
  CHECK(*ranks.rows[0].cells[2].p == Approx(0.015873015873015872).epsilon(1e-9));
  CHECK(*ranks.rows[0].cells[4].mean == Approx(0.96));
  CHECK_FALSE(ranks.rows[0].cells[3].mean);  // nobody says what it detects
  CHECK_THAT(to_markdown(ranks), !Contains("Detectable"));
  // Five pairs can have 2 / 32 at least, and so no p below 5%.
  const Table signs = with({{"test", "wilcoxon"}});
  CHECK_FALSE(signs.rows[0].cells[2].p);
  CHECK(signs.rows[0].cells[2].out_of_reach);
  CHECK_THAT(to_markdown(signs),
             Contains("the exact Wilcoxon signed-rank test cannot have one below 5%"));
  // In points of percent, the unit that is printed: 1.1, -0.1, 1.1, 0.8, 0.6.
  const Table regions = with({{"rope", "0.2"}, {"effect", "dz"}});
  REQUIRE(regions.columns == Strings{"of", "reference", "difference", "detectable", "P below",
                                     "P within", "P above", "effect dz"});
  const RegionChances chances = signed_rank_chances({1.1, -0.1, 1.1, 0.8, 0.6}, 0.2);
  CHECK(*regions.rows[0].cells[4].mean == Approx(chances.below).margin(1e-12));
  CHECK(*regions.rows[0].cells[6].mean == Approx(chances.above).margin(1e-12));
  CHECK_THAT(to_markdown(regions), Contains("within ±0.2"));
  CHECK_THROWS_WITH(with({{"rope", "-1"}}), Contains("0 or more"));
  CHECK_THROWS_WITH(with({{"test", "willcoxon"}}), Contains("wilcoxon"));
  CHECK_THROWS_WITH(with({{"effect", "cohen"}}), Contains("effect size"));
  CHECK_THROWS_WITH(with({{"centre", "iqm"}}), Contains("leave out centre"));
  CHECK_THROWS_WITH(
      runs.table({{"test", "welch"},
                  {"contrast.b",
                   "accuracy@sparse of weights=ssa density=0.1 vs weights=rigl vs density=0.02"}}),
      Contains("which only a paired test takes"));
}

// What changes is the same in each seed, .002, so that nothing varies but the last bits.
TEST_CASE("a change that is the same in each seed has no spread", "[unit]") {
  const ContrastFixture runs({{"rigl", "0.1", {901, 909, 904}},
                              {"ssa", "0.1", {912, 920, 915}},
                              {"rigl", "0.02", {871, 879, 874}},
                              {"ssa", "0.02", {880, 888, 883}}});
  for (const char* test : {"paired_t", "wilcoxon"}) {
    const Table table = runs.table(
        {{"test", test},
         {"effect", "dz"},
         {"contrast.c",
          "accuracy@sparse of weights=ssa density=0.1 vs weights=rigl vs density=0.02"}});
    CHECK(*table.rows[0].cells[2].mean == Approx(0.002));
    CHECK_FALSE(table.rows[0].cells[3].mean);  // detectable
    CHECK_FALSE(table.rows[0].cells[4].mean);  // effect
  }
}

TEST_CASE("a mean that lies between two roundings is one number in every table", "[unit]") {
  const std::vector<int> correct = {867, 880, 865, 877, 878, 865, 862, 877, 868, 861,
                                    862, 862, 860, 874, 860, 868, 867, 868, 863, 879};
  const ContrastFixture f({{"rigl", "0.1", correct}, {"ssa", "0.1", std::vector<int>(20, 860)}});
  const std::string mean = cell_text(
      f.table({{"where", "weights=rigl"}, {"columns", "accuracy@sparse"}}).rows[0].cells[0]);
  const std::string side = cell_text(
      f.table({{"contrast.x", "accuracy@sparse of weights=rigl vs weights=ssa"}}).rows[0].cells[0]);
  CHECK(mean == side);
  CHECK(mean.substr(0, 5) == "86.81");  // the double next to 86.815 lies below it
}

TEST_CASE("a contrast with two vs is the change of a difference", "[unit]") {
  const ContrastFixture f({kRigl, kSsa, kRiglSmall, kSsaSmall});
  Settings said = kOne;
  said["contrast.change"] =
      "accuracy@sparse of weights=ssa density=0.1 vs weights=rigl vs density=0.02";
  const Table t = f.table(said);
  REQUIRE(t.rows.size() == 2);
  const TableRow& row = t.rows[1];
  CHECK(row.cells[0].mean.value() == Approx(0.007));
  CHECK(row.cells[1].mean.value() == Approx(0.003));
  // 8 -3 9 3 3: mean 4, sd sqrt(23)
  CHECK(row.cells[2].mean.value() == Approx(0.004));
  CHECK(row.cells[2].half.value() ==
        Approx(2.7764451051978 * std::sqrt(23.0) / 1000 / std::sqrt(5.0)).epsilon(1e-8));
  CHECK(row.cells[2].n == 5);
  CHECK(row.cells[2].runs.size() == 10);  // those that count positively, and the others
  CHECK(row.cells[2].reference.size() == 10);
  CHECK(noted(t, "at 5% over 2 contrasts"));
  CHECK(noted(t, "without and with it"));
  CHECK(row.cells[0].runs.size() == 10);  // of both its groups
  const std::string why = explain_cell(read_lineage(write_lineage(lineage_of(t))),
                                       row.keys[0] + "," + row.keys[1], "difference");
  CHECK(why.find("of 5 pairs of runs") != std::string::npos);
}

TEST_CASE("pairs with a diverged run are lost and said to be", "[unit]") {
  const ContrastFixture f({{"rigl", "0.1", {901, -1, 904, 902, 907}}, kSsa});
  const Table t = f.table(kOne);
  CHECK(t.rows[0].cells[2].n_values == 4);
  CHECK(t.rows[0].cells[2].n == 5);
  CHECK(to_markdown(t).find("(1 of 5 pairs diverged: seed 2)") != std::string::npos);
}

TEST_CASE("a contrast without a value is one of Holm's family all the same", "[unit]") {
  const ContrastFixture f({kRigl, kSsa, {"set", "0.1", {-1, -1, -1, -1, -1}}});
  Settings said = kOne;
  said["contrast.none"] = "accuracy@sparse of weights=set density=0.1 vs weights=rigl";
  const Table t = f.table(said);
  CHECK(t.rows[0].cells[2].p.value() < 0.05);
  CHECK_FALSE(t.rows[0].cells[2].holm.value());  // 0.034 > 0.05 / 2
  CHECK(to_markdown(t).find("(5 of 5 pairs diverged: seed 1, 2, 3, 4, 5)") != std::string::npos);
}

TEST_CASE("differences that vary by rounding alone don't vary", "[unit]") {
  // Each ssa - rigl is 0.004 higher at 0.1 than at 0.02.
  const ContrastFixture f({{"rigl", "0.1", {901, 909, 904, 902, 907}},
                           {"ssa", "0.1", {912, 908, 915, 910, 913}},
                           {"rigl", "0.02", {871, 879, 874, 872, 877}},
                           {"ssa", "0.02", {878, 874, 881, 876, 879}}});
  const Table t = f.table({{"contrast.x",
                            "accuracy@sparse of weights=ssa density=0.1 vs weights=rigl vs "
                            "density=0.02"}});
  CHECK(t.rows[0].cells[2].mean.value() == Approx(0.004));
  CHECK_FALSE(t.rows[0].cells[2].p.has_value());
  CHECK(cell_text(t.rows[0].cells[3]).empty());
}

TEST_CASE("contrasts are checked against a grid before its runs", "[unit]") {
  const test::ConfigFixture config;
  const auto check = [&config](const std::string& text) {
    const TablePlan plan = plan_table({"t", {{"contrast.x", text}}});
    check_contrasts(plan.contrasts,
                    {config.resolve({{"weights", "ssa"}}), config.resolve({{"weights", "rigl"}})});
  };
  CHECK_NOTHROW(check("accuracy of weights=ssa vs weights=rigl"));
  CHECK_THROWS_WITH(check("accuracy of weights=ssa vs weights=set"),
                    Catch::Contains("no run of the grid has weights=set"));
  CHECK_THROWS_WITH(check("accuracy of weights=ssa vs wieghts=rigl"), Catch::Contains("weights"));
  CHECK_THROWS_WITH(check("accuracy of weights=ssa vs weights=ssa"),
                    Catch::Contains("two of its sides"));
  CHECK_THROWS_WITH(check("accuracy of weights=ssa vs weights=rigl vs weights=rigl"),
                    Catch::Contains("two of its sides"));
}

TEST_CASE("a contrast that can't be made says why", "[unit]") {
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"accuracy@sparse vs weights=rigl", "\" of \""},
           {"accuracy@sparse of weights=ssa", "\" vs \""},
           {"accuracy@sparse of weights=ssa vs a=1 vs b=1 vs c=1", "more than two vs"},
           {"accuracy@sparse of weights vs weights=rigl", "key=value"}}) {
    CHECK_THROWS_WITH(plan_table({"t", {{"contrast.x", text}}}), Catch::Contains(part));
  }
  CHECK_THROWS_WITH(plan_table({"t", {{"rows", "weights"}, {"contrast.x", kOne.begin()->second}}}),
                    Catch::Contains("make two tables"));
  const ContrastFixture f({kRigl, kSsa, kRiglSmall, kSsaSmall});
  CHECK_THROWS_WITH(
      f.table({{"contrast.x", "accuracy@sparse of weights=ssa density=0.1 vs weights=set"}}),
      Catch::Contains("no run that is done or diverged has"));
  CHECK_THROWS_WITH(f.table({{"contrast.x", "accuracy@sparse of weights=ssa vs weights=rigl"}}),
                    Catch::Contains("contrast x: seed 1 has several runs") &&
                        Catch::Contains("contrast's conditions"));
  CHECK_THROWS_WITH(f.table({{"contrast.x", "accuracy@sparse of wieghts=ssa vs weights=rigl"}}),
                    Catch::Contains("weights"));
}

}  // namespace
}  // namespace tandem::test::analysis_contrast_unit
