// One pass over the groups of runs makes the cells; the notes tell what was met on the way.
#include "analysis/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "analysis/hypothesis_tests.h"
#include "analysis/run_data.h"
#include "analysis/sequence_measures.h"
#include "analysis/statistics.h"
#include "analysis/table_centre.h"
#include "analysis/table_contrast.h"
#include "analysis/table_paired.h"
#include "analysis/table_ranks.h"
#include "analysis/table_standing.h"
#include "analysis/table_writers.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

using Keys = std::vector<std::string>;
using Group = std::vector<const RunData*>;

Keys keys_of(const RunData& run, const std::vector<std::string>& names) {
  Keys keys;
  for (const std::string& name : names) keys.push_back(run.column(name));
  return keys;
}

std::vector<Keys> distinct(const std::vector<RunData>& runs,
                           const std::vector<std::string>& names) {
  std::vector<Keys> found;
  std::set<Keys> seen;
  for (const RunData& run : runs) {
    const Keys keys = keys_of(run, names);
    if (seen.insert(keys).second) found.push_back(keys);
  }
  return found;
}

// A recorded device without its number: one of several GPUs of a kind is no other place.
std::string device_kind(const std::string& device) {
  const auto name = device.find(": ");
  return device.rfind("cuda:", 0) == 0 && name != std::string::npos ? device.substr(name + 2)
                                                                    : device;
}

// What may change a figure by rounding, or by another program, beside a run's configuration.
std::string place_of(const RunData& run) {
  const auto or_unknown = [&run](const char* name) {
    const std::string& text = run.column(name);
    return text.empty() ? std::string("unknown") : text;
  };
  const std::string data = run.column("data_sha256").substr(0, 12);
  return fmt::format("device {}, threads {}, revision {}{}", device_kind(or_unknown("device")),
                     or_unknown("threads"), or_unknown("revision").substr(0, 12),
                     data.empty() ? "" : ", data " + data);
}

Keys together(Keys first, const Keys& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

class Builder {
 public:
  Builder(const StoreReader& store, const TablePlan& plan)
      : store_(store),
        plan_(plan),
        set_(select_runs(store, plan)),
        split_(split_shown(set_, plan)),
        test_(hypothesis_test(plan.test)),
        dimensions_(together(plan.rows, plan.across)),
        places_(distinct(set_.runs, dimensions_)) {
    table_.name = plan.name;
    table_.title = plan.title;
    table_.grid = plan.grid;
    table_.said = plan.said;
    table_.key_names = plan.rows;
    table_.spread = plan.spread;
  }

  Table build() {
    if (set_.runs.empty())
      throw ConfigError(fmt::format(
          "table {}: no run that is done or diverged meets its conditions{}. {}", plan_.name,
          plan_.grid.empty() ? "" : " in grid " + plan_.grid, missing_note(set_, plan_)));
    if (!plan_.ranks.empty()) return build_ranks();
    if (plan_.contrasts.empty()) {
      const std::vector<Keys> columns = distinct(set_.runs, plan_.across);
      add_heads(columns);
      for (const Keys& keys : distinct(set_.runs, plan_.rows)) add_row(keys, columns);
    } else {
      add_contrasts();
    }
    note_spread();
    note_counts();
    plan_.contrasts.empty() ? mark_survivors(table_, test_) : mark_contrasts(table_, plan_);
    note_standing();
    note_tuning();
    note_empty();
    note_mixing();
    note_storages();
    note_places();
    table_.notes.insert(table_.notes.end(), footnotes_.begin(), footnotes_.end());
    return table_;
  }

 private:
  Table build_ranks() {
    add_ranks(table_, set_, plan_, split_);
    for (const RunData& run : set_.runs) remember(run);
    const Keys names = together(plan_.ranks, plan_.over);
    std::map<Keys, Group> groups;
    for (const RunData& run : set_.runs) groups[keys_of(run, names)].push_back(&run);
    for (const auto& [keys, group] : groups) find_mixing(group);
    note_mixing();
    const std::string missing = missing_note(set_, plan_);
    if (!missing.empty()) table_.notes.push_back(missing);
    if (!missing.empty() && plan_.wanted) table_.warnings.push_back(missing);
    note_tuning();
    note_places();
    return table_;
  }

  void add_contrasts() {
    table_.key_names = contrast_keys();
    table_.measures = contrast_columns(plan_);
    for (const Measure& column : table_.measures) {
      table_.columns.push_back(column.label);
      table_.heads.push_back({"", column.label});
    }
    for (const Contrast& contrast : plan_.contrasts) {
      ContrastRow made =
          contrast_row(contrast, set_, split_, seed_names(), form_of(contrast.measure), plan_);
      for (const Group& group : made.groups) {
        for (const RunData* run : group) remember(*run);
        find_mixing(group, contrast.at ? contrast.at->over : "");
        made.row.dagger = find_storages(group) || made.row.dagger;
      }
      table_.rows.push_back(std::move(made.row));
    }
  }

  void add_heads(const std::vector<Keys>& columns) {
    for (const Keys& across : columns)
      for (const Measure& m : plan_.measures) {
        std::string head;
        for (std::size_t i = 0; i < across.size(); ++i)
          head += fmt::format("{}={} ", plan_.across[i], across[i]);
        table_.columns.push_back(head + m.label);
        table_.heads.push_back({trim(head), m.label, direction_said(plan_, m)});
        table_.measures.push_back(m);
      }
  }

  NumberForm form_of(const Measure& m) const {
    return {is_share(m), plan_.digits.value_or(decimals(m)), !m.versus.empty()};
  }

  void add_row(const Keys& keys, const std::vector<Keys>& columns) {
    TableRow row;
    row.keys = keys;
    for (const Keys& across : columns) {
      const Keys place = together(keys, across);
      const Group group = group_of(place);
      const std::size_t first = row.cells.size();
      for (const Measure& m : plan_.measures) {
        if (m.versus.empty() || group.empty())
          row.cells.push_back(cell(group, m));
        else
          row.cells.push_back(paired_cell(place, group, m));
      }
      for (const RunData* run : group) remember(*run);
      find_mixing(group);
      row.dagger = find_storages(group) || row.dagger;
      mark_diverged(row, first, group);
    }
    table_.rows.push_back(std::move(row));
  }

  Group group_of(const Keys& place) const {
    Group group;
    for (const RunData& run : set_.runs)
      if (keys_of(run, dimensions_) == place) group.push_back(&run);
    return group;
  }

  // Differences have marks of their own already.
  void mark_diverged(TableRow& row, std::size_t first, const Group& group) {
    std::vector<std::string> lost;
    for (const RunData* run : group)
      if (run->diverged()) lost.push_back(run->column("seed"));
    if (lost.empty()) return;
    const std::string mark = fmt::format("[{}]", footnotes_.size() + 1);
    bool marked = false;
    for (std::size_t i = first; i < row.cells.size(); ++i)
      if (row.cells[i].mean && table_.measures[i].versus.empty()) {
        row.cells[i].marks.push_back(mark);
        marked = true;
      }
    if (!marked) row.cells[first].marks.push_back(mark);
    footnotes_.push_back(fmt::format("{} {} of {} diverged (seed {}).", mark, lost.size(),
                                     group.size(), join(lost, ", ")));
  }

  TableCell cell(const Group& group, const Measure& m) const {
    TableCell c;
    std::map<Keys, std::vector<double>> strata;
    for (const RunData* run : group) {
      if (run->diverged()) {
        c.diverged.push_back(run->id);
      } else if (const auto value = value_of(*run, m, split_)) {
        strata[keys_of(*run, plan_.strata)].push_back(*value);
        c.runs.push_back(run->id);
      }
    }
    c.n_values = c.runs.size();
    c.n = c.n_values + c.diverged.size();
    if (c.n_values == 0) return c;
    Strata values;
    for (auto& [keys, stratum] : strata) values.push_back(std::move(stratum));
    fill_centre(c, plan_, values);
    c.form = form_of(m);
    return c;
  }

  TableCell paired_cell(const Keys& place, const Group& group, const Measure& m) {
    TableCell c;
    const auto reference = reference_of(place, dimensions_, m.versus, places_);
    if (!reference) return c;
    const PairedRuns pairs = pair_runs(group, group_of(*reference), m, split_, seed_names(), test_);
    c.runs = pairs.runs;
    c.reference = pairs.reference;
    c.diverged = pairs.diverged;
    c.n_values = pairs.test.n;
    c.n = pairs.test.n + pairs.lost;
    if (c.n_values == 0) return c;
    c.mean = pairs.test.mean_difference;
    c.half = pairs.test.half;
    c.p = pairs.test.p;
    c.out_of_reach = pairs.test.out_of_reach;
    c.form = form_of(m);
    if (pairs.lost > 0) c.marks.push_back(footnote_of_pairs(pairs));
    return c;
  }

  // One footnote for all cells that say the same.
  std::string footnote_of_pairs(const PairedRuns& pairs) {
    const std::string text = fmt::format("{} of {} pairs diverged ({}).", pairs.lost,
                                         pairs.test.n + pairs.lost, pairs.lost_where);
    for (std::size_t i = 0; i < footnotes_.size(); ++i) {
      std::string mark = fmt::format("[{}]", i + 1);
      if (footnotes_[i] == mark + " " + text) return mark;
    }
    const std::string mark = fmt::format("[{}]", footnotes_.size() + 1);
    footnotes_.push_back(mark + " " + text);
    return mark;
  }

  Keys seed_names() const {
    Keys names;
    for (const std::string& name : set_.column_names)
      if (is_seed(name)) names.push_back(name);
    return names;
  }

  void remember(const RunData& run) {
    TableRun facts;
    for (const auto& [name, value] : run.columns)
      if (!is_outcome(name)) facts.config[name] = value;
    facts.seed = run.column("seed");
    facts.state = run.column("state");
    facts.revision = run.column("revision");
    facts.device = run.column("device");
    facts.threads = run.column("threads");
    facts.machine = run.column("machine");
    table_.runs[run.id] = std::move(facts);
  }

  // `curve`: an option that a contrast looks along; "": none.
  void find_mixing(const Group& group, const std::string& curve = "") {
    for (const std::string& name : set_.column_names) {
      if (is_of_repetition(name) || is_outcome(name) || name == curve || is_stratum(name)) continue;
      for (const RunData* run : group)
        if (run->column(name) != group.front()->column(name)) mixing_.insert(name);
    }
  }

  bool is_stratum(const std::string& name) const {
    return std::find(plan_.strata.begin(), plan_.strata.end(), name) != plan_.strata.end();
  }

  // Whether runs that differ in seeds alone had their layers stored in several ways.
  bool find_storages(const Group& group) {
    std::map<Keys, std::string> storage_of;
    bool differ = false;
    for (const RunData* run : group) {
      std::string storage = run->column("layer_storage");
      if (storage.empty()) continue;
      if (storage.find("sparse") == std::string::npos) storage = "masked";  // of all layers alike
      Keys asked;
      for (const std::string& name : set_.column_names) {
        if (!is_of_repetition(name) && !is_outcome(name)) asked.push_back(run->column(name));
      }
      const auto [at, first] = storage_of.emplace(std::move(asked), storage);
      if (first || at->second == storage) continue;
      differ = true;
      storages_.insert({at->second, storage});
    }
    return differ;
  }

  void note_storages() {
    if (storages_.empty()) return;
    table_.notes.push_back(fmt::format(
        "† averages over runs whose layers were stored in several ways, as storage = auto chose "
        "where they were first planned: {}.",
        join({storages_.begin(), storages_.end()}, "; ")));
  }

  void note_spread() {
    const bool final_runs = split_ == "test";
    std::string note = centre_note(plan_);
    note += fmt::format(" Split: {}{}.", split_, final_runs ? " (final runs)" : "");
    const auto count = std::count_if(set_.runs.begin(), set_.runs.end(),
                                     [](const RunData& r) { return r.column("final") == "true"; });
    if (!final_runs && count > 0)
      note += fmt::format(" {} of {} runs are final.", count, set_.runs.size());
    table_.notes.push_back(note);
  }

  void note_counts() {
    std::size_t most = 0, least = 0;
    for (const TableRow& row : table_.rows)
      for (const TableCell& c : row.cells) {
        if (c.n_values == 0) continue;
        most = std::max(most, c.n);
        least = least == 0 ? c.n : std::min(least, c.n);
      }
    bool few = false;
    for (TableRow& row : table_.rows)
      for (TableCell& c : row.cells) {
        if (c.n_values == 0) continue;
        few |= c.n_values < 3;
        if (c.n_values < 3 || c.n != most)
          c.marks.insert(c.marks.begin(), fmt::format("(n={})", c.n_values));
      }
    std::string note =
        least == most ? fmt::format("n = {}.", most) : fmt::format("n = {} to {}.", least, most);
    if (few) note += " Cells marked (n=1) or (n=2) have fewer than 3 seeds and no interval.";
    const std::string missing = missing_note(set_, plan_);
    if (!missing.empty()) note += " " + missing;
    if (!missing.empty() && plan_.wanted) table_.warnings.push_back(missing);  // CSV has no notes
    table_.notes.push_back(note);
  }

  void note_standing() {
    if (plan_.bold == Bold::kNone) return;
    const std::vector<Keys> columns = distinct(set_.runs, plan_.across);
    const std::size_t measures = plan_.measures.size();
    const auto runs_of = [&](std::size_t row, std::size_t column) {
      return group_of(together(table_.rows[row].keys, columns[column / measures]));
    };
    std::string note = mark_standing(table_, plan_, {split_, seed_names(), runs_of});
    if (!has_standing(table_)) {
      note = fmt::format(
          "bold = {}: nothing is marked, since no column that says which way it is "
          "better has two rows to compare; higher and lower name such columns",
          plan_.bold == Bold::kBest ? "best" : "tied");
      table_.warnings.push_back(note);
      return;
    }
    table_.notes.push_back(std::move(note));
  }

  void note_tuning() {
    std::vector<std::string> ids;
    // Contrasts may be about some of the grid's runs alone.
    for (const RunData& run : set_.runs)
      if (table_.runs.count(run.id)) ids.push_back(run.id);
    table_.tuned = tuned_cells(store_, ids);
    for (std::string& note : tuning_notes(store_, table_.tuned)) {
      table_.notes.push_back(std::move(note));
    }
  }

  // Whether a name is one can't be told before it was logged; of a column that nobody logged, a
  // reader couldn't tell whether it was misspelt. Read-outs may be empty by what a method has.
  void note_empty() {
    if (!plan_.contrasts.empty()) return;
    for (std::size_t j = 0; j < table_.columns.size(); ++j) {
      const Measure& m = table_.measures[j];
      if (m.kind == Measure::Kind::kEval) continue;
      if (m.kind == Measure::Kind::kContinual && why_no_measure(m).empty()) continue;
      const bool any = std::any_of(table_.rows.begin(), table_.rows.end(),
                                   [j](const auto& row) { return row.cells[j].n_values > 0; });
      if (any) continue;
      table_.warnings.push_back(
          fmt::format("Column {} is empty: {}.", table_.columns[j], why_empty(m)));
      table_.notes.push_back(table_.warnings.back());
    }
  }

  // What a measure of sequences needs that most runs do not have; "" where there is nothing to say.
  static std::string why_no_measure(const Measure& m) {
    const SequenceMeasure* known = find_sequence_measure(m.name);
    const std::string view = known == nullptr ? "" : known->view;
    if (view == "v_stability" || view == "v_anytime") {
      return fmt::format(
          "it needs evaluations inside of tasks ({}), which read validation: where the table is of "
          "the test split, say --split validation",
          m.name == "lca_10" ? "--eval-first-steps 10" : "--eval-every, --eval-after-switch");
    }
    if (view == "v_joint") {
      return "the database has no joint run that is alike but for the strategy (docs/measures.md)";
    }
    if (known != nullptr && known->unit == SequenceMeasure::Unit::kBits) {
      return "only data that are bytes have bits per byte: of images there are nats per example "
             "(" +
             m.name.substr(0, m.name.find("_bits_per_byte")) + "_nats)";
    }
    return "";
  }

  std::string why_empty(const Measure& m) const {
    if (m.kind == Measure::Kind::kContinual) return why_no_measure(m);
    if (m.kind == Measure::Kind::kRun)
      return "no run of the table that is done has a number in " + m.name;
    std::vector<std::string> names;
    for (const auto& row : store_.query("SELECT name FROM metric_name").rows)
      names.push_back(row[0]);
    if (std::find(names.begin(), names.end(), m.name) == names.end())
      return did_you_mean("metric", m.name, names,
                          "SELECT DISTINCT name FROM v_metric lists those that were logged");
    return fmt::format("no run of the table that is done has logged {}{}", m.name,
                       m.layer.empty() ? "" : " at " + m.layer);
  }

  void note_mixing() {
    if (mixing_.empty()) return;
    table_.notes.push_back(fmt::format(
        "Cells average over runs that differ in {}; name it in rows, across or where to part them.",
        join({mixing_.begin(), mixing_.end()}, ", ")));
  }

  void note_places() {
    std::map<std::string, std::size_t> count;
    for (const RunData& run : set_.runs) ++count[place_of(run)];
    if (count.size() < 2) return;
    if (!plan_.contrasts.empty() || !plan_.ranks.empty()) {
      std::vector<std::string> places;
      for (const auto& [place, runs] : count)
        places.push_back(fmt::format("{} ({} runs)", place, runs));
      table_.notes.push_back(fmt::format("Runs are from several places: {}.", join(places, "; ")));
      return;
    }
    const auto usual =
        std::max_element(count.begin(), count.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    std::set<std::string> others;
    for (TableRow& row : table_.rows)
      for (const RunData& run : set_.runs)
        if (keys_of(run, plan_.rows) == row.keys && place_of(run) != usual->first) {
          row.dagger = true;
          others.insert(place_of(run));
        }
    table_.notes.push_back(fmt::format("† has runs on {}; the others ran on {}.",
                                       join({others.begin(), others.end()}, "; "), usual->first));
  }

  const StoreReader& store_;
  const TablePlan& plan_;
  RunSet set_;
  std::string split_;
  const HypothesisTest& test_;  // of differences
  Keys dimensions_;             // rows, then across
  std::vector<Keys> places_;    // their values that have runs
  Table table_;
  std::set<std::string> mixing_;
  std::set<std::string> storages_;  // that runs of one cell have, where they differ
  std::vector<std::string> footnotes_;
};

}  // namespace

bool is_outcome(const std::string& name) {
  static const std::set<std::string> kOutcomes = {
      "run",     "state",       "attempt",         "steps_done",  "train_seconds", "eval_seconds",
      "seconds", "train_flops", "inference_flops", "message",     "probe_seconds", "device",
      "threads", "revision",    "machine",         "data_sha256", "layer_storage"};
  return kOutcomes.count(name) != 0;
}

Table build_table(const StoreReader& store, const TablePlan& plan) {
  return Builder(store, plan).build();
}

}  // namespace tandem
