#include "topology/rule_reads.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

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

void check_fresh_batches(const TopologyRule& rule) {
  const std::vector<Criterion> own = criteria_of(rule);
  const RuleReads reads = reads_of(own);
  if (rule.fresh_batches == 0 || reads.gradient || reads.inputs) return;
  std::vector<std::string> names, others;
  for (const Criterion& each : own) names.push_back(each.name);
  for (const auto& [name, each] : criteria().all()) {
    if (each.needs_gradient || each.needs_inputs) others.push_back(name);
  }
  throw ConfigError(fmt::format(
      "--growth-batches {}: an update would read gradients or inputs of batches of its own, and "
      "this method ranks by {}, which read neither in an update: give --growth-batches 0, or a "
      "method that ranks by one of {}",
      rule.fresh_batches, names.empty() ? "nothing" : join(names, ", "), join(others, ", ")));
}

}  // namespace tandem
