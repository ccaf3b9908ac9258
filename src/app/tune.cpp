#include "app/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "analysis/query.h"
#include "config/part.h"
#include "core/error.h"
#include "core/files.h"
#include "core/text.h"
#include "data/data_facts.h"
#include "jobs/planner.h"
#include "methods/method.h"

namespace tandem {
namespace {

bool is_bytes(const Config& run) { return data_facts(run).kind == Dataset::Kind::kBytes; }

// The read-outs of a level whose mean is the score.
std::vector<std::string> readouts_of(const Config& run, Level level, const std::string& tuned_for) {
  if (tuned_for != "own") return {tuned_for};
  const Schedule::Kind kind = policies_of(run, level).schedule.kind;
  std::vector<std::string> names;
  if (kind != Schedule::Kind::kSparse) names.push_back("full");
  if (kind != Schedule::Kind::kFull) names.push_back("sparse");
  return names;
}

// Scores of a database's runs: those of tables, at the end of each run.
class Scores {
 public:
  explicit Scores(const std::string& database) {
    if (!path_exists(database)) return;
    const StoreReader store(database);
    const QueryResult states = store.query("SELECT id, state FROM run");
    for (const auto& row : states.rows) states_[row[0]] = row[1];
    const QueryResult results = store.query(
        "SELECT run, weights_readout, weights_budget, attention_readout, attention_budget, masked,"
        " accuracy, loss FROM v_result WHERE split = 'validation'");
    for (const auto& row : results.rows) {
      results_[row[0]].push_back({row[1], row[3], parse_real(row[2]), parse_real(row[4]),
                                  row[5] == "1", parse_real(row[6]), parse_real(row[7])});
    }
  }

  std::optional<double> of(const Config& run, const std::string& tuned_for) const {
    const auto state = states_.find(run.id());
    if (state == states_.end() || !is_finished(state->second)) return std::nullopt;
    if (state->second == "diverged") return std::nan("");
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

  std::optional<double> of_readout(const Config& run, const std::string& weights,
                                   const std::string& attention) const {
    const auto found = results_.find(run.id());
    if (found == results_.end()) return std::nullopt;
    const auto& all = found->second;
    const bool masked =
        std::all_of(all.begin(), all.end(), [](const Result& each) { return each.masked; });
    for (const Result& each : all) {
      if (each.masked != masked || each.weights != weights) continue;
      if (each.attention != attention && each.attention != "none") continue;
      if (each.density && *each.density != run.real("density")) continue;
      if (each.blocks && *each.blocks != parse_real(run.text("blocks"))) continue;
      const auto value = is_bytes(run) ? each.loss : each.accuracy;
      if (!value) return std::nullopt;
      return is_bytes(run) ? -*value : *value;
    }
    return std::nullopt;
  }

  std::map<std::string, std::vector<Result>> results_;
  std::map<std::string, std::string> states_;
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
  const Scores scores(database);
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
  plan.measure = is_bytes(grid.runs.front()) ? "loss" : "accuracy";
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
