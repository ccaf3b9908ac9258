// The streams of a step: which products each pass computes at each level, and the pass itself.
#include "data/tensor.h"
#include "train/loss.h"
#include "train/trainer.h"

namespace tandem {
namespace {

struct Draws {
  std::vector<char> full;
  std::vector<double> alpha;
  bool any_full = false, any_sparse = false, aligns = false;
};

Draws draws_of(const std::vector<ReplicaPlan>& plans, Level level) {
  Draws draws;
  for (const ReplicaPlan& plan : plans) {
    const bool full = level == Level::kAttention ? plan.attention_full : plan.weights_full;
    const double alpha = level == Level::kAttention ? plan.attention_alpha : plan.weights_alpha;
    draws.full.push_back(full);
    draws.alpha.push_back(alpha);
    // A replica that stands still follows the others' products.
    if (!plan.runs) continue;
    (full ? draws.any_full : draws.any_sparse) = true;
    draws.aligns = draws.aligns || alpha > 0;
  }
  return draws;
}

at::Tensor on_device(const std::vector<double>& values, const TrainerOptions& options) {
  return torch::tensor(values, torch::kFloat64).to(options.device, options.dtype);
}

at::Tensor flags_on_device(const std::vector<char>& flags, at::Device device) {
  at::Tensor host = torch::empty({static_cast<std::int64_t>(flags.size())}, torch::kBool);
  for (std::size_t i = 0; i < flags.size(); ++i) host.data_ptr<bool>()[i] = flags[i] != 0;
  return host.to(device);
}

// alpha x lambda / number of sites, per replica; the logits are one site.
void set_pulls(LevelPlan& plan, const std::vector<const Alignment*>& alignments,
               const std::vector<double>& alpha, std::int64_t sites,
               const TrainerOptions& options) {
  const Alignment& first = *alignments.front();
  const double share =
      first.site == Alignment::Site::kLogits ? 1.0 : 1.0 / static_cast<double>(sites);
  std::vector<double> full, sparse;
  for (std::size_t r = 0; r < alpha.size(); ++r) {
    full.push_back(alpha[r] * share * alignments[r]->lambda_full);
    sparse.push_back(alpha[r] * share * alignments[r]->lambda_sparse);
  }
  plan.pull_full = on_device(full, options);
  plan.pull_sparse = on_device(sparse, options);
  plan.distance = first.distance;
  plan.site = first.site;
}

View single_pass_view(const Draws& draws, bool local_alignment) {
  if (local_alignment) return View::kBoth;
  if (!draws.any_sparse) return View::kFull;
  return draws.any_full ? View::kSelected : View::kSparse;
}

}  // namespace

// One LevelPlan per pass and level, and the weight of each pass's task loss per replica.
void Trainer::level_plans(const std::vector<ReplicaPlan>& plans, std::vector<LevelPlan>& attention,
                          std::vector<LevelPlan>& weights,
                          std::vector<at::Tensor>& loss_weights) const {
  std::vector<const Alignment*> of_attention, of_weights;
  for (const RunSchedule& run : runs_) {
    of_attention.push_back(&run.attention.alignment);
    of_weights.push_back(&run.weights.alignment);
  }
  const Draws attention_draws = draws_of(plans, Level::kAttention);
  const Draws weights_draws = draws_of(plans, Level::kWeights);

  LevelPlan attention_plan;
  attention_plan.view = single_pass_view(attention_draws, attention_draws.aligns);
  attention_plan.full_runs_host = attention_draws.full;
  attention_plan.full_runs = flags_on_device(attention_draws.full, options_.device);
  if (attention_draws.aligns) {
    set_pulls(attention_plan, of_attention, attention_draws.alpha, model_->sites(Level::kAttention),
              options_);
  }

  const Schedule& schedule = runs_.front().weights.schedule;
  const bool both = schedule.kind == Schedule::Kind::kBoth;
  const bool propagated = runs_.front().weights.alignment.propagated && weights_draws.aligns;
  LevelPlan weights_plan;
  weights_plan.full_runs_host = weights_draws.full;
  weights_plan.full_runs = flags_on_device(weights_draws.full, options_.device);
  if (!both && !propagated) {
    weights_plan.view = single_pass_view(weights_draws, weights_draws.aligns);
    weights_plan.mask_gradient = weights_draws.aligns;
    if (weights_draws.aligns) {
      set_pulls(weights_plan, of_weights, weights_draws.alpha, model_->sites(Level::kWeights),
                options_);
    }
    attention = {attention_plan};
    weights = {weights_plan};
    loss_weights = {at::Tensor()};
    return;
  }
  LevelPlan full_pass = weights_plan, sparse_pass = weights_plan;
  full_pass.view = View::kFull;
  sparse_pass.view = View::kSparse;
  sparse_pass.mask_gradient = true;
  if (weights_draws.aligns) {
    set_pulls(sparse_pass, of_weights, weights_draws.alpha, model_->sites(Level::kWeights),
              options_);
  }
  // The site's place matters in both passes, since the first keeps what the second pairs with.
  full_pass.site = runs_.front().weights.alignment.site;
  std::vector<double> full_loss, sparse_loss;
  for (std::size_t r = 0; r < plans.size(); ++r) {
    const Schedule& own = runs_[r].weights.schedule;
    full_loss.push_back(both ? own.loss_full : plans[r].weights_full ? 1.0 : 0.0);
    sparse_loss.push_back(both ? own.loss_sparse : plans[r].weights_full ? 0.0 : 1.0);
  }
  weights = {full_pass, sparse_pass};
  loss_weights = {on_device(full_loss, options_), on_device(sparse_loss, options_)};
  // Attention is aligned in the pass that learns from the labels, not in its counterpart as well.
  attention = {attention_plan, attention_plan};
  for (std::size_t pass = 0; attention_draws.aligns && pass < 2; ++pass) {
    const at::Tensor learns = (loss_weights[pass] > 0).to(options_.dtype);
    attention[pass].pull_full = attention_plan.pull_full * learns;
    attention[pass].pull_sparse = attention_plan.pull_sparse * learns;
  }
}

StepReport Trainer::forward_backward(const Batch& batch, const std::vector<ReplicaPlan>& plans) {
  std::vector<LevelPlan> attention, weights;
  std::vector<at::Tensor> loss_weights;
  level_plans(plans, attention, weights, loss_weights);
  std::vector<Context> passes(weights.size());
  at::Tensor task_loss, alignment;  // [R]
  for (std::size_t i = 0; i < passes.size(); ++i) {
    Context& context = passes[i];
    context.attention = attention[i];
    context.weights = weights[i];
    if (passes.size() == 2) {
      i == 0 ? context.keep_sites() : context.pair_with(&passes[0], Level::kWeights);
    }
    at::Tensor logits = model_->forward(batch.x, context);
    logits = logits.reshape({replicas(), -1, logits.size(-1)});  // [R,N,C]
    context.meet_logits(logits);
    at::Tensor loss = cross_entropy(logits, batch.target, batch.weight, batch.allowed);
    if (loss_weights[i].defined()) {
      // where, not a product, so that a diverged counterpart can't leak.
      loss = torch::where(loss_weights[i] > 0, loss * loss_weights[i], torch::zeros_like(loss));
    }
    task_loss = task_loss.defined() ? task_loss + loss : loss;
    const at::Tensor term = context.alignment();
    if (term.defined()) alignment = alignment.defined() ? alignment + term : term;
  }
  at::Tensor total = alignment.defined() ? task_loss + alignment : task_loss;
  const at::Tensor extra = strategy_->loss();
  if (extra.defined()) total = total + extra;
  total.sum().backward();

  const auto count = static_cast<std::size_t>(replicas());
  StepReport report;
  report.newly_diverged.assign(count, 0);
  report.updated.assign(count, 0);
  report.gradient_norm.assign(count, 0);
  const auto to_host = [count](const at::Tensor& values) {
    if (!values.defined()) return std::vector<double>(count, 0);
    const at::Tensor host = values.detach().to(torch::kCPU, torch::kFloat64).contiguous();
    return std::vector<double>(host.data_ptr<double>(), host.data_ptr<double>() + count);
  };
  report.loss = to_host(task_loss);
  report.alignment = to_host(alignment);
  return report;
}

}  // namespace tandem
