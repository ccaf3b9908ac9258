// This file decides which units SRigL leaves without inputs (Lasby et al. 2023, arXiv 2305.02299).
// A weight is salient where its magnitude or its gradient puts it among those that the update keeps
// or grows. All units are judged anew at each update, as in the authors' code: one that was ablated
// comes back when enough of its weights are candidates by their gradients. The threshold is of the
// fan-in that all units would share, so that it does not rise as units go.
#include <algorithm>
#include <numeric>

#include "data/tensor.h"
#include "topology/granularity.h"

namespace tandem {
namespace {

constexpr double kRounding = 1e-9;  // forgiven rounding of share x fan-in

// Returns the units that stay, in no order.
std::vector<std::int64_t> units_left(const std::int64_t* salient, std::int64_t units,
                                     std::int64_t fewest, double threshold) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(units));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [salient](std::int64_t a, std::int64_t b) { return salient[a] > salient[b]; });
  const auto enough = [&](std::int64_t unit) {
    return static_cast<double>(salient[unit]) >= threshold - kRounding;
  };
  const auto above = std::count_if(order.begin(), order.end(), enough);
  order.resize(static_cast<std::size_t>(std::max<std::int64_t>(above, fewest)));
  return order;
}

}  // namespace

at::Tensor quotas_after_ablation(const at::Tensor& salient,
                                 const std::vector<std::int64_t>& budgets, std::int64_t inputs,
                                 double share) {
  const std::int64_t rows = salient.size(0), units = salient.size(1);
  TORCH_INTERNAL_ASSERT(salient.is_cpu() && salient.scalar_type() == torch::kLong &&
                            rows == static_cast<std::int64_t>(budgets.size()),
                        "numbers of salient weights ", salient.sizes(), " for ", budgets.size(),
                        " budgets");
  const at::Tensor own = salient.contiguous();
  const at::Tensor quotas = torch::zeros({rows, units}, torch::kLong);
  for (std::int64_t q = 0; q < rows; ++q) {
    const std::int64_t budget = budgets[static_cast<std::size_t>(q)];
    const double fan_in = static_cast<double>(budget) / static_cast<double>(units);
    const std::int64_t fewest = (budget + inputs - 1) / inputs;
    const auto left =
        units_left(own.data_ptr<std::int64_t>() + q * units, units, fewest, share * fan_in);
    auto* quota = quotas.data_ptr<std::int64_t>() + q * units;
    const auto number = static_cast<std::int64_t>(left.size());
    for (const std::int64_t unit : left) quota[unit] = budget / number;
  }
  return quotas;
}

}  // namespace tandem
