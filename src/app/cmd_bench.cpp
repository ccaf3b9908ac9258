// `tandem bench NAME`: the measurements behind every claim of speed, as ratios within one run.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "app/bench.h"
#include "app/command.h"
#include "config/command_line.h"
#include "core/text.h"
#include "train/device.h"
#include "train/worker_protocol.h"

namespace tandem {
namespace {

const Option kOnly = {.name = "only",
                      .type = OptionType::kChoice,
                      .default_value = "all",
                      .neutral = "all",
                      .help = "bench engine: this model alone",
                      .choices = {"all", "mlp", "bytes"}};
const Option kReplicas = {.name = "replicas",
                          .type = OptionType::kIntList,
                          .default_value = "",
                          .neutral = "",
                          .help =
                              "bench engine: group sizes; without it 1,4,16,64,256 (the byte "
                              "model on a CPU only to 64), and 1024 on a GPU",
                          .minimum = 1};

// Benchmarks run in a worker's environment, which must be there before the first tensor.
void enter_worker_environment(const Arguments& args) {
  if (std::getenv("TANDEM_BENCH") != nullptr) return;
  setenv("TANDEM_BENCH", "1", 1);
  for (const auto& [name, value] : worker_environment()) setenv(name.c_str(), value.c_str(), 1);
  std::vector<std::string> words = {"tandem", "bench"};
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  execv("/proc/self/exe", pointers.data());
  throw DeviceError("the benchmark could not restart itself in a worker's environment");
}

// The yardsticks' work is fixed, so that only how the program executes can be said.
EngineBench engine_bench(const ParsedArguments& parsed) {
  for (const auto& [name, text] : parsed.settings) {
    if (option(name).scope == OptionScope::kProgram) continue;
    throw ConfigError("bench engine measures fixed work and can't take --" + name +
                      "; it takes --only, --replicas, --device and --data-dir");
  }
  EngineBench asked;
  const std::string only = extra_value(parsed, kOnly);
  if (only != "all") asked.models = {only};
  for (const std::string& size : split(extra_value(parsed, kReplicas), ',')) {
    if (!size.empty()) asked.replicas.push_back(*parse_integer(size));
  }
  asked.device =
      devices_of(resolve_device(Config::resolve(parsed.settings).text("device"))).front();
  asked.said = parsed.settings;
  return asked;
}

ExitCode bench(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, {kOnly, kReplicas});
  const std::vector<std::string> names = {"continual", "engine", "kernels", "methods", "sparse"};
  if (parsed.positionals.size() != 1) {
    throw ConfigError("tandem bench needs one name: " + join(names, ", "));
  }
  const std::string& name = parsed.positionals.front();
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    throw ConfigError(did_you_mean("benchmark", name, names));
  }
  if (name != "engine" && !parsed.extra.empty()) {
    throw ConfigError("--" + parsed.extra.begin()->first + " belongs to bench engine; bench " +
                      name + " has no such choice");
  }
  enter_worker_environment(args);
  at::set_num_threads(1);
  at::globalContext().setFlushDenormal(true);
  if (name == "engine") bench_engine(engine_bench(parsed));
  if (name == "continual") bench_continual(Config::resolve(parsed.settings));
  if (name == "kernels") bench_kernels();
  if (name == "methods") bench_methods();
  if (name == "sparse") bench_sparse();
  return kExitDone;
}

const bool registered = declare_command(
    {.name = "bench",
     .summary = "measure the engine against plain LibTorch loops",
     .usage = "bench engine [--only MODEL] [--replicas LIST] [--device DEVICE] [--data-dir DIR]\n"
              "bench continual [--data-dir DIR]\nbench kernels\nbench methods\nbench sparse",
     .text =
         "engine: model-steps per second of an MLP and of the byte model of "
         "experiments/tandem.ini for growing groups, next to a plain LibTorch loop of the same "
         "work in the same run; the MLP needs Fashion-MNIST.\ncontinual: seconds per run of "
         "the DER Split MNIST protocol, alone and in a group of eight; needs MNIST.\nkernels: the "
         "products of a sparse layer beside dense LibTorch, its CSR and Eigen, with the break-even "
         "density, and selection beside one read of the scores.\nmethods: seconds per 1,000 steps "
         "and peak memory of every weights method in both storages; needs Fashion-MNIST.\nsparse: "
         "whole "
         "training steps with sparse connections beside masked and dense ones, two workers "
         "against one, and time and memory of wide layers; needs Fashion-MNIST.",
     .options = {kOnly, kReplicas},
     .takes_config = false,
     .run = bench});

}  // namespace
}  // namespace tandem
