// Rules of the weights level's streams, sets, alignment and dormant weights.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

#include "policy/criterion_facts.h"
#include "policy/rules.h"

namespace tandem {
namespace {

constexpr auto kRefusedPolicies = Rule::Verdict::kRefused;
constexpr auto kOfWeights = Rule::Of::kPolicies;
constexpr std::size_t kMostNested = 8;

std::string said_nested(const RunFacts& f) {
  return fmt::format("--weights-nested {}", fmt::join(f.weights.sets.nested, ","));
}

bool shares_descend(const std::vector<double>& shares) {
  const bool descends =
      std::adjacent_find(shares.begin(), shares.end(), std::less_equal<>()) == shares.end();
  return shares.front() == 1 && shares.back() > 0 && descends && shares.size() <= kMostNested;
}

// The first operation that ranks by gradients, or null.
const TopologyOperation* ranks_by_gradient(const RunFacts& f) {
  for (const TopologyOperation& operation : f.weights.topology.operations) {
    if (criterion_facts(operation.criterion).gradient) return &operation;
  }
  return nullptr;
}

bool steers_nothing(const Policies& policies, const RunFacts&) {
  return policies.alignment.gap_target > 0 && policies.alignment.alpha == 0;
}

bool phases_descend(const Policies& policies, const RunFacts&) {
  return !std::is_sorted(policies.schedule.phases.begin(), policies.schedule.phases.end());
}

bool uneven_turns(const Policies& policies, const RunFacts&) {
  const Schedule& schedule = policies.schedule;
  return schedule.kind == Schedule::Kind::kTurns &&
         (schedule.p != 0.5 || schedule.shape != Schedule::Shape::kConstant);
}

std::vector<Rule> superset_rules() {
  return {
      {"superset_outside_of_none", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return f.weights.sets.outside_zero && f.weights.sets.superset == 0;
       },
       [](const RunFacts&) -> std::string {
         return "--superset-outside zero is of weights outside a superset, and this run has none: "
                "give --superset-density as well";
       }},
      {"superset_below_mask", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return f.weights.sets.superset > 0 && f.weights.sets.superset < f.weights.start.density;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--superset-density {} is below --density {}: the superset holds the mask, so give as "
             "much or more",
             f.weights.sets.superset, f.weights.start.density);
       }},
      {"superset_outside_of_blocks", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return f.weights.sets.outside_zero &&
                f.weights.start.granularity.kind == Granularity::Kind::kBlock;
       },
       [](const RunFacts&) -> std::string {
         return "--superset-outside zero ranks within a superset of single weights, and "
                "--granularity block chooses whole blocks: give --superset-outside hold, or "
                "another "
                "granularity";
       }},
      {"shrinking_superset", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return f.weights.start.initial_density > 0 &&
                (f.weights.sets.superset > 0 || !f.weights.sets.nested.empty());
       },
       [](const RunFacts&) -> std::string {
         return "--initial-density shrinks the mask, which a superset or nested masks are measured "
                "by: leave out --superset-density and --weights-nested, or --initial-density";
       }},
  };
}

std::vector<Rule> nested_rules() {
  return {
      {"nested_shares", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return !f.weights.sets.nested.empty() && !shares_descend(f.weights.sets.nested);
       },
       [](const RunFacts& f) {
         return said_nested(f) +
                fmt::format(
                    ": give 1 and then ever smaller shares above 0, at most {} in all, such "
                    "as 1,0.5,0.25",
                    kMostNested);
       }},
      {"nested_one", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) { return f.weights.sets.nested.size() == 1; },
       [](const RunFacts& f) {
         return said_nested(f) + " is the mask itself: give more shares, or leave it out";
       }},
      {"nested_in_superset", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return !f.weights.sets.nested.empty() && f.weights.sets.superset > 0;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "{} varies what the sparse stream uses, and --superset-density {} narrows the full "
             "one "
             "to what holds its mask: give one of them",
             said_nested(f), f.weights.sets.superset);
       }},
      {"nested_groups", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return !f.weights.sets.nested.empty() &&
                f.weights.start.granularity.kind != Granularity::Kind::kElement;
       },
       [](const RunFacts& f) {
         return said_nested(f) +
                " takes the largest single weights of the mask, and --granularity chooses more "
                "than "
                "one at once: give element";
       }},
      {"nested_by_gradient", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return !f.weights.sets.nested.empty() && ranks_by_gradient(f) != nullptr;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "{} leaves a sparse step the gradient of the mask in use alone, and --mask-source {} "
             "ranks all weights by theirs: give magnitude, magnitude_input or random",
             said_nested(f), ranks_by_gradient(f)->criterion);
       }},
  };
}

std::vector<Rule> alignment_rules() {
  return {
      {"logits_of_one_network", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return f.weights.alignment.site == Alignment::Site::kLogits &&
                !f.weights.alignment.propagated;
       },
       [](const RunFacts&) -> std::string {
         return "--weights-site logits aligns the outputs of two networks and needs "
                "--weights-counterpart propagated";
       }},
      {"logit_kl_of_no_logits", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return f.weights.alignment.distance == Alignment::Distance::kLogitKl &&
                f.weights.alignment.site != Alignment::Site::kLogits;
       },
       [](const RunFacts&) -> std::string {
         return "--weights-distance logit_kl compares distributions over classes and needs "
                "--weights-site logits";
       }},
      {"detached_logits", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return f.weights.alignment.detached &&
                f.weights.alignment.site == Alignment::Site::kLogits;
       },
       [](const RunFacts&) -> std::string {
         return "--weights-detach aligns each layer's own outputs, and --weights-site logits those "
                "of the network: give --weights-site pre, norm or post";
       }},
      {"detached_networks", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return f.weights.alignment.detached && f.weights.alignment.propagated;
       },
       [](const RunFacts&) -> std::string {
         return "--weights-detach aligns what a layer makes of one input, and "
                "--weights-counterpart "
                "propagated computes the streams from different ones: give --weights-counterpart "
                "local";
       }},
      {"gap_without_alpha", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) { return level_where(f, steers_nothing) != nullptr; },
       [](const RunFacts& f) {
         return fmt::format(
             "--{0}-gap-target steers a factor of alpha and --{0}-alpha is 0: give an alpha to "
             "begin with",
             level_name(*level_where(f, steers_nothing)));
       }},
  };
}

std::vector<Rule> stream_rules() {
  return {
      {"layers_of_two_networks", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return f.weights.schedule.draws_per_layer() && f.weights.alignment.propagated;
       },
       [](const RunFacts&) -> std::string {
         return "--weights-draw layer mixes the streams within a pass, and a propagated "
                "counterpart "
                "needs passes of one stream: give --weights-counterpart local";
       }},
      {"decay_on_sparse_steps_of_layers", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return f.weights.schedule.draws_per_layer() &&
                f.weights.dormant.kind == Dormant::Kind::kDecay &&
                f.weights.dormant.sparse_steps_only;
       },
       [](const RunFacts&) -> std::string {
         return "--dormant-decay-when sparse acts on steps whose stream is sparse, and with "
                "--weights-draw layer a step has more than one stream: give --dormant-decay-when "
                "always";
       }},
      {"uneven_turns", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) { return level_where(f, uneven_turns) != nullptr; },
       [](const RunFacts& f) {
         const Level level = *level_where(f, uneven_turns);
         const Schedule& schedule = policies_at(f, level).schedule;
         return fmt::format(
             "--{0}-draw turns gives each stream half of the steps, and --{0}-p is {1}{2}: leave "
             "it at 0.5, constant",
             level_name(level), schedule.p,
             schedule.shape == Schedule::Shape::kConstant ? "" : ", moving");
       }},
      {"phases_out_of_order", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) { return level_where(f, phases_descend) != nullptr; },
       [](const RunFacts& f) {
         const Level level = *level_where(f, phases_descend);
         return fmt::format("--{} {}: shares of the run must ascend",
                            level == Level::kWeights ? "phases" : "attention-phases",
                            fmt::join(policies_at(f, level).schedule.phases, ","));
       }},
      {"stale_zeros", kRefusedPolicies, kOfWeights,
       [](const RunFacts& f) {
         return f.weights.topology.newborn_stale && f.weights.dormant_stay_zero();
       },
       [](const RunFacts&) -> std::string {
         return "--grow-init stale resumes what a weight held while it was dormant, and dormant "
                "weights are zero: give --dormant-value hold, or --grow-init zero";
       }},
  };
}

}  // namespace

std::vector<Rule> weights_rules() {
  std::vector<Rule> all;
  for (const auto& part : {superset_rules(), nested_rules(), alignment_rules(), stream_rules()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

std::vector<Rule> divergence_rules() {
  return {
      {"one_sided_weights", Rule::Verdict::kWarned, kOfWeights,
       [](const RunFacts& f) {
         const Alignment& alignment = f.weights.alignment;
         return alignment.alpha > 0 && !alignment.propagated && alignment.lambda_full == 0 &&
                alignment.lambda_sparse > 0;
       },
       [](const RunFacts&) -> std::string {
         return "weights_lambda_full = 0 with a local counterpart is known to diverge: the pull of "
                "the sparse stream toward the full one moves the active weights, on which their "
                "difference does not depend, so nothing restores it. Give weights_lambda_full > 0, "
                "or align the logits with --weights-counterpart propagated.";
       }},
      {"one_sided_attention", Rule::Verdict::kWarned, kOfWeights,
       [](const RunFacts& f) {
         const Alignment& alignment = f.attention.alignment;
         return alignment.alpha > 0 &&
                (alignment.lambda_full == 0) != (alignment.lambda_sparse == 0);
       },
       [](const RunFacts&) -> std::string {
         return "one-sided alignment of attention is known to diverge or to collapse (arXiv "
                "2511.20102, table 3): give both attention_lambda_full and "
                "attention_lambda_sparse.";
       }},
      {"attention_of_layers", Rule::Verdict::kWarned, kOfWeights,
       [](const RunFacts& f) { return f.attention.schedule.draws_per_layer(); },
       [](const RunFacts&) -> std::string {
         return "streams of attention that each layer draws are known to diverge (arXiv "
                "2511.20102, table 3): attention_draw = step is the paper's.";
       }},
      {"mixed_networks", Rule::Verdict::kWarned, kOfWeights,
       [](const RunFacts& f) { return f.weights.schedule.draws_per_layer(); },
       [](const RunFacts&) -> std::string {
         return "weights_draw = layer mixes the streams within a pass, so that neither the full "
                "network nor the sparse one is ever trained as a whole. Read both out, or give "
                "--weights-draw step.";
       }},
  };
}

}  // namespace tandem
