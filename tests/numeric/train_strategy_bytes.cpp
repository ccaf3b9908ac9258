// What a strategy keeps, in bytes: of some counted by hand, of all that are registered against what
// a checkpoint has more than one of a run without a strategy.
#include <catch2/catch.hpp>
#include <map>
#include <numeric>
#include <set>

#include "core/files.h"
#include "support/train_support.h"
#include "train/trainer.h"

namespace tandem::test::train_strategy_bytes_numeric {

using namespace tandem::test;

namespace {

constexpr std::int64_t kPixels = 28 * 28;
// 784-37-23-10 with biases.
constexpr std::int64_t kParameters = kPixels * 37 + 37 + 37 * 23 + 23 + 23 * 10 + 10;

Config sequence(const std::string& strategy, Settings more = {}) {
  Settings said = {{"scenario", "class_il"},
                   {"strategy", strategy},
                   {"epochs", "1"},
                   {"weights", "dense"},
                   {"momentum", "0.9"}};
  const Part& facts = part("strategy", strategy);
  for (const auto& [name, value] : Settings{{"buffer", "30"}, {"replay_batch", "8"}}) {
    if (std::count(facts.uses.begin(), facts.uses.end(), name) != 0) said[name] = value;
  }
  for (const auto& [name, value] : more) said[name] = value;
  return small_run(said);
}

std::map<std::string, std::vector<double>> metrics_of(const Config& run) {
  GroupSpec spec;
  spec.runs = {run};
  MemorySink sink;
  run_group(spec, sink);
  std::map<std::string, std::vector<double>> all;
  for (const Row& row : sink.unacknowledged()) {
    if (const auto* metric = std::get_if<MetricRow>(&row.body)) {
      all[metric->name].push_back(metric->value);
    }
  }
  return all;
}

void train_all(Trainer& trainer) {
  for (std::int64_t stage = 0; stage < trainer.stages(); ++stage) {
    trainer.begin_stage(stage);
    for (std::int64_t step = 0; step < trainer.stage_steps(stage);) {
      step += trainer.advance(stage, step, trainer.stage_steps(stage) - step).steps;
    }
    trainer.end_stage(stage);
  }
}

std::map<std::string, std::int64_t> sizes_of(const Trainer& trainer, std::int64_t r) {
  std::map<std::string, std::int64_t> sizes;
  for (const auto& [name, values] : trainer.save(r)) {
    sizes[name] = static_cast<std::int64_t>(values.nbytes());
  }
  return sizes;
}

}  // namespace

TEST_CASE("bytes of strategies, by hand", "[numeric]") {
  auto none = metrics_of(sequence("finetune"));
  CHECK(none.at("strategy_bytes") == std::vector<double>{0});
  CHECK(none.at("buffer_bytes") == std::vector<double>(5, 0));
  const double data = none.at("data_bytes").at(0);
  CHECK(std::fmod(data, kPixels) == 0);
  CHECK(data > 290 * kPixels);
  CHECK(data <= 300 * kPixels);
  // Importance and center of each weight in float, and a constant in double.
  CHECK(metrics_of(sequence("ewc")).at("strategy_bytes").at(0) == 8.0 * kParameters + 8);
  // A copy of the net.
  CHECK(metrics_of(sequence("lwf")).at("strategy_bytes").at(0) == 4.0 * kParameters);
  // Thirty images; thirty places in the data set and how many were seen.
  auto replay = metrics_of(sequence("er"));
  CHECK(replay.at("buffer_bytes") == std::vector<double>(5, 30.0 * kPixels));
  CHECK(replay.at("strategy_bytes").at(0) == 31 * 8);
  // Beside them ten outputs of each in float.
  auto dark = metrics_of(sequence("der"));
  CHECK(dark.at("buffer_bytes").back() == 30.0 * kPixels);
  CHECK(dark.at("strategy_bytes").at(0) == 31 * 8 + 30 * 10 * 4);
  // Six of each task, from its end on.
  for (const char* strategy : {"gem", "agem"}) {
    INFO(strategy);
    const auto memory = metrics_of(sequence(strategy)).at("buffer_bytes");
    CHECK(memory == std::vector<double>{6.0 * kPixels, 12.0 * kPixels, 18.0 * kPixels,
                                        24.0 * kPixels, 30.0 * kPixels});
  }
  CHECK(metrics_of(sequence("joint")).at("buffer_bytes") == std::vector<double>{data});
  const auto sums = metrics_of(sequence("cumulative")).at("buffer_bytes");
  REQUIRE(sums.size() == 5);
  CHECK(sums.front() < data / 3);
  CHECK(sums.back() == data);
  CHECK(metrics_of(sequence("gdumb")).at("buffer_bytes") == std::vector<double>(5, 30.0 * kPixels));
}

// A pass is 3 x 2 x 784 x 37 + ... per example of the task, and plain training takes one each
// epoch; where a step replays as many rows as it has, it costs twice that.
TEST_CASE("operations of tasks, by hand", "[numeric]") {
  const double pass = 6.0 * (kPixels * 37 + 37 * 23 + 23 * 10);  // of an example
  const auto risen = [](const std::vector<double>& so_far) {
    std::vector<double> each;
    for (std::size_t i = 0; i < so_far.size(); ++i) {
      each.push_back(so_far[i] - (i == 0 ? 0 : so_far[i - 1]));
    }
    return each;
  };
  for (const int epochs : {1, 3}) {
    const auto plain = metrics_of(sequence("finetune", {{"epochs", std::to_string(epochs)}}));
    const std::vector<double>& passes = plain.at("pass_flops");
    REQUIRE(passes.size() == 5);
    const double examples = plain.at("data_bytes").at(0) / kPixels;
    CHECK(std::accumulate(passes.begin(), passes.end(), 0.0) == Approx(pass * examples));
    const std::vector<double> took = risen(plain.at("train_flops"));
    for (std::size_t i = 0; i < 5; ++i) CHECK(took[i] == Approx(epochs * passes[i]));
  }
  const auto joint = metrics_of(sequence("joint", {{"epochs", "2"}}));
  REQUIRE(joint.at("pass_flops").size() == 1);
  CHECK(joint.at("train_flops").at(0) == Approx(2 * joint.at("pass_flops").at(0)));
  // The k-th task of cumulative training is trained with all before it.
  const auto cumulative = metrics_of(sequence("cumulative"));
  double before = 0;
  const std::vector<double> took = risen(cumulative.at("train_flops"));
  for (std::size_t i = 0; i < 5; ++i) {
    before += cumulative.at("pass_flops").at(i);
    CHECK(took[i] == Approx(before));
  }
  // A tenth of the weights of both hidden layers and of the head.
  const auto sparse = metrics_of(
      sequence("finetune", {{"weights", "static"}, {"density", "0.1"}, {"budget", "uniform"}}));
  CHECK(sparse.at("pass_flops").at(0) / metrics_of(sequence("finetune")).at("pass_flops").at(0) ==
        Approx(0.1).epsilon(0.01));
}

TEST_CASE("runs of one task say nothing of what a strategy keeps", "[numeric]") {
  const auto metrics = metrics_of(small_run({{"epochs", "1"}}));
  CHECK(metrics.count("train_loss") == 1);
  for (const char* name :
       {"strategy_bytes", "buffer_bytes", "data_bytes", "train_flops", "pass_flops"}) {
    CHECK(metrics.count(name) == 0);
  }
}

TEST_CASE("a window of a corpus is as many bytes as it has", "[numeric]") {
  const TemporaryFolder folder;
  atomic_write(folder / "a", std::string(2000, 'a'));
  atomic_write(folder / "b", std::string(1000, 'b'));
  const auto said = [&](const std::string& strategy) {
    Settings all = {{"data", "bytes"},
                    {"model", "transformer"},
                    {"corpus", folder.path() + "/a|" + folder.path() + "/b"},
                    {"scenario", "domain_il"},
                    {"tasks_by", "corpus"},
                    {"tasks", "2"},
                    {"strategy", strategy},
                    {"context", "12"},
                    {"layers", "1"},
                    {"width", "8"},
                    {"heads", "2"},
                    {"kv_heads", "2"},
                    {"block_size", "4"},
                    {"blocks", "2"},
                    {"batch", "4"},
                    {"steps", "3"},
                    {"curve", "false"}};
    if (strategy == "er") all["buffer"] = "7";
    return Config::resolve(all);
  };
  const auto er = metrics_of(said("er"));
  CHECK(er.at("buffer_bytes") == std::vector<double>(2, 7 * 13));
  CHECK(er.at("data_bytes") == std::vector<double>{0.9 * 3000});
  CHECK(metrics_of(said("cumulative")).at("buffer_bytes") ==
        std::vector<double>{0.9 * 2000, 0.9 * 3000});
}

TEST_CASE("bytes of each strategy are what a checkpoint has more than without one", "[numeric]") {
  Trainer plain({sequence("finetune")}, {});
  train_all(plain);
  std::set<std::string> usual;
  for (const auto& [name, size] : sizes_of(plain, 0)) usual.insert(name);
  for (const Part& strategy : parts_of("strategy")) {
    DYNAMIC_SECTION(strategy.name) {
      const Config run = sequence(strategy.name);
      Config second = sequence(strategy.name, {{"seed", "2"}});
      Trainer trainer({run, second}, {});
      train_all(trainer);
      for (std::int64_t r = 0; r < 2; ++r) {
        std::int64_t more = 0;
        for (const auto& [name, size] : sizes_of(trainer, r)) {
          if (usual.count(name) == 0) more += size;
        }
        CHECK(trainer.strategy_bytes(r) == more);
      }
    }
  }
}

}  // namespace tandem::test::train_strategy_bytes_numeric
