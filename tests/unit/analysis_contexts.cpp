// Read-outs of windows longer than those of training: tables and queries mean the trained length
// where nothing else is said, and no mean mixes lengths.
#include <catch2/catch.hpp>

#include "analysis/query.h"
#include "analysis/table.h"
#include "core/error.h"
#include "unit/store_fixture.h"

namespace tandem::test::analysis_contexts_unit {
namespace {

using Catch::Matchers::Contains;

struct Length {
  std::optional<std::int64_t> context;
  std::string scaling, condition;
  int less;  // correct answers, of 100
};

const std::vector<Length>& lengths() {
  static const std::vector<Length> all = {{256, "", "", 30},
                                          {256, "", "position=beyond", 35},
                                          {512, "ntk", "", 20},
                                          {512, "", "", 40},
                                          {{}, "", "", 0}};
  return all;
}

// Two seeds of a sequence of two tasks, with or without the longer read-outs, which come first.
void fill(const std::string& path, bool longer) {
  StoreWriter writer(path);
  for (int seed = 1; seed <= 2; ++seed) {
    const RunRecord run = make_run({{"scenario", "split"},
                                    {"tasks", "2"},
                                    {"data", "bytes"},
                                    {"context", "128"},
                                    {"seed", std::to_string(seed)}});
    writer.add_runs({run});
    std::int64_t sequence = 0;
    std::vector<Row> rows;
    for (const Length& each : lengths()) {
      if (each.context && !longer) continue;
      const auto add = [&](std::int64_t stage, std::int64_t task, int correct,
                           const std::string& weights) {
        Row row = eval(run.id, sequence++, stage, task, correct - each.less, 100);
        auto& e = std::get<EvalRow>(row.body);
        e.readout.context = each.context;
        e.readout.scaling = each.scaling;
        e.readout.condition = each.condition;
        e.readout.weights.stream = weights;
        if (weights == "sparse") e.readout.weights.budget = 0.1;
        e.loss = 1 + each.less;
        rows.push_back(row);
      };
      for (const std::string weights : {"full", "sparse"}) {
        const int less = weights == "sparse" ? 5 : 0;
        add(1, 1, 90 - less, weights);
        add(1, 2, 50 - less, weights);
        add(2, 1, 60 + seed - less, weights);
        add(2, 2, 80 - less, weights);
      }
    }
    rows.push_back(state(run.id, sequence, "done", 200));
    writer.insert(rows);
  }
}

double cell(const StoreReader& store, const std::string& measure) {
  const Table table = build_table(store, plan_table({"t", {{"columns", measure}}}));
  return table.rows.at(0).cells.at(0).mean.value();
}

}  // namespace

TEST_CASE("a table means the trained length until it names another", "[unit]") {
  const TemporaryFolder folder;
  fill(folder / "r.sqlite", true);
  const StoreReader store(folder / "r.sqlite");
  CHECK(cell(store, "loss@full") == Approx(1));
  CHECK(cell(store, "loss@sparse") == Approx(1));
  CHECK(cell(store, "loss@full,context*2") == Approx(31));
  CHECK(cell(store, "loss@full,context*2,beyond") == Approx(36));
  CHECK(cell(store, "loss@sparse,context*4,scaling=ntk") == Approx(21));
  CHECK(cell(store, "loss@weights=full,context*4,scaling=none") == Approx(41));
  CHECK(cell(store, "accuracy@full") == Approx((61.5 + 80) / 200));
  CHECK(cell(store, "accuracy@full,context*2") == Approx((31.5 + 50) / 200));
  CHECK(cell(store, "acc@full") == Approx((61.5 + 80) / 200));
  CHECK(cell(store, "acc@full,context*4") == Approx((21.5 + 40) / 200));
  CHECK(cell(store, "r_2_1@sparse") == Approx(.565));
  CHECK(cell(store, "r_2_1@sparse,context*2") == Approx(.265));
  const Table none =
      build_table(store, plan_table({"t", {{"columns", "loss@full,context*8, loss@context*2"}}}));
  CHECK_FALSE(none.rows.at(0).cells.at(0).mean.has_value());
  CHECK(none.rows.at(0).cells.at(1).mean.value() == Approx(31));
}

TEST_CASE("lengths that mean nothing are refused", "[unit]") {
  for (const char* bad :
       {"loss@full,context*0", "loss@full,context*x", "loss@full,context*1.5", "loss@full,beyond",
        "loss@full,scaling=ntk", "loss@full,context*2,scaling=yarn"}) {
    CHECK_THROWS_AS(parse_measure(bad), ConfigError);
  }
  CHECK_THROWS_WITH(parse_measure("loss@beyond"), Contains("context*2"));
}

TEST_CASE("no query mixes lengths", "[unit]") {
  const TemporaryFolder folder;
  fill(folder / "with.sqlite", true);
  fill(folder / "without.sqlite", false);
  const StoreReader with(folder / "with.sqlite"), without(folder / "without.sqlite");
  for (const char* name : {"forgetting", "readout_gap", "top"}) {
    CAPTURE(name);
    const QueryResult expected = run_query(without, name);
    CHECK_FALSE(expected.rows.empty());
    CHECK(run_query(with, name).rows == expected.rows);
  }
  for (const char* name : {"accuracy", "continual"}) {
    CAPTURE(name);
    const QueryResult q = run_query(with, name);
    CHECK(q.rows.size() == 2 * lengths().size());
    const auto n = std::find(q.columns.begin(), q.columns.end(), "n") - q.columns.begin();
    for (const auto& row : q.rows) CHECK(row[static_cast<std::size_t>(n)] == "2");
  }
  for (const char* view : {"v_a_k", "v_f_chaudhry", "v_f_incl", "v_bwt_gem", "v_f_loss", "v_acc",
                           "v_learning_accuracy", "v_stage"}) {
    CAPTURE(view);
    const std::string all = std::string("SELECT * FROM ") + view;
    CHECK(with.query(all).rows.size() == without.query(all).rows.size());
  }
  const std::string count = "SELECT count(*) FROM v_eval WHERE read_context IS ";
  CHECK(with.query(count + "NULL").rows[0][0] == "16");
  CHECK(with.query(count + "512 AND scaling = 'ntk'").rows[0][0] == "16");
}

}  // namespace tandem::test::analysis_contexts_unit
