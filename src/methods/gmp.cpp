// Gradual magnitude pruning (Zhu & Gupta 2017, arXiv 1710.01878): dense at first, then pruned by
// magnitude to s_t = s_f + (s_i - s_f)(1 - (t - t0)/(t1 - t0))^3, per layer; what is pruned stays
// out.
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies gmp(const Config& config) {
  Policies policies = sparse_with_zero_dormant(config, Start::Pattern::kDense);
  TopologyRule& rule = policies.topology;
  rule.operations = {{TopologyOperation::Kind::kPruneTo, "magnitude", false}};
  rule.budget_schedule = TopologyRule::BudgetSchedule::kCubic;
  rule.interval_steps = config.integer("prune_interval");
  rule.begin = config.real("prune_begin");
  rule.end = config.real("prune_end");
  return policies;
}

const bool registered =
    weights_methods().add({.kind = "weights",
                           .name = "gmp",
                           .summary = "dense at first, pruned by magnitude to a cubic schedule",
                           .cite = "arXiv:1710.01878",
                           .uses = {"prune_begin", "prune_end", "prune_interval"},
                           .file = __FILE__},
                          gmp);

}  // namespace
}  // namespace tandem
