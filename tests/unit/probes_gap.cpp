// The gap of two streams, by hand, and what it must leave untouched.
#include "probes_fixture.h"

namespace tandem::test::probes_gap_unit {

namespace {

const at::Tensor kNoMask;

double log_share(double a, double b) { return a - std::log(std::exp(a) + std::exp(b)); }

double kl(double p0, double p1, double q0, double q1) {  // of two logits each
  return std::exp(log_share(p0, p1)) * (log_share(p0, p1) - log_share(q0, q1)) +
         std::exp(log_share(p1, p0)) * (log_share(p1, p0) - log_share(q1, q0));
}

}  // namespace

TEST_CASE("gap, feature norm and divergence of one layer by hand", "[unit]") {
  // full (4, 2.5), sparse (3, 2)
  ChainNet net({doubles({3, 0.5, 1, 2}, {1, 2, 2})}, {kNoMask});
  const at::Tensor x = torch::ones({1, 1, 2}, torch::kDouble);
  const auto rows = measure("gap", net, {carrying_run(0.5)}, x);
  for (const char* layer : {"weights", "weights/layer0"}) {
    CHECK(value(rows, 0, layer, "gap") == Approx(1.25 / 22.25));
    CHECK(value(rows, 0, layer, "feature_norm") == Approx(std::sqrt(22.25 / 2)));
  }
  CHECK(value(rows, 0, "weights", "logit_gap") == Approx(1.25 / 22.25));
  CHECK(value(rows, 0, "weights", "logit_kl_full_sparse") == Approx(kl(4, 2.5, 3, 2)));
  CHECK(value(rows, 0, "weights", "logit_kl_sparse_full") == Approx(kl(3, 2, 4, 2.5)));
  CHECK(value(rows, 0, "weights", "top1_agreement") == 1);
  CHECK_FALSE(has(rows, 0, "attention", "gap"));
}

TEST_CASE("top-1 agreement counts examples", "[unit]") {
  // Full adds 1 to unit 1 for the second input only, which turns the order there.
  ChainNet net({doubles({2, 0, 3, 4}, {1, 2, 2})}, {kNoMask});
  const at::Tensor x = doubles({1, 0, 0, 1, 0, -1, 1, 1}, {1, 4, 2});
  const auto rows = measure("gap", net, {carrying_run(0.5)}, x);  // keeps 3 and 4
  // full: (2,0) (3,4) (-3,-4) (5,4); sparse: (0,0) (3,4) (-3,-4) (3,4)
  CHECK(value(rows, 0, "weights", "top1_agreement") == Approx(0.75));
}

TEST_CASE("a layer's gap is local, the one at the end has run from the input on", "[unit]") {
  const at::Tensor w0 = doubles({2, 1, 1, 3}, {1, 2, 2}), w1 = doubles({3, 1, 2, 4}, {1, 2, 2});
  const at::Tensor s0 = doubles({2, 0, 0, 3}, {1, 2, 2}), s1 = doubles({3, 0, 0, 4}, {1, 2, 2});
  ChainNet net({w0, w1}, {kNoMask, kNoMask});
  const at::Tensor x = doubles({1, 2}, {1, 1, 2});
  const auto rows = measure("gap", net, {carrying_run(0.5)}, x);
  const auto ratio = [](const at::Tensor& full, const at::Tensor& sparse) {
    return ((full - sparse).square().sum() / full.square().sum()).item<double>();
  };
  const at::Tensor h = torch::bmm(x, w0);  // positive, so that ReLU lets it through
  CHECK(value(rows, 0, "weights/layer0", "gap") == Approx(ratio(h, torch::bmm(x, s0))));
  CHECK(value(rows, 0, "weights/layer1", "gap") ==
        Approx(ratio(torch::bmm(h, w1), torch::bmm(h, s1))));
  CHECK(value(rows, 0, "weights", "logit_gap") ==
        Approx(ratio(torch::bmm(h, w1), torch::bmm(torch::bmm(x, s0), s1))));
}

TEST_CASE("each replica has its own density, and covering everything leaves no gap", "[unit]") {
  const at::Tensor weight = doubles({3, 0.5, 1, 2}, {2, 2});
  ChainNet net({torch::stack({weight, weight})}, {kNoMask});
  const at::Tensor x = torch::ones({2, 1, 2}, torch::kDouble);
  const auto rows = measure("gap", net, {carrying_run(1), carrying_run(0.5)}, x);
  CHECK(value(rows, 0, "weights", "gap") == 0);
  CHECK(value(rows, 0, "weights", "logit_gap") == 0);
  CHECK(value(rows, 1, "weights", "gap") == Approx(1.25 / 22.25));
}

// Both rows' own outputs are dormant in the sparse net; elsewhere it agrees with the full one.
//   full (1,2 | 3,6) (5,4 | 1,2.5), sparse (0,0 | 3,6) (5,4 | 0,0)
TEST_CASE("where tasks have heads of their own, the end of the net is the example's", "[unit]") {
  ChainNet net({doubles({1, 2, 3, 6, 5, 4, 1, 2.5}, {1, 2, 4})}, {kNoMask});
  const std::vector<ReadoutRun> runs = {carrying_run(0.5)};
  ProbeInput input = input_of(net, runs, doubles({1, 0, 0, 1}, {1, 2, 2}));
  input.outputs_allowed = torch::tensor({1, 1, 0, 0, 0, 0, 1, 1}).view({1, 2, 4}).ne(0);
  const auto probe = probes().at("probe", "gap")(runs);
  probe->begin(net);
  const auto rows = probe->measure(input);
  CHECK(value(rows, 0, "weights", "logit_gap") == Approx(1));
  CHECK(value(rows, 0, "weights", "logit_kl_full_sparse") ==
        Approx((kl(1, 2, 0, 0) + kl(1, 2.5, 0, 0)) / 2));
  CHECK(value(rows, 0, "weights", "logit_kl_sparse_full") ==
        Approx((kl(0, 0, 1, 2) + kl(0, 0, 1, 2.5)) / 2));
  CHECK(value(rows, 0, "weights", "top1_agreement") == 0);
  input.outputs_allowed = at::Tensor();
  CHECK(value(probe->measure(input), 0, "weights", "top1_agreement") == 1);
}

TEST_CASE("where dormant weights are zero there is a feature norm and no gap", "[unit]") {
  const at::Tensor mask = torch::tensor({1, 0, 0, 1}).view({1, 4});
  ChainNet net({doubles({3, 0, 0, 4}, {1, 2, 2})}, {mask});
  const auto rows =
      measure("gap", net, {zero_dormant_run(0.5)}, torch::ones({1, 1, 2}, torch::kDouble));
  CHECK(value(rows, 0, "weights", "feature_norm") == Approx(std::sqrt(12.5)));
  for (const char* name : {"gap", "logit_gap", "logit_kl_full_sparse", "top1_agreement"}) {
    CHECK_FALSE(has(rows, 0, "weights", name));
  }
  CHECK_FALSE(has(rows, 0, "weights/layer0", "gap"));
}

TEST_CASE("probes leave weights, masks and gradients as they were", "[unit]") {
  const at::Tensor mask = torch::tensor({1, 0, 1, 0, 1, 0}).view({1, 2, 3});
  ChainNet net({doubles({3, 0.5, 1, 2, 4, 5}, {1, 2, 3}), torch::ones({1, 3, 2}, torch::kDouble)},
               {mask, kNoMask});
  const at::Tensor before = net.layer(0).weight.value.detach().clone();
  const void* storage = net.layer(0).weight.value.data_ptr();
  const Connections* own = net.layer(0).connections.get();
  for (const auto& [name, factory] : probes().all()) {
    INFO(name);
    measure(name, net, {carrying_run(0.5)}, torch::ones({1, 3, 2}, torch::kDouble));
    CHECK(net.layer(0).weight.value.equal(before));
    CHECK(net.layer(0).weight.value.data_ptr() == storage);
    CHECK(net.layer(0).weight.value.is_leaf());
    CHECK_FALSE(net.layer(0).weight.value.grad().defined());
    CHECK(net.layer(0).connections.get() == own);
    CHECK(own->active_flags().equal(mask.view(-1).to(torch::kByte)));
    CHECK_FALSE(net.layer(1).connections->active_flags().defined());
  }
}

}  // namespace tandem::test::probes_gap_unit
