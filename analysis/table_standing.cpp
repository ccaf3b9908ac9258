#include "analysis/table_standing.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "analysis/hypothesis_tests.h"
#include "analysis/statistics.h"
#include "analysis/table_centre.h"
#include "analysis/table_paired.h"
#include "core/text.h"

namespace tandem {
namespace {

using Rows = std::vector<std::size_t>;

// The table's rows, those together that are compared.
std::vector<Rows> compared(const Table& table, const TablePlan& plan) {
  std::map<std::vector<std::string>, Rows> groups;
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    std::vector<std::string> key;
    for (std::size_t k = 0; k < plan.rows.size(); ++k) {
      if (std::count(plan.within.begin(), plan.within.end(), plan.rows[k]) != 0) {
        key.push_back(table.rows[i].keys[k]);
      }
    }
    groups[key].push_back(i);
  }
  std::vector<Rows> all;
  for (auto& [key, rows] : groups) all.push_back(std::move(rows));
  return all;
}

// Those that may be called the best in a column, from the best on; equal means in their order.
Rows ranked(const Table& table, std::size_t column, const Rows& among) {
  const auto cell = [&](std::size_t i) -> const TableCell& { return table.rows[i].cells[column]; };
  std::size_t most = 0;
  for (const std::size_t i : among) most = std::max(most, cell(i).n_values);
  Rows rows;
  for (const std::size_t i : among) {
    if (cell(i).mean && cell(i).n_values == most) rows.push_back(i);
  }
  const bool higher = table.heads[column].better == Direction::kHigher;
  std::stable_sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) {
    return higher ? *cell(a).mean > *cell(b).mean : *cell(a).mean < *cell(b).mean;
  });
  return rows;
}

// Of the rows after the best one, those that no test tells from it.
std::vector<bool> tied_with_best(const Table& table, std::size_t column, const Rows& rows,
                                 const StandingRuns& runs, const HypothesisTest& test) {
  std::vector<double> ps;
  std::vector<bool> tested;
  const auto best = runs.runs_of(rows.front(), column);
  for (std::size_t k = 1; k < rows.size(); ++k) {
    const PairedRuns pairs = pair_runs(runs.runs_of(rows[k], column), best, table.measures[column],
                                       runs.split, runs.seed_names, test);
    // A test that can't have a p so low tells nothing from the best.
    tested.push_back(pairs.test.p.has_value() || pairs.test.out_of_reach);
    ps.push_back(pairs.test.p.value_or(1));
  }
  std::vector<bool> tied = holm_rejects(ps, kSignificance);
  for (std::size_t k = 0; k < tied.size(); ++k) tied[k] = tested[k] && !tied[k];
  return tied;
}

void mark_rows(Table& table, std::size_t column, const Rows& rows, const TablePlan& plan,
               const StandingRuns& runs) {
  if (rows.size() < 2) return;  // nothing to be better than
  const auto cell = [&](std::size_t k) -> TableCell& { return table.rows[rows[k]].cells[column]; };
  cell(0).standing = Standing::kBest;
  std::vector<bool> tied(rows.size() - 1, false);
  if (plan.bold == Bold::kTied)
    tied = tied_with_best(table, column, rows, runs, hypothesis_test(plan.test));
  bool second = false;
  for (std::size_t k = 1; k < rows.size(); ++k) {
    if (*cell(k).mean == *cell(0).mean) {
      cell(k).standing = Standing::kBest;
    } else if (tied[k - 1]) {
      cell(k).standing = Standing::kTied;
    } else if (!second) {
      cell(k).standing = Standing::kSecond;
      second = true;
    }
  }
}

}  // namespace

std::string mark_standing(Table& table, const TablePlan& plan, const StandingRuns& runs) {
  for (std::size_t j = 0; j < table.columns.size(); ++j) {
    if (table.heads[j].better == Direction::kNone) continue;
    for (const Rows& among : compared(table, plan)) {
      mark_rows(table, j, ranked(table, j, among), plan, runs);
    }
  }
  const std::string where =
      plan.within.empty() ? "of its column" : "among the rows of one " + join(plan.within, ", ");
  if (plan.bold == Bold::kBest) {
    return fmt::format(
        "Bold: the best {} {}, of those over most seeds, whatever a test says; underlined: the "
        "next.",
        centre_text(plan.centre), where);
  }
  return fmt::format(
      "Bold: the best {0} {1}, of those over most seeds, and those that {2} over "
      "common seeds does not tell from it at {3:g}% after Holm's correction over the rows compared "
      "with it; underlined: the next.",
      centre_text(plan.centre), where, hypothesis_test(plan.test).text, 100 * kSignificance);
}

}  // namespace tandem
