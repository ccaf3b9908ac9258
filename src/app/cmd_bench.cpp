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
#include "train/worker_protocol.h"

namespace tandem {
namespace {

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

ExitCode bench(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args);
  const std::vector<std::string> names = {"continual", "engine"};
  if (parsed.positionals.size() != 1) {
    throw ConfigError("tandem bench needs one name: " + join(names, ", "));
  }
  const std::string& name = parsed.positionals.front();
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    throw ConfigError(did_you_mean("benchmark", name, names));
  }
  enter_worker_environment(args);
  at::set_num_threads(1);
  at::globalContext().setFlushDenormal(true);
  name == "engine" ? bench_engine() : bench_continual(Config::resolve(parsed.settings));
  return kExitDone;
}

const bool registered = declare_command(
    {.name = "bench",
     .summary = "measure the engine against plain LibTorch loops",
     .usage = "bench engine\nbench continual [--data-dir DIR]",
     .text = "engine: seconds per model-step for growing groups, next to a plain LibTorch loop in "
             "the same run.\ncontinual: seconds per run of the DER Split MNIST protocol, alone and "
             "in a group of eight; needs MNIST.",
     .options = {},
     .takes_config = false,
     .run = bench});

}  // namespace
}  // namespace tandem
