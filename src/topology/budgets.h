// This file spreads a global density over layers, with exact counts. With
// raw_l = (n_in + n_out) / (n_in n_out) (ER; equal to ERK for linear layers), density_l = eps
// raw_l; layers that would exceed 1 become dense and eps is solved again (Evci et al. 2020,
// appendix).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policy/policy.h"

namespace tandem {

struct LayerShape {
  std::string name;
  std::int64_t inputs = 0, outputs = 0;
  bool exempt = false;  // kept dense and left out of the budget
  std::int64_t positions() const { return inputs * outputs; }
};

struct LayerBudget {
  double density = 1;
  std::int64_t active = 0;  // n_l - floor((1 - density_l) n_l)
};

// Returns floor(share * n), forgiving the rounding of the share: 0.29 of 100 is 29.
std::int64_t floor_count(double share, std::int64_t n);

// Throws ConfigError when the density is not in (0,1] or leaves a layer without any connection.
std::vector<LayerBudget> spread_budget(const std::vector<LayerShape>& layers, double density,
                                       Start::Budget kind);
// Does the same in counts that the start's granularity can hold (see budget_items). Under n_m each
// layer has n/m, whatever the start's budget says, and another density is a ConfigError.
std::vector<LayerBudget> spread_budget(const std::vector<LayerShape>& layers, const Start& start,
                                       double density);
// Returns eps of density_l = eps raw_l after the last round; for kUniform it is the density itself.
double budget_epsilon(const std::vector<LayerShape>& layers, double density, Start::Budget kind);

// Returns the number of items that a granularity chooses among: positions, or blocks, of which
// those at the edges may be partial.
std::int64_t item_count(const LayerShape& layer, const Granularity& granularity);
// Returns how many of these items a budget of `active` positions holds. Under fan_in every unit has
// the nearest fan-in, at least 1; under n_m n of each m inputs are active; under block it is the
// same share of the blocks, rounded down, at least 1.
std::int64_t budget_items(const LayerShape& layer, const Granularity& granularity,
                          std::int64_t active);
// Returns the budget in positions that holds so many items: their positions on average, rounded up.
std::int64_t budget_positions(const LayerShape& layer, const Granularity& granularity,
                              std::int64_t items);
// Returns the active inputs of a group of `length` inputs under n_m. Where m does not divide a
// unit's inputs, its last group is shorter and keeps n/m of them rounded up.
std::int64_t group_quota(const Granularity& granularity, std::int64_t length);

}  // namespace tandem
