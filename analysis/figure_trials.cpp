// How much of what the methods differ in is explained by what they keep, and that by weight decay:
// one row of panels per density, left by method, right the same points by weight decay. Titles and
// summary have the shares of the score's variance (accuracy, or loss; not the error's logarithm
// that the axis shows) over all drawn trials of the density:
//   R^2 = Sxy^2 / (Sxx Syy) of a line in x = kept mass, and in x = log10(weight decay), trials
//   with decay 0 left out; eta^2 = between-methods sum of squares / Syy, of the method alone.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "analysis/figure.h"
#include "analysis/query.h"
#include "analysis/run_data.h"
#include "analysis/statistics.h"
#include "config/data_score.h"
#include "config/grid_file.h"
#include "config/part.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

struct Point {
  const RunData* run;
  std::optional<double> mass, score;
  double decay = 0;
  bool drawn() const { return mass && score; }
};

double density_of(const Point& point) {
  return parse_real(point.run->column("density")).value_or(1);
}

// These are shares of the score's variance at one density.
struct Shares {
  std::size_t n = 0, with_decay = 0;
  std::optional<double> mass, method, decay;
};

Shares shares_of(const std::vector<Point>& points, double density) {
  std::vector<double> masses, scores, decays, scores_of_decays;
  std::vector<std::string> methods;
  for (const Point& point : points) {
    if (!point.drawn() || density_of(point) != density) continue;
    masses.push_back(*point.mass);
    scores.push_back(*point.score);
    methods.push_back(point.run->column("weights"));
    if (point.decay <= 0) continue;
    decays.push_back(std::log10(point.decay));
    scores_of_decays.push_back(*point.score);
  }
  return {scores.size(), decays.size(), line_share(masses, scores), group_share(methods, scores),
          line_share(decays, scores_of_decays)};
}

std::set<double, std::greater<>> densities_of(const std::vector<Point>& points) {
  std::set<double, std::greater<>> densities;
  for (const Point& point : points)
    if (point.drawn()) densities.insert(density_of(point));
  return densities;
}

struct Scale {
  Measure score;
  std::string label;
  double factor;
};

Scale scale_of(const std::vector<RunData>& runs) {
  const bool bytes = std::all_of(runs.begin(), runs.end(), [](const RunData& run) {
    return told_in_bits(run.column("data"));
  });
  return bytes ? Scale{parse_measure("bits_per_byte@attention=own,weights=sparse"),
                       "validation loss, sparse read-out (bits per byte)", 1}
               : Scale{parse_measure("accuracy@attention=own,weights=sparse"),
                       "validation accuracy, sparse read-out (%)", 100};
}

std::string csv_of(const std::vector<Point>& points, const Scale& scale) {
  const std::vector<std::string> columns = {"weights", "attention", "data",
                                            "density", "lr",        "weight_decay",
                                            "seed",    "tuned_for", "state"};
  std::vector<std::string> head = {"run"};
  head.insert(head.end(), columns.begin(), columns.end());
  head.insert(head.end(), {"kept_mass", scale.score.name});
  std::string text = csv_line(head);
  for (const Point& point : points) {
    std::vector<std::string> cells = {point.run->id};
    for (const std::string& column : columns) cells.push_back(point.run->column(column));
    cells.push_back(point.mass ? real_to_text(*point.mass) : "");
    cells.push_back(point.score ? real_to_text(*point.score) : "");
    text += csv_line(cells);
  }
  return text;
}

// An unknown grid is told by its own name, not by that of its trials.
void expect_trials(const StoreReader& store, const std::string& grid) {
  if (store.find_grid(grid + kTuningSuffix)) return;
  store.runs_of_grid(grid);
  throw ConfigError(fmt::format(
      "grid {} has no tuning trials: its file has no [tune] section, or none of them has been run",
      grid));
}

std::string summary_of(const std::vector<Point>& points, const RunSet& set) {
  const std::size_t unfinished = std::max(set.unfinished, set.missing.size()) + set.never_run;
  std::size_t drawn = 0, diverged = 0;
  for (const Point& point : points) {
    drawn += point.drawn();
    diverged += point.run->diverged();
  }
  std::string text = fmt::format("{} of {} trials drawn", drawn, points.size() + unfinished);
  const std::size_t without = points.size() - drawn - diverged;
  if (without > 0) {
    text += fmt::format("; {} have no kept mass (their dormant weights are zero)", without);
  }
  if (diverged > 0) text += fmt::format("; {} diverged", diverged);
  if (unfinished > 0) text += fmt::format("; {} are not done", unfinished);
  return text;
}

// "; density 0.1, 36 trials, share of the variance of accuracy: 0.25 by a line in kept mass, ...".
std::string shares_text(const std::vector<Point>& points, const Scale& scale) {
  std::string text;
  for (const double density : densities_of(points)) {
    const Shares shares = shares_of(points, density);
    std::vector<std::string> parts;
    if (shares.decay) {
      parts.push_back(fmt::format("{:.2f} by a line in log10 weight decay ({} trials)",
                                  *shares.decay, shares.with_decay));
    }
    if (shares.mass) parts.push_back(fmt::format("{:.2f} by a line in kept mass", *shares.mass));
    if (shares.method) parts.push_back(fmt::format("{:.2f} by the method", *shares.method));
    if (parts.empty()) continue;
    text += fmt::format("; density {}, {} trials, share of the variance of {}: {}",
                        real_to_text(density), shares.n, scale.score.name, join(parts, ", "));
  }
  return text;
}

class Script {
 public:
  Script(const std::vector<Point>& points, const Scale& scale) : all_(points), scale_(scale) {
    std::set<std::string> methods;
    const std::set<double, std::greater<>> densities = densities_of(points);
    std::set<double> decays;
    for (const Point& point : points) {
      if (!point.drawn()) continue;
      methods.insert(point.run->column("weights"));
      if (point.decay > 0) decays.insert(point.decay);
      points_[{density_of(point), point.run->column("weights")}].push_back(&point);
    }
    methods_.assign(methods.begin(), methods.end());
    densities_.assign(densities.begin(), densities.end());
    by_decay_ = decays.size() > 1;
    if (by_decay_) least_ = *decays.begin(), most_ = *decays.rbegin();
  }

  void write(Figure& figure) {
    const int columns = by_decay_ ? 2 : 1;
    const Panels panels(columns, columns * static_cast<int>(densities_.size()),
                        by_decay_ ? 110 : 70, methods_);
    figure.width = panels.width();
    figure.height = panels.height();
    text_ = std::string(kPanelStyle) +
            "set xlabel 'kept mass: share of sum |w| inside the mask'\n"
            "set ylabel " +
            quoted(scale_.label) + "\nset offsets graph 0.03, 0.03, 0, 0\n";
    if (by_decay_) {
      text_ += fmt::format(
          "set logscale cb\nset format cb '10^{{%L}}'\nset cblabel 'weight decay'\n"
          "set cbrange [{}:{}]\nset palette defined (0 '#440154', 1 '#3b528b', 2 '#21918c', 3 "
          "'#5ec962', 4 '#fde725')\n",
          real_to_text(least_), real_to_text(most_));
    }
    int panel = 0;
    for (const double density : densities_) {
      const std::string title = "density " + real_to_text(density);
      if (scale_.factor == 100) text_ += accuracy_axis(density);
      const Shares shares = shares_of(all_, density);
      text_ += panels.place(panel++, title + ", by method",
                            both(explained(shares.mass, "R^2", "kept mass"),
                                 explained(shares.method, "eta^2", "the method")));
      add_panel(density, false);
      if (!by_decay_) continue;
      text_ += panels.place(panel++, title + ", by weight decay",
                            explained(shares.decay, "R^2", "log10 weight decay"));
      add_panel(density, true);
    }
    figure.script = text_ + panels.legend() + "unset multiplot\n";
  }

 private:
  static std::string explained(const std::optional<double>& share, const char* name,
                               const char* by) {
    return share ? fmt::format("{} {:.2f} on {}", name, *share, by) : "";
  }

  static std::string both(const std::string& first, const std::string& second) {
    return first + (first.empty() || second.empty() ? "" : "; ") + second;
  }

  std::string accuracy_axis(double density) const {
    double least = 100, most = 0;
    for (const auto& [key, points] : points_) {
      if (key.first != density) continue;
      for (const Point* point : points) {
        least = std::min(least, 100 * *point->score);
        most = std::max(most, 100 * *point->score);
      }
    }
    return error_scale(least, most);
  }

  void add_panel(double density, bool by_decay) {
    std::vector<std::string> parts;
    for (std::size_t m = 0; m < methods_.size(); ++m) {
      const auto found = points_.find({density, methods_[m]});
      if (found == points_.end()) continue;
      std::vector<std::vector<double>> rows, grey;
      for (const Point* point : found->second) {
        auto& to = by_decay && point->decay <= 0 ? grey : rows;
        to.push_back({*point->mass, scale_.factor * *point->score, point->decay});
      }
      const std::string style = point_style(m);
      const std::string symbol = style.substr(0, style.find(" lc"));
      if (!rows.empty()) {
        parts.push_back(fmt::format("${} using 1:2{} with points {} ps 1.1 notitle", block(rows),
                                    by_decay ? ":3" : "", by_decay ? symbol + " palette" : style));
      }
      if (!grey.empty()) {
        parts.push_back(fmt::format("${} using 1:2 with points {} ps 1.1 lc rgb '#bbbbbb' notitle",
                                    block(grey), symbol));
      }
    }
    text_ += "plot " + join(parts, ", ") + "\n";
  }

  // Data stand before the plot that reads them.
  std::string block(const std::vector<std::vector<double>>& rows) {
    const std::string name = fmt::format("points{}", ++blocks_);
    text_ += data_block(name, rows);
    return name;
  }

  const std::vector<Point>& all_;
  const Scale& scale_;
  std::vector<std::string> methods_;
  std::vector<double> densities_;
  std::map<std::pair<double, std::string>, std::vector<const Point*>> points_;
  bool by_decay_ = false;
  double least_ = 0, most_ = 0;
  std::string text_;
  int blocks_ = 0;
};

Figure trials_figure(const StoreReader& store, const FigureRuns& runs) {
  TablePlan plan;
  plan.name = "trials";
  plan.grid = runs.grid + kTuningSuffix;
  plan.wanted = runs.wanted;
  plan.where = runs.where;
  if (!plan.wanted) expect_trials(store, runs.grid);
  plan.measures = {parse_measure("accuracy@full"), parse_measure("metric:kept_mass@weights")};
  const RunSet set = select_runs(store, plan);
  const Scale scale = scale_of(set.runs);
  std::vector<Point> points;
  for (const RunData& run : set.runs) {
    Point point{&run, std::nullopt, std::nullopt};
    point.decay = parse_real(run.column("weight_decay")).value_or(0);
    if (!run.diverged()) {
      point.mass = value_of(run, plan.measures[1], "validation");
      point.score = value_of(run, scale.score, "validation");
    }
    points.push_back(point);
  }
  Figure figure;
  figure.csv = csv_of(points, scale);
  figure.summary = summary_of(points, set) + shares_text(points, scale);
  const bool any =
      std::any_of(points.begin(), points.end(), [](const auto& p) { return p.drawn(); });
  if (any) Script(points, scale).write(figure);
  return figure;
}

TANDEM_REGISTERED = declare_figure(
    {.name = "trials",
     .text =
         "accuracy in the sparse read-out (spaced by the logarithm of the error) against kept mass "
         "of the weights, all tuning trials, by method and by weight decay",
     .make = trials_figure,
     .of_trials = true});

}  // namespace
}  // namespace tandem
