// The registry of probes, and which of them a run has.
#include "probes/probe.h"

#include <algorithm>

#include "config/option.h"
#include "policy/rules.h"
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

std::vector<std::string> copying_probes(const std::vector<ReadoutRun>& runs) {
  std::vector<std::string> names;
  for (const auto& [name, probe] : chosen_probes(runs)) {
    if (probe->reads_dense_weights()) names.push_back(name);
  }
  return names;
}

void check_dense_readers(Model& model, const std::vector<ReadoutRun>& runs) {
  const std::string too_large = too_large_to_copy(model);
  if (too_large.empty()) return;
  const bool at_budget = keeps_own_nets(model, runs, trained_density(runs));
  const std::vector<std::string> names = copying_probes(runs);
  for (const ReadoutRun& run : runs) {
    RunFacts facts{run.policies.weights, run.policies.attention, &run.config};
    facts.too_large_to_copy = too_large;
    facts.begins_at_budget = at_budget;
    facts.copying_probes = names;
    check_rules({"curve_too_large", "read_out_too_large", "probes_too_large"}, facts);
  }
}

}  // namespace tandem
