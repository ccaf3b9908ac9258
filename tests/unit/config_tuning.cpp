// [tune] sections: ranges and their points, who gets which axes, rounds beyond an edge, and that a
// killed grid goes on where it was. Scores come from functions that stand for a store.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <set>

#include "config/grid_trials.h"
#include "config/initial_file.h"
#include "core/error.h"
#include "core/text.h"
#include "support/config_fixture.h"

namespace tandem::test::config_tuning_unit {

using Catch::Matchers::Contains;
using Texts = std::vector<std::string>;

namespace {

const test::ConfigFixture fixture;

Grid grid(const std::string& text, const Settings& overrides = {}) {
  return parse_grid(text, "dir/some.ini", overrides, fixture.tables());
}

std::string refusal(const std::string& text) {
  try {
    grid(text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

double value(const TuningPoint& point, const std::string& name) {
  return parse_real(point.values.at(name)).value();
}

TuningState plan(const Grid& of, const TuningScore& score) {
  return plan_tuning(of, score, fixture.tables());
}

std::optional<double> none(const Config&, const std::string&) { return std::nullopt; }

// Best where the option has a value, and the worse the further away on a log scale.
TuningScore best_at(const std::string& option, double at) {
  return [option, at](const Config& run, const std::string&) {
    return std::optional(-std::abs(std::log(run.real(option) / at)));
  };
}

Texts texts(const TuningCell& cell) {
  Texts all;
  for (const TuningPoint& point : cell.points) all.push_back(point.text);
  return all;
}

const TuningCell& cell_of(const TuningState& state, const std::string& part) {
  for (const TuningCell& cell : state.cells) {
    if (cell.method.find(part) != std::string::npos) return cell;
  }
  throw std::runtime_error("no cell has " + part);
}

}  // namespace

TEST_CASE("a range gives as many points as trials, spread over its logarithm", "[unit]") {
  const Grid tuned = grid("[tune]\ntrials = 16\nlr = 0.01 .. 1\nbatch = 10..1000\n");
  const TuningState state = plan(tuned, none);
  REQUIRE(state.cells.size() == 1);
  REQUIRE(state.cells[0].points.size() == 16);
  CHECK(state.trials().size() == 16);
  CHECK_FALSE(state.complete());
  std::map<int, int> eighths, eighths_of_batch;
  for (const TuningPoint& point : state.cells[0].points) {
    const double lr = value(point, "lr"), batch = value(point, "batch");
    CHECK(lr >= 0.01);
    CHECK(lr <= 1);
    CHECK(batch == std::round(batch));
    ++eighths[static_cast<int>(4 * std::log10(lr / 0.01) - 1e-3)];
    ++eighths_of_batch[static_cast<int>(4 * std::log10(batch / 10))];
    const std::string digits =
        point.values.at("lr").substr(point.values.at("lr").find_first_of("123456789"));
    CHECK(digits.size() <= 3);
  }
  CHECK(eighths.size() == 8);
  CHECK(eighths_of_batch.size() >= 7);
  for (const auto& [eighth, count] : eighths) CHECK(count <= 3);
}

TEST_CASE("points depend on the grid's name or tune_seed, the axis and the index", "[unit]") {
  const std::string tail = "[tune]\ntrials = 8\nlr = 0.01 .. 1\n";
  const Texts first = texts(plan(grid(tail), none).cells[0]);
  CHECK(texts(plan(grid(tail), none).cells[0]) == first);
  CHECK(texts(plan(grid("name = other\n" + tail), none).cells[0]) != first);
  CHECK(texts(plan(grid(tail + "tune_seed = 3\n"), none).cells[0]) != first);
  CHECK(texts(plan(grid("name = other\n" + tail + "tune_seed = 3\n"), none).cells[0]) ==
        texts(plan(grid(tail + "tune_seed = 3\n"), none).cells[0]));
  Texts longer = texts(plan(grid("[tune]\ntrials = 12\nlr = 0.01 .. 1\n"), none).cells[0]);
  longer.resize(8);
  CHECK(longer == first);
}

TEST_CASE("all methods see the same values of the axes that they share", "[unit]") {
  const Grid tuned = grid(
      "weights = dense, rigl, ssa\n"
      "[tune]\ntrials = 9\nlr = 0.01 .. 1\nweight_decay = 1e-5 .. 1e-2\n"
      "[tune weights=ssa]\nweights_alpha = 0.1 .. 100\nweights_p = 0.2 .. 0.8 linear\n"
      "[tune weights=rigl]\nlr = 0.1 .. 0.2\n");
  const TuningState state = plan(tuned, none);
  REQUIRE(state.cells.size() == 3);
  const TuningCell &dense = state.cells[0], &rigl = state.cells[1], &ssa = state.cells[2];
  CHECK(dense.axes.size() == 2);
  CHECK(rigl.axes.size() == 2);
  CHECK(ssa.axes.size() == 4);
  double sum = 0;
  for (std::size_t i = 0; i < 9; ++i) {
    CHECK(ssa.points[i].values.at("lr") == dense.points[i].values.at("lr"));
    CHECK(ssa.points[i].values.at("weight_decay") == dense.points[i].values.at("weight_decay"));
    CHECK(rigl.points[i].values.at("weight_decay") == dense.points[i].values.at("weight_decay"));
    CHECK(value(rigl.points[i], "lr") >= 0.1);
    CHECK(value(rigl.points[i], "lr") <= 0.2);
    CHECK(ssa.points[i].runs[0].real("weights_alpha") == value(ssa.points[i], "weights_alpha"));
    CHECK_FALSE(ssa.points[i].runs[0].flag("curve"));
    sum += value(ssa.points[i], "weights_p");
  }
  CHECK(sum / 9 == Approx(0.5).margin(0.1));
  CHECK(describe(tuned.tune) ==
        "lr 0.01..1, weight_decay 1e-05..0.01; weights=ssa: weights_alpha 0.1..100, weights_p "
        "0.2..0.8 (linear); weights=rigl: lr 0.1..0.2");
}

TEST_CASE("an axis that a run doesn't read is none of its own", "[unit]") {
  const Grid tuned = grid(
      "weights = dense, ssa\n[tune]\ntrials = 4\nlr = 0.1 .. 1\n"
      "refresh_interval = 10 .. 100\n");
  const TuningState state = plan(tuned, none);
  CHECK(state.cells[0].axes.size() == 1);
  CHECK(state.cells[1].axes.size() == 2);
}

TEST_CASE("trials begin with the nets of their own seeds, and are asked for by what is stored",
          "[unit]") {
  Grid of =
      grid("seed = 5..6\ninit_from = a-{seed}\n[tune]\ntrials = 2\nseeds = 1..2\nlr = 0.1 .. 1\n");
  const auto with_hash = [](const Config& run) {
    Settings said = run.given();
    said["init_hash"] = "of " + initial_file(run);
    said["init_net"] = "net";
    return Config::resolve(said, false, fixture.tables());
  };
  for (Config& run : of.runs) run = with_hash(run);
  of.completed = with_hash;
  const TuningState state = plan(of, none);
  REQUIRE(state.cells.size() == 1);  // hashes are those of repetitions
  for (const TuningPoint& point : state.cells[0].points) {
    REQUIRE(point.runs.size() == 2);
    CHECK(point.runs[0].text("init_hash") == "of a-1");
    CHECK(point.runs[1].text("init_hash") == "of a-2");
  }
  CHECK(state.cells[0].method == "init_net=net");
}

TEST_CASE("lists stand beside ranges; alone they are a product", "[unit]") {
  const TuningState mixed =
      plan(grid("[tune]\ntrials = 16\nlr = 0.1 .. 1\nactivation = relu, gelu\n"), none);
  const auto gelu = std::count_if(
      mixed.cells[0].points.begin(), mixed.cells[0].points.end(),
      [](const TuningPoint& point) { return point.values.at("activation") == "gelu"; });
  CHECK(gelu == 8);
  const Grid lists = grid("[tune]\nlr = 0.1, 0.3\nbatch = 16, 32, 64\nseeds = 4..5\n");
  const TuningState product = plan(lists, none);
  CHECK(product.cells[0].points.size() == 6);
  CHECK(product.trials().size() == 12);
  CHECK(product.cells[0].points[1].text == "batch=32 lr=0.1");
  const Grid few = grid("[tune]\ntrials = 7\nlr = 0.1, 0.3\nbatch = 16, 32, 64\n");
  CHECK_THROWS_WITH(plan(few, none), Contains("some.ini") && Contains("fewer than 7 points"));
  const Grid enough = grid("[tune]\ntrials = 6\nlr = 0.1, 0.3\nbatch = 16, 32, 64\n");
  const Texts all = texts(plan(enough, none).cells[0]);
  CHECK(std::set<std::string>(all.begin(), all.end()).size() == 6);
}

TEST_CASE("malformed ranges are refused with file and line", "[unit]") {
  const auto line = [](const std::string& axis) {
    return refusal("[tune]\ntrials = 4\n" + axis + "\n");
  };
  CHECK_THAT(line("lr = 1 .. 0.1"), Contains("some.ini:3:") && Contains("below its second"));
  CHECK_THAT(line("lr = 0 .. 0.1"), Contains("some.ini:3:") && Contains("linear"));
  CHECK_THAT(line("lr = 0.1 .."), Contains("some.ini:3:") && Contains("LOW .. HIGH"));
  CHECK_THAT(line("lr = a .. 1"), Contains("some.ini:3:") && Contains("LOW .. HIGH"));
  CHECK_THAT(line("lr = 0.1 .. 1 cubic"), Contains("some.ini:3:") && Contains("'cubic'"));
  CHECK_THAT(line("lr = 0.1, 0.2 .. 0.3"), Contains("some.ini:3:") && Contains("stands alone"));
  CHECK_THAT(line("momentum = 0.5 .. 2"), Contains("some.ini:3:") && Contains("0..1"));
  CHECK_THAT(line("batch = 1.5 .. 9"), Contains("some.ini:3:") && Contains("integer"));
  CHECK_THAT(line("db = a, b"), Contains("some.ini:3:") && Contains("can't be tuned"));
  CHECK_THAT(refusal("[tune]\nlr = 0.1 .. 1\n"), Contains("some.ini:2:") && Contains("trials = N"));
  CHECK_THAT(refusal("[tune]\ntrials = 1\nlr = 0.1 .. 1\n"), Contains("2 or more"));
  CHECK_THAT(refusal("[tune]\ntrials = many\nlr = 0.1 .. 1\n"), Contains("some.ini:2:"));
  CHECK_THAT(refusal("[tune]\ntrials = 4\nlr = 0.1 .. 1\n[tune weights=ssa]\ntrials = 8\n"),
             Contains("some.ini:5:") && Contains("same for every method"));
  CHECK_THAT(refusal("[tune weights=sa]\nlr = 1, 2\n"), Contains("some.ini:1:"));
  CHECK_THAT(refusal("[tune weights]\nlr = 1, 2\n"), Contains("no condition"));
  CHECK_THAT(refusal("weights = ssa\n[when weights=ssa]\nweights_p = 0.5\n[tune weights=ssa]\n"
                     "weights_p = 0.1, 0.2\n"),
             Contains("some.ini:5:") && Contains("line 3"));
  // What one method tunes, another may set.
  CHECK(refusal("weights = ssa, rigl\n[when weights=rigl]\nlr = 0.5\n[tune weights=ssa]\n"
                "lr = 0.1, 0.2\n") == "");
}

TEST_CASE("sections for methods that the command line leaves out ask for nothing", "[unit]") {
  const std::string text =
      "weights = dense, ssa\n[tune]\ntrials = 4\nlr = 0.1 .. 1\n[tune weights=ssa]\n"
      "weights_alpha = 1 .. 10\n";
  const Grid dense = grid(text, {{"weights", "dense"}});
  CHECK(plan(dense, none).cells[0].axes.size() == 1);
  CHECK(grid(text, {{"lr", "0.5"}, {"weights", "dense"}})
            .tune.axes_of(dense.runs[0], fixture.tables())
            .empty());
}

TEST_CASE("an optimum inside of its range ends the search", "[unit]") {
  const Grid tuned = grid("seed = 1..3\n[tune]\ntrials = 8\nlr = 0.01 .. 1\n");
  const TuningState state = plan(tuned, best_at("lr", 0.1));
  REQUIRE(state.complete());
  const TuningCell& cell = state.cells[0];
  CHECK(cell.points.size() == 8);
  CHECK(value(cell.points[cell.best], "lr") == Approx(0.1).epsilon(0.4));
  CHECK(edge_warnings(state).empty());
  const auto finals = final_runs(tuned, state, fixture.tables());
  REQUIRE(finals.size() == 3);
  for (const Config& run : finals) {
    CHECK(run.text("lr") == cell.points[cell.best].values.at("lr"));
    CHECK(run.flag("final"));
    CHECK(run.flag("curve"));
  }
  CHECK(finals[2].integer("seed") == 3);
}

TEST_CASE("an optimum at the edge extends its range, twice at most", "[unit]") {
  const Grid tuned = grid("[tune]\ntrials = 8\nlr = 0.01 .. 1\nweight_decay = 1e-4 .. 1e-3\n");
  // The optimum of lr lies half a width above the range: one extension finds it.
  const TuningState once = plan(tuned, best_at("lr", 5));
  REQUIRE(once.complete());
  REQUIRE(once.cells[0].points.size() == 12);
  CHECK(once.cells[0].points.back().round == 1);
  for (std::size_t i = 8; i < 12; ++i) {
    CHECK(value(once.cells[0].points[i], "lr") >= 1);
    CHECK(value(once.cells[0].points[i], "lr") <= 10);
    CHECK(value(once.cells[0].points[i], "weight_decay") >= 1e-4);
    CHECK(value(once.cells[0].points[i], "weight_decay") <= 1e-3);
  }
  CHECK(edge_warnings(once).empty());
  // Far above it stays at the edge, which is told.
  const TuningState far = plan(tuned, best_at("lr", 1e6));
  REQUIRE(far.complete());
  CHECK(far.cells[0].points.size() == 16);
  CHECK(far.cells[0].points.back().round == 2);
  CHECK(value(far.cells[0].points[far.cells[0].best], "lr") > 10);
  REQUIRE(edge_warnings(far).size() == 1);
  CHECK_THAT(edge_warnings(far)[0], Contains("lr") && Contains("extended"));
  const TuningState below = plan(grid("[tune]\ntrials = 8\nweight_decay = 1e-4 .. 1e-3\n"),
                                 best_at("weight_decay", 1e-9));
  CHECK(below.cells[0].points.size() == 16);
  CHECK(value(below.cells[0].points[below.cells[0].best], "weight_decay") < 1.5e-5);
}

TEST_CASE("a range is not extended beyond its option's bounds", "[unit]") {
  const Grid tuned = grid("weights = ssa\n[tune]\ntrials = 8\nweights_p = 0.5 .. 0.9 linear\n");
  const TuningState state = plan(tuned, best_at("weights_p", 2));
  REQUIRE(state.complete());
  CHECK(state.cells[0].points.size() == 12);  // 0.9 .. 1, and no further
  for (const TuningPoint& point : state.cells[0].points) CHECK(value(point, "weights_p") <= 1);
  CHECK(edge_warnings(state).empty());
}

TEST_CASE("lists are never extended, and an optimum at their end is told", "[unit]") {
  const TuningState state = plan(
      grid("weights = dense, set\n[tune]\nlr = 0.1, 0.2, 0.3\nbatch = 1, 2\n"), best_at("lr", 9));
  REQUIRE(state.complete());
  CHECK(state.cells[0].points.size() == 6);
  REQUIRE(edge_warnings(state).size() == 1);
  CHECK_THAT(edge_warnings(state)[0],
             Contains("lr") && Contains("2 of 2") && Contains("weights=set (0.3)"));
}

TEST_CASE("cells that differ in tuned_for share trials and choose apart", "[unit]") {
  const Grid tuned = grid(
      "weights = dense, set\n[when weights=dense]\ntuned_for = full, sparse\n"
      "[tune]\ntrials = 8\nlr = 0.01 .. 1\n");
  REQUIRE(tuned.runs.size() == 3);
  const TuningScore score = [](const Config& run, const std::string& tuned_for) {
    const double at = tuned_for == "full" ? 0.3 : 0.05;
    return std::optional(-std::abs(std::log(run.real("lr") / at)));
  };
  const TuningState state = plan(tuned, score);
  REQUIRE(state.complete());
  REQUIRE(state.cells.size() == 3);
  CHECK(state.trials().size() == 16);
  const TuningCell& full = cell_of(state, "tuned_for=full");
  const TuningCell& sparse = cell_of(state, "tuned_for=sparse");
  CHECK(full.tuned_for == "full");
  CHECK(full.points[0].runs[0].id() == sparse.points[0].runs[0].id());
  CHECK(value(full.points[full.best], "lr") > value(sparse.points[sparse.best], "lr"));
  CHECK(cell_of(state, "weights=set").tuned_for == "own");
  const auto finals = final_runs(tuned, state, fixture.tables());
  CHECK(finals[0].text("tuned_for") == "full");
  CHECK(finals[0].id() != finals[1].id());
}

TEST_CASE("diverged trials are never chosen, and one good seed doesn't save a point", "[unit]") {
  const Grid tuned = grid("[tune]\nlr = 0.1, 0.2, 0.3\nseeds = 1..2\n");
  const TuningState state = plan(tuned, [](const Config& run, const std::string&) {
    const bool diverged = run.real("lr") > 0.25 && run.integer("seed") == 2;
    return std::optional(diverged ? std::nan("") : run.real("lr"));
  });
  CHECK(state.cells[0].points[state.cells[0].best].text == "lr=0.2");
  CHECK_THROWS_WITH(
      plan(tuned, [](const Config&, const std::string&) { return std::optional(std::nan("")); }),
      Contains("diverged") && Contains("some.ini"));
}

// Trials end one by one and in an arbitrary order; after each the plan is made anew, as by a
// program that was killed.
TEST_CASE("a search that is interrupted anywhere ends like one that is not", "[unit]") {
  const Grid tuned = grid(
      "weights = dense, ssa\n[tune]\ntrials = 6\nlr = 0.01 .. 1\n[tune weights=ssa]\n"
      "weights_alpha = 1 .. 100\n");
  const TuningScore truth = [](const Config& run, const std::string&) {
    double score = -5 * std::abs(std::log(run.real("lr") / 20));
    if (run.text("weights") == "ssa") score -= std::abs(std::log(run.real("weights_alpha") / 0.5));
    return std::optional(score);
  };
  const TuningState whole = plan(tuned, truth);
  REQUIRE(whole.complete());
  REQUIRE(whole.cells[1].points.size() > whole.cells[0].points.size());
  std::set<std::string> ended;
  const TuningScore known = [&](const Config& run, const std::string& tuned_for) {
    return ended.count(run.id()) ? truth(run, tuned_for) : std::nullopt;
  };
  std::size_t before = 0;
  for (int turn = 0;; ++turn) {
    REQUIRE(turn < 200);
    const TuningState state = plan(tuned, known);
    const std::vector<Config> trials = state.trials();
    CHECK(trials.size() >= before);
    before = trials.size();
    if (state.complete()) break;
    std::vector<std::string> open;
    for (const Config& run : trials) {
      if (!ended.count(run.id())) open.push_back(run.id());
    }
    REQUIRE_FALSE(open.empty());
    ended.insert(*std::max_element(open.begin(), open.end()));
  }
  const TuningState last = plan(tuned, known);
  CHECK(ended.size() == whole.trials().size());
  for (std::size_t c = 0; c < whole.cells.size(); ++c) {
    CHECK(texts(last.cells[c]) == texts(whole.cells[c]));
    CHECK(last.cells[c].best == whole.cells[c].best);
  }
}

}  // namespace tandem::test::config_tuning_unit
