#include "analysis/table_diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "analysis/figure_labels.h"
#include "analysis/table_paired.h"
#include "config/option.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

using Group = std::vector<const RunData*>;
using Names = std::vector<std::string>;

constexpr std::size_t kMostNamed = 8;  // settings that a note lists

// Options that tell settings apart.
Names options_of(const RunSet& set) {
  Names names;
  for (const std::string& name : set.column_names)
    if (!is_of_repetition(name) && !is_outcome(name)) names.push_back(name);
  return names;
}

std::set<std::string> values_of(const RunSet& set, const std::string& name) {
  std::set<std::string> values;
  for (const RunData& run : set.runs) values.insert(run.column(name));
  return values;
}

// Options that have one value here and another one there.
Names parting(const DiffSide& first, const DiffSide& second, const Names& options) {
  Names names;
  for (const std::string& name : options) {
    const auto a = values_of(first.set, name), b = values_of(second.set, name);
    if (a.size() == 1 && b.size() == 1 && a != b) names.push_back(name);
  }
  return names;
}

struct Grouped {
  std::vector<Names> order;
  std::map<Names, Group> groups;
};

Grouped grouped(const RunSet& set, const Names& options) {
  Grouped all;
  for (const RunData& run : set.runs) {
    Names key;
    for (const std::string& name : options) key.push_back(run.column(name));
    Group& group = all.groups[key];
    if (group.empty()) all.order.push_back(key);
    group.push_back(&run);
  }
  return all;
}

struct SidePairs {
  std::vector<double> first, second;
  Names first_runs, second_runs, diverged;
  std::size_t lost = 0;
};

SidePairs pairs_of(const Group& first, const Group& second, const Measure& measure,
                   const DiffSide& a, const DiffSide& b, const Names& seeds) {
  const std::string advice = "name one of the grids, or a database with one of them";
  const auto here = by_seed(first, seeds, a.name, advice),
             there = by_seed(second, seeds, b.name, advice);
  SidePairs pairs;
  for (const auto& [seed, run] : here) {
    const auto other = there.find(seed);
    if (other == there.end()) continue;
    if (run->diverged() || other->second->diverged()) {
      ++pairs.lost;
      for (const RunData* each : {run, other->second})
        if (each->diverged()) pairs.diverged.push_back(each->id);
      continue;
    }
    const auto x = value_of(*run, measure, a.split), y = value_of(*other->second, measure, b.split);
    if (!x || !y) continue;
    pairs.first.push_back(*x);
    pairs.second.push_back(*y);
    pairs.first_runs.push_back(run->id);
    pairs.second_runs.push_back(other->second->id);
  }
  return pairs;
}

// Returns whether the sides are equal in every pair.
bool add_cells(TableRow& row, const SidePairs& pairs, const Measure& measure,
               const HypothesisTest& test) {
  const NumberForm form{is_share(measure), decimals(measure), false};
  row.cells.push_back(mean_cell(pairs.first, pairs.first_runs, form));
  row.cells.push_back(mean_cell(pairs.second, pairs.second_runs, form));
  TableCell difference;
  difference.runs = pairs.first_runs;
  difference.reference = pairs.second_runs;
  difference.diverged = pairs.diverged;
  difference.n_values = pairs.first.size();
  difference.n = pairs.first.size() + pairs.lost;
  if (!pairs.first.empty()) {
    const PairedTest made = compare(test, pairs.first, pairs.second);
    difference.mean = made.mean_difference;
    difference.half = made.half;
    difference.p = made.p;
    difference.out_of_reach = made.out_of_reach;
    difference.form = form;
    difference.form.is_signed = true;
  }
  if (pairs.lost > 0) difference.marks.push_back(fmt::format("({} diverged)", pairs.lost));
  row.cells.push_back(difference);
  return !pairs.first.empty() && pairs.first == pairs.second;
}

// Marks what has fewer pairs than most; a sentence that says how many these are.
std::string mark_counts(Table& table) {
  std::size_t most = 0;
  for (const TableRow& row : table.rows)
    for (const TableCell& cell : row.cells) most = std::max(most, cell.n_values);
  for (TableRow& row : table.rows) {
    for (std::size_t j = 2; j < row.cells.size(); j += 3) {
      TableCell& cell = row.cells[j];
      if (cell.n_values != most && cell.mean)
        cell.marks.push_back(fmt::format("(n={})", cell.n_values));
    }
  }
  return fmt::format("n = {} pairs where nothing else is said.", most);
}

// Which settings of one side the other has not, by their labels.
std::string only_in(const Grouped& own, const Grouped& other, const std::string& name,
                    const Names& keys) {
  Names labels;
  for (const Names& setting : own.order) {
    if (other.groups.count(setting) == 0)
      labels.push_back(label_of(*own.groups.at(setting).front(), keys));
  }
  if (labels.empty()) return "";
  const std::size_t count = labels.size();
  if (count > kMostNamed) {
    labels.resize(kMostNamed);
    labels.push_back("...");
  }
  return fmt::format("{} {} in {} alone: {}.", count, count == 1 ? "setting is" : "settings are",
                     name, join(labels, "; "));
}

}  // namespace

Table diff_table(const DiffSide& first, const DiffSide& second,
                 const std::vector<Measure>& measures, const HypothesisTest& test) {
  Names options = options_of(first.set);
  const Names apart = parting(first, second, options);
  std::erase_if(options, [&](const std::string& name) {
    return std::find(apart.begin(), apart.end(), name) != apart.end();
  });
  Names seeds;
  for (const std::string& name : first.set.column_names)
    if (is_seed(name)) seeds.push_back(name);
  const Grouped here = grouped(first.set, options), there = grouped(second.set, options);
  RunSet both{.column_names = first.set.column_names, .runs = first.set.runs};
  both.runs.insert(both.runs.end(), second.set.runs.begin(), second.set.runs.end());
  for (RunData& run : both.runs)
    for (const std::string& name : apart) run.columns.erase(name);
  const Names keys = label_keys(both, {"weights", "attention"});
  Table table;
  table.name = "diff";
  table.title = fmt::format("A: {}; B: {}", first.name, second.name);
  table.key_names = {"setting"};
  for (const Measure& measure : measures) {
    const std::string span = measure.label;
    for (const char* side : {"A", "B", "A - B"}) {
      table.measures.push_back(measure);
      table.columns.push_back(span + " " + side);
      table.heads.push_back({span, side, Direction::kNone});
    }
    table.measures.back().versus = {{"side", {"B"}}};
  }
  std::vector<std::size_t> equal(measures.size(), 0);  // rows, of each measure
  for (const Names& setting : here.order) {
    const auto found = there.groups.find(setting);
    if (found == there.groups.end()) continue;
    TableRow row;
    row.keys = {label_of(*here.groups.at(setting).front(), keys)};
    for (std::size_t m = 0; m < measures.size(); ++m) {
      const SidePairs pairs =
          pairs_of(here.groups.at(setting), found->second, measures[m], first, second, seeds);
      equal[m] += add_cells(row, pairs, measures[m], test);
    }
    table.rows.push_back(std::move(row));
  }
  const std::string only_first = only_in(here, there, "A", keys),
                    only_second = only_in(there, here, "B", keys);
  if (table.rows.empty()) {
    throw ConfigError(fmt::format("{} and {} have no setting in common. {} {}", first.name,
                                  second.name, only_first, only_second));
  }
  table.notes.push_back(
      fmt::format("Means over the seeds that both sides have; differences are A less B, with {} "
                  "and the two-sided "
                  "p of {}; * marks those that survive Holm's correction at {:g}% over their "
                  "column. Split: {}{}.",
                  interval_text(test), test.text, 100 * kSignificance, first.split,
                  first.split == second.split ? "" : " of A, " + second.split + " of B"));
  table.notes.push_back(mark_counts(table));
  Names counts;
  for (std::size_t j = 2; j < table.columns.size(); j += 3) {
    std::vector<double> ps;
    std::size_t survive = 0;
    for (const TableRow& row : table.rows) {
      if (row.cells[j].p) ps.push_back(*row.cells[j].p);
    }
    const std::vector<bool> survives = holm_rejects(ps, kSignificance);
    std::size_t i = 0;
    for (TableRow& row : table.rows) {
      if (!row.cells[j].p) continue;
      survive += survives[i];
      mark_survivor(row.cells[j], survives[i++]);
    }
    const std::size_t same = equal[j / 3], untested = table.rows.size() - ps.size() - same;
    counts.push_back(fmt::format("of {} {} differ, {} are equal in every seed", table.heads[j].span,
                                 survive, same));
    if (untested > 0)
      counts.back() +=
          fmt::format(", {} have too few pairs, or too little spread, for a test", untested);
  }
  table.notes.push_back(fmt::format("{} {} in both: {}.", table.rows.size(),
                                    table.rows.size() == 1 ? "setting is" : "settings are",
                                    join(counts, "; ")));
  for (const std::string& name : apart) {
    table.notes.push_back(fmt::format("{} is {} in A and {} in B.", name,
                                      *values_of(first.set, name).begin(),
                                      *values_of(second.set, name).begin()));
  }
  for (const std::string& note : {only_first, only_second, out_of_reach_note(table, test)})
    if (!note.empty()) table.notes.push_back(note);
  return table;
}

}  // namespace tandem
