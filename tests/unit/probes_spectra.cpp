// Spectra of graphs and matrices whose singular values are known, and of hidden activations.
#include "probes/spectrum.h"
#include "probes_fixture.h"

namespace tandem::test::probes_spectra_unit {

namespace {

const std::string kLayer = "weights/layer0";

Measurements of_layers(const std::vector<at::Tensor>& weights) {
  std::vector<at::Tensor> masks;
  for (const at::Tensor& weight : weights) masks.push_back(weight.ne(0));
  ChainNet net(weights, masks);
  return measure("spectra", net, {zero_dormant_run(0.5)},
                 torch::zeros({1, 1, weights[0].size(1)}, torch::kDouble));
}

double entropy_count(std::vector<double> values) { return effective_count(values); }

}  // namespace

TEST_CASE("the entropy of n equal values counts n, of one 1", "[unit]") {
  CHECK(entropy_count({2, 2, 2}) == Approx(3));
  CHECK(entropy_count({0, 5, 0}) == Approx(1));
  CHECK(entropy_count({1, 3}) == Approx(std::exp(-0.25 * std::log(0.25) - 0.75 * std::log(0.75))));
  CHECK(std::isnan(entropy_count({0, 0})));
}

TEST_CASE("a complete bipartite graph: one component, gap 1, equal degrees", "[unit]") {
  const auto rows = of_layers({torch::full({1, 3, 4}, 2.0, torch::kDouble)});
  CHECK(value(rows, 0, kLayer, "graph_sigma2") == Approx(0).margin(1e-12));
  CHECK(value(rows, 0, kLayer, "spectral_gap") == Approx(1));
  CHECK(value(rows, 0, kLayer, "components") == 1);
  for (const char* which : {"_min", "_mean", "_max"}) {
    CHECK(value(rows, 0, kLayer, std::string("fan_in") + which) == 3);
    CHECK(value(rows, 0, kLayer, std::string("fan_out") + which) == 4);
  }
  CHECK(value(rows, 0, kLayer, "spectral_norm") == Approx(2 * std::sqrt(12.0)));
  CHECK(value(rows, 0, kLayer, "stable_rank") == Approx(1));
  CHECK(value(rows, 0, kLayer, "effective_rank") == Approx(1));
}

TEST_CASE("two blocks that don't touch: sigma2 is 1, two components", "[unit]") {
  // Inputs 0, 1 with outputs 0, 1; input 2 with outputs 2, 3, 4; output 5 with nothing.
  const auto rows =
      of_layers({doubles({1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0}, {1, 3, 6})});
  CHECK(value(rows, 0, kLayer, "graph_sigma2") == Approx(1));
  CHECK(value(rows, 0, kLayer, "spectral_gap") == Approx(0).margin(1e-12));
  CHECK(value(rows, 0, kLayer, "components") == 2);
  CHECK(value(rows, 0, kLayer, "fan_in_min") == 0);
  CHECK(value(rows, 0, kLayer, "fan_in_max") == 2);
  CHECK(value(rows, 0, kLayer, "fan_in_mean") == Approx(7.0 / 6));
  CHECK(value(rows, 0, kLayer, "fan_out_min") == 2);
  CHECK(value(rows, 0, kLayer, "fan_out_max") == 3);
}

// D_in = (2,1), D_out = (1,2): squares of the singular values are 1 and 1/4.
TEST_CASE("a path of four units has sigma2 1/2, whatever its weights", "[unit]") {
  const auto rows = of_layers({doubles({7, -2, 0, 0.1}, {1, 2, 2})});
  CHECK(value(rows, 0, kLayer, "graph_sigma2") == Approx(0.5));
  CHECK(value(rows, 0, kLayer, "components") == 1);
}

TEST_CASE("singular values 4 and 3", "[unit]") {
  const auto rows = of_layers({doubles({0, 3, -4, 0}, {1, 2, 2})});
  CHECK(value(rows, 0, kLayer, "spectral_norm") == Approx(4));
  CHECK(value(rows, 0, kLayer, "stable_rank") == Approx(25.0 / 16));
  CHECK(value(rows, 0, kLayer, "effective_rank") == Approx(entropy_count({4, 3})));
}

TEST_CASE("what is dormant takes no part, whatever it holds", "[unit]") {
  ChainNet net({doubles({9, 3, -4, 9}, {1, 2, 2})}, {torch::tensor({0, 1, 1, 0})});
  const auto rows =
      measure("spectra", net, {carrying_run(0.5, false)}, torch::zeros({1, 1, 2}, torch::kDouble));
  CHECK(value(rows, 0, kLayer, "spectral_norm") == Approx(4));
}

TEST_CASE("a chain's graph is one, its layers' may fall apart", "[unit]") {
  const at::Tensor apart = torch::eye(2, torch::kDouble).unsqueeze(0);
  const at::Tensor mixes = torch::ones({1, 2, 1}, torch::kDouble);
  const auto rows = of_layers({apart, mixes});
  CHECK(value(rows, 0, kLayer, "components") == 2);
  CHECK(value(rows, 0, "weights/layer1", "components") == 1);
  CHECK(value(rows, 0, "weights", "components") == 1);
  CHECK(value(of_layers({apart, apart}), 0, "weights", "components") == 2);
}

TEST_CASE("a layer above 1,024 units at its smaller side has degrees and no spectrum", "[unit]") {
  const at::Tensor wide = torch::ones({1, 1025, 1025}, torch::kDouble);
  const auto rows = of_layers({wide});
  CHECK_FALSE(has(rows, 0, kLayer, "spectral_norm"));
  CHECK_FALSE(has(rows, 0, kLayer, "graph_sigma2"));
  CHECK(value(rows, 0, kLayer, "fan_in_mean") == 1025);
  CHECK(value(rows, 0, kLayer, "components") == 1);
}

namespace {

// Hidden units that show the inputs as they are.
Measurements of_activations(const at::Tensor& x) {
  const std::int64_t width = x.size(2);
  ChainNet net(
      {torch::eye(width, torch::kDouble).unsqueeze(0), torch::ones({1, width, 2}, torch::kDouble)},
      {at::Tensor(), at::Tensor()});
  return measure("representation", net, {carrying_run(1)}, x);
}

}  // namespace

TEST_CASE("activations on a line use one direction, on a square two", "[unit]") {
  CHECK(value(of_activations(doubles({2, 0, 0, 2, 1, 1}, {1, 3, 2})), 0, "layer0",
              "activation_rank") == Approx(1));
  const auto square = of_activations(doubles({1, 1, 1, 3, 3, 1, 3, 3}, {1, 4, 2}));
  CHECK(value(square, 0, "layer0", "activation_rank") == Approx(2));
  CHECK(value(square, 0, "", "activation_rank") == Approx(2));
  // Fewer examples than units, of the same two directions; variances 9 and 1 of deviations 3 and 1.
  const auto wide = of_activations(doubles({1, 7, 5, 1, 7, 7, 7, 7, 5, 7, 7, 7}, {1, 3, 4}));
  CHECK(value(wide, 0, "layer0", "activation_rank") > 1);
  CHECK(value(wide, 0, "layer0", "activation_rank") <= 2);
  CHECK_FALSE(
      has(of_activations(torch::ones({1, 3, 2}, torch::kDouble)), 0, "layer0", "activation_rank"));
}

// Corners of a rectangle of sides 6 and 2: eigenvalues 36 and 4 of the scatter, shares .9 and .1
// (of their roots .75 and .25). The second has more units than examples.
TEST_CASE("activations that vary unevenly count by their variances", "[unit]") {
  const double expected = std::exp(-0.9 * std::log(0.9) - 0.1 * std::log(0.1));  // 1.384
  const auto tall = of_activations(doubles({1, 1, 1, 3, 7, 1, 7, 3}, {1, 4, 2}));
  CHECK(value(tall, 0, "layer0", "activation_rank") == Approx(expected));
  const auto wide = of_activations(
      doubles({5, 1, 1, 2, 2, 5, 1, 3, 2, 2, 5, 7, 1, 2, 2, 5, 7, 3, 2, 2}, {1, 4, 5}));
  CHECK(value(wide, 0, "layer0", "activation_rank") == Approx(expected));
}

TEST_CASE("units are dormant by their share of the layer's activity", "[unit]") {
  // Means 0, .02, .98 and 1: scores 0, .04, 1.96 and 2.
  const auto rows = of_activations(doubles({0, 0.04, 0.98, 1, 0, 0, 0.98, 1}, {1, 2, 4}));
  CHECK(value(rows, 0, "layer0", "dormant_025") == 0.25);
  CHECK(value(rows, 0, "layer0", "dormant_100") == 0.5);
  CHECK(value(rows, 0, "", "dormant_100") == 0.5);
  CHECK_FALSE(
      has(of_activations(torch::zeros({1, 3, 2}, torch::kDouble)), 0, "layer0", "dormant_025"));
}

TEST_CASE("the norm of activations is per unit", "[unit]") {
  const auto rows = of_activations(doubles({3, 4, 0, 0}, {1, 2, 2}));
  CHECK(value(rows, 0, "layer0", "activation_norm") == Approx(5 / std::sqrt(2.0) / 2));
}

}  // namespace tandem::test::probes_spectra_unit
