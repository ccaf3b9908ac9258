// `tandem bench engine`: seconds per model-step of the engine for growing groups, next to a plain
// LibTorch loop of the same work in the same run, on the same device.
#include <fmt/format.h>
#include <torch/cuda.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <thread>

#include "bench/bench.h"
#include "bench/bench_run.h"
#include "core/files.h"
#include "core/parallel.h"
#include "core/text.h"
#include "cuda/plugin.h"
#include "data/tensor.h"
#include "jobs/provenance.h"
#include "jobs/working_set.h"
#include "plan/group.h"

namespace tandem {
namespace {

constexpr std::int64_t kCorpusBytes = 1000000;

struct BenchCase {
  std::string model, method;
  bool tf32 = false;  // products in TF32, on both sides
  bool updates() const { return model == "mlp" && method != "dense"; }
};

// Steps of each side, so that a row takes seconds on either device.
struct Effort {
  std::int64_t first = 0;  // step of the stage that the engine begins with
  std::int64_t engine_warm_up, engine_steps, plain_warm_up, plain_steps, rounds;
};

// Rounds shorter than the interval are laid so that an update falls into the third.
Effort effort_on_cpu(const BenchCase& of, std::int64_t replicas) {
  if (of.model == "bytes") {
    const std::int64_t steps = std::max<std::int64_t>(1, 8 / replicas);
    return {.engine_warm_up = 1,
            .engine_steps = steps,
            .plain_warm_up = 1,
            .plain_steps = 4,
            .rounds = replicas < 16 ? 5 : 3};
  }
  const std::int64_t steps = std::max<std::int64_t>(2, kBenchInterval / replicas);
  return {.first = std::max<std::int64_t>(0, kBenchInterval - 4 * steps),
          .engine_warm_up = steps,
          .engine_steps = steps,
          .plain_warm_up = 10,
          .plain_steps = std::max<std::int64_t>(25, steps),
          .rounds = replicas > 64 ? 3 : 7};
}

// Each kind of step is seen twice before it is measured, updates once at least: what is captured at
// its second time is replayed from then on. Rounds with updates are whole intervals.
Effort effort_on_gpu(const BenchCase& of, std::int64_t replicas) {
  const bool large = replicas > 256;
  Effort effort{.engine_warm_up = 30,
                .engine_steps = kBenchInterval / (large ? 4 : 2),
                .plain_warm_up = 50,
                .plain_steps = of.model == "mlp" ? kBenchInterval : kBenchInterval / 2,
                .rounds = large ? 2 : 3};
  if (of.updates()) {
    effort.engine_warm_up = (large ? 1 : 2) * kBenchInterval + 20;
    effort.engine_steps = kBenchInterval;
    if (large) effort.rounds = 1;
  }
  if (replicas <= 16) effort.engine_steps = 5 * kBenchInterval;
  return effort;
}

// LibTorch's switch for TF32 products, which the engine sets as well, for a while.
class Tf32 {
 public:
  explicit Tf32(bool on) : before_(at::globalContext().allowTF32CuBLAS()) { set(on); }
  ~Tf32() { set(before_); }
  Tf32(const Tf32&) = delete;
  Tf32& operator=(const Tf32&) = delete;

 private:
  static void set(bool on) {
    if (at::globalContext().allowTF32CuBLAS() != on) at::globalContext().setAllowTF32CuBLAS(on);
  }
  bool before_;
};

std::function<std::int64_t(std::int64_t)> yardstick(const BenchCase& of, at::Device device) {
  std::function<bool()> step;
  if (of.model == "mlp") {
    const std::vector<std::int64_t> widths = {784, 400, 400, 10};
    step = [plain = std::make_shared<PlainMlp>(of.method, widths, 128, 10, device)] {
      return plain->step();
    };
  } else {
    const PlainTransformerShape shape;
    step = [plain = std::make_shared<PlainTransformer>(of.method, shape, device)] {
      plain->step();
      return false;
    };
  }
  return [step, tf32 = of.tf32](std::int64_t steps) {
    const Tf32 precision(tf32);
    std::int64_t updates = 0;
    for (std::int64_t i = 0; i < steps; ++i) updates += step() ? 1 : 0;
    return updates;
  };
}

bool is_out_of_memory(const std::string& message) {
  return message.find("out of memory") != std::string::npos ||
         message.find("ALLOC_FAILED") != std::string::npos;
}

class EngineBenchmark {
 public:
  explicit EngineBenchmark(const EngineBench& asked) : asked_(asked), device_(asked.device) {
    std::mt19937 random(1);
    std::string bytes(kCorpusBytes, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() & 255);
    atomic_write(corpus(), bytes);
  }

  void run() {
    if (device_.is_cuda()) {  // as a worker has it
      set_host_threads(static_cast<int>(std::thread::hardware_concurrency()));
    }
    print_heading();
    const std::vector<bool> precisions =
        device_.is_cuda() ? std::vector<bool>{false, true} : std::vector<bool>{false};
    for (const std::string& model : asked_.models) {
      const std::vector<std::string> methods =
          model == "mlp" ? std::vector<std::string>{"dense", "rigl", "ssa"}
                         : std::vector<std::string>{"full", "ssa"};
      for (const std::string& method : methods) {
        for (const bool tf32 : precisions) measure({model, method, tf32});
      }
    }
    for (const std::string& model : asked_.models) {
      const Config config = group_of({model, model == "mlp" ? "dense" : "full"}, 1).front();
      print(fmt::format("group size of the planner, {}: {}\n", model,
                        group_size(config, asked_.device)));
    }
  }

 private:
  std::string corpus() const { return folder_ / "random_bytes"; }

  static void print(const std::string& text) {
    fmt::print("{}", text);
    std::fflush(stdout);
  }

  std::string device_name() const {
    return device_.is_cuda() ? load_cuda_plugin().message : processor_name();
  }

  void print_heading() const {
    std::string text = fmt::format("{}: {}, {} thread(s), float32\n", asked_.device, device_name(),
                                   host_threads());
    for (const std::string& model : asked_.models) {
      text += model == "mlp"
                  ? "mlp: 784-400-400-10, batch 128, momentum SGD; rigl and ssa at density 0.1, "
                    "one topology update in 100 steps\n"
                  : "bytes: transformer, context 128, 2 layers, width 64, 4 heads on 1 key head, "
                    "batch 16, AdamW, clip 1; ssa reads 2 blocks of 8\n";
    }
    text += "plain: the same work as an eager LibTorch loop of one model, the yardstick\n";
    text += fmt::format("{:<6} {:<11} {:>5} {:>14} {:>14} {:>17} {:>17}\n", "model", "method", "R",
                        "ms/model-step", "model-steps/s", "engine/yardstick", "yardstick/engine");
    print(text);
  }

  static void print_row(const BenchCase& of, const std::string& replicas, double seconds,
                        double yardstick_seconds) {
    print(fmt::format("{:<6} {:<11} {:>5} {:>14.4f} {:>14.0f} {:>17.3f} {:>17.2f}\n", of.model,
                      of.method + (of.tf32 ? " tf32" : ""), replicas, seconds * 1e3, 1 / seconds,
                      seconds / yardstick_seconds, yardstick_seconds / seconds));
  }

  std::vector<Config> group_of(const BenchCase& of, std::int64_t replicas) const {
    Settings settings = engine_settings(of.model, of.method);
    if (of.model == "bytes") settings["corpus"] = corpus();
    if (of.tf32) settings["tf32"] = "true";
    for (const auto& [name, value] : asked_.said) settings[name] = value;
    std::vector<Config> runs;
    for (std::int64_t r = 0; r < replicas; ++r) {
      settings["seed"] = std::to_string(r + 1);
      runs.push_back(Config::resolve(settings));
    }
    return runs;
  }

  // On a CPU 256 replicas of the byte model would fill the memory of most machines.
  std::vector<std::int64_t> sizes_for(const BenchCase& of) const {
    if (!asked_.replicas.empty()) return asked_.replicas;
    if (device_.is_cuda()) return {1, 4, 16, 64, 256, 1024};
    return of.model == "mlp" ? std::vector<std::int64_t>{1, 4, 16, 64, 256}
                             : std::vector<std::int64_t>{1, 4, 16, 64};
  }

  // Yardstick and engine in turn for each size; the yardstick's own line is that of the first.
  void measure(const BenchCase& of) const {
    const auto plain = yardstick(of, device_);
    bool first = true;
    for (const std::int64_t replicas : sizes_for(of)) {
      try {
        const std::vector<double> medians = medians_of(of, replicas, plain);
        if (first) print_row(of, "plain", medians[0], medians[0]);
        first = false;
        print_row(of, std::to_string(replicas), medians[1] / static_cast<double>(replicas),
                  medians[0]);
      } catch (const std::exception& error) {
        if (!is_out_of_memory(error.what())) throw;
        print(fmt::format("{:<6} {:<11} {:>5} does not fit\n", of.model,
                          of.method + (of.tf32 ? " tf32" : ""), replicas));
      }
    }
  }

  std::vector<double> medians_of(const BenchCase& of, std::int64_t replicas,
                                 const std::function<std::int64_t(std::int64_t)>& plain) const {
    const bool on_gpu = device_.is_cuda();
    const Effort effort = on_gpu ? effort_on_gpu(of, replicas) : effort_on_cpu(of, replicas);
    EngineRun engine(group_of(of, replicas), {.device = device_}, effort.first);
    const BenchSide plain_side{plain, effort.plain_warm_up, effort.plain_steps};
    const BenchSide engine_side{[&engine](std::int64_t steps) { return engine.run(steps); },
                                effort.engine_warm_up, effort.engine_steps};
    std::function<void()> synchronize;
    if (on_gpu) synchronize = [] { torch::cuda::synchronize(); };
    return paired_medians({plain_side, engine_side}, effort.rounds, synchronize);
  }

  EngineBench asked_;
  at::Device device_;
  TemporaryFolder folder_;
};

}  // namespace

std::int64_t EngineRun::run(std::int64_t steps) {
  std::int64_t updates = 0;
  for (const std::int64_t end = in_stage_ + steps; in_stage_ < end;) {
    const StepReport report = trainer_.advance(0, in_stage_, end - in_stage_);
    in_stage_ += report.steps;
    const auto updated = std::count_if(report.updated.begin(), report.updated.end(),
                                       [](char each) { return each != 0; });
    updates += updated > 0 ? 1 : 0;
  }
  trainer_.synchronize();
  return updates;
}

Settings engine_settings(const std::string& model, const std::string& method) {
  Settings common = {{"steps", "1000000"}, {"curve", "false"}};
  Settings own = {{"weights", method},
                  {"widths", "400,400"},
                  {"batch", "128"},
                  {"density", "0.1"},
                  {"lr", "0.01"}};
  if (model == "bytes") {
    own = {{"data", "bytes"},     {"model", "transformer"}, {"optimizer", "adamw"},
           {"attention", method}, {"context", "128"},       {"layers", "2"},
           {"width", "64"},       {"heads", "4"},           {"kv_heads", "1"},
           {"block_size", "8"},   {"blocks", "2"},          {"batch", "16"},
           {"lr", "0.001"}};
  }
  own.merge(common);
  return own;
}

void bench_engine(const EngineBench& asked) { EngineBenchmark(asked).run(); }

}  // namespace tandem
