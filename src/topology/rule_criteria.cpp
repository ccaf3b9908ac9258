#include "topology/rule_criteria.h"

#include "policy/demands.h"

namespace tandem {

std::vector<Criterion> criteria_of(const TopologyRule& rule) {
  std::vector<Criterion> all;
  for (const std::string& name : criteria_read(rule)) all.push_back(criterion(name));
  for (std::size_t i = 0; i < rule.operations.size(); ++i) {
    all[i].parameter = rule.operations[i].parameter;
  }
  return all;
}

}  // namespace tandem
