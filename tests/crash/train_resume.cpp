// Stopped at any step and resumed, a run ends with the same rows and the same weights as if it had
// never been disturbed.
#include <catch2/catch.hpp>
#include <random>

#include "core/files.h"
#include "core/hash.h"
#include "data/tensor.h"
#include "methods/method.h"
#include "support/train_support.h"
#include "train/checkpoint.h"

using namespace tandem;
using namespace tandem::test;

namespace {

struct Outcome {
  std::map<std::pair<std::string, std::int64_t>, std::string> rows;
  std::string weights;  // names and SHA-256 of the final tensors
};

Outcome run_disturbed(const std::vector<Config>& runs, std::int64_t stop_every) {
  TemporaryFolder folder("tandem-resume");
  GroupSpec spec;
  spec.runs = runs;
  spec.checkpoint_folder = folder / "group";
  spec.stop_after_steps = stop_every;
  MemorySink sink;
  int rounds = 0;
  while (run_group(spec, sink) == GroupEnd::kStopped) REQUIRE(++rounds < 200);
  if (stop_every > 0) REQUIRE(rounds > 0);
  Outcome outcome{sink.results(), ""};
  for (const Config& run : runs) {
    const auto saved = load_checkpoint(folder / ("final/" + run.id()));
    REQUIRE(saved);
    for (const auto& [name, tensor] : saved->tensors) {
      outcome.weights +=
          name + sha256({static_cast<const char*>(tensor.data_ptr()), tensor.nbytes()});
    }
  }
  return outcome;
}

void require_resumable(const std::vector<Config>& runs, std::int64_t stop_every) {
  const Outcome calm = run_disturbed(runs, 0);
  const Outcome disturbed = run_disturbed(runs, stop_every);
  REQUIRE(calm.rows.size() == disturbed.rows.size());
  for (const auto& [key, line] : calm.rows) {
    CAPTURE(key.second);
    REQUIRE(disturbed.rows.at(key) == line);
  }
  REQUIRE(calm.weights == disturbed.weights);
}

std::vector<Config> pair_of(const Settings& said) {
  Settings other = said;
  other["seed"] = "2";
  return {small_run(said), small_run(other)};
}

}  // namespace

TEST_CASE("a stopped run resumes to the same bits", "[crash]") {
  // One representative of each policy kind: growth with a gradient, random growth with drawn
  // values, a budget schedule, random streams with alignment, two passes.
  const unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 generator(seed);
  for (const std::string name : {"rigl", "set", "gmp", "ssa", "sandwich"}) {
    const auto stop = static_cast<std::int64_t>(3 + generator() % 20);
    CAPTURE(name, stop);
    require_resumable(
        pair_of({{"weights", name},
                 {"eval_every", "1"},
                 {name == "rigl" ? "update_interval" : "lr", name == "rigl" ? "4" : "0.05"}}),
        stop);
  }
}

TEST_CASE("a stopped task sequence resumes to the same bits", "[crash]") {
  require_resumable(pair_of({{"scenario", "class_il"},
                             {"strategy", "er"},
                             {"buffer", "30"},
                             {"replay_batch", "8"},
                             {"batch", "8"},
                             {"epochs", "1"},
                             {"weights", "set"}}),
                    7);
}

TEST_CASE("every method resumes to the same bits with both optimizers", "[slow]") {
  for (const auto& [name, factory] : weights_methods().all()) {
    for (const std::string optimizer : {"sgd", "adamw"}) {
      CAPTURE(name, optimizer);
      require_resumable(pair_of({{"weights", name}, {"optimizer", optimizer}, {"lr", "0.01"}}), 11);
    }
  }
}
