// Rules of a whole run: what its network, data, device and length allow.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "config/initial_file.h"
#include "policy/criterion_facts.h"
#include "policy/rules.h"

namespace tandem {
namespace {

bool aligns_once(const Policies& policies, const RunFacts& f) {
  return policies.alignment.alpha > 0 && policies.alignment.every_steps >= f.steps;
}

bool draws_once(const Policies& policies, const RunFacts& f) {
  return policies.schedule.draw_steps > f.steps;
}

std::int64_t drawing_layers(Level level, const RunFacts& f) {
  return level == Level::kWeights ? static_cast<std::int64_t>(f.layers.size())
                                  : f.config->integer("layers");
}

bool too_many_layers_draw(const Policies& policies, const RunFacts& f) {
  const Level level = &policies == &f.weights ? Level::kWeights : Level::kAttention;
  return policies.schedule.draws_per_layer() && drawing_layers(level, f) > f.most_drawing_layers;
}

constexpr auto kRefusedRun = Rule::Verdict::kRefused;
constexpr auto kWarnedRun = Rule::Verdict::kWarned;
constexpr auto kOfConfig = Rule::Of::kConfig;
constexpr auto kOfRun = Rule::Of::kRun;
// Shares of the density that is asked for: a net that is off it by more than the first is warned
// of, by more than the second refused. A small layer can't meet most densities exactly, and its
// users mean the nearest.
constexpr double kDensityTolerance = 0.01, kDensityRefused = 0.1;
constexpr double kMostExamples = 9e18;  // that a counter of 64 bits holds

std::int64_t number(const RunFacts& f, const char* option) { return f.config->integer(option); }

bool is_exempt(const RunFacts& f, const std::string& layer) {
  const auto& exempt = f.weights.start.exempt;
  return std::find(exempt.begin(), exempt.end(), layer) != exempt.end();
}

std::string unknown_exempt(const RunFacts& f) {
  for (const std::string& name : f.weights.start.exempt) {
    const bool known = std::any_of(f.layers.begin(), f.layers.end(),
                                   [&](const LayerFacts& layer) { return layer.name == name; });
    if (!known) return name;
  }
  return "";
}

std::vector<std::string> layer_names(const RunFacts& f) {
  std::vector<std::string> names;
  for (const LayerFacts& layer : f.layers) names.push_back(layer.name);
  return names;
}

// Blocks of a sequence, the last one perhaps shorter.
std::int64_t blocks_there(const RunFacts& f) {
  const std::int64_t size = number(f, "block_size");
  return number(f, "context") / size + (number(f, "context") % size != 0);
}

bool off_density(const RunFacts& f, double tolerance) {
  const double density = f.weights.start.density;
  return f.reachable_density > 0 && std::abs(f.reachable_density - density) > tolerance * density;
}

// Where weights are chosen one by one, a density near the one that is given can be had; groups of
// them are coarse.
bool single_weights(const RunFacts& f) {
  return f.weights.start.granularity.kind == Granularity::Kind::kElement;
}

// The first step of each phase after the first.
std::vector<std::int64_t> phase_begins(const RunFacts& f) {
  std::vector<std::int64_t> begins;
  for (const double share : f.weights.schedule.phases) {
    begins.push_back(std::llround(share * static_cast<double>(f.steps)));
  }
  return begins;
}

bool loses_last_sparse_phase(const RunFacts& f) {
  const auto begins = phase_begins(f);
  return f.weights.schedule.ends_sparse() && begins.back() >= f.steps;
}

std::int64_t empty_phases(const RunFacts& f) {
  std::int64_t empty = 0, last = 0;
  for (const std::int64_t begin : phase_begins(f)) {
    empty += begin <= last;
    last = begin;
  }
  return empty + (last >= f.steps);
}

std::int64_t update_interval(const RunFacts& f) {
  const TopologyRule& rule = f.weights.topology;
  if (rule.interval_epochs <= 0) return rule.interval_steps;
  return std::max<std::int64_t>(
      1, std::llround(rule.interval_epochs * static_cast<double>(f.epoch_steps)));
}

bool never_updates(const RunFacts& f) {
  const TopologyRule& rule = f.weights.topology;
  const bool reaches_a_budget =
      rule.budget_schedule == TopologyRule::BudgetSchedule::kCubic ||
      std::any_of(rule.operations.begin(), rule.operations.end(),
                  [](const auto& each) { return each.kind == TopologyOperation::Kind::kGrowTo; });
  return !rule.operations.empty() && !rule.at_phases && !reaches_a_budget &&
         update_interval(f) >= f.steps;
}

// The option topology_log_steps chooses among its topology updates.
bool logs_by_steps(const RunFacts& f) {
  const TopologyRule& rule = f.weights.topology;
  return !rule.operations.empty() && !rule.at_phases;
}

// A layer of which one block is more than the whole, or a group more than a unit's inputs.
const LayerFacts* below_granularity(const RunFacts& f) {
  const Granularity& granularity = f.weights.start.granularity;
  for (const LayerFacts& layer : f.layers) {
    if (is_exempt(f, layer.name)) continue;
    const bool block = granularity.kind == Granularity::Kind::kBlock &&
                       granularity.block > std::max(layer.inputs, layer.outputs);
    const bool group = granularity.kind == Granularity::Kind::kNm && granularity.m > layer.inputs;
    if (block || group) return &layer;
  }
  return nullptr;
}

std::vector<Rule> network_rules() {
  return {
      {"exempt_unknown", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return !unknown_exempt(f).empty(); },
       [](const RunFacts& f) {
         return fmt::format("--exempt names '{}', which is no layer; the layers are: {}",
                            unknown_exempt(f), fmt::join(layer_names(f), ", "));
       }},
      {"everything_exempt", kRefusedRun, kOfRun,
       [](const RunFacts& f) {
         return !f.layers.empty() && !f.weights.start.exempt.empty() &&
                f.weights.start.density < 1 &&
                std::all_of(f.layers.begin(), f.layers.end(),
                            [&](const LayerFacts& layer) { return is_exempt(f, layer.name); });
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--exempt leaves no layer to which --density {} could apply: name fewer layers, or "
             "give --density 1",
             f.weights.start.density);
       }},
      {"attention_of_none", kRefusedRun, kOfRun,
       [](const RunFacts& f) {
         return !f.has_attention && f.attention.schedule.kind != Schedule::Kind::kFull;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "attention={} needs a model that has attention; model={} has none (`tandem list "
             "models`)",
             f.config->text("attention"), f.config->text("model"));
       }},
      {"blocks_beyond_context", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return f.has_attention && number(f, "blocks") > blocks_there(f); },
       [](const RunFacts& f) {
         return fmt::format(
             "--blocks {} is more than there are: --context {} has {} of --block-size {}; give at "
             "most {}",
             number(f, "blocks"), number(f, "context"), blocks_there(f), number(f, "block_size"),
             blocks_there(f));
       }},
      {"streaming_beyond_a_chunk", kRefusedRun, kOfRun,
       [](const RunFacts& f) {
         return f.has_attention && f.attention.selector.streaming &&
                number(f, "blocks") > number(f, "block_size");
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--attention-choice streaming keeps as many blocks as --block-size, {}, and --blocks "
             "is {}: give fewer, or --attention-choice exact",
             number(f, "block_size"), number(f, "blocks"));
       }},
      {"too_many_drawing_layers", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return level_where(f, too_many_layers_draw) != nullptr; },
       [](const RunFacts& f) {
         const Level level = *level_where(f, too_many_layers_draw);
         return fmt::format(
             "--{0}-draw layer serves at most {1} layers and this model has {2}; give --{0}-draw "
             "step",
             level_name(level), f.most_drawing_layers, drawing_layers(level, f));
       }},
      {"density_out_of_reach", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return single_weights(f) && off_density(f, kDensityRefused); },
       [](const RunFacts& f) {
         return fmt::format(
             "--density {} can't be had: this network's layers keep {:.6g} of their weights at it "
             "(whole connections, at least one of each layer); give --density {:.6g} or more, or "
             "another --budget",
             f.weights.start.density, f.reachable_density, f.settled_density);
       }},
      {"density_rounded", kWarnedRun, kOfRun,
       [](const RunFacts& f) {
         return single_weights(f) && off_density(f, kDensityTolerance) &&
                !off_density(f, kDensityRefused);
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--density {}: this network's layers keep {:.6g} of their weights (whole connections)",
             f.weights.start.density, f.reachable_density);
       }},
      {"density_rounded_to_groups", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return !single_weights(f) && off_density(f, kDensityTolerance); },
       [](const RunFacts& f) {
         return fmt::format(
             "--density {} with --granularity {}: whole groups keep {:.6g} of the weights",
             f.weights.start.density, f.config->text("granularity"), f.reachable_density);
       }},
      {"granularity_beyond_layer", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return below_granularity(f) != nullptr; },
       [](const RunFacts& f) {
         const LayerFacts* layer = below_granularity(f);
         const Granularity& granularity = f.weights.start.granularity;
         const bool block = granularity.kind == Granularity::Kind::kBlock;
         return fmt::format("--{} {} is more than layer '{}' has ({} x {}){}",
                            block ? "granularity-block" : "nm-m",
                            block ? granularity.block : granularity.m, layer->name, layer->inputs,
                            layer->outputs,
                            block ? ": it is one block" : ": each unit is one shorter group");
       }},
  };
}

std::vector<Rule> device_rules() {
  return {
      {"tf32_on_cpu", kRefusedRun, kOfConfig,
       [](const RunFacts& f) { return f.config->flag("tf32") && !f.on_gpu; },
       [](const RunFacts&) -> std::string {
         return "tf32 = true rounds products as a GPU does, and this run is on the CPU; give "
                "--tf32=false, or --device cuda on a machine with a GPU";
       }},
      {"sparse_storage_refused", kRefusedRun, kOfConfig,
       [](const RunFacts& f) {
         return f.config->text("storage") == "sparse" && !f.sparse_refusal.empty();
       },
       [](const RunFacts& f) {
         return fmt::format(
             "storage = sparse can't serve weights = {}: {}; give --storage masked, or auto, which "
             "takes sparse where it can",
             f.config->text("weights"), f.sparse_refusal);
       }},
      {"sparse_storage_on_gpu", kRefusedRun, kOfConfig,
       [](const RunFacts& f) { return f.config->text("storage") == "sparse" && f.on_gpu; },
       [](const RunFacts& f) {
         return fmt::format(
             "storage = sparse can't serve weights = {}: sparse connections live on the CPU and "
             "the device is {}; give --device cpu, or --storage masked",
             f.config->text("weights"), f.device);
       }},
      {"out_of_memory", kRefusedRun, kOfConfig,
       [](const RunFacts& f) { return f.bytes > f.bytes_there; },
       [](const RunFacts& f) {
         return fmt::format(
             "one run needs at least {:.4g} GB for its weights and activations, and {} has {:.4g} "
             "GB: give a smaller network or a smaller --batch",
             f.bytes / 1e9, f.on_gpu ? f.device : "this machine", f.bytes_there / 1e9);
       }},
  };
}

// Nets that runs begin with.
std::vector<Rule> beginning_rules() {
  return {
      {"given_net_scaled", kRefusedRun, kOfConfig,
       [](const RunFacts& f) {
         return begins_with_file(*f.config) && f.config->text("init_scale") != "dense";
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--init-scale {} changes weights that are drawn, and those of the file that init_from "
             "names are taken as they are: leave it out",
             f.config->text("init_scale"));
       }},
      {"largest_of_no_net", kRefusedRun, kOfConfig,
       [](const RunFacts& f) {
         return !begins_with_file(*f.config) && f.config->text("init_mask") == "magnitude";
       },
       [](const RunFacts&) -> std::string {
         return "--init-mask magnitude takes the largest weights of a net that is given, and none "
                "is: name a file with --init-from, or leave it out";
       }},
  };
}

// Read-outs and probes that need dense copies of layers that are stored sparsely.
std::vector<Rule> copy_rules() {
  return {
      {"curve_too_large", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return !f.too_large_to_copy.empty() && f.config->flag("curve"); },
       [](const RunFacts& f) {
         return f.too_large_to_copy +
                "; read-outs at other budgets than the trained one need them: give --curve=false";
       }},
      {"read_out_too_large", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return !f.too_large_to_copy.empty() && !f.begins_at_budget; },
       [](const RunFacts& f) {
         return f.too_large_to_copy +
                "; the sparse read-out of a net that is not at its density needs them: give a "
                "method that starts at its density, or smaller layers";
       }},
      {"probes_too_large", kRefusedRun, kOfRun,
       [](const RunFacts& f) {
         return !f.too_large_to_copy.empty() && !f.copying_probes.empty() &&
                number(f, "probe_every") > 0;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "{}; of the probes '{}' need them: name other families with --probes, or give "
             "--probe-every=0, which leaves them out at the end as well",
             f.too_large_to_copy, fmt::join(f.copying_probes, "', '"));
       }},
      {"probes_left_out", kWarnedRun, kOfRun,
       [](const RunFacts& f) {
         return !f.too_large_to_copy.empty() && !f.copying_probes.empty() &&
                number(f, "probe_every") == 0;
       },
       [](const RunFacts& f) {
         return fmt::format("{}: of the probes '{}' are left out", f.too_large_to_copy,
                            fmt::join(f.copying_probes, "', '"));
       }},
  };
}

std::int64_t rates_said(const RunFacts& f) {
  return static_cast<std::int64_t>(f.config->reals("task_lr").size());
}

std::vector<Rule> length_rules() {
  return {
      {"trains_nothing", kRefusedRun, kOfConfig,
       [](const RunFacts& f) {
         return number(f, "steps") == 0 && f.config->real("epochs") == 0 &&
                !f.config->flag("online");
       },
       [](const RunFacts&) -> std::string {
         return "--epochs 0 with --steps 0 trains nothing: give --epochs above 0, or --steps, "
                "which "
                "then counts instead";
       }},
      {"more_examples_than_countable", kRefusedRun, kOfRun,
       [](const RunFacts& f) {
         return static_cast<double>(f.steps) * static_cast<double>(number(f, "batch")) >
                kMostExamples;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "{} steps of --batch {} are more examples than can be counted: give "
             "fewer --steps or --epochs",
             f.steps, number(f, "batch"));
       }},
      {"one_pass_stretched", kRefusedRun, kOfConfig,
       [](const RunFacts& f) {
         return f.config->flag("online") && f.config->text("match") == "train_flops";
       },
       [](const RunFacts&) -> std::string {
         return "match = train_flops stretches training, and online = true sees each example once: "
                "give --match steps, or --online=false";
       }},
      {"average_of_everything", kRefusedRun, kOfConfig,
       [](const RunFacts& f) {
         return f.config->real("beta1") >= 1 || f.config->real("beta2") >= 1;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--beta1 {} and --beta2 {}: an average that forgets nothing never takes in a "
             "gradient; "
             "give both below 1",
             f.config->text("beta1"), f.config->text("beta2"));
       }},
      {"last_phase_lost", kRefusedRun, kOfRun,
       [](const RunFacts& f) {
         return !f.weights.schedule.phases.empty() && loses_last_sparse_phase(f);
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--phases {}: the last sparse phase begins after step {} of {} and has none, so that "
             "the net would end dense; give more --steps or --epochs, or earlier phases",
             f.config->text("phases"), phase_begins(f).back(), f.steps);
       }},
      {"phases_lost", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return !f.weights.schedule.phases.empty() && empty_phases(f) > 0; },
       [](const RunFacts& f) {
         return fmt::format(
             "{} of the {} phases of --phases {} have no step in a run of {}: they are left out",
             empty_phases(f), f.weights.schedule.phases.size() + 1, f.config->text("phases"),
             f.steps);
       }},
      {"never_updates", kWarnedRun, kOfRun, never_updates,
       [](const RunFacts& f) {
         return fmt::format(
             "topology updates are {} steps apart and a run of {} steps has none: the first mask "
             "stays",
             update_interval(f), f.steps);
       }},
      {"log_of_no_updates", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return number(f, "topology_log_steps") > 0 && !logs_by_steps(f); },
       [](const RunFacts& f) {
         return fmt::format(
             "--topology-log-steps {} parts updates that come by steps, and weights = {} has {}: "
             "it changes nothing here",
             number(f, "topology_log_steps"), f.config->text("weights"),
             f.weights.topology.at_phases ? "those of its phases alone, which are all logged"
                                          : "none");
       }},
      {"log_steps_beyond_run", kWarnedRun, kOfRun,
       [](const RunFacts& f) {
         return number(f, "topology_log_steps") > f.steps && logs_by_steps(f);
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--topology-log-steps {} is more than the {} steps of the run: its first topology "
             "update and its last alone are logged",
             number(f, "topology_log_steps"), f.steps);
       }},
      {"warmup_beyond_task", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return number(f, "warmup_steps") > f.task_steps; },
       [](const RunFacts& f) {
         return fmt::format(
             "--warmup-steps {} is longer than a task, which has {} steps: the learning rate never "
             "reaches --lr {}",
             number(f, "warmup_steps"), f.task_steps, f.config->text("lr"));
       }},
      {"alpha_warmup_beyond_run", kWarnedRun, kOfRun,
       [](const RunFacts& f) {
         return f.weights.alignment.alpha_warmup_steps > f.steps ||
                f.attention.alignment.alpha_warmup_steps > f.steps;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "the warm-up of alpha ({} steps) is longer than the run, which has {}: alpha is never "
             "reached",
             std::max(f.weights.alignment.alpha_warmup_steps,
                      f.attention.alignment.alpha_warmup_steps),
             f.steps);
       }},
      {"aligns_once", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return level_where(f, aligns_once) != nullptr; },
       [](const RunFacts& f) {
         const Level level = *level_where(f, aligns_once);
         return fmt::format(
             "--{}-align-every {} is more than the {} steps of the run: its first step alone "
             "aligns",
             level_name(level), policies_at(f, level).alignment.every_steps, f.steps);
       }},
      {"draws_once", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return level_where(f, draws_once) != nullptr; },
       [](const RunFacts& f) {
         const Level level = *level_where(f, draws_once);
         return fmt::format(
             "--{}-draw-steps {} is more than the {} steps of the run: one draw serves it all",
             level_name(level), policies_at(f, level).schedule.draw_steps, f.steps);
       }},
      {"probes_at_end_alone", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return number(f, "probe_every") > f.task_steps; },
       [](const RunFacts& f) {
         return fmt::format(
             "--probe-every {} is more than a task's {} steps: probes measure at ends alone",
             number(f, "probe_every"), f.task_steps);
       }},
      {"evaluates_at_end_alone", kWarnedRun, kOfRun,
       [](const RunFacts& f) {
         return f.config->real("eval_every") * static_cast<double>(f.epoch_steps) >
                static_cast<double>(f.task_steps);
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--eval-every {} is longer than a task, which has {} steps of {} per epoch: it is "
             "evaluated at its end alone",
             f.config->text("eval_every"), f.task_steps, f.epoch_steps);
       }},
      {"task_lr_beyond_tasks", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return f.stages > 1 && rates_said(f) > f.stages; },
       [](const RunFacts& f) {
         return fmt::format(
             "--task-lr {} has {} numbers and the run has {} tasks: the last {} change nothing",
             f.config->text("task_lr"), rates_said(f), f.stages, rates_said(f) - f.stages);
       }},
      {"never_switches", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return number(f, "eval_after_switch") > 0 && f.stages < 2; },
       [](const RunFacts& f) {
         return fmt::format(
             "--eval-after-switch {} has no effect: the run trains in one stage and never switches",
             number(f, "eval_after_switch"));
       }},
  };
}

// Its density, or which stream is trained, follows a schedule over the run.
bool moves_over_run(const Policies& weights) {
  return weights.topology.budget_schedule != TopologyRule::BudgetSchedule::kConstant ||
         weights.start.first_density() != weights.start.density ||
         weights.schedule.kind == Schedule::Kind::kPhases;
}

// Why weights can't be held one by one under these policies; empty: they can.
std::string cannot_hold(const Policies& weights) {
  using Kind = TopologyOperation::Kind;
  if (moves_over_run(weights)) return "moves its density or its phases over the whole run";
  if (weights.start.granularity.kind != Granularity::Kind::kElement) {
    return "moves groups of weights and not each for itself";
  }
  if (weights.power != 1) return "trains another parametrization of the weights";
  if (weights.sets.superset > 0) return "gives up weights outside of a superset";
  if (!weights.sets.nested.empty()) return "trains parts of its mask in turn";
  if (weights.topology.redistribution != TopologyRule::Redistribution::kNone) {
    return "moves its budget between layers";
  }
  if (weights.topology.fresh_batches > 0) {
    return "reads gradients over batches of its own, which know nothing of tasks' nets";
  }
  for (const TopologyOperation& operation : weights.topology.operations) {
    if (operation.whole_net) return "ranks the weights of all layers together";
    if (operation.kind == Kind::kGrowTo) return "grows beyond its density for a time";
    if (operation.kind == Kind::kRank && criterion_facts(operation.criterion).draws) {
      return "draws its mask at random";
    }
  }
  return {};
}

bool moves_values(const Policies& weights) {
  return weights.perturbation.kind != Perturbation::Kind::kNone || weights.dormant.in_gradient;
}

bool is_chain(const RunFacts& f) {
  for (std::size_t l = 0; l + 1 < f.layers.size(); ++l) {
    if (f.layers[l].outputs != f.layers[l + 1].inputs) return false;
  }
  return !f.has_attention;
}

// Those of a task in which its free weights change, before it trains what it keeps alone.
std::int64_t free_steps(const RunFacts& f) {
  const double again = std::max(0.0, f.config->real("retrain_share"));
  return f.task_steps - static_cast<std::int64_t>(again * static_cast<double>(f.task_steps));
}

std::vector<Rule> example_rules() {
  return {
      {"batch_beyond_task", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return number(f, "batch") > f.task_examples; },
       [](const RunFacts& f) {
         return fmt::format(
             "--batch {} is more than the {} training examples of a task: each step sees these",
             number(f, "batch"), f.task_examples);
       }},
      {"buffer_beyond_examples", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return f.replay_slots > 0 && number(f, "buffer") > f.examples; },
       [](const RunFacts& f) {
         return fmt::format(
             "--buffer {} is more than the {} training examples: none is ever let go",
             number(f, "buffer"), f.examples);
       }},
      {"buffer_below_tasks", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return f.least_buffer > 0 && number(f, "buffer") < f.least_buffer; },
       [](const RunFacts& f) {
         return fmt::format(
             "--buffer {} leaves some task, or class, no example of its own under --strategy {}: "
             "give at least {}",
             number(f, "buffer"), f.config->text("strategy"), f.least_buffer);
       }},
      {"schedule_across_fresh_starts", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return f.fresh_start && f.stages > 1 && moves_over_run(f.weights); },
       [](const RunFacts& f) {
         return fmt::format(
             "--strategy {} begins every task with the run's first network and topology, and "
             "--weights "
             "{} moves its density or its phases over the whole run: later tasks would not come to "
             "the density that is said. Choose a method with a constant density (static, set, "
             "rigl)",
             f.config->text("strategy"), f.config->text("weights"));
       }},
      {"weights_held_one_by_one", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return f.holds_weights && !cannot_hold(f.weights).empty(); },
       [](const RunFacts& f) {
         return fmt::format(
             "--strategy {} holds single weights of finished tasks in the topology, and --weights "
             "{} {}, as it is set here. Choose a method and options that move weights one by one "
             "at a constant density (dense, static, set, rigl, alternate, ssa)",
             f.config->text("strategy"), f.config->text("weights"), cannot_hold(f.weights));
       }},
      {"counts_beside_held_weights", kRefusedRun, kOfRun,
       [](const RunFacts& f) {
         return f.holds_weights && f.config->text("activation") == "k_subtract" &&
                number(f, "switch_after") > 0;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--strategy {} promises that finished tasks compute the same for ever, and under "
             "--switch-after {} what a unit lets through changes with how often it has been "
             "active, in later tasks too: give --switch-after 0",
             f.config->text("strategy"), number(f, "switch_after"));
       }},
      {"outputs_shared", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return f.own_outputs && f.shares_outputs; },
       [](const RunFacts& f) {
         return fmt::format(
             "--strategy {} keeps examples of each class and reads by them, and with --data {} and "
             "--scenario {} outputs are not classes that one task alone has. Give image data and "
             "--scenario class_il or task_il",
             f.config->text("strategy"), f.config->text("data"), f.config->text("scenario"));
       }},
      {"memory_without_outputs", kRefusedRun, kOfRun,
       [](const RunFacts& f) {
         return f.stores_outputs && f.config->text("buffer_rule") == "task_ends";
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--strategy {} keeps the outputs that an example had when it was trained on, and "
             "--buffer-rule task_ends draws examples once their task has ended: give reservoir, "
             "ring or balanced",
             f.config->text("strategy"));
       }},
      {"blur_of_known_tasks", kRefusedRun, kOfRun,
       [](const RunFacts& f) {
         return f.config->real("blur") > 0 && f.tasks > 1 &&
                (f.holds_weights || f.own_outputs || !f.own_tasks);
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--blur {} mixes the examples of two tasks near a switch, and --strategy {} {}: leave "
             "--blur out",
             f.config->text("blur"), f.config->text("strategy"),
             f.own_tasks ? "trains outputs and weights of one task at a time"
                         : "does not train on one task after the other");
       }},
      {"blur_of_seen_outputs", kRefusedRun, kOfRun,
       [](const RunFacts& f) {
         return f.config->real("blur") > 0 && f.tasks > 1 &&
                f.config->text("train_outputs") == "seen";
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--blur {} shows examples of a task before it begins, and with --train-outputs seen "
             "their outputs are not trained until then: give --train-outputs all or task, or leave "
             "--blur out",
             f.config->text("blur"));
       }},
      {"ends_of_a_stream", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return f.in_order && f.needs_ends; },
       [](const RunFacts& f) {
         return fmt::format(
             "--strategy {} acts where tasks end, or by what is a task's own, and --scenario {} is "
             "a stream in which no task ends: give one that replays from a buffer (er, er_ace, "
             "der, derpp, mir, cls_er; not with --buffer-rule task_ends), finetune or joint",
             f.config->text("strategy"), f.config->text("scenario"));
       }},
      {"stream_in_more_passes", kRefusedRun, kOfRun,
       [](const RunFacts& f) {
         return f.in_order && f.own_tasks &&
                (number(f, "steps") > 0 || f.config->real("epochs") != 1 ||
                 f.config->text("match") != "steps");
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--scenario {} shows each example once, and --steps {}, --epochs {} with --match {} "
             "ask for more or less: leave them out (0, 1 and steps)",
             f.config->text("scenario"), number(f, "steps"), f.config->text("epochs"),
             f.config->text("match"));
       }},
      {"growth_ahead_of_a_stream", kRefusedRun, kOfRun,
       [](const RunFacts& f) {
         return f.in_order && f.own_tasks && f.weights.topology.fresh_batches > 0;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--weights {} draws {} batches for a topology update from all that a task trains on, "
             "and --scenario {} is a stream of which these would show what is yet to come: give "
             "--growth-batches 0, or a method that reads the step's own gradients",
             f.config->text("weights"), f.weights.topology.fresh_batches,
             f.config->text("scenario"));
       }},
      {"blur_of_no_step", kWarnedRun, kOfRun,
       [](const RunFacts& f) {
         const double blur = f.config->real("blur");
         return f.stages > 1 && blur > 0 && blur * static_cast<double>(f.task_steps) < 1;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--blur {} of the {} steps of the shortest task is less than a step, so that nothing "
             "is mixed at its switches; give at least {:.3g}, or leave it out",
             f.config->text("blur"), f.task_steps, std::ceil(1e3 / f.task_steps) / 1e3);
       }},
      {"fisher_of_windows", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return f.exact_fisher && f.sequences && f.tasks > 1; },
       [](const RunFacts& f) {
         return fmt::format(
             "--strategy {} takes a gradient of each output of each token, of which a sequence has "
             "{}: give ewc_empirical, which takes one of each sequence, or mas or si",
             f.config->text("strategy"), number(f, "context"));
       }},
      {"memory_of_windows", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return f.keeps_classes && f.sequences; },
       [](const RunFacts& f) {
         return fmt::format(
             "--strategy {} trains on a memory that is balanced over classes, and sequences of "
             "tokens have none: give er with --buffer-rule balanced",
             f.config->text("strategy"));
       }},
      {"nothing_to_choose", kWarnedRun, kOfRun,
       [](const RunFacts& f) {
         const std::int64_t candidates = number(f, "mir_candidates");
         return candidates > 0 && f.replay_slots >= std::min(candidates, number(f, "buffer"));
       },
       [](const RunFacts& f) {
         return fmt::format(
             "a step replays up to {} examples of {} candidates and a buffer of {}: all are taken, "
             "as er does without looking; give a smaller --replay-batch or more --mir-candidates",
             f.replay_slots, number(f, "mir_candidates"), number(f, "buffer"));
       }},
      {"candidates_beyond_buffer", kWarnedRun, kOfRun,
       [](const RunFacts& f) {
         const std::int64_t buffer = number(f, "buffer");
         return number(f, "mir_candidates") > buffer && f.replay_slots < buffer;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--mir-candidates {} is more than --buffer {} holds: each step looks at all of it; "
             "give --mir-candidates {} to say so",
             number(f, "mir_candidates"), number(f, "buffer"), number(f, "buffer"));
       }},
      {"within_mask_of_living", kRefusedRun, kOfRun,
       [](const RunFacts& f) {
         return f.within_mask && f.weights.dormant_carry_values() &&
                f.weights.schedule.kind != Schedule::Kind::kFull;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--strategy {} chooses among active weights, and those that are dormant under "
             "--weights {} would never learn: choose a method without such weights (dense, static, "
             "set, rigl)",
             f.config->text("strategy"), f.config->text("weights"));
       }},
      {"values_of_two_masters", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return f.replaces_values && moves_values(f.weights); },
       [](const RunFacts& f) {
         return fmt::format(
             "--strategy {} takes its steps at other values than the weights', and so does "
             "--weights {} (or it adds the weights to their gradient): what is meant by both is "
             "not "
             "said. Choose another method (dense, static, set, rigl)",
             f.config->text("strategy"), f.config->text("weights"));
       }},
      {"gates_without_chain", kRefusedRun, kOfRun,
       [](const RunFacts& f) { return f.gates_units && !is_chain(f); },
       [](const RunFacts& f) {
         return fmt::format(
             "--strategy {} gates or reserves hidden units, and --model {} has layers that do not "
             "read what the one before them writes: give --model mlp",
             f.config->text("strategy"), f.config->text("model"));
       }},
      {"updates_while_weights_rest", kWarnedRun, kOfRun,
       [](const RunFacts& f) {
         return f.weights_rest && logs_by_steps(f) && free_steps(f) < f.task_steps &&
                update_interval(f) > free_steps(f);
       },
       [](const RunFacts& f) {
         return fmt::format(
             "topology updates are {} steps apart, and under --strategy {} the free weights of a "
             "task rest after its first {} steps of {}: the topology may never move. Give a "
             "smaller --update-interval (with --update-interval-epochs 0)",
             update_interval(f), f.config->text("strategy"), free_steps(f), f.task_steps);
       }},
      {"nothing_to_look_back_on", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return f.looks_back && f.tasks < 2; },
       [](const RunFacts& f) {
         return fmt::format(
             "--strategy {} acts from the second task on, and this run has one: it trains as "
             "finetune does. --scenario and --tasks give more",
             f.config->text("strategy"));
       }},
      {"replay_beyond_buffer", kWarnedRun, kOfRun,
       [](const RunFacts& f) { return f.replay_slots > 0 && f.replay_slots > number(f, "buffer"); },
       [](const RunFacts& f) {
         return fmt::format(
             "a step replays up to {} examples and --buffer {} holds fewer: all of them are "
             "replayed; give --replay-batch {} to say so",
             f.replay_slots, number(f, "buffer"), number(f, "buffer"));
       }},
  };
}

}  // namespace

std::vector<Rule> run_rules() {
  std::vector<Rule> all;
  for (const auto& part : {network_rules(), copy_rules(), device_rules(), beginning_rules(),
                           length_rules(), example_rules()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

}  // namespace tandem
