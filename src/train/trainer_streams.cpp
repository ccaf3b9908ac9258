// The streams of a step: which products each pass computes at each level, and the passes
// themselves. kind_of() decides on the host, everything after it follows the kind and the step's
// rows.
#include "data/tensor.h"
#include "train/loss.h"
#include "train/trainer.h"

namespace tandem {
namespace {

// A replica that stands still follows the others' products.
StepKind::Streams streams_of(const std::vector<ReplicaPlan>& plans, Level level,
                             bool local_alignment) {
  bool any_full = false, any_sparse = false;
  StepKind::Streams streams;
  for (const ReplicaPlan& plan : plans) {
    if (!plan.runs) continue;
    const bool attention = level == Level::kAttention;
    ((attention ? plan.attention_full : plan.weights_full) ? any_full : any_sparse) = true;
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

LevelPlan level_plan(const StepKind::Streams& streams, const Alignment& alignment) {
  LevelPlan plan;
  plan.view = streams.view;
  plan.running = streams.running;
  plan.distance = alignment.distance;
  plan.site = alignment.site;
  return plan;
}

}  // namespace

StepKind Trainer::kind_of(const std::vector<ReplicaPlan>& plans) const {
  const Policies& weights = runs_.front().weights;
  const bool local =
      !weights.alignment.propagated && weights.schedule.kind != Schedule::Kind::kBoth;
  return {streams_of(plans, Level::kAttention, true), streams_of(plans, Level::kWeights, local),
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
  LevelPlan attention = level_plan(kind.attention, runs_.front().attention.alignment);
  LevelPlan weights = level_plan(kind.weights, of_weights.alignment);
  if (kind.attention.running == Running::kMixed) {
    attention.full_runs = rows.column(TANDEM_COLUMN(kernels::StepNumbers, attention_full)).ne(0);
  }
  if (kind.weights.running == Running::kMixed) {
    weights.full_runs = rows.column(TANDEM_COLUMN(kernels::StepNumbers, weights_full)).ne(0);
  }
  if (kind.attention.aligns) {
    attention.pull_full = number(TANDEM_COLUMN(kernels::StepNumbers, attention_pull_full));
    attention.pull_sparse = number(TANDEM_COLUMN(kernels::StepNumbers, attention_pull_sparse));
  }
  const bool both = of_weights.schedule.kind == Schedule::Kind::kBoth;
  const bool two_passes = both || (of_weights.alignment.propagated && kind.weights.aligns);
  LevelPlan full_pass = weights;
  if (kind.weights.aligns) {
    weights.pull_full = number(TANDEM_COLUMN(kernels::StepNumbers, weights_pull_full));
    weights.pull_sparse = number(TANDEM_COLUMN(kernels::StepNumbers, weights_pull_sparse));
  }
  weights.mask_gradient = two_passes || kind.weights.aligns;
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

// Gradients of all parameters; task loss of the running stream and the alignment term with its
// coefficients, double [R].
void Trainer::compute_gradients(const StepKind& kind, const StepRows& rows, at::Tensor& loss,
                                at::Tensor& alignment) {
  const Batch batch = gather(rows.examples, rows.weight, sequences_.front().mask_training);
  std::vector<at::Tensor> loss_weights;
  std::vector<Context> passes = passes_of(kind, rows, loss_weights);
  at::Tensor task_loss, term;  // [R]
  for (std::size_t i = 0; i < passes.size(); ++i) {
    Context& context = passes[i];
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
  }
  at::Tensor total = term.defined() ? task_loss + term : task_loss;
  const at::Tensor extra = strategy_->loss();
  if (extra.defined()) total = total + extra;
  std::vector<at::Tensor> leaves;
  for (Parameter* parameter : model_->parameters()) leaves.push_back(parameter->value);
  const auto gradients = torch::autograd::grad({total.sum()}, leaves, {}, /*retain_graph=*/false,
                                               /*create_graph=*/false, /*allow_unused=*/true);
  std::size_t i = 0;
  for (Parameter* parameter : model_->parameters()) {
    parameter->value.mutable_grad() = gradients[i++];
  }
  loss = task_loss.detach().to(torch::kFloat64);
  alignment = term.defined() ? term.detach().to(torch::kFloat64) : torch::zeros_like(loss);
}

}  // namespace tandem
