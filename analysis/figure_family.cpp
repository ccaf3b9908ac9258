// Metrics whose names differ in a number, against that number: metric:recall_sparse_*@attention is
// recall by the distance of what is asked for. A panel for each family, a line for each method,
// mean over seeds with Student's 95% band.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "analysis/figure.h"
#include "analysis/figure_lines.h"
#include "config/part.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr double kDoublings = 8;  // from this ratio of numbers on the axis has their logarithm

struct Family {
  Measure measure;  // with * in its name
  std::vector<std::pair<double, Measure>> members;
};

// The member of the family that has this name.
std::optional<double> member_number(const std::string& family, const std::string& name) {
  const std::size_t star = family.find('*');
  const std::string before = family.substr(0, star), after = family.substr(star + 1);
  if (name.size() <= before.size() + after.size() || name.rfind(before, 0) != 0 ||
      name.compare(name.size() - after.size(), after.size(), after) != 0) {
    return std::nullopt;
  }
  return parse_real(name.substr(before.size(), name.size() - before.size() - after.size()));
}

Family family_of(const Measure& measure, const std::vector<std::string>& names) {
  const bool is_metric =
      measure.kind == Measure::Kind::kMetric || measure.kind == Measure::Kind::kAverage;
  if (!is_metric || std::count(measure.name.begin(), measure.name.end(), '*') != 1) {
    throw ConfigError(
        fmt::format("{}: a family is a metric with one * where its names have a number, such as "
                    "metric:recall_sparse_*@attention",
                    measure.text));
  }
  Family family{measure, {}};
  for (const std::string& name : names) {
    const auto number = member_number(measure.name, name);
    if (!number) continue;
    Measure member = measure;
    member.name = name;
    family.members.emplace_back(*number, member);
  }
  return family;
}

Figure family_figure(const StoreReader& store, const FigureRuns& runs) {
  if (runs.measures.empty()) {
    throw ConfigError(
        "a family needs --measures, such as --measures 'metric:recall_full_*@attention, "
        "metric:recall_sparse_*@attention'");
  }
  std::vector<std::string> names;
  for (const auto& row : store.query("SELECT name FROM metric_name ORDER BY name").rows)
    names.push_back(row[0]);
  TablePlan plan;
  plan.name = "family";
  plan.grid = runs.grid;
  plan.wanted = runs.wanted;
  plan.where = runs.where;
  std::vector<Family> families;
  for (const Measure& measure : runs.measures) {
    families.push_back(family_of(measure, names));
    for (const auto& [number, member] : families.back().members) plan.measures.push_back(member);
  }
  const RunSet set = select_runs(store, plan);
  const std::string split = split_shown(set, plan);
  std::vector<LinePanel> panels;
  std::vector<std::string> without;
  std::set<double> numbers;
  bool shares = true;  // panels of these have one scale, so that they can be compared
  for (const Family& family : families) {
    const std::vector<Line> lines = lines_of(set, [&](const RunData& run) {
      std::map<double, double> values;
      for (const auto& [number, member] : family.members) {
        if (const auto value = value_of(run, member, split)) values[number] = *value;
      }
      return values;
    });
    for (const Line& line : lines) {
      for (const LinePoint& point : line.points) {
        numbers.insert(point.x);
        shares = shares && point.summary.mean >= 0 && point.summary.mean <= 1;
      }
    }
    if (lines.empty()) {
      without.push_back(family.measure.label);
    } else {
      panels.push_back({family.measure.label, "", lines});
    }
  }
  const bool logarithmic = !numbers.empty() && *numbers.begin() > 0 &&
                           *numbers.rbegin() >= kDoublings * *numbers.begin();
  const LineAxis axis{.label = runs.axis.empty() ? "the number in the name" : runs.axis,
                      .base = logarithmic ? 2 : 0,
                      .values = shares ? "[0:1.05]" : "",
                      .column = "number"};
  Figure figure;
  figure.csv = lines_csv(panels, axis);
  figure.summary = fmt::format("{} panels of {} runs, means over seeds, 95% bands", panels.size(),
                               set.runs.size());
  if (!without.empty())
    figure.summary += fmt::format("; no run has a metric of {}", join(without, ", "));
  const std::string missing = missing_note(set, plan);
  if (!missing.empty()) figure.summary += "; " + missing;
  if (!panels.empty()) draw_lines(panels, axis, figure);
  return figure;
}

TANDEM_REGISTERED =
    declare_figure({.name = "family",
                    .text = "metrics against the number in their names, a panel for each family: "
                            "metric:recall_sparse_*@attention is recall by distance",
                    .make = family_figure,
                    .of_measures = true});

}  // namespace
}  // namespace tandem
