// Tables as LaTeX with booktabs, and with siunitx's S columns unless the style is plain: mean,
// the sign of the interval and its half width are columns of their own, so that each is aligned by
// its decimal point. A cell that is marked stands in braces, which S columns don't parse, between
// phantoms of the digits that it lacks; with fixed decimals it is aligned as they are. (The macros
// are \best and \secondbest, since siunitx has \second for a unit.)
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <utility>

#include "analysis/table.h"
#include "analysis/table_paired.h"
#include "analysis/table_writers.h"
#include "config/part.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr std::size_t kWideText =
    40;  // characters from which a column of text is broken into lines

std::string latex_text(const std::string& text) {
  static const std::vector<std::pair<std::string, std::string>> marks = {
      {"\\", "\\textbackslash{}"},
      {"&", "\\&"},
      {"%", "\\%"},
      {"$", "\\$"},
      {"#", "\\#"},
      {"_", "\\_"},
      {"{", "\\{"},
      {"}", "\\}"},
      {"~", "\\textasciitilde{}"},
      {"^", "\\textasciicircum{}"},
      {"<", "$<$"},
      {">", "$>$"},
      {"±", "$\\pm$"},
      {"†", "$^\\dagger$"},
      {"‡", "$^\\ddagger$"},
      {"×", "$\\times$"},
      {"|", "$|$"},
      {"\n", " "}};
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto found = std::find_if(marks.begin(), marks.end(), [&](const auto& mark) {
      return text.compare(i, mark.first.size(), mark.first) == 0;
    });
    if (found == marks.end()) {
      out += text[i++];
    } else {
      out += found->second;
      i += found->first.size();
    }
  }
  return out;
}

// A text of conditions, which may go on in the next line behind its marks.
std::string breakable(const std::string& text) {
  std::string out;
  std::string part;
  for (const char c : text) {
    part += c;
    if (c != ',' && c != '@' && c != '=' && c != '|') continue;
    out += latex_text(part) + "\\allowbreak{}";
    part.clear();
  }
  return out + latex_text(part);
}

// How many signs, digits before and digits after the point the numbers of a column have at most.
struct Digits {
  bool sign = false, exponent = false;
  std::size_t whole = 1, after = 0;

  static Digits of(const std::string& text) {
    Digits d;
    d.sign = text[0] == '-' || text[0] == '+';
    d.exponent = text.find_first_of("en") != std::string::npos;  // also of inf and nan
    const std::size_t begin = d.sign ? 1 : 0, point = text.find('.');
    d.whole = std::min(point, text.size()) - begin;
    d.after = point == std::string::npos ? 0 : text.size() - point - 1;
    return d;
  }
  void widen(const Digits& other) {
    sign |= other.sign;
    exponent |= other.exponent;
    whole = std::max(whole, other.whole);
    after = std::max(after, other.after);
  }
  std::string format() const { return fmt::format("{}{}.{}", sign ? "+" : "", whole, after); }
};

// "5.56e+13" as $5.56\times10^{13}$, and a minus that is as long as a plus.
std::string in_text(const std::string& number) {
  const std::size_t e = number.find('e');
  if (e != std::string::npos) {
    return fmt::format("${}\\times10^{{{}}}$", number.substr(0, e),
                       std::strtol(number.c_str() + e + 1, nullptr, 10));
  }
  if (number[0] == '-' || number[0] == '+') {
    return fmt::format("${}${}", number.substr(0, 1), number.substr(1));
  }
  return number;
}

std::string with_standing(const std::string& text, Standing standing) {
  if (standing == Standing::kNone) return text;
  return fmt::format("\\{}{{{}}}", standing == Standing::kSecond ? "secondbest" : "best", text);
}

// What one measure's column becomes: the mean, and where any cell has one a half width, a p and
// marks.
struct LatexColumn {
  Digits mean, half;
  bool any = false, halves = false, texts = false;

  std::size_t count() const { return 1 + (halves ? 2 : 0) + (texts ? 1 : 0); }
};

class LatexWriter {
 public:
  LatexWriter(const Table& table, const TableStyle& style) : table_(table), style_(style) {
    for (std::size_t j = 0; j < table.columns.size(); ++j) {
      LatexColumn column;
      for (const TableRow& row : table.rows) {
        const TableCell& cell = row.cells[j];
        if (!side_text(cell).empty()) column.texts = true;
        if (!cell.mean) continue;
        column.mean.widen(Digits::of(mean_text(cell)));
        column.any = true;
        if (!cell.half) continue;
        column.half.widen(Digits::of(half_text(cell)));
        column.halves = true;
      }
      columns_.push_back(column);
    }
  }

  std::string write() const {
    std::string text = fmt::format(
        "% {}: made by tandem table from {} runs; don't edit.\n% It needs array, booktabs{}{}.\n"
        "\\providecommand{{\\best}}[1]{{\\textbf{{#1}}}}\n"
        "\\providecommand{{\\secondbest}}[1]{{\\underline{{#1}}}}\n",
        table_.name, table_.runs.size(), style_.plain ? "" : ", siunitx",
        style_.longtable ? ", longtable" : "");
    return text + (style_.longtable ? long_table() : floating());
  }

 private:
  static std::string mean_text(const TableCell& cell) { return number_text(*cell.mean, cell.form); }
  static std::string half_text(const TableCell& cell) {
    NumberForm form = cell.form;
    form.is_signed = false;
    return number_text(*cell.half, form);
  }
  static std::string side_text(const TableCell& cell) {
    std::string text = trim(interval_of(cell));
    if (cell.p) text += (text.empty() ? "(" : " (") + p_text(*cell.p) + ")";
    for (const std::string& mark : cell.marks) text += (text.empty() ? "" : " ") + mark;
    return text;
  }

  std::string caption() const {
    const std::string title = table_.title.empty() ? table_.name : table_.title;
    return fmt::format("\\caption{{{}}}\n\\label{{tab:{}}}", latex_text(title), table_.name);
  }

  // Of this table alone: digits without gaps, and the plus of a difference.
  std::string settings() const {
    return style_.plain ? "" : "\\sisetup{group-digits=none,retain-explicit-plus=true}\n";
  }

  std::string floating() const {
    return fmt::format(
        "\\begin{{table}}[tb]\n\\centering\n{}{}\n\\begin{{tabular}}{{{}}}\n\\toprule\n{}"
        "\\midrule\n"
        "{}\\bottomrule\n\\end{{tabular}}\n\n{}\\end{{table}}\n",
        settings(), caption(), columns(), head(), rows(), notes());
  }

  std::string long_table() const {
    return fmt::format(
        "\\begingroup\n{}\\setlength{{\\LTcapwidth}}{{\\linewidth}}\n\\begin{{longtable}}{{{}}}\n{}"
        "\\\\\n"
        "\\toprule\n{}\\midrule\n\\endfirsthead\n\\toprule\n{}\\midrule\n\\endhead\n\\bottomrule\n"
        "\\endlastfoot\n{}\\end{{longtable}}\n{}\\endgroup\n",
        settings(), columns(), caption(), head(), head(), rows(), notes());
  }

  bool is_aligned(const Digits& digits) const { return !style_.plain && !digits.exponent; }

  // What follows a sign of plus and minus begins right behind it, however wide the head is.
  std::string number_column(const Digits& digits, bool behind) const {
    if (!is_aligned(digits)) return behind ? "l" : "r";
    return fmt::format("S[table-format={}{}]", digits.format(),
                       behind ? ",table-number-alignment=left" : "");
  }

  std::string columns() const {
    std::string text;
    for (std::size_t k = 0; k < table_.key_names.size(); ++k) {
      text += is_wide(k) ? ">{\\raggedright\\arraybackslash}p{5cm}" : "l";
    }
    for (const LatexColumn& column : columns_) {
      text += " " + (column.any ? number_column(column.mean, false) : "r");
      if (column.halves) text += "@{\\,}c@{\\,}" + number_column(column.half, true);
      if (column.texts) text += "@{\\ }l";
    }
    return text;
  }

  // A row of heads over the columns that share what `across` says, then the measures.
  std::string head() const {
    const std::size_t keys = table_.key_names.size();
    std::string spans, rules;
    std::size_t at = keys + 1;
    const bool spanned = std::any_of(table_.heads.begin(), table_.heads.end(),
                                     [](const ColumnHead& h) { return !h.span.empty(); });
    if (spanned) {
      for (std::size_t k = 1; k < keys; ++k) spans += "& ";
      for (std::size_t j = 0; j < columns_.size();) {
        std::size_t end = j, wide = 0;
        while (end < columns_.size() && table_.heads[end].span == table_.heads[j].span) {
          wide += columns_[end++].count();
        }
        spans += fmt::format("& \\multicolumn{{{}}}{{c}}{{{}}} ", wide,
                             latex_text(table_.heads[j].span));
        rules += fmt::format("\\cmidrule(lr){{{}-{}}}", at, at + wide - 1);
        at += wide;
        j = end;
      }
      spans += "\\\\\n" + rules + "\n";
    }
    std::string labels;
    for (std::size_t k = 0; k < keys; ++k) {
      labels += (k == 0 ? "" : " & ") + latex_text(table_.key_names[k]);
    }
    for (std::size_t j = 0; j < columns_.size(); ++j) {
      const ColumnHead& own = table_.heads[j];
      std::string label = latex_text(own.label + (is_share(table_.measures[j]) ? " (%)" : ""));
      if (own.better == Direction::kHigher) label += " $\\uparrow$";
      if (own.better == Direction::kLower) label += " $\\downarrow$";
      labels += fmt::format(" & \\multicolumn{{{}}}{{c}}{{{}}}", columns_[j].count(), label);
    }
    return spans + labels + " \\\\\n";
  }

  // A number in its column, with its standing.
  std::string number(const std::string& text, const Digits& column, Standing standing) const {
    if (!is_aligned(column)) return with_standing(in_text(text), standing);
    if (standing == Standing::kNone) return text;
    const Digits own = Digits::of(text);
    const std::string before = std::string(column.whole - own.whole, '0'),
                      after = std::string(column.after - own.after, '0');
    const auto phantom = [](const std::string& digits) {
      return digits.empty() ? "" : "\\phantom{" + digits + "}";
    };
    const std::string sign = column.sign && !own.sign ? "\\phantom{$-$}" : "";
    return "{" + sign + phantom(before) + with_standing(in_text(text), standing) + phantom(after) +
           "}";
  }

  std::string cell(const TableCell& c, const LatexColumn& column) const {
    std::string text = c.mean ? number(mean_text(c), column.mean, c.standing) : "";
    if (column.halves) {
      text +=
          c.half ? " & $\\pm$ & " + number(half_text(c), column.half, Standing::kNone) : " & & ";
    }
    if (column.texts) text += " & " + latex_text(side_text(c));
    return text;
  }

  // Keys that go on from the row above are not written again, but for the last; where the first
  // changes, there is a little room.
  std::string rows() const {
    std::string text;
    const std::size_t keys = table_.key_names.size();
    for (std::size_t i = 0; i < table_.rows.size(); ++i) {
      const TableRow& row = table_.rows[i];
      bool goes_on = i > 0;
      for (std::size_t k = 0; k < keys; ++k) {
        goes_on = goes_on && k + 1 < keys && table_.rows[i - 1].keys[k] == row.keys[k];
        if (k == 0 && i > 0 && !goes_on && keys > 1 && repeats_first()) text += "\\addlinespace\n";
        text += k == 0 ? "" : " & ";
        if (!goes_on || row.dagger)
          text += is_wide(k) ? breakable(row.keys[k]) : latex_text(row.keys[k]);
        if (k == 0 && row.dagger) text += "$^\\dagger$";
      }
      for (std::size_t j = 0; j < columns_.size(); ++j) {
        text += " & " + cell(row.cells[j], columns_[j]);
      }
      text += " \\\\\n";
    }
    return text;
  }

  bool is_wide(std::size_t key) const {
    return std::any_of(table_.rows.begin(), table_.rows.end(),
                       [key](const TableRow& row) { return row.keys[key].size() > kWideText; });
  }

  bool repeats_first() const {
    std::set<std::string> seen;
    for (const TableRow& row : table_.rows) seen.insert(row.keys[0]);
    return seen.size() < table_.rows.size();
  }

  std::string notes() const {
    std::string text = "\\begin{minipage}{\\linewidth}\\footnotesize\n";
    for (const std::string& note : table_.notes) text += latex_text(note) + "\n\n";
    text.pop_back();
    return text + "\\end{minipage}\n";
  }

  const Table& table_;
  const TableStyle& style_;
  std::vector<LatexColumn> columns_;
};

TANDEM_REGISTERED = declare_table_writer({"latex", ".tex", to_latex});

}  // namespace

std::string to_latex(const Table& table, const TableStyle& style) {
  return LatexWriter(table, style).write();
}

}  // namespace tandem
