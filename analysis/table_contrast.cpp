// Every side's runs are found by conditions alone; seeds pair them.
#include "analysis/table_contrast.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "analysis/bayes.h"
#include "analysis/statistics.h"
#include "analysis/table_paired.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

using Group = std::vector<const RunData*>;
using Conditions = std::vector<Condition>;

constexpr double kPower = 0.8;
constexpr int kEffectDecimals = 2, kChanceDecimals = 3;

// The conditions but for what `changes` says; one without a value drops its key.
Conditions changed(Conditions conditions, const Conditions& changes) {
  for (const Condition& change : changes) {
    std::erase_if(conditions, [&](const Condition& c) { return c.key == change.key; });
    if (change.values != std::vector<std::string>{""}) conditions.push_back(change);
  }
  return conditions;
}

Group runs_that_meet(const Contrast& contrast, const RunSet& set, const Conditions& conditions) {
  for (const Condition& c : conditions) {
    if (std::find(set.column_names.begin(), set.column_names.end(), c.key) ==
        set.column_names.end())
      throw ConfigError(did_you_mean("key of contrast " + contrast.name, c.key, set.column_names));
  }
  Group group;
  for (const RunData& run : set.runs) {
    const bool meets = std::all_of(conditions.begin(), conditions.end(), [&](const Condition& c) {
      return std::any_of(c.values.begin(), c.values.end(), [&](const std::string& value) {
        return same_value(run.column(c.key), value);
      });
    });
    if (meets) group.push_back(&run);
  }
  if (group.empty())
    throw ConfigError(fmt::format("contrast {}: no run that is done or diverged has {}",
                                  contrast.name, conditions_text(conditions)));
  return group;
}

// Of, reference; with a second vs, likewise under what it says. All differ.
std::vector<Conditions> conditions_of(const Contrast& contrast) {
  std::vector<Conditions> wanted = {contrast.of, changed(contrast.of, contrast.versus[0])};
  if (contrast.versus.size() == 2) {
    for (std::size_t i = 0; i < 2; ++i) wanted.push_back(changed(wanted[i], contrast.versus[1]));
  }
  std::set<std::string> seen;
  for (Conditions each : wanted) {
    std::sort(each.begin(), each.end(),
              [](const Condition& x, const Condition& y) { return x.key < y.key; });
    if (!seen.insert(conditions_text(each)).second)
      throw ConfigError(
          fmt::format("contrast {}: two of its sides are the runs with {}; each vs must change "
                      "something of its "
                      "own",
                      contrast.name, conditions_text(each)));
  }
  return wanted;
}

std::vector<Group> sides(const Contrast& contrast, const RunSet& set) {
  std::vector<Group> groups;
  for (const Conditions& each : conditions_of(contrast)) {
    groups.push_back(runs_that_meet(contrast, set, each));
  }
  return groups;
}

void expect_keys(const Contrast& contrast, const Conditions& conditions) {
  const std::vector<std::string>& names = run_columns();
  for (const Condition& c : conditions) {
    if (std::find(names.begin(), names.end(), c.key) == names.end())
      throw ConfigError(did_you_mean("key of contrast " + contrast.name, c.key, names));
  }
}

struct Pairs {
  std::vector<double> first, second;                   // of each seed that all sides have
  std::vector<std::string> first_runs, second_runs;    // behind them
  std::vector<std::string> runs, reference, diverged;  // that count positively, and the others
  std::vector<std::string> lost;                       // seeds with a diverged run
  std::vector<std::string> beyond;                     // seeds of which a curve has no such value
  double scale = 0;                                    // the largest value
};

// A side's runs of each seed: one, or those of a curve.
using Side = std::map<std::vector<std::string>, Group>;

Side side_of(const Contrast& contrast, const Group& group,
             const std::vector<std::string>& seed_names) {
  std::map<std::string, Group> curves;  // by the option's text: each has a run of a seed once
  for (const RunData* run : group) {
    curves[contrast.at ? run->column(contrast.at->over) : std::string()].push_back(run);
  }
  Side side;
  for (const auto& [text, own] : curves) {
    for (const auto& [seeds, run] :
         by_seed(own, seed_names, "contrast " + contrast.name,
                 "add what they differ in to the contrast's conditions")) {
      side[seeds].push_back(run);
    }
  }
  return side;
}

// Of the runs of one seed, with what lies behind it.
std::optional<double> value_at(const Matched& at, const Measure& measure, const Group& runs,
                               const std::string& split, Group& behind) {
  struct Point {
    double place, by, value;
    const RunData* run;
  };
  std::vector<Point> curve;
  for (const RunData* run : runs) {
    const auto place = parse_real(run->column(at.over));
    const auto by = value_of(*run, at.by, split), value = value_of(*run, measure, split);
    if (!run->diverged() && place && by && value) curve.push_back({*place, *by, *value, run});
  }
  std::sort(curve.begin(), curve.end(),
            [](const Point& a, const Point& b) { return a.place < b.place; });
  for (std::size_t i = 0; i + 1 < curve.size(); ++i) {
    const Point &a = curve[i], &b = curve[i + 1];
    if ((a.by - at.value) * (b.by - at.value) > 0) continue;
    behind = {a.run, b.run};
    if (a.by == b.by) return a.value;
    return a.value + (at.value - a.by) / (b.by - a.by) * (b.value - a.value);
  }
  return std::nullopt;
}

// Without the last digits, which are rounding of values as large as `scale`: equal differences of
// decimals become equal.
void drop_last_digits(std::vector<double>& differences, double scale) {
  constexpr int kDigits = 13;
  if (!(scale > 0)) return;
  const double step = std::pow(10.0, std::floor(std::log10(scale)) - kDigits);
  for (double& each : differences) each = std::round(each / step) * step;
}

Pairs paired(const Contrast& contrast, const std::vector<Group>& groups, const std::string& split,
             const std::vector<std::string>& seed_names) {
  std::vector<Side> by;
  for (const Group& group : groups) by.push_back(side_of(contrast, group, seed_names));
  Pairs pairs;
  for (const auto& [seeds, first] : by.front()) {
    std::vector<Group> of_seed;
    for (const Side& side : by) {
      const auto found = side.find(seeds);
      if (found != side.end()) of_seed.push_back(found->second);
    }
    if (of_seed.size() != groups.size()) continue;
    std::vector<double> values;
    bool lost = false;
    for (Group& each : of_seed) {
      for (const RunData* run : each) {
        if (run->diverged()) pairs.diverged.push_back(run->id);
      }
      lost = lost || (!contrast.at && each.front()->diverged());
      const auto value = contrast.at
                             ? value_at(*contrast.at, contrast.measure, Group(each), split, each)
                             : value_of(*each.front(), contrast.measure, split);
      if (value) values.push_back(*value);
      pairs.scale = std::max(pairs.scale, std::abs(value.value_or(0)));
    }
    const std::string seed = first.front()->column("seed");
    if (lost) pairs.lost.push_back(seed);
    if (contrast.at && values.size() != groups.size()) pairs.beyond.push_back(seed);
    if (lost || values.size() != groups.size()) continue;
    const bool twice = groups.size() == 4;
    const auto add = [](std::vector<std::string>& ids, const Group& runs) {
      for (const RunData* run : runs) ids.push_back(run->id);
    };
    for (std::size_t i = 0; i < of_seed.size(); ++i) {
      add(i < of_seed.size() / 2 ? pairs.first_runs : pairs.second_runs, of_seed[i]);
    }
    pairs.first.push_back(twice ? values[0] - values[1] : values[0]);
    pairs.second.push_back(twice ? values[2] - values[3] : values[1]);
    add(pairs.runs, of_seed[0]);
    add(pairs.reference, of_seed[1]);
    if (!twice) continue;
    add(pairs.runs, of_seed[3]);
    add(pairs.reference, of_seed[2]);
  }
  if (groups.size() == 4) {
    drop_last_digits(pairs.first, pairs.scale);
    drop_last_digits(pairs.second, pairs.scale);
  }
  return pairs;
}

}  // namespace

ContrastRow contrast_row(const Contrast& contrast, const RunSet& set, const std::string& split,
                         const std::vector<std::string>& seed_names, const NumberForm& form,
                         const TablePlan& plan) {
  const HypothesisTest& hypothesis = hypothesis_test(plan.test);
  const Measure& measure = contrast.measure;
  ContrastRow made;
  made.groups = sides(contrast, set);
  const Pairs pairs = paired(contrast, made.groups, split, seed_names);
  const PairedTest test = compare(hypothesis, pairs.first, pairs.second, pairs.scale);
  made.row.keys = {contrast.name, contrast.text + (is_share(measure) ? " (%)" : "")};
  TableCell difference;
  difference.runs = pairs.runs;
  difference.reference = pairs.reference;
  difference.diverged = pairs.diverged;
  difference.n_values = test.n;
  difference.n = test.n + pairs.lost.size() + pairs.beyond.size();
  TableCell detectable = difference;
  if (test.n > 0) {
    difference.mean = test.mean_difference;
    difference.half = test.half;
    difference.p = test.p;
    difference.out_of_reach = test.out_of_reach;
    difference.form = form;
    difference.form.is_signed = true;
  }
  if (!pairs.lost.empty())
    difference.marks.push_back(fmt::format("({} of {} pairs diverged: seed {})", pairs.lost.size(),
                                           difference.n, join(pairs.lost, ", ")));
  if (!pairs.beyond.empty())
    difference.marks.push_back(fmt::format("({} of {} pairs never have {} = {:g})",
                                           pairs.beyond.size(), difference.n, contrast.at->by.text,
                                           contrast.at->value));
  if (hypothesis.detectable != nullptr && test.half) {
    detectable.mean = hypothesis.detectable(pairs.first, pairs.second, kSignificance, kPower);
  }
  detectable.form = form;
  made.row.cells = {mean_cell(pairs.first, pairs.first_runs, form),
                    mean_cell(pairs.second, pairs.second_runs, form), difference, detectable};
  if (plan.rope) {
    std::vector<double> differences;
    for (std::size_t i = 0; i < pairs.first.size(); ++i)
      differences.push_back((pairs.first[i] - pairs.second[i]) * (form.share ? 100 : 1));
    const RegionChances chances = signed_rank_chances(differences, *plan.rope);
    for (const double chance : {chances.below, chances.within, chances.above}) {
      TableCell cell = detectable;
      cell.mean = differences.size() < 3 ? std::nullopt : std::optional(chance);
      cell.form = {.decimals = kChanceDecimals};
      made.row.cells.push_back(cell);
    }
  }
  if (!plan.effect.empty()) {
    TableCell effect = detectable;
    effect.mean = effect_size(plan.effect).of(pairs.first, pairs.second);
    effect.form = {.decimals = kEffectDecimals, .is_signed = plan.effect != "superiority"};
    made.row.cells.push_back(effect);
  }
  return made;
}

std::vector<std::string> contrast_keys() { return {"contrast", "what"}; }

std::vector<Measure> contrast_columns(const TablePlan& plan) {
  std::vector<Measure> columns;
  std::vector<std::string> names = {"of", "reference", "difference", "detectable"};
  if (plan.rope) names.insert(names.end(), {"P below", "P within", "P above"});
  if (!plan.effect.empty()) names.push_back("effect " + plan.effect);
  for (const std::string& name : names) {
    Measure column;
    column.text = column.label = column.name = name;
    column.kind = Measure::Kind::kRun;
    columns.push_back(column);
  }
  columns[2].versus = {{"reference", {"second"}}};
  return columns;
}

void mark_contrasts(Table& table, const TablePlan& plan) {
  const HypothesisTest& test = hypothesis_test(plan.test);
  const std::size_t column = 2;
  std::vector<double> ps;
  for (const TableRow& row : table.rows) ps.push_back(row.cells[column].p.value_or(1));
  const std::vector<bool> survives = holm_rejects(ps, kSignificance);
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    mark_survivor(table.rows[i].cells[column], survives[i]);
  }
  std::string note = fmt::format(
      "Differences are means over the common seeds, with {} and the two-sided p of {}; * marks "
      "what "
      "survives Holm's correction at {:g}% over {} contrasts. With a second vs, of and reference "
      "are "
      "the first vs's differences without and with it.",
      test.paired ? "Student's 95% interval" : interval_text(test), test.text, 100 * kSignificance,
      ps.size());
  if (test.detectable != nullptr) {
    note += fmt::format(
        " Detectable: the true difference that a single test at {:g}%, uncorrected, finds with "
        "probability {:g}, given the spread and n here; surviving the correction may take more.",
        100 * kSignificance, kPower);
  }
  if (plan.rope) {
    note += fmt::format(
        " P: how probable it is by the Bayesian signed-rank test that the difference is below "
        "-{0:g}, "
        "within ±{0:g} or above {0:g}.",
        *plan.rope);
  }
  if (!plan.effect.empty()) note += fmt::format(" Effect: {}.", effect_size(plan.effect).text);
  table.notes.push_back(note);
  const std::string missing = out_of_reach_note(table, test);
  if (!missing.empty()) table.notes.push_back(missing);
}

void check_contrasts(const std::vector<Contrast>& contrasts, const std::vector<Config>& wanted,
                     const std::set<std::string>& open) {
  for (const Contrast& contrast : contrasts) {
    if (contrast.at) expect_keys(contrast, {{contrast.at->over, {}}});
    for (const Conditions& side : conditions_of(contrast)) {
      expect_keys(contrast, side);
      const bool any = std::any_of(wanted.begin(), wanted.end(),
                                   [&](const Config& run) { return may_meet(run, side, open); });
      if (!any)
        throw ConfigError(fmt::format("contrast {}: no run of the grid has {}", contrast.name,
                                      conditions_text(side)));
    }
  }
}

}  // namespace tandem
