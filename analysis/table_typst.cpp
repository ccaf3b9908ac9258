// Tables for Typst: a figure with rules above, below and under the heads, as booktabs has them.
#include <fmt/format.h>

#include "analysis/table.h"
#include "analysis/table_paired.h"
#include "analysis/table_writers.h"
#include "config/part.h"
#include "core/text.h"

namespace tandem {
namespace {

// Every sign that means something in Typst's markup.
std::string typst_text(const std::string& text) {
  static const std::string kSigns = "\\#*_`$<>@[]~/=+-\"'";
  std::string out;
  for (const char c : text) {
    if (kSigns.find(c) != std::string::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string typst_cell(const TableCell& cell) {
  std::string text = typst_text(cell_text(cell));
  if (!text.empty() && cell.standing != Standing::kNone) {
    text = (cell.standing == Standing::kSecond ? "#underline[" : "#strong[") + text + "]";
  }
  for (const std::string& mark : cell.marks) text += (text.empty() ? "" : " ") + typst_text(mark);
  return "[" + text + "]";
}

std::string typst_heads(const Table& table) {
  std::string spans, labels;
  bool spanned = false;
  for (const ColumnHead& head : table.heads) spanned = spanned || !head.span.empty();
  const std::size_t keys = table.key_names.size();
  if (spanned) {
    spans = fmt::format("      table.cell(colspan: {})[],", keys);
    for (std::size_t j = 0; j < table.heads.size();) {
      std::size_t end = j;
      while (end < table.heads.size() && table.heads[end].span == table.heads[j].span) ++end;
      spans += fmt::format(" table.cell(colspan: {}, align: center)[{}],", end - j,
                           typst_text(table.heads[j].span));
      j = end;
    }
    spans += "\n";
  }
  for (const std::string& key : table.key_names) labels += " [" + typst_text(key) + "],";
  for (std::size_t j = 0; j < table.columns.size(); ++j) {
    const Direction better = table.heads[j].better;
    labels += fmt::format(
        " [{}{}],", typst_text(table.heads[j].label + (is_share(table.measures[j]) ? " (%)" : "")),
        better == Direction::kNone || !has_standing(table) ? ""
        : better == Direction::kHigher                     ? " ↑"
                                                           : " ↓");
  }
  return spans + "     " + labels + "\n";
}

std::string to_typst(const Table& table, const TableStyle&) {
  const std::string title = table.title.empty() ? table.name : table.title;
  std::string text = fmt::format(
      "// {}: made by tandem table from {} runs; don't edit.\n#figure(\n  table(\n"
      "    columns: {},\n    align: (x, _) => if x < {} {{ left }} else {{ right }},\n"
      "    stroke: none,\n    table.hline(),\n    table.header(\n{}    ),\n    table.hline(stroke: "
      "0.5pt),\n",
      table.name, table.runs.size(), table.key_names.size() + table.columns.size(),
      table.key_names.size(), typst_heads(table));
  for (const TableRow& row : table.rows) {
    std::string line = "   ";
    for (std::size_t k = 0; k < row.keys.size(); ++k)
      line += " [" + typst_text(row.keys[k]) + (k == 0 && row.dagger ? " †" : "") + "],";
    for (const TableCell& cell : row.cells) line += " " + typst_cell(cell) + ",";
    text += line + "\n";
  }
  text += fmt::format("    table.hline(),\n  ),\n  kind: table,\n  caption: [{}],\n) <tab:{}>\n",
                      typst_text(title), table.name);
  for (const std::string& note : table.notes)
    text += "\n#text(size: 0.85em)[" + typst_text(note) + "]\n";
  return text;
}

TANDEM_REGISTERED = declare_table_writer({"typst", ".typ", to_typst});

}  // namespace
}  // namespace tandem
