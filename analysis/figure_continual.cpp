// What a task sequence does to a net, as it is read at the streams that each method trains, at its
// own budgets: one panel has the forgetting (f_chaudhry) of each method
// against how well it learned its tasks, mean over seeds with Student's 95% intervals; the others
// have the accuracies R(i, j) on task j after task i, mean over seeds, one panel a method.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "analysis/figure.h"
#include "analysis/figure_labels.h"
#include "analysis/query.h"
#include "analysis/run_data.h"
#include "analysis/sequence_measures.h"
#include "analysis/statistics.h"
#include "config/part.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr std::size_t kMostMatrices = 11;   // panels; the points of all are in the CSV
constexpr std::int64_t kMostNumbered = 10;  // tasks, so that numbers fit into a panel's cells
constexpr char kOwn[] = "@attention=own,weights=own";
// The same in words.
constexpr char kOwnText[] =
    "own read-out (the full net where dormant weights live, else the sparse)";

struct SequenceGroup {
  std::string label;
  std::vector<const RunData*> runs;
  Summary forgetting, learning, acc;
  std::vector<std::pair<MatrixCell, Summary>> cells;
  std::int64_t tasks = 0;
};

Summary over_runs(const std::vector<const RunData*>& runs, const std::string& name,
                  const std::string& split) {
  const Measure measure = parse_measure(name + kOwn);
  std::vector<double> values;
  for (const RunData* run : runs) {
    if (run->diverged()) continue;
    if (const auto value = value_of(*run, measure, split)) values.push_back(100 * *value);
  }
  return summarize(values);
}

// Every cell that any run has in any read-out.
std::vector<MatrixCell> cells_of(const std::vector<const RunData*>& runs) {
  std::map<std::pair<std::int64_t, std::int64_t>, MatrixCell> cells;
  for (const RunData* run : runs) {
    for (const ReadoutRow& row : run->matrix) {
      for (const auto& [name, value] : row.values) {
        if (const auto cell = matrix_cell(name)) cells[{cell->stage, cell->task}] = *cell;
      }
    }
  }
  std::vector<MatrixCell> all;
  for (const auto& [place, cell] : cells) all.push_back(cell);
  return all;
}

std::vector<SequenceGroup> sequence_groups(const RunSet& set, const std::string& split) {
  const std::vector<std::string> keys = label_keys(set, {"strategy", "weights"});
  std::vector<SequenceGroup> groups;
  std::map<std::string, std::size_t> places;
  for (const RunData& run : set.runs) {
    const std::string label = label_of(run, keys);
    const auto [place, added] = places.emplace(label, groups.size());
    if (added) groups.push_back({label, {}, {}, {}, {}, {}, 0});
    groups[place->second].runs.push_back(&run);
  }
  for (SequenceGroup& group : groups) {
    group.forgetting = over_runs(group.runs, "f_chaudhry", split);
    group.learning = over_runs(group.runs, "learning_accuracy", split);
    group.acc = over_runs(group.runs, "acc", split);
    for (const MatrixCell& cell : cells_of(group.runs)) {
      const Summary summary = over_runs(group.runs, cell.name(), split);
      if (summary.n == 0) continue;
      group.cells.emplace_back(cell, summary);
      group.tasks = std::max(group.tasks, cell.task);
    }
  }
  std::erase_if(groups, [](const SequenceGroup& group) { return group.tasks < 2; });
  return groups;
}

std::string csv_of(const std::vector<SequenceGroup>& groups) {
  std::string text = csv_line({"method", "measure", "mean_percent", "ci95_half", "n", "runs"});
  for (const SequenceGroup& group : groups) {
    // All points of a method have the same runs, whose ids stand at its first.
    std::vector<std::string> ids;
    for (const RunData* run : group.runs) ids.push_back(run->id);
    const auto add = [&](const std::string& name, const Summary& s) {
      if (s.n == 0) return;
      text += csv_line({group.label, name, fmt::format("{:.8g}", s.mean),
                        s.half ? fmt::format("{:.8g}", *s.half) : "", std::to_string(s.n),
                        join(ids, " ")});
      ids.clear();
    };
    add("acc", group.acc);
    add("learning_accuracy", group.learning);
    add("f_chaudhry", group.forgetting);
    for (const auto& [cell, summary] : group.cells) add(cell.name(), summary);
  }
  return text;
}

std::string forgetting_panel(const std::vector<SequenceGroup>& groups) {
  std::string data;
  std::vector<std::string> points;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const Summary &x = groups[i].learning, &y = groups[i].forgetting;
    if (x.n == 0 || y.n == 0) continue;
    const double dx = x.half.value_or(0), dy = y.half.value_or(0);
    const std::string name = fmt::format("method{}", i);
    data +=
        data_block(name, {{x.mean, y.mean, x.mean - dx, x.mean + dx, y.mean - dy, y.mean + dy}});
    points.push_back(fmt::format("${} using 1:2:3:4:5:6 with xyerrorbars {} ps 1 lw 1 notitle",
                                 name, point_style(i)));
  }
  if (points.empty()) return "";
  return data +
         "set xlabel 'learning accuracy (%)'\nset ylabel 'forgetting (points)'\nset autoscale\n"
         "set xtics auto\nset ytics auto\nset offsets graph 0.08, graph 0.08, graph 0.08, graph "
         "0.08\nunset colorbox\nplot " +
         join(points, ", ") + "\n";
}

// Row i is the end of task i, from above; the diagonal is what was just learned.
std::string matrix_panel(const SequenceGroup& group, std::size_t place) {
  std::vector<std::vector<double>> rows;
  for (const auto& [cell, summary] : group.cells) {
    if (cell.stage == 0) continue;
    rows.push_back({static_cast<double>(cell.task), static_cast<double>(cell.stage), summary.mean});
  }
  const std::string name = fmt::format("matrix{}", place);
  const double end = static_cast<double>(group.tasks) + 0.5;
  std::string text = data_block(name, rows);
  const bool numbered = group.tasks <= kMostNumbered;  // then no colour bar is needed
  text += fmt::format(
      "set offsets 0, 0, 0, 0\nset xlabel 'task'\nset ylabel 'after task'\nset xrange "
      "[0.5:{0}]\nset yrange [{0}:0.5]\nset xtics {1}\nset ytics {1}\nset cbrange "
      "[0:100]\n{2}set colorbox\n",
      end, numbered ? 1 : 5, numbered ? "un" : "");
  text += fmt::format(
      "plot ${} using 1:2:(0.5):(0.5):3 with boxxyerror fs solid noborder lc palette notitle",
      name);
  if (numbered) {
    text += fmt::format(
        ", ${} using 1:2:(sprintf('%.0f', $3)):($3 > 55 ? 0x000000 : 0xffffff) with labels font "
        "',10' textcolor rgb variable notitle",
        name);
  }
  return text + "\n";
}

// What is longer than a panel is cut; the legend has all of it.
std::string title_of(const SequenceGroup& group) {
  constexpr std::size_t kLongest = 52;
  return group.label.size() <= kLongest ? group.label : group.label.substr(0, kLongest - 3) + "...";
}

void draw_sequences(const std::vector<SequenceGroup>& groups, const std::string& split,
                    Figure& figure) {
  std::vector<std::string> labels;
  for (const SequenceGroup& group : groups) labels.push_back(group.label);
  const std::size_t matrices = std::min(groups.size(), kMostMatrices);
  const int count = 1 + static_cast<int>(matrices);
  const Panels panels(std::min(count, 3), count, 110, labels);
  figure.width = panels.width();
  figure.height = panels.height();
  figure.script = kPanelStyle;
  figure.script +=
      "set palette maxcolors 32 defined (0 '#440154', 0.25 '#3b528b', 0.5 '#21918c', 0.75 "
      "'#5ec962', 1 '#fde725')\n";
  figure.script += panels.place(0, "forgetting of each method",
                                split + " split, own read-out; bars: 95% intervals over seeds");
  figure.script += forgetting_panel(groups);
  for (std::size_t i = 0; i < matrices; ++i) {
    figure.script += panels.place(
        static_cast<int>(i) + 1, title_of(groups[i]),
        fmt::format("accuracy (%), own read-out, mean of {} runs", groups[i].runs.size()));
    figure.script += matrix_panel(groups[i], i);
  }
  figure.script += panels.legend() + "unset multiplot\n";
}

Figure continual_figure(const StoreReader& store, const FigureRuns& runs) {
  TablePlan plan;
  plan.name = "continual";
  plan.grid = runs.grid;
  plan.wanted = runs.wanted;
  plan.where = runs.where;
  for (const char* name : {"f_chaudhry", "learning_accuracy", "acc", "r_1_1"}) {
    plan.measures.push_back(parse_measure(std::string(name) + kOwn));
  }
  const RunSet set = select_runs(store, plan);
  const std::string split = split_shown(set, plan);
  const std::vector<SequenceGroup> groups = sequence_groups(set, split);
  Figure figure;
  figure.csv = csv_of(groups);
  if (groups.empty()) {
    figure.summary = "no run that is done has a sequence of tasks";
    return figure;
  }
  figure.summary = fmt::format("{} methods of {} runs, {} split, {}, 95% intervals", groups.size(),
                               set.runs.size(), split, kOwnText);
  if (groups.size() > kMostMatrices) {
    figure.summary +=
        fmt::format("; matrices of the first {} are drawn, all are in the points", kMostMatrices);
  }
  const std::string missing = missing_note(set, plan);
  if (!missing.empty()) figure.summary += "; " + missing;
  draw_sequences(groups, split, figure);
  return figure;
}

TANDEM_REGISTERED = declare_figure(
    {.name = "continual",
     .text =
         "forgetting against learning accuracy, and accuracy on each task after each, by method",
     .make = continual_figure});

}  // namespace
}  // namespace tandem
