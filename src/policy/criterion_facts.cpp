#include "policy/criterion_facts.h"

#include <vector>

#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

using FactsOfAll = std::map<std::string, CriterionFacts>;

FactsOfAll (*source)() = nullptr;

}  // namespace

bool use_criterion_facts(FactsOfAll (*facts)()) {
  source = facts;
  return true;
}

const FactsOfAll& all_criterion_facts() {
  static const FactsOfAll all = source == nullptr ? FactsOfAll() : source();
  return all;
}

CriterionFacts criterion_facts(const std::string& name) {
  const auto found = all_criterion_facts().find(name);
  if (found != all_criterion_facts().end()) return found->second;
  const FactsOfAll now = source == nullptr ? FactsOfAll() : source();
  if (const auto added = now.find(name); added != now.end()) return added->second;
  std::vector<std::string> names;
  for (const auto& [each, facts] : all_criterion_facts()) names.push_back(each);
  throw ConfigError(did_you_mean("criterion", name, names));
}

}  // namespace tandem
