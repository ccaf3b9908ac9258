#include "jobs/run_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "config/option.h"
#include "config/part.h"
#include "continual/strategy.h"
#include "data/dataset.h"
#include "jobs/device.h"
#include "jobs/working_set.h"
#include "methods/method.h"
#include "nn/outline.h"
#include "plan/plan.h"
#include "plan/stages.h"
#include "policy/demands.h"
#include "policy/rules.h"
#include "probes/probe.h"
#include "probes/probe_names.h"
#include "readout/readout.h"
#include "topology/storage.h"

namespace tandem {
namespace {

constexpr int kMostSettlings = 20;
constexpr double kSettled = 0.009;  // within what the rule of densities tolerates

struct Networks {
  std::vector<LayerShape> layers;
  Start start;

  // The share of the layers' weights, exempt ones left out, that a density gives them.
  double reach(double density) const {
    const std::vector<LayerBudget> budgets = spread_budget(layers, start, density);
    double active = 0, all = 0;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      if (layers[l].exempt) continue;
      active += static_cast<double>(budgets[l].active);
      all += static_cast<double>(layers[l].positions());
    }
    return all > 0 ? active / all : density;
  }

  // Near `density`, one of few digits that is reached as it is said; where none is found, the last.
  double settle(double density) const {
    double now = density;
    for (int i = 0; i < kMostSettlings; ++i) {
      now = std::min(1.0, std::stod(fmt::format("{:.4g}", reach(now))));
      if (std::abs(reach(now) - now) <= kSettled * now) return now;
    }
    return now;
  }
};

// Its first mask, where training begins with one, holds no more than the density that is read out.
bool begins_at_budget(const std::vector<LayerShape>& layers, const Policies& weights) {
  const Schedule::Kind kind = weights.schedule.kind;
  if (kind == Schedule::Kind::kFull || kind == Schedule::Kind::kPhases) return false;
  const Start& start = weights.start;
  if (start.pattern == Start::Pattern::kDense) return start.density >= 1;
  const auto first = spread_budget(layers, start, start.first_density());
  const auto read = spread_budget(layers, start, start.density);
  std::int64_t more = 0;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    if (!layers[l].exempt) more += first[l].active - read[l].active;
  }
  return more <= 0;
}

std::vector<LayerShape> ask_network(RunFacts& facts, const Dataset& data,
                                    const TaskSequence& tasks) {
  const Config& run = *facts.config;
  const ModelOutline& outline = outline_of(run);
  Networks network{outline.layers(run, network_shape(data, tasks)), facts.weights.start};
  facts.has_attention = outline.attention;
  facts.most_drawing_layers = kMostDrawingLayers;
  const std::vector<std::string>& exempt = facts.weights.start.exempt;
  for (LayerShape& layer : network.layers) {
    layer.exempt = std::count(exempt.begin(), exempt.end(), layer.name) != 0;
    facts.layers.push_back({layer.name, layer.inputs, layer.outputs});
  }
  // Where layers narrow instead, the density is theirs and not that of a mask.
  const double density = facts.weights.start.density;
  if (run.text("widths_match") == "density" || density >= 1 ||
      facts.weights.start.granularity.kind == Granularity::Kind::kNm)
    return network.layers;
  facts.reachable_density = network.reach(density);
  facts.settled_density = network.settle(density);
  return network.layers;
}

void ask_evaluation(RunFacts& facts, const Dataset& data, const TaskSequence& tasks) {
  const auto count = [](const auto& all) { return static_cast<std::int64_t>(all.size()); };
  facts.validation_examples = facts.task_validation_examples = count(data.validation);
  facts.test_examples = count(data.test);
  for (const Task& task : tasks.tasks) {
    facts.task_validation_examples =
        std::min(facts.task_validation_examples, count(task.validation));
  }
}

void ask_length(RunFacts& facts, const Dataset& data, const TaskSequence& tasks) {
  const Config& run = *facts.config;
  const auto strategy = strategies().at("strategy", run.text("strategy"))({1, {run}, {tasks}, {}});
  const StrategyNeeds needs = strategy->needs();
  const Stages stages(run, data, tasks, needs.stage);
  const Timeline timeline = stages.timeline();
  for (const StrategyNeeds::Replay& replay : needs.replays) {
    if (replay.in_batch) facts.replay_slots = std::max(facts.replay_slots, replay.rows);
  }
  facts.tasks = static_cast<std::int64_t>(tasks.tasks.size());
  facts.stages = stages.count();
  facts.fresh_start = needs.fresh_start;
  facts.holds_weights = needs.holds_weights;
  facts.weights_rest = needs.weights_rest;
  facts.within_mask = needs.within_mask;
  facts.replaces_values = needs.replaces_values;
  facts.gates_units = needs.gates_units;
  facts.looks_back = needs.looks_back;
  facts.least_buffer = needs.least_buffer;
  facts.own_outputs = needs.own_outputs;
  facts.stores_outputs = needs.places;
  facts.exact_fisher = needs.exact_fisher;
  facts.own_tasks = needs.stage == StageData::kOwnTask;
  facts.keeps_classes = needs.stage == StageData::kMemory;
  facts.needs_ends = needs.looks_back || needs.holds_weights || needs.own_outputs ||
                     (!facts.own_tasks && needs.stage != StageData::kAllTasks);
  facts.in_order = tasks.tasks.front().in_order;
  facts.sequences = data.sequences();
  facts.windows = data.windows();
  facts.shares_outputs = facts.sequences || tasks.shares_outputs();
  facts.steps = timeline.total();
  facts.task_steps = *std::min_element(timeline.task_steps.begin(), timeline.task_steps.end());
  facts.epoch_steps =
      *std::min_element(timeline.steps_per_epoch.begin(), timeline.steps_per_epoch.end());
  std::vector<std::int64_t> examples;
  for (std::size_t stage = 0; stage < timeline.task_steps.size(); ++stage) {
    // Windows of a byte corpus start anywhere: it has no fewer than it has steps' batches.
    examples.push_back(data.windows() ? timeline.steps_per_epoch[stage] * run.integer("batch")
                                      : stages.size(static_cast<std::int64_t>(stage)));
    facts.examples += examples.back();
  }
  facts.task_examples = *std::min_element(examples.begin(), examples.end());
}

// The values of what a run's part of these kinds reads, and of the folder of its files.
std::string values_read(const Config& run, const std::vector<std::string>& kinds) {
  std::string key = run.text("data_dir") + "\n";
  for (const std::string& kind : kinds) {
    key += kind + "=" + run.text(kind) + "\n";
    for (const std::string& name : part(kind, run.text(kind)).uses) {
      key += name + "=" + run.text(name) + "\n";
    }
  }
  return key;
}

}  // namespace

const TaskSequence& RunCheck::tasks_of(const Config& run, const Dataset& data) {
  const std::string key = values_read(run, {"data", "scenario"});
  const auto known = tasks_.find(key);
  if (known != tasks_.end()) return known->second;
  return tasks_.emplace(key, make_tasks(run, data)).first->second;
}

void RunCheck::ask_copies(RunFacts& facts, const std::vector<LayerShape>& layers) {
  std::vector<LayerShape> sparse;
  for (const LayerShape& layer : layers) {
    if (!layer.exempt) sparse.push_back(layer);
  }
  const Config& run = *facts.config;
  if (too_large_to_copy(sparse, 1).empty() || !may_be_sparse(run, facts.weights, facts.on_gpu)) {
    return;
  }
  facts.too_large_to_copy = too_large_to_copy(stored_sparsely(layers, storage_(run, device_)), 1);
  if (facts.too_large_to_copy.empty()) return;
  facts.begins_at_budget = begins_at_budget(layers, facts.weights);
  facts.copying_probes = copying_probes({{run, facts.attention, facts.weights}});
}

std::vector<std::string> RunCheck::check(const Config& run) {
  said_probes(run);
  const Policies attention = policies_of(run, Level::kAttention);
  const Policies weights = policies_of(run, Level::kWeights);
  RunFacts facts{weights, attention, &run};
  facts.device = device_;
  facts.on_gpu = is_gpu(device_);
  facts.sparse_refusal = demands_of(weights).sparse_refusal;
  facts.bytes = least_bytes_of(run, weights, facts.on_gpu);
  facts.bytes_there = static_cast<double>(memory_bytes(device_));
  check_config(facts);
  const auto data = load_dataset(run);
  const TaskSequence& tasks = tasks_of(run, *data);
  const std::vector<LayerShape> layers = ask_network(facts, *data, tasks);
  ask_length(facts, *data, tasks);
  ask_evaluation(facts, *data, tasks);
  ask_copies(facts, layers);
  check_run(facts);
  std::vector<std::string> warnings = policy_warnings(weights, attention);
  for (std::string& each : run_warnings(facts)) warnings.push_back(std::move(each));
  return warnings;
}

std::map<std::string, int> check_all(const std::vector<Config>& runs, const std::string& device,
                                     StorageChooser storage) {
  RunCheck check(device, std::move(storage));
  std::map<std::string, std::vector<std::string>> known;
  std::map<std::string, int> warnings;
  std::vector<const Option*> stream_seeds;
  for (const Option& each : all_options()) {
    if (is_seed(each.name) && each.name != "seed") stream_seeds.push_back(&each);
  }
  for (const Config& run : runs) {
    std::string kind = run.likeness(is_of_repetition);
    // A stream's own seed may be one that the run doesn't read.
    for (const Option* seed : stream_seeds) {
      if (run.text(seed->name) != seed->neutral) kind += seed->name + "\n";
    }
    const auto found = known.find(kind);
    const auto& own = found != known.end() ? found->second : known[kind] = check.check(run);
    for (const std::string& each : own) ++warnings[each];
  }
  return warnings;
}

}  // namespace tandem
