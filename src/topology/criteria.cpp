// The registry of criteria; each is in a file of its own beside this one.
#include "topology/criteria.h"

#include <map>
#include <string>

#include "policy/criterion_facts.h"

namespace tandem {

Registry<Criterion>& criteria() {
  static Registry<Criterion> registry;
  return registry;
}

const Criterion& criterion(const std::string& name) { return criteria().at("criterion", name); }

namespace {

std::map<std::string, CriterionFacts> facts_of_criteria() {
  std::map<std::string, CriterionFacts> facts;
  for (const auto& [name, each] : criteria().all()) {
    facts[name] = {.gradient = each.needs_gradient,
                   .accumulates = each.accumulate != nullptr,
                   .everywhere = each.everywhere,
                   .inputs = each.needs_inputs,
                   .per_sign = each.per_sign,
                   .draws = each.random || each.needs_uniform || each.of_topology != nullptr,
                   .scored = !each.random,
                   .within_layer = each.needs_uniform || each.of_topology != nullptr};
  }
  return facts;
}

TANDEM_REGISTERED = use_criterion_facts(facts_of_criteria);

}  // namespace
}  // namespace tandem
