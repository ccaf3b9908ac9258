// A control: another random mask every step. The gradient reaches what the mask shows, the others
// coast on momentum and decay; other budgets' masks are drawn at random too. It tells what dropping
// connections at random does (DropConnect, Wan et al. 2013) from what a topology does.
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies random_masks(const Config& config) {
  Policies policies;
  policies.schedule.kind = Schedule::Kind::kSparse;
  policies.sets = {Support::kMask, Support::kAll};
  policies.topology.operations = {{TopologyOperation::Kind::kRank, "random"}};
  policies.topology.interval_steps = config.integer("refresh_interval");
  policies.start = start_of(config, Start::Pattern::kRandom);
  return policies;
}

TANDEM_REGISTERED = weights_methods().add({.kind = "weights",
                                           .name = "random_masks",
                                           .summary = "a control: another random mask every step",
                                           .cite = "",
                                           .revision = 2,
                                           .defaults = {{"refresh_interval", "1"}},
                                           .uses = {"refresh_interval"},
                                           .file = __FILE__},
                                          random_masks);

}  // namespace
}  // namespace tandem
