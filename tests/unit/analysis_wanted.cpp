// A file that is named decides which runs a table or a figure shows; what is missing is said.
#include <catch2/catch.hpp>

#include "analysis/figure.h"
#include "analysis/table.h"
#include "analysis/table_writers.h"
#include "core/error.h"
#include "support/config_fixture.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_wanted_unit {
namespace {

using Catch::Contains;

const test::ConfigFixture fixture;

// Two methods by three seeds. Of "dense" all are done; of "set" seed 1 is, 2 failed, 3 never ran.
// The store's own notion of the grid is one other run.
struct Half {
  Half() {
    StoreWriter writer(path);
    wanted.file = "half.ini";
    std::vector<Settings> said;
    for (const char* method : {"dense", "set"})
      for (const char* seed : {"1", "2", "3"}) {
        said.push_back({{"weights", method}, {"seed", seed}, {"density", "0.1"}});
        const Config run = fixture.resolve(said.back());
        wanted.runs.push_back({run});
        if (method[0] == 's' && *seed == '3') continue;
        writer.add_runs({record_of(run)});
        if (method[0] == 's' && *seed == '2') {
          writer.set_state(run.id(), "failed", "no");
          continue;
        }
        writer.insert({test::readout(run.id(), 0, method[0] == 's' ? 800 : 900, "sparse", 0.1),
                       test::state(run.id(), 1, "done")});
      }
    wanted = told_apart(wanted, said);
    const RunRecord other = test::make_run({{"weights", "other"}, {"seed", "9"}});
    writer.add_runs({other});
    writer.insert(
        {test::readout(other.id, 0, 100, "sparse", 0.1), test::state(other.id, 1, "done")});
    writer.add_grid("half", "other.ini", "", {other.id, "announced"});
  }
  Table table(const Settings& more, bool by_file = true) const {
    Settings settings = {{"columns", "accuracy@sparse"}, {"grid", "half"}};
    for (const auto& [name, value] : more) settings[name] = value;
    TablePlan plan = plan_table({"t", settings});
    if (by_file) plan.wanted = wanted;
    return build_table(StoreReader(path), plan);
  }
  TemporaryFolder folder;
  std::string path = folder / "r.sqlite";
  WantedRuns wanted;
};

}  // namespace

TEST_CASE("a table of a file shows the file's runs and names the missing ones", "[unit]") {
  const Half half;
  const Table table = half.table({});
  REQUIRE(table.rows.size() == 2);
  CHECK(table.rows[0].keys[0] == "dense");
  CHECK(table.rows[0].cells[0].n == 3);
  CHECK(table.rows[1].cells[0].n == 1);
  CHECK_THAT(
      to_markdown(table),
      Contains("2 of 6 runs that half.ini stands for are missing: weights=set seed 2 (failed); "
               "weights=set seed 3 (never run)."));
  REQUIRE(table.warnings.size() == 1);
  CHECK_THAT(table.warnings[0], Contains("2 of 6 runs that half.ini"));
  CHECK_THAT(to_markdown(half.table({{"where", "weights=dense"}})), !Contains("missing"));
  CHECK_THAT(to_markdown(half.table({{"where", "weights=set"}})), Contains("2 of 3 runs"));
  CHECK_THROWS_WITH(half.table({{"where", "weights=set seed=3"}}), Contains("seed 3 (never run)"));
}

TEST_CASE("a grid that is named alone is what the store has under the name", "[unit]") {
  const Half half;
  const Table table = half.table({}, false);
  REQUIRE(table.rows.size() == 1);
  CHECK(table.rows[0].keys[0] == "other");
  CHECK_THAT(to_markdown(table), Contains("1 of 2 runs of grid half have never been run."));
}

TEST_CASE("a figure draws the file's runs and says what is missing", "[unit]") {
  const Half half;
  const Figure figure = figure_kind("curve").make(StoreReader(half.path), {"half", half.wanted});
  CHECK_THAT(figure.summary,
             Contains("2 lines of 4 runs") && Contains("2 of 6 runs that half.ini"));
  CHECK(figure.csv.find("other") == std::string::npos);
}

TEST_CASE("a run whose trials have not ended is missing, and told by what is known", "[unit]") {
  Half half;
  for (WantedRun& run : half.wanted.runs) run.decided = run.what == "weights=dense";
  CHECK_THAT(to_markdown(half.table({})),
             Contains("3 of 6 runs") && Contains("weights=set seed 1, 2, 3 (awaits its trials)"));
}

TEST_CASE("a metric that nobody logged is told, with the nearest name", "[unit]") {
  const TemporaryFolder folder;
  const test::SmallGrid grid(folder / "r.sqlite");
  const auto table = [&](const std::string& columns) {
    return build_table(StoreReader(folder / "r.sqlite"), plan_table({"t", {{"columns", columns}}}));
  };
  const Table wrong = table("accuracy@full, metric:kept_mas");
  REQUIRE(wrong.warnings.size() == 1);
  CHECK_THAT(wrong.warnings[0],
             Contains("metric:kept_mas is empty") && Contains("did you mean kept_mass?"));
  CHECK_THAT(to_markdown(wrong), Contains(wrong.warnings[0]));
  CHECK_THAT(table("average:nosuch").warnings.at(0), Contains("unknown metric 'nosuch'"));
  CHECK_THAT(table("metric:kept_mass@weights/fc9").warnings.at(0), Contains("at weights/fc9"));
  CHECK_THAT(table("weights").warnings.at(0), Contains("number in weights"));
  CHECK(table("metric:kept_mass, accuracy@sparse*4").warnings.empty());
  // So is what a measure needs that the runs do not have; a read-out may be empty by the method.
  CHECK_THAT(table("lca_10@full").warnings.at(0),
             Contains("--eval-first-steps 10") && Contains("--split validation"));
  CHECK_THAT(table("min_acc@full").warnings.at(0), Contains("--eval-every"));
  CHECK_THAT(table("intransigence@full").warnings.at(0), Contains("no joint run"));
  CHECK(table("f_chaudhry@full, accuracy@full").warnings.empty());
}

}  // namespace tandem::test::analysis_wanted_unit
