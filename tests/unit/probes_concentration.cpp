// Pruning within the trained net, by hand.
#include "probes_fixture.h"

namespace tandem::test::probes_concentration_unit {

namespace {

// Active: 4 3 2 1 into unit 0, -4 2 into unit 1. The two others hold `dormant`.
std::unique_ptr<ChainNet> net_with(double dormant) {
  return std::make_unique<ChainNet>(
      std::vector<at::Tensor>{doubles({4, -4, 3, dormant, 2, dormant, 1, 2}, {1, 4, 2})},
      std::vector<at::Tensor>{torch::tensor({1, 1, 1, 0, 1, 0, 1, 1}).view({1, 8})});
}

}  // namespace

TEST_CASE("a net is pruned within itself, asked of every kind of method alike", "[unit]") {
  const at::Tensor x = torch::ones({1, 1, 4}, torch::kDouble);
  const bool zero = GENERATE(true, false);
  const auto net = net_with(zero ? 0.0 : 0.5);
  const ReadoutRun run = zero ? zero_dormant_run(0.75) : carrying_run(0.75);
  const auto rows = measure("concentration", *net, {run}, x);
  // logits: (10,-2) with all 6, (7,-4) with 3, (4,0) with 1: the tie goes to the smaller index.
  CHECK(value(rows, 0, "weights", "output_error_half") ==
        Approx(std::sqrt(9.0 + 4) / std::sqrt(104.0)));
  CHECK(value(rows, 0, "weights", "output_error_quarter") ==
        Approx(std::sqrt(36.0 + 4) / std::sqrt(104.0)));
  CHECK(value(rows, 0, "weights", "loss_active") == Approx(std::log1p(std::exp(-12.0))));
  CHECK(value(rows, 0, "weights", "loss_half") == Approx(std::log1p(std::exp(-11.0))));
  CHECK(value(rows, 0, "weights", "loss_quarter") == Approx(std::log1p(std::exp(-4.0))));
  CHECK(value(rows, 0, "weights", "accuracy_half") == 1);
  CHECK(value(rows, 0, "weights/layer0", "top_half_mass") == Approx((0.7 + 4.0 / 6) / 2));
  CHECK(value(rows, 0, "weights", "top_half_mass") == Approx((0.7 + 4.0 / 6) / 2));
  CHECK(net->layer(0).weight.value.requires_grad());
}

// x = (1, 1). All weights of layer0 are smaller than those of layer1, so that a cut over both
// layers would take layer0 away.
//   all      h = (.6, .4), logits (3.2, 1.8, 5.6)
//   half     .4 .3 | 4, 6, 5         h = (.4, .3), logits (1.6, 0, 3.9)
//   quarter  .4    | 6               h = (.4, 0),  logits (0, 0, 2.4)
TEST_CASE("each layer is pruned within itself", "[unit]") {
  ChainNet net({doubles({0.4, 0.3, 0.2, 0.1}, {1, 2, 2}), doubles({4, 1, 6, 2, 3, 5}, {1, 2, 3})},
               {at::Tensor(), at::Tensor()});
  const auto rows =
      measure("concentration", net, {zero_dormant_run(1)}, torch::ones({1, 1, 2}, torch::kDouble));
  const auto loss = [](double a, double b, double c) {  // of class 0
    return std::log(std::exp(a) + std::exp(b) + std::exp(c)) - a;
  };
  CHECK(value(rows, 0, "weights", "loss_active") == Approx(loss(3.2, 1.8, 5.6)));
  CHECK(value(rows, 0, "weights", "loss_half") == Approx(loss(1.6, 0, 3.9)));
  CHECK(value(rows, 0, "weights", "loss_quarter") == Approx(loss(0, 0, 2.4)));
  const double norm = std::sqrt(3.2 * 3.2 + 1.8 * 1.8 + 5.6 * 5.6);
  CHECK(value(rows, 0, "weights", "output_error_half") ==
        Approx(std::sqrt(1.6 * 1.6 + 1.8 * 1.8 + 1.7 * 1.7) / norm));
  CHECK(value(rows, 0, "weights", "output_error_quarter") ==
        Approx(std::sqrt(3.2 * 3.2 + 1.8 * 1.8 + 3.2 * 3.2) / norm));
  const double first = (2.0 / 3 + 3.0 / 4) / 2, second = (2.0 / 3 + 3.0 / 4 + 6.0 / 11) / 3;
  CHECK(value(rows, 0, "weights/layer0", "top_half_mass") == Approx(first));
  CHECK(value(rows, 0, "weights/layer1", "top_half_mass") == Approx(second));
  CHECK(value(rows, 0, "weights", "top_half_mass") == Approx((first + second) / 2));
}

TEST_CASE("the error of outputs is that of the example's own head", "[unit]") {
  // The four largest of eight are in the other head: nothing is left of the own outputs.
  ChainNet net({doubles({1, 2, 3, 6, 5, 4, 1, 2.5}, {1, 2, 4})}, {at::Tensor()});
  const std::vector<ReadoutRun> runs = {zero_dormant_run(1)};
  ProbeInput input = input_of(net, runs, doubles({1, 0, 0, 1}, {1, 2, 2}));
  input.outputs_allowed = torch::tensor({1, 1, 0, 0, 0, 0, 1, 1}).view({1, 2, 4}).ne(0);
  const auto probe = probes().at("probe", "concentration")(runs);
  probe->begin(net);
  const auto rows = probe->measure(input);
  CHECK(value(rows, 0, "weights", "output_error_half") == Approx(1));
  input.outputs_allowed = at::Tensor();
  CHECK(value(probe->measure(input), 0, "weights", "output_error_half") ==
        Approx(std::sqrt((1 + 4 + 1 + 6.25) / (1 + 4 + 9 + 36 + 25 + 16 + 1 + 6.25))));
}

TEST_CASE("the top half is rounded down, and units with one weight have none", "[unit]") {
  const at::Tensor mask = torch::tensor({1, 1, 1, 0, 1, 0}).view({1, 3, 2});
  ChainNet net({doubles({5, 7, 3, 0, 2, 0}, {1, 3, 2})}, {mask});
  const auto rows = measure("concentration", net, {zero_dormant_run(0.5)},
                            torch::ones({1, 1, 3}, torch::kDouble));
  CHECK(value(rows, 0, "weights/layer0", "top_half_mass") == Approx(0.5));
}

TEST_CASE("accuracy counts what the pruned net still gets right", "[unit]") {
  // Without the weight 1 the second example is lost.
  ChainNet net({doubles({2, 0, 1, 0}, {1, 2, 2})}, {torch::tensor({1, 0, 1, 0}).view({1, 4})});
  const at::Tensor x = doubles({1, 0, -1, 3}, {1, 2, 2});
  const auto rows = measure("concentration", net, {zero_dormant_run(0.5)}, x);
  CHECK(value(rows, 0, "weights", "accuracy_active") == 1);
  CHECK(value(rows, 0, "weights", "accuracy_half") == 0.5);
}

}  // namespace tandem::test::probes_concentration_unit
