// Dense training. The mask plays no part in it; the sparse read-out prunes once by magnitude at the
// end ("one-shot"), to the same budget that the sparse methods train at.
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies dense(const Config& config) {
  Policies policies;
  policies.start = start_of(config, Start::Pattern::kDense);
  return policies;
}

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "dense",
                           .summary = "full stream only; pruned once by magnitude at read-out",
                           .cite = "",
                           .file = __FILE__},
                          dense);

}  // namespace
}  // namespace tandem
