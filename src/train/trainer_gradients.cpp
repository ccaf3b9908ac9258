// Gradients of a step: at the current weights, or at perturbed ones; what pulls on dormant weights
// beside them; and the teacher's part of the loss.
//   SAM   g = dL/dw at w + rho g0 / |g0| (Foret et al. 2021, arXiv 2010.01412)
//   CrAM  g = M dL/dw at C(w + rho g0), C the pruning to the mask M; CrAM+ adds g0 (Peste et al.
//         2022, arXiv 2207.14200)
#include "data/tensor.h"
#include "nn/own_outputs.h"
#include "topology/connections.h"
#include "topology/segments.h"
#include "train/loss.h"
#include "train/trainer.h"

namespace tandem {
namespace {

constexpr double kTiny = 1e-12;

// A factor per replica [R], shaped for its values.
at::Tensor over(const at::Tensor& per_replica, const at::Tensor& values) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(values.dim()), 1);
  shape[0] = -1;
  return per_replica.to(values.scalar_type()).view(shape);
}

// 1 where the parameter's weights are active, else 0, in its shape; undefined where all are.
at::Tensor mask_of(const Parameter& parameter) {
  if (parameter.connections == nullptr) return {};
  const at::Tensor active = parameter.connections->active_flags();
  if (!active.defined()) return {};
  return active.view(parameter.value.sizes()).to(parameter.value.scalar_type());
}

// The root of the summed squares of all gradients, double [R].
at::Tensor gradient_norm(const std::vector<Parameter*>& parameters) {
  at::Tensor squares;
  for (const Parameter* parameter : parameters) {
    const at::Tensor& gradient = parameter->value.grad();
    if (!gradient.defined()) continue;
    const at::Tensor own =
        gradient.to(torch::kFloat64).square().reshape({parameter->replicas(), -1}).sum(1);
    squares = squares.defined() ? squares + own : own;
  }
  return squares.sqrt();
}

}  // namespace

std::vector<std::vector<Parameter*>> Trainer::nets() const {
  std::vector<std::vector<Parameter*>> all = {model_->parameters()};
  if (strategy_ != nullptr) {
    const std::vector<Parameter*> own = strategy_->parameters();
    all.front().insert(all.front().end(), own.begin(), own.end());
  }
  if (teacher_ != nullptr) all.push_back(teacher_->parameters());
  return all;
}

std::vector<Parameter*> Trainer::parameters() const {
  std::vector<Parameter*> all;
  for (const auto& net : nets()) all.insert(all.end(), net.begin(), net.end());
  return all;
}

std::vector<Buffer*> Trainer::buffers() const {
  std::vector<Buffer*> all = model_->buffers();
  if (teacher_ == nullptr) return all;
  const std::vector<Buffer*> teachers = teacher_->buffers();
  all.insert(all.end(), teachers.begin(), teachers.end());
  return all;
}

StepLosses Trainer::compute_gradients(const StepKind& kind, const StepRows& rows) {
  Learnt learnt{.counts = true}, elsewhere;
  StepLosses losses = take_gradients(kind, rows, learnt);
  if (demands().perturbed) {
    const Perturbation& perturbation = policies().perturbation;
    std::vector<at::Tensor> kept, own;
    for (Parameter* parameter : model_->parameters()) own.push_back(parameter->value.grad());
    perturb(kept);
    // The losses that are logged are those at the weights.
    const StepLosses there = take_gradients(kind, rows, elsewhere);
    add_term(losses.rest, there.task + there.alignment);
    add_term(losses.rest, there.strategy);
    add_term(losses.rest, there.rest);
    const at::NoGradGuard no_grad;
    std::size_t i = 0;
    for (Parameter* parameter : model_->parameters()) {
      parameter->value.detach().copy_(kept[i]);
      at::Tensor& gradient = parameter->value.mutable_grad();
      const at::Tensor mask = perturbation.masked ? mask_of(*parameter) : at::Tensor();
      if (mask.defined() && gradient.defined()) gradient = gradient * mask;
      if (perturbation.adds_own && gradient.defined()) gradient = gradient + own[i];
      ++i;
    }
  }
  add_dormant_decay(rows);
  const at::NoGradGuard no_grad;
  for (const BufferAddition& addition : learnt.additions) {
    addition.buffer->value.add_(addition.more);
  }
  // Now that nothing reads its memory any more.
  strategy_->remember(view_of(learnt.batch, learnt.rows, learnt.logits));
  return losses;
}

// Moves the weights to where the gradient is wanted; `kept` holds what they were.
void Trainer::perturb(std::vector<at::Tensor>& kept) {
  const at::NoGradGuard no_grad;
  const Perturbation& perturbation = policies().perturbation;
  std::vector<double> radii;
  for (const RunSchedule& run : runs_) radii.push_back(run.policies.weights.perturbation.radius);
  if (!radius_.defined()) radius_ = torch::tensor(radii, torch::kFloat64).to(options_.device);
  const at::Tensor scale =
      perturbation.unit ? radius_ / (gradient_norm(model_->parameters()) + kTiny) : radius_;
  for (Parameter* parameter : model_->parameters()) {
    at::Tensor value = parameter->value.detach();
    kept.push_back(value.clone());
    const at::Tensor& gradient = parameter->value.grad();
    if (gradient.defined()) value.add_(gradient * over(scale, gradient));
    if (perturbation.kind != Perturbation::Kind::kCompressed) continue;
    const at::Tensor mask = mask_of(*parameter);
    if (mask.defined()) value.mul_(mask);
  }
}

// SR-STE's decay: eta w joins the gradient of dormant weights.
void Trainer::add_dormant_decay(const StepRows& rows) {
  if (!policies().dormant.in_gradient) return;
  const at::NoGradGuard no_grad;
  const at::Tensor eta = rows.column(TANDEM_COLUMN(kernels::StepNumbers, dormant_gradient_decay));
  for (Parameter* parameter : model_->parameters()) {
    const at::Tensor mask = mask_of(*parameter);
    at::Tensor& gradient = parameter->value.mutable_grad();
    if (!mask.defined() || !gradient.defined()) continue;
    const at::Tensor value = parameter->value.detach();
    gradient = gradient +
               value * (1 - mask) * broadcast_to_values(eta.to(value.scalar_type()), *parameter);
  }
}

// The teacher's own loss [R]; `pull` [R]: alpha T^2 KL(teacher / T, own / T) over the outputs of
// each row's task, mean over rows.
at::Tensor Trainer::distillation_loss(const at::Tensor& logits, Learnt& learnt, at::Tensor& pull) {
  const Batch& batch = learnt.batch;
  Context context;
  if (learnt.counts && !teacher_->buffers().empty()) {
    context.counted_examples = counted_examples(learnt.rows);
  }
  at::Tensor taught = teacher_->forward(batch.x, context);
  learnt.additions.insert(learnt.additions.end(), context.additions.begin(),
                          context.additions.end());
  taught = taught.reshape({replicas(), -1, taught.size(-1)});  // [R,N,C]
  const double temperature = policies().teacher.temperature;
  const at::Tensor target = log_shares(taught.detach() / temperature, batch.allowed);
  const at::Tensor own = log_shares(logits / temperature, batch.allowed);
  at::Tensor rows = (target.exp() * (target - own)).sum(-1);  // [R,N]
  if (batch.weight.defined()) {
    rows = (rows * batch.weight).sum(1) / batch.weight.sum(1).clamp_min(1);
  } else {
    rows = rows.mean(1);
  }
  pull = rows * teacher_alpha_ * (temperature * temperature);
  return task_loss(batch, taught, batch.allowed);
}

}  // namespace tandem
