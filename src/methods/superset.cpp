// With superset_outside = zero a run holds no more than B: what leaves it is forgotten, what enters
// it is newborn, and the mask is ranked within it. So the sparse storage can serve it.
#include "methods/superset.h"

#include "config/option.h"
#include "core/error.h"
#include "methods/granularity.h"

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
  const bool zero = config.text("superset_outside") == "zero";
  if (density == 0) {
    if (!zero) return;
    throw ConfigError(
        "--superset-outside zero is of weights outside a superset, and this run has none: give "
        "--superset-density as well");
  }
  if (density < config.real("density")) {
    throw ConfigError("--superset-density " + config.text("superset_density") +
                      " is below --density " + config.text("density") +
                      ": the superset holds the mask, so give as much or more");
  }
  if (zero && granularity_of(config).kind == Granularity::Kind::kBlock) {
    throw ConfigError(
        "--superset-outside zero ranks within a superset of single weights, and --granularity "
        "block chooses whole blocks: give --superset-outside hold, or another granularity");
  }
  sets.superset = density;
  sets.outside_zero = zero;
}

}  // namespace tandem
