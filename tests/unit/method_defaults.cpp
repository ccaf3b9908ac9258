// What every weights method does unless it is told otherwise, one row each. The sources are the
// papers' own codes, as far as they are public; a row says where it departs from them.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "methods/method.h"
#include "support/train_support.h"

namespace tandem::test::method_defaults_unit {

using namespace tandem::test;

namespace {

// A method's policies in words. Empty: there is nothing of the kind.
struct Defaults {
  std::string method;
  std::string updates = {};   // operations of an update, in order
  std::string fraction = {};  // dropped or grown, over the span of the updates
  std::string when = {};      // interval, span as shares of the run, order
  std::string newborn = {};   // value; what a weight is that is dropped and grown at once
  std::string budget = "constant";
  std::string start = "random";
  std::string streams = "sparse";
  std::string sets = "mask, mask";  // of gradient and update
  std::string dormant = "zero";
  std::string more = {};
};

std::string word_of(const TopologyOperation& operation) {
  using Kind = TopologyOperation::Kind;
  const Kind kind = operation.kind;
  std::string word = kind == Kind::kDrop      ? "drop "
                     : kind == Kind::kGrow    ? "grow "
                     : kind == Kind::kPruneTo ? "prune "
                     : kind == Kind::kGrowTo  ? "grow beyond "
                                              : "rank ";
  word += operation.criterion;
  if (operation.parameter != 0) word += fmt::format(" {:.6g}", operation.parameter);
  if (operation.whole_net) word += " over the net";
  if (operation.sampled) word += " sampled";
  return word;
}

std::string updates_of(const TopologyRule& rule) {
  std::vector<std::string> words;
  for (const TopologyOperation& operation : rule.operations) words.push_back(word_of(operation));
  if (rule.redistribution == TopologyRule::Redistribution::kAveragedGradient) {
    words.emplace_back("layers share growth");
  }
  if (rule.fresh_batches > 0) words.push_back(fmt::format("{} batches", rule.fresh_batches));
  return fmt::format("{}", fmt::join(words, "; "));
}

bool moves_a_fraction(const TopologyRule& rule) {
  using Kind = TopologyOperation::Kind;
  return std::any_of(rule.operations.begin(), rule.operations.end(), [](const auto& each) {
    return each.kind == Kind::kDrop || each.kind == Kind::kGrow || each.kind == Kind::kGrowTo;
  });
}

std::string fraction_of(const TopologyRule& rule) {
  using DropSchedule = TopologyRule::DropSchedule;
  if (!moves_a_fraction(rule)) return "";
  const DropSchedule kind = rule.drop_schedule;
  if (kind == DropSchedule::kConstant) return fmt::format("{:.6g}", rule.drop_fraction);
  const char* course = kind == DropSchedule::kCosine   ? "cosine"
                       : kind == DropSchedule::kLinear ? "linear"
                                                       : "steps";
  return fmt::format("{} {:.6g} to {:.6g}", course, rule.drop_fraction, rule.drop_final);
}

std::string when_of(const TopologyRule& rule) {
  if (rule.operations.empty()) return "";
  if (rule.at_phases) return "as a sparse phase begins";
  const std::string interval = rule.interval_epochs > 0
                                   ? fmt::format("{:.6g} epochs", rule.interval_epochs)
                                   : fmt::format("{} steps", rule.interval_steps);
  const bool instead = rule.order == TopologyRule::Order::kUpdateInsteadOfStep;
  return fmt::format("{}, {:.6g} to {:.6g}, {}", interval, rule.begin, rule.end,
                     instead ? "in a step's place" : "after a step");
}

std::string newborn_of(const TopologyRule& rule) {
  using Regrown = TopologyRule::Regrown;
  if (!moves_a_fraction(rule)) return "";
  std::string words = rule.newborn_stale    ? "stale"
                      : rule.newborn_sd > 0 ? fmt::format("sd {:.6g}", rule.newborn_sd)
                                            : "zero";
  words += rule.regrown == Regrown::kKeep   ? ", regrown kept"
           : rule.regrown == Regrown::kZero ? ", regrown newborn"
                                            : ", dropped excluded";
  return rule.empties_slots ? words + ", all slots emptied" : words;
}

// The schedule's span is a share of the updates' span; here it is one of the run.
std::string budget_of(const TopologyRule& rule) {
  if (rule.budget_schedule == TopologyRule::BudgetSchedule::kConstant) return "constant";
  const double span = rule.end - rule.begin;
  return fmt::format("cubic, {:.6g} to {:.6g}", rule.begin + rule.budget_begin * span,
                     rule.begin + rule.budget_end * span);
}

std::string start_of(const Start& start) {
  std::string words = start.pattern == Start::Pattern::kRandom      ? "random"
                      : start.pattern == Start::Pattern::kMagnitude ? "magnitude"
                                                                    : "dense";
  if (start.granularity.kind == Granularity::Kind::kFanIn) words += ", fan_in";
  if (start.granularity.ablation > 0) {
    words += fmt::format(", ablation {:.6g}", start.granularity.ablation);
  }
  if (start.initial_density > 0) words += fmt::format(", from {:.6g}", start.initial_density);
  return words;
}

std::string streams_of(const Schedule& schedule) {
  switch (schedule.kind) {
    case Schedule::Kind::kFull:
      return "full";
    case Schedule::Kind::kSparse:
      return "sparse";
    case Schedule::Kind::kBoth:
      return fmt::format("both, losses {:.6g} and {:.6g}", schedule.loss_full,
                         schedule.loss_sparse);
    case Schedule::Kind::kTurns:
      return "turns";
    case Schedule::Kind::kBernoulli:
      return fmt::format("{}full at {:.6g}{}{}", schedule.draws_per_layer() ? "layers " : "",
                         schedule.p, schedule.shape == Schedule::Shape::kConstant ? "" : ", moving",
                         schedule.draw_steps == 1 ? "" : ", in blocks");
    case Schedule::Kind::kPhases:
      return fmt::format("phases {:.6g}, last lr {:.6g}{}", fmt::join(schedule.phases, " "),
                         schedule.last_phase_lr, schedule.empties_slots ? ", slots emptied" : "");
  }
  return "unknown";
}

std::string word_of(Support support) {
  switch (support) {
    case Support::kMask:
      return "mask";
    case Support::kStream:
      return "stream";
    case Support::kSuperset:
      return "superset";
    case Support::kAll:
      return "all";
  }
  return "unknown";
}

std::string sets_of(const Sets& sets) {
  std::string words = word_of(sets.gradient) + ", " + word_of(sets.update);
  if (sets.superset > 0) words += fmt::format(" of {:.6g}", sets.superset);
  if (sets.superset_random) words += ", random";
  if (sets.full_in_superset) words += ", full within";
  if (sets.outside_zero) words += ", zero outside";
  if (!sets.nested.empty()) words += ", nested";
  return words;
}

std::string dormant_of(const Dormant& dormant) {
  switch (dormant.kind) {
    case Dormant::Kind::kZero:
      return "zero";
    case Dormant::Kind::kHold:
      return dormant.zeroed_by_phases ? "held, emptied as a sparse phase begins" : "held";
    case Dormant::Kind::kTrained:
      return "trained";
    case Dormant::Kind::kDecay:
      return fmt::format("decay {:.6g}{}", dormant.eta,
                         dormant.in_gradient ? " in the gradient" : "");
  }
  return "unknown";
}

std::string alignment_of(const Alignment& alignment) {
  using Distance = Alignment::Distance;
  using Site = Alignment::Site;
  const char* distance = alignment.distance == Distance::kSmoothL1  ? "smooth_l1"
                         : alignment.distance == Distance::kLogitKl ? "logit_kl"
                                                                    : "another distance";
  const char* site = alignment.site == Site::kPre      ? "pre"
                     : alignment.site == Site::kLogits ? "logits"
                                                       : "another site";
  std::string words = fmt::format("align {:.6g} ({:.6g}, {:.6g}), {}, {}, {}", alignment.alpha,
                                  alignment.lambda_full, alignment.lambda_sparse, distance, site,
                                  alignment.propagated ? "propagated" : "local");
  const bool steered = alignment.alpha_warmup_steps > 0 || alignment.detached ||
                       alignment.every_steps != 1 || alignment.shuffled || alignment.gap_target > 0;
  return steered ? words + ", steered" : words;
}

std::string more_of(const Policies& policies) {
  std::vector<std::string> words;
  const Perturbation& near = policies.perturbation;
  if (near.kind != Perturbation::Kind::kNone) {
    words.push_back(fmt::format("gradient at {}{:.6g} x {}{}{}",
                                near.kind == Perturbation::Kind::kCompressed ? "pruned " : "",
                                near.radius, near.unit ? "g / |g|" : "g",
                                near.masked ? ", masked" : "", near.adds_own ? ", + own" : ""));
  }
  if (policies.alignment.alpha > 0) words.push_back(alignment_of(policies.alignment));
  if (policies.teacher.alpha > 0) {
    words.push_back(fmt::format("teacher {:.6g} at temperature {:.6g}", policies.teacher.alpha,
                                policies.teacher.temperature));
  }
  if (policies.power != 1) words.push_back(fmt::format("power {:.6g}", policies.power));
  return fmt::format("{}", fmt::join(words, "; "));
}

Defaults defaults_of(const std::string& method) {
  const Policies policies = policies_of(small_run({{"weights", method}}), Level::kWeights);
  const TopologyRule& rule = policies.topology;
  return {.method = method,
          .updates = updates_of(rule),
          .fraction = fraction_of(rule),
          .when = when_of(rule),
          .newborn = newborn_of(rule),
          .budget = budget_of(rule),
          .start = start_of(policies.start),
          .streams = streams_of(policies.schedule),
          .sets = sets_of(policies.sets),
          .dormant = dormant_of(policies.dormant),
          .more = more_of(policies)};
}

// Methods that drop and grow; what is dormant is zero.
std::vector<Defaults> drop_and_grow_methods() {
  return {
      // SciPy: a share zeta = 0.3 of the negative weights nearest zero and of the positive ones, as
      // many grow anywhere with values from N(0, 0.1^2), just dropped ones too; after each epoch.
      {.method = "set",
       .updates = "drop set_signed; grow random",
       .fraction = "0.3",
       .when = "1 epochs, 0 to 1, after a step",
       .newborn = "sd 0.1, regrown newborn"},
      // TensorFlow: alpha = 0.3 by a cosine to 0 at three quarters, every 100 steps and in place of
      // a step; what was active keeps its value (reinit_when_same = False).
      {.method = "rigl",
       .updates = "drop magnitude; grow gradient",
       .fraction = "cosine 0.3 to 0",
       .when = "100 steps, 0 to 0.75, in a step's place",
       .newborn = "zero, regrown kept"},
      {.method = "rigl_teacher",
       .updates = "drop magnitude; grow gradient",
       .fraction = "cosine 0.3 to 0",
       .when = "100 steps, 0 to 0.75, in a step's place",
       .newborn = "zero, regrown kept",
       .more = "teacher 1 at temperature 1"},
      // rigl_constant_fan: RigL's numbers, gamma_sal = 0.3. The authors accumulate 8 gradients.
      {.method = "srigl",
       .updates = "drop magnitude; grow gradient",
       .fraction = "cosine 0.3 to 0",
       .when = "100 steps, 0 to 0.75, in a step's place",
       .newborn = "zero, regrown kept",
       .start = "random, fan_in, ablation 0.3"},
      // sparse_learning: 0.5 by a cosine to 0.005 over all steps, once an epoch.
      {.method = "snfs",
       .updates = "drop magnitude; grow averaged_gradient; layers share growth",
       .fraction = "cosine 0.5 to 0.005",
       .when = "1 epochs, 0 to 1, after a step",
       .newborn = "zero, regrown kept"},
      // README: SET-ITOP every 1500 steps, 0.5 by a cosine to 0.005 over all steps.
      {.method = "itop",
       .updates = "drop magnitude; grow random",
       .fraction = "cosine 0.5 to 0.005",
       .when = "1500 steps, 0 to 1, after a step",
       .newborn = "zero, regrown kept"},
      // retrain.py: 2% of all weights, 1% from epoch 90 of 160 on, none from 120 on, each 5 epochs:
      // 0.2 and 0.1 of the active ones at a density of 0.1; 90 / 120 = 0.75. lambda is a port's.
      {.method = "mest",
       .updates = "drop magnitude_gradient 0.01; grow random",
       .fraction = "steps 0.2 to 0",
       .when = "5 epochs, 0 to 0.75, after a step",
       .newborn = "zero, regrown newborn"},
      // dst_scheduler.py: a constant 0.3 once an epoch; the first mask is random here.
      {.method = "cht",
       .updates = "drop magnitude; grow ch3_l3",
       .fraction = "0.3",
       .when = "1 epochs, 0 to 1, after a step",
       .newborn = "zero, regrown newborn"},
  };
}

// Methods that prune step by step.
std::vector<Defaults> pruning_methods() {
  return {
      // Zhu and Gupta: dense, then the cubic schedule every 100 to 1000 steps.
      {.method = "gmp",
       .updates = "prune magnitude",
       .when = "100 steps, 0 to 0.75, after a step",
       .budget = "cubic, 0 to 0.75",
       .start = "dense"},
      // core.py: pruning over all layers by the cubic schedule, regeneration within layers of 0.5
      // by a cosine to 0.005 over all steps. The authors' interval for CIFAR is 1000 steps.
      {.method = "granet",
       .updates = "prune magnitude over the net; drop magnitude; grow gradient",
       .fraction = "cosine 0.5 to 0.005",
       .when = "100 steps, 0 to 1, after a step",
       .newborn = "zero, regrown kept",
       .budget = "cubic, 0 to 0.75",
       .start = "dense"},
  };
}

// Methods whose sparse stream alone runs, with a mask that is chosen as a whole.
std::vector<Defaults> masked_methods() {
  return {
      // A control.
      {.method = "static"},
      // ChooseEdges: the top magnitudes of every step, the gradient reaches all weights.
      {.method = "ste",
       .updates = "rank magnitude",
       .when = "1 steps, 0 to 1, after a step",
       .start = "magnitude",
       .sets = "all, all",
       .dormant = "trained"},
      // sparse_ops.py: lambda = 2e-4 within the gradient.
      {.method = "srste",
       .updates = "rank magnitude",
       .when = "1 steps, 0 to 1, after a step",
       .start = "magnitude",
       .sets = "all, all",
       .dormant = "decay 0.0002 in the gradient"},
      // Weight decay is 5e-4 on A and 5e-4 / density on B without A, density 0.2: 4 x 5e-4 on top.
      {.method = "topkast",
       .updates = "rank magnitude",
       .when = "10 steps, 0 to 1, after a step",
       .start = "magnitude",
       .sets = "superset, superset of 0.4",
       .dormant = "decay 0.002 in the gradient"},
      // A control.
      {.method = "random_masks",
       .updates = "rank random",
       .when = "1 steps, 0 to 1, after a step",
       .sets = "mask, all",
       .dormant = "trained"},
  };
}

// The full net alone, all of which is trained.
Defaults full_net(const std::string& method, const std::string& more = "") {
  return {.method = method,
          .start = "dense",
          .streams = "full",
          .sets = "all, all",
          .dormant = "trained",
          .more = more};
}

Defaults phased(const std::string& method, const std::string& updates, const std::string& phases) {
  return {.method = method,
          .updates = updates,
          .when = "as a sparse phase begins",
          .start = "magnitude",
          .streams = phases,
          .sets = "stream, stream",
          .dormant = "held, emptied as a sparse phase begins"};
}

// Two streams that share their weights, all of which are trained.
Defaults two_streams(const std::string& method, const std::string& streams,
                     const std::string& more = "") {
  return {.method = method,
          .updates = "rank magnitude",
          .when = "100 steps, 0 to 1, after a step",
          .start = "magnitude",
          .streams = streams,
          .sets = "stream, all",
          .dormant = "trained",
          .more = more};
}

// Peste et al. 2022: rho times the gradient itself, CrAM+, the gradient there cut to the mask.
Defaults cram() {
  Defaults row = full_net("cram", "gradient at pruned 0.05 x g, masked, + own");
  row.updates = "rank magnitude";
  row.when = "10 steps, 0 to 1, after a step";
  row.start = "magnitude";
  return row;
}

// Methods that run the full net at times, or always.
std::vector<Defaults> full_methods() {
  return {
      full_net("dense"), full_net("small_dense"),
      // The middle of the authors' range.
      full_net("powerprop", "power 2"),
      // Foret et al.: rho = 0.05 along the unit gradient.
      full_net("sam", "gradient at 0.05 x g / |g|"), cram(),
      // The ImageNet schedule of 100 epochs for 90%: pruned at 10, 20, .. 70 and 85, restored at
      // 15, 25, .. 75, over the whole net, momentum emptied as a full phase begins.
      phased("acdc", "rank magnitude over the net",
             "phases 0.1 0.15 0.2 0.25 0.3 0.35 0.4 0.45 0.5 0.55 0.6 0.65 0.7 0.75 0.85, last lr "
             "1, slots emptied"),
      // Han et al.: one pruning, and a tenth of the learning rate in the last phase.
      phased("dsd", "rank magnitude", "phases 0.333 0.667, last lr 0.1"),
      phased("prune_finetune", "rank magnitude", "phases 0.5, last lr 1"),
      // ssa without alignment.
      two_streams("alternate", "full at 0.5"),
      // SSA's own numbers: alpha = 10, both lambdas 1, p = 0.5, smooth-L1, from the same input.
      two_streams("ssa", "full at 0.5", "align 10 (1, 1), smooth_l1, pre, local"),
      // slimmable_networks: the widest learns from labels, the others from its detached output.
      two_streams("sandwich", "both, losses 1 and 0",
                  "align 1 (0, 1), logit_kl, logits, propagated")};
}

void require_defaults(const std::vector<Defaults>& rows) {
  for (const Defaults& row : rows) {
    CAPTURE(row.method);
    const Defaults own = defaults_of(row.method);
    CHECK(own.updates == row.updates);
    CHECK(own.fraction == row.fraction);
    CHECK(own.when == row.when);
    CHECK(own.newborn == row.newborn);
    CHECK(own.budget == row.budget);
    CHECK(own.start == row.start);
    CHECK(own.streams == row.streams);
    CHECK(own.sets == row.sets);
    CHECK(own.dormant == row.dormant);
    CHECK(own.more == row.more);
  }
}

Policies policies_at_defaults(const std::string& method) {
  return policies_of(small_run({{"weights", method}}), Level::kWeights);
}

}  // namespace

TEST_CASE("defaults of methods that train a sparse net", "[unit]") {
  require_defaults(drop_and_grow_methods());
  require_defaults(pruning_methods());
  require_defaults(masked_methods());
}

TEST_CASE("defaults of methods that run the full net", "[unit]") {
  require_defaults(full_methods());
}

TEST_CASE("every weights method has its defaults pinned", "[unit]") {
  std::set<std::string> pinned, registered;
  for (const auto& rows :
       {drop_and_grow_methods(), pruning_methods(), masked_methods(), full_methods()}) {
    for (const Defaults& row : rows) REQUIRE(pinned.insert(row.method).second);
  }
  for (const auto& [method, factory] : weights_methods().all()) registered.insert(method);
  REQUIRE(pinned == registered);
}

TEST_CASE("what tables hold a method's own attention to be is what it trains", "[unit]") {
  for (const Part& method : parts_of("attention")) {
    CAPTURE(method.name);
    const Config config = Config::resolve({{"model", "transformer"}, {"attention", method.name}});
    CHECK(method.trains_sparse_alone ==
          (policies_of(config, Level::kAttention).schedule.kind == Schedule::Kind::kSparse));
  }
}

TEST_CASE("courses of the drop fraction at the defaults", "[unit]") {
  const auto at = [](const std::string& method, double progress) {
    return drop_fraction_at(policies_at_defaults(method).topology, progress);
  };
  // 0.3 / 2 (1 + cos(pi t)): all of it, half of it, nothing.
  CHECK(at("rigl", 0) == Approx(0.3));
  CHECK(at("rigl", 0.5) == Approx(0.15));
  CHECK(at("rigl", 1) == Approx(0).margin(1e-12));
  // 0.005 + 0.495 / 2 (1 + cos(pi t)).
  for (const std::string method : {"snfs", "itop", "granet"}) {
    CAPTURE(method);
    CHECK(at(method, 0) == Approx(0.5));
    CHECK(at(method, 0.5) == Approx(0.2525));
    CHECK(at(method, 1) == Approx(0.005));
  }
  for (const std::string method : {"set", "cht"}) {
    CHECK(at(method, 0) == 0.3);
    CHECK(at(method, 1) == 0.3);
  }
  CHECK(at("mest", 0) == 0.2);
  CHECK(at("mest", 0.749) == 0.2);
  CHECK(at("mest", 0.75) == Approx(0.1));
  CHECK(at("mest", 0.999) == Approx(0.1));
  CHECK(at("mest", 1) == 0);
}

TEST_CASE("gradual pruning is done at three quarters, GraNet moves weights to the end", "[unit]") {
  // 0.2 + 0.8 (1 - s / 0.75)^3 at a share s of the run, from dense: half of the way 0.2 + 0.8 / 8.
  const Policies granet = policies_at_defaults("granet"), gmp = policies_at_defaults("gmp");
  const auto granet_at = [&](double share) {
    return density_at(granet.topology, granet.start, share);  // its updates span the run
  };
  const auto gmp_at = [&](double share) {
    return density_at(gmp.topology, gmp.start, share / 0.75);  // its updates end with the pruning
  };
  CHECK(granet_at(0) == Approx(1));
  CHECK(gmp_at(0) == Approx(1));
  CHECK(granet_at(0.375) == Approx(0.3));
  CHECK(gmp_at(0.375) == Approx(0.3));
  CHECK(granet_at(0.75) == Approx(0.2));
  CHECK(gmp_at(0.75) == Approx(0.2));
  CHECK(granet_at(0.9) == Approx(0.2));
}

}  // namespace tandem::test::method_defaults_unit
