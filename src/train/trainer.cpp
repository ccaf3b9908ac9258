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

// The part of what is checked before a run begins (jobs/run_check.h) that a trainer can't do
// without.
void check_network(const RunSchedule& run, Model& model) {
  RunFacts facts{run.policies.weights, run.policies.attention, &run.config};
  for (const Linear* layer : model.linears()) {
    facts.layers.push_back({layer->name(), layer->inputs(), layer->outputs()});
  }
  facts.has_attention = model.sites(Level::kAttention) > 0;
  facts.most_drawing_layers = kMostDrawingLayers;
  check_rules({"exempt_unknown", "attention_of_none", "too_many_drawing_layers"}, facts);
}

// The device's own stream comes before the first tensor on it.
const TrainerOptions& on_its_device(const TrainerOptions& options, const Config& config) {
  const PerLevel<Policies> policies = policies_of(config);
  RunFacts facts{policies.weights, policies.attention, &config};
  facts.on_gpu = options.device.is_cuda();
  check_rules({"tf32_on_cpu"}, facts);
  if (options.device.is_cuda()) {
    cuda_api().enter_stream(options.device.index());
    at::globalContext().setAllowTF32CuBLAS(config.flag("tf32"));
  }
  return options;
}

}  // namespace

Trainer::Trainer(const std::vector<Config>& configs, const TrainerOptions& options)
    : options_(on_its_device(options, configs.front())),
      batches_(configs, options.device, options.dtype) {
  for (const Config& config : configs) {
    runs_.push_back({config, policies_of(config)});
    if (runs_.front().demands != runs_.back().demands) {
      throw ConfigError("runs of different methods can't train as one group");
    }
  }
  frozen_.assign(configs.size(), 0);
  host_state_.assign(configs.size(), {});
  state_ = torch::empty({replicas(), kernels::kReplicaState},
                        torch::device(options_.device).dtype(torch::kFloat64));
  write_state();
  build_network();
  build_strategy();
  optimizer_->count_per_weight(demands().renews_weights, resets_optimizer() || needs_.weights_rest);
  build_tasks();
  start_topology();
  for (std::int64_t r = 0; needs_.fresh_start && r < replicas(); ++r) {
    beginning_.push_back(save(r));
  }
  tables_ =
      std::make_unique<StepTables>(options_.device.is_cuda() ? kStepsAhead : 1, replicas(), layout_,
                                   batches_.filler(), options_.device, options_.dtype);
  flops_ = std::make_unique<FlopsLedger>(*model_, runs_, rows_per_example(configs.front(), data()));
}

Trainer::~Trainer() = default;

std::int64_t Trainer::stage_steps(std::int64_t stage) const {
  std::int64_t longest = 0;
  for (const RunSchedule& run : runs_) {
    longest = std::max(longest, run.timeline.task_steps[static_cast<std::size_t>(stage)]);
  }
  return longest;
}

Stages Trainer::stages_of(std::int64_t r) const {
  return {run(r).config, data(), tasks(r), needs_.stage};
}

// Lengths of the stages.
void Trainer::build_tasks() {
  stage_count_ = stages_of(0).count();
  ScheduleMatcher matcher(*model_, network_shape(data(), tasks(0)),
                          rows_per_example(runs_.front().config, data()));
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    runs_[r].timeline = stages_of(static_cast<std::int64_t>(r)).timeline();
    runs_[r] = matcher.matched(runs_[r]);
  }
}

void Trainer::build_network() {
  std::vector<Config> configs;
  for (const RunSchedule& run : runs_) configs.push_back(run.config);
  ModelShape shape = network_shape(data(), tasks(0));
  shape.replicas = replicas();
  shape.dtype = options_.dtype;
  const Config& config = configs.front();
  model_ = models().at("model", config.text("model"))(configs, shape);
  begin_with_given(*model_);
  check_network(runs_.front(), *model_);
  if (demands().teacher) build_teacher(configs, shape);
  optimizer_ = optimizers().at("optimizer", config.text("optimizer"))(configs);
}

void Trainer::begin_with_given(Model& model) const {
  for (std::int64_t r = 0; r < replicas(); ++r) {
    if (const auto given = initial_net(r)) given->begin(model, r);
  }
}

// A dense twin: the same network from the same seeds, or the same net that is given, with all of
// its weights.
void Trainer::build_teacher(const std::vector<Config>& configs, const ModelShape& shape) {
  teacher_ = models().at("model", configs.front().text("model"))(configs, shape);
  begin_with_given(*teacher_);
  for (Linear* layer : teacher_->linears()) {
    layer->weight.value =
        draw_dense(layer->initial_weights, options_.dtype).to(options_.device).requires_grad_(true);
  }
  std::vector<double> alphas;
  for (const RunSchedule& run : runs_) alphas.push_back(run.policies.weights.teacher.alpha);
  teacher_alpha_ = torch::tensor(alphas, torch::kFloat64).to(options_.device).to(options_.dtype);
  for (Parameter* parameter : teacher_->parameters())
    parameter->name = teachers_name(parameter->name);
  for (Buffer* buffer : teacher_->buffers()) buffer->name = teachers_name(buffer->name);
}

void Trainer::begin_stage(std::int64_t stage, bool resumed) {
  std::vector<std::vector<std::int64_t>> steps;
  for (const RunSchedule& run : runs_) steps.push_back(run.timeline.task_steps);
  batches_.begin_stage(stage, needs_.stage, steps);
  captured_.clear();  // what a strategy adds to a step may change with the task
  if (needs_.fresh_start && stage > 0 && !resumed) restart();
  if (stage > 0 && !resumed && resets_optimizer()) {
    const at::NoGradGuard no_grad;
    std::vector<char> all(static_cast<std::size_t>(replicas()), 1);
    for (Parameter* parameter : parameters()) parameter->empty_slots(all);
  }
  strategy_->before_task(stage + 1, resumed);
}

bool Trainer::resets_optimizer() const {
  return runs_.front().config.text("switch_optimizer") == "reset";
}

void Trainer::end_stage(std::int64_t stage) {
  std::vector<std::vector<std::int64_t>> examples;
  for (std::int64_t r = 0; r < replicas(); ++r) examples.push_back(batches_.of_stage(r));
  strategy_->after_task(stage + 1, examples);
}

}  // namespace tandem
