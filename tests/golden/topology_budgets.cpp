// Golden vectors of the epsilon solve, shared by several frameworks, and the exact counts.
#include <catch2/catch.hpp>
#include <cmath>

#include "core/error.h"
#include "topology/budgets.h"

namespace tandem::test::topology_budgets_golden {
namespace {

std::vector<LayerShape> mlp(const std::vector<std::int64_t>& widths) {
  std::vector<LayerShape> layers;
  for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
    layers.push_back({"layer" + std::to_string(i + 1), widths[i], widths[i + 1], false});
  }
  return layers;
}

struct Golden {
  std::vector<std::int64_t> widths;
  double density, epsilon;
  std::vector<double> densities;
};

std::int64_t total_active(const std::vector<LayerBudget>& budgets) {
  std::int64_t total = 0;
  for (const auto& budget : budgets) total += budget.active;
  return total;
}

}  // namespace

TEST_CASE("ERK budgets agree with published vectors", "[golden]") {
  const Golden vectors[] = {
      {{3072, 1024, 1024, 10}, .05, 32.550000, {.0423828, .0635742, 1}},
      {{3072, 1024, 512, 10}, .01, 5.971947, {.0077760, .0174959, .6088586}},
      {{784, 300, 100, 10}, .10, 17.264151, {.0795678, .2301887, 1}},
      {{784, 300, 100, 10}, .05, 8.350063, {.0384841, .1113342, .9185069}},
      {{784, 300, 100, 10}, .02, 3.340025, {.0153937, .0445337, .3674028}},
      {{784, 300, 100, 10}, .01, 1.670013, {.0076968, .0222668, .1837014}},
      {{784, 1024, 512, 10}, .05, 18.388517, {.0414123, .0538726, 1}},
      {{784, 512, 512, 10}, .10, 26.615172, {.0859307, .1039655, 1}},
  };
  for (const auto& golden : vectors) {
    const auto layers = mlp(golden.widths);
    for (const auto kind : {Start::Budget::kErk, Start::Budget::kEr}) {
      CAPTURE(golden.widths, golden.density);
      CHECK(budget_epsilon(layers, golden.density, kind) == Approx(golden.epsilon).margin(2e-6));
      const auto budgets = spread_budget(layers, golden.density, kind);
      std::int64_t all = 0;
      for (std::size_t l = 0; l < layers.size(); ++l) {
        CHECK(budgets[l].density == Approx(golden.densities[l]).margin(6e-8));
        const std::int64_t n = layers[l].positions();
        all += n;
        CHECK(budgets[l].active == n - static_cast<std::int64_t>(std::floor(
                                           (1 - budgets[l].density) * static_cast<double>(n))));
      }
      // Each layer rounds up by less than one connection, before and after the solve.
      CHECK(std::abs(static_cast<double>(total_active(budgets)) -
                     golden.density * static_cast<double>(all)) <= 2.0 * layers.size());
    }
  }
}

TEST_CASE("uniform budgets, exempt layers and density 1", "[golden]") {
  auto layers = mlp({784, 300, 100, 10});
  const auto uniform = spread_budget(layers, .1, Start::Budget::kUniform);
  CHECK(uniform[0].active == 23520);
  CHECK(uniform[1].active == 3000);
  CHECK(uniform[2].active == 100);
  CHECK(budget_epsilon(layers, .1, Start::Budget::kUniform) == .1);
  for (const auto kind : {Start::Budget::kUniform, Start::Budget::kEr, Start::Budget::kErk}) {
    for (const auto& budget : spread_budget(layers, 1, kind)) CHECK(budget.density == 1);
    CHECK(total_active(spread_budget(layers, 1, kind)) == 784 * 300 + 300 * 100 + 100 * 10);
  }
  layers[2].exempt = true;
  for (const auto kind : {Start::Budget::kUniform, Start::Budget::kErk}) {
    const auto budgets = spread_budget(layers, .05, kind);
    CHECK(budgets[2].active == 1000);
    // The exempt layer is left out of the budget: the others have theirs, to a rounding each.
    CHECK(std::abs(budgets[0].active + budgets[1].active - 13260) <= 2);
  }
}

TEST_CASE("counts forgive the rounding of a decimal share", "[golden]") {
  CHECK(floor_count(0.29, 100) == 29);  // 28.999999999999996 in binary
  CHECK(floor_count(1 - 0.9, 10) == 1);
  CHECK(floor_count(0.3, 11) == 3);
  CHECK(floor_count(0, 5) == 0);
  CHECK(floor_count(1, 5) == 5);
  CHECK(spread_budget({{"a", 1, 10, false}}, .9, Start::Budget::kUniform)[0].active == 9);
}

TEST_CASE("impossible budgets are config errors", "[golden]") {
  const auto layers = mlp({10, 10, 10});
  for (const double density : {0.0, -0.1, 1.5, std::nan("")}) {
    CHECK_THROWS_AS(spread_budget(layers, density, Start::Budget::kEr), ConfigError);
    CHECK_THROWS_AS(budget_epsilon(layers, density, Start::Budget::kUniform), ConfigError);
  }
  CHECK_THROWS_AS(spread_budget(mlp({10, 0}), .5, Start::Budget::kUniform), ConfigError);
  // The smallest budget still leaves one connection in each layer.
  for (const auto& budget : spread_budget(layers, 1e-9, Start::Budget::kErk)) {
    CHECK(budget.active == 1);
  }
}

}  // namespace tandem::test::topology_budgets_golden
