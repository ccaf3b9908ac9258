// SRigL (Lasby et al. 2023, arXiv 2305.02299): RigL under a constant fan-in. A layer's smallest
// weights are dropped, wherever they are, and each unit grows back to the fan-in where its dense
// gradient is largest. A unit with few salient weights (see src/topology/ablation.cpp) is ablated:
// it keeps no inputs, and the fan-in of the others rises, so that the layer keeps its connections
// but for a remainder smaller than the number of its units. The bias of an ablated unit stays and
// goes on being trained; so do the weights that read the unit. The last layer is never ablated.
// Where a unit has more survivors than its new fan-in the smallest go; the authors' code, which
// sorts a row of flags there, keeps those that sorting happens to put first.
#include "config/option.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED = declare_option(
    {.name = "ablation",
     .type = OptionType::kReal,
     .default_value = "0.3",
     .neutral = "-1",
     .help = "units with fewer salient weights than this share of the fan-in lose all inputs; 0: "
             "none does",
     .minimum = 0,
     .maximum = 1,
     .of_part = true,
     .group = "weights level"});

Policies srigl(const Config& config) {
  Policies policies = rigl_weights(config);
  policies.start.granularity.ablation = config.real("ablation");
  return policies;
}

std::vector<std::pair<std::string, std::string>> defaults() {
  auto all = rigl_defaults();
  all.insert(all.begin(), {"granularity", "fan_in"});
  return all;
}

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "srigl",
                           .summary = "RigL with as many inputs for every unit, and ablation",
                           .cite = "arXiv:2305.02299",
                           .defaults = defaults(),
                           .uses = drop_and_grow_options({"ablation"}),
                           .file = __FILE__},
                          srigl);

}  // namespace
}  // namespace tandem
