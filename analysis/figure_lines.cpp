#include "analysis/figure_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "analysis/figure_labels.h"
#include "analysis/query.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr int kMostColumns = 2, kLineGap = 80;  // panels side by side, pixels between them

using Rows = std::vector<std::vector<double>>;

std::set<double> places_of(const LinePanel& panel) {
  std::set<double> places;
  for (const Line& line : panel.lines)
    for (const LinePoint& point : line.points) places.insert(point.x);
  return places;
}

// By rising x; an empty row breaks the line.
Rows rows_of(const Line& line, const std::set<double>& places, const LineAxis& axis) {
  Rows rows;
  const auto part = [&rows] {
    if (!rows.empty() && !rows.back().empty()) rows.emplace_back();
  };
  for (const double x : places) {
    const auto point = std::find_if(line.points.begin(), line.points.end(),
                                    [x](const LinePoint& p) { return p.x == x; });
    if (point == line.points.end()) {
      if (axis.complete) part();
      continue;
    }
    if (!rows.empty() && !rows.back().empty() && x > axis.farthest * rows.back()[0]) part();
    const Summary& s = point->summary;
    const double half = s.half.value_or(0);
    rows.push_back({x, s.mean, s.mean - half, s.mean + half});
  }
  return rows;
}

// The rows where the band has a width that is known, parted where it has not; nothing where it has
// everywhere, or nowhere.
Rows band_rows(const Line& line, const Rows& rows) {
  Rows band;
  bool all = true, any = false;
  for (const auto& row : rows) {
    if (row.empty()) {
      if (!band.empty() && !band.back().empty()) band.emplace_back();
      continue;
    }
    const auto point = std::find_if(line.points.begin(), line.points.end(),
                                    [&row](const LinePoint& p) { return p.x == row[0]; });
    const bool known = point->summary.half.has_value();
    all = all && known;
    any = any || known;
    if (known) {
      band.push_back(row);
    } else if (!band.empty() && !band.back().empty()) {
      band.emplace_back();
    }
  }
  return all || !any ? Rows{} : band;
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

std::string error_axis(const LinePanel& panel) {
  double least = 100, most = 0;
  for (const Line& line : panel.lines) {
    for (const LinePoint& point : line.points) {
      const double half = point.summary.half.value_or(0);
      least = std::min(least, std::max(0., point.summary.mean - half));
      most = std::max(most, std::min(100., point.summary.mean + half));
    }
  }
  return error_scale(least, most);
}

std::string panel_script(const LinePanel& panel, int number, const LineAxis& axis,
                         const std::vector<std::string>& labels) {
  const std::set<double> places = places_of(panel);
  std::string data;
  std::vector<std::string> bands, lines;
  for (std::size_t i = 0; i < panel.lines.size(); ++i) {
    const Line& line = panel.lines[i];
    const std::string name = fmt::format("panel{}line{}", number, i);
    const Rows rows = rows_of(line, places, axis), single = alone(rows);
    data += data_block(name, rows);
    const auto style = static_cast<std::size_t>(
        std::find(labels.begin(), labels.end(), line.label) - labels.begin());
    const Rows parted = band_rows(line, rows);
    const std::string band = parted.empty() ? name : name + "band";
    if (!parted.empty()) data += data_block(band, parted);
    bands.push_back(fmt::format(
        "${} using 1:3:4 with filledcurves fs transparent solid 0.15 noborder lc rgb '{}' notitle",
        band, colour(style)));
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

}  // namespace

LinePoint line_point(double x, const std::vector<double>& values, std::vector<std::string> runs) {
  return {x, summarize(values), std::move(runs)};
}

std::vector<Line> lines_of(const RunSet& set,
                           const std::function<std::map<double, double>(const RunData&)>& values) {
  struct Seeds {
    std::vector<double> values;
    std::vector<std::string> runs;
  };
  const std::vector<std::string> keys = label_keys(set, {});
  std::vector<std::string> labels;  // in the order of the runs
  std::map<std::string, std::map<double, Seeds>> groups;
  for (const RunData& run : set.runs) {
    if (run.diverged()) continue;
    std::string label = label_of(run, keys);
    if (label.empty()) label = label_of(run, {"weights", "attention"});
    for (const auto& [x, value] : values(run)) {
      if (groups.count(label) == 0) labels.push_back(label);
      Seeds& seeds = groups[label][x];
      seeds.values.push_back(value);
      seeds.runs.push_back(run.id);
    }
  }
  std::vector<Line> lines;
  for (const std::string& label : labels) {
    lines.push_back({label, {}});
    for (auto& [x, seeds] : groups[label]) {
      lines.back().points.push_back(line_point(x, seeds.values, std::move(seeds.runs)));
    }
  }
  return lines;
}

void draw_lines(const std::vector<LinePanel>& panels, const LineAxis& axis, Figure& figure) {
  std::vector<std::string> labels;
  for (const LinePanel& panel : panels) {
    for (const Line& line : panel.lines) {
      if (std::find(labels.begin(), labels.end(), line.label) == labels.end())
        labels.push_back(line.label);
    }
  }
  const int count = static_cast<int>(panels.size());
  const Panels places(std::min(count, kMostColumns), count, kLineGap, labels);
  figure.width = places.width();
  figure.height = places.height();
  figure.script = kPanelStyle;
  if (axis.base > 0) figure.script += fmt::format("set logscale x {}\n", axis.base);
  if (!axis.range.empty()) figure.script += "set xrange " + axis.range + "\n";
  if (!axis.values.empty()) figure.script += "set yrange " + axis.values + "\n";
  figure.script += "set xlabel " + quoted(axis.label) + "\n";
  for (int i = 0; i < count; ++i) {
    const LinePanel& panel = panels[static_cast<std::size_t>(i)];
    figure.script += places.place(i, panel.title);
    figure.script += "set ylabel " + quoted(panel.y_label) + " noenhanced\n";
    if (panel.by_error) figure.script += error_axis(panel);
    figure.script += panel_script(panel, i, axis, labels);
  }
  figure.script += places.legend(true) + "unset multiplot\n";
}

std::string lines_csv(const std::vector<LinePanel>& panels, const LineAxis& axis) {
  std::string text = csv_line({"panel", "method", axis.column, "mean", "ci95_half", "n", "runs"});
  for (const LinePanel& panel : panels) {
    for (const Line& line : panel.lines) {
      for (const LinePoint& point : line.points) {
        const Summary& s = point.summary;
        text +=
            csv_line({panel.title, line.label, fmt::format("{:.8g}", point.x),
                      fmt::format("{:.8g}", s.mean), s.half ? fmt::format("{:.8g}", *s.half) : "",
                      std::to_string(s.n), join(point.runs, " ")});
      }
    }
  }
  return text;
}

}  // namespace tandem
