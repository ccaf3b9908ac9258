// Criteria against their formulas, on random layers in double precision.
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "data/tensor.h"
#include "topology/criteria.h"
#include "topology/masked_connections.h"
#include "topology/sparse_connections.h"

namespace tandem::test::topology_criteria_numeric {

namespace {

using Edges = std::set<std::pair<std::int64_t, std::int64_t>>;  // (input, output)

// By the definition: all paths u - z1 - z2 - v, and of each node the links that leave the
// community.
double ch3_by_paths(const Edges& edges, std::int64_t inputs, std::int64_t outputs, std::int64_t u,
                    std::int64_t v) {
  std::set<std::int64_t> near_u, near_v;  // nodes on paths: outputs, inputs
  std::vector<std::pair<std::int64_t, std::int64_t>> paths;
  for (std::int64_t z1 = 0; z1 < outputs; ++z1) {
    for (std::int64_t z2 = 0; z2 < inputs; ++z2) {
      if (z1 == v || z2 == u) continue;
      if (!edges.contains({u, z1}) || !edges.contains({z2, z1}) || !edges.contains({z2, v}))
        continue;
      paths.emplace_back(z1, z2);
      near_u.insert(z1);
      near_v.insert(z2);
    }
  }
  const auto external_of_output = [&](std::int64_t z1) {
    double external = 0;
    for (const auto& [input, output] : edges) {
      if (output == z1 && input != u && !near_v.contains(input)) ++external;
    }
    return external;
  };
  const auto external_of_input = [&](std::int64_t z2) {
    double external = 0;
    for (const auto& [input, output] : edges) {
      if (input == z2 && output != v && !near_u.contains(output)) ++external;
    }
    return external;
  };
  double score = 0;
  for (const auto& [z1, z2] : paths) {
    score += 1 / std::sqrt((1 + external_of_output(z1)) * (1 + external_of_input(z2)));
  }
  return score;
}

}  // namespace

TEST_CASE("CH3-L3 is the sum over paths of length three", "[numeric]") {
  torch::manual_seed(5);
  const std::vector<std::pair<std::int64_t, std::int64_t>> shapes = {{9, 7},   {7, 9},  {26, 15},
                                                                     {15, 26}, {12, 1}, {1, 12}};
  int with_paths = 0;
  for (const auto& [inputs, outputs] : shapes) {
    CAPTURE(inputs, outputs);
    const at::Tensor drawn = torch::rand({inputs * outputs}, torch::kDouble).lt(0.3);
    Edges edges;
    std::vector<std::int64_t> positions;
    for (std::int64_t i = 0; i < inputs * outputs; ++i) {
      if (!drawn[i].item<bool>()) continue;
      positions.push_back(i);
      edges.insert({i / outputs, i % outputs});
    }
    const ActiveSet active = ActiveSet::of_positions(positions);
    const at::Tensor scores = criterion("ch3_l3").of_topology({active, inputs, outputs, 7});
    const at::Tensor plain = criterion("ch3_l3_plain").of_topology({active, inputs, outputs, 7});
    for (std::int64_t i = 0; i < inputs * outputs; ++i) {
      if (drawn[i].item<bool>()) {
        REQUIRE(plain[i].item<double>() == 0);
        continue;
      }
      const double expected = ch3_by_paths(edges, inputs, outputs, i / outputs, i % outputs);
      const double own = scores[i].item<double>();
      CAPTURE(i, expected, own);
      REQUIRE(plain[i].item<double>() == Approx(expected).epsilon(1e-12));
      with_paths += expected > 0;
      if (expected == 0) {
        REQUIRE((own >= 0 && own < 2e-6));
      } else {
        REQUIRE(own == Approx(expected).epsilon(2e-5));
      }
    }
  }
  REQUIRE(with_paths > 400);
}

TEST_CASE("both storages score alike: inputs, gradients, parameters, topology", "[numeric]") {
  torch::manual_seed(3);
  const std::int64_t inputs = 6, outputs = 5, n = inputs * outputs;
  const at::Tensor w = torch::randn({1, inputs, outputs}, torch::kDouble);
  const at::Tensor mask = torch::rand({1, n}, torch::kDouble).lt(0.4).to(torch::kByte);
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < n; ++i) {
    if (mask[0][i].item<std::uint8_t>() != 0) positions.push_back(i);
  }
  Parameter dense, flat;
  dense.name = flat.name = "layer.weight";
  dense.value = (w * mask.view_as(w)).clone().requires_grad_(true);
  MaskedConnections masked(dense, mask);
  masked.set_zero_dormant(true);
  flat.value = w.view(-1).index_select(0, torch::tensor(positions)).clone().requires_grad_(true);
  SparseConnections sparse(flat, inputs, outputs, {positions});
  const at::Tensor x = torch::randn({1, 4, inputs}, torch::kDouble);
  const at::Tensor target = torch::randn({1, 4, outputs}, torch::kDouble);
  ProductPlan plan;
  plan.full = false;
  plan.sparse = true;
  for (Connections* each :
       {static_cast<Connections*>(&masked), static_cast<Connections*>(&sparse)}) {
    each->expect_inputs(true);
    each->expect_gradient(true);
    const at::Tensor y = each->product(x, {}, plan).sparse;
    (y * target).sum().backward();
  }
  const at::Tensor rms = x.square().mean(1).sqrt()[0];  // [in]
  const at::Tensor gradient = torch::mm(x[0].t(), target[0]).view(-1);
  const at::Tensor values = dense.value.detach().view(-1);
  for (const std::string name : {"magnitude_input", "magnitude_gradient", "saliency"}) {
    Criterion chosen = criterion(name);
    chosen.parameter = 0.3;
    const at::Tensor by_hand = name == "magnitude_input"
                                   ? values.abs() * rms.repeat_interleave(outputs)
                               : name == "magnitude_gradient" ? values.abs() + 0.3 * gradient.abs()
                                                              : (values * gradient).abs();
    for (const Candidates among : {Candidates::kAll, Candidates::kInactive, Candidates::kActive}) {
      CAPTURE(name, static_cast<int>(among));
      const auto collected = [&](Connections& connections) {
        std::vector<double> all;
        connections.visit_scores(0, chosen, among,
                                 [&](const at::Tensor& scores, const at::Tensor& flags) {
                                   for (std::int64_t i = 0; i < scores.numel(); ++i) {
                                     if (flags.defined() && flags[i].item<std::uint8_t>() == 0)
                                       continue;
                                     all.push_back(scores[i].item<double>());
                                   }
                                 });
        return all;
      };
      std::vector<double> expected;
      for (std::int64_t i = 0; i < n; ++i) {
        const bool active = mask[0][i].item<std::uint8_t>() != 0;
        if (among == Candidates::kAll || active == (among == Candidates::kActive)) {
          expected.push_back(by_hand[i].item<double>());
        }
      }
      const auto mine = collected(masked), other = collected(sparse);
      REQUIRE(mine.size() == expected.size());
      REQUIRE(other.size() == expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        REQUIRE(mine[i] == Approx(expected[i]).margin(1e-12));
        REQUIRE(other[i] == Approx(expected[i]).margin(1e-12));
      }
    }
  }
}

}  // namespace tandem::test::topology_criteria_numeric
