// This file has the distances of two streams' outputs, with one coefficient per direction. For each
// replica r, with d the mean over all other axes,
//   value     full_coefficient[r] d(full, sg sparse) + sparse_coefficient[r] d(sg full, sparse)
//   gradient  what those stop-gradients leave: full_coefficient psi to full, -sparse_coefficient
//   psi to sparse,
// psi = d' (smooth-L1: clip(full - sparse, -1, 1) / n). relative_mse divides by the mean square of
// the target; cosine is 1 - cos(full, sparse) and logit_kl is KL(softmax target, softmax mover),
// both over the last axis, mean over rows. A row that is zero in one stream has no direction: its
// cosine distance and gradient are 0. Where only some outputs are allowed, the others count
// nowhere: not in a mean, not in a norm, not in a softmax.
#include "data/tensor.h"
#include "nn/context.h"
#include "nn/own_outputs.h"

namespace tandem {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

at::Tensor per_replica(const at::Tensor& x, const at::Tensor& like) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(like.dim()), 1);
  shape[0] = x.size(0);
  return x.view(shape);
}

at::Tensor replica_sum(const at::Tensor& x) { return x.reshape({x.size(0), -1}).sum(1); }

// Smooth-L1 (beta 1) and mean squares share their form: an elementwise potential of full - sparse.
struct ElementwiseDistance : torch::autograd::Function<ElementwiseDistance> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& full, const at::Tensor& sparse,
                            const at::Tensor& full_coefficient,
                            const at::Tensor& sparse_coefficient, bool smooth_l1) {
    at::NoGradGuard no_grad;
    const at::Tensor difference = full - sparse;
    const double scale = 1.0 / static_cast<double>(full.numel() / full.size(0));
    const at::Tensor slope = smooth_l1 ? difference.clamp(-1.0, 1.0) : at::Tensor(difference * 2.0);
    // |d| <= 1: d^2/2 = c (d - c/2) with c = d; beyond: |d| - 1/2 = c (d - c/2) with c = sign d.
    const at::Tensor value = smooth_l1 ? at::Tensor(slope * (difference - slope * 0.5))
                                       : at::Tensor(difference * difference);
    ctx->save_for_backward({slope, full_coefficient, sparse_coefficient});
    ctx->saved_data["scale"] = scale;
    return replica_sum(value) * scale * (full_coefficient + sparse_coefficient);
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list outer) {
    const auto saved = ctx->get_saved_variables();
    const double scale = ctx->saved_data["scale"].toDouble();
    const at::Tensor factor = outer[0] * scale;
    const at::Tensor& slope = saved[0];
    return {slope * per_replica(factor * saved[1], slope),
            slope * per_replica(-factor * saved[2], slope),
            {},
            {},
            {}};
  }
};

at::Tensor relative_mse(const at::Tensor& mover, const at::Tensor& target) {
  const at::Tensor fixed = target.detach();
  return replica_sum((mover - fixed).square()) / (replica_sum(fixed.square()) + 1e-12);
}

at::Tensor cosine(const at::Tensor& mover, const at::Tensor& target) {
  const at::Tensor fixed = target.detach();
  const auto squares = [](const at::Tensor& x) { return x.square().sum(-1); };
  const at::Tensor own = squares(mover), other = squares(fixed);
  const at::Tensor nonzero = (own > 0).logical_and(other > 0);
  // The replaced squares keep the zero rows' gradient finite, before where() takes it away.
  const at::Tensor one = torch::ones_like(other);
  const auto norm = [&](const at::Tensor& x) { return torch::where(nonzero, x, one).sqrt(); };
  const at::Tensor similar = (mover * fixed).sum(-1) / (norm(own) * norm(other));
  const double rows = static_cast<double>(other.numel() / other.size(0));
  return replica_sum(torch::where(nonzero, 1 - similar, torch::zeros_like(other))) / rows;
}

at::Tensor divergence(const at::Tensor& mover, const at::Tensor& target,
                      const at::Tensor& allowed) {
  const at::Tensor fixed = log_shares(target.detach(), allowed);
  const at::Tensor moving = log_shares(mover, allowed);
  const double rows = static_cast<double>(mover.numel() / mover.size(0) / mover.size(-1));
  return replica_sum(fixed.exp() * (fixed - moving)) / rows;
}

// Pulls of a mean over the allowed elements, for one over all of them.
at::Tensor of_allowed(const at::Tensor& pull, const at::Tensor& allowed) {
  if (!allowed.defined()) return pull;
  const double all = static_cast<double>(allowed.numel() / allowed.size(0));
  return pull * (all / replica_sum(allowed.to(pull.scalar_type())));
}

}  // namespace

at::Tensor stream_distance(const at::Tensor& full_outputs, const at::Tensor& sparse_outputs,
                           const at::Tensor& full_coefficient, const at::Tensor& sparse_coefficient,
                           Alignment::Distance distance, const at::Tensor& allowed) {
  TORCH_CHECK_VALUE(full_outputs.sizes() == sparse_outputs.sizes(), "streams of shapes ",
                    full_outputs.sizes(), " and ", sparse_outputs.sizes(), " can't be aligned");
  const at::Tensor full = own_outputs(full_outputs, allowed);
  const at::Tensor sparse = own_outputs(sparse_outputs, allowed);
  switch (distance) {
    case Alignment::Distance::kSmoothL1:
    case Alignment::Distance::kMse:
      return ElementwiseDistance::apply(full, sparse, of_allowed(full_coefficient, allowed),
                                        of_allowed(sparse_coefficient, allowed),
                                        distance == Alignment::Distance::kSmoothL1);
    case Alignment::Distance::kRelativeMse:
      return full_coefficient * relative_mse(full, sparse) +
             sparse_coefficient * relative_mse(sparse, full);
    case Alignment::Distance::kCosine:
      return full_coefficient * cosine(full, sparse) + sparse_coefficient * cosine(sparse, full);
    case Alignment::Distance::kLogitKl:
      return full_coefficient * divergence(full, sparse, allowed) +
             sparse_coefficient * divergence(sparse, full, allowed);
  }
  return {};
}

}  // namespace tandem
