// Products and gradients of the masked storage, in double, against autograd of M*W written
// literally.
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "topology/batched_product.h"
#include "topology/masked_connections.h"

namespace tandem::test::topology_product_numeric {
namespace {

struct Case {
  std::int64_t replicas = 3, batch = 5, inputs = 7, outputs = 4;
  torch::Tensor x, w, bias, mask, full_runs, full_coefficient, sparse_coefficient;

  explicit Case(std::int64_t r) : replicas(r) {
    torch::manual_seed(7);
    const auto real = torch::TensorOptions().dtype(torch::kDouble);
    x = torch::randn({replicas, batch, inputs}, real);
    w = torch::randn({replicas, inputs, outputs}, real);
    bias = torch::randn({replicas, outputs}, real);
    mask = torch::rand({replicas, inputs, outputs}).lt(0.4).to(torch::kByte);
    full_runs = torch::arange(replicas).remainder(2).eq(1);
    full_coefficient = torch::randn({replicas, batch, outputs}, real);
    sparse_coefficient = torch::randn({replicas, batch, outputs}, real);
  }
};

struct Result {
  TwoStreams y;
  torch::Tensor x_gradient, w_gradient, bias_gradient;
};

// Loss <full_coefficient, full> + <sparse_coefficient, sparse>, squared so that the gradient is not
// constant.
Result differentiate(const Case& c, const TwoStreams& y, const torch::Tensor& x,
                     const torch::Tensor& w, const torch::Tensor& bias) {
  torch::Tensor loss = torch::zeros({}, torch::kDouble);
  if (y.full.defined()) loss = loss + (y.full * c.full_coefficient).pow(2).sum();
  if (y.sparse.defined()) loss = loss + (y.sparse * c.sparse_coefficient).pow(2).sum();
  loss.backward();
  return {y, x.grad(), w.grad(), bias.defined() ? bias.grad() : torch::Tensor()};
}

Result by_connections(const Case& c, const ProductPlan& plan, bool with_bias, bool all_active,
                      bool zero_dormant = false) {
  Parameter parameter;
  parameter.name = "w";
  parameter.value = c.w.clone().requires_grad_(true);
  MaskedConnections connections(parameter, all_active ? torch::Tensor() : c.mask);
  if (zero_dormant) connections.set_zero_dormant(true);
  const auto x = c.x.clone().requires_grad_(true);
  const auto bias = with_bias ? c.bias.clone().requires_grad_(true) : torch::Tensor();
  return differentiate(c, connections.product(x, bias, plan), x, parameter.value, bias);
}

// Literal: W_eff = M*W in autograd; "dense G" by differentiating with respect to W_eff.
Result literally(const Case& c, const ProductPlan& plan, bool with_bias, const torch::Tensor& m,
                 const torch::Tensor& w0) {
  const auto x = c.x.clone().requires_grad_(true);
  const auto bias = with_bias ? c.bias.clone().requires_grad_(true) : torch::Tensor();
  const auto w = w0.clone().requires_grad_(true);
  // sg(M*W - W) + W has the value M*W and passes the gradient through unchanged.
  const auto effective = [&](const torch::Tensor& keep, bool masked) {
    return masked ? keep * w : (keep * w - w).detach() + w;
  };
  const auto affine = [&](const torch::Tensor& weight) {
    const auto y = torch::einsum("rni,rio->rno", {x, weight});
    return with_bias ? y + bias.unsqueeze(1) : y;
  };
  TwoStreams y;
  if (plan.selected) {
    const auto keep = torch::where(plan.full_runs.view({-1, 1, 1}), torch::ones_like(m), m);
    y.full = affine(effective(keep, false));
  } else {
    if (plan.full) y.full = affine(w);
    if (plan.sparse) y.sparse = affine(effective(m, plan.mask_gradient));
  }
  return differentiate(c, y, x, w, bias);
}

void check_same(const torch::Tensor& a, const torch::Tensor& b) {
  REQUIRE(a.defined() == b.defined());
  if (a.defined()) CHECK(torch::allclose(a, b, 1e-12, 1e-12));
}

void check_same(const Result& a, const Result& b) {
  check_same(a.y.full, b.y.full);
  check_same(a.y.sparse, b.y.sparse);
  check_same(a.x_gradient, b.x_gradient);
  check_same(a.w_gradient, b.w_gradient);
  check_same(a.bias_gradient, b.bias_gradient);
}

ProductPlan outputs(bool full, bool sparse, bool mask_gradient = false) {
  ProductPlan plan;
  plan.full = full;
  plan.sparse = sparse;
  plan.mask_gradient = mask_gradient;
  return plan;
}

ProductPlan selected_by(const at::Tensor& full_runs) {
  ProductPlan plan = outputs(false, false);
  plan.selected = true;
  plan.full_runs = full_runs;
  return plan;
}

std::vector<ProductPlan> all_plans(const Case& c) {
  std::vector<ProductPlan> plans;
  for (const bool mask_gradient : {false, true}) {
    plans.push_back(outputs(true, false, mask_gradient));
    plans.push_back(outputs(false, true, mask_gradient));
    plans.push_back(outputs(true, true, mask_gradient));
  }
  plans.push_back(selected_by(c.full_runs));
  return plans;
}

}  // namespace

TEST_CASE("masked products and gradients equal the literal M*W", "[numeric]") {
  for (const std::int64_t replicas : {1, 3}) {
    const Case c(replicas);
    const auto m = c.mask.to(torch::kDouble);
    for (const auto& plan : all_plans(c)) {
      for (const bool with_bias : {true, false}) {
        CAPTURE(replicas, plan.full, plan.sparse, plan.selected, plan.mask_gradient, with_bias);
        check_same(by_connections(c, plan, with_bias, false),
                   literally(c, plan, with_bias, m, c.w));
        check_same(by_connections(c, plan, with_bias, true),
                   literally(c, plan, with_bias, torch::ones_like(m), c.w));
        check_same(by_connections(c, plan, with_bias, false, true),
                   literally(c, plan, with_bias, m, m * c.w));
      }
    }
  }
}

TEST_CASE("the gradient of a sparse product reaches dormant weights unless masked", "[numeric]") {
  const Case c(2);
  const auto dormant = c.mask.eq(0);
  const ProductPlan dense = outputs(false, true), masked = outputs(false, true, true);
  CHECK(by_connections(c, dense, true, false)
            .w_gradient.masked_select(dormant)
            .abs()
            .min()
            .item<double>() > 0);
  CHECK(by_connections(c, masked, true, false)
            .w_gradient.masked_select(dormant)
            .abs()
            .max()
            .item<double>() == 0);
}

TEST_CASE("one product serves both streams where they are equal", "[numeric]") {
  const Case c(2);
  const ProductPlan both = outputs(true, true);
  const auto equal = by_connections(c, both, true, true);
  CHECK(equal.y.full.is_same(equal.y.sparse));
  const auto zero = by_connections(c, both, true, false, true);
  CHECK(zero.y.full.is_same(zero.y.sparse));
  const auto different = by_connections(c, both, true, false);
  CHECK_FALSE(torch::allclose(different.y.full, different.y.sparse));
}

TEST_CASE("a dormant infinity does not leak into the sparse product", "[numeric]") {
  Case c(2);
  c.w.masked_fill_(c.mask.eq(0), std::numeric_limits<double>::infinity());
  const ProductPlan sparse = outputs(false, true);
  const ProductPlan selected = selected_by(torch::zeros({2}, torch::kBool));
  CHECK(by_connections(c, sparse, true, false).y.sparse.isfinite().all().item<bool>());
  CHECK(by_connections(c, selected, true, false).y.full.isfinite().all().item<bool>());
}

TEST_CASE("float16 goes without the kernel and gives the same selection", "[numeric]") {
  const Case c(2);
  Parameter parameter;
  parameter.value = c.w.to(torch::kBFloat16);
  MaskedConnections connections(parameter, c.mask);
  const auto x = c.x.to(torch::kBFloat16);
  const auto expected = torch::bmm(x, parameter.value * c.mask.to(torch::kBFloat16));
  const auto y = connections.product(x, {}, outputs(false, true)).sparse;
  CHECK(torch::equal(y, expected));
}

// A lone row or column would be another kind of product to MKL.
TEST_CASE("a product and its gradients are the same bits alone and in company", "[numeric]") {
  torch::manual_seed(3);
  for (const std::int64_t rows : {1, 2, 7}) {
    for (const std::int64_t inputs : {1, 16, 300}) {
      for (const std::int64_t outputs : {1, 10, 31}) {
        for (const bool has_bias : {false, true}) {
          CAPTURE(rows, inputs, outputs, has_bias);
          const torch::Tensor x = torch::randn({3, rows, inputs});
          const torch::Tensor w = torch::randn({3, inputs, outputs});
          const torch::Tensor b = has_bias ? torch::randn({3, outputs}) : torch::Tensor();
          const auto all = [](const torch::Tensor& of_x, const torch::Tensor& of_w,
                              const torch::Tensor& bias) {
            const torch::Tensor own_x = of_x.clone().requires_grad_(true);
            const torch::Tensor own_w = of_w.clone().requires_grad_(true);
            const torch::Tensor y = batched_product(own_x, own_w, bias);
            std::vector<torch::Tensor> results =
                torch::autograd::grad({y.square().sum()}, {own_x, own_w});
            results.push_back(y.detach());
            return results;
          };
          const auto company = all(x, w, b);
          const torch::Tensor plain = torch::einsum("rni,rio->rno", {x, w});
          const torch::Tensor wanted = has_bias ? plain + b.unsqueeze(1) : plain;
          CHECK(torch::allclose(company[2], wanted, 1e-4, 1e-4));
          for (std::int64_t r = 0; r < 3; ++r) {
            const auto own = [r](const torch::Tensor& of) { return of.narrow(0, r, 1); };
            const auto alone = all(own(x), own(w), has_bias ? own(b) : b);
            for (std::size_t i = 0; i < alone.size(); ++i) {
              CHECK(torch::equal(alone[i], own(company[i])));
            }
          }
        }
      }
    }
  }
}

}  // namespace tandem::test::topology_product_numeric
