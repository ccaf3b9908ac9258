// Options that a run says, that nothing reads under the others, and that make it another run all
// the same. What no selected part reads is refused where a config is resolved; here it is another
// option's value that leaves them unread.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "config/contexts.h"
#include "config/initial_file.h"
#include "config/option.h"
#include "policy/criterion_facts.h"
#include "policy/rules.h"

namespace tandem {
namespace {

// An option, what must hold for it to be read, and whether it does.
struct Reader {
  const char* option;
  const char* needs;
  bool (*reads)(const RunFacts&);
};

// Some mask, growth or choice of the weights level is random.
bool draws_topology(const RunFacts& f) {
  const Policies& weights = f.weights;
  const TopologyRule& rule = weights.topology;
  const bool starts_at_random =
      weights.start.pattern == Start::Pattern::kRandom && weights.start.first_density() < 1;
  const bool updates_draw =
      std::any_of(rule.operations.begin(), rule.operations.end(), [](const auto& operation) {
        return operation.sampled || criterion_facts(operation.criterion).draws;
      });
  const bool newborn_draw = rule.newborn_sd > 0 && !rule.operations.empty();
  return starts_at_random || updates_draw || newborn_draw ||
         rule.redistribution != TopologyRule::Redistribution::kNone ||
         (weights.sets.superset > 0 && weights.sets.superset_random) ||
         f.config->text("mask_source") == "random";
}

// The stream that runs, or the nested mask that it uses, is drawn at each step.
bool draws_streams(const RunFacts& f) {
  const auto drawn = [](const Policies& level) {
    return level.schedule.kind == Schedule::Kind::kBernoulli;
  };
  return drawn(f.weights) || drawn(f.attention) || !f.weights.sets.nested.empty();
}

bool has_given_net(const RunFacts& f) { return begins_with_file(*f.config); }

bool is_cosine(const RunFacts& f) { return f.config->text("lr_schedule") == "cosine"; }
bool is_stepped(const RunFacts& f) { return f.config->text("lr_schedule") == "step"; }
bool normalizes_by_constants(const RunFacts& f) {
  return f.config->text("normalize") == "constants";
}
bool is_nm(const RunFacts& f) { return f.config->text("granularity") == "n_m"; }
bool aligns_weights(const RunFacts& f) { return f.config->real("weights_alpha") > 0; }
bool aligns_attention(const RunFacts& f) { return f.config->real("attention_alpha") > 0; }
bool has_indexer(const RunFacts& f) {
  return f.config->text("attention_selector_score") == "indexer";
}
bool decays_dormant(const RunFacts& f) { return f.config->real("dormant_decay") > 0; }

std::vector<Reader> training_readers() {
  return {
      {"steps", "--online=false", [](const RunFacts& f) { return !f.config->flag("online"); }},
      {"epochs", "--steps 0 and --online=false",
       [](const RunFacts& f) {
         return f.config->integer("steps") == 0 && !f.config->flag("online");
       }},
      {"lr_final", "--lr-schedule cosine", is_cosine},
      {"lr_end", "--lr-schedule cosine", is_cosine},
      {"lr_step_at", "--lr-schedule step", is_stepped},
      {"lr_step_factor", "--lr-schedule step", is_stepped},
      {"nesterov", "--momentum above 0",
       [](const RunFacts& f) { return f.config->real("momentum") > 0; }},
      {"decay_mode", "--weight-decay above 0",
       [](const RunFacts& f) { return f.config->real("weight_decay") > 0; }},
      {"teacher_temperature", "--teacher-alpha above 0",
       [](const RunFacts& f) { return f.config->real("teacher_alpha") > 0; }},
      {"seed_classes", "--class-order random, --tasks-by permutation or rotation",
       [](const RunFacts& f) {
         return f.config->text("class_order") == "random" ||
                f.config->text("tasks_by") != "classes";
       }},
      {"pixel_mean", "--normalize constants", normalizes_by_constants},
      {"pixel_deviation", "--normalize constants", normalizes_by_constants},
      {"winners", "--activation k_winners or k_subtract",
       [](const RunFacts& f) {
         const std::string& activation = f.config->text("activation");
         return activation == "k_winners" || activation == "k_subtract";
       }},
      {"switch_after", "--activation k_subtract",
       [](const RunFacts& f) { return f.config->text("activation") == "k_subtract"; }},
      {"rotation_degrees", "--tasks-by rotation",
       [](const RunFacts& f) { return f.config->text("tasks_by") == "rotation"; }},
      {"rope_factor", "--rope-scaling linear or ntk",
       [](const RunFacts& f) { return f.config->text("rope_scaling") != "none"; }},
      {"rope_scaling", "--rope-factor above 1",
       [](const RunFacts& f) { return f.config->real("rope_factor") > 1; }},
      {"eval_scalings", "--eval-contexts beyond 1",
       [](const RunFacts& f) { return !context_multiples(*f.config).empty(); }},
      {"seed_topology", "random masks, random growth or other draws of a method's topology",
       draws_topology},
      {"seed_streams", "streams or nested masks that are drawn", draws_streams},
      {"init", "no --init-from, or with --init-strict=false",
       [](const RunFacts& f) { return !has_given_net(f) || !f.config->flag("init_strict"); }},
      {"init_net", "--init-from", has_given_net},
      {"init_strict", "--init-from", has_given_net},
      {"init_mask", "--init-from and methods whose first mask is drawn",
       [](const RunFacts& f) {
         const Start& start = f.weights.start;
         return has_given_net(f) && start.drawn && start.first_density() < 1;
       }},
  };
}

bool trains_in_turn(const RunFacts& f) {
  return f.config->text("scenario") != "single" && f.config->text("strategy") != "joint" &&
         !f.in_order;
}

std::vector<Reader> level_readers() {
  return {
      {"nm_n", "--granularity n_m", is_nm},
      {"nm_m", "--granularity n_m", is_nm},
      {"granularity_block", "--granularity block",
       [](const RunFacts& f) { return f.config->text("granularity") == "block"; }},
      {"drop_final", "another --drop-schedule than constant",
       [](const RunFacts& f) { return f.config->text("drop_schedule") != "constant"; }},
      {"update_interval", "--update-interval-epochs 0",
       [](const RunFacts& f) { return f.config->real("update_interval_epochs") <= 0; }},
      {"weights_p_final", "--weights-p-schedule linear or cosine",
       [](const RunFacts& f) { return f.config->text("weights_p_schedule") != "constant"; }},
      {"attention_p_final", "--attention-p-schedule linear or cosine",
       [](const RunFacts& f) { return f.config->text("attention_p_schedule") != "constant"; }},
      {"weights_gap_rate", "--weights-gap-target above 0",
       [](const RunFacts& f) { return f.config->real("weights_gap_target") > 0; }},
      {"attention_gap_rate", "--attention-gap-target above 0",
       [](const RunFacts& f) { return f.config->real("attention_gap_target") > 0; }},
      {"attention_align_every", "--attention-alpha above 0", aligns_attention},
      {"attention_shuffle_target", "--attention-alpha above 0", aligns_attention},
      {"weights_align_every", "--weights-alpha above 0", aligns_weights},
      {"weights_shuffle_target", "--weights-alpha above 0", aligns_weights},
      {"weights_alpha_warmup", "--weights-alpha above 0", aligns_weights},
      {"weights_lambda_full", "--weights-alpha above 0", aligns_weights},
      {"weights_lambda_sparse", "--weights-alpha above 0", aligns_weights},
      {"weights_distance", "--weights-alpha above 0", aligns_weights},
      {"attention_alpha_warmup", "--attention-alpha above 0", aligns_attention},
      {"attention_lambda_full", "--attention-alpha above 0", aligns_attention},
      {"attention_lambda_sparse", "--attention-alpha above 0", aligns_attention},
      {"attention_distance", "--attention-alpha above 0", aligns_attention},
      {"attention_gate_in_loss", "--attention-alpha above 0 and --head-gate",
       [](const RunFacts& f) { return aligns_attention(f) && f.config->flag("head_gate"); }},
      {"attention_forced_first", "--blocks 2 or more",
       [](const RunFacts& f) { return f.config->integer("blocks") >= 2; }},
      {"attention_forced_nearest", "--blocks 2 or more",
       [](const RunFacts& f) { return f.config->integer("blocks") >= 2; }},
      {"attention_subblocks", "--attention-selector-score subblock",
       [](const RunFacts& f) { return f.config->text("attention_selector_score") == "subblock"; }},
      {"attention_stride", "--attention-selector-score strided",
       [](const RunFacts& f) { return f.config->text("attention_selector_score") == "strided"; }},
      {"attention_indexer_heads", "--attention-selector-score indexer", has_indexer},
      {"attention_indexer_pool", "--attention-selector-score indexer", has_indexer},
      {"attention_indexer_target", "--attention-selector-score indexer", has_indexer},
      {"attention_indexer_weight", "--attention-selector-score indexer", has_indexer},
      {"eval_ahead", "a --scenario whose tasks are trained in turn", trains_in_turn},
      {"task_lr", "a --scenario whose tasks are trained in turn", trains_in_turn},
      {"switch_optimizer", "a --scenario whose tasks are trained in turn", trains_in_turn},
      {"superset_random", "--superset-density above 0",
       [](const RunFacts& f) { return f.config->real("superset_density") > 0; }},
      {"dormant_decay_lr_scaled", "--dormant-decay above 0", decays_dormant},
      {"dormant_decay_when", "--dormant-decay above 0", decays_dormant},
  };
}

// Without the option the run would be the same in everything but its id.
bool makes_another_run(const Config& run, const std::string& name) {
  if (!run.was_given(name)) return false;
  Settings fewer = run.given();
  fewer.erase(name);
  return Config::resolve(fewer, /*strict=*/false).text(name) != run.text(name);
}

// Runs that differ in seeds are spoken of together, so that a seed's value says nothing.
std::string shown_option(const Config& run, const std::string& name) {
  return is_seed(name) ? name : name + " = " + run.text(name);
}

std::vector<std::string> unread(const RunFacts& f) {
  std::vector<std::string> found;
  for (const auto& readers : {training_readers(), level_readers()}) {
    for (const Reader& each : readers) {
      if (each.reads(f) || !makes_another_run(*f.config, each.option)) continue;
      found.push_back(fmt::format("{} is read under {} alone", shown_option(*f.config, each.option),
                                  each.needs));
    }
  }
  return found;
}

}  // namespace

std::vector<Rule> unread_rules() {
  return {{"option_unread", Rule::Verdict::kWarned, Rule::Of::kRun,
           [](const RunFacts& f) { return !unread(f).empty(); },
           [](const RunFacts& f) {
             return fmt::format("{}, and changes nothing here", fmt::join(unread(f), "; "));
           }}};
}

}  // namespace tandem
