#include "analysis/wanted_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "config/option.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr std::size_t kMostGroups = 8;  // groups of missing runs

// Options that were said to be two things at least; what only some runs say follows from the rest.
std::set<std::string> axes_of(const std::vector<Settings>& said) {
  std::map<std::string, std::set<std::string>> values;
  for (const Settings& each : said) {
    for (const auto& [name, value] : each) {
      if (!is_of_repetition(name)) values[name].insert(value);
    }
  }
  std::set<std::string> axes;
  for (const auto& [name, had] : values) {
    if (had.size() > 1) axes.insert(name);
  }
  return axes;
}

}  // namespace

WantedRuns told_apart(WantedRuns wanted, const std::vector<Settings>& said) {
  const std::set<std::string> axes = axes_of(said);
  for (std::size_t i = 0; i < wanted.runs.size(); ++i) {
    std::vector<std::string> parts;
    for (const auto& [name, value] : said[i]) {
      if (axes.count(name)) parts.push_back(name + "=" + value);
    }
    wanted.runs[i].what = join(parts, " ");
  }
  return wanted;
}

std::string missing_text(const std::vector<MissingRun>& missing) {
  std::vector<std::pair<std::string, std::string>> order;  // what, state
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> seeds;
  for (const MissingRun& run : missing) {
    const auto key = std::pair(run.what, run.state);
    if (seeds[key].empty()) order.push_back(key);
    seeds[key].push_back(run.seed);
  }
  std::vector<std::string> parts;
  std::size_t told = 0;
  for (const auto& key : order) {
    if (parts.size() == kMostGroups) break;
    const auto& of_key = seeds[key];
    told += of_key.size();
    parts.push_back(fmt::format("{}{}seed {} ({})", key.first, key.first.empty() ? "" : " ",
                                join(of_key, ", "), key.second));
  }
  if (told < missing.size()) parts.push_back(fmt::format("and {} more", missing.size() - told));
  return join(parts, "; ");
}

std::string option_text(const std::string& column, const std::string& stored, bool null) {
  const Option* option = find_option(column);
  if (option == nullptr || option->scope != OptionScope::kRun) return stored;
  if (null) return option->neutral;
  if (option->type != OptionType::kFlag) return stored;
  return stored == "1" ? "true" : stored == "0" ? "false" : stored;
}

bool same_value(const std::string& a, const std::string& b) {
  if (a == b) return true;
  const auto x = parse_real(a), y = parse_real(b);
  return x && y && *x == *y;
}

bool holds(const Condition& condition, const std::string& value) {
  return std::any_of(condition.values.begin(), condition.values.end(),
                     [&value](const std::string& wanted) { return same_value(value, wanted); });
}

bool may_meet(const Config& run, const std::vector<Condition>& conditions,
              const std::set<std::string>& open) {
  return std::all_of(conditions.begin(), conditions.end(), [&](const Condition& condition) {
    const std::string* value_there = run.find(condition.key);
    if (value_there == nullptr || open.count(condition.key)) return true;
    return holds(condition, *value_there);
  });
}

}  // namespace tandem
