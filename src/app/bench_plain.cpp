// The yardstick: a training step written as a plain LibTorch loop, without any of the engine.
#include <torch/optim.h>

#include <algorithm>

#include "app/bench.h"
#include "data/tensor.h"

namespace tandem {

std::vector<double> paired_medians(const std::vector<std::function<void()>>& functions,
                                   std::int64_t calls, std::int64_t rounds) {
  std::vector<std::vector<double>> seconds(functions.size());
  for (std::int64_t round = -1; round < rounds; ++round) {
    for (std::size_t i = 0; i < functions.size(); ++i) {
      const auto begin = std::chrono::steady_clock::now();
      for (std::int64_t call = 0; call < calls; ++call) functions[i]();
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
      if (round >= 0) seconds[i].push_back(elapsed.count() / static_cast<double>(calls));
    }
  }
  std::vector<double> medians;
  for (auto& each : seconds) {
    std::sort(each.begin(), each.end());
    medians.push_back(each[each.size() / 2]);
  }
  return medians;
}

struct PlainMlp::Impl {
  std::string method;
  std::int64_t batch = 0, steps = 0;
  at::Tensor inputs, labels;  // uint8 [N,F], int64 [N]
  std::vector<at::Tensor> weight, bias, mask;
  std::unique_ptr<torch::optim::SGD> optimizer;

  at::Tensor linear(std::size_t l, const at::Tensor& x) const {
    return torch::addmm(bias[l], x, mask.empty() ? weight[l] : at::Tensor(weight[l] * mask[l]));
  }

  at::Tensor forward(const at::Tensor& x, bool full, at::Tensor& alignment) const {
    at::Tensor h = x;
    for (std::size_t l = 0; l < weight.size(); ++l) {
      if (method == "ssa") {
        const at::Tensor z_full = torch::addmm(bias[l], h, weight[l]);
        const at::Tensor z_sparse = torch::addmm(bias[l], h, weight[l] * mask[l]);
        const at::Tensor term = torch::smooth_l1_loss(z_full, z_sparse.detach()) +
                                torch::smooth_l1_loss(z_sparse, z_full.detach());
        alignment = alignment.defined() ? alignment + term : term;
        h = full ? z_full : z_sparse;
      } else {
        h = linear(l, h);
      }
      if (l + 1 < weight.size()) h = torch::relu(h);
    }
    return h;
  }

  // RigL and ssa redraw the mask every 100 steps; topk as their reference codes do.
  void redraw() {
    torch::NoGradGuard no_grad;
    for (std::size_t l = 0; l < weight.size(); ++l) {
      const std::int64_t active = mask[l].sum().item<std::int64_t>();
      const at::Tensor magnitude =
          (method == "rigl" ? at::Tensor(weight[l] * mask[l]) : weight[l]).abs().view(-1);
      const std::int64_t drop = method == "rigl" ? active * 3 / 10 : 0;
      at::Tensor chosen = torch::zeros_like(magnitude);
      chosen.index_fill_(0, std::get<1>(magnitude.topk(active - drop)), 1.0);
      if (method == "rigl") {
        const at::Tensor score = weight[l].grad().abs().view(-1).masked_fill(chosen > 0, -1.0);
        const at::Tensor grown = std::get<1>(score.topk(drop));
        chosen.index_fill_(0, grown, 1.0);
      }
      mask[l] = chosen.view_as(weight[l]);
    }
  }
};

PlainMlp::PlainMlp(const std::string& method, const std::vector<std::int64_t>& widths,
                   std::int64_t batch, std::int64_t classes)
    : impl_(std::make_unique<Impl>()) {
  torch::manual_seed(1);
  Impl& m = *impl_;
  m.method = method;
  m.batch = batch;
  m.inputs = torch::randint(0, 256, {20000, widths.front()}, torch::kUInt8);
  m.labels = torch::randint(0, classes, {20000}, torch::kInt64);
  std::vector<at::Tensor> leaves;
  for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
    const double bound = 1 / std::sqrt(static_cast<double>(widths[l]));
    m.weight.push_back(
        torch::empty({widths[l], widths[l + 1]}).uniform_(-bound, bound).requires_grad_(true));
    m.bias.push_back(torch::empty({widths[l + 1]}).uniform_(-bound, bound).requires_grad_(true));
    if (method != "dense") {
      m.mask.push_back((torch::rand({widths[l], widths[l + 1]}) < 0.1).to(torch::kFloat32));
    }
    leaves.push_back(m.weight.back());
    leaves.push_back(m.bias.back());
  }
  m.optimizer = std::make_unique<torch::optim::SGD>(
      leaves, torch::optim::SGDOptions(0.01).momentum(0.9).weight_decay(5e-4));
}

PlainMlp::~PlainMlp() = default;
PlainMlp::PlainMlp(PlainMlp&&) noexcept = default;

void PlainMlp::step() {
  Impl& m = *impl_;
  const at::Tensor index = torch::randint(0, m.inputs.size(0), {m.batch}, torch::kInt64);
  const at::Tensor x = m.inputs.index_select(0, index).to(torch::kFloat32).div_(255);
  const at::Tensor y = m.labels.index_select(0, index);
  m.optimizer->zero_grad();
  at::Tensor alignment;
  const at::Tensor logits = m.forward(x, m.steps % 2 == 0, alignment);
  at::Tensor loss = torch::cross_entropy_loss(logits, y);
  if (alignment.defined()) loss = loss + 10.0 / static_cast<double>(m.weight.size()) * alignment;
  loss.backward();
  ++m.steps;
  const bool updates = m.method != "dense" && m.steps % 100 == 0;
  if (updates) m.redraw();
  if (!(updates && m.method == "rigl")) m.optimizer->step();
}

}  // namespace tandem
