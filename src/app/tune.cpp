#include "app/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "analysis/query.h"
#include "config/data_score.h"
#include "config/part.h"
#include "core/error.h"
#include "core/files.h"
#include "core/text.h"
#include "jobs/planner.h"
#include "methods/method.h"

namespace tandem {
namespace {

bool in_bits(const Config& run) { return told_in_bits(run.text("data")); }

// The read-outs of a level whose mean is the score.
std::vector<std::string> readouts_of(const Config& run, Level level, const std::string& tuned_for) {
  if (tuned_for != "own") return {tuned_for};
  const Schedule::Kind kind = policies_of(run, level).schedule.kind;
  std::vector<std::string> names;
  if (kind != Schedule::Kind::kSparse) names.push_back("full");
  if (kind != Schedule::Kind::kFull) names.push_back("sparse");
  return names;
}

// Scores of a database's runs: those of tables, at the end of each run. A run is read when it is
// asked for, so that tuning costs what its trials are and not what is stored.
class Scores {
 public:
  explicit Scores(const std::string& database) {
    if (path_exists(database)) store_.emplace(database);
  }

  std::optional<double> of(const Config& run, const std::string& tuned_for) {
    if (!store_) return std::nullopt;
    const std::string id = run.id();
    const QueryResult stored = store_->query("SELECT state FROM run WHERE id = ?1", {id});
    if (stored.rows.empty() || !is_finished(stored.rows[0][0])) return std::nullopt;
    if (stored.rows[0][0] == "diverged") return std::nan("");
    read(id);
    double sum = 0;
    int count = 0;
    for (const std::string& weights : readouts_of(run, Level::kWeights, tuned_for)) {
      for (const std::string& attention : readouts_of(run, Level::kAttention, tuned_for)) {
        const auto score = of_readout(run, weights, attention);
        if (!score) continue;
        sum += *score;
        ++count;
      }
    }
    if (count > 0) return sum / count;
    throw ConfigError(
        fmt::format("tuning trial {} ended without validation results in the read-out {}, so that "
                    "nothing can be chosen by it; raise validation (it has {}), or see `tandem "
                    "query curves {}`",
                    short_id(run.id()), tuned_for, run.text("validation"), short_id(run.id())));
  }

 private:
  struct Result {
    std::string weights, attention;  // read-outs
    std::optional<double> density, blocks;
    bool masked = false;
    std::optional<double> accuracy, loss;
  };

  void read(const std::string& id) {
    const auto [results, added] = results_.try_emplace(id);
    if (!added) return;
    const QueryResult found = store_->query(
        "SELECT weights_readout, weights_budget, attention_readout, attention_budget, masked,"
        " accuracy, loss FROM v_result WHERE split = 'validation' AND run = ?1"
        " AND read_context IS NULL AND condition IS NULL",
        {id});
    for (const auto& row : found.rows) {
      results->second.push_back({row[0], row[2], parse_real(row[1]), parse_real(row[3]),
                                 row[4] == "1", parse_real(row[5]), parse_real(row[6])});
    }
  }

  std::optional<double> of_readout(const Config& run, const std::string& weights,
                                   const std::string& attention) const {
    const auto& all = results_.at(run.id());
    const bool masked =
        std::all_of(all.begin(), all.end(), [](const Result& each) { return each.masked; });
    for (const Result& each : all) {
      if (each.masked != masked || each.weights != weights) continue;
      if (each.attention != attention && each.attention != "none") continue;
      if (each.density && *each.density != run.real("density")) continue;
      if (each.blocks && *each.blocks != parse_real(run.text("blocks"))) continue;
      const auto value = in_bits(run) ? each.loss : each.accuracy;
      if (!value) return std::nullopt;
      return in_bits(run) ? -*value : *value;
    }
    return std::nullopt;
  }

  std::optional<StoreReader> store_;
  std::map<std::string, std::vector<Result>> results_;  // of runs that have ended
};

void check_readouts(const Grid& grid) {
  for (const Config& run : grid.runs) {
    if (run.text("tuned_for") != "full") continue;
    if (policies_of(run, Level::kWeights).dormant_carry_values()) continue;
    throw ConfigError(grid.file + ": weights = " + run.text("weights") +
                      " has no full read-out (its dormant weights are zero) to be tuned for; leave "
                      "out tuned_for, or say tuned_for = sparse");
  }
}

std::map<std::string, std::string> parts_of(const TuningCell& cell) {
  std::map<std::string, std::string> parts;
  for (const std::string& part : split(cell.method, ' ')) {
    const auto equals = part.find('=');
    if (equals != std::string::npos) parts[part.substr(0, equals)] = part.substr(equals + 1);
  }
  return parts;
}

using CellParts = std::vector<std::map<std::string, std::string>>;

std::vector<std::string> values_of(const CellParts& cells, const std::string& key) {
  std::vector<std::string> values;
  for (const auto& parts : cells) {
    const auto found = parts.find(key);
    values.push_back(found == parts.end() ? "" : found->second);
  }
  return values;
}

bool tells_apart(const CellParts& cells, const std::vector<std::string>& keys) {
  std::set<std::vector<std::string>> seen;
  for (const auto& parts : cells) {
    std::vector<std::string> values;
    for (const std::string& key : keys) {
      const auto found = parts.find(key);
      values.push_back(found == parts.end() ? "" : found->second);
    }
    if (!seen.insert(values).second) return false;
  }
  return true;
}

// Options that tell the cells apart: what a choice is made for. Parts and density are named where
// they vary; of the others what follows from the rest (a [when] section set it) is left out.
std::vector<std::string> telling_options(const TuningState& state) {
  CellParts cells;
  std::set<std::string> names;
  for (const TuningCell& cell : state.cells) {
    cells.push_back(parts_of(cell));
    for (const auto& [name, value] : cells.back()) names.insert(name);
  }
  const auto is_named = [](const std::string& name) {
    return is_part_kind(name) || name == "density";
  };
  std::vector<std::string> keys;
  for (const bool named : {true, false}) {
    for (const std::string& name : names) {
      const std::vector<std::string> values = values_of(cells, name);
      const bool varies = std::count(values.begin(), values.end(), values.front()) !=
                          static_cast<std::ptrdiff_t>(values.size());
      if (varies && is_named(name) == named) keys.push_back(name);
    }
  }
  for (std::size_t i = keys.size(); i-- > 0;) {
    std::vector<std::string> fewer = keys;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    if (!is_named(keys[i]) && tells_apart(cells, fewer)) keys = fewer;
  }
  return keys;
}

const TuningPoint* best_rival(const TuningCell& cell) {
  const TuningPoint* best = nullptr;
  for (std::size_t i = 0; i < cell.points.size(); ++i) {
    const TuningPoint& point = cell.points[i];
    if (i == cell.best || !std::isfinite(point.score)) continue;
    if (best == nullptr || point.score > best->score) best = &point;
  }
  return best;
}

}  // namespace

TuningState tuning_state(const Grid& grid, const std::string& database) {
  if (grid.tune.empty()) return {};
  check_readouts(grid);
  Scores scores(database);
  return plan_tuning(grid, [&scores](const Config& run, const std::string& tuned_for) {
    return scores.of(run, tuned_for);
  });
}

std::vector<Config> wanted_now(const Grid& grid, const TuningState& state) {
  if (grid.tune.empty()) return grid.runs;
  std::vector<Config> wanted = state.trials();
  if (!state.complete()) return wanted;
  for (const Config& run : final_runs(grid, state)) wanted.push_back(run);
  return wanted;
}

GridMembers members_of(const Grid& grid, const TuningState& state) {
  if (grid.tune.empty()) return {{}, {grid.runs.begin(), grid.runs.end()}};
  GridMembers members{state.trials(), {}};
  for (std::size_t i = 0; i < grid.runs.size(); ++i) {
    members.runs.push_back(final_run(grid, state, i));
  }
  return members;
}

std::vector<TuningRecord> tuning_records(const Grid& grid, const TuningState& state) {
  std::vector<TuningRecord> records;
  for (const TuningCell& cell : state.cells) {
    if (!cell.complete) continue;
    for (std::size_t i = 0; i < cell.points.size(); ++i) {
      const TuningPoint& point = cell.points[i];
      for (std::size_t seed = 0; seed < point.runs.size(); ++seed) {
        const Config& run = point.runs[seed];
        records.push_back({grid.name, cell.method, point.text, run.integer("seed"), run.id(),
                           point.scores[seed], i == cell.best, cell.tuned_for, point.round,
                           static_cast<std::int64_t>(cell.points.size())});
      }
    }
  }
  return records;
}

TuningPlanRecord tuning_plan(const Grid& grid, const TuningState& state) {
  TuningPlanRecord plan;
  plan.grid = grid.name;
  plan.trials = grid.tune.trials;
  plan.seeds = static_cast<std::int64_t>(grid.tune.seeds.size());
  plan.axes = describe(grid.tune);
  plan.cells = join(telling_options(state), ", ");
  plan.measure = in_bits(grid.runs.front()) ? "loss" : "accuracy";
  for (std::size_t i = 0; i < grid.runs.size(); ++i) {
    if (const auto run = final_run(grid, state, i)) {
      plan.runs.emplace_back(run->id(), state.cells[state.cell_of_run[i]].method);
    }
  }
  return plan;
}

std::string describe_choices(const TuningState& state) {
  QueryResult table;
  table.columns = {"tuned", "trials", "rounds", "chosen", "score", "best rival", "its score"};
  for (const TuningCell& cell : state.cells) {
    const TuningPoint& best = cell.points.at(cell.best);
    const TuningPoint* rival = best_rival(cell);
    const auto score = [](const TuningPoint& point) { return fmt::format("{:.4f}", point.score); };
    table.rows.push_back({short_name(cell, state), std::to_string(cell.points.size()),
                          std::to_string(cell.points.back().round + 1), best.text, score(best),
                          rival == nullptr ? "" : rival->text,
                          rival == nullptr ? "" : score(*rival)});
    table.null.emplace_back(table.columns.size(), false);
  }
  return render(table, QueryFormat::kAligned);
}

}  // namespace tandem
