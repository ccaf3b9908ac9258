// Measures over training: a panel for each, a line for each method, mean over seeds with Student's
// 95% band. Evaluations come from `eval_every`, `curve` and the ends of tasks, metrics from what is
// logged and from `probe_every`.
#include <fmt/format.h>

#include <algorithm>

#include "analysis/figure.h"
#include "analysis/figure_lines.h"
#include "config/data_score.h"
#include "config/part.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

// What is drawn where nobody says what.
Measure own_measure(const RunSet& set) {
  const bool bits =
      !set.runs.empty() && std::all_of(set.runs.begin(), set.runs.end(), [](const RunData& run) {
        return told_in_bits(run.column("data"));
      });
  return parse_measure(bits ? "bits_per_byte@own" : "accuracy@own");
}

std::string scale_text(const Measure& measure, const std::string& split) {
  if (measure.kind != Measure::Kind::kEval) return "";  // the title says it
  if (is_share(measure)) return split + " accuracy (%)";
  return measure.name == "loss" ? split + " loss (nats)" : split + " loss (bits per byte)";
}

Figure course_figure(const StoreReader& store, const FigureRuns& runs) {
  TablePlan plan;
  plan.name = "course";
  plan.grid = runs.grid;
  plan.wanted = runs.wanted;
  plan.where = runs.where;
  plan.series = true;
  plan.measures = runs.measures;
  if (plan.measures.empty()) plan.measures = {parse_measure("accuracy@own")};
  const RunSet set = select_runs(store, plan);
  if (runs.measures.empty()) plan.measures = {own_measure(set)};
  // The test split is read at the end alone, so that a course is one of the validation split.
  const std::string split = "validation";
  std::vector<LinePanel> panels;
  std::vector<std::string> without;
  for (const Measure& measure : plan.measures) {
    const double scale = is_share(measure) ? 100 : 1;
    const std::vector<Line> lines = lines_of(set, [&](const RunData& run) {
      std::map<double, double> values;
      for (const auto& [step, value] : series_of(run, measure, split))
        values[static_cast<double>(step)] = scale * value;
      return values;
    });
    const bool moves = std::any_of(lines.begin(), lines.end(),
                                   [](const Line& line) { return line.points.size() > 1; });
    if (moves) {
      panels.push_back({measure.label, scale_text(measure, split), lines});
    } else {
      without.push_back(measure.label);
    }
  }
  const LineAxis axis{.label = runs.axis.empty() ? "steps" : runs.axis, .column = "step"};
  Figure figure;
  figure.csv = lines_csv(panels, axis);
  figure.summary = fmt::format("{} panels of {} runs, means over seeds, 95% bands", panels.size(),
                               set.runs.size());
  if (!without.empty()) {
    figure.summary += fmt::format(
        "; without a course, since no run has values at two steps or more: {} (eval_every says "
        "after how many epochs runs are evaluated, probe_every after how many steps they are "
        "probed)",
        join(without, ", "));
  }
  const std::string missing = missing_note(set, plan);
  if (!missing.empty()) figure.summary += "; " + missing;
  if (!panels.empty()) draw_lines(panels, axis, figure);
  return figure;
}

TANDEM_REGISTERED = declare_figure(
    {.name = "course",
     .text = "measures over training, a panel for each, mean and Student's 95% band over seeds",
     .make = course_figure,
     .of_measures = true});

}  // namespace
}  // namespace tandem
