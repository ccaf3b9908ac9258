// What a tuned grid wants next, from what its database holds: rounds of trials, scores by read-out,
// final runs; the same whatever happened in between.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <set>

#include "app/tune.h"
#include "core/error.h"
#include "unit/store_fixture.h"

namespace tandem::test::app_tune_unit {

using Catch::Contains;

namespace {

// Accuracy in the full and in the sparse read-out; NaN: the run diverges.
struct Outcome {
  double full = 0, sparse = 0;
};
using World = std::function<Outcome(const Config&)>;

void finish(StoreWriter& writer, const Config& run, const World& world) {
  RunRecord record;
  record.id = run.id();
  record.canonical = run.canonical();
  for (const auto& [name, value] : run.values()) record.values.emplace_back(name, value);
  writer.add_runs({record});
  writer.begin_attempt(record.id);
  const Outcome outcome = world(run);
  if (std::isnan(outcome.full)) {
    writer.insert({test::state(record.id, 0, "diverged", 3)});
    return;
  }
  const auto row = [&](std::int64_t sequence, const char* readout, double accuracy, double factor) {
    Row each = test::eval(record.id, sequence, 1, 1, std::llround(10000 * accuracy), 10000);
    auto& body = std::get<EvalRow>(each.body);
    body.readout.weights.stream = readout;
    if (body.readout.weights.stream == "sparse")
      body.readout.weights.budget = factor * run.real("density");
    return each;
  };
  // What is read in longer windows, or of some examples alone, chooses nothing.
  Row longer = row(0, "full", 0.999, 1);
  std::get<EvalRow>(longer.body).readout.context = 256;
  Row beyond = row(5, "sparse", 0.999, 1);
  std::get<EvalRow>(beyond.body).readout.condition = "position=beyond";
  std::vector<Row> rows = {longer, beyond, row(1, "sparse", outcome.sparse, 1),
                           row(2, "sparse", 1, 2)};
  if (run.text("weights") != "rigl") rows.push_back(row(3, "full", outcome.full, 1));
  rows.push_back(test::state(record.id, 4, "done", 10));
  writer.insert(rows);
}

struct Database {
  TemporaryFolder folder;
  std::string path = folder / "r.sqlite";

  // Ends the runs that the grid wants, `at_once` of them between two looks, until it wants no more.
  // Returns how often it looked.
  int run(const Grid& grid, const World& world, std::size_t at_once) {
    std::set<std::string> ended;
    for (int looks = 1;; ++looks) {
      REQUIRE(looks < 500);
      std::vector<Config> open;
      for (const Config& each : wanted_now(grid, tuning_state(grid, path))) {
        if (!ended.count(each.id())) open.push_back(each);
      }
      if (open.empty()) return looks;
      StoreWriter writer(path);  // a program of its own, each time
      for (std::size_t i = 0; i < std::min(at_once, open.size()); ++i) {
        finish(writer, open[open.size() - 1 - i], world);
        ended.insert(open[open.size() - 1 - i].id());
      }
    }
  }
};

double near(double value, double best) { return 0.6 - 0.03 * std::abs(std::log(value / best)); }

const std::string kGrid =
    "weights = dense, rigl, ssa\nseed = 1..2\ndensity = 0.1\nfinal = true\n"
    "[when weights=dense]\ntuned_for = full, sparse\n"
    "[tune]\ntrials = 6\nlr = 0.01 .. 1\nweight_decay = 1e-5 .. 1e-2\n"
    "[tune weights=ssa]\nweights_alpha = 1 .. 100\n";

// The full stream likes little decay, the sparse one much; lr is best beyond its range.
Outcome world(const Config& run) {
  const double lr = near(run.real("lr"), 2);
  const double decay = run.real("weight_decay");
  if (run.real("lr") > 30) return {std::nan(""), std::nan("")};
  return {lr + 0.2 * near(decay, 3e-5), lr + 0.2 * near(decay, 3e-3) - 0.1};
}

std::vector<std::string> ids(const std::vector<Config>& runs) {
  std::vector<std::string> all;
  for (const Config& run : runs) all.push_back(run.id());
  return all;
}

}  // namespace

TEST_CASE("a tuned grid wants trials, more of them at an edge, then its final runs", "[unit]") {
  const Grid grid = parse_grid(kGrid, "some.ini");
  Database database;
  CHECK(wanted_now(grid, tuning_state(grid, database.path)).size() ==
        18);  // dense once for both of its read-outs
  CHECK(database.run(grid, world, 1000) >= 4);
  const TuningState state = tuning_state(grid, database.path);
  REQUIRE(state.complete());
  REQUIRE(state.cells.size() == 4);
  for (const TuningCell& cell : state.cells) {
    CHECK(cell.points.size() > 6);
    CHECK(cell.points[cell.best].runs[0].real("lr") > 0.5);
  }
  const auto decay = [&](std::size_t c) {
    return state.cells[c].points[state.cells[c].best].runs[0].real("weight_decay");
  };
  CHECK(state.cells[0].tuned_for == "full");
  CHECK(state.cells[1].tuned_for == "sparse");
  CHECK(decay(0) < decay(1));
  const std::vector<Config> wanted = wanted_now(grid, tuning_state(grid, database.path));
  const std::vector<Config> finals = final_runs(grid, state);
  CHECK(finals.size() == 8);
  CHECK(wanted.size() == state.trials().size() + finals.size());
  CHECK(ids(wanted).back() == finals.back().id());
}

TEST_CASE("trials take the default probes, final runs those that are said", "[unit]") {
  const Grid grid = parse_grid(
      "weights = rigl\ndensity = 0.1\nprobes = {default,spectra}\n[when seed=2]\nprobes = all\n"
      "probe_every = 5\n[tune]\ntrials = 4\nlr = 0.01 .. 1\n",
      "some.ini", {{"seed", "1..2"}});
  Database database;
  const std::vector<Config> trials = wanted_now(grid, tuning_state(grid, database.path));
  CHECK(trials.size() == 4);  // the cells differ in what trials don't have
  for (const Config& each : trials) {
    CHECK(each.text("probes") == "default");
    CHECK(each.integer("probe_every") == 0);
  }
  database.run(grid, world, 1000);
  const auto runs = final_runs(grid, tuning_state(grid, database.path));
  REQUIRE(runs.size() == 2);
  CHECK(runs[0].text("probes") == "default,spectra");
  CHECK(runs[1].text("probes") == "all");
  CHECK(runs[0].integer("probe_every") == 0);
  CHECK(runs[1].integer("probe_every") == 5);
}

TEST_CASE("killed after every run or never, a grid wants the same in the end", "[unit]") {
  const Grid grid = parse_grid(kGrid, "some.ini");
  Database whole, parts, odd;
  whole.run(grid, world, 1000);
  parts.run(grid, world, 1);
  odd.run(grid, world, 7);
  CHECK(ids(wanted_now(grid, tuning_state(grid, parts.path))) ==
        ids(wanted_now(grid, tuning_state(grid, whole.path))));
  CHECK(ids(wanted_now(grid, tuning_state(grid, odd.path))) ==
        ids(wanted_now(grid, tuning_state(grid, whole.path))));
}

TEST_CASE("records hold the evidence: scores, rounds, read-outs, how many", "[unit]") {
  const Grid grid = parse_grid(kGrid, "some.ini");
  Database database;
  database.run(grid, world, 1000);
  const TuningState state = tuning_state(grid, database.path);
  const auto records = tuning_records(grid, state);
  std::set<std::string> chosen;
  std::int64_t latest = 0;
  for (const TuningRecord& record : records) {
    if (record.chosen) chosen.insert(record.method);
    CHECK(record.grid == "some");
    CHECK(record.trials >= 9);
    latest = std::max(latest, record.round);
  }
  CHECK(chosen.size() == 4);
  CHECK(latest >= 1);
  CHECK(records.front().readout == "full");
  const TuningPlanRecord plan = tuning_plan(grid, state);
  CHECK(plan.trials == 6);
  CHECK(plan.cells == "weights, tuned_for");
  CHECK(plan.measure == "accuracy");
  CHECK_THAT(plan.axes, Contains("lr 0.01..1") && Contains("weights=ssa: weights_alpha 1..100"));
  REQUIRE(plan.runs.size() == 8);
  CHECK(plan.runs.front().second == records.front().method);
  CHECK_THAT(describe_choices(state), Contains("tuned_for=full") && Contains("weights=ssa"));
}

TEST_CASE("without tuned_for the mean over the streams that are trained decides", "[unit]") {
  const Grid grid = parse_grid("weights = dense, rigl, ssa\n[tune]\nlr = 0.1, 0.2, 0.3\n", "g.ini");
  Database database;
  database.run(
      grid,
      [](const Config& run) {
        if (run.real("lr") == 0.1) return Outcome{0.9, 0.1};
        return run.real("lr") == 0.2 ? Outcome{0.6, 0.6} : Outcome{0.1, 0.8};
      },
      1000);
  const TuningState state = tuning_state(grid, database.path);
  CHECK(state.cells[0].points[state.cells[0].best].text == "lr=0.1");
  CHECK(state.cells[1].points[state.cells[1].best].text == "lr=0.3");
  CHECK(state.cells[2].points[state.cells[2].best].text == "lr=0.2");
}

TEST_CASE("a part of a tuned grid that is run leaves the rest of it to come", "[unit]") {
  const Grid file = parse_grid(kGrid, "some.ini");
  const Grid part = parse_grid(kGrid, "some.ini", {{"weights", "rigl"}, {"seed", "1"}});
  Database database;
  database.run(part, world, 1000);
  const GridMembers members = members_of(file, tuning_state(file, database.path));
  REQUIRE(members.runs.size() == 8);
  std::vector<std::string> known;
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(members.runs[i].has_value() == (file.runs[i].text("weights") == "rigl"));
    if (members.runs[i]) known.push_back(members.runs[i]->id());
  }
  // What the part ran is what the file wants: the same trials, the same choice.
  const TuningState of_part = tuning_state(part, database.path);
  CHECK(std::count(known.begin(), known.end(), final_runs(part, of_part).front().id()) == 1);
  std::set<std::string> trials;
  for (const Config& trial : members.trials) trials.insert(trial.id());
  for (const Config& trial : of_part.trials()) CHECK(trials.count(trial.id()) == 1);
  const TuningState state = tuning_state(file, database.path);
  for (const TuningRecord& record : tuning_records(file, state)) {
    CHECK_THAT(record.method, Contains("weights=rigl"));
  }
  CHECK(tuning_plan(file, state).cells == "weights, tuned_for");
  CHECK(tuning_plan(file, state).runs.size() == 2);
  CHECK(members_of(parse_grid("seed = 1..3\n", "g.ini"), {}).runs.size() == 3);
}

TEST_CASE("a trial without validation results says what to raise, not to run again", "[unit]") {
  const Grid grid = parse_grid("weights = rigl\n[tune]\nlr = 0.1, 0.2\n", "g.ini");
  Database database;
  const std::vector<Config> wanted = wanted_now(grid, tuning_state(grid, database.path));
  {
    StoreWriter writer(database.path);
    for (const Config& run : wanted) {
      RunRecord record;
      record.id = run.id();
      record.canonical = run.canonical();
      writer.add_runs({record});
      writer.insert({test::state(record.id, 0, "done", 3)});
    }
  }
  CHECK_THROWS_AS(tuning_state(grid, database.path), ConfigError);
  CHECK_THROWS_WITH(tuning_state(grid, database.path), Contains("raise validation"));
}

TEST_CASE("a method without a full read-out can't be tuned for one", "[unit]") {
  const Grid grid =
      parse_grid("weights = rigl\ntuned_for = full\n[tune]\nlr = 0.1, 0.2\n", "g.ini");
  CHECK_THROWS_WITH(tuning_state(grid, "none.sqlite"),
                    Contains("rigl") && Contains("no full read-out"));
}

}  // namespace tandem::test::app_tune_unit
