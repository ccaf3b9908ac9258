// The factor eps is solved for by rounds, in real numbers (RigL's code rounds each layer inside the
// solve, which moves eps by about 1e-5; counts are rounded here only at the end):
//   eps = (density sum over sparse l of n_l - (1 - density) sum over dense l of n_l) / sum raw_l
//   n_l,
// and if eps raw_l > 1 anywhere, all layers with the largest raw become dense and eps is solved
// again.
#include "topology/budgets.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace tandem {
namespace {

double raw_density(const LayerShape& layer, Start::Budget kind) {
  if (kind == Start::Budget::kUniform) return 1;
  return static_cast<double>(layer.inputs + layer.outputs) / static_cast<double>(layer.positions());
}

struct Solution {
  double epsilon = 0;
  std::vector<char> dense;
};

Solution solve(const std::vector<LayerShape>& layers, double density, Start::Budget kind) {
  Solution solution;
  for (const auto& layer : layers) solution.dense.push_back(layer.exempt);
  for (;;) {
    double budget = 0, weighted = 0, largest = 0;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      if (layers[l].exempt) continue;
      const auto n = static_cast<double>(layers[l].positions());
      if (solution.dense[l]) {
        budget -= (1 - density) * n;
        continue;
      }
      const double raw = raw_density(layers[l], kind);
      budget += density * n;
      weighted += raw * n;
      largest = std::max(largest, raw);
    }
    if (weighted == 0) return solution;
    solution.epsilon = budget / weighted;
    if (solution.epsilon * largest <= 1) return solution;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      if (raw_density(layers[l], kind) == largest) solution.dense[l] = true;
    }
  }
}

void check(const std::vector<LayerShape>& layers, double density) {
  if (!(density > 0 && density <= 1)) {
    throw ConfigError(fmt::format(
        "density {} is out of range: give the share of weights kept, above 0 and at most 1",
        density));
  }
  for (const auto& layer : layers) {
    if (layer.inputs < 1 || layer.outputs < 1) {
      throw ConfigError(fmt::format("layer '{}' is {} x {}; widths must be at least 1", layer.name,
                                    layer.inputs, layer.outputs));
    }
  }
}

}  // namespace

std::int64_t floor_count(double share, std::int64_t n) {
  const double exact = share * static_cast<double>(n);
  const double nearest = std::round(exact);
  const double slack = 1e-12 * static_cast<double>(n);
  return static_cast<std::int64_t>(std::abs(exact - nearest) <= slack ? nearest
                                                                      : std::floor(exact));
}

double budget_epsilon(const std::vector<LayerShape>& layers, double density, Start::Budget kind) {
  check(layers, density);
  return kind == Start::Budget::kUniform ? density : solve(layers, density, kind).epsilon;
}

std::vector<LayerBudget> spread_budget(const std::vector<LayerShape>& layers, double density,
                                       Start::Budget kind) {
  check(layers, density);
  const bool uniform = kind == Start::Budget::kUniform || density == 1;
  const Solution solution = uniform ? Solution{} : solve(layers, density, kind);
  std::vector<LayerBudget> budgets;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    LayerBudget budget;
    if (uniform) {
      budget.density = layers[l].exempt ? 1 : density;
    } else {
      budget.density = solution.dense[l] ? 1 : solution.epsilon * raw_density(layers[l], kind);
    }
    const std::int64_t n = layers[l].positions();
    budget.active = n - floor_count(1 - budget.density, n);
    if (budget.active < 1) {
      throw ConfigError(fmt::format(
          "density {} leaves layer '{}' ({} x {}) without any connection: raise the density, or "
          "take budget = uniform, or exempt fewer layers",
          density, layers[l].name, layers[l].inputs, layers[l].outputs));
    }
    budgets.push_back(budget);
  }
  return budgets;
}

std::int64_t item_count(const LayerShape& layer, const Granularity& granularity) {
  if (granularity.kind != Granularity::Kind::kBlock) return layer.positions();
  const std::int64_t side = granularity.block;
  return ((layer.inputs + side - 1) / side) * ((layer.outputs + side - 1) / side);
}

std::int64_t group_quota(const Granularity& granularity, std::int64_t length) {
  return (length * granularity.n + granularity.m - 1) / granularity.m;
}

std::int64_t budget_items(const LayerShape& layer, const Granularity& granularity,
                          std::int64_t active) {
  switch (granularity.kind) {
    case Granularity::Kind::kElement:
      return active;
    case Granularity::Kind::kFanIn: {
      const double each = static_cast<double>(active) / static_cast<double>(layer.outputs);
      return layer.outputs * std::max<std::int64_t>(1, std::llround(each));
    }
    case Granularity::Kind::kNm: {
      const std::int64_t whole = layer.inputs / granularity.m, rest = layer.inputs % granularity.m;
      return layer.outputs * (whole * granularity.n + group_quota(granularity, rest));
    }
    case Granularity::Kind::kBlock: {
      const std::int64_t blocks = item_count(layer, granularity);
      return std::max<std::int64_t>(1, active * blocks / layer.positions());
    }
  }
  return active;
}

std::int64_t budget_positions(const LayerShape& layer, const Granularity& granularity,
                              std::int64_t items) {
  const std::int64_t all = item_count(layer, granularity);
  return (items * layer.positions() + all - 1) / all;
}

std::vector<LayerBudget> spread_budget(const std::vector<LayerShape>& layers, const Start& start,
                                       double density) {
  const Granularity& granularity = start.granularity;
  const bool in_groups = granularity.kind == Granularity::Kind::kNm;
  const double share = static_cast<double>(granularity.n) / static_cast<double>(granularity.m);
  if (in_groups && std::abs(density - share) > 1e-9) {
    throw ConfigError(fmt::format("density {} with {} of each {} weights active: give density {}",
                                  density, granularity.n, granularity.m, share));
  }
  auto budgets = spread_budget(layers, density, in_groups ? Start::Budget::kUniform : start.budget);
  if (granularity.kind == Granularity::Kind::kElement) return budgets;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    if (layers[l].exempt) continue;
    const std::int64_t n = layers[l].positions();
    const std::int64_t items = budget_items(layers[l], granularity, budgets[l].active);
    budgets[l].active = budget_positions(layers[l], granularity, items);
    budgets[l].density = static_cast<double>(budgets[l].active) / static_cast<double>(n);
  }
  return budgets;
}

}  // namespace tandem
