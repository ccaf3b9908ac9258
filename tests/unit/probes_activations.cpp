// Activation sparsity of units that are written down.
#include "probes_fixture.h"

namespace tandem::test::probes_activations_unit {

namespace {

// Hidden units that show the inputs as they are.
ChainNet mirror(std::int64_t replicas, std::int64_t width) {
  const at::Tensor eye = torch::eye(width, torch::kDouble).expand({replicas, width, width});
  return ChainNet({eye, torch::ones({replicas, width, 2}, torch::kDouble)},
                  {at::Tensor(), at::Tensor()});
}

}  // namespace

TEST_CASE("(3,4,0,0) is half active", "[unit]") {
  ChainNet net = mirror(1, 4);
  const auto rows =
      measure("activations", net, {carrying_run(1)}, doubles({3, 4, 0, 0}, {1, 1, 4}));
  CHECK(value(rows, 0, "layer0", "l0") == 0.5);
  CHECK(value(rows, 0, "layer0", "dead_units") == 2);
  CHECK(value(rows, 0, "layer0", "live_l0") == 1);
  CHECK(value(rows, 0, "", "l0") == 0.5);
  CHECK_FALSE(has(rows, 0, "layer1", "l0"));
}

TEST_CASE("l0 of .1 with half of the units dead is .2 of the living", "[unit]") {
  at::Tensor x = torch::zeros({2, 10, 10}, torch::kDouble);
  for (std::int64_t i = 0; i < 10; ++i) x[0][i][i % 5] = 1e-9 + static_cast<double>(i);
  x[1].fill_(1);
  ChainNet net = mirror(2, 10);
  const auto rows = measure("activations", net, {carrying_run(1), carrying_run(1)}, x);
  CHECK(value(rows, 0, "layer0", "l0") == Approx(0.1));
  CHECK(value(rows, 0, "layer0", "dead_units") == 5);
  CHECK(value(rows, 0, "layer0", "live_l0") == Approx(0.2));
  CHECK(value(rows, 1, "layer0", "l0") == 1);
  CHECK(value(rows, 1, "", "dead_units") == 0);
}

TEST_CASE("a layer whose units are all dead has no live l0", "[unit]") {
  ChainNet net = mirror(1, 3);
  const auto rows =
      measure("activations", net, {carrying_run(1)}, torch::full({1, 2, 3}, -1.0, torch::kDouble));
  CHECK(value(rows, 0, "layer0", "l0") == 0);
  CHECK(value(rows, 0, "layer0", "dead_units") == 3);
  CHECK_FALSE(has(rows, 0, "layer0", "live_l0"));
}

TEST_CASE("a method that trains its sparse stream only is looked at through it", "[unit]") {
  const at::Tensor mask = torch::tensor({1, 0, 0, 0}).view({1, 4});
  ChainNet net({torch::ones({1, 2, 2}, torch::kDouble), torch::ones({1, 2, 2}, torch::kDouble)},
               {mask, at::Tensor()});
  const at::Tensor x = torch::ones({1, 1, 2}, torch::kDouble);
  CHECK(value(measure("activations", net, {carrying_run(0.5, false)}, x), 0, "layer0", "l0") ==
        0.5);
  CHECK(value(measure("activations", net, {carrying_run(0.5, true)}, x), 0, "layer0", "l0") == 1);
}

}  // namespace tandem::test::probes_activations_unit
