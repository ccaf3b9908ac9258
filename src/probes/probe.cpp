// The registry of probes, and which of them a run has.
#include "probes/probe.h"

#include <algorithm>

#include "config/option.h"
#include "core/error.h"
#include "probes/probe_names.h"

namespace tandem {

Registry<ProbeFactory>& probes() {
  static Registry<ProbeFactory> registry;
  return registry;
}

namespace {

TANDEM_REGISTERED = declare_option(
    {.name = "probes",
     .type = OptionType::kText,
     .default_value = "default",
     .neutral = "default",
     .help = "families of measurements: default, all and names, joined by ',' (tandem list probes)",
     .group = "evaluation"});

}  // namespace

std::vector<NamedProbe> chosen_probes(const std::vector<ReadoutRun>& runs) {
  const std::vector<std::string> names = said_probes(runs.front().config);
  const auto says = [&names](const std::string& name) {
    return std::count(names.begin(), names.end(), name) != 0;
  };
  std::vector<NamedProbe> chosen;
  for (const auto& [name, factory] : probes().all()) {
    if (!says("all") && !says("default") && !says(name)) continue;
    std::unique_ptr<Probe> probe = factory(runs);
    if (!says("all") && !says(name) && !probe->by_default()) continue;
    chosen.emplace_back(name, std::move(probe));
  }
  return chosen;
}

void check_dense_readers(Model& model, const std::vector<ReadoutRun>& runs, bool curve) {
  const std::string too_large = too_large_to_copy(model);
  if (too_large.empty()) return;
  if (curve) {
    throw ConfigError(too_large +
                      "; read-outs at other budgets than the trained one need them: give "
                      "--curve=false");
  }
  if (!keeps_own_nets(model, runs, trained_density(runs))) {
    throw ConfigError(too_large +
                      "; the sparse read-out of a net that is not at its density needs them: give "
                      "a method that starts at its density, or smaller layers");
  }
  const bool probed = std::any_of(runs.begin(), runs.end(), [](const ReadoutRun& run) {
    return run.config.integer("probe_every") > 0;
  });
  if (!probed) return;
  for (const auto& [name, probe] : chosen_probes(runs)) {
    if (!probe->reads_dense_weights()) continue;
    throw ConfigError(too_large + "; the probe '" + name +
                      "' needs them: name other families with --probes, or give --probe-every=0, "
                      "which leaves it out at the end as well");
  }
}

}  // namespace tandem
