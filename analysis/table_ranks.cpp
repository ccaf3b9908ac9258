#include "analysis/table_ranks.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "analysis/ranks.h"
#include "analysis/statistics.h"
#include "analysis/table_paired.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

using Keys = std::vector<std::string>;

constexpr int kRankDecimals = 2;

Keys keys_of_run(const RunData& run, const Keys& names) {
  Keys keys;
  for (const std::string& name : names) keys.push_back(run.column(name));
  return keys;
}

std::string method_name(const Keys& method) { return join(method, ", "); }

// "Friedman's chi^2 = 8.35, ... over 6 blocks".
std::string friedman_text(const RankStudy& study, const std::string& label, const Keys& over) {
  std::string text = fmt::format("{}: {} values of {}", label, study.blocks, join(over, ", "));
  if (!study.p) return text + ", in which nothing differs.";
  text += fmt::format("; Friedman's chi^2 = {:.3g}, Iman and Davenport's F = {:.3g}, {}.",
                      *study.chi_squared, *study.f, p_text(*study.p));
  if (study.out_of_reach) {
    text += fmt::format(" With so few, no pair can be told apart at {:g}% after the correction.",
                        100 * kSignificance);
  }
  return text;
}

std::string groups_text(const RankStudy& study, const std::vector<Keys>& methods) {
  Keys groups;
  for (const auto& group : study.groups) {
    Keys names;
    for (const std::size_t method : group) names.push_back(method_name(methods[method]));
    groups.push_back("{" + join(names, "; ") + "}");
  }
  return groups.empty() ? "" : " Not told apart: " + join(groups, ", ") + ".";
}

}  // namespace

bool is_higher_better(const TablePlan& plan, const Measure& measure) {
  const Direction direction = direction_said(plan, measure);
  if (direction == Direction::kNone) {
    throw ConfigError(
        fmt::format("table {}: nothing says whether more or less of {} is better, and "
                    "ranks need it: name it in higher or lower",
                    plan.name, measure.label));
  }
  return direction == Direction::kHigher;
}

RankedRuns ranked_runs(const RunSet& set, const TablePlan& plan, const Measure& measure,
                       const std::string& split) {
  RankedRuns ranked;
  struct Values {
    double sum = 0;
    int n = 0;
    Keys runs;
  };
  std::map<Keys, std::map<Keys, Values>> by_block;
  std::set<Keys> seen_methods, seen_blocks;
  std::vector<Keys> blocks;
  for (const RunData& run : set.runs) {
    if (run.diverged()) {
      ++ranked.diverged;
      continue;
    }
    const auto value = value_of(run, measure, split);
    if (!value) continue;
    const Keys method = keys_of_run(run, plan.ranks), block = keys_of_run(run, plan.over);
    if (seen_methods.insert(method).second) ranked.methods.push_back(method);
    if (seen_blocks.insert(block).second) blocks.push_back(block);
    Values& values = by_block[block][method];
    values.sum += *value;
    ++values.n;
    values.runs.push_back(run.id);
  }
  for (const Keys& block : blocks) {
    const auto& own = by_block[block];
    if (own.size() < ranked.methods.size()) {
      ++ranked.left_out;
      continue;
    }
    ranked.blocks.push_back(block);
    ranked.scores.emplace_back();
    ranked.runs.resize(ranked.methods.size());
    for (std::size_t i = 0; i < ranked.methods.size(); ++i) {
      const Values& values = own.at(ranked.methods[i]);
      ranked.runs[i].insert(ranked.runs[i].end(), values.runs.begin(), values.runs.end());
      ranked.scores.back().push_back(values.sum / values.n);
    }
  }
  if (ranked.methods.size() < 2 || ranked.blocks.size() < 2) {
    throw ConfigError(fmt::format(
        "table {}: ranks compare two or more methods ({}) over two or more values of {}, and {} "
        "methods have {} over {} of them",
        plan.name, join(plan.ranks, ", "), join(plan.over, ", "), ranked.methods.size(),
        measure.label, ranked.blocks.size()));
  }
  return ranked;
}

void add_ranks(Table& table, const RunSet& set, const TablePlan& plan, const std::string& split) {
  table.key_names = {"measure"};
  table.key_names.insert(table.key_names.end(), plan.ranks.begin(), plan.ranks.end());
  const auto add_column = [&table](const std::string& label, Direction better) {
    Measure column;
    column.text = column.label = column.name = label;
    column.kind = Measure::Kind::kRun;
    table.columns.push_back(label);
    table.heads.push_back({"", label, better});
    table.measures.push_back(column);
  };
  add_column("mean rank", Direction::kLower);
  std::vector<std::string> notes;
  std::vector<Keys> columns;  // the methods that p is against
  struct Made {
    const Measure* measure;
    RankedRuns ranked;
    RankStudy study;
  };
  std::vector<Made> made;
  for (const Measure& measure : plan.measures) {
    RankedRuns ranked = ranked_runs(set, plan, measure, split);
    RankStudy study = rank_study(ranked.scores, is_higher_better(plan, measure));
    for (const Keys& method : ranked.methods) {
      if (std::find(columns.begin(), columns.end(), method) != columns.end()) continue;
      columns.push_back(method);
      add_column("p " + method_name(method), Direction::kNone);
    }
    notes.push_back(friedman_text(study, measure.label, plan.over) +
                    groups_text(study, ranked.methods));
    if (ranked.left_out > 0)
      notes.back() += fmt::format(" {} are left out, since not all methods have a value there.",
                                  ranked.left_out);
    if (ranked.diverged > 0)
      notes.back() += fmt::format(" {} runs diverged; means are over the others.", ranked.diverged);
    made.push_back({&measure, std::move(ranked), std::move(study)});
  }
  for (const Made& each : made) {
    for (std::size_t i = 0; i < each.ranked.methods.size(); ++i) {
      TableRow row;
      row.keys = {each.measure->label};
      row.keys.insert(row.keys.end(), each.ranked.methods[i].begin(), each.ranked.methods[i].end());
      TableCell rank;
      rank.mean = each.study.mean_ranks[i];
      rank.form = {.decimals = kRankDecimals};
      rank.n = rank.n_values = each.study.blocks;
      rank.runs = each.ranked.runs[i];
      row.cells.push_back(rank);
      for (const Keys& other : columns) {
        TableCell p;
        const auto at = std::find(each.ranked.methods.begin(), each.ranked.methods.end(), other);
        const auto j = static_cast<std::size_t>(at - each.ranked.methods.begin());
        if (at != each.ranked.methods.end() && j != i && !each.study.out_of_reach) {
          p = rank;
          p.mean = each.study.pairwise[i][j];
          p.form = {.decimals = 3};
          p.runs.insert(p.runs.end(), each.ranked.runs[j].begin(), each.ranked.runs[j].end());
          if (*p.mean <= kSignificance) p.marks.push_back("*");
        }
        row.cells.push_back(p);
      }
      table.rows.push_back(std::move(row));
    }
  }
  table.notes.push_back(fmt::format(
      "Mean ranks of {} over the values of {}, 1 being the best; a value is the mean over runs. p "
      "of "
      "each pair is that of the exact Wilcoxon signed-rank test over these values after Holm's "
      "correction over all pairs; * marks {:g}%. Split: {}.",
      join(plan.ranks, ", "), join(plan.over, ", "), 100 * kSignificance, split));
  table.notes.insert(table.notes.end(), notes.begin(), notes.end());
}

}  // namespace tandem
