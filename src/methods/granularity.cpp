// Granularities of a topology. Every method reads them, since they are part of its start. Under
// fan_in and n_m each unit, or group of a unit's inputs, has a quota of its own, so that neither a
// ranking of the whole net nor a layer's growing budget can be kept; blocks are chosen like
// weights.
#include "methods/granularity.h"

#include "config/option.h"
#include "config/part.h"

namespace tandem {
namespace {

using Kind = Granularity::Kind;
using enum OptionType;
constexpr double kMostInputs = 1 << 20;  // of one group or block

TANDEM_REGISTERED =
    declare_option({.name = "granularity",
                    .type = kChoice,
                    .default_value = "element",
                    .neutral = "element",
                    .help = "what is active or dormant as one: each weight; as many inputs for "
                            "every unit; nm_n of each nm_m inputs; blocks",
                    .choices = {"element", "fan_in", "n_m", "block"},
                    .group = "weights level"}) &&
    declare_option({.name = "nm_n",
                    .type = kInt,
                    .default_value = "2",
                    .neutral = "2",
                    .help = "granularity n_m: active inputs of each nm_m consecutive ones",
                    .minimum = 1,
                    .maximum = kMostInputs,
                    .group = "weights level"}) &&
    declare_option({.name = "nm_m",
                    .type = kInt,
                    .default_value = "4",
                    .neutral = "4",
                    .help = "granularity n_m: inputs of a group",
                    .minimum = 1,
                    .maximum = kMostInputs,
                    .group = "weights level"}) &&
    declare_option({.name = "granularity_block",
                    .type = kInt,
                    .default_value = "4",
                    .neutral = "4",
                    .help = "granularity block: inputs and outputs of a block",
                    .unit = "weights",
                    .minimum = 1,
                    .maximum = kMostInputs,
                    .group = "weights level"});

}  // namespace

Granularity granularity_of(const Config& config) {
  Granularity granularity;
  const std::string& said = config.text("granularity");
  granularity.kind = said == "fan_in"  ? Kind::kFanIn
                     : said == "n_m"   ? Kind::kNm
                     : said == "block" ? Kind::kBlock
                                       : Kind::kElement;
  granularity.n = config.integer("nm_n");
  granularity.m = config.integer("nm_m");
  granularity.block = config.integer("granularity_block");
  return granularity;
}

}  // namespace tandem
