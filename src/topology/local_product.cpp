// With g and g_local the gradients of y and y_local, the backward pass computes
//   dx = g W^T   dW = x^T (g + g_local)   db = sum over rows of g + g_local
// Either gradient may be missing: y_local's where nothing is aligned, y where the stream does not
// run.
#include "topology/local_product.h"

#include <optional>

#include "data/tensor.h"
#include "topology/batched_product.h"

namespace tandem {
namespace {

class Product : public torch::autograd::Function<Product> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                const at::Tensor& x, const at::Tensor& w,
                                                const std::optional<at::Tensor>& bias) {
    context->save_for_backward({x, w});
    context->saved_data["has_bias"] = bias.has_value();
    context->set_materialize_grads(false);
    const at::Tensor y = batched_product(x, w, bias.value_or(at::Tensor()));
    return {y, y.detach()};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const at::Tensor &own = gradients[0], &local = gradients[1];
    if (!own.defined() && !local.defined()) return {{}, {}, {}};
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &w = saved[1];
    const at::Tensor both = !local.defined() ? own : !own.defined() ? local : own + local;
    torch::autograd::variable_list result(3);
    if (own.defined() && context->needs_input_grad(0)) {
      result[0] = batched_product(own, w.transpose(1, 2));
    }
    if (context->needs_input_grad(1)) result[1] = torch::bmm(x.transpose(1, 2), both);
    const bool has_bias = context->saved_data["has_bias"].toBool();
    if (has_bias && context->needs_input_grad(2)) result[2] = both.sum(1);
    return result;
  }
};

}  // namespace

LocalProduct local_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  // An undefined tensor has no device for autograd to note.
  const auto outputs = Product::apply(x, w, bias.defined() ? std::optional(bias) : std::nullopt);
  return {outputs[0], outputs[1]};
}

}  // namespace tandem
