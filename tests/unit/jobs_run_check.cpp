// What a run is refused for or warned of before anything of it is made.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "config/grid.h"
#include "config/part.h"
#include "core/error.h"
#include "core/files.h"
#include "data/data_facts.h"
#include "data/reader.h"
#include "jobs/device.h"
#include "jobs/run_check.h"
#include "methods/method.h"
#include "nn/outline.h"
#include "support/train_support.h"

namespace tandem::test::jobs_run_check_unit {

using namespace tandem::test;
using Catch::Matchers::Contains;

namespace {

std::vector<std::string> warnings_of(const Settings& said) {
  return RunCheck("cpu").check(small_run(said));
}

std::vector<std::string> of_transformer(const Settings& said) {
  return RunCheck("cpu").check(Config::resolve(small_transformer(said)));
}

bool warns(const std::vector<std::string>& warnings, const std::string& words) {
  return std::any_of(warnings.begin(), warnings.end(), [&](const std::string& each) {
    return each.find(words) != std::string::npos;
  });
}

}  // namespace

TEST_CASE("an exempt layer that is none is refused with the names of those there are", "[unit]") {
  CHECK_THROWS_WITH(warnings_of({{"exempt", "layer9"}}),
                    Contains("'layer9'") && Contains("layer0, layer1, layer2"));
  CHECK_NOTHROW(warnings_of({{"exempt", "layer0"}}));
  CHECK_THROWS_WITH(of_transformer({{"exempt", "layer0.qq"}}),
                    Contains("layer0.q,") && Contains("layer1.ff_down"));
  CHECK_NOTHROW(of_transformer({{"exempt", "layer0.q"}}));
}

TEST_CASE("what a worker would refuse is refused before there is one", "[unit]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(warnings_of({{"widths", "1"}}), Contains("width 1"));
  CHECK_THROWS_WITH(of_transformer({{"heads", "3"}}), Contains("heads = 3"));
  CHECK_THROWS_WITH(of_transformer({{"context", "3"}}), Contains("context = 3"));
  CHECK_THROWS_AS(warnings_of({{"data", "mnist"}, {"data_dir", folder.path()}}), DataError);
  CHECK_THROWS_WITH(warnings_of({{"scenario", "class_il"}, {"tasks", "11"}}),
                    Contains("tasks = 11"));
  CHECK_THROWS_WITH(warnings_of({{"tf32", "true"}}), Contains("--tf32=false"));
  CHECK_THROWS_WITH(warnings_of({{"train_examples", "99999999"}}), Contains("99999999"));
  CHECK_THROWS_WITH(RunCheck("cpu").check(Config::resolve({{"model", "transformer"}})),
                    Contains("--data bytes"));
  CHECK_THROWS_WITH(warnings_of({{"attention", "ssa"}}), Contains("needs a model"));
  CHECK_THROWS_WITH(warnings_of({{"weights", "ssa"}, {"storage", "sparse"}}),
                    Contains("full stream"));
  CHECK_THROWS_WITH(warnings_of({{"weights", "set"}, {"growth_batches", "2"}}),
                    Contains("--growth-batches 0"));
  CHECK_NOTHROW(warnings_of({}));
  CHECK_NOTHROW(of_transformer({}));
}

TEST_CASE("what no memory holds is refused before it is asked for", "[unit]") {
  for (const Settings& said : std::vector<Settings>{{{"batch", "9223372036854775807"}},
                                                    {{"widths", "99999999999"}},
                                                    {{"widths", "1000000000,1000000000"}},
                                                    {{"widths", "9223372036854775807"}},
                                                    {{"weights", "rigl"},
                                                     {"widths", "99999999999"},
                                                     {"storage", "sparse"},
                                                     {"density", "0.9"}},
                                                    {{"scenario", "class_il"},
                                                     {"strategy", "er"},
                                                     {"replay_batch", "9223372036854775807"}}}) {
    CAPTURE(said);
    CHECK_THROWS_WITH(warnings_of(said), Contains("needs at least") && Contains("GB"));
  }
  for (const char* option : {"width", "layers", "ff_width", "heads"}) {
    CAPTURE(option);
    CHECK_THROWS_WITH(of_transformer({{option, "9223372036854775807"}}), Contains("GB"));
  }
  CHECK(memory_bytes("cpu") > 100'000'000);
  // What is never held whole may be larger than the memory.
  CHECK_NOTHROW(warnings_of({{"weights", "set"},
                             {"widths", "200000,200000"},
                             {"density", "0.0001"},
                             {"storage", "sparse"}}));
}

TEST_CASE("a number beyond every run is refused as it is read", "[unit]") {
  for (const char* option : {"steps", "epochs", "warmup_steps", "probe_every", "eval_every"}) {
    CAPTURE(option);
    CHECK_THROWS_AS(small_run({{option, "9223372036854775807"}}), ConfigError);
  }
  CHECK_THROWS_AS(Config::resolve(small_transformer({{"context", "9223372036854775807"}})),
                  ConfigError);
}

TEST_CASE("a density that a network can't have is refused with one that it can", "[unit]") {
  CHECK_THROWS_WITH(warnings_of({{"density", "0"}}), Contains("--density 0"));
  CHECK_THROWS_WITH(warnings_of({{"density", "1e-9"}}), Contains("--density 1e-09"));
  // Three layers with one connection each.
  const double least = 3.0 / (784 * 37 + 37 * 23 + 23 * 10);
  try {
    warnings_of({{"weights", "rigl"}, {"density", "1e-9"}});
    FAIL("accepted");
  } catch (const ConfigError& error) {
    const std::string text = error.what(), mark = "; give --density ";
    const std::size_t begin = text.find(mark) + mark.size();
    const std::string given = text.substr(begin, text.find(' ', begin) - begin);
    CHECK(std::stod(given) >= least);
    CHECK(std::stod(given) < 0.01);
    CHECK_NOTHROW(warnings_of({{"weights", "rigl"}, {"density", given}}));
  }
  CHECK_NOTHROW(warnings_of({{"density", "0.01"}}));
  CHECK_NOTHROW(warnings_of({{"granularity", "n_m"}, {"density", "0.5"}}));
  CHECK_NOTHROW(warnings_of({{"weights", "small_dense"}, {"density", "0.03"}}));
  // Fan-ins are whole: of 37 x 23 and 23 x 10 at least one input for each unit.
  CHECK(warns(warnings_of({{"granularity", "fan_in"}, {"density", "0.003"}}), "whole groups keep"));
}

TEST_CASE("what a short run leaves of its schedule is said", "[unit]") {
  CHECK_THROWS_WITH(warnings_of({{"epochs", "0"}}), Contains("trains nothing"));
  CHECK_THROWS_WITH(warnings_of({{"weights", "gmp"}, {"prune_begin", "0.8"}}),
                    Contains("--prune-begin 0.8"));
  CHECK_THROWS_WITH(warnings_of({{"weights", "acdc"}, {"steps", "3"}}),
                    Contains("the net would end dense"));
  CHECK(warns(warnings_of({{"weights", "acdc"}, {"steps", "10"}}), "have no step"));
  CHECK(warns(warnings_of({{"weights", "dsd"}, {"steps", "2"}}), "have no step"));
  CHECK(warns(warnings_of({{"weights", "rigl"}, {"steps", "50"}}), "100 steps apart"));
  CHECK_FALSE(warns(warnings_of({{"weights", "rigl"}, {"steps", "500"}}), "steps apart"));
  CHECK(warns(warnings_of({{"warmup_steps", "31"}}), "--warmup-steps 31"));
  CHECK_FALSE(warns(warnings_of({{"warmup_steps", "30"}}), "--warmup-steps"));  // 3 epochs of 10
  CHECK(warns(warnings_of({{"batch", "301"}}), "the 300 training examples"));
  CHECK_THROWS_WITH(of_transformer({{"blocks", "100"}}), Contains("give at most 8"));
  CHECK_NOTHROW(of_transformer({{"blocks", "8"}}));
}

TEST_CASE("what needs copies of layers that are too large is refused or said to be left out",
          "[unit]") {
  const auto large = [](Settings more, StorageChooser storage = storage_chooser()) {
    more.insert({{"weights", "set"}, {"widths", "20000,20000"}, {"density", "0.001"}});
    return RunCheck("cpu", std::move(storage)).check(small_run(more));
  };
  const Settings sparse = {{"storage", "sparse"}};
  const auto with = [&](Settings more) {
    more.insert(sparse.begin(), sparse.end());
    return more;
  };
  CHECK_THROWS_WITH(large(with({{"curve", "true"}})),
                    Contains("'layer1' has 20000 x 20000") && Contains("--curve=false"));
  CHECK_THROWS_WITH(large(with({{"probe_every", "10"}})), Contains("--probe-every=0"));
  CHECK_THROWS_WITH(large(with({{"weights", "gmp"}, {"initial_density", "0.002"}})),
                    Contains("starts at its density"));
  CHECK(warns(large(sparse), "'weights' are left out"));
  CHECK_FALSE(warns(large(with({{"probes", "topology"}})), "left out"));
  CHECK_NOTHROW(large(with({{"probes", "topology"}, {"probe_every", "10"}})));
  // What `auto` stores is asked of whoever knows.
  const auto stored = [](Storage storage) {
    return
        [storage](const Config&, const std::string&) { return std::vector<Storage>(3, storage); };
  };
  CHECK_THROWS_WITH(large({{"curve", "true"}}, stored(Storage::kSparse)),
                    Contains("--curve=false"));
  CHECK_NOTHROW(large({{"curve", "true"}}, stored(Storage::kMasked)));
}

TEST_CASE("what is counted and is not there is said", "[unit]") {
  CHECK(warns(of_transformer({{"evaluation_windows", "1000000"}}), "as with 0"));
  CHECK_FALSE(warns(of_transformer({{"evaluation_windows", "8"}}), "as with 0"));
  CHECK(warns(warnings_of({{"weights", "rigl"}, {"growth_batches", "10"}}), "with replacement"));
  CHECK_FALSE(
      warns(warnings_of({{"weights", "rigl"}, {"growth_batches", "9"}}), "with replacement"));
  CHECK(warns(warnings_of({{"validation", "0"}}), "the run has no results"));
  CHECK_THROWS_WITH(warnings_of({{"validation", "1e-6"}}),
                    Contains("validation = 0.000001") || Contains("validation = 1e-06"));
  CHECK(warns(warnings_of({{"scenario", "class_il"}, {"validation", "0.00005"}}),
              "a task has none of the 3 validation examples"));
  CHECK(warns(warnings_of({{"topology_log_steps", "5"}}), "weights = dense has none"));
  CHECK(warns(warnings_of({{"weights", "acdc"}, {"topology_log_steps", "5"}}), "phases alone"));
  CHECK(warns(warnings_of({{"weights", "ste"}, {"topology_log_steps", "31"}}),
              "more than the 30 steps"));
  CHECK_FALSE(warns(warnings_of({{"weights", "ste"}, {"topology_log_steps", "30"}}), "log-steps"));
}

TEST_CASE("runs that differ in seeds are checked and warned of together", "[unit]") {
  const std::vector<Config> runs = {small_run({{"warmup_steps", "31"}, {"seed", "1"}}),
                                    small_run({{"warmup_steps", "31"}, {"seed", "2"}}),
                                    small_run({{"seed", "1"}})};
  const auto warnings = check_all(runs, "cpu");
  REQUIRE(warnings.size() == 1);
  CHECK(warnings.begin()->second == 2);
}

TEST_CASE("outlines are what the models build, and data are what their facts say", "[unit]") {
  for (const Config& run :
       {small_run({}), small_run({{"widths_match", "density"}, {"layer_norm", "true"}}),
        Config::resolve(small_transformer({})),
        Config::resolve(small_transformer({{"widths_match", "density"}, {"width", "64"}}))}) {
    const ModelOutline& outline = outline_of(run);
    ModelShape shape;
    shape.features = data_facts(run).features;
    shape.outputs = data_facts(run).classes;
    shape.weights_later = true;
    const auto model = models().at("model", run.text("model"))({run}, shape);
    const std::vector<LayerShape> layers = outline.layers(run, shape);
    REQUIRE(layers.size() == model->linears().size());
    for (std::size_t l = 0; l < layers.size(); ++l) {
      CHECK(layers[l].name == model->linears()[l]->name());
      CHECK(layers[l].inputs == model->linears()[l]->inputs());
      CHECK(layers[l].outputs == model->linears()[l]->outputs());
    }
    CHECK(outline.attention == (model->sites(Level::kAttention) > 0));
    CHECK(outline.sequences == (data_facts(run).kind == Dataset::Kind::kBytes));
    const auto data = load_dataset(run);
    CHECK(data->kind == data_facts(run).kind);
    CHECK(data->features == data_facts(run).features);
    CHECK(data->classes == data_facts(run).classes);
  }
  for (const auto& [name, factory] : models().all()) {
    CHECK(outline_of(Config::resolve({{"model", name}})).needs != nullptr);
  }
  for (const auto& [name, reader] : dataset_readers().all()) {
    INFO(name);
    const DataFacts& facts = data_facts(Config::resolve({{"data", name}}));
    // Images of one's own are known once they are read.
    CHECK((facts.classes > 0 || facts.classes_option != nullptr) == (name != "images"));
    CHECK((facts.kind == Dataset::Kind::kSequences) == reader.generates());
  }
}

TEST_CASE("no published experiment whose data are here is refused", "[unit]") {
  std::int64_t checked = 0;
  for (const auto& each :
       std::filesystem::recursive_directory_iterator(TANDEM_SOURCE_DIR "/experiments")) {
    if (each.path().extension() != ".ini") continue;
    CAPTURE(each.path().string());
    const Grid grid = read_grid(each.path().string(), {});
    for (const Config& run : grid.runs) {
      // Golden numbers of MNIST need its files.
      if (run.text("data") == "mnist") continue;
      if (run.text("seed") != grid.runs.front().text("seed")) continue;
      Settings said = run.given();
      said.erase("tf32");  // a GPU's, where the experiment is made for one
      CHECK_NOTHROW(RunCheck("cpu").check(Config::resolve(said)));
      ++checked;
    }
  }
  CHECK(checked > 20);
}

}  // namespace tandem::test::jobs_run_check_unit
