// The score is |w_io| / sum of |w_i.| + |w_io| / sum of |w_.o|, over the active weights: a weight's
// share of what leaves its input and of what reaches its unit (the score 'ri' of CHTs, Zhang et al.
// 2025, arXiv 2501.19107). A dormant weight has score 0.
#include <algorithm>
#include <cmath>
#include <vector>

#include "data/tensor.h"
#include "topology/criteria.h"

namespace tandem {
namespace {

double share(double part, double whole) { return whole > 0 ? part / whole : 0; }

at::Tensor relative_importance(const LayerTopology& layer) {
  const std::vector<std::int64_t> positions = layer.active.positions();
  TORCH_INTERNAL_ASSERT(layer.weights.numel() == static_cast<std::int64_t>(positions.size()),
                        layer.weights.numel(), " weights of ", positions.size(), " positions");
  const auto* weights = layer.weights.data_ptr<double>();
  std::vector<double> of_input(static_cast<std::size_t>(layer.inputs), 0);
  std::vector<double> of_output(static_cast<std::size_t>(layer.outputs), 0);
  for (std::size_t e = 0; e < positions.size(); ++e) {
    of_input[static_cast<std::size_t>(positions[e] / layer.outputs)] += std::abs(weights[e]);
    of_output[static_cast<std::size_t>(positions[e] % layer.outputs)] += std::abs(weights[e]);
  }
  const at::Tensor scores = torch::empty({layer.inputs * layer.outputs}, torch::kFloat64);
  auto* all = scores.data_ptr<double>();
  std::fill(all, all + scores.numel(), 0.0);
  for (std::size_t e = 0; e < positions.size(); ++e) {
    const double own = std::abs(weights[e]);
    all[positions[e]] =
        share(own, of_input[static_cast<std::size_t>(positions[e] / layer.outputs)]) +
        share(own, of_output[static_cast<std::size_t>(positions[e] % layer.outputs)]);
  }
  return scores;
}

Criterion relative_importance_criterion() {
  Criterion criterion;
  criterion.name = "relative_importance";
  criterion.of_topology = relative_importance;
  return criterion;
}

TANDEM_REGISTERED =
    criteria().add({.kind = "criterion",
                    .name = "relative_importance",
                    .summary = "share of the weights of its input, plus that of its unit",
                    .cite = "arXiv:2501.19107",
                    .file = __FILE__},
                   relative_importance_criterion());

}  // namespace
}  // namespace tandem
