#include "train/trainer.h"

#include <algorithm>

#include "config/seeds.h"
#include "core/error.h"
#include "cuda/plugin.h"
#include "data/tensor.h"
#include "methods/method.h"
#include "plan/match.h"
#include "plan/stages.h"
#include "policy/rules.h"
#include "train/teacher.h"

namespace tandem {
namespace {

constexpr std::int64_t kStepsAhead = 32;  // plans uploaded at once

// Of what is checked before a run begins (jobs/run_check.h), what a trainer can't do without.
void check_network(const RunSchedule& run, Model& model) {
  RunFacts facts{run.weights, run.attention, &run.config};
  for (const Linear* layer : model.linears()) {
    facts.layers.push_back({layer->name(), layer->inputs(), layer->outputs()});
  }
  facts.has_attention = model.sites(Level::kAttention) > 0;
  facts.most_drawing_layers = kMostDrawingLayers;
  check_rules({"exempt_unknown", "attention_of_none", "too_many_drawing_layers"}, facts);
}

}  // namespace

Trainer::Trainer(const std::vector<Config>& configs, const TrainerOptions& options)
    : options_(options) {
  for (const Config& config : configs) {
    runs_.push_back(
        {config, policies_of(config, Level::kAttention), policies_of(config, Level::kWeights)});
    if (!same_kind(runs_.front().weights, runs_.back().weights) ||
        !same_kind(runs_.front().attention, runs_.back().attention)) {
      throw ConfigError("runs of different methods can't train as one group");
    }
  }
  RunFacts facts{runs_.front().weights, runs_.front().attention, &configs.front()};
  facts.on_gpu = options_.device.is_cuda();
  check_rules({"tf32_on_cpu"}, facts);
  if (options_.device.is_cuda()) {
    cuda_api().enter_stream(options_.device.index());
    at::globalContext().setAllowTF32CuBLAS(configs.front().flag("tf32"));
  }
  frozen_.assign(configs.size(), 0);
  host_state_.assign(configs.size(), {});
  state_ = torch::empty({replicas(), kernels::kReplicaState},
                        torch::device(options_.device).dtype(torch::kFloat64));
  write_state();
  data_ = load_dataset(configs.front());
  device_data_ = to_device(*data_, options_.device, options_.dtype);
  for (const Config& config : configs) sequences_.push_back(make_tasks(config, *data_));
  build_network();
  std::vector<Config> all(configs);
  strategy_ = strategies().at("strategy", configs.front().text("strategy"))(
      {replicas(), all, sequences_, model_->parameters()});
  joined_ = strategy_->joins_tasks();
  build_tasks();
  start_topology();
  width_ = configs.front().integer("batch") + strategy_->replay_slots();
  tables_ = std::make_unique<StepTables>(options_.device.is_cuda() ? kStepsAhead : 1, replicas(),
                                         width_, filler(), options_.device, options_.dtype);
  flops_ = std::make_unique<FlopsLedger>(*model_, runs_, rows_per_example(configs.front(), *data_));
}

Trainer::~Trainer() = default;

std::int64_t Trainer::stage_steps(std::int64_t stage) const {
  std::int64_t longest = 0;
  for (const RunSchedule& run : runs_) {
    longest = std::max(longest, run.timeline.task_steps[static_cast<std::size_t>(stage)]);
  }
  return longest;
}

// Lengths of the stages and the tables that map a class to its output and its task's outputs.
void Trainer::build_tasks() {
  stage_count_ = joined_ ? 1 : static_cast<std::int64_t>(sequences_.front().tasks.size());
  ScheduleMatcher matcher(*model_, network_shape(*data_, sequences_.front()),
                          rows_per_example(runs_.front().config, *data_));
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    runs_[r].timeline = timeline_on(runs_[r].config, *data_, sequences_[r], joined_);
    runs_[r] = matcher.matched(runs_[r]);
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

void Trainer::build_network() {
  std::vector<Config> configs;
  for (const RunSchedule& run : runs_) configs.push_back(run.config);
  ModelShape shape = network_shape(*data_, sequences_.front());
  shape.replicas = replicas();
  shape.dtype = options_.dtype;
  const Config& config = configs.front();
  model_ = models().at("model", config.text("model"))(configs, shape);
  check_network(runs_.front(), *model_);
  if (runs_.front().weights.teacher.alpha > 0) build_teacher(configs, shape);
  optimizer_ = optimizers().at("optimizer", config.text("optimizer"))(configs);
  bool renews = runs_.front().weights.schedule.empties_slots ||
                runs_.front().weights.sets.outside_zero ||
                runs_.front().weights.topology.empties_slots;
  for (const TopologyOperation& operation : runs_.front().weights.topology.operations) {
    renews = renews || operation.kind == TopologyOperation::Kind::kGrow ||
             operation.kind == TopologyOperation::Kind::kGrowTo;
  }
  optimizer_->count_per_weight(renews);
}

// A dense twin: the same network from the same seeds, with all of its weights.
void Trainer::build_teacher(const std::vector<Config>& configs, const ModelShape& shape) {
  teacher_ = models().at("model", configs.front().text("model"))(configs, shape);
  for (Linear* layer : teacher_->linears()) {
    layer->weight.value =
        draw_dense(layer->initial, options_.dtype).to(options_.device).requires_grad_(true);
  }
  std::vector<double> alphas;
  for (const RunSchedule& run : runs_) alphas.push_back(run.weights.teacher.alpha);
  teacher_alpha_ = torch::tensor(alphas, torch::kFloat64).to(options_.device).to(options_.dtype);
  for (Parameter* parameter : teacher_->parameters())
    parameter->name = teachers_name(parameter->name);
}

void Trainer::begin_stage(std::int64_t stage) {
  epoch_samplers_.clear();
  byte_samplers_.clear();
  stage_examples_.clear();
  captured_.clear();  // what a strategy adds to a step may change with the task
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const Config& config = run(r).config;
    const std::uint64_t key = run_key(config, "data");
    const std::int64_t batch = config.integer("batch");
    if (data_->kind == Dataset::Kind::kBytes) {
      byte_samplers_.push_back(std::make_unique<ByteSampler>(
          key, stage, data_->train[0], data_->train[1], config.integer("context"), batch));
    } else {
      stage_examples_.push_back(stage_examples(tasks(r), stage, joined_));
      epoch_samplers_.push_back(std::make_unique<EpochSampler>(
          key, stage, static_cast<std::int64_t>(stage_examples_.back().size()), batch));
    }
  }
  strategy_->before_task(stage + 1);
}

void Trainer::end_stage(std::int64_t stage) { strategy_->after_task(stage + 1); }

}  // namespace tandem
