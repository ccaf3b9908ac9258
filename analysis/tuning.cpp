#include "analysis/tuning.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "analysis/query.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr std::size_t kShown = 6;  // trials of an explained choice

std::optional<double> number_at(const QueryResult& q, std::size_t row, std::size_t column) {
  if (q.null[row][column]) return std::nullopt;
  return parse_real(q.rows[row][column]);
}

TunedCell read_cell(const StoreReader& store, const std::string& grid, const std::string& method) {
  const QueryResult q = store.query(
      "SELECT r.trial, r.run, coalesce(r.state, ''), r.seed, r.round, r.score, r.chosen, r.readout"
      " FROM v_tuning r JOIN v_trial t ON t.grid = r.grid AND t.method = r.method AND"
      " t.trial = r.trial AND t.readout = r.readout WHERE r.grid = ? AND r.method = ?"
      " ORDER BY t.score DESC NULLS LAST, r.trial, r.seed",
      {grid, method});
  TunedCell cell{grid, method, "own", {}, {}};
  for (std::size_t i = 0; i < q.rows.size(); ++i) {
    const auto& row = q.rows[i];
    cell.trials.push_back({row[0], row[1], row[2], parse_integer(row[3]).value_or(0),
                           parse_integer(row[4]).value_or(0), number_at(q, i, 5), row[6] == "1"});
    cell.readout = row[7];
  }
  return cell;
}

// What a plan says of its grid; nothing where an older version tuned it.
struct Plan {
  std::int64_t trials = 0, seeds = 1;
  std::string axes, cells, measure;
};

std::optional<Plan> read_plan(const StoreReader& store, const std::string& grid) {
  const QueryResult q = store.query(
      "SELECT trials, seeds, axes, cells, measure FROM tuning_plan WHERE grid = ?", {grid});
  if (q.rows.empty()) return std::nullopt;
  const auto& row = q.rows.front();
  return Plan{parse_integer(row[0]).value_or(0), parse_integer(row[1]).value_or(1), row[2], row[3],
              row[4]};
}

// "16 log-uniform trials (up to 24 with extensions)", "12 trials", "1 to 12 trials".
std::string count_text(const Plan& plan, std::size_t least, std::size_t most) {
  if (plan.trials == 0) {
    return least == most ? fmt::format("{} trials", most)
                         : fmt::format("{} to {} trials", least, most);
  }
  const auto drawn = static_cast<std::size_t>(plan.trials);
  const bool linear = plan.axes.find("(linear)") != std::string::npos;
  return fmt::format("{}{}{} trials{}", least < drawn ? fmt::format("{} to ", least) : "", drawn,
                     linear ? "" : " log-uniform",
                     most > drawn ? fmt::format(" (up to {} with extensions)", most) : "");
}

std::string readout_text(const std::set<std::string>& readouts) {
  if (readouts == std::set<std::string>{"own"}) {
    return "in the method's own read-outs (the mean over the streams that it trains)";
  }
  return readouts.count("own") == 0
             ? "in the read-out that tuned_for names"
             : "in the read-out that tuned_for names (own: the mean over the streams that the "
               "method trains)";
}

std::string note_of_grid(const Plan& plan, const std::vector<const TunedCell*>& cells) {
  std::size_t least = cells.front()->points(), most = least;
  std::set<std::string> readouts;
  for (const TunedCell* cell : cells) {
    least = std::min(least, cell->points());
    most = std::max(most, cell->points());
    readouts.insert(cell->readout);
  }
  return fmt::format("Tuned{}: {} over {}, chosen by validation {} {}, {} seed{} per trial.",
                     plan.cells.empty() ? "" : " per " + plan.cells, count_text(plan, least, most),
                     plan.axes, plan.measure, readout_text(readouts), plan.seeds,
                     plan.seeds == 1 ? "" : "s");
}

}  // namespace

std::size_t TunedCell::points() const {
  std::set<std::string> tried;
  for (const TunedTrial& trial : trials) tried.insert(trial.point);
  return tried.size();
}

std::vector<TunedCell> tuned_cells(const StoreReader& store, const std::vector<std::string>& runs) {
  const QueryResult q =
      store.query("SELECT run_id, grid, method FROM tuned_run ORDER BY grid, method");
  std::map<std::string, std::vector<std::size_t>> rows_of_run;
  for (std::size_t i = 0; i < q.rows.size(); ++i) rows_of_run[q.rows[i][0]].push_back(i);
  std::map<std::pair<std::string, std::string>, std::size_t> index;
  std::vector<TunedCell> cells;
  for (const std::string& run : runs) {
    const auto found = rows_of_run.find(run);
    if (found == rows_of_run.end()) continue;
    for (const std::size_t i : found->second) {
      const auto& row = q.rows[i];
      const auto [at, added] = index.emplace(std::pair(row[1], row[2]), cells.size());
      if (added) cells.push_back(read_cell(store, row[1], row[2]));
      cells[at->second].runs.push_back(run);
    }
  }
  return cells;
}

std::vector<TunedCell> cells_of_trial(const StoreReader& store, const std::string& run) {
  const QueryResult q = store.query(
      "SELECT DISTINCT grid, method FROM tuning WHERE run_id = ? ORDER BY grid, method", {run});
  std::vector<TunedCell> cells;
  for (const auto& row : q.rows) cells.push_back(read_cell(store, row[0], row[1]));
  return cells;
}

std::vector<std::string> tuning_notes(const StoreReader& store,
                                      const std::vector<TunedCell>& cells) {
  std::vector<std::string> grids;
  std::map<std::string, std::vector<const TunedCell*>> of_grid;
  for (const TunedCell& cell : cells) {
    if (of_grid[cell.grid].empty()) grids.push_back(cell.grid);
    of_grid[cell.grid].push_back(&cell);
  }
  std::vector<std::string> notes;
  for (const std::string& grid : grids) {
    if (const auto plan = read_plan(store, grid)) {
      notes.push_back(note_of_grid(*plan, of_grid[grid]));
    }
  }
  return notes;
}

std::string explain_choice(const TunedCell& cell) {
  std::string text = fmt::format("tuned in grid {} for {}: {} trials, scored in the read-out {}\n",
                                 cell.grid, cell.method, cell.points(), cell.readout);
  QueryResult table;
  table.columns = {"run", "trial", "seed", "round", "score", "state", "chosen"};
  const auto add = [&table](const TunedTrial& trial) {
    table.rows.push_back({trial.run.substr(0, 12), trial.point, std::to_string(trial.seed),
                          std::to_string(trial.round),
                          trial.score ? fmt::format("{:.5f}", *trial.score) : "", trial.state,
                          trial.chosen ? "yes" : ""});
    table.null.emplace_back(table.columns.size(), false);
  };
  for (const TunedTrial& trial : cell.trials)
    if (trial.chosen) add(trial);
  for (const TunedTrial& trial : cell.trials)
    if (!trial.chosen && table.rows.size() < kShown) add(trial);
  text += render(table, QueryFormat::kAligned);
  if (cell.trials.size() > table.rows.size()) {
    text += fmt::format("and {} more: tandem query tuning, or v_tuning\n",
                        cell.trials.size() - table.rows.size());
  }
  return text;
}

}  // namespace tandem
