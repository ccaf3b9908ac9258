#include "app/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <set>

#include "config/option.h"
#include "core/error.h"
#include "core/text.h"
#include "methods/method.h"
#include "train/planner.h"

namespace tandem {
namespace {

bool is_seed(const std::string& name) { return name.rfind("seed", 0) == 0; }

bool is_tuned(const Grid& grid, const std::string& name) {
  return std::any_of(grid.tune.begin(), grid.tune.end(),
                     [&](const auto& axis) { return axis.first == name; });
}

std::string method_key(const Grid& grid, const Settings& cell) {
  std::string key;
  for (const auto& [name, value] : cell) {
    if (is_seed(name) || name == "final" || name == "curve" || is_tuned(grid, name)) continue;
    if (option(name).scope == OptionScope::kProgram) continue;
    key += (key.empty() ? "" : " ") + name + "=" + value;
  }
  return key;
}

std::vector<Settings> points_of(const Grid& grid) {
  std::vector<Settings> points = {{}};
  for (const auto& [axis, values] : grid.tune) {
    std::vector<Settings> longer;
    for (const Settings& point : points) {
      for (const std::string& value : values) {
        longer.push_back(point);
        longer.back()[axis] = value;
      }
    }
    points = std::move(longer);
  }
  return points;
}

std::string text_of(const Settings& point) {
  std::string text;
  for (const auto& [name, value] : point) text += (text.empty() ? "" : " ") + name + "=" + value;
  return text;
}

// Mean over the own read-outs at the last stage; NaN for a run that diverged.
double score_of(const Config& run, const StoreReader& store) {
  const std::string id = run.id();
  const bool bytes = run.text("data") == "bytes";
  const QueryResult state = store.query("SELECT state FROM v_run WHERE run = ?", {id});
  if (!state.rows.empty() && state.rows[0][0] == "diverged") return std::nan("");
  const auto streams = [](const Policies& policies) {
    std::vector<std::string> names;
    if (policies.schedule.kind != Schedule::Kind::kSparse) names.push_back("full");
    if (policies.schedule.kind != Schedule::Kind::kFull) names.push_back("sparse");
    return names;
  };
  double sum = 0;
  int count = 0;
  for (const std::string& weights : streams(policies_of(run, Level::kWeights))) {
    for (const std::string& attention :
         bytes ? streams(policies_of(run, Level::kAttention)) : std::vector<std::string>{"none"}) {
      const QueryResult found = store.query(
          "SELECT sum(n_correct) * 1.0 / sum(n_total), sum(loss * n_total) / sum(n_total) "
          "FROM v_eval WHERE run = ? AND split = 'validation' AND weights_readout = ? "
          "AND attention_readout = ? AND (weights_budget IS NULL OR weights_budget = density) "
          "AND (attention_budget IS NULL OR attention_budget = blocks) "
          "AND stage = (SELECT max(stage) FROM v_eval WHERE run = ?) "
          "AND masked = (SELECT min(masked) FROM v_eval WHERE run = ?)",
          {id, weights, attention, id, id});
      if (found.rows.empty() || found.null[0][0]) continue;
      sum += bytes ? -std::stod(found.rows[0][1]) : std::stod(found.rows[0][0]);
      ++count;
    }
  }
  if (count == 0) {
    throw StoreError("tuning trial " + short_id(id) +
                     " has no validation results; run `tandem grid run` again, and look at the "
                     "failed runs with `tandem query runs`");
  }
  return sum / count;
}

// What a method's key has that not all keys share: "density=0.1 weights=ssa".
std::string difference_of(const std::string& key, const std::map<std::string, Settings>& all) {
  std::string text;
  for (const std::string& part : split(key, ' ')) {
    const bool shared = std::all_of(all.begin(), all.end(), [&](const auto& other) {
      return (" " + other.first + " ").find(" " + part + " ") != std::string::npos;
    });
    if (!shared) text += (text.empty() ? "" : " ") + part;
  }
  return text.empty() ? key : text;
}

// One line per axis. An axis of two values has no inside and is not spoken of.
std::vector<std::string> edge_warnings(const Grid& grid,
                                       const std::map<std::string, Settings>& best) {
  std::vector<std::string> warnings;
  for (const auto& [axis, values] : grid.tune) {
    if (values.size() < 3) continue;
    std::vector<std::string> at_edge;
    for (const auto& [method, point] : best) {
      const std::string& value = point.at(axis);
      if (value == values.front() || value == values.back()) {
        at_edge.push_back(difference_of(method, best) + " (" + value + ")");
      }
    }
    if (!at_edge.empty()) {
      warnings.push_back(fmt::format("the best {} lies at the edge of its axis for {} of {}: {}",
                                     axis, at_edge.size(), best.size(), join(at_edge, "; ")));
    }
  }
  return warnings;
}

}  // namespace

std::vector<TuningTrial> tuning_trials(const Grid& grid) {
  std::vector<TuningTrial> trials;
  std::set<std::string> seen, methods;
  const std::vector<std::string> seeds =
      grid.tune_seeds.empty() ? std::vector<std::string>{"1"} : grid.tune_seeds;
  for (const Settings& cell : grid.cells) {
    const std::string method = method_key(grid, cell);
    if (!methods.insert(method).second) continue;
    for (const Settings& point : points_of(grid)) {
      for (const std::string& seed : seeds) {
        Settings said = cell;
        for (auto it = said.begin(); it != said.end();) {
          it = is_seed(it->first) || it->first == "final" ? said.erase(it) : std::next(it);
        }
        for (const auto& [name, value] : point) said[name] = value;
        said["seed"] = seed;
        said["curve"] = "false";
        TuningTrial trial{method, text_of(point), point, Config::resolve(said, false)};
        if (seen.insert(trial.run.id()).second) trials.push_back(std::move(trial));
      }
    }
  }
  return trials;
}

TunedGrid choose(const Grid& grid, const std::vector<TuningTrial>& trials,
                 const StoreReader& store) {
  TunedGrid tuned;
  struct Sum {
    double score = 0;
    int count = 0;
    Settings point;
  };
  std::map<std::string, std::map<std::string, Sum>> by_method;
  for (const TuningTrial& trial : trials) {
    const double score = score_of(trial.run, store);
    Sum& sum = by_method[trial.method][trial.point];
    sum.score += score;
    ++sum.count;
    sum.point = trial.chosen;
    tuned.records.push_back({grid.name, trial.method, trial.point, trial.run.integer("seed"),
                             trial.run.id(), score, false});
  }
  std::map<std::string, Settings> best;
  for (const auto& [method, points] : by_method) {
    double highest = -std::numeric_limits<double>::infinity();
    for (const auto& [text, sum] : points) {
      const double mean = sum.score / sum.count;
      if (std::isfinite(mean) && mean > highest) {
        highest = mean;
        best[method] = sum.point;
      }
    }
    if (!best.count(method)) {
      throw ConfigError("every tuning trial of '" + method +
                        "' diverged; give smaller learning rates in [tune] of " + grid.file);
    }
  }
  tuned.warnings = edge_warnings(grid, best);
  for (TuningRecord& record : tuned.records) {
    record.chosen = record.trial == text_of(best.at(record.method));
  }
  for (const Settings& cell : grid.cells) {
    Settings said = cell;
    for (const auto& [name, value] : best.at(method_key(grid, cell))) said[name] = value;
    said["final"] = "true";
    tuned.runs.push_back(Config::resolve(said, false));
  }
  return tuned;
}

std::vector<Config> wanted_now(const Grid& grid, const std::string& database) {
  if (grid.tune.empty()) return grid.runs;
  const std::vector<TuningTrial> trials = tuning_trials(grid);
  std::vector<Config> wanted;
  for (const TuningTrial& trial : trials) wanted.push_back(trial.run);
  std::error_code error;
  if (!std::filesystem::exists(database, error)) return wanted;
  const StoreReader store(database);
  std::set<std::string> ended;
  for (const RunRecord& run : store.runs()) {
    if (is_finished(run.state)) ended.insert(run.id);
  }
  for (const Config& trial : wanted) {
    if (!ended.count(trial.id())) return wanted;
  }
  for (const Config& run : choose(grid, trials, store).runs) wanted.push_back(run);
  return wanted;
}

}  // namespace tandem
