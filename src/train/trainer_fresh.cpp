// Batches that are drawn for a topology update: the gradients, and the mean squares of inputs, that
// its criteria read are means over n of them at the weights of the update, instead of the step's
// own. n = 64 and more is growth by an oracle's gradient.
//
// Forward is the sparse stream with nothing aligned, attention as the step's plan has it; backward
// reaches every position. Example i of batch b at update u: draw b B + i of the run's stream
// "growth", keyed by u, uniform with replacement from what the stage trains on. Slots, strategies
// and other streams of random numbers see nothing of it.
#include <algorithm>

#include "data/tensor.h"
#include "topology/connections.h"
#include "train/loss.h"
#include "train/trainer.h"

namespace tandem {
namespace {

// The plan of a run's step, counted over all stages, without alignment.
ReplicaPlan plan_at(const RunSchedule& run, std::int64_t step) {
  const Timeline& timeline = run.timeline;
  const auto stages = static_cast<std::int64_t>(timeline.task_steps.size());
  std::int64_t stage = 0;
  while (stage + 1 < stages && timeline.before(stage + 1) <= step) ++stage;
  ReplicaPlan plan = plan_replica(run, stage, step - timeline.before(stage));
  for (const Level level : kLevels) plan.levels[level].alpha = 0;
  return plan;
}

at::Tensor flags_tensor(const std::vector<char>& flags, at::Device device) {  // bool [R]
  return torch::tensor(std::vector<std::int64_t>(flags.begin(), flags.end())).to(device).ne(0);
}

Context context_of(const StepKind::Streams& attention, const at::Tensor& attention_full) {
  Context context;
  context.plans.attention.wanted = attention.wanted;
  context.plans.attention.running = attention.running;
  if (attention.running == RunningStream::kMixed)
    context.plans.attention.full_runs = attention_full;
  context.plans.weights.wanted = StreamsWanted::kSparse;
  context.plans.weights.running = RunningStream::kSparse;
  return context;
}

// Means take the place of the step's gradients in the replicas that are due. A sparse storage has
// its own memory of what was passed back.
void put_gradients(const std::vector<Parameter*>& parameters, const std::vector<at::Tensor>& means,
                   const at::Tensor& due) {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (!parameters[i]->connections->is_dense()) continue;
    at::Tensor& gradient = parameters[i]->value.mutable_grad();
    gradient =
        gradient.defined() ? torch::where(due.view({-1, 1, 1}), means[i], gradient) : means[i];
  }
}

}  // namespace

// Batch `number` of an update: what each run that is due draws, and fillers elsewhere.
Batch Trainer::fresh_batch(const UpdateMoment& moment, std::int64_t number) const {
  const std::int64_t width = runs_.front().config.integer("batch");
  std::vector<std::vector<std::int64_t>> examples(
      runs_.size(), std::vector<std::int64_t>(static_cast<std::size_t>(width), batches_.filler()));
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    if (!moment.due[r]) continue;
    examples[r] = batches_.beside(static_cast<std::int64_t>(r), moment.number[r], number);
  }
  return batches_.make(examples, width, batches_.trained_outputs());
}

// The context of a pass over such a batch: the sparse stream of the weights, attention as the
// step's plan has it, nothing aligned.
Context Trainer::fresh_context(const UpdateMoment& moment) const {
  std::vector<ReplicaPlan> plans(runs_.size());
  std::vector<char> full;
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    if (moment.due[r]) plans[r] = plan_at(runs_[r], moment.number[r] - 1);
    plans[r].runs = moment.due[r] != 0;
    full.push_back(plans[r].levels.attention.full);
  }
  return context_of(kind_of(plans).streams.attention, flags_tensor(full, options_.device));
}

void Trainer::read_fresh_batches(const UpdateMoment& moment) {
  const std::int64_t batches = demands().fresh_batches;
  const Context plan = fresh_context(moment);
  std::vector<Parameter*> ranked;
  std::vector<at::Tensor> leaves, means;
  for (Linear* layer : model_->linears()) {
    if (layer->connections == nullptr) continue;
    ranked.push_back(&layer->weight);
    leaves.push_back(layer->weight.value);
    means.push_back(torch::zeros_like(leaves.back().detach()));
  }
  const bool reads_gradient = demands().reads_gradient;
  const at::AutoGradMode with_gradient(reads_gradient);
  topology_->expect_gradient(false);  // what the step left is not asked for
  for (std::int64_t b = 0; b < batches; ++b) {
    const Batch batch = fresh_batch(moment, b);
    Context context = plan;
    topology_->expect_gradient(true);  // once more for each batch, so that all of them count
    at::Tensor logits = model_->forward(batch.x, context);
    if (!reads_gradient) continue;
    logits = logits.reshape({replicas(), -1, logits.size(-1)});  // [R,N,C]
    const at::Tensor loss = cross_entropy(logits, batch.target, batch.weight, batch.allowed);
    const auto gradients = torch::autograd::grad({loss.sum() / static_cast<double>(batches)},
                                                 leaves, {}, /*retain_graph=*/false,
                                                 /*create_graph=*/false, /*allow_unused=*/true);
    for (std::size_t l = 0; l < means.size(); ++l) {
      if (gradients[l].defined()) means[l] += gradients[l];
    }
  }
  if (reads_gradient) put_gradients(ranked, means, flags_tensor(moment.due, options_.device));
}

}  // namespace tandem
