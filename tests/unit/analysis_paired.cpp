// Differences from a reference row, paired by seed; the numbers of ssa against rigl are those of
// the paired test in analysis_statistics.cpp, as shares: mean 0.7 points, t = sqrt(10), p = 0.0341.
#include <catch2/catch.hpp>
#include <cmath>

#include "analysis/lineage.h"
#include "analysis/table.h"
#include "analysis/table_paired.h"
#include "analysis/table_writers.h"
#include "analysis/why.h"
#include "core/error.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_paired_unit {
namespace {

using Strings = std::vector<std::string>;

constexpr int kDiverged = -1;

// Correct ones of 1000 in the sparse read-out, for seeds 1, 2, ...
struct Row5 {
  std::string weights;
  std::vector<int> correct;
  std::string density = "0.1", tuned_for = "own", drop_fraction = "";
};

class PairedFixture {
 public:
  explicit PairedFixture(const std::vector<Row5>& rows) : path_(folder_ / "r.sqlite") {
    StoreWriter writer(path_);
    for (const Row5& row : rows)
      for (std::size_t i = 0; i < row.correct.size(); ++i) {
        test::Values values = {{"weights", row.weights},
                               {"seed", std::to_string(i + 1)},
                               {"density", row.density},
                               {"tuned_for", row.tuned_for}};
        if (!row.drop_fraction.empty()) values.emplace_back("drop_fraction", row.drop_fraction);
        const RunRecord run = test::make_run(values);
        writer.add_runs({run});
        ids.push_back(run.id);
        if (row.correct[i] == kDiverged) {
          writer.insert({test::state(run.id, 0, "diverged")});
        } else {
          const double density = std::stod(row.density);
          writer.insert({test::readout(run.id, 0, row.correct[i], "sparse", density),
                         test::state(run.id, 1, "done")});
        }
      }
  }
  Table table(const std::string& columns, const std::string& rows = "weights") const {
    return build_table(StoreReader(path_),
                       plan_table({"t", {{"rows", rows}, {"columns", columns}}}));
  }

  Strings ids;  // in the order of the rows and seeds

 private:
  TemporaryFolder folder_;
  std::string path_;
};

const Row5 kRigl = {"rigl", {901, 909, 904, 902, 907}};
const Row5 kSsa = {"ssa", {912, 908, 915, 910, 913}};
const char kVersusRigl[] = "accuracy@sparse, accuracy@sparse vs weights=rigl as vs rigl";

bool noted(const Table& table, const std::string& text) {
  for (const std::string& note : table.notes)
    if (note.find(text) != std::string::npos) return true;
  return false;
}

TEST_CASE("a column may compare with a reference row", "[unit]") {
  const Measure m = parse_measure("accuracy@sparse/2 vs weights=rigl as vs rigl");
  CHECK(m.label == "vs rigl");
  CHECK(m.text == "accuracy@sparse/2 vs weights=rigl");
  CHECK(m.name == "accuracy");
  CHECK(m.readout.weights.factor == 0.5);
  REQUIRE(m.versus.size() == 1);
  CHECK(m.versus[0].key == "weights");
  CHECK(m.versus[0].values == Strings{"rigl"});
  CHECK(parse_measure("metric:gap@weights vs weights=ssa").layer == "weights");
  CHECK(parse_measure("seconds vs weights=dense tuned_for=sparse").versus.size() == 2);
  CHECK(parse_measure("accuracy").versus.empty());
  const TablePlan plan = plan_table(
      {"t", {{"rows", "widths"}, {"columns", "loss vs widths=400,400 as less, seconds"}}});
  REQUIRE(plan.measures.size() == 2);
  CHECK(plan.measures[0].versus[0].values == Strings{"400,400"});
  for (const char* bad : {"accuracy vs rigl", "accuracy vs weights=a|b", "accuracy vs =rigl"})
    CHECK_THROWS_WITH(parse_measure(bad), Catch::Contains("vs"));
  CHECK_THROWS_WITH(
      plan_table({"t", {{"rows", "density"}, {"columns", "accuracy vs weights=rigl"}}}),
      Catch::Contains("weights must be one of rows or across"));
}

TEST_CASE("a paired difference, its interval, p and Holm's mark", "[unit]") {
  const PairedFixture f(
      {kRigl, kSsa, {"set", {891, 898, 895, 891, 898}}, {"mest", {902, 908, 906, 900, 907}}});
  const Table t = f.table(kVersusRigl);
  CHECK(t.columns == Strings{"accuracy@sparse", "vs rigl"});
  REQUIRE(t.rows.size() == 4);
  CHECK(cell_text(t.rows[0].cells[1]).empty());
  CHECK(t.rows[0].cells[1].marks.empty());
  CHECK(t.rows[0].cells[0].mean.value() == Approx(0.9046));
  const TableCell& ssa = t.rows[1].cells[1];
  CHECK(cell_text(ssa) == "+0.70 ± 0.61 (p=.034)");
  CHECK(ssa.mean.value() == Approx(0.007).epsilon(1e-9));
  CHECK(ssa.half.value() == Approx(2.7764451051978 * 0.007 / std::sqrt(10.0)).epsilon(1e-8));
  CHECK(ssa.p.value() == Approx(0.03410942316741092).epsilon(1e-8));
  CHECK(ssa.n == 5);
  CHECK_FALSE(ssa.holm.value());  // 0.034 > 0.05 / 2, the second of three
  CHECK(ssa.marks.empty());
  const TableCell& set = t.rows[2].cells[1];  // -10 -11 -9 -11 -9: sd 1, t = -10 sqrt 5
  CHECK(cell_text(set) == "-1.00 ± 0.12 (p<.001)");
  CHECK(set.marks == Strings{"*"});
  CHECK(cell_text(t.rows[3].cells[1]) == "0.00 ± 0.20 (p=1.000)");  // 1 -1 2 -2 0: sd sqrt 2.5
  CHECK(noted(t, "Comparisons: 3 in vs rigl; * marks"));
  CHECK(to_markdown(t).find("| -1.00 ± 0.12 (p<.001) * |") != std::string::npos);
  const std::string csv = to_csv(t);
  CHECK(csv.find("vs rigl,vs rigl ci95_half,vs rigl n,vs rigl diverged,vs rigl p,vs rigl holm") !=
        std::string::npos);
  CHECK(csv.find(",5,0,0.0341094") != std::string::npos);
  CHECK(csv.find(",true\n") != std::string::npos);
}

TEST_CASE("the lineage of a difference has both sides", "[unit]") {
  const PairedFixture f({kRigl, kSsa});
  const Table t = f.table(kVersusRigl);
  const std::string json = write_lineage(lineage_of(t));
  const Lineage back = read_lineage(json);
  CHECK(write_lineage(back) == json);
  const LineageCell& c = back.cells[3];
  CHECK(c.measure == "accuracy@sparse vs weights=rigl");
  CHECK(c.runs == Strings(f.ids.begin() + 5, f.ids.end()));
  CHECK(c.reference == Strings(f.ids.begin(), f.ids.begin() + 5));
  CHECK(c.p == t.rows[1].cells[1].p);
  CHECK(c.holm == true);  // the only comparison
  CHECK(back.cells[2].reference.empty());
  const std::string why = explain_cell(back, "ssa", "vs rigl");
  CHECK(why.find("of 5 pairs of runs") != std::string::npos);
  CHECK(why.find("weights (rigl, ssa)") != std::string::npos);
  CHECK(why.find(f.ids[0].substr(0, 12)) != std::string::npos);
}

TEST_CASE("pairs that diverged are told, few pairs have no interval", "[unit]") {
  const PairedFixture f({{"rigl", {901, kDiverged, kDiverged, 902, 907, 903}},
                         {"ssa", {kDiverged, kDiverged, 915, 910, 913}},
                         {"set", {902, kDiverged, 903, 902, 909}}});
  const Table t = f.table(kVersusRigl);
  const TableCell& ssa = t.rows[1].cells[1];
  CHECK(cell_text(ssa) == "+0.70");
  CHECK(ssa.mean.value() == Approx(0.007));
  CHECK(ssa.n == 5);
  CHECK(ssa.n_values == 2);
  CHECK(ssa.diverged.size() == 4);
  REQUIRE(ssa.marks.size() == 2);
  CHECK(ssa.marks[0] == "(n=2)");
  CHECK(noted(t, ssa.marks[1] + " 3 of 5 pairs diverged (seed 1 in this row, seed 3 in "
                                "weights=rigl, seed 2 in both)."));
  CHECK_FALSE(ssa.p.has_value());
  CHECK_FALSE(noted(f.table("accuracy@sparse"), "paired"));
  const TableCell& set = t.rows[2].cells[1];
  CHECK(cell_text(set) == "+0.10 ± 0.25 (p=.225)");  // 1 0 2: t = 1 / (1 / sqrt 3)
  CHECK(set.n_values == 3);
}

TEST_CASE("differences that do not vary have no p", "[unit]") {
  const PairedFixture f({kRigl, {"ssa", {904, 912, 907, 905, 910}}});
  const TableCell c = f.table(kVersusRigl).rows[1].cells[1];
  CHECK(cell_text(c) == "+0.30 ± 0.00");
  CHECK(c.mean.value() == Approx(0.003));
  CHECK_FALSE(c.p.has_value());
  CHECK_FALSE(c.holm.has_value());
}

TEST_CASE("a value that was not measured leaves the difference empty", "[unit]") {
  const PairedFixture f({kRigl, kSsa});
  const Table t = f.table("accuracy@full vs weights=rigl");
  CHECK(cell_text(t.rows[1].cells[0]).empty());
  CHECK(t.rows[1].cells[0].n == 0);
}

TEST_CASE("the reference is the same row but for the option, tuned_for left aside", "[unit]") {
  Row5 low = kRigl, full = kSsa, tuned = kRigl, lonely = kSsa, dropping = kRigl;
  low.density = lonely.density = "0.02";
  lonely.weights = "set";
  full.tuned_for = "full";
  tuned.tuned_for = "sparse";
  for (int& c : low.correct) c -= 400;
  for (int& c : tuned.correct) c += 1;
  const std::string rows = "density, weights, tuned_for";
  const std::string columns = "accuracy@sparse vs weights=rigl";
  const PairedFixture f({kRigl, tuned, full, low, lonely});
  const Table t = f.table(columns, rows);
  REQUIRE(t.rows.size() == 5);
  CHECK(cell_text(t.rows[0].cells[0]).empty());
  CHECK(cell_text(t.rows[1].cells[0]).empty());  // a reference of its own
  CHECK(t.rows[2].cells[0].mean.value() == Approx(0.007));
  CHECK(t.rows[4].cells[0].mean.value() == Approx(0.407));  // its own density
  const Table said = f.table("accuracy@sparse vs weights=rigl tuned_for=sparse", rows);
  CHECK(said.rows[0].cells[0].mean.value() == Approx(-0.001));
  CHECK(said.rows[2].cells[0].mean.value() == Approx(0.006));
  CHECK(cell_text(said.rows[4].cells[0]).empty());  // none at its density
  dropping.drop_fraction = "0.3";
  const PairedFixture g({dropping, kSsa});
  const Table only = g.table(columns, "weights, drop_fraction");
  CHECK(only.rows[1].cells[0].mean.value() == Approx(0.007));
}

TEST_CASE("no reference, several, and seeds that repeat are refused", "[unit]") {
  Row5 full = kRigl, sparse = kRigl;
  full.tuned_for = "full";
  sparse.tuned_for = "sparse";
  const PairedFixture f({full, sparse, kSsa});
  CHECK_THROWS_WITH(f.table("accuracy@sparse vs weights=rigl", "weights, tuned_for"),
                    Catch::Contains("several references") && Catch::Contains("tuned_for=full"));
  CHECK_THROWS_WITH(f.table("accuracy@sparse vs weights=rigl", "weights"),
                    Catch::Contains("several runs"));
  CHECK_THROWS_WITH(f.table("accuracy@sparse vs weights=mest", "weights, tuned_for"),
                    Catch::Contains("no row") && Catch::Contains("weights=mest"));
  CHECK_THROWS_AS(f.table("accuracy@sparse vs weights=mest"), ConfigError);
}

TEST_CASE("p values as text", "[unit]") {
  CHECK(p_text(0.0341) == "p=.034");
  CHECK(p_text(0.0005) == "p=.001");
  CHECK(p_text(0.0004) == "p<.001");
  CHECK(p_text(1) == "p=1.000");
}

}  // namespace
}  // namespace tandem::test::analysis_paired_unit
