// Spectra of graphs and matrices whose singular values are known, and of hidden activations.
#include <algorithm>
#include <cmath>
#include <numeric>

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

namespace {

// Singular values by one-sided Jacobi rotations: columns are turned against each other until all
// are orthogonal, and their lengths are the values.
std::vector<double> jacobi_singular_values(std::vector<std::vector<double>> columns) {
  const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  };
  for (int sweep = 0; sweep < 60; ++sweep) {
    for (std::size_t p = 0; p < columns.size(); ++p) {
      for (std::size_t q = p + 1; q < columns.size(); ++q) {
        const double a = dot(columns[p], columns[p]), b = dot(columns[q], columns[q]);
        const double angle = 0.5 * std::atan2(2 * dot(columns[p], columns[q]), a - b);
        const double c = std::cos(angle), s = std::sin(angle);
        for (std::size_t i = 0; i < columns[p].size(); ++i) {
          const double x = columns[p][i], y = columns[q][i];
          columns[p][i] = c * x + s * y;
          columns[q][i] = c * y - s * x;
        }
      }
    }
  }
  std::vector<double> values;
  for (const auto& column : columns) values.push_back(std::sqrt(dot(column, column)));
  std::sort(values.rbegin(), values.rend());
  return values;
}

struct Ranks {
  double effective, srank, stable;
};
void check_ranks(const Measurements& rows, const Ranks& expected) {
  for (const char* layer : {"layer0", ""}) {
    CHECK(value(rows, 0, layer, "feature_effective_rank") == Approx(expected.effective));
    CHECK(value(rows, 0, layer, "feature_srank_01") == expected.srank);
    CHECK(value(rows, 0, layer, "feature_stable_rank") == Approx(expected.stable));
  }
}

}  // namespace

TEST_CASE("ranks of features whose singular values are known", "[unit]") {
  // 2, 1 and 1.
  check_ranks(of_activations(doubles({2, 0, 0, 0, 1, 0, 0, 0, 1}, {1, 3, 3})),
              {std::pow(2, 1.5), 3, 1.5});
  for (const std::int64_t n : {1, 2, 7}) {  // equal ones
    check_ranks(of_activations(torch::eye(n, torch::kDouble).unsqueeze(0)),
                {static_cast<double>(n), static_cast<double>(n), static_cast<double>(n)});
  }
  // Rank one, on which centring would bear: all examples alike, or multiples of each other.
  check_ranks(of_activations(torch::ones({1, 5, 3}, torch::kDouble)), {1, 1, 1});
  check_ranks(of_activations(doubles({1, 2, 3, 2, 4, 6}, {1, 2, 3})), {1, 1, 1});
  // Roots of 3 and 1, the eigenvalues of the examples' Gram matrix [[2,1],[1,2]].
  const double p = std::sqrt(3.0) / (1 + std::sqrt(3.0));
  check_ranks(of_activations(doubles({1, 1, 0, 0, 1, 1}, {1, 2, 3})),
              {std::exp(-p * std::log(p) - (1 - p) * std::log(1 - p)), 2, 4.0 / 3});
  // 99.5 and .5: one of them has 99% of the sum; of 98 and 2 it takes both.
  CHECK(value(of_activations(doubles({99.5, 0, 0, 0.5}, {1, 2, 2})), 0, "layer0",
              "feature_srank_01") == 1);
  CHECK(value(of_activations(doubles({98, 0, 0, 2}, {1, 2, 2})), 0, "layer0", "feature_srank_01") ==
        2);
  const auto silent = of_activations(torch::zeros({1, 3, 2}, torch::kDouble));
  for (const char* name : {"feature_effective_rank", "feature_srank_01", "feature_stable_rank"}) {
    CHECK_FALSE(has(silent, 0, "layer0", name));
  }
}

TEST_CASE("ranks of features against a decomposition of our own", "[unit]") {
  for (const auto& [examples, units] : {std::pair{6, 4}, {4, 6}, {9, 9}}) {
    std::vector<std::vector<double>> columns(static_cast<std::size_t>(units));
    std::vector<double> flat;
    for (int i = 0; i < examples; ++i) {
      for (int j = 0; j < units; ++j) {
        const double each = std::max(0.0, std::sin(1.7 * i * i + 2.3 * j + 0.9 * i * j) + 0.2);
        columns[static_cast<std::size_t>(j)].push_back(each);
        flat.push_back(each);
      }
    }
    const std::vector<double> s = jacobi_singular_values(columns);
    const double sum = std::accumulate(s.begin(), s.end(), 0.0);
    double entropy = 0, energy = 0, together = 0, srank = 0;
    for (const double each : s) {
      if (each > 1e-12) entropy -= each / sum * std::log(each / sum);
      energy += each * each;
      if (together < 0.99 * sum) ++srank;
      together += each;
    }
    INFO(examples << " x " << units);
    check_ranks(of_activations(doubles(flat, {1, examples, units})),
                {std::exp(entropy), srank, energy / (s[0] * s[0])});
  }
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
