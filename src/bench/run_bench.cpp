// `tandem bench NAME` in the program tandem_bench: the measurements behind every claim of speed, as
// ratios within one run.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "app/bench_command.h"
#include "app/command.h"
#include "app/execute.h"
#include "bench/bench.h"
#include "config/command_line.h"
#include "core/text.h"
#include "jobs/device.h"
#include "jobs/worker_protocol.h"

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

// Empty: as many as the benchmark has by itself.
std::vector<std::int64_t> replicas_of(const ParsedArguments& parsed) {
  std::vector<std::int64_t> sizes;
  for (const std::string& size : split(extra_value(parsed, bench_replicas_option()), ',')) {
    if (!size.empty()) sizes.push_back(*parse_integer(size));
  }
  return sizes;
}

// The yardsticks' work is fixed, so that only how the program executes can be said.
EngineBench engine_bench(const ParsedArguments& parsed) {
  for (const auto& [name, text] : parsed.settings) {
    if (option(name).scope == OptionScope::kProgram) continue;
    throw ConfigError("bench engine measures fixed work and can't take --" + name +
                      "; it takes --only, --replicas, --device and --data-dir");
  }
  EngineBench asked;
  const std::string only = extra_value(parsed, bench_only_option());
  if (only != "all") asked.models = {only};
  asked.replicas = replicas_of(parsed);
  asked.device =
      devices_of(resolve_device(Config::resolve(parsed.settings).text("device"))).front();
  asked.said = parsed.settings;
  return asked;
}

// On a GPU where that is asked for.
void bench_attention_on(const Settings& settings) {
  const bool said = settings.find("device") != settings.end();
  const std::string device =
      said ? devices_of(resolve_device(Config::resolve(settings).text("device"))).front() : "cpu";
  if (is_gpu(device)) {
    bench_attention_cuda();
  } else {
    bench_attention();
  }
}

ExitCode bench(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, bench_options());
  const std::vector<std::string> names = {"attention", "continual", "engine", "kernels",
                                          "methods",   "sparse",    "store"};
  if (parsed.positionals.size() != 1) {
    throw ConfigError("tandem bench needs one name: " + join(names, ", "));
  }
  const std::string& name = parsed.positionals.front();
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    throw ConfigError(did_you_mean("benchmark", name, names));
  }
  for (const auto& [option, value] : parsed.extra) {
    const std::string owner = option == bench_runs_option().name ? "store" : "engine";
    if (name == owner) continue;
    if (name == "continual" && option == bench_replicas_option().name) continue;
    throw ConfigError("--" + option + " belongs to bench " + owner + "; bench " + name +
                      " has no such choice");
  }
  enter_worker_environment(args);
  at::set_num_threads(1);
  at::globalContext().setFlushDenormal(true);
  if (name == "attention") bench_attention_on(parsed.settings);
  if (name == "engine") bench_engine(engine_bench(parsed));
  if (name == "continual") {
    bench_continual(Config::resolve(parsed.settings), replicas_of(parsed));
  }
  if (name == "kernels") bench_kernels();
  if (name == "methods") bench_methods();
  if (name == "sparse") bench_sparse();
  if (name == "store") {
    bench_store(database_of(parsed.settings),
                *parse_integer(extra_value(parsed, bench_runs_option())));
  }
  return kExitDone;
}

TANDEM_REGISTERED = [] {
  bench_runner() = bench;
  return true;
}();

}  // namespace
}  // namespace tandem
