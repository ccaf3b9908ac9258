#include "train/trainer.h"

#include <algorithm>
#include <cmath>

#include "config/seeds.h"
#include "core/error.h"
#include "data/tensor.h"
#include "methods/method.h"
#include "train/loss.h"

namespace tandem {

Trainer::Trainer(const std::vector<Config>& configs, const TrainerOptions& options)
    : options_(options) {
  for (const Config& config : configs) {
    runs_.push_back({config, policies_of(config, Level::kAttention),
                     policies_of(config, Level::kWeights), Timeline{}});
    if (!same_kind(runs_.front().weights, runs_.back().weights) ||
        !same_kind(runs_.front().attention, runs_.back().attention)) {
      throw ConfigError("runs of different methods can't train as one group");
    }
  }
  diverged_.assign(configs.size(), 0);
  counts_.assign(configs.size(), 0);
  data_ = load_dataset(configs.front());
  const std::int64_t context =
      data_->kind == Dataset::Kind::kBytes ? configs.front().integer("context") : 0;
  device_data_ = to_device(*data_, options_.device, options_.dtype);
  for (const Config& config : configs) sequences_.push_back(make_tasks(config, *data_));
  build_network();
  std::vector<Config> all(configs);
  strategy_ = strategies().at("strategy", configs.front().text("strategy"))(
      {replicas(), all, sequences_, model_->parameters()});
  joined_ = strategy_->joins_tasks();
  build_tasks();
  start_topology();
  flops_ = std::make_unique<FlopsLedger>(*model_, runs_,
                                         context > 0 ? static_cast<double>(context) : 1.0);
}

Trainer::~Trainer() = default;

std::int64_t Trainer::stage_steps(std::int64_t stage) const {
  std::int64_t longest = 0;
  for (const RunSchedule& run : runs_) {
    longest = std::max(longest, run.timeline.task_steps[static_cast<std::size_t>(stage)]);
  }
  return longest;
}

namespace {

std::vector<std::int64_t> stage_examples_of(const TaskSequence& sequence, std::int64_t stage,
                                            bool joined) {
  if (!joined) return sequence.tasks[static_cast<std::size_t>(stage)].train;
  std::vector<std::int64_t> all;
  for (const Task& task : sequence.tasks)
    all.insert(all.end(), task.train.begin(), task.train.end());
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

// Lengths of the stages and the tables that map a class to its output and its task's outputs.
void Trainer::build_tasks() {
  stage_count_ = joined_ ? 1 : static_cast<std::int64_t>(sequences_.front().tasks.size());
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    std::vector<std::int64_t> counts;
    for (std::int64_t stage = 0; stage < stage_count_; ++stage) {
      if (data_->kind == Dataset::Kind::kBytes) {
        const std::int64_t context = runs_[r].config.integer("context");
        counts.push_back((data_->train[1] - data_->train[0] + context - 1) / context);
      } else {
        counts.push_back(
            static_cast<std::int64_t>(stage_examples_of(sequences_[r], stage, joined_).size()));
      }
    }
    // `steps` are per task; joint training has all tasks in one stage.
    const auto tasks_in_stage = joined_ ? static_cast<std::int64_t>(sequences_[r].tasks.size()) : 1;
    runs_[r].timeline = make_timeline(runs_[r].config, counts, tasks_in_stage);
  }
  const TaskSequence& first = sequences_.front();
  if (data_->kind == Dataset::Kind::kBytes) return;
  const std::int64_t classes = data_->classes, outputs = first.outputs;
  if (!first.target.empty()) {
    std::vector<std::int64_t> table;
    for (const TaskSequence& each : sequences_) {
      table.insert(table.end(), each.target.begin(), each.target.end());
    }
    target_table_ = torch::tensor(table).to(options_.device);
  }
  if (first.task_outputs.empty()) return;
  at::Tensor allowed = torch::zeros({replicas(), classes, outputs}, torch::kBool);
  auto access = allowed.accessor<bool, 3>();
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const TaskSequence& each = tasks(r);
    for (std::int64_t c = 0; c < classes; ++c) {
      const std::int64_t task =
          each.task_of_class.empty() ? 1 : each.task_of_class[static_cast<std::size_t>(c)];
      const auto [begin, end] = each.task_outputs[static_cast<std::size_t>(task - 1)];
      for (std::int64_t o = begin; o < end; ++o) access[r][c][o] = true;
    }
  }
  allowed_table_ = allowed.view({replicas() * classes, outputs}).to(options_.device);
}

bool Trainer::finite(std::int64_t r) {
  at::NoGradGuard no_grad;
  for (const Parameter* parameter : model_->parameters()) {
    if (!torch::isfinite(parameter->value[r]).all().item<bool>()) return false;
  }
  return true;
}

void Trainer::build_network() {
  std::vector<Config> configs;
  for (const RunSchedule& run : runs_) configs.push_back(run.config);
  ModelShape shape;
  shape.replicas = replicas();
  shape.features = data_->features;
  shape.outputs = sequences_.front().outputs;
  shape.dtype = options_.dtype;
  const Config& config = configs.front();
  model_ = models().at("model", config.text("model"))(configs, shape);
  if (model_->sites(Level::kAttention) == 0 &&
      runs_.front().attention.schedule.kind != Schedule::Kind::kFull) {
    throw ConfigError("attention=" + config.text("attention") +
                      " needs a model that has attention; " + "model=" + config.text("model") +
                      " has none (`tandem list models`)");
  }
  optimizer_ = optimizers().at("optimizer", config.text("optimizer"))(configs);
  for (const TopologyOperation& operation : runs_.front().weights.topology.operations) {
    if (operation.kind == TopologyOperation::Kind::kGrow) optimizer_->count_per_weight(true);
  }
}

void Trainer::begin_stage(std::int64_t stage) {
  epoch_samplers_.clear();
  byte_samplers_.clear();
  stage_examples_.clear();
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const Config& config = run(r).config;
    const std::uint64_t key = run_key(config, "data");
    const std::int64_t batch = config.integer("batch");
    if (data_->kind == Dataset::Kind::kBytes) {
      byte_samplers_.push_back(std::make_unique<ByteSampler>(
          key, stage, data_->train[0], data_->train[1], config.integer("context"), batch));
    } else {
      stage_examples_.push_back(stage_examples_of(tasks(r), stage, joined_));
      epoch_samplers_.push_back(std::make_unique<EpochSampler>(
          key, stage, static_cast<std::int64_t>(stage_examples_.back().size()), batch));
    }
  }
  strategy_->before_task(stage + 1);
}

void Trainer::end_stage(std::int64_t stage) { strategy_->after_task(stage + 1); }

std::vector<std::vector<std::int64_t>> Trainer::next_examples(
    std::int64_t, std::int64_t in_stage, const std::vector<ReplicaPlan>& plans) {
  std::vector<std::vector<std::int64_t>> examples(plans.size());
  for (std::size_t r = 0; r < plans.size(); ++r) {
    if (!plans[r].runs) continue;
    if (!byte_samplers_.empty()) {
      examples[r] = byte_samplers_[r]->batch(in_stage);
      continue;
    }
    examples[r] = epoch_samplers_[r]->batch(in_stage);
    for (std::int64_t& index : examples[r]) {
      index = stage_examples_[r][static_cast<std::size_t>(index)];
    }
    std::vector<std::int64_t> replay;
    strategy_->batch(static_cast<std::int64_t>(r), plans[r].step, examples[r], replay);
    examples[r].insert(examples[r].end(), replay.begin(), replay.end());
  }
  return examples;
}

Batch Trainer::make_batch(const std::vector<std::vector<std::int64_t>>& examples,
                          std::int64_t width, bool masked) const {
  const std::int64_t filler = data_->kind == Dataset::Kind::kBytes ? data_->train[0] : 0;
  at::Tensor indices = torch::full({replicas(), width}, filler, torch::kInt64);
  at::Tensor weight;
  auto* out = indices.data_ptr<std::int64_t>();
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const auto& own = examples[static_cast<std::size_t>(r)];
    const auto count = static_cast<std::int64_t>(own.size());
    // Padding repeats the replica's own examples: they are in the alignment term, which no weight
    // masks.
    for (std::int64_t i = 0; i < width && count > 0; ++i) {
      out[r * width + i] = own[static_cast<std::size_t>(i % count)];
    }
    if (count == width) continue;
    if (!weight.defined()) weight = torch::ones({replicas(), width}, options_.dtype);
    weight[r].slice(0, count).zero_();
  }
  indices = indices.to(options_.device);
  if (weight.defined()) weight = weight.to(options_.device);
  Batch batch;
  if (data_->kind == Dataset::Kind::kBytes) {
    auto [x, y] = gather_windows(device_data_, indices, runs_.front().config.integer("context"));
    batch.x = x;
    batch.target = y.reshape({replicas(), -1});
    if (weight.defined()) {
      batch.weight =
          weight.unsqueeze(-1).expand({replicas(), width, x.size(2)}).reshape({replicas(), -1});
    }
    return batch;
  }
  batch.x = gather_images(device_data_, indices);
  batch.target = gather_labels(device_data_, indices);
  batch.weight = weight;
  if (!target_table_.defined() && !(masked && allowed_table_.defined())) return batch;
  const at::Tensor offsets =
      torch::arange(replicas(), batch.target.options()).unsqueeze(1) * data_->classes;
  const at::Tensor cell = (batch.target + offsets).view(-1);
  if (masked && allowed_table_.defined()) {
    batch.allowed =
        allowed_table_.index_select(0, cell).view({replicas(), width, allowed_table_.size(1)});
  }
  if (target_table_.defined()) {
    batch.target = target_table_.index_select(0, cell).view({replicas(), width});
  }
  return batch;
}

StepReport Trainer::step(std::int64_t stage, std::int64_t in_stage) {
  std::vector<ReplicaPlan> plans;
  for (std::int64_t r = 0; r < replicas(); ++r) {
    plans.push_back(plan_replica(run(r), stage, in_stage));
    if (diverged(r)) plans.back().runs = false;
  }
  const Config& config = runs_.front().config;
  const std::int64_t width = config.integer("batch") + strategy_->replay_slots();
  const auto examples = next_examples(stage, in_stage, plans);
  const Batch batch = make_batch(examples, width, sequences_.front().mask_training);
  StepReport report = forward_backward(batch, plans);
  for (std::size_t r = 0; r < plans.size(); ++r) {
    if (plans[r].runs && !std::isfinite(report.loss[r] + report.alignment[r])) {
      report.newly_diverged[r] = 1;
      diverged_[r] = 1;
      plans[r].runs = false;
    }
  }
  strategy_->gradient();
  std::vector<char> apply;
  for (const ReplicaPlan& plan : plans) apply.push_back(plan.runs);
  topology_->accumulate(apply);
  optimizer_step(plans, report);
  std::vector<double> counts;
  for (const auto& own : examples) counts.push_back(static_cast<double>(own.size()));
  flops_->charge(plans, counts);  // with the masks that the step's products had
  update_topology(plans, true, report);
  update_topology(plans, false, report);
  for (Parameter* parameter : model_->parameters()) parameter->value.mutable_grad().reset();
  strategy_->after_step(in_stage);
  return report;
}

void Trainer::optimizer_step(const std::vector<ReplicaPlan>& plans, StepReport& report) {
  const Policies& policies = runs_.front().weights;
  std::vector<ReplicaStep> steps(plans.size());
  for (std::size_t r = 0; r < plans.size(); ++r) {
    ReplicaStep& step = steps[r];
    const ReplicaPlan& plan = plans[r];
    step.apply = plan.runs && !plan.update_instead;
    step.lr = plan.lr;
    step.count = counts_[r];
    // Where both products ran, the sparse one's gradient was masked by the product itself.
    const bool own_mask =
        policies.sets.gradient == Support::kMask ||
        (policies.sets.gradient == Support::kStream && !plan.weights_full &&
         policies.schedule.kind != Schedule::Kind::kBoth && plan.weights_alpha == 0);
    step.mask_gradient = own_mask;
    step.mask_update = policies.sets.update == Support::kMask;
    const Dormant& dormant = runs_[r].weights.dormant;
    if (dormant.kind == Dormant::Kind::kDecay &&
        !(dormant.sparse_steps_only && plan.weights_full)) {
      step.keep_dormant = 1 - dormant.eta * (dormant.scaled_by_lr ? plan.lr : 1.0);
    }
  }
  report.gradient_norm = optimizer_->step(model_->parameters(), steps);
  for (std::size_t r = 0; r < plans.size(); ++r) {
    if (steps[r].apply && !std::isfinite(report.gradient_norm[r])) {
      report.newly_diverged[r] = 1;
      diverged_[r] = 1;
    } else if (steps[r].apply) {
      ++counts_[r];
    }
  }
}

}  // namespace tandem
