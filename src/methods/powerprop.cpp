// Powerpropagation (Schwarz et al. 2021, arXiv 2110.00296): weights are w = v |v|^(power - 1) and v
// is what gradient descent updates, so that large weights learn faster and small ones stay small;
// the net is dense and pruned once at read-out. power = 2 is the middle of the authors' range.
#include "config/option.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED = declare_option({.name = "power",
                                    .type = OptionType::kReal,
                                    .default_value = "2",
                                    .neutral = "1",
                                    .help = "exponent of powerpropagation",
                                    .minimum = 1,
                                    .maximum = 8,
                                    .of_part = true,
                                    .group = "weights level"});

Policies powerprop(const Config& config) {
  Policies policies;
  policies.power = config.real("power");
  policies.start = start_of(config, Start::Pattern::kDense);
  return policies;
}

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "powerprop",
                           .summary = "dense, w = v |v|^(power - 1); pruned once at read-out",
                           .cite = "arXiv:2110.00296",
                           .uses = {"power"},
                           .file = __FILE__},
                          powerprop);

}  // namespace
}  // namespace tandem
