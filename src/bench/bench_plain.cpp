// The clock of the benchmarks, and a yardstick: the MLP's training step written as a plain LibTorch
// loop, without any of the engine.
#include <torch/optim.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "bench/bench.h"
#include "data/tensor.h"

namespace tandem {

namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

double seconds_per_step(const std::vector<BenchRound>& rounds, std::int64_t steps) {
  std::vector<double> all, without;
  for (const BenchRound& round : rounds) {
    all.push_back(round.seconds / static_cast<double>(steps));
    if (round.updates == 0) without.push_back(all.back());
  }
  if (without.empty() || without.size() == all.size()) return median(all);
  const double step = median(without);
  std::vector<double> update;
  for (const BenchRound& round : rounds) {
    const double extra = round.seconds - step * static_cast<double>(steps);
    if (round.updates > 0) update.push_back(extra / static_cast<double>(round.updates));
  }
  return step + median(update) / static_cast<double>(kBenchInterval);
}

std::vector<double> paired_medians(const std::vector<BenchSide>& sides, std::int64_t rounds,
                                   const std::function<void()>& synchronize) {
  const auto now = [&synchronize] {
    if (synchronize) synchronize();
    return std::chrono::steady_clock::now();
  };
  std::vector<std::vector<BenchRound>> measured(sides.size());
  for (const BenchSide& side : sides) side.run(side.warm_up);
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < sides.size(); ++i) {
      const auto begin = now();
      const std::int64_t updates = sides[i].run(sides[i].steps);
      const std::chrono::duration<double> elapsed = now() - begin;
      measured[i].push_back({elapsed.count(), updates});
    }
  }
  std::vector<double> medians;
  for (std::size_t i = 0; i < sides.size(); ++i) {
    medians.push_back(seconds_per_step(measured[i], sides[i].steps));
  }
  return medians;
}

void clip_gradients(const std::vector<at::Tensor>& leaves, double largest) {
  torch::NoGradGuard no_grad;
  std::vector<at::Tensor> norms;
  for (const at::Tensor& leaf : leaves) norms.push_back(leaf.grad().norm());
  const at::Tensor scale = (largest / (torch::stack(norms).norm() + 1e-6)).clamp_max_(1.0);
  for (const at::Tensor& leaf : leaves) leaf.grad().mul_(scale);
}

struct PlainMlp::Impl {
  std::string method;
  at::Device device = at::kCPU;
  std::int64_t batch = 0, steps = 0;
  at::Tensor inputs, labels;  // uint8 [N,F], int64 [N]
  std::vector<at::Tensor> weight, bias, mask, leaves;
  std::vector<at::Tensor> effective;  // weight * mask of the step under way
  std::unique_ptr<torch::optim::SGD> optimizer;

  bool due() const { return method != "dense" && steps % kBenchInterval == 0; }

  // The two outputs of ssa's layer; the others have the one that they run.
  at::Tensor layer(std::size_t l, const at::Tensor& x, bool full, at::Tensor& alignment) {
    if (mask.empty()) return torch::addmm(bias[l], x, weight[l]);
    effective.push_back(weight[l] * mask[l]);
    if (method == "rigl" && due()) effective.back().retain_grad();
    const at::Tensor z_sparse = torch::addmm(bias[l], x, effective.back());
    if (method != "ssa") return z_sparse;
    const at::Tensor z_full = torch::addmm(bias[l], x, weight[l]);
    const at::Tensor term = torch::smooth_l1_loss(z_full, z_sparse.detach()) +
                            torch::smooth_l1_loss(z_sparse, z_full.detach());
    alignment = alignment.defined() ? alignment + term : term;
    return full ? z_full : z_sparse;
  }

  at::Tensor forward(const at::Tensor& x, bool full, at::Tensor& alignment) {
    effective.clear();
    at::Tensor h = x;
    for (std::size_t l = 0; l < weight.size(); ++l) {
      h = layer(l, h, full, alignment);
      if (l + 1 < weight.size()) h = torch::relu(h);
    }
    return h;
  }

  // topk as the reference codes have it. RigL keeps the largest of the active weights and grows
  // where the dense gradient is largest, from zero; ssa ranks all weights.
  void redraw() {
    torch::NoGradGuard no_grad;
    for (std::size_t l = 0; l < weight.size(); ++l) {
      const std::int64_t active = mask[l].sum().item<std::int64_t>();
      const bool grows = method == "rigl";
      const std::int64_t drop = grows ? active * 3 / 10 : 0;
      const at::Tensor magnitude = (grows ? effective[l] : weight[l]).abs().view(-1);
      at::Tensor chosen = torch::zeros_like(magnitude);
      chosen.index_fill_(0, std::get<1>(magnitude.topk(active - drop)), 1.0);
      if (grows) {
        weight[l].mul_(chosen.view_as(weight[l]));
        const at::Tensor score = effective[l].grad().abs().view(-1).masked_fill(chosen > 0, -1.0);
        chosen.index_fill_(0, std::get<1>(score.topk(drop)), 1.0);
      }
      mask[l] = chosen.view_as(weight[l]);
    }
  }
};

PlainMlp::PlainMlp(const std::string& method, const std::vector<std::int64_t>& widths,
                   std::int64_t batch, std::int64_t classes, at::Device device)
    : impl_(std::make_unique<Impl>()) {
  torch::manual_seed(1);
  Impl& m = *impl_;
  m.method = method;
  m.device = device;
  m.batch = batch;
  m.inputs = torch::randint(0, 256, {20000, widths.front()}, torch::kUInt8).to(device);
  m.labels = torch::randint(0, classes, {20000}, torch::kInt64).to(device);
  const auto leaf = [&m, device](const at::Tensor& value) {
    m.leaves.push_back(value.to(device).requires_grad_(true));
    return m.leaves.back();
  };
  for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
    const double bound = 1 / std::sqrt(static_cast<double>(widths[l]));
    m.weight.push_back(leaf(torch::empty({widths[l], widths[l + 1]}).uniform_(-bound, bound)));
    m.bias.push_back(leaf(torch::empty({widths[l + 1]}).uniform_(-bound, bound)));
    if (method != "dense") {
      m.mask.push_back((torch::rand_like(m.weight.back()) < 0.1).to(torch::kFloat32));
    }
  }
  m.optimizer = std::make_unique<torch::optim::SGD>(
      m.leaves, torch::optim::SGDOptions(0.01).momentum(0.9).weight_decay(5e-4));
}

PlainMlp::~PlainMlp() = default;
PlainMlp::PlainMlp(PlainMlp&&) noexcept = default;

bool PlainMlp::step() {
  Impl& m = *impl_;
  ++m.steps;
  const auto index_options = torch::dtype(torch::kInt64).device(m.device);
  const at::Tensor index = torch::randint(0, m.inputs.size(0), {m.batch}, index_options);
  const at::Tensor x = m.inputs.index_select(0, index).to(torch::kFloat32).div_(255);
  const at::Tensor y = m.labels.index_select(0, index);
  m.optimizer->zero_grad();
  at::Tensor alignment;
  const at::Tensor logits = m.forward(x, m.steps % 2 == 0, alignment);
  at::Tensor loss = torch::cross_entropy_loss(logits, y);
  if (alignment.defined()) loss = loss + 10.0 / static_cast<double>(m.weight.size()) * alignment;
  loss.backward();
  // RigL's update stands in the place of a step; ssa clips, as the engine's does by default.
  const bool grows = m.method == "rigl" && m.due();
  if (m.method == "ssa") clip_gradients(m.leaves, 1.0);
  if (!grows) m.optimizer->step();
  if (m.due()) m.redraw();
  return m.due();
}

}  // namespace tandem
