// How a global density is spread over layers, with exact counts.
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

// floor(share * n), forgiving the rounding of the share: 0.29 of 100 is 29.
std::int64_t floor_count(double share, std::int64_t n);

// Throws ConfigError when the density is not in (0,1] or leaves a layer without any connection.
std::vector<LayerBudget> spread_budget(const std::vector<LayerShape>& layers, double density,
                                       Start::Budget kind);
// eps of density_l = eps raw_l after the last round; for kUniform the density itself.
double budget_epsilon(const std::vector<LayerShape>& layers, double density, Start::Budget kind);

}  // namespace tandem
