// Moments over parts by Welford's recurrence, so that a part more costs no memory.
#include "probes/dense_gradient.h"

#include <algorithm>

#include "data/tensor.h"
#include "readout/readout.h"

namespace tandem {
namespace {

LayerGradients gradients_of(const ProbeInput& input, const TrainingPart& part) {
  at::AutoGradMode with_gradient(true);
  Context context = sparse_context(input.runs);
  const at::Tensor loss = part.loss(input.model.forward(part.x, context));
  std::vector<at::Tensor> leaves;
  for (const Linear* layer : input.model.linears()) {
    if (layer->connections != nullptr) leaves.push_back(layer->weight.value);
  }
  const auto found = torch::autograd::grad({loss.sum()}, leaves, {}, /*retain_graph=*/false,
                                           /*create_graph=*/false, /*allow_unused=*/true);
  LayerGradients gradients;
  std::size_t next = 0;
  for (const Linear* layer : input.model.linears()) {
    if (layer->connections == nullptr) {
      gradients.emplace_back();
      continue;
    }
    const at::Tensor& own = found[next];
    const at::Tensor dense = own.defined() ? own : torch::zeros_like(leaves[next]);
    gradients.push_back(dense.reshape({dense.size(0), -1}));
    ++next;
  }
  return gradients;
}

void add(GradientMoments& moments, const LayerGradients& gradients) {
  const double count = static_cast<double>(++moments.parts);
  for (std::size_t l = 0; l < gradients.size(); ++l) {
    if (!gradients[l].defined()) continue;
    if (moments.parts == 1) {
      moments.mean[l] = gradients[l].clone();
      moments.square[l] = torch::zeros_like(gradients[l]);
      continue;
    }
    const at::Tensor from_old = gradients[l] - moments.mean[l];
    moments.mean[l].add_(from_old / count);
    moments.square[l].addcmul_(from_old, gradients[l] - moments.mean[l]);
  }
}

}  // namespace

Context sparse_context(const std::vector<ReadoutRun>& runs) {
  Context context = trained_context(runs);
  context.plans.weights.wanted = StreamsWanted::kSparse;
  context.plans.weights.mask_gradient = false;
  return context;
}

GradientMoments gradient_moments(const ProbeInput& input, std::int64_t most_parts) {
  const std::int64_t parts = std::min(most_parts, input.training_parts);
  TORCH_INTERNAL_ASSERT(parts > 0, "a gradient needs training examples");
  const LayerMasks masks = current_masks(input.model);
  const BorrowedMasks borrowed(input.model, masks);
  GradientMoments moments;
  moments.mean.resize(masks.size());
  moments.square.resize(masks.size());
  for (std::int64_t part = 0; part < parts; ++part) {
    const LayerGradients gradients = gradients_of(input, input.training(part));
    at::NoGradGuard no_grad;
    add(moments, gradients);
  }
  return moments;
}

}  // namespace tandem
