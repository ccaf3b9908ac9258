// Which storage a layer gets, and what is remembered of break-evens. Times are the test's own.
#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "jobs/storage_choice.h"
#include "jobs/working_set.h"
#include "support/train_support.h"

namespace tandem::test::jobs_storage_choice_unit {
namespace {

using Catch::Contains;
constexpr Storage kMasked = Storage::kMasked, kSparse = Storage::kSparse;

// A masked step takes 1 s, a sparse one `base` + density / even (1 - base).
struct Clock {
  double even = 0.25, base = 0.1;
  std::vector<LayerCase> asked = {};

  StepTimer timer() {
    return [this](const LayerCase& layer, const std::vector<TimedStep>& steps) {
      asked.push_back(layer);
      std::vector<double> seconds;
      for (const TimedStep& step : steps) {
        const double sparse = base + step.density / even * (1 - base);
        seconds.push_back(step.storage == kMasked ? 1.0 : sparse);
      }
      return seconds;
    };
  }
  BreakEven break_even(const std::string& file = "", const std::string& machine = "m") {
    return BreakEven(file, timer(), machine);
  }
};

struct Quiet {
  Quiet() { set_log_level("off"); }
  ~Quiet() { set_log_level("info"); }
};

const LayerCase kLayer = {200, 100, 32, "float32"};

Config run_of(Settings said) {
  if (said.count("weights") == 0) said["weights"] = "rigl";
  if (said.count("widths") == 0) said["widths"] = "100,100";
  return test::small_run(said);
}

std::string chosen(const Config& config, double even, const std::string& device = "cpu") {
  Clock clock{.even = even};
  BreakEven measured = clock.break_even();
  return storages_text(choose_storage(config, device, measured));
}

}  // namespace

TEST_CASE("a break-even is where the lines cross, within 0 and 1", "[unit]") {
  for (const double even : {0.03, 0.25, 0.8}) {
    Clock clock{.even = even};
    CHECK(clock.break_even().density(kLayer) == Approx(even).margin(5e-4));
  }
  CHECK(Clock{.even = 5}.break_even().density(kLayer) == 1);
  constexpr double kFlat = 1e300;  // noise hides what a connection costs
  CHECK(Clock{.even = kFlat, .base = 0.5}.break_even().density(kLayer) == 1);
  CHECK(Clock{.even = kFlat, .base = 1.5}.break_even().density(kLayer) == 0);
  CHECK(Clock{.even = -0.1, .base = 1.2}.break_even().density(kLayer) == 0);
}

TEST_CASE("a small layer is masked unasked, a large one as its capped shape", "[unit]") {
  Clock clock;
  BreakEven measured = clock.break_even();
  CHECK(measured.density({63, 65, 128, "float32"}) == 0);
  CHECK(clock.asked.empty());
  CHECK(measured.density({64, 64, 128, "float32"}) == Approx(0.25));
  CHECK(measured.density({5000, 3000, 9000, "float32"}) == Approx(0.25));
  REQUIRE(clock.asked.size() == 2);
  CHECK(clock.asked[1].inputs == BreakEven::kMostInputs);
  CHECK(clock.asked[1].outputs == BreakEven::kMostOutputs);
  CHECK(clock.asked[1].rows == 256);
  measured.density({2048, 2048, 256, "float32"});
  CHECK(clock.asked.size() == 2);
  measured.density({2048, 2048, 256, "float64"});
  measured.density({2048, 2048, 255, "float32"});
  CHECK(clock.asked.size() == 4);
  measured.density({200, 100, 9000, "float32"});
  CHECK(clock.asked[4].rows == BreakEven::kMostRows);
}

TEST_CASE("a break-even is remembered by the machine that measured it", "[unit]") {
  const TemporaryFolder folder;
  const std::string file = folder / "new/folder/break_even.json";
  Clock slow{.even = 0.5}, fast{.even = 0.1}, unused;
  CHECK(slow.break_even(file, "a").density(kLayer) == Approx(0.5));
  CHECK(fast.break_even(file, "b").density(kLayer) == Approx(0.1));
  CHECK(unused.break_even(file, "a").density(kLayer) == Approx(0.5));
  CHECK(unused.break_even(file, "b").density(kLayer) == Approx(0.1));
  CHECK(unused.asked.empty());
  CHECK(unused.break_even(file, "a").remembered() ==
        std::map<std::string, double>{{"200x100, 32 rows, float32", 0.5}});
  CHECK(unused.break_even(file, "c").remembered().empty());
}

TEST_CASE("what another process measured in the meantime stands", "[unit]") {
  const TemporaryFolder folder;
  const std::string file = folder / "break_even.json";
  Clock first{.even = 0.5}, second{.even = 0.1};
  BreakEven early = second.break_even(file);
  CHECK(first.break_even(file).density(kLayer) == Approx(0.5));
  CHECK(early.density(kLayer) == Approx(0.5));
  CHECK(second.break_even(file).density(kLayer) == Approx(0.5));
}

TEST_CASE("a damaged memory is measured anew and replaced", "[unit]") {
  const Quiet quiet;
  const TemporaryFolder folder;
  const std::string file = folder / "break_even.json";
  Clock clock, unused;
  clock.break_even(file).density(kLayer);
  const std::string good = read_file(file);
  const auto replaced = [&good](const std::string& from, const std::string& to) {
    std::string text = good;
    const auto at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
  };
  SECTION("torn") { atomic_write(file, good.substr(0, good.size() / 2)); }
  SECTION("empty") { atomic_write(file, ""); }
  SECTION("of other types") { atomic_write(file, replaced("0.25", "\"much\"")); }
  SECTION("out of range") { atomic_write(file, replaced("0.25", "1.25")); }
  SECTION("of another revision") {
    auto j = nlohmann::json::parse(good);
    j["revision"] = -1;
    atomic_write(file, j.dump());
  }
  clock.asked.clear();
  CHECK(clock.break_even(file).density(kLayer) == Approx(0.25));
  CHECK(clock.asked.size() == 1);
  CHECK(unused.break_even(file).density(kLayer) == Approx(0.25));
  CHECK(unused.asked.empty());
}

TEST_CASE("a memory that can't be written is no error", "[unit]") {
  const Quiet quiet;
  const TemporaryFolder folder;
  atomic_write(folder / "file", "");
  Clock clock;
  for (const std::string& file : {folder / "file/break_even.json", std::string()}) {
    BreakEven measured = clock.break_even(file);
    CHECK(measured.density(kLayer) == Approx(0.25));
    CHECK(measured.density(kLayer) == Approx(0.25));
    measured.density({400, 400, 32, "float32"});
  }
  CHECK(clock.asked.size() == 4);
}

TEST_CASE("the memory lies where the environment says", "[unit]") {
  const std::map<std::string, std::string> before = {{"TANDEM_CACHE", getenv("TANDEM_CACHE")}};
  const char* cache = getenv("XDG_CACHE_HOME");
  const std::string kept = cache == nullptr ? "" : cache;
  CHECK(break_even_file() == before.at("TANDEM_CACHE") + "/break_even.json");
  ::unsetenv("TANDEM_CACHE");
  ::setenv("XDG_CACHE_HOME", "/x", 1);
  CHECK(break_even_file() == "/x/tandem/break_even.json");
  ::unsetenv("XDG_CACHE_HOME");
  CHECK_THAT(break_even_file(), Catch::EndsWith("/.cache/tandem/break_even.json"));
  if (cache != nullptr) ::setenv("XDG_CACHE_HOME", kept.c_str(), 1);
  ::setenv("TANDEM_CACHE", before.at("TANDEM_CACHE").c_str(), 1);
}

TEST_CASE("auto compares each layer's own density with its shape's break-even", "[unit]") {
  // 784x100, 100x100, 100x10; the last has too few positions.
  const Settings thin = {{"density", "0.1"}, {"budget", "uniform"}};
  CHECK(chosen(run_of(thin), 0.11) == "sparse,sparse,masked");
  CHECK(chosen(run_of(thin), 0.1) == "sparse,sparse,masked");
  CHECK(chosen(run_of(thin), 0.09) == "masked,masked,masked");
  // ER gives the second layer more than the first.
  const Config er = run_of({{"density", "0.1"}, {"budget", "er"}});
  const auto budgets = spread_budget(linear_layers(er), 0.1, Start::Budget::kEr);
  REQUIRE(budgets[0].density + 0.05 < budgets[1].density);
  CHECK(chosen(er, budgets[0].density + 0.02) == "sparse,masked,masked");
  CHECK(chosen(er, budgets[1].density + 0.02) == "sparse,sparse,masked");
  CHECK(chosen(run_of({{"density", "0.1"}, {"exempt", "layer1"}}), 0.9) == "sparse,masked,masked");
  CHECK(chosen(run_of({{"weights", "static"}, {"density", "0.1"}}), 0.9) == "sparse,sparse,masked");
  CHECK(chosen(run_of({{"weights", "set"}, {"density", "0.1"}}), 0.9) == "sparse,sparse,masked");
}

TEST_CASE("auto compares the density of a superset outside which weights are zero", "[unit]") {
  for (const char* weights : {"ssa", "alternate", "topkast"}) {
    CAPTURE(weights);
    Settings said = {{"weights", weights},
                     {"density", "0.1"},
                     {"superset_density", "0.3"},
                     {"superset_outside", "zero"},
                     {"budget", "uniform"}};
    CHECK(chosen(run_of(said), 0.31) == "sparse,sparse,masked");
    CHECK(chosen(run_of(said), 0.29) == "masked,masked,masked");
    said["superset_outside"] = "hold";
    CHECK(chosen(run_of(said), 0.31).empty());
    said["storage"] = "sparse";
    BreakEven measured = Clock().break_even();
    CHECK_THROWS_WITH(choose_storage(run_of(said), "cpu", measured),
                      Contains(weights) && Contains("superset_outside = hold"));
  }
}

TEST_CASE("auto doesn't measure where no layer can be sparse", "[unit]") {
  for (const std::string weights : {"dense", "gmp", "ssa", "alternate", "sandwich"}) {
    INFO(weights);
    CHECK(chosen(run_of({{"weights", weights}}), 0.9).empty());
  }
  CHECK(chosen(run_of({}), 0.9, "cuda:0").empty());
  CHECK(chosen(run_of({{"storage", "masked"}}), 0.9).empty());
}

TEST_CASE("auto asks about the step's own rows and dtype", "[unit]") {
  Clock clock;
  BreakEven measured = clock.break_even();
  choose_storage(run_of({{"batch", "50"}, {"dtype", "float64"}}), "cpu", measured);
  REQUIRE(clock.asked.size() == 2);
  CHECK(clock.asked[0].inputs == 784);
  CHECK(clock.asked[0].outputs == 100);
  CHECK(clock.asked[0].rows == 50);
  CHECK(clock.asked[0].dtype == "float64");
  CHECK(clock.asked[1].inputs == 100);
  const Config bytes = Config::resolve(
      test::small_transformer({{"weights", "rigl"}, {"width", "64"}, {"layers", "1"}}));
  choose_storage(bytes, "cpu", measured);
  CHECK(clock.asked.back().rows == 3 * 32);
}

TEST_CASE("explicit sparse is every layer that isn't exempt, at any density and size", "[unit]") {
  const Config run = run_of({{"storage", "sparse"}, {"density", "0.9"}, {"exempt", "layer2"}});
  CHECK(chosen(run, 0) == "sparse,sparse,masked");
  CHECK(chosen(run_of({{"storage", "sparse"}}), 0) == "sparse,sparse,sparse");
}

TEST_CASE("explicit sparse that can't be had is refused with the reason", "[unit]") {
  BreakEven measured = Clock().break_even();
  CHECK_THROWS_AS(
      choose_storage(run_of({{"storage", "sparse"}, {"weights", "ssa"}}), "cpu", measured),
      ConfigError);
  CHECK_THROWS_WITH(
      choose_storage(run_of({{"storage", "sparse"}, {"weights", "ssa"}}), "cpu", measured),
      Contains("weights = ssa") && Contains("full stream") && Contains("--storage masked"));
  CHECK_THROWS_WITH(choose_storage(run_of({{"storage", "sparse"}}), "cuda:0", measured),
                    Contains("weights = rigl") && Contains("cuda:0") && Contains("--device cpu"));
}

TEST_CASE("a run whose layers can't be known is left to its worker", "[unit]") {
  const TemporaryFolder folder;
  BreakEven measured = Clock().break_even();
  for (const std::string storage : {"auto", "sparse"}) {
    CHECK(choose_storage(
              run_of({{"storage", storage}, {"data", "mnist"}, {"data_dir", folder.path()}}), "cpu",
              measured)
              .empty());
    CHECK(choose_storage(run_of({{"storage", storage}, {"widths", "1"}}), "cpu", measured).empty());
  }
}

TEST_CASE("a model's linear layers are known without their weights", "[unit]") {
  const auto layers = linear_layers(run_of({{"exempt", "layer0"}, {"widths", "20000,30000"}}));
  REQUIRE(layers.size() == 3);
  CHECK(layers[0].name == "layer0");
  CHECK(layers[0].exempt);
  CHECK(layers[1].inputs == 20000);
  CHECK(layers[1].outputs == 30000);
  CHECK_FALSE(layers[1].exempt);
  CHECK(layers[2].outputs == 10);
  const auto of_bytes = linear_layers(Config::resolve(test::small_transformer({})));
  CHECK(of_bytes.size() == 14);
  CHECK(of_bytes[6].name == "layer0.ff_down");
}

TEST_CASE("a chooser asks once for all seeds and rates of a density", "[unit]") {
  Clock clock;
  const StorageChooser choose = storage_chooser(clock.break_even());
  CHECK(storages_text(choose(run_of({{"density", "0.05"}}), "cpu")) == "sparse,sparse,masked");
  CHECK(clock.asked.size() == 2);
  for (const char* seed : {"2", "3"}) {
    const Config run = run_of({{"density", "0.05"}, {"seed", seed}, {"lr", "0.01"}});
    CHECK(storages_text(choose(run, "cpu")) == "sparse,sparse,masked");
  }
  CHECK(storages_text(choose(run_of({{"density", "0.5"}}), "cpu")) == "masked,masked,masked");
  CHECK(choose(run_of({{"density", "0.05"}}), "cuda:0").empty());
  CHECK(clock.asked.size() == 2);
}

TEST_CASE("storages come back from their text", "[unit]") {
  const std::vector<Storage> all = {kSparse, kMasked, kSparse};
  CHECK(storages_text(all) == "sparse,masked,sparse");
  CHECK((storages_of_text("sparse,masked,sparse") == all));
  CHECK(storages_of_text("").empty());
  CHECK_THROWS_AS(storages_of_text("sparse,hashed"), StoreError);
  CHECK(any_sparse(all));
  CHECK_FALSE(any_sparse({kMasked}));
}

TEST_CASE("more replicas fit a cache where connections are sparse", "[unit]") {
  const Config run = run_of({{"density", "0.05"}, {"widths", "400,400"}});
  const auto masked = group_size(run, "cpu");
  CHECK(group_size(run, "cpu", {kMasked, kMasked, kMasked}) == masked);
  CHECK(group_size(run, "cpu", {kSparse, kSparse, kMasked}) > 2 * masked);
}

TEST_CASE("no more runs train together than dense copies are made of", "[unit]") {
  // One has 60 million positions: copies are made of two.
  const Config run = run_of({{"density", "0.0001"}, {"widths", "7400,7400"}, {"batch", "1"}});
  CHECK(group_size(run, "cpu", {kSparse, kSparse, kMasked}) == 2);
  const Config larger = run_of({{"density", "0.0001"}, {"widths", "9000,9000"}, {"batch", "1"}});
  CHECK(group_size(larger, "cpu", {kSparse, kSparse, kMasked}) == 1);
}

}  // namespace tandem::test::jobs_storage_choice_unit
