// A group stopped again and again and resumed from its checkpoints, against one left alone.
#pragma once

#include <catch2/catch.hpp>

#include "core/files.h"
#include "core/hash.h"
#include "data/tensor.h"
#include "jobs/checkpoint.h"
#include "support/train_support.h"

namespace tandem::test {

struct Outcome {
  std::map<std::pair<std::string, std::int64_t>, std::string> rows;
  std::string weights;  // names and SHA-256 of the final tensors
};

// `ends_diverged`: runs that do have no final weights.
inline Outcome run_disturbed(const std::vector<Config>& runs, std::int64_t stop_every,
                             const std::string& device = "cpu", bool ends_diverged = false) {
  TemporaryFolder folder("tandem-resume");
  GroupSpec spec;
  spec.runs = runs;
  spec.device = device;
  spec.checkpoint_folder = folder / "group";
  spec.stop_after_steps = stop_every;
  MemorySink sink;
  int rounds = 0;
  while (run_group(spec, sink) == GroupEnd::kStopped) REQUIRE(++rounds < 200);
  if (stop_every > 0 && !ends_diverged) REQUIRE(rounds > 0);
  Outcome outcome{sink.results(), ""};
  for (const Config& run : runs) {
    const auto saved = load_checkpoint(folder / ("final/" + run.id()));
    if (ends_diverged && !saved) continue;
    REQUIRE(saved);
    for (const auto& [name, tensor] : saved->tensors) {
      outcome.weights +=
          name + sha256({static_cast<const char*>(tensor.data_ptr()), tensor.nbytes()});
    }
  }
  return outcome;
}

inline void require_resumable(const std::vector<Config>& runs, std::int64_t stop_every,
                              const std::string& device = "cpu") {
  const Outcome calm = run_disturbed(runs, 0, device);
  const Outcome disturbed = run_disturbed(runs, stop_every, device);
  REQUIRE(calm.rows.size() == disturbed.rows.size());
  for (const auto& [key, line] : calm.rows) {
    CAPTURE(key.second);
    REQUIRE(disturbed.rows.at(key) == line);
  }
  REQUIRE(calm.weights == disturbed.weights);
}

inline std::vector<Config> pair_of(const Settings& said) {
  Settings other = said;
  other["seed"] = "2";
  return {small_run(said), small_run(other)};
}

}  // namespace tandem::test
