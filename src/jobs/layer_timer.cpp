// The timed step of a layer, with the connections that training has, in a process made like a
// worker: one thread, MKL's reproducible products, freed temporaries kept.
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>

#include "data/tensor.h"
#include "jobs/break_even.h"
#include "jobs/worker_protocol.h"
#include "topology/random_ranks.h"
#include "train/update_binding.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kEnough_s = 0.15;  // of rounds
constexpr int kLeastRounds = 2, kMostRounds = 200;
constexpr std::uint64_t kSeed = 1;

class LikeAWorker {
 public:
  LikeAWorker()
      : threads_(at::get_num_threads()), products_unsaid_(std::getenv("MKL_CBWR") == nullptr) {
    ::setenv("MKL_CBWR", worker_environment().at("MKL_CBWR").c_str(), 0);
    if (threads_ != 1) at::set_num_threads(1);
    ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
    ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
    ::mallopt(M_TOP_PAD, 64 << 20);
  }
  ~LikeAWorker() {
    if (products_unsaid_) ::unsetenv("MKL_CBWR");
    if (threads_ != 1) at::set_num_threads(threads_);
    ::mallopt(M_MMAP_THRESHOLD, 128 << 10);
    ::mallopt(M_TRIM_THRESHOLD, 128 << 10);
    ::mallopt(M_TOP_PAD, 128 << 10);
    ::malloc_trim(0);
  }
  LikeAWorker(const LikeAWorker&) = delete;
  LikeAWorker& operator=(const LikeAWorker&) = delete;

 private:
  int threads_;
  bool products_unsaid_;
};

// Numbers in [-1, 1] that no generator's state depends on.
at::Tensor waves(std::int64_t rows, std::int64_t width, at::ScalarType dtype) {
  return torch::arange(rows * width, torch::kFloat64).sin().view({1, rows, width}).to(dtype);
}

class LayerStep {
 public:
  LayerStep(const LayerCase& layer, const TimedStep& step) {
    const at::ScalarType dtype = layer.dtype == "float64" ? torch::kFloat64 : torch::kFloat32;
    const auto inputs = static_cast<double>(layer.inputs);
    const double connections = step.density * inputs * static_cast<double>(layer.outputs);
    InitialWeights initial;
    initial.scale = 1 / std::sqrt(inputs);
    initial.inputs = layer.inputs;
    initial.outputs = layer.outputs;
    initial.streams = {RandomStream{kSeed}};
    LayerStart start;
    start.storage = step.storage;
    start.active = {std::max<std::int64_t>(1, std::llround(connections))};
    start.keys = {topology_key(kSeed, 0, 0)};
    start.dtype = dtype;
    weight_.name = "timed.weight";
    connections_ = start_connections(weight_, initial, start);
    bias_ = torch::zeros({1, layer.outputs}, dtype).requires_grad_(true);
    x_ = waves(layer.rows, layer.inputs, dtype).requires_grad_(true);
    dy_ = waves(layer.rows, layer.outputs, dtype);
    weight_.slot("momentum");
    kernels::ReplicaUpdate update;
    update.lr = 1e-3;
    update.momentum = 0.9;
    update.mask_gradient = update.mask_update = true;
    update_ = torch::from_blob(&update, {sizeof update}, torch::kUInt8).clone();
    plan_.full = false;
    plan_.sparse = true;
    plan_.relu = true;
  }

  void run() {
    std::vector<at::Tensor> gradients;
    {
      const at::AutoGradMode recorded(true);
      const at::Tensor y = connections_->product(x_, bias_, plan_).sparse;
      gradients = torch::autograd::grad({y}, {weight_.value, x_, bias_}, {dy_});
    }
    const at::NoGradGuard no_grad;
    sgd_update({weight_.flat(), gradients[0].contiguous(), connections_->active_flags(), update_,
                weight_.segments()},
               weight_.slot("momentum"), {});
  }

 private:
  Parameter weight_;
  std::unique_ptr<Connections> connections_;
  at::Tensor bias_, x_, dy_, update_;
  ProductPlan plan_;
};

double seconds_of(LayerStep& step) {
  const auto begin = Clock::now();
  step.run();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

// The least of several rounds: what disturbs a step makes it slower only.
std::vector<double> time_layer_steps(const LayerCase& layer, const std::vector<TimedStep>& steps) {
  const LikeAWorker like_a_worker;
  std::vector<std::unique_ptr<LayerStep>> prepared;
  for (const TimedStep& step : steps) prepared.push_back(std::make_unique<LayerStep>(layer, step));
  std::vector<double> least(steps.size(), std::numeric_limits<double>::infinity());
  const auto begin = Clock::now();
  const auto spent_s = [&begin] {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  for (int round = 0; round < kLeastRounds || (round < kMostRounds && spent_s() < kEnough_s);
       ++round) {
    for (std::size_t i = 0; i < prepared.size(); ++i) {
      least[i] = std::min(least[i], seconds_of(*prepared[i]));
    }
  }
  return least;
}

}  // namespace tandem
