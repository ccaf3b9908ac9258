// `tandem bench continual`: seconds per run of the DER Split MNIST protocol (Buzzega et al. 2020),
// alone and in a group of eight, on one core, by strategy.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>

#include "bench/bench.h"
#include "config/grid.h"
#include "jobs/provenance.h"
#include "jobs/run_group.h"

namespace tandem {
namespace {

constexpr std::int64_t kBuffer = 500;  // examples, where a strategy has one

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
  Settings overrides = said;
  overrides["seed"] = seeds == 1 ? "1" : fmt::format("1..{}", seeds);
  overrides["strategy"] = strategy;
  std::vector<Config> runs;
  for (const Config& run :
       read_grid(TANDEM_EXPERIMENTS "/continual/der_mnist.ini", overrides).runs) {
    const std::int64_t buffer = run.integer("buffer");
    if (buffer == 0 || buffer == kBuffer) runs.push_back(run);
  }
  return runs;
}

void bench_continual(const Config& said) {
  Settings settings;
  for (const auto& [name, value] : said.given()) settings[name] = value;
  fmt::print(
      "{}\nDER Split MNIST, class-incremental, MLP 784-100-100-10, batch 10, 1 epoch, buffer 500, "
      "one core\n",
      processor_name());
  fmt::print("{:<11} {:>10} {:>16} {:>12} {:>16}\n", "strategy", "s alone", "of finetune's",
             "s in eight", "of finetune's");
  seconds_of(der_split_mnist(settings, "finetune", 1));  // loads the data, warms up
  double first_alone = 0, first_group = 0;
  for (const std::string strategy :
       {"finetune", "er", "er_ace", "der", "derpp", "agem", "ewc_online", "si", "mas", "lwf"}) {
    const double alone = seconds_of(der_split_mnist(settings, strategy, 1));
    const double group = seconds_of(der_split_mnist(settings, strategy, 8));
    if (first_alone == 0) {
      first_alone = alone;
      first_group = group;
    }
    fmt::print("{:<11} {:>10.2f} {:>16.2f} {:>12.2f} {:>16.2f}\n", strategy, alone,
               alone / first_alone, group, group / first_group);
    std::fflush(stdout);
  }
}

}  // namespace tandem
