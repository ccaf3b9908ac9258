// Figures from the store: a gnuplot script, and a table of what it draws with the runs behind every
// point. Panels stand side by side or below each other, their one legend at the right.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "analysis/table_plan.h"
#include "store/store.h"

namespace tandem {

struct Figure {
  std::string csv;            // one line per point, drawn or not
  std::string script;         // without its terminal and output
  int width = 0, height = 0;  // pixels
  std::string summary;        // what is drawn, and what is not and why
};

// Which runs a figure draws.
struct FigureRuns {
  std::string grid;                    // its name in the store
  std::optional<WantedRuns> wanted;    // of a file that was named: they decide
  std::vector<Condition> where = {};   // conditions that runs meet, as a table's
  std::string axis = {};               // what the axis below says; "": as the kind has it
  std::vector<Measure> measures = {};  // a panel for each; none: the kind's own
  std::vector<std::string> ranked = {}, over = {};  // columns of v_run, of ranks
};

// A kind of figure registers itself in its own file. What it makes has an empty script where there
// is nothing to draw; its summary then says why. Throws ConfigError where the grid has not what it
// draws, or for a measure that it can't.
struct FigureKind {
  std::string name;
  std::string text;  // what it draws, for the help: begins with a small letter, ends without a stop
  Figure (*make)(const StoreReader&, const FigureRuns&) = nullptr;
  bool of_trials = false;    // of a grid's trials, not of its runs
  bool of_measures = false;  // of what --measures says
  bool of_ranks = false;     // of what --ranked and --over say
};
bool declare_figure(FigureKind kind);
const std::vector<FigureKind>& figure_kinds();  // by name
const FigureKind& figure_kind(
    const std::string& name);  // throws ConfigError with the nearest names

// The whole script, drawing into a file by its ending. ConfigError for one that is neither .svg nor
// .png.
std::string gnuplot_script(const Figure& figure, const std::string& file);

// --- parts that figures share ---

// Where panel i of a figure lies.
class Panels {
 public:
  // `gap`: pixels right of each panel, for a colour bar or the next panel's scale. `names`: what
  // the legend lists.
  Panels(int columns, int count, int gap, std::vector<std::string> names);
  int width() const;
  int height() const;
  // Margins of the panel, its title and a smaller line below that.
  std::string place(int i, const std::string& title, const std::string& subtitle = "") const;
  // The legend, in the style of point_style() or line_style(): the figure's last plot, since it
  // puts all settings back. It has one column as high as the figure: within a panel's plot gnuplot
  // would begin another one at the panel's height, beyond the figure's edge.
  std::string legend(bool lines = false) const;

 private:
  int legend_width() const;
  // Where gnuplot has a pixel that is counted from the left, and one from the top.
  double x(int pixels) const { return static_cast<double>(pixels) / width(); }
  double y(int pixels) const { return 1 - static_cast<double>(pixels) / height(); }

  int columns_, rows_, gap_;
  std::vector<std::string> names_;
};

// A y axis for accuracies in percent, from `least` to `most`: spaced by the logarithm of the error,
// so that good ones stay apart where others fail.
std::string error_scale(double least, double most);

// Symbol and colour of the i-th name: "pt 7 lc rgb '#0072B2'". The first 15 symbols differ, and the
// first 120 pairs of symbol and colour.
std::string point_style(std::size_t i);
// With dashes, which differ between names of one colour: "pt 7 lc rgb '#0072B2' dt 1".
std::string line_style(std::size_t i);
std::string colour(std::size_t i);

// Grid lines and tics that all panels have.
extern const char* const kPanelStyle;

// A named block of data; numbers only, columns parted by spaces. An empty row breaks a line.
std::string data_block(const std::string& name, const std::vector<std::vector<double>>& rows);

// Text in quotes.
std::string quoted(const std::string& text);

}  // namespace tandem
