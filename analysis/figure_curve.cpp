// How a trained net does at smaller and larger budgets than its own: one panel per trained density,
// one line per method: accuracy against the density that trained nets are read out at, mean over
// seeds with Student's 95% band. The runs of a line differ in their seeds alone.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "analysis/figure.h"
#include "analysis/figure_labels.h"
#include "analysis/figure_lines.h"
#include "analysis/query.h"
#include "analysis/run_data.h"
#include "config/data_score.h"
#include "config/part.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr double kFactors[] = {0.25, 0.5, 1, 2, 4};
// Between budgets that a line joins: they double, up to the full one. A line is broken where it
// lacks a budget that another one of its panel has, too.
constexpr double kFarthest = 3;

struct Curve {
  double density = 0;
  Line line;
};

Measure measure_at(const std::string& name, const std::string& attention, double factor) {
  const std::string readout = factor == 1 ? "sparse"
                                          : "sparse" + (factor < 1 ? "/" + real_to_text(1 / factor)
                                                                   : "*" + real_to_text(factor));
  return parse_measure(name + "@attention=" + attention + ",weights=" + readout);
}

using Groups = std::map<std::pair<double, std::string>, std::vector<const RunData*>>;

Groups groups_of(const RunSet& set, const std::vector<std::string>& keys) {
  Groups groups;
  for (const RunData& run : set.runs) {
    const double density = parse_real(run.column("density")).value_or(1);
    groups[{-density, label_of(run, keys)}].push_back(&run);
  }
  return groups;
}

LinePoint point_of(const std::vector<const RunData*>& runs, const Measure& measure,
                   const std::string& split, double budget, double scale) {
  std::vector<double> values;
  std::vector<std::string> ids;
  for (const RunData* run : runs) {
    if (run->diverged()) continue;
    const auto value = value_of(*run, measure, split);
    if (!value) continue;
    values.push_back(scale * *value);
    ids.push_back(run->id);
  }
  return line_point(budget, values, std::move(ids));
}

std::vector<Curve> curves_of(const RunSet& set, const std::string& name, const std::string& split,
                             double scale) {
  const Groups groups = groups_of(set, label_keys(set, {"weights"}, {"density"}));
  std::vector<Curve> curves;
  for (const auto& [key, runs] : groups) {
    const double density = -key.first;
    // Of nets with attention the densities of a curve may be read through one of its read-outs
    // alone; a line keeps to one of them, to that which has most points.
    std::vector<LinePoint> points;
    for (const char* attention : {"full", "sparse"}) {
      std::vector<LinePoint> own;
      const auto add = [&](const Measure& measure, double budget) {
        LinePoint point = point_of(runs, measure, split, budget, scale);
        if (point.summary.n > 0) own.push_back(std::move(point));
      };
      for (const double factor : kFactors)
        add(measure_at(name, attention, factor), density * factor);
      add(parse_measure(fmt::format("{}@attention={},weights=full", name, attention)), 1);
      if (own.size() > points.size()) points = std::move(own);
    }
    if (!points.empty()) curves.push_back({density, {key.second, std::move(points)}});
  }
  return curves;
}

std::string csv_of(const std::vector<Curve>& curves, const std::string& name) {
  std::string text = csv_line({"method", "density", "budget", name, "ci95_half", "n", "runs"});
  for (const Curve& curve : curves) {
    for (const LinePoint& point : curve.line.points) {
      const Summary& s = point.summary;
      text +=
          csv_line({curve.line.label, real_to_text(curve.density), fmt::format("{:.8g}", point.x),
                    fmt::format("{:.8g}", s.mean), s.half ? fmt::format("{:.8g}", *s.half) : "",
                    std::to_string(s.n), join(point.runs, " ")});
    }
  }
  return text;
}

// By falling density; curves are in that order.
std::vector<LinePanel> panels_of(const std::vector<Curve>& curves, const std::string& scale,
                                 bool accuracies) {
  std::vector<LinePanel> panels;
  double density = 0;
  for (const Curve& curve : curves) {
    if (panels.empty() || curve.density != density) {
      density = curve.density;
      panels.push_back({"trained at density " + real_to_text(density), scale, {}, accuracies});
    }
    panels.back().lines.push_back(curve.line);
  }
  return panels;
}

Figure curve_figure(const StoreReader& store, const FigureRuns& runs) {
  TablePlan plan;
  plan.name = "curve";
  plan.grid = runs.grid;
  plan.wanted = runs.wanted;
  plan.where = runs.where;
  plan.measures = {parse_measure("accuracy@full")};
  const RunSet set = select_runs(store, plan);
  const auto all = [&set](const auto& holds) {
    return std::all_of(set.runs.begin(), set.runs.end(), holds);
  };
  const bool bytes = all([](const RunData& run) { return told_in_bits(run.column("data")); });
  const std::string split = split_shown(set, plan);
  const std::string name = bytes ? "bits_per_byte" : "accuracy";
  const std::vector<Curve> curves = curves_of(set, name, split, bytes ? 1 : 100);
  Figure figure;
  figure.csv = csv_of(curves, name + (bytes ? "" : "_percent"));
  figure.summary = fmt::format("{} lines of {} runs, {} split, 95% bands", curves.size(),
                               set.runs.size(), split);
  const std::string missing = missing_note(set, plan);
  if (!missing.empty()) figure.summary += "; " + missing;
  if (!curves.empty()) {
    const std::string scale = split + (bytes ? " loss (bits per byte)" : " accuracy (%)");
    draw_lines(panels_of(curves, scale, !bytes),
               {.label = "density at read-out (1: the full stream)",
                .base = 10,
                .range = "[*:1.2]",
                .complete = true,
                .farthest = kFarthest},
               figure);
  }
  return figure;
}

TANDEM_REGISTERED = declare_figure(
    {.name = "curve",
     .text = "accuracy (spaced by the logarithm of the error) against the density of the read-out, "
             "mean and Student's 95% band over seeds",
     .make = curve_figure});

}  // namespace
}  // namespace tandem
