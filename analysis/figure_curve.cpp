// How a trained net does at smaller and larger budgets than its own: one panel per trained density,
// one line per method.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "analysis/figure.h"
#include "analysis/figure_labels.h"
#include "analysis/query.h"
#include "analysis/run_data.h"
#include "analysis/statistics.h"
#include "config/data_score.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr double kFactors[] = {0.25, 0.5, 1, 2, 4};
constexpr double kFarthest = 3;  // between budgets that a line joins: they double, up to the full

struct CurvePoint {
  double budget = 0;
  Summary summary;
  std::vector<std::string> runs;
};

struct Curve {
  std::string label;
  double density = 0;
  std::vector<CurvePoint> points;
};

Measure measure_at(const std::string& name, double factor) {
  const std::string readout = factor == 1 ? "sparse"
                                          : "sparse" + (factor < 1 ? "/" + real_to_text(1 / factor)
                                                                   : "*" + real_to_text(factor));
  return parse_measure(name + "@attention=own,weights=" + readout);
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

CurvePoint point_of(const std::vector<const RunData*>& runs, const Measure& measure,
                    const std::string& split, double budget, double scale) {
  CurvePoint point;
  point.budget = budget;
  std::vector<double> values;
  for (const RunData* run : runs) {
    if (run->diverged()) continue;
    const auto value = value_of(*run, measure, split);
    if (!value) continue;
    values.push_back(scale * *value);
    point.runs.push_back(run->id);
  }
  point.summary = summarize(values);
  return point;
}

std::vector<Curve> curves_of(const RunSet& set, const std::string& name, const std::string& split,
                             double scale) {
  const Groups groups = groups_of(set, label_keys(set, {"weights"}, {"density"}));
  std::vector<Curve> curves;
  for (const auto& [key, runs] : groups) {
    Curve curve{key.second, -key.first, {}};
    const auto add = [&](const Measure& measure, double budget) {
      CurvePoint point = point_of(runs, measure, split, budget, scale);
      if (point.summary.n > 0) curve.points.push_back(std::move(point));
    };
    for (const double factor : kFactors) add(measure_at(name, factor), curve.density * factor);
    add(parse_measure(name + "@attention=own,weights=full"), 1);
    if (!curve.points.empty()) curves.push_back(std::move(curve));
  }
  return curves;
}

std::string csv_of(const std::vector<Curve>& curves, const std::string& name) {
  std::string text = csv_line({"method", "density", "budget", name, "ci95_half", "n", "runs"});
  for (const Curve& curve : curves) {
    for (const CurvePoint& point : curve.points) {
      const Summary& s = point.summary;
      text +=
          csv_line({curve.label, real_to_text(curve.density), fmt::format("{:.8g}", point.budget),
                    fmt::format("{:.8g}", s.mean), s.half ? fmt::format("{:.8g}", *s.half) : "",
                    std::to_string(s.n), join(point.runs, " ")});
    }
  }
  return text;
}

// Budgets that any line of the panel has.
std::set<double> budgets_of(const std::vector<Curve>& curves, double density) {
  std::set<double> budgets;
  for (const Curve& curve : curves) {
    if (curve.density != density) continue;
    for (const CurvePoint& point : curve.points) budgets.insert(point.budget);
  }
  return budgets;
}

using Rows = std::vector<std::vector<double>>;

// By rising budget. An empty row breaks the line where the curve lacks one of the panel's budgets,
// and where the next one is so far that others would lie between them.
Rows rows_of(const Curve& curve, const std::set<double>& budgets) {
  Rows rows;
  const auto part = [&rows] {
    if (!rows.empty() && !rows.back().empty()) rows.emplace_back();
  };
  for (const double budget : budgets) {
    const auto point = std::find_if(curve.points.begin(), curve.points.end(),
                                    [budget](const auto& p) { return p.budget == budget; });
    if (point == curve.points.end()) {
      part();
      continue;
    }
    if (!rows.empty() && !rows.back().empty() && budget > kFarthest * rows.back()[0]) part();
    const Summary& s = point->summary;
    const double half = s.half.value_or(0);
    rows.push_back({budget, s.mean, s.mean - half, s.mean + half});
  }
  return rows;
}

// Points that no line reaches, whose bands have no width.
Rows alone(const Rows& rows) {
  Rows found;
  const auto gap = [&rows](std::size_t i) { return i >= rows.size() || rows[i].empty(); };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].empty() && (i == 0 || gap(i - 1)) && gap(i + 1)) found.push_back(rows[i]);
  }
  return found;
}

std::string panel_of(const std::vector<Curve>& curves, double density,
                     const std::vector<std::string>& labels) {
  const std::set<double> budgets = budgets_of(curves, density);
  std::string data;
  std::vector<std::string> bands, lines;
  for (std::size_t i = 0; i < curves.size(); ++i) {
    const Curve& curve = curves[i];
    if (curve.density != density) continue;
    const std::string name = fmt::format("curve{}", i);
    const Rows rows = rows_of(curve, budgets), single = alone(rows);
    data += data_block(name, rows);
    const auto style = static_cast<std::size_t>(
        std::find(labels.begin(), labels.end(), curve.label) - labels.begin());
    bands.push_back(fmt::format(
        "${} using 1:3:4 with filledcurves fs transparent solid 0.15 noborder lc rgb '{}' notitle",
        name, colour(style)));
    lines.push_back(fmt::format("${} using 1:2 with linespoints {} lw 1.5 ps 0.8 notitle", name,
                                line_style(style)));
    if (single.empty()) continue;
    data += data_block(name + "alone", single);
    lines.push_back(fmt::format("${}alone using 1:2:3:4 with yerrorbars {} ps 0.8 notitle", name,
                                point_style(style)));
  }
  bands.insert(bands.end(), lines.begin(), lines.end());
  return data + "plot " + join(bands, ", ") + "\n";
}

std::string accuracy_axis(const std::vector<Curve>& curves, double density) {
  double least = 100, most = 0;
  for (const Curve& curve : curves) {
    if (curve.density != density) continue;
    for (const CurvePoint& point : curve.points) {
      const double half = point.summary.half.value_or(0);
      least = std::min(least, std::max(0., point.summary.mean - half));
      most = std::max(most, std::min(100., point.summary.mean + half));
    }
  }
  return error_scale(least, most);
}

void draw(const std::vector<Curve>& curves, const std::string& scale, bool accuracies,
          Figure& figure) {
  std::set<std::string> distinct;
  std::set<double, std::greater<>> densities;
  for (const Curve& curve : curves) {
    distinct.insert(curve.label);
    densities.insert(curve.density);
  }
  const std::vector<std::string> labels(distinct.begin(), distinct.end());
  const int count = static_cast<int>(densities.size());
  const Panels panels(std::min(count, 2), count, 80, labels);
  figure.width = panels.width();
  figure.height = panels.height();
  figure.script = kPanelStyle;
  figure.script +=
      "set logscale x\nset xrange [*:1.2]\nset xlabel 'density at read-out (1: the full stream)'\n";
  figure.script += "set ylabel " + quoted(scale) + "\n";
  int panel = 0;
  for (const double density : densities) {
    figure.script += panels.place(panel, "trained at density " + real_to_text(density));
    if (accuracies) figure.script += accuracy_axis(curves, density);
    figure.script += panel_of(curves, density, labels);
    ++panel;
  }
  figure.script += panels.legend(true) + "unset multiplot\n";
}

}  // namespace

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
    draw(curves, split + (bytes ? " loss (bits per byte)" : " accuracy (%)"), !bytes, figure);
  }
  return figure;
}

}  // namespace tandem
