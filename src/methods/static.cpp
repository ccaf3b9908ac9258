// A random sparse topology that never changes: the control of dynamic sparse training.
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies fixed_topology(const Config& config) {
  return sparse_with_zero_dormant(config, Start::Pattern::kRandom);
}

TANDEM_REGISTERED = weights_methods().add({.kind = "weights",
                                           .name = "static",
                                           .summary = "random sparse topology, never changed",
                                           .cite = "",
                                           .file = __FILE__},
                                          fixed_topology);

}  // namespace
}  // namespace tandem
