// Batteries over the registries of scenarios, strategies and models: what is registered is tested
// by being there. A run's rows and final weights are the same to the bit alone, in company whose
// class orders give splits of other sizes, and stopped and resumed again and again; in every
// storage.
#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "config/option.h"
#include "continual/scenario.h"
#include "core/error.h"
#include "core/files.h"
#include "data/dataset.h"
#include "data/reader.h"
#include "eval/evaluate.h"
#include "jobs/run_check.h"
#include "support/resume_support.h"

namespace tandem::test::train_sequences_conformance {

using namespace tandem::test;

namespace {

bool reads(const Part& part, const std::string& option) {
  return std::count(part.uses.begin(), part.uses.end(), option) != 0;
}

// Those of `all` that one of the parts reads, on top of `said`.
Settings where_read(Settings said, const Settings& all, const std::vector<Part>& parts) {
  for (const auto& [name, value] : all) {
    for (const Part& part : parts) {
      if (reads(part, name)) said[name] = value;
    }
  }
  return said;
}

// The seeds differ, and with them class orders and the sizes of tasks.
std::vector<Config> seeds_of(Settings said, int count) {
  std::vector<Config> runs;
  for (int seed = 1; seed <= count; ++seed) {
    said["seed"] = std::to_string(seed);
    runs.push_back(Config::resolve(said));
  }
  return runs;
}

using Keyed = std::map<std::pair<std::string, std::int64_t>, std::string>;

Keyed rows_of(const Outcome& outcome, const std::string& run) {
  Keyed own;
  for (const auto& [key, line] : outcome.rows) {
    if (key.first == run) own[key] = line;
  }
  return own;
}

void require_same_rows(const Keyed& a, const Keyed& b) {
  REQUIRE(a.size() > 5);
  REQUIRE(a.size() == b.size());
  for (const auto& [key, line] : a) {
    CAPTURE(key.second);
    REQUIRE(b.at(key) == line);
  }
}

// `every`: steps between stops.
void require_same_in_every_company(const std::vector<Config>& runs, std::int64_t every) {
  const Outcome together = run_disturbed(runs, 0);
  const Outcome disturbed = run_disturbed(runs, every);
  REQUIRE(disturbed.weights == together.weights);
  REQUIRE(disturbed.rows == together.rows);
  for (const Config& run : {runs.front(), runs.back()}) {
    CAPTURE(run.text("seed"));
    const Outcome alone = run_disturbed({run}, 0);
    require_same_rows(rows_of(together, run.id()), rows_of(alone, run.id()));
    REQUIRE(together.weights.find(alone.weights) != std::string::npos);
  }
}

Settings sequence_of(const Part& scenario, const Part& strategy) {
  const Settings base = {{"scenario", scenario.name},
                         {"strategy", strategy.name},
                         {"weights", "set"},
                         {"train_examples", "143"},
                         {"validation", "0.005"},
                         {"widths", "13,11"},
                         {"batch", "12"},
                         {"epochs", "2"},
                         {"density", "0.2"},
                         {"curve", "false"},
                         {"lr", "0.05"},
                         {"eval_every", "1"}};
  Settings said = where_read(
      base, {{"tasks", "5"}, {"class_order", "random"}, {"buffer", "20"}, {"replay_batch", "5"}},
      {scenario, strategy});
  for (const auto& [name, value] : scenario.defaults) said[name] = value;
  return said;
}

bool is_taken(const Settings& said) {
  try {
    RunCheck("cpu").check(Config::resolve(said));
  } catch (const ConfigError&) {
    return false;
  }
  return true;
}

// A stream takes strategies that need no end of a task (unit/continual_stream has which).
bool has_ends_for(const Part& scenario, const Part& strategy) {
  const Settings said = sequence_of(scenario, strategy);
  const Config run = Config::resolve(said);
  return !make_tasks(run, *load_dataset(run)).tasks.front().in_order || is_taken(said);
}

// Methods of the weights level take turns beside the strategies, so that each pair of a strategy
// and a kind of topology need not be walked: the `place`-th, or the next that goes with the rest.
std::string method_at(std::size_t place, Settings said) {
  const std::vector<Part> methods = parts_of("weights");
  for (std::size_t i = 0; i < methods.size(); ++i) {
    said["weights"] = methods[(place + i) % methods.size()].name;
    if (is_taken(said)) return said["weights"];
  }
  return "set";
}

}  // namespace

TEST_CASE("every strategy in every scenario: alone, in company and resumed", "[conformance]") {
  std::size_t pairs = 0;
  for (const Part& scenario : parts_of("scenario")) {
    for (const Part& strategy : parts_of("strategy")) {
      ++pairs;
      for (const std::string storage : {"masked", "sparse"}) {
        DYNAMIC_SECTION(scenario.name << ' ' << strategy.name << ' ' << storage) {
          if (!has_ends_for(scenario, strategy)) continue;
          Settings said = sequence_of(scenario, strategy);
          said["storage"] = storage;
          if (storage == "masked") said["weights"] = method_at(pairs, said);
          CAPTURE(said["weights"]);
          // Four tasks of 3, 3, 2 and 2 classes, whose outputs are trained once they have begun.
          if (storage == "sparse" && said.contains("tasks")) said["tasks"] = "4";
          if (storage == "sparse" && reads(scenario, "train_outputs")) {
            said["train_outputs"] = "seen";
          }
          // A memory's stages are as short as it is.
          const bool memory = strategy.name == "gdumb";
          require_same_in_every_company(seeds_of(said, 3), memory ? 3 : 11);
        }
      }
    }
  }
}

TEST_CASE(
    "runs whose tasks train units of their own, beside one whose do not: alone, in company "
    "and resumed",
    "[conformance]") {
  for (const std::string storage : {"masked", "sparse"}) {
    DYNAMIC_SECTION(storage) {
      std::vector<Config> runs;
      for (const std::string within : {"0.4", "0", "0.25"}) {
        Settings said = sequence_of(part("scenario", "class_il"), part("strategy", "spacenet"));
        said["storage"] = storage;
        said["seed"] = std::to_string(runs.size() + 1);
        said["task_units"] = within;
        said["retrain_share"] = within == "0" ? "0" : "0.3";
        runs.push_back(Config::resolve(said));
      }
      require_same_in_every_company(runs, 11);
    }
  }
}

TEST_CASE("memories that are filled at ends of tasks: alone, in company and resumed",
          "[conformance]") {
  for (const std::string strategy : {"er", "er_ace", "mir", "cls_er"}) {
    for (const std::string storage : {"masked", "sparse"}) {
      DYNAMIC_SECTION(strategy << ' ' << storage) {
        Settings said = sequence_of(part("scenario", "class_il"), part("strategy", strategy));
        said["storage"] = storage;
        said["buffer_rule"] = "task_ends";
        if (strategy == "er") said["replay_share"] = "tasks";
        require_same_in_every_company(seeds_of(said, 3), 11);
      }
    }
  }
}

TEST_CASE("units that are excited at first: alone, in company and resumed", "[conformance]") {
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"set", "finetune"}, {"ssa", "er"},    {"sandwich", "mir"},          {"set", "lwf"},
      {"set", "cls_er"},   {"set", "gdumb"}, {"rigl_teacher", "finetune"}, {"sam", "derpp"}};
  for (const auto& [weights, strategy] : pairs) {
    DYNAMIC_SECTION(weights << ' ' << strategy) {
      Settings said = sequence_of(part("scenario", "class_il"), part("strategy", strategy));
      said["weights"] = weights;
      said["activation"] = "k_subtract";
      said["switch_after"] = "150";
      said["probes"] = "barrier,drift,tasks,activations";
      require_same_in_every_company(seeds_of(said, 3), strategy == "gdumb" ? 3 : 11);
    }
  }
}

TEST_CASE("tasks that see inputs in their own way: alone, in company and resumed",
          "[conformance]") {
  for (const Part& scenario : parts_of("scenario")) {
    if (!reads(scenario, "tasks_by")) continue;
    for (const std::string& by : option("tasks_by").choices) {
      if (by == "classes" || by == "corpus") continue;
      for (const std::string strategy : {"derpp", "lwf"}) {
        DYNAMIC_SECTION(scenario.name << ' ' << by << ' ' << strategy) {
          Settings said = sequence_of(scenario, part("strategy", strategy));
          said["tasks_by"] = by;
          said["tasks"] = "3";
          said["class_order"] = "natural";
          said["epochs"] = "1";
          require_same_in_every_company(seeds_of(said, 3), 11);
        }
      }
    }
  }
}

TEST_CASE("switches without a sharp edge: alone, in company and resumed", "[conformance]") {
  for (const std::string strategy : {"finetune", "er", "lwf"}) {
    for (const std::string scenario : {"class_il", "task_il"}) {
      DYNAMIC_SECTION(strategy << ' ' << scenario) {
        Settings said = sequence_of(part("scenario", scenario), part("strategy", strategy));
        said["blur"] = "0.4";
        require_same_in_every_company(seeds_of(said, 3), 5);
      }
    }
  }
}

TEST_CASE("tasks of bytes with every strategy that takes them: alone, in company and resumed",
          "[conformance]") {
  const TemporaryFolder folder;
  std::string corpus;
  for (const char first : {'a', 'h', 'o'}) {  // alphabets of their own
    std::string text;
    for (int i = 0; i < 1700; ++i) text.push_back(static_cast<char>(first + i * i % 13 % 7));
    atomic_write(folder / std::string(1, first), text);
    corpus += (corpus.empty() ? "" : "|") + folder.path() + "/" + first;
  }
  std::set<std::string> taken;
  for (const Part& strategy : parts_of("strategy")) {
    for (const std::string storage : {"masked", "sparse"}) {
      const Settings said = where_read({{"data", "bytes"},
                                        {"model", "transformer"},
                                        {"corpus", corpus},
                                        {"scenario", "domain_il"},
                                        {"tasks_by", "corpus"},
                                        {"tasks", "3"},
                                        {"class_order", "random"},
                                        {"strategy", strategy.name},
                                        {"attention", "ssa"},
                                        {"weights", "set"},
                                        {"density", "0.3"},
                                        {"context", "32"},
                                        {"layers", "2"},
                                        {"width", "16"},
                                        {"heads", "4"},
                                        {"kv_heads", "2"},
                                        {"block_size", "4"},
                                        {"blocks", "2"},
                                        {"batch", "3"},
                                        {"steps", "6"},
                                        {"storage", storage}},
                                       {{"buffer", "20"},
                                        {"buffer_rule", "balanced"},
                                        {"replay_batch", "5"},
                                        {"fisher_examples", "4"}},
                                       {strategy});
      const std::vector<Config> runs = seeds_of(said, 3);
      try {
        RunCheck("cpu").check(runs.front());
      } catch (const ConfigError&) {
        continue;
      }
      CAPTURE(strategy.name, storage);
      require_same_in_every_company(runs, 4);
      taken.insert(strategy.name);
    }
  }
  // Exact Fisher information, classes of their own and units in a chain are what bytes have not.
  std::set<std::string> all;
  for (const Part& strategy : parts_of("strategy")) all.insert(strategy.name);
  for (const char* refused : {"ewc", "ewc_online", "gdumb", "icarl", "hat", "spacenet"}) {
    REQUIRE(all.erase(refused) == 1);
  }
  CHECK(taken == all);
}

namespace {

Settings generated_tasks(const std::string& strategy) {
  return where_read({{"data", "mqar_forgetting"},
                     {"model", "transformer"},
                     {"vocabulary", "18"},
                     {"train_sequences", "40"},
                     {"validation_sequences", "21"},
                     {"scenario", "domain_il"},
                     {"tasks_by", "permutation"},
                     {"tasks", "3"},
                     {"strategy", strategy},
                     {"attention", "ssa"},
                     {"weights", "set"},
                     {"density", "0.3"},
                     {"context", "32"},
                     {"layers", "2"},
                     {"width", "16"},
                     {"heads", "4"},
                     {"kv_heads", "2"},
                     {"block_size", "4"},
                     {"blocks", "2"},
                     {"batch", "3"},
                     {"steps", "6"},
                     {"probes", "recall,gap,attention"}},
                    {{"buffer", "20"},
                     {"buffer_rule", "balanced"},
                     {"replay_batch", "5"},
                     {"fisher_examples", "4"}},
                    {part("strategy", strategy)});
}

}  // namespace

TEST_CASE("tasks of generated recall in tokens of their own: alone, in company and resumed",
          "[conformance]") {
  for (const std::string strategy : {"finetune", "er", "derpp", "ewc_empirical", "packnet"}) {
    for (const std::string storage : {"masked", "sparse"}) {
      DYNAMIC_SECTION(strategy << ' ' << storage) {
        Settings said = generated_tasks(strategy);
        said["storage"] = storage;
        require_same_in_every_company(seeds_of(said, 3), 4);
      }
    }
  }
}

TEST_CASE("tasks of generated sequences take the strategies that tasks of bytes take",
          "[conformance]") {
  const std::set<std::string> refused = {"ewc", "ewc_online", "gdumb", "icarl", "hat", "spacenet"};
  for (const Part& strategy : parts_of("strategy")) {
    CAPTURE(strategy.name);
    CHECK(is_taken(generated_tasks(strategy.name)) == (refused.count(strategy.name) == 0));
  }
}

// What was trained on is known better than what was not, and is forgotten: by the program's rows.
TEST_CASE("a task of bytes trains on its own part alone", "[conformance]") {
  const TemporaryFolder folder;
  for (const char first : {'a', 'o'}) {
    std::string text;
    for (int i = 0; i < 4000; ++i) text.push_back(static_cast<char>(first + i % 5));
    atomic_write(folder / std::string(1, first), text);
  }
  const Config run = Config::resolve({{"data", "bytes"},
                                      {"model", "transformer"},
                                      {"corpus", folder.path() + "/a|" + folder.path() + "/o"},
                                      {"scenario", "domain_il"},
                                      {"tasks_by", "corpus"},
                                      {"tasks", "2"},
                                      {"context", "16"},
                                      {"layers", "1"},
                                      {"width", "16"},
                                      {"heads", "2"},
                                      {"kv_heads", "2"},
                                      {"block_size", "4"},
                                      {"blocks", "2"},
                                      {"batch", "8"},
                                      {"steps", "60"},
                                      {"lr", "0.1"},
                                      {"curve", "false"}});
  Trainer trainer({run}, {});
  std::vector<std::vector<double>> share(2);  // of right answers, by stage and task
  for (std::int64_t stage = 0; stage < 2; ++stage) {
    trainer.begin_stage(stage);
    for (std::int64_t s = 0; s < 60; ++s) trainer.advance(stage, s, 1);
    trainer.end_stage(stage);
    const auto rows = evaluate(trainer, {stage + 1, "validation", false, {1}});
    for (const EvalRow& row : rows[0]) {
      if (row.readout.attention.stream != "full" || row.readout.weights.stream != "full") continue;
      CHECK(row.n_total == 11 * 16);  // of 200 bytes
      share[static_cast<std::size_t>(stage)].push_back(static_cast<double>(row.n_correct) /
                                                       static_cast<double>(row.n_total));
    }
  }
  REQUIRE(share[1].size() == 2);
  CHECK(share[0][0] > 0.9);
  CHECK(share[0][1] < 0.1);
  CHECK(share[1][1] > 0.7);
  CHECK(share[1][0] < 0.5);
}

TEST_CASE("class orders of their own give a group's runs splits of different sizes",
          "[conformance]") {
  // Else the battery would not see what company of other lengths does.
  const Part scenario = part("scenario", "class_il"), strategy = part("strategy", "finetune");
  std::set<std::size_t> validation, training;
  for (const Config& run : seeds_of(sequence_of(scenario, strategy), 3)) {
    const TaskSequence sequence = make_tasks(run, *load_dataset(run));
    validation.insert(sequence.tasks.front().validation.size());
    training.insert(sequence.tasks.front().train.size());
  }
  CHECK(validation.size() > 1);
  CHECK(training.size() > 1);
}

TEST_CASE("every model: alone, in company and resumed", "[conformance]") {
  for (const Part& model : parts_of("model")) {
    for (const std::string storage : {"masked", "sparse"}) {
      DYNAMIC_SECTION(model.name << ' ' << storage) {
        const bool of_bytes = reads(model, "context");
        Settings said = {{"model", model.name}, {"data", of_bytes ? "bytes" : "fashion_mnist"},
                         {"weights", "rigl"},   {"update_interval", "3"},
                         {"density", "0.3"},    {"batch", of_bytes ? "3" : "12"},
                         {"steps", "10"},       {"curve", "true"},
                         {"storage", storage}};
        if (of_bytes) {
          said["evaluation_windows"] = "6";
        } else {
          said["train_examples"] = "143";
          said["validation"] = "0.005";
        }
        if (reads(model, "heads")) said["attention"] = "ssa";
        said = where_read(said,
                          {{"widths", "13,11"},
                           {"context", "32"},
                           {"layers", "2"},
                           {"width", "16"},
                           {"heads", "4"},
                           {"kv_heads", "2"},
                           {"block_size", "4"},
                           {"blocks", "2"}},
                          {model});
        require_same_in_every_company(seeds_of(said, 3), 4);
      }
    }
  }
}

TEST_CASE("every generated data set: alone, in company and resumed", "[conformance]") {
  for (const auto& [name, reader] : dataset_readers().all()) {
    if (!reader.generates()) continue;
    for (const std::string storage : {"masked", "sparse"}) {
      DYNAMIC_SECTION(name << ' ' << storage) {
        // Epochs end with batches that are not full.
        const Settings said = where_read(small_transformer({{"data", name},
                                                            {"train_sequences", "8"},
                                                            {"validation_sequences", "21"},
                                                            {"test_sequences", "5"},
                                                            {"attention", "ssa"},
                                                            {"weights", "rigl"},
                                                            {"update_interval", "3"},
                                                            {"steps", "10"},
                                                            {"curve", "true"},
                                                            {"storage", storage}}),
                                         {{"vocabulary", "25"}}, {part("data", name)});
        require_same_in_every_company(seeds_of(said, 3), 4);
      }
    }
  }
}

}  // namespace tandem::test::train_sequences_conformance
