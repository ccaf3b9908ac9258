// Tables from a small grid: which runs count, which cells stay empty, what the notes say.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "analysis/lineage.h"
#include "analysis/table.h"
#include "analysis/table_writers.h"
#include "analysis/why.h"
#include "config/data_score.h"
#include "config/part.h"
#include "core/error.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_table_unit {

// The program of these tests has no data sets.
TANDEM_REGISTERED = declare_told_in_bits("bytes");
namespace {

TablePlan plan_of(const Settings& settings) { return plan_table({"t", settings}); }

struct Fixture {
  explicit Fixture(const std::string& final_flag = "false")
      : path(folder / "r.sqlite"), grid(path, final_flag) {}
  Table table(const Settings& settings) const {
    return build_table(StoreReader(path), plan_of(settings));
  }
  TemporaryFolder folder;
  std::string path;
  test::SmallGrid grid;
};

bool noted(const Table& table, const std::string& text) {
  for (const std::string& note : table.notes)
    if (note.find(text) != std::string::npos) return true;
  return false;
}

TEST_CASE("read-outs are told apart by the trained budget", "[unit]") {
  const Fixture f;
  const Table t = f.table({{"rows", "weights"},
                           {"columns",
                            "accuracy@full, accuracy@sparse, accuracy@sparse/2, accuracy@sparse*2, "
                            "accuracy@weights=sparse, loss"}});
  REQUIRE(t.rows.size() == 2);
  const TableRow& ssa = t.rows[1];
  CHECK(ssa.keys == std::vector<std::string>{"ssa"});
  CHECK(ssa.cells[0].mean.value() == Approx(0.903));
  CHECK(ssa.cells[0].half.value() == Approx(2.7764451 * std::sqrt(2.5e-6) / std::sqrt(5.0)));
  CHECK(ssa.cells[1].mean.value() == Approx(0.896));
  CHECK(ssa.cells[2].mean.value() == Approx(0.803));
  CHECK_FALSE(ssa.cells[3].mean.has_value());
  CHECK(cell_text(ssa.cells[3]).empty());
  CHECK(ssa.cells[4].mean.value() == Approx(0.896));
  CHECK(ssa.cells[5].mean.value() == Approx(0.097));
  CHECK(ssa.cells[0].runs.size() == 5);
}

TEST_CASE("a diverged run counts in n and is named", "[unit]") {
  const Fixture f;
  const Table t = f.table({{"rows", "weights"}, {"columns", "accuracy@full"}});
  const TableCell& c = t.rows[0].cells[0];
  CHECK(c.n == 5);
  CHECK(c.n_values == 4);
  CHECK(c.diverged == std::vector<std::string>{f.grid.runs[1].id});
  CHECK(c.mean.value() == Approx(0.88325));
  CHECK(noted(t, "[1] 1 of 5 diverged (seed 2)"));
}

TEST_CASE("metrics: the last step, mean over layers, empty where not logged", "[unit]") {
  const Fixture f;
  const Table t = f.table(
      {{"columns", "metric:kept_mass, metric:kept_mass@fc2, metric:kept_mass@fc, train_seconds"}});
  CHECK_FALSE(t.rows[0].cells[0].mean.has_value());
  CHECK(t.rows[1].cells[0].mean.value() == Approx(0.5));
  CHECK(t.rows[1].cells[1].mean.value() == Approx(0.6));
  CHECK_FALSE(t.rows[1].cells[2].mean.has_value());
  CHECK(t.rows[1].cells[3].mean.value() == Approx(1.5));
}

TEST_CASE("metrics of two levels are told apart", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord run = test::make_run({});
  StoreWriter writer(path);
  writer.add_runs({run});
  writer.insert({test::metric(run.id, 0, 9, "weights/fc1", "entropy", 1),
                 test::metric(run.id, 1, 9, "weights/fc2", "entropy", 3),
                 test::metric(run.id, 2, 9, "weights", "entropy", 2.5),
                 test::metric(run.id, 3, 9, "attention/block0", "entropy", 5),
                 test::metric(run.id, 4, 9, "attention/block1", "entropy", 7),
                 test::metric(run.id, 5, 9, "weights", "gap", 0.5),
                 test::metric(run.id, 6, 9, "weights/fc1", "gap", 0.9),
                 test::state(run.id, 7, "done")});
  const Table t = build_table(StoreReader(path),
                              plan_of({{"columns",
                                        "metric:entropy@weights, metric:entropy@weights/fc2,"
                                        " metric:entropy@attention, metric:entropy, metric:gap"}}));
  const auto& cells = t.rows[0].cells;
  CHECK(cells[0].mean.value() == 2.5);
  CHECK(cells[1].mean.value() == 3);
  CHECK(cells[2].mean.value() == 6);
  CHECK_FALSE(cells[3].mean.has_value());
  CHECK(cells[4].mean.value() == 0.5);
}

// Per step, then over steps; the last step alone has other numbers.
TEST_CASE("an average is over all steps that have the metric", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord run = test::make_run({}), none = test::make_run({{"seed", "2"}});
  StoreWriter writer(path);
  writer.add_runs({run, none});
  auto at = [&run, sequence = 0](int step, const char* layer, const char* name,
                                 double value) mutable {
    return test::metric(run.id, sequence++, step, layer, name, value);
  };
  writer.insert({at(10, "weights/fc1", "gain", 1), at(10, "weights/fc2", "gain", 3),
                 at(20, "weights/fc1", "gain", 8), at(30, "weights", "gain", 5),
                 at(30, "weights/fc1", "gain", 7), at(40, "weights/fc1", "gain", std::nan("")),
                 at(50, "attention/block0", "gain", 100), at(30, "", "norm", 2),
                 at(40, "", "norm", 4), at(40, "weights", "norm", 9),
                 test::state(run.id, 20, "done"), test::state(none.id, 0, "done")});
  const Table t = build_table(
      StoreReader(path),
      plan_of({{"rows", "seed"},
               {"columns",
                "average:gain@weights, average:gain@weights/fc1, average:gain@weights/fc2,"
                " average:gain@attention, average:gain, average:norm, average:nothing,"
                " metric:norm"}}));
  const auto& cells = t.rows[0].cells;
  CHECK(cells[0].mean.value() == 5);  // (mean of 1 and 3) 2, 8, and the level's own row 5: 15 / 3
  CHECK(cells[1].mean.value() == Approx(16.0 / 3));  // 1, 8, 7; not the step without a number
  CHECK(cells[2].mean.value() == 3);                 // at one step
  CHECK(cells[3].mean.value() == 100);
  CHECK_FALSE(cells[4].mean.has_value());  // both levels have it
  CHECK(cells[5].mean.value() == 3);       // of the whole net: 2 and 4
  CHECK_FALSE(cells[6].mean.has_value());
  CHECK(cells[7].mean.value() == 4);
  CHECK(cell_text(t.rows[1].cells[0]).empty());
  const Table contrast = build_table(
      StoreReader(path), plan_of({{"contrast.x", "average:gain@weights of seed=1 vs seed=2"}}));
  CHECK(contrast.rows[0].cells[2].n_values == 0);
}

TEST_CASE("masked logits: when asked for, or where the scenario has nothing else", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord class_il = test::make_run({{"scenario", "class_il"}});
  const RunRecord task_il = test::make_run({{"scenario", "task_il"}});
  StoreWriter writer(path);
  writer.add_runs({class_il, task_il});
  Row masked = test::eval(class_il.id, 1, 1, 1, 90, 100);
  std::get<EvalRow>(masked.body).readout.masked = true;
  Row only = test::eval(task_il.id, 0, 1, 1, 95, 100);
  std::get<EvalRow>(only.body).readout.masked = true;
  writer.insert({test::eval(class_il.id, 0, 1, 1, 20, 100), masked, only,
                 test::state(class_il.id, 2, "done"), test::state(task_il.id, 2, "done")});
  const Table t = build_table(
      StoreReader(path), plan_of({{"rows", "scenario"}, {"columns", "acc@full, acc@full,masked"}}));
  CHECK(t.rows[0].cells[0].mean.value() == Approx(0.2));
  CHECK(t.rows[0].cells[1].mean.value() == Approx(0.9));
  CHECK(t.rows[1].cells[0].mean.value() == Approx(0.95));
}

// Of nets that only who knows the task can choose there is no other number, and none takes its
// place.
TEST_CASE("masked logits never stand for others in class-incremental learning", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord run = test::make_run({{"scenario", "class_il"}, {"strategy", "packnet"}});
  StoreWriter writer(path);
  writer.add_runs({run});
  Row masked = test::eval(run.id, 0, 1, 1, 90, 100);
  std::get<EvalRow>(masked.body).readout.masked = true;
  std::get<EvalRow>(masked.body).readout.net = "task";
  writer.insert({masked, test::state(run.id, 1, "done")});
  const Table t = build_table(
      StoreReader(path), plan_of({{"rows", "scenario"}, {"columns", "acc@full, acc@full,masked"}}));
  CHECK_FALSE(t.rows[0].cells[0].mean.has_value());
  CHECK(t.rows[0].cells[1].mean.value() == Approx(0.9));
}

TEST_CASE("the split is validation until all runs are final", "[unit]") {
  const Fixture f;
  const Table t = f.table({{"columns", "accuracy"}});
  CHECK(noted(t, "Split: validation."));
  CHECK(t.rows[1].cells[0].mean.value() == Approx(0.903));
  const Fixture g("true");
  const Table u = g.table({{"columns", "accuracy"}});
  CHECK(noted(u, "Split: test (final runs)."));
  CHECK(u.rows[1].cells[0].mean.value() == Approx(0.873));
  CHECK(noted(g.table({{"columns", "accuracy"}, {"split", "validation"}}), "Split: validation."));
}

TEST_CASE("conditions, grids and unfinished runs", "[unit]") {
  const Fixture f;
  {
    StoreWriter writer(f.path);
    writer.add_runs({test::make_run({{"weights", "ssa"}, {"seed", "6"}})});
  }
  const Settings columns = {{"columns", "accuracy@full"}};
  Settings s = columns;
  s["where"] = "weights=ssa density=0.10 seed=1|2";
  const Table two = f.table(s);
  REQUIRE(two.rows.size() == 1);
  CHECK(two.rows[0].cells[0].n == 2);
  CHECK_FALSE(two.rows[0].cells[0].half.has_value());
  CHECK(two.rows[0].cells[0].marks == std::vector<std::string>{"(n=2)"});
  CHECK(noted(two, "fewer than 3 seeds"));
  CHECK(noted(f.table(columns), "1 runs are not done"));
  s = columns;
  s["grid"] = "small";
  CHECK_FALSE(noted(f.table(s), "not done"));
  s["grid"] = "smal";
  CHECK_THROWS_WITH(f.table(s), Catch::Contains("small"));
  s = columns;
  s["where"] = "density=0.7";
  CHECK_THROWS_WITH(f.table(s), Catch::Contains("no run"));
  s["where"] = "densty=0.1";
  CHECK_THROWS_WITH(f.table(s), Catch::Contains("density"));
  CHECK_THROWS_WITH(f.table({{"columns", "kept_mass"}}), Catch::Contains("metric:NAME"));
}

TEST_CASE("mixed configs and mixed places are told", "[unit]") {
  const Fixture f;
  const Table t = f.table({{"rows", "weights"}, {"columns", "accuracy@full"}});
  CHECK_FALSE(noted(t, "differ in"));
  CHECK_FALSE(t.rows[0].dagger);
  CHECK(t.rows[1].dagger);
  CHECK(noted(t, "† has runs on device cuda"));
  const Table mixed = f.table({{"rows", "density"}, {"columns", "accuracy@full"}});
  CHECK(noted(mixed, "differ in weights"));
}

TEST_CASE("another GPU of one kind is no other place, another kind is", "[unit]") {
  const TemporaryFolder folder;
  const auto table_on = [&folder](const std::string& name, const std::string& last) {
    const std::string path = folder / name;
    test::SmallGrid(path, "false", {"cuda:0: GPU A (sm_90, 80 GiB)", last});
    return build_table(StoreReader(path),
                       plan_of({{"rows", "weights"}, {"columns", "accuracy@full"}}));
  };
  CHECK_FALSE(noted(table_on("alike.sqlite", "cuda:1: GPU A (sm_90, 80 GiB)"), "has runs on"));
  const Table unlike = table_on("unlike.sqlite", "cuda:1: GPU B (sm_90, 139 GiB)");
  CHECK(unlike.rows[1].dagger);
  CHECK(noted(unlike, "† has runs on device GPU B (sm_90, 139 GiB), threads 1"));
}

TEST_CASE("runs of a cell whose layers were stored in several ways are marked", "[unit]") {
  const TemporaryFolder folder;
  const auto table_of = [&folder](const std::string& name, const std::string& usual,
                                  const std::string& last) {
    const std::string path = folder / name;
    test::SmallGrid(path, "false", {"cpu", "cpu", usual, last});
    return build_table(StoreReader(path),
                       plan_of({{"rows", "weights"}, {"columns", "accuracy@full"}}));
  };
  const Table unlike = table_of("unlike.sqlite", "masked", "sparse,masked");
  CHECK_FALSE(unlike.rows[0].dagger);
  CHECK(unlike.rows[1].dagger);
  CHECK(noted(unlike, "stored in several ways"));
  CHECK(noted(unlike, "masked; sparse,masked"));
  const Table alike = table_of("alike.sqlite", "masked", "masked,masked");
  CHECK_FALSE(alike.rows[1].dagger);
  CHECK_FALSE(noted(alike, "stored in several ways"));
}

TEST_CASE("across repeats the columns", "[unit]") {
  const Fixture f;
  const Table t =
      f.table({{"rows", "density"}, {"across", "weights"}, {"columns", "accuracy@full as full"}});
  CHECK(t.columns == std::vector<std::string>{"weights=static full", "weights=ssa full"});
  REQUIRE(t.rows.size() == 1);
  CHECK(t.rows[0].cells[1].mean.value() == Approx(0.903));
  CHECK_FALSE(noted(t, "differ in"));
}

TEST_CASE("two levels: named, or sparse where both were", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord run = test::make_run(
      {{"data", "bytes"}, {"blocks", "4"}, {"density", "0.1"}, {"attention", "ssa"}});
  StoreWriter writer(path);
  writer.add_runs({run});
  const auto row = [&run](std::int64_t sequence, const char* attention, double blocks,
                          const char* weights, double density, double loss) {
    Row r = test::eval(run.id, sequence, 1, 1, 1, 10);
    auto& e = std::get<EvalRow>(r.body);
    e.readout.attention.stream = attention;
    if (blocks > 0) e.readout.attention.budget = blocks;
    e.readout.weights.stream = weights;
    if (density > 0) e.readout.weights.budget = density;
    e.loss = loss;
    return r;
  };
  writer.insert({row(0, "full", 0, "full", 0, 1.0), row(1, "sparse", 4, "full", 0, 2.0),
                 row(2, "sparse", 2, "full", 0, 3.0), row(3, "full", 0, "sparse", 0.1, 4.0),
                 row(4, "sparse", 4, "sparse", 0.1, 5.0), test::state(run.id, 5, "done")});
  const Table t = build_table(
      StoreReader(path),
      plan_of({{"columns",
                "loss@full, loss@attention=sparse,weights=full, loss@attention=sparse/2,"
                " loss@weights=sparse, loss@sparse, loss@sparse/2, bits_per_byte,"
                " loss@attention=sparse,weights=own"}}));
  const auto& cells = t.rows[0].cells;
  CHECK(cells[7].mean.value() == 2.0);  // the full read-out, where there is one
  CHECK(cells[0].mean.value() == 1.0);
  CHECK(cells[1].mean.value() == 2.0);
  CHECK(cells[2].mean.value() == 3.0);
  CHECK(cells[3].mean.value() == 4.0);
  CHECK(cells[4].mean.value() == 5.0);
  CHECK(cells[5].mean.value() == 3.0);  // only attention was read out at half
  CHECK(cells[6].mean.value() == Approx(1 / std::log(2.0)));
}

TEST_CASE("own is sparse where dormant weights carry no values", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord run = test::make_run({{"density", "0.1"}, {"weights", "rigl"}});
  StoreWriter writer(path);
  writer.add_runs({run});
  writer.insert({test::readout(run.id, 0, 500, "sparse", 0.05),
                 test::readout(run.id, 1, 700, "sparse", 0.1), test::state(run.id, 2, "done")});
  const Table t =
      build_table(StoreReader(path), plan_of({{"columns", "accuracy@weights=own, accuracy@full"}}));
  CHECK(t.rows[0].cells[0].mean.value() == Approx(0.7));
  CHECK_FALSE(t.rows[0].cells[1].mean.has_value());
}

TEST_CASE("own is the attention that a method trains, full where it trains both", "[unit]") {
  const std::vector<std::pair<std::string, double>> expected = {
      {"full", 1}, {"alternate", 1}, {"ssa", 1}, {"phased", 1}, {"moba", 2}, {"nsa", 2}};
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  {
    StoreWriter writer(path);
    for (const auto& [method, loss] : expected) {
      const RunRecord run = test::make_run(
          {{"data", "bytes"}, {"blocks", "4"}, {"density", "0.1"}, {"attention", method}});
      writer.add_runs({run});
      std::vector<Row> rows;
      // Of weights both read-outs, of which own is the full one whatever attention does.
      for (const bool sparse_weights : {false, true}) {
        for (const double budget : {0.0, 4.0, 2.0}) {
          Row row = test::eval(run.id, static_cast<std::int64_t>(rows.size()), 1, 1, 1, 10);
          auto& e = std::get<EvalRow>(row.body);
          e.readout.attention.stream = budget > 0 ? "sparse" : "full";
          if (budget > 0) e.readout.attention.budget = budget;
          e.readout.weights.stream = sparse_weights ? "sparse" : "full";
          if (sparse_weights) e.readout.weights.budget = 0.1;
          e.loss = (sparse_weights ? 10 : 0) + (budget == 0 ? 1 : budget == 4 ? 2 : 3);
          rows.push_back(row);
        }
      }
      rows.push_back(test::state(run.id, static_cast<std::int64_t>(rows.size()), "done"));
      writer.insert(rows);
    }
  }
  const Table t =
      build_table(StoreReader(path),
                  plan_of({{"rows", "attention"},
                           {"columns", "loss@own, loss@attention=own,weights=sparse, loss@full"}}));
  REQUIRE(t.rows.size() == expected.size());
  for (const auto& [method, loss] : expected) {
    CAPTURE(method);
    const auto row = std::find_if(t.rows.begin(), t.rows.end(), [&name = method](const auto& r) {
      return r.keys == std::vector<std::string>{name};
    });
    REQUIRE(row != t.rows.end());
    CHECK(row->cells[0].mean.value() == loss);
    CHECK(row->cells[1].mean.value() == 10 + loss);
    CHECK(row->cells[2].mean.value() == 1);
  }
}

TEST_CASE("a continual grid", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  StoreWriter writer(path);
  for (int seed = 1; seed <= 3; ++seed) {
    const RunRecord run = test::make_run(
        {{"scenario", "class_il"}, {"strategy", "er"}, {"seed", std::to_string(seed)}});
    writer.add_runs({run});
    writer.insert({test::eval(run.id, 0, 1, 1, 80 + seed, 100), test::eval(run.id, 1, 1, 2, 0, 100),
                   test::eval(run.id, 2, 2, 1, 60, 100), test::eval(run.id, 3, 2, 2, 90, 100),
                   test::state(run.id, 4, "done")});
  }
  const Table t = build_table(
      StoreReader(path),
      plan_of(
          {{"rows", "strategy"},
           {"columns", "acc, f_chaudhry, bwt_gem, learning_accuracy, aia, accuracy, acc@sparse"}}));
  const auto& cells = t.rows[0].cells;
  CHECK(cells[0].mean.value() == Approx(0.75));
  CHECK(cells[1].mean.value() == Approx(0.22));
  CHECK(cells[2].mean.value() == Approx(-0.22));
  CHECK(cells[3].mean.value() == Approx((0.82 + 0.90) / 2));
  CHECK(cells[4].mean.value() == Approx((0.82 + 0.75) / 2));
  CHECK(cells[5].mean.value() == Approx(0.75));
  CHECK(cell_text(cells[6]).empty());
}

TEST_CASE("a table has measures of several views, and of a joint run of another grid", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const auto of = [](const char* strategy) {
    return test::make_run({{"scenario", "class_il"}, {"strategy", strategy}});
  };
  const RunRecord run = of("finetune"), joint = of("joint");
  StoreWriter writer(path);
  writer.add_runs({run, joint});
  writer.add_grid("own", "own.ini", "", {run.id});
  writer.add_grid("other", "other.ini", "", {joint.id});
  Row between = test::eval(run.id, 4, 1, 1, 50, 100);
  std::get<EvalRow>(between.body).step += 5;
  writer.insert({test::eval(run.id, 0, 1, 1, 80, 100), test::eval(run.id, 1, 1, 2, 0, 100),
                 test::eval(run.id, 2, 2, 1, 60, 100), test::eval(run.id, 3, 2, 2, 90, 100),
                 between, test::state(run.id, 5, "done"), test::eval(joint.id, 0, 2, 1, 95, 100),
                 test::eval(joint.id, 1, 2, 2, 93, 100), test::state(joint.id, 2, "done")});
  const Table t = build_table(
      StoreReader(path),
      plan_of(
          {{"rows", "strategy"},
           {"grid", "own"},
           {"columns", "acc, min_acc, intransigence, gap_to_joint, stability_gap_100, lca_10"}}));
  REQUIRE(t.rows.size() == 1);
  const auto& cells = t.rows[0].cells;
  CHECK(cells[0].mean.value() == Approx(0.75));
  CHECK(cells[1].mean.value() == Approx(0.50));
  CHECK(cells[2].mean.value() == Approx(0.94 - 0.85));
  CHECK(cells[3].mean.value() == Approx(0.94 - 0.75));
  CHECK(cells[4].mean.value() == Approx(0.30));
  CHECK(cell_text(cells[5]).empty());
}

TEST_CASE("a table has forgetting of the loss in its units, bits of bytes alone", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  StoreWriter writer(path);
  for (const std::string data : {"bytes", "fashion_mnist"}) {
    const RunRecord run = test::make_run({{"scenario", "domain_il"}, {"data", data}});
    writer.add_runs({run});
    std::vector<Row> rows = {test::eval(run.id, 0, 1, 1, 80, 100),
                             test::eval(run.id, 1, 1, 2, 0, 100),
                             test::eval(run.id, 2, 2, 1, 60, 100),
                             test::eval(run.id, 3, 2, 2, 90, 100), test::state(run.id, 4, "done")};
    std::get<EvalRow>(rows[2].body).loss = 0.5 + std::log(2.0);  // from 0.5
    writer.insert(rows);
  }
  const auto table = [&path](const std::string& columns, const std::string& data) {
    return build_table(
        StoreReader(path),
        plan_of({{"rows", "data"}, {"where", "data=" + data}, {"columns", columns}}));
  };
  const Table t = table("f_nats, f_bits_per_byte, f_chaudhry", "bytes");
  CHECK(cell_text(t.rows.at(0).cells[0]) == "0.693");
  CHECK(cell_text(t.rows.at(0).cells[1]) == "1.000");
  CHECK(cell_text(t.rows.at(0).cells[2]) == "20.00");
  CHECK_THAT(to_markdown(t), Catch::Contains("| f_nats | f_bits_per_byte | f_chaudhry (%) |"));
  const Table images = table("f_nats, f_bits_per_byte", "fashion_mnist");
  CHECK(cell_text(images.rows.at(0).cells[0]) == "0.693");
  CHECK(cell_text(images.rows.at(0).cells[1]).empty());
  CHECK_THAT(to_markdown(images), Catch::Contains("of images there are nats per example (f_nats)"));
}

TEST_CASE("a misspelt measure is answered with the nearest names of all kinds", "[unit]") {
  const Fixture f;
  CHECK_THROWS_WITH(f.table({{"columns", "intransigense"}}),
                    Catch::Contains("did you mean intransigence"));
  CHECK_THROWS_WITH(f.table({{"columns", "lca"}}), Catch::Contains("did you mean lca_10,"));
  CHECK_THROWS_WITH(f.table({{"columns", "kept_mass"}}),
                    Catch::Contains("did you mean metric:kept_mass?"));
  CHECK_THROWS_WITH(f.table({{"columns", "trian_flops"}}),
                    Catch::Contains("did you mean train_flops"));
  CHECK_THROWS_WITH(parse_measure("f_chaudry@sparse"), Catch::Contains("did you mean f_chaudhry?"));
  CHECK_THROWS_WITH(parse_measure("seconds@full"), !Catch::Contains("did you mean"));
  // What no run has logged yet.
  CHECK_THROWS_WITH(f.table({{"columns", "buffer_bytes"}}),
                    Catch::Contains("did you mean metric:buffer_bytes?"));
  CHECK_THROWS_WITH(parse_measure("buffer_bytes@own"),
                    Catch::Contains("did you mean metric:buffer_bytes?"));
}

TEST_CASE("lineage comes back whole and explains a cell", "[unit]") {
  const Fixture f;
  const Table t = f.table({{"rows", "weights"}, {"columns", "accuracy@full, accuracy@sparse"}});
  const std::string json = write_lineage(lineage_of(t));
  const Lineage back = read_lineage(json);
  CHECK(write_lineage(back) == json);
  save_table(t, f.folder / "t");
  CHECK(read_file(f.folder / "t.lineage.json") == json);
  CHECK(read_file(f.folder / "t.md") == to_markdown(t));
  CHECK(read_file(f.folder / "t.csv") == to_csv(t));
  REQUIRE(back.cells.size() == 4);
  CHECK(back.cells[0].runs == t.rows[0].cells[0].runs);
  CHECK(back.cells[0].mean == t.rows[0].cells[0].mean);
  CHECK(back.runs.at(f.grid.runs[0].id).config.at("density") == "0.1");
  CHECK(back.runs.at(f.grid.runs[9].id).device == "cuda");
  const std::string good = explain_cell(back, "static", "accuracy@full");
  CHECK(good.find("comparable: yes") != std::string::npos);
  CHECK(good.find("1 of 5 diverged") != std::string::npos);
  CHECK(good.find(f.grid.runs[0].id.substr(0, 12)) != std::string::npos);
  const std::string mixed = explain_cell(back, "weights=ssa", "accuracy@sparse");
  CHECK(mixed.find("comparable: no") != std::string::npos);
  CHECK(mixed.find("device (cpu, cuda)") != std::string::npos);
  CHECK_THROWS_WITH(explain_cell(back, "rigl", ""), Catch::Contains("static"));
  CHECK_THROWS_AS(read_lineage("{}"), DataError);
  CHECK_THROWS_AS(read_lineage("x"), DataError);
}

TEST_CASE("a run is explained from the store", "[unit]") {
  const Fixture f;
  const std::string id = f.grid.runs[0].id;
  const std::string text = explain_run(StoreReader(f.path), id.substr(0, 10));
  for (const char* part : {"state done", "weights=static", "abc", "cpu", "small", "attempt"})
    CHECK(text.find(part) != std::string::npos);
}

}  // namespace
}  // namespace tandem::test::analysis_table_unit
