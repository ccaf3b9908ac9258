// `tandem bench methods`: seconds per 1,000 training steps and peak memory of every weights method,
// in the masked and, where it is served, the sparse storage, at 90 and 99% sparsity; the network of
// experiments/weights.ini, on one thread. Each number is a process of its own.
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>

#include "bench/bench.h"
#include "bench/bench_child.h"
#include "bench/bench_run.h"
#include "core/text.h"
#include "jobs/provenance.h"
#include "kernels/spmm/spmm.h"
#include "methods/method.h"
#include "policy/demands.h"
#include "topology/storage.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kDensities[] = {0.1, 0.01};
constexpr std::int64_t kSteps = 1000;

void print(const std::string& text) {
  fmt::print("{}", text);
  std::fflush(stdout);
}

Config config_of(const std::string& method, const std::string& density, const std::string& storage,
                 const std::string& widths = "400,400") {
  Settings settings = {{"weights", method},
                       {"widths", widths},
                       {"density", density},
                       {"storage", storage},
                       {"steps", std::to_string(kSteps)},
                       {"lr", "0.01"},
                       {"curve", "false"}};
  const std::vector<std::string>& uses = part("weights", method).uses;
  if (std::count(uses.begin(), uses.end(), "update_interval_epochs") != 0) {
    settings["update_interval"] = std::to_string(kBenchInterval);
    settings["update_interval_epochs"] = "0";
  }
  return Config::resolve(settings);
}

// A whole run, so that phases and budgets that change have their share.
void work(const std::string& method, const std::string& density, const std::string& storage) {
  {
    EngineRun engine({config_of(method, "0.5", storage, "64,64")});
    engine.run(20);  // data, libraries and allocator are there from here on
  }
  malloc_trim(0);
  const double before = memory_now("VmRSS:");
  forget_peak();
  EngineRun engine({config_of(method, density, storage)});
  const auto begin = Clock::now();
  engine.run(kSteps);
  const std::chrono::duration<double> spent = Clock::now() - begin;
  fmt::print("{} {}\n", spent.count() * 1000 / static_cast<double>(kSteps),
             memory_now("VmHWM:") - before);
}

bool has_sparse_storage(const std::string& method) {
  const Config config = config_of(method, "0.1", "masked");
  return demands_of(policies_of(config, Level::kWeights)).sparse_refusal.empty();
}

struct Cost {
  double seconds = 0, bytes = 0;
};

Cost measure(const std::string& method, double density, const std::string& storage) {
  const auto numbers =
      numbers_of(start_child("methods", fmt::format("{} {} {}", method, density, storage)));
  return {numbers.at(0), numbers.at(1)};
}

std::string cell(const Cost& cost, const Cost& dense) {
  return fmt::format("{:>7.2f} {:>6.2f} {:>6.1f}", cost.seconds, cost.seconds / dense.seconds,
                     cost.bytes / 1e6);
}

}  // namespace

void bench_methods() {
  if (const auto words = work_of_child(); !words.empty()) {
    work(words.at(0), words.at(1), words.at(2));
    return;
  }
  print(fmt::format(
      "{}, kernels for {}\n784-400-400-10, batch 128, momentum SGD, ER budget, float32, one "
      "thread; "
      "whole runs of {} steps, an update in {} where a method has drop and grow, else its own "
      "interval\n"
      "s: per 1,000 steps; x: of dense training; MB: the most, above a small network's\n",
      processor_name(), kernels::spmm_target(), kSteps, kBenchInterval));
  const Cost dense = measure("dense", 1, "masked");
  print(fmt::format("{:<15} {:>21}   {:>21}   {:>21}   {:>21}\n", "", "masked 90%", "sparse 90%",
                    "masked 99%", "sparse 99%"));
  std::string head;
  for (int i = 0; i < 4; ++i) head += fmt::format("{:>7} {:>6} {:>6}   ", "s", "x", "MB");
  print(fmt::format("{:<15} {}\n{:<15} {}\n", "method", trim(head), "dense", cell(dense, dense)));
  for (const auto& [method, factory] : weights_methods().all()) {
    if (method == "dense") continue;
    const bool sparse = has_sparse_storage(method);
    std::string row = fmt::format("{:<15} ", method);
    for (const double density : kDensities) {
      row += cell(measure(method, density, "masked"), dense) + "   ";
      row +=
          (sparse ? cell(measure(method, density, "sparse"), dense) : fmt::format("{:>21}", "-"));
      row += "   ";
    }
    while (row.back() == ' ') row.pop_back();
    print(row + "\n");
  }
}

}  // namespace tandem
