// Published figures beside ours: what of a suite's file is read and refused, and means, standard
// errors and gates by hand.
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "analysis/published.h"
#include "core/error.h"
#include "support/config_fixture.h"
#include "unit/analysis_fixture.h"
#include "unit/store_fixture.h"

namespace tandem::test::analysis_published_unit {
namespace {

using Catch::Contains;

const ConfigFixture fixture;

constexpr const char* kSources =
    R"("sources": {"a": {"cite": "Author 2020", "runs": 10, "spread": "sd"},
                   "b": {"cite": "Other 2021", "protocol": "theirs", "spread": "sem"},
                   "c": {"cite": "Third 2022"}})";

struct File {
  TemporaryFolder folder;
  std::string write(const std::string& rows) const {
    const std::string file = folder / "reference.json";
    atomic_write(file, fmt::format("{{{}, \"rows\": [{}]}}", kSources, rows));
    return file;
  }
};

std::string row(const std::string& rest, const std::string& source = "a") {
  return fmt::format(
      R"({{"grid": "g", "method": "m", "where": "strategy=replay buffer=500", "measure": "acc@own",
          "source": "{}", {}}})",
      source, rest);
}

// A grid of three seeds, whose two tasks have these accuracies at the end, in percent.
struct Suite {
  // Of ends below 0 the run diverged.
  explicit Suite(const std::vector<std::pair<int, int>>& ends) {
    StoreWriter writer(folder / "r.sqlite");
    for (std::size_t i = 0; i < ends.size(); ++i) {
      const Config config = fixture.resolve({{"scenario", "split"},
                                             {"strategy", "replay"},
                                             {"buffer", "500"},
                                             {"final", "true"},
                                             {"seed", std::to_string(i + 1)}});
      wanted.runs.push_back({config});
      const RunRecord run = record_of(config);
      writer.add_runs({run});
      std::vector<Row> rows;
      std::int64_t sequence = 0;
      if (ends[i].first < 0) {
        writer.insert({state(run.id, sequence, "diverged", 50)});
        continue;
      }
      for (int stage = 1; stage <= 2; ++stage) {
        for (int task = 1; task <= 2; ++task) {
          const int correct = task == 1 ? ends[i].first : ends[i].second;
          Row made = eval(run.id, sequence++, stage, task, correct, 100);
          std::get<EvalRow>(made.body).split = "test";
          rows.push_back(made);
        }
      }
      rows.push_back(state(run.id, sequence, "done", 200));
      writer.insert(rows);
    }
  }

  std::vector<Checked> check(const std::string& rows) const {
    return check_published(StoreReader(folder / "r.sqlite"), "g", wanted,
                           read_published(File().write(rows)));
  }

  TemporaryFolder folder;
  WantedRuns wanted{"g.ini", {}};
};

}  // namespace

TEST_CASE("a suite's published figures are read, and mistakes are named", "[unit]") {
  const File file;
  const auto rows =
      read_published(file.write(row(R"("mean": 86.12, "spread": 1.5, "gate": [82.5, 90.5])") + "," +
                                row(R"("mean": 80)", "c")));
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].grid == "g");
  CHECK(rows[0].where.size() == 2);
  CHECK(rows[0].measure.name == "acc");
  CHECK(rows[0].mean == 86.12);
  CHECK(rows[0].kind == Spread::kSd);
  CHECK(rows[0].runs == 10);
  CHECK(rows[0].gate == std::make_pair(82.5, 90.5));
  CHECK(rows[1].kind == Spread::kNone);
  CHECK_FALSE(rows[1].runs);
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {row(R"("mean": "x")"), "row 1: \"mean\" must be a number"},
      {row(R"("gate": [1, 2])"), "it has no \"mean\""},
      {row(R"("mean": 1, "gates": [1, 2])"), "did you mean gate?"},
      {row(R"("mean": 1, "gate": [2, 1])"), "[least, most]"},
      {row(R"("mean": 1, "spread": 1)", "c"), "does not say of which kind"},
      {row(R"("mean": 1)", "d"), "source"},
      {R"({"grid": "g", "method": "m", "where": "a", "measure": "acc", "mean": 1, "source": "a"})",
       "expected key=value"},
      {R"({"grid": "g", "method": "m", "where": "", "measure": "acc@nowhere", "mean": 1,
          "source": "a"})",
       "is no read-out"},
      {"7", "an object was expected"},
  };
  for (const auto& [text, message] : wrong) {
    INFO(text);
    CHECK_THROWS_WITH(read_published(file.write(text)), Contains(message));
  }
  atomic_write(file.folder / "x.json", "{");
  CHECK_THROWS_WITH(read_published(file.folder / "x.json"), Contains("it is no JSON"));
}

TEST_CASE("ours beside theirs: mean, sd, z and gate by hand", "[unit]") {
  const Suite suite({{80, 90}, {84, 92}, {88, 88}});  // acc 85, 88, 88
  const std::string where =
      R"("grid": "g", "method": "m", "where": "strategy=replay buffer=500", "measure": "acc@own")";
  const auto make = [&](const std::string& rest) { return "{" + where + ", " + rest + "}"; };
  const auto rows =
      suite.check(make(R"("mean": 86, "spread": 2, "gate": [86, 88], "source": "a")") + "," +
                  make(R"("mean": 86, "spread": 0.5, "gate": [88, 90], "source": "b")") + "," +
                  make(R"("mean": 86, "source": "c")"));
  REQUIRE(rows.size() == 3);
  for (const Checked& each : rows) {
    CHECK(each.ours.n == 3);
    CHECK(each.wanted == 3);
    CHECK(each.complete());
    CHECK(each.ours.mean == Approx(87).epsilon(1e-12));
    CHECK(*each.ours.sd == Approx(std::sqrt(3.0)).epsilon(1e-12));
  }
  CHECK(rows[0].met == true);
  CHECK(*rows[0].z == Approx(1 / std::sqrt(3.0 / 3 + 4.0 / 10)).epsilon(1e-12));
  CHECK(rows[1].met == false);
  CHECK(*rows[1].z == Approx(1 / std::sqrt(1 + 0.25)).epsilon(1e-12));
  CHECK_FALSE(rows[2].met);
  CHECK_FALSE(rows[2].z);
}

TEST_CASE("a figure without runs is missing, and a key that no run has is refused", "[unit]") {
  const Suite suite({{80, 90}});
  const std::string none =
      R"({"grid": "g", "method": "m", "where": "strategy=finetune", "measure": "acc@own", "mean": 1,
          "gate": [0, 2], "source": "a"})";
  const auto rows = suite.check(none);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].ours.n == 0);
  CHECK_FALSE(rows[0].met);
  const QueryResult shown = checked_rows(rows);
  const auto column = [&](const std::string& name) {
    const auto found = std::find(shown.columns.begin(), shown.columns.end(), name);
    return shown.rows[0][static_cast<std::size_t>(found - shown.columns.begin())];
  };
  CHECK(column("verdict") == "missing");
  CHECK(column("ours").empty());
  CHECK(column("gate") == "0..2");
  std::string other = none;
  other.replace(other.find("strategy=finetune"), 17, "stratgy=finetune");
  CHECK_THROWS_WITH(suite.check(other), Contains("stratgy"));
}

TEST_CASE("a suite whose runs diverge is neither missing nor met", "[unit]") {
  const std::string row =
      R"({"grid": "g", "method": "m", "where": "strategy=replay", "measure": "acc@own", "mean": 85,
          "gate": [80, 90], "source": "c"})";
  for (const std::vector<std::pair<int, int>>& ends :
       {std::vector<std::pair<int, int>>{{-1, -1}, {-1, -1}},
        std::vector<std::pair<int, int>>{{85, 85}, {-1, -1}}}) {
    const auto rows = Suite(ends).check(row);
    REQUIRE(rows.size() == 1);
    CHECK(rows[0].met == false);
    CHECK(rows[0].complete());
    const QueryResult shown = checked_rows(rows);
    const auto verdict = std::find(shown.columns.begin(), shown.columns.end(), "verdict");
    CHECK(shown.rows[0][static_cast<std::size_t>(verdict - shown.columns.begin())] == "diverged");
  }
}

}  // namespace tandem::test::analysis_published_unit
