// What the benchmarks of `tandem bench` share. Each measures the engine and a yardstick in turn in
// one run, so that a ratio holds when the machine's speed drifts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/config.h"

namespace tandem {

constexpr std::int64_t kBenchInterval = 100;  // steps from one topology update to the next

// One side of a comparison. `run` takes so many steps and says how many topology updates took place
// in them.
struct BenchSide {
  std::function<std::int64_t(std::int64_t steps)> run;
  std::int64_t warm_up = 1;  // steps before the first round
  std::int64_t steps = 1;    // of a round
};

// Median seconds per step of each side: rounds A B A B ..., after a warm-up. `synchronize` is
// called before each look at the clock.
std::vector<double> paired_medians(const std::vector<BenchSide>& sides, std::int64_t rounds,
                                   const std::function<void()>& synchronize = {});

struct BenchRound {
  double seconds;
  std::int64_t updates;
};
// A topology update counts as once in kBenchInterval steps, however many fell into the rounds:
// where some hold updates and others none, what an update costs is told apart from a step.
double seconds_per_step(const std::vector<BenchRound>& rounds, std::int64_t steps);

// The same training step as a plain LibTorch program would write it: one model, leaf tensors,
// torch::optim, the mask multiplied in where the method has one. `method`: dense, rigl, ssa.
class PlainMlp {
 public:
  PlainMlp(const std::string& method, const std::vector<std::int64_t>& widths, std::int64_t batch,
           std::int64_t classes, at::Device device = at::kCPU);
  ~PlainMlp();
  PlainMlp(PlainMlp&&) noexcept;
  bool step();  // whether a topology update took place

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct PlainTransformerShape {
  std::int64_t context = 128, layers = 2, width = 64, heads = 4, kv_heads = 1, ff_width = 176;
  std::int64_t block_size = 8, blocks = 2, batch = 16;
};

// The byte model's training step in the same manner; weights are dense. `method`: full, ssa.
class PlainTransformer {
 public:
  using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

  // Names and shapes of `initial` are those of the engine's parameters, less the replica axis;
  // where it is empty, they are drawn. `context` is a multiple of `block_size`.
  PlainTransformer(const std::string& method, const PlainTransformerShape& shape,
                   at::Device device = at::kCPU, const NamedTensors& initial = {});
  ~PlainTransformer();
  PlainTransformer(PlainTransformer&&) noexcept;
  void step();
  // Returns the loss of B windows of T+1 bytes, int64 [B,T+1], with the full or the sparse stream
  // running.
  at::Tensor loss(const at::Tensor& windows, bool full) const;
  const NamedTensors& parameters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Scales the gradients to a norm of `largest` where it is more: what torch's clip_grad_norm_ does,
// without its wait for the norm.
void clip_gradients(const std::vector<at::Tensor>& leaves, double largest);

// The class-incremental Split MNIST protocol of Buzzega et al. 2020 (arXiv 2004.07211), as
// experiments/continual/der_mnist.ini has it, with so many examples in a buffer where the strategy
// has one. One run per seed from 1; `said` goes on top.
std::vector<Config> der_split_mnist(const Settings& said, const std::string& strategy,
                                    std::int64_t seeds, std::int64_t buffer = 500);

// What the engine trains in `bench engine`. model: mlp with a weights method, or bytes (the byte
// model of experiments/tandem.ini) with an attention method.
Settings engine_settings(const std::string& model, const std::string& method);

struct EngineBench {
  std::vector<std::string> models = {"mlp", "bytes"};
  std::vector<std::int64_t> replicas = {};  // empty: 1, 4, 16, 64; on a GPU 256 and 1024 as well
  std::string device = "cpu";               // or cuda
  Settings said = {};                       // goes on top of engine_settings
};
void bench_engine(const EngineBench& asked);
// On a GPU of grids of so many runs; empty: 64, 256 and 1,024.
void bench_continual(const Config& said, const std::vector<std::int64_t>& replicas);
void bench_attention();
void bench_attention_cuda();
void bench_kernels();
void bench_sparse();
void bench_methods();
void bench_store(const std::string& database, std::int64_t most_runs);

}  // namespace tandem
