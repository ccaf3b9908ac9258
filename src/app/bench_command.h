// What `tandem bench` and the program that runs the benchmarks share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/option.h"
#include "core/error.h"

namespace tandem {

std::vector<Option> bench_options();  // those that follow
Option bench_only_option();
Option bench_replicas_option();
Option bench_runs_option();

using BenchRunner = std::function<ExitCode(const std::vector<std::string>& args)>;
// Empty but in tandem_bench, where src/bench fills it before main() begins.
BenchRunner& bench_runner();

}  // namespace tandem
