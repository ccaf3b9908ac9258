#include "analysis/figure_labels.h"

#include <algorithm>
#include <map>

#include "analysis/query.h"
#include "config/option.h"
#include "config/part.h"
#include "core/text.h"

namespace tandem {
namespace {

bool is_one_of(const std::string& name, const std::vector<std::string>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Whether runs of one label, and alike in what is shown apart, have several values of the column.
bool differs_within(const RunSet& set, const std::vector<std::string>& keys,
                    const std::vector<std::string>& apart, const std::string& name) {
  std::map<std::vector<std::string>, std::string> seen;
  return std::any_of(set.runs.begin(), set.runs.end(), [&](const RunData& run) {
    std::vector<std::string> place = {label_of(run, keys)};
    for (const std::string& each : apart) place.push_back(run.column(each));
    const auto [found, added] = seen.emplace(place, run.column(name));
    return !added && found->second != run.column(name);
  });
}

// Of an option that nothing of the run reads, or that does nothing.
bool is_stand_in(const std::string& key, const std::string& value) {
  const Option* option = find_option(key);
  return option != nullptr && option->of_part && option->neutral == value;
}

}  // namespace

std::vector<std::string> label_keys(const RunSet& set, const std::vector<std::string>& first,
                                    const std::vector<std::string>& apart) {
  std::vector<std::string> candidates = {"attention", "strategy", "match",   "tuned_for",
                                         "data",      "model",    "scenario"};
  // What tuning chooses comes last: it differs with whatever else does.
  const std::vector<std::string> chosen = {"lr", "weight_decay"};
  for (const std::string& name : set.column_names) {
    if (!is_of_repetition(name) && !is_outcome(name) && !is_one_of(name, chosen))
      candidates.push_back(name);
  }
  candidates.insert(candidates.end(), chosen.begin(), chosen.end());
  std::vector<std::string> keys = first;
  for (const std::string& name : candidates) {
    if (is_one_of(name, keys) || is_one_of(name, apart)) continue;
    if (differs_within(set, keys, apart, name)) keys.push_back(name);
  }
  return keys;
}

std::string label_of(const RunData& run, const std::vector<std::string>& keys) {
  std::vector<std::string> words;
  for (const std::string& key : keys) {
    const std::string& value = run.column(key);
    if (key == "tuned_for") {
      if (value != "own") words.push_back("tuned for " + value);
    } else if (key == "match") {
      if (value == "train_flops") words.push_back("equal operations");
    } else if (is_part_kind(key)) {
      words.push_back(value);
    } else if (!value.empty() && !is_stand_in(key, value)) {
      words.push_back(key + " " + value);
    }
  }
  return join(words, ", ");
}

}  // namespace tandem
