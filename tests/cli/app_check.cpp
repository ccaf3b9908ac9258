// A folder of grids is run at once and checked against what was published of it; the figure and the
// tables of task sequences come from the same runs; evaluation after a switch changes no training.
#include <catch2/catch.hpp>
#include <filesystem>

#include "core/files.h"
#include "core/text.h"
#include "store/store.h"
#include "support/run_program.h"

namespace tandem::test::app_check_cli {
namespace {

using Catch::Contains;

constexpr const char* kGrid = R"(scenario = class_il
tasks = 2
train_examples = 400
batch = 20
epochs = 1
widths = 16
lr = 0.05
curve = false
device = cpu
seed = 1..2
)";

struct Place {
  TemporaryFolder folder;
  std::string db = folder / "r.sqlite";
  std::string suite = folder / "suite";

  Place() { std::filesystem::create_directory(suite); }
  void write(const std::string& name, const std::string& text) const {
    atomic_write(suite + "/" + name, text);
  }
  void publish(const std::string& gate) const {
    write("reference.json", R"({"sources": {"s": {"cite": "Author 2020", "runs": 5}}, "rows": [
      {"grid": "first", "method": "SGD", "where": "strategy=finetune", "measure": "acc",
       "mean": 19.5, "source": "s", "gate": )" +
                                gate + R"(},
      {"grid": "second", "method": "ER", "where": "strategy=er buffer=40", "measure": "acc",
       "mean": 50, "source": "s"}]})");
  }
  ProgramResult program(std::vector<std::string> words) const {
    words.insert(words.end(), {"--db", db});
    return run_program(words);
  }
  std::vector<std::string> column(const std::string& sql) const {
    std::vector<std::string> values;
    for (const auto& row : StoreReader(db).query(sql).rows) values.push_back(row[0]);
    return values;
  }
};

}  // namespace

TEST_CASE("a folder of grids: run, status, check, figure", "[cli]") {
  const Place place;
  const std::string rest = kGrid;
  place.write("b.ini", "name = second\nstrategy = er\nbuffer = 40\nreplay_batch = 10\n" + rest);
  place.write("a.ini", "name = first\nstrategy = finetune\neval_after_switch = 5\n" + rest);
  place.publish("[0, 100]");
  const ProgramResult early = place.program({"check", place.suite});
  CHECK(early.exit_code == 4);  // nothing is stored yet, and nothing is made
  const ProgramResult run = place.program({"grid", "run", place.suite});
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  CHECK(place.column("SELECT name FROM grid ORDER BY name") ==
        std::vector<std::string>{"first", "second"});
  CHECK(place.column("SELECT setting || ' ' || metric || ' ' || value FROM reference ORDER BY 1") ==
        std::vector<std::string>{"first: strategy=finetune acc 19.5",
                                 "second: strategy=er buffer=40 acc 50.0"});
  CHECK_THAT(place.program({"grid", "status", place.suite}).output,
             Contains("grid first") && Contains("grid second"));
  const ProgramResult again = place.program({"grid", "plan", place.suite});
  CHECK_THAT(again.output, Contains("grid first: 2 runs, 2 finished") &&
                               Contains("grid second: 2 runs, 2 finished"));

  const ProgramResult met = place.program({"check", place.suite, "--format", "csv"});
  INFO(met.output << met.errors);
  CHECK(met.exit_code == 0);
  CHECK_THAT(met.output, Contains("first,SGD,strategy=finetune,acc,") && Contains(",2/2,") &&
                             Contains("0..100,met,") && Contains("second,ER,"));
  CHECK_THAT(met.errors, Contains("1 of 1 gates met"));
  place.publish("[99, 100]");
  const ProgramResult outside = place.program({"check", place.suite});
  CHECK(outside.exit_code == 4);
  CHECK_THAT(outside.output, Contains("outside") && Contains("published: Author 2020"));
  CHECK(place.program({"check", place.suite + "/b.ini"}).exit_code == 0);
  CHECK_THAT(place.program({"check", place.suite + "/c.ini"}).errors, Contains("c.ini"));
  CHECK(place.program({"check"}).exit_code == 2);

  // An evaluation 5 steps after the switch, and the training that has none.
  CHECK(
      place.column("SELECT DISTINCT step - (SELECT min(step) FROM v_eval WHERE strategy = "
                   "'finetune' AND stage = 1) FROM v_eval WHERE strategy = 'finetune' AND stage = "
                   "1 ORDER BY step LIMIT 2") == std::vector<std::string>{"0", "5"});
  CHECK(place.column("SELECT count(*) FROM v_stability WHERE strategy = 'finetune' AND "
                     "stability_gap_100 IS NOT NULL AND min_acc IS NOT NULL") !=
        std::vector<std::string>{"0"});
  const ProgramResult plain =
      place.program({"grid", "run", place.suite + "/a.ini", "--eval-after-switch=0", "--seed=1"});
  INFO(plain.errors);
  REQUIRE(plain.exit_code == 0);
  CHECK(place.column("SELECT count(DISTINCT n_correct || ' ' || loss) FROM v_eval WHERE strategy = "
                     "'finetune' AND seed = 1 AND stage = 2 AND task = 1 AND NOT masked AND "
                     "weights_readout = 'full'") == std::vector<std::string>{"1"});
  const ProgramResult drawn =
      place.program({"plot", place.suite + "/a.ini", "continual", "--out", place.folder / "f.csv"});
  INFO(drawn.errors);
  CHECK(drawn.exit_code == 0);
  CHECK_THAT(read_file(place.folder / "f.csv"), Contains("r_2_1"));
}

}  // namespace tandem::test::app_check_cli
