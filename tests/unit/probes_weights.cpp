// Mass, entropy and paths of nets small enough for a pencil.
#include "probes_fixture.h"

namespace tandem::test::probes_weights_unit {

namespace {
const at::Tensor kNoMask;
const at::Tensor kNoInput = torch::zeros({1, 1, 1}, torch::kDouble);
}  // namespace

TEST_CASE("kept mass and energy by hand, per replica's density", "[unit]") {
  const std::vector<double> w = {4, -3, 2, 1};
  ChainNet net({torch::stack({doubles(w, {2, 2}), doubles(w, {2, 2})})}, {kNoMask});
  const std::vector<ReadoutRun> runs = {carrying_run(0.5), carrying_run(0.25)};
  const auto rows = measure("weights", net, runs, kNoInput);
  CHECK(value(rows, 0, "weights/layer0", "kept_mass") == Approx(0.7));
  CHECK(value(rows, 0, "weights/layer0", "kept_energy") == Approx(25.0 / 30));
  CHECK(value(rows, 1, "weights/layer0", "kept_mass") == Approx(0.4));
  CHECK(value(rows, 1, "weights/layer0", "kept_energy") == Approx(16.0 / 30));
}

TEST_CASE("kept mass ranks by magnitude afresh, whatever is active", "[unit]") {
  ChainNet net({doubles({4, 3, 2, 1}, {1, 2, 2})}, {torch::tensor({0, 0, 1, 1}).view({1, 4})});
  const auto rows = measure("weights", net, {carrying_run(0.5, false)}, kNoInput);
  CHECK(value(rows, 0, "weights/layer0", "kept_mass") == Approx(0.7));
}

TEST_CASE("the whole net's kept mass is the mean over layers", "[unit]") {
  ChainNet net({doubles({4, 3, 2, 1}, {1, 2, 2}), doubles({1, 1, 1, 1}, {1, 2, 2})},
               {kNoMask, kNoMask});
  const auto rows = measure("weights", net, {carrying_run(0.5)}, kNoInput);
  CHECK(value(rows, 0, "weights", "kept_mass") == Approx((0.7 + 0.5) / 2));
}

TEST_CASE("where dormant weights are zero there is no kept mass, but all the rest", "[unit]") {
  ChainNet net({doubles({4, 0, 2, 0}, {1, 2, 2})}, {torch::tensor({1, 0, 1, 0}).view({1, 4})});
  const auto rows = measure("weights", net, {zero_dormant_run(0.5)}, kNoInput);
  for (const char* layer : {"weights", "weights/layer0"}) {
    CHECK_FALSE(has(rows, 0, layer, "kept_mass"));
    CHECK_FALSE(has(rows, 0, layer, "kept_energy"));
    for (const char* name :
         {"entropy", "row_entropy", "active_count", "density", "effective_density"}) {
      CHECK(has(rows, 0, layer, name));
    }
  }
}

TEST_CASE("entropy of a layer and of the weights that enter a unit", "[unit]") {
  // Unit 0 has (1,1), unit 1 has (2,0): p of the layer = 1/4, 1/4, 1/2.
  ChainNet net({doubles({1, 2, -1, 0}, {1, 2, 2})}, {kNoMask});
  const auto rows = measure("weights", net, {carrying_run(1)}, kNoInput);
  CHECK(value(rows, 0, "weights/layer0", "entropy") == Approx(1.5 / 2));  // bits over log2 4
  CHECK(value(rows, 0, "weights/layer0", "row_entropy") == Approx(0.5));
  ChainNet even({torch::full({1, 3, 5}, -0.2, torch::kDouble)}, {kNoMask});
  const auto all = measure("weights", even, {carrying_run(1)}, kNoInput);
  CHECK(value(all, 0, "weights", "entropy") == Approx(1));
  CHECK(value(all, 0, "weights", "row_entropy") == Approx(1));
}

TEST_CASE("units without weights take no part in row_entropy; an empty layer has none", "[unit]") {
  ChainNet net({doubles({1, 0, 1, 0}, {1, 2, 2}), torch::zeros({1, 2, 2}, torch::kDouble)},
               {kNoMask, kNoMask});
  const auto rows = measure("weights", net, {carrying_run(1)}, kNoInput);
  CHECK(value(rows, 0, "weights/layer0", "row_entropy") == Approx(1));
  CHECK_FALSE(has(rows, 0, "weights/layer1", "row_entropy"));
  CHECK_FALSE(has(rows, 0, "weights/layer1", "entropy"));
  CHECK_FALSE(has(rows, 0, "weights/layer1", "kept_mass"));
  CHECK(value(rows, 0, "weights", "row_entropy") == Approx(1));
}

TEST_CASE("effective density leaves out what lies on no path", "[unit]") {
  // Hidden unit 1 has no way out, unit 2 none in.
  const at::Tensor m0 = torch::tensor({1, 0, 0, 1, 1, 0}).view({1, 2, 3});
  const at::Tensor m1 = torch::tensor({1, 0, 0, 0, 0, 1}).view({1, 3, 2});
  ChainNet net({m0.to(torch::kDouble), m1.to(torch::kDouble)}, {m0, m1});
  const auto rows = measure("weights", net, {zero_dormant_run(0.5)}, kNoInput);
  CHECK(value(rows, 0, "weights/layer0", "active_count") == 3);
  CHECK(value(rows, 0, "weights/layer1", "active_count") == 2);
  CHECK(value(rows, 0, "weights", "active_count") == 5);
  CHECK(value(rows, 0, "weights/layer0", "density") == Approx(3.0 / 6));
  CHECK(value(rows, 0, "weights", "density") == Approx(5.0 / 12));
  CHECK(value(rows, 0, "weights/layer0", "effective_density") == Approx(2.0 / 6));
  CHECK(value(rows, 0, "weights/layer1", "effective_density") == Approx(1.0 / 6));
  CHECK(value(rows, 0, "weights", "effective_density") == Approx(3.0 / 12));
}

TEST_CASE("a layer cut off by its successors has no effective weight", "[unit]") {
  const at::Tensor all = torch::ones({1, 2, 2}), none = torch::zeros({1, 2, 2});
  ChainNet net({all.to(torch::kDouble), all.to(torch::kDouble), none.to(torch::kDouble)},
               {all, all, none});
  const auto rows = measure("weights", net, {zero_dormant_run(0.5)}, kNoInput);
  CHECK(value(rows, 0, "weights", "effective_density") == 0);
  CHECK(value(rows, 0, "weights", "density") == Approx(8.0 / 12));
}

TEST_CASE("a layer without connections is part of the paths only", "[unit]") {
  const at::Tensor m0 = torch::tensor({1, 0, 0, 0}).view({1, 2, 2});
  ChainNet net({m0.to(torch::kDouble), torch::ones({1, 2, 2}, torch::kDouble)}, {m0, kNoMask});
  net.layer(1).connections.reset();
  const auto rows = measure("weights", net, {zero_dormant_run(0.25)}, kNoInput);
  CHECK_FALSE(has(rows, 0, "weights/layer1", "entropy"));
  CHECK(value(rows, 0, "weights", "effective_density") == Approx(0.25));
  CHECK(value(rows, 0, "weights", "density") == Approx(0.25));
}

TEST_CASE("effective density of a net that is dense in training is that of its read-out",
          "[unit]") {
  ChainNet net({doubles({4, 1, 3, 2}, {1, 2, 2}), doubles({4, 3, 1, 2}, {1, 2, 2})},
               {kNoMask, kNoMask});
  const auto rows = measure("weights", net, {carrying_run(0.5)}, kNoInput);
  CHECK(value(rows, 0, "weights", "density") == 1);
  CHECK(value(rows, 0, "weights", "effective_density") == Approx(0.5));
}

}  // namespace tandem::test::probes_weights_unit
