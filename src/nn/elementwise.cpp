#include "nn/elementwise.h"

#include "data/tensor.h"

namespace tandem {
namespace {

constexpr std::int64_t kStride = 32;  // 2 W at AVX-512 in float

template <class Function>
at::Tensor padded(const at::Tensor& x, Function f) {
  const std::int64_t replicas = x.size(0), share = x.numel() / replicas;
  if (x.is_cuda() || share % kStride == 0) return f(x.contiguous());
  const at::Tensor flat = x.reshape({replicas, share});
  const at::Tensor wide = torch::constant_pad_nd(flat, {0, kStride - share % kStride}, 0);
  return f(wide).narrow(1, 0, share).reshape(x.sizes());
}

}  // namespace

at::Tensor exp_reproducible(const at::Tensor& x) {
  return padded(x, [](const at::Tensor& y) { return torch::exp(y); });
}

at::Tensor sigmoid_reproducible(const at::Tensor& x) {
  return padded(x, [](const at::Tensor& y) { return torch::sigmoid(y); });
}

at::Tensor silu_reproducible(const at::Tensor& x) {
  return padded(x, [](const at::Tensor& y) { return torch::silu(y); });
}

at::Tensor gelu_reproducible(const at::Tensor& x) {
  return padded(x, [](const at::Tensor& y) { return torch::gelu(y); });
}

at::Tensor winners(const at::Tensor& x, std::int64_t count) {
  const at::Tensor plain = x.detach();
  const at::Tensor least = std::get<0>(plain.topk(std::min(count, x.size(-1)), -1))
                               .narrow(-1, std::min(count, x.size(-1)) - 1, 1);
  return x * plain.ge(least).to(x.scalar_type());
}

at::Tensor inhibited(const at::Tensor& z, std::int64_t count, const at::Tensor& g) {
  const at::Tensor a = torch::relu(z);
  if (count >= z.size(-1)) return a;
  const at::Tensor next =
      std::get<0>(a.detach().topk(count + 1, -1)).narrow(-1, count, 1);  // [R,B,1]
  return torch::relu(a - (g.defined() ? g * next : next));
}

namespace {

// log(1 + exp(z)) - y z, whose gradient is sigmoid(z) - y.
struct BinaryCrossEntropy : torch::autograd::Function<BinaryCrossEntropy> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& z,
                            const at::Tensor& wanted) {
    context->save_for_backward({z, wanted});
    return padded(z, [](const at::Tensor& x) { return torch::softplus(x); }) - wanted * z;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {gradients[0] * (sigmoid_reproducible(saved[0]) - saved[1]), {}};
  }
};

}  // namespace

at::Tensor binary_cross_entropy_reproducible(const at::Tensor& z, const at::Tensor& wanted) {
  return BinaryCrossEntropy::apply(z, wanted);
}

}  // namespace tandem
