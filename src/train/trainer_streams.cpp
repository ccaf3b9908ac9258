// The streams of a step: which products each pass computes at each level, and the passes
// themselves. kind_of() decides on the host, everything after it follows the kind and the step's
// rows.
#include "data/tensor.h"
#include "topology/segments.h"
#include "train/loss.h"
#include "train/trainer.h"

namespace tandem {
namespace {

// A replica that stands still follows the others' products. Where layers draw for themselves,
// either stream may run in any layer.
StepKind::Streams streams_of(const std::vector<ReplicaPlan>& plans, Level level,
                             bool local_alignment, bool draws_per_layer) {
  bool any_full = false, any_sparse = false;
  StepKind::Streams streams;
  for (const ReplicaPlan& plan : plans) {
    if (!plan.runs) continue;
    const bool attention = level == Level::kAttention;
    ((attention ? plan.attention_full : plan.weights_full) ? any_full : any_sparse) = true;
    if (draws_per_layer) any_full = any_sparse = true;
    if ((attention ? plan.attention_alpha : plan.weights_alpha) > 0) streams.aligns = true;
  }
  streams.running = !any_sparse ? Running::kFull : any_full ? Running::kMixed : Running::kSparse;
  if (streams.aligns && local_alignment) {
    streams.view = View::kBoth;
  } else {
    streams.view = streams.running == Running::kFull    ? View::kFull
                   : streams.running == Running::kMixed ? View::kSelected
                                                        : View::kSparse;
  }
  return streams;
}

LevelPlan level_plan(const StepKind::Streams& streams, const Policies& policies) {
  LevelPlan plan;
  plan.view = streams.view;
  plan.running = streams.running;
  plan.superset = policies.sets.full_in_superset;
  plan.distance = policies.alignment.distance;
  plan.site = policies.alignment.site;
  plan.shuffled = policies.alignment.shuffled;
  plan.detached = policies.alignment.detached;
  plan.measures_gap = policies.alignment.gap_target > 0;
  return plan;
}

// bool [R,L] of numbers whose bit l belongs to layer l.
at::Tensor bits_of(const at::Tensor& numbers, std::int64_t layers) {
  const at::Tensor whole = numbers.to(torch::kInt64).unsqueeze(1);
  return whole.bitwise_right_shift(torch::arange(layers, whole.options())).bitwise_and(1).ne(0);
}

// The gradient of one product that serves both streams is dense. Where what the stream used is more
// than a matter of the whole replica and M, it is cut to that here.
void mask_gradients(const std::vector<Linear*>& layers, const LevelPlan& plan) {
  at::NoGradGuard no_grad;
  for (Linear* layer : layers) {
    if (layer->connections == nullptr) continue;
    const at::Tensor active = layer->connections->active_flags();
    if (!active.defined()) continue;
    at::Tensor& gradient = layer->weight.value.mutable_grad();
    const auto in_shape = [&](const at::Tensor& flags) { return flags.view_as(gradient).ne(0); };
    const at::Tensor full = over_values(full_runs_at(plan, layer->index), layer->weight);
    const at::Tensor superset = layer->connections->superset_flags();
    const at::Tensor kept = plan.superset && superset.defined()
                                ? torch::where(full, in_shape(superset), in_shape(active))
                                : full.logical_or(in_shape(active));
    gradient = torch::where(kept, gradient, torch::zeros({}, gradient.options()));
  }
}

}  // namespace

StepKind Trainer::kind_of(const std::vector<ReplicaPlan>& plans) const {
  const Policies& weights = runs_.front().weights;
  const bool local =
      !weights.alignment.propagated && weights.schedule.kind != Schedule::Kind::kBoth;
  return {streams_of(plans, Level::kAttention, true, false),
          streams_of(plans, Level::kWeights, local, weights.schedule.draws_per_layer()),
          masked_layers_};
}

void Trainer::note_masks() {
  masked_layers_.clear();
  for (const Linear* layer : model_->linears()) {
    bool masked = false;
    for (std::int64_t r = 0; layer->connections != nullptr && r < replicas(); ++r) {
      masked = masked || layer->connections->active(r) != layer->connections->positions();
    }
    masked_layers_.push_back(masked ? '1' : '0');
  }
  if (flops_ != nullptr) flops_->note_masks();
}

// One Context per pass, and the weight of each pass's task loss per replica [R].
std::vector<Context> Trainer::passes_of(const StepKind& kind, const StepRows& rows,
                                        std::vector<at::Tensor>& loss_weights) const {
  const auto number = [&](std::int64_t column) { return rows.column(column).to(options_.dtype); };
  const Policies& of_weights = runs_.front().weights;
  LevelPlan attention = level_plan(kind.attention, runs_.front().attention);
  LevelPlan weights = level_plan(kind.weights, of_weights);
  if (kind.attention.running == Running::kMixed) {
    attention.full_runs = rows.column(TANDEM_COLUMN(kernels::StepNumbers, attention_full)).ne(0);
  }
  if (of_weights.schedule.draws_per_layer()) {
    weights.layer_full_runs =
        bits_of(rows.column(TANDEM_COLUMN(kernels::StepNumbers, weights_layers)),
                static_cast<std::int64_t>(layers_.size()));
  } else if (kind.weights.running == Running::kMixed) {
    weights.full_runs = rows.column(TANDEM_COLUMN(kernels::StepNumbers, weights_full)).ne(0);
  }
  const bool nested = !of_weights.sets.nested.empty();
  if (nested) {
    weights.nested =
        rows.column(TANDEM_COLUMN(kernels::StepNumbers, weights_nested)).to(torch::kInt64);
  }
  if (kind.attention.aligns) {
    attention.pull_full = number(TANDEM_COLUMN(kernels::StepNumbers, attention_pull_full));
    attention.pull_sparse = number(TANDEM_COLUMN(kernels::StepNumbers, attention_pull_sparse));
  }
  const bool both = of_weights.schedule.kind == Schedule::Kind::kBoth;
  const bool two_passes = both || (of_weights.alignment.propagated && kind.weights.aligns);
  LevelPlan full_pass = weights;
  if (kind.weights.aligns) {
    const auto pull = [&](std::int64_t column) {
      if (!weights.measures_gap) return number(column);
      const at::Tensor factor =
          state_.select(1, TANDEM_COLUMN(kernels::ReplicaState, alpha_factor));
      return (rows.column(column) * factor).to(options_.dtype);
    };
    weights.pull_full = pull(TANDEM_COLUMN(kernels::StepNumbers, weights_pull_full));
    weights.pull_sparse = pull(TANDEM_COLUMN(kernels::StepNumbers, weights_pull_sparse));
  }
  weights.mask_gradient = two_passes || kind.weights.aligns || nested;
  std::vector<Context> passes(two_passes ? 2 : 1);
  if (!two_passes) {
    passes[0].attention = attention;
    passes[0].weights = weights;
    loss_weights = {at::Tensor()};
    return passes;
  }
  full_pass.view = View::kFull;
  weights.view = View::kSparse;
  loss_weights = {number(TANDEM_COLUMN(kernels::StepNumbers, loss_full)),
                  number(TANDEM_COLUMN(kernels::StepNumbers, loss_sparse))};
  for (std::size_t pass = 0; pass < 2; ++pass) {
    passes[pass].weights = pass == 0 ? full_pass : weights;
    passes[pass].attention = attention;
    if (!kind.attention.aligns) continue;
    // Attention is aligned in the pass that learns from the labels, not in its counterpart as well.
    const at::Tensor learns = (loss_weights[pass] > 0).to(options_.dtype);
    passes[pass].attention.pull_full = attention.pull_full * learns;
    passes[pass].attention.pull_sparse = attention.pull_sparse * learns;
  }
  return passes;
}

// Gradients of all parameters; task loss of the running stream, the alignment term with its
// coefficients, and all else that the gradients are of.
StepLosses Trainer::take_gradients(const StepKind& kind, const StepRows& rows) {
  const Batch batch = gather(rows.examples, rows.weight, sequences_.front().mask_training);
  std::vector<at::Tensor> loss_weights;
  std::vector<Context> passes = passes_of(kind, rows, loss_weights);
  at::Tensor task_loss, term, taught, pull;  // [R]
  for (std::size_t i = 0; i < passes.size(); ++i) {
    Context& context = passes[i];
    context.outputs_allowed = batch.allowed;
    if (passes.size() == 2) {
      i == 0 ? context.keep_sites() : context.pair_with(&passes[0], Level::kWeights);
    }
    at::Tensor logits = model_->forward(batch.x, context);
    logits = logits.reshape({replicas(), -1, logits.size(-1)});  // [R,N,C]
    context.meet_logits(logits);
    at::Tensor own = cross_entropy(logits, batch.target, batch.weight, batch.allowed);
    if (loss_weights[i].defined()) {
      // where, not a product, so that a diverged counterpart can't leak.
      own = torch::where(loss_weights[i] > 0, own * loss_weights[i], torch::zeros_like(own));
    }
    task_loss = task_loss.defined() ? task_loss + own : own;
    const at::Tensor aligned = context.alignment();
    if (aligned.defined()) term = term.defined() ? term + aligned : aligned;
    const at::Tensor gap = context.gap();
    if (gap.defined()) state_.select(1, TANDEM_COLUMN(kernels::ReplicaState, gap)).copy_(gap);
    if (teacher_ != nullptr && i + 1 == passes.size()) {
      taught = teach(batch, logits, pull);
    }
  }
  at::Tensor total = term.defined() ? task_loss + term : task_loss, rest;
  const auto add = [&](const at::Tensor& more) {
    if (!more.defined()) return;
    total = total + more;
    const at::Tensor wide = more.detach().to(torch::kFloat64);
    rest = rest.defined() ? rest + wide : wide;
  };
  add(taught);
  add(pull);
  add(strategy_->loss());
  std::vector<at::Tensor> leaves;
  for (Parameter* parameter : parameters()) leaves.push_back(parameter->value);
  const auto gradients = torch::autograd::grad({total.sum()}, leaves, {}, /*retain_graph=*/false,
                                               /*create_graph=*/false, /*allow_unused=*/true);
  std::size_t i = 0;
  for (Parameter* parameter : parameters()) {
    parameter->value.mutable_grad() = gradients[i++];
  }
  const LevelPlan& plan = passes.front().weights;
  if (plan.view == View::kSelected && (plan.layer_full_runs.defined() || plan.superset)) {
    mask_gradients(model_->linears(), plan);
  }
  const at::Tensor loss = task_loss.detach().to(torch::kFloat64);
  return {loss, term.defined() ? term.detach().to(torch::kFloat64) : torch::zeros_like(loss), rest};
}

}  // namespace tandem
