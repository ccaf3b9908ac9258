// Tables as Markdown and as CSV (RFC 4180: quotes only where they are needed).
#include <fmt/format.h>

#include "analysis/query.h"
#include "analysis/table.h"
#include "analysis/table_paired.h"
#include "analysis/table_writers.h"
#include "config/part.h"
#include "core/text.h"

namespace tandem {
namespace {

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string line(const std::vector<std::string>& cells) {
  std::vector<std::string> safe;
  for (const std::string& cell : cells) safe.push_back(escaped(cell));
  return "| " + join(safe, " | ") + " |\n";
}

std::string number(const std::optional<double>& value) {
  return value ? real_to_text(*value) : std::string();
}

// Where something is marked, which way is better.
std::string arrow(const Table& table, const ColumnHead& head) {
  if (!has_standing(table) || head.better == Direction::kNone) return "";
  return head.better == Direction::kHigher ? " ↑" : " ↓";
}

// Whether any cell of the column has an interval with two ends of its own.
bool has_interval(const Table& table, std::size_t column) {
  for (const TableRow& row : table.rows)
    if (row.cells[column].low) return true;
  return false;
}

std::string marked_text(const TableCell& cell) {
  const std::string text = cell_text(cell);
  if (cell.standing == Standing::kNone || text.empty()) return text;
  return cell.standing == Standing::kSecond ? "<u>" + text + "</u>" : "**" + text + "**";
}

}  // namespace

// Rounded to 12 digits first: sums of the same values in another order differ in the last ones, and
// a tie must round alike in every table.
std::string number_text(double value, const NumberForm& form) {
  const double exact = form.share ? 100 * value : value;
  const double shown = parse_real(fmt::format("{:.12g}", exact)).value_or(exact);
  std::string text = form.decimals < 0 ? fmt::format("{:.3g}", shown)
                                       : fmt::format("{:.{}f}", shown, form.decimals);
  const bool zero = text.find_first_of("123456789") == std::string::npos;
  if (zero) return text[0] == '-' ? text.substr(1) : text;
  return form.is_signed && shown > 0 ? "+" + text : text;
}

std::string interval_of(const TableCell& cell) {
  if (!cell.low || !cell.high) return "";
  return fmt::format(" [{}, {}]", number_text(*cell.low, cell.form),
                     number_text(*cell.high, cell.form));
}

std::string cell_text(const TableCell& cell) {
  if (!cell.mean) return "";
  std::string text = number_text(*cell.mean, cell.form);
  NumberForm plain = cell.form;
  plain.is_signed = false;
  if (cell.half) text += " ± " + number_text(*cell.half, plain);
  text += interval_of(cell);
  if (cell.p) text += fmt::format(" ({})", p_text(*cell.p));
  return text;
}

std::string to_markdown(const Table& table) {
  std::string text;
  if (!table.title.empty()) text += table.title + "\n\n";
  std::vector<std::string> head = table.key_names, rule(table.key_names.size(), "---");
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    head.push_back(table.columns[i] + (is_share(table.measures[i]) ? " (%)" : "") +
                   arrow(table, table.heads[i]));
    rule.push_back("---:");
  }
  text += line(head) + line(rule);
  for (const TableRow& row : table.rows) {
    std::vector<std::string> cells = row.keys;
    if (row.dagger) cells.front() += " †";
    for (const TableCell& c : row.cells) {
      std::string cell = marked_text(c);
      for (const std::string& mark : c.marks) cell += (cell.empty() ? "" : " ") + mark;
      cells.push_back(cell);
    }
    text += line(cells);
  }
  text += "\n";
  for (const std::string& note : table.notes) text += note + "\n\n";
  text.pop_back();
  return text;
}

std::string to_csv(const Table& table) {
  std::vector<std::string> head = table.key_names;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    std::vector<const char*> parts = {
        "", table.spread == CellSpread::kDeviation ? " sd" : " ci95_half", " n", " diverged"};
    const bool differs = !table.measures[i].versus.empty();
    if (differs) parts = {"", " ci95_half", " n", " diverged", " p", " holm"};
    if (has_interval(table, i)) parts.insert(parts.end(), {" ci95_low", " ci95_high"});
    for (const char* part : parts) head.push_back(table.columns[i] + part);
  }
  std::string text = csv_line(head);
  for (const TableRow& row : table.rows) {
    std::vector<std::string> cells = row.keys;
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      const TableCell& c = row.cells[i];
      cells.push_back(number(c.mean));
      cells.push_back(number(c.half));
      cells.push_back(c.n == 0 ? "" : std::to_string(c.n));
      cells.push_back(c.n == 0 ? "" : std::to_string(c.n - c.n_values));
      if (!table.measures[i].versus.empty()) {
        cells.push_back(number(c.p));
        cells.push_back(!c.holm ? "" : *c.holm ? "true" : "false");
      }
      if (!has_interval(table, i)) continue;
      cells.push_back(number(c.low));
      cells.push_back(number(c.high));
    }
    text += csv_line(cells);
  }
  return text;
}

bool has_standing(const Table& table) {
  for (const TableRow& row : table.rows) {
    for (const TableCell& cell : row.cells) {
      if (cell.standing != Standing::kNone) return true;
    }
  }
  return false;
}

namespace {

TANDEM_REGISTERED = declare_table_writer(
    {"markdown", ".md", [](const Table& table, const TableStyle&) { return to_markdown(table); }});
TANDEM_REGISTERED = declare_table_writer(
    {"csv", ".csv", [](const Table& table, const TableStyle&) { return to_csv(table); }});

}  // namespace
}  // namespace tandem
