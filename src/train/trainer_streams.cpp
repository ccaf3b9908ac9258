// The streams of a step: which products each pass computes at each level, and the passes
// themselves. kind_of() decides on the host, everything after it follows the kind and the step's
// rows.
#include "data/tensor.h"
#include "plan/step_demands.h"
#include "topology/segments.h"
#include "train/loss.h"
#include "train/trainer.h"

namespace tandem {
namespace {

// A replica that stands still follows the others' products. Where layers draw for themselves,
// either stream may run in any layer.
StepKind::Streams streams_of(const std::vector<ReplicaPlan>& plans, Level level,
                             const Demands& demands, bool local_alignment) {
  bool any_full = false, any_sparse = false;
  StepKind::Streams streams;
  for (const ReplicaPlan& plan : plans) {
    if (!plan.runs) continue;
    const LevelStep& step = plan.levels[level];
    (step.full ? any_full : any_sparse) = true;
    if (demands.layers_draw) any_full = any_sparse = true;
    if (step.alpha > 0) streams.aligns = true;
  }
  streams.running = !any_sparse ? RunningStream::kFull
                    : any_full  ? RunningStream::kMixed
                                : RunningStream::kSparse;
  if (streams.aligns && local_alignment) {
    streams.wanted = StreamsWanted::kBoth;
  } else {
    streams.wanted = streams.running == RunningStream::kFull    ? StreamsWanted::kFull
                     : streams.running == RunningStream::kMixed ? StreamsWanted::kSelected
                                                                : StreamsWanted::kSparse;
  }
  return streams;
}

LevelPlan level_plan(const StepKind::Streams& streams, const Policies& policies) {
  LevelPlan plan;
  plan.wanted = streams.wanted;
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

// Positions of a layer that the stream which ran in it uses, bool [R,...] in the weight's shape.
at::Tensor used_positions(const Linear& layer, const LevelPlan& plan, const at::Tensor& active) {
  const auto in_shape = [&](const at::Tensor& flags) {
    return flags.view(layer.weight.value.sizes()).ne(0);
  };
  const at::Tensor full = broadcast_to_values(full_runs_at(plan, layer.index), layer.weight);
  const at::Tensor superset = layer.connections->superset_flags();
  return plan.superset && superset.defined()
             ? torch::where(full, in_shape(superset), in_shape(active))
             : full.logical_or(in_shape(active));
}

}  // namespace

// The gradient of one product that serves both streams is dense. Where what the stream used is more
// than a matter of the whole replica and M, it is to be cut to that.
void Trainer::record_cuts(const StepKind& kind, const StepRows& rows) {
  const at::NoGradGuard no_grad;
  cuts_.assign(layers_.size(), at::Tensor());
  const StepKind::Streams& streams = kind.streams.weights;
  const bool finer = demands().layers_draw || policies().sets.full_in_superset;
  if (streams.wanted != StreamsWanted::kSelected || !finer ||
      takes_two_passes(demands(), streams.aligns)) {
    return;
  }
  const LevelPlan plan = level_plans(kind, rows).weights;
  std::size_t l = 0;
  for (const Linear* layer : model_->linears()) {
    at::Tensor& cut = cuts_[l++];
    if (layer->connections == nullptr) continue;
    const at::Tensor active = layer->connections->active_flags();
    if (active.defined()) cut = used_positions(*layer, plan, active).view({-1});
  }
}

// Attention's counterpart is always computed from the same input.
StepKind Trainer::kind_of(const std::vector<ReplicaPlan>& plans) const {
  const Demands& weights = demands();
  const bool local = !weights.counterpart_pass && !weights.both_streams;
  return {{streams_of(plans, Level::kAttention, demands(Level::kAttention), true),
           streams_of(plans, Level::kWeights, weights, local)},
          masked_layers_};
}

void Trainer::record_masks() {
  masked_layers_.clear();
  for (const Linear* layer : model_->linears()) {
    bool masked = false;
    for (std::int64_t r = 0; layer->connections != nullptr && r < replicas(); ++r) {
      masked = masked || layer->connections->active(r) != layer->connections->positions();
    }
    masked_layers_.push_back(masked ? '1' : '0');
  }
  if (flops_ != nullptr) flops_->record_masks();
}

// What each level computes in the step, as one pass would.
PerLevel<LevelPlan> Trainer::level_plans(const StepKind& kind, const StepRows& rows) const {
  PerLevel<LevelPlan> plans;
  for (const Level level : kLevels) {
    const StepKind::Streams& streams = kind.streams[level];
    LevelPlan& plan = plans[level] = level_plan(streams, policies(level));
    if (demands(level).layers_draw) {
      const std::int64_t layers = level == Level::kWeights
                                      ? static_cast<std::int64_t>(layers_.size())
                                      : model_->sites(level);
      plan.layer_full_runs = bits_of(rows.column(TANDEM_LEVEL_COLUMN(level, full_layers)), layers);
    } else if (streams.running == RunningStream::kMixed) {
      plan.full_runs = rows.column(TANDEM_LEVEL_COLUMN(level, full)).ne(0);
    }
    if (!policies(level).sets.nested.empty()) {
      plan.nested = rows.column(TANDEM_COLUMN(kernels::StepNumbers, nested)).to(torch::kInt64);
    }
    if (!streams.aligns) continue;
    const auto coefficient = [&](std::int64_t column) {
      at::Tensor given = rows.column(column);
      if (plan.measures_gap) {
        given = given * state_.select(1, TANDEM_LEVEL_STATE(level, alpha_factor));
      }
      return given.to(options_.dtype);
    };
    plan.full_coefficient = coefficient(TANDEM_LEVEL_COLUMN(level, full_coefficient));
    plan.sparse_coefficient = coefficient(TANDEM_LEVEL_COLUMN(level, sparse_coefficient));
  }
  return plans;
}

// The passes of a step: one, or the full stream's and then the sparse one's.
std::vector<Trainer::Pass> Trainer::passes_of(const StepKind& kind, const StepRows& rows) const {
  const PerLevel<LevelPlan> plans = level_plans(kind, rows);
  const bool aligns = kind.streams.weights.aligns;
  const bool two_passes = takes_two_passes(demands(), aligns);
  Pass pass;
  pass.context.plans.attention = plans.attention;
  pass.context.plans.weights = plans.weights;
  pass.context.plans.weights.mask_gradient = two_passes || aligns || plans.weights.nested.defined();
  if (!two_passes) return {pass};
  const auto number = [&](std::int64_t column) { return rows.column(column).to(options_.dtype); };
  std::vector<Pass> passes(2, pass);
  LevelPlan& full = passes[0].context.plans.weights;
  full.wanted = StreamsWanted::kFull;
  full.mask_gradient = false;
  full.full_coefficient = full.sparse_coefficient =
      at::Tensor();  // the sparse pass is aligned with it
  passes[1].context.plans.weights.wanted = StreamsWanted::kSparse;
  passes[0].loss_weight = number(TANDEM_COLUMN(kernels::StepNumbers, loss_full));
  passes[1].loss_weight = number(TANDEM_COLUMN(kernels::StepNumbers, loss_sparse));
  for (Pass& each : passes) {
    if (!kind.streams.attention.aligns) continue;
    // Attention is aligned in the pass that learns from the labels, not in its counterpart as well.
    const at::Tensor learns = (each.loss_weight > 0).to(options_.dtype);
    LevelPlan& attention = each.context.plans.attention;
    attention.full_coefficient = attention.full_coefficient * learns;
    attention.sparse_coefficient = attention.sparse_coefficient * learns;
  }
  return passes;
}

// Losses of the passes: [R] each, undefined where there is none.
struct Trainer::PassLosses {
  at::Tensor task, alignment, strategy, model;
  at::Tensor teacher, pull;  // the teacher's own loss, and its pull on the net
};

// The examples of a step that its model's buffers count, bool [R,W]: those of the batch, replayed
// ones too, without padding, of replicas that take part.
at::Tensor Trainer::counted_examples(const StepRows& rows) const {
  const at::Tensor alive = state_.select(1, TANDEM_COLUMN(kernels::ReplicaState, alive));
  const at::Tensor takes_part =
      rows.column(TANDEM_COLUMN(kernels::StepNumbers, runs)).mul(alive).ne(0).unsqueeze(1);
  const at::Tensor& weight = rows.mean.defined() ? rows.mean : rows.weight;
  return weight.defined() ? takes_part.logical_and(weight.gt(0))
                          : takes_part.expand(rows.examples.sizes());
}

// Each example counts once: in the first pass that learns from its label.
Trainer::PassLosses Trainer::run_passes(std::vector<Pass>& passes, Learnt& learnt) {
  const Batch& batch = learnt.batch;
  const StepRows& rows = learnt.rows;
  const bool counts = learnt.counts && !model_->buffers().empty();
  const at::Tensor counted = counts ? counted_examples(rows) : at::Tensor();
  PassLosses losses;
  for (std::size_t i = 0; i < passes.size(); ++i) {
    Context& context = passes[i].context;
    const at::Tensor& loss_weight = passes[i].loss_weight;
    context.outputs_allowed = batch.allowed;
    if (passes.size() == 2) {
      i == 0 ? context.record_sites() : context.align_with(&passes[0].context, Level::kWeights);
    }
    if (counts) {
      const at::Tensor& first = passes[0].loss_weight;
      context.counted_examples =
          passes.size() < 2 ? counted
                            : counted.logical_and((i == 0 ? first > 0 : first <= 0).unsqueeze(1));
    }
    at::Tensor logits = model_->forward(batch.x, context);
    logits = logits.reshape({replicas(), -1, logits.size(-1)});  // [R,N,C]
    context.align_logits(logits);
    const StepView view = view_of(batch, rows, logits);
    const at::Tensor outputs = strategy_->outputs(view);
    add_term(losses.task,
             where_it_counts(task_loss(batch, logits, outputs.defined() ? outputs : batch.allowed),
                             loss_weight));
    add_term(losses.strategy, where_it_counts(strategy_->loss(view), loss_weight));
    if (needs_.places) {  // else nobody remembers them
      learnt.logits = !learnt.logits.defined()
                          ? logits.detach()
                          : torch::where((passes[0].loss_weight > 0).view({-1, 1, 1}),
                                         learnt.logits, logits.detach());
    }
    learnt.additions.insert(learnt.additions.end(), context.additions.begin(),
                            context.additions.end());
    add_term(losses.alignment, context.alignment());
    if (context.model_loss().defined()) {
      add_term(losses.model, where_it_counts(context.model_loss(), loss_weight));
    }
    keep_gaps(context, loss_weight);
    if (teacher_ != nullptr && i + 1 == passes.size()) {
      losses.teacher = distillation_loss(logits, learnt, losses.pull);
    }
  }
  return losses;
}

// Attention's streams are compared in each pass, and aligned in those that learn from the labels.
void Trainer::keep_gaps(const Context& context, const at::Tensor& loss_weight) {
  for (const Level level : kLevels) {
    const at::Tensor gap = context.gap(level);
    if (!gap.defined()) continue;
    at::Tensor kept = state_.select(1, TANDEM_LEVEL_STATE(level, gap));
    const bool everywhere = level == Level::kWeights || !loss_weight.defined();
    kept.copy_(everywhere ? gap : torch::where(loss_weight > 0, gap.to(kept.scalar_type()), kept));
  }
}

// Gradients of all parameters; task loss of the running stream, the alignment term with its
// coefficients, and all else that the gradients are of.
StepLosses Trainer::take_gradients(const StepKind& kind, const StepRows& rows, Learnt& learnt) {
  const StepRows own = columns_of(rows, in_batch_);
  Batch batch = batch_of(own);
  if (batch.share.defined()) {
    const at::Tensor weights = strategy_->role_weights(view_of(batch, own, {}));
    if (weights.defined()) {
      batch.share = batch.share * batches_.over_rows(weights_of_columns(weights));
    }
  }
  std::vector<Pass> passes = passes_of(kind, rows);
  learnt.batch = batch;
  learnt.rows = own;
  const PassLosses losses = run_passes(passes, learnt);
  at::Tensor total = losses.task, rest;
  add_term(total, losses.alignment);
  add_term(total, losses.strategy);
  add_term(total, losses.model);
  for (const at::Tensor& more : {losses.teacher, losses.pull}) {
    add_term(total, more);
    if (more.defined()) add_term(rest, more.detach().to(torch::kFloat64));
  }
  differentiate(total);
  std::size_t l = 0;
  for (Linear* layer : model_->linears()) {
    const at::Tensor& cut = cuts_[l++];
    if (!cut.defined()) continue;
    at::Tensor& gradient = layer->weight.value.mutable_grad();
    gradient = torch::where(cut.view_as(gradient), gradient, torch::zeros({}, gradient.options()));
  }
  const at::Tensor task = losses.task.detach().to(torch::kFloat64);
  return {task,
          losses.alignment.defined() ? losses.alignment.detach().to(torch::kFloat64)
                                     : torch::zeros_like(task),
          losses.strategy.defined() ? losses.strategy.detach().to(torch::kFloat64) : at::Tensor(),
          losses.model.defined() ? losses.model.detach().to(torch::kFloat64) : at::Tensor(), rest};
}

// Gradients of all parameters; undefined where the loss does not reach one.
void Trainer::differentiate(const at::Tensor& loss) {
  std::vector<at::Tensor> leaves;
  for (Parameter* parameter : parameters()) leaves.push_back(parameter->value);
  const auto gradients = torch::autograd::grad({loss.sum()}, leaves, {}, /*retain_graph=*/false,
                                               /*create_graph=*/false, /*allow_unused=*/true);
  std::size_t i = 0;
  for (Parameter* parameter : parameters()) {
    parameter->value.mutable_grad() = gradients[i++];
  }
}

}  // namespace tandem
