// Panels of lines: means over seeds against a number, with Student's 95% bands. What a point means
// is the figure's; how lines look, where they break and what the CSV says of them is here.
#pragma once

#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "analysis/figure.h"
#include "analysis/run_data.h"
#include "analysis/statistics.h"

namespace tandem {

struct LinePoint {
  double x = 0;
  Summary summary;
  std::vector<std::string> runs;
};

struct Line {
  std::string label;
  std::vector<LinePoint> points;
};

struct LinePanel {
  std::string title, y_label;
  std::vector<Line> lines;
  bool by_error = false;  // accuracies in percent, spaced by the logarithm of the error
};

struct LineAxis {
  std::string label;
  int base = 0;             // of its logarithm; 0: it is linear
  std::string range = {};   // gnuplot's, such as "[*:1.2]"; "": as the points want
  std::string values = {};  // the range of the other axis, in all panels; "": of each as it wants
  std::string column = {};  // what the CSV calls it
  // A line is broken where it lacks an x that another one of its panel has (if `complete`), and
  // where the next x is more than this factor away.
  bool complete = false;
  double farthest = std::numeric_limits<double>::infinity();
};

// A point of these values, which are those of these runs.
LinePoint line_point(double x, const std::vector<double>& values, std::vector<std::string> runs);

// Adds size and script to the figure. Labels have one style in all panels.
void draw_lines(const std::vector<LinePanel>& panels, const LineAxis& axis, Figure& figure);

// A line for each point: the panel's title, the line's label, x, mean, ci95_half, n, runs.
std::string lines_csv(const std::vector<LinePanel>& panels, const LineAxis& axis);

// A line for each group of runs that differ in their seeds alone. `values`: of one run, by x. Runs
// without values, and those that diverged, are left out.
std::vector<Line> lines_of(const RunSet& set,
                           const std::function<std::map<double, double>(const RunData&)>& values);

}  // namespace tandem
