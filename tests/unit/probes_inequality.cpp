// Inequality of weights that are written down.
#include "probes_fixture.h"

namespace tandem::test::probes_inequality_unit {

namespace {

// One output unit that reads `weights`.
Measurements of_unit(const std::vector<double>& weights, const ReadoutRun& run,
                     const at::Tensor& mask = {}) {
  const auto inputs = static_cast<std::int64_t>(weights.size());
  ChainNet net({doubles(weights, {1, inputs, 1})}, {mask});
  return measure("inequality", net, {run}, torch::zeros({1, 1, inputs}, torch::kDouble));
}

const std::string kLayer = "weights/layer0";

}  // namespace

TEST_CASE("equal weights: the whole fan-in, no inequality", "[unit]") {
  const auto rows = of_unit({-2, 2, 2, -2, 2}, zero_dormant_run(1));
  CHECK(value(rows, 0, kLayer, "effective_fan_in") == Approx(5));
  CHECK(value(rows, 0, kLayer, "participation") == Approx(1));
  CHECK(value(rows, 0, kLayer, "hoyer") == Approx(0).margin(1e-12));
  CHECK(value(rows, 0, kLayer, "gini") == Approx(0).margin(1e-12));
  CHECK_FALSE(has(rows, 0, kLayer, "gini_all"));
}

TEST_CASE("one weight that is not zero: a fan-in of 1, all inequality there is", "[unit]") {
  const auto rows = of_unit({0, 0, -7, 0}, zero_dormant_run(1));
  CHECK(value(rows, 0, kLayer, "effective_fan_in") == Approx(1));
  CHECK(value(rows, 0, kLayer, "participation") == Approx(0.25));
  CHECK(value(rows, 0, kLayer, "hoyer") == Approx(1));
  CHECK(value(rows, 0, kLayer, "gini") == Approx(0.75));
}

TEST_CASE("1..n: gini is (n-1)/(3n), participation 3(n+1)/(2(2n+1))", "[unit]") {
  const auto rows = of_unit({3, 1, -4, 2, 5}, zero_dormant_run(1));
  CHECK(value(rows, 0, kLayer, "gini") == Approx(4.0 / 15));
  CHECK(value(rows, 0, kLayer, "participation") == Approx(9.0 / 11));
  const double root = std::sqrt(5.0);
  CHECK(value(rows, 0, kLayer, "hoyer") == Approx((root - 15 / std::sqrt(55.0)) / (root - 1)));
  double entropy = 0;
  for (const double w : {1, 2, 3, 4, 5}) entropy -= w / 15 * std::log(w / 15);
  CHECK(value(rows, 0, kLayer, "effective_fan_in") == Approx(std::exp(entropy)));
}

TEST_CASE("only active weights count; of all, where dormant ones carry values", "[unit]") {
  const at::Tensor mask = torch::tensor({1, 0, 1, 0}).view({1, 4});
  const auto zero = of_unit({3, 0, 3, 0}, zero_dormant_run(0.5), mask);
  CHECK(value(zero, 0, kLayer, "gini") == Approx(0).margin(1e-12));
  CHECK(value(zero, 0, kLayer, "effective_fan_in") == Approx(2));
  // The two largest are 4 and 3.
  const auto carry = of_unit({3, 1, -4, 2}, carrying_run(0.5));
  CHECK(value(carry, 0, kLayer, "participation") == Approx(49.0 / 50));
  CHECK(value(carry, 0, kLayer, "gini") == Approx(1.0 / 14));
  CHECK(value(carry, 0, kLayer, "gini_all") == Approx(3.0 / 12));
  CHECK(value(carry, 0, kLayer, "participation_all") == Approx(100.0 / 120));
}

TEST_CASE("fan-in is a mean over units that have any, the net's over layers", "[unit]") {
  // Units read {1,1}, {5,0}, {0,0}; the second layer is one weight.
  ChainNet net({doubles({1, 5, 0, 1, 0, 0}, {1, 2, 3}), doubles({1, 1, 1}, {1, 3, 1})}, {{}, {}});
  const auto rows =
      measure("inequality", net, {zero_dormant_run(1)}, torch::zeros({1, 1, 2}, torch::kDouble));
  CHECK(value(rows, 0, kLayer, "effective_fan_in") == Approx(1.5));
  CHECK(value(rows, 0, "weights", "effective_fan_in") == Approx((1.5 + 3) / 2));
}

}  // namespace tandem::test::probes_inequality_unit
