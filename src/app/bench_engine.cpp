// `tandem bench engine`: seconds per model-step of the engine for growing groups, next to a plain
// LibTorch loop of the same work in the same run.
#include <fmt/format.h>

#include "app/bench.h"
#include "data/tensor.h"
#include "train/group.h"
#include "train/trainer.h"

namespace tandem {
namespace {

std::vector<Config> group_of(const std::string& method, std::int64_t replicas) {
  std::vector<Config> runs;
  for (std::int64_t r = 0; r < replicas; ++r) {
    Settings said = {{"weights", method},
                     {"widths", "400,400"},
                     {"batch", "128"},
                     {"steps", "1000000"},
                     {"density", "0.1"},
                     {"lr", "0.01"},
                     {"seed", std::to_string(r + 1)},
                     {"curve", "false"}};
    runs.push_back(Config::resolve(said));
  }
  return runs;
}

class EngineStep {
 public:
  EngineStep(const std::string& method, std::int64_t replicas)
      : trainer_(group_of(method, replicas), {}) {
    trainer_.begin_stage(0);
  }
  void step() { trainer_.step(0, in_stage_++); }

 private:
  Trainer trainer_;
  std::int64_t in_stage_ = 0;
};

}  // namespace

void bench_engine() {
  fmt::print("MLP 784-400-400-10, batch 128, momentum SGD, density 0.1; {} thread(s), CPU\n",
             at::get_num_threads());
  fmt::print("{:<8} {:>5} {:>14} {:>16} {:>18}\n", "method", "R", "ms/model-step", "model-steps/s",
             "engine/yardstick");
  for (const std::string method : {"dense", "rigl", "ssa"}) {
    PlainMlp plain(method, {784, 400, 400, 10}, 128, 10);
    for (const std::int64_t replicas : {1, 4, 16, 64}) {
      EngineStep engine(method, replicas);
      const std::int64_t calls = std::max<std::int64_t>(2, 100 / replicas);
      const auto medians =
          paired_medians({[&] { plain.step(); }, [&] { engine.step(); }}, calls, 7);
      const double each = medians[1] / static_cast<double>(replicas);
      if (replicas == 1) {
        fmt::print("{:<8} {:>5} {:>14.3f} {:>16.0f} {:>18}\n", method, "plain", medians[0] * 1e3,
                   1 / medians[0], "1.00");
      }
      fmt::print("{:<8} {:>5} {:>14.3f} {:>16.0f} {:>18.2f}\n", method, replicas, each * 1e3,
                 1 / each, each / medians[0]);
    }
  }
  fmt::print("group size of the planner: {}\n", group_size(group_of("dense", 1).front(), "cpu"));
}

}  // namespace tandem
