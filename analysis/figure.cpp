#include "analysis/figure.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr int kPanel = 380, kPanelHeight = 300;  // pixels
constexpr int kLeft = 75, kTop = 60, kBottom = 62;
constexpr int kTitleAbove = 32, kSubtitleAbove = 13;  // their middles above the panel
constexpr int kSmallFont = 11;                        // points
constexpr int kLegendSymbol = 60, kLegendLetter = 8, kLegendLine = 20;

// Okabe and Ito's colours, which most colour-blind readers tell apart.
constexpr std::array<const char*, 8> kColours = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                 "#E69F00", "#56B4E9", "#000000", "#888888"};
// As many as gnuplot has: filled, open, strokes, and last the pentagons, which small are like
// circles. Their number and that of the colours have no common divisor.
constexpr std::array<int, 15> kSymbols = {7, 5, 9, 11, 13, 6, 4, 8, 10, 12, 2, 1, 3, 15, 14};
constexpr std::size_t kDashes = 5;

std::vector<FigureKind>& all_kinds() {
  static std::vector<FigureKind> kinds;
  return kinds;
}

bool ends_in(const std::string& text, const std::string& ending) {
  return text.size() > ending.size() &&
         text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

}  // namespace

bool declare_figure(FigureKind kind) {
  all_kinds().push_back(std::move(kind));
  std::sort(all_kinds().begin(), all_kinds().end(),
            [](const FigureKind& a, const FigureKind& b) { return a.name < b.name; });
  return true;
}

const std::vector<FigureKind>& figure_kinds() { return all_kinds(); }

const FigureKind& figure_kind(const std::string& name) {
  std::vector<std::string> names;
  for (const FigureKind& kind : all_kinds()) {
    if (kind.name == name) return kind;
    names.push_back(kind.name);
  }
  throw ConfigError(did_you_mean("figure", name, names));
}

std::string gnuplot_script(const Figure& figure, const std::string& file) {
  const bool svg = ends_in(file, ".svg");
  if (!svg && !ends_in(file, ".png")) {
    throw ConfigError(file + ": a figure's file ends in .svg or .png (in .csv: its points alone)");
  }
  const std::string size = fmt::format("size {},{}", figure.width, figure.height);
  const std::string terminal =
      svg ? "svg " + size + " dynamic enhanced font 'Helvetica,13' background 'white'"
          : "pngcairo " + size + " enhanced font 'Helvetica,11' background 'white'";
  return fmt::format("set terminal {}\nset output {}\n{}", terminal, quoted(file), figure.script);
}

const char* const kPanelStyle =
    "set multiplot\nset grid back lt 1 lc rgb '#dddddd' lw 0.5\nset tics nomirror\n";

Panels::Panels(int columns, int count, int gap, std::vector<std::string> names)
    : columns_(columns),
      rows_((count + columns - 1) / columns),
      gap_(gap),
      names_(std::move(names)) {}

int Panels::legend_width() const {
  std::size_t longest = 0;
  for (const std::string& name : names_) longest = std::max(longest, name.size());
  return kLegendSymbol + kLegendLetter * static_cast<int>(longest);
}

int Panels::width() const { return kLeft + columns_ * (kPanel + gap_) + legend_width(); }

int Panels::height() const {
  const int legend = kTop + kLegendLine * static_cast<int>(names_.size() + 1);
  return std::max(rows_ * (kTop + kPanelHeight + kBottom), legend);
}

std::string Panels::place(int i, const std::string& title, const std::string& subtitle) const {
  const int left = kLeft + (i % columns_) * (kPanel + gap_);
  const int top = (i / columns_) * (kTop + kPanelHeight + kBottom) + kTop;
  const int above = subtitle.empty() ? kSubtitleAbove : kTitleAbove;
  return fmt::format(
      "set lmargin at screen {:.4f}\nset rmargin at screen {:.4f}\nset tmargin at screen {:.4f}\n"
      "set bmargin at screen {:.4f}\n"
      "set label 1 {} at screen {:.4f}, screen {:.4f} left noenhanced\n"
      "set label 2 {} at screen {:.4f}, screen {:.4f} left noenhanced textcolor rgb '#555555' "
      "font ',{}'\n",
      x(left), x(left + kPanel), y(top), y(top + kPanelHeight), quoted(title), x(left),
      y(top - above), quoted(subtitle), x(left), y(top - kSubtitleAbove), kSmallFont);
}

std::string Panels::legend(bool lines) const {
  std::string entries;
  for (std::size_t i = 0; i < names_.size(); ++i) {
    entries +=
        fmt::format(", keyentry with {} {} title {}", lines ? "linespoints lw 1.5" : "points",
                    lines ? line_style(i) : point_style(i), quoted(names_[i]));
  }
  const double left = x(kLeft + columns_ * (kPanel + gap_) - 20), top = y(kTop);
  return fmt::format(
      "reset\nunset border\nunset tics\nset lmargin at screen {0:.4f}\nset rmargin at screen 1\n"
      "set tmargin at screen {1:.4f}\nset bmargin at screen 0\n"
      "set key at screen {0:.4f}, screen {1:.4f} left top vertical maxrows {2} "
      "Left reverse noenhanced\nplot [0:1] [0:1] NaN notitle{3}\n",
      left, top, std::max<std::size_t>(1, names_.size()), entries);
}

// The logarithm is of the error and half a point, which keeps 100% on the axis.
std::string error_scale(double least, double most) {
  std::vector<std::string> tics;
  for (const double tic : {0.,  10., 20., 30., 40., 50., 60., 70., 75., 80.,  84.,
                           87., 90., 92., 94., 95., 96., 97., 98., 99., 99.5, 100.}) {
    tics.push_back(real_to_text(tic));
  }
  return fmt::format(
      "set nonlinear y via -log10(100.5 - y) inverse 100.5 - 10**(-y)\nset yrange "
      "[{:.4g}:{:.4g}]\n"
      "set ytics ({})\n",
      100.5 - 1.08 * (100.5 - least), 100.5 - (100.5 - most) / 1.08, join(tics, ", "));
}

std::string colour(std::size_t i) { return kColours[i % kColours.size()]; }

std::string point_style(std::size_t i) {
  return fmt::format("pt {} lc rgb '{}'", kSymbols[i % kSymbols.size()], colour(i));
}

std::string line_style(std::size_t i) {
  return fmt::format("{} dt {}", point_style(i), 1 + i / kColours.size() % kDashes);
}

std::string data_block(const std::string& name, const std::vector<std::vector<double>>& rows) {
  std::string text = "$" + name + " << EOD\n";
  for (const auto& row : rows) {
    std::vector<std::string> numbers;
    for (const double value : row) numbers.push_back(fmt::format("{:.8g}", value));
    text += join(numbers, " ") + "\n";
  }
  return text + "EOD\n";
}

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') out += '\'';
    out += c < ' ' && c >= 0 ? ' ' : c;
  }
  return out + "'";
}

}  // namespace tandem
