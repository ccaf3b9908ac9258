// What a trainer does for its strategy: the rows of a step by role, the gradients that it may look
// at and change, and copies of the net.
#include <algorithm>

#include "core/error.h"
#include "data/example.h"
#include "data/tensor.h"
#include "plan/stages.h"
#include "topology/connections.h"
#include "topology/segments.h"
#include "train/loss.h"
#include "train/trainer.h"

namespace tandem {
namespace {

at::Tensor keep_where(const at::Tensor& mask, const at::Tensor& values) {
  return mask.defined() ? torch::where(mask, values, torch::zeros({}, values.options())) : values;
}

// The same streams without their alignment.
void leave_alignment(Context& context) {
  for (const Level level : kLevels) {
    LevelPlan& plan = context.plans[level];
    plan.full_coefficient = plan.sparse_coefficient = at::Tensor();
  }
}

}  // namespace

// A strategy's view of the gradients while they lie in the parameters.
class Trainer::Gradients final : public StepGradients {
 public:
  Gradients(Trainer& trainer, const StepRows& rows)
      : trainer_(trainer), rows_(rows), parameters_(trainer.model_->parameters()) {}

  std::vector<at::Tensor> masked() const override {
    std::vector<at::Tensor> all;
    for (const Parameter* parameter : parameters_) {
      const at::Tensor& gradient = parameter->value.grad();
      all.push_back(gradient.defined()
                        ? keep_where(trainer_.mask_of_gradient(*parameter, rows_.numbers),
                                     gradient.reshape({-1}))
                        : gradient);
    }
    return all;
  }

  void replace(const std::vector<at::Tensor>& gradients) override {
    for (std::size_t p = 0; p < parameters_.size(); ++p) {
      if (!gradients[p].defined()) continue;
      at::Tensor& own = parameters_[p]->value.mutable_grad();
      own = gradients[p].view(own.sizes());
    }
  }

  at::Tensor add_pull(std::size_t parameter, const at::Tensor& center, const at::Tensor& importance,
                      const at::Tensor& factor) override {
    const Parameter& of = *parameters_[parameter];
    at::Tensor& own = of.value.mutable_grad();
    PullTensors term{of.flat(), center, importance, factor, of.segments()};
    if (own.defined()) term.gradient = own.contiguous();
    term.flags = trainer_.mask_of_gradient(of, rows_.numbers);
    auto [gradient, sums] = pulled(term);
    own = gradient.view(of.value.sizes());
    return sums;
  }

  void change_only(std::size_t parameter, const at::Tensor& which) override {
    trainer_.update_terms_[parameters_[parameter]].may_change = which;
  }

  void follow(std::size_t parameter, const at::Tensor& along, const at::Tensor& path) override {
    UpdateTerms& own = trainer_.update_terms_[parameters_[parameter]];
    own.along = along.contiguous();
    own.path = path;
  }

  std::pair<std::vector<at::Tensor>, at::Tensor> of_replay(std::size_t replay) override {
    return trainer_.references_.at(replay);
  }

 private:
  Trainer& trainer_;
  const StepRows& rows_;
  std::vector<Parameter*> parameters_;
};

// bool beside Parameter::flat(): S of the step; undefined: everything.
at::Tensor Trainer::mask_of_gradient(const Parameter& parameter, const at::Tensor& numbers) const {
  if (parameter.connections == nullptr) return {};
  at::Tensor flags = parameter.connections->active_flags();
  if (policies().sets.gradient == Support::kSuperset) {
    const at::Tensor superset = parameter.connections->superset_flags();
    if (superset.defined()) flags = superset;
  }
  if (!flags.defined()) return {};
  const at::Tensor cuts = numbers.select(1, TANDEM_COLUMN(kernels::StepNumbers, mask_gradient));
  const at::Tensor mask =
      flags.ne(0).logical_or(broadcast_to_segments(cuts.eq(0), parameter.segments()));
  std::size_t l = 0;
  for (const Linear* layer : model_->linears()) {
    const at::Tensor& cut = cuts_[l++];
    if (&layer->weight == &parameter && cut.defined()) return mask.logical_and(cut);
  }
  return mask;
}

class Trainer::Services final : public StrategyServices {
 public:
  explicit Services(Trainer& trainer) : trainer_(trainer) {}

  std::vector<at::Tensor> importances(const std::vector<std::vector<std::int64_t>>& examples,
                                      Importance kind) override {
    return trainer_.importances(examples, kind);
  }

  void take_snapshot(std::size_t i) override {
    trainer_.fill_copy(*trainer_.snapshots_[i], 1);
    trainer_.taken_[i] = 1;
  }

  std::vector<at::Tensor> features(
      const std::vector<std::vector<std::int64_t>>& examples) override {
    for (std::size_t r = 0; r < examples.size(); ++r) {
      const auto replica = static_cast<std::int64_t>(r);
      trainer_.flops().add(replica, static_cast<double>(examples[r].size()) *
                                        trainer_.flops_->trained_forward(replica));
    }
    return trainer_.features_of(examples, trainer_.trained_stream(trainer_.trains_sparse()));
  }

  at::Tensor snapshot_logits(std::size_t i, const at::Tensor& x) override {
    const at::NoGradGuard no_grad;
    TORCH_INTERNAL_ASSERT(trainer_.taken_[i], "snapshot ", i, " was never taken");
    Context context = trainer_.trained_stream(/*sparse=*/false);
    context.plans.weights = {};
    const at::Tensor logits = trainer_.snapshots_[i]->forward(x, context);
    return logits.reshape({trainer_.replicas(), -1, logits.size(-1)});
  }

  at::Tensor logits_with(const std::vector<at::Tensor>& values, const at::Tensor& x) override {
    const at::NoGradGuard no_grad;
    const std::vector<Parameter*> parameters = trainer_.model_->parameters();
    const auto swap = [&parameters](std::vector<at::Tensor>& others) {
      for (std::size_t p = 0; p < parameters.size(); ++p)
        std::swap(parameters[p]->value, others[p]);
    };
    std::vector<at::Tensor> others;
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      others.push_back(values[p].view(parameters[p]->value.sizes()));
    }
    // What criteria of topology read is the step's own.
    trainer_.topology_->expect_gradient(false);
    swap(others);
    // The step's first pass.
    Context context =
        trainer_.passes_of(*trainer_.step_.kind, *trainer_.step_.rows).front().context;
    leave_alignment(context);
    const at::Tensor logits = trainer_.model_->forward(x, context);
    swap(others);
    trainer_.topology_->expect_gradient(trainer_.expects_gradient_);
    return logits.reshape({trainer_.replicas(), -1, logits.size(-1)});
  }

 private:
  Trainer& trainer_;
};

// The stream of the weights that the method trains now is the sparse one. Waits for the device.
bool Trainer::trains_sparse() const {
  if (policies().schedule.kind != Schedule::Kind::kPhases) return !policies().has_full_stream();
  for (std::int64_t r = 0; r < replicas(); ++r) {
    if (in_full_phase(run(r), steps_of(r))) return false;
  }
  return true;
}

// One product of each layer: that of the stream that the method trains; the full one where both
// are.
Context Trainer::trained_stream(bool sparse) const {
  Context context;
  context.plans.attention.wanted =
      policies(Level::kAttention).has_full_stream() ? StreamsWanted::kFull : StreamsWanted::kSparse;
  LevelPlan& weights = context.plans.weights;
  weights.wanted = sparse ? StreamsWanted::kSparse : StreamsWanted::kFull;
  weights.superset = !sparse && policies().sets.full_in_superset;
  return context;
}

void Trainer::build_strategy() {
  services_ = std::make_unique<Services>(*this);
  StrategyView view{replicas(), {}, batches_.sequences(), model_->parameters(),
                    {},         {}, services_.get()};
  for (const RunSchedule& run : runs_) view.configs.push_back(run.config);
  view.options = torch::device(options_.device).dtype(options_.dtype);
  if (data().labels.defined()) {
    view.class_of =
        [labels = data().labels.to(torch::kCPU, torch::kInt64).contiguous()](std::int64_t example) {
          return labels.const_data_ptr<std::int64_t>()[source_of(example)];
        };
  }
  const auto place_of = [&view](const Parameter& parameter) {
    const auto found = std::find(view.parameters.begin(), view.parameters.end(), &parameter);
    return static_cast<std::size_t>(found - view.parameters.begin());
  };
  for (const Linear* layer : model_->linears()) {
    StrategyLayer own{place_of(layer->weight), -1, layer->inputs(), layer->outputs()};
    if (layer->has_bias()) own.bias = static_cast<std::int64_t>(place_of(layer->bias));
    own.makes_logits = layer == model_->linears().back() && layer->outputs() == tasks(0).outputs;
    own.initial = &layer->initial_weights;
    view.layers.push_back(own);
  }
  const Config& config = runs_.front().config;
  strategy_ = strategies().at("strategy", config.text("strategy"))(std::move(view));
  needs_ = strategy_->needs();
  layout_ = {{config.integer("batch")}, needs_.roles, needs_.places, needs_.numbers};
  in_batch_ = {0, config.integer("batch")};
  bool beside = false;
  for (const StrategyNeeds::Replay& replay : needs_.replays) {
    layout_.roles.push_back(replay.rows);
    beside = beside || !replay.in_batch;
    TORCH_INTERNAL_ASSERT(!beside || !replay.in_batch, "replays beside the batch come last");
    TORCH_INTERNAL_ASSERT(!beside || needs_.roles, "rows beside the batch are apart from it");
    TORCH_INTERNAL_ASSERT(!needs_.places || needs_.roles, "places are known where roles are apart");
    if (replay.in_batch) in_batch_.count += replay.rows;
  }
  for (std::int64_t i = 0; i < needs_.snapshots; ++i) {
    snapshots_.push_back(make_copy(1));
    taken_.push_back(0);
  }
}

std::vector<at::Tensor> Trainer::leaves_of(Model& model) {
  std::vector<at::Tensor> leaves;
  for (const Parameter* parameter : model.parameters()) leaves.push_back(parameter->value);
  return leaves;
}

std::unique_ptr<Model> Trainer::make_copy(std::int64_t times) const {
  ModelShape shape = network_shape(data(), tasks(0));
  shape.replicas = replicas() * times;
  shape.dtype = options_.dtype;
  shape.weights_later = true;
  std::vector<Config> configs;
  for (const RunSchedule& run : runs_) {
    configs.insert(configs.end(), static_cast<std::size_t>(times), run.config);
  }
  auto copy = models().at("model", configs.front().text("model"))(configs, shape);
  for (Linear* layer : copy->linears()) {
    layer->weight.value = torch::zeros({shape.replicas, layer->inputs(), layer->outputs()},
                                       torch::dtype(options_.dtype));
  }
  for (Parameter* parameter : copy->parameters()) {
    parameter->value = parameter->value.detach().to(options_.device);
  }
  for (Buffer* buffer : copy->buffers()) buffer->value = buffer->value.to(options_.device);
  return copy;
}

at::Tensor Trainer::trained_flags(const Connections& connections, bool sparse) const {
  if (sparse) return connections.dense_flags();
  // What is outside of a superset is not stored where storage is sparse.
  if (!policies().sets.full_in_superset || !connections.is_dense()) return {};
  const at::Tensor superset = connections.superset_flags();
  return superset.defined() ? superset.view({replicas(), -1}) : superset;
}

void Trainer::fill_copy(Model& copy, std::int64_t times) const {
  const at::NoGradGuard no_grad;
  const bool sparse = trains_sparse();
  const auto put = [times](const at::Tensor& to, const at::Tensor& from) {
    const at::Tensor all = times == 1 ? from : from.repeat_interleave(times, 0);
    to.detach().copy_(all.view(to.sizes()));
  };
  const auto from = model_->parameters(), to = copy.parameters();
  for (std::size_t p = 0; p < from.size(); ++p) {
    const Connections* connections = from[p]->connections;
    if (connections == nullptr) {
      put(to[p]->value, from[p]->value);
      continue;
    }
    at::Tensor values = connections->dense_values();
    const at::Tensor flags = trained_flags(*connections, sparse);
    if (flags.defined()) values = values * flags.view(values.sizes());
    put(to[p]->value, values);
  }
  const auto counts = model_->buffers(), own = copy.buffers();
  for (std::size_t b = 0; b < counts.size(); ++b) put(own[b]->value, counts[b]->value);
}

StepRows Trainer::columns_of(const StepRows& rows, RoleColumns columns) const {
  if (columns.first == 0 && columns.count == rows.examples.size(1)) return rows;
  const auto narrow = [&columns](const at::Tensor& table) {
    return table.defined() ? table.narrow(1, columns.first, columns.count) : table;
  };
  return {rows.numbers,       narrow(rows.examples), narrow(rows.weight), narrow(rows.mean),
          narrow(rows.place), narrow(rows.enters),   rows.strategy};
}

Batch Trainer::batch_of(const StepRows& rows) const {
  Batch batch = batches_.gather(rows.examples, rows.weight, batches_.trained_outputs());
  if (!rows.mean.defined()) return batch;
  if (batch.counted.defined()) {
    // Each example's mean over its targets that count.
    const at::Tensor counted =
        batch.counted.view({replicas(), rows.examples.size(1), -1}).to(rows.mean.scalar_type());
    batch.mean = (rows.mean.unsqueeze(-1) * counted / counted.sum(-1, true).clamp_min(1))
                     .view(batch.target.sizes());
    batch.weight = batch.mean.gt(0).to(batch.mean.scalar_type());
    batch.share = batch.mean;
    return batch;
  }
  const std::int64_t asked = asked_rows(batch.target, batch.asked).size(1) / rows.examples.size(1);
  batch.mean = batches_.over_rows(rows.mean) / static_cast<double>(asked);
  if (batch.asked.defined()) batch.mean = batch.mean * batch.weight;
  batch.weight = batch.mean.gt(0).to(batch.mean.scalar_type());
  batch.share = batch.mean;
  return batch;
}

StepView Trainer::view_of(const Batch& batch, const StepRows& rows,
                          const at::Tensor& logits) const {
  StepView view;
  view.x = batch.x;
  view.logits = logits;
  view.target = batch.target;
  view.allowed = batch.allowed;
  view.mean = batch.mean;
  view.place = rows.place;
  view.enters = rows.enters;
  view.numbers = rows.strategy;
  view.rows_per_example = batch.target.size(1) / rows.examples.size(1);
  std::int64_t first = 0;
  for (const std::int64_t count : layout_.roles) {
    if (layout_.apart && first < in_batch_.count) view.roles.push_back({first, count});
    first += count;
  }
  return view;
}

at::Tensor Trainer::task_loss(const Batch& batch, const at::Tensor& logits,
                              const at::Tensor& allowed) const {
  return batch.share.defined() ? shared_cross_entropy(logits, batch.target, batch.share, allowed)
                               : cross_entropy(logits, batch.target, batch.weight, allowed);
}

// What a role counts for, at each of its columns, [R,W] of the batch.
at::Tensor Trainer::weights_of_columns(const at::Tensor& role_weights) const {
  std::vector<at::Tensor> columns;
  std::int64_t first = 0;
  for (std::size_t role = 0; first < in_batch_.count; ++role) {
    const std::int64_t count = layout_.roles[role];
    columns.push_back(role_weights.select(1, static_cast<std::int64_t>(role))
                          .unsqueeze(1)
                          .expand({replicas(), count}));
    first += count;
  }
  return torch::cat(columns, 1);
}

// S * G of the mean task loss of these columns alone, at the step's weights and in its passes;
// before these, for what criteria read of them must be theirs alone.
std::vector<at::Tensor> Trainer::gradients_of_columns(const StepKind& kind, const StepRows& rows,
                                                      const StepRows& own) {
  topology_->expect_gradient(false);
  const Batch batch = batch_of(own);
  at::Tensor loss;
  for (Pass& pass : passes_of(kind, rows)) {
    leave_alignment(pass.context);
    at::Tensor logits = model_->forward(batch.x, pass.context);
    logits = logits.reshape({replicas(), -1, logits.size(-1)});  // [R,N,C]
    add_term(loss, where_it_counts(task_loss(batch, logits, batch.allowed), pass.loss_weight));
  }
  const auto gradients = torch::autograd::grad({loss.sum()}, leaves_of(*model_), {},
                                               /*retain_graph=*/false, /*create_graph=*/false,
                                               /*allow_unused=*/true);
  std::vector<at::Tensor> all;
  std::size_t p = 0;
  for (const Parameter* parameter : model_->parameters()) {
    const at::Tensor& gradient = gradients[p++];
    all.push_back(gradient.defined() ? keep_where(mask_of_gradient(*parameter, rows.numbers),
                                                  gradient.reshape({-1}))
                                     : gradient);
  }
  topology_->expect_gradient(expects_gradient_);
  return all;
}

void Trainer::pass_references(const StepKind& kind, const StepRows& rows) {
  references_.clear();
  for (std::size_t i = 0; i < needs_.replays.size(); ++i) {
    if (needs_.replays[i].in_batch || chooses() || !strategy_->wants_reference(i)) {
      references_.emplace_back();
      continue;
    }
    const StepRows own = columns_of(rows, {layout_.first(i + 1), layout_.roles[i + 1]});
    references_.emplace_back(gradients_of_columns(kind, rows, own), own.mean.gt(0).any(1));
  }
}

bool Trainer::chooses() const {
  return std::any_of(needs_.replays.begin(), needs_.replays.end(),
                     [](const StrategyNeeds::Replay& each) { return each.chosen; });
}

// The candidates are the last role's.
class Trainer::Choice final : public StepChoice {
 public:
  Choice(Trainer& trainer, const StepKind& kind, const StepRows& rows, const StepRows& candidates)
      : trainer_(trainer), kind_(kind), rows_(rows), batch_(trainer.batch_of(candidates)) {}

  at::Tensor losses() const override {
    std::vector<at::Tensor> values;
    for (const Parameter* each : trainer_.model_->parameters()) values.push_back(each->flat());
    return losses_with(values);
  }

  at::Tensor losses_after_step() const override {
    const StepRows current = trainer_.columns_of(rows_, {0, trainer_.layout_.roles[0]});
    std::vector<at::Tensor> gradients;
    {
      const at::AutoGradMode with_gradient(true);
      gradients = trainer_.gradients_of_columns(kind_, rows_, current);
    }
    const at::Tensor lr = rows_.column(TANDEM_COLUMN(kernels::StepNumbers, lr));
    std::vector<at::Tensor> values;
    std::size_t p = 0;
    for (const Parameter* each : trainer_.model_->parameters()) {
      const at::Tensor& gradient = gradients[p++];
      const at::Tensor now = each->flat();
      values.push_back(
          gradient.defined()
              ? now - gradient * broadcast_to_segments(lr.to(now.scalar_type()), each->segments())
              : now);
    }
    return losses_with(values);
  }

 private:
  at::Tensor losses_with(const std::vector<at::Tensor>& values) const {
    const at::Tensor logits = trainer_.services_->logits_with(values, batch_.x);
    const at::Tensor losses = score_examples(logits, batch_.target, batch_.allowed).loss;
    if (!batch_.counted.defined()) return losses;
    // The mean of an example's rows is that of its targets that count.
    const at::Tensor counted =
        batch_.counted.view({losses.size(0), batch_.x.size(1), -1}).to(losses.scalar_type());
    const at::Tensor most = counted.sum(-1, /*keepdim=*/true).clamp_min(1);
    return losses * (counted * static_cast<double>(counted.size(2)) / most).view(losses.sizes());
  }

  Trainer& trainer_;
  const StepKind& kind_;
  const StepRows& rows_;
  Batch batch_;
};

// The rows with those of the chosen role in the place that the host had for them.
StepRows Trainer::with_choice(const StepKind& kind, const StepRows& rows) {
  if (!chooses()) return rows;
  const at::NoGradGuard no_grad;
  const std::size_t last = layout_.roles.size() - 1;
  const StepRows candidates = columns_of(rows, {layout_.first(last), layout_.roles[last]});
  const at::Tensor scores = strategy_->choose(Choice(*this, kind, rows, candidates));
  // Of a window it is the mean over its symbols.
  const at::Tensor of_examples = scores.view({replicas(), candidates.examples.size(1), -1}).mean(2);
  const at::Tensor among =
      of_examples.masked_fill(candidates.mean.le(0), -std::numeric_limits<double>::infinity());
  const at::Tensor order = std::get<1>(among.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true));
  StepRows chosen = rows;
  chosen.examples = rows.examples.clone();
  for (std::size_t i = 0; i < needs_.replays.size(); ++i) {
    if (!needs_.replays[i].chosen) continue;
    const std::int64_t first = layout_.first(i + 1), count = layout_.roles[i + 1];
    chosen.examples.narrow(1, first, count)
        .copy_(candidates.examples.gather(1, order.narrow(1, 0, count)));
  }
  return chosen;
}

// [R] Replicas whose strategy wants a turn before this step.
std::vector<char> Trainer::turns_before(std::int64_t stage, std::int64_t in_stage) const {
  std::vector<char> due;
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    const std::int64_t steps = runs_[r].timeline.task_steps[static_cast<std::size_t>(stage)];
    due.push_back(in_stage < steps &&
                  strategy_->turn_at(static_cast<std::int64_t>(r), steps) == in_stage);
  }
  return due;
}

Trainer::ReadNet::ReadNet(Trainer& trainer, std::int64_t task) {
  const at::NoGradGuard no_grad;
  const std::vector<Parameter*> parameters = trainer.model_->parameters();
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    const at::Tensor own = trainer.strategy_->read_values(p, task);
    if (!own.defined()) continue;
    at::Tensor& value = parameters[p]->value;
    kept_.emplace_back(parameters[p], value);
    value = own.view(value.sizes());
  }
}

std::vector<std::pair<std::string, at::Tensor>> Trainer::ReadNet::values(std::int64_t r) const {
  std::vector<std::pair<std::string, at::Tensor>> all;
  for (const auto& [parameter, own] : kept_) {
    all.emplace_back(
        parameter->name,
        parameter->of_replica(r).detach().to(torch::kCPU).clone(at::MemoryFormat::Contiguous));
  }
  return all;
}

Trainer::ReadNet::~ReadNet() {
  for (auto& [parameter, value] : kept_) parameter->value = value;
}

void Trainer::change_gradients(const StepRows& rows, StepLosses& losses) {
  Gradients gradients(*this, rows);
  add_term(losses.strategy, strategy_->gradient(gradients));
  references_.clear();
}

std::int64_t Trainer::buffer_bytes(std::int64_t r, std::int64_t stage) const {
  // What has stages of more than their own tasks must have kept these.
  if (needs_.stage != StageData::kOwnTask) return input_bytes(stages_of(r), stage);
  const std::int64_t each = batches_.windows()
                                ? run(r).config.integer("context") + 1
                                : data().inputs.size(1) * data().inputs.element_size();
  return strategy_->examples_held(r) * each;
}

std::int64_t Trainer::data_bytes(std::int64_t r) const {
  return input_bytes({run(r).config, data(), tasks(r), StageData::kAllTasks}, 0);
}

double Trainer::pass_flops(std::int64_t r, std::int64_t stage) const {
  const bool at_once = needs_.stage == StageData::kAllTasks;
  const Stages own{run(r).config, data(), tasks(r),
                   at_once ? StageData::kAllTasks : StageData::kOwnTask};
  const std::int64_t examples = batches_.windows() ? own.windows(stage).windows() : own.size(stage);
  return 3 * flops_->trained_forward(r) * static_cast<double>(examples);
}

// Inputs of a stage's training examples, as the data set has them.
std::int64_t Trainer::input_bytes(const Stages& stages, std::int64_t stage) const {
  if (batches_.windows()) return stages.windows(stage).bytes();
  return stages.size(stage) * data().inputs.size(1) * data().inputs.element_size();
}

std::int64_t Trainer::strategy_bytes(std::int64_t r) const {
  const std::string prefix = run(r).config.text("strategy") + ".";
  const std::vector<Parameter*> own = strategy_->parameters();
  std::size_t bytes = 0;
  for (const Parameter* parameter : parameters()) {
    const bool is_own = std::find(own.begin(), own.end(), parameter) != own.end();
    if (is_own) bytes += parameter->of_replica(r).nbytes();
    for (const auto& [name, slot] : parameter->slots) {
      if (is_own || name.rfind(prefix, 0) == 0) {
        bytes += parameter->segment(slot.values, r).nbytes();
      }
    }
  }
  for (const auto& [name, values] : strategy_->save(r)) bytes += values.nbytes();
  for (std::size_t i = 0; i < snapshots_.size(); ++i) {
    if (!taken_[i]) continue;
    for (const Parameter* parameter : snapshots_[i]->parameters()) {
      bytes += parameter->of_replica(r).nbytes();
    }
    for (const Buffer* buffer : snapshots_[i]->buffers()) bytes += buffer->of_replica(r).nbytes();
  }
  return static_cast<std::int64_t>(bytes);
}

}  // namespace tandem
