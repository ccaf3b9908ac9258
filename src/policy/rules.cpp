#include "policy/rules.h"

#include <algorithm>
#include <stdexcept>

#include "core/error.h"

namespace tandem {
namespace {

void refuse_broken(const RunFacts& facts, Rule::Of of) {
  for (const Rule& rule : rules()) {
    if (rule.verdict == Rule::Verdict::kRefused && rule.of == of && rule.breaks(facts)) {
      throw ConfigError(rule.sentence(facts));
    }
  }
}

std::vector<std::string> warnings_of(const RunFacts& facts, Rule::Of of) {
  std::vector<std::string> sentences;
  for (const Rule& rule : rules()) {
    if (rule.verdict == Rule::Verdict::kWarned && rule.of == of && rule.breaks(facts)) {
      sentences.push_back(rule.sentence(facts));
    }
  }
  return sentences;
}

}  // namespace

const std::vector<Rule>& rules() {
  static const std::vector<Rule> all = [] {
    std::vector<Rule> table;
    for (const auto& part : {weights_rules(), topology_rules(), divergence_rules(), run_rules(),
                             data_rules(), unread_rules()}) {
      table.insert(table.end(), part.begin(), part.end());
    }
    return table;
  }();
  return all;
}

void check_policies(const Policies& weights) {
  static const Policies kNone;
  refuse_broken({weights, kNone}, Rule::Of::kPolicies);
}

void check_attention_policies(const Policies& attention) {
  static const Policies kNone;
  refuse_broken({kNone, attention}, Rule::Of::kPolicies);
}

void check_config(const RunFacts& facts) { refuse_broken(facts, Rule::Of::kConfig); }

void check_run(const RunFacts& facts) { refuse_broken(facts, Rule::Of::kRun); }

void check_rules(const std::vector<std::string>& names, const RunFacts& facts) {
  for (const std::string& name : names) {
    const auto rule = std::find_if(rules().begin(), rules().end(),
                                   [&](const Rule& each) { return each.name == name; });
    if (rule == rules().end()) throw std::logic_error("no rule is named '" + name + "'");
    if (rule->breaks(facts)) throw ConfigError(rule->sentence(facts));
  }
}

std::vector<std::string> policy_warnings(const Policies& weights, const Policies& attention) {
  return warnings_of({weights, attention}, Rule::Of::kPolicies);
}

std::vector<std::string> run_warnings(const RunFacts& facts) {
  return warnings_of(facts, Rule::Of::kRun);
}

}  // namespace tandem
