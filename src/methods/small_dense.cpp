// A dense net with as many weights as the sparse ones of the given widths and density, within one
// unit's: its layers are narrower (widths_match; src/nn says how each model shrinks). The baseline
// of every sparse method: does it use its weights better than fewer units would?
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies small_dense(const Config& config) {
  Policies policies;
  policies.start = start_of(config, Start::Pattern::kDense);
  return policies;
}

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "small_dense",
                           .summary = "a dense net of as many weights, with narrower layers",
                           .cite = "",
                           .revision = 2,
                           .defaults = {{"widths_match", "density"}},
                           .uses = {"widths_match"},
                           .file = __FILE__},
                          small_dense);

}  // namespace
}  // namespace tandem
