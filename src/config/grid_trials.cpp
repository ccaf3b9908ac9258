#include "config/grid_trials.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "config/option.h"
#include "core/error.h"
#include "core/philox.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr double kEdge = 0.1, kWindow = 0.5;  // shares of a range's width
constexpr double kLeastWindow = 0.02;
constexpr int kMostExtensions = 2;
constexpr int kMostDraws = 1000;  // of one point, until it is a new one

// Neither a part of what is chosen for nor of a trial.
bool is_of_final_runs(const std::string& name) {
  return is_of_repetition(name) || name == "final" || name == "curve" || name == "probes" ||
         name == "probe_every" || name == "eval_contexts" || name == "eval_scalings";
}

std::string text_of(const Settings& values) {
  std::string text;
  for (const auto& [name, value] : values) text += (text.empty() ? "" : " ") + name + "=" + value;
  return text;
}

std::string method_of(const Settings& cell, const ConfigTables& tables) {
  Settings kept;
  for (const auto& [name, value] : cell) {
    if (is_of_final_runs(name)) continue;
    if (tables.options->at(name).scope != OptionScope::kProgram) kept[name] = value;
  }
  return text_of(kept);
}

// How far a range has been tried, on its own scale.
struct SearchRange {
  double low = 0, high = 1;
  int extensions = 0;
};

// One extension: an axis and the window beyond its reach.
struct Extension {
  std::size_t axis = 0;
  bool above = false;
  SearchRange window;
};

class CellTuner {
 public:
  CellTuner(const Grid& grid, const Settings& said, const TuningScore& score,
            const ConfigTables& tables, TuningCell& cell)
      : grid_(grid), said_(said), score_(score), tables_(tables), cell_(cell) {}

  // Rounds until one has trials that have not ended, or nothing is left to try.
  void run() {
    reaches_.resize(cell_.axes.size());
    if (grid_.tune.trials == 0) {
      add_product();
    } else {
      draw_points(first_count(), reaches_, "");
    }
    for (std::int64_t round = 1; scored(); ++round) {
      choose();
      round_ = round;
      if (extend()) continue;
      note_edges();
      cell_.complete = true;
      return;
    }
  }

 private:
  std::int64_t first_count() const { return cell_.axes.empty() ? 1 : grid_.tune.trials; }

  // A trial is the cell without what its final runs have, at the point.
  void add(const Settings& values) {
    const std::string text = text_of(values);
    if (!known_.insert(text).second) return;
    Settings said;
    for (const auto& [name, value] : said_) {
      if (!is_of_final_runs(name) && name != "tuned_for") said[name] = value;
    }
    for (const auto& [name, value] : values) said[name] = value;
    said["curve"] = "false";
    TuningPoint point{.values = values, .text = text, .round = round_, .runs = {}};
    for (const std::string& seed : grid_.tune.seeds) {
      said["seed"] = seed;
      const Config run = Config::resolve(said, false, tables_);
      point.runs.push_back(grid_.completed ? grid_.completed(run) : run);
    }
    cell_.points.push_back(std::move(point));
  }

  void add_product() {
    std::vector<Settings> points = {{}};
    for (const TuneAxis& axis : cell_.axes) {
      std::vector<Settings> longer;
      for (const Settings& point : points) {
        for (const std::string& value : axis.values) {
          longer.push_back(point);
          longer.back()[axis.name] = value;
        }
      }
      points = std::move(longer);
    }
    for (const Settings& point : points) add(point);
  }

  // `label` names the extension that asks for the points.
  void draw_points(std::int64_t count, const std::vector<SearchRange>& within,
                   const std::string& label) {
    for (std::int64_t i = 0; i < count; ++i) {
      Settings values;
      int draws = 0;
      do {
        if (draws == kMostDraws && round_ > 0) return;  // integers: all of the window is tried
        if (draws == kMostDraws) refuse_few(count);
        values = draw(i, within, label, draws++);
      } while (known_.count(text_of(values)) != 0);
      add(values);
    }
  }

  Settings draw(std::int64_t i, const std::vector<SearchRange>& within, const std::string& label,
                int repeated) const {
    Settings values;
    for (std::size_t a = 0; a < cell_.axes.size(); ++a) {
      const TuneAxis& axis = cell_.axes[a];
      std::uint64_t key = stream_key(grid_.tune.key, label + axis.name);
      if (repeated > 0) key = sub_key(key, static_cast<std::uint64_t>(repeated));
      const double u = tune_draw(key, i);
      if (!axis.is_range()) {
        values[axis.name] =
            axis.values[static_cast<std::size_t>(u * static_cast<double>(axis.values.size()))];
        continue;
      }
      const SearchRange& reach = within[a];
      values[axis.name] =
          axis.from_unit(reach.low + (reach.high - reach.low) * u, reach.low, reach.high);
    }
    return values;
  }

  [[noreturn]] void refuse_few(std::int64_t count) const {
    std::vector<std::string> axes;
    for (const TuneAxis& axis : cell_.axes) axes.push_back(describe(axis));
    throw ConfigError(fmt::format(
        "{}: the axes {} have fewer than {} points to draw for '{}', and every method gets as many "
        "trials; give a range in place of a list, fewer trials, or no trials at all, which takes "
        "every point of the lists",
        grid_.file, join(axes, ", "), count, cell_.method));
  }

  bool scored() {
    for (TuningPoint& point : cell_.points) {
      double sum = 0;
      point.scores.clear();
      for (const Config& run : point.runs) {
        const auto score = score_(run, cell_.tuned_for);
        if (!score) return false;
        point.scores.push_back(*score);
        sum += *score;
      }
      point.score = sum / static_cast<double>(point.runs.size());
    }
    return true;
  }

  // Among equal scores the first in the order of their texts is best.
  void choose() {
    const TuningPoint* best = nullptr;
    for (const TuningPoint& point : cell_.points) {
      if (!std::isfinite(point.score)) continue;
      const bool better = best == nullptr || point.score > best->score ||
                          (point.score == best->score && point.text < best->text);
      if (better) best = &point;
    }
    if (best == nullptr) {
      throw ConfigError("every tuning trial of '" + cell_.method +
                        "' diverged; give smaller learning rates in [tune] of " + grid_.file);
    }
    cell_.best = static_cast<std::size_t>(best - cell_.points.data());
  }

  const std::string& chosen(const TuneAxis& axis) const {
    return cell_.points[cell_.best].values.at(axis.name);
  }

  // The end of a range that the choice lies at; false: the lower, true: the upper.
  std::optional<bool> edge(std::size_t a) const {
    const TuneAxis& axis = cell_.axes[a];
    if (!axis.is_range()) return std::nullopt;
    const auto place = [&](const TuningPoint& point) {
      return axis.to_unit(*parse_real(point.values.at(axis.name)));
    };
    const double best = place(cell_.points[cell_.best]);
    double least = best, most = best;
    for (const TuningPoint& point : cell_.points) {
      least = std::min(least, place(point));
      most = std::max(most, place(point));
    }
    if (best < reaches_[a].low + kEdge || best == least) return false;
    if (best > reaches_[a].high - kEdge || best == most) return true;
    return std::nullopt;
  }

  // Nothing where the option's bound is reached.
  std::optional<SearchRange> beyond(std::size_t a, bool above) const {
    const TuneAxis& axis = cell_.axes[a];
    const SearchRange& reach = reaches_[a];
    SearchRange window = above ? SearchRange{reach.high, reach.high + kWindow, 0}
                               : SearchRange{reach.low - kWindow, reach.low, 0};
    if (axis.minimum) window.low = std::max(window.low, axis.to_unit(*axis.minimum));
    if (axis.maximum) window.high = std::min(window.high, axis.to_unit(*axis.maximum));
    if (window.high - window.low < kLeastWindow) return std::nullopt;
    return window;
  }

  // The next round's points; false where there is nothing to extend.
  bool extend() {
    std::vector<Extension> extensions;
    for (std::size_t a = 0; a < cell_.axes.size(); ++a) {
      const auto above = edge(a);
      if (!above || reaches_[a].extensions == kMostExtensions) continue;
      if (const auto window = beyond(a, *above)) extensions.push_back({a, *above, *window});
    }
    const std::vector<SearchRange> before = reaches_;
    for (const Extension& extension : extensions) {
      SearchRange& reach = reaches_[extension.axis];
      ++reach.extensions;
      std::vector<SearchRange> within = before;
      within[extension.axis] = extension.window;
      draw_points((grid_.tune.trials + 1) / 2, within,
                  fmt::format("{}{}{}/", cell_.axes[extension.axis].name,
                              extension.above ? '+' : '-', reach.extensions));
      if (extension.above) {
        reach.high = extension.window.high;
      } else {
        reach.low = extension.window.low;
      }
    }
    return !extensions.empty();
  }

  // A list of two values has no inside and is not spoken of.
  void note_edges() {
    for (std::size_t a = 0; a < cell_.axes.size(); ++a) {
      const TuneAxis& axis = cell_.axes[a];
      const std::string& value = chosen(axis);
      if (axis.is_range()) {
        const auto above = edge(a);
        if (above && beyond(a, *above)) cell_.edges.push_back({axis.name, value, true});
      } else if (axis.values.size() > 2 &&
                 (value == axis.values.front() || value == axis.values.back())) {
        cell_.edges.push_back({axis.name, value, false});
      }
    }
  }

  const Grid& grid_;
  const Settings& said_;
  const TuningScore& score_;
  const ConfigTables& tables_;
  TuningCell& cell_;
  std::vector<SearchRange> reaches_;  // of each axis
  std::set<std::string> known_;
  std::int64_t round_ = 0;
};

}  // namespace

bool TuningState::complete() const {
  return std::all_of(cells.begin(), cells.end(), [](const auto& cell) { return cell.complete; });
}

std::vector<Config> TuningState::trials() const {
  std::vector<Config> all;
  std::set<std::string> seen;
  for (const TuningCell& cell : cells) {
    for (const TuningPoint& point : cell.points) {
      for (const Config& run : point.runs) {
        if (seen.insert(run.id()).second) all.push_back(run);
      }
    }
  }
  return all;
}

TuningState plan_tuning(const Grid& grid, const TuningScore& score, const ConfigTables& tables) {
  TuningState state;
  std::map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < grid.runs.size(); ++i) {
    const std::string method = method_of(grid.runs[i].given(), tables);
    const auto [at, added] = index.emplace(method, state.cells.size());
    state.cell_of_run.push_back(at->second);
    if (!added) continue;
    const Config& run = grid.runs[i];
    TuningCell cell;
    cell.method = method;
    cell.tuned_for = run.text("tuned_for");
    cell.axes = grid.tune.axes_of(run, tables);
    const Settings said = run.given();
    CellTuner(grid, said, score, tables, cell).run();
    state.cells.push_back(std::move(cell));
  }
  return state;
}

std::optional<Config> final_run(const Grid& grid, const TuningState& state, std::size_t i,
                                const ConfigTables& tables) {
  const TuningCell& cell = state.cells[state.cell_of_run[i]];
  if (!cell.complete) return std::nullopt;
  Settings said = grid.runs[i].given();
  for (const auto& [name, value] : cell.points.at(cell.best).values) said[name] = value;
  said["final"] = "true";
  return Config::resolve(said, false, tables);
}

std::vector<Config> final_runs(const Grid& grid, const TuningState& state,
                               const ConfigTables& tables) {
  std::vector<Config> runs;
  for (std::size_t i = 0; i < grid.runs.size(); ++i) {
    runs.push_back(final_run(grid, state, i, tables).value());
  }
  return runs;
}

std::string short_name(const TuningCell& cell, const TuningState& state) {
  std::vector<std::string> parts;
  for (const std::string& part : split(cell.method, ' ')) {
    const bool shared =
        std::all_of(state.cells.begin(), state.cells.end(), [&](const TuningCell& other) {
          return (" " + other.method + " ").find(" " + part + " ") != std::string::npos;
        });
    if (!shared) parts.push_back(part);
  }
  return parts.empty() ? cell.method : join(parts, " ");
}

std::vector<std::string> edge_warnings(const TuningState& state) {
  std::map<std::pair<std::string, bool>, std::vector<std::string>> at_edge;
  for (const TuningCell& cell : state.cells) {
    for (const TuningEdge& edge : cell.edges) {
      at_edge[{edge.axis, edge.extended}].push_back(short_name(cell, state) + " (" + edge.value +
                                                    ")");
    }
  }
  std::vector<std::string> warnings;
  for (const auto& [axis, cells] : at_edge) {
    warnings.push_back(
        fmt::format("the best {} lies at the edge of its {} for {} of {}: {}", axis.first,
                    axis.second ? "range, which was extended as far as it goes," : "axis",
                    cells.size(), state.cells.size(), join(cells, "; ")));
  }
  return warnings;
}

}  // namespace tandem
