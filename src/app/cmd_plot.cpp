// `tandem plot`: figures of a grid, drawn by gnuplot, with their points beside them as CSV.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "analysis/figure.h"
#include "app/command.h"
#include "app/draw_figure.h"
#include "app/execute.h"
#include "app/run_content.h"
#include "app/run_grid.h"
#include "config/command_line.h"
#include "config/grid.h"
#include "core/files.h"
#include "core/text.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

const Option kPlotOut =
    text_option("out",
                "file to draw, .svg or .png; its points go to the same name with .csv, or alone "
                "where that is said. Without it: GRID_KIND.svg here");
const Option kWhere =
    text_option("where", "only runs that meet these conditions: \"weights=rigl|ssa density=0.1\"");

const Option kMeasures =
    text_option("measures",
                "of kinds that take it: what is drawn, as in a table's columns, parted by "
                "commas, a panel for "
                "each: \"metric:kept_mass@attention as kept mass, bits_per_byte@own\"");

const Option kRanked =
    text_option("ranked", "of ranks: the methods, by columns of v_run, joined by ','");
const Option kOver =
    text_option("over", "of ranks: the data sets or settings, by columns of v_run, joined by ','");
const Option kAxis = text_option("axis", "of kinds that take it: what the axis below says");

// A grid is named by its file, which decides then which runs are drawn, or as the database names
// it.
FigureRuns runs_of(const std::string& said, const FigureKind& kind, const std::string& database,
                   const std::string& where) {
  FigureRuns runs{said, std::nullopt, parse_conditions(where)};
  std::error_code error;
  if (!fs::is_regular_file(said, error)) return runs;
  const Grid grid = read_grid_with_content(said, {{"db", database}}, ContentUse::kRead);
  runs.grid = grid.name;
  if (!kind.of_trials) {
    runs.wanted = wanted_runs(grid, database);
  } else if (grid.tune.empty()) {
    throw ConfigError(said + " has no [tune] section, and so no trials to draw");
  } else {
    runs.wanted = wanted_trials(grid, database);
  }
  return runs;
}

bool any_kind(const FigureKind&) { return true; }
bool takes_measures(const FigureKind& kind) { return kind.of_measures; }
bool takes_axis(const FigureKind& kind) { return kind.of_measures && !kind.of_ranks; }
bool takes_ranks(const FigureKind& kind) { return kind.of_ranks; }

std::vector<std::string> kind_names(bool (*takes)(const FigureKind&)) {
  std::vector<std::string> names;
  for (const FigureKind& kind : figure_kinds())
    if (takes(kind)) names.push_back(kind.name);
  return names;
}

// An option of some kinds of figures is refused for the others.
void expect_kind(const FigureKind& kind, const std::string& option, const std::string& said,
                 bool (*takes)(const FigureKind&)) {
  if (said.empty() || takes(kind)) return;
  throw ConfigError(
      fmt::format("--{} {}: {} has nothing of that; it is of {}. Leave it out, or plot "
                  "one of these",
                  option, said, kind.name, join(kind_names(takes), ", ")));
}

ExitCode plot(const Arguments& args) {
  const ParsedArguments parsed =
      parse_arguments(args, {kPlotOut, kWhere, kMeasures, kAxis, kRanked, kOver});
  const auto& words = parsed.positionals;
  if (words.size() != 2) {
    throw ConfigError("tandem plot needs a grid and a kind: tandem plot GRID " +
                      join(kind_names(any_kind), "|"));
  }
  const FigureKind& kind = figure_kind(words[1]);
  const std::string measures = extra_value(parsed, kMeasures), axis = extra_value(parsed, kAxis);
  const std::string ranked = extra_value(parsed, kRanked), over = extra_value(parsed, kOver);
  expect_kind(kind, "measures", measures, takes_measures);
  expect_kind(kind, "axis", axis, takes_axis);
  expect_kind(kind, "ranked", ranked, takes_ranks);
  expect_kind(kind, "over", over, takes_ranks);
  const std::string database = database_of(parsed.settings);
  FigureRuns runs = runs_of(words[0], kind, database, extra_value(parsed, kWhere));
  runs.measures = parse_measures(measures);
  runs.axis = axis;
  runs.ranked = split_keys(ranked);
  runs.over = split_keys(over);
  std::string out = extra_value(parsed, kPlotOut);
  if (out.empty()) out = runs.grid + "_" + kind.name + ".svg";
  const std::string csv = fs::path(out).replace_extension(".csv").string();
  const bool draws = out != csv;
  if (draws) gnuplot_script({}, out);  // refuses a wrong ending before any work
  const std::string gnuplot = draws ? gnuplot_program(csv) : "";
  const StoreReader store(database);
  const Figure figure = kind.make(store, runs);
  if (draws && figure.script.empty()) {
    throw ConfigError(fmt::format(
        "grid {} has nothing to draw as {}: {}; nothing was written. --out {} writes what is known "
        "of its runs",
        runs.grid, kind.name, figure.summary, csv));
  }
  OutputFiles files;
  if (draws) files.add(out, drawn_by(gnuplot, figure, out));
  files.add(csv, figure.csv);
  files.commit();
  fmt::print("{} written: {}\n", draws ? out + " and " + csv : csv, figure.summary);
  return kExitDone;
}

std::string kinds_text() {
  std::string text;
  for (const FigureKind& kind : figure_kinds()) {
    const std::string options = kind.of_ranks      ? " (--measures, --ranked, --over)"
                                : kind.of_measures ? " (--measures, --axis)"
                                                   : "";
    text += fmt::format("{}{}{}: {}.", text.empty() ? "" : "\n", kind.name, options, kind.text);
  }
  return text;
}

TANDEM_REGISTERED = declare_command(
    {.name = "plot",
     .summary = "draw a grid's training, budgets, tuning or forgetting",
     .usage = "plot GRID KIND [--measures LIST] [--where CONDITIONS] [--out FILE] [--db PATH]",
     .text = "GRID is a grid file, or a grid's name in the database. gnuplot draws (Debian: "
             "gnuplot-nox). KIND is one of these:",
     .late_text = kinds_text,
     .options = {kPlotOut, kWhere, kMeasures, kAxis, kRanked, kOver},
     .run = plot});

}  // namespace
}  // namespace tandem
