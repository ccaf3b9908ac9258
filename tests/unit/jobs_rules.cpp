// The table of rules: each row fires where its condition holds and its neighbour is accepted, and
// no row is without a case here.
#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <map>

#include "core/error.h"
#include "jobs/run_check.h"
#include "policy/rules.h"
#include "support/train_support.h"

namespace tandem::test::jobs_rules_unit {

using namespace tandem::test;

namespace {

using Operation = TopologyOperation;

// A run that no rule objects to; a case changes what it is about.
struct Given {
  Settings said = {};
  bool transformer = false;
  Policies weights = {}, attention = {};
  std::function<void(RunFacts&)> more = {};

  template <class Ask>
  auto asked(Ask ask) const {
    const Config config = transformer ? Config::resolve(small_transformer(said)) : small_run(said);
    RunFacts facts{weights, attention, &config};
    facts.bytes = 1e6;
    facts.bytes_there = 1e9;
    facts.layers = {{"layer0", 784, 400}, {"layer1", 400, 10}};
    facts.most_drawing_layers = 52;
    facts.has_attention = transformer;
    facts.reachable_density = facts.settled_density = weights.start.density;
    facts.task_steps = 500;
    facts.steps = 1000;
    facts.task_examples = 3000;
    facts.examples = 6000;
    facts.epoch_steps = 100;
    facts.validation_examples = 600;
    facts.test_examples = 500;
    facts.task_validation_examples = 300;
    if (more) more(facts);
    return ask(facts);
  }
};

struct Case {
  Given broken, neighbour;
  std::string says;  // what the sentence must hold: the value, or what to do
};

Policies with(const std::function<void(Policies&)>& change) {
  Policies policies;
  policies.start.density = 0.1;
  change(policies);
  return policies;
}

Given weights(const std::function<void(Policies&)>& change) {
  Given given;
  given.weights = with(change);
  return given;
}

Given attention(const std::function<void(Policies&)>& change) {
  Given given = weights([](Policies&) {});
  given.attention = with(change);
  return given;
}

Given config(const Settings& said, const std::function<void(RunFacts&)>& more = {}) {
  Given given = weights([](Policies&) {});
  given.said = said;
  given.more = more;
  return given;
}

Given sequence(const Settings& said) {
  Given given = config(said);
  given.transformer = true;
  return given;
}

// Blocks of 4 keys, of which a query reads so many.
Given streaming(const std::string& blocks) {
  Given given = sequence({{"blocks", blocks}});
  given.attention.selector.streaming = true;
  return given;
}

Given phases(std::vector<double> shares, std::int64_t steps) {
  Given given = weights([&](Policies& p) {
    p.schedule.kind = Schedule::Kind::kPhases;
    p.schedule.phases = std::move(shares);
  });
  given.more = [steps](RunFacts& f) { f.steps = steps; };
  return given;
}

Given granular(Granularity::Kind kind, const std::function<void(Policies&)>& change = {}) {
  return weights([&](Policies& p) {
    p.start.granularity.kind = kind;
    if (kind == Granularity::Kind::kNm) p.start.density = 0.5;
    if (change) change(p);
  });
}

Given operations(std::vector<Operation> all, const std::function<void(Policies&)>& change = {}) {
  return weights([&](Policies& p) {
    p.topology.operations = std::move(all);
    if (change) change(p);
  });
}

Operation op(Operation::Kind kind, const std::string& criterion, bool whole_net = false,
             bool sampled = false) {
  Operation operation{kind, criterion, whole_net};
  operation.sampled = sampled;
  return operation;
}

void turns(Policies& p) { p.schedule.kind = Schedule::Kind::kTurns; }

void per_layer(Policies& p) {
  p.schedule.kind = Schedule::Kind::kBernoulli;
  p.schedule.draw = Schedule::Draw::kLayer;
}

using Rows = std::map<std::string, Case>;

Rows weights_rows() {
  using Site = Alignment::Site;
  return {
      {"superset_outside_of_none",
       {weights([](Policies& p) { p.sets.outside_zero = true; }), weights([](Policies& p) {
          p.sets.outside_zero = true;
          p.sets.superset = 0.2;
        }),
        "--superset-density"}},
      {"superset_below_mask",
       {weights([](Policies& p) { p.sets.superset = 0.05; }),
        weights([](Policies& p) { p.sets.superset = 0.1; }), "--superset-density 0.05"}},
      {"superset_outside_of_blocks",
       {granular(Granularity::Kind::kBlock,
                 [](Policies& p) {
                   p.sets.outside_zero = true;
                   p.sets.superset = 0.2;
                 }),
        granular(Granularity::Kind::kBlock, [](Policies& p) { p.sets.superset = 0.2; }),
        "--superset-outside hold"}},
      {"shrinking_superset",
       {weights([](Policies& p) {
          p.start.initial_density = 0.5;
          p.sets.superset = 0.6;
        }),
        weights([](Policies& p) { p.start.initial_density = 0.5; }), "--initial-density"}},
      {"nested_shares",
       {weights([](Policies& p) {
          p.sets.nested = {1, 0.5, 0.5};
        }),
        weights([](Policies& p) {
          p.sets.nested = {1, 0.5, 0.25};
        }),
        "1,0.5,0.5"}},
      {"nested_one",
       {weights([](Policies& p) { p.sets.nested = {1}; }), weights([](Policies& p) {
          p.sets.nested = {1, 0.5};
        }),
        "--weights-nested 1"}},
      {"nested_in_superset",
       {weights([](Policies& p) {
          p.sets.nested = {1, 0.5};
          p.sets.superset = 0.3;
        }),
        weights([](Policies& p) {
          p.sets.nested = {1, 0.5};
        }),
        "0.3"}},
      {"nested_groups",
       {granular(Granularity::Kind::kBlock,
                 [](Policies& p) {
                   p.sets.nested = {1, 0.5};
                 }),
        granular(Granularity::Kind::kElement,
                 [](Policies& p) {
                   p.sets.nested = {1, 0.5};
                 }),
        "give element"}},
      {"nested_by_gradient",
       {operations({op(Operation::Kind::kRank, "saliency")},
                   [](Policies& p) {
                     p.sets.nested = {1, 0.5};
                   }),
        operations({op(Operation::Kind::kRank, "magnitude_input")},
                   [](Policies& p) {
                     p.sets.nested = {1, 0.5};
                   }),
        "--mask-source saliency"}},
      {"logits_of_one_network",
       {weights([](Policies& p) { p.alignment.site = Site::kLogits; }), weights([](Policies& p) {
          p.alignment.site = Site::kLogits;
          p.alignment.propagated = true;
        }),
        "propagated"}},
      {"logit_kl_of_no_logits",
       {weights([](Policies& p) { p.alignment.distance = Alignment::Distance::kLogitKl; }),
        weights([](Policies& p) {
          p.alignment.distance = Alignment::Distance::kLogitKl;
          p.alignment.site = Site::kLogits;
          p.alignment.propagated = true;
        }),
        "--weights-site logits"}},
      {"detached_logits",
       {weights([](Policies& p) {
          p.alignment.detached = true;
          p.alignment.site = Site::kLogits;
        }),
        weights([](Policies& p) {
          p.alignment.detached = true;
          p.alignment.site = Site::kPost;
        }),
        "--weights-site pre"}},
      {"detached_networks",
       {weights([](Policies& p) { p.alignment.detached = p.alignment.propagated = true; }),
        weights([](Policies& p) { p.alignment.detached = true; }), "--weights-counterpart local"}},
      {"gap_without_alpha",
       {weights([](Policies& p) { p.alignment.gap_target = 0.1; }), weights([](Policies& p) {
          p.alignment.gap_target = 0.1;
          p.alignment.alpha = 1;
        }),
        "--weights-alpha is 0"}},
      {"attention_of_layers",
       {attention(per_layer),
        attention([](Policies& p) { p.schedule.kind = Schedule::Kind::kBernoulli; }),
        "attention_draw = step"}},
      {"layers_of_two_networks",
       {weights([](Policies& p) {
          per_layer(p);
          p.alignment.propagated = true;
        }),
        weights(per_layer), "--weights-counterpart local"}},
      {"decay_on_sparse_steps_of_layers",
       {weights([](Policies& p) {
          per_layer(p);
          p.dormant.kind = Dormant::Kind::kDecay;
        }),
        weights([](Policies& p) {
          per_layer(p);
          p.dormant.kind = Dormant::Kind::kDecay;
          p.dormant.sparse_steps_only = false;
        }),
        "--dormant-decay-when always"}},
      {"uneven_turns",
       {weights([](Policies& p) {
          turns(p);
          p.schedule.p = 0.25;
        }),
        weights(turns), "0.25"}},
      {"phases_out_of_order", {phases({0.5, 0.25}, 1000), phases({0.25, 0.5}, 1000), "0.5,0.25"}},
      {"stale_zeros",
       {weights([](Policies& p) {
          p.topology.newborn_stale = true;
          p.dormant.kind = Dormant::Kind::kZero;
        }),
        weights([](Policies& p) {
          p.topology.newborn_stale = true;
          p.dormant.kind = Dormant::Kind::kHold;
        }),
        "--dormant-value hold"}},
      {"one_sided_weights",
       {weights([](Policies& p) {
          p.alignment.alpha = 1;
          p.alignment.lambda_full = 0;
        }),
        weights([](Policies& p) { p.alignment.alpha = 1; }), "weights_lambda_full"}},
      {"one_sided_attention",
       {attention([](Policies& p) {
          p.alignment.alpha = 1;
          p.alignment.lambda_sparse = 0;
        }),
        attention([](Policies& p) { p.alignment.alpha = 1; }), "attention_lambda_full"}},
      {"mixed_networks",
       {weights(per_layer),
        weights([](Policies& p) { p.schedule.kind = Schedule::Kind::kBernoulli; }), "as a whole"}},
  };
}

Rows topology_rows() {
  using Kind = Operation::Kind;
  constexpr auto kNm = Granularity::Kind::kNm;
  constexpr auto kFanIn = Granularity::Kind::kFanIn;
  constexpr auto kBlock = Granularity::Kind::kBlock;
  constexpr auto kCubic = TopologyRule::BudgetSchedule::kCubic;
  const Operation drop = op(Kind::kDrop, "magnitude"), grow = op(Kind::kGrow, "random");
  return {
      {"density_of_nothing",
       {weights([](Policies& p) { p.start.density = 0; }),
        weights([](Policies& p) { p.start.density = 1e-6; }), "--density 0"}},
      {"grows_to_density",
       {weights([](Policies& p) { p.start.initial_density = 0.05; }),
        weights([](Policies& p) { p.start.initial_density = 0.2; }), "--initial-density 0.05"}},
      {"pruning_out_of_order",
       {weights([](Policies& p) {
          p.topology.budget_schedule = kCubic;
          p.topology.begin = 0.8;
          p.topology.end = 0.5;
        }),
        weights([](Policies& p) {
          p.topology.budget_schedule = kCubic;
          p.topology.begin = p.topology.end = 0.5;
        }),
        "--prune-begin 0.8 and --prune-end 0.5"}},
      {"no_room_to_regenerate",
       {operations({op(Kind::kPruneTo, "magnitude"), drop, grow},
                   [](Policies& p) {
                     p.topology.budget_schedule = kCubic;
                     p.topology.end = 0;
                   }),
        operations({op(Kind::kPruneTo, "magnitude")},
                   [](Policies& p) {
                     p.topology.budget_schedule = kCubic;
                     p.topology.end = 0;
                   }),
        "--update-end 0"}},
      {"drop_final_above_first",
       {operations({drop, grow}, [](Policies& p) { p.topology.drop_final = 0.4; }),
        operations({drop, grow}, [](Policies& p) { p.topology.drop_final = 0.3; }),
        "--drop-final 0.4"}},
      {"soft_bound_that_stays",
       {operations({op(Kind::kGrowTo, "random")}, [](Policies& p) { p.topology.drop_final = 0.1; }),
        operations({op(Kind::kGrowTo, "random")}), "--drop-final 0"}},
      {"n_above_m",
       {weights([](Policies& p) { p.start.granularity.n = 5; }),
        weights([](Policies& p) { p.start.granularity.n = 4; }), "--nm-n 5"}},
      {"density_of_groups",
       {granular(kNm, [](Policies& p) { p.start.density = 0.4; }), granular(kNm), "--density 0.5"}},
      {"first_density_of_groups",
       {granular(kNm, [](Policies& p) { p.start.initial_density = 0.8; }),
        granular(kNm, [](Policies& p) { p.start.initial_density = 0.5; }), "0.8"}},
      {"quotas_of_the_net",
       {granular(kFanIn,
                 [](Policies& p) {
                   p.topology.operations = {{Kind::kRank, "magnitude", true}};
                 }),
        granular(kBlock,
                 [](Policies& p) {
                   p.topology.operations = {{Kind::kRank, "magnitude", true}};
                 }),
        "whole net"}},
      {"quotas_beyond_budget",
       {granular(kFanIn,
                 [](Policies& p) {
                   p.topology.operations = {{Kind::kGrowTo, "random"}};
                 }),
        granular(kBlock,
                 [](Policies& p) {
                   p.topology.operations = {{Kind::kGrowTo, "random"}};
                 }),
        "holds more"}},
      {"groups_pruned",
       {granular(kNm,
                 [](Policies& p) {
                   p.topology.operations = {{Kind::kPruneTo, "magnitude"}};
                 }),
        granular(kFanIn,
                 [](Policies& p) {
                   p.topology.operations = {{Kind::kPruneTo, "magnitude"}};
                 }),
        "step by step"}},
      {"quotas_redistributed",
       {granular(kFanIn,
                 [](Policies& p) {
                   p.topology.redistribution = TopologyRule::Redistribution::kAveragedGradient;
                 }),
        granular(kFanIn), "between layers"}},
      {"ablation_without_fan_in",
       {granular(kBlock, [](Policies& p) { p.start.granularity.ablation = 0.3; }),
        granular(kFanIn, [](Policies& p) { p.start.granularity.ablation = 0.3; }),
        "--ablation 0.3"}},
      {"blocks_drawn",
       {granular(kBlock,
                 [](Policies& p) {
                   p.topology.operations = {op(Kind::kDrop, "magnitude", false, true)};
                 }),
        granular(kBlock,
                 [](Policies& p) { p.topology.operations = {op(Kind::kDrop, "magnitude")}; }),
        "--granularity element"}},
      {"blocks_of_signs",
       {granular(kBlock,
                 [](Policies& p) { p.topology.operations = {op(Kind::kDrop, "set_signed")}; }),
        operations({op(Kind::kDrop, "set_signed")}), "--drop-rule magnitude"}},
      {"dropped_groups_excluded",
       {granular(kBlock, [](Policies& p) { p.topology.regrown = TopologyRule::Regrown::kExclude; }),
        weights([](Policies& p) { p.topology.regrown = TopologyRule::Regrown::kExclude; }),
        "--regrow-dropped keep"}},
      {"signs_misplaced",
       {operations({grow, op(Kind::kDrop, "set_signed")}),
        operations({op(Kind::kDrop, "set_signed"), grow}), "set_signed"}},
      {"draw_without_scores",
       {operations({op(Kind::kGrow, "random", false, true)}),
        operations({op(Kind::kGrow, "gradient", false, true)}), "'random'"}},
      {"net_ranked_by_layers",
       {operations({op(Kind::kRank, "ch3_l3", true)}), operations({op(Kind::kRank, "ch3_l3")}),
        "'ch3_l3' chooses"}},
      {"fresh_batches_unread",
       {operations({drop, grow}, [](Policies& p) { p.topology.fresh_batches = 2; }),
        operations({drop, op(Kind::kGrow, "gradient")},
                   [](Policies& p) { p.topology.fresh_batches = 2; }),
        "magnitude, random"}},
  };
}

Rows network_rows() {
  constexpr auto kBlock = Granularity::Kind::kBlock;
  const auto unreachable = [](double reached) {
    return [reached](RunFacts& f) {
      f.reachable_density = reached;
      f.settled_density = 0.11;
    };
  };
  Given coarse = granular(Granularity::Kind::kFanIn), single = coarse;
  coarse.said = single.said = {{"granularity", "fan_in"}};
  coarse.more = unreachable(0.12);
  single.more = unreachable(0.1);
  Given many = weights(per_layer), few = many;
  many.more = [](RunFacts& f) { f.layers.resize(53); };
  few.more = [](RunFacts& f) { f.layers.resize(52); };
  Given moba = attention([](Policies& p) { p.schedule.kind = Schedule::Kind::kSparse; });
  Given of_sequences = moba;
  of_sequences.transformer = true;
  return {
      {"exempt_unknown",
       {weights([](Policies& p) {
          p.start.exempt = {"layer0", "layer7"};
        }),
        weights([](Policies& p) { p.start.exempt = {"layer0"}; }),
        "'layer7', which is no layer; the layers are: layer0, layer1"}},
      {"everything_exempt",
       {weights([](Policies& p) {
          p.start.exempt = {"layer0", "layer1"};
        }),
        weights([](Policies& p) { p.start.exempt = {"layer0"}; }), "--density 0.1"}},
      {"attention_of_none", {moba, of_sequences, "model=mlp"}},
      {"blocks_beyond_context",
       {sequence({{"blocks", "9"}}), sequence({{"blocks", "8"}}), "give at most 8"}},
      {"streaming_beyond_a_chunk", {streaming("5"), streaming("4"), "keeps as many blocks"}},
      {"too_many_drawing_layers", {many, few, "at most 52 layers and this model has 53"}},
      {"density_out_of_reach",
       {config({}, unreachable(0.111)), config({}, unreachable(0.109)), "--density 0.11"}},
      {"density_rounded",
       {config({}, unreachable(0.1011)), config({}, unreachable(0.1009)), "keep 0.1011"}},
      {"density_rounded_to_groups", {coarse, single, "groups keep 0.12"}},
      {"granularity_beyond_layer",
       {granular(kBlock, [](Policies& p) { p.start.granularity.block = 401; }),
        granular(kBlock, [](Policies& p) { p.start.granularity.block = 400; }),
        "--granularity-block 401"}},
      {"tf32_on_cpu",
       {config({{"tf32", "true"}}),
        config({{"tf32", "true"}}, [](RunFacts& f) { f.on_gpu = true; }), "--tf32=false"}},
      {"sparse_storage_refused",
       {config({{"storage", "sparse"}}, [](RunFacts& f) { f.sparse_refusal = "it dreams"; }),
        config({{"storage", "auto"}}, [](RunFacts& f) { f.sparse_refusal = "it dreams"; }),
        "it dreams"}},
      {"sparse_storage_on_gpu",
       {config({{"storage", "sparse"}},
               [](RunFacts& f) {
                 f.on_gpu = true;
                 f.device = "cuda:0";
               }),
        config({{"storage", "sparse"}}), "the device is cuda:0"}},
      {"out_of_memory",
       {config({}, [](RunFacts& f) { f.bytes = 2.5e9; }),
        config({}, [](RunFacts& f) { f.bytes = 1e9; }), "2.5 GB"}},
      {"given_net_scaled",
       {config({{"init_from", "net"}, {"init_scale", "fan_in"}}), config({{"init_from", "net"}}),
        "--init-scale fan_in"}},
      {"largest_of_no_net",
       {config({{"init_mask", "magnitude"}}),
        config({{"init_mask", "magnitude"}, {"init_hash", "1a"}}), "--init-from"}},
      {"option_unread",
       {config({{"lr_final", "0.1"}}), config({{"lr_final", "0.1"}, {"lr_schedule", "cosine"}}),
        "lr_final = 0.1 is read under"}},
  };
}

Rows copy_rows() {
  const auto large = [](const Settings& said, bool at_budget, std::vector<std::string> probes) {
    return config(said, [=](RunFacts& f) {
      f.too_large_to_copy = "layer 'layer0' is large";
      f.begins_at_budget = at_budget;
      f.copying_probes = probes;
    });
  };
  const Settings probed = {{"probe_every", "100"}};
  return {
      {"curve_too_large",
       {large({{"curve", "true"}}, true, {}), large({{"curve", "false"}}, true, {}),
        "'layer0' is large; read-outs at other budgets"}},
      {"read_out_too_large", {large({}, false, {}), large({}, true, {}), "starts at its density"}},
      {"probes_too_large",
       {large(probed, true, {"gap", "weights"}), large(probed, true, {}),
        "'gap', 'weights' need them"}},
      {"probes_left_out",
       {large({}, true, {"gap", "weights"}), large({}, true, {}), "'gap', 'weights' are left out"}},
  };
}

Rows data_rows() {
  const auto without = [](const Settings& said) {
    return config(said,
                  [](RunFacts& f) { f.validation_examples = f.task_validation_examples = 0; });
  };
  const auto listed = [](const Settings& said) {
    Given given = sequence(said);
    given.more = [](RunFacts& f) { f.sequences = true; };
    return given;
  };
  const auto growing = [](const std::string& batches) {
    return config({{"weights", "rigl"}, {"growth_batches", batches}});
  };
  return {
      {"windows_beyond_corpus",
       {sequence({{"evaluation_windows", "501"}}), sequence({{"evaluation_windows", "500"}}),
        "600 in validation and 500 in test"}},
      {"longer_contexts_of_lists",
       {listed({{"eval_contexts", "1,4"}}), listed({}), "the sequences of --data bytes"}},
      {"growth_beyond_task", {growing("94"), growing("93"), "--growth-batches 94 of --batch 32"}},
      {"nothing_to_read_out",
       {without({{"validation", "0"}}), without({{"validation", "0"}, {"final", "true"}}),
        "--final"}},
      {"nothing_to_evaluate",
       {without({{"final", "true"}, {"eval_every", "2"}}), without({{"final", "true"}}),
        "--eval-every 2"}},
      {"nothing_to_probe", {without({{"probe_every", "50"}}), without({}), "--probe-every 50"}},
      {"task_without_validation",
       {config({}, [](RunFacts& f) { f.task_validation_examples = 0; }),
        config({}, [](RunFacts& f) { f.task_validation_examples = 1; }), "600 validation"}},
  };
}

Given steered(std::int64_t every, std::int64_t warmup, double alpha = 1) {
  return weights([=](Policies& p) {
    p.alignment.alpha = alpha;
    p.alignment.every_steps = every;
    p.alignment.alpha_warmup_steps = warmup;
  });
}

Given replaying(const std::string& buffer, std::int64_t slots) {
  return config({{"scenario", "class_il"}, {"strategy", "er"}, {"buffer", buffer}},
                [slots](RunFacts& f) { f.replay_slots = slots; });
}

Given looking_back(const std::string& strategy, const std::string& buffer, std::int64_t tasks) {
  return config({{"scenario", "class_il"}, {"strategy", strategy}, {"buffer", buffer}},
                [tasks](RunFacts& f) {
                  f.tasks = f.least_buffer = tasks;
                  f.looks_back = true;
                });
}

Given fresh_starts(TopologyRule::BudgetSchedule schedule) {
  Given given = weights([schedule](Policies& p) { p.topology.budget_schedule = schedule; });
  given.said = {{"scenario", "class_il"}, {"strategy", "gdumb"}};
  given.more = [](RunFacts& f) {
    f.fresh_start = true;
    f.stages = 5;
  };
  return given;
}

Given holding(const std::function<void(Policies&)>& change) {
  Given given = weights(change);
  given.said = {{"scenario", "class_il"}, {"strategy", "packnet"}};
  given.more = [](RunFacts& f) { f.holds_weights = true; };
  return given;
}

Given resting(std::int64_t interval) {
  Given given = holding([interval](Policies& p) {
    p.topology.operations = {op(Operation::Kind::kDrop, "magnitude"),
                             op(Operation::Kind::kGrow, "random")};
    p.topology.interval_steps = interval;
  });
  given.said["retrain_share"] = "0.25";
  given.more = [](RunFacts& f) {
    f.weights_rest = true;
    f.task_steps = 100;
    f.steps = 500;
  };
  return given;
}

Given replacing(Perturbation::Kind kind) {
  Given given = weights([kind](Policies& p) { p.perturbation.kind = kind; });
  given.said = {{"scenario", "class_il"}, {"strategy", "wsn"}};
  given.more = [](RunFacts& f) { f.replaces_values = true; };
  return given;
}

Given choosing(const std::string& candidates, std::int64_t slots) {
  return config({{"scenario", "class_il"},
                 {"strategy", "mir"},
                 {"buffer", "40"},
                 {"mir_candidates", candidates}},
                [slots](RunFacts& f) { f.replay_slots = slots; });
}

Given within(Dormant::Kind kind) {
  Given given = weights([kind](Policies& p) {
    p.schedule.kind = Schedule::Kind::kSparse;
    p.dormant.kind = kind;
  });
  given.said = {{"scenario", "class_il"}, {"strategy", "wsn"}};
  given.more = [](RunFacts& f) { f.within_mask = true; };
  return given;
}

Given gating(std::int64_t reads) {
  return config({{"scenario", "class_il"}, {"strategy", "hat"}}, [reads](RunFacts& f) {
    f.gates_units = true;
    f.layers = {{"a", 8, 6}, {"b", reads, 4}};
  });
}

Given of_windows(const std::string& strategy, std::int64_t tasks, bool windows = true) {
  return config({{"scenario", "class_il"}, {"strategy", strategy}}, [=](RunFacts& f) {
    f.tasks = tasks;
    f.sequences = windows;
    f.exact_fisher = strategy == "ewc";
    f.keeps_classes = strategy == "gdumb";
  });
}

Given blurred(const std::string& strategy, bool holds) {
  return config({{"scenario", "class_il"}, {"strategy", strategy}, {"blur", "0.1"}},
                [holds](RunFacts& f) {
                  f.tasks = 5;
                  f.holds_weights = holds;
                });
}

Given keeping_at_ends(bool stores) {
  return config({{"scenario", "class_il"}, {"strategy", "derpp"}, {"buffer_rule", "task_ends"}},
                [stores](RunFacts& f) {
                  f.tasks = 5;
                  f.stores_outputs = stores;
                });
}

Given growing(const std::string& outputs) {
  return config({{"scenario", "class_il"}, {"train_outputs", outputs}, {"blur", "0.1"}},
                [](RunFacts& f) { f.tasks = 5; });
}

Given streaming(const Settings& said, bool needs_ends, bool own_tasks = true) {
  Settings all = {{"scenario", "general_360"}, {"epochs", "1"}};
  for (const auto& [name, value] : said) all[name] = value;
  return config(all, [=](RunFacts& f) {
    f.in_order = true;
    f.needs_ends = needs_ends;
    f.own_tasks = own_tasks;
  });
}

Given growing_ahead(std::int64_t batches) {
  Given given = operations({op(Operation::Kind::kGrow, "gradient")},
                           [batches](Policies& p) { p.topology.fresh_batches = batches; });
  const Given stream = streaming({}, false);
  given.said = stream.said;
  given.more = stream.more;
  return given;
}

Given mixing(std::int64_t task_steps) {
  return config({{"scenario", "class_il"}, {"blur", "0.01"}}, [task_steps](RunFacts& f) {
    f.tasks = f.stages = 5;
    f.task_steps = task_steps;
  });
}

Given naming(bool shares) {
  return config({{"scenario", "class_il"}, {"strategy", "icarl"}}, [shares](RunFacts& f) {
    f.own_outputs = true;
    f.shares_outputs = shares;
  });
}

// A run whose units' activity changes with how often they were active, with finished tasks' weights
// or without.
Given counting(const std::string& strategy, bool holds) {
  return config({{"strategy", strategy}, {"activation", "k_subtract"}, {"switch_after", "100"}},
                [holds](RunFacts& f) { f.holds_weights = holds; });
}

Rows length_rows() {
  const auto ranked = [](std::int64_t interval) {
    return operations({op(Operation::Kind::kRank, "magnitude")},
                      [interval](Policies& p) { p.topology.interval_steps = interval; });
  };
  const Settings online = {{"scenario", "class_il"}, {"online", "true"}};
  Settings stretched = online;
  stretched["match"] = "train_flops";
  const auto draws = [](std::int64_t steps) {
    return weights([steps](Policies& p) { p.schedule.draw_steps = steps; });
  };
  const auto long_run = [](RunFacts& f) { f.steps = 1000000000000; };
  const auto logged = [&](Given given, const std::string& steps) {
    given.said = {{"topology_log_steps", steps}};
    return given;
  };
  const Given phased = operations({op(Operation::Kind::kRank, "magnitude")},
                                  [](Policies& p) { p.topology.at_phases = true; });
  return {
      {"log_of_no_updates",
       {logged(phased, "10"), logged(ranked(100), "10"), "--topology-log-steps 10"}},
      {"log_steps_beyond_run",
       {logged(ranked(100), "1001"), logged(ranked(100), "1000"), "--topology-log-steps 1001"}},
      {"trains_nothing",
       {config({{"epochs", "0"}}), config({{"epochs", "0"}, {"steps", "1"}}), "--epochs 0"}},
      {"more_examples_than_countable",
       {config({{"batch", "10000000"}}, long_run), config({{"batch", "9000000"}}, long_run),
        "--batch 10000000"}},
      {"one_pass_stretched", {config(stretched), config(online), "--match steps"}},
      {"average_of_everything",
       {config({{"optimizer", "adamw"}, {"beta2", "1"}}),
        config({{"optimizer", "adamw"}, {"beta2", "0.99"}}), "--beta2 1"}},
      {"last_phase_lost", {phases({0.85}, 3), phases({0.85}, 4), "begins after step 3 of 3"}},
      {"phases_lost", {phases({0.1, 0.5}, 4), phases({0.25, 0.5}, 4), "1 of the 3 phases"}},
      {"never_updates", {ranked(1000), ranked(999), "1000 steps apart"}},
      {"warmup_beyond_task",
       {config({{"warmup_steps", "501"}}), config({{"warmup_steps", "500"}}),
        "--warmup-steps 501"}},
      {"alpha_warmup_beyond_run", {steered(1, 1001), steered(1, 1000), "1001 steps"}},
      {"aligns_once", {steered(1000, 0), steered(999, 0), "--weights-align-every 1000"}},
      {"draws_once", {draws(1001), draws(1000), "--weights-draw-steps 1001"}},
      {"probes_at_end_alone",
       {config({{"probe_every", "501"}}), config({{"probe_every", "500"}}), "--probe-every 501"}},
      {"evaluates_at_end_alone",
       {config({{"eval_every", "6"}}), config({{"eval_every", "5"}}), "--eval-every 6"}},
      {"never_switches",
       {config({{"eval_after_switch", "5"}}, [](RunFacts& f) { f.stages = 1; }),
        config({{"eval_after_switch", "5"}}, [](RunFacts& f) { f.stages = 2; }),
        "--eval-after-switch 5"}},
      {"task_lr_beyond_tasks",
       {config({{"scenario", "class_il"}, {"task_lr", "1,0.5,0.1"}},
               [](RunFacts& f) { f.stages = 2; }),
        config({{"scenario", "class_il"}, {"task_lr", "1,0.5,0.1"}},
               [](RunFacts& f) { f.stages = 3; }),
        "--task-lr 1,0.5,0.1 has 3 numbers and the run has 2 tasks"}},
      {"schedule_across_fresh_starts",
       {fresh_starts(TopologyRule::BudgetSchedule::kCubic),
        fresh_starts(TopologyRule::BudgetSchedule::kConstant), "--strategy gdumb"}},
      {"weights_held_one_by_one",
       {holding(
            [](Policies& p) { p.topology.budget_schedule = TopologyRule::BudgetSchedule::kCubic; }),
        holding([](Policies&) {}), "moves its density"}},
      {"counts_beside_held_weights",
       {counting("packnet", true), counting("packnet", false), "give --switch-after 0"}},
      {"updates_while_weights_rest", {resting(76), resting(75), "after its first 75 steps of 100"}},
      {"nothing_to_choose", {choosing("30", 30), choosing("30", 29), "30 candidates"}},
      {"within_mask_of_living",
       {within(Dormant::Kind::kTrained), within(Dormant::Kind::kZero), "--strategy wsn chooses"}},
      {"values_of_two_masters",
       {replacing(Perturbation::Kind::kAscent), replacing(Perturbation::Kind::kNone),
        "--strategy wsn takes its steps at other values"}},
      {"gates_without_chain", {gating(5), gating(6), "--strategy hat gates or reserves"}},
      {"memory_without_outputs",
       {keeping_at_ends(true), keeping_at_ends(false), "--strategy derpp keeps the outputs"}},
      {"blur_of_known_tasks",
       {blurred("packnet", true), blurred("packnet", false), "--strategy packnet trains outputs"}},
      {"blur_of_seen_outputs",
       {growing("seen"), growing("task"), "--blur 0.1 shows examples of a task before"}},
      {"ends_of_a_stream",
       {streaming({{"strategy", "lwf"}}, true), streaming({{"strategy", "er"}}, false),
        "--strategy lwf acts where tasks end"}},
      {"stream_in_more_passes",
       {streaming({{"epochs", "2"}}, false), streaming({{"epochs", "2"}}, false, false),
        "--epochs 2"}},
      {"growth_ahead_of_a_stream", {growing_ahead(3), growing_ahead(0), "draws 3 batches"}},
      {"blur_of_no_step", {mixing(99), mixing(100), "--blur 0.01 of the 99 steps"}},
      {"candidates_beyond_buffer",
       {choosing("41", 8), choosing("40", 8), "give --mir-candidates 40"}},
      {"fisher_of_windows",
       {of_windows("ewc", 2), of_windows("ewc", 1), "--strategy ewc takes a gradient"}},
      {"memory_of_windows",
       {of_windows("gdumb", 2), of_windows("gdumb", 2, false), "--buffer-rule balanced"}},
      {"outputs_shared", {naming(true), naming(false), "--strategy icarl keeps examples"}},
      {"batch_beyond_task",
       {config({{"batch", "3001"}}), config({{"batch", "3000"}}), "--batch 3001"}},
      {"buffer_beyond_examples",
       {replaying("6001", 8), replaying("6000", 8), "the 6000 training examples"}},
      {"replay_beyond_buffer", {replaying("30", 31), replaying("30", 30), "--replay-batch 30"}},
      {"buffer_below_tasks",
       {looking_back("agem", "4", 5), looking_back("agem", "5", 5), "give at least 5"}},
      {"nothing_to_look_back_on",
       {looking_back("agem", "5", 1), looking_back("agem", "5", 2), "--strategy agem acts from"}},
  };
}

Rows all_rows() {
  Rows rows = weights_rows();
  for (Rows part : {topology_rows(), network_rows(), copy_rows(), length_rows(), data_rows()}) {
    rows.merge(part);
  }
  return rows;
}

}  // namespace

TEST_CASE("each rule of the table fires, and its neighbour is accepted", "[unit]") {
  const Rows rows = all_rows();
  std::size_t found = 0;
  for (const Rule& rule : rules()) {
    CAPTURE(rule.name);
    const auto row = rows.find(rule.name);
    REQUIRE(row != rows.end());
    ++found;
    const Case& of = row->second;
    CHECK(of.broken.asked([&](const RunFacts& f) { return rule.breaks(f); }));
    CHECK_FALSE(of.neighbour.asked([&](const RunFacts& f) { return rule.breaks(f); }));
    const std::string sentence =
        of.broken.asked([&](const RunFacts& f) { return rule.sentence(f); });
    CAPTURE(sentence);
    CHECK(sentence.find(of.says) != std::string::npos);
    if (rule.verdict == Rule::Verdict::kWarned) continue;
    const auto refused = [&](const Given& given) {
      given.asked([&](const RunFacts& f) {
        if (rule.of == Rule::Of::kPolicies) check_policies(f.weights);
        if (rule.of == Rule::Of::kConfig) check_config(f);
        if (rule.of == Rule::Of::kRun) check_run(f);
        return true;
      });
    };
    CHECK_THROWS_AS(refused(of.broken), ConfigError);
    CHECK_NOTHROW(refused(of.neighbour));
  }
  CHECK(found == rows.size());
}

TEST_CASE("each option that evaluates within tasks needs validation examples", "[unit]") {
  for (const std::string option : {"eval_every", "eval_after_switch", "eval_first_steps"}) {
    Given given = config({{"final", "true"}, {option, "2"}});
    const auto count = [&given](std::int64_t examples) {
      given.more = [examples](RunFacts& f) { f.validation_examples = examples; };
      return given.asked([](const RunFacts& f) {
        return std::count_if(rules().begin(), rules().end(), [&f](const Rule& rule) {
          return std::string(rule.name) == "nothing_to_evaluate" && rule.breaks(f);
        });
      });
    };
    CAPTURE(option);
    CHECK(count(0) == 1);
    CHECK(count(10) == 0);
  }
}

TEST_CASE("what nothing reads is named with what would read it", "[unit]") {
  const auto sentence = [](const Settings& said, bool transformer = false) {
    Given given = config(said);
    given.transformer = transformer;
    return given.asked([](const RunFacts& f) {
      std::string all;
      for (const std::string& each : run_warnings(f)) all += each;
      return all;
    });
  };
  const std::vector<std::pair<Settings, std::string>> cases = {
      {{{"steps", "7"}, {"scenario", "class_il"}, {"online", "true"}}, "steps"},
      {{{"steps", "7"}, {"epochs", "5"}}, "epochs"},
      {{{"lr_end", "0.2"}}, "lr_end"},
      {{{"weight_decay", "0"}, {"decay_mode", "decoupled"}}, "decay_mode"},
      {{{"weights", "set"}, {"update_interval", "7"}}, "update_interval"},
      {{{"weights", "set"}, {"drop_final", "0.1"}}, "drop_final"},
      {{{"weights", "ssa"}, {"weights_alpha", "0"}, {"weights_alpha_warmup", "9"}},
       "weights_alpha_warmup"},
      {{{"weights", "ssa"}, {"weights_alpha", "0"}, {"weights_lambda_full", "2"}},
       "weights_lambda_full"},
      {{{"weights", "ssa"}, {"weights_alpha", "0"}, {"weights_lambda_sparse", "2"}},
       "weights_lambda_sparse"},
      {{{"weights", "ssa"}, {"weights_alpha", "0"}, {"weights_distance", "mse"}},
       "weights_distance"},
      {{{"lr_step_factor", "0.2"}}, "lr_step_factor"},
      {{{"lr_step_at", "0.4"}}, "lr_step_at"},
      {{{"nm_n", "1"}}, "nm_n"},
      {{{"nm_m", "8"}}, "nm_m"},
      {{{"granularity_block", "8"}}, "granularity_block"},
      {{{"nesterov", "true"}, {"momentum", "0"}}, "nesterov"},
      {{{"weights", "ssa"}, {"weights_p_final", "0.5"}}, "weights_p_final"},
      {{{"weights", "ssa"}, {"weights_gap_rate", "0.5"}}, "weights_gap_rate"},
      {{{"weights", "ssa"}, {"weights_alpha", "0"}, {"weights_align_every", "2"}},
       "weights_align_every"},
      {{{"weights", "ssa"}, {"weights_alpha", "0"}, {"weights_shuffle_target", "true"}},
       "weights_shuffle_target"},
      {{{"weights", "ssa"}, {"superset_random", "true"}}, "superset_random"},
      {{{"weights", "ssa"}, {"dormant_decay_when", "always"}}, "dormant_decay_when"},
      {{{"weights", "ssa"}, {"dormant_decay_lr_scaled", "true"}}, "dormant_decay_lr_scaled"},
      {{{"weights", "rigl_teacher"}, {"teacher_alpha", "0"}, {"teacher_temperature", "2"}},
       "teacher_temperature"},
      {{{"init_net", "mine"}}, "init_net"},
      {{{"init_strict", "false"}}, "init_strict"},
      {{{"weights", "set"}, {"init_mask", "method"}}, "init_mask"},
      {{{"weights", "ssa"}, {"init_from", "net"}, {"init_mask", "method"}}, "init_mask"},
      {{{"init_from", "net"}, {"init", "xavier_uniform"}}, "init"}};
  for (const auto& [said, name] : cases) {
    CAPTURE(name);
    CHECK(sentence(said).find(name + " = ") != std::string::npos);
  }
  CHECK(sentence({}).empty());
  CHECK(sentence({{"weights", "ssa"}}).empty());
  Given with_net = config({{"weights", "set"},
                           {"init_from", "net"},
                           {"init_mask", "method"},
                           {"init_net", "mine"},
                           {"init_strict", "false"},
                           {"init", "xavier_uniform"}});
  with_net.weights.start.drawn = true;
  with_net.asked([](const RunFacts& f) {
    for (const std::string& each : run_warnings(f)) CHECK(each.empty());
    return 0;
  });
  CHECK(sentence({{"attention", "ssa"}, {"attention_forced_first", "true"}, {"blocks", "1"}}, true)
            .find("attention_forced_first = ") != std::string::npos);
  for (const char* name :
       {"attention_alpha_warmup", "attention_lambda_full", "attention_lambda_sparse"}) {
    CHECK(sentence({{"attention", "ssa"}, {"attention_alpha", "0"}, {name, "3"}}, true)
              .find(name + std::string(" = ")) != std::string::npos);
  }
  CHECK(sentence({{"attention", "ssa"}, {"attention_alpha", "0"}, {"attention_distance", "mse"}},
                 true)
            .find("attention_distance = ") != std::string::npos);
  // What a method's own default says is no word of the user's.
  CHECK(sentence({{"optimizer", "adamw"}, {"weight_decay", "0"}}).empty());
  CHECK(sentence({{"weights", "set"}}).empty());
  CHECK(sentence({{"attention", "ssa"}, {"attention_p_final", "0.2"}}, true)
            .find("attention_p_final = ") != std::string::npos);
  CHECK(sentence({{"attention", "ssa"}, {"attention_gate_in_loss", "true"}, {"head_gate", "false"}},
                 true)
            .find("attention_gate_in_loss = ") != std::string::npos);
  CHECK(sentence({{"attention", "ssa"}}, true).empty());
  const auto positions = [&](const Settings& said) { return sentence(said, true); };
  CHECK(positions({{"rope_factor", "2"}}).find("rope_factor = ") != std::string::npos);
  CHECK(positions({{"rope_scaling", "ntk"}}).find("rope_scaling = ") != std::string::npos);
  CHECK(positions({{"rope_scaling", "ntk"}, {"rope_factor", "2"}}).empty());
  CHECK(positions({{"eval_scalings", "ntk"}}).find("eval_scalings = ") != std::string::npos);
  CHECK(positions({{"eval_scalings", "ntk"}, {"eval_contexts", "2"}}).empty());
}

TEST_CASE("a seed of its own that no stream of the run is drawn from is said", "[unit]") {
  const auto said = [](const Settings& settings) {
    const std::vector<std::string> warnings = RunCheck("cpu").check(small_run(settings));
    return std::any_of(warnings.begin(), warnings.end(), [](const std::string& each) {
      return each.find("seed_") == 0 && each.find("changes nothing here") != std::string::npos;
    });
  };
  struct Seed {
    std::string name;
    std::vector<Settings> unread, read;
  };
  const std::vector<Seed> seeds = {
      {"seed_streams",
       {{{"weights", "dense"}},
        {{"weights", "rigl"}},
        {{"weights", "ssa"}, {"weights_draw", "turns"}}},
       {{{"weights", "ssa"}},
        {{"weights", "ssa"}, {"weights_draw", "turns"}, {"weights_nested", "1,0.5"}}}},
      {"seed_topology",
       {{{"weights", "dense"}}, {{"weights", "ssa"}}, {{"weights", "topkast"}}},
       {{{"weights", "set"}},
        {{"weights", "static"}},
        {{"weights", "cht"}},
        {{"weights", "ssa"}, {"superset_density", "0.3"}, {"superset_random", "true"}},
        {{"weights", "ssa"}, {"mask_source", "random"}}}},
      {"seed_classes",
       {{{"weights", "dense"}}, {{"scenario", "class_il"}}},
       {{{"scenario", "class_il"}, {"class_order", "random"}}}},
      {"seed_data", {}, {{{"weights", "dense"}}}},
      {"seed_init", {}, {{{"weights", "dense"}}}}};
  for (const Seed& seed : seeds) {
    for (const bool reads : {false, true}) {
      for (Settings settings : reads ? seed.read : seed.unread) {
        CAPTURE(seed.name, settings);
        CHECK_FALSE(said(settings));
        settings[seed.name] = "7";
        CHECK(said(settings) == !reads);
      }
    }
  }
  // Runs that differ in the seed are spoken of together, and apart from one that says none.
  const auto warnings = check_all(
      {small_run({}), small_run({{"seed_streams", "1"}}), small_run({{"seed_streams", "2"}})},
      "cpu");
  REQUIRE(warnings.size() == 1);
  CHECK(warnings.begin()->second == 2);
}

}  // namespace tandem::test::jobs_rules_unit
