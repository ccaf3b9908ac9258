// `tandem bench sparse`: whole training steps of the engine with sparse connections, next to the
// engine's masked and dense steps and to a plain dense LibTorch step in the same run; two workers
// against one; and time and memory as layers grow wider at a fixed fan-in.
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "bench/bench.h"
#include "bench/bench_child.h"
#include "bench/bench_run.h"
#include "core/text.h"
#include "jobs/provenance.h"
#include "jobs/storage_choice.h"
#include "kernels/spmm/spmm.h"

namespace tandem {
namespace {

const std::vector<std::int64_t> kWidths = {784, 1000, 1000, 10};
constexpr double kSparsities[] = {0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999};
constexpr double kFanIn = 16;
constexpr std::int64_t kWideBatch = 16;

using Clock = std::chrono::steady_clock;

void print(const std::string& text) {
  fmt::print("{}", text);
  std::fflush(stdout);
}

Config config_of(const std::string& method, double density, const std::string& storage,
                 const std::string& widths = "1000,1000", std::int64_t batch = 128) {
  Settings settings = {{"weights", method},
                       {"widths", widths},
                       {"batch", std::to_string(batch)},
                       {"density", fmt::format("{:.17g}", density)},
                       {"storage", storage},
                       {"steps", "1000000"},
                       {"lr", "0.01"},
                       {"curve", "false"}};
  if (method == "set") {  // an update in as many steps as an epoch has
    settings["update_interval"] = "469";
    settings["update_interval_epochs"] = "0";
  }
  return Config::resolve(settings);
}

BenchSide side_of(const std::shared_ptr<EngineRun>& engine, std::int64_t steps) {
  return {[engine](std::int64_t count) { return engine->run(count); },
          std::max<std::int64_t>(3, steps / 4), steps};
}

// Steps that take about a tenth of a second.
std::int64_t steps_for(EngineRun& engine) {
  engine.run(5);
  const auto begin = Clock::now();
  engine.run(5);
  const std::chrono::duration<double> each = (Clock::now() - begin) / 5;
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(0.1 / each.count()), 5, 400);
}

// The same engine with the kernels of another instruction set; LibTorch's stay the best ones.
BenchSide on_target(BenchSide side, const std::string& target) {
  side.run = [run = side.run, target](std::int64_t steps) {
    kernels::spmm_use_target(target);
    const std::int64_t updates = run(steps);
    kernels::spmm_use_target("");
    return updates;
  };
  return side;
}

// Measured beside the best instruction set, where the machine has a better one.
constexpr char kCommonTarget[] = "AVX2";

void measure_speed(BreakEven& measured) {
  const std::vector<std::string> targets = kernels::spmm_targets();
  const bool common = targets.front() != kCommonTarget &&
                      std::count(targets.begin(), targets.end(), kCommonTarget) != 0;
  print(fmt::format(
      "784-1000-1000-10, batch 128, momentum SGD, ER budget, float32, one thread; ms per step, "
      "medians of 9 rounds in turns\n"
      "plain: dense, as an eager LibTorch loop; dense, masked, sparse, auto: the engine; "
      "rigl takes an update in 100 steps, set one in 469\n"
      "{0}: sparse, our kernels compiled for {0} alone, LibTorch's for {1} as in the other "
      "columns\n"
      "{2:<7} {3:>8} {4:>8} {5:>8} {6:>8} {7:>8} {8:>8} {0:>8}  {9:>12} {10:>13} {11:>10} {12}\n",
      kCommonTarget, targets.front(), "method", "sparsity", "plain", "dense", "masked", "sparse",
      "auto", "dense/sparse", "masked/sparse", fmt::format("dense/{}", kCommonTarget), "auto is"));
  for (const std::string method : {"set", "rigl"}) {
    for (const double sparsity : kSparsities) {
      auto plain = std::make_shared<PlainMlp>("dense", kWidths, 128, 10);
      const Config automatic = config_of(method, 1 - sparsity, "auto");
      TrainerOptions chosen;
      chosen.storage = choose_storage(automatic, "cpu", measured);
      const std::vector<std::shared_ptr<EngineRun>> engines = {
          std::make_shared<EngineRun>(std::vector{config_of("dense", 1, "auto")}),
          std::make_shared<EngineRun>(std::vector{config_of(method, 1 - sparsity, "masked")}),
          std::make_shared<EngineRun>(std::vector{config_of(method, 1 - sparsity, "sparse")}),
          std::make_shared<EngineRun>(std::vector{automatic}, chosen)};
      std::vector<BenchSide> sides = {{[plain](std::int64_t steps) {
                                         for (std::int64_t i = 0; i < steps; ++i) plain->step();
                                         return std::int64_t{0};
                                       },
                                       3, 6}};
      for (const auto& engine : engines) {
        const std::int64_t steps = steps_for(*engine);
        sides.push_back(side_of(
            engine, method == "rigl" && engine != engines.front() ? kBenchInterval : steps));
      }
      if (common) sides.push_back(on_target(sides[3], kCommonTarget));
      const std::vector<double> seconds = paired_medians(sides, method == "rigl" ? 3 : 9);
      const double dense = std::min(seconds[0], seconds[1]);
      const double sparse = std::min(seconds[3], seconds[4]);
      print(fmt::format(
          "{:<7} {:>7}% {:>8.3f} {:>8.3f} {:>8.3f} {:>8.3f} {:>8.3f} {:>8}  {:>12.1f} {:>13.1f} "
          "{:>10} {}\n",
          method, fmt::format("{:g}", sparsity * 100), seconds[0] * 1e3, seconds[1] * 1e3,
          seconds[2] * 1e3, seconds[3] * 1e3, seconds[4] * 1e3,
          common ? fmt::format("{:.3f}", seconds[5] * 1e3) : "-", dense / sparse,
          seconds[2] / sparse, common ? fmt::format("{:.1f}", dense / seconds[5]) : "-",
          chosen.storage.empty() ? "masked" : storages_text(chosen.storage)));
    }
  }
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void measure_workers() {
  print(
      "\ntwo worker processes on two cores, set at 99% and 90% with sparse connections, steps/s\n"
      "sparsity      one      two    ratio\n");
  for (const double sparsity : {0.9, 0.99}) {
    const auto steps_per_second = [&](int workers) {
      const double begin = wall_seconds() + 5;
      std::vector<BenchChild> children;
      for (int w = 0; w < workers; ++w) {
        children.push_back(start_child("sparse", fmt::format("worker {} {:.3f}", sparsity, begin)));
      }
      double sum = 0;
      for (const BenchChild& child : children) sum += numbers_of(child).front();
      return sum;
    };
    std::vector<double> one, two;
    for (int round = 0; round < 3; ++round) {
      one.push_back(steps_per_second(1));
      two.push_back(steps_per_second(2));
    }
    std::sort(one.begin(), one.end());
    std::sort(two.begin(), two.end());
    print(fmt::format("{:>7}% {:>8.0f} {:>8.0f} {:>8.2f}\n", sparsity * 100, one[1], two[1],
                      two[1] / one[1]));
  }
}

// From an agreed moment on, for four seconds.
void work_as_worker(double sparsity, double begin) {
  EngineRun engine({config_of("set", 1 - sparsity, "sparse")});
  engine.run(50);
  std::this_thread::sleep_for(std::chrono::duration<double>(begin - wall_seconds()));
  std::int64_t steps = 0;
  const auto started = Clock::now();
  std::chrono::duration<double> elapsed{};
  while (elapsed.count() < 4) {
    engine.run(10);
    steps += 10;
    elapsed = Clock::now() - started;
  }
  fmt::print("{}\n", static_cast<double>(steps) / elapsed.count());
}

// ER: n = eps (in + out) connections, so that a hidden layer as wide as its inputs has a mean
// fan-in of 2 eps.
double density_at_width(std::int64_t width) {
  const double eps = kFanIn / 2, w = static_cast<double>(width);
  const double connections = eps * ((784 + w) + 2 * (w + w)) + std::min(10 * w, eps * (w + 10));
  return connections / (784 * w + 2 * w * w + 10 * w);
}

void work_at_width(std::int64_t width) {
  const auto runs = [](std::int64_t w, double density) {
    const std::string widths = fmt::format("{0},{0},{0}", w);
    return std::vector{config_of("set", density, "sparse", widths, kWideBatch)};
  };
  {
    EngineRun small(runs(64, 0.5));  // data, libraries and allocator are there from here on
    small.run(20);
  }
  malloc_trim(0);  // what the start needed goes back, so that it can't hide what comes
  const double before = memory_now("VmRSS:");
  forget_peak();
  EngineRun engine(runs(width, density_at_width(width)));
  const double started = memory_now("VmHWM:") - before;
  malloc_trim(0);
  forget_peak();
  engine.run(3);
  std::vector<double> rounds;
  for (int round = 0; round < 5; ++round) {
    const auto begin = Clock::now();
    engine.run(10);
    rounds.push_back(std::chrono::duration<double>(Clock::now() - begin).count() / 10);
  }
  std::sort(rounds.begin(), rounds.end());
  const double training = memory_now("VmHWM:") - before;
  double connections = 0, needed = 0;
  for (Parameter* parameter : engine.trainer().model().parameters()) {
    const auto count = static_cast<double>(parameter->flat().numel());
    const double bytes = static_cast<double>(parameter->value.element_size()) *
                         (1 + static_cast<double>(parameter->slots.size()));
    needed += count * bytes;
    if (parameter->connections == nullptr) continue;
    connections += count;
    needed += count * (2 * sizeof(std::uint16_t) + sizeof(std::uint32_t));
  }
  const double activations =
      static_cast<double>(kWideBatch) * 4 * (784 + 3.0 * static_cast<double>(width) + 10);
  fmt::print("{} {} {} {} {} {}\n", rounds[2], connections, needed, activations, started, training);
}

void measure_width() {
  print(fmt::format(
      "\n784 inputs, three hidden layers of equal width, mean fan-in {} (ER), batch {}, set, "
      "sparse;\nMB above a small network's. needed: values, momentum and indices; outputs: of all "
      "layers, once;\nstart, steps: the most while connections are drawn and while steps are "
      "taken\n{:>7} {:>12} {:>8} {:>12} {:>8} {:>8} {:>7} {:>7} {:>12} {:>20}\n",
      kFanIn, kWideBatch, "width", "connections", "ms/step", "us per unit", "needed", "outputs",
      "start", "steps", "steps/needed", "steps/(needed+outputs)"));
  for (const std::int64_t width : {1024, 2048, 4096, 8192, 16384, 32768, 65536}) {
    const auto numbers = numbers_of(start_child("sparse", fmt::format("width {}", width)));
    const double needed = numbers[2] / 1e6, outputs = numbers[3] / 1e6, steps = numbers[5] / 1e6;
    print(fmt::format(
        "{:>7} {:>12.0f} {:>8.3f} {:>12.3f} {:>8.2f} {:>8.2f} {:>7.2f} {:>7.2f} {:>12.2f} "
        "{:>20.2f}\n",
        width, numbers[1], numbers[0] * 1e3, numbers[0] * 1e6 / static_cast<double>(width), needed,
        outputs, numbers[4] / 1e6, steps, steps / needed, steps / (needed + outputs)));
  }
}

// The work runs in a process of its own, so that memory and cores are its own.
bool worked_as_child() {
  const std::vector<std::string> words = work_of_child();
  if (words.empty()) return false;
  if (words.front() == "worker") {
    work_as_worker(*parse_real(words.at(1)), *parse_real(words.at(2)));
  } else {
    work_at_width(*parse_integer(words.at(1)));
  }
  return true;
}

}  // namespace

void bench_sparse() {
  if (worked_as_child()) return;
  print(fmt::format("{}, kernels for {}\n", processor_name(), kernels::spmm_target()));
  BreakEven measured;
  measure_speed(measured);
  print(
      "\nbreak-even of `auto`: the density below which a layer's step is faster sparse, measured "
      "here\n");
  for (const auto& [shape, density] : measured.remembered()) {
    print(fmt::format("{:<40} {:.3f}\n", shape, density));
  }
  measure_workers();
  measure_width();
}

}  // namespace tandem
