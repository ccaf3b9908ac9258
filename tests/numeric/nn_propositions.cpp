// The four propositions on weight-level alignment, in double, on one linear layer.
//   r = h dW, dW = (1 - M) W, psi = clip(r, -1, 1)/(B n_out)
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "nn/context.h"
#include "topology/masked_connections.h"

namespace tandem::test::nn_propositions_numeric {

namespace {

struct Layer {
  Parameter weight;
  at::Tensor bias, mask, h;
  std::unique_ptr<MaskedConnections> connections;

  explicit Layer(std::int64_t seed, double scale = 1) {
    torch::manual_seed(seed);
    const auto options = torch::TensorOptions(torch::kFloat64);
    weight.name = "w";
    weight.value = (torch::randn({1, 7, 5}, options) * scale).requires_grad_(true);
    bias = torch::randn({1, 5}, options).requires_grad_(true);
    mask = (torch::rand({1, 35}, options) < 0.4).to(torch::kUInt8);
    h = torch::randn({1, 6, 7}, options).requires_grad_(true);
    connections = std::make_unique<MaskedConnections>(weight, mask);
  }

  TwoStreams streams() const {
    ProductPlan plan;
    plan.full = plan.sparse = plan.mask_gradient = true;
    return connections->product(h, bias, plan);
  }
  at::Tensor active() const { return mask.view({1, 7, 5}).to(torch::kFloat64); }
  void clear() {
    weight.value.mutable_grad().reset();
    bias.mutable_grad().reset();
    h.mutable_grad().reset();
  }
};

at::Tensor coefficient(double value) { return torch::full({1}, value, torch::kFloat64); }

at::Tensor distance(const TwoStreams& y, double full, double sparse) {
  return stream_distance(y.full, y.sparse, coefficient(full), coefficient(sparse),
                         Alignment::Distance::kSmoothL1);
}

struct Closed {
  at::Tensor psi, outer, dw;  // [1,B,out], psi h^T [1,in,out], (1-M) W
};

Closed closed_form(const Layer& layer) {
  const at::Tensor w = layer.weight.value.detach(), h = layer.h.detach();
  Closed c;
  c.dw = (1 - layer.active()) * w;
  c.psi = torch::bmm(h, c.dw).clamp(-1, 1) / (6.0 * 5.0);
  c.outer = torch::bmm(h.transpose(1, 2), c.psi);
  return c;
}

}  // namespace

TEST_CASE("Prop. 1: with equal coefficients the stop-gradients are redundant", "[numeric]") {
  Layer layer(1);
  distance(layer.streams(), 0.7, 0.7).sum().backward();
  const at::Tensor stopped = layer.weight.value.grad().clone(), at_h = layer.h.grad().clone();
  layer.clear();
  const TwoStreams y = layer.streams();
  const at::Tensor plain = 0.7 * torch::smooth_l1_loss(y.full, y.sparse);
  const at::Tensor value = distance(layer.streams(), 0.7, 0.7);
  plain.backward();
  REQUIRE(torch::allclose(layer.weight.value.grad(), stopped, 1e-12, 1e-14));
  REQUIRE(torch::allclose(layer.h.grad(), at_h, 1e-12, 1e-14));
  REQUIRE(value.item<double>() == Approx(2 * plain.item<double>()));
}

TEST_CASE("Prop. 2: equal pulls before the activation decay the dormant weights only",
          "[numeric]") {
  for (const double scale : {0.05, 3.0}) {  // inside and outside of the quadratic zone
    Layer layer(2, scale);
    distance(layer.streams(), 0.9, 0.9).sum().backward();
    const Closed c = closed_form(layer);
    const at::Tensor gradient = layer.weight.value.grad();
    REQUIRE((gradient * layer.active()).abs().max().item<double>() < 1e-16);
    REQUIRE(layer.bias.grad().abs().max().item<double>() < 1e-16);
    REQUIRE(torch::allclose(gradient, 0.9 * c.outer * (1 - layer.active()), 1e-10, 1e-14));
    REQUIRE(torch::allclose(layer.h.grad(), 0.9 * torch::bmm(c.psi, c.dw.transpose(1, 2)), 1e-10,
                            1e-14));
  }
  // In the quadratic zone it is the gradient of lambda/(2 n_out) tr(dW^T Sigma dW).
  Layer layer(3, 0.02);
  distance(layer.streams(), 1, 1).sum().backward();
  const at::Tensor h = layer.h.detach()[0];
  const at::Tensor sigma = torch::mm(h.t(), h) / 6.0;
  const Closed c = closed_form(layer);
  const at::Tensor expected = torch::mm(sigma, c.dw[0]) / 5.0 * (1 - layer.active())[0];
  REQUIRE(torch::allclose(layer.weight.value.grad()[0], expected, 1e-10, 1e-14));
}

TEST_CASE("Prop. 3: unequal pulls move active weights by their difference", "[numeric]") {
  Layer layer(4);
  distance(layer.streams(), 0.2, 0.9).sum().backward();
  const Closed c = closed_form(layer);
  const at::Tensor on_active = (0.2 - 0.9) * c.outer * layer.active();
  REQUIRE(torch::allclose(layer.weight.value.grad() * layer.active(), on_active, 1e-10, 1e-14));
  REQUIRE(torch::allclose(layer.bias.grad(), (0.2 - 0.9) * c.psi.sum(1), 1e-10, 1e-14));
  REQUIRE(on_active.abs().max().item<double>() > 1e-4);
}

TEST_CASE("Prop. 4: the gap is bounded by the dropped mass", "[numeric]") {
  for (int seed = 5; seed < 25; ++seed) {
    Layer layer(seed);
    const TwoStreams y = layer.streams();
    const at::Tensor r = (y.full - y.sparse).detach()[0];  // [B,out]
    const at::Tensor w = layer.weight.value.detach()[0];   // [in,out]
    const at::Tensor dw = ((1 - layer.active()) * w.unsqueeze(0))[0];
    const at::Tensor mass = w.abs().sum(0), dropped = dw.abs().sum(0) / mass;  // delta per unit
    const at::Tensor h = layer.h.detach()[0];
    const at::Tensor bound = h.abs().amax(1, true) * (dropped * mass).unsqueeze(0);
    REQUIRE((r.abs() <= bound + 1e-12).all().item<bool>());
    const double norm = torch::linalg_norm(dw, 2).item<double>();
    REQUIRE((r.norm(2, {1}) <= norm * h.norm(2, {1}) + 1e-12).all().item<bool>());
    const at::Tensor sigma = torch::mm(h.t(), h) / static_cast<double>(h.size(0));
    REQUIRE(r.square().sum(1).mean().item<double>() ==
            Approx(torch::trace(torch::mm(dw.t(), torch::mm(sigma, dw))).item<double>()));
  }
}

TEST_CASE("the other distances have the gradients that their definitions say", "[numeric]") {
  torch::manual_seed(8);
  const auto options = torch::TensorOptions(torch::kFloat64);
  const at::Tensor full = torch::randn({2, 3, 4}, options).requires_grad_(true);
  const at::Tensor sparse = torch::randn({2, 3, 4}, options).requires_grad_(true);
  const at::Tensor full_coefficient = torch::tensor({0.3, 0.5}, options);
  const at::Tensor sparse_coefficient = torch::tensor({0.7, 0.0}, options);
  const auto check = [&](Alignment::Distance distance, const at::Tensor& literal) {
    const auto expected = torch::autograd::grad({literal.sum()}, {full, sparse}, {}, true);
    const at::Tensor value =
        stream_distance(full, sparse, full_coefficient, sparse_coefficient, distance);
    const auto got = torch::autograd::grad({value.sum()}, {full, sparse});
    REQUIRE(torch::allclose(value, literal, 1e-10, 1e-12));
    REQUIRE(torch::allclose(got[0], expected[0], 1e-10, 1e-12));
    REQUIRE(torch::allclose(got[1], expected[1], 1e-10, 1e-12));
  };
  const at::Tensor stopped_full = full.detach(), stopped_sparse = sparse.detach();
  check(Alignment::Distance::kMse,
        full_coefficient * (full - stopped_sparse).square().mean({1, 2}) +
            sparse_coefficient * (sparse - stopped_full).square().mean({1, 2}));
  check(Alignment::Distance::kRelativeMse,
        full_coefficient * (full - stopped_sparse).square().sum({1, 2}) /
                stopped_sparse.square().sum({1, 2}) +
            sparse_coefficient * (sparse - stopped_full).square().sum({1, 2}) /
                stopped_full.square().sum({1, 2}));
  const auto kl = [](const at::Tensor& target, const at::Tensor& mover) {
    const at::Tensor p = torch::softmax(target, -1);
    return (p * (p.log() - torch::log_softmax(mover, -1))).sum(-1).mean(1);
  };
  check(Alignment::Distance::kLogitKl, full_coefficient * kl(stopped_sparse, full) +
                                           sparse_coefficient * kl(stopped_full, sparse));
}

}  // namespace tandem::test::nn_propositions_numeric
