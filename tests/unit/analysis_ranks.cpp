// Ranks over data sets: a reference implementation's Friedman test, pairs by Wilcoxon's, tables.
#include <algorithm>
#include <catch2/catch.hpp>

#include "analysis/figure.h"
#include "analysis/hypothesis_tests.h"
#include "analysis/ranks.h"
#include "analysis/statistics.h"
#include "analysis/table.h"
#include "analysis/table_writers.h"
#include "core/error.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_ranks_unit {
namespace {

using Catch::Contains;
using Scores = std::vector<std::vector<double>>;

const Scores kTied = {{.9, .8, .8, .7},   {.85, .86, .7, .6}, {.7, .7, .7, .9},
                      {.95, .9, .85, .8}, {.6, .55, .5, .45}, {.8, .7, .75, .6}};

Table table_of(const std::string& path, const Settings& said) {
  return build_table(StoreReader(path), plan_table({"suites", said}));
}

// Eight densities, the last without `set`; ssa wins in all.
struct Suites {
  Suites() {
    StoreWriter writer(path);
    for (int block = 0; block < 8; ++block) {
      for (const std::string method : {"ssa", "rigl", "set"}) {
        for (int seed = 1; seed <= 2; ++seed) {
          if (block == 7 && method == "set") continue;  // one block lacks a method
          const RunRecord run = test::make_run({{"weights", method},
                                                {"density", std::to_string(0.1 * (block + 1))},
                                                {"seed", std::to_string(seed)}});
          writer.add_runs({run});
          // Seeds differ by 40, so that single runs would be ranked otherwise; ssa wins in all.
          const int base = method == "ssa" ? 850 + block : method == "rigl" ? 840 : 838 + block % 4;
          writer.insert({test::readout(run.id, 0, base + (seed == 1 ? 20 : -20), "full", {}),
                         test::state(run.id, 1, "done")});
        }
      }
    }
  }
  TemporaryFolder folder;
  std::string path = folder / "r.sqlite";
};

}  // namespace

TEST_CASE("Friedman's test with ties is that of a reference implementation", "[unit]") {
  const RankStudy study = rank_study(kTied, true);
  CHECK(study.blocks == 6);
  CHECK(study.mean_ranks == std::vector<double>{1.5, 2.25, 2.75, 3.5});
  CHECK(*study.chi_squared == Approx(8.345454545454546).epsilon(1e-12));
  CHECK(*study.f == Approx(4.322033898305085).epsilon(1e-12));
  CHECK(*study.p == Approx(0.02197580393910212).epsilon(1e-9));
  Scores errors = kTied;
  for (auto& block : errors)
    for (double& each : block) each = 1 - each;
  CHECK(rank_study(errors, false).mean_ranks == study.mean_ranks);
  CHECK_FALSE(rank_study({{1, 2}}, true).p);
  CHECK_FALSE(rank_study({{1, 1}, {2, 2}}, true).p);
  // One order in all: of two methods three blocks have the first one's with chance 1/4, of three
  // with two equal values, which can be given in three ways, two blocks with 1/3.
  CHECK(*rank_study({{1, 2}, {3, 4}, {5, 6}}, true).p == Approx(0.25));
  CHECK(*rank_study({{1, 1, 2}, {3, 3, 9}}, true).p == Approx(1.0 / 3));
  CHECK(*rank_study({{1, 2, 3}, {3, 4, 5}, {5, 6, 7}}, true).p == Approx(1.0 / 36));
  // Means of the same decimals by other sums tie.
  CHECK(rank_study({{(.789 + .813) / 2, .801}, {.5, .5}}, true).mean_ranks ==
        std::vector<double>{1.5, 1.5});
}

TEST_CASE("pairs are those of Wilcoxon's test, adjusted over all of them", "[unit]") {
  CHECK(holm_adjusted({.01, .04, .03, .005}) == std::vector<double>{.03, .06, .06, .02});
  CHECK(holm_adjusted({.5, .9}) == std::vector<double>{1, 1});
  // a is always the best by differing margins; b and c are mixed.
  Scores scores;
  for (int i = 0; i < 10; ++i) {
    const double b = 0.5 + 0.01 * i;
    scores.push_back({b + 0.1 + 0.003 * i, b, b + (i % 2 == 0 ? 0.002 : -0.002) * (1 + 0.1 * i)});
  }
  const RankStudy study = rank_study(scores, true);
  std::vector<double> a, b, c;
  for (const auto& block : scores) {
    a.push_back(block[0]);
    b.push_back(block[1]);
    c.push_back(block[2]);
  }
  const auto p = [](const auto& x, const auto& y) {
    return hypothesis_test("wilcoxon").run(x, y)->p;
  };
  const std::vector<double> adjusted = holm_adjusted({p(a, b), p(a, c), p(b, c)});
  CHECK(study.pairwise[0][1] == adjusted[0]);
  CHECK(study.pairwise[2][0] == adjusted[1]);
  CHECK(study.pairwise[1][2] == adjusted[2]);
  CHECK(adjusted[0] < 0.05);
  REQUIRE(study.groups.size() == 1);
  CHECK(study.groups[0].size() == 2);
  CHECK(std::min(study.groups[0][0], study.groups[0][1]) == 1);
  CHECK_FALSE(study.out_of_reach);
  CHECK(rank_study({scores[0], scores[1], scores[2]}, true).out_of_reach);
}

TEST_CASE("a table of ranks takes each method's mean over runs in each data set", "[unit]") {
  const Suites suites;
  const std::string& path = suites.path;
  const Settings said = {{"ranks", "weights"}, {"over", "density"}, {"columns", "accuracy@full"}};
  const Table table = table_of(path, said);
  REQUIRE(table.rows.size() == 3);
  CHECK(table.key_names == std::vector<std::string>{"measure", "weights"});
  CHECK(table.rows[0].keys == std::vector<std::string>{"accuracy@full", "ssa"});
  CHECK(*table.rows[0].cells[0].mean == 1);
  // Against rigl's 840: 838, 839, 840, 841, 838, 839, 840, so that set is third but for two ties
  // and a win.
  CHECK(*table.rows[1].cells[0].mean == Approx((2 * 4 + 5 + 3) / 7.0));
  CHECK(*table.rows[2].cells[0].mean == Approx((3 * 4 + 5 + 2) / 7.0));
  CHECK_FALSE(table.rows[0].cells[1].mean);
  CHECK(*table.rows[0].cells[2].mean == Approx(3 * 2.0 / 128));  // seven of seven, of three pairs
  CHECK(table.rows[0].cells[0].n == 7);
  CHECK(table.rows[0].cells[0].runs.size() == 14);  // none of the density that is left out
  const std::string markdown = to_markdown(table);
  CHECK_THAT(markdown, Contains("7 values of density; Friedman's chi^2 = ") &&
                           Contains("1 are left out") && Contains("Not told apart: {rigl; set}"));
  CHECK_THAT(to_csv(table), Contains("\naccuracy@full,ssa,1,,7,0,"));
  const auto refused = [&](Settings more, const std::string& why) {
    for (const auto& [key, value] : said) more.emplace(key, value);
    std::erase_if(more, [](const auto& each) { return each.second == "-"; });
    CHECK_THROWS_WITH(table_of(path, more), Contains(why));
  };
  refused({{"over", "-"}}, "say over = COLUMNS");
  refused({{"ranks", "-"}}, "say ranks = COLUMNS");
  refused({{"over", "weights"}}, "can't be both");
  refused({{"rows", "weights"}}, "leave these out");
  refused({{"test", "welch"}}, "a test of their own");
  refused({{"columns", "seconds"}}, "name it in higher or lower");
  refused({{"over", "lr"}}, "two or more");
  refused({{"over", "densitty"}}, "density");
}

TEST_CASE("a figure of ranks has the table's numbers", "[unit]") {
  const Suites suites;
  const StoreReader store(suites.path);
  FigureRuns runs;
  runs.measures = parse_measures("accuracy@full as right");
  runs.ranked = {"weights"};
  runs.over = {"density"};
  const Figure figure = figure_kind("ranks").make(store, runs);
  CHECK_THAT(figure.csv, Contains("measure,method,mean_rank,blocks,against,p_holm\n") &&
                             Contains("\nright,ssa,1,7,rigl,0.046875\n") &&
                             Contains(",7,rigl,0.25\n"));
  CHECK_THAT(figure.script, Contains("'1.00  ssa'") && Contains("'set  2.71'") &&
                                Contains("mean rank over 7 values of density, validation split"));
  // One thick bar, from the second to the worst.
  CHECK(std::count(figure.script.begin(), figure.script.end(), '\n') > 10);
  CHECK(figure.script.find("lw 5") == figure.script.rfind("lw 5"));
  runs.over = {};
  CHECK_THROWS_WITH(figure_kind("ranks").make(store, runs), Contains("--over"));
}

}  // namespace tandem::test::analysis_ranks_unit
