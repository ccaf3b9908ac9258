#include "topology/rule_reads.h"

namespace tandem {

std::vector<Criterion> criteria_of(const TopologyRule& rule) {
  std::vector<Criterion> all;
  for (const TopologyOperation& operation : rule.operations) {
    all.push_back(criterion(operation.criterion));
    all.back().parameter = operation.parameter;
  }
  if (rule.redistribution == TopologyRule::Redistribution::kAveragedGradient) {
    all.push_back(criterion("averaged_gradient"));
  }
  return all;
}

RuleReads reads_of(const std::vector<Criterion>& criteria) {
  RuleReads reads;
  for (const Criterion& each : criteria) {
    reads.gradient = reads.gradient || each.needs_gradient;
    reads.accumulates = reads.accumulates || each.accumulate != nullptr;
    reads.inputs = reads.inputs || each.needs_inputs;
  }
  return reads;
}

}  // namespace tandem
