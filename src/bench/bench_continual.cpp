// `tandem bench continual`: seconds per run of the DER Split MNIST protocol (Buzzega et al. 2020),
// by strategy. On a CPU alone and in a group of eight, on one core, beside a plain LibTorch loop of
// as many steps and rows; on a GPU whole grids of 64, 256 and 1,024 runs, by one worker and by
// several, with everything from the start of the program to the stored results.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>

#include "bench/bench.h"
#include "bench/bench_child.h"
#include "config/grid.h"
#include "config/part.h"
#include "core/error.h"
#include "core/files.h"
#include "core/text.h"
#include "cuda/plugin.h"
#include "jobs/device.h"
#include "jobs/provenance.h"
#include "jobs/run_group.h"

namespace tandem {
namespace {

constexpr std::int64_t kBuffer = 500;     // examples, where a strategy has one
constexpr std::int64_t kRunSteps = 6000;  // of a run: 60,000 examples in batches of ten
const std::vector<std::int64_t> kDerWidths = {784, 100, 100, 10};
// Rows of a plain loop's step, for strategies that are one: their own batch and what they replay.
const std::map<std::string, std::int64_t> kPlainRows = {
    {"finetune", 10}, {"er", 20}, {"derpp", 30}};

// Keeps nothing but whether every run came to its end: one that diverges stops early.
class EndsSink : public RowSink {
 public:
  void emit(Row row) override {
    const auto* state = std::get_if<StateRow>(&row.body);
    if (state != nullptr && state->state == "diverged") diverged = true;
  }
  std::vector<Row> unacknowledged() override { return {}; }
  void flush() override {}

  bool diverged = false;
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double seconds_of(const std::vector<Config>& runs) {
  GroupSpec spec;
  spec.runs = runs;
  EndsSink sink;
  const auto begin = std::chrono::steady_clock::now();
  run_group(spec, sink);
  if (sink.diverged) {
    throw DeviceError("strategy " + runs.front().text("strategy") +
                      " diverges at the protocol's settings, so that its time says nothing");
  }
  return seconds_since(begin) / static_cast<double>(runs.size());
}

// The steps of one run and no evaluation.
double seconds_of_plain(std::int64_t rows, at::Device device) {
  PlainMlp plain("dense", kDerWidths, rows, kDerWidths.back(), device);
  const auto wait = [device] {
    if (device.is_cuda()) cuda_api().synchronize();
  };
  for (int i = 0; i < 20; ++i) plain.step();
  wait();
  const auto begin = std::chrono::steady_clock::now();
  for (std::int64_t i = 0; i < kRunSteps; ++i) plain.step();
  wait();
  return seconds_since(begin);
}

std::string protocol_file() {
  const std::string here = "experiments/continual/der_mnist.ini";
  return std::filesystem::exists(here) ? here : TANDEM_EXPERIMENTS "/continual/der_mnist.ini";
}

std::string plain_text(double plain) { return plain > 0 ? fmt::format("{:.2f}", plain) : "-"; }
std::string times_text(double plain, double own) {
  return plain > 0 ? fmt::format("{:.1f}", plain / own) : "-";
}

double plain_of(const std::string& strategy, at::Device device) {
  const auto rows = kPlainRows.find(strategy);
  return rows == kPlainRows.end() ? 0 : seconds_of_plain(rows->second, device);
}

const std::vector<std::string> kStrategies = {
    "finetune",   "er", "er_ace", "der", "derpp", "cls_er", "agem",    "gem", "mir",
    "ewc_online", "si", "mas",    "lwf", "icarl", "hat",    "packnet", "wsn"};

const std::vector<std::string> kWholeGrids = {"finetune", "er",  "derpp",  "ewc_online",
                                              "si",       "lwf", "packnet"};

void bench_on_cpu(const Settings& settings, const std::vector<std::string>& strategies) {
  fmt::print("{:<12} {:>9} {:>14} {:>12} {:>14} {:>9} {:>12} {:>12}\n", "strategy", "s alone",
             "of finetune's", "s in eight", "of finetune's", "s plain", "times alone",
             "times eight");
  seconds_of(der_split_mnist(settings, "finetune", 1));  // loads the data
  const double first_alone = seconds_of(der_split_mnist(settings, "finetune", 1));
  const double first_group = seconds_of(der_split_mnist(settings, "finetune", 8));
  const auto print_row = [&](const std::string& name, const std::string& strategy,
                             const Settings& said) {
    const double alone = seconds_of(der_split_mnist(said, strategy, 1));
    const double group = seconds_of(der_split_mnist(said, strategy, 8));
    const double plain = plain_of(strategy, at::kCPU);
    fmt::print("{:<12} {:>9.2f} {:>14.2f} {:>12.2f} {:>14.2f} {:>9} {:>12} {:>12}\n", name, alone,
               alone / first_alone, group, group / first_group, plain_text(plain),
               times_text(plain, alone), times_text(plain, group));
    std::fflush(stdout);
  };
  bool without = false;
  for (const std::string& strategy : strategies) {
    print_row(strategy, strategy, settings);
    const std::vector<std::string>& uses = part("strategy", strategy).uses;
    const bool takes_importances =
        std::find(uses.begin(), uses.end(), "fisher_examples") != uses.end();
    if (!takes_importances || settings.contains("fisher_examples")) continue;
    // What its steps cost, without what it takes at each task's end.
    Settings one = settings;
    one["fisher_examples"] = "1";
    // Those of one example are far larger than a mean's, and at the protocol's strength diverge.
    if (!one.contains("stability")) one["stability"] = "1e-6";
    print_row(strategy + " *", strategy, one);
    without = true;
  }
  if (without) fmt::print("* importances of one example: what the steps cost alone\n");
}

// Whole grids, as a user runs them.
void bench_on_gpu(const Settings& settings, const std::string& device,
                  const std::vector<std::string>& strategies,
                  const std::vector<std::int64_t>& replicas) {
  std::vector<std::int64_t> workers = {1, 4};
  for (const auto& [name, value] : settings) {
    if (name == "data_dir") continue;
    if (name == "jobs") {
      workers = {*parse_integer(value)};
      continue;
    }
    throw ConfigError("bench continual measures whole grids on a GPU and can't take --" + name +
                      "; it takes --strategy, --replicas, --jobs, --device and --data-dir");
  }
  std::vector<std::pair<std::int64_t, std::int64_t>> sizes;
  for (const std::int64_t runs :
       replicas.empty() ? std::vector<std::int64_t>{64, 256, 1024} : replicas) {
    for (const std::int64_t jobs : workers) sizes.emplace_back(runs, jobs);
  }
  std::string head = fmt::format("{:<11} {:>9}", "strategy", "s plain");
  for (const auto& [runs, jobs] : sizes)
    head += fmt::format(" {:>10}", fmt::format("{}/{}", runs, jobs));
  fmt::print("seconds of a grid of so many runs / by so many workers; plain: of one run\n{}\n",
             head);
  for (const std::string& strategy : strategies) {
    const Config one = der_split_mnist(settings, strategy, 1).front();
    fmt::print("{:<11} {:>9}", strategy, plain_text(plain_of(strategy, at::Device(device))));
    for (const auto& [runs, jobs] : sizes) {
      const TemporaryFolder folder;
      std::vector<std::string> words = {"grid",
                                        "run",
                                        protocol_file(),
                                        "--strategy=" + strategy,
                                        fmt::format("--seed=1..{}", runs),
                                        "--device=cuda",
                                        fmt::format("--jobs={}", jobs),
                                        "--db",
                                        folder / "r.sqlite"};
      if (one.integer("buffer") > 0) words.push_back(fmt::format("--buffer={}", kBuffer));
      for (const auto& [name, value] : settings) {
        if (name == "data_dir") words.push_back("--data-dir=" + value);
      }
      fmt::print(" {:>10.1f}", cost_of_program(words).seconds);
      std::fflush(stdout);
    }
    fmt::print("\n");
  }
}

}  // namespace

std::vector<Config> der_split_mnist(const Settings& said, const std::string& strategy,
                                    std::int64_t seeds, std::int64_t buffer) {
  Settings overrides = said;
  // At the default of 1 it diverges; the protocol has none of its own.
  if (strategy == "mas" && !said.contains("stability")) overrides["stability"] = "0.01";
  overrides["seed"] = seeds == 1 ? "1" : fmt::format("1..{}", seeds);
  overrides["strategy"] = strategy;
  std::vector<Config> runs;
  for (const Config& run : read_grid(protocol_file(), overrides).runs) {
    const std::int64_t own = run.integer("buffer");
    if (own == 0 || own == buffer) runs.push_back(run);
  }
  return runs;
}

void bench_continual(const Config& said, const std::vector<std::int64_t>& replicas) {
  Settings settings = said.given();
  settings.erase("strategy");
  const std::string device = devices_of(resolve_device(said.text("device"))).front();
  fmt::print(
      "{}\nDER Split MNIST, class-incremental, MLP 784-100-100-10, batch 10, 1 epoch, buffer 500\n",
      is_gpu(device) ? cuda_api().device_text(0) + ", " + processor_name()
                     : processor_name() + ", one core");
  const auto wanted = [&said](const std::vector<std::string>& all) {
    return said.was_given("strategy") ? std::vector<std::string>{said.text("strategy")} : all;
  };
  if (!is_gpu(device)) {
    if (!replicas.empty()) {
      throw ConfigError(
          "bench continual measures runs alone and in eight on a CPU: --replicas is of a GPU");
    }
    return bench_on_cpu(settings, wanted(kStrategies));
  }
  settings.erase("device");
  bench_on_gpu(settings, device, wanted(kWholeGrids), replicas);
}

}  // namespace tandem
