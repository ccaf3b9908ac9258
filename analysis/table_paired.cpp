// Rows find their reference by their keys alone; runs find their partner by their seeds.
#include "analysis/table_paired.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "config/option.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

using Keys = std::vector<std::string>;
using Group = std::vector<const RunData*>;

std::string place_text(const Keys& place, const Keys& names) {
  Keys pairs;
  for (std::size_t i = 0; i < names.size(); ++i) pairs.push_back(names[i] + "=" + place[i]);
  return join(pairs, " ");
}

const Condition* condition_on(const std::vector<Condition>& versus, const std::string& name) {
  const auto found = std::find_if(versus.begin(), versus.end(),
                                  [&name](const Condition& c) { return c.key == name; });
  return found == versus.end() ? nullptr : &*found;
}

bool meets(const Keys& place, const Keys& names, const std::vector<Condition>& versus) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Condition* c = condition_on(versus, names[i]);
    if (c != nullptr && !same_value(place[i], c->values.front())) return false;
  }
  return true;
}

// Nothing of the row's runs reads the option.
bool lacks(const std::string& name, const std::string& value) {
  const Option* option = find_option(name);
  return value.empty() || (option != nullptr && option->of_part && value == option->neutral);
}

// `loose`: tuned_for may differ, and an option that only one of the two has.
bool fits(const Keys& place, const Keys& own, const Keys& names,
          const std::vector<Condition>& versus, bool loose) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (condition_on(versus, names[i]) != nullptr || place[i] == own[i]) continue;
    if (!loose ||
        (names[i] != "tuned_for" && !lacks(names[i], place[i]) && !lacks(names[i], own[i])))
      return false;
  }
  return true;
}

std::vector<Keys> only_own_tuned(const std::vector<Keys>& places, const Keys& names) {
  const auto at = std::find(names.begin(), names.end(), "tuned_for") - names.begin();
  std::vector<Keys> found;
  for (const Keys& place : places)
    if (at < static_cast<std::ptrdiff_t>(names.size()) && place[at] == "own")
      found.push_back(place);
  return found;
}

std::string seeds_text(const Keys& seeds, const std::string& where) {
  return fmt::format("seed {} in {}", join(seeds, ", "), where);
}

std::vector<bool> survivors(const Table& table, std::size_t column) {
  std::vector<double> ps;
  for (const TableRow& row : table.rows)
    if (row.cells[column].p) ps.push_back(*row.cells[column].p);
  return holm_rejects(ps, kSignificance);
}

}  // namespace

std::optional<Keys> reference_of(const Keys& own, const Keys& names,
                                 const std::vector<Condition>& versus,
                                 const std::vector<Keys>& places) {
  std::vector<Keys> candidates;
  for (const Keys& place : places)
    if (meets(place, names, versus)) candidates.push_back(place);
  if (candidates.empty())
    throw ConfigError(
        fmt::format("no row of the table has {}, which a column compares with; it has {}",
                    conditions_text(versus), [&] {
                      Keys shown;
                      for (const Keys& p : places) shown.push_back(place_text(p, names));
                      return join(shown, "; ");
                    }()));
  std::vector<Keys> fitting;
  for (const bool loose : {false, true}) {
    for (const Keys& place : candidates)
      if (fits(place, own, names, versus, loose)) fitting.push_back(place);
    if (!fitting.empty()) break;
  }
  if (fitting.size() > 1) {
    const std::vector<Keys> preferred = only_own_tuned(fitting, names);
    if (preferred.size() == 1) fitting = preferred;
  }
  if (fitting.size() > 1) {
    Keys shown;
    for (const Keys& p : fitting) shown.push_back(place_text(p, names));
    throw ConfigError(fmt::format(
        "row {} has several references with {}: {}; one is expected, so add what parts them, such "
        "as vs {} tuned_for=sparse",
        place_text(own, names), conditions_text(versus), join(shown, "; "),
        conditions_text(versus)));
  }
  if (fitting.empty() || fitting.front() == own) return std::nullopt;
  return fitting.front();
}

std::map<Keys, const RunData*> by_seed(const Group& group, const Keys& seed_names,
                                       const std::string& what, const std::string& advice) {
  std::map<Keys, const RunData*> found;
  for (const RunData* run : group) {
    Keys seeds;
    for (const std::string& name : seed_names) seeds.push_back(run->column(name));
    if (!found.emplace(seeds, run).second)
      throw ConfigError(
          fmt::format("{}: seed {} has several runs, so that they cannot be paired; {}", what,
                      run->column("seed"), advice));
  }
  return found;
}

TableCell mean_cell(const std::vector<double>& values, const std::vector<std::string>& runs,
                    const NumberForm& form) {
  const Summary s = summarize(values);
  TableCell cell;
  cell.runs = runs;
  cell.n = cell.n_values = s.n;
  if (s.n == 0) return cell;
  cell.mean = s.mean;
  cell.half = s.half;
  cell.form = form;
  return cell;
}

void mark_survivor(TableCell& cell, bool survives) {
  cell.holm = survives;
  if (survives) cell.marks.insert(cell.marks.begin(), "*");
}

PairedRuns pair_runs(const Group& own, const Group& reference, const Measure& m,
                     const std::string& split, const Keys& seed_names, const HypothesisTest& test) {
  const std::string what = fmt::format("column \"{}\"", m.text);
  const std::string advice = "name what they differ in in rows, across or where";
  const auto first = by_seed(own, seed_names, what, advice),
             second = by_seed(reference, seed_names, what, advice);
  PairedRuns pairs;
  std::vector<double> a, b;
  Keys here, there, both;
  for (const auto& [seeds, run] : first) {
    const auto found = second.find(seeds);
    if (found == second.end()) continue;
    const RunData* other = found->second;
    if (run->diverged() || other->diverged()) {
      Keys& where = !other->diverged() ? here : !run->diverged() ? there : both;
      where.push_back(run->column("seed"));
      for (const RunData* r : {run, other})
        if (r->diverged()) pairs.diverged.push_back(r->id);
      continue;
    }
    const auto x = value_of(*run, m, split), y = value_of(*other, m, split);
    if (!x || !y) continue;
    a.push_back(*x);
    b.push_back(*y);
    pairs.runs.push_back(run->id);
    pairs.reference.push_back(other->id);
  }
  pairs.lost = here.size() + there.size() + both.size();
  Keys lost;
  if (!here.empty()) lost.push_back(seeds_text(here, "this row"));
  if (!there.empty()) lost.push_back(seeds_text(there, versus_text(m)));
  if (!both.empty()) lost.push_back(seeds_text(both, "both"));
  pairs.lost_where = join(lost, ", ");
  pairs.test = compare(test, a, b);
  return pairs;
}

std::string p_text(double p) {
  if (p < 0.0005) return "p<.001";
  const std::string digits = fmt::format("{:.3f}", p);
  return "p=" + (digits[0] == '0' ? digits.substr(1) : digits);
}

std::string versus_text(const Measure& m) { return conditions_text(m.versus); }

std::string out_of_reach_note(const Table& table, const HypothesisTest& test) {
  for (const TableRow& row : table.rows) {
    for (const TableCell& cell : row.cells) {
      if (cell.out_of_reach)
        return fmt::format(
            "Where there is no p, {} cannot have one below {:g}% with so few values, or so many "
            "that "
            "are equal.",
            test.text, 100 * kSignificance);
    }
  }
  return "";
}

void mark_survivors(Table& table, const HypothesisTest& test) {
  Keys counts;
  bool any = false;
  for (std::size_t j = 0; j < table.columns.size(); ++j) {
    if (table.measures[j].versus.empty()) continue;
    any = true;
    const std::vector<bool> survives = survivors(table, j);
    if (!survives.empty())
      counts.push_back(fmt::format("{} in {}", survives.size(), table.columns[j]));
    std::size_t i = 0;
    for (TableRow& row : table.rows) {
      TableCell& c = row.cells[j];
      if (!c.p) continue;
      mark_survivor(c, survives[i++]);
    }
  }
  if (!any) return;
  std::string note = fmt::format(
      "Differences from a reference row (vs) are means over the common seeds of the "
      "row's value minus the reference's, with {} and the two-sided p of {}.",
      interval_text(test), test.text);
  if (!counts.empty())
    note += fmt::format(
        " Comparisons: {}; * marks those that survive Holm's correction at 5% over their column.",
        join(counts, ", "));
  table.notes.push_back(note);
  const std::string missing = out_of_reach_note(table, test);
  if (!missing.empty()) table.notes.push_back(missing);
}

}  // namespace tandem
