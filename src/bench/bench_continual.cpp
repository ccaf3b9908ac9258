// `tandem bench continual`: seconds per run of the DER Split MNIST protocol (Buzzega et al. 2020),
// alone and in a group of eight, on one core.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>

#include "bench/bench.h"
#include "core/error.h"
#include "core/log.h"
#include "jobs/run_group.h"

namespace tandem {
namespace {

class CountingSink : public RowSink {
 public:
  void emit(Row) override { ++rows_; }
  std::vector<Row> unacknowledged() override { return {}; }
  void flush() override {}

 private:
  std::int64_t rows_ = 0;
};

double seconds_of(const std::vector<Config>& runs) {
  GroupSpec spec;
  spec.runs = runs;
  CountingSink sink;
  const auto begin = std::chrono::steady_clock::now();
  run_group(spec, sink);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  return elapsed.count() / static_cast<double>(runs.size());
}

}  // namespace

std::vector<Config> der_split_mnist(const Settings& said, const std::string& strategy,
                                    std::int64_t seeds) {
  std::vector<Config> runs;
  for (std::int64_t r = 0; r < seeds; ++r) {
    Settings settings = {{"data", "mnist"},
                         {"scenario", "class_il"},
                         {"strategy", strategy},
                         {"widths", "100,100"},
                         {"init", "xavier_uniform"},
                         {"batch", "10"},
                         {"epochs", "1"},
                         {"momentum", "0"},
                         {"weight_decay", "0"},
                         {"lr", strategy == "er" ? "0.1" : "0.03"},
                         {"validation", "0"},
                         {"final", "true"},
                         {"curve", "false"},
                         {"seed", std::to_string(r + 1)}};
    if (strategy == "er") {
      settings["buffer"] = "500";
      settings["replay_batch"] = "10";
    }
    for (const auto& [name, value] : said) settings[name] = value;
    runs.push_back(Config::resolve(settings));
  }
  return runs;
}

void bench_continual(const Config& said) {
  Settings settings;
  for (const auto& [name, value] : said.given()) settings[name] = value;
  fmt::print(
      "DER Split MNIST, class-incremental, MLP 784-100-100-10, batch 10, 1 epoch, one core\n");
  fmt::print("{:<10} {:>18} {:>28}\n", "strategy", "s per run, alone", "s per run, group of eight");
  seconds_of(der_split_mnist(settings, "finetune", 1));  // loads the data, warms up
  for (const std::string strategy : {"finetune", "er"}) {
    const double alone = seconds_of(der_split_mnist(settings, strategy, 1));
    const double group = seconds_of(der_split_mnist(settings, strategy, 8));
    fmt::print("{:<10} {:>18.2f} {:>28.2f}\n", strategy, alone, group);
  }
}

}  // namespace tandem
