// What a table, its lineage and `why` say of the choices behind final runs.
#include <catch2/catch.hpp>
#include <cmath>

#include "analysis/lineage.h"
#include "analysis/query.h"
#include "analysis/table.h"
#include "analysis/why.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_tuning_unit {
namespace {

using Catch::Contains;

// The small grid, as if its runs had been tuned: three trials of each method, one more of ssa.
struct Tuned {
  Tuned() : path(folder / "r.sqlite"), grid(path, "true") {
    StoreWriter writer(path);
    std::vector<RunRecord> trials;
    for (int i = 0; i < 7; ++i) trials.push_back(test::make_run({{"lr", std::to_string(i)}}));
    writer.add_runs(trials);
    writer.insert({test::state(trials[2].id, 0, "diverged")});
    const auto add = [&](std::size_t i, const char* method, double score, bool chosen, int round) {
      records.push_back({"small", method, "lr=" + std::to_string(i), 1, trials[i].id, score, chosen,
                         "own", round, 3});
    };
    add(0, "weights=static", 0.5, false, 0);
    add(1, "weights=static", 0.75, true, 0);
    add(2, "weights=static", std::nan(""), false, 0);
    add(3, "weights=ssa", 0.9, true, 0);
    add(4, "weights=ssa", 0.8, false, 0);
    add(5, "weights=ssa", 0.85, false, 0);
    add(6, "weights=ssa", 0.6, false, 1);
    writer.add_tuning(records);
    TuningPlanRecord plan{"small", 3, 1, "lr 0.1..1", "weights", "accuracy"};
    for (std::size_t i = 0; i < grid.runs.size(); ++i) {
      plan.runs.emplace_back(grid.runs[i].id, i < 5 ? "weights=static" : "weights=ssa");
    }
    writer.add_tuning_plan(plan);
  }
  Table table(const Settings& more = {}) const {
    Settings settings = {{"rows", "weights"}, {"columns", "accuracy@full"}};
    for (const auto& [name, value] : more) settings[name] = value;
    return build_table(StoreReader(path), plan_table({"t", settings}));
  }
  TemporaryFolder folder;
  std::string path;
  test::SmallGrid grid;
  std::vector<TuningRecord> records;
};

std::string notes(const Table& table) {
  std::string all;
  for (const std::string& note : table.notes) all += note + "\n";
  return all;
}

}  // namespace

TEST_CASE("a table says over what its runs were tuned, and with how many trials", "[unit]") {
  const Tuned tuned;
  CHECK_THAT(notes(tuned.table()),
             Contains("Tuned per weights: 3 log-uniform trials (up to 4 with extensions) over lr "
                      "0.1..1, chosen by validation accuracy in the method's own read-outs (the "
                      "mean over the streams that it trains), 1 seed per trial.\n"));
  CHECK_THAT(notes(tuned.table({{"where", "weights=static"}})),
             Contains("3 log-uniform trials over lr"));
  {
    StoreWriter writer(tuned.path);
    auto records = tuned.records;
    for (TuningRecord& record : records) record.readout = "sparse";
    writer.add_tuning(records);
    TuningPlanRecord plan{"small", 0, 2, "lr {0.1, 1}", "weights", "loss"};
    plan.runs = {{tuned.grid.runs[0].id, "weights=static"}, {tuned.grid.runs[5].id, "weights=ssa"}};
    writer.add_tuning_plan(plan);
  }
  CHECK_THAT(notes(tuned.table()),
             Contains("Tuned per weights: 3 to 4 trials over lr {0.1, 1}, chosen by validation "
                      "loss in the read-out that tuned_for names, 2 seeds per trial.\n"));
}

TEST_CASE("runs that were not tuned have no note and no tuning in their lineage", "[unit]") {
  const TemporaryFolder folder;
  const test::SmallGrid grid(folder / "r.sqlite");
  const Table table = build_table(StoreReader(folder / "r.sqlite"),
                                  plan_table({"t", {{"columns", "accuracy@full"}}}));
  CHECK(notes(table).find("uned") == std::string::npos);
  CHECK(write_lineage(lineage_of(table)).find("tuning") == std::string::npos);
}

TEST_CASE("a contrast about some runs of a tuned grid has a lineage of these", "[unit]") {
  const Tuned tuned;
  const Table table = build_table(
      StoreReader(tuned.path),
      plan_table(
          {"t", {{"contrast.c", "accuracy@full of weights=ssa seed=1|3 vs weights=static"}}}));
  const Lineage lineage = read_lineage(write_lineage(lineage_of(table)));
  CHECK(lineage.runs.size() == 4);
  REQUIRE(lineage.tuned.size() == 2);
  for (const auto& cell : lineage.tuned) CHECK(cell.runs.size() == 2);
}

TEST_CASE("the lineage names every trial, and a cell explains its choice", "[unit]") {
  const Tuned tuned;
  const Lineage lineage = read_lineage(write_lineage(lineage_of(tuned.table())));
  REQUIRE(lineage.tuned.size() == 2);
  const TunedCell& ssa =
      lineage.tuned[1].method == "weights=ssa" ? lineage.tuned[1] : lineage.tuned[0];
  REQUIRE(ssa.trials.size() == 4);
  CHECK(ssa.runs.size() == 5);
  CHECK(ssa.trials[0].point == "lr=3");
  CHECK(ssa.trials[0].chosen);
  CHECK(ssa.trials[1].point == "lr=5");
  CHECK(ssa.trials[3].round == 1);
  const std::string why = explain_cell(lineage, "static", "accuracy@full");
  CHECK_THAT(why, Contains("for weights=static: 3 trials") && Contains("0.75000") &&
                      Contains("diverged") && Contains(tuned.records[1].run.substr(0, 12)));
  CHECK(why.find("lr=3") == std::string::npos);
  CHECK(why.find("0.75000") < why.find("0.50000"));
}

TEST_CASE("why tells a tuned run's choice, and a trial's part in one", "[unit]") {
  const Tuned tuned;
  const StoreReader store(tuned.path);
  CHECK_THAT(explain_run(store, tuned.grid.runs[7].id),
             Contains("tuned in grid small for weights=ssa: 4 trials") && Contains("lr=3"));
  const std::string trial = explain_run(store, tuned.records[5].run);
  CHECK_THAT(trial, Contains("a trial, tuned in grid small for weights=ssa"));
  CHECK(run_query(store, "tuning", {"small"}).rows.size() == 2);
  CHECK(run_query(store, "tuning").rows[0][4] == "lr=3");
}

}  // namespace tandem::test::analysis_tuning_unit
