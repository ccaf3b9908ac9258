// The masked weight's forward and backward passes use the device's kernel, and where() for what
// that does not serve.
#include "topology/masked_weight.h"

#include <optional>

#include "cuda/plugin.h"
#include "data/in_dtype.h"
#include "data/tensor.h"
#include "kernels/masked/masked.h"
#include "kernels/masked/masked_cuda.h"

namespace tandem {
namespace {

bool kernel_serves(const at::Tensor& w, const at::Tensor& mask) {
  return w.is_contiguous() && mask.is_contiguous() &&
         (w.scalar_type() == torch::kFloat || w.scalar_type() == torch::kDouble);
}

// `full` is uint8 [R], or undefined where no replica is copied whole.
void run_on_gpu(const at::Tensor& w, const at::Tensor& mask, const at::Tensor& full,
                at::Tensor& out) {
  const auto* flags = mask.data_ptr<std::uint8_t>();
  const auto* whole = full.defined() ? full.data_ptr<std::uint8_t>() : nullptr;
  const std::int64_t segments = w.size(0), n = w.numel() / segments;
  in_dtype(w, [&](auto zero) {
    using T = decltype(zero);
    launch_cuda<decltype(masked_copy_cuda<T>)>("masked_copy", w.data_ptr<T>(), flags, segments, n,
                                               whole, out.data_ptr<T>());
  });
}

template <class T>
int run_kernel(const at::Tensor& w, const at::Tensor& mask, const at::Tensor& full_runs,
               at::Tensor& out) {
  const auto* flags = mask.data_ptr<std::uint8_t>();
  if (!full_runs.defined()) {
    return masked_copy(w.data_ptr<T>(), flags, w.numel(), out.data_ptr<T>());
  }
  const at::Tensor full = full_runs.to(torch::kByte).contiguous();
  return masked_copy_selected(w.data_ptr<T>(), flags, w.size(0), w.numel() / w.size(0),
                              full.data_ptr<std::uint8_t>(), out.data_ptr<T>());
}

at::Tensor select(const at::Tensor& w, const at::Tensor& mask, const at::Tensor& full_runs) {
  if (kernel_serves(w, mask)) {
    at::Tensor out = torch::empty_like(w);
    if (w.is_cuda()) {
      run_on_gpu(w, mask,
                 full_runs.defined() ? full_runs.to(torch::kBool).view(torch::kUInt8) : full_runs,
                 out);
      return out;
    }
    const int error = w.scalar_type() == torch::kFloat
                          ? run_kernel<float>(w, mask, full_runs, out)
                          : run_kernel<double>(w, mask, full_runs, out);
    TORCH_INTERNAL_ASSERT(error == 0, "masked copy of ", w.sizes(), " failed");
    return out;
  }
  at::Tensor kept = mask.view(w.sizes()).to(torch::kBool);
  if (full_runs.defined()) kept = kept | full_runs.to(torch::kBool).view({-1, 1, 1});
  return torch::where(kept, w, torch::zeros({}, w.options()));
}

class MaskedWeight : public torch::autograd::Function<MaskedWeight> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& w,
                            const at::Tensor& mask, const std::optional<at::Tensor>& full_runs,
                            bool mask_gradient) {
    context->saved_data["mask_gradient"] = mask_gradient;
    if (mask_gradient) context->save_for_backward({mask});
    return select(w, mask, full_runs.value_or(at::Tensor()));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    at::Tensor gradient = gradients[0];
    if (context->saved_data["mask_gradient"].toBool()) {
      gradient = select(gradient, context->get_saved_variables()[0], {});
    }
    return {gradient, {}, {}, {}};
  }
};

}  // namespace

at::Tensor masked_weight(const at::Tensor& w, const at::Tensor& mask, const at::Tensor& full_runs,
                         bool mask_gradient) {
  // An undefined tensor has no device for autograd to note.
  const auto given = full_runs.defined() ? std::optional(full_runs) : std::nullopt;
  return MaskedWeight::apply(w, mask, given, mask_gradient);
}

}  // namespace tandem
