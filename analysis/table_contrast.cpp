// Every side's runs are found by conditions alone; seeds pair them.
#include "analysis/table_contrast.h"

#include <fmt/format.h>

#include <algorithm>

#include "analysis/statistics.h"
#include "analysis/table_paired.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

using Group = std::vector<const RunData*>;
using Conditions = std::vector<Condition>;

constexpr double kLevel = 0.05, kPower = 0.8;

// The conditions but for what `changes` says; one without a value drops its key.
Conditions changed(Conditions conditions, const Conditions& changes) {
  for (const Condition& change : changes) {
    std::erase_if(conditions, [&](const Condition& c) { return c.key == change.key; });
    if (change.values != std::vector<std::string>{""}) conditions.push_back(change);
  }
  return conditions;
}

std::string text_of(const Conditions& conditions) {
  std::vector<std::string> pairs;
  for (const Condition& c : conditions) pairs.push_back(c.key + "=" + join(c.values, "|"));
  return join(pairs, " ");
}

Group runs_that_meet(const Contrast& contrast, const RunSet& set, const Conditions& conditions) {
  for (const Condition& c : conditions) {
    if (std::find(set.column_names.begin(), set.column_names.end(), c.key) ==
        set.column_names.end())
      throw ConfigError(did_you_mean("key of contrast " + contrast.name, c.key, set.column_names));
  }
  Group group;
  for (const RunData& run : set.runs) {
    const bool meets = std::all_of(conditions.begin(), conditions.end(), [&](const Condition& c) {
      return std::any_of(c.values.begin(), c.values.end(), [&](const std::string& value) {
        return same_value(run.column(c.key), value);
      });
    });
    if (meets) group.push_back(&run);
  }
  if (group.empty())
    throw ConfigError(fmt::format("contrast {}: no run that is done or diverged has {}",
                                  contrast.name, text_of(conditions)));
  return group;
}

// Of, reference; with a second vs, likewise under what it says.
std::vector<Group> sides(const Contrast& contrast, const RunSet& set) {
  std::vector<Conditions> wanted = {contrast.of, changed(contrast.of, contrast.versus[0])};
  if (contrast.versus.size() == 2) {
    for (std::size_t i = 0; i < 2; ++i) wanted.push_back(changed(wanted[i], contrast.versus[1]));
  }
  std::vector<Group> groups;
  for (const Conditions& each : wanted) groups.push_back(runs_that_meet(contrast, set, each));
  return groups;
}

struct Pairs {
  std::vector<double> first, second;  // of each seed that all sides have
  std::vector<std::string> runs, reference, diverged;
  std::size_t lost = 0;
};

Pairs paired(const Contrast& contrast, const std::vector<Group>& groups, const std::string& split,
             const std::vector<std::string>& seed_names) {
  std::vector<std::map<std::vector<std::string>, const RunData*>> by;
  for (const Group& group : groups) by.push_back(by_seed(group, seed_names, contrast.measure));
  Pairs pairs;
  for (const auto& [seeds, run] : by.front()) {
    std::vector<const RunData*> of_seed;
    for (const auto& side : by) {
      const auto found = side.find(seeds);
      if (found != side.end()) of_seed.push_back(found->second);
    }
    if (of_seed.size() != groups.size()) continue;
    std::vector<double> values;
    bool lost = false;
    for (const RunData* each : of_seed) {
      if (each->diverged()) pairs.diverged.push_back(each->id);
      lost = lost || each->diverged();
      const auto value = value_of(*each, contrast.measure, split);
      if (value) values.push_back(*value);
    }
    pairs.lost += lost;
    if (lost || values.size() != groups.size()) continue;
    const bool twice = groups.size() == 4;
    pairs.first.push_back(twice ? values[0] - values[1] : values[0]);
    pairs.second.push_back(twice ? values[2] - values[3] : values[1]);
    pairs.runs.push_back(of_seed[0]->id);
    pairs.reference.push_back(of_seed[1]->id);
    if (!twice) continue;
    pairs.runs.push_back(of_seed[3]->id);
    pairs.reference.push_back(of_seed[2]->id);
  }
  return pairs;
}

TableCell side_cell(const std::vector<double>& values, const Measure& measure,
                    const NumberText& text) {
  const Summary s = summarize(values);
  TableCell cell;
  cell.n = cell.n_values = s.n;
  if (s.n == 0) return cell;
  cell.mean = s.mean;
  cell.half = s.half;
  cell.text = text(s.mean, measure);
  if (s.half) cell.text += " ± " + text(*s.half, measure);
  return cell;
}

}  // namespace

ContrastRow contrast_row(const Contrast& contrast, const RunSet& set, const std::string& split,
                         const std::vector<std::string>& seed_names, const NumberText& text) {
  const Measure& measure = contrast.measure;
  ContrastRow made;
  made.groups = sides(contrast, set);
  const Pairs pairs = paired(contrast, made.groups, split, seed_names);
  const PairedTest test = paired_t(pairs.first, pairs.second);
  made.row.keys = {contrast.name, contrast.text + (is_share(measure) ? " (%)" : "")};
  TableCell difference;
  difference.runs = pairs.runs;
  difference.reference = pairs.reference;
  difference.diverged = pairs.diverged;
  difference.n_values = test.n;
  difference.n = test.n + pairs.lost;
  TableCell detectable = difference;
  if (test.n > 0) {
    difference.mean = test.mean_difference;
    difference.half = test.half;
    difference.p = test.p;
    difference.text = (test.mean_difference > 0 ? "+" : "") + text(test.mean_difference, measure);
    if (test.half) difference.text += " ± " + text(*test.half, measure);
    if (test.p) difference.text += fmt::format(" ({})", p_text(*test.p));
    if (pairs.lost > 0)
      difference.marks.push_back(
          fmt::format("({} of {} pairs diverged)", pairs.lost, difference.n));
  }
  if (test.sd) detectable.mean = detectable_difference(*test.sd, test.n, kLevel, kPower);
  if (detectable.mean) detectable.text = text(*detectable.mean, measure);
  made.row.cells = {side_cell(pairs.first, measure, text), side_cell(pairs.second, measure, text),
                    difference, detectable};
  return made;
}

std::vector<std::string> contrast_keys() { return {"contrast", "what"}; }

std::vector<Measure> contrast_columns() {
  std::vector<Measure> columns;
  for (const char* name : {"of", "reference", "difference", "detectable"}) {
    Measure column;
    column.text = column.label = column.name = name;
    column.kind = Measure::Kind::kRun;
    columns.push_back(column);
  }
  columns[2].versus = {{"reference", {"second"}}};
  return columns;
}

std::string contrast_note() {
  return fmt::format(
      "A contrast with two vs compares differences: of and reference are the first vs's, with and "
      "without the second. Detectable: the true difference that the paired t test finds with "
      "probability {:g} at {:g}%, given the spread and n here.",
      kPower, 100 * kLevel);
}

}  // namespace tandem
