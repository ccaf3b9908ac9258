// The views of continual learning on a worked example with T = 3, from integers of 100. Each metric
// is checked against its published definition, computed by hand.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "analysis/query.h"
#include "config/part.h"
#include "config/strategy_start.h"
#include "store/store.h"
#include "unit/store_fixture.h"

namespace tandem::test::analysis_continual_golden {

// The program of these tests has no strategies.
TANDEM_REGISTERED = declare_begins_afresh("gdumb");

namespace {

using Matrix = std::array<std::array<int, 3>, 4>;  // row 0: before training; percent
constexpr Matrix kExample = {{{10, 15, 20}, {90, 20, 30}, {92, 85, 25}, {60, 90, 95}}};

struct Readout {
  std::string weights = "full";
  std::optional<double> budget;
  bool masked = false;
  std::string split = "validation";
};

std::int64_t fill(StoreWriter& writer, const std::string& run, std::int64_t sequence,
                  const Matrix& r, const Readout& readout, int stages = 3, bool seen_only = false) {
  std::vector<Row> rows;
  for (int i = 0; i <= stages; ++i)
    for (int j = 1; j <= 3; ++j) {
      if (seen_only && j > i) continue;
      Row row = test::eval(run, sequence++, i, j, r[i][j - 1], 100);
      auto& e = std::get<EvalRow>(row.body);
      e.readout.weights.stream = readout.weights;
      e.readout.weights.budget = readout.budget;
      e.readout.masked = readout.masked;
      e.split = readout.split;
      rows.push_back(row);
    }
  writer.insert(rows);
  return sequence;
}

struct Fixture {
  Fixture() : path(folder / "r.sqlite"), writer(path), run(test::make_run({{"tasks", "3"}})) {
    writer.add_runs({run});
  }
  // NAN where there is no row or no value.
  double value(const std::string& column, const std::string& from) const {
    const QueryResult r = StoreReader(path).query("SELECT " + column + " FROM " + from);
    REQUIRE(r.rows.size() <= 1);
    return r.rows.empty() || r.null[0][0] ? std::nan("") : std::stod(r.rows[0][0]);
  }
  TemporaryFolder folder;
  std::string path;
  StoreWriter writer;
  RunRecord run;
};

TEST_CASE("the worked example, through the views", "[golden]") {
  Fixture f;
  fill(f.writer, f.run.id, 0, kExample, {});
  CHECK(f.value("acc", "v_acc") == Approx(2.45 / 3).epsilon(1e-12));
  CHECK(f.value("a_k", "v_a_k WHERE k = 1") == Approx(0.90).epsilon(1e-12));
  CHECK(f.value("a_k", "v_a_k WHERE k = 2") == Approx(0.885).epsilon(1e-12));
  CHECK(f.value("a_k", "v_a_k WHERE k = 3") == Approx(2.45 / 3).epsilon(1e-12));
  CHECK(f.value("aia", "v_aia") == Approx((0.90 + 0.885 + 2.45 / 3) / 3).epsilon(1e-12));
  CHECK(f.value("aia", "v_aia") == Approx(0.867222).epsilon(1e-6));
  CHECK(f.value("f_chaudhry", "v_f_chaudhry WHERE k = 2") == Approx(-0.02).epsilon(1e-12));
  CHECK(f.value("f_chaudhry", "v_f_chaudhry WHERE k = 3") == Approx(0.135).epsilon(1e-12));
  CHECK(f.value("f_incl", "v_f_incl WHERE k = 3") == Approx(0.16).epsilon(1e-12));
  CHECK(f.value("bwt_gem", "v_bwt_gem WHERE k = 3") == Approx(-0.125).epsilon(1e-12));
  CHECK(f.value("learning_accuracy", "v_learning_accuracy") == Approx(0.90).epsilon(1e-12));
  const char* wide = "v_continual";
  CHECK(f.value("acc", wide) == Approx(2.45 / 3).epsilon(1e-12));
  CHECK(f.value("f_chaudhry", wide) == Approx(0.135).epsilon(1e-12));
  CHECK(f.value("f_incl", wide) == Approx(0.16).epsilon(1e-12));
  CHECK(f.value("learning_accuracy + bwt_gem * (n_tasks - 1.0) / n_tasks - acc", wide) ==
        Approx(0).margin(1e-15));
}

TEST_CASE("all transfer and forgetting measures of the worked example", "[golden]") {
  Fixture f;
  f.run = test::make_run({{"tasks", "3"}, {"scenario", "domain_il"}, {"seed", "2"}});
  f.writer.add_runs({f.run});
  fill(f.writer, f.run.id, 0, kExample, {});
  const std::vector<std::pair<std::string, double>> by_hand = {
      {"acc_dr", 5.12 / 6},
      {"f_first", 0.125},
      {"bwt_gem_code", -0.25 / 3},
      {"bwt_dr", (0.02 - 0.30 + 0.05) / 3},
      {"rem", 1 - 0.23 / 3},
      {"bwt_plus", 0},
      {"fwt_gem", (0.05 + 0.05) / 2},
      {"fwt_gem_code", 0.10 / 3},
      {"fwt_continuum", (0.20 + 0.25) / 2},
      {"fwt_dr", (0.20 + 0.30 + 0.25) / 3},
  };
  for (const auto& [name, value] : by_hand) {
    INFO(name);
    CHECK(f.value(name, "v_continual") == Approx(value).epsilon(1e-12).margin(1e-15));
  }
}

TEST_CASE("forward transfer is refused where an output was never trained", "[golden]") {
  Fixture f;
  f.run = test::make_run({{"tasks", "3"}, {"scenario", "class_il"}, {"seed", "2"}});
  f.writer.add_runs({f.run});
  const std::int64_t next = fill(f.writer, f.run.id, 0, kExample, {});
  fill(f.writer, f.run.id, next, kExample, {"full", std::nullopt, true});
  for (const char* name : {"fwt_gem", "fwt_gem_code", "fwt_continuum", "fwt_dr"}) {
    INFO(name);
    CHECK(std::isnan(f.value(name, "v_continual WHERE NOT masked")));
    CHECK_FALSE(std::isnan(f.value(name, "v_continual WHERE masked")));
  }
  CHECK(f.value("bwt_gem", "v_continual WHERE NOT masked") == Approx(-0.125).epsilon(1e-12));
}

TEST_CASE("measures with an entry missing are empty", "[golden]") {
  Fixture f;
  fill(f.writer, f.run.id, 0, kExample, {}, 3, true);  // tasks not yet seen were not evaluated
  CHECK(f.value("acc_dr", "v_continual") == Approx(5.12 / 6).epsilon(1e-12));
  CHECK(f.value("bwt_dr", "v_continual") == Approx(-0.23 / 3).epsilon(1e-12));
  CHECK(std::isnan(f.value("fwt_gem", "v_continual")));
  CHECK(std::isnan(f.value("fwt_dr", "v_continual")));
}

// The trace of the worked example: between the ends of tasks E_1 is .40 in task 2 and .30 in task
// 3, E_2 is .55 in task 3.
void fill_between(StoreWriter& writer, const std::string& run, std::int64_t sequence,
                  std::int64_t after = 10) {
  const auto row = [&](int stage, int task, int percent) {
    Row made = test::eval(run, sequence++, stage, task, percent, 100);
    std::get<EvalRow>(made.body).step += after;
    return made;
  };
  writer.insert({row(1, 1, 40), row(2, 1, 30), row(2, 2, 55)});
}

TEST_CASE("the worked example of continual evaluation", "[golden]") {
  Fixture f;
  const std::int64_t next = fill(f.writer, f.run.id, 0, kExample, {});
  fill_between(f.writer, f.run.id, next);
  const char* view = "v_stability";
  CHECK(f.value("n_between", view) == 3);
  CHECK(f.value("min_acc", view) == Approx((0.30 + 0.55) / 2).epsilon(1e-12));
  CHECK(f.value("wc_acc", view) == Approx(0.95 / 3 + 2 * 0.425 / 3).epsilon(1e-12));
  // E_1: .90 .40 .92 .30 .60, E_2: .85 .55 .90.
  CHECK(f.value("wf_10", view) == Approx((0.62 + 0.30) / 2).epsilon(1e-12));
  CHECK(f.value("wp_10", view) == Approx((0.52 + 0.35) / 2).epsilon(1e-12));
  CHECK(f.value("wf_100", view) == Approx(0.46).epsilon(1e-12));
  // Switch 1: .90 - .40; switch 2: .92 - .30 and .85 - .55.
  CHECK(f.value("stability_gap_100", view) == Approx((0.50 + 0.62 + 0.30) / 3).epsilon(1e-12));
  // The ends of tasks are what they were.
  CHECK(f.value("f_chaudhry", "v_continual") == Approx(0.135).epsilon(1e-12));
}

TEST_CASE("a sequence that has not ended has no measures of all of it", "[golden]") {
  Fixture f;
  const std::int64_t next = fill(f.writer, f.run.id, 0, kExample, {}, 2);
  fill_between(f.writer, f.run.id, next);
  for (const char* name : {"min_acc", "wc_acc", "wf_10", "wf_100", "wp_10", "wp_100"}) {
    INFO(name);
    CHECK(std::isnan(f.value(name, "v_stability")));
  }
}

TEST_CASE("means over tasks count tasks of several sizes alike, a result counts their examples",
          "[golden]") {
  Fixture f;
  f.writer.insert({test::eval(f.run.id, 0, 1, 1, 240, 300), test::eval(f.run.id, 1, 1, 2, 10, 100),
                   test::eval(f.run.id, 2, 2, 1, 150, 300),
                   test::eval(f.run.id, 3, 2, 2, 90, 100)});
  CHECK(f.value("acc", "v_continual") == Approx((150.0 / 300 + 90.0 / 100) / 2).epsilon(1e-12));
  CHECK(f.value("f_chaudhry", "v_continual") == Approx(240.0 / 300 - 150.0 / 300).epsilon(1e-12));
  CHECK(f.value("accuracy", "v_result") == Approx((150.0 + 90) / (300 + 100)).epsilon(1e-12));
}

TEST_CASE("a window of evaluations has its length", "[golden]") {
  Fixture f;
  f.writer.insert({test::eval(f.run.id, 0, 1, 1, 90, 100), test::eval(f.run.id, 1, 1, 2, 10, 100),
                   test::eval(f.run.id, 2, 2, 1, 20, 100), test::eval(f.run.id, 3, 2, 2, 80, 100)});
  // Twelve evaluations within task 2: .89, .88, ..., .78; the windows of ten see .09 of the fall,
  // and the end's, from .87 on.
  std::vector<Row> rows;
  for (int i = 1; i <= 12; ++i) {
    Row row = test::eval(f.run.id, 3 + i, 1, 1, 90 - i, 100);
    std::get<EvalRow>(row.body).step += i;
    rows.push_back(row);
  }
  f.writer.insert(rows);
  CHECK(f.value("wf_10", "v_stability") == Approx(0.86 - 0.20).epsilon(1e-12));
  CHECK(f.value("wf_100", "v_stability") == Approx(0.90 - 0.20).epsilon(1e-12));
  CHECK(f.value("wp_10", "v_stability") == Approx(0).margin(1e-12));
  CHECK(f.value("stability_gap_100", "v_stability") == Approx(0.12).epsilon(1e-12));
}

TEST_CASE("without evaluations between the ends of tasks nothing is told of them", "[golden]") {
  Fixture f;
  fill(f.writer, f.run.id, 0, kExample, {});
  for (const char* name : {"min_acc", "wc_acc", "stability_gap_100", "wf_10", "wp_100"}) {
    INFO(name);
    CHECK(std::isnan(f.value(name, "v_stability")));
  }
  Fixture g;  // beyond 100 steps it is no longer the switch
  const std::int64_t next = fill(g.writer, g.run.id, 0, kExample, {});
  fill_between(g.writer, g.run.id, next, 101);
  CHECK(std::isnan(g.value("stability_gap_100", "v_stability")));
}

// An evaluation of one task, in percent, at a step of the run.
Row moment(const std::string& run, std::int64_t sequence, std::int64_t stage, std::int64_t task,
           std::int64_t step, int percent) {
  Row row = test::eval(run, sequence, stage, task, percent, 100);
  std::get<EvalRow>(row.body).step = step;
  return row;
}

// Two tasks of 20 and of `second` steps, each evaluated on its own after each of its first `most`
// mini-batches: .05, .13, ..., .85 on the first and .15, .23, ..., .95 on the second, so that Z_b
// is .10, .18, ..., .90.
std::vector<Row> starts(const std::string& run, std::int64_t most = 10, std::int64_t second = 20) {
  std::vector<Row> rows;
  const auto add = [&](std::int64_t stage, std::int64_t task, std::int64_t step, int percent) {
    rows.push_back(moment(run, static_cast<std::int64_t>(rows.size()), stage, task, step, percent));
  };
  for (std::int64_t b = 0; b <= most; ++b) {
    const int more = b > 10 ? 0 : 8 * static_cast<int>(b);
    add(0, 1, b, 5 + more);
    if (b < second) add(1, 2, 20 + b, 15 + more);
  }
  add(1, 1, 20, 90);
  add(2, 1, 20 + second, 60);
  add(2, 2, 20 + second, second == 10 ? 95 : 70);
  return rows;
}

TEST_CASE("the area under the learning curve of ten mini-batches", "[golden]") {
  // LCA_2 of Z = (.1, .5, .9) is .5, and so is LCA_10 of the eleven points between.
  Fixture f;
  f.writer.insert(starts(f.run.id));
  CHECK(f.value("lca_10", "v_anytime") == Approx(0.5).epsilon(1e-12));
  Fixture later;  // what comes after the tenth does not count
  later.writer.insert(starts(later.run.id, 11));
  CHECK(later.value("lca_10", "v_anytime") == Approx(0.5).epsilon(1e-12));
  Fixture ends;  // the tenth mini-batch is the task's last
  ends.writer.insert(starts(ends.run.id, 10, 10));
  CHECK(ends.value("lca_10", "v_anytime") == Approx(0.5).epsilon(1e-12));
  Fixture twice;  // of one that is there twice the later row counts
  std::vector<Row> rows = starts(twice.run.id);
  rows.push_back(moment(twice.run.id, static_cast<std::int64_t>(rows.size()), 0, 1, 3, 40));
  twice.writer.insert(rows);
  CHECK(twice.value("lca_10", "v_anytime") == Approx(0.5 + (0.40 - 0.29) / 22).epsilon(1e-12));
}

TEST_CASE("a run of one task has no learning curve of a sequence", "[golden]") {
  Fixture f;
  std::vector<Row> rows;
  for (std::int64_t b = 1; b <= 11; ++b) rows.push_back(moment(f.run.id, b, 0, 1, b, 50));
  rows.push_back(moment(f.run.id, 12, 1, 1, 40, 80));
  f.writer.insert(rows);
  for (const char* name : {"lca_10", "aaa", "a_auc"}) {
    INFO(name);
    CHECK(std::isnan(f.value(name, "v_anytime")));
  }
}

TEST_CASE("a learning curve with a mini-batch missing has no area", "[golden]") {
  Fixture f;
  f.writer.insert(starts(f.run.id, 9));
  CHECK(f.value("count(*)", "v_anytime") == 1);
  CHECK(std::isnan(f.value("lca_10", "v_anytime")));
  Fixture shorter;  // the first task has nine steps, and what is found of it later is not its own
  std::vector<Row> rows;
  for (std::int64_t b = 0; b <= 10; ++b) {
    rows.push_back(moment(shorter.run.id, 2 * b, b < 9 ? 0 : 1, 1, b, 50));
    rows.push_back(moment(shorter.run.id, 2 * b + 1, 1, 2, 9 + b, 50));
  }
  rows.push_back(moment(shorter.run.id, 50, 2, 1, 29, 50));
  rows.push_back(moment(shorter.run.id, 51, 2, 2, 29, 50));
  shorter.writer.insert(rows);
  CHECK(std::isnan(shorter.value("lca_10", "v_anytime")));
  Fixture first;  // the first task was not evaluated after its start, as by eval_after_switch
  rows = starts(first.run.id);
  rows.erase(std::remove_if(rows.begin(), rows.end(),
                            [](const Row& row) {
                              const auto& e = std::get<EvalRow>(row.body);
                              return e.stage == 0 && e.step > 0;
                            }),
             rows.end());
  first.writer.insert(rows);
  CHECK(std::isnan(first.value("lca_10", "v_anytime")));
}

// Points within the worked example: .50 in task 1, .55 = (.40 + .70) / 2 in task 2 and
// 1.30 / 3 = (.30 + .55 + .45) / 3 in task 3, each ten steps after the task began.
std::vector<Row> points(const std::string& run, std::int64_t sequence) {
  return {moment(run, sequence, 0, 1, 10, 50),      moment(run, sequence + 1, 0, 2, 10, 99),
          moment(run, sequence + 2, 1, 1, 110, 40), moment(run, sequence + 3, 1, 2, 110, 70),
          moment(run, sequence + 4, 2, 1, 210, 30), moment(run, sequence + 5, 2, 2, 210, 55),
          moment(run, sequence + 6, 2, 3, 210, 45)};
}

std::vector<Row> of_net(std::vector<Row> rows, const std::string& net) {
  for (Row& row : rows) {
    row.sequence += net.empty() ? 1000 : 2000;
    std::get<EvalRow>(row.body).readout.net = net;
  }
  return rows;
}

TEST_CASE("what is read by the nearest mean has no measures of how a task begins", "[golden]") {
  Fixture begun, worked;
  for (const std::string net : {"", "nearest_mean"}) {
    begun.writer.insert(of_net(starts(begun.run.id), net));
    std::vector<Row> rows = points(worked.run.id, 100);
    for (int i = 0; i <= 3; ++i) {
      for (int j = 1; j <= 3; ++j) {
        rows.push_back(moment(worked.run.id, 3 * i + j, i, j, 100 * i, 20 + 20 * i));
      }
    }
    worked.writer.insert(of_net(rows, net));
  }
  const std::string plain = " WHERE net IS NULL", mean = " WHERE net = 'nearest_mean'";
  CHECK_FALSE(std::isnan(begun.value("lca_10", "v_anytime" + plain)));
  CHECK(std::isnan(begun.value("lca_10", "v_anytime" + mean)));
  for (const auto& [name, view] : {std::pair<std::string, std::string>{"aaa", "v_anytime"},
                                   {"a_auc", "v_anytime"},
                                   {"fwt_gem", "v_continual"},
                                   {"fwt_gem_code", "v_continual"},
                                   {"fwt_continuum", "v_continual"},
                                   {"fwt_dr", "v_continual"}}) {
    INFO(name);
    CHECK_FALSE(std::isnan(worked.value(name, view + plain)));
    CHECK(std::isnan(worked.value(name, view + mean)));
  }
  CHECK(worked.value("acc", "v_continual" + mean) == worked.value("acc", "v_continual" + plain));
}

TEST_CASE("what happens inside of tasks says nothing of a net that is not meant to be read there",
          "[golden]") {
  const std::vector<std::pair<std::string, std::string>> measures = {
      {"min_acc", "v_stability"}, {"wc_acc", "v_stability"}, {"stability_gap_100", "v_stability"},
      {"wf_10", "v_stability"},   {"wf_100", "v_stability"}, {"wp_10", "v_stability"},
      {"wp_100", "v_stability"},  {"aaa", "v_anytime"},      {"a_auc", "v_anytime"}};
  const auto trained = [](const std::string& strategy, const std::string& net) {
    auto f = std::make_unique<Fixture>();
    f->run = test::make_run({{"tasks", "3"}, {"scenario", "class_il"}, {"strategy", strategy}});
    f->writer.add_runs({f->run});
    std::vector<Row> rows = points(f->run.id, 100);
    for (int i = 0; i <= 3; ++i) {
      for (int j = 1; j <= 3; ++j) {
        rows.push_back(moment(f->run.id, 3 * i + j, i, j, 100 * i, kExample[i][j - 1]));
      }
    }
    for (Row& row : rows) std::get<EvalRow>(row.body).readout.net = net;
    f->writer.insert(rows);
    return f;
  };
  const auto plain = trained("er", ""), averages = trained("cls_er", "average"),
             afresh = trained("gdumb", ""), means = trained("icarl", "nearest_mean");
  for (const auto& [name, view] : measures) {
    INFO(name);
    CHECK_FALSE(std::isnan(plain->value(name, view)));
    CHECK(averages->value(name, view) == plain->value(name, view));
    CHECK(std::isnan(afresh->value(name, view)));
    CHECK(std::isnan(means->value(name, view)));
  }
  CHECK(plain->value("n_between", "v_stability") == 3);
  for (const auto* each : {afresh.get(), means.get()}) {
    CHECK(each->value("n_between", "v_stability") == 0);
    CHECK(each->value("acc", "v_continual") == Approx(2.45 / 3).epsilon(1e-12));
    CHECK(each->value("f_chaudhry", "v_continual") == Approx(0.135).epsilon(1e-12));
  }
  Fixture begun;
  begun.run = test::make_run({{"tasks", "2"}, {"strategy", "gdumb"}});
  begun.writer.add_runs({begun.run});
  begun.writer.insert(starts(begun.run.id));
  CHECK(std::isnan(begun.value("lca_10", "v_anytime")));
}

TEST_CASE("anytime accuracy of the worked example", "[golden]") {
  Fixture f;
  const std::int64_t next = fill(f.writer, f.run.id, 0, kExample, {});
  CHECK(f.value("n_points", "v_anytime") == 3);
  CHECK(std::isnan(f.value("aaa", "v_anytime")));  // the ends alone are aia
  CHECK(std::isnan(f.value("a_auc", "v_anytime")));
  f.writer.insert(points(f.run.id, next));
  CHECK(f.value("n_points", "v_anytime") == 6);
  const double third = 1.30 / 3, last = 2.45 / 3;
  CHECK(f.value("aaa", "v_anytime") ==
        Approx((0.50 + 0.90 + 0.55 + 0.885 + third + last) / 6).epsilon(1e-12));
  CHECK(f.value("aaa", "v_anytime") == Approx(0.680833).epsilon(1e-6));
  CHECK(f.value("a_auc", "v_anytime") ==
        Approx((10 * 0.50 + 90 * 0.90 + 10 * 0.55 + 90 * 0.885 + 10 * third + 90 * last) / 300)
            .epsilon(1e-12));
  CHECK(f.value("aia", "v_continual") == Approx(0.867222).epsilon(1e-6));
}

TEST_CASE("anytime accuracy needs every task seen at every point", "[golden]") {
  Fixture f;
  const std::int64_t next = fill(f.writer, f.run.id, 0, kExample, {});
  std::vector<Row> rows = points(f.run.id, next);
  rows.pop_back();  // the task in training
  f.writer.insert(rows);
  CHECK(std::isnan(f.value("aaa", "v_anytime")));
  CHECK(std::isnan(f.value("a_auc", "v_anytime")));
  Fixture stopped;
  stopped.writer.insert(
      points(stopped.run.id, fill(stopped.writer, stopped.run.id, 0, kExample, {}, 2)));
  CHECK(std::isnan(stopped.value("aaa", "v_anytime")));
  Fixture joint;  // saw all tasks from the start
  for (int j = 1; j <= 3; ++j) {
    joint.writer.insert({moment(joint.run.id, j, 0, j, 0, 10),
                         moment(joint.run.id, j + 3, 0, j, 9, 50),
                         moment(joint.run.id, j + 6, 3, j, 300, 90)});
  }
  CHECK(joint.value("n_points", "v_anytime") == 2);
  CHECK(std::isnan(joint.value("aaa", "v_anytime")));
}

// The run of the worked example and others of its cell.
struct JointFixture : Fixture {
  explicit JointFixture(const test::Values& said = {}) {
    run = sequence_run("finetune", said);
    writer.add_runs({run});
    fill(writer, run.id, 0, kExample, {});
  }
  static RunRecord sequence_run(const std::string& strategy, test::Values said) {
    said.insert(said.begin(),
                {{"strategy", strategy}, {"scenario", "domain_il"}, {"tasks", "3"}, {"lr", "0.1"}});
    return test::make_run(said);
  }
  // A joint run with these accuracies, in percent.
  std::string add(const std::array<int, 3>& percent, const test::Values& said = {},
                  const std::string& state = "done", const Readout& readout = {}) {
    const RunRecord joint = sequence_run("joint", said);
    writer.add_runs({joint});
    std::vector<Row> rows;
    for (int j = 1; j <= 3; ++j) {
      for (const int stage : {0, 3}) {
        Row row = test::eval(joint.id, static_cast<std::int64_t>(rows.size()) + 1, stage, j,
                             stage == 0 ? 11 : percent[static_cast<std::size_t>(j - 1)], 100);
        auto& e = std::get<EvalRow>(row.body);
        e.readout.weights = {readout.weights, readout.budget, ""};
        rows.push_back(row);
      }
    }
    rows.push_back(test::state(joint.id, 100, state));
    writer.insert(rows);
    return joint.id;
  }
  // A cumulative run whose accuracy on task k is this at the end of stage k, and less later and
  // before; only the tasks so far are known.
  std::string add_cumulative(const std::array<int, 3>& percent, const test::Values& said = {}) {
    const RunRecord cumulative = sequence_run("cumulative", said);
    writer.add_runs({cumulative});
    std::vector<Row> rows;
    for (int i = 1; i <= 3; ++i) {
      for (int j = 1; j <= i; ++j) {
        const int n_correct = percent[static_cast<std::size_t>(j - 1)] - 7 * (i - j);
        rows.push_back(test::eval(cumulative.id, static_cast<std::int64_t>(rows.size()) + 1, i, j,
                                  n_correct, 100));
      }
    }
    rows.push_back(test::state(cumulative.id, 100, "done"));
    writer.insert(rows);
    return cumulative.id;
  }
  double own(const std::string& column, const std::string& where = "true") const {
    return value(column, "v_joint WHERE run = '" + run.id + "' AND " + where);
  }
};

constexpr std::array<int, 3> kJoint = {97, 93, 96};

TEST_CASE("intransigence of the worked example", "[golden]") {
  JointFixture f;
  CHECK(std::isnan(f.own("intransigence")));
  CHECK(std::isnan(f.own("gap_to_joint")));
  const std::string joint = f.add(kJoint);
  CHECK(f.own("intransigence") == Approx((0.07 + 0.08 + 0.01) / 3).epsilon(1e-12));
  CHECK(f.own("intransigence") == Approx(0.053333).epsilon(1e-5));
  CHECK(f.own("gap_to_joint") == Approx(2.86 / 3 - 2.45 / 3).epsilon(1e-12));
  CHECK(f.own("n_joint") == 1);
  for (const auto& [k, value] : {std::pair{1, 0.07}, {2, 0.08}, {3, 0.01}}) {
    CHECK(f.value("intransigence", "v_intransigence WHERE k = " + std::to_string(k)) ==
          Approx(value).epsilon(1e-12));
  }
  CHECK(std::isnan(f.value("intransigence", "v_joint WHERE run = '" + joint + "'")));
  // A reader that is restricted to a run still sees the joint run of the file.
  const StoreReader reader(f.path);
  const QueryResult alone = reader.only({f.run.id}).query("SELECT intransigence FROM v_joint");
  REQUIRE(alone.rows.size() == 1);
  REQUIRE_FALSE(alone.null[0][0]);
  CHECK(std::stod(alone.rows[0][0]) == Approx(0.16 / 3).epsilon(1e-12));
}

TEST_CASE("intransigence against the runs of the tasks so far", "[golden]") {
  JointFixture f;
  CHECK(std::isnan(f.own("intransigence_cumulative")));
  const std::string cumulative = f.add_cumulative(kJoint);
  CHECK(f.own("intransigence_cumulative") == Approx((0.07 + 0.08 + 0.01) / 3).epsilon(1e-12));
  CHECK(f.own("n_cumulative") == 1);
  CHECK(std::isnan(f.own("intransigence")));  // a cumulative run is no joint one
  CHECK(std::isnan(f.own("gap_to_joint")));
  // Each has its own, whatever seeds the other has.
  f.add({90, 90, 90}, {{"seed", "2"}});
  CHECK(f.own("intransigence") == Approx(0).margin(1e-12));
  CHECK(f.own("gap_to_joint") == Approx(0.90 - 2.45 / 3).epsilon(1e-12));
  CHECK(f.own("intransigence_cumulative") == Approx(0.16 / 3).epsilon(1e-12));
  f.add_cumulative({99, 99, 99}, {{"seed", "3"}});
  CHECK(f.own("n_cumulative") == 1);
  for (const auto& [k, value] : {std::pair{1, 0.07}, {2, 0.08}, {3, 0.01}}) {
    CHECK(f.value("intransigence_cumulative",
                  "v_intransigence WHERE run = '" + f.run.id + "' AND k = " + std::to_string(k)) ==
          Approx(value).epsilon(1e-12));
  }
  // Of the cumulative run itself: against the joint one, and not against itself.
  const std::string of_it = "v_joint WHERE run = '" + cumulative + "'";
  CHECK(f.value("intransigence", of_it) == Approx(0.90 - 2.86 / 3).epsilon(1e-12));
  CHECK(std::isnan(f.value("intransigence_cumulative", of_it)));
}

TEST_CASE("the joint run is that of the same config but for strategies and measuring", "[golden]") {
  const double wanted = 0.16 / 3;
  for (const test::Values& same :
       {test::Values{{"eval_every", "0.5"}, {"curve", "false"}}, {{"final", "true"}}}) {
    JointFixture f({{"eval_after_switch", "5"}, {"eval_first_steps", "10"}});
    f.add(kJoint, same);
    INFO(same.front().first);
    CHECK(f.own("intransigence") == Approx(wanted).epsilon(1e-12));
  }
  for (const test::Values& other : {test::Values{{"lr", "0.05"}},
                                    {{"density", "0.2"}},
                                    {{"weights", "rigl"}},
                                    {{"tasks", "4"}},
                                    {{"epochs", "3"}},
                                    {{"scenario", "class_il"}}}) {
    JointFixture f;
    f.add(kJoint, other);
    INFO(other.front().first);
    CHECK(std::isnan(f.own("intransigence")));
  }
  JointFixture unfinished;
  unfinished.add(kJoint, {}, "diverged");
  CHECK(std::isnan(unfinished.own("intransigence")));
}

TEST_CASE("the joint run of the same seeds counts, else the mean over those there are",
          "[golden]") {
  JointFixture f;
  f.add({90, 90, 90}, {{"seed", "2"}});
  CHECK(f.own("intransigence") == Approx(0).margin(1e-12));
  f.add({96, 96, 96}, {{"seed", "3"}});
  CHECK(f.own("intransigence") == Approx(0.03).epsilon(1e-12));
  CHECK(f.own("n_joint") == 2);
  f.add({99, 99, 99}, {{"seed_classes", "5"}});
  CHECK(f.own("n_joint") == 3);
  f.add(kJoint);
  CHECK(f.own("intransigence") == Approx(0.16 / 3).epsilon(1e-12));
  CHECK(f.own("n_joint") == 1);
}

TEST_CASE("where a seed says what a task is, its own joint run alone is compared", "[golden]") {
  for (const test::Values& drawn : {test::Values{{"class_order", "random"}},
                                    {{"tasks_by", "permutation"}},
                                    {{"tasks_by", "rotation"}}}) {
    INFO(drawn.front().second);
    JointFixture f(drawn);
    test::Values other = drawn;
    other.emplace_back("seed", "2");
    f.add({90, 90, 90}, other);
    CHECK(std::isnan(f.own("intransigence")));
    f.add(kJoint, drawn);
    CHECK(f.own("intransigence") == Approx(0.16 / 3).epsilon(1e-12));
    CHECK(f.own("n_joint") == 1);
  }
}

TEST_CASE("joint training stands for that of blurred switches, of which it has none", "[golden]") {
  JointFixture f(test::Values{{"blur", "0.2"}});
  f.add(kJoint);
  CHECK(f.own("intransigence") == Approx(0.16 / 3).epsilon(1e-12));
}

TEST_CASE("a joint run is compared in the same stream and budget", "[golden]") {
  JointFixture f;
  f.add(kJoint, {}, "done", {"sparse", 0.1});
  CHECK(std::isnan(f.own("intransigence")));
  fill(f.writer, f.run.id, 50, kExample, {"sparse", 0.1});
  CHECK(f.own("intransigence", "weights_budget = 0.1") == Approx(0.16 / 3).epsilon(1e-12));
  // A strategy that reads the net of each task, or an average, is compared all the same.
  std::vector<Row> rows;
  for (int i = 1; i <= 3; ++i) {
    for (int j = 1; j <= 3; ++j) {
      Row each = test::eval(f.run.id, 100 + 3 * i + j, i, j, kExample[i][j - 1], 100);
      auto& e = std::get<EvalRow>(each.body);
      e.readout.weights = {"sparse", 0.1, ""};
      e.readout.net = "average";
      rows.push_back(each);
    }
  }
  f.writer.insert(rows);
  CHECK(f.own("intransigence", "net = 'average'") == Approx(0.16 / 3).epsilon(1e-12));
}

TEST_CASE("samples storage size", "[golden]") {
  Fixture f;
  const std::int64_t next = fill(f.writer, f.run.id, 0, kExample, {});
  const auto row = [&](std::int64_t after, const char* name, double value) {
    return test::metric(f.run.id, next + after, 100 * (after + 1), "", name, value);
  };
  f.writer.insert({row(0, "buffer_bytes", 100), row(1, "buffer_bytes", 200),
                   row(3, "strategy_bytes", 77), row(4, "data_bytes", 1000)});
  CHECK(std::isnan(f.value("sss", "v_storage")));  // after the last task it is not known
  f.writer.insert({row(2, "buffer_bytes", 300)});
  CHECK(f.value("sss", "v_storage") == Approx(0.8).epsilon(1e-12));
  CHECK(f.value("buffer_bytes", "v_storage") == 300);
  CHECK(f.value("strategy_bytes", "v_storage") == 77);
  Fixture more;  // more than the data is no less than nothing
  fill(more.writer, more.run.id, 0, kExample, {});
  std::vector<Row> rows;
  for (int i = 0; i < 3; ++i)
    rows.push_back(test::metric(more.run.id, 50 + i, i, "", "buffer_bytes", 9000));
  rows.push_back(test::metric(more.run.id, 60, 3, "", "strategy_bytes", 0));
  rows.push_back(test::metric(more.run.id, 61, 3, "", "data_bytes", 1000));
  more.writer.insert(rows);
  CHECK(more.value("sss", "v_storage") == Approx(0).margin(1e-15));
}

// Passes of 10, 20 and 30 operations; learning the tasks took 40, 20 and 120: 1/4, 1 and 1/4.
TEST_CASE("computational efficiency", "[golden]") {
  const auto cost = [](const std::string& run, std::int64_t task, double so_far, double pass) {
    const std::int64_t sequence = 100 + 10 * task;
    return std::vector<Row>{test::metric(run, sequence, 100 * task, "", "buffer_bytes", 0),
                            test::metric(run, sequence + 1, 100 * task, "", "train_flops", so_far),
                            test::metric(run, sequence + 2, 100 * task, "", "pass_flops", pass)};
  };
  Fixture f;
  fill(f.writer, f.run.id, 0, kExample, {});
  f.writer.insert({test::metric(f.run.id, 201, 300, "", "strategy_bytes", 0),
                   test::metric(f.run.id, 202, 300, "", "data_bytes", 1000)});
  f.writer.insert(cost(f.run.id, 1, 40, 10));
  f.writer.insert(cost(f.run.id, 2, 60, 20));
  CHECK(std::isnan(f.value("ce", "v_storage")));  // what the last task took is not known
  f.writer.insert(cost(f.run.id, 3, 180, 30));
  CHECK(f.value("ce", "v_storage") == Approx(0.5).epsilon(1e-12));
  CHECK(f.value("sss", "v_storage") == 1);
  Fixture less;  // training on a part of the data costs less than a pass over them
  fill(less.writer, less.run.id, 0, kExample, {});
  less.writer.insert({test::metric(less.run.id, 201, 300, "", "strategy_bytes", 0),
                      test::metric(less.run.id, 202, 300, "", "data_bytes", 1000)});
  for (int task = 1; task <= 3; ++task) less.writer.insert(cost(less.run.id, task, 5 * task, 10));
  CHECK(less.value("ce", "v_storage") == 1);
  Fixture older;  // programs that did not log what a task took
  fill(older.writer, older.run.id, 0, kExample, {});
  std::vector<Row> rows = {test::metric(older.run.id, 201, 300, "", "strategy_bytes", 0),
                           test::metric(older.run.id, 202, 300, "", "data_bytes", 1000)};
  for (int i = 0; i < 3; ++i) {
    rows.push_back(test::metric(older.run.id, 50 + i, i, "", "buffer_bytes", 100));
  }
  older.writer.insert(rows);
  CHECK(older.value("sss", "v_storage") == Approx(0.9).epsilon(1e-12));
  CHECK(std::isnan(older.value("ce", "v_storage")));
}

TEST_CASE("the gap between read-outs, paired by run", "[golden]") {
  Fixture f;
  std::vector<RunRecord> runs;
  Matrix worse = kExample, other = kExample;
  for (int j = 0; j < 3; ++j) worse[3][j] -= 10;     // ACC .716667, forgetting .235
  for (int j = 0; j < 3; ++j) other[3][j] -= 4 * j;  // ACC .776667, forgetting .155
  for (int seed = 1; seed <= 2; ++seed) {
    runs.push_back(
        test::make_run({{"tasks", "3"}, {"weights", "ssa"}, {"seed", std::to_string(seed)}}));
    f.writer.add_runs({runs.back()});
    std::int64_t next = fill(f.writer, runs.back().id, 0, kExample, {});
    next = fill(f.writer, runs.back().id, next, worse, {"sparse", 0.05});
    next = fill(f.writer, runs.back().id, next, seed == 1 ? worse : other, {"sparse", 0.1});
    f.writer.insert({test::state(runs.back().id, next, "done")});
  }
  const StoreReader reader(f.path);
  const QueryResult q = run_query(reader, "readout_gap", {}, {.all = true});
  REQUIRE(q.rows.size() == 1);
  const auto at = [&q](const std::string& name) {
    const auto found = std::find(q.columns.begin(), q.columns.end(), name);
    REQUIRE(found != q.columns.end());
    return std::stod(q.rows[0][static_cast<std::size_t>(found - q.columns.begin())]);
  };
  CHECK(at("n") == 2);
  CHECK(at("acc_full") == Approx(0.8167));
  CHECK(at("acc_sparse") == Approx(0.7467));
  // .10 and .04 within the runs; -.10 and -.02 of forgetting.
  CHECK(at("readout_gap") == Approx(0.07));
  CHECK(at("readout_gap_sd") == Approx(0.0424));
  CHECK(at("forgetting_gap") == Approx(-0.06));
  CHECK(at("forgetting_gap_sd") == Approx(0.0566));
}

TEST_CASE("evaluating the seen tasks only changes none of them but the zero-shot maximum",
          "[golden]") {
  Fixture f;
  fill(f.writer, f.run.id, 0, kExample, {}, 3, true);
  CHECK(f.value("acc", "v_continual") == Approx(2.45 / 3).epsilon(1e-12));
  CHECK(f.value("aia", "v_continual") == Approx(0.867222).epsilon(1e-6));
  CHECK(f.value("f_chaudhry", "v_continual") == Approx(0.135).epsilon(1e-12));
  CHECK(f.value("bwt_gem", "v_continual") == Approx(-0.125).epsilon(1e-12));
}

TEST_CASE("forgetting counts a zero-shot entry from stage 1 on, and never stage 0", "[golden]") {
  Fixture f;
  Matrix r = kExample;
  r[0][1] = 99;  // before training: not among l = 1..k-1
  fill(f.writer, f.run.id, 0, r, {});
  CHECK(f.value("f_chaudhry", "v_continual") == Approx(0.135).epsilon(1e-12));
  Fixture g;
  r[1][1] = 97;  // after task 1, task 2 not yet trained: f_2 = .97 - .90
  fill(g.writer, g.run.id, 0, r, {});
  CHECK(g.value("f_chaudhry", "v_continual") == Approx((0.32 + 0.07) / 2).epsilon(1e-12));
}

TEST_CASE("read-outs, masks and splits are kept apart", "[golden]") {
  Fixture f;
  Matrix half = kExample;
  for (auto& row : half)
    for (int& x : row) x /= 2;
  std::int64_t next = fill(f.writer, f.run.id, 0, kExample, {});
  next = fill(f.writer, f.run.id, next, half, {"sparse", 0.1});
  next = fill(f.writer, f.run.id, next, half, {"sparse", 0.05});
  next = fill(f.writer, f.run.id, next, half, {"full", std::nullopt, true});
  fill(f.writer, f.run.id, next, half, {"full", std::nullopt, false, "test"});
  CHECK(f.value("count(*)", "v_continual") == 5);
  CHECK(f.value("acc",
                "v_continual WHERE weights_readout = 'full' AND NOT masked AND split ="
                " 'validation'") == Approx(2.45 / 3).epsilon(1e-12));
  CHECK(f.value("acc", "v_continual WHERE weights_budget = 0.05") ==
        Approx((0.30 + 0.45 + 0.47) / 3).epsilon(1e-12));
}

TEST_CASE("what was not evaluated has no metric", "[golden]") {
  Fixture f;
  fill(f.writer, f.run.id, 0, kExample, {}, 2);  // stopped after two of three tasks
  CHECK(std::isnan(f.value("acc", "v_continual")));
  CHECK(std::isnan(f.value("aia", "v_continual")));
  CHECK(std::isnan(f.value("f_chaudhry", "v_continual")));
  CHECK(std::isnan(f.value("bwt_gem", "v_continual")));
  CHECK(std::isnan(f.value("learning_accuracy", "v_continual")));
  CHECK(f.value("a_k", "v_a_k WHERE k = 2") == Approx(0.885).epsilon(1e-12));
}

TEST_CASE("R(i, j) is the first evaluation of stage i, not one during the next task", "[golden]") {
  Fixture f;
  const std::int64_t next = fill(f.writer, f.run.id, 0, kExample, {});
  Row later = test::eval(f.run.id, next, 2, 1, 5, 100);
  std::get<EvalRow>(later.body).step = 250;
  f.writer.insert({later});
  CHECK(f.value("f_chaudhry", "v_continual") == Approx(0.135).epsilon(1e-12));
  CHECK(f.value("a_k", "v_a_k WHERE k = 2") == Approx(0.885).epsilon(1e-12));
}

// The losses of the worked example, L(i, j) in nats, of which task 1 has its least after task 2.
constexpr double kLosses[4][3] = {
    {5.0, 5.5, 6.0}, {1.0, 4.0, 5.0}, {0.75, 1.5, 4.5}, {2.0, 1.25, 1.0}};

std::vector<Row> with_losses(const std::string& run, int stages = 3) {
  std::vector<Row> rows;
  for (int i = 0; i <= stages; ++i) {
    for (int j = 1; j <= 3; ++j) {
      rows.push_back(
          test::eval(run, static_cast<std::int64_t>(rows.size()), i, j, kExample[i][j - 1], 100));
      std::get<EvalRow>(rows.back().body).loss = kLosses[i][j - 1];
    }
  }
  return rows;
}

TEST_CASE("forgetting and transfer of the loss, by hand, in nats and in bits", "[golden]") {
  const double nats_of_a_bit = std::log(2.0);
  const std::vector<std::pair<std::string, double>> by_hand = {
      {"end", (2.0 + 1.25 + 1.0) / 3},          {"learning", (1.0 + 1.5 + 1.0) / 3},
      {"f", ((2.0 - 0.75) + (1.25 - 1.5)) / 2}, {"bwt", ((1.0 - 2.0) + (1.5 - 1.25)) / 2},
      {"fwt", ((5.5 - 4.0) + (6.0 - 4.5)) / 2},
  };
  for (const std::string data : {"bytes", "fashion_mnist"}) {
    CAPTURE(data);
    Fixture f;
    f.run = test::make_run({{"tasks", "3"}, {"scenario", "domain_il"}, {"data", data}});
    f.writer.add_runs({f.run});
    f.writer.insert(with_losses(f.run.id));
    for (const auto& [name, nats] : by_hand) {
      CAPTURE(name);
      CHECK(f.value(name + "_nats", "v_continual") == Approx(nats).epsilon(1e-12));
      const double bits = f.value(name + "_bits_per_byte", "v_continual");
      if (data == "bytes") {
        CHECK(bits == Approx(nats / nats_of_a_bit).epsilon(1e-12));
      } else {
        CHECK(std::isnan(bits));
      }
    }
    CHECK(f.value("end_nats - learning_nats + bwt_nats * (n_tasks - 1.0) / n_tasks",
                  "v_continual") == Approx(0).margin(1e-12));
    CHECK(f.value("f_nats", "v_f_loss WHERE k = 2") == Approx(0.75 - 1.0).epsilon(1e-12));
    CHECK(f.value("bwt_nats", "v_f_loss WHERE k = 2") == Approx(1.0 - 0.75).epsilon(1e-12));
    CHECK(f.value("f_nats", "v_f_loss WHERE k = 3") == Approx(0.5).epsilon(1e-12));
    CHECK(f.value("f_chaudhry", "v_continual") == Approx(0.135).epsilon(1e-12));
  }
}

TEST_CASE("what a sequence of losses lacks is empty", "[golden]") {
  Fixture f;
  f.writer.insert(with_losses(f.run.id, 2));  // stopped after two of three tasks
  for (const std::string name : {"end_nats", "learning_nats", "f_nats", "bwt_nats"}) {
    CAPTURE(name);
    CHECK(std::isnan(f.value(name, "v_continual")));
  }
  Fixture whole;  // in class-incremental learning outputs that were never trained compete
  whole.run = test::make_run({{"tasks", "3"}, {"scenario", "class_il"}, {"seed", "2"}});
  whole.writer.add_runs({whole.run});
  whole.writer.insert(with_losses(whole.run.id));
  CHECK(std::isnan(whole.value("fwt_nats", "v_continual")));
  CHECK(whole.value("f_nats", "v_continual") == Approx(0.5).epsilon(1e-12));
}

TEST_CASE("a run of one task has an accuracy and nothing to forget", "[golden]") {
  Fixture f;
  f.writer.insert({test::eval(f.run.id, 0, 0, 1, 10, 100), test::eval(f.run.id, 1, 1, 1, 90, 100)});
  CHECK(f.value("acc", "v_continual") == Approx(0.9));
  CHECK(f.value("learning_accuracy", "v_continual") == Approx(0.9));
  CHECK(std::isnan(f.value("f_chaudhry", "v_continual")));
  CHECK(std::isnan(f.value("bwt_gem", "v_continual")));
}

}  // namespace
}  // namespace tandem::test::analysis_continual_golden
