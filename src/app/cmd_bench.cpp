// `tandem bench NAME`. The benchmarks are a program of their own, tandem_bench beside this one, so
// that nobody waits for them to be built who doesn't measure. Both know the command; only that
// program can run it, and this one starts that one.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "app/bench_command.h"
#include "app/command.h"
#include "config/part.h"

namespace tandem {

BenchRunner& bench_runner() {
  static BenchRunner runner;
  return runner;
}

std::vector<Option> bench_options() {
  return {bench_only_option(), bench_replicas_option(), bench_runs_option()};
}

Option bench_only_option() {
  return {.name = "only",
          .type = OptionType::kChoice,
          .default_value = "all",
          .neutral = "all",
          .help = "bench engine: this model alone",
          .choices = {"all", "mlp", "bytes"}};
}

Option bench_replicas_option() {
  return {.name = "replicas",
          .type = OptionType::kIntList,
          .default_value = "",
          .neutral = "",
          .help =
              "bench engine: group sizes; without it 1,4,16,64,256 (the byte model on a CPU only "
              "to 64), and 1024 on a GPU. bench continual on a GPU: runs of a grid; without it "
              "64,256,1024",
          .minimum = 1};
}

Option bench_runs_option() {
  return {.name = "runs",
          .type = OptionType::kInt,
          .default_value = "100000",
          .neutral = "100000",
          .help = "bench store: runs of the largest database",
          .minimum = 1000};
}

namespace {

ExitCode run_bench(const Arguments& args) {
  if (bench_runner()) return bench_runner()(args);
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string program = (self.parent_path() / "tandem_bench").string();
  if (!std::filesystem::exists(program, error)) {
    throw ConfigError("the benchmarks are a program of their own, and " + program +
                      " is not there: ./tandem bench builds it (or ./tandem build tandem_bench)");
  }
  std::vector<std::string> words = {program, "bench"};
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  execv(program.c_str(), pointers.data());
  throw DeviceError(program + " could not be started: " + std::strerror(errno));
}

TANDEM_REGISTERED = declare_command(
    {.name = "bench",
     .summary = "measure the engine against plain LibTorch loops",
     .usage = "bench engine [--only MODEL] [--replicas LIST] [--device DEVICE] [--data-dir DIR]\n"
              "bench attention\nbench continual [--data-dir DIR]\nbench kernels\nbench "
              "methods\nbench sparse\nbench "
              "store "
              "[--db PATH] [--runs N]",
     .text =
         "engine: model-steps per second of an MLP and of the byte model of "
         "experiments/tandem.ini for growing groups, next to a plain LibTorch loop of the same "
         "work in the same run; the MLP needs Fashion-MNIST.\nattention: attention over chosen "
         "blocks, its backward pass and the choice for 256 to 32,768 tokens, beside full "
         "attention, "
         "LibTorch's and the engine's, with peak memory.\ncontinual: seconds per run of "
         "the DER Split MNIST protocol by strategy, alone and in a group of eight; needs "
         "MNIST.\nkernels: the "
         "products of a sparse layer beside dense LibTorch, its CSR and Eigen, with the break-even "
         "density, and selection beside one read of the scores.\nmethods: seconds per 1,000 steps "
         "and peak memory of every weights method in both storages; needs Fashion-MNIST.\nsparse: "
         "whole "
         "training steps with sparse connections beside masked and dense ones, two workers "
         "against one, and time and memory of wide layers; needs Fashion-MNIST.\nstore: time and "
         "memory of queries, tables and plans on databases of 1,000 to 100,000 runs (--runs), "
         "copies of those that the database has.",
     .options = bench_options(),
     .takes_config = false,
     .run = run_bench});

}  // namespace
}  // namespace tandem
