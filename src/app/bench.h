// What the benchmarks of `tandem bench` share. Each measures the engine and a yardstick in turn in
// one run, so that a ratio holds when the machine's speed drifts.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"

namespace tandem {

// Median seconds per call of each function: rounds of `calls` calls, A B A B ..., after a warm-up.
std::vector<double> paired_medians(const std::vector<std::function<void()>>& functions,
                                   std::int64_t calls, std::int64_t rounds);

// The same training step as a plain LibTorch program would write it: one model, leaf tensors,
// torch::optim, the mask multiplied in where the method has one. `method`: dense, rigl, ssa.
class PlainMlp {
 public:
  PlainMlp(const std::string& method, const std::vector<std::int64_t>& widths, std::int64_t batch,
           std::int64_t classes);
  ~PlainMlp();
  PlainMlp(PlainMlp&&) noexcept;
  void step();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The class-incremental Split MNIST protocol of Buzzega et al. 2020 (arXiv 2004.07211): MLP
// 784-100-100-10, Xavier-uniform start, plain SGD, one epoch, batch 10, raw pixels. strategy:
// finetune, joint, or er with 500 slots. One run per seed from 1; `said` goes on top.
std::vector<Config> der_split_mnist(const Settings& said, const std::string& strategy,
                                    std::int64_t seeds);

void bench_engine();
void bench_continual(const Config& said);

}  // namespace tandem
