#include "nn/linear.h"

#include "core/shape.h"
#include "data/tensor.h"
#include "topology/batched_product.h"

namespace tandem {

Linear::Linear(std::string name, std::int64_t inputs, std::int64_t outputs, bool has_bias)
    : name_(std::move(name)), inputs_(inputs), outputs_(outputs), has_bias_(has_bias) {
  weight.name = name_ + ".weight";
  bias.name = name_ + ".bias";
  bias.decays = false;
}

namespace {

// Says whether the level's alignment has a gradient even where both streams are equal.
bool pulls_equal_streams(const LevelPlan& plan) {
  return plan.full_coefficient.defined() &&
         (plan.shuffled || plan.distance == Alignment::Distance::kCosine);
}

// A product may return one tensor for both streams where no replica of the group has dormant
// weights. With `apart` there are two in any case, so that gradients add up alike whatever the
// other replicas are.
TwoStreams streams(const LayerProduct& connections, const at::Tensor& x, const at::Tensor& bias,
                   const ProductPlan& plan, bool apart) {
  if (!apart || !plan.full || !plan.sparse) return connections.product(x, bias, plan);
  ProductPlan full = plan, sparse = plan;
  full.sparse = sparse.full = false;
  const TwoStreams one = connections.product(x, bias, full);
  const TwoStreams other = connections.product(x, bias, sparse);
  return {one.full, other.sparse, one.full_local, other.sparse_local};
}

}  // namespace

at::Tensor Linear::forward(const at::Tensor& x, Context& context, const Epilogue& epilogue) const {
  expect_shape(x, {weight.replicas(), -1, inputs_}, "x");
  if (connections == nullptr) {
    const at::Tensor y = batched_product(x, weight.value, has_bias_ ? bias.value : at::Tensor());
    if (context.observe_product) context.observe_product(*this, x, y);
    return epilogue ? epilogue(y) : y;
  }
  const LevelPlan& plan = context.plans.weights;
  ProductPlan product;
  product.full = plan.wanted == StreamsWanted::kFull || plan.wanted == StreamsWanted::kBoth;
  product.sparse = plan.wanted == StreamsWanted::kSparse || plan.wanted == StreamsWanted::kBoth;
  product.selected = plan.wanted == StreamsWanted::kSelected;
  product.full_runs = full_runs_at(plan, index);
  product.mask_gradient = plan.mask_gradient;
  product.superset = plan.superset;
  product.nested = plan.nested;
  product.detached = plan.detached && plan.wanted == StreamsWanted::kBoth;
  const bool one_output = product.selected || product.full != product.sparse;
  product.relu = one_output && epilogue.is_relu() && !context.records_or_aligns_sites() &&
                 !context.observe_product;
  const TwoStreams y = streams(*connections, x, has_bias_ ? bias.value : at::Tensor(), product,
                               pulls_equal_streams(plan));
  if (context.observe_product)
    context.observe_product(*this, x, y.full.defined() ? y.full : y.sparse);
  const Site site{Level::kWeights, name_, index};
  return context.align_and_select(site, y.full, y.sparse, product.relu ? Epilogue() : epilogue,
                                  y.full_local, y.sparse_local);
}

}  // namespace tandem
