// Evaluations in the first steps of every task, and what the views make of them.
#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "core/files.h"
#include "store/store.h"
#include "support/train_support.h"

namespace tandem::test::eval_first_steps_numeric {

using namespace tandem::test;

namespace {

Config sequence(Settings more = {}) {
  Settings said = small_sequence();
  said["epochs"] = "2";  // of 60 examples in batches of 8, so that a task has some 15 steps
  for (const auto& [name, value] : more) said[name] = value;
  return small_run(said);
}

std::vector<Row> rows_of(const Config& run) {
  GroupSpec spec;
  spec.runs = {run};
  MemorySink sink;
  run_group(spec, sink);
  return sink.unacknowledged();
}

RunRecord record_of(const Config& run) {
  RunRecord record;
  record.id = run.id();
  record.canonical = run.canonical();
  for (const auto& [name, value] : run.values()) record.values.emplace_back(name, value);
  return record;
}

double accuracy(const EvalRow& row) {
  return static_cast<double>(row.n_correct) / static_cast<double>(row.n_total);
}

bool is_full(const EvalRow& row) { return row.readout.weights.stream == "full"; }

// Of the sparse net, with all outputs.
std::vector<EvalRow> evaluations(const std::vector<Row>& rows) {
  std::vector<EvalRow> all;
  for (const Row& row : rows) {
    const auto* e = std::get_if<EvalRow>(&row.body);
    if (e != nullptr && !is_full(*e) && !e->readout.masked) all.push_back(*e);
  }
  return all;
}

}  // namespace

TEST_CASE("first steps of every task are evaluated one by one", "[numeric]") {
  const std::vector<EvalRow> plain = evaluations(rows_of(sequence()));
  const std::vector<EvalRow> all = evaluations(rows_of(sequence({{"eval_first_steps", "10"}})));
  std::map<std::int64_t, std::set<std::int64_t>> steps, ends;
  for (const EvalRow& row : all) steps[row.stage].insert(row.step);
  for (const EvalRow& row : plain) ends[row.stage].insert(row.step);
  REQUIRE(ends.size() == 6);
  for (const auto& [stage, own] : ends) {
    REQUIRE(own.size() == 1);
    std::set<std::int64_t> expected = own;
    for (int b = 1; stage < 5 && b <= 10; ++b) expected.insert(*own.begin() + b);
    CHECK(steps.at(stage) == expected);
  }
  // The training is what it was.
  for (const EvalRow& row : plain) {
    const auto same = std::find_if(all.begin(), all.end(), [&row](const EvalRow& other) {
      return other.stage == row.stage && other.step == row.step && other.task == row.task;
    });
    REQUIRE(same != all.end());
    CHECK(same->n_correct == row.n_correct);
    CHECK(same->loss == row.loss);
  }
}

// Within a task those that have begun; at its end those to come as far as is asked, and what was
// evaluated is what it is with all of them.
TEST_CASE("tasks to come are evaluated where something is made of them", "[numeric]") {
  const std::vector<EvalRow> all = evaluations(rows_of(sequence({{"eval_first_steps", "3"}})));
  std::map<std::int64_t, std::int64_t> began;
  for (const EvalRow& row : all) began.emplace(row.stage, row.step);
  for (const auto& [ahead, most] : {std::pair<std::string, std::int64_t>{"next", 1}, {"none", 0}}) {
    CAPTURE(ahead);
    const std::vector<EvalRow> own =
        evaluations(rows_of(sequence({{"eval_first_steps", "3"}, {"eval_ahead", ahead}})));
    std::vector<EvalRow> expected;
    for (const EvalRow& row : all) {
      const bool within = row.step > began.at(row.stage);
      if (within) CHECK(row.task <= row.stage + 1);
      if (within || row.stage == 0 || row.task <= row.stage + most) expected.push_back(row);
    }
    REQUIRE(own.size() == expected.size());
    CHECK(own.size() < all.size());
    for (std::size_t i = 0; i < own.size(); ++i) {
      CHECK(own[i].stage == expected[i].stage);
      CHECK(own[i].step == expected[i].step);
      CHECK(own[i].task == expected[i].task);
      CHECK(own[i].n_correct == expected[i].n_correct);
      CHECK(own[i].loss == expected[i].loss);
    }
  }
}

TEST_CASE(
    "measures inside of tasks are of strategies that learn all along, of runs that were trained",
    "[numeric]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  for (const std::string strategy : {"er", "gdumb", "icarl"}) {
    CAPTURE(strategy);
    Settings said = small_sequence();
    said["strategy"] = strategy;
    said["epochs"] = "2";
    said["eval_first_steps"] = "10";
    if (strategy == "gdumb") said.erase("replay_batch");
    const Config run = small_run(said);
    StoreWriter writer(path);
    writer.add_runs({record_of(run)});
    const std::vector<Row> rows = rows_of(run);
    writer.insert(rows);
    CHECK(evaluations(rows).size() > 100);
    for (const auto& [column, view] :
         {std::pair<std::string, std::string>{"min_acc", "v_stability"},
          {"stability_gap_100", "v_stability"},
          {"wp_10", "v_stability"},
          {"aaa", "v_anytime"},
          {"a_auc", "v_anytime"},
          {"lca_10", "v_anytime"},
          {"acc", "v_continual"}}) {
      INFO(column);
      const QueryResult q =
          StoreReader(path).query("SELECT " + column + " FROM " + view +
                                      " WHERE run = ?1 AND weights_readout = 'sparse' AND"
                                      " NOT masked",
                                  {run.id()});
      REQUIRE(q.rows.size() == 1);
      CHECK(q.null[0][0] == (strategy != "er" && column != "acc"));
    }
  }
}

TEST_CASE("measures while training goes on and beside the joint run, of runs that were trained",
          "[numeric]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const Config run = sequence({{"eval_first_steps", "10"}});
  const Config joint = small_run({{"scenario", "class_il"},
                                  {"strategy", "joint"},
                                  {"batch", "8"},
                                  {"epochs", "2"},
                                  {"weights", "set"},
                                  {"probes", "activations"}});
  std::map<std::string, std::vector<Row>> rows;
  {
    StoreWriter writer(path);
    for (const Config& each : {run, joint}) {
      writer.add_runs({record_of(each)});
      rows[each.text("strategy")] = rows_of(each);
      writer.insert(rows.at(each.text("strategy")));
    }
  }
  const auto number = [&path, &run](const std::string& column, const std::string& view) {
    const QueryResult q =
        StoreReader(path).query("SELECT " + column + " FROM " + view +
                                    " WHERE run = ?1 AND weights_readout = 'sparse' AND"
                                    " NOT masked",
                                {run.id()});
    REQUIRE(q.rows.size() == 1);
    REQUIRE_FALSE(q.null[0][0]);
    return std::stod(q.rows[0][0]);
  };
  double curve = 0, sum = 0, learned = 0, reference = 0;
  std::map<std::int64_t, std::int64_t> began;
  std::map<std::int64_t, std::pair<double, std::int64_t>> seen;  // by step: sum, tasks
  const std::vector<EvalRow> own = evaluations(rows.at("er"));
  for (const EvalRow& row : own) {
    const auto at = began.emplace(row.stage, row.step).first;
    if (row.task == row.stage + 1 && row.step <= at->second + 10) curve += accuracy(row);
    const std::int64_t tasks = row.stage + (row.step > at->second ? 1 : 0);
    if (tasks == 0 || row.task > tasks) continue;
    seen[row.step].first += accuracy(row);
    seen[row.step].second = tasks;
    if (row.task == row.stage && row.step == at->second) learned += accuracy(row);
  }
  for (const auto& [step, point] : seen) sum += point.first / static_cast<double>(point.second);
  CHECK(number("lca_10", "v_anytime") == Approx(curve / 55).epsilon(1e-12));
  CHECK(seen.size() == 55);
  CHECK(number("aaa", "v_anytime") == Approx(sum / 55).epsilon(1e-12));
  for (const EvalRow& row : evaluations(rows.at("joint"))) {
    if (row.stage == 5) reference += accuracy(row);
  }
  // The joint run has no buffer, evaluates less and has other probes.
  CHECK(number("intransigence", "v_joint") ==
        Approx((reference - learned) / 5).epsilon(1e-12).margin(1e-15));
  CHECK(number("sss", "v_storage") > 0.8);
}

}  // namespace tandem::test::eval_first_steps_numeric
