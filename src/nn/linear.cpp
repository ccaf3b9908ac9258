#include "nn/linear.h"

#include "core/shape.h"
#include "data/tensor.h"

namespace tandem {

Linear::Linear(std::string name, std::int64_t inputs, std::int64_t outputs, bool has_bias)
    : name_(std::move(name)), inputs_(inputs), outputs_(outputs), has_bias_(has_bias) {
  weight.name = name_ + ".weight";
  bias.name = name_ + ".bias";
  bias.decays = false;
}

at::Tensor Linear::forward(const at::Tensor& x, Context& context, const Post& post) const {
  expect_shape(x, {weight.replicas(), -1, inputs_}, "x");
  if (connections == nullptr) {
    const at::Tensor y = has_bias_ ? torch::baddbmm(bias.value.unsqueeze(1), x, weight.value)
                                   : torch::bmm(x, weight.value);
    return post ? post(y) : y;
  }
  const LevelPlan& plan = context.weights;
  ProductPlan product;
  product.full = plan.view == View::kFull || plan.view == View::kBoth;
  product.sparse = plan.view == View::kSparse || plan.view == View::kBoth;
  product.selected = plan.view == View::kSelected;
  product.full_runs = plan.full_runs;
  product.mask_gradient = plan.mask_gradient;
  const bool one_output = product.selected || product.full != product.sparse;
  product.relu = one_output && post.is_relu() && !context.keeps_or_pairs_sites();
  const TwoStreams y = connections->product(x, has_bias_ ? bias.value : at::Tensor(), product);
  return context.meet({Level::kWeights, name_}, y.full, y.sparse, product.relu ? Post() : post);
}

}  // namespace tandem
