// With superset_outside = zero a run holds no more than B: what leaves it is forgotten, what enters
// it is newborn, and the mask is ranked within it. So the sparse storage can serve it.
#include "methods/superset.h"

#include "config/option.h"
#include "config/part.h"

namespace tandem {
namespace {

TANDEM_REGISTERED =
    declare_option({.name = "superset_outside",
                    .type = OptionType::kChoice,
                    .default_value = "hold",
                    .neutral = "hold",
                    .help = "weights outside the superset: they hold their values, or are zero and "
                            "enter it as newborn ones",
                    .choices = {"hold", "zero"},
                    .of_part = true,
                    .group = "weights level"});

}  // namespace

void set_superset(const Config& config, double density, Sets& sets) {
  sets.superset = density;
  sets.outside_zero = config.text("superset_outside") == "zero";
}

}  // namespace tandem
