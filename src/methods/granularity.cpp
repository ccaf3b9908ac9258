// Granularities of a topology. Every method reads them, since they are part of its start. Under
// fan_in and n_m each unit, or group of a unit's inputs, has a quota of its own, so that neither a
// ranking of the whole net nor a layer's growing budget can be kept; blocks are chosen like
// weights.
#include "methods/granularity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "config/option.h"
#include "core/error.h"

namespace tandem {
namespace {

using Kind = Granularity::Kind;
using enum OptionType;

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
                    .group = "weights level"}) &&
    declare_option({.name = "nm_m",
                    .type = kInt,
                    .default_value = "4",
                    .neutral = "4",
                    .help = "granularity n_m: inputs of a group",
                    .minimum = 1,
                    .group = "weights level"}) &&
    declare_option({.name = "granularity_block",
                    .type = kInt,
                    .default_value = "4",
                    .neutral = "4",
                    .help = "granularity block: inputs and outputs of a block",
                    .unit = "weights",
                    .minimum = 1,
                    .group = "weights level"});

bool has_quotas(const Granularity& granularity) {
  return granularity.kind == Kind::kFanIn || granularity.kind == Kind::kNm;
}

std::string option_of(const Granularity& granularity) {
  if (granularity.kind == Kind::kFanIn) return "--granularity fan_in";
  return fmt::format("--granularity n_m (--nm-n {}, --nm-m {})", granularity.n, granularity.m);
}

void check_density(const Start& start) {
  const Granularity& granularity = start.granularity;
  if (granularity.kind != Kind::kNm) return;
  const double share = static_cast<double>(granularity.n) / static_cast<double>(granularity.m);
  if (std::abs(start.density - share) > 1e-9) {
    throw ConfigError(
        fmt::format("--density {} with {}, which keeps {} of the weights: give --density {}",
                    start.density, option_of(granularity), share, share));
  }
  if (std::abs(start.first_density() - share) > 1e-9) {
    throw ConfigError(
        fmt::format("{} keeps {} of the weights at every step, and this method starts at density "
                    "{}: give it a start at that density, or another granularity",
                    option_of(granularity), share, start.first_density()));
  }
}

void check_operation(const Granularity& granularity, const TopologyOperation& operation) {
  const std::string own = option_of(granularity);
  if (operation.whole_net) {
    throw ConfigError(own +
                      " gives each layer quotas of its own, and this method ranks the whole "
                      "net: give --granularity element or block, or a method that ranks "
                      "within layers");
  }
  if (operation.kind == TopologyOperation::Kind::kGrowTo) {
    throw ConfigError(own +
                      " keeps its quotas at every step, and this method holds more weights than "
                      "its budget for a while: give --granularity element or block");
  }
  const bool prunes = operation.kind == TopologyOperation::Kind::kPruneTo;
  if (prunes && granularity.kind == Kind::kNm) {
    throw ConfigError(own +
                      " has one density, and this method prunes step by step: give "
                      "--granularity fan_in, block or element");
  }
}

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
  if (granularity.n > granularity.m) {
    throw ConfigError(fmt::format("--nm-n {} of --nm-m {} inputs: give at most {}", granularity.n,
                                  granularity.m, granularity.m));
  }
  return granularity;
}

void check_granularity(const Start& start, const TopologyRule& rule) {
  const Granularity& granularity = start.granularity;
  check_density(start);
  for (const TopologyOperation& operation : rule.operations) {
    if (has_quotas(granularity)) check_operation(granularity, operation);
    if (granularity.kind == Kind::kBlock && operation.sampled) {
      throw ConfigError(
          "--granularity block: this method draws single weights in proportion to their scores: "
          "take them in order, or give --granularity element");
    }
    if (granularity.kind == Kind::kBlock && operation.criterion == "set_signed") {
      throw ConfigError(
          "--granularity block: a block has weights of both signs, and drop_rule "
          "set_signed takes a share of each: give --drop-rule magnitude");
    }
  }
  if (has_quotas(granularity) && rule.redistribution != TopologyRule::Redistribution::kNone) {
    throw ConfigError(option_of(granularity) +
                      " gives each layer quotas of its own, and this method moves connections "
                      "between layers: give --granularity element or block");
  }
}

}  // namespace tandem
