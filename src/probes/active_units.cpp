#include "probes/active_units.h"

#include "data/tensor.h"

namespace tandem {
namespace {

constexpr double kActiveShare = 1e-3;  // share of the root mean square

}  // namespace

at::Tensor active_units(const at::Tensor& units) {
  const bool one_sided = units.min().item<double>() >= 0;
  return one_sided ? units > 0 : units.abs() > kActiveShare * units.square().mean().sqrt();
}

}  // namespace tandem
